//! What `start`, `reload` and `reset` share: lock, look, apply, keep.

use std::panic::resume_unwind;
use std::thread;
use std::time::{Duration, Instant};

use super::dhcp;
use super::record::{self, Record};
use super::report::{Outcome, Report, count};
use super::{Context, complain, start};
use crate::config::{Config, Problem};
use crate::dnsmasq;
use crate::features;
use crate::intake::{Source, Staged, Standing};
use crate::kernel::{self, Kernel, NicEvents};
use crate::lock::{self, Acquired, Lock};
use crate::managers;
use crate::model::{Desired, Observed};
use crate::owned::{LinkBefore, Owned};
use crate::reconcile::{self, Reconciled, reconcile_from};
use crate::timing::timed;
use crate::words::{plain, printable};

/// A configuration that is about to be applied.
pub(super) struct Job<'t> {
    pub(super) command: &'static str,
    /// Where its text came from.
    pub(super) source: String,
    pub(super) text: &'t [u8],
    pub(super) config: Config,
    pub(super) problems: Vec<Problem>,
    /// What becomes of the configuration file, once the text is applied.
    pub(super) install: Install<'t>,
    /// Whether to keep the text as the one accepted last, once it is applied.
    pub(super) accept: bool,
    /// What becomes of another configuration that waits to be confirmed.
    pub(super) ends: Standing,
}

/// What becomes of the configuration file.
#[derive(Clone, Copy, Debug)]
pub(super) enum Install<'t> {
    /// It stays as it is.
    Nothing,
    /// It gets this text.
    Text(&'t [u8]),
    /// It goes.
    Remove,
}

/// How long a run waits for configured NICs that are not there.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    /// At most so long; zero: not at all.
    pub(super) bound: Duration,
    /// Whether to ask the PCI bus first to look for devices that it did not hear of.
    pub(super) rescan: bool,
}

/// The lock; or the report of a run that does not get it.
pub(super) fn lock(
    context: &Context,
    command: &'static str,
    work: Option<&str>,
) -> Result<Lock, Box<Report>> {
    let source = name(context, None);
    let waiting = |holder: Option<&lock::Holder>| {
        if let (Some(holder), false) = (holder, context.json) {
            complain(&format!("kylin-vr {command}: waiting for {holder}\n"));
        }
    };
    match lock::acquire(context.state.runtime(), context.lock_timeout, work, waiting) {
        Ok(Acquired::Lock(lock)) => Ok(lock),
        Ok(Acquired::LeftTo(holder)) => {
            let other = holder.map_or_else(|| "another run".to_owned(), |holder| holder.to_string());
            let message = format!("left to {other}, which waits for the lock with the same work");
            Err(Box::new(Report::new(
                command,
                source,
                Outcome::LeftToAnother,
                message,
            )))
        }
        Err(error @ lock::Error::TimedOut { .. }) => Err(Box::new(Report::new(
            command,
            source,
            Outcome::Busy,
            error.to_string(),
        ))),
        Err(error) => Err(Box::new(Report::failed(command, source, error))),
    }
}

/// Applies a configuration, and then waits a bounded time for NICs that are missing: what is there works meanwhile.
pub(super) fn apply_patiently(context: &Context, lock: &Lock, job: &Job<'_>, patience: Patience) -> Report {
    if patience.bound.is_zero() {
        return apply(context, lock, job);
    }
    let until = Instant::now() + patience.bound;
    // Before the first look: what comes after it is heard.
    let events = match NicEvents::open() {
        Ok(events) => events,
        Err(error) => {
            let mut report = apply(context, lock, job);
            let note = format!(
                "missing NICs are not waited for: no events of NICs: {}",
                plain(&error)
            );
            report.notes.push(note);
            return report;
        }
    };
    let mut report = apply(context, lock, job);
    let is_waiting = |report: &Report| report.exit_code == 0 && !report.pending.is_empty();
    if is_waiting(&report) && patience.rescan {
        let asked = kernel::rescan_pci();
        let failed = asked
            .err()
            .map(|error| format!("the PCI bus was not rescanned: {error}"));
        report.notes.extend(failed);
    }
    while is_waiting(&report) {
        let left = until.saturating_duration_since(Instant::now());
        match events.wait(left) {
            Ok(true) => {}
            Ok(false) => {
                let seconds = patience.bound.as_secs_f32();
                let (verb, notes) = if report.pending.len() == 1 {
                    ("is", "NIC")
                } else {
                    ("are", "NICs")
                };
                let missing = report.pending.len();
                report.notes.push(format!(
                    "waited {seconds} s: {missing} {notes} {verb} still missing"
                ));
                break;
            }
            Err(error) => {
                report
                    .notes
                    .push(format!("stopped waiting for NICs: {}", plain(&error)));
                break;
            }
        }
        let _ = events.drain();
        report = report.followed_by(apply(context, lock, job));
    }
    report
}

