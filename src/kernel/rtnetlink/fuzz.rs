//! The fuzzer's door: messages as the kernel tells them, without a kernel.

use netlink_packet_core::{NetlinkMessage, NetlinkPayload};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::route::RouteMessage;

use super::batch::read_answers;
use super::dump;
use super::elastic::{self, Told};
use super::observe::{add_address, add_link, general, route};
use crate::model::{LinkIndex, Observed};
use crate::plan::Operation;

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

/// Holds the two ways to read a message of a dump of routes to each other: by hand, and by the crate.
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
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    let mut routes = Vec::new();
    let _ = dump::read(datagram, 1, LOOPBACK, &mut routes);
}

/// Whether a look takes this route into account.
#[must_use]
pub fn is_looked_at(message: &RouteMessage) -> bool {
    route(message, LOOPBACK).is_some()
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
