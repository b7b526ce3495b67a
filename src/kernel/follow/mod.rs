//! Follows one real packet through nftables (nft(8), `meta nftrace` and `monitor trace`), by a table of its own that is there
//! only meanwhile.
//!
//! Its chains stand first and last at every hook: what was seen at one of them and not at the next is lost in between, and
//! what is seen last after routing is what leaves the router.

mod batch;
mod event;
#[cfg(test)]
mod tests;

use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::time::{Duration, Instant};

use netlink_sys::{Socket, SocketAddr, protocols};
use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{MsgFlags, recv};

use super::Error;
use super::netfilter::message::{Content, Messages, answers};
use super::netfilter::socket::{Answers, NetfilterSocket};
use crate::model::inspected::{Followed, Traced};

/// After a packet's last event so much quiet means that there is no more of it.
const QUIET: Duration = Duration::from_millis(300);
/// How long an answer is waited for.
const ANSWER: Duration = Duration::from_secs(2);

/// A packet is waited for, from when this is made until it is dropped.
pub struct Follower {
    /// The table is gone with it: it belongs to this socket.
    owner: NetfilterSocket,
    events: Socket,
    answered: bool,
}

impl Follower {
    /// Has the kernel tell of such a packet from now on.
    ///
    /// # Errors
    /// If the kernel refuses: also if another one is at work.
    pub fn open(followed: &Followed) -> Result<Self, Error> {
        let failed = |source: io::Error| Error::Read {
            what: "events of nftables tracing".to_owned(),
            source,
        };
        let listen = || -> io::Result<Socket> {
            let mut events = Socket::new(protocols::NETLINK_NETFILTER)?;
            events.bind(&SocketAddr::new(0, 0))?;
            events.add_membership(libc::NFNLGRP_NFTRACE as u32)?;
            Ok(events)
        };
        let events = listen().map_err(failed)?;
        let mut owner = NetfilterSocket::open().map_err(failed)?;
        // A table that its socket owns is known since Linux 5.12.
        match send(&mut owner, followed, true)? {
            Some(libc::EOPNOTSUPP | libc::EINVAL) => {
                if let Some(errno) = send(&mut owner, followed, false)? {
                    return Err(refused(errno));
                }
            }
            Some(errno) => return Err(refused(errno)),
            None => {}
        }
        Ok(Self {
            owner,
            events,
            answered: followed.answer.is_some(),
        })
    }

    /// Waits for the first packet, at most so long, and gives all that was told of it and of its answer; nothing: none came.
    /// `has_answer` says after which events no answer is waited for any more.
    ///
    /// # Errors
    /// If the events cannot be read.
    pub fn wait(
        &mut self,
        timeout: Duration,
        has_answer: impl Fn(&[Traced]) -> bool,
    ) -> Result<Vec<Traced>, Error> {
        let mut until = Instant::now() + timeout;
        let mut all: Vec<Traced> = Vec::new();
        let mut is_answered = !self.answered;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(all);
            }
            let more = self.receive(left)?;
            if more.is_empty() {
                continue;
            }
            let is_first = all.is_empty();
            all.extend(more);
            is_answered |= has_answer(&all);
            let now = Instant::now();
            if is_first && !is_answered {
                until = now + ANSWER;
            } else if is_answered {
                until = now + QUIET;
            }
        }
    }

    /// The events that come within a time; none: none came.
    fn receive(&self, timeout: Duration) -> Result<Vec<Traced>, Error> {
        let failed = |source: io::Error| Error::Read {
            what: "events of nftables tracing".to_owned(),
            source,
        };
        let mut fds = [PollFd::new(self.events.as_fd(), PollFlags::POLLIN)];
        let timeout = PollTimeout::try_from(timeout + Duration::from_millis(1)).unwrap_or(PollTimeout::MAX);
        match poll(&mut fds, timeout) {
            Ok(0) | Err(nix::Error::EINTR) => return Ok(Vec::new()),
            Ok(_) => {}
            Err(error) => return Err(failed(error.into())),
        }
        let mut buffer = vec![0; 1 << 16];
        let length = match recv(self.events.as_raw_fd(), &mut buffer, MsgFlags::MSG_DONTWAIT) {
            Ok(length) => length,
            // Too many at once: those that are lost are missed, which is better than no answer.
            Err(nix::Error::EAGAIN | nix::Error::EINTR | nix::Error::ENOBUFS) => return Ok(Vec::new()),
            Err(error) => return Err(failed(error.into())),
        };
        read(&buffer[..length]).map_err(|problem| Error::Garbled {
            request: "follow a packet",
            problem,
        })
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        let sequence = self.owner.numbers(batch::REMOVAL);
        let batch = batch::remove(sequence);
        // Refused or not: the kernel removes an owned table with the socket.
        let _ = self.owner.batch(batch.bytes(), |_| true);
    }
}

/// Events in what one receive brought.
fn read(bytes: &[u8]) -> Result<Vec<Traced>, String> {
    let mut events = Vec::new();
    for answer in answers(bytes) {
        let answer = answer?;
        let wanted = (libc::NFNL_SUBSYS_NFTABLES << 8) | libc::NFT_MSG_TRACE;
        if libc::c_int::from(answer.kind) != wanted {
            continue;
        }
        if let Content::Object(family, message) = answer.content()? {
            events.extend(event::read(family, message)?);
        }
    }
    Ok(events)
}

/// Puts the table in place; the error number that it was refused with.
fn send(socket: &mut NetfilterSocket, followed: &Followed, owned: bool) -> Result<Option<i32>, Error> {
    let first = socket.numbers(batch::MOST);
    let batch: Messages = batch::create(followed, owned, first);
    let answers = socket
        .batch(batch.bytes(), |sequence| {
            sequence.wrapping_sub(first) < batch::MOST
        })
        .map_err(|source| Error::Refused { source })?;
    Ok(match answers {
        Answers::Acknowledged => None,
        Answers::Failed(_, errno) => Some(errno),
        Answers::Lost => Some(libc::ENOBUFS),
    })
}

fn refused(errno: i32) -> Error {
    let source = match errno {
        libc::EPERM => {
            io::Error::other("another `kylin-vr trace --live` waits for a packet: try again after it")
        }
        errno => io::Error::from_raw_os_error(errno),
    };
    Error::Read {
        what: "a packet by nftables tracing".to_owned(),
        source,
    }
}
