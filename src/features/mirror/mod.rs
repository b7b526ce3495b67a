//! Mirrors: which packets of which NICs are copied, and the links of ours that copies leave by.

mod program;

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

use crate::config::{Config, Interface, Mirror, MirrorSelect, MirrorSource, MirrorTarget};
use crate::model::{
    Desired, DesiredMirror, DesiredOwnLink, Direction, Erspan, Fit, Hook, LONGEST_PROGRAM, LinkId,
    LinkSysctl, OwnKind, OwnMtu, OwnName, Sysctl,
};
use program::{Selection, program};

/// An Ethernet header: no part of what an MTU counts.
const ETHERNET: u32 = 14;
/// As many subnets, three instructions each, as leave room for the rest of a program.
const MOST_COPIED_BEFORE: usize = LONGEST_PROGRAM / 4;

pub(super) fn desire(config: &Config, desired: &mut Desired) {
    let mut handles = BTreeSet::new();
    let mut by_name: Vec<(usize, &Mirror)> = config.mirrors().iter().enumerate().collect();
    by_name.sort_by(|(_, one), (_, other)| one.name.cmp(&other.name));
    for (index, mirror) in by_name {
        let path = format!("mirror_list[{index}]");
        let handle = handle(&mirror.name, &mut handles);
        let mut wanted = desire_one(config, mirror, path, handle);
        for target in mirror.to.iter() {
            wanted.sysctls.extend(silent(link_of(target, mirror)));
            if let (MirrorTarget::Vlan { mac, .. }, false) = (target, config.ipv6()) {
                // A trunk may carry other things, but is none of ours that uses IPv6.
                let key = Sysctl::Link(LinkId::Mac(*mac), LinkSysctl::DisableIpv6);
                wanted.sysctls.insert(key, "1".to_owned());
            }
        }
        desired.mirrors.insert(mirror.name.to_string(), wanted);
    }
}

/// Nothing is sent there but copies, and nothing comes from there: no neighbour discovery of IPv6, no answer to ARP for any
/// of the router's addresses (it would draw packets to where nobody expects them), and, since no route leads out by it, a
/// strict reverse-path filter drops whatever comes in.
fn silent(link: LinkId) -> [(Sysctl, String); 3] {
    [
        (LinkSysctl::DisableIpv6, "1"),
        (LinkSysctl::ArpIgnore, "8"),
        (LinkSysctl::RpFilter, "1"),
    ]
    .map(|(parameter, value)| (Sysctl::Link(link, parameter), value.to_owned()))
}

/// A number that follows from the name, so that no mirror's changes with another's.
fn handle(name: &str, taken: &mut BTreeSet<u32>) -> u32 {
    // FNV-1a, 32 bits.
    let hash = name.bytes().fold(0x811c_9dc5_u32, |hash, byte| {
        (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
    });
    let mut handle = hash.max(1);
    while !taken.insert(handle) {
        handle = handle.wrapping_add(1).max(1);
    }
    handle
}

fn desire_one(config: &Config, mirror: &Mirror, path: String, handle: u32) -> DesiredMirror {
    let sources: Vec<&Interface> = sources(config, mirror);
    let source_ids: BTreeSet<LinkId> = sources.iter().map(|one| one.link()).collect();
    let mut wanted = DesiredMirror::default();
    if !matches!(mirror.source, MirrorSource::All) {
        for one in &sources {
            wanted.needs.insert(format!("{path}.source"), one.link());
        }
    }
    let mut to = Vec::new();
    for (index, target) in mirror.to.iter().enumerate() {
        let (id, own) = target_link(target, mirror, &source_ids);
        if let Some(mac) = target.mac() {
            let nic = LinkId::Mac(mac);
            wanted.needs.insert(format!("{path}.to[{index}]"), nic);
            wanted.raises.push(nic);
        }
        if let (LinkId::Own(name), Some(own)) = (id, own) {
            wanted.own_links.insert(name, own);
        }
        let via = match target.remote() {
            Some(remote) => config.way_to(remote).map(|one| one.link()),
            None => target.mac().map(LinkId::Mac),
        };
        wanted.fits.extend(via.map(|via| Fit {
            to: target.to_string(),
            of: source_ids.clone(),
            most: (mirror.snaplen > 0).then(|| mirror.snaplen - ETHERNET),
            more: target.overhead(),
            via,
            fragments: target.remote().is_some(),
        }));
        to.push(id);
    }
    for one in sources {
        let directions = match mirror.select {
            MirrorSelect::Both => &[Direction::Ingress, Direction::Egress][..],
            MirrorSelect::Src => &[Direction::Ingress],
            MirrorSelect::Dst => &[Direction::Egress],
        };
        for direction in directions {
            wanted.hooks.push(Hook {
                link: one.link(),
                direction: *direction,
                handle,
                mirror: mirror.name.to_string(),
                program: program(&selection(config, mirror, one), *direction),
                to: to.clone(),
            });
        }
    }
    wanted.path = path;
    wanted
}

/// The interfaces whose packets are copied.
fn sources<'c>(config: &'c Config, mirror: &Mirror) -> Vec<&'c Interface> {
    match mirror.source {
        MirrorSource::Mac(mac) => config
            .interfaces()
            .iter()
            .filter(|one| one.link() == LinkId::Mac(mac))
            .collect(),
        MirrorSource::Subnet(net) => config.way_to(net).into_iter().collect(),
        MirrorSource::VmIp(vm) => config.way_to(vm).into_iter().collect(),
        MirrorSource::All => config.internal().collect(),
    }
}

