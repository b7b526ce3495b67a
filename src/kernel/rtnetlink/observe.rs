//! One look at links and addresses, and what the messages of all three mean.

use std::io;
use std::net::IpAddr;

use futures_util::TryStreamExt;
use ipnet::Ipv4Net;
use netlink_packet_route::AddressFamily;
use netlink_packet_route::address::{AddressAttribute, AddressMessage, AddressScope};
use netlink_packet_route::link::{InfoKind, LinkAttribute, LinkFlags, LinkInfo, LinkLayerType, LinkMessage};
use netlink_packet_route::route::{RouteAddress, RouteAttribute, RouteMessage, RouteType};
use nix::libc;
use rtnetlink::Handle;

use super::super::nic;
use super::dump::Dump;
use super::link::{self, Parameters};
use super::{Error, own_link};
use crate::model::{Link, LinkId, LinkIndex, LinkName, MacAddr, Observed, Route, RouteKind, TABLE_MAIN};
use crate::owned::ROUTE_PROTOCOL;

/// The links, and what was told of their parameters.
pub(super) fn links(dump: &mut Dump, loopback: LinkIndex) -> Result<(Observed, Parameters), Error> {
    let (mut observed, mut parameters) = (Observed::default(), Parameters::new());
    let mut see = |payload: &[u8]| {
        if let Some((message, told)) = link::read(payload) {
            add_link(&mut observed, &message, loopback);
            let index = LinkIndex(message.header.index);
            parameters.extend(told.into_iter().map(|(one, value)| ((index, one), value)));
        }
    };
    dump.each(link::request(), libc::RTM_NEWLINK, &mut see)
        .map_err(|source| Error::Read {
            what: "links".to_owned(),
            source,
        })?;
    observed.links.sort_by_key(|link| link.index);
    if nic::is_udev_here() {
        // One that is up is not ours to spare any more.
        for link in observed.links.iter_mut().filter(|link| !link.up && !link.stacked) {
            link.udev_pending = matches!(link.id, Some(LinkId::Mac(_))) && !nic::is_finished(link);
        }
    }
    Ok((observed, parameters))
}

/// Adds the addresses of the links.
pub(super) async fn addresses(handle: &Handle, observed: &mut Observed) -> Result<(), Error> {
    let mut messages = handle.address().get().execute();
    while let Some(message) = messages
        .try_next()
        .await
        .map_err(|error| failed("addresses", error))?
    {
        add_address(observed, &message);
    }
    Ok(())
}

pub(super) fn failed(what: &str, error: rtnetlink::Error) -> Error {
    let source = match error {
        rtnetlink::Error::NetlinkError(answer) => {
            io::Error::from_raw_os_error(answer.raw_code().saturating_neg())
        }
        // Not in its own words: these would be all that a message of any kind may have.
        rtnetlink::Error::UnexpectedMessage(_) => io::Error::other("an unexpected message"),
        rtnetlink::Error::RequestFailed => io::Error::other("the request could not be sent"),
        rtnetlink::Error::InvalidNla(what) | rtnetlink::Error::NamespaceError(what) => io::Error::other(what),
        _ => io::Error::other("an address that is none"),
    };
    Error::Read {
        what: what.to_owned(),
        source,
    }
}

/// Adds a link to what was seen, and what it is if its name is one of ours.
pub(super) fn add_link(observed: &mut Observed, message: &LinkMessage, loopback: LinkIndex) {
    let mut link = link_of(message, loopback);
    if let Some((name, own)) = own_link::read(message, &link) {
        if own.kind.is_ours() {
            link.id = Some(LinkId::Own(name));
        }
        observed.own_links.insert(link.index, own);
    }
    observed.links.push(link);
}

fn link_of(message: &LinkMessage, loopback: LinkIndex) -> Link {
    let index = LinkIndex(message.header.index);
    let mut link = Link {
        index,
        name: LinkName("".into()),
        id: (index == loopback).then_some(LinkId::Loopback),
        up: message.header.flags.contains(LinkFlags::Up),
        stacked: false,
        ipv6_in_use: false,
        udev_pending: false,
        mtu: 1_500,
    };
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::Mtu(mtu) => link.mtu = *mtu,
            LinkAttribute::IfName(name) => link.name = LinkName(name.as_str().into()),
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

/// Reads a message of a dump of routes in the crate's way, with its header.
#[cfg(any(test, fuzzing))]
pub(super) fn general(message: &[u8], loopback: LinkIndex) -> Option<Route<LinkIndex>> {
    use netlink_packet_core::{NetlinkMessage, NetlinkPayload};
    use netlink_packet_route::RouteNetlinkMessage;
    let message = NetlinkMessage::<RouteNetlinkMessage>::deserialize(message).ok()?;
    match message.payload {
        NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewRoute(message)) => route(&message, loopback),
        _ => None,
    }
}
