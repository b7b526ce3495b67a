//! The configuration, arranged so that a packet's questions are answered at once.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::Ipv4Addr;

use super::outcome::Entry;
use super::packet::Nic;
use crate::config::{Config, Forward, Interface, Place, Protocol, StaticRoute};
use crate::model::LinkId;

/// Where the router sends what is for an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// To itself.
    Local,
    /// To everybody in a subnet.
    Broadcast,
    /// To the address itself, which is on a NIC's link.
    OnLink(Nic),
    /// To the gateway, by the external NIC.
    Gateway(Nic, Ipv4Addr),
    /// To the next hop of an entry of `route_list`, by the NIC of its subnet.
    Routed(Nic, usize),
    /// Nowhere: it is in the subnet of a NIC that is not there.
    Pending(Nic),
    /// Nowhere: it is in the network of an entry of `route_list` that is inside, and the NIC of that is not there.
    RoutePending(Nic, usize),
    /// Nowhere.
    None,
}

/// What of the VPC has an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Inside {
    /// The subnet of a NIC.
    Subnet(Nic),
    /// The network of an entry of `route_list`.
    Route(usize),
}

/// A forward that a port belongs to, or is near to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Forwarded<'c> {
    pub(super) index: usize,
    pub(super) entry: &'c Forward,
}

#[derive(Debug)]
pub(super) struct Index<'c> {
    config: &'c Config,
    /// Whether the NIC of each entry of `if_list` is there.
    present: Vec<bool>,
    external: Option<(Nic, Ipv4Addr)>,
    /// Every address of the pool, and its entry, in the order of the file.
    pool: Vec<(Ipv4Addr, usize)>,
    /// The first address of each subnet that is behind a NIC, and the entry. They do not overlap.
    subnets: BTreeMap<Ipv4Addr, Nic>,
    /// Addresses that the router answers for.
    local: BTreeSet<Ipv4Addr>,
    mapped: HashMap<Ipv4Addr, usize>,
    /// The first entry of each VM that has elastic IPs.
    eip_of: HashMap<Ipv4Addr, usize>,
    /// By address, protocol and first port; none overlap.
    forwards: BTreeMap<(Ipv4Addr, Protocol, u16), usize>,
}

impl<'c> Index<'c> {
    pub(super) fn new(config: &'c Config, nics: &BTreeSet<LinkId>) -> Self {
        let interfaces = config.interfaces();
        // An overlay is nothing without the NIC that its packets come by.
        let is_there = |one: &Interface| {
            let below = one.vxlan.as_ref().map(|vxlan| config.below(vxlan));
            let has_below = below.is_none_or(|below| below.is_some_and(|below| nics.contains(&below.link())));
            nics.contains(&one.link()) && has_below
        };
        let present: Vec<bool> = interfaces.iter().map(is_there).collect();
        let own: BTreeSet<Ipv4Addr> = interfaces.iter().map(|one| one.address.addr()).collect();
        let there = interfaces.iter().zip(&present).filter(|(_, present)| **present);
        // The router answers for every address that the file gives away, whatever NIC is there, but for its own
        // only while it has them.
        let given = config.eips().iter().map(|entry| entry.eip);
        let given = given.chain(config.forwards().iter().map(|entry| entry.eip));
        let pool: Vec<(Ipv4Addr, usize)> = (config.snat_pool().iter().enumerate())
            .flat_map(|(index, entry)| entry.addresses().map(move |address| (address, index)))
            .collect();
        let local = given
            .chain(pool.iter().map(|(address, _)| *address))
            .filter(|eip| !own.contains(eip))
            .chain(there.map(|(one, _)| one.address.addr()))
            .collect();
        let mut eip_of = HashMap::new();
        for (index, entry) in config.eips().iter().enumerate() {
            eip_of.entry(entry.vm).or_insert(index);
        }
        let external = interfaces.iter().position(|one| one.gateway.is_some());
        Self {
            config,
            present,
            external: external.and_then(|index| Some((Nic(index), interfaces[index].gateway?))),
            subnets: (interfaces.iter().enumerate())
                .map(|(index, one)| (one.address.network(), Nic(index)))
                .collect(),
            local,
            mapped: (config.eips().iter().enumerate())
                .map(|(index, entry)| (entry.eip, index))
                .collect(),
            eip_of,
            pool,
            forwards: (config.forwards().iter().enumerate())
                .map(|(index, entry)| ((entry.eip, entry.protocol, entry.port), index))
                .collect(),
        }
    }

