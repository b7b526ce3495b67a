//! From the tree to a [`Config`]: reads every entry, then checks what entries mean to each other.

use std::collections::BTreeMap;

use ipnet::Ipv4Net;

use super::dhcp;
use super::entries::{Addresses, Entries};
use super::fields::{Path, Read, Reader, flag, host_address, number};
use super::forwards;
use super::mirrors;
use super::node::{Located, Node};
use super::overlay::{self, VXLAN};
use super::problem::Severity;
use super::router::{Router, reserved};
use super::routes;
use super::snat;
use super::vms;
use super::{Config, Eip, FastPathMode, Forward, Generation, Interface, Mirror, SnatPool, StaticRoute};
use crate::model::{Conntrack, ConntrackMax, MacAddr};

pub(super) const ROOT: &[&str] = &[
    "if_list",
    "eip_list",
    "port_forward_list",
    "snat_pool",
    "route_list",
    "mirror_list",
    "ipv6",
    "conntrack",
    "counters",
    "drop_invalid",
    "conntrack_max",
    "fast_path",
    "generation",
];
pub(super) const INTERFACE: &[&str] = &["ipaddr", "prefix", "mac", "vxlan", "gateway", "vm_list", "dhcp"];
pub(super) const EIP: &[&str] = &["eip", "vm-ip"];

/// Every key that means something somewhere.
pub(super) const KEYS: &[&[&str]] = &[
    ROOT,
    INTERFACE,
    EIP,
    forwards::FORWARD,
    routes::ROUTE,
    vms::VM,
    dhcp::DHCP,
    VXLAN,
    mirrors::MIRROR,
    mirrors::SOURCE,
    mirrors::FILTER,
    mirrors::TARGET,
    mirrors::GRE,
    mirrors::ERSPAN,
    mirrors::VLAN,
];

/// The lists of the file.
pub(super) struct Lists {
    interfaces: Entries<Interface>,
    eips: Entries<Eip>,
    forwards: Entries<Forward>,
    snat_pool: Entries<SnatPool>,
    routes: Entries<StaticRoute>,
    mirrors: Entries<Mirror>,
}

impl Default for Lists {
    fn default() -> Self {
        Self {
            interfaces: Entries::new("if_list", interface, |one| one.place),
            eips: Entries::new("eip_list", eip, |one| one.place),
            forwards: Entries::new("port_forward_list", forwards::read, |one| one.place),
            snat_pool: Entries::new("snat_pool", snat::read, |one| one.place),
            routes: Entries::new("route_list", routes::read, |one| one.place),
            mirrors: Entries::new("mirror_list", mirrors::read, |one| one.place),
        }
    }
}

impl Lists {
    /// Reads the next entry of a list; whether the file has such a list.
    pub(super) fn push(&mut self, reader: &mut Reader<'_>, list: &str, item: &Located<'_>) -> bool {
        match list {
            "if_list" => self.interfaces.push(reader, item),
            "eip_list" => self.eips.push(reader, item),
            "port_forward_list" => self.forwards.push(reader, item),
            "snat_pool" => self.snat_pool.push(reader, item),
            "route_list" => self.routes.push(reader, item),
            "mirror_list" => self.mirrors.push(reader, item),
            _ => return false,
        }
        true
    }
}

