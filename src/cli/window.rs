//! The window of `reload --confirm-within`: opened before the kernel is changed, closed by a confirmation, and else, when
//! it is over, by going back to what was confirmed last.
//!
//! Killed at any moment, a configuration is never in force unconfirmed without a window on the disk:
//!
//! - To open: the window's file (with the texts to go back to), the process that will take back, then the kernel, the
//!   installed file, the accepted text, the history. A run that fails puts the window back as it was.
//! - To confirm: the window's file goes, which decides; then the history is told.
//! - To take back: the kernel, the installed file, the accepted text, the history, and the window's file last: until
//!   then it is due, and whoever comes next does it again.
//! - To replace by another configuration: the same order. Killed before the window's file is gone, the accepted text is
//!   none that the window knows, so it is void.
//!
//! Whoever takes back holds the lock and looks at the file anew, so it does no harm that there are several: a process
//! that waits for nothing else ([`guard`]), the monitor, and every run that finds that it is due.

use std::path::absolute;
use std::thread;
use std::time::Duration;

use super::Context;
use super::report::{Outcome, Report};
use super::run::{self, Install, Job};
use crate::clock::{Moment, utc};
use crate::config::Config;
use crate::detached;
use crate::intake::{Before, Standing, Target, Unconfirmed, fingerprint, read_if_there};
use crate::lock::{self, Lock};
use crate::words::plain;

/// The command of reports and of the history when a window is over.
pub(super) const COMMAND: &str = "take-back";

/// The presence of the process that waits to take back, and its hidden subcommand.
const GUARD: &str = "guard";

/// How often the guard looks whether the window is still there; it also bounds how late it is after a suspension.
const STEP: Duration = Duration::from_secs(1);

/// After a failure the guard tries again this much later, each time twice as late.
const RETRY: Duration = Duration::from_secs(1);
const RETRY_AT_MOST: Duration = Duration::from_secs(60);

/// A window that was opened for a configuration that is about to be applied.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) window: Unconfirmed,
    before: Before,
}

/// A window that is open, and what is left of it.
#[derive(Debug)]
pub(super) struct Open {
    pub(super) window: Unconfirmed,
    pub(super) left: Duration,
    /// When it is over, by the wall clock as it goes now, in UTC.
    pub(super) until: String,
}

/// The window, if there is one; a broken record of one is an error.
pub(super) fn look(context: &Context) -> Result<Option<Open>, String> {
    let fail = |error: std::io::Error| format!("the record of what waits to be confirmed: {}", plain(&error));
    let Some(window) = context.state.unconfirmed().map_err(fail)? else {
        return Ok(None);
    };
    let now = Moment::now().map_err(fail)?;
    let left = window.remaining(&now);
    Ok(Some(Open {
        until: utc(now.wall + left),
        window,
        left,
    }))
}

/// Opens a window for a text that is about to be applied; `None`: it is in force for good already.
pub(super) fn open(
    context: &Context,
    _lock: &Lock,
    text: &[u8],
    is_installed: bool,
    within: Duration,
) -> Result<Option<Opened>, String> {
    let fail = |error: std::io::Error| format!("open a window to confirm in: {}", plain(&error));
    let state = &context.state;
    let accepted = state.accepted().map_err(fail)?.unwrap_or_default();
    let target = match state.target().map_err(fail)? {
        // What is in force was not confirmed either: the way back leads to the last one that was.
        Some(target) => target,
        None if accepted == text => return Ok(None),
        None => Target {
            file: if is_installed {
                Some(accepted.clone())
            } else {
                read_if_there(&context.config).map_err(fail)?
            },
            accepted: accepted.clone(),
        },
    };
    let now = Moment::now().map_err(fail)?;
    let replaced = fingerprint(&accepted);
    let (window, before) = state
        .open_window(now, within, text, replaced, &target)
        .map_err(fail)?;
    let opened = Opened { window, before };
    match watch_over(context) {
        Ok(()) => Ok(Some(opened)),
        Err(error) => {
            let mut message = format!("start the process that takes it back: {}", plain(&error));
            if let Err(error) = abandon(context, opened) {
                message += &format!("; {error}");
            }
            Err(message)
        }
    }
}

