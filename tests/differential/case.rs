//! A configuration, the NICs that are there, and packets; and its text, which is a configuration file.
//!
//! ```text
//! # nics: 0 2
//! # packet: wire 0 tcp 198.51.100.10:4000 10.90.2.250:22
//! if_list: ...
//! ```

use std::collections::BTreeSet;
use std::fmt;
use std::net::Ipv4Addr;

use kylin_vr::config::{Config, Interface};
use kylin_vr::model::{LinkId, MacAddr};
use kylin_vr::translate::{Nic, Origin, Packet, Ports, Transport};
use lab::{Overlay, Rig, Side};

use crate::file::File;

/// A packet that is to be sent. A source of 0.0.0.0: the router's own choice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Probe {
    pub side: Side,
    pub source: Ipv4Addr,
    pub destination: Ipv4Addr,
    pub transport: Transport,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Case {
    pub file: File,
    /// The slots whose NIC is there.
    pub slots: Vec<u8>,
    pub probes: Vec<Probe>,
}

impl Case {
    /// The links that are there.
    pub fn nics(&self) -> BTreeSet<LinkId> {
        let config = self.file.config();
        let overlays = config.interfaces().iter().filter(|one| one.vxlan.is_some());
        let nics = self.slots.iter().map(|slot| LinkId::Mac(mac(*slot)));
        nics.chain(overlays.map(Interface::link)).collect()
    }
}

/// The overlay subnets of a file.
pub fn overlays(config: &Config) -> Vec<Overlay> {
    let overlay = |one: &Interface| {
        let vxlan = one.vxlan.as_ref()?;
        let below = config.below(vxlan)?;
        Some(Overlay {
            slot: slot_of(one.mac)?,
            below: slot_of(below.mac)?,
            vni: vxlan.vni,
            local: below.address.addr(),
        })
    };
    config.interfaces().iter().filter_map(overlay).collect()
}

/// Whether packets can come in at a slot: its NIC is there, or that which its overlay is over.
pub fn is_there(config: &Config, slots: &[u8], slot: u8) -> bool {
    let mut below = overlays(config).into_iter().filter(|one| one.slot == slot);
    slots.contains(&slot) || below.any(|one| slots.contains(&one.below))
}

fn slot_of(mac: MacAddr) -> Option<u8> {
    u8::from_str_radix(mac.to_string().rsplit(':').next()?, 16).ok()
}

pub fn mac(slot: u8) -> MacAddr {
    Rig::mac(slot).parse().expect("the rig's MACs are MACs")
}

/// The entry of the file for the NIC in a slot; `None`: the file does not name it.
pub fn nic(config: &Config, slot: u8) -> Option<Nic> {
    config
        .interfaces()
        .iter()
        .position(|one| one.mac == mac(slot))
        .map(Nic)
}

/// The slot of an entry's NIC.
pub fn slot(config: &Config, nic: Nic) -> Option<u8> {
    slot_of(config.interfaces().get(nic.0)?.mac)
}

impl Probe {
    /// The model's packet; `None`: it comes in by a NIC that the file does not name, or that is not there, or the
    /// machine is no router at all.
    pub fn packet(&self, config: &Config, slots: &[u8]) -> Option<Packet> {
        if config.is_empty() {
            return None;
        }
        let from = match self.side {
            Side::Router => Origin::Router,
            Side::Wire(slot) if is_there(config, slots, slot) => Origin::Nic(nic(config, slot)?),
            Side::Wire(_) => return None,
        };
        Some(Packet {
            from,
            source: self.source,
            destination: self.destination,
            transport: self.transport,
        })
    }
}

impl fmt::Display for Probe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.side {
            Side::Wire(slot) => write!(f, "wire {slot} ")?,
            Side::Router => f.write_str("router - ")?,
        }
        let Self {
            source, destination, ..
        } = self;
        match self.transport {
            Transport::Tcp(ports) => write!(
                f,
                "tcp {source}:{} {destination}:{}",
                ports.source, ports.destination
            ),
            Transport::Udp(ports) => write!(
                f,
                "udp {source}:{} {destination}:{}",
                ports.source, ports.destination
            ),
            Transport::Echo => write!(f, "icmp {source}:0 {destination}:0"),
            Transport::Other(number) => write!(f, "{number} {source}:0 {destination}:0"),
        }
    }
}

impl std::str::FromStr for Probe {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is no packet");
        let [side, number, protocol, source, destination] =
            <[&str; 5]>::try_from(text.split_whitespace().collect::<Vec<_>>()).map_err(|_| wrong())?;
        let end = |text: &str| -> Option<(Ipv4Addr, u16)> {
            let (address, port) = text.split_once(':')?;
            Some((address.parse().ok()?, port.parse().ok()?))
        };
        let ((source, from), (destination, to)) = end(source).zip(end(destination)).ok_or_else(wrong)?;
        let ports = Ports {
            source: from,
            destination: to,
        };
        Ok(Self {
            side: match side {
                "router" => Side::Router,
                _ => Side::Wire(number.parse().map_err(|_| wrong())?),
            },
            source,
            destination,
            transport: match protocol {
                "tcp" => Transport::Tcp(ports),
                "udp" => Transport::Udp(ports),
                "icmp" => Transport::Echo,
                number => Transport::Other(number.parse().map_err(|_| wrong())?),
            },
        })
    }
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let slots: Vec<String> = self.slots.iter().map(u8::to_string).collect();
        writeln!(f, "# nics: {}", slots.join(" "))?;
        for probe in &self.probes {
            writeln!(f, "# packet: {probe}")?;
        }
        write!(f, "{}", self.file)
    }
}

impl std::str::FromStr for Case {
    type Err = String;

    /// Reads what is written, with comments of other kinds in between.
    fn from_str(text: &str) -> Result<Self, String> {
        let mut case = Self::default();
        let mut list = None;
        for line in text.lines() {
            if let Some(slots) = line.strip_prefix("# nics:") {
                let slots: Result<_, _> = slots.split_whitespace().map(str::parse).collect();
                case.slots = slots.map_err(|error| format!("{line}: {error}"))?;
            } else if let Some(probe) = line.strip_prefix("# packet:") {
                case.probes.push(probe.parse()?);
            } else if let Some(entry) = line.trim().strip_prefix("- {") {
                let entry = entry
                    .strip_suffix('}')
                    .ok_or_else(|| format!("{line}: no entry"))?;
                match list {
                    Some("if_list") => &mut case.file.interfaces,
                    Some("eip_list") => &mut case.file.eips,
                    Some("port_forward_list") => &mut case.file.forwards,
                    Some("route_list") => &mut case.file.routes,
                    Some("mirror_list") => &mut case.file.mirrors,
                    _ => return Err(format!("{line}: of which list?")),
                }
                .push(entry.to_owned());
            } else if let (Some("snat_pool"), Some(entry)) = (list, line.strip_prefix("  - ")) {
                case.file.pool.push(entry.to_owned());
            } else if line == "ipv6: true" {
                case.file.ipv6 = true;
            } else if line == "counters: false" {
                case.file.uncounted = true;
            } else if !line.starts_with('#') {
                list = line.split(':').next();
            }
        }
        Ok(case)
    }
}
