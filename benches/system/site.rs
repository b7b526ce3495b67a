//! A router between a client and a sink, each a namespace, and the numbered entries that all ways are given.
//!
//! Entry `n` is an elastic IP and its VM, the same distance from the beginning of two networks, so that one constant
//! rule (a prefix to a prefix) can translate to the very same VMs.

use std::net::{Ipv4Addr, SocketAddrV4};

use lab::Namespace;

/// The router's link to outside, and its hardware address.
pub const WAN: &str = "wan0";
pub const WAN_MAC: &str = "52:54:84:00:08:45";
/// The router's link to the VMs.
pub const LAN: &str = "lan0";
pub const LAN_MAC: &str = "52:54:84:11:00:03";
/// Whatever is on the other side of the links.
pub const FAR_MAC: &str = "02:00:00:00:00:02";
/// The router's addresses.
pub const WAN_ADDRESS: &str = "10.90.3.37";
pub const LAN_ADDRESS: &str = "192.168.255.254";
pub const GATEWAY: &str = "10.90.3.1";
/// Another router among the VMs.
const NEXT_HOP: &str = "192.168.255.253";
/// The networks of the entries.
pub const EIPS: &str = "10.91.0.0/16";
pub const VMS: &str = "192.168.0.0/16";
/// What frames are sent to, of all 65,536 ports.
pub const PORT: u16 = 9;
/// The address whose ports 5000 to 64999 are forwarded.
pub const RANGE: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(10, 92, 200, 1), 5_000);
/// How many of its ports.
const RANGE_PORTS: u16 = 60_000;
/// Forwarded ports of one address, all to one VM.
const PORTS_OF_ONE: usize = 100;

/// The elastic IP of an entry.
pub fn eip(entry: usize) -> Ipv4Addr {
    host([10, 91, 0, 0], entry + 1)
}

/// The VM of an entry.
pub fn vm(entry: usize) -> Ipv4Addr {
    host([192, 168, 0, 0], entry + 1)
}

/// The address and port of a single forward.
fn forward(entry: usize) -> SocketAddrV4 {
    let port = 1_000 + u16::try_from(entry % PORTS_OF_ONE).expect("below 100");
    SocketAddrV4::new(host([10, 92, 0, 0], entry / PORTS_OF_ONE + 1), port)
}

pub fn host(network: [u8; 4], number: usize) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(Ipv4Addr::from(network)) + u32::try_from(number).expect("a host's number"))
}

/// Where new flows go that are for elastic IPs.
pub fn eip_targets(entries: usize) -> Vec<SocketAddrV4> {
    (0..entries)
        .map(|entry| SocketAddrV4::new(eip(entry), PORT))
        .collect()
}

/// Where new flows go, a third each, that are for elastic IPs, single forwards and the range.
pub fn mixed_targets(entries: usize) -> Vec<SocketAddrV4> {
    let range = |entry: usize| {
        let shift = u16::try_from(entry % usize::from(RANGE_PORTS)).expect("a port");
        SocketAddrV4::new(*RANGE.ip(), RANGE.port() + shift)
    };
    (0..entries)
        .flat_map(|entry| {
            [
                SocketAddrV4::new(eip(entry), PORT),
                forward(entry),
                range(entry * 7),
            ]
        })
        .collect()
}

/// The file's beginning: the router's two NICs, and what others do not do at all, which has lines of its own.
pub fn nics() -> String {
    format!(
        "counters: false\ndrop_invalid: false\nif_list:\n  - ipaddr: {WAN_ADDRESS}\n    prefix: 24\n    mac: {WAN_MAC}\n    gateway: {GATEWAY}\n  \
         - ipaddr: {LAN_ADDRESS}\n    prefix: 16\n    mac: {LAN_MAC}\n"
    )
}

/// Its list of elastic IPs.
pub fn eip_list(eips: impl IntoIterator<Item = (Ipv4Addr, Ipv4Addr)>) -> String {
    let entry = |(eip, vm)| format!("  - eip: {eip}\n    vm-ip: {vm}\n");
    let entries: String = eips.into_iter().map(entry).collect();
    format!("eip_list:\n{entries}")
}

/// The file with these elastic IPs.
pub fn config(eips: impl IntoIterator<Item = (Ipv4Addr, Ipv4Addr)>) -> String {
    nics() + &eip_list(eips)
}

/// The first entries.
pub fn entries(count: usize) -> impl Iterator<Item = (Ipv4Addr, Ipv4Addr)> {
    (0..count).map(|entry| (eip(entry), vm(entry)))
}

/// The file with so many elastic IPs, as many single forwards, and the range.
pub fn mixed_config(count: usize) -> String {
    let mut text = config(entries(count)) + "port_forward_list:\n";
    for entry in 0..count {
        let (from, to) = (forward(entry), vm(entry / PORTS_OF_ONE));
        text += &format!(
            "  - eip: {}\n    protocal: udp\n    port: {}\n    vm-port: {}\n    vm-ip: {to}\n",
            from.ip(),
            from.port(),
            from.port() + 1_000
        );
    }
    let (ip, first) = (RANGE.ip(), RANGE.port());
    let last = first + (RANGE_PORTS - 1);
    text + &format!(
        "  - eip: {ip}\n    protocal: udp\n    port: {first}\n    end_port: {last}\n    vm-port: {first}\n    vm-ip: {}\n",
        vm(0)
    )
}

