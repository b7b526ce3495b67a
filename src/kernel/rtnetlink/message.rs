//! Operations as netlink messages, and what the kernel's answers mean for them.

use std::net::IpAddr;

use ipnet::Ipv4Net;
use netlink_packet_core::{NLM_F_APPEND, NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE};
use netlink_packet_route::address::{AddressAttribute, AddressMessage, AddressScope};
use netlink_packet_route::link::{LinkFlags, LinkMessage};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteMessage, RouteProtocol, RouteScope, RouteType,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};

use super::{Error, own_link, tc};
use crate::model::{LinkIndex, Route, RouteKind};
use crate::plan::Operation;

/// The message that carries out an operation, and the flags it needs beside `NLM_F_REQUEST`.
pub(super) fn encode(operation: &Operation) -> Option<(RouteNetlinkMessage, u16)> {
    Some(match operation {
        // ip link add NAME index INDEX up type KIND …
        Operation::AddOwnLink { link, own, .. } => (
            RouteNetlinkMessage::NewLink(own_link::message(link, own)),
            NLM_F_CREATE | NLM_F_EXCL,
        ),
        // ip link set dev NAME mtu MTU address MAC
        Operation::ChangeOwnLink { link, from, to } => {
            (RouteNetlinkMessage::SetLink(own_link::change(link, from, to)), 0)
        }
        // ip link del dev NAME
        Operation::DeleteOwnLink { link, .. } => {
            let mut message = LinkMessage::default();
            message.header.index = link.index.0;
            (RouteNetlinkMessage::DelLink(message), 0)
        }
        Operation::AddClassifier { link } => tc::classifier(link, true),
        Operation::DeleteClassifier { link } => tc::classifier(link, false),
        Operation::AddHook { hook, .. } => tc::add(hook),
        Operation::ReplaceHook { to, .. } => tc::replace(to),
        Operation::DeleteHook { hook, .. } => tc::delete(hook),
        // ip link set dev LINK up|down
        Operation::SetLink { link, up } => {
            let mut message = LinkMessage::default();
            message.header.index = link.index.0;
            message.header.change_mask = LinkFlags::Up;
            if *up {
                message.header.flags = LinkFlags::Up;
            }
            (RouteNetlinkMessage::SetLink(message), 0)
        }
        // ip address replace ADDRESS dev LINK
        Operation::AddAddress { link, address } => (
            RouteNetlinkMessage::NewAddress(address_message(link.index, *address)),
            NLM_F_CREATE | NLM_F_REPLACE,
        ),
        // ip address del ADDRESS dev LINK
        Operation::DeleteAddress { link, address } => (
            RouteNetlinkMessage::DelAddress(address_message(link.index, *address)),
            0,
        ),
        // ip route prepend ROUTE: beside others of the same destination and metric, and before them, so that it
        // is the one in use. A local route goes behind (ip route append): the kernel's own must stay first.
        Operation::AddRoute { route, .. } => {
            let flags = match route.kind {
                RouteKind::Unicast => NLM_F_CREATE,
                RouteKind::Local | RouteKind::Unreachable => NLM_F_CREATE | NLM_F_APPEND,
            };
            (RouteNetlinkMessage::NewRoute(route_message(route, None)), flags)
        }
        // ip route replace ROUTE
        Operation::ReplaceRoute { to, .. } => (
            RouteNetlinkMessage::NewRoute(route_message(to, None)),
            NLM_F_CREATE | NLM_F_REPLACE,
        ),
        // ip route del ROUTE. RT_SCOPE_NOWHERE: whatever its scope.
        Operation::DeleteRoute { route, .. } => (
            RouteNetlinkMessage::DelRoute(route_message(route, Some(RouteScope::NoWhere))),
            0,
        ),
        // By hand, as entries (`neighbour`).
        Operation::AddNeighbour { .. }
        | Operation::ReplaceNeighbour { .. }
        | Operation::DeleteNeighbour { .. }
        | Operation::Table(_)
        | Operation::SetSysctl { .. } => return None,
    })
}