/// Puts the window back as it was, because what it was for was not applied.
pub(super) fn abandon(context: &Context, opened: Opened) -> Result<(), String> {
    let put_back = context.state.reopen_window(opened.before);
    put_back.map_err(|error| format!("put back the earlier window: {}", plain(&error)))
}

/// Ends the window of another configuration, since this text took its place. The history is told first: killed in
/// between, the window is void or due once more.
pub(super) fn replaced(context: &Context, text: &[u8], standing: Standing) -> std::io::Result<()> {
    let state = &context.state;
    let is_this_one = |window: &Unconfirmed| window.waiting == fingerprint(text);
    match state.unconfirmed() {
        Ok(None) => Ok(()),
        Ok(Some(window)) if is_this_one(&window) && standing != Standing::TakenBack => Ok(()),
        // A broken record is of no use to anybody.
        Ok(Some(_)) | Err(_) => {
            let told = state.settle_history(standing);
            state.close_window()?;
            told
        }
    }
}

/// Takes back what is due; `None`: nothing was. Every run that applies something begins with it. If it fails it stays
/// due. Also sees to it that somebody waits for a window that goes on, as after a reboot.
pub(super) fn settle(context: &Context, lock: &Lock) -> Option<Report> {
    let open = match look(context) {
        Ok(open) => open?,
        Err(error) => return Some(Report::failed(COMMAND, context.config.display(), error)),
    };
    let accepted = match context.state.accepted() {
        Ok(accepted) => fingerprint(&accepted.unwrap_or_default()),
        Err(error) => return Some(failed(context, &error)),
    };
    if !open.window.concerns(&accepted) {
        let closed = context
            .state
            .settle_history(Standing::Replaced)
            .and_then(|()| context.state.close_window());
        return closed.err().map(|error| failed(context, &error));
    }
    if open.left.is_zero() {
        let report = take_back(context, lock, &open.window);
        match report.exit_code {
            0 => tracing::warn!("{}", report.message),
            _ => tracing::error!("{}: {}", report.message, report.failed.join("; ")),
        }
        return Some(report);
    }
    // A monitor waits itself.
    let is_watched = lock::present(context.state.runtime(), lock::MONITOR).is_some();
    if !is_watched && let Err(error) = watch_over(context) {
        tracing::error!("start the process that takes back: {}", plain(&error));
    }
    None
}

fn failed(context: &Context, error: &std::io::Error) -> Report {
    let message = format!("take back what was not confirmed: {}", plain(error));
    Report::failed(COMMAND, context.config.display(), message)
}

fn take_back(context: &Context, lock: &Lock, window: &Unconfirmed) -> Report {
    let target = match context.state.target() {
        Ok(target) => target.unwrap_or(Target {
            accepted: Vec::new(),
            file: None,
        }),
        Err(error) => return failed(context, &error),
    };
    let Some(config) = Config::parse(&target.accepted).config else {
        let message =
            "the configuration to go back to is not valid for this version of kylin-vr: reload a valid file";
        return Report::failed(COMMAND, context.config.display(), message);
    };
    // What was written there meanwhile by others is theirs, and the next reload's.
    let install = match read_if_there(&context.config) {
        Ok(Some(text)) if !window.installed(&fingerprint(&text)) => Install::Nothing,
        Ok(None) => Install::Nothing,
        // A file that cannot be read is most likely to be replaced by one that can.
        Ok(Some(_)) | Err(_) => target.file.as_deref().map_or(Install::Remove, Install::Text),
    };
    let job = Job {
        command: COMMAND,
        source: "the configuration confirmed last".to_owned(),
        text: &target.accepted,
        config,
        problems: Vec::new(),
        install,
        accept: true,
        ends: Standing::TakenBack,
    };
    let mut report = run::apply(context, lock, &job);
    if report.exit_code == 0 {
        report.message = format!(
            "{} was not confirmed in time and is taken back: {} is in force again",
            short(&window.waiting),
            short(&window.target)
        );
    }
    report
}

