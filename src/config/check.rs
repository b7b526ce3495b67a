//! From the tree to a [`Config`]: reads every entry, then checks what entries mean to each other.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

use super::fields::{Fields, Path, Read, Reader, host_address, number};
use super::forwards;
use super::node::{Located, Node};
use super::problem::{Problem, Severity};
use super::snat;
use super::{Config, Eip, FastPathMode, Generation, Interface};
use crate::model::{Conntrack, ConntrackMax, MacAddr};

pub(super) const ROOT: &[&str] = &[
    "if_list",
    "eip_list",
    "port_forward_list",
    "snat_pool",
    "ipv6",
    "conntrack",
    "counters",
    "conntrack_max",
    "fast_path",
    "generation",
];
pub(super) const INTERFACE: &[&str] = &["ipaddr", "prefix", "mac", "gateway"];
pub(super) const EIP: &[&str] = &["eip", "vm-ip"];

/// Every key that means something somewhere.
pub(super) const KEYS: &[&[&str]] = &[ROOT, INTERFACE, EIP, forwards::FORWARD];

/// The configuration as far as it could be read, and what stands for the problems that are not told; it is a
/// configuration only if no problem is an error.
pub(super) fn check(
    text: &[u8],
    root: &Located<'_>,
    problems: &mut Vec<Problem>,
) -> (Config, Option<Problem>) {
    let mut reader = Reader::new(text, problems);
    let config = read(&mut reader, root);
    (config, reader.untold())
}

fn read(reader: &mut Reader<'_, '_>, root: &Located<'_>) -> Config {
    if matches!(root.value, Node::Null) {
        return Config::default();
    }
    let Some(fields) = reader.mapping(root, Path::Root, ROOT) else {
        return Config::default();
    };

    let interfaces = entries(reader, &fields, "if_list", interface);
    let eips = entries(reader, &fields, "eip_list", eip);
    let forwards = entries(reader, &fields, "port_forward_list", forwards::read);
    let snat_pool = snat::read(reader, &fields);
    let mut flag = |key| {
        let expected = "true or false";
        fields.optional(reader, key, expected, |text| match text {
            "true" => Ok(true),
            "false" => Ok(false),
            _ => Err(expected.to_owned()),
        })
    };
    let ipv6 = flag("ipv6");
    let counters = flag("counters");

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

    check_interfaces(reader, &interfaces);
    // With an interface that is wrong, what it means for other entries would be a guess.
    let is_sound = !reader
        .problems
        .iter()
        .any(|problem| problem.path.starts_with("if_list"));
    let router = Router {
        interfaces: is_sound.then_some(&interfaces),
    };
    check_eips(reader, &eips, &router);
    forwards::check(reader, &forwards, &eips, &router);
    snat::check(reader, &snat_pool, &eips, &forwards, &router);
    let translating = eips.first().map(|entry| entry.place);
    let translating = translating.or(forwards.first().map(|entry| entry.place));
    let translating = translating.or(snat_pool.first().map(|entry| entry.place));
    router.check_outside(reader, translating);

    Config {
        interfaces: interfaces.into_iter().map(|entry| entry.value).collect(),
        eips: eips.into_iter().map(|entry| entry.value).collect(),
        forwards: forwards.into_iter().map(|entry| entry.value).collect(),
        snat_pool: snat_pool.into_iter().map(|entry| entry.value).collect(),
        ipv6: ipv6.is_some_and(|ipv6| ipv6.value),
        is_uncounted: counters.is_some_and(|counters| !counters.value),
        conntrack: conntrack.map(|conntrack| conntrack.value).unwrap_or_default(),
        conntrack_max: conntrack_max.map(|most| most.value).unwrap_or_default(),
        fast_path: fast_path.map(|mode| mode.value).unwrap_or_default(),
        generation: generation.map(|generation| Generation {
            number: generation.value,
            place: generation.place,
        }),
    }
}

