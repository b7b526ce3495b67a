//! Who waits for the packet of a probe, and on which ports.

use std::net::Ipv4Addr;

use crate::namespace::Namespace;

/// A place where the packet of a probe may arrive. ICMP has no ports: there the listener sees every echo
/// request that its namespace takes for itself.
#[derive(Clone, Debug)]
pub struct Listener<'a> {
    pub(crate) name: &'a str,
    pub(crate) namespace: &'a Namespace,
    pub(crate) address: Ipv4Addr,
    pub(crate) ports: Vec<u16>,
}

impl<'a> Listener<'a> {
    /// Listens on these ports of all addresses; `name` is how outcomes call it.
    pub fn new(
        name: &'a str,
        namespace: &'a Namespace,
        ports: impl IntoIterator<Item = u16>,
    ) -> Listener<'a> {
        let mut ports: Vec<u16> = ports.into_iter().collect();
        ports.sort_unstable();
        ports.dedup();
        Listener {
            name,
            namespace,
            address: Ipv4Addr::UNSPECIFIED,
            ports,
        }
    }

    /// Listens on this address alone; it need not exist yet (`IP_FREEBIND`).
    pub fn at(mut self, address: Ipv4Addr) -> Listener<'a> {
        self.address = address;
        self
    }
}
