//! Sends operations many at a time, with one acknowledgement for all: errors are answered without being asked
//! for (netlink(7)), so the last one's acknowledgement says that the others were done or told of.

use std::io;

use netlink_packet_core::{NLM_F_ACK, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};

use nix::libc;

use super::elastic;
use super::message::{encode, verdict};
use super::neighbour;
use super::{Error, Failure};
use crate::plan::Operation;

/// Messages of one send. At some 60 bytes each this is far below the default send buffer (212,992 bytes), and
/// were all of them to fail, their answers still fit the receive buffer below.
const AT_ONCE: usize = 1_000;
/// Of larger messages, so many bytes.
const MOST_BYTES: usize = 100_000;
const RECEIVE_BUFFER: usize = 4 << 20;

pub(super) struct Batch {
    socket: Socket,
    sequence: u32,
    answer: Vec<u8>,
}

impl Batch {
    pub(super) fn open() -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.bind_auto()?;
        socket.connect(&SocketAddr::new(0, 0))?;
        // An answer repeats the message that failed, unless it is told not to.
        socket.set_cap_ack(true)?;
        // Best effort: without CAP_NET_ADMIN in the first user namespace the system's limit holds, and as many
        // answers get lost only if as many operations fail.
        let forced =
            nix::sys::socket::setsockopt(&socket, nix::sys::socket::sockopt::RcvBufForce, &RECEIVE_BUFFER);
        if forced.is_err() {
            socket.set_rx_buf_sz(RECEIVE_BUFFER)?;
        }
        Ok(Self {
            socket,
            sequence: 0,
            answer: Vec::with_capacity(1 << 16),
        })
    }

    /// Carries out operations in order: how many were begun, and which of these failed.
    pub(super) fn apply(&mut self, operations: &[Operation]) -> (usize, Vec<Failure>) {
        let mut begun = 0;
        let mut rest = operations;
        while !rest.is_empty() {
            let chunk;
            (chunk, rest) = rest.split_at(at_once(rest));
            let failures = match self.send(chunk) {
                Ok(failures) => failures,
                // Whether any of them was carried out is not known: the undo takes all of them back.
                Err(source) => vec![Failure {
                    index: chunk.len(),
                    error: Error::Refused { source },
                }],
            };
            if !failures.is_empty() {
                let failures = failures
                    .into_iter()
                    .map(|failure| Failure {
                        index: begun + failure.index.min(chunk.len() - 1),
                        ..failure
                    })
                    .collect();
                return (begun + chunk.len(), failures);
            }
            begun += chunk.len();
        }
        (begun, Vec::new())
    }

    fn send(&mut self, operations: &[Operation]) -> io::Result<Vec<Failure>> {
        let first = self.sequence.wrapping_add(1);
        self.sequence = self.sequence.wrapping_add(operations.len() as u32);
        let buffer = messages(operations, first);
        tracing::debug!(
            messages = operations.len(),
            bytes = buffer.len(),
            "rtnetlink batch"
        );
        self.drain();
        self.socket.send(&buffer, 0)?;
        self.answers(operations, first)
    }

    /// Forgets answers to an earlier send that was given up on. As long as they fill the queue, the kernel drops the next
    /// ones, and without a word: it told of that once (`NETLINK_S_CONGESTED`, net/netlink/af_netlink.c).
    fn drain(&mut self) {
        loop {
            self.answer.clear();
            match self.socket.recv(&mut self.answer, libc::MSG_DONTWAIT) {
                Err(error) if error.raw_os_error() != Some(libc::ENOBUFS) => return,
                _ => {}
            }
        }
    }

    /// Reads answers up to the last operation's.
    fn answers(&mut self, operations: &[Operation], first: u32) -> io::Result<Vec<Failure>> {
        let mut failures = Vec::new();
        loop {
            self.answer.clear();
            // The kernel works while a send lasts: what is not here by now was lost, and would be waited for for ever.
            match self.socket.recv(&mut self.answer, libc::MSG_DONTWAIT) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Err(io::Error::from_raw_os_error(libc::ENOBUFS));
                }
                received => received?,
            };
            if read_answers(&self.answer, operations, first, &mut failures)? {
                return Ok(failures);
            }
        }
    }

    /// The smallest receive queue that the kernel knows.
    #[cfg(test)]
    pub(super) fn shrink(&mut self) {
        use nix::sys::socket::{setsockopt, sockopt};
        setsockopt(&self.socket, sockopt::RcvBuf, &0).unwrap();
    }
}