/// Entries of a list that could be read, each with its path.
fn entries<'n, T>(
    reader: &mut Reader<'_, '_>,
    fields: &Fields<'n>,
    key: &'static str,
    read: impl Fn(&mut Reader<'_, '_>, &'n Located<'n>, Path) -> Option<(T, super::Place)>,
) -> Vec<Read<T>> {
    let mut entries = Vec::new();
    for (index, item) in reader.list(fields.get(key), key).iter().enumerate() {
        let path = Path::Item(key, index);
        if let Some((value, place)) = read(reader, item, path.clone()) {
            entries.push(Read { value, path, place });
        }
    }
    entries
}

fn interface<'n>(
    reader: &mut Reader<'_, '_>,
    item: &'n Located<'n>,
    path: Path,
) -> Option<(Interface, super::Place)> {
    let fields = reader.mapping(item, path, INTERFACE)?;
    let address = fields.required(reader, "ipaddr", "an IPv4 address", host_address);
    let expected = "a prefix length, 0 to 32";
    let prefix = fields.required(reader, "prefix", expected, |text| {
        number(text, &(0..=32), expected)
    });
    let expected = "a hardware address, as in 52:54:84:00:08:45";
    let mac = fields.required(reader, "mac", expected, |text| {
        text.parse::<MacAddr>().map_err(|error| error.to_string())
    });
    let gateway = fields.optional(reader, "gateway", "an IPv4 address", host_address);

    let (address, prefix, mac) = (address?, prefix?, mac?);
    let net = Ipv4Net::new(address.value, prefix.value).ok()?;
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
    let place = fields.place;
    let gateway = gateway.map(|gateway| gateway.value);
    Some((
        Interface {
            address: net,
            mac: mac.value,
            gateway,
            place,
        },
        place,
    ))
}

/// Whether an address names its whole subnet. In a /31 (RFC 3021) and a /32 none does.
fn reserved(net: Ipv4Net, address: Ipv4Addr) -> Option<&'static str> {
    if net.prefix_len() >= 31 {
        None
    } else if address == net.network() {
        Some("network")
    } else if address == net.broadcast() {
        Some("broadcast")
    } else {
        None
    }
}

fn eip<'n>(reader: &mut Reader<'_, '_>, item: &'n Located<'n>, path: Path) -> Option<(Eip, super::Place)> {
    let fields = reader.mapping(item, path, EIP)?;
    let eip = fields.required(reader, "eip", "an IPv4 address", host_address);
    let vm = fields.required(reader, "vm-ip", "an IPv4 address", host_address);
    Some((
        Eip {
            eip: eip?.value,
            vm: vm?.value,
            place: fields.place,
        },
        fields.place,
    ))
}

