//! Links that we make ourselves, as messages, and messages as what such a link is.
//!
//! Tunnels of mirrors have the same settings throughout: packets of their own, whatever is in the copies that they carry (TTL 64,
//! no "don't fragment", whichever the copy has). So the kernel never answers the sender of a mirrored packet that the
//! copy was too large (`tnl_update_pmtu`, net/ipv4/ip_tunnel.c): it sends fragments.

use std::net::Ipv4Addr;

use netlink_packet_core::DefaultNla;
use netlink_packet_route::link::{
    GreEncapType, GreIOFlags, InfoData, InfoGre, InfoKind, InfoVlan, InfoVxlan, LinkAttribute, LinkFlags,
    LinkInfo, LinkMessage, VlanProtocol,
};

use super::super::Error;
use crate::model::{Erspan, Link, LinkIndex, MacAddr, OwnKind, OwnLink, OwnName};
use crate::plan::LinkRef;

/// `IFLA_GRE_IGNORE_DF` (linux/if_tunnel.h): the copy's "don't fragment" is not the tunnel's. The crate lacks it.
const IFLA_GRE_IGNORE_DF: u16 = 19;
/// Of the packets of a tunnel.
const TTL: u8 = 64;

/// What makes a link of ours, and sets it up.
pub(super) fn message(link: &LinkRef, own: &OwnLink<LinkIndex>) -> LinkMessage {
    let mut message = LinkMessage::default();
    message.header.index = link.index.0;
    message.header.flags = LinkFlags::Up;
    message.header.change_mask = LinkFlags::Up;
    let mut attributes = vec![LinkAttribute::IfName(link.name.0.to_string())];
    traits(&mut attributes, own.mtu, own.mac);
    let info = match &own.kind {
        OwnKind::Vlan { parent, id } => {
            attributes.push(LinkAttribute::Link(parent.0));
            let data = vec![InfoVlan::Id(*id), InfoVlan::Protocol(VlanProtocol::Ieee8021Q)];
            vec![
                LinkInfo::Kind(InfoKind::Vlan),
                LinkInfo::Data(InfoData::Vlan(data)),
            ]
        }
        OwnKind::Gretap { local, remote, key } => {
            let mut data = gre(*local, *remote);
            if let Some(key) = key {
                data.extend(keyed(GreIOFlags::Key, *key));
            }
            vec![
                LinkInfo::Kind(InfoKind::GreTap),
                LinkInfo::Data(InfoData::GreTap(data)),
            ]
        }
        OwnKind::Erspan {
            local,
            remote,
            session,
            version,
        } => {
            let mut data = gre(*local, *remote);
            // The kernel takes no other flags (`erspan_validate`): frames are numbered.
            data.extend(keyed(GreIOFlags::Key | GreIOFlags::Seq, *session));
            match version {
                Erspan::V1 { index } => {
                    data.extend([InfoGre::ErSpanVer(1), InfoGre::ErSpanIndex(*index)]);
                }
                Erspan::V2 => data.push(InfoGre::ErSpanVer(2)),
            }
            vec![
                LinkInfo::Kind(InfoKind::ErSpan),
                LinkInfo::Data(InfoData::ErSpan(data)),
            ]
        }
        OwnKind::Vxlan { vni, local, port } => {
            let data = vec![
                InfoVxlan::Id(*vni),
                InfoVxlan::Local(*local),
                InfoVxlan::Port(*port),
                InfoVxlan::Learning(false),
            ];
            vec![
                LinkInfo::Kind(InfoKind::Vxlan),
                LinkInfo::Data(InfoData::Vxlan(data)),
            ]
        }
        // As far as it can be brought back.
        OwnKind::Other(kind) => vec![LinkInfo::Kind(InfoKind::Other(kind.clone()))],
    };
    attributes.push(LinkAttribute::LinkInfo(info));
    message.attributes = attributes;
    message
}

