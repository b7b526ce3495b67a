//! What is in a picture, in few boxes: entries by the VM that they lead to, VMs by their network, mirrors by where they copy.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

use crate::config::{Config, Forward, Interface, Mirror, MirrorSource, StaticRoute, Vm as Listed};

/// So many lines of what leads to a VM are shown, the rest is counted.
const LINES: usize = 5;

/// What is drawn.
#[derive(Debug)]
pub(super) struct Picture {
    /// What stands in the router's box.
    pub(super) router: Vec<String>,
    /// What stands in the box outside; `None`: the router has no interface outside.
    pub(super) outside: Option<Vec<String>>,
    pub(super) networks: Vec<Network>,
    pub(super) mirrors: Vec<Copies>,
    /// Mirrors that are not shown one by one.
    pub(super) more_mirrors: Option<String>,
}

/// A subnet of the VPC, or where VMs are that are in none.
#[derive(Debug)]
pub(super) struct Network {
    pub(super) name: String,
    /// The router's NIC there; `None`: there is none.
    pub(super) nic: Option<String>,
    pub(super) vms: Vec<Vm>,
    /// VMs that are not shown one by one, and what leads to them.
    pub(super) more: Option<String>,
}

/// A mirror.
#[derive(Debug)]
pub(super) struct Copies {
    pub(super) from: Source,
    pub(super) name: String,
    /// Whose packets, and which of them.
    pub(super) what: Vec<String>,
    /// The analysers.
    pub(super) to: Vec<String>,
}

/// Where packets that are copied cross the router.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// By all NICs of subnets.
    Router,
    /// By the NIC outside.
    Outside,
    /// By that of a network of the picture.
    Network(usize),
}

/// A VM, and what leads to it from outside.
#[derive(Debug)]
pub(super) struct Vm {
    pub(super) address: String,
    pub(super) lines: Vec<String>,
}

#[derive(Default)]
struct Entries<'c> {
    eips: Vec<Ipv4Addr>,
    forwards: Vec<&'c Forward>,
    /// Its entry of `vm_list`.
    listed: Option<&'c Listed>,
}

impl Picture {
    pub(super) fn of(config: &Config, most: usize) -> Self {
        let mut by_vm: BTreeMap<Ipv4Addr, Entries<'_>> = BTreeMap::new();
        for eip in config.eips() {
            by_vm.entry(eip.vm).or_default().eips.push(eip.eip);
        }
        for forward in config.forwards() {
            by_vm.entry(forward.vm).or_default().forwards.push(forward);
        }
        for listed in config.internal().flat_map(|inside| inside.vms.iter()) {
            by_vm.entry(listed.address).or_default().listed = Some(listed);
        }
        let mut networks: Vec<Network> = config
            .internal()
            .map(|inside| of_interface(inside, &mut by_vm, most))
            .collect();
        networks.extend(behind_routers(config, &mut by_vm, most));
        if !by_vm.is_empty() {
            networks.push(network("in no subnet of the VPC".to_owned(), None, by_vm, most));
        }
        let outside = config.external().map(|external| {
            let gateway = external.gateway.map(|gateway| format!("gateway {gateway}"));
            std::iter::once(external.address.trunc().to_string())
                .chain(gateway)
                .collect()
        });
        let mut router = Vec::new();
        if let Some(external) = config.external() {
            router.extend([external.address.to_string(), external.mac.to_string()]);
        }
        router.extend(counted(config.eips().len(), "elastic IP"));
        router.extend(counted(config.forwards().len(), "forward"));
        router.extend(counted(config.mirrors().len(), "mirror"));
        let shown = shown(config.mirrors().len(), most);
        let mirrors = config.mirrors().iter().take(shown);
        Self {
            router,
            outside,
            networks,
            mirrors: mirrors.map(|mirror| copies(config, mirror)).collect(),
            more_mirrors: counted(config.mirrors().len() - shown, "more mirror"),
        }
    }
}

/// One box more is no larger than the box that counts it.
fn shown(number: usize, most: usize) -> usize {
    if number > most + 1 { most } else { number }
}

fn copies(config: &Config, mirror: &Mirror) -> Copies {
    // Networks are in the order of the file's interfaces inside.
    let network = |is_it: &dyn Fn(&Interface) -> bool| config.internal().position(is_it);
    let from = match mirror.source {
        MirrorSource::All => None,
        MirrorSource::Mac(mac) => network(&|one| one.vxlan.is_none() && one.mac == mac),
        MirrorSource::Subnet(net) => network(&|one| one.address.trunc().contains(&net)),
        MirrorSource::VmIp(vm) => network(&|one| one.address.trunc().contains(&vm)),
    };
    let from = match (from, mirror.source) {
        (Some(index), _) => Source::Network(index),
        (None, MirrorSource::Mac(_)) => Source::Outside,
        (None, _) => Source::Router,
    };
    let which = Some(mirror.which()).filter(|which| which != "all");
    Copies {
        from,
        name: mirror.name.to_string(),
        what: std::iter::once(format!("{} of {}", mirror.select, mirror.source))
            .chain(which)
            .collect(),
        to: mirror.to.iter().map(ToString::to_string).collect(),
    }
}

