//! `kylin-vr reload [FILE|-]`: applies the installed file, or validates, applies and installs another.

use std::panic::resume_unwind;
use std::thread::{self, ScopedJoinHandle};
use std::time::Duration;

use super::probe::{self, Probe};
use super::report::{Outcome, Report};
use super::run::{self, Install, Job, Patience};
use super::{Context, Given, LAST_ACCEPTED, by_hand, window};
use crate::config::Config;
use crate::features;
use crate::intake::{Standing, accept};
use crate::kernel::{self, Kernel};
use crate::lock::{self, Lock};
use crate::model::Observed;
use crate::timing::timed;
use crate::words::plain;

const COMMAND: &str = "reload";

/// Whether, and how, what is applied is to be confirmed.
#[derive(Debug, Default)]
pub(super) struct Confirmation {
    /// Within this time; `None`: it needs no confirmation.
    pub(super) within: Option<Duration>,
    /// By these probes; none: by `kylin-vr confirm`.
    pub(super) probes: Vec<Probe>,
}

pub(super) fn run(
    context: &Context,
    given: &Given,
    rescan: Option<Duration>,
    confirmation: &Confirmation,
) -> Report {
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
    let work = match (given.allow_empty, rescan, confirmation.within) {
        (_, Some(_), _) | (_, _, Some(_)) => None,
        (true, None, None) => Some("reload-allow-empty"),
        (false, None, None) => Some("reload"),
    };
    let lock = match run::lock(context, COMMAND, work.filter(|_| source.is_none())) {
        Ok(lock) => lock,
        Err(report) => return *report,
    };
    let settled = window::settle(context, &lock);
    let text = match given_text.map_or_else(|| run::read(context, None), Ok) {
        Ok(text) => text,
        Err(error) => return failed(&format!("read {name}"), error),
    };
    let last = match context.state.accepted() {
        Ok(last) => last,
        Err(error) => return failed("read the last accepted configuration", error),
    };
    // While the text is read, the kernel is looked at; but where NICs are waited for, that comes after. The text is read on
    // this thread: what the reading takes, the rest can have afterwards.
    let (accepted, looked) = thread::scope(|scope| {
        let looking = rescan.is_none().then(|| {
            let mut kernel = run::open(context)?;
            Ok::<_, kernel::Error>(scope.spawn(move || {
                let looked = kernel.observe()?;
                Ok((kernel, looked))
            }))
        });
        let accepted = timed("parse", || accept(&text, last.as_deref(), given.allow_empty));
        let accepted = accepted.map(|(config, problems)| {
            let desired = timed("desired", || features::desired(&config));
            (config, problems, desired)
        });
        let joined = |looking: ScopedJoinHandle<'_, Looked>| {
            looking.join().unwrap_or_else(|panic| resume_unwind(panic))
        };
        (accepted, looking.map(|looking| looking.and_then(joined)))
    });
    let (config, problems, desired) = match accepted {
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
        install: source.as_ref().map_or(Install::Nothing, |_| Install::Text(&text)),
        accept: true,
        ends: Standing::Replaced,
    };
    let replaced = last.as_deref().filter(|last| *last != text);
    let lost = timed("by hand", || {
        replaced.and_then(|last| by_hand::lost(context, last, &job.config))
    });
    let patience = Patience {
        bound: rescan.unwrap_or_default(),
        rescan: rescan.is_some(),
    };
    let mut report = apply(context, lock, &job, confirmation, |lock, job| match looked {
        None => run::apply_patiently(context, lock, job, patience),
        Some(Ok((kernel, looked))) => run::apply_last(context, lock, job, kernel, Some(looked), &desired),
        Some(Err(error)) => Report::failed(COMMAND, &job.source, error).with_problems(job.problems.clone()),
    });
    report.notes.extend(settled.map(|settled| settled.message));
    if report.exit_code == 0 {
        report.notes.extend(lost);
    }
    report
}

/// Has `apply` apply what was accepted; if it is to be confirmed, it is taken back by itself unless it is.
pub(super) fn apply(
    context: &Context,
    lock: Lock,
    job: &Job<'_>,
    confirmation: &Confirmation,
    apply: impl FnOnce(&Lock, &Job<'_>) -> Report,
) -> Report {
    let Job {
        command,
        ref source,
        text,
        ..
    } = *job;
    let targets = match probe::targets(&confirmation.probes, &job.config) {
        Ok(targets) => targets,
        Err(message) => return Report::new(command, source, Outcome::WrongUsage, message),
    };
    // Before the kernel is changed: from here on a run that is killed is taken back as well.
    let is_installed = matches!(job.install, Install::Nothing);
    let opened = match confirmation.within {
        Some(within) => window::open(context, &lock, text, is_installed, within),
        None => Ok(None),
    };
    let opened = match opened {
        Ok(opened) => opened,
        Err(error) => return Report::failed(command, source, error),
    };
    let mut report = apply(&lock, job);
    match opened {
        None if confirmation.within.is_some() => {
            let note = "nothing to confirm: this configuration is in force already";
            report.notes.push(note.to_owned());
            report
        }
        None => report,
        Some(opened) if report.exit_code != 0 => {
            report.left_over.extend(window::abandon(context, opened).err());
            report
        }
        Some(_) if targets.is_empty() => report,
        Some(opened) => {
            drop(lock);
            probe::run(context, report, &opened.window, &targets)
        }
    }
}

/// A kernel, and how it is.
type Looked = Result<(Box<dyn Kernel>, Observed), kernel::Error>;

/// What an event of a NIC asks for: the configuration that was accepted last, whatever the file says now, since it
/// may be just being written. A monitor that runs does this by itself.
pub(super) fn last_accepted(context: &Context, rescan: Option<Duration>) -> Report {
    if rescan.is_none()
        && let Some(monitor) = lock::present(context.state.runtime(), lock::MONITOR)
    {
        let message = format!("left to {monitor}, which watches");
        return Report::new(COMMAND, LAST_ACCEPTED, Outcome::LeftToAnother, message);
    }
    let patience = Patience {
        bound: rescan.unwrap_or_default(),
        rescan: rescan.is_some(),
    };
    let work = rescan.is_none().then_some("last-accepted");
    reconcile(context, COMMAND, work, |lock| {
        with_last_accepted(context, COMMAND, |job| {
            run::apply_patiently(context, lock, job, patience)
        })
    })
}

/// Holds the lock, and has `apply` apply what was accepted last.
pub(super) fn reconcile(
    context: &Context,
    command: &'static str,
    work: Option<&str>,
    apply: impl FnOnce(&Lock) -> Report,
) -> Report {
    let lock = match run::lock(context, command, work) {
        Ok(lock) => lock,
        Err(report) => return *report,
    };
    let settled = window::settle(context, &lock);
    let mut report = apply(&lock);
    if let Some(settled) = settled {
        report.notes.push(settled.message.clone());
        if report.exit_code == 0 {
            // What was taken back is what this run did; what was not is still due.
            report = report.with_outcome(settled.result, settled.message);
            report.failed.extend(settled.failed);
        }
    }
    report
}

/// Has `apply` apply the configuration that was accepted last.
pub(super) fn with_last_accepted(
    context: &Context,
    command: &'static str,
    apply: impl FnOnce(&Job<'_>) -> Report,
) -> Report {
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
    apply(&Job {
        command,
        source: LAST_ACCEPTED.to_owned(),
        text: &text,
        config,
        problems: Vec::new(),
        install: Install::Nothing,
        accept: false,
        ends: Standing::Replaced,
    })
}