fn check_interfaces(reader: &mut Reader<'_, '_>, interfaces: &[Read<Interface>]) {
    let mut macs = BTreeMap::new();
    let mut external: Option<&Read<Interface>> = None;
    // A later subnet can only overlap one that starts before it ends: sorted, one pass finds them all.
    let mut subnets: Vec<&Read<Interface>> = interfaces.iter().collect();
    subnets.sort_by_key(|entry| (entry.value.address.network(), entry.value.address.prefix_len()));
    let mut widest: Option<&Read<Interface>> = None;
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
    for entry in interfaces {
        let mac = entry.value.mac;
        if let Some(first) = macs.insert(mac, entry) {
            let message = format!("is the hardware address of {} as well", first.path);
            let path = format!("{}.mac", entry.path);
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

fn check_eips(reader: &mut Reader<'_, '_>, eips: &[Read<Eip>], router: &Router<'_>) {
    let mut by_eip: BTreeMap<Ipv4Addr, &Read<Eip>> = BTreeMap::new();
    let mut by_vm: BTreeMap<Ipv4Addr, &Read<Eip>> = BTreeMap::new();
    let all = eips.iter().map(|entry| entry.value.eip).collect();
    for entry in eips {
        let Eip { eip, vm, .. } = entry.value;
        if let Some(first) = by_eip.get(&eip) {
            let message = format!("is in {} already", first.path);
            reader.problem(
                Severity::Error,
                format!("{}.eip", entry.path),
                entry.place,
                Some(eip.to_string()),
                message,
            );
        } else {
            by_eip.insert(eip, entry);
        }
        if let Some(first) = by_vm.get(&vm) {
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
        } else {
            by_vm.insert(vm, entry);
        }
        router.check_eip(reader, entry, eip, true);
        router.check_vm(reader, entry, vm, &all);
    }
}

/// What entries are checked against.
pub(super) struct Router<'e> {
    /// `None` if they are not known for certain: then nothing is said of what they mean for others.
    interfaces: Option<&'e Vec<Read<Interface>>>,
}

impl Router<'_> {
    fn interfaces(&self) -> impl Iterator<Item = &Read<Interface>> {
        self.interfaces.into_iter().flatten()
    }

    fn internal(&self) -> impl Iterator<Item = &Read<Interface>> {
        self.interfaces().filter(|entry| entry.value.gateway.is_none())
    }

    fn external(&self) -> Option<&Read<Interface>> {
        self.interfaces().find(|entry| entry.value.gateway.is_some())
    }

    /// An address that packets from outside are sent to.
    pub(super) fn check_eip<T>(
        &self,
        reader: &mut Reader<'_, '_>,
        entry: &Read<T>,
        eip: Ipv4Addr,
        whole: bool,
    ) {
        if let Some(message) = self.not_outside(eip, whole) {
            let path = format!("{}.eip", entry.path);
            reader.problem(Severity::Error, path, entry.place, Some(eip.to_string()), message);
        }
    }

    /// Why an address cannot be one that the router answers for outside; `None`: it can. Where it is to be one VM's as a
    /// `whole`, the router's own cannot.
    pub(super) fn not_outside(&self, address: Ipv4Addr, whole: bool) -> Option<String> {
        if let Some(inside) = self
            .internal()
            .find(|inside| inside.value.address.contains(&address))
        {
            return Some(format!(
                "is inside the VPC, in the subnet of {}, {}",
                inside.path,
                inside.value.address.trunc()
            ));
        }
        let external = self.external()?;
        let net = external.value.address;
        if whole && net.addr() == address {
            Some(format!(
                "is the router's own address ({}); forward ports of it instead",
                external.path
            ))
        } else if external.value.gateway == Some(address) {
            Some(format!("is the gateway of {}", external.path))
        } else if net.contains(&address)
            && let Some(what) = reserved(net, address)
        {
            Some(format!(
                "is the {what} address of the subnet of {}, {}",
                external.path,
                net.trunc()
            ))
        } else {
            None
        }
    }

    /// An address that packets are passed on to.
    pub(super) fn check_vm<T>(
        &self,
        reader: &mut Reader<'_, '_>,
        entry: &Read<T>,
        vm: Ipv4Addr,
        eips: &std::collections::BTreeSet<Ipv4Addr>,
    ) {
        let mut problem = |severity, message: String| {
            let path = format!("{}.vm-ip", entry.path);
            reader.problem(severity, path, entry.place, Some(vm.to_string()), message);
        };
        if let Some(own) = self.interfaces().find(|own| own.value.address.addr() == vm) {
            problem(
                Severity::Error,
                format!("is the router's own address ({}), not a VM's", own.path),
            );
        } else if eips.contains(&vm) {
            problem(
                Severity::Error,
                "is an elastic IP itself: expected the VM's own address".to_owned(),
            );
        } else if let Some(near) = self.interfaces().find(|near| near.value.address.contains(&vm))
            && let Some(what) = reserved(near.value.address, vm)
        {
            // Outside as well: the router itself would send broadcasts there.
            let message = format!(
                "is the {what} address of the subnet of {}, {}",
                near.path,
                near.value.address.trunc()
            );
            problem(Severity::Error, message);
        } else if self.interfaces.is_some()
            && !self.internal().any(|inside| inside.value.address.contains(&vm))
        {
            problem(Severity::Warning, "is in no subnet of the VPC".to_owned());
        }
    }

    /// A router that is to translate (`first`: the first entry that says so) but has no way out.
    fn check_outside(&self, reader: &mut Reader<'_, '_>, first: Option<super::Place>) {
        if let (Some(_), None, Some(place)) = (self.interfaces, self.external(), first) {
            let message = "no interface has a gateway: nothing reaches these addresses from outside";
            reader.problem(Severity::Warning, "if_list", place, None, message);
        }
    }
}
