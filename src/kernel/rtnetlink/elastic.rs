//! The routes of elastic IPs as bytes, written and read by hand: there are tens of thousands of them, all alike, and a crate's
//! value of each takes ten allocations. Whatever is not such a route goes the crate's way (`message`, `observe`), and for what is,
//! both ways say the same: tests here and the fuzzer hold them to that.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use netlink_packet_core::{NLM_F_APPEND, NLM_F_CREATE};
use nix::libc;

use crate::model::{LinkIndex, Route, RouteKind};
use crate::owned::ROUTE_PROTOCOL;
use crate::plan::Operation;

/// `struct nlmsghdr`, `struct rtmsg`, and a table, a destination and a link of eight bytes each.
const LENGTH: usize = HEADER + ROUTE_HEADER + 3 * ATTRIBUTE;
const HEADER: usize = 16;
const ROUTE_HEADER: usize = 12;
const ATTRIBUTE: usize = 8;

/// What a message of a dump is.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::kernel) enum Told {
    /// The route of an elastic IP.
    Elastic(Route<LinkIndex>),
    /// Another program's route, that no plan depends on.
    Foreign,
    /// To be read in the general way.
    Other,
}

/// Writes the message of an operation on the route of an elastic IP (`flags` beside its own), and says whether it is one.
pub(super) fn write(buffer: &mut Vec<u8>, operation: &Operation, sequence: u32, flags: u16) -> bool {
    let (kind, flags, scope, route) = match operation {
        Operation::AddRoute { route, .. } => (
            libc::RTM_NEWROUTE,
            flags | NLM_F_CREATE | NLM_F_APPEND,
            libc::RT_SCOPE_HOST,
            route,
        ),
        Operation::DeleteRoute { route, .. } => (libc::RTM_DELROUTE, flags, libc::RT_SCOPE_NOWHERE, route),
        _ => return false,
    };
    let (Ok(table), RouteKind::Local, None, 0, 32) = (
        u8::try_from(route.table),
        route.kind,
        route.gateway,
        route.metric,
        route.destination.prefix_len(),
    ) else {
        return false;
    };
    buffer.extend_from_slice(&(LENGTH as u32).to_ne_bytes());
    buffer.extend_from_slice(&kind.to_ne_bytes());
    buffer.extend_from_slice(&flags.to_ne_bytes());
    buffer.extend_from_slice(&sequence.to_ne_bytes());
    // The sender's port: the kernel knows it.
    buffer.extend_from_slice(&[0; 4]);
    // Family, lengths of destination and source, service, table, protocol, scope, type; then the flags.
    let family = libc::AF_INET as u8;
    buffer.extend_from_slice(&[
        family,
        32,
        0,
        0,
        table,
        route.protocol,
        scope,
        libc::RTN_LOCAL,
        0,
        0,
        0,
        0,
    ]);
    let mut attribute = |kind: u16, value: [u8; 4]| {
        buffer.extend_from_slice(&(ATTRIBUTE as u16).to_ne_bytes());
        buffer.extend_from_slice(&kind.to_ne_bytes());
        buffer.extend_from_slice(&value);
    };
    attribute(libc::RTA_TABLE, route.table.to_ne_bytes());
    attribute(libc::RTA_DST, route.destination.addr().octets());
    attribute(libc::RTA_OIF, route.link.0.to_ne_bytes());
    true
}

/// Reads a message of a dump of routes, with its header.
pub(super) fn read(message: &[u8]) -> Told {
    match message.get(HEADER..) {
        Some(payload) if message[4..6] == libc::RTM_NEWROUTE.to_ne_bytes() => read_payload(payload),
        _ => Told::Other,
    }
}

/// Reads what comes behind the header of a message that tells of a route, or that it is gone.
pub(in crate::kernel) fn read_payload(payload: &[u8]) -> Told {
    let Some((&[family, prefix, _, _, _, protocol, _, kind, ..], mut attributes)) =
        payload.split_first_chunk::<ROUTE_HEADER>()
    else {
        return Told::Other;
    };
    if family != libc::AF_INET as u8 {
        return Told::Other;
    }
    if protocol != ROUTE_PROTOCOL && !(kind == libc::RTN_UNICAST && prefix == 0) {
        return Told::Foreign;
    }
    if (protocol, kind, prefix) != (ROUTE_PROTOCOL, libc::RTN_LOCAL, 32) {
        return Told::Other;
    }
    let (mut table, mut destination, mut link) = (None, None, None);
    while let Some((&[size, high, attribute, other, a, b, c, d], rest)) =
        attributes.split_first_chunk::<ATTRIBUTE>()
    {
        if u16::from_ne_bytes([size, high]) != ATTRIBUTE as u16 {
            return Told::Other;
        }
        let value = [a, b, c, d];
        match u16::from_ne_bytes([attribute, other]) {
            libc::RTA_TABLE => table = Some(u32::from_ne_bytes(value)),
            libc::RTA_DST => destination = Some(Ipv4Addr::from(value)),
            libc::RTA_OIF => link = Some(LinkIndex(u32::from_ne_bytes(value))),
            _ => return Told::Other,
        }
        attributes = rest;
    }
    match (table, destination, link, attributes) {
        (Some(table), Some(destination), Some(link), []) => Told::Elastic(Route {
            destination: Ipv4Net::from(destination),
            table,
            kind: RouteKind::Local,
            gateway: None,
            link,
            metric: 0,
            protocol,
        }),
        _ => Told::Other,
    }
}