/// A client, a router and a sink in a row. The sink drops all it gets as it comes in.
pub struct Site {
    pub client: Namespace,
    pub router: Namespace,
    pub sink: Namespace,
}

impl Site {
    /// The namespaces and the wires; the router's ends are down, and nothing is set on them.
    pub fn new() -> Self {
        let (client, sink) = (Namespace::without_ipv6(), Namespace::without_ipv6());
        let router = Namespace::new();
        router.veth(WAN, WAN_MAC, &client, "eth0", FAR_MAC);
        router.veth(LAN, LAN_MAC, &sink, "eth0", FAR_MAC);
        client.ip("link set eth0 up");
        sink.ip("link set eth0 up");
        drop_all(&sink);
        Self { client, router, sink }
    }

    /// What any way does with the router but for translation: addresses, forwarding, and the reverse-path filter as
    /// kylin-vr sets it, so that ways differ in their translation alone.
    pub fn set_up_by_hand(&self) {
        self.router.ip_batch(&format!(
            "link set {WAN} up\nlink set {LAN} up\naddr add {WAN_ADDRESS}/24 dev {WAN}\naddr add {LAN_ADDRESS}/16 dev {LAN}\n\
             route add default via {GATEWAY}\n"
        ));
        for (path, value) in [
            ("net/ipv4/ip_forward".to_owned(), "1"),
            (format!("net/ipv4/conf/{WAN}/rp_filter"), "2"),
            (format!("net/ipv4/conf/{LAN}/rp_filter"), "1"),
        ] {
            self.router.set_sysctl(&path, value);
        }
    }

    /// Static neighbours: the first VMs, so that nobody has to be asked, and the gateway.
    pub fn set_neighbours(&self, vms: usize) {
        let mut lines = format!("neigh replace {GATEWAY} lladdr {FAR_MAC} dev {WAN} nud permanent\n");
        for entry in 0..vms {
            lines += &format!(
                "neigh replace {} lladdr {FAR_MAC} dev {LAN} nud permanent\n",
                vm(entry)
            );
        }
        self.router.ip_batch(&lines);
    }

    /// All VMs behind one next hop instead, which is the only neighbour that is asked for.
    pub fn set_next_hop(&self) {
        self.router.ip_batch(&format!(
            "neigh replace {NEXT_HOP} lladdr {FAR_MAC} dev {LAN} nud permanent\n\
             route add 192.168.0.0/17 via {NEXT_HOP} dev {LAN}\nroute add 192.168.128.0/17 via {NEXT_HOP} dev {LAN}\n"
        ));
    }

    /// A sender of new flows to the router.
    pub fn flood(&self, targets: Vec<SocketAddrV4>) -> lab::Flood {
        lab::Flood::new(&self.client, "eth0", WAN_MAC, targets)
    }

    /// How many frames came to the sink.
    pub fn arrived(&self) -> u64 {
        arrived(&self.sink)
    }

    /// Flows that the router knows.
    pub fn flows(&self) -> u64 {
        let count = self.router.sysctl("net/netfilter/nf_conntrack_count");
        count.parse().expect("a number")
    }

    /// Has the router forget all flows.
    pub fn forget_flows(&self) {
        let mut command = std::process::Command::new("conntrack");
        command.arg("-F");
        let output = self.router.output(command);
        assert!(output.status.success(), "conntrack -F: {output:?}");
    }
}

/// Has a namespace drop what comes in by its `eth0`, before it is a packet.
pub fn drop_all(namespace: &Namespace) {
    namespace.nft(
        "table netdev sink {\n chain incoming {\n type filter hook ingress device \"eth0\" priority 0; policy drop;\n }\n}\n",
    );
}

/// How many frames came in by a namespace's `eth0`.
pub fn arrived(namespace: &Namespace) -> u64 {
    // Not /proc/net, which is the process's namespace and not the thread's.
    let table =
        namespace.run(|| std::fs::read_to_string("/proc/thread-self/net/dev").expect("read the counters"));
    let counters = table.lines().find_map(|line| line.trim().strip_prefix("eth0:"));
    let packets = counters.and_then(|line| line.split_whitespace().nth(1)?.parse().ok());
    packets.expect("a counter of frames")
}

/// Whether this kernel makes links of a kind; the error says what is missing. `arguments` are the rest of `ip link add`'s.
///
/// # Errors
/// It does not.
pub fn has_link(kind: &str, arguments: &str) -> Result<(), String> {
    let namespace = Namespace::new();
    let below = "ip link add below type veth peer name other && ip link add probe";
    let mut command = std::process::Command::new("sh");
    command.args(["-c", &format!("{below} {arguments}")]);
    let output = namespace.output(command);
    if output.status.success() {
        Ok(())
    } else {
        Err(format!("this kernel has no {kind}"))
    }
}
