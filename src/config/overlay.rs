//! `vxlan` of an interface: a subnet that arrives in packets to the router instead of by a NIC. Reads it, and checks it
//! against the NICs below, the other subnets, and what else takes packets to these NICs' addresses.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::net::Ipv4Addr;
use std::rc::Rc;

use super::entries::{Addresses, Entries};
use super::fields::{Fields, Path, Read, Reader, host_address, number};
use super::problem::{Severity, shown};
use super::{Forward, Interface, Protocol, Vxlan};
use crate::model::MacAddr;

pub(super) const VXLAN: &[&str] = &["vni", "local", "peers", "port", "gateway-mac"];

/// 24 bits (RFC 7348, section 5). Zero is what a switch sends that was told none.
pub(super) const HIGHEST_VNI: u32 = (1 << 24) - 1;
/// IANA's number for VXLAN.
pub(super) const PORT: u16 = 4789;
/// What the hypervisors' flow tables answer ARP requests for the gateway with.
pub(super) const GATEWAY_MAC: [u8; 6] = [0x12, 0, 0, 0xff, 0xff, 0xff];

/// The overlay of an interface; `Err`: it is none, `None`: what there is could not be read.
pub(super) fn read(reader: &mut Reader<'_>, fields: &Fields<'_>) -> Option<Vxlan> {
    let node = fields.get("vxlan")?;
    let fields = reader.mapping(node, fields.key("vxlan"), VXLAN)?;
    let expected = "the number of an overlay subnet, 1 to 16777215";
    let vni = fields.required(reader, "vni", expected, |text| {
        number(text, &(1..=HIGHEST_VNI), expected)
    });
    let local = fields.optional(reader, "local", "an IPv4 address", host_address);
    let path = fields.key("peers");
    let items = reader.list(fields.get("peers"), &path.to_string());
    let path = Rc::new(path);
    let mut peers = Vec::with_capacity(items.len());
    for (index, item) in items.iter().enumerate() {
        let path = Path::Inner(path.clone(), index);
        let text = reader.scalar(item);
        match text.map_or_else(|| Err("an IPv4 address".to_owned()), host_address) {
            Ok(peer) if peers.contains(&peer) => {
                let message = "stands in this list already";
                reader.problem(Severity::Error, path, item.place, Some(peer.to_string()), message);
            }
            Ok(peer) => peers.push(peer),
            Err(expected) => {
                let value = text.map(shown);
                let message = format!("expected {expected}");
                reader.problem(Severity::Error, path, item.place, value, message);
            }
        }
    }
    let expected = "a port, 1 to 65535";
    let port = fields.optional(reader, "port", expected, |text| {
        number(text, &(1..=u16::MAX), expected)
    });
    let expected = "a hardware address, as in 12:00:00:ff:ff:ff";
    let mac = fields.optional(reader, "gateway-mac", expected, |text| {
        text.parse::<MacAddr>().map_err(|error| error.to_string())
    });
    let default = MacAddr::from_octets(GATEWAY_MAC).ok()?;
    Some(Vxlan {
        vni: vni?.value,
        local: local.map(|local| local.value),
        peers,
        port: port.map_or(PORT, |port| port.value),
        mac: mac.map_or(default, |mac| mac.value),
    })
}

/// An interface that is an overlay, for checks.
struct Overlay<'e> {
    entry: &'e Read<&'e Interface>,
    vxlan: &'e Vxlan,
}

impl Overlay<'_> {
    fn error(&self, reader: &mut Reader<'_>, key: &str, value: impl Display, message: String) {
        let path = format!("{}.vxlan{key}", self.entry.path);
        let value = Some(value.to_string()).filter(|value| !value.is_empty());
        reader.problem(Severity::Error, path, self.entry.place, value, message);
    }
}