/// Enough of a fingerprint to know a text by.
pub(super) fn short(fingerprint: &str) -> &str {
    fingerprint.get(..12).unwrap_or(fingerprint)
}

/// Sees to it that a process waits for the end of the window.
fn watch_over(context: &Context) -> std::io::Result<()> {
    if lock::present(context.state.runtime(), GUARD).is_some() {
        return Ok(());
    }
    let config = absolute(&context.config)?;
    detached::start(["--config".as_ref(), config.as_os_str(), GUARD.as_ref()], "")
}

/// What [`watch_over`] starts: waits for the end of the window, however often that is put off, and takes back.
pub(super) fn guard(context: &Context) {
    let runtime = context.state.runtime();
    let mut retry = RETRY;
    let Ok(Some(presence)) = lock::presence(runtime, GUARD) else {
        return;
    };
    loop {
        let wait = match look(context) {
            Ok(Some(open)) if !open.left.is_zero() => open.left.min(STEP),
            // All state is gone, and we do not make it anew: a router that was taken down for good.
            _ if !runtime.exists() => return,
            _ => match run::lock(context, GUARD, None) {
                Ok(lock) => {
                    let settled = settle(context, &lock);
                    if matches!(look(context), Ok(None)) {
                        // Under the lock: who opens the next window sees that nobody waits any more.
                        drop(presence);
                        drop(lock);
                        return;
                    }
                    let wait = if settled.is_some() { retry } else { Duration::ZERO };
                    if settled.is_some() {
                        retry = retry.saturating_mul(2).min(RETRY_AT_MOST);
                    }
                    wait
                }
                Err(_) => RETRY,
            },
        };
        thread::sleep(wait);
    }
}

/// Says in a report what waits to be confirmed, and until when.
pub(super) fn tell(context: &Context, mut report: Report) -> Report {
    match look(context) {
        Ok(None) => {}
        Ok(Some(open)) => {
            let id = short(&open.window.waiting);
            report.notes.push(if open.left.is_zero() {
                format!("{id} was not confirmed in time, and is to be taken back: the next run tries again")
            } else {
                format!(
                    "{id} is taken back at {} (in {} s) unless `kylin-vr confirm` comes before",
                    open.until,
                    open.left.as_secs_f64().ceil()
                )
            });
            report.unconfirmed_until = Some(open.until);
        }
        Err(error) => report.notes.push(error),
    }
    report
}

/// Confirms what waits, the lock held and what is due taken back. `None`: nothing waits.
pub(super) fn confirm(context: &Context, _lock: &Lock) -> Result<Option<Unconfirmed>, (Outcome, String)> {
    let Some(open) = look(context).map_err(|error| (Outcome::Failed, error))? else {
        return Ok(None);
    };
    let fail = |error: std::io::Error| (Outcome::Failed, format!("confirm: {}", plain(&error)));
    let accepted = context.state.accepted().map_err(fail)?.unwrap_or_default();
    if fingerprint(&accepted) != open.window.waiting {
        let message = format!(
            "the reload of {} did not come to its end: it is taken back at {}; reload it again",
            short(&open.window.waiting),
            open.until
        );
        return Err((Outcome::Failed, message));
    }
    context.state.close_window().map_err(fail)?;
    if let Err(error) = context.state.settle_history(Standing::Confirmed) {
        // It is confirmed all the same, and the history says so by what is in force.
        tracing::warn!("the history: {}", plain(&error));
    }
    tracing::info!(
        configuration = open.window.waiting,
        "{} is confirmed",
        short(&open.window.waiting)
    );
    Ok(Some(open.window))
}
