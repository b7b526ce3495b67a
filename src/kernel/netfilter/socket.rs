//! The netlink socket: sends requests, and tells answers from errors. Knows nothing of what is asked.
//!
//! The kernel works while a send lasts: when it returns, the answers are queued, or were lost.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};

use netlink_sys::protocols::NETLINK_NETFILTER;
use netlink_sys::{Socket, SocketAddr};
use nix::libc;
use nix::sys::socket::{setsockopt, sockopt};
use nix::sys::time::TimeVal;

use super::message::{Answer, Content, FAMILY, Messages, answers};
use crate::kernel::error::Error;

/// The kernel fills at most 32 KiB at a time (`netlink_dump`, af_netlink.c); an error carries its request, which
/// may have 64 KiB, where `NETLINK_CAP_ACK` is not known.
const RECEIVE: usize = 128 * 1024;
/// What may wait to be received: hundreds of errors, each counted with the kernel's bookkeeping.
const RECEIVE_QUEUE: usize = 1024 * 1024;
/// An answer that did not come until then is lost.
const PATIENCE: TimeVal = TimeVal::new(10, 0);

/// A socket to the netfilter subsystems of the network namespace that it was opened in.
pub(in crate::kernel) struct NetfilterSocket {
    socket: Socket,
    buffer: Vec<u8>,
    /// The number of the next message. Each has its own, so that a late answer is known as such.
    sequence: u32,
    /// How large a send the socket takes.
    room: usize,
}

/// A netfilter subsystem.
pub(in crate::kernel) struct Subsystem {
    /// `NFNL_SUBSYS_*`
    pub(in crate::kernel) number: libc::c_int,
    /// In words, what is read from it.
    pub(in crate::kernel) holds: &'static str,
}

/// A question to a netfilter subsystem.
pub(in crate::kernel) struct Request<'a> {
    /// In words, for an answer that cannot be read.
    pub(in crate::kernel) what: &'static str,
    /// Who is asked.
    pub(in crate::kernel) to: &'a Subsystem,
    /// The subsystem's number of what is asked for: `NFT_MSG_GET*`, `IPCTNL_MSG_CT_GET`
    pub(in crate::kernel) kind: libc::c_int,
    /// `NLM_F_DUMP` for all objects, 0 for one.
    pub(in crate::kernel) flags: libc::c_int,
    /// Names that say which.
    pub(in crate::kernel) names: &'a [(u16, &'a str)],
}

/// The kernel's answers to a batch.
pub(in crate::kernel) enum Answers {
    /// It was carried out.
    Acknowledged,
    /// It was not: this message (by its sequence number) was answered with this error number.
    Failed(u32, i32),
    /// They were lost, or there were none.
    Lost,
}

impl AsRawFd for NetfilterSocket {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}

impl AsFd for NetfilterSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl NetfilterSocket {
    pub(in crate::kernel) fn open() -> io::Result<Self> {
        let socket = Socket::new(NETLINK_NETFILTER)?;
        // Errors without a copy of the request, which may have 64 KiB. Not known to every kernel, so not needed.
        let _ = socket.set_cap_ack(true);
        setsockopt(&socket, sockopt::ReceiveTimeout, &PATIENCE)?;
        // The first needs CAP_NET_ADMIN in the initial user namespace and knows no limit.
        if setsockopt(&socket, sockopt::RcvBufForce, &RECEIVE_QUEUE).is_err() {
            setsockopt(&socket, sockopt::RcvBuf, &RECEIVE_QUEUE)?;
        }
        Ok(Self {
            socket,
            buffer: Vec::with_capacity(RECEIVE),
            sequence: 1,
            room: 0,
        })
    }

    /// Asks, and calls `each` with the family and the attributes of every object in the answer. Returns whether
    /// the answer is of one piece: nothing changed while it was given.
    ///
    /// # Errors
    /// The kernel's (with its error number), or the first of `each`.
    pub(in crate::kernel) fn ask(
        &mut self,
        request: &Request<'_>,
        each: impl FnMut(u8, &[u8]) -> Result<(), String>,
    ) -> Result<bool, Error> {
        self.ask_of(FAMILY, request, each)
    }

    /// The same about another family (`NFPROTO_*`; unspecified: all of them).
    ///
    /// # Errors
    /// As of [`Self::ask`].
    pub(in crate::kernel) fn ask_of(
        &mut self,
        family: u8,
        request: &Request<'_>,
        each: impl FnMut(u8, &[u8]) -> Result<(), String>,
    ) -> Result<bool, Error> {
        self.ask_for(family, request, |_| (), each)
    }