/// What makes a link of ours into one with other traits.
pub(super) fn change(link: &LinkRef, from: &OwnLink<LinkIndex>, to: &OwnLink<LinkIndex>) -> LinkMessage {
    let mut message = LinkMessage::default();
    message.header.index = link.index.0;
    let mtu = to.mtu.filter(|_| from.mtu != to.mtu);
    let mac = to.mac.filter(|_| from.mac != to.mac);
    traits(&mut message.attributes, mtu, mac);
    message
}

fn traits(attributes: &mut Vec<LinkAttribute>, mtu: Option<u32>, mac: Option<MacAddr>) {
    attributes.extend(mac.map(|mac| LinkAttribute::Address(mac.octets().to_vec())));
    attributes.extend(mtu.map(LinkAttribute::Mtu));
}

fn gre(local: Option<Ipv4Addr>, remote: Ipv4Addr) -> Vec<InfoGre> {
    vec![
        InfoGre::Local(local.unwrap_or(Ipv4Addr::UNSPECIFIED)),
        InfoGre::Remote(remote),
        InfoGre::Ttl(TTL),
        InfoGre::PathMTUDiscovery(false),
        InfoGre::Other(DefaultNla::new(IFLA_GRE_IGNORE_DF, vec![1])),
    ]
}

fn keyed(flags: GreIOFlags, key: u32) -> [InfoGre; 4] {
    [
        InfoGre::IFlags(flags),
        InfoGre::OFlags(flags),
        InfoGre::IKey(key),
        InfoGre::OKey(key),
    ]
}

