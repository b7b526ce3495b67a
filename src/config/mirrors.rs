//! `mirror_list`: reads an entry, and checks that no copy is copied again, sent back or sent to where it would disturb.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::str::FromStr;

use ipnet::Ipv4Net;

use super::Interface;
use super::entries::Entries;
use super::fields::{Fields, Path, Read, Reader, host_address, number};
use super::mirror::{Filter, FilterProtocol, Mirror, Select, Source, Target};
use super::node::Located;
use super::problem::Severity;
use super::router::Router;
use crate::model::MacAddr;

pub(super) const MIRROR: &[&str] = &["name", "source", "select", "filter", "to", "snaplen", "sample"];
pub(super) const SOURCE: &[&str] = &["mac", "subnet", "vm-ip", "all"];
pub(super) const FILTER: &[&str] = &["protocol", "port", "cidr"];
pub(super) const TARGET: &[&str] = &["nic", "gre", "erspan", "vlan"];
pub(super) const NIC: &[&str] = &["mac"];
pub(super) const GRE: &[&str] = &["remote", "key"];
pub(super) const ERSPAN: &[&str] = &["remote", "index", "session", "version"];
pub(super) const VLAN: &[&str] = &["mac", "id"];

/// The most of ERSPAN's session, and of its index.
pub(super) const MOST_SESSION: u32 = (1 << 10) - 1;
pub(super) const MOST_INDEX: u32 = (1 << 20) - 1;
/// The most that a packet can have: that of IPv4, with the Ethernet header.
pub(super) const MOST_SNAPLEN: u32 = 65_535 + 14;

pub(super) fn read(reader: &mut Reader<'_>, item: &Located<'_>, path: Path) -> Option<Mirror> {
    let fields = reader.mapping(item, path, MIRROR)?;
    let expected = "a name of 1 to 16 letters, digits, dots, hyphens and underscores";
    let name = fields.required(reader, "name", expected, |text| {
        is_name(text)
            .then(|| text.into())
            .ok_or_else(|| expected.to_owned())
    });
    let source = read_source(reader, &fields);
    let expected = "both, src or dst (or from-lport, which is src, or to-lport, which is dst)";
    let select = fields.optional(reader, "select", expected, |text| match text {
        "both" => Ok(Select::Both),
        "src" | "from-lport" => Ok(Select::Src),
        "dst" | "to-lport" => Ok(Select::Dst),
        _ => Err(expected.to_owned()),
    });
    let filter = match fields.get("filter") {
        Some(filter) => read_filter(reader, filter, fields.key("filter")),
        None => Some(Filter::default()),
    };
    let to = read_targets(reader, &fields);
    let expected = "0 (all of each packet), or a number of bytes, 82 to 65549";
    let snaplen = fields.optional(reader, "snaplen", expected, |text| {
        let snaplen = number(text, &(0..=MOST_SNAPLEN), expected)?;
        if snaplen == 0 || snaplen >= Mirror::LEAST_SNAPLEN {
            Ok(snaplen)
        } else {
            Err(expected.to_owned())
        }
    });
    let expected = "one packet in how many, 1 to 4294967295";
    let sample = fields.optional(reader, "sample", expected, |text| {
        number(text, &(1..=u32::MAX), expected)
    });
    let to = to?;
    let cuts = snaplen.as_ref().is_some_and(|snaplen| snaplen.value > 0);
    if let (true, Some(snaplen)) = (
        cuts && to.iter().any(|one| !matches!(one, Target::Erspan { .. })),
        &snaplen,
    ) {
        let message =
            "the kernel cuts only what ERSPAN carries: leave `snaplen` out, or have `erspan` targets alone";
        let value = Some(snaplen.value.to_string());
        reader.problem(Severity::Error, &snaplen.path, snaplen.place, value, message);
    }
    Some(Mirror {
        name: name?.value,
        source: source?,
        select: select.map(|select| select.value).unwrap_or_default(),
        filter: filter?,
        to: to.into(),
        snaplen: snaplen.map_or(0, |snaplen| snaplen.value),
        sample: sample.map_or(1, |sample| sample.value),
        place: fields.place,
    })
}

/// Nothing that a shell, a label of a metric or a terminal takes for something else.
fn is_name(text: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    (1..=Mirror::LONGEST_NAME).contains(&text.len())
        && text.bytes().all(is_plain)
        && text.starts_with(|first: char| first.is_ascii_alphanumeric())
}

/// The key of a mapping that has exactly one of those that it knows.
fn only_key(
    reader: &mut Reader<'_>,
    fields: &Fields<'_>,
    path: &Path,
    keys: &[&'static str],
) -> Option<&'static str> {
    let mut given = keys.iter().filter(|key| fields.get(key).is_some());
    match (given.next(), given.next()) {
        (Some(key), None) => Some(key),
        _ => {
            let message = format!("expected exactly one of the keys {}", keys.join(", "));
            reader.problem(Severity::Error, path, fields.place, None, message);
            None
        }
    }
}