fn selection(config: &Config, mirror: &Mirror, interface: &Interface) -> Selection {
    let source = match mirror.source {
        MirrorSource::Subnet(net) => Some(net),
        MirrorSource::VmIp(vm) => Some(Ipv4Net::from(vm)),
        MirrorSource::Mac(_) | MirrorSource::All => None,
    };
    let collectors: BTreeSet<Ipv4Addr> = config
        .mirrors()
        .iter()
        .flat_map(|mirror| mirror.to.iter())
        .filter_map(MirrorTarget::remote)
        .filter(|remote| {
            config
                .way_to(*remote)
                .is_some_and(|way| way.link() == interface.link())
        })
        .collect();
    let mut copied_before = Vec::new();
    if matches!(mirror.source, MirrorSource::All) && mirror.select == MirrorSelect::Both {
        copied_before = self::copied_before(config, interface);
        if copied_before.len() > MOST_COPIED_BEFORE {
            copied_before.clear();
        }
    }
    Selection {
        source,
        filter: mirror.filter,
        sample: mirror.sample,
        collectors: collectors.into_iter().collect(),
        copied_before,
    }
}

/// The addresses of the VPC that are behind other NICs of subnets, as ranges: a network of a route may have others within it
/// that are somewhere else, the longest one counts, and a subnet before any.
fn copied_before(config: &Config, interface: &Interface) -> Vec<(Ipv4Addr, Ipv4Addr)> {
    let inside: Vec<Ipv4Net> = config.inside().collect();
    let mut nets: Vec<(bool, Ipv4Net)> = (config.routes().iter())
        .map(|route| (false, route.to))
        .chain(config.internal().map(|one| (true, one.address.trunc())))
        .collect();
    nets.sort_by_key(|(is_subnet, net)| (*is_subnet, net.prefix_len()));
    let mut ranges: Vec<(u32, u32)> = Vec::new();
    for (_, net) in nets {
        let (first, last) = (u32::from(net.network()), u32::from(net.broadcast()));
        let is_elsewhere = config
            .way_to(net)
            .is_some_and(|way| way.gateway.is_none() && way.link() != interface.link());
        if is_elsewhere {
            if inside.iter().any(|one| one.contains(&net)) {
                ranges.push((first, last));
            }
            continue;
        }
        if !ranges.iter().any(|range| range.0 <= last && first <= range.1) {
            continue;
        }
        let cut = ranges.iter().flat_map(|&(from, to)| {
            let before = (from < first).then(|| (from, to.min(first.saturating_sub(1))));
            let after = (to > last).then(|| (from.max(last.saturating_add(1)), to));
            before.into_iter().chain(after)
        });
        ranges = cut.collect();
    }
    ranges.sort_unstable();
    let mut merged: Vec<(u32, u32)> = Vec::new();
    for (first, last) in ranges {
        match merged.last_mut() {
            Some((_, end)) if first <= end.saturating_add(1) => *end = last.max(*end),
            _ => merged.push((first, last)),
        }
    }
    let addresses = merged
        .into_iter()
        .map(|(first, last)| (first.into(), last.into()));
    addresses.collect()
}

/// The link that copies leave by, and what it is if it is one of ours.
fn target_link(
    target: &MirrorTarget,
    mirror: &Mirror,
    sources: &BTreeSet<LinkId>,
) -> (LinkId, Option<DesiredOwnLink>) {
    // As large as what is copied: the kernel makes fragments where that does not fit.
    let as_sources = OwnMtu::Of {
        links: sources.clone(),
        less: 0,
    };
    let (letter, ends, kind, mtu) = match *target {
        MirrorTarget::Nic { mac } => return (LinkId::Mac(mac), None),
        MirrorTarget::Gre { remote, key } => {
            let local = None;
            let ends = format!("{remote} {key:?}");
            ('g', ends, OwnKind::Gretap { local, remote, key }, as_sources)
        }
        MirrorTarget::Erspan {
            remote,
            session,
            index,
            version,
        } => {
            let kind = OwnKind::Erspan {
                local: None,
                remote,
                session,
                version: match version {
                    1 => Erspan::V1 { index },
                    _ => Erspan::V2,
                },
            };
            // The kernel cuts what is longer than the MTU, and says so in ERSPAN's header (`erspan_xmit`).
            let mtu = match mirror.snaplen {
                0 => as_sources,
                snaplen => OwnMtu::Fixed(snaplen - ETHERNET),
            };
            ('e', format!("{remote} {session}"), kind, mtu)
        }
        MirrorTarget::Vlan { mac, id } => {
            let parent = LinkId::Mac(mac);
            let kind = OwnKind::Vlan { parent, id };
            ('v', format!("{mac} {id}"), kind, OwnMtu::Any)
        }
    };
    let name = OwnName::of(letter, ends.as_bytes());
    let own = DesiredOwnLink {
        kind,
        mtu,
        mac: None,
        over: None,
    };
    (LinkId::Own(name), Some(own))
}

/// The link that copies for a target leave by, as [`desire`] makes it.
#[must_use]
pub fn link_of(target: &MirrorTarget, mirror: &Mirror) -> LinkId {
    target_link(target, mirror, &BTreeSet::new()).0
}

/// Where the links of all targets are told by: their places in the configuration.
#[must_use]
pub fn links(config: &Config) -> BTreeMap<LinkId, String> {
    let targets = config
        .mirrors()
        .iter()
        .flat_map(|mirror| mirror.to.iter().map(move |target| (mirror, target)));
    targets
        .map(|(mirror, target)| (link_of(target, mirror), target.to_string()))
        .collect()
}
