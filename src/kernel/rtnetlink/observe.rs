//! One look at links, addresses and routes.

use std::io;
use std::net::IpAddr;

use futures_util::TryStreamExt;
use ipnet::Ipv4Net;
use netlink_packet_core::{NetlinkMessage, NetlinkPayload};
use netlink_packet_route::address::{AddressAttribute, AddressMessage, AddressScope};
use netlink_packet_route::link::{InfoKind, LinkAttribute, LinkFlags, LinkInfo, LinkLayerType, LinkMessage};
use netlink_packet_route::route::{RouteAddress, RouteAttribute, RouteMessage, RouteType};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use rtnetlink::Handle;

use super::super::nic;
use super::{Error, Routes};
use crate::model::{Link, LinkId, LinkIndex, LinkName, MacAddr, Observed, Route, RouteKind, TABLE_MAIN};
use crate::owned::ROUTE_PROTOCOL;

pub(super) async fn observe(handle: &Handle, loopback: LinkIndex, routes: Routes) -> Result<Observed, Error> {
    let mut observed = Observed::default();

    let mut messages = handle.link().get().execute();
    while let Some(message) = messages
        .try_next()
        .await
        .map_err(|error| failed("links", error))?
    {
        observed.links.push(link(&message, loopback));
    }
    observed.links.sort_by_key(|link| link.index);
    if nic::is_udev_here() {
        // One that is up is not ours to spare any more.
        for link in observed.links.iter_mut().filter(|link| !link.up && !link.stacked) {
            link.udev_pending = matches!(link.id, Some(LinkId::Mac(_))) && !nic::is_finished(link);
        }
    }

    let mut messages = handle.address().get().execute();
    while let Some(message) = messages
        .try_next()
        .await
        .map_err(|error| failed("addresses", error))?
    {
        add_address(&mut observed, &message);
    }

    if routes == Routes::None {
        return Ok(observed);
    }
    // Not the crate's own request for routes: it keeps all of them as messages. A kernel that is strict takes each field
    // for a condition, so all but these are zero.
    let mut wanted = RouteMessage::default();
    wanted.header.address_family = AddressFamily::Inet;
    if routes == Routes::Main {
        wanted.header.table = TABLE_MAIN as u8;
    }
    let mut request = NetlinkMessage::from(RouteNetlinkMessage::GetRoute(wanted));
    request.header.flags = netlink_packet_core::NLM_F_REQUEST | netlink_packet_core::NLM_F_DUMP;
    let mut handle = handle.clone();
    let mut messages = handle.request(request).map_err(|error| failed("routes", error))?;
    while let Some(message) = futures_util::StreamExt::next(&mut messages).await {
        match message.payload {
            NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewRoute(message)) => {
                observed.routes.extend(route(&message, loopback));
            }
            // Tables come with their first route.
            NetlinkPayload::Error(error) if error.raw_code() == -nix::libc::ENOENT => {}
            NetlinkPayload::Error(error) => {
                return Err(failed("routes", rtnetlink::Error::NetlinkError(error)));
            }
            _ => {}
        }
    }
    Ok(observed)
}

fn failed(what: &str, error: rtnetlink::Error) -> Error {
    let source = match error {
        rtnetlink::Error::NetlinkError(answer) => {
            io::Error::from_raw_os_error(answer.raw_code().saturating_neg())
        }
        other => io::Error::other(other.to_string()),
    };
    Error::Read {
        what: what.to_owned(),
        source,
    }
}

pub(super) fn link(message: &LinkMessage, loopback: LinkIndex) -> Link {
    let index = LinkIndex(message.header.index);
    let mut link = Link {
        index,
        name: LinkName(String::new()),
        id: (index == loopback).then_some(LinkId::Loopback),
        up: message.header.flags.contains(LinkFlags::Up),
        stacked: false,
        ipv6_in_use: false,
        udev_pending: false,
    };
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::IfName(name) => link.name = LinkName(name.clone()),
            LinkAttribute::Address(octets) if message.header.link_layer_type == LinkLayerType::Ether => {
                let octets: Result<[u8; 6], _> = octets.as_slice().try_into();
                link.id = octets
                    .ok()
                    .and_then(|octets| MacAddr::from_octets(octets).ok())
                    .map(LinkId::Mac);
            }
            LinkAttribute::LinkInfo(infos) => {
                link.stacked = infos
                    .iter()
                    .any(|info| matches!(info, LinkInfo::Kind(kind) if borrows(kind)));
            }
            _ => {}
        }
    }
    link
}

