//! Hears of changes of links, addresses, routes, what mirrors hang on and our table, whoever makes them (rtnetlink(7), nft-monitor).
//!
//! It says only that there is something to look at: what is wrong, a look at the whole finds out.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use netlink_sys::{Socket, SocketAddr, protocols};
use nix::libc;
use nix::sys::socket::{MsgFlags, recv};

use super::Error;
use super::rtnetlink::{NeighbourChange, Told, read_payload};
use crate::model::{LinkIndex, Route};
use crate::owned::{FILTER_PRIORITY, FIRST_OWN_LINK, NFT_TABLE, ROUTE_PROTOCOL};

/// Groups of linux/rtnetlink.h. NETCONF tells of forwarding and reverse-path filters; IPv6 addresses come when
/// somebody turns IPv6 on.
const ROUTE_GROUPS: [u32; 7] = [
    libc::RTNLGRP_NEIGH,
    libc::RTNLGRP_LINK,
    libc::RTNLGRP_IPV4_IFADDR,
    libc::RTNLGRP_IPV4_ROUTE,
    libc::RTNLGRP_IPV6_IFADDR,
    libc::RTNLGRP_IPV4_NETCONF,
    libc::RTNLGRP_TC,
];
/// `NFNLGRP_NFTABLES` of linux/netfilter/nfnetlink.h.
const NFTABLES_GROUP: u32 = 7;
/// `NFNL_SUBSYS_NFTABLES`, the upper byte of the type of its messages.
const SUBSYS_NFTABLES: u16 = 10;
/// A message's header (`struct nlmsghdr`), and those that follow it (`struct nfgenmsg`, `struct nlattr`).
const HEADER: usize = 16;
const NFGENMSG: usize = 4;
const ATTRIBUTE: usize = 4;
/// The upper two bits of an attribute's number are flags (`NLA_TYPE_MASK`, linux/netlink.h).
const NLA_TYPE_MASK: u16 = 0x3fff;

/// `TC_H_CLSACT`, linux/pkt_sched.h: the place of a clsact qdisc.
const CLSACT: u32 = 0xffff_fff1;

/// The number of `lo` in every namespace (`LOOPBACK_IFINDEX`, include/net/flow.h).
const LOOPBACK: u32 = 1;

/// Sockets that hear of changes.
pub struct Watch {
    route: Socket,
    nftables: Socket,
}

impl Watch {
    /// Listens from now on.
    ///
    /// # Errors
    /// If the kernel has no such sockets.
    pub fn open() -> Result<Self, Error> {
        let open = || -> io::Result<Self> {
            let mut route = Socket::new(protocols::NETLINK_ROUTE)?;
            route.bind(&SocketAddr::new(0, 0))?;
            for group in ROUTE_GROUPS {
                route.add_membership(group)?;
            }
            let mut nftables = Socket::new(protocols::NETLINK_NETFILTER)?;
            nftables.bind(&SocketAddr::new(0, 0))?;
            nftables.add_membership(NFTABLES_GROUP)?;
            Ok(Self { route, nftables })
        };
        open().map_err(|source| Error::Read {
            what: "the netlink events".to_owned(),
            source,
        })
    }

    /// What to wait for.
    #[must_use]
    pub fn fds(&self) -> [BorrowedFd<'_>; 2] {
        [self.route.as_fd(), self.nftables.as_fd()]
    }

    /// Reads all that has come, and says whether any of it may be of what is ours.
    #[must_use]
    pub fn drain(&self) -> bool {
        let mut buffer = vec![0; 1 << 16];
        let route = drain(&self.route, &mut buffer, is_route_relevant);
        let nftables = drain(&self.nftables, &mut buffer, is_nftables_relevant);
        route || nftables
    }
}

/// Hears of what happens to routes and neighbours that are ours, and to what takes them away without a word: a link that goes
/// down, an address that goes.
pub(super) struct OwnRoutes {
    socket: Socket,
    /// The links that routes of the main table leave by.
    ways_out: BTreeSet<u32>,
    /// The overlay links.
    overlays: BTreeSet<u32>,
}

/// What may have happened to them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Happened {
    /// What came and went of those of elastic IPs, in order.
    pub(super) elastic: Vec<RouteChange>,
    /// Whether anything else may have happened to these.
    pub(super) unclear: bool,
    /// To those of the main table, the default routes of others included.
    pub(super) main: bool,
    /// What became of entries of overlay links, in order: those that the kernel found out by itself as well.
    pub(super) neighbours: Vec<NeighbourChange>,
    /// Whether anything else may have happened to these.
    pub(super) unclear_neighbours: bool,
    /// Whether any of that may be more than what the kernel finds out.
    pub(super) touched_neighbours: bool,
}

/// A route that came or went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum RouteChange {
    Came(Route<LinkIndex>),
    Went(Route<LinkIndex>),
}