/// What the error number of an answer means for an operation: deleting what is gone and adding what is there
/// is success, and a link that went in between asks for another plan.
pub(super) fn verdict(operation: &Operation, errno: i32) -> Result<(), Error> {
    use nix::libc::{EADDRNOTAVAIL, EEXIST, EINVAL, ENODEV, ENOENT, EOPNOTSUPP, ESRCH};
    match operation {
        Operation::AddOwnLink { .. } if errno == EEXIST => Err(Error::Taken),
        Operation::AddOwnLink { own, .. } if errno == EOPNOTSUPP => Err(own_link::unsupported(&own.kind)),
        Operation::DeleteOwnLink { .. } if errno == ENODEV => Ok(()),
        // EINVAL: there is no qdisc of this kind.
        Operation::DeleteHook { .. } | Operation::DeleteClassifier { .. }
            if [ENOENT, EINVAL, ENODEV].contains(&errno) =>
        {
            Ok(())
        }
        Operation::AddHook { .. } | Operation::AddClassifier { .. } if errno == EEXIST => {
            Err(Error::Interrupted)
        }
        Operation::AddHook { .. } | Operation::AddClassifier { .. }
            if [ENOENT, EOPNOTSUPP].contains(&errno) =>
        {
            Err(tc::UNSUPPORTED)
        }
        Operation::DeleteAddress { .. } | Operation::DeleteRoute { .. }
            if [EADDRNOTAVAIL, ENODEV, ESRCH].contains(&errno) =>
        {
            Ok(())
        }
        Operation::DeleteNeighbour { .. } if [ENOENT, ENODEV].contains(&errno) => Ok(()),
        Operation::SetLink { up: false, .. } if errno == ENODEV => Ok(()),
        Operation::AddAddress { .. } | Operation::AddRoute { .. } if errno == EEXIST => Ok(()),
        _ if errno == ENODEV => Err(Error::Interrupted),
        _ => Err(Error::refused(errno)),
    }
}

fn address_message(link: LinkIndex, address: Ipv4Net) -> AddressMessage {
    let mut message = AddressMessage::default();
    message.header.family = AddressFamily::Inet;
    message.header.prefix_len = address.prefix_len();
    message.header.scope = AddressScope::Universe;
    message.header.index = link.0;
    message
        .attributes
        .push(AddressAttribute::Local(IpAddr::V4(address.addr())));
    message
        .attributes
        .push(AddressAttribute::Address(IpAddr::V4(address.addr())));
    if address.prefix_len() < 31 {
        message
            .attributes
            .push(AddressAttribute::Broadcast(address.broadcast()));
    }
    message
}

fn route_message(route: &Route<LinkIndex>, scope: Option<RouteScope>) -> RouteMessage {
    let mut message = RouteMessage::default();
    let header = &mut message.header;
    header.address_family = AddressFamily::Inet;
    header.destination_prefix_length = route.destination.prefix_len();
    header.protocol = RouteProtocol::from(route.protocol);
    let (kind, own_scope) = match (route.kind, route.gateway) {
        (RouteKind::Local, _) => (RouteType::Local, RouteScope::Host),
        (RouteKind::Unicast, Some(_)) => (RouteType::Unicast, RouteScope::Universe),
        (RouteKind::Unicast, None) => (RouteType::Unicast, RouteScope::Link),
        (RouteKind::Unreachable, _) => (RouteType::Unreachable, RouteScope::Universe),
    };
    header.kind = kind;
    header.scope = scope.unwrap_or(own_scope);
    // Numbers above 255 go into the attribute alone, with RT_TABLE_COMPAT (252) in the header.
    header.table = u8::try_from(route.table).unwrap_or(252);
    let mut push = |attribute| message.attributes.push(attribute);
    push(RouteAttribute::Table(route.table));
    if route.destination.prefix_len() > 0 {
        push(RouteAttribute::Destination(RouteAddress::Inet(
            route.destination.network(),
        )));
    }
    if let Some(gateway) = route.gateway {
        push(RouteAttribute::Gateway(RouteAddress::Inet(gateway)));
    }
    if route.kind != RouteKind::Unreachable {
        push(RouteAttribute::Oif(route.link.0));
    }
    if route.metric != 0 {
        push(RouteAttribute::Priority(route.metric));
    }
    message
}