/// Checks the overlays among all interfaces, each of which could be read; `forwarded` are forwards, and what is by its
/// address an elastic IP.
pub(super) fn check(
    reader: &mut Reader<'_>,
    interfaces: &[Read<&Interface>],
    forwards: &Entries<Forward>,
    eips: &Addresses,
) {
    let overlays: Vec<Overlay<'_>> = (interfaces.iter())
        .filter_map(|entry| Some((entry, entry.value.vxlan.as_ref()?)))
        .map(|(entry, vxlan)| Overlay { entry, vxlan })
        .collect();
    if overlays.is_empty() {
        return;
    }
    let external = interfaces.iter().find(|entry| entry.value.gateway.is_some());
    let external = external.map(|entry| entry.value.address.addr());
    let own: BTreeMap<Ipv4Addr, &Read<&Interface>> = interfaces
        .iter()
        .map(|entry| (entry.value.address.addr(), entry))
        .collect();
    // Subnets do not overlap: the last one that begins before an address is the only one that may have it.
    let mut subnets: Vec<&Overlay<'_>> = overlays.iter().collect();
    subnets.sort_by_key(|overlay| overlay.entry.value.address.network());
    let over = |address: Ipv4Addr| {
        let after = subnets.partition_point(|one| one.entry.value.address.network() <= address);
        let near = after.checked_sub(1).and_then(|near| subnets.get(near))?;
        near.entry.value.address.contains(&address).then_some(*near)
    };
    // Why no hypervisor can have an address.
    let no_host = |address: Ipv4Addr| {
        if let Some(own) = own.get(&address) {
            Some(format!(
                "is the router itself ({}): expected another host, a hypervisor",
                own.path
            ))
        } else if eips.contains(address) {
            Some("is an elastic IP of this router: expected a hypervisor".to_owned())
        } else {
            over(address).map(|inside| {
                format!(
                    "is in the overlay subnet of {}: a hypervisor is reached by a NIC",
                    inside.entry.path
                )
            })
        }
    };
    let mut by_vni: BTreeMap<u32, &Path> = BTreeMap::new();
    let mut listening: BTreeMap<(Ipv4Addr, u16), &Path> = BTreeMap::new();
    for overlay in &overlays {
        let Overlay { entry, vxlan } = overlay;
        if let Some(first) = by_vni.insert(vxlan.vni, &entry.path) {
            let message = format!("is the number of {first} as well");
            overlay.error(reader, ".vni", vxlan.vni, message);
        }
        match (vxlan.local, vxlan.local.or(external)) {
            (_, None) => {
                let message = "missing: expected the router's address that hypervisors send to, since no interface has a \
                               gateway";
                overlay.error(reader, ".local", "", message.to_owned());
            }
            (local, Some(address)) => {
                let is_nic = own.get(&address).is_some_and(|own| own.value.vxlan.is_none());
                if local.is_some() && !is_nic {
                    let message = "expected an address of one of the router's NICs, an ipaddr of if_list";
                    overlay.error(reader, ".local", address, message.to_owned());
                }
                listening.entry((address, vxlan.port)).or_insert(&entry.path);
            }
        }
        for (index, peer) in vxlan.peers.iter().enumerate() {
            if let Some(message) = no_host(*peer) {
                overlay.error(reader, &format!(".peers[{index}]"), peer, message);
            }
        }
        for (index, vm) in entry.value.vms.iter().enumerate() {
            let message = match vm.host {
                None => Some((
                    String::new(),
                    "missing: expected the hypervisor that this VM is on".to_owned(),
                )),
                Some(host) => no_host(host).map(|message| (host.to_string(), message)),
            };
            if let Some((value, message)) = message {
                let path = format!("{}.vm_list[{index}].host", entry.path);
                let value = Some(value).filter(|value| !value.is_empty());
                reader.problem(Severity::Error, path, vm.place, value, message);
            }
        }
        if vxlan.peers.is_empty() && entry.value.vms.is_empty() {
            let path = format!("{}.vxlan", entry.path);
            let message = "has neither peers nor a vm_list: it is not known where any VM is";
            reader.problem(Severity::Warning, path, entry.place, None, message);
        }
    }
    check_forwards(reader, forwards, &listening);
}

/// A forward translates before the kernel looks who listens.
fn check_forwards(
    reader: &mut Reader<'_>,
    forwards: &Entries<Forward>,
    listening: &BTreeMap<(Ipv4Addr, u16), &Path>,
) {
    for entry in forwards
        .iter()
        .filter(|entry| entry.value.protocol == Protocol::Udp)
    {
        let Forward {
            eip, port, end_port, ..
        } = *entry.value;
        if let Some(((_, port), overlay)) = listening.range((eip, port)..=(eip, end_port)).next() {
            let message =
                format!("takes the packets of the overlay subnet of {overlay}: they come to this port");
            let value = Some(format!("udp {port} on {eip}"));
            reader.problem(Severity::Error, &entry.path, entry.place, value, message);
        }
    }
}