impl OwnRoutes {
    /// Listens from now on.
    ///
    /// # Errors
    /// If the kernel has no such socket.
    pub(super) fn open() -> Result<Self, Error> {
        let open = || -> io::Result<Self> {
            let mut socket = Socket::new(protocols::NETLINK_ROUTE)?;
            socket.bind(&SocketAddr::new(0, 0))?;
            for group in [
                libc::RTNLGRP_LINK,
                libc::RTNLGRP_NEIGH,
                libc::RTNLGRP_IPV4_IFADDR,
                libc::RTNLGRP_IPV4_ROUTE,
            ] {
                socket.add_membership(group)?;
            }
            Ok(Self {
                socket,
                ways_out: BTreeSet::new(),
                overlays: BTreeSet::new(),
            })
        };
        open().map_err(|source| Error::Read {
            what: "the netlink events".to_owned(),
            source,
        })
    }

    /// From now on routes of the main table leave by these links.
    pub(super) fn leave_by(&mut self, links: impl Iterator<Item = LinkIndex>) {
        self.ways_out = links.map(|link| link.0).collect();
    }

    /// From now on these are the overlay links.
    pub(super) fn lead_to(&mut self, links: impl Iterator<Item = LinkIndex>) {
        self.overlays = links.map(|link| link.0).collect();
    }

    /// Reads all that has come, and says what it may have changed. Nobody reads this socket between looks: what was too
    /// much for it counts as everything.
    pub(super) fn drain(&self) -> Happened {
        let happened = RefCell::new(Happened::default());
        let note = |kind, body: &[u8]| {
            let mut so_far = happened.borrow_mut();
            self.note(kind, body, &mut so_far);
            so_far.unclear && so_far.main
        };
        if drain(&self.socket, &mut vec![0; 1 << 16], note) {
            return Happened {
                unclear: true,
                main: true,
                unclear_neighbours: true,
                touched_neighbours: true,
                ..Happened::default()
            };
        }
        happened.into_inner()
    }

    /// Adds what one message may have changed. `struct rtmsg`: family, prefix length, …, protocol, scope, type; `struct ifinfomsg`
    /// and `struct ifaddrmsg`: the link's number from the fifth byte on (linux/rtnetlink.h, linux/if_addr.h).
    fn note(&self, kind: u16, body: &[u8], happened: &mut Happened) {
        match (kind, body) {
            (libc::RTM_NEWROUTE | libc::RTM_DELROUTE, [_, prefix, _, _, _, protocol, _, route, ..]) => {
                let (is_ours, is_local) = (*protocol == ROUTE_PROTOCOL, *route == libc::RTN_LOCAL);
                happened.main |= (is_ours && !is_local) || *prefix == 0;
                if is_ours && is_local {
                    match read_payload(body) {
                        Told::Elastic(route) if kind == libc::RTM_NEWROUTE => {
                            happened.elastic.push(RouteChange::Came(route));
                        }
                        Told::Elastic(route) => happened.elastic.push(RouteChange::Went(route)),
                        Told::Foreign | Told::Other => happened.unclear = true,
                    }
                }
            }
            (
                libc::RTM_NEWLINK | libc::RTM_DELLINK | libc::RTM_NEWADDR | libc::RTM_DELADDR,
                [_, _, _, _, a, b, c, d, ..],
            ) => {
                let link = u32::from_ne_bytes([*a, *b, *c, *d]);
                happened.unclear |= link == LOOPBACK;
                happened.main |= link == LOOPBACK || self.ways_out.contains(&link);
                happened.unclear_neighbours |= self.overlays.contains(&link);
            }
            // `struct ndmsg`: family, three bytes of padding, link.
            (libc::RTM_NEWNEIGH | libc::RTM_DELNEIGH, [family, _, _, _, a, b, c, d, ..]) => {
                happened.touched_neighbours |= is_neighbour_relevant(kind, body);
                let is_looked_at = matches!(i32::from(*family), libc::AF_BRIDGE | libc::AF_INET);
                if is_looked_at && self.overlays.contains(&u32::from_ne_bytes([*a, *b, *c, *d])) {
                    match NeighbourChange::read(kind, body) {
                        Some(change) => happened.neighbours.push(change),
                        None => happened.unclear_neighbours = true,
                    }
                }
            }
            _ => {
                (happened.unclear, happened.main) = (true, true);
                (happened.unclear_neighbours, happened.touched_neighbours) = (true, true);
            }
        }
    }
}

fn drain(socket: &Socket, buffer: &mut [u8], is_relevant: impl Fn(u16, &[u8]) -> bool) -> bool {
    let mut relevant = false;
    loop {
        match recv(socket.as_raw_fd(), buffer, MsgFlags::MSG_DONTWAIT) {
            Ok(0) => return relevant,
            Ok(length) => {
                relevant = relevant || has_relevant(&buffer[..length], &is_relevant);
            }
            Err(nix::Error::EINTR) => {}
            // More came than was kept (ENOBUFS): something of it may be of ours.
            Err(nix::Error::ENOBUFS) => relevant = true,
            Err(_) => return relevant,
        }
    }
}