/// The configuration as far as it could be read; it is one only if no problem is an error. What `lists` have already was
/// read before, and is not in the tree.
pub(super) fn check(reader: &mut Reader<'_>, root: &Located<'_>, mut lists: Lists) -> Config {
    if matches!(root.value, Node::Null) {
        return Config::default();
    }
    let Some(fields) = reader.mapping(root, Path::Root, ROOT) else {
        return Config::default();
    };

    for list in [
        "if_list",
        "eip_list",
        "port_forward_list",
        "snat_pool",
        "route_list",
        "mirror_list",
    ] {
        for item in reader.list(fields.get(list), list) {
            lists.push(reader, list, item);
        }
    }
    let ipv6 = flag(&fields, reader, "ipv6");
    let counters = flag(&fields, reader, "counters");
    let drop_invalid = flag(&fields, reader, "drop_invalid");

    let expected = "delete or keep";
    let conntrack = fields.optional(reader, "conntrack", expected, |text| match text {
        "delete" => Ok(Conntrack::Delete),
        "keep" => Ok(Conntrack::Keep),
        _ => Err(expected.to_owned()),
    });
    let expected = "auto, keep, or a number of flows, 1024 to 2147483647";
    let conntrack_max = fields.optional(reader, "conntrack_max", expected, |text| match text {
        "auto" => Ok(ConntrackMax::Auto),
        "keep" => Ok(ConntrackMax::Keep),
        _ => number(text, &ConntrackMax::RANGE, expected).map(ConntrackMax::Flows),
    });
    let expected = "auto, on or off";
    let fast_path = fields.optional(reader, "fast_path", expected, |text| match text {
        "auto" => Ok(FastPathMode::Auto),
        "on" => Ok(FastPathMode::On),
        "off" => Ok(FastPathMode::Off),
        _ => Err(expected.to_owned()),
    });
    let expected = "a whole number, 0 to 18446744073709551615";
    let generation = fields.optional(reader, "generation", expected, |text| {
        number(text, &(0..=u64::MAX), expected)
    });

    let Lists {
        interfaces,
        eips,
        forwards,
        snat_pool,
        routes,
        mirrors,
    } = lists;
    let own: Vec<_> = interfaces.iter().collect();
    check_interfaces(reader, &own);
    // With an interface that is wrong, what it means for other entries would be a guess.
    let is_sound = !reader
        .problems
        .iter()
        .any(|problem| problem.path.starts_with("if_list"));
    let by_eip = Addresses::new(eips.values().iter().map(|entry| entry.eip));
    if is_sound {
        vms::check(reader, &own);
        overlay::check(reader, &own, &forwards, &by_eip);
    }
    let router = Router::new(is_sound.then_some(own), routes.iter());
    check_eips(reader, &eips, &by_eip, &router);
    forwards::check(reader, &forwards, &eips, &by_eip, &router);
    snat::check(reader, &snat_pool, &eips, &by_eip, &forwards, &router);
    let forwarded = Addresses::new(forwards.values().iter().map(|entry| entry.eip));
    let in_pool = |address| {
        let mut pool = snat_pool.iter();
        pool.find(|entry| (entry.value.first..=entry.value.last).contains(&address))
    };
    routes::check(reader, &routes, &router, |address| {
        let eip = by_eip.first(address).and_then(|position| eips.get(position));
        let forward = || {
            forwarded
                .first(address)
                .and_then(|position| forwards.get(position))
        };
        let path = eip
            .map(|entry| entry.path)
            .or_else(|| forward().map(|entry| entry.path));
        let path = path.or_else(|| in_pool(address).map(|entry| entry.path))?;
        Some(format!(
            "is an address that the router answers for ({path}): expected another router's"
        ))
    });
    mirrors::check(reader, &mirrors, &router);
    let translating = eips.values().first().map(|entry| entry.place);
    let translating = translating.or(forwards.values().first().map(|entry| entry.place));
    let translating = translating.or(snat_pool.values().first().map(|entry| entry.place));
    router.check_outside(reader, translating);

    Config {
        interfaces: interfaces.into_values(),
        eips: eips.into_values(),
        forwards: forwards.into_values(),
        snat_pool: snat_pool.into_values(),
        routes: routes.into_values(),
        mirrors: mirrors.into_values(),
        ipv6: ipv6.unwrap_or_default(),
        counters,
        drop_invalid,
        conntrack: conntrack.map(|conntrack| conntrack.value).unwrap_or_default(),
        conntrack_max: conntrack_max.map(|most| most.value).unwrap_or_default(),
        fast_path: fast_path.map(|mode| mode.value).unwrap_or_default(),
        generation: generation.map(|generation| Generation {
            number: generation.value,
            place: generation.place,
        }),
    }
}

fn interface(reader: &mut Reader<'_>, item: &Located<'_>, path: Path) -> Option<Interface> {
    let fields = reader.mapping(item, path, INTERFACE)?;
    let address = fields.required(reader, "ipaddr", "an IPv4 address", host_address);
    let expected = "a prefix length, 0 to 32";
    let prefix = fields.required(reader, "prefix", expected, |text| {
        number(text, &(0..=32), expected)
    });
    let is_overlay = fields.get("vxlan").is_some();
    let vxlan = overlay::read(reader, &fields);
    let expected = "a hardware address, as in 52:54:84:00:08:45";
    let parse = |text: &str| text.parse::<MacAddr>().map_err(|error| error.to_string());
    let mac = if is_overlay {
        if let Some(mac) = fields.optional(reader, "mac", expected, parse) {
            let message = "expected `mac` (of a NIC) or `vxlan`, not both; what the VMs see is `gateway-mac`";
            reader.problem(
                Severity::Error,
                mac.path,
                mac.place,
                Some(mac.value.to_string()),
                message,
            );
        }
        vxlan.as_ref().map(|vxlan| vxlan.mac)
    } else {
        fields
            .required(reader, "mac", expected, parse)
            .map(|mac| mac.value)
    };
    let gateway = fields.optional(reader, "gateway", "an IPv4 address", host_address);
    if let Some(gateway) = gateway.as_ref().filter(|_| is_overlay) {
        let message = "the external interface is a NIC, not an overlay subnet";
        let value = Some(gateway.value.to_string());
        reader.problem(Severity::Error, &gateway.path, gateway.place, value, message);
    }

    let net = match (&address, &prefix) {
        (Some(address), Some(prefix)) => Ipv4Net::new(address.value, prefix.value).ok(),
        _ => None,
    };
    let vms = vms::read(reader, &fields, net);
    let dhcp = dhcp::read(reader, &fields);

    let (address, net, mac) = (address?, net?, mac?);
    if let Some(what) = reserved(net, net.addr()) {
        let value = Some(net.to_string());
        let message = format!("expected the address of a host, not the {what} address of its subnet");
        reader.problem(Severity::Error, address.path, address.place, value, message);
    }
    if let Some(gateway) = &gateway {
        let message = if !net.contains(&gateway.value) {
            Some(format!(
                "expected an address in the subnet of this interface, {}",
                net.trunc()
            ))
        } else if gateway.value == net.addr() {
            Some("expected the next hop, not the router's own address".to_owned())
        } else {
            reserved(net, gateway.value)
                .map(|what| format!("expected the address of a host, not the {what} address of its subnet"))
        };
        if let Some(message) = message {
            let value = Some(gateway.value.to_string());
            reader.problem(Severity::Error, &gateway.path, gateway.place, value, message);
        }
    }
    let interface = Interface {
        address: net,
        mac,
        vxlan,
        gateway: gateway.map(|gateway| gateway.value),
        vms,
        dhcp: dhcp.map(Box::new),
        place: fields.place,
    };
    dhcp::check(reader, &interface, &fields);
    Some(interface)
}