    /// The same about something that `write` adds to the names of the request.
    ///
    /// # Errors
    /// As of [`Self::ask`].
    pub(in crate::kernel) fn ask_for(
        &mut self,
        family: u8,
        request: &Request<'_>,
        write: impl FnOnce(&mut Messages),
        mut each: impl FnMut(u8, &[u8]) -> Result<(), String>,
    ) -> Result<bool, Error> {
        let sequence = self.numbers(1);
        let mut message = Messages::default();
        // An acknowledgement ends what is no dump; a dump has its own end.
        message.message_of(
            family,
            request.to.number,
            request.kind,
            libc::NLM_F_REQUEST | libc::NLM_F_ACK | request.flags,
            sequence,
            |message| {
                for (kind, name) in request.names {
                    message.text(*kind, name);
                }
                write(message);
            },
        );
        let failed = |source| Error::Read {
            what: request.to.holds.to_owned(),
            source,
        };
        let garbled = |problem| Error::Garbled {
            request: request.what,
            problem,
        };
        self.send(message.bytes()).map_err(failed)?;
        let mut whole = true;
        let mut error = None;
        // To the end even after an error: the kernel starts no dump while another one is being read.
        loop {
            self.receive(0).map_err(failed)?;
            for answer in answers(&self.buffer) {
                let answer = answer.map_err(garbled)?;
                if answer.sequence != sequence {
                    continue;
                }
                whole &= !answer.interrupted();
                match answer.content().map_err(garbled)? {
                    Content::Object(family, attributes) => {
                        if let Err(problem) = each(family, attributes) {
                            error.get_or_insert(problem);
                        }
                    }
                    Content::Failed(errno) => return Err(failed(io::Error::from_raw_os_error(errno))),
                    Content::Done => return error.map_or(Ok(whole), |problem| Err(garbled(problem))),
                }
            }
        }
    }

    /// Sequence numbers for `count` messages: the first of them.
    pub(in crate::kernel) fn numbers(&mut self, count: u32) -> u32 {
        let first = self.sequence;
        self.sequence = self.sequence.wrapping_add(count);
        first
    }

    /// Sends a batch whose messages `has` knows by their sequence numbers.
    ///
    /// # Errors
    /// If it could not be sent.
    pub(in crate::kernel) fn batch(
        &mut self,
        bytes: &[u8],
        has: impl Fn(u32) -> bool,
    ) -> io::Result<Answers> {
        let (mut acknowledged, mut failed) = (false, None);
        let whole = self.send_all(bytes, |sequence, errno| match errno {
            _ if !has(sequence) => {}
            // The first error is the cause; later ones may be its consequences.
            Some(errno) => failed = failed.or(Some((sequence, errno))),
            None => acknowledged = true,
        })?;
        Ok(match failed {
            Some((sequence, errno)) => Answers::Failed(sequence, errno),
            // Each message is answered for itself: an error to another one may be among what was lost.
            None if acknowledged && whole => Answers::Acknowledged,
            None => Answers::Lost,
        })
    }

    /// Sends messages, and calls `each` with the sequence number and the error number (`None`: carried out) of every
    /// answer. Returns whether all answers were received.
    ///
    /// # Errors
    /// If they could not be sent.
    pub(in crate::kernel) fn send_all(
        &mut self,
        bytes: &[u8],
        mut each: impl FnMut(u32, Option<i32>),
    ) -> io::Result<bool> {
        self.make_room(bytes.len());
        self.send(bytes)?;
        let mut whole = true;
        loop {
            match self.receive(libc::MSG_DONTWAIT) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(whole),
                // The queue was full. What is in it counts, but it is not all.
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => {
                    whole = false;
                    continue;
                }
                Err(error) => return Err(error),
            }
            for answer in answers(&self.buffer) {
                let Ok(answer @ Answer { sequence, .. }) = answer else {
                    whole = false;
                    break;
                };
                match answer.content() {
                    Ok(Content::Failed(errno)) => each(sequence, Some(errno)),
                    Ok(Content::Done) => each(sequence, None),
                    Ok(Content::Object(..)) => {}
                    Err(_) => whole = false,
                }
            }
        }
    }

    /// As if the socket's buffer could not grow.
    #[cfg(test)]
    pub(in crate::kernel) fn limit_room(&mut self) {
        self.room = usize::MAX;
    }

    /// Fills the receive queue, so that the next answers are lost.
    #[cfg(test)]
    pub(in crate::kernel) fn clog(&mut self) {
        setsockopt(&self.socket, sockopt::RcvBuf, &0).unwrap();
        for _ in 0..16 {
            let mut message = Messages::default();
            let sequence = self.numbers(1);
            message.message(libc::NFT_MSG_GETGEN, libc::NLM_F_REQUEST, sequence, |_| ());
            self.send(message.bytes()).unwrap();
        }
    }

    /// A batch is one send, and a send must fit into the socket's buffer.
    fn make_room(&mut self, length: usize) {
        // The kernel doubles what it is told, and takes a little for itself.
        if length > self.room {
            let forced = setsockopt(&self.socket, sockopt::SndBufForce, &length);
            if forced
                .or_else(|_| setsockopt(&self.socket, sockopt::SndBuf, &length))
                .is_ok()
            {
                self.room = length;
            }
        }
    }

    fn send(&self, bytes: &[u8]) -> io::Result<()> {
        let kernel = SocketAddr::new(0, 0);
        loop {
            match self.socket.send_to(bytes, &kernel, 0) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
                Ok(sent) if sent == bytes.len() => return Ok(()),
                Ok(_) => return Err(io::ErrorKind::WriteZero.into()),
            }
        }
    }

    /// Receives into `self.buffer`.
    fn receive(&mut self, flags: libc::c_int) -> io::Result<()> {
        loop {
            self.buffer.clear();
            // With `MSG_TRUNC` the whole length is returned even where the buffer is too small.
            match self.socket.recv(&mut self.buffer, flags | libc::MSG_TRUNC) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
                Ok(length) if length > self.buffer.len() => {
                    return Err(io::Error::from_raw_os_error(libc::EMSGSIZE));
                }
                Ok(_) => return Ok(()),
            }
        }
    }
}
