//! `kylin-vr reload [FILE|-]`: applies the installed file, or validates, applies and installs another.

use super::report::{Outcome, Report};
use super::run::{self, Job};
use super::{Context, Given};
use crate::intake::accept;
use crate::words::plain;

const COMMAND: &str = "reload";

pub(super) fn run(context: &Context, given: &Given) -> Report {
    let source = context.source(given);
    let name = run::name(context, source.as_ref());
    let failed = |what: &str, error: std::io::Error| {
        Report::failed(COMMAND, &name, format!("{what}: {}", plain(&error)))
    };
    // What is given is read at once, while whoever gives it is there; the installed file once it is our turn.
    let given_text = match &source {
        Some(source) => match source.read() {
            Ok(text) => Some(text),
            Err(error) => return failed(&format!("read {source}"), error),
        },
        None => None,
    };
    // Any waiting run that is to apply the installed file does the work of all of them.
    let work = if given.allow_empty {
        "reload-allow-empty"
    } else {
        "reload"
    };
    let lock = match run::lock(context, COMMAND, source.is_none().then_some(work)) {
        Ok(lock) => lock,
        Err(report) => return *report,
    };
    let text = match given_text.map_or_else(|| run::read(context, None), Ok) {
        Ok(text) => text,
        Err(error) => return failed(&format!("read {name}"), error),
    };
    let last = match context.state.accepted() {
        Ok(last) => last,
        Err(error) => return failed("read the last accepted configuration", error),
    };
    let (config, problems) = match accept(&text, last.as_deref(), given.allow_empty) {
        Ok(accepted) => accepted,
        Err(refusal) => {
            let message = "the configuration is refused; nothing was touched".to_owned();
            tracing::error!(
                source = name,
                errors = refusal.problems.len(),
                "configuration refused"
            );
            return Report::new(COMMAND, &name, Outcome::Invalid, message).with_problems(refusal.problems);
        }
    };
    let install = source.is_some().then_some(text.as_slice());
    let job = Job {
        command: COMMAND,
        source: name,
        config,
        problems,
        install,
        accept: Some(&text),
    };
    run::apply(context, &lock, job)
}
