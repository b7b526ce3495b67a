//! The table of tracked flows (nf_conntrack): read as a stream, and single flows deleted from it.
//!
//! Only IPv4, and only what it is told of by the caller's question. A deletion without the tuple of a flow would be a flush of
//! the whole table (`ctnetlink_del_conntrack`, nf_conntrack_netlink.c), so there is none: a deletion is made from an [`Entry`],
//! and an entry without a whole tuple cannot be built. The kernel's own filters are not used either: one that knows no
//! `CTA_FILTER` (before Linux 5.8) takes a filtered deletion for a flush, too.

#[cfg(fuzzing)]
pub mod fuzz;
pub(super) mod usage;

use std::collections::BTreeMap;
use std::io;
use std::net::Ipv4Addr;
use std::os::fd::{AsFd, BorrowedFd};

use nix::libc;

use super::error::Error;
use super::netfilter::message::{Attributes, Messages};
use super::netfilter::socket::{NetfilterSocket, Request, Subsystem};
use crate::model::Flow;

const TO: Subsystem = Subsystem {
    number: libc::NFNL_SUBSYS_CTNETLINK,
    holds: "the table of tracked flows (nf_conntrack)",
};

/// `IPCTNL_MSG_CT_GET` and `IPCTNL_MSG_CT_DELETE`, linux/netfilter/nfnetlink_conntrack.h.
const GET: libc::c_int = 1;
const DELETE: libc::c_int = 2;

/// `CTA_*`: of an entry.
mod entry {
    pub const TUPLE_ORIGINAL: u16 = 1;
    pub const TUPLE_REPLY: u16 = 2;
    pub const ID: u16 = 12;
    pub const ZONE: u16 = 18;
}

/// `CTA_TUPLE_*`, `CTA_IP_V4_*` and `CTA_PROTO_*`: of a tuple.
mod tuple {
    pub const IP: u16 = 1;
    pub const PROTOCOL: u16 = 2;
    pub const IP_SOURCE: u16 = 1;
    pub const IP_DESTINATION: u16 = 2;
    pub const PROTOCOL_NUMBER: u16 = 1;
    pub const PROTOCOL_SOURCE_PORT: u16 = 2;
    pub const PROTOCOL_DESTINATION_PORT: u16 = 3;
}

/// How many deletions are sent at a time: their answers fit into any receive queue.
const AT_ONCE: u32 = 128;
/// How often the table is read again because what was read is not all, or deletions are sent again whose answers were lost.
const TRIES: usize = 8;

/// The connection to nf_conntrack: one socket reads, the other one deletes meanwhile, so that nothing is kept for later.
pub(super) struct Conntrack {
    reader: NetfilterSocket,
    deleter: Deleter,
}

impl Conntrack {
    /// Opens it in the network namespace of the thread.
    ///
    /// # Errors
    /// [`Error::Unsupported`] if the kernel has no netfilter netlink.
    pub(super) fn open() -> Result<Self, Error> {
        let open = || NetfilterSocket::open().map_err(failed);
        Ok(Self {
            reader: open()?,
            deleter: Deleter {
                is_busy: false,
                socket: open()?,
                batch: Messages::default(),
                waiting: 0,
                first: 0,
                ended: 0,
            },
        })
    }

    /// Its sockets.
    pub(super) fn files(&self) -> [BorrowedFd<'_>; 2] {
        [self.reader.as_fd(), self.deleter.socket.as_fd()]
    }

    /// Asks of every tracked IPv4 flow whether it is to end, and deletes those. A flow that others deleted meanwhile is no
    /// error. Returns how many were deleted.
    ///
    /// # Errors
    /// [`Error::Unsupported`] if the kernel has no nf_conntrack or no netlink to it; else if it refuses. Flows may have been
    /// deleted then.
    pub(super) fn end_flows(&mut self, is_stale: &mut dyn FnMut(&Flow) -> bool) -> Result<usize, Error> {
        (self.deleter.ended, self.deleter.is_busy) = (0, false);
        // The hash may have millions of buckets, and a reading looks into each.
        if usage::count() == Some(0) {
            return Ok(0);
        }
        let deleter = &mut self.deleter;
        let read = read(&mut self.reader, |entry| match entry {
            Some(entry) if is_stale(&entry.flow) => deleter.delete(entry),
            Some(_) => Ok(()),
            None => deleter.finish(),
        });
        // Also of a reading that failed: what waits would go out with the next one.
        let finished = deleter.finish();
        read.and(finished)?;
        if deleter.is_busy {
            return Err(STILL_FAST);
        }
        Ok(deleter.ended)
    }