fn has_relevant(datagram: &[u8], is_relevant: impl Fn(u16, &[u8]) -> bool) -> bool {
    messages(datagram).any(|(kind, body)| is_relevant(kind, body))
}

/// The messages of one datagram: type, and what follows the header.
fn messages(mut rest: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let length = u32::from_ne_bytes(rest.get(..4)?.try_into().ok()?) as usize;
        let kind = u16::from_ne_bytes(rest.get(4..6)?.try_into().ok()?);
        let body = rest.get(HEADER..length)?;
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, body))
    })
}

/// Routes of others are not ours to look at, however many there are (a BGP table in full); a default route may be
/// in the way of ours.
fn is_route_relevant(kind: u16, body: &[u8]) -> bool {
    if (libc::RTM_NEWQDISC..=libc::RTM_GETTFILTER).contains(&kind) {
        return is_filter_relevant(kind, body);
    }
    if kind == libc::RTM_NEWNEIGH || kind == libc::RTM_DELNEIGH {
        return is_neighbour_relevant(kind, body);
    }
    if kind != libc::RTM_NEWROUTE && kind != libc::RTM_DELROUTE {
        return true;
    }
    // struct rtmsg: family, destination's prefix length, …, protocol.
    let [_, prefix, _, _, _, protocol, ..] = *body else {
        return true;
    };
    prefix == 0 || protocol == ROUTE_PROTOCOL
}

/// Of neighbours those of links of ours, and what is there for good: what the kernel finds out and forgets by itself, it does
/// all the time, but no forwarding entries, since our links do not learn. `struct ndmsg` (linux/neighbour.h): family, three
/// bytes of padding, link, state.
fn is_neighbour_relevant(kind: u16, body: &[u8]) -> bool {
    /// `NUD_INCOMPLETE | NUD_REACHABLE | NUD_STALE | NUD_DELAY | NUD_PROBE`: found out. One that was there for good and is
    /// deleted is none of these any more.
    const FOUND_OUT: u16 = 0x01 | 0x02 | 0x04 | 0x08 | 0x10;
    const PERMANENT: u16 = 0x80;
    let &[family, _, _, _, a, b, c, d, state, high, ..] = body else {
        return true;
    };
    let state = u16::from_ne_bytes([state, high]);
    let is_forwarding = i32::from(family) == libc::AF_BRIDGE;
    let is_for_good =
        is_forwarding || state & PERMANENT != 0 || (kind == libc::RTM_DELNEIGH && state & FOUND_OUT == 0);
    is_for_good && u32::from_ne_bytes([a, b, c, d]) >= FIRST_OWN_LINK
}

/// Of traffic control, filters of our priority, and what they hang on (`struct tcmsg`: family, link, handle, parent, info).
fn is_filter_relevant(kind: u16, body: &[u8]) -> bool {
    let number = |at: usize| Some(u32::from_ne_bytes(body.get(at..at + 4)?.try_into().ok()?));
    let (Some(parent), Some(info)) = (number(12), number(16)) else {
        return true;
    };
    match kind {
        libc::RTM_NEWQDISC | libc::RTM_DELQDISC => parent == CLSACT,
        libc::RTM_NEWTFILTER | libc::RTM_DELTFILTER => info >> 16 == u32::from(FILTER_PRIORITY),
        _ => false,
    }
}

/// Of nftables only our table. Each kind of message but those of the generation has the table's name as its
/// attribute 1 (linux/netfilter/nf_tables.h).
fn is_nftables_relevant(kind: u16, body: &[u8]) -> bool {
    let mut rest = body.get(NFGENMSG..).unwrap_or_default();
    while let [low, high, kind_low, kind_high, ..] = *rest {
        let length = usize::from(u16::from_ne_bytes([low, high]));
        let attribute = u16::from_ne_bytes([kind_low, kind_high]) & NLA_TYPE_MASK;
        let value = rest.get(ATTRIBUTE..length).unwrap_or_default();
        if attribute == 1 {
            let name = value.strip_suffix(b"\0").unwrap_or(value);
            return kind >> 8 == SUBSYS_NFTABLES && name == NFT_TABLE.as_bytes();
        }
        rest = rest
            .get(length.max(ATTRIBUTE).next_multiple_of(4)..)
            .unwrap_or_default();
    }
    false
}

#[cfg(fuzzing)]
pub mod fuzz {
    //! The fuzzer's door: whether a datagram would wake the monitor.

    use super::{has_relevant, is_nftables_relevant, is_route_relevant};

    /// One of rtnetlink's groups.
    #[must_use]
    pub fn route(datagram: &[u8]) -> bool {
        has_relevant(datagram, is_route_relevant)
    }

    /// One of nftables' group.
    #[must_use]
    pub fn nftables(datagram: &[u8]) -> bool {
        has_relevant(datagram, is_nftables_relevant)
    }
}

#[cfg(test)]
mod tests;
