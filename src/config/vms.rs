//! `vm_list` of an interface: the VMs of a subnet that are known by name. Reads them, and checks them against each other
//! and against the router.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::net::Ipv4Addr;
use std::sync::Arc;

use ipnet::Ipv4Net;

use super::fields::{Fields, Path, Read, Reader, host_address};
use super::node::Located;
use super::problem::Severity;
use super::router::reserved;
use super::{Interface, Vm};
use crate::model::MacAddr;

pub(super) const VM: &[&str] = &["vm-ip", "mac", "host", "name"];

/// The most bytes of a name (RFC 1123, section 2.1; RFC 1035, section 2.3.4: one label).
pub(super) const LONGEST_NAME: usize = 63;

/// The VMs of an interface; none where the file has no such list. `net` is the interface's address with its subnet's
/// prefix, if that could be read.
pub(super) fn read(reader: &mut Reader<'_>, fields: &Fields<'_>, net: Option<Ipv4Net>) -> Arc<[Vm]> {
    let Some(list) = fields.get("vm_list") else {
        return [].into();
    };
    let path = fields.key("vm_list");
    let items = reader.list(Some(list), &path.to_string());
    let above = std::rc::Rc::new(path);
    let vms = items.iter().enumerate().filter_map(|(index, item)| {
        let path = Path::Inner(above.clone(), index);
        let vm = read_one(reader, item, path.clone())?;
        check_address(reader, &vm, &path, net?);
        Some(vm)
    });
    vms.collect()
}

fn read_one(reader: &mut Reader<'_>, item: &Located<'_>, path: Path) -> Option<Vm> {
    let fields = reader.mapping(item, path, VM)?;
    let address = fields.required(reader, "vm-ip", "an IPv4 address", host_address);
    let expected = "a hardware address, as in 02:6e:1d:4e:69:ef";
    let mac = fields.required(reader, "mac", expected, |text| {
        text.parse::<MacAddr>().map_err(|error| error.to_string())
    });
    let host = fields.optional(reader, "host", "an IPv4 address", host_address);
    let expected = "a host's name: letters, digits and hyphens, at most 63, no hyphen at an end";
    let name = fields.optional(reader, "name", expected, |text| {
        is_name(text)
            .then(|| text.into())
            .ok_or_else(|| expected.to_owned())
    });
    Some(Vm {
        address: address?.value,
        mac: mac?.value,
        host: host.map(|host| host.value),
        name: name.map(|name| name.value),
        place: fields.place,
    })
}

/// One label of a host's name (RFC 1123): nothing else may come into the configuration of a DHCP server.
fn is_name(text: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    (1..=LONGEST_NAME).contains(&text.len())
        && text.bytes().all(is_plain)
        && !text.starts_with('-')
        && !text.ends_with('-')
}

fn check_address(reader: &mut Reader<'_>, vm: &Vm, path: &Path, net: Ipv4Net) {
    let message = if !net.contains(&vm.address) {
        format!(
            "expected an address in the subnet of this interface, {}",
            net.trunc()
        )
    } else if vm.address == net.addr() {
        "is the router's own address, not a VM's".to_owned()
    } else if let Some(what) = reserved(net, vm.address) {
        format!("expected the address of a host, not the {what} address of its subnet")
    } else {
        return;
    };
    error(reader, vm, path, "vm-ip", vm.address, message);
}

fn error(
    reader: &mut Reader<'_>,
    vm: &Vm,
    path: impl Display,
    key: &str,
    value: impl Display,
    message: String,
) {
    let path = format!("{path}.{key}");
    reader.problem(Severity::Error, path, vm.place, Some(value.to_string()), message);
}

/// Checks the VMs of all interfaces, each of which could be read.
pub(super) fn check(reader: &mut Reader<'_>, interfaces: &[Read<&Interface>]) {
    let macs: BTreeMap<MacAddr, &Path> = interfaces
        .iter()
        .map(|entry| (entry.value.mac, &entry.path))
        .collect();
    let path_of = |(interface, index): (usize, usize)| {
        let path: &dyn Display = interfaces.get(interface).map_or(&"if_list", |entry| &entry.path);
        format!("{path}.vm_list[{index}]")
    };
    let mut by_mac: BTreeMap<MacAddr, (usize, usize)> = BTreeMap::new();
    for (position, entry) in interfaces.iter().enumerate() {
        let interface = entry.value;
        let Some(first) = interface.vms.first() else {
            continue;
        };
        if interface.gateway.is_some() {
            let message = "the interface with a gateway faces outside: it has no VMs";
            let path = format!("{}.vm_list", entry.path);
            reader.problem(Severity::Error, path, first.place, None, message);
        }
        let with_host = interface.vms.iter().enumerate().find(|(_, vm)| vm.host.is_some());
        if let (Some((index, vm)), None) = (with_host, &interface.vxlan) {
            let path = format!("{}.host", path_of((position, index)));
            let value = vm.host.map(|host| host.to_string());
            let message = "has no effect: the VMs of this subnet are reached by the router's NIC there";
            reader.problem(Severity::Warning, path, vm.place, value, message);
        }
        let mut by_address: BTreeMap<Ipv4Addr, usize> = BTreeMap::new();
        let mut by_name: BTreeMap<String, usize> = BTreeMap::new();
        for (index, vm) in interface.vms.iter().enumerate() {
            let path = || path_of((position, index));
            if let Some(first) = by_address.insert(vm.address, index) {
                let message = format!("is in {} already", path_of((position, first)));
                error(reader, vm, path(), "vm-ip", vm.address, message);
            }
            if let Some(first) = by_mac.insert(vm.mac, (position, index)) {
                let message = format!("is the hardware address of {} as well", path_of(first));
                error(reader, vm, path(), "mac", vm.mac, message);
            } else if let Some(nic) = macs.get(&vm.mac) {
                let message = format!("is the router's own hardware address ({nic}), not a VM's");
                error(reader, vm, path(), "mac", vm.mac, message);
            }
            let name = vm.name.as_ref().map(|name| name.to_ascii_lowercase());
            if let Some(first) = name.and_then(|name| by_name.insert(name, index)) {
                let message = format!("is the name of {} as well", path_of((position, first)));
                let value = vm.name.as_deref().unwrap_or_default();
                error(reader, vm, path(), "name", value, message);
            }
        }
    }
}
