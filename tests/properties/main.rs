//! What must hold for every configuration and every kernel: found by trying many, on the kernel in memory.

mod editing;
mod faults;
mod flows;
mod gateways;

use std::collections::BTreeSet;

use kylin_vr::config::Config;
use kylin_vr::features;
use kylin_vr::kernel::Fake;
use kylin_vr::model::{Link, LinkId, LinkIndex, LinkName, LinkSysctl, Observed, Route, RouteKind, Sysctl};
use kylin_vr::owned::{Owned, ROUTE_PROTOCOL};
use kylin_vr::plan::diff;
use kylin_vr::reconcile::reconcile;
use proptest::prelude::*;
use proptest::sample::subsequence;

/// NICs that configurations name; those of a kernel are some of them, and one that no file names.
const NICS: usize = 4;
const FOREIGN: &str = "52:54:84:99:00:01";

fn mac(nic: usize) -> String {
    format!("52:54:84:11:00:{nic:02x}")
}

/// A valid configuration: NIC 0 outside, some others inside, overlays, elastic IPs and forwards of all shapes.
fn config() -> impl Strategy<Value = String> {
    config_with(overlays())
}

/// The same with these overlays.
fn config_with(overlays: impl Strategy<Value = Vec<String>>) -> impl Strategy<Value = String> {
    let nics = subsequence((0..NICS).collect::<Vec<_>>(), 0..=NICS);
    let eips = proptest::collection::btree_map(1..20u8, 1..20u8, 0..8);
    let forward = (1..8u16, 0..3u16, 0..600u16, any::<bool>(), 1..20u8);
    let forwards = proptest::collection::vec(forward, 0..6);
    let gateway = 1..4u8;
    let rest = (
        any::<[bool; 4]>(),
        pool(),
        conntrack_max(),
        routes(),
        overlays,
        mirrors(),
    );
    (nics, 1..4u8, gateway, eips, forwards, rest).prop_map(
        |(nics, host, gateway, eips, forwards, ([ipv6, fast, counters, invalid], pool, conntrack_max, routes, overlays, mirrors))| {
            let fast = if fast { "auto" } else { "off" };
            let mut text = format!("ipv6: {ipv6}\ncounters: {counters}\ndrop_invalid: {invalid}\nfast_path: {fast}\nsnat_pool: [{pool}]\nconntrack_max: {conntrack_max}\nif_list:\n");
            for overlay in overlays.iter().filter(|_| nics.contains(&0)) {
                text += overlay;
            }
            for nic in nics.clone() {
                let (subnet, host) = if nic == 0 { ("10.90.3".to_owned(), 10 + host) } else { (format!("192.168.{nic}"), 250 + host) };
                text += &format!("  - {{ipaddr: {subnet}.{host}, prefix: 24, mac: {}", mac(nic));
                text += &if nic == 0 { format!(", gateway: 10.90.3.{gateway}}}\n") } else { "}\n".to_owned() };
            }
            text += "route_list:\n";
            for ((to, metric), (nic, last)) in routes {
                if nics.contains(&nic) {
                    let (subnet, inside) = (if nic == 0 { "10.90.3".to_owned() } else { format!("192.168.{nic}") }, to != "10.0.0.0/8");
                    text += &format!("  - {{to: {to}, via: {subnet}.{last}, metric: {metric}, inside: {inside}}}\n");
                }
            }
            text += "eip_list:\n";
            for (eip, vm) in eips {
                text += &format!("  - {{eip: 10.90.2.{eip}, vm-ip: 192.168.{}.{vm}}}\n", 1 + vm % 3);
            }
            text += "port_forward_list:\n";
            for (index, (slot, shift, length, udp, vm)) in forwards.into_iter().enumerate() {
                // One address each, so that none overlap; some are elastic IPs, some the router's own.
                let eip = if slot == 7 { format!("10.90.3.{}", 200 + index) } else { format!("10.90.2.{}", 15 + index) };
                let (port, protocol) = (1000 * slot + index as u16, if udp { "udp" } else { "tcp" });
                text += &format!(
                    "  - {{eip: {eip}, protocal: {protocol}, port: {port}, end_port: {}, vm-port: {}, vm-ip: 192.168.1.{vm}}}\n",
                    port + length,
                    port + shift
                );
            }
            text += "mirror_list:\n";
            for (name, (nic, select, targets, sample)) in mirrors {
                if nics.contains(&nic) {
                    let source = if nic == NICS - 1 { format!("subnet: 192.168.{nic}.0/25") } else { format!("mac: {}", mac(nic)) };
                    let to = targets.into_iter().map(|target| target.replace("KEY", &name.to_string())).collect::<Vec<_>>().join(", ");
                    text += &format!("  - {{name: m{name}, source: {{{source}}}, select: {select}, sample: {sample}, to: [{to}]}}\n");
                }
            }
            text
        },
    )
}

