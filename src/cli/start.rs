//! `kylin-vr start`: what the boot runs. Nothing that is wrong with the file or the NICs stops the boot.

use super::Context;
use super::report::{Outcome, Report};
use super::run::{self, Job};
use crate::config::Config;
use crate::intake::{Refusal, accept};
use crate::words::plain;

const COMMAND: &str = "start";

pub(super) fn run(context: &Context) -> Report {
    let lock = match run::lock(context, COMMAND, None) {
        Ok(lock) => lock,
        Err(report) => return *report,
    };
    let name = run::name(context, None);
    let failed = |what: &str, error: std::io::Error| {
        Report::failed(COMMAND, &name, format!("{what}: {}", plain(&error)))
    };
    let last = match context.state.accepted() {
        Ok(last) => last,
        Err(error) => return failed("read the last accepted configuration", error),
    };
    let text = run::read(context, None);
    let accepted = match &text {
        Ok(text) => accept(text, last.as_deref(), false),
        Err(error) => Err(Refusal::unreadable(error)),
    };
    let refusal = match accepted {
        Ok((config, problems)) => {
            let accept = text.as_deref().ok();
            let job = Job {
                command: COMMAND,
                source: name,
                config,
                problems,
                install: None,
                accept,
            };
            return run::apply(context, &lock, job);
        }
        Err(refusal) => refusal,
    };
    let last = last.as_deref().and_then(|text| Config::parse(text).config);
    let note = match last {
        Some(_) => "the file is refused: the last good configuration of this VM takes its place",
        None => "the file is refused, and there is no earlier one of this VM: nothing was done",
    };
    tracing::error!(source = name, errors = refusal.problems.len(), note);
    let mut report = match last {
        Some(config) => {
            let job = Job {
                command: COMMAND,
                source: "the last accepted configuration".to_owned(),
                config,
                problems: Vec::new(),
                install: None,
                accept: None,
            };
            run::apply(context, &lock, job)
        }
        None => Report::new(COMMAND, &name, Outcome::Unchanged, "nothing changed".to_owned()),
    };
    report.source = name;
    report.problems = refusal.problems;
    report.notes.push(note.to_owned());
    report
}
