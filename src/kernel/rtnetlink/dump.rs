//! A look at the routes: a dump, read as it comes. The crate's connection makes a value of every message, and keeps all of them
//! until somebody takes them.

use std::collections::BTreeSet;
use std::io;

use netlink_packet_core::{NLM_F_DUMP, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload};
use netlink_packet_route::route::RouteMessage;
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};
use nix::libc;
use nix::sys::socket::{setsockopt, sockopt};
use nix::sys::time::TimeVal;

use super::elastic::{self, Told};
use super::neighbour::NeighbourChange;
use super::observe;
use super::{Error, Routes, neighbour};
use crate::kernel::netfilter::message::{Content, answers};
use crate::model::{LinkIndex, Observed, OwnKind, Route, TABLE_MAIN};

/// The kernel fills at most 32 KiB at a time, and as much only for who has room for it (`netlink_dump`, af_netlink.c).
const RECEIVE: usize = 64 << 10;
/// An answer that did not come until then is lost.
const PATIENCE: TimeVal = TimeVal::new(10, 0);

pub(super) struct Dump {
    socket: Socket,
    sequence: u32,
    answer: Vec<u8>,
    /// Whether the kernel keeps to what a request asks for (`NETLINK_GET_STRICT_CHK`, Linux 4.20): else a dump of one table
    /// is one of all.
    pub(super) is_strict: bool,
}

impl Dump {
    pub(super) fn open() -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.bind_auto()?;
        socket.connect(&SocketAddr::new(0, 0))?;
        setsockopt(&socket, sockopt::ReceiveTimeout, &PATIENCE)?;
        let is_strict = socket.set_netlink_get_strict_chk(true).is_ok();
        Ok(Self {
            socket,
            sequence: 0,
            answer: Vec::new(),
            is_strict,
        })
    }

    /// The routes that a plan may depend on, in the kernel's order.
    ///
    /// # Errors
    /// If the kernel refuses to tell, or what it tells makes no sense.
    pub(super) fn routes(
        &mut self,
        wanted: Routes,
        loopback: LinkIndex,
    ) -> Result<Vec<Route<LinkIndex>>, Error> {
        self.ask(wanted, loopback).map_err(|source| Error::Read {
            what: "routes".to_owned(),
            source,
        })
    }

    fn ask(&mut self, wanted: Routes, loopback: LinkIndex) -> io::Result<Vec<Route<LinkIndex>>> {
        let mut routes = Vec::new();
        if wanted != Routes::None {
            let ask = |sequence| request(wanted, sequence);
            self.exchange(ask, |answer, sequence| {
                read(answer, sequence, loopback, &mut routes)
            })?;
        }
        Ok(routes)
    }

    /// Adds what overlay links of ours were told of their neighbours. Where there is no such link nothing is asked, nor where
    /// it is known what happened since a look at the same links.
    ///
    /// # Errors
    /// As of routes.
    pub(super) fn neighbours(
        &mut self,
        observed: &mut Observed,
        since: Option<(&Observed, Vec<NeighbourChange>)>,
    ) -> Result<(), Error> {
        let overlays: BTreeSet<LinkIndex> = overlays(observed).collect();
        if let Some((last, changes)) = since
            && overlays.iter().copied().eq(self::overlays(last))
        {
            observed.neighbours = neighbour::follow(&last.neighbours, &changes);
            return Ok(());
        }
        if overlays.is_empty() {
            return Ok(());
        }
        for family in [libc::AF_BRIDGE, libc::AF_INET] {
            let ask = |sequence| neighbour::request(family, sequence);
            let neighbours = &mut observed.neighbours;
            let see = |message: &[u8]| {
                if let Some((link, neighbour)) = neighbour::read(message)
                    && overlays.contains(&link)
                {
                    neighbours.entry(link).or_default().insert(neighbour);
                }
            };
            let mut see = see;
            self.exchange(ask, |answer, sequence| {
                neighbour::read_dump(answer, sequence, &mut see)
            })
            .map_err(|source| Error::Read {
                what: "neighbours".to_owned(),
                source,
            })?;
        }
        Ok(())
    }

    /// Sends a request, and has its answers read until one is the last.
    fn exchange(
        &mut self,
        request: impl FnOnce(u32) -> Vec<u8>,
        mut read: impl FnMut(&[u8], u32) -> io::Result<bool>,
    ) -> io::Result<()> {
        self.sequence = self.sequence.wrapping_add(1);
        self.socket.send(&request(self.sequence), 0)?;
        self.answer.reserve(RECEIVE);
        loop {
            self.answer.clear();
            // With `MSG_TRUNC` the whole length is returned even where the buffer is too small.
            match self.socket.recv(&mut self.answer, libc::MSG_TRUNC) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Ok(length) if length > self.answer.len() => {
                    return Err(io::Error::from_raw_os_error(libc::EMSGSIZE));
                }
                received => received?,
            };
            if read(&self.answer, self.sequence)? {
                return Ok(());
            }
        }
    }
}