/// Kinds of links that take the hardware address of the link below them, or of their first port.
fn borrows(kind: &InfoKind) -> bool {
    matches!(
        kind,
        InfoKind::Vlan
            | InfoKind::MacVlan
            | InfoKind::MacVtap
            | InfoKind::IpVlan
            | InfoKind::IpVtap
            | InfoKind::Bridge
            | InfoKind::Bond
            | InfoKind::Team
            | InfoKind::MacSec
            | InfoKind::Hsr
    )
}

/// Adds an address to what was seen of its link, whose message came before.
pub(super) fn add_address(observed: &mut Observed, message: &AddressMessage) {
    if message.header.scope != AddressScope::Universe {
        return;
    }
    let index = LinkIndex(message.header.index);
    match address(message) {
        Some(IpAddr::V4(address)) => {
            if let Ok(net) = Ipv4Net::new(address, message.header.prefix_len) {
                observed.addresses.entry(index).or_default().insert(net);
            }
        }
        Some(IpAddr::V6(_)) => {
            if let Some(link) = observed.links.iter_mut().find(|link| link.index == index) {
                // ::1 on lo is nobody's.
                link.ipv6_in_use = link.id != Some(LinkId::Loopback);
            }
        }
        None => {}
    }
}

/// A link's own address: on a point-to-point link `Address` is the other end's (if_addr.h).
fn address(message: &AddressMessage) -> Option<IpAddr> {
    let local = message.attributes.iter().find_map(|attribute| match attribute {
        AddressAttribute::Local(address) => Some(*address),
        _ => None,
    });
    local.or_else(|| {
        message.attributes.iter().find_map(|attribute| match attribute {
            AddressAttribute::Address(address) => Some(*address),
            _ => None,
        })
    })
}

/// A route that a plan may depend on: one of ours, or a way to everywhere.
pub(super) fn route(message: &RouteMessage, loopback: LinkIndex) -> Option<Route<LinkIndex>> {
    let header = &message.header;
    if header.address_family != AddressFamily::Inet {
        return None;
    }
    let kind = match header.kind {
        RouteType::Unicast => RouteKind::Unicast,
        RouteType::Local => RouteKind::Local,
        RouteType::Unreachable => RouteKind::Unreachable,
        _ => return None,
    };
    let protocol = u8::from(header.protocol);
    let is_default = kind == RouteKind::Unicast && header.destination_prefix_length == 0;
    if protocol != ROUTE_PROTOCOL && !is_default {
        return None;
    }
    let mut destination = std::net::Ipv4Addr::UNSPECIFIED;
    let (mut table, mut gateway, mut link, mut metric) = (u32::from(header.table), None, None, 0);
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Destination(RouteAddress::Inet(address)) => destination = *address,
            RouteAttribute::Gateway(RouteAddress::Inet(address)) => gateway = Some(*address),
            RouteAttribute::Oif(index) => link = Some(LinkIndex(*index)),
            RouteAttribute::Priority(priority) => metric = *priority,
            RouteAttribute::Table(number) => table = *number,
            _ => {}
        }
    }
    if protocol != ROUTE_PROTOCOL && table != TABLE_MAIN {
        // Policy routing of another program.
        return None;
    }
    if kind == RouteKind::Unreachable {
        link = Some(loopback);
    }
    let destination = Ipv4Net::new(destination, header.destination_prefix_length).ok()?;
    Some(Route {
        destination,
        table,
        kind,
        gateway,
        link: link?,
        metric,
        protocol,
    })
}
