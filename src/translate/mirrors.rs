//! Which mirrors copy a packet, by the configuration alone: what [`crate::features::mirror`] makes of it is never asked.
//!
//! A copy is made where the packet comes in, as it comes in (also of one that nobody gets in the end), and where it
//! leaves, as it leaves.

use std::net::Ipv4Addr;

use serde::Serialize;

use super::outcome::{Entry, Fate, Reason};
use super::packet::{Nic, Origin, Packet, Transport};
use crate::config::{Config, Interface, Mirror, MirrorSelect, MirrorSource, MirrorTarget};

/// A copy of a packet.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Copy {
    /// The mirror that makes it.
    pub mirror: String,
    /// Where it is made.
    pub at: CopiedAt,
    /// The NIC that the packet comes in or leaves by.
    pub nic: Nic,
    /// Where it goes: as often as there are targets.
    pub to: Vec<String>,
    /// Of so many such packets one is copied, by chance.
    pub one_in: u32,
}

/// Where a copy is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum CopiedAt {
    /// Where the packet comes in, before all translation.
    Entry,
    /// Where it leaves, after all translation.
    Exit,
}

/// The copies of a packet that meets this fate, in the order of the mirrors.
#[must_use]
pub fn copies(config: &Config, packet: &Packet, fate: &Fate) -> Vec<Copy> {
    let mut copies = Vec::new();
    let comes_in = match (packet.from, fate) {
        (_, Fate::Dropped(Reason::NoRouter | Reason::NicMissing)) | (Origin::Router, _) => None,
        (Origin::Nic(nic), _) => Some((nic, packet.source, packet.destination, packet.transport)),
    };
    let leaves = match fate {
        Fate::Delivered(one) => Some((one.nic, one.source, one.destination, one.transport)),
        Fate::Router(_) | Fate::Dropped(_) => None,
    };
    for mirror in config.mirrors() {
        for (at, crossing) in [(CopiedAt::Entry, comes_in), (CopiedAt::Exit, leaves)] {
            let Some((nic, source, destination, transport)) = crossing else {
                continue;
            };
            let (wanted, own) = match at {
                CopiedAt::Entry => (mirror.select != MirrorSelect::Dst, source),
                CopiedAt::Exit => (mirror.select != MirrorSelect::Src, destination),
            };
            let was_copied = at == CopiedAt::Exit
                && mirror.source == MirrorSource::All
                && mirror.select == MirrorSelect::Both
                && is_from_another_subnet(config, nic, source);
            let is_copy = at == CopiedAt::Exit
                && transport == Transport::Other(47)
                && config
                    .mirrors()
                    .iter()
                    .flat_map(|mirror| mirror.to.iter())
                    .any(|target| target.remote() == Some(destination));
            if wanted
                && !was_copied
                && !is_copy
                && is_at(config, mirror, nic, own)
                && matches(mirror, source, destination, transport)
            {
                copies.push(Copy {
                    mirror: mirror.name.to_string(),
                    at,
                    nic,
                    to: mirror.to.iter().map(MirrorTarget::to_string).collect(),
                    one_in: mirror.sample,
                });
            }
        }
    }
    copies
}

/// Whether a mirror looks at packets of this address at this NIC.
fn is_at(config: &Config, mirror: &Mirror, nic: Nic, own: Ipv4Addr) -> bool {
    let Some(interface) = config.interfaces().get(nic.0) else {
        return false;
    };
    let is_inside = interface.gateway.is_none();
    match mirror.source {
        MirrorSource::Mac(mac) => interface.vxlan.is_none() && interface.mac == mac,
        MirrorSource::All => is_inside,
        MirrorSource::VmIp(vm) => is_inside && vm == own && leads_to(config, interface, vm),
        MirrorSource::Subnet(net) => {
            is_inside && net.contains(&own) && leads_to(config, interface, net.network())
        }
    }
}

/// Whether an address is behind this NIC: in its subnet, or in the longest network of a route by a next hop there.
fn leads_to(config: &Config, interface: &Interface, address: Ipv4Addr) -> bool {
    if let Some((_, on_link)) = config.subnet_of(address) {
        return on_link == interface;
    }
    let routes = config.routes().iter().filter(|route| route.to.contains(&address));
    let longest = routes.max_by_key(|route| route.to.prefix_len());
    longest.is_some_and(|route| interface.address.contains(&route.via))
}

/// Whether a packet that leaves by a NIC came from the VPC, by another one of a subnet.
fn is_from_another_subnet(config: &Config, nic: Nic, source: Ipv4Addr) -> bool {
    let Some(interface) = config.interfaces().get(nic.0) else {
        return false;
    };
    let by_another = |one: &Interface| one != interface && leads_to(config, one, source);
    config.inside().any(|net| net.contains(&source)) && config.internal().any(by_another)
}