type Mirrors = std::collections::BTreeMap<u8, (usize, &'static str, BTreeSet<&'static str>, u32)>;

/// Some by name: the NIC, the direction, the targets, and one in how many.
fn mirrors() -> impl Strategy<Value = Mirrors> {
    let to = prop::sample::select(vec![
        "{nic: {mac: '52:54:84:22:00:01'}}",
        "{nic: {mac: '52:54:84:22:00:02'}}",
        "{vlan: {mac: '52:54:84:22:00:02', id: 51}}",
        "{gre: {remote: 172.19.0.21, key: KEY}}",
        "{erspan: {remote: 172.19.0.21, index: KEY}}",
        "{erspan: {remote: 172.19.0.22, index: KEY, version: 2}}",
    ]);
    let select = prop::sample::select(vec!["both", "src", "dst"]);
    let targets = proptest::collection::btree_set(to, 1..4);
    proptest::collection::btree_map(1..6u8, (0..NICS, select, targets, 1..3u32), 0..4)
}

/// None, or some addresses: of no forward, of forwards, or the router's own.
fn pool() -> impl Strategy<Value = String> {
    let one = prop::sample::select(vec![
        "10.90.2.30",
        "10.90.2.31-10.90.2.33",
        "10.90.2.20",
        "10.90.3.13",
    ]);
    let some = proptest::collection::btree_set(one, 0..4);
    some.prop_map(|addresses| Vec::from_iter(addresses).join(", "))
}

/// Some by network and metric: the NIC and the last byte of the next hop. Some networks have others in them, or subnets.
fn routes() -> impl Strategy<Value = std::collections::BTreeMap<(&'static str, u32), (usize, u8)>> {
    let to = prop::sample::select(vec![
        "172.30.0.0/16",
        "172.30.5.0/24",
        "172.30.5.7/32",
        "192.168.0.0/16",
        "10.0.0.0/8",
    ]);
    let key = (to, prop::sample::select(vec![0, 100, u32::MAX - 1]));
    proptest::collection::btree_map(key, (0..NICS, 100..104u8), 0..5)
}

/// Overlay subnets over NIC 0: with peers, with VMs that are on one of three hypervisors, with another hardware address.
fn overlays() -> impl Strategy<Value = Vec<String>> {
    let vms = proptest::collection::btree_map(1..9u8, 1..4u8, 0..4);
    let peers = subsequence(vec![1, 2, 3], 0..3);
    let one = (1..5u8, vms, peers, 0..3u8);
    proptest::collection::vec(one, 0..3).prop_map(|overlays| {
        let mut texts = std::collections::BTreeMap::new();
        for (vni, vms, peers, mac) in overlays {
            let peers: Vec<String> = peers.iter().map(|peer| format!("10.90.4.{peer}")).collect();
            let vms: Vec<String> = vms
                .iter()
                .map(|(vm, host)| format!("{{vm-ip: 172.20.{vni}.1{vm}, mac: '02:00:00:00:0{vni}:0{vm}', host: 10.90.4.{host}}}"))
                .collect();
            let text = format!(
                "  - {{ipaddr: 172.20.{vni}.1, prefix: 24, vxlan: {{vni: {vni}, peers: [{}], gateway-mac: '12:00:00:00:00:0{mac}'}}, vm_list: [{}]}}\n",
                peers.join(", "),
                vms.join(", ")
            );
            texts.insert(vni, text);
        }
        texts.into_values().collect()
    })
}

fn conntrack_max() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec!["auto", "auto", "keep", "70000", "3000000"])
}

