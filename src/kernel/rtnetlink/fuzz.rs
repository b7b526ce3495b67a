//! The fuzzer's door: messages as the kernel tells them, without a kernel.

use netlink_packet_core::{NetlinkMessage, NetlinkPayload, Parseable};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::LinkMessage;
use netlink_packet_route::route::RouteMessage;
use nix::libc;

use super::batch::read_answers;
use super::dump;
use super::elastic::{self, Told};
use super::observe::{add_address, add_link, general, route};
use super::{NeighbourChange, link, neighbour, tc};
use crate::model::{LinkIndex, Observed};
use crate::owned::FIRST_OWN_LINK;
use crate::plan::Operation;

/// `struct nlmsghdr`.
const HEADER: usize = 16;
/// In the lower byte of an entry's state, linux/neighbour.h.
const NUD_PERMANENT: u8 = 0x80;
const LOOPBACK: LinkIndex = LinkIndex(1);

/// What a look sees that is told these messages.
#[must_use]
pub fn observe(messages: Vec<NetlinkMessage<RouteNetlinkMessage>>) -> Observed {
    let mut observed = Observed::default();
    for message in messages {
        match message.payload {
            NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewLink(message)) => {
                add_link(&mut observed, &message, LOOPBACK);
            }
            NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewAddress(message)) => {
                add_address(&mut observed, &message);
            }
            NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewRoute(message)) => {
                observed.routes.extend(route(&message, LOOPBACK));
            }
            _ => {}
        }
    }
    observed
}

/// Holds the two ways to read a message of a dump of routes or links to each other: by hand, and by the crate.
pub fn compare(datagram: &[u8]) {
    let mut rest = datagram;
    while let Some(length) = rest
        .first_chunk()
        .map(|length| u32::from_ne_bytes(*length) as usize)
    {
        let Some(message) = rest.get(..length).filter(|message| message.len() >= 16) else {
            break;
        };
        match elastic::read(message) {
            Told::Elastic(route) => assert_eq!(general(message, LOOPBACK), Some(route)),
            Told::Foreign => assert_eq!(general(message, LOOPBACK), None),
            Told::Other => {}
        }
        compare_link(&message[HEADER..]);
        if let Some(change) = NeighbourChange::read(libc::RTM_NEWNEIGH, &message[HEADER..]) {
            let dumped = neighbour::read(message);
            assert_eq!(change.entry(), dumped, "an event says what a dump says");
        }
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    let mut routes = Vec::new();
    let _ = dump::read(datagram, 1, LOOPBACK, &mut routes);
}

/// What the crate knows as a link, however much of it is passed over, is seen as the same link.
fn compare_link(payload: &[u8]) {
    let read = link::read(payload);
    if let Ok(whole) = LinkMessage::parse(payload) {
        let (parts, _) = read.expect("less is read of it than by the crate");
        let see = |message| {
            let mut observed = Observed::default();
            add_link(&mut observed, message, LOOPBACK);
            observed
        };
        assert_eq!(see(&parts), see(&whole));
    }
}

/// Whether a look takes this route into account.
#[must_use]
pub fn is_looked_at(message: &RouteMessage) -> bool {
    route(message, LOOPBACK).is_some()
}

/// Whether a look takes what this message tells of into account: an entry of an overlay link that is there for good, what
/// filters hang on, a filter of ours.
#[must_use]
pub fn is_of_ours(message: &[u8]) -> bool {
    let body = message.get(HEADER..).unwrap_or_default();
    match message
        .get(4..6)
        .map(|kind| u16::from_ne_bytes([kind[0], kind[1]]))
    {
        Some(libc::RTM_NEWNEIGH | libc::RTM_DELNEIGH) => {
            neighbour::read(message).is_some_and(|(link, _)| link.0 >= FIRST_OWN_LINK)
                && body.get(8).is_some_and(|state| state & NUD_PERMANENT != 0)
        }
        Some(libc::RTM_NEWQDISC | libc::RTM_DELQDISC) => tc::classifier_of(body).is_some(),
        Some(libc::RTM_NEWTFILTER | libc::RTM_DELTFILTER) => tc::is_ours(body),
        _ => false,
    }
}

/// Reads a datagram of answers to these operations, the first of which had the sequence number 1.
pub fn answers(datagram: &[u8], operations: &[Operation]) {
    let mut failures = Vec::new();
    let ended = read_answers(datagram, operations, 1, &mut failures);
    assert!(failures.iter().all(|failure| failure.index < operations.len()));
    assert!(
        failures.len() <= datagram.len() / 16,
        "{ended:?}: more failures than answers"
    );
}
