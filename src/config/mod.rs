//! The file: YAML text to [`Config`]. Pure, and the only user of the YAML crate.
//!
//! A [`Config`] is accepted whole or not at all; an invalid one cannot be built. Every problem of a file is
//! told at once, each with its path, line and column, the value, and what was expected.

mod check;
mod dhcp;
pub mod edit;
mod entries;
mod fields;
mod forwards;
mod mirror;
mod mirrors;
mod node;
mod overlay;
mod plain;
mod problem;
mod router;
mod routes;
pub mod schema;
mod settings;
mod snat;
#[cfg(test)]
mod tests;
mod vms;

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::Arc;

use ipnet::Ipv4Net;
use serde::Serialize;

use crate::model::{Conntrack, ConntrackMax, LinkId, MacAddr, OwnName};

use check::Lists;
pub use dhcp::{Dhcp, Lease};
use fields::Reader;
pub(crate) use fields::number;
pub use mirror::{
    Filter as MirrorFilter, FilterProtocol as MirrorProtocol, Mirror, Select as MirrorSelect,
    Source as MirrorSource, Target as MirrorTarget,
};
pub(crate) use problem::shown;
pub use problem::{Place, Problem, Severity};
pub use settings::{FastPathMode, Generation, MOST_COUNTED};

/// The most bytes that a file may have: 65,000 elastic IPs take less than half of it.
pub const MAX_BYTES: usize = 8 << 20;

/// A valid configuration; the default is that of an empty file, a router with nothing to do.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Config {
    interfaces: Vec<Interface>,
    eips: Vec<Eip>,
    forwards: Vec<Forward>,
    snat_pool: Vec<SnatPool>,
    routes: Vec<StaticRoute>,
    mirrors: Vec<Mirror>,
    ipv6: bool,
    conntrack: Conntrack,
    /// These two are by the number of entries where the file does not say.
    counters: Option<bool>,
    drop_invalid: Option<bool>,
    conntrack_max: ConntrackMax,
    fast_path: FastPathMode,
    generation: Option<Generation>,
}

/// An entry of `if_list`: a NIC or an overlay subnet, and the router's address there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Interface {
    /// The router's address on it, with its subnet's prefix.
    pub address: Ipv4Net,
    /// The NIC's hardware address; of an overlay, that which its VMs see.
    pub mac: MacAddr,
    /// The overlay that it is; `None`: it is a NIC.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vxlan: Option<Vxlan>,
    /// The next hop to everywhere; the interface that has one is the external one.
    pub gateway: Option<Ipv4Addr>,
    /// The VMs of its subnet that are known. Shared: there may be thousands.
    #[serde(rename = "vm_list", skip_serializing_if = "is_empty")]
    pub vms: Arc<[Vm]>,
    /// What its VMs are told by DHCP; `None`: nobody is answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dhcp: Option<Box<Dhcp>>,
    /// Where the entry stands.
    pub place: Place,
}

impl Interface {
    /// The link that it is: what a desired state calls it.
    #[must_use]
    pub fn link(&self) -> LinkId {
        match &self.vxlan {
            Some(vxlan) => LinkId::Own(vxlan.link_name()),
            None => LinkId::Mac(self.mac),
        }
    }
}

/// An interface's `vxlan`: a subnet that arrives in packets to the router (RFC 7348).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Vxlan {
    /// The subnet's number, 24 bits, not zero.
    pub vni: u32,
    /// The router's address that hypervisors send to; `None`: its external one.
    pub local: Option<Ipv4Addr>,
    /// The hypervisors that get broadcast, and what is for no VM that is listed; empty: nobody does.
    pub peers: Vec<Ipv4Addr>,
    /// The UDP port, there and here.
    pub port: u16,
    /// The router's hardware address in the subnet.
    #[serde(rename = "gateway-mac")]
    pub mac: MacAddr,
}

impl Vxlan {
    /// One with this number and else what the file need not say, and no peers; `None`: that is no overlay's number.
    #[must_use]
    pub fn with_defaults(vni: u32) -> Option<Self> {
        (1..=overlay::HIGHEST_VNI).contains(&vni).then_some(())?;
        Some(Self {
            vni,
            local: None,
            peers: Vec::new(),
            port: overlay::PORT,
            mac: MacAddr::from_octets(overlay::GATEWAY_MAC).ok()?,
        })
    }

    /// The name of its link.
    #[must_use]
    pub fn link_name(&self) -> OwnName {
        // 24 bits have eight digits at most: the name always fits.
        OwnName::new(&format!("kvr-vx{}", self.vni))
            .unwrap_or_else(|| OwnName::of('v', &self.vni.to_be_bytes()))
    }
}

fn is_empty(vms: &Arc<[Vm]>) -> bool {
    vms.is_empty()
}