fn counted(number: usize, thing: &str) -> Option<String> {
    (number > 0).then(|| format!("{number} {thing}{}", if number == 1 { "" } else { "s" }))
}

/// The networks of `route_list`, each once, with the next hop that is taken first; of two, one in the other, the smaller one
/// has the VMs.
fn behind_routers(config: &Config, by_vm: &mut BTreeMap<Ipv4Addr, Entries<'_>>, most: usize) -> Vec<Network> {
    let mut routes: Vec<_> = config.routes().iter().collect();
    routes.sort_by_key(|route| (u8::MAX - route.to.prefix_len(), route.to, route.metric));
    routes.dedup_by_key(|route| route.to);
    let behind = |route: &&StaticRoute| {
        let own = take(route.to, by_vm);
        network(route.to.to_string(), Some(format!("by {}", route.via)), own, most)
    };
    routes.iter().map(behind).collect()
}

/// Takes a network's VMs out of all of them.
fn take<'c>(net: Ipv4Net, by_vm: &mut BTreeMap<Ipv4Addr, Entries<'c>>) -> BTreeMap<Ipv4Addr, Entries<'c>> {
    let keys: Vec<Ipv4Addr> = by_vm
        .range(net.network()..=net.broadcast())
        .map(|(vm, _)| *vm)
        .collect();
    keys.into_iter()
        .filter_map(|vm| by_vm.remove_entry(&vm))
        .collect()
}

/// Takes a subnet's VMs out of all of them.
fn of_interface(inside: &Interface, by_vm: &mut BTreeMap<Ipv4Addr, Entries<'_>>, most: usize) -> Network {
    let net = inside.address.trunc();
    let own = take(net, by_vm);
    let nic = match &inside.vxlan {
        None => format!("{} {}", inside.address.addr(), inside.mac),
        Some(vxlan) => format!("{} VXLAN {}", inside.address.addr(), vxlan.vni),
    };
    network(net.to_string(), Some(nic), own, most)
}

fn network(name: String, nic: Option<String>, vms: BTreeMap<Ipv4Addr, Entries<'_>>, most: usize) -> Network {
    let shown = shown(vms.len(), most);
    let mut vms = vms.into_iter();
    let first = vms
        .by_ref()
        .take(shown)
        .map(|(address, entries)| vm(address, &entries))
        .collect();
    let (mut number, mut eips, mut forwards) = (0, 0, 0);
    for (_, entries) in vms {
        number += 1;
        eips += entries.eips.len();
        forwards += entries.forwards.len();
    }
    let more = (number > 0).then(|| {
        let things = [counted(eips, "elastic IP"), counted(forwards, "forward")];
        let things: Vec<String> = things.into_iter().flatten().collect();
        let colon = if things.is_empty() { "" } else { ": " };
        format!("{number} more VMs{colon}{}", things.join(", "))
    });
    Network {
        name,
        nic,
        vms: first,
        more,
    }
}

fn vm(address: Ipv4Addr, entries: &Entries<'_>) -> Vm {
    let eips = entries.eips.iter().map(|eip| format!("EIP {eip}"));
    let forwards = entries.forwards.iter().map(|forward| forwarded(forward));
    let name = entries.listed.and_then(|listed| listed.name.as_deref());
    let host = entries.listed.and_then(|listed| listed.host);
    let host = host.map(|host| format!("on {host}"));
    let lines = name.map(ToOwned::to_owned).into_iter().chain(host).chain(eips);
    let mut lines: Vec<String> = lines.chain(forwards).collect();
    if lines.len() > LINES + 1 {
        let more = lines.len() - LINES;
        lines.truncate(LINES);
        lines.push(format!("and {more} more"));
    }
    Vm {
        address: address.to_string(),
        lines,
    }
}

/// `10.90.2.254 tcp 80-82 to 8080-8082`; ports that stay the same are said once.
fn forwarded(forward: &Forward) -> String {
    let range = |first: u16, last: u16| {
        if first == last {
            first.to_string()
        } else {
            format!("{first}-{last}")
        }
    };
    let outside = range(forward.port, forward.end_port);
    let inside = if forward.keeps_ports() {
        String::new()
    } else {
        format!(" to {}", range(forward.vm_port, forward.vm_end_port()))
    };
    format!("{} {} {outside}{inside}", forward.eip, forward.protocol)
}