/// A kernel with some of the NICs, up or down, with what others left on them, and with a foreign NIC.
fn kernel() -> impl Strategy<Value = Observed> {
    let nics = subsequence((0..NICS).collect::<Vec<_>>(), 0..=NICS);
    let residue = proptest::collection::vec((0..NICS, 1..250u8), 0..4);
    // Of nf_conntrack: not there, not ours to say, and of little and much memory.
    let memory = prop::sample::select(vec![None, Some(None), Some(Some(1 << 29)), Some(Some(1 << 34))]);
    (
        nics,
        any::<u8>(),
        residue,
        any::<bool>(),
        any::<bool>(),
        any::<bool>(),
        memory,
    )
        .prop_map(|(nics, up, residue, default, ipv6, flowtables, memory)| {
            let mut observed = Observed {
                conntrack_memory: memory.flatten(),
                flowtables: Some(flowtables),
                ..Observed::default()
            };
            if memory.is_some() {
                for key in [Sysctl::ConntrackBuckets, Sysctl::ConntrackMax] {
                    observed.sysctls.insert(key, "262144".to_owned());
                }
            }
            let mut add = |index: u32, name: &str, id: LinkId, up: bool| {
                observed.links.push(Link {
                    index: LinkIndex(index),
                    name: LinkName(name.into()),
                    id: Some(id),
                    up,
                    stacked: false,
                    ipv6_in_use: ipv6 && name == "mgmt0",
                    udev_pending: false,
                    mtu: 1_500,
                });
                if let LinkId::Mac(_) = id {
                    for parameter in LinkSysctl::ALL {
                        observed
                            .sysctls
                            .insert(Sysctl::Link(id, parameter), "0".to_owned());
                    }
                }
            };
            add(1, "lo", LinkId::Loopback, up & 0x80 != 0);
            for nic in &nics {
                add(
                    *nic as u32 + 2,
                    &format!("eth{nic}"),
                    LinkId::Mac(mac(*nic).parse().unwrap()),
                    up >> nic & 1 == 1,
                );
            }
            // Those that mirrors send by.
            for target in [1, 2].into_iter().filter(|target| up >> (target + 4) & 1 == 1) {
                let mac = format!("52:54:84:22:00:{target:02x}");
                add(
                    9 + target,
                    &format!("span{target}"),
                    LinkId::Mac(mac.parse().unwrap()),
                    up & target as u8 != 0,
                );
            }
            add(9, "mgmt0", LinkId::Mac(FOREIGN.parse().unwrap()), true);
            for key in [
                Sysctl::IpForward,
                Sysctl::DisableIpv6All,
                Sysctl::DisableIpv6Default,
                Sysctl::PromoteSecondariesDefault,
                Sysctl::RpFilterDefault,
                Sysctl::ArpIgnoreDefault,
            ] {
                observed.sysctls.insert(key, "0".to_owned());
            }
            observed.sysctls.insert(Sysctl::IpEarlyDemux, "1".to_owned());
            observed
                .sysctls
                .insert(Sysctl::ConntrackTcpBeLiberal, "0".to_owned());
            observed.sysctls.insert(Sysctl::ConntrackChecksum, "1".to_owned());
            observed
                .addresses
                .insert(LinkIndex(9), ["172.16.0.5/24".parse().unwrap()].into());
            for (nic, host) in residue.iter().filter(|(nic, _)| nics.contains(nic)) {
                let address = format!("10.90.3.{host}/24").parse().unwrap();
                observed
                    .addresses
                    .entry(LinkIndex(*nic as u32 + 2))
                    .or_default()
                    .insert(address);
            }
            observed.links.sort_by_key(|link| link.index);
            if default {
                observed.routes.push(foreign_default());
            }
            observed
        })
}

fn foreign_default() -> Route<LinkIndex> {
    Route {
        destination: "0.0.0.0/0".parse().unwrap(),
        table: 254,
        kind: RouteKind::Unicast,
        gateway: Some("172.16.0.1".parse().unwrap()),
        link: LinkIndex(9),
        metric: 0,
        protocol: 3,
    }
}

fn parse(text: &str) -> Config {
    let parsed = Config::parse(text.as_bytes());
    parsed
        .config
        .unwrap_or_else(|| panic!("{text}\n{:?}", parsed.problems))
}

