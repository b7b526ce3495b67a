//! The packet table of the design as packets of the lab's VPC, configured by `examples/vpc.yaml`.
//!
//! a1, a2 and b1 have an elastic IP (10.90.2.250, .251, .252); a3 and b2 have none, and are seen outside as the router,
//! 10.90.3.37. Expectations are written down here from the table, never taken from the router.

use lab::{Icmp, Protocol, Tcp, Udp};

use crate::packets::Probe;

/// A row of the table.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// Its number in the design.
    pub number: u8,
    /// What it says.
    pub title: &'static str,
    /// Why, where that is surprising.
    pub note: Option<&'static str>,
    /// Packets that it decides.
    pub probes: &'static [Probe],
}

const fn probe(
    from: &'static str,
    protocol: Protocol,
    to: &'static str,
    expected: &'static str,
    why: &'static str,
) -> Probe {
    Probe {
        from,
        protocol,
        to,
        expected,
        why,
    }
}

/// The ten rows.
#[rustfmt::skip] // Each packet on a line: it is a table.
pub const ROWS: &[Row] = &[
    Row {
        number: 1,
        title: "a VM to a private address in the other subnet: nothing is translated",
        note: None,
        probes: &[
            probe("a3", Tcp, "192.168.101.11:22", "b2:22 sees 192.168.100.192", "A to B"),
            probe("b2", Udp, "192.168.100.192:53", "a3:53 sees 192.168.101.11", "B to A"),
            probe("a1", Icmp, "192.168.101.10", "b1 sees 192.168.100.190", "its EIP is not used here"),
        ],
    },
    Row {
        number: 2,
        title: "a VM without an EIP to outside: comes from the router's external address",
        note: None,
        probes: &[
            probe("a3", Tcp, "198.51.100.10:80", "client:80 sees 10.90.3.37", "a3 has no EIP"),
            probe("b2", Udp, "198.51.100.10:53", "client:53 sees 10.90.3.37", "b2 has no EIP"),
            probe("b2", Icmp, "198.51.100.10", "client sees 10.90.3.37", "ping as well"),
            probe("a3", Icmp, "10.90.3.1", "upstream sees 10.90.3.37", "to the next hop"),
        ],
    },
    Row {
        number: 3,
        title: "a VM with an EIP to outside: comes from its EIP",
        note: None,
        probes: &[
            probe("a1", Tcp, "198.51.100.10:80", "client:80 sees 10.90.2.250", "the EIP of a1"),
            probe("a2", Udp, "10.90.3.9:53", "neighbour:53 sees 10.90.2.251", "the EIP of a2"),
            probe("b1", Icmp, "198.51.100.10", "client sees 10.90.2.252", "the EIP of b1"),
        ],
    },
    Row {
        number: 4,
        title: "outside to an EIP: its VM gets it, on any port; the client's address is kept",
        note: None,
        probes: &[
            probe("client", Tcp, "10.90.2.250:22", "a1:22 sees 198.51.100.10", "the EIP of a1"),
            probe("client", Udp, "10.90.2.251:9999", "a2:9999 sees 198.51.100.10", "any port"),
            probe("client", Icmp, "10.90.2.252", "b1 sees 198.51.100.10", "b1 itself answers the ping"),
            probe("neighbour", Tcp, "10.90.2.250:80", "a1:80 sees 10.90.3.9", "from the same wire as well"),
        ],
    },
    Row {
        number: 5,
        title: "a VM to an EIP (\"hairpin\"): its VM gets it, from the caller's EIP or the router",
        note: Some(
            "Surprising: here the source is translated as well. a3 and a1 are in one subnet; if a1 saw 192.168.100.192 \
             it would answer straight to it, past the router, and a3, which asked 10.90.2.250, would throw the answer \
             away. Even a VM that calls its own EIP gets an answer.",
        ),
        probes: &[
            probe("a3", Tcp, "10.90.2.250:22", "a1:22 sees 10.90.3.37", "same subnet; a3 has no EIP"),
            probe("a2", Udp, "10.90.2.250:53", "a1:53 sees 10.90.2.251", "same subnet; the EIP of a2"),
            probe("b2", Icmp, "10.90.2.250", "a1 sees 10.90.3.37", "other subnet; b2 has no EIP"),
            probe("b1", Tcp, "10.90.2.251:80", "a2:80 sees 10.90.2.252", "other subnet; the EIP of b1"),
            probe("a1", Tcp, "10.90.2.250:22", "a1:22 sees 10.90.2.250", "itself, by its own EIP"),
            probe("a1", Udp, "10.90.2.250:53", "a1:53 sees 10.90.2.250", "itself"),
            probe("a1", Icmp, "10.90.2.250", "a1 sees 10.90.2.250", "itself"),
        ],
    },
    Row {
        number: 6,
        title: "outside to a forwarded port: the VM's port gets it; the client's address is kept",
        note: Some(
            "Surprising: a shifted range goes port by port, 10..12 -> 100..102, so 11 arrives at 101. The obvious nft \
             rule, `dnat to 192.168.100.192:100-102`, would not do that.",
        ),
        probes: &[
            probe("client", Tcp, "10.90.2.254:8080", "a3:80 sees 198.51.100.10", "8080 is 80 of a3"),
            probe("client", Tcp, "10.90.2.254:80", "a1:80 sees 198.51.100.10", "80-82 keep their ports"),
            probe("client", Tcp, "10.90.2.254:82", "a1:82 sees 198.51.100.10", "the last of them"),
            probe("client", Tcp, "10.90.2.254:10", "a3:100 sees 198.51.100.10", "10-12 are 100-102 of a3"),
            probe("client", Tcp, "10.90.2.254:11", "a3:101 sees 198.51.100.10", "11 to 101"),
            probe("client", Tcp, "10.90.2.254:12", "a3:102 sees 198.51.100.10", "12 to 102"),
            probe("client", Udp, "10.90.2.254:53", "b2:5353 sees 198.51.100.10", "udp 53 is 5353 of b2"),
            probe("client", Tcp, "10.90.2.253:20000", "b2:20000 sees 198.51.100.10", "1000 ports, the first"),
            probe("client", Tcp, "10.90.2.253:20500", "b2:20500 sees 198.51.100.10", "in the middle"),
            probe("neighbour", Tcp, "10.90.2.253:20999", "b2:20999 sees 10.90.3.9", "the last"),
            probe("client", Tcp, "10.90.3.37:2222", "a3:22 sees 198.51.100.10", "on the router's own address"),
        ],
    },
    Row {
        number: 7,
        title: "a VM to a forwarded port: as row 6, and the source as in row 5",
        note: None,
        probes: &[
            probe("a1", Tcp, "10.90.2.254:81", "a1:81 sees 10.90.2.250", "itself, by a forwarded port"),
            probe("a3", Tcp, "10.90.2.254:11", "a3:101 sees 10.90.3.37", "itself; 11 to 101"),
            probe("b1", Udp, "10.90.2.254:53", "b2:5353 sees 10.90.2.252", "same subnet; the EIP of b1"),
            probe("a2", Tcp, "10.90.2.253:20999", "b2:20999 sees 10.90.2.251", "other subnet; the EIP of a2"),
            probe("b2", Tcp, "10.90.3.37:2222", "a3:22 sees 10.90.3.37", "other subnet; no EIP"),
        ],
    },
    Row {
        number: 8,
        title: "the router itself to an EIP or a forwarded port: as anybody else",
        note: Some(
            "Surprising: the VM sees the very address that was called. The router owns it, so its kernel takes it as the \
             source too, before anything is translated; and the router's own source is left alone.",
        ),
        probes: &[
            probe("router", Tcp, "10.90.2.250:22", "a1:22 sees 10.90.2.250", "an EIP"),
            probe("router", Icmp, "10.90.2.251", "a2 sees 10.90.2.251", "an EIP"),
            probe("router", Tcp, "10.90.2.254:11", "a3:101 sees 10.90.2.254", "a forward; 11 to 101"),
            probe("router", Udp, "10.90.2.254:53", "b2:5353 sees 10.90.2.254", "a forward"),
        ],
    },
    Row {
        number: 9,
        title: "the router itself to anywhere else: nothing is translated",
        note: None,
        probes: &[
            probe("router", Tcp, "192.168.100.190:22", "a1:22 sees 192.168.100.254", "its address in subnet A"),
            probe("router", Icmp, "192.168.101.10", "b1 sees 192.168.101.254", "its address in subnet B"),
            probe("router", Udp, "198.51.100.10:53", "client:53 sees 10.90.3.37", "its address outside"),
        ],
    },
    Row {
        number: 10,
        title: "outside to other ports of a forward's address: not forwarded to any VM",
        note: Some(
            "They end at the router itself. For the test something listens there on every port that is tried; usually \
             nothing does, and the client is refused.",
        ),
        probes: &[
            probe("client", Tcp, "10.90.2.254:83", "router:83 sees 198.51.100.10", "one past 80-82"),
            probe("client", Tcp, "10.90.2.254:9", "router:9 sees 198.51.100.10", "one before 10-12"),
            probe("client", Tcp, "10.90.2.254:100", "router:100 sees 198.51.100.10", "100 is the port on a3"),
            probe("client", Udp, "10.90.2.254:80", "router:80 sees 198.51.100.10", "80 is forwarded for tcp"),
            probe("client", Tcp, "10.90.2.253:21000", "router:21000 sees 198.51.100.10", "one past 20000-20999"),
            probe("client", Tcp, "10.90.3.37:22", "router:22 sees 198.51.100.10", "ssh to the router itself"),
            probe("client", Icmp, "10.90.2.254", "router sees 198.51.100.10", "the router answers the ping"),
        ],
    },
];