    /// Shows every tracked IPv4 flow. `None` comes before the first one, and again where the reading begins anew: what was
    /// seen until then does not count.
    ///
    /// # Errors
    /// As [`Conntrack::end_flows`].
    pub(super) fn read_flows(&mut self, see: &mut dyn FnMut(Option<&Flow>)) -> Result<(), Error> {
        read(&mut self.reader, |entry| {
            see(entry.map(|entry| &entry.flow));
            Ok(())
        })
    }

    /// How many flows the last pass ended, also if it came to no good end.
    pub(super) fn ended(&self) -> usize {
        self.deleter.ended
    }
}

/// Reads the table, as often as it takes; `None` comes before each reading. The first error of `each` ends it.
fn read(
    reader: &mut NetfilterSocket,
    mut each: impl FnMut(Option<&Entry<'_>>) -> Result<(), Error>,
) -> Result<(), Error> {
    let request = Request {
        what: "list the tracked flows",
        to: &TO,
        kind: GET,
        flags: libc::NLM_F_DUMP,
        names: &[],
    };
    for _ in 0..TRIES {
        each(None)?;
        let mut refused = None;
        let read = reader.ask(&request, |family, message| {
            if refused.is_none()
                && let Some(entry) = Entry::of(family, message)?
            {
                refused = each(Some(&entry)).err();
            }
            Ok(())
        });
        if let Some(error) = refused {
            return Err(error);
        }
        match read {
            Ok(true) => return Ok(()),
            // The hash table was changed while it was read, or the queue was full.
            Ok(false) => {}
            Err(Error::Read { source, .. }) if source.raw_os_error() == Some(libc::ENOBUFS) => {
                // What is left of the answer is read by nobody.
                *reader = NetfilterSocket::open().map_err(failed)?;
            }
            Err(Error::Read { source, .. }) => return Err(failed(source)),
            Err(error) => return Err(error),
        }
    }
    Err(Error::Interrupted)
}

/// Such a kernel answers `EBUSY` for a flow that is in a flowtable (`ctnetlink_del_conntrack`, before commit 9b7c68b3911a of
/// Linux 6.4, which 6.1.32 and others of that time have as well).
pub(super) const STILL_FAST: Error = Error::Unsupported {
    feature: "means to end a flow that is on the fast path",
    remedy: "set `fast_path: off`, or use Linux 6.4 or later",
};

/// Whether an error is [`STILL_FAST`].
pub(super) fn is_still_fast(error: &Error) -> bool {
    matches!((error, &STILL_FAST),
        (Error::Unsupported { feature, .. }, Error::Unsupported { feature: fast, .. }) if feature == fast)
}

/// nfnetlink answers `EINVAL` where nobody has registered for a subsystem (`nfnetlink_rcv_msg`, nfnetlink.c).
fn failed(source: io::Error) -> Error {
    match source.raw_os_error() {
        Some(libc::EINVAL | libc::EOPNOTSUPP | libc::EPROTONOSUPPORT | libc::EAFNOSUPPORT) => {
            Error::Unsupported {
                feature: "netlink to nf_conntrack",
                remedy: "load the module nf_conntrack_netlink (CONFIG_NF_CT_NETLINK)",
            }
        }
        _ => Error::Read {
            what: TO.holds.to_owned(),
            source,
        },
    }
}

/// An entry of the table, with what tells it from all others.
struct Entry<'a> {
    flow: Flow,
    /// The attributes of its original tuple, as the kernel wrote them.
    tuple: &'a [u8],
    /// Its number: another flow of the same tuple, that came meanwhile, has another one.
    id: Option<&'a [u8]>,
    zone: Option<&'a [u8]>,
}

impl<'a> Entry<'a> {
    /// What a message of a dump tells of; `None` where it is not of IPv4: not every kernel keeps to the family that it is asked
    /// for.
    fn of(family: u8, message: &'a [u8]) -> Result<Option<Self>, String> {
        if i32::from(family) == libc::AF_INET {
            Self::read(message)
        } else {
            Ok(None)
        }
    }

    /// `None` where a tuple is not of IPv4 or not whole.
    fn read(message: &'a [u8]) -> Result<Option<Self>, String> {
        let attributes = Attributes::<19>::read(message)?;
        let (Some(original), Some(reply)) = (
            attributes.get(entry::TUPLE_ORIGINAL),
            attributes.get(entry::TUPLE_REPLY),
        ) else {
            return Ok(None);
        };
        let (Some((protocol, from)), Some((_, back))) = (ends(original)?, ends(reply)?) else {
            return Ok(None);
        };
        Ok(Some(Self {
            flow: Flow::new(protocol, from, back),
            tuple: original,
            id: attributes.get(entry::ID),
            zone: attributes.get(entry::ZONE),
        }))
    }

