//! The daemon: waits for events of NICs, links, addresses, routes and our table, and has somebody look.
//!
//! An event never says what to do, only that there is something to look at: so it does not matter how many come, in
//! which order, or that one is lost. It listens before its first look. One thread, which sleeps in poll(2).

mod file;
mod request;
mod schedule;
mod serve;
mod tally;

use std::collections::BTreeSet;
use std::io;
use std::os::fd::AsFd;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use sd_notify::NotifyState;

use crate::kernel::{self, NicEvents, Watch};
use crate::words::{plain, printable};

use file::FileEvents;
use schedule::Schedule;
pub use schedule::{Cause, Outcome};
pub use serve::Server;
pub use tally::Tally;

/// Why the monitor cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The kernel's events cannot be had.
    #[error(transparent)]
    Kernel(#[from] kernel::Error),
    /// The system refuses something.
    #[error("{what}: {}", plain(.source))]
    System {
        /// What.
        what: &'static str,
        /// Why.
        #[source]
        source: io::Error,
    },
}

fn system(what: &'static str) -> impl Fn(io::Error) -> Error {
    move |source| Error::System { what, source }
}

/// A look, and what came of it.
#[derive(Clone, Debug)]
pub struct Look {
    /// How it ended.
    pub outcome: Outcome,
    /// The things that it changed.
    pub repaired: BTreeSet<String>,
    /// The state of things in a sentence, for `systemctl status`.
    pub summary: String,
    /// When there is something to do by the clock: after this time; `None`: there is not.
    pub next: Option<Duration>,
}

/// What the monitor does for others.
pub trait Work {
    /// Looks at the kernel, and puts right what is to be.
    fn look(&mut self, cause: Cause) -> Look;

    /// How things are, for a [`Server`].
    ///
    /// # Errors
    /// Why that cannot be told, in words.
    fn metrics(&mut self) -> Result<String, String>;
}

/// Waits for events until SIGTERM or SIGINT, and has `work` look: once at the beginning, soon after events, and on
/// SIGHUP, when a file named `file` in `directory` is replaced or removed, and when a look said. What `work` does must come
/// back within a third of the watchdog's time ([`slice`]).
///
/// # Errors
/// If there are no events to be had.
pub fn run(
    directory: &Path,
    file: &'static str,
    mut server: Option<Server>,
    work: &mut impl Work,
) -> Result<(), Error> {
    let mut mask = SigSet::empty();
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP] {
        mask.add(signal);
    }
    let signals = mask
        .thread_block()
        .and_then(|()| SignalFd::with_flags(&mask, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK))
        .map_err(|error| system("listen for signals")(error.into()))?;
    let nics = NicEvents::open().map_err(system("listen for NICs"))?;
    let watch = Watch::open()?;
    let file = FileEvents::of(directory, file).map_err(system("listen for files"))?;

    let mut schedule = Schedule::new(Instant::now());
    let mut is_ready = false;
    let mut told = String::new();
    loop {
        let now = Instant::now();
        if let Some(cause) = schedule.begin(now) {
            let seen = work.look(cause);
            let spent = schedule.ended(Instant::now(), cause, seen.outcome, seen.repaired);
            if !spent.is_empty() {
                tracing::warn!(
                    "something keeps undoing what this router needs ({}): for now it is put right every few seconds \
                     only",
                    spent.join(", ")
                );
            }
            schedule.next(seen.next.map(|next| Instant::now() + next));
            if seen.outcome != Outcome::Failed && seen.summary != told {
                tracing::info!("{}", seen.summary);
                told.clone_from(&seen.summary);
            }
            let mut states = vec![NotifyState::Status(&seen.summary)];
            if !is_ready {
                states.push(NotifyState::Ready);
                is_ready = true;
            }
            notify(&states);
            continue;
        }
        let waits = server.as_ref().and_then(Server::due);
        let (due, ping) = (schedule.due().into_iter().chain(waits).min(), slice());
        let until_due = due.map(|due| due.saturating_duration_since(now));
        let timeout = until_due.into_iter().chain(ping).min();
        let timeout = timeout.map_or(PollTimeout::NONE, |timeout| {
            // Rounded up: not to wake a moment too early, over and over.
            PollTimeout::try_from(timeout + Duration::from_millis(1)).unwrap_or(PollTimeout::MAX)
        });
        let [route, nftables] = watch.fds();
        let fds = [nics.as_fd(), route, nftables, signals.as_fd(), file.as_fd()];
        let mut fds: Vec<PollFd<'_>> = fds.map(|fd| PollFd::new(fd, PollFlags::POLLIN)).into();
        let served = server.as_ref().map_or_else(Vec::new, Server::fds);
        fds.extend(served.into_iter().map(|(fd, flags)| PollFd::new(fd, flags)));
        match poll(&mut fds, timeout) {
            Ok(_) | Err(nix::Error::EINTR) => {}
            Err(error) => return Err(system("wait for events")(error.into())),
        }
        if ping.is_some() {
            notify(&[NotifyState::Watchdog]);
        }
        let now = Instant::now();
        if let Some(server) = &mut server {
            server.turn(now, || work.metrics());
        }
        let events = nics.drain();
        if !events.is_empty() {
            tracing::debug!(events = &*printable(&events.join(", ")), "NIC");
            schedule.event(now, Cause::Nic);
        }
        if watch.drain() {
            schedule.event(now, Cause::Drift);
        }
        if file.drain() {
            schedule.event(now, Cause::Nic);
        }
        while let Ok(Some(signal)) = signals.read_signal() {
            if Signal::try_from(signal.ssi_signo.cast_signed()) == Ok(Signal::SIGHUP) {
                schedule.event(now, Cause::Nic);
            } else {
                notify(&[NotifyState::Stopping]);
                return Ok(());
            }
        }
    }
}

/// How often systemd is to be told that all is well (a third of WatchdogSec=); `None`: it does not ask.
#[must_use]
pub fn slice() -> Option<Duration> {
    let mut microseconds = 0;
    sd_notify::watchdog_enabled(false, &mut microseconds).then(|| Duration::from_micros(microseconds) / 3)
}

fn notify(states: &[NotifyState<'_>]) {
    // Nobody listens: somebody else's service manager, or none.
    if let Err(error) = sd_notify::notify(false, states) {
        tracing::debug!(error = plain(&error), "sd_notify");
    }
}