impl Dump {
    /// Shows every object of an answer that has this type to `see`, from behind its netlink header on.
    pub(super) fn each(
        &mut self,
        message: RouteNetlinkMessage,
        kind: u16,
        see: &mut dyn FnMut(&[u8]),
    ) -> io::Result<()> {
        self.sequence = self.sequence.wrapping_add(1);
        let mut request = NetlinkMessage::from(message);
        request.header.flags = NLM_F_DUMP | NLM_F_REQUEST;
        request.header.sequence_number = self.sequence;
        request.finalize();
        let mut bytes = vec![0; request.buffer_len()];
        request.serialize(&mut bytes);
        self.socket.send(&bytes, 0)?;
        self.answer.reserve(RECEIVE);
        let garbled = |problem| io::Error::new(io::ErrorKind::InvalidData, problem);
        loop {
            self.answer.clear();
            match self.socket.recv(&mut self.answer, libc::MSG_TRUNC) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Ok(length) if length > self.answer.len() => {
                    return Err(io::Error::from_raw_os_error(libc::EMSGSIZE));
                }
                received => received?,
            };
            for answer in answers(&self.answer) {
                let answer = answer.map_err(garbled)?;
                // Of an earlier look that was given up on.
                if answer.sequence != self.sequence {
                    continue;
                }
                if answer.kind == kind {
                    see(answer.payload);
                    continue;
                }
                match answer.content().map_err(garbled)? {
                    Content::Done => return Ok(()),
                    Content::Failed(errno) => return Err(io::Error::from_raw_os_error(errno)),
                    Content::Object(..) => {}
                }
            }
        }
    }
}

/// The overlay links that have names of ours, in the order of their numbers.
pub(in crate::kernel) fn overlays(observed: &Observed) -> impl Iterator<Item = LinkIndex> {
    (observed.own_links.iter())
        .filter(|(_, own)| matches!(own.kind, OwnKind::Vxlan { .. }))
        .map(|(index, _)| *index)
}

/// A kernel that is strict takes each field for a condition, so all but these are zero.
fn request(wanted: Routes, sequence: u32) -> Vec<u8> {
    let mut message = RouteMessage::default();
    message.header.address_family = AddressFamily::Inet;
    if wanted == Routes::Main {
        message.header.table = TABLE_MAIN as u8;
    }
    let mut request = NetlinkMessage::from(RouteNetlinkMessage::GetRoute(message));
    request.header.flags = NLM_F_REQUEST | NLM_F_DUMP;
    request.header.sequence_number = sequence;
    request.finalize();
    let mut bytes = vec![0; request.buffer_len()];
    request.serialize(&mut bytes);
    bytes
}

/// Adds the routes that a datagram tells of, and says whether it was the last.
pub(super) fn read(
    mut rest: &[u8],
    sequence: u32,
    loopback: LinkIndex,
    routes: &mut Vec<Route<LinkIndex>>,
) -> io::Result<bool> {
    while !rest.is_empty() {
        let garbled = || io::Error::new(io::ErrorKind::InvalidData, "a message longer than the answer");
        let length = rest.first_chunk().map_or(0, |length| u32::from_ne_bytes(*length)) as usize;
        let message = rest
            .get(..length)
            .filter(|message| message.len() >= 16)
            .ok_or_else(garbled)?;
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        // Of an earlier look that was given up on.
        if message[8..12] != sequence.to_ne_bytes() {
            continue;
        }
        match elastic::read(message) {
            Told::Elastic(route) => routes.push(route),
            Told::Foreign => {}
            Told::Other => {
                let code = match NetlinkMessage::<RouteNetlinkMessage>::deserialize(message) {
                    Ok(message) => match message.payload {
                        NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewRoute(message)) => {
                            routes.extend(observe::route(&message, loopback));
                            continue;
                        }
                        NetlinkPayload::Done(done) => done.code,
                        NetlinkPayload::Error(error) => error.raw_code(),
                        _ => continue,
                    },
                    // A route of a kind that the crate does not know.
                    Err(_) => continue,
                };
                return match code.saturating_neg() {
                    // Tables come with their first route.
                    ..=0 | libc::ENOENT => Ok(true),
                    errno => Err(io::Error::from_raw_os_error(errno)),
                };
            }
        }
    }
    Ok(false)
}