/// An entry of an interface's `vm_list`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Vm {
    /// The VM's own address, in the interface's subnet.
    #[serde(rename = "vm-ip")]
    pub address: Ipv4Addr,
    /// Its hardware address, which no other has.
    pub mac: MacAddr,
    /// The hypervisor that it is on, by that one's own address; `None`: it does not matter.
    pub host: Option<Ipv4Addr>,
    /// What it is called: one label of a host's name; `None`: nothing.
    pub name: Option<Box<str>>,
    /// Where the entry stands.
    pub place: Place,
}

/// An entry of `eip_list`: an external address that is one VM's, in both directions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Eip {
    /// The address outside.
    pub eip: Ipv4Addr,
    /// The VM's own address.
    #[serde(rename = "vm-ip")]
    pub vm: Ipv4Addr,
    /// Where the entry stands.
    pub place: Place,
}

/// A transport protocol that has ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// TCP.
    Tcp = 6,
    /// UDP.
    Udp = 17,
}

impl std::fmt::Display for Protocol {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        })
    }
}

/// An entry of `port_forward_list`: ports of an external address that are a VM's, port by port.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Forward {
    /// The address outside.
    pub eip: Ipv4Addr,
    /// The protocol.
    pub protocol: Protocol,
    /// The first port outside.
    pub port: u16,
    /// The last port outside; not below `port`.
    pub end_port: u16,
    /// The VM's own address.
    #[serde(rename = "vm-ip")]
    pub vm: Ipv4Addr,
    /// The first port on the VM; the last one is not above 65535.
    #[serde(rename = "vm-port")]
    pub vm_port: u16,
    /// Where the entry stands.
    pub place: Place,
}

impl Forward {
    /// How many ports it has.
    #[must_use]
    pub fn ports(&self) -> u32 {
        u32::from(self.end_port) - u32::from(self.port) + 1
    }

    /// Whether the VM's ports are those outside.
    #[must_use]
    pub fn keeps_ports(&self) -> bool {
        self.port == self.vm_port
    }

    /// The last port on the VM.
    #[must_use]
    pub fn vm_end_port(&self) -> u16 {
        self.vm_port + (self.end_port - self.port)
    }
}

/// An entry of `snat_pool`: addresses that VMs without an elastic IP are seen as outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct SnatPool {
    /// The first address.
    pub first: Ipv4Addr,
    /// The last one; not below the first.
    pub last: Ipv4Addr,
    /// Where the entry stands.
    pub place: Place,
}

impl SnatPool {
    /// Its addresses, in order.
    pub fn addresses(&self) -> impl Iterator<Item = Ipv4Addr> + use<> {
        (u32::from(self.first)..=u32::from(self.last)).map(Ipv4Addr::from)
    }
}

/// An entry of `route_list`: a network that another router of a configured subnet leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct StaticRoute {
    /// The network, without host bits.
    pub to: Ipv4Net,
    /// The next hop, in the subnet of an interface.
    pub via: Ipv4Addr,
    /// Lower wins.
    pub metric: u32,
    /// Whether the network counts as one of the VPC: what goes there keeps its source, what comes from there is translated as
    /// a VM's.
    pub inside: bool,
    /// Where the entry stands.
    pub place: Place,
}

/// What a text is worth.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parsed {
    /// The configuration, if there is no error.
    pub config: Option<Config>,
    /// Errors and warnings, in the order of the file.
    pub problems: Vec<Problem>,
}

impl Parsed {
    /// What was read is a configuration only if no problem is an error.
    fn new(config: Option<Config>, reader: Reader<'_>) -> Self {
        let problems = reader.into_problems();
        let valid = !problems.iter().any(|problem| problem.severity == Severity::Error);
        Self {
            config: config.filter(|_| valid),
            problems,
        }
    }
}

impl Config {
    /// Reads and checks a file's text. An empty one is valid.
    #[must_use]
    pub fn parse(text: &[u8]) -> Parsed {
        let short = Self::short_way(text);
        #[cfg(fuzzing)]
        if let Some(short) = &short {
            assert_eq!(short, &Self::long_way(text), "both ways give the same");
        }
        short.unwrap_or_else(|| Self::long_way(text))
    }

    /// Entries are read as they come, and the tree of the whole list is never there; `None`: something is unusual or wrong.
    fn short_way(text: &[u8]) -> Option<Parsed> {
        let mut reader = Reader::new(text);
        let mut lists = Lists::default();
        let root = node::read_plain(text, &mut |list, item| {
            (!lists.push(&mut reader, list, &item)).then_some(item)
        })?;
        let config = check::check(&mut reader, &root, lists);
        let parsed = Parsed::new(Some(config), reader);
        parsed.config.is_some().then_some(parsed)
    }

    fn long_way(text: &[u8]) -> Parsed {
        let mut reader = Reader::new(text);
        let root = node::read(text, &mut reader.problems);
        let config = root.map(|root| check::check(&mut reader, &root, Lists::default()));
        Parsed::new(config, reader)
    }