/// The kernel, with what an earlier run saw of it. What it does about us is heard, for the look that verifies.
pub(super) fn open(context: &Context) -> Result<Box<dyn Kernel>, kernel::Error> {
    let mut kernel = (context.open)()?;
    if let Err(error) = kernel.listen() {
        tracing::debug!(%error, "listen");
    }
    if let Some(seen) = context.state.seen() {
        kernel.recall(&seen);
    }
    Ok(kernel)
}

/// Applies a configuration and keeps it. The lock is held all the while.
pub(super) fn apply(context: &Context, lock: &Lock, job: &Job<'_>) -> Report {
    let kernel = match open(context) {
        Ok(kernel) => kernel,
        Err(error) => return Report::failed(job.command, &job.source, error),
    };
    let desired = timed("desired", || features::desired(&job.config));
    apply_last(context, lock, job, kernel, None, &desired)
}

/// The same on a kernel that is open already and was perhaps looked at, with what it should have; nobody needs it afterwards.
pub(super) fn apply_last(
    context: &Context,
    lock: &Lock,
    job: &Job<'_>,
    mut kernel: Box<dyn Kernel>,
    looked: Option<Observed>,
    desired: &Desired,
) -> Report {
    let report = apply_on(context, lock, job, kernel.as_mut(), looked, desired);
    timed("let go", || kernel.let_go());
    report
}

