//! How many source ports are in use of the addresses that many VMs share. Pure.
//!
//! A translated flow needs a source port that no other flow from its new address to its destination has. The kernel keeps the
//! VM's own port while that is free, and else looks for another one of the same class: above 1023 these are [`SOURCE_PORTS`].
//! It does not look at all of them: 128 in a row from a place by chance, then 64, 32, 16 and 8 from others
//! (`nf_nat_l4proto_unique_tuple`, nf_nat_core.c, since Linux 5.0). So some flows fail long before the last port is taken if
//! the taken ones lie close together, as those of one busy VM do: about one in ten when two thirds are. Their first packet is
//! dropped, a forwarded one without a word; when it is sent again, the kernel looks again. With no port left all fail.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::net::Ipv4Addr;

use crate::model::Flow;

/// The source ports of one address towards one destination, 1024 to 65535.
pub const SOURCE_PORTS: u32 = 64_512;

/// From so many ports in use on, it is time to do something: three quarters. If they lie close together, every fourth new flow
/// finds none at the first attempt then; if they are spread evenly, one in a hundred only when 98 of 100 are in use.
pub const FEW_LEFT: u32 = SOURCE_PORTS / 4 * 3;

/// A destination as the kernel tells them apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Destination {
    /// The transport protocol (`IPPROTO_*`).
    pub protocol: u8,
    /// The address, after translation.
    pub address: Ipv4Addr,
    /// The port, after translation.
    pub port: u16,
}

impl fmt::Display for Destination {
    /// `tcp 198.51.100.10:443`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            protocol,
            address,
            port,
        } = self;
        match protocol {
            6 => f.write_str("tcp")?,
            17 => f.write_str("udp")?,
            other => write!(f, "protocol {other}")?,
        }
        write!(f, " {address}:{port}")
    }
}

/// Counts the flows from certain addresses, by destination. Some 20 bytes for each destination that has one.
#[derive(Clone, Debug)]
pub struct SourcePorts {
    addresses: BTreeSet<Ipv4Addr>,
    flows: HashMap<(Ipv4Addr, Destination), u32>,
}

impl SourcePorts {
    /// Of these addresses; nothing seen yet.
    #[must_use]
    pub fn of(addresses: impl IntoIterator<Item = Ipv4Addr>) -> Self {
        Self {
            addresses: addresses.into_iter().collect(),
            flows: HashMap::new(),
        }
    }

    /// Forgets what was seen.
    pub fn clear(&mut self) {
        self.flows.clear();
    }

    /// Counts a flow. One of a protocol without ports takes none.
    pub fn see(&mut self, flow: &Flow) {
        let sent = flow.translated;
        if let Some(port) = sent.destination_port
            && self.addresses.contains(&sent.source)
        {
            let destination = Destination {
                protocol: sent.protocol,
                address: sent.destination,
                port,
            };
            *self.flows.entry((sent.source, destination)).or_default() += 1;
        }
    }

    /// Each address with the destination that most of its flows go to, and how many these are; `None`: it has none.
    #[must_use]
    pub fn busiest(&self) -> BTreeMap<Ipv4Addr, Option<(u32, Destination)>> {
        let mut busiest: BTreeMap<_, _> = self.addresses.iter().map(|address| (*address, None)).collect();
        for ((address, destination), flows) in &self.flows {
            // Of equals always the same one, whatever the order of the hash.
            let most = busiest.entry(*address).or_default();
            *most = (*most).max(Some((*flows, *destination)));
        }
        busiest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POOL: [Ipv4Addr; 2] = [Ipv4Addr::new(10, 90, 2, 240), Ipv4Addr::new(10, 90, 2, 241)];

    fn flow(source: Ipv4Addr, protocol: u8, to: u8, port: u16) -> Flow {
        let vm = (Ipv4Addr::new(192, 168, 100, 1), Some(40_000));
        let server = (Ipv4Addr::new(198, 51, 100, to), (protocol != 1).then_some(port));
        Flow::new(protocol, [vm, server], [server, (source, Some(1024))])
    }

    #[test]
    fn the_busiest_destination_of_each_address_is_found() {
        let mut ports = SourcePorts::of(POOL);
        for (address, protocol, to, port, times) in [
            (POOL[0], 6, 1, 443, 3),
            (POOL[0], 6, 1, 80, 2),
            (POOL[0], 17, 1, 443, 1),
            (POOL[0], 6, 2, 443, 2),
            // Of no port, and of nobody's that is asked for.
            (POOL[0], 1, 3, 0, 9),
            (Ipv4Addr::new(10, 90, 2, 250), 6, 1, 443, 9),
        ] {
            for _ in 0..times {
                ports.see(&flow(address, protocol, to, port));
            }
        }
        let destination = Destination {
            protocol: 6,
            address: Ipv4Addr::new(198, 51, 100, 1),
            port: 443,
        };
        let expected = [(POOL[0], Some((3, destination))), (POOL[1], None)];
        assert_eq!(ports.busiest(), expected.into());
        ports.clear();
        assert_eq!(ports.busiest(), POOL.map(|address| (address, None)).into());
    }
}
