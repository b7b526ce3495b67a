//! `kylin-vr reload [FILE|-]`: applies the installed file, or validates, applies and installs another.

use std::time::Duration;

use super::report::{Outcome, Report};
use super::run::{self, Job, Patience};
use super::{Context, Given, LAST_ACCEPTED};
use crate::config::Config;
use crate::intake::accept;
use crate::lock;
use crate::timing::timed;
use crate::words::plain;

const COMMAND: &str = "reload";

pub(super) fn run(context: &Context, given: &Given, rescan: Option<Duration>) -> Report {
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
    let work = match (given.allow_empty, rescan) {
        (_, Some(_)) => None,
        (true, None) => Some("reload-allow-empty"),
        (false, None) => Some("reload"),
    };
    let lock = match run::lock(context, COMMAND, work.filter(|_| source.is_none())) {
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
    let accepted = timed("parse", || accept(&text, last.as_deref(), given.allow_empty));
    let (config, problems) = match accepted {
        Ok(accepted) => accepted,
        Err(refusal) => {
            let message = "the configuration is refused; nothing was touched".to_owned();
            for problem in &refusal.problems {
                tracing::error!("{name}: {problem}");
            }
            return Report::new(COMMAND, &name, Outcome::Invalid, message).with_problems(refusal.problems);
        }
    };
    let job = Job {
        command: COMMAND,
        source: name,
        text: &text,
        config,
        problems,
        install: source.is_some(),
        accept: true,
    };
    let patience = Patience {
        bound: rescan.unwrap_or_default(),
        rescan: rescan.is_some(),
    };
    run::apply_patiently(context, &lock, &job, patience)
}

/// What an event of a NIC asks for: the configuration that was accepted last, whatever the file says now, since it
/// may be just being written. A monitor that runs does this by itself.
pub(super) fn last_accepted(context: &Context, rescan: Option<Duration>) -> Report {
    if rescan.is_none()
        && let Some(monitor) = lock::present(context.state.runtime(), lock::MONITOR)
    {
        let message = format!("left to {monitor}, which watches");
        return Report::new(COMMAND, LAST_ACCEPTED, Outcome::LeftToAnother, message);
    }
    reconcile(context, COMMAND, rescan)
}

/// Applies the configuration that was accepted last.
pub(super) fn reconcile(context: &Context, command: &'static str, rescan: Option<Duration>) -> Report {
    let work = rescan.is_none().then_some("last-accepted");
    let lock = match run::lock(context, command, work) {
        Ok(lock) => lock,
        Err(report) => return *report,
    };
    let last = match context.state.accepted() {
        Ok(last) => last,
        Err(error) => return Report::failed(command, LAST_ACCEPTED, plain(&error)),
    };
    // Nothing was accepted on this VM: there is nothing of ours to watch over.
    let Some(text) = last else {
        let message = "nothing was accepted on this VM yet; nothing changed".to_owned();
        return Report::new(command, LAST_ACCEPTED, Outcome::Unchanged, message);
    };
    let Some(config) = Config::parse(&text).config else {
        let message = "is not valid for this version of kylin-vr: reload a valid file".to_owned();
        return Report::failed(command, LAST_ACCEPTED, message);
    };
    let job = Job {
        command,
        source: LAST_ACCEPTED.to_owned(),
        text: &text,
        config,
        problems: Vec::new(),
        install: false,
        accept: false,
    };
    let patience = Patience {
        bound: rescan.unwrap_or_default(),
        rescan: rescan.is_some(),
    };
    run::apply_patiently(context, &lock, &job, patience)
}
