//! The VPC around a router, and the probes through it.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use crate::agent::Agent;
use crate::flow::{TcpFlow, UdpFlow};
use crate::host::Host;
use crate::listener::Listener;
use crate::namespace::{Namespace, veth_line};
use crate::outcome::Outcome;
use crate::probe::{Protocol, probe, spoof};
use crate::topology::{Machines, Nic};

/// How long a lost packet is waited for. The slowest thing that still arrives is a first packet whose
/// neighbour must be asked for, some milliseconds; a SYN that was dropped is sent again after a second.
const TIMEOUT: Duration = Duration::from_millis(700);

/// The same through an emulated router on a busy machine. It costs time only where a loss is expected.
const EMULATED_TIMEOUT: Duration = Duration::from_secs(5);

/// A VPC of the design note's example, with a router whose NICs are there, down and without an address. It is
/// gone when dropped, with all its namespaces, processes and files.
#[derive(Debug)]
pub struct Vpc {
    /// The machine that kylin-vr makes a router.
    pub router: Namespace,
    /// The external network's router: 10.90.3.1, with 10.90.2.0/24 (the EIPs) on the same wire `eth0`.
    pub upstream: Namespace,
    /// The bridges between the machines; port `ext-rt` is the router's external wire.
    pub switch: Namespace,
    /// 198.51.100.10, outside, behind upstream.
    pub client: Host,
    /// 10.90.3.9, on the router's external wire, with the EIPs on the wire as well.
    pub neighbour: Host,
    /// 192.168.100.190, in subnet A.
    pub a1: Host,
    /// 192.168.100.191, in subnet A.
    pub a2: Host,
    /// 192.168.100.192, in subnet A.
    pub a3: Host,
    /// 192.168.101.10, in subnet B.
    pub b1: Host,
    /// 192.168.101.11, in subnet B.
    pub b2: Host,
    pub(crate) agent: Agent,
    timeout: Duration,
}

/// What is asked of a [`Vpc`] before it is built.
#[derive(Debug)]
pub struct Builder {
    binary: PathBuf,
    missing: Vec<Nic>,
    timeout: Duration,
}

impl Builder {
    /// Leaves a NIC out; it can be plugged later.
    pub fn without(mut self, nic: Nic) -> Builder {
        self.missing.push(nic);
        self
    }

    /// How long probes wait for a packet that does not come; 700 ms if not said.
    pub fn timeout(mut self, timeout: Duration) -> Builder {
        self.timeout = timeout;
        self
    }

    /// Builds it.
    ///
    /// # Panics
    /// If namespaces cannot be made (see [`is_root_with_netns`](crate::is_root_with_netns)).
    pub fn build(self) -> Vpc {
        let router = Namespace::new();
        let machines = Machines::new();
        let nics = Nic::ALL.iter().filter(|nic| !self.missing.contains(nic));
        let plugs: String = nics.map(|nic| nic.plug(&router, nic.name())).collect();
        machines.switch.ip_batch(&(machines.wires() + &plugs));
        machines.upstream.ip(&machines.client_wire());
        machines.upstream.set_sysctl("net/ipv4/ip_forward", "1");
        thread::scope(|scope| {
            for (namespace, lines) in machines.configurations() {
                scope.spawn(move || namespace.ip_batch(&lines));
            }
        });
        let Machines {
            switch,
            upstream,
            client,
            neighbour,
            subnet_a,
            subnet_b,
        } = machines;
        let ([a1, a2, a3], [b1, b2]) = (subnet_a, subnet_b);
        let (agent, timeout) = (Agent::new(self.binary), self.timeout);
        Vpc {
            router,
            upstream,
            switch,
            client,
            neighbour,
            a1,
            a2,
            a3,
            b1,
            b2,
            agent,
            timeout,
        }
    }
}

impl Vpc {
    /// A VPC for the `kylin-vr` binary at this path: `env!("CARGO_BIN_EXE_kylin-vr")` in a test.
    pub fn builder(binary: impl Into<PathBuf>) -> Builder {
        Builder {
            binary: binary.into(),
            missing: Vec::new(),
            timeout: TIMEOUT,
        }
    }

    /// A VPC whose router is a machine of its own ([`Machine`](crate::guest::Machine)): `router` is an empty
    /// namespace, and probes wait longer, for a router that may be emulated.
    pub fn without_router() -> Vpc {
        let all = Nic::ALL.into_iter();
        let builder = all.fold(Vpc::builder("no-agent"), Builder::without);
        builder.timeout(EMULATED_TIMEOUT).build()
    }

    /// Plugs a NIC in, as the hypervisor would: a new link appears, down.
    pub fn plug(&self, nic: Nic) {
        self.plug_as(nic, nic.name());
    }

    /// The same, with the link under another name.
    pub fn plug_as(&self, nic: Nic, name: &str) {
        self.switch.ip_batch(&nic.plug(&self.router, name));
    }

