//! Overlay subnets: a link of ours for each, and what it is told of where the VMs are.
//!
//! The link learns nothing from packets: what says where a VM is is the file. A VM of `vm_list` costs two entries, one of the
//! forwarding database (its hardware address is at its hypervisor) and one of the ARP table (nobody is asked for it), so a
//! subnet whose VMs are all listed needs no flooding, and has none without `peers`. To these goes what has no entry of its own:
//! broadcast (ARP requests for VMs that are not listed) and unicast to whoever is not listed.
//!
//! Everything else treats the link as it does a NIC: address, sysctls, routes, translation.

use std::collections::BTreeSet;

use crate::config::Config;
use crate::model::nft::{Chain, ChainKind, Hook, Rule, Statement, Table};
use crate::model::{Desired, DesiredOwnLink, FrameAddr, LinkId, Neighbour, OwnKind, OwnMtu};

/// What a frame takes beside itself in a packet of the network below: its own header, VXLAN, UDP, IPv4 (RFC 7348, section 5).
pub const OVERHEAD: u32 = 14 + 8 + 8 + 20;

/// `NF_IP_PRI_MANGLE`, linux/netfilter_ipv4.h.
const MANGLE: i32 = -150;

/// Has TCP connections say no larger segments than fit where an overlay is on their way: not every VM hears that a packet is
/// too large (ICMP is dropped by many a firewall). A router without overlays has no such chain.
pub(super) fn clamp(config: &Config, table: &mut Table) {
    if config.interfaces().iter().all(|one| one.vxlan.is_none()) {
        return;
    }
    let rule = Rule {
        statements: vec![Statement::ClampMss],
        comment: "an overlay's packets are smaller: segments that fit".to_owned(),
    };
    let chain = Chain {
        kind: ChainKind::Filter,
        hook: Hook::Forward,
        priority: MANGLE,
        rules: vec![rule],
    };
    table.chains.insert("segments".to_owned(), chain);
}

pub(super) fn desire(config: &Config, desired: &mut Desired) {
    for interface in config.interfaces() {
        let Some(vxlan) = &interface.vxlan else {
            continue;
        };
        let Some(below) = config.below(vxlan) else {
            continue;
        };
        let id = interface.link();
        let LinkId::Own(name) = id else {
            continue;
        };
        let link = DesiredOwnLink {
            kind: OwnKind::Vxlan {
                vni: vxlan.vni,
                local: below.address.addr(),
                port: vxlan.port,
            },
            mtu: OwnMtu::Of {
                links: [below.link()].into(),
                less: OVERHEAD,
            },
            mac: Some(vxlan.mac),
            over: Some(below.link()),
        };
        desired.own_links.insert(name, link);
        let vms = interface.vms.iter().flat_map(|vm| {
            let forward = vm.host.map(|host| Neighbour::forward(vm.mac, host));
            let address = Neighbour::Address {
                address: vm.address,
                mac: vm.mac.into(),
            };
            forward.into_iter().chain([address])
        });
        let peers = vxlan.peers.iter();
        let others = peers.map(|peer| Neighbour::forward(FrameAddr::OTHERS, *peer));
        let neighbours: BTreeSet<Neighbour> = vms.chain(others).collect();
        desired.neighbours.insert(id, neighbours);
    }
}