    pub(super) fn config(&self) -> &'c Config {
        self.config
    }

    pub(super) fn interface(&self, nic: Nic) -> Option<&'c Interface> {
        self.config.interfaces().get(nic.0)
    }

    pub(super) fn is_present(&self, nic: Nic) -> bool {
        self.present.get(nic.0) == Some(&true)
    }

    pub(super) fn external(&self) -> Option<Nic> {
        self.external.map(|(nic, _)| nic)
    }

    /// The entry of `if_list` in whose subnet an address is, there or not.
    fn subnet(&self, address: Ipv4Addr) -> Option<(Nic, &'c Interface)> {
        let (_, nic) = self.subnets.range(..=address).next_back()?;
        let interface = self.interface(*nic)?;
        interface.address.contains(&address).then_some((*nic, interface))
    }

    /// What of the VPC an address is in, there or not.
    pub(super) fn inside(&self, address: Ipv4Addr) -> Option<Inside> {
        if let Some((nic, interface)) = self.subnet(address) {
            // A network that is inside has no part of the subnet outside.
            return interface.gateway.is_none().then_some(Inside::Subnet(nic));
        }
        let mut routes = self.config.routes().iter();
        let found = routes.position(|route| route.inside && route.to.contains(&address));
        found.map(Inside::Route)
    }

    /// The entry that makes an address one of the VPC's.
    pub(super) fn inside_entry(&self, inside: Inside) -> Option<Entry> {
        match inside {
            Inside::Subnet(nic) => self.interface_entry(nic),
            Inside::Route(index) => self.route_entry(index),
        }
    }

    /// The NIC that packets of an address come in by, if it is in a subnet of the VPC or behind an entry of `route_list`.
    pub(super) fn home(&self, address: Ipv4Addr) -> Option<Nic> {
        if let Some((nic, interface)) = self.subnet(address) {
            return interface.gateway.is_none().then_some(nic);
        }
        match self.routed(address)? {
            Way::Routed(nic, _) | Way::RoutePending(nic, _) => Some(nic),
            _ => None,
        }
    }

    /// The way by `route_list`: the longest prefix whose NIC is there, of several the one with the lowest metric. What is
    /// inside goes nowhere without its NIC; what is not goes by a shorter prefix, or by the gateway. `None`: no entry leads
    /// to the address.
    fn routed(&self, address: Ipv4Addr) -> Option<Way> {
        let routes = self.config.routes().iter().enumerate();
        let mut leading: Vec<(usize, &StaticRoute, Nic)> = routes
            .filter(|(_, route)| route.to.contains(&address))
            .filter_map(|(index, route)| Some((index, route, self.subnet(route.via)?.0)))
            .collect();
        leading.sort_by_key(|(_, route, _)| (u8::MAX - route.to.prefix_len(), route.metric));
        let networks = leading.chunk_by(|(_, one, _), (_, other, _)| one.to == other.to);
        for network in networks {
            let there = network.iter().find(|(_, _, nic)| self.is_present(*nic));
            if let Some((index, _, nic)) = there {
                return Some(Way::Routed(*nic, *index));
            }
            if let Some((index, _, nic)) = network.iter().find(|(_, route, _)| route.inside) {
                return Some(Way::RoutePending(*nic, *index));
            }
        }
        None
    }

    /// The way to an address.
    pub(super) fn way(&self, address: Ipv4Addr) -> Way {
        if address.is_loopback() || self.local.contains(&address) {
            return Way::Local;
        }
        if let Some((nic, interface)) = self.subnet(address) {
            let net = interface.address;
            if self.is_present(nic) {
                // In a /31 and a /32 every address is a host's (RFC 3021).
                return if net.prefix_len() < 31 && net.broadcast() == address {
                    Way::Broadcast
                } else {
                    Way::OnLink(nic)
                };
            }
            if interface.gateway.is_none() {
                return Way::Pending(nic);
            }
        }
        if let Some(way) = self.routed(address) {
            return way;
        }
        match self.external {
            Some((nic, gateway)) if self.is_present(nic) => Way::Gateway(nic, gateway),
            _ => Way::None,
        }
    }

    /// The VM that has all of an address, and the entry's number.
    pub(super) fn mapped(&self, address: Ipv4Addr) -> Option<(usize, Ipv4Addr)> {
        let index = *self.mapped.get(&address)?;
        Some((index, self.config.eips().get(index)?.vm))
    }

    /// The elastic IP that a VM has as its source, and the entry's number.
    pub(super) fn eip_of(&self, vm: Ipv4Addr) -> Option<(usize, Ipv4Addr)> {
        let index = *self.eip_of.get(&vm)?;
        Some((index, self.config.eips().get(index)?.eip))
    }

    /// The address of the pool that a VM has as its source, and the entry's number; `None`: there is no pool. The last byte
    /// of the VM's address goes round the pool.
    pub(super) fn pool_address(&self, vm: Ipv4Addr) -> Option<(usize, Ipv4Addr)> {
        let [.., byte] = vm.octets();
        let place = usize::from(byte).checked_rem(self.pool.len())?;
        let (address, index) = *self.pool.get(place)?;
        Some((index, address))
    }

    pub(super) fn pool_entry(&self, index: usize) -> Option<Entry> {
        Some(entry(
            "snat_pool",
            index,
            self.config.snat_pool().get(index)?.place,
        ))
    }

    /// The next hop of an entry of `route_list`.
    pub(super) fn next_hop(&self, index: usize) -> Option<Ipv4Addr> {
        Some(self.config.routes().get(index)?.via)
    }

    pub(super) fn route_entry(&self, index: usize) -> Option<Entry> {
        Some(entry("route_list", index, self.config.routes().get(index)?.place))
    }

    fn forwarded(&self, index: usize) -> Option<Forwarded<'c>> {
        let entry = self.config.forwards().get(index)?;
        Some(Forwarded { index, entry })
    }

    /// The forward that has a port.
    pub(super) fn forward(&self, eip: Ipv4Addr, protocol: Protocol, port: u16) -> Option<Forwarded<'c>> {
        let up_to = (eip, protocol, 0)..=(eip, protocol, port);
        let (_, index) = self.forwards.range(up_to).next_back()?;
        self.forwarded(*index).filter(|one| one.entry.end_port >= port)
    }

    /// Whether some port of an address is forwarded.
    pub(super) fn has_forwards(&self, eip: Ipv4Addr) -> bool {
        let all = (eip, Protocol::Tcp, 0)..=(eip, Protocol::Udp, u16::MAX);
        self.forwards.range(all).next().is_some()
    }

    /// The forward of an address and protocol that is nearest to a port which none has.
    pub(super) fn nearest(&self, eip: Ipv4Addr, protocol: Protocol, port: u16) -> Option<Forwarded<'c>> {
        let below = (eip, protocol, 0)..(eip, protocol, port);
        let above = (eip, protocol, port)..=(eip, protocol, u16::MAX);
        let below = self.forwards.range(below).next_back();
        let above = self.forwards.range(above).next();
        [below, above]
            .into_iter()
            .flatten()
            .filter_map(|(_, index)| self.forwarded(*index))
            .min_by_key(|one| {
                one.entry
                    .port
                    .abs_diff(port)
                    .min(one.entry.end_port.abs_diff(port))
            })
    }

    pub(super) fn interface_entry(&self, nic: Nic) -> Option<Entry> {
        Some(entry("if_list", nic.0, self.interface(nic)?.place))
    }

    pub(super) fn eip_entry(&self, index: usize) -> Option<Entry> {
        Some(entry("eip_list", index, self.config.eips().get(index)?.place))
    }
}

impl Forwarded<'_> {
    pub(super) fn entry(self) -> Entry {
        entry("port_forward_list", self.index, self.entry.place)
    }

    /// Its ports outside: `port 80`, `ports 80-82`.
    pub(super) fn ports(self) -> String {
        let Forward { port, end_port, .. } = *self.entry;
        if port == end_port {
            format!("port {port}")
        } else {
            format!("ports {port}-{end_port}")
        }
    }
}

/// An entry of a list of the file. Entries of a valid file are those of its lists, in their order.
fn entry(list: &str, index: usize, place: Place) -> Entry {
    Entry {
        path: format!("{list}[{index}]"),
        place,
    }
}