    /// The entries of `if_list`.
    #[must_use]
    pub fn interfaces(&self) -> &[Interface] {
        &self.interfaces
    }

    /// The entries of `eip_list`.
    #[must_use]
    pub fn eips(&self) -> &[Eip] {
        &self.eips
    }

    /// The entries of `port_forward_list`.
    #[must_use]
    pub fn forwards(&self) -> &[Forward] {
        &self.forwards
    }

    /// The entries of `snat_pool`; empty: VMs without an elastic IP are seen as the router's external address.
    #[must_use]
    pub fn snat_pool(&self) -> &[SnatPool] {
        &self.snat_pool
    }

    /// The entries of `route_list`.
    #[must_use]
    pub fn routes(&self) -> &[StaticRoute] {
        &self.routes
    }

    /// The entries of `mirror_list`.
    #[must_use]
    pub fn mirrors(&self) -> &[Mirror] {
        &self.mirrors
    }

    /// The interface by which the router sends what is for a network, as a whole; `None`: by none.
    #[must_use]
    pub fn way_to(&self, network: impl Into<Ipv4Net>) -> Option<&Interface> {
        let network = network.into();
        let on_link = self
            .interfaces
            .iter()
            .find(|one| one.address.trunc().contains(&network));
        let routes = self.routes.iter().filter(|route| route.to.contains(&network));
        let longest = routes.max_by_key(|route| route.to.prefix_len());
        on_link
            .or_else(|| {
                longest
                    .and_then(|route| self.subnet_of(route.via))
                    .map(|(_, one)| one)
            })
            .or_else(|| self.external())
    }

    /// The interface in whose subnet an address is, and its place in `if_list`.
    #[must_use]
    pub fn subnet_of(&self, address: Ipv4Addr) -> Option<(usize, &Interface)> {
        let mut interfaces = self.interfaces.iter().enumerate();
        interfaces.find(|(_, one)| one.address.contains(&address))
    }

    /// What the VMs of `vm_list` are called that have a name, by their addresses.
    #[must_use]
    pub fn vm_names(&self) -> BTreeMap<Ipv4Addr, &str> {
        let vms = self.interfaces.iter().flat_map(|interface| interface.vms.iter());
        vms.filter_map(|vm| Some((vm.address, vm.name.as_deref()?)))
            .collect()
    }

    /// The same without elastic IPs and forwards: a router that translates nothing but what masquerading does.
    #[must_use]
    pub fn without_entries(&self) -> Self {
        Self {
            interfaces: self.interfaces.clone(),
            snat_pool: self.snat_pool.clone(),
            routes: self.routes.clone(),
            mirrors: self.mirrors.clone(),
            eips: Vec::new(),
            forwards: Vec::new(),
            ..*self
        }
    }

    /// Whether there is nothing to do.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.interfaces.is_empty()
            && self.eips.is_empty()
            && self.forwards.is_empty()
            && self.snat_pool.is_empty()
            && self.routes.is_empty()
    }

    /// The interface that faces outside.
    #[must_use]
    pub fn external(&self) -> Option<&Interface> {
        self.interfaces
            .iter()
            .find(|interface| interface.gateway.is_some())
    }

    /// The NIC that the packets of an overlay come to and leave by, by its address; `None`: there is none, which no valid
    /// file says.
    #[must_use]
    pub fn below(&self, overlay: &Vxlan) -> Option<&Interface> {
        match overlay.local {
            None => self.external(),
            Some(local) => {
                (self.interfaces.iter()).find(|one| one.vxlan.is_none() && one.address.addr() == local)
            }
        }
    }

    /// What VMs without an elastic IP are seen as outside: the addresses of the pool, or the router's external one. Empty:
    /// nothing is masqueraded.
    #[must_use]
    pub fn masquerade(&self) -> Vec<Ipv4Addr> {
        let pool: Vec<_> = self.snat_pool.iter().flat_map(SnatPool::addresses).collect();
        if !pool.is_empty() {
            return pool;
        }
        let external = self.external().map(|external| external.address.addr());
        external.into_iter().collect()
    }

    /// The interfaces that are gateways of VPC subnets.
    pub fn internal(&self) -> impl Iterator<Item = &Interface> {
        self.interfaces
            .iter()
            .filter(|interface| interface.gateway.is_none())
    }

    /// What counts as the VPC's own: its subnets, and the networks of routes that are `inside`, which may have others among
    /// these within them.
    pub fn inside(&self) -> impl Iterator<Item = Ipv4Net> {
        let subnets = self.internal().map(|interface| interface.address.trunc());
        subnets.chain(
            self.routes
                .iter()
                .filter(|route| route.inside)
                .map(|route| route.to),
        )
    }
}