fn mac(reader: &mut Reader<'_>, fields: &Fields<'_>) -> Option<MacAddr> {
    let expected = "a hardware address, as in 52:54:84:00:08:45";
    let mac = fields.required(reader, "mac", expected, |text| {
        text.parse::<MacAddr>().map_err(|error| error.to_string())
    });
    Some(mac?.value)
}

fn network(text: &str) -> Result<Ipv4Net, String> {
    let expected = "a subnet, as in 192.168.100.0/24";
    let net = match text.contains('/') {
        true => Ipv4Net::from_str(text).ok(),
        false => Ipv4Addr::from_str(text).ok().map(Ipv4Net::from),
    };
    let net = net.ok_or_else(|| expected.to_owned())?;
    if net.trunc() != net {
        return Err(format!("{expected}: without host bits it is {}", net.trunc()));
    }
    Ok(net)
}

fn read_source(reader: &mut Reader<'_>, fields: &Fields<'_>) -> Option<Source> {
    let path = fields.key("source");
    let Some(node) = fields.get("source") else {
        let message = "missing: expected one of mac, subnet, vm-ip and all";
        reader.problem(Severity::Error, path, fields.place, None, message);
        return None;
    };
    let fields = reader.mapping(node, path.clone(), SOURCE)?;
    match only_key(reader, &fields, &path, SOURCE)? {
        "mac" => mac(reader, &fields).map(Source::Mac),
        "subnet" => {
            let net = fields.required(reader, "subnet", "a subnet, as in 192.168.100.0/24", network);
            net.map(|net| Source::Subnet(net.value))
        }
        "vm-ip" => {
            let vm = fields.required(reader, "vm-ip", "an IPv4 address", host_address);
            vm.map(|vm| Source::VmIp(vm.value))
        }
        _ => {
            let expected = "true: every NIC of a subnet";
            let all = fields.required(reader, "all", expected, |text| match text {
                "true" => Ok(Source::All),
                _ => Err(expected.to_owned()),
            });
            all.map(|all| all.value)
        }
    }
}

fn read_filter(reader: &mut Reader<'_>, node: &Located<'_>, path: Path) -> Option<Filter> {
    let fields = reader.mapping(node, path, FILTER)?;
    let expected = "tcp, udp or icmp";
    let protocol = fields.optional(reader, "protocol", expected, |text| {
        match text.to_ascii_lowercase().as_str() {
            "tcp" => Ok(FilterProtocol::Tcp),
            "udp" => Ok(FilterProtocol::Udp),
            "icmp" => Ok(FilterProtocol::Icmp),
            _ => Err(expected.to_owned()),
        }
    });
    let expected = "a port, 1 to 65535";
    let port = fields.optional(reader, "port", expected, |text| {
        number(text, &(1..=u16::MAX), expected)
    });
    let cidr = fields.optional(reader, "cidr", "a subnet, as in 192.168.100.0/24", network);
    let protocol = protocol.map(|protocol| protocol.value);
    let has_ports = matches!(protocol, Some(FilterProtocol::Tcp | FilterProtocol::Udp));
    if let (Some(port), false) = (&port, has_ports) {
        let value = Some(port.value.to_string());
        let message = "expected `protocol: tcp` or `protocol: udp` beside a port";
        reader.problem(Severity::Error, &port.path, port.place, value, message);
    }
    Some(Filter {
        protocol,
        port: port.map(|port| port.value),
        cidr: cidr.map(|cidr| cidr.value),
    })
}

fn read_targets(reader: &mut Reader<'_>, fields: &Fields<'_>) -> Option<Vec<Target>> {
    let path = fields.key("to");
    let items = reader.list(fields.get("to"), &path.to_string());
    let is_list = fields
        .get("to")
        .is_none_or(|node| matches!(node.value, super::node::Node::List(_)));
    if items.is_empty() {
        if is_list {
            let message = "expected a list of targets: nic, gre, erspan or vlan";
            reader.problem(Severity::Error, path, fields.place, None, message);
        }
        return None;
    }
    if let Some(last) = items.get(Mirror::MOST_TARGETS) {
        let message = format!("expected at most {} targets", Mirror::MOST_TARGETS);
        reader.problem(Severity::Error, &path, last.place, None, message);
    }
    let above = std::rc::Rc::new(path);
    let mut targets: Vec<Target> = Vec::new();
    for (index, item) in items.iter().enumerate() {
        let path = Path::Inner(above.clone(), index);
        let target = read_target(reader, item, path.clone())?;
        if let Some(first) = targets.iter().position(|one| is_same_place(one, &target)) {
            let message = format!("is {above}[{first}] already");
            let value = Some(target.to_string());
            reader.problem(Severity::Error, path, item.place, value, message);
        }
        targets.push(target);
    }
    Some(targets)
}

