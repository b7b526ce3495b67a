//! `kylin-vr start`: what the boot runs. Nothing that is wrong with the file or the NICs stops the boot.

use std::time::Duration;

use super::report::{Outcome, Report};
use super::run::{self, Install, Job, Patience};
use super::{Context, LAST_ACCEPTED, window};
use crate::config::Config;
use crate::intake::{Refusal, Standing, accept};
use crate::lock::Lock;
use crate::words::plain;

pub(super) const COMMAND: &str = "start";

pub(super) fn run(context: &Context, wait: Duration) -> Report {
    let lock = match run::lock(context, COMMAND, None) {
        Ok(lock) => lock,
        Err(report) => return *report,
    };
    // Over while the machine was off. Should it not succeed, the boot goes on with what was applied last.
    let settled = window::settle(context, &lock);
    let mut report = boot(context, &lock, wait);
    report.notes.extend(settled.map(|settled| settled.message));
    report
}

fn boot(context: &Context, lock: &Lock, wait: Duration) -> Report {
    let patience = Patience {
        bound: wait,
        rescan: false,
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
            let job = Job {
                command: COMMAND,
                source: name,
                text: text.as_deref().unwrap_or_default(),
                config,
                problems,
                install: Install::Nothing,
                accept: true,
                ends: Standing::Replaced,
            };
            return run::apply_patiently(context, lock, &job, patience);
        }
        Err(refusal) => refusal,
    };
    let config = last.as_deref().and_then(|text| Config::parse(text).config);
    let note = match config {
        Some(_) => "the file is refused: the last good configuration of this VM takes its place",
        None => "the file is refused, and there is no earlier one of this VM: nothing was done",
    };
    tracing::error!(errors = refusal.problems.len(), "{name}: {note}");
    let mut report = match config {
        Some(config) => {
            let job = Job {
                command: COMMAND,
                source: LAST_ACCEPTED.to_owned(),
                text: last.as_deref().unwrap_or_default(),
                config,
                problems: Vec::new(),
                install: Install::Nothing,
                accept: false,
                ends: Standing::Replaced,
            };
            run::apply_patiently(context, lock, &job, patience)
        }
        None => Report::new(COMMAND, &name, Outcome::Unchanged, "nothing changed".to_owned()),
    };
    report.source = name;
    report.problems = refusal.problems;
    report.notes.push(note.to_owned());
    report
}