/// How many of these operations go in the next send: some have a program in them.
fn at_once(operations: &[Operation]) -> usize {
    let mut bytes = 0;
    let fits = operations.iter().take(AT_ONCE).take_while(|one| {
        bytes += match one {
            Operation::AddHook { hook, .. } | Operation::ReplaceHook { to: hook, .. } => {
                200 + 8 * hook.program.len() + 80 * hook.to.len()
            }
            Operation::AddOwnLink { .. } => 200,
            _ => 64,
        };
        bytes <= MOST_BYTES
    });
    fits.count().max(1)
}

/// Adds the failures that a datagram tells of, and says whether it had the answer to the last operation.
pub(super) fn read_answers(
    mut rest: &[u8],
    operations: &[Operation],
    first: u32,
    failures: &mut Vec<Failure>,
) -> io::Result<bool> {
    while !rest.is_empty() {
        let message = NetlinkMessage::<RouteNetlinkMessage>::deserialize(rest)
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error.to_string()))?;
        let index = message.header.sequence_number.wrapping_sub(first) as usize;
        // An answer to an earlier send that was given up on is not ours.
        if let (Some(operation), NetlinkPayload::Error(answer)) = (operations.get(index), &message.payload) {
            if let Some(code) = answer.code
                && let Err(error) = verdict(operation, code.get().saturating_neg())
            {
                failures.push(Failure { index, error });
            }
            if index + 1 == operations.len() {
                return Ok(true);
            }
        }
        let length = (message.header.length as usize).next_multiple_of(4);
        rest = rest.get(length.max(16)..).unwrap_or_default();
    }
    Ok(false)
}

/// The messages of these operations, numbered from `first`; the last one asks for an acknowledgement.
pub(super) fn messages(operations: &[Operation], first: u32) -> Vec<u8> {
    let mut buffer = Vec::with_capacity(operations.len() * 64);
    for (index, operation) in operations.iter().enumerate() {
        let is_last = index + 1 == operations.len();
        let flags = NLM_F_REQUEST | if is_last { NLM_F_ACK } else { 0 };
        let sequence = first.wrapping_add(index as u32);
        let is_written = elastic::write(&mut buffer, operation, sequence, flags)
            || neighbour::write(&mut buffer, operation, sequence, flags);
        if !is_written {
            general(&mut buffer, operation, sequence, flags);
        }
    }
    buffer
}

/// Writes the message of any operation, with `flags` beside its own.
pub(super) fn general(buffer: &mut Vec<u8>, operation: &Operation, sequence: u32, flags: u16) {
    let Some((message, own_flags)) = encode(operation) else {
        return;
    };
    let mut message = NetlinkMessage::from(message);
    message.header.sequence_number = sequence;
    message.header.flags = flags | own_flags;
    message.finalize();
    let start = buffer.len();
    // Netlink messages begin at multiples of four.
    buffer.resize(start + message.buffer_len().next_multiple_of(4), 0);
    message.serialize(&mut buffer[start..]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::Error;
    use crate::model::{LinkIndex, LinkName};
    use crate::plan::LinkRef;

    /// `NLMSG_ERROR` to the operation with this sequence number, without a copy of the request.
    fn answer(sequence: u32, code: i32) -> Vec<u8> {
        let mut bytes = Vec::new();
        bytes.extend(36_u32.to_ne_bytes());
        bytes.extend(2_u16.to_ne_bytes());
        bytes.extend(0x100_u16.to_ne_bytes());
        bytes.extend(sequence.to_ne_bytes());
        bytes.extend([0; 4]);
        bytes.extend(code.to_ne_bytes());
        bytes.extend([16, 0, 0, 0]);
        bytes.extend([0; 12]);
        bytes
    }

    #[test]
    fn answers_are_read_up_to_the_last_operations() {
        let link = LinkRef {
            index: LinkIndex(2),
            name: LinkName("eth0".into()),
        };
        let operations = [true, false].map(|up| Operation::SetLink {
            link: link.clone(),
            up,
        });
        let read = |bytes: &[u8]| {
            let mut failures = Vec::new();
            let ended = read_answers(bytes, &operations, 7, &mut failures).map_err(|error| error.kind());
            let refused = |failure: &Failure| match &failure.error {
                Error::Refused { source } => (failure.index, source.raw_os_error()),
                other => panic!("{other}"),
            };
            (ended, failures.iter().map(refused).collect::<Vec<_>>())
        };
        assert_eq!(read(&answer(8, 0)), (Ok(true), vec![]));
        assert_eq!(read(&answer(7, -1)), (Ok(false), vec![(0, Some(1))]));
        assert_eq!(
            read(&[answer(6, -1), answer(8, -1)].concat()),
            (Ok(true), vec![(1, Some(1))])
        );
        // No number of an error's, and none that has a positive counterpart.
        assert_eq!(read(&answer(8, i32::MIN)), (Ok(true), vec![(1, Some(i32::MAX))]));
        assert_eq!(read(&answer(8, 0)[..20]).0, Err(io::ErrorKind::InvalidData));
    }
}