/// What a link is that has a name of ours; `None`: it has none, or is no link that is made by netlink (a NIC).
pub(super) fn read(message: &LinkMessage, link: &Link) -> Option<(OwnName, OwnLink<LinkIndex>)> {
    let name = OwnName::new(&link.name.0)?;
    let (mut mac, mut parent, mut kind, mut data) = (None, None, None, None);
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::Address(octets) => {
                let octets: Option<[u8; 6]> = octets.as_slice().try_into().ok();
                mac = octets.and_then(|octets| MacAddr::from_octets(octets).ok());
            }
            LinkAttribute::Link(index) => parent = Some(LinkIndex(*index)),
            LinkAttribute::LinkInfo(infos) => {
                for info in infos {
                    match info {
                        LinkInfo::Kind(one) => kind = Some(one),
                        LinkInfo::Data(one) => data = Some(one),
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
    let kind = kind?;
    let read = match data {
        Some(InfoData::Vlan(data)) => vlan(parent, data),
        Some(InfoData::GreTap(data)) => gretap(data),
        Some(InfoData::ErSpan(data)) => erspan(data),
        Some(InfoData::Vxlan(data)) => vxlan(data),
        _ => None,
    };
    let own = OwnLink {
        kind: read.unwrap_or_else(|| OwnKind::Other(kind.to_string())),
        mtu: Some(link.mtu),
        mac,
    };
    Some((name, own))
}

fn vlan(parent: Option<LinkIndex>, data: &[InfoVlan]) -> Option<OwnKind<LinkIndex>> {
    let mut tag = None;
    for one in data {
        match one {
            InfoVlan::Id(id) => tag = Some(*id),
            InfoVlan::Protocol(VlanProtocol::Ieee8021Ad) => return None,
            _ => {}
        }
    }
    let (parent, id) = parent.zip(tag)?;
    Some(OwnKind::Vlan { parent, id })
}

/// What a tunnel of GRE says of itself.
#[derive(Default)]
struct Gre {
    local: Option<Ipv4Addr>,
    remote: Option<Ipv4Addr>,
    key: Option<u32>,
    version: u8,
    index: u32,
}

/// `None`: it has settings that we would not give it.
fn read_gre(data: &[InfoGre]) -> Option<Gre> {
    let mut gre = Gre::default();
    let (mut keys, mut flags) = ((0, 0), [GreIOFlags::empty(); 2]);
    for one in data {
        match one {
            InfoGre::Local(local) => gre.local = Some(*local).filter(|local| !local.is_unspecified()),
            InfoGre::Remote(remote) => gre.remote = Some(*remote),
            InfoGre::IFlags(is) => flags[0] = *is,
            InfoGre::OFlags(is) => flags[1] = *is,
            InfoGre::IKey(key) => keys.0 = *key,
            InfoGre::OKey(key) => keys.1 = *key,
            InfoGre::ErSpanVer(version) => gre.version = *version,
            InfoGre::ErSpanIndex(index) => gre.index = *index,
            InfoGre::Ttl(ttl) if *ttl != TTL => return None,
            InfoGre::PathMTUDiscovery(true) | InfoGre::CollectMetadata => return None,
            InfoGre::Link(link) if *link != 0 => return None,
            InfoGre::Tos(tos) if *tos != 0 => return None,
            InfoGre::EncapType(kind) if *kind != GreEncapType::None => return None,
            InfoGre::Other(other) if is_kept_df(other) => return None,
            _ => {}
        }
    }
    let is_keyed = flags.map(|flags| flags.contains(GreIOFlags::Key));
    if is_keyed[0] != is_keyed[1] || keys.0 != keys.1 {
        return None;
    }
    gre.key = is_keyed[0].then_some(keys.0);
    Some(gre)
}

fn is_kept_df(attribute: &DefaultNla) -> bool {
    use netlink_packet_core::Nla;
    let mut value = vec![0; attribute.value_len()];
    attribute.emit_value(&mut value);
    attribute.kind() == IFLA_GRE_IGNORE_DF && value == [0]
}

fn gretap(data: &[InfoGre]) -> Option<OwnKind<LinkIndex>> {
    let Gre {
        local, remote, key, ..
    } = read_gre(data)?;
    let remote = remote?;
    Some(OwnKind::Gretap { local, remote, key })
}

fn erspan(data: &[InfoGre]) -> Option<OwnKind<LinkIndex>> {
    let gre = read_gre(data)?;
    let version = match gre.version {
        1 => Erspan::V1 { index: gre.index },
        2 => Erspan::V2,
        _ => return None,
    };
    Some(OwnKind::Erspan {
        local: gre.local,
        remote: gre.remote?,
        session: gre.key?,
        version,
    })
}

fn vxlan(data: &[InfoVxlan]) -> Option<OwnKind<LinkIndex>> {
    let (mut number, mut source, mut udp) = (None, None, None);
    for one in data {
        match one {
            InfoVxlan::Id(vni) => number = Some(*vni),
            InfoVxlan::Local(local) => source = Some(*local),
            InfoVxlan::Port(port) => udp = Some(*port),
            InfoVxlan::Learning(true) | InfoVxlan::CollectMetadata(true) => return None,
            InfoVxlan::Group(group) if !group.is_unspecified() => return None,
            InfoVxlan::Group6(_) | InfoVxlan::Local6(_) => return None,
            InfoVxlan::Link(link) if *link != 0 => return None,
            _ => {}
        }
    }
    Some(OwnKind::Vxlan {
        vni: number?,
        local: source?,
        port: udp?,
    })
}

/// Why a link of this kind cannot be made at all.
pub(super) fn unsupported<L>(kind: &OwnKind<L>) -> Error {
    let (feature, remedy) = match kind {
        OwnKind::Vlan { .. } => (
            "VLANs",
            "use one with CONFIG_VLAN_8021Q (module 8021q), or another kind of target",
        ),
        OwnKind::Gretap { .. } => (
            "GRE tunnels",
            "use one with CONFIG_NET_IPGRE (module ip_gre), or another kind of target",
        ),
        OwnKind::Erspan { .. } => (
            "ERSPAN tunnels",
            "use Linux 4.16 or later with CONFIG_NET_IPGRE (module ip_gre), or another kind of target",
        ),
        OwnKind::Vxlan { .. } => ("VXLAN", "use one with CONFIG_VXLAN (module vxlan)"),
        OwnKind::Other(_) => ("links of this kind", "nothing can be done"),
    };
    Error::Unsupported { feature, remedy }
}

#[cfg(test)]
mod tests;