/// The same on a kernel that stays open.
pub(super) fn apply_on(
    context: &Context,
    _lock: &Lock,
    job: &Job<'_>,
    kernel: &mut dyn Kernel,
    looked: Option<Observed>,
    desired: &Desired,
) -> Report {
    let Job {
        command,
        ref source,
        text,
        ref config,
        ref problems,
        install,
        accept,
        ends: _,
    } = *job;
    let fail = |error: String| Report::failed(command, source, error);

    if dhcp::is_essential(job)
        && let Err(error) = dnsmasq::possible(config)
    {
        return fail(error.to_string()).with_problems(problems.clone());
    }
    // Written before the kernel is changed: a full disk is found out while there is nothing to undo yet.
    let staged = match install {
        Install::Text(text) => Staged::unless_held(&context.config, text),
        Install::Nothing | Install::Remove => Ok(None),
    };
    let staged = match staged {
        Ok(staged) => staged,
        Err(error) => return fail(plain(&error)),
    };
    let looked = match looked.map_or_else(|| kernel.observe(), Ok) {
        Ok(looked) => looked,
        Err(error) => return fail(error.to_string()).with_problems(problems.clone()),
    };
    let owned = match owned(context, || Ok(looked.table.is_some())) {
        Ok(owned) => owned,
        Err(error) => return fail(error),
    };
    // Before the links come up: who manages NICs otherwise must know that these are not to be touched.
    let managers = timed("managers", || managers::tell(config));
    let before = owned.clone();
    // The disk takes its time: meanwhile the kernel is changed.
    let (reconciled, (mut record, accepted)) = thread::scope(|scope| {
        let state = &context.state;
        let keeping = scope.spawn(move || {
            let record = timed("history before", || Record::begin(state, job));
            (record, accept.then(|| timed("stage", || state.stage(text))))
        });
        let reconciled = reconcile_from(kernel, looked, desired, owned, |owned| {
            timed("record", || state.record(owned))
        });
        (
            reconciled,
            keeping.join().unwrap_or_else(|panic| resume_unwind(panic)),
        )
    });
    let reconciled = match reconciled {
        Ok(reconciled) => reconciled,
        Err(error) => {
            tracing::error!(command, "not applied: {error}");
            return match error {
                reconcile::Error::Failed { failed, left_over } => {
                    record::failed(context, job, &failed);
                    rolled_back(command, source, failed, left_over).with_problems(problems.clone())
                }
                error => fail(error.to_string()).with_problems(problems.clone()),
            };
        }
    };
    let served = match timed("dhcp", || dhcp::bring(context, job, kernel)) {
        Ok(served) => served,
        Err((error, not_back)) => {
            tracing::error!(command, "not applied: {error}");
            return take_back(context, job, kernel, reconciled, &before, error, not_back);
        }
    };
    let is_removed = matches!(install, Install::Remove);
    let kept = timed("keep", || keep(context, accepted, staged, is_removed));
    if let Err(error) = kept {
        let error = format!("keep the configuration: {}", plain(&error));
        let not_back = served.undo(context).into_iter().collect();
        return take_back(context, job, kernel, reconciled, &before, error, not_back);
    }

    let pending = match reconciled.plan.pending.len() {
        0 => String::new(),
        pending => format!("; {} pending", count(pending, "NIC")),
    };
    let report = Report::new(
        command,
        source,
        Outcome::Unchanged,
        format!("nothing changed{pending}"),
    );
    let mut report = timed("report", || {
        report
            .with_plan(&reconciled.done, &reconciled.plan, context.json)
            .with_problems(problems.clone())
            .with_in_force(Some((text, config)))
    });
    report.notes.extend(managers);
    report.notes.extend(served.notes.iter().cloned());
    for line in served.lines() {
        report
            .changes
            .push(line.action, line.object, format_args!("{}", line.text));
    }
    report.flows_ended = reconciled.flows_ended;
    report.refused.clone_from(&reconciled.refused);
    let is_changed = !reconciled.done.is_empty() || !served.lines().is_empty();
    let announcements = reconciled.into_announcements();
    if report.flows_ended > 0 {
        tracing::info!(
            flows = report.flows_ended,
            "{} ended, whose translation changed",
            count(report.flows_ended, "flow")
        );
    }
    if is_changed {
        let changes = report.changes.count();
        report = report.with_outcome(
            Outcome::Applied,
            format!("applied {}{pending}", count(changes, "change")),
        );
        if tracing::enabled!(tracing::Level::INFO) {
            for line in report.changes.shortened() {
                tracing::info!("{line}");
            }
        }
        tracing::info!(
            command,
            changes,
            pending = report.pending.len(),
            "applied {} of {source}{pending}",
            count(changes, "change")
        );
    }
    let notes = timed("history", || record.end(context, job, &report));
    report.notes.extend(notes);
    // Without it, the next run looks at everything itself.
    if let Err(error) = timed("keep what was seen", || context.state.keep_seen(&kernel.keep())) {
        tracing::debug!(%error, "what was seen is not kept");
    }
    if let Err(error) = timed("announce", || kernel.announce(&announcements)) {
        // The router works; neighbours learn a little later.
        report.notes.push(error.to_string());
    }
    match served.failed {
        // The boot goes on; a monitor tries again.
        Some(failed) if command == start::COMMAND => {
            report.notes.push(failed);
            report
        }
        Some(failed) => report.with_outcome(Outcome::Failed, failed),
        None => report,
    }
}