#[cfg(test)]
mod tests {
    use netlink_packet_core::{NLM_F_ACK, NLM_F_REQUEST};

    use super::super::batch::{general, messages};
    use super::super::observe::general as read_generally;
    use super::*;
    use crate::model::{LinkName, TABLE_LOCAL, TABLE_MAIN};
    use crate::plan::LinkRef;

    fn route(destination: &str, table: u32, link: u32) -> Route<LinkIndex> {
        Route {
            destination: destination.parse().unwrap(),
            table,
            kind: RouteKind::Local,
            gateway: None,
            link: LinkIndex(link),
            metric: 0,
            protocol: ROUTE_PROTOCOL,
        }
    }

    fn operations(route: &Route<LinkIndex>) -> [Operation; 2] {
        let (link, route) = (
            LinkRef {
                index: route.link,
                name: LinkName("lo".into()),
            },
            route.clone(),
        );
        [
            Operation::AddRoute {
                link: link.clone(),
                route: route.clone(),
            },
            Operation::DeleteRoute { link, route },
        ]
    }

    #[test]
    fn it_is_written_as_the_crate_writes_it() {
        for plain in [
            route("10.90.2.250/32", TABLE_LOCAL, 1),
            route("255.255.255.254/32", TABLE_MAIN, u32::MAX),
        ] {
            for operation in operations(&plain) {
                for flags in [NLM_F_REQUEST, NLM_F_REQUEST | NLM_F_ACK] {
                    let (mut by_hand, mut by_crate) = (vec![7; 3], vec![7; 3]);
                    assert!(write(&mut by_hand, &operation, 0x0102_0304, flags));
                    general(&mut by_crate, &operation, 0x0102_0304, flags);
                    assert_eq!(by_hand, by_crate, "{operation}");
                }
            }
        }
    }

    #[test]
    fn what_is_otherwise_is_left_to_the_crate() {
        let plain = route("10.90.2.250/32", TABLE_LOCAL, 1);
        let with = |change: &dyn Fn(&mut Route<LinkIndex>)| {
            let mut other = plain.clone();
            change(&mut other);
            other
        };
        for other in [
            with(&|route| route.destination = "10.90.2.0/24".parse().unwrap()),
            with(&|route| route.table = 256),
            with(&|route| route.kind = RouteKind::Unreachable),
            with(&|route| route.kind = RouteKind::Unicast),
            with(&|route| route.gateway = Some(Ipv4Addr::LOCALHOST)),
            with(&|route| route.metric = 1),
        ] {
            for operation in operations(&other) {
                assert!(!write(&mut Vec::new(), &operation, 1, 0), "{operation}");
            }
        }
    }

    /// What the kernel tells of a route is what it was told, in another order and with more. Every byte of it is changed to
    /// every other value, and everything is cut off: as long as it is read by hand, the crate reads the same.
    #[test]
    fn it_is_read_as_the_crate_reads_it_whatever_byte_is_changed() {
        let plain = route("10.90.2.250/32", TABLE_LOCAL, 1);
        let told = messages(&operations(&plain)[..1], 1);
        assert_eq!(read(&told), Told::Elastic(plain.clone()));
        let preferred = [&told[..], &[8, 0, libc::RTA_PREFSRC as u8, 0, 10, 0, 0, 1]].concat();
        let twice = [&told[..], &told[told.len() - 8..told.len() - 1], &[9]].concat();
        let mut read_by_hand = 0;
        for message in [&told[..], &preferred, &twice] {
            let lengths = (0..message.len()).map(|length| message[..length].to_vec());
            let changed = (0..message.len()).flat_map(|place| {
                (0..=u8::MAX).map(move |byte| {
                    let mut changed = message.to_vec();
                    changed[place] = byte;
                    changed
                })
            });
            for mut one in lengths.chain(changed) {
                // A message is found by its length: what is read has it right.
                if one.len() >= 4 {
                    let length = (one.len() as u32).to_ne_bytes();
                    one[..4].copy_from_slice(&length);
                }
                let by_crate = read_generally(&one, LinkIndex(1));
                match read(&one) {
                    Told::Elastic(route) => {
                        read_by_hand += 1;
                        assert_eq!(by_crate, Some(route), "{one:?}");
                    }
                    Told::Foreign => assert_eq!(by_crate, None, "{one:?}"),
                    Told::Other => {}
                }
            }
        }
        assert!(read_by_hand > 10_000, "{read_by_hand}");
    }
}
