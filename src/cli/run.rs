//! What `start`, `reload` and `reset` share: lock, look, apply, keep.

use super::Context;
use super::report::{Outcome, Report, count, shortened};
use crate::config::{Config, Problem};
use crate::features;
use crate::intake::{Source, Staged};
use crate::kernel::{self, Kernel, Linux};
use crate::lock::{self, Acquired, Lock};
use crate::owned::{LinkBefore, Owned};
use crate::reconcile::{self, reconcile};
use crate::words::plain;

/// A configuration that is about to be applied.
pub(super) struct Job<'t> {
    pub(super) command: &'static str,
    /// Where its text came from.
    pub(super) source: String,
    pub(super) config: Config,
    pub(super) problems: Vec<Problem>,
    /// The text to install as the configuration file, once it is applied.
    pub(super) install: Option<&'t [u8]>,
    /// The text to keep as the one accepted last, once it is applied.
    pub(super) accept: Option<&'t [u8]>,
}

/// The lock; or the report of a run that does not get it.
pub(super) fn lock(
    context: &Context,
    command: &'static str,
    work: Option<&str>,
) -> Result<Lock, Box<Report>> {
    let source = context.config.display();
    let waiting = |holder: Option<&lock::Holder>| {
        if let (Some(holder), false) = (holder, context.json) {
            eprintln!("kylin-vr {command}: waiting for {holder}");
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

/// Applies a configuration and keeps it. The lock is held all the while.
pub(super) fn apply(context: &Context, _lock: &Lock, job: Job<'_>) -> Report {
    let Job {
        command,
        source,
        config,
        problems,
        install,
        accept,
    } = job;
    let fail = |error: String| Report::failed(command, &source, error);

    // Written before the kernel is changed: a full disk is found out while there is nothing to undo yet.
    let staged = match install
        .map(|text| Staged::write(&context.config, text))
        .transpose()
    {
        Ok(staged) => staged,
        Err(error) => return fail(format!("write {}: {}", context.config.display(), plain(&error))),
    };
    let mut kernel = match Linux::open() {
        Ok(kernel) => kernel,
        Err(error) => return fail(error.to_string()),
    };
    let owned = match owned(context, || Ok(kernel.observe()?.table.is_some())) {
        Ok(owned) => owned,
        Err(error) => return fail(error),
    };
    let desired = features::desired(&config);
    let before = owned.clone();
    let reconciled = match reconcile(&mut kernel, &desired, owned, |owned| context.state.record(owned)) {
        Ok(reconciled) => reconciled,
        Err(error) => {
            tracing::error!(%error, "not applied");
            return match error {
                reconcile::Error::Failed { failed, left_over } => {
                    rolled_back(command, &source, failed, left_over).with_problems(problems)
                }
                error => fail(error.to_string()).with_problems(problems),
            };
        }
    };
    if let Err(error) = keep(context, accept, staged) {
        let left_over = reconciled.undo(&mut kernel);
        let mut failed = vec![format!("keep the configuration: {}", plain(&error))];
        failed.extend(
            context
                .state
                .record(&before)
                .err()
                .map(|error| format!("keep the record: {}", plain(&error))),
        );
        return rolled_back(command, &source, failed, left_over).with_problems(problems);
    }

    let pending = match reconciled.plan.pending.len() {
        0 => String::new(),
        pending => format!("; {} pending", count(pending, "NIC")),
    };
    let mut report = Report::new(
        command,
        &source,
        Outcome::Unchanged,
        format!("nothing changed{pending}"),
    )
    .with_plan(&reconciled.done, &reconciled.plan)
    .with_problems(problems);
    if !reconciled.done.is_empty() {
        let changes: usize = reconciled.done.iter().map(|one| one.lines().len()).sum();
        report = report.with_outcome(
            Outcome::Applied,
            format!("applied {}{pending}", count(changes, "change")),
        );
        for line in shortened(&report.changes) {
            tracing::info!("{line}");
        }
        tracing::info!(
            command,
            source,
            changes,
            pending = report.pending.len(),
            "applied"
        );
    }
    if let Err(error) = kernel.announce(&reconciled.plan.announcements) {
        // The router works; neighbours learn a little later.
        report.notes.push(error.to_string());
    }
    report
}

/// Keeps a text that was applied, as the one accepted last and as the installed file: both or neither.
fn keep(context: &Context, accept: Option<&[u8]>, staged: Option<Staged>) -> std::io::Result<()> {
    let last = context.state.accepted()?;
    if let Some(text) = accept {
        context.state.accept(text)?;
    }
    let installed = staged.map_or(Ok(()), Staged::install);
    if installed.is_err() && accept.is_some() {
        match last {
            Some(last) => context.state.accept(&last)?,
            None => context.state.forget()?,
        }
    }
    installed
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
    source.map_or_else(|| context.config.display().to_string(), ToString::to_string)
}