/// Takes back what was done to the kernel, because what was to follow failed. `not_back`: what could not be brought back of
/// that.
fn take_back(
    context: &Context,
    job: &Job<'_>,
    kernel: &mut dyn Kernel,
    reconciled: Reconciled,
    before: &Owned,
    error: String,
    not_back: Vec<String>,
) -> Report {
    let ours = reconciled.owned.clone();
    let mut left_over = reconciled.undo(kernel, |owned| context.state.record(owned));
    left_over.extend(not_back);
    let kept = context
        .state
        .record(if left_over.is_empty() { before } else { &ours });
    let not_kept = kept
        .err()
        .map(|error| format!("keep the record: {}", plain(&error)));
    let failed: Vec<String> = std::iter::once(error).chain(not_kept).collect();
    record::failed(context, job, &failed);
    rolled_back(job.command, &job.source, failed, left_over).with_problems(job.problems.clone())
}

/// What is in force when a run could not put something else in its place.
pub(super) fn still_in_force(context: &Context, report: Report) -> Report {
    let last = context.state.accepted().ok().flatten();
    let config = last.as_deref().and_then(|text| Config::parse(text).config);
    report.with_in_force(last.as_deref().zip(config.as_ref()))
}

/// Keeps a text that was applied, as the installed file and as the one accepted last (`None`: it is not to be that): both or
/// neither.
fn keep(
    context: &Context,
    accepted: Option<std::io::Result<Option<Staged>>>,
    staged: Option<Staged>,
    is_removed: bool,
) -> std::io::Result<()> {
    // Both are on the disk before either takes its place: what is left to do needs no space.
    let accepted = match accepted {
        Some(accepted) => {
            let accepted = accepted?;
            context.state.claim()?;
            accepted
        }
        None => None,
    };
    let is_changed = staged.is_some() || is_removed;
    let before = if is_changed {
        crate::intake::read_if_there(&context.config)?
    } else {
        None
    };
    // The file first: should the power go between the two, the boot finds the new file, and accepts it.
    if is_removed && before.is_some() {
        std::fs::remove_file(&context.config)?;
    }
    staged.map_or(Ok(()), Staged::install)?;
    let kept = accepted.map_or(Ok(()), Staged::install);
    if kept.is_err() && is_changed {
        match before {
            None if is_removed => {}
            Some(text) => Staged::write(&context.config, &text)?.install()?,
            None => std::fs::remove_file(&context.config)?,
        }
    }
    kept
}

/// What is ours. Where the record of it was lost although our table is there, so that an earlier run of this boot
/// made it: at least the NICs of the configuration that was accepted last.
pub(super) fn owned(
    context: &Context,
    has_table: impl FnOnce() -> Result<bool, kernel::Error>,
) -> Result<Owned, String> {
    let state = |error: std::io::Error| format!("read the state: {}", plain(&error));
    if let Some(owned) = context.state.owned().map_err(state)? {
        return Ok(owned);
    }
    let mut owned = Owned::default();
    if has_table().map_err(|error| error.to_string())? {
        let last = context.state.accepted().map_err(state)?;
        let last = last
            .as_deref()
            .and_then(|text| Config::parse(text).config)
            .unwrap_or_default();
        let links = last
            .interfaces()
            .iter()
            .filter(|interface| interface.vxlan.is_none())
            .map(|interface| (interface.mac, LinkBefore { up: true }));
        owned.links.extend(links);
    }
    Ok(owned)
}

fn rolled_back(command: &'static str, source: &str, failed: Vec<String>, left_over: Vec<String>) -> Report {
    let message = if left_over.is_empty() {
        "not applied; everything is as it was"
    } else {
        "not applied, and not all of it could be taken back: run it again"
    };
    let mut report = Report::new(command, source, Outcome::RolledBack, message.to_owned());
    report.failed = failed;
    report.left_over = left_over;
    report
}

/// The text that a command is about, and what it is called: the given source, or the installed file, where none
/// is as good as an empty one.
pub(super) fn read(context: &Context, source: Option<&Source>) -> std::io::Result<Vec<u8>> {
    match source {
        Some(source) => source.read(),
        None => Ok(crate::intake::read_if_there(&context.config)?.unwrap_or_default()),
    }
}

/// What messages call the text that a command is about.
pub(super) fn name(context: &Context, source: Option<&Source>) -> String {
    source.map_or_else(
        || printable(&context.config.to_string_lossy()).into_owned(),
        ToString::to_string,
    )
}