    /// A machine behind a VM, in a /24 of its own, which the VM is the router of: its link `name` has the network's last
    /// address.
    pub fn behind(&self, vm: &Host, name: &str, address: [u8; 4]) -> Host {
        let [a, b, c, _] = address;
        let gateway = [a, b, c, 254];
        let host = Host::new(name, address, gateway);
        vm.ip(&veth_line(name, "", &host.namespace, "eth0", &host.mac()));
        vm.ip(&format!("addr add {}/24 dev {name}", Ipv4Addr::from(gateway)));
        vm.ip(&format!("link set {name} up"));
        vm.set_sysctl("net/ipv4/ip_forward", "1");
        host.ip_batch(&host.configuration());
        vm.settle();
        host.settle();
        host
    }

    /// [`probe`](Vpc::probe) with more listeners than everybody of the VPC.
    pub fn probe_with(
        &self,
        more: &[&Host],
        from: &Namespace,
        protocol: Protocol,
        to: &str,
        ports: &[u16],
    ) -> Outcome {
        let (to, mut listeners) = self.prepare(to, ports);
        let mut ports = ports.to_vec();
        ports.extend(Some(to.port()).filter(|port| *port != 0));
        let more = more.iter();
        listeners.extend(more.map(|host| Listener::new(&host.name, &host.namespace, ports.iter().copied())));
        probe(from, protocol, to, &listeners, self.timeout)
    }

    /// Unplugs a NIC: the link is gone, with all that hung on it.
    pub fn unplug(&self, nic: Nic) {
        self.switch.ip(&format!("link del {}", nic.port()));
    }

    /// Everybody in the VPC and around it, the router too, each listening on these ports.
    pub fn everybody(&self, ports: &[u16]) -> Vec<Listener<'_>> {
        let Vpc {
            client,
            neighbour,
            a1,
            a2,
            a3,
            b1,
            b2,
            ..
        } = self;
        let listener = |name, namespace| Listener::new(name, namespace, ports.iter().copied());
        let hosts = [client, neighbour, a1, a2, a3, b1, b2];
        let mut all: Vec<_> = hosts.map(|host| listener(&host.name, &host.namespace)).into();
        all.extend([
            listener("upstream", &self.upstream),
            listener("router", &self.router),
        ]);
        all
    }

    /// Sends one packet and says who of [everybody](Vpc::everybody) got it, so that "a1 got it" also means
    /// that nobody else did. `to` is `10.90.2.250:22`, or an address alone for ICMP. Everybody listens on
    /// `to`'s port and on `ports`, where it may be translated to.
    ///
    /// # Panics
    /// If `to` does not read as an address.
    pub fn probe(&self, from: &Namespace, protocol: Protocol, to: &str, ports: &[u16]) -> Outcome {
        let (to, listeners) = self.prepare(to, ports);
        probe(from, protocol, to, &listeners, self.timeout)
    }

    /// Sends one UDP datagram with a false source, `192.168.101.10:4000`; see [`spoof`](fn@spoof).
    pub fn spoof(&self, from: &Namespace, source: &str, to: &str, ports: &[u16]) -> Outcome {
        let (to, listeners) = self.prepare(to, ports);
        spoof(from, socket_address(source), to, &listeners, self.timeout)
    }

    /// Opens a TCP connection as [`probe`](Vpc::probe) does, and keeps it.
    ///
    /// # Errors
    /// What became of the attempt, if words did not pass both ways.
    pub fn tcp_flow(&self, from: &Namespace, to: &str, ports: &[u16]) -> Result<TcpFlow, Outcome> {
        let (to, listeners) = self.prepare(to, ports);
        TcpFlow::open(from, to, &listeners, self.timeout)
    }

    /// The same with two UDP sockets.
    ///
    /// # Errors
    /// What became of the attempt, if no answer came.
    pub fn udp_flow(&self, from: &Namespace, to: &str, ports: &[u16]) -> Result<UdpFlow, Outcome> {
        let (to, listeners) = self.prepare(to, ports);
        UdpFlow::open(from, to, &listeners, self.timeout)
    }

    /// Who has this address, asked on the router's external wire from upstream: a MAC, `None` nobody.
    pub fn who_has(&self, address: &str) -> Option<String> {
        let address = *socket_address(address).ip();
        self.settle();
        crate::arping(&self.upstream, "eth0", address, self.timeout)
    }

    fn prepare(&self, to: &str, ports: &[u16]) -> (SocketAddrV4, Vec<Listener<'_>>) {
        self.settle();
        let to = socket_address(to);
        let mut all: Vec<u16> = ports.to_vec();
        // No port is said for ICMP; listening on port 0 would take one at random.
        all.extend(Some(to.port()).filter(|port| *port != 0));
        (to, self.everybody(&all))
    }

    /// Waits until the links of the router and the switch that are up can also send, a tenth of a second at most.
    ///
    /// The probes of the VPC do this themselves; call it before [`probe`](fn@crate::probe) and
    /// [`arping`](crate::arping) when NICs may have come up just now.
    pub fn settle(&self) {
        self.router.settle();
        self.switch.settle();
    }
}

/// Reads `10.90.2.250:22`, or `10.90.2.250` with port 0.
fn socket_address(text: &str) -> SocketAddrV4 {
    let alone = |address: Ipv4Addr| SocketAddrV4::new(address, 0);
    let read = text.parse().or_else(|_| text.parse().map(alone));
    read.unwrap_or_else(|error| panic!("{text:?} is no IPv4 address with or without a port: {error}"))
}