fn eip(reader: &mut Reader<'_>, item: &Located<'_>, path: Path) -> Option<Eip> {
    let fields = reader.mapping(item, path, EIP)?;
    let eip = fields.required(reader, "eip", "an IPv4 address", host_address);
    let vm = fields.required(reader, "vm-ip", "an IPv4 address", host_address);
    Some(Eip {
        eip: eip?.value,
        vm: vm?.value,
        place: fields.place,
    })
}

fn check_interfaces(reader: &mut Reader<'_>, interfaces: &[Read<&Interface>]) {
    let mut macs = BTreeMap::new();
    let mut external: Option<&Read<&Interface>> = None;
    // A later subnet can only overlap one that starts before it ends: sorted, one pass finds them all.
    let mut subnets: Vec<&Read<&Interface>> = interfaces.iter().collect();
    subnets.sort_by_key(|entry| (entry.value.address.network(), entry.value.address.prefix_len()));
    let mut widest: Option<&Read<&Interface>> = None;
    for entry in subnets {
        if let Some(other) =
            widest.filter(|other| other.value.address.broadcast() >= entry.value.address.network())
        {
            let (first, second) = if other.place < entry.place {
                (other, entry)
            } else {
                (entry, other)
            };
            let message = format!(
                "overlaps the subnet of {}, {}",
                first.path,
                first.value.address.trunc()
            );
            let value = Some(second.value.address.trunc().to_string());
            reader.problem(
                Severity::Error,
                format!("{}.ipaddr", second.path),
                second.place,
                value,
                message,
            );
        }
        if widest.is_none_or(|other| other.value.address.broadcast() < entry.value.address.broadcast()) {
            widest = Some(entry);
        }
    }
    // Overlays may share theirs: each is a network of its own.
    let (overlays, nics): (Vec<_>, Vec<_>) = interfaces.iter().partition(|entry| entry.value.vxlan.is_some());
    for entry in nics.into_iter().chain(overlays) {
        let (mac, is_overlay) = (entry.value.mac, entry.value.vxlan.is_some());
        let first = if is_overlay {
            macs.get(&mac).copied()
        } else {
            macs.insert(mac, entry)
        };
        if let Some(first) = first {
            let message = format!("is the hardware address of {} as well", first.path);
            let key = if is_overlay { "vxlan.gateway-mac" } else { "mac" };
            let path = format!("{}.{key}", entry.path);
            reader.problem(Severity::Error, path, entry.place, Some(mac.to_string()), message);
        }
        if let Some(gateway) = entry.value.gateway {
            if let Some(first) = external {
                let message = format!(
                    "expected one gateway: {} is the external interface already",
                    first.path
                );
                let path = format!("{}.gateway", entry.path);
                reader.problem(
                    Severity::Error,
                    path,
                    entry.place,
                    Some(gateway.to_string()),
                    message,
                );
            } else {
                external = Some(entry);
            }
        }
    }
}

fn check_eips(reader: &mut Reader<'_>, eips: &Entries<Eip>, by_eip: &Addresses, router: &Router<'_>) {
    let by_vm = Addresses::new(eips.values().iter().map(|entry| entry.vm));
    // The first entry that has an address, of one that is not the first.
    let before = |addresses: &Addresses, address, position| {
        let first = addresses.first(address).filter(|first| *first < position)?;
        eips.get(first)
    };
    for (position, entry) in eips.iter().enumerate() {
        let Eip { eip, vm, .. } = *entry.value;
        if let Some(first) = before(by_eip, eip, position) {
            let message = format!("is in {} already", first.path);
            reader.problem(
                Severity::Error,
                format!("{}.eip", entry.path),
                entry.place,
                Some(eip.to_string()),
                message,
            );
        }
        if let Some(first) = before(&by_vm, vm, position) {
            let message = format!(
                "has several elastic IPs: outside it is seen as {}, that of {}",
                first.value.eip, first.path
            );
            reader.problem(
                Severity::Warning,
                format!("{}.vm-ip", entry.path),
                entry.place,
                Some(vm.to_string()),
                message,
            );
        }
        router.check_eip(reader, &entry, eip, true);
        router.check_vm(reader, &entry, vm, &[by_eip]);
    }
}
