//! `kylin-vr rollback [N]`: goes back to a configuration that was in force earlier, as if it were reloaded.

use super::report::{Outcome, Report};
use super::run::{self, Install, Job};
use super::{Context, window};
use crate::config::Config;
use crate::intake::{History, Standing};
use crate::words::plain;

const COMMAND: &str = "rollback";

pub(super) fn run(context: &Context, number: usize) -> Report {
    let name = format!("configuration {number} of the history");
    let lock = match run::lock(context, COMMAND, None) {
        Ok(lock) => lock,
        Err(report) => return *report,
    };
    let settled = window::settle(context, &lock);
    let history = match context.state.history() {
        Ok(history) => history,
        Err(error) => {
            return Report::failed(COMMAND, name, format!("read the history: {}", plain(&error)));
        }
    };
    let Some(kept) = history.back(number) else {
        return Report::new(
            COMMAND,
            &name,
            Outcome::WrongUsage,
            what_there_is(&history, number),
        );
    };
    let text = match context.state.history_text(kept) {
        Ok(text) => text,
        Err(error) => return Report::failed(COMMAND, &name, format!("{name} {}", plain(&error))),
    };
    // On purpose: neither its generation nor a missing end marker stands in the way.
    let parsed = Config::parse(&text);
    let Some(config) = parsed.config else {
        let message = "it is not valid for this version of kylin-vr; nothing was touched".to_owned();
        return Report::new(COMMAND, &name, Outcome::Invalid, message).with_problems(parsed.problems);
    };
    let job = Job {
        command: COMMAND,
        source: name,
        text: &text,
        config,
        problems: parsed.problems,
        install: Install::Text(&text),
        accept: true,
        ends: Standing::Replaced,
    };
    let mut report = run::apply(context, &lock, &job);
    report.notes.extend(settled.map(|settled| settled.message));
    report
}

/// What to say to who asks for a configuration that there is not. Pure.
fn what_there_is(history: &History, number: usize) -> String {
    match history.entries.iter().filter_map(|kept| kept.back).max() {
        None => "the history of this VM is empty: there is nothing to go back to".to_owned(),
        Some(0) => format!("there is no configuration {number}: the history has only the one in force, 0"),
        Some(last) => format!("there is no configuration {number}: the history has 0 (in force) to {last}"),
    }
}