/// Whether two targets are one link.
fn is_same_place(one: &Target, other: &Target) -> bool {
    match (one, other) {
        (
            Target::Erspan { remote, session, .. },
            Target::Erspan {
                remote: other_remote,
                session: other_session,
                ..
            },
        ) => (remote, session) == (other_remote, other_session),
        _ => one == other,
    }
}

fn read_target(reader: &mut Reader<'_>, item: &Located<'_>, path: Path) -> Option<Target> {
    let fields = reader.mapping(item, path.clone(), TARGET)?;
    let key = only_key(reader, &fields, &path, TARGET)?;
    let (node, path) = (fields.get(key)?, fields.key(key));
    match key {
        "nic" => {
            let fields = reader.mapping(node, path, NIC)?;
            mac(reader, &fields).map(|mac| Target::Nic { mac })
        }
        "vlan" => {
            let fields = reader.mapping(node, path, VLAN)?;
            let mac = mac(reader, &fields);
            let expected = "the number of a VLAN, 1 to 4094";
            let id = fields.required(reader, "id", expected, |text| {
                number(text, &(1..=4_094), expected)
            });
            let (mac, id) = (mac?, id?.value);
            Some(Target::Vlan { mac, id })
        }
        "gre" => {
            let fields = reader.mapping(node, path, GRE)?;
            let remote = fields.required(reader, "remote", "an IPv4 address", host_address);
            let expected = "a key, 0 to 4294967295";
            let key = fields.optional(reader, "key", expected, |text| {
                number(text, &(0..=u32::MAX), expected)
            });
            Some(Target::Gre {
                remote: remote?.value,
                key: key.map(|key| key.value),
            })
        }
        _ => read_erspan(reader, node, path),
    }
}

fn read_erspan(reader: &mut Reader<'_>, node: &Located<'_>, path: Path) -> Option<Target> {
    let fields = reader.mapping(node, path, ERSPAN)?;
    let remote = fields.required(reader, "remote", "an IPv4 address", host_address);
    let expected = "an index, 0 to 1048575";
    let index = fields.required(reader, "index", expected, |text| {
        number(text, &(0..=MOST_INDEX), expected)
    });
    let expected = "a session, 0 to 1023";
    let session = fields.optional(reader, "session", expected, |text| {
        number(text, &(0..=MOST_SESSION), expected)
    });
    let expected = "1 or 2";
    let version = fields.optional(reader, "version", expected, |text| {
        number(text, &(1..=2), expected)
    });
    let (remote, index) = (remote?, index?);
    // As OVN has it, the index is the session as well; a collector tells mirrors apart by the latter.
    if session.is_none() && fields.get("session").is_none() && index.value > MOST_SESSION {
        let value = Some(index.value.to_string());
        let message = "expected `session`, 0 to 1023, beside an index above 1023: a collector tells mirrors apart by it";
        reader.problem(Severity::Error, &index.path, index.place, value, message);
        return None;
    }
    Some(Target::Erspan {
        remote: remote.value,
        session: session.map_or(index.value, |session| session.value),
        index: index.value,
        version: version.map_or(1, |version| version.value),
    })
}

pub(super) fn check(reader: &mut Reader<'_>, mirrors: &Entries<Mirror>, router: &Router<'_>) {
    let mut names: BTreeMap<String, Path> = BTreeMap::new();
    let mut tunnels: BTreeMap<Target, String> = BTreeMap::new();
    for entry in mirrors.iter() {
        let mirror = entry.value;
        let mut error = |path: String, value: String, message: String| {
            reader.problem(Severity::Error, path, entry.place, Some(value), message);
        };
        if let Some(first) = names.insert(mirror.name.to_string(), entry.path.clone()) {
            let message = format!("is the name of {first} as well");
            error(format!("{}.name", entry.path), mirror.name.to_string(), message);
        }
        for (index, target) in mirror.to.iter().enumerate() {
            let path = format!("{}.to[{index}]", entry.path);
            let Some(remote) = target.remote() else {
                continue;
            };
            // Told apart by these alone, whatever else differs.
            let ends = match *target {
                Target::Erspan { session, .. } => Target::Erspan {
                    remote,
                    session,
                    index: 0,
                    version: 0,
                },
                other => other,
            };
            let first = tunnels.entry(ends).or_insert_with(|| path.clone());
            if *first != path && !first.starts_with(&format!("{}.", entry.path)) {
                let what = match target {
                    Target::Gre { .. } => "key",
                    _ => "session",
                };
                let message = format!(
                    "is the tunnel of {first} as well, and the collector could not tell them apart: give it another {what}"
                );
                error(path, target.to_string(), message);
            }
        }
        if router.is_known() {
            check_place(reader, &entry, router);
        }
    }
}

