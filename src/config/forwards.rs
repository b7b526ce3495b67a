//! `port_forward_list`: reads an entry, and checks the entries against each other.

use super::entries::{Addresses, Entries};
use super::fields::{Path, Reader, host_address, number};
use super::node::Located;
use super::problem::Severity;
use super::router::Router;
use super::{Eip, Forward, Protocol};

pub(super) const FORWARD: &[&str] = &[
    "eip", "protocal", "protocol", "port", "end_port", "vm-port", "vm-ip",
];

/// The most ports that shifted ranges may have in all: each is an element of a map in the kernel, some
/// 200 bytes. Ranges that keep their ports cost one element and are not counted.
const MOST_SHIFTED_PORTS: u32 = 1 << 20;

pub(super) fn read(reader: &mut Reader<'_>, item: &Located<'_>, path: Path) -> Option<Forward> {
    let fields = reader.mapping(item, path, FORWARD)?;
    let eip = fields.required(reader, "eip", "an IPv4 address", host_address);
    // `protocal` is the spelling that hypervisors write; `protocol` is what people would.
    let key = if fields.get("protocol").is_some() {
        "protocol"
    } else {
        "protocal"
    };
    if key == "protocol" && fields.get("protocal").is_some() {
        let message = "expected `protocal` or `protocol`, not both";
        reader.problem(Severity::Error, fields.key(key), fields.place, None, message);
    }
    let expected = "tcp or udp";
    let protocol = fields.required(reader, key, expected, |text| {
        match text.to_ascii_lowercase().as_str() {
            "tcp" => Ok(Protocol::Tcp),
            "udp" => Ok(Protocol::Udp),
            _ => Err(expected.to_owned()),
        }
    });
    let expected = "a port, 1 to 65535";
    let parse = |text: &str| number(text, &(1..=u16::MAX), expected);
    let port = fields.required(reader, "port", expected, parse);
    let end_port = fields.optional(reader, "end_port", expected, parse);
    let vm_port = fields.required(reader, "vm-port", expected, parse);
    let vm = fields.required(reader, "vm-ip", "an IPv4 address", host_address);

    let (eip, protocol, port, vm_port, vm) = (eip?, protocol?, port?, vm_port?, vm?);
    let last = end_port.as_ref().map_or(port.value, |end_port| end_port.value);
    if let Some(end_port) = end_port.filter(|end_port| end_port.value < port.value) {
        let value = Some(end_port.value.to_string());
        let message = format!("expected a port not below `port`, {}", port.value);
        reader.problem(Severity::Error, end_port.path, end_port.place, value, message);
        return None;
    }
    let ports = u32::from(last - port.value) + 1;
    if u32::from(vm_port.value) + ports - 1 > u32::from(u16::MAX) {
        let highest = u32::from(u16::MAX) + 1 - ports;
        let value = Some(vm_port.value.to_string());
        let message = format!(
            "{ports} ports from here run past 65535 on the VM: expected {highest} at most, or a shorter range"
        );
        reader.problem(Severity::Error, vm_port.path, vm_port.place, value, message);
        return None;
    }
    Some(Forward {
        eip: eip.value,
        protocol: protocol.value,
        port: port.value,
        end_port: last,
        vm: vm.value,
        vm_port: vm_port.value,
        place: fields.place,
    })
}

pub(super) fn check(
    reader: &mut Reader<'_>,
    forwards: &Entries<Forward>,
    eips: &Entries<Eip>,
    by_eip: &Addresses,
    router: &Router<'_>,
) {
    let forwarded = Addresses::new(forwards.values().iter().map(|entry| entry.eip));
    let mut shifted = 0;
    for entry in forwards.iter() {
        let forward = entry.value;
        router.check_eip(reader, &entry, forward.eip, false);
        router.check_vm(reader, &entry, forward.vm, &[by_eip, &forwarded]);
        if let Some(eip) = by_eip.first(forward.eip).and_then(|position| eips.get(position)) {
            let message = format!(
                "has no effect: {} gives every port of this address to {}",
                eip.path, eip.value.vm
            );
            let value = Some(forward.eip.to_string());
            reader.problem(
                Severity::Warning,
                format!("{}.eip", entry.path),
                entry.place,
                value,
                message,
            );
        }
        if !forward.keeps_ports() && shifted <= MOST_SHIFTED_PORTS {
            shifted += forward.ports();
            if shifted > MOST_SHIFTED_PORTS {
                let message =
                    format!("shifted ranges up to here have more than {MOST_SHIFTED_PORTS} ports in all");
                reader.problem(Severity::Error, &entry.path, entry.place, None, message);
            }
        }
    }
    check_overlaps(reader, forwards);
}

/// Sorted by where they start, a range overlaps an earlier one only if it starts before the furthest end so far.
fn check_overlaps(reader: &mut Reader<'_>, forwards: &Entries<Forward>) {
    let mut sorted: Vec<(usize, &Forward)> = forwards.values().iter().enumerate().collect();
    sorted.sort_by_key(|(_, forward)| (forward.eip, forward.protocol, forward.port));
    let mut furthest: Option<(usize, &Forward)> = None;
    for (position, forward) in sorted {
        let same =
            furthest.filter(|(_, other)| (other.eip, other.protocol) == (forward.eip, forward.protocol));
        let overlapped = same.filter(|(_, other)| other.end_port >= forward.port);
        let both = overlapped.map(|(other, _)| (other.min(position), other.max(position)));
        if let Some((Some(first), Some(second))) =
            both.map(|(first, second)| (forwards.get(first), forwards.get(second)))
        {
            let message = format!(
                "overlaps {}, which forwards {}",
                first.path,
                described(first.value)
            );
            let value = Some(described(second.value));
            reader.problem(Severity::Error, &second.path, second.place, value, message);
        }
        if same.is_none_or(|(_, other)| other.end_port < forward.end_port) {
            furthest = Some((position, forward));
        }
    }
}

fn described(forward: &Forward) -> String {
    let Forward {
        eip,
        protocol,
        port,
        end_port,
        ..
    } = forward;
    if port == end_port {
        format!("{protocol} {port} on {eip}")
    } else {
        format!("{protocol} {port}-{end_port} on {eip}")
    }
}