fn apply(kernel: &mut Fake, text: &str, owned: Owned) -> Owned {
    let desired = features::desired(&parse(text));
    let plan = diff(&desired, &kernel.state, &owned);
    // Whatever is done is told.
    assert!(
        plan.operations.iter().all(|one| !one.lines().is_empty()),
        "{:?}",
        plan.operations
    );
    let owned = reconcile(kernel, &desired, owned, |_| Ok(())).unwrap().owned;
    assert!(
        diff(&desired, &kernel.state, &owned).is_empty(),
        "a second run has something to do"
    );
    owned
}

/// What is not ours, of a state: the foreign NIC, whatever is on it, and its route.
fn foreign(state: &Observed) -> (Vec<Link>, Option<BTreeSet<ipnet::Ipv4Net>>, Vec<Route<LinkIndex>>) {
    (
        state
            .links
            .iter()
            .filter(|link| link.index == LinkIndex(9))
            .cloned()
            .collect(),
        state.addresses.get(&LinkIndex(9)).cloned(),
        state
            .routes
            .iter()
            .filter(|route| route.link == LinkIndex(9))
            .cloned()
            .collect(),
    )
}

proptest! {
    #[test]
    fn parsing_never_panics(text in proptest::collection::vec(any::<u8>(), 0..400)) {
        let _ = Config::parse(&text);
    }

    #[test]
    fn parsing_a_damaged_file_never_panics(text in config(), at in any::<prop::sample::Index>(), byte: u8, cut: bool) {
        let mut text = text.into_bytes();
        let at = at.index(text.len());
        text[at] = byte;
        if cut {
            text.truncate(at);
        }
        let parsed = Config::parse(&text);
        // Whole or not at all, and never refused without a word.
        prop_assert!(parsed.config.is_some() || !parsed.problems.is_empty());
    }

    #[test]
    fn a_plan_applied_leaves_nothing_to_do_and_nothing_foreign_touched(state in kernel(), texts in proptest::collection::vec(config(), 1..4)) {
        let before = foreign(&state);
        let mut kernel = Fake::new(state);
        let mut owned = Owned::default();
        for text in &texts {
            // Another program goes before us.
            if let Some(at) = kernel.state.routes.iter().position(|route| *route == foreign_default()) {
                let route = kernel.state.routes.remove(at);
                kernel.state.routes.insert(0, route);
            }
            owned = apply(&mut kernel, text, owned);
            prop_assert_eq!(&foreign(&kernel.state), &before);
            if parse(text).external().is_some() {
                let first = kernel.state.routes.iter().find(|route| route.is_default());
                let external = kernel.state.find(LinkId::Mac(mac(0).parse().unwrap()));
                if external.is_ok() {
                    prop_assert_eq!(first.map(|route| route.protocol), Some(ROUTE_PROTOCOL), "ours is not the first default");
                }
            }
        }
    }

    #[test]
    fn removal_leaves_no_residue(state in kernel(), texts in proptest::collection::vec(config(), 1..4)) {
        let mut clean = state.clone();
        // What others left on NICs of the file is ours to take away, as is a loopback that was down.
        let named: BTreeSet<LinkIndex> = texts.iter().flat_map(|text| {
            let config = parse(text);
            config.interfaces().iter().filter_map(|one| Some(state.find(one.link()).ok()?.index)).collect::<Vec<_>>()
        }).collect();
        clean.addresses.retain(|index, _| !named.contains(index));

        let mut kernel = Fake::new(state);
        let mut owned = Owned::default();
        for text in texts.iter().map(String::as_str).chain([""]) {
            owned = apply(&mut kernel, text, owned);
        }
        kernel.state.addresses.retain(|_, addresses| !addresses.is_empty());
        clean.links[0].up = kernel.state.links[0].up;
        prop_assert_eq!(kernel.state, clean);
        prop_assert_eq!(owned, Owned::default());
    }
}

/// Whether the configuration can still be applied.
fn kept_or_default(kernel: &Fake, text: &str) -> bool {
    let mut kernel = kernel.clone();
    let desired = features::desired(&parse(text));
    reconcile(&mut kernel, &desired, Owned::default(), |_| Ok(())).is_ok()
}