/// Where packets are copied, and where copies go, among the router's own NICs and subnets.
fn check_place(reader: &mut Reader<'_>, entry: &Read<&Mirror>, router: &Router<'_>) {
    let mirror = entry.value;
    let path = |key: &str| format!("{}.{key}", entry.path);
    let mut problem = |severity, path: String, value: String, message: String| {
        reader.problem(severity, path, entry.place, Some(value), message);
    };
    let wrong_source = match mirror.source {
        Source::Mac(mac) if router.by_mac(mac).is_none() => Some((
            "source.mac",
            mac.to_string(),
            "is the hardware address of no interface: the router copies what crosses its own NICs".to_owned(),
        )),
        Source::Subnet(net) if sources(mirror, router).is_empty() => Some((
            "source.subnet",
            net.to_string(),
            "is no subnet of the VPC, nor a part of one".to_owned(),
        )),
        Source::VmIp(vm) => {
            let own = router.interfaces().find(|one| one.value.address.addr() == vm);
            own.map(|own| format!("is the router's own address ({}), not a VM's", own.path))
                .or_else(|| {
                    let is_nowhere = sources(mirror, router).is_empty();
                    is_nowhere
                        .then(|| "is in no subnet of the VPC: its packets do not cross the router".to_owned())
                })
                .map(|message| ("source.vm-ip", vm.to_string(), message))
        }
        Source::All if sources(mirror, router).is_empty() => Some((
            "source.all",
            "true".to_owned(),
            "there is no interface of a subnet whose packets could be copied".to_owned(),
        )),
        _ => None,
    };
    if let Some((key, value, message)) = wrong_source {
        problem(Severity::Error, path(key), value, message);
    }
    for (index, target) in mirror.to.iter().enumerate() {
        let (kind, key) = match target {
            Target::Nic { .. } => ("nic", "mac"),
            Target::Vlan { .. } => ("vlan", "mac"),
            Target::Gre { .. } => ("gre", "remote"),
            Target::Erspan { .. } => ("erspan", "remote"),
        };
        let path = path(&format!("to[{index}].{kind}.{key}"));
        if let Some(mac) = target.mac() {
            let message = if mirror.source == Source::Mac(mac) {
                Some("is the mirror's own source: every copy would be copied again".to_owned())
            } else {
                router.by_mac(mac).map(|own| {
                    format!(
                        "is the NIC of {}: copies go to a NIC that is nothing else",
                        own.path
                    )
                })
            };
            if let Some(message) = message {
                problem(Severity::Error, path, mac.to_string(), message);
            }
            continue;
        }
        let Some(remote) = target.remote() else {
            continue;
        };
        let own = router.interfaces().find(|one| one.value.address.addr() == remote);
        let message = if let Some(own) = own {
            Some(format!(
                "is the router's own address ({}), not a collector's",
                own.path
            ))
        } else if mirror.source == Source::VmIp(remote) {
            Some("is the mirror's own source: every copy would be copied again".to_owned())
        } else {
            None
        };
        if let Some(message) = message {
            problem(Severity::Error, path, remote.to_string(), message);
            continue;
        }
        let through = router.way_to(remote.into(), false);
        // The packets of an overlay carry those of the tunnel, and no program looks into both.
        let is_within = through.is_some_and(|through| through.value.vxlan.is_some());
        let is_of_a_nic = matches!(mirror.source, Source::Mac(_));
        if is_within && is_of_a_nic {
            let message = "is in an overlay subnet, whose packets leave by a NIC: of a mirror of a NIC every copy could be \
                           copied again";
            problem(Severity::Error, path, remote.to_string(), message.to_owned());
            continue;
        }
        if let Some(through) = through.filter(|through| {
            sources(mirror, router)
                .iter()
                .any(|one| one.value.link() == through.value.link())
                && !matches!(mirror.source, Source::VmIp(_))
        }) {
            let message = format!(
                "is reached by a NIC that this mirror copies ({}): the copies themselves, and errors about them, are not \
                 copied again",
                through.path
            );
            problem(Severity::Warning, path, remote.to_string(), message);
        }
    }
}

/// The interfaces whose packets a mirror copies.
fn sources<'r, 'e>(mirror: &Mirror, router: &'r Router<'e>) -> Vec<&'r Read<&'e Interface>> {
    match mirror.source {
        Source::Mac(mac) => router.by_mac(mac).into_iter().collect(),
        Source::Subnet(net) => router.way_to(net, true).into_iter().collect(),
        Source::VmIp(vm) => router.way_to(vm.into(), true).into_iter().collect(),
        Source::All => router.internal().collect(),
    }
}
