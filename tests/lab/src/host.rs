//! A machine of the lab with one NIC: a VM, the client outside, a neighbour on the wire.

use std::net::Ipv4Addr;
use std::ops::{Deref, RangeInclusive};

use crate::listener::Listener;
use crate::namespace::Namespace;

/// A namespace with one NIC `eth0`, one address and a default gateway. It is used as a [`Namespace`]
/// wherever one is wanted.
#[derive(Clone, Debug)]
pub struct Host {
    /// Its name in outcomes: `a1`, `client`.
    pub name: String,
    /// Where it lives.
    pub namespace: Namespace,
    /// Its address.
    pub address: Ipv4Addr,
    /// The length of its network's prefix.
    pub prefix: u8,
    /// Its default gateway; need not exist.
    pub gateway: Ipv4Addr,
}

impl Host {
    /// Makes the namespace and nothing in it: NIC and address come with [`Host::configuration`], when the wire is
    /// laid.
    pub(crate) fn new(name: &str, address: [u8; 4], gateway: [u8; 4]) -> Host {
        Host {
            name: name.to_owned(),
            namespace: Namespace::without_ipv6(),
            address: address.into(),
            prefix: 24,
            gateway: gateway.into(),
        }
    }

    /// The `ip -batch` lines that configure it once its NIC `eth0` is there.
    pub(crate) fn configuration(&self) -> String {
        let Host {
            address,
            prefix,
            gateway,
            ..
        } = self;
        format!(
            "link set lo up\naddr add {address}/{prefix} dev eth0\nlink set eth0 up\n\
             route add default via {gateway}\n"
        )
    }

    /// A MAC that tells the host: the end is the last two octets of its address.
    pub fn mac(&self) -> String {
        let [_, _, net, host] = self.address.octets();
        format!("52:54:84:aa:{net:02x}:{host:02x}")
    }

    /// The host as a listener of a probe, on this port of all its addresses.
    pub fn on(&self, port: u16) -> Listener<'_> {
        self.on_ports(port..=port)
    }

    /// The same, on all ports of a range.
    pub fn on_ports(&self, ports: RangeInclusive<u16>) -> Listener<'_> {
        Listener::new(&self.name, &self.namespace, ports)
    }
}

impl Deref for Host {
    type Target = Namespace;

    fn deref(&self) -> &Namespace {
        &self.namespace
    }
}
