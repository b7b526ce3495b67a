//! Who is where: the standard VPC, as addresses and as the `ip` lines that lay its wires.
//!
//! ```text
//!                        client 198.51.100.10
//!                          |
//!    neighbour 10.90.3.9  upstream 198.51.100.1
//!              |           | 10.90.3.1, 10.90.2.0/24 on the wire
//!   ===========+===========+=============== ext
//!                          | wan7
//!                        router                      (its addresses are kylin-vr's work)
//!                     lan3 |  | lan4
//!   ==+=====+=====+========+  +==========+=====+==
//!    a1    a2    a3     net-a   net-b    b1    b2
//! ```
//!
//! `ext`, `net-a` and `net-b` are bridges in the `switch` namespace.

use crate::host::Host;
use crate::namespace::{Namespace, veth_line};

/// A NIC of the router. The names are deliberately not `eth0`, `eth1`: nothing may depend on them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Nic {
    /// `wan7`, on the external wire.
    External,
    /// `lan3`, in subnet A, 192.168.100.0/24.
    SubnetA,
    /// `lan4`, in subnet B, 192.168.101.0/24.
    SubnetB,
}

impl Nic {
    /// All of them.
    pub const ALL: [Nic; 3] = [Nic::External, Nic::SubnetA, Nic::SubnetB];

    /// The name that the lab gives it.
    pub fn name(self) -> &'static str {
        match self {
            Nic::External => "wan7",
            Nic::SubnetA => "lan3",
            Nic::SubnetB => "lan4",
        }
    }

    /// Its MAC; the first two are those of the design note's example.
    pub fn mac(self) -> &'static str {
        match self {
            Nic::External => "52:54:84:00:08:45",
            Nic::SubnetA => "52:54:84:11:00:03",
            Nic::SubnetB => "52:54:84:11:00:04",
        }
    }

    /// Its bridge in the switch; the port in it is called after the bridge.
    pub(crate) fn bridge(self) -> &'static str {
        match self {
            Nic::External => "ext",
            Nic::SubnetA => "net-a",
            Nic::SubnetB => "net-b",
        }
    }

    /// The switch's port for it.
    pub(crate) fn port(self) -> String {
        format!("{}-rt", self.bridge())
    }

    /// The lines, run in the switch, that make the NIC appear in the router, down and without an address.
    pub(crate) fn plug(self, router: &Namespace, name: &str) -> String {
        wire(&self.port(), self.bridge(), router, name, self.mac())
    }
}

/// The machines that are not the router.
pub(crate) struct Machines {
    pub(crate) switch: Namespace,
    pub(crate) upstream: Namespace,
    pub(crate) client: Host,
    pub(crate) neighbour: Host,
    /// a1, a2, a3.
    pub(crate) subnet_a: [Host; 3],
    /// b1, b2.
    pub(crate) subnet_b: [Host; 2],
}

impl Machines {
    /// Makes the namespaces, nothing in them.
    pub(crate) fn new() -> Machines {
        let (gateway_a, gateway_b) = ([192, 168, 100, 254], [192, 168, 101, 254]);
        let a = |name, last| Host::new(name, [192, 168, 100, last], gateway_a);
        let b = |name, last| Host::new(name, [192, 168, 101, last], gateway_b);
        Machines {
            switch: Namespace::without_ipv6(),
            upstream: Namespace::without_ipv6(),
            client: Host::new("client", [198, 51, 100, 10], [198, 51, 100, 1]),
            neighbour: Host::new("neighbour", [10, 90, 3, 9], [10, 90, 3, 1]),
            subnet_a: [a("a1", 190), a("a2", 191), a("a3", 192)],
            subnet_b: [b("b1", 10), b("b2", 11)],
        }
    }

    /// The switch with everybody but the router on it, for one `ip -batch`.
    pub(crate) fn wires(&self) -> String {
        // Without multicast snooping: a bridge that asks who listens sends frames of its own.
        let mut lines: String = Nic::ALL
            .iter()
            .map(|nic| {
                format!(
                    "link add {0} type bridge mcast_snooping 0\nlink set {0} up\n",
                    nic.bridge()
                )
            })
            .collect();
        lines += &wire("ext-up", "ext", &self.upstream, "eth0", "52:54:84:aa:03:01");
        let neighbour = ("ext", std::slice::from_ref(&self.neighbour));
        for (bridge, hosts) in [neighbour, ("net-a", &self.subnet_a), ("net-b", &self.subnet_b)] {
            for host in hosts {
                lines += &wire(&host.name, bridge, &host.namespace, "eth0", &host.mac());
            }
        }
        lines
    }

    /// What each machine runs in itself once the wires are there.
    pub(crate) fn configurations(&self) -> Vec<(&Namespace, String)> {
        let upstream = "link set lo up\naddr add 10.90.3.1/24 dev eth0\nlink set eth0 up\n\
                        route add 10.90.2.0/24 dev eth0\n\
                        addr add 198.51.100.1/24 dev client\nlink set client up\n";
        let on_the_wire = "route add 10.90.2.0/24 dev eth0\n";
        let hosts = self.subnet_a.iter().chain(&self.subnet_b).chain([&self.client]);
        let mut all: Vec<_> = hosts
            .map(|host| (&host.namespace, host.configuration()))
            .collect();
        all.push((
            &self.neighbour.namespace,
            self.neighbour.configuration() + on_the_wire,
        ));
        all.push((&self.upstream, upstream.to_owned()));
        all
    }

    /// The wire between upstream and the client, run in upstream.
    pub(crate) fn client_wire(&self) -> String {
        veth_line("client", "", &self.client.namespace, "eth0", &self.client.mac())
    }
}

/// The lines that lay a wire from a port of a bridge to a NIC elsewhere, the port up.
fn wire(port: &str, bridge: &str, other: &Namespace, name: &str, mac: &str) -> String {
    format!(
        "{}\nlink set {port} master {bridge} up\n",
        veth_line(port, "", other, name, mac)
    )
}
