//! `kylin-vr monitor`: stays, and reconciles to what was accepted last whenever something comes, goes or is changed.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use super::memory::Memory;
use super::report::{Outcome, Report, count};
use super::{Context, exit, metrics, window};
use crate::clock::wall;
use crate::intake::UNCONFIRMED;
use crate::lock;
use crate::monitor::{self, Cause, Look, Server, Tally};
use crate::plan::Line;
use crate::words::plain;

const COMMAND: &str = "monitor";

/// A run that has the lock for longer than this is asked for again later: the watchdog must hear of us meanwhile.
const LOCK_TIMEOUT: Duration = Duration::from_secs(5);

pub(super) fn run(mut context: Context) -> ExitCode {
    let fail = |message: String| {
        tracing::error!("{message}");
        ExitCode::from(exit::OTHER)
    };
    // Known to others as long as we live: runs that udev starts leave their work to us.
    let _presence = match lock::presence(context.state.runtime(), lock::MONITOR) {
        Ok(Some(presence)) => presence,
        Ok(None) => {
            let other = lock::present(context.state.runtime(), lock::MONITOR);
            let other = other.map_or_else(|| "another monitor".to_owned(), |other| other.to_string());
            return fail(format!("{other} watches already"));
        }
        Err(error) => return fail(error.to_string()),
    };
    let bound = monitor::slice().map_or(LOCK_TIMEOUT, |slice| slice.min(LOCK_TIMEOUT));
    context.lock_timeout = context.lock_timeout.min(bound);
    // Nobody reads what it prints.
    context.json = true;
    let directory = context.state.lasting().to_owned();
    let server = match Server::from_environment(metrics::CONTENT_TYPE) {
        Ok(server) => server,
        Err(error) => {
            // The router's work is more than its being watched.
            tracing::warn!(
                "serve metrics on the sockets that were handed over: {}",
                plain(&error)
            );
            None
        }
    };
    let mut work = Work {
        context,
        memory: Memory::default(),
        tally: Tally::new(wall()),
    };
    match monitor::run(&directory, UNCONFIRMED, server, &mut work) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(error.to_string()),
    }
}

/// What is done for the monitor, and what came of it so far.
struct Work {
    context: Context,
    memory: Memory,
    tally: Tally,
}

impl monitor::Work for Work {
    fn look(&mut self, cause: Cause) -> Look {
        let (begin, is_first) = (Instant::now(), self.tally.looks() == 0);
        let seen = look(&self.context, &mut self.memory, cause);
        self.tally
            .add(cause, seen.outcome, seen.repaired.len(), begin.elapsed());
        // Read by `kylin-vr metrics`: nothing depends on it.
        if let Err(error) = self.context.state.keep_tally(&self.tally)
            && is_first
        {
            tracing::warn!("keep what the monitor did: {}", plain(&error));
        }
        seen
    }

    fn metrics(&mut self) -> Result<String, String> {
        metrics::text(&self.context, Some(&self.tally))
    }
}

fn look(context: &Context, memory: &mut Memory, cause: Cause) -> Look {
    let report = memory.look(context, COMMAND);
    let outcome = match report.result {
        Outcome::Applied => monitor::Outcome::Changed,
        Outcome::Unchanged | Outcome::LeftToAnother => monitor::Outcome::Nothing,
        Outcome::Busy => monitor::Outcome::Busy,
        _ => monitor::Outcome::Failed,
    };
    match (outcome, cause) {
        (monitor::Outcome::Changed, Cause::Drift) => tracing::warn!(
            changes = report.changes.count(),
            "put right what something else had changed: {}",
            count(report.changes.count(), "change")
        ),
        (monitor::Outcome::Failed, _) => tracing::error!("{}", report.message),
        _ => {}
    }
    // What is due and could not be taken back is tried again as every failure is.
    let left = window::look(context).ok().flatten().map(|open| open.left);
    let outcome = match left {
        Some(left) if left.is_zero() && outcome != monitor::Outcome::Busy => monitor::Outcome::Failed,
        _ => outcome,
    };
    Look {
        outcome,
        repaired: report.changes.lines().map(thing).collect(),
        summary: summary(&report),
        next: left
            .filter(|left| !left.is_zero())
            .into_iter()
            .chain(memory.next())
            .min(),
    }
}

/// What a change is of. The parts of our table are one thing, and so are the elastic IPs' routes: thousands of them
/// change together.
fn thing(line: &Line) -> String {
    match line.object {
        "nft" => "the nftables table".to_owned(),
        "route" if line.text.starts_with("local ") => "the routes of elastic IPs".to_owned(),
        object => format!("{object} {}", line.text),
    }
}

fn summary(report: &Report) -> String {
    let pending: Vec<String> = report.pending.iter().map(|one| one.link.to_string()).collect();
    match (report.exit_code, pending.len()) {
        (0, 0) => "the kernel matches what was accepted last".to_owned(),
        (0, number) => format!("waiting for {}: {}", count(number, "NIC"), pending.join(", ")),
        _ => report.message.clone(),
    }
}