fn matches(mirror: &Mirror, source: Ipv4Addr, destination: Ipv4Addr, transport: Transport) -> bool {
    let number = match transport {
        Transport::Tcp(_) => 6,
        Transport::Udp(_) => 17,
        Transport::Echo => 1,
        Transport::Other(number) => number,
    };
    let filter = mirror.filter;
    filter.protocol.is_none_or(|protocol| protocol as u8 == number)
        && filter
            .cidr
            .is_none_or(|net| net.contains(&source) || net.contains(&destination))
        && filter.port.is_none_or(|port| {
            let ports = transport.ports().map(|(_, ports)| ports);
            ports.is_some_and(|ports| ports.source == port || ports.destination == port)
        })
}

impl Copy {
    /// The entry of the mirror.
    #[must_use]
    pub fn entry(&self, config: &Config) -> Option<Entry> {
        let mut mirrors = config.mirrors().iter().enumerate();
        let (index, mirror) = mirrors.find(|(_, one)| *one.name == *self.mirror)?;
        Some(Entry {
            path: format!("mirror_list[{index}]"),
            place: mirror.place,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::super::{Arguments, Model};
    use super::*;

    const ROUTER: &str = "
if_list:
  - {ipaddr: 10.90.3.37, prefix: 24, mac: '52:54:84:00:08:45', gateway: 10.90.3.1}
  - {ipaddr: 192.168.100.254, prefix: 24, mac: '52:54:84:11:00:03'}
  - {ipaddr: 192.168.101.254, prefix: 24, mac: '52:54:84:11:00:04'}
eip_list: [{eip: 10.90.2.250, vm-ip: 192.168.100.190}]
mirror_list:
";

    fn told(mirror: &str, words: &str) -> Vec<(CopiedAt, usize)> {
        let to = "to: [{nic: {mac: '52:54:84:22:00:01'}}]";
        let text = format!("{ROUTER}  - {{name: a, {mirror}, {to}}}\n");
        let parsed = Config::parse(text.as_bytes());
        let config = parsed.config.unwrap_or_else(|| panic!("{:?}", parsed.problems));
        let nics: BTreeSet<_> = config
            .interfaces()
            .iter()
            .map(crate::config::Interface::link)
            .collect();
        let model = Model::new(&config, &nics);
        let words: Vec<&str> = words.split(' ').collect();
        let arguments = Arguments {
            from: words[0],
            to: words[1],
            protocol: words[2],
            port: words.get(3).copied(),
        };
        let packet = model.packet(&arguments).unwrap();
        let outcome = model.translate(&packet);
        let copies = copies(&config, &packet, &outcome.fate);
        copies.iter().map(|copy| (copy.at, copy.nic.0)).collect()
    }

    #[test]
    fn a_copy_is_made_where_a_packet_comes_in_and_where_it_leaves() {
        use CopiedAt::{Entry, Exit};
        let to_eip = "198.51.100.10 10.90.2.250 tcp 443";
        let between = "192.168.101.10 192.168.100.190 tcp 80";
        for (mirror, words, expected) in [
            ("source: {vm-ip: 192.168.100.190}", to_eip, &[(Exit, 1)][..]),
            ("source: {vm-ip: 192.168.100.190}, select: src", to_eip, &[]),
            ("source: {mac: '52:54:84:00:08:45'}", to_eip, &[(Entry, 0)]),
            ("source: {subnet: 192.168.101.0/24}", to_eip, &[]),
            (
                "source: {vm-ip: 192.168.100.190}, filter: {protocol: tcp, port: 443}",
                to_eip,
                &[(Exit, 1)],
            ),
            (
                "source: {vm-ip: 192.168.100.190}, filter: {protocol: udp}",
                to_eip,
                &[],
            ),
            ("source: {all: true}", between, &[(Entry, 2)]),
            ("source: {all: true}, select: dst", between, &[(Exit, 1)]),
            // What the router itself says came in nowhere.
            (
                "source: {all: true}",
                "192.168.101.254 192.168.101.10 tcp 80",
                &[(Exit, 2)],
            ),
            ("source: {subnet: 192.168.100.128/25}", between, &[(Exit, 1)]),
            (
                "source: {all: true}",
                "192.168.100.190 198.51.100.10 tcp 80",
                &[(Entry, 1)],
            ),
            // What nobody gets is copied where it came in.
            (
                "source: {all: true}",
                "192.168.100.190 224.0.0.9 udp 520",
                &[(Entry, 1)],
            ),
        ] {
            assert_eq!(told(mirror, words), expected, "{mirror}: {words}");
        }
    }
}
