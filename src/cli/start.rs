//! `kylin-vr start`: what the boot runs. Nothing that is wrong with the file or the NICs stops the boot.

use super::Context;
use super::report::{Outcome, Report};
use super::run::{self, Job};
use crate::config::Config;
use crate::intake::accept;

const COMMAND: &str = "start";

pub(super) fn run(context: &Context) -> Report {
    let lock = match run::lock(context, COMMAND, None) {
        Ok(lock) => lock,
        Err(report) => return *report,
    };
    let name = run::name(context, None);
    let failed =
        |what: &str, error: std::io::Error| Report::failed(COMMAND, &name, format!("{what}: {error}"));
    let last = match context.state.accepted() {
        Ok(last) => last,
        Err(error) => return failed("read the last accepted configuration", error),
    };
    let text = match run::read(context, None) {
        Ok(text) => text,
        Err(error) => return failed(&format!("read {name}"), error),
    };
    let refusal = match accept(&text, last.as_deref(), false) {
        Ok((config, problems)) => {
            let accept = Some(text.as_slice());
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
    let mut note = "the file is invalid, and there is no earlier one of this VM: nothing was done".to_owned();
    let mut report = match last.as_deref().and_then(|text| Config::parse(text).config) {
        Some(config) => {
            note = "the file is invalid: the last good configuration of this VM is in effect".to_owned();
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
    tracing::error!(source = name, errors = refusal.problems.len(), note);
    report.source = name;
    report.problems = refusal.problems;
    report.notes.push(note);
    report
}
