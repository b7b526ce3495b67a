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
use super::rtnetlink::{Told, read_payload};
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

/// Hears of what happens to routes that are ours, and to what takes them away without a word: a link that goes down, an
/// address that goes.
pub(super) struct OwnRoutes {
    socket: Socket,
    /// The links that routes of the main table leave by.
    ways_out: BTreeSet<u32>,
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
            }
            (libc::RTM_NEWNEIGH | libc::RTM_DELNEIGH, _) => {
                happened.unclear |= is_neighbour_relevant(kind, body);
            }
            _ => (happened.unclear, happened.main) = (true, true),
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
mod tests {
    use super::*;

    fn message(kind: u16, body: &[u8]) -> Vec<u8> {
        let mut bytes = (HEADER as u32 + body.len() as u32).to_ne_bytes().to_vec();
        bytes.extend(kind.to_ne_bytes());
        bytes.resize(HEADER, 0);
        bytes.extend(body);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    #[test]
    fn of_routes_only_ours_and_defaults_count() {
        let route = |prefix, protocol| [2, prefix, 0, 0, 254, protocol, 0, 1, 0, 0, 0, 0];
        for (body, counts) in [
            (route(24, 186), false),
            (route(0, 16), true),
            (route(32, ROUTE_PROTOCOL), true),
        ] {
            assert_eq!(is_route_relevant(libc::RTM_DELROUTE, &body), counts, "{body:?}");
        }
        assert!(is_route_relevant(libc::RTM_DELADDR, &[]));
        assert!(is_route_relevant(libc::RTM_NEWROUTE, &[2, 24]), "cut short");
    }

    #[test]
    fn of_traffic_control_only_what_mirrors_hang_on_counts() {
        let body = |parent: u32, priority: u16| {
            let mut body = vec![0; 12];
            body.extend(parent.to_ne_bytes());
            body.extend((u32::from(priority) << 16).to_ne_bytes());
            body
        };
        for (kind, body, counts) in [
            (libc::RTM_DELQDISC, body(CLSACT, 0), true),
            (libc::RTM_NEWQDISC, body(0xffff_ffff, 0), false),
            (libc::RTM_DELTFILTER, body(0xffff_fff2, FILTER_PRIORITY), true),
            (libc::RTM_NEWTFILTER, body(0xffff_fff2, 1), false),
            (libc::RTM_NEWTCLASS, body(CLSACT, FILTER_PRIORITY), false),
            (libc::RTM_DELTFILTER, vec![0; 16], true),
        ] {
            assert_eq!(is_route_relevant(kind, &body), counts, "{kind} {body:?}");
        }
    }

    #[test]
    fn of_routes_that_are_ours_it_is_told_which_may_have_changed() {
        let mut routes = OwnRoutes::open().unwrap();
        routes.leave_by([LinkIndex(7)].into_iter());
        let route = |prefix, protocol, kind| [2, prefix, 0, 0, 255, protocol, 254, kind, 0, 0, 0, 0];
        let link = |index: u8| [0, 0, 1, 0, index, 0, 0, 0, 0, 0, 0, 0];
        let by = |kind, body: &[u8]| {
            let mut happened = Happened::default();
            routes.note(kind, body, &mut happened);
            happened
        };
        for (kind, body, unclear, main) in [
            (
                libc::RTM_DELROUTE,
                route(24, ROUTE_PROTOCOL, libc::RTN_LOCAL),
                true,
                false,
            ),
            (
                libc::RTM_NEWROUTE,
                route(24, ROUTE_PROTOCOL, libc::RTN_UNREACHABLE),
                false,
                true,
            ),
            (libc::RTM_NEWROUTE, route(0, 16, libc::RTN_UNICAST), false, true),
            (libc::RTM_NEWROUTE, route(24, 2, libc::RTN_UNICAST), false, false),
            (libc::RTM_NEWROUTE, route(32, 2, libc::RTN_LOCAL), false, false),
            (libc::RTM_NEWLINK, link(1), true, true),
            (libc::RTM_NEWLINK, link(7), false, true),
            (libc::RTM_DELADDR, link(7), false, true),
            (libc::RTM_NEWLINK, link(2), false, false),
        ] {
            let expected = Happened {
                unclear,
                main,
                ..Happened::default()
            };
            assert_eq!(by(kind, &body), expected, "{kind} {body:?}");
        }
        let cut = by(libc::RTM_NEWLINK, &[0, 0]);
        assert!(cut.unclear && cut.main, "cut short");
        let mut elastic = route(32, ROUTE_PROTOCOL, libc::RTN_LOCAL).to_vec();
        for (attribute, value) in [
            (libc::RTA_TABLE, [255, 0, 0, 0]),
            (libc::RTA_DST, [10, 9, 8, 7]),
            (libc::RTA_OIF, [1, 0, 0, 0]),
        ] {
            elastic.extend(8_u16.to_ne_bytes());
            elastic.extend(attribute.to_ne_bytes());
            elastic.extend(value);
        }
        let gone = by(libc::RTM_DELROUTE, &elastic);
        assert!(!gone.unclear && !gone.main);
        let [RouteChange::Went(went)] = &gone.elastic[..] else {
            panic!("{gone:?}")
        };
        assert_eq!(went.destination.to_string(), "10.9.8.7/32");
        let came = by(libc::RTM_NEWROUTE, &elastic);
        assert_eq!(came.elastic, [RouteChange::Came(went.clone())]);
    }

    #[test]
    fn of_neighbours_only_those_of_our_links_that_are_there_for_good_count() {
        let neighbour = |link: u32, state: u16| {
            let mut body = vec![2, 0, 0, 0];
            body.extend(link.to_ne_bytes());
            body.extend(state.to_ne_bytes());
            body
        };
        let (new, gone) = (libc::RTM_NEWNEIGH, libc::RTM_DELNEIGH);
        let ours = FIRST_OWN_LINK + 7;
        for (kind, link, state, counts) in [
            (new, ours, 0x80, true),
            (new, ours, 0x02, false),
            (gone, ours, 0x80, true),
            // As `ip neigh del` has it.
            (gone, ours, 0x20, true),
            (gone, ours, 0x04, false),
            (new, 3, 0x80, false),
            (gone, 3, 0x80, false),
        ] {
            let body = neighbour(link, state);
            assert_eq!(is_route_relevant(kind, &body), counts, "{kind} {link} {state:x}");
            let mut happened = Happened::default();
            OwnRoutes::open().unwrap().note(kind, &body, &mut happened);
            assert_eq!((happened.unclear, happened.main), (counts, false));
        }
        // Somebody made a forwarding entry one that ages.
        let mut aging = neighbour(ours, 0x02);
        aging[0] = libc::AF_BRIDGE as u8;
        assert!(is_route_relevant(new, &aging));
    }

    #[test]
    fn of_nftables_only_our_table_counts() {
        let of = |table: &str| {
            let mut body = vec![2, 0, 0, 0];
            body.extend((ATTRIBUTE as u16 + table.len() as u16 + 1).to_ne_bytes());
            body.extend(1_u16.to_ne_bytes());
            body.extend(table.as_bytes());
            body.push(0);
            body
        };
        let deleted_table = SUBSYS_NFTABLES << 8 | 2;
        assert!(is_nftables_relevant(deleted_table, &of(NFT_TABLE)));
        assert!(!is_nftables_relevant(deleted_table, &of("firewalld")));
        assert!(!is_nftables_relevant(deleted_table, &[]));
        let mut flagged = of(NFT_TABLE);
        flagged[NFGENMSG + 2..][..2].copy_from_slice(&(1_u16 | 0x8000).to_ne_bytes());
        assert!(
            is_nftables_relevant(deleted_table, &flagged),
            "flags are no part of a number"
        );
        let both = [message(1, &of("a")), message(2, &of("b"))].concat();
        let kinds: Vec<u16> = messages(&both).map(|(kind, _)| kind).collect();
        assert_eq!(kinds, [1, 2]);
        assert_eq!(messages(&both[..HEADER + 2]).count(), 0, "cut short");
    }
}
