//! `kylin-vr eip`, `forward`, `network` and `mirror`: one or many entries of the installed file come or go, and the whole is
//! validated, applied and installed like a reload.
//!
//! The file is read once the lock is held, so two that run at once lose nothing of each other.

mod eip;
mod forward;
mod list;
mod mirror;
mod network;
mod overlay;
mod words;

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;

use super::reload::Confirmation;
use super::report::{Outcome, Report};
use super::run::{self, Install, Job};
use super::{Context, duration::window_to_confirm, known, plan, reload, window};
use crate::config::edit::{Edit, List, Refused, edit};
use crate::config::{Config, Place, Problem};
use crate::intake::{Standing, accept};
use crate::words::plain;

pub(super) use eip::Command as EipCommand;
pub(super) use forward::Command as ForwardCommand;
pub(super) use mirror::Command as MirrorCommand;
pub(super) use network::Command as NetworkCommand;

/// What all of them take that change something.
#[derive(Debug, Args)]
pub(super) struct Options {
    /// Show what would change in the kernel, and change nothing
    #[arg(long, conflicts_with = "confirm_within")]
    dry_run: bool,
    /// Apply it, and take it back by itself unless `kylin-vr confirm` comes within this time: 60s, 5m, 90
    #[arg(long, value_name = "DURATION", value_parser = window_to_confirm)]
    confirm_within: Option<Duration>,
}

/// What all of them take that delete something.
#[derive(Debug, Args)]
pub(super) struct Removal {
    /// What is not there is no error
    #[arg(long)]
    if_exists: bool,
    #[command(flatten)]
    options: Options,
}

/// The commands under whose names the history keeps changes by hand.
pub(super) const COMMANDS: &[&str] = &[
    "eip add",
    "eip del",
    "forward add",
    "forward del",
    "network attach",
    "network detach",
    "mirror add",
    "mirror del",
];

/// What a command makes of a configuration.
struct Change {
    /// `None`: everything is as asked for already.
    edit: Option<Edit>,
    notes: Vec<String>,
}

/// Why it makes nothing of it.
struct Refusal {
    outcome: Outcome,
    message: String,
}

impl Refusal {
    fn usage(message: impl Into<String>) -> Self {
        Self {
            outcome: Outcome::WrongUsage,
            message: message.into(),
        }
    }

    fn conflict(message: impl Into<String>) -> Self {
        Self {
            outcome: Outcome::Invalid,
            message: message.into(),
        }
    }
}

pub(super) fn eip(context: &Context, command: &EipCommand) -> ExitCode {
    eip::run(context, command)
}

pub(super) fn forward(context: &Context, command: &ForwardCommand) -> ExitCode {
    forward::run(context, command)
}

pub(super) fn network(context: &Context, command: &NetworkCommand) -> ExitCode {
    network::run(context, command)
}

pub(super) fn mirror(context: &Context, command: &MirrorCommand) -> ExitCode {
    mirror::run(context, command)
}

fn run(
    context: &Context,
    command: &'static str,
    options: &Options,
    change: impl FnOnce(&Config) -> Result<Change, Refusal>,
) -> ExitCode {
    let report = apply(context, command, options, change);
    let report = if options.dry_run {
        report
    } else {
        window::tell(context, known(context, report))
    };
    report.print(context.json)
}

fn apply(
    context: &Context,
    command: &'static str,
    options: &Options,
    change: impl FnOnce(&Config) -> Result<Change, Refusal>,
) -> Report {
    let name = run::name(context, None);
    let failed = |what: &str, error: &std::io::Error| {
        Report::failed(command, &name, format!("{what}: {}", plain(error)))
    };
    let lock = match (!options.dry_run)
        .then(|| run::lock(context, command, None))
        .transpose()
    {
        Ok(lock) => lock,
        Err(report) => return *report,
    };
    let settled = lock.as_ref().and_then(|lock| window::settle(context, lock));
    let text = match run::read(context, None) {
        Ok(text) => text,
        Err(error) => return failed(&format!("read {name}"), &error),
    };
    let last = match context.state.accepted() {
        Ok(last) => last,
        Err(error) => return failed("read the last accepted configuration", &error),
    };
    let refused = |source: &str, message: &str, problems: Vec<Problem>| {
        Report::new(command, source, Outcome::Invalid, message.to_owned()).with_problems(problems)
    };
    let (config, problems) = match accept(&text, last.as_deref(), false) {
        Ok(accepted) => accepted,
        Err(refusal) => {
            let message = "a reload would refuse the file as it is, so nothing was touched: mend it, or bring back what \
                           is in force with `kylin-vr rollback 0`";
            return refused(&name, message, refusal.problems);
        }
    };
    let mut notes: Vec<String> = Vec::new();
    if last.as_ref().is_some_and(|last| *last != text) {
        notes.push("the file was changed since it was accepted last: that is applied as well".to_owned());
    }
    let change = match change(&config) {
        Ok(change) => change,
        Err(refusal) => {
            let message = format!("{}; nothing was touched", refusal.message);
            return Report::new(command, &name, refusal.outcome, message);
        }
    };
    notes.extend(change.notes);
    let old = String::from_utf8_lossy(&text);
    let (new, config, problems) = match change.edit.map(|change| edit(&old, &config, &change)) {
        None => (old.clone().into_owned(), config, problems),
        Some(Ok(changed)) => changed,
        Some(Err(Refused::Invalid(problems))) => {
            let source = format!("{name} with this change");
            return refused(
                &source,
                "the configuration would be invalid; nothing was touched",
                problems,
            );
        }
        Some(Err(Refused::Unsure(list))) => {
            return Report::failed(command, &name, unsure(list));
        }
    };
    let Some(lock) = lock else {
        let mut report = plan::of(context, command, &name, &config).with_problems(problems);
        report.notes.splice(0..0, notes);
        return report;
    };
    let job = Job {
        command,
        source: name,
        text: new.as_bytes(),
        config,
        problems,
        install: if new.as_bytes() == text {
            Install::Nothing
        } else {
            Install::Text(new.as_bytes())
        },
        accept: true,
        ends: Standing::Replaced,
    };
    let confirmation = Confirmation {
        within: options.confirm_within,
        probes: Vec::new(),
    };
    let mut report = reload::apply(context, lock, &job, &confirmation, |lock, job| {
        run::apply(context, lock, job)
    });
    report.notes.extend(settled.map(|settled| settled.message));
    if report.exit_code == 0 {
        report.notes.splice(0..0, notes);
    }
    report
}

fn unsure(list: List) -> String {
    format!(
        "{} is written in a way that a program should not change (anchors or aliases, perhaps); nothing was touched: edit \
         the file by hand, then `kylin-vr reload`",
        list.key()
    )
}

/// Where an entry stands, for people.
fn at(list: List, index: usize, place: Place) -> String {
    format!("{}[{index}], line {}", list.key(), place.line)
}

/// The most entries that notes name.
const NAMED: usize = 8;

/// What came or went, in words.
fn named(what: &str, entries: &[String]) -> Vec<String> {
    let mut notes: Vec<String> = entries
        .iter()
        .take(NAMED)
        .map(|entry| format!("{what}: {entry}"))
        .collect();
    if entries.len() > NAMED {
        notes.push(format!("{what}: {} more", entries.len() - NAMED));
    }
    notes
}