    /// Adds the deletion of this flow, and of no other.
    fn delete(&self, batch: &mut Messages, sequence: u32) {
        let flags = libc::NLM_F_REQUEST | libc::NLM_F_ACK;
        batch.message_to(TO.number, DELETE, flags, sequence, |message| {
            message.nested_bytes(entry::TUPLE_ORIGINAL, self.tuple);
            for (kind, value) in [(entry::ID, self.id), (entry::ZONE, self.zone)] {
                if let Some(value) = value {
                    message.attribute(kind, value);
                }
            }
        });
    }
}

/// The protocol of a tuple, and its source and destination with their ports.
type Ends = (u8, [(Ipv4Addr, Option<u16>); 2]);

fn ends(bytes: &[u8]) -> Result<Option<Ends>, String> {
    let parts = Attributes::<3>::read(bytes)?;
    let (Some(ip), Some(protocol)) = (parts.get(tuple::IP), parts.get(tuple::PROTOCOL)) else {
        return Ok(None);
    };
    let (ip, protocol) = (Attributes::<3>::read(ip)?, Attributes::<4>::read(protocol)?);
    let address = |kind| ip.number(kind).map(Ipv4Addr::from);
    let port = |kind| Some(u16::from_be_bytes(protocol.get(kind)?.try_into().ok()?));
    let (Some(source), Some(destination), Some([number])) = (
        address(tuple::IP_SOURCE),
        address(tuple::IP_DESTINATION),
        protocol.get(tuple::PROTOCOL_NUMBER),
    ) else {
        return Ok(None);
    };
    // GRE has keys in the place of ports: no rule of ours looks at them.
    let ports = [tuple::PROTOCOL_SOURCE_PORT, tuple::PROTOCOL_DESTINATION_PORT];
    let [source_port, destination_port] = ports.map(|kind| port(kind).filter(|_| has_ports(*number)));
    Ok(Some((
        *number,
        [(source, source_port), (destination, destination_port)],
    )))
}

/// Whether a protocol has ports where TCP has them.
pub(super) fn has_ports(protocol: u8) -> bool {
    let with_ports = [
        libc::IPPROTO_TCP,
        libc::IPPROTO_UDP,
        libc::IPPROTO_UDPLITE,
        libc::IPPROTO_SCTP,
        libc::IPPROTO_DCCP,
    ];
    with_ports.contains(&protocol.into())
}

/// Deletions, many in a send.
struct Deleter {
    socket: NetfilterSocket,
    batch: Messages,
    /// How many deletions the batch has.
    waiting: u32,
    /// The sequence number of the first.
    first: u32,
    /// How many flows were deleted.
    ended: usize,
    /// Whether the kernel would not let one go that is on the fast path.
    is_busy: bool,
}

impl Deleter {
    fn delete(&mut self, flow: &Entry<'_>) -> Result<(), Error> {
        let sequence = self.socket.numbers(1);
        if self.waiting == 0 {
            self.first = sequence;
        }
        flow.delete(&mut self.batch, sequence);
        self.waiting += 1;
        if self.waiting == AT_ONCE {
            self.finish()
        } else {
            Ok(())
        }
    }

    /// Sends what waits.
    fn finish(&mut self) -> Result<(), Error> {
        let (batch, waiting) = (std::mem::take(&mut self.batch), std::mem::take(&mut self.waiting));
        // By the number of the deletion, since after a lost answer all are sent again.
        let mut answered = BTreeMap::new();
        let sequences = self.first..self.first.wrapping_add(waiting);
        for _ in 0..TRIES {
            if waiting == 0 {
                return Ok(());
            }
            let whole = self.socket.send_all(batch.bytes(), |sequence, errno| {
                if sequences.contains(&sequence) {
                    answered.entry(sequence).or_insert(errno);
                }
            });
            whole.map_err(|source| Error::Refused { source })?;
            if answered.len() == waiting as usize {
                self.ended += answered.values().filter(|errno| errno.is_none()).count();
                self.is_busy |= answered.values().flatten().any(|errno| *errno == libc::EBUSY);
                // Gone already, with its number or altogether; or told at the end.
                let mut refused = answered.values().flatten();
                let refused = refused.find(|errno| !matches!(**errno, libc::ENOENT | libc::EBUSY));
                return refused.map_or(Ok(()), |errno| Err(Error::refused(*errno)));
            }
        }
        Err(Error::refused(libc::ENOBUFS))
    }
}

#[cfg(test)]
mod tests;
