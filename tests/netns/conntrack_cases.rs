//! Changes of the file, each with a flow whose translation it changes.

use lab::{Namespace, Vpc};

use crate::configs::full;

/// A flow that a change of the file is for.
pub struct Case {
    /// What is replaced in the file, by what.
    pub change: (&'static str, &'static str),
    pub from: fn(&Vpc) -> &Namespace,
    pub to: &'static str,
    /// Where else than at `to` somebody listens.
    pub at: &'static [u16],
    pub original: &'static str,
    /// The answers before the change and after it.
    pub replies: [&'static str; 2],
}

pub const EIP_A1: &str = "eip: 10.90.2.250\n    vm-ip: 192.168.100.190";

const POOL: (&str, &str) = ("eip_list:", "snat_pool: [10.90.2.240, 10.90.3.37]\neip_list:");

/// `full()` with what the cases change.
pub fn base() -> String {
    full() + "  - {eip: 10.90.2.254, protocol: udp, port: 54, vm-port: 54, vm-ip: 192.168.101.11}\n"
}

fn client(vpc: &Vpc) -> &Namespace {
    &vpc.client
}

fn a1(vpc: &Vpc) -> &Namespace {
    &vpc.a1
}

fn a3(vpc: &Vpc) -> &Namespace {
    &vpc.a3
}

/// Flows to an elastic IP and from its VM, of every protocol; ports are left out for ICMP.
pub const ADDRESSES: &[Case] = &[
    // An EIP moves to another VM.
    Case {
        change: (EIP_A1, "eip: 10.90.2.250\n    vm-ip: 192.168.100.192"),
        from: client,
        to: "10.90.2.250:22",
        at: &[],
        original: "198.51.100.10 -> 10.90.2.250:22",
        replies: [
            "192.168.100.190:22 -> 198.51.100.10",
            "192.168.100.192:22 -> 198.51.100.10",
        ],
    },
    // Unbound: nobody is there any more.
    Case {
        change: (EIP_A1, "eip: 10.90.2.249\n    vm-ip: 192.168.100.190"),
        from: client,
        to: "10.90.2.250:22",
        at: &[],
        original: "198.51.100.10 -> 10.90.2.250:22",
        replies: [
            "192.168.100.190:22 -> 198.51.100.10",
            "10.90.2.250:22 -> 198.51.100.10",
        ],
    },
    // Its VM is seen as another EIP.
    Case {
        change: (EIP_A1, "eip: 10.90.2.249\n    vm-ip: 192.168.100.190"),
        from: a1,
        to: "198.51.100.10:80",
        at: &[],
        original: "192.168.100.190 -> 198.51.100.10:80",
        replies: [
            "198.51.100.10:80 -> 10.90.2.250",
            "198.51.100.10:80 -> 10.90.2.249",
        ],
    },
    // A masqueraded VM gets an EIP.
    Case {
        change: (EIP_A1, "eip: 10.90.2.250\n    vm-ip: 192.168.100.192"),
        from: a3,
        to: "198.51.100.10:80",
        at: &[],
        original: "192.168.100.192 -> 198.51.100.10:80",
        replies: [
            "198.51.100.10:80 -> 10.90.3.37",
            "198.51.100.10:80 -> 10.90.2.250",
        ],
    },
    // The router's external address changes.
    Case {
        change: ("ipaddr: 10.90.3.37", "ipaddr: 10.90.3.38"),
        from: a3,
        to: "198.51.100.10:80",
        at: &[],
        original: "192.168.100.192 -> 198.51.100.10:80",
        replies: ["198.51.100.10:80 -> 10.90.3.37", "198.51.100.10:80 -> 10.90.3.38"],
    },
    // Masqueraded VMs get a pool, of which one's address is another one, and another's is the router's own as before.
    Case {
        change: POOL,
        from: a3,
        to: "198.51.100.10:80",
        at: &[],
        original: "192.168.100.192 -> 198.51.100.10:80",
        replies: [
            "198.51.100.10:80 -> 10.90.3.37",
            "198.51.100.10:80 -> 10.90.2.240",
        ],
    },
    // The same to an elastic IP.
    Case {
        change: POOL,
        from: a3,
        to: "10.90.2.250:22",
        at: &[],
        original: "192.168.100.192 -> 10.90.2.250:22",
        replies: [
            "192.168.100.190:22 -> 10.90.3.37",
            "192.168.100.190:22 -> 10.90.2.240",
        ],
    },
];

pub const TCP_FORWARDS: &[Case] = &[
    // Pointed to another VM.
    Case {
        change: (
            "vm-port: 100, vm-ip: 192.168.100.192",
            "vm-port: 100, vm-ip: 192.168.100.191",
        ),
        from: client,
        to: "10.90.2.254:11",
        at: &[101],
        original: "198.51.100.10 -> 10.90.2.254:11",
        replies: [
            "192.168.100.192:101 -> 198.51.100.10",
            "192.168.100.191:101 -> 198.51.100.10",
        ],
    },
    // To another port.
    Case {
        change: ("vm-port: 100, vm-ip", "vm-port: 200, vm-ip"),
        from: client,
        to: "10.90.2.254:11",
        at: &[101],
        original: "198.51.100.10 -> 10.90.2.254:11",
        replies: [
            "192.168.100.192:101 -> 198.51.100.10",
            "192.168.100.192:201 -> 198.51.100.10",
        ],
    },
    // Removed, as far as this port goes; a long range as well.
    Case {
        change: ("port: 10, end_port: 12", "port: 12, end_port: 14"),
        from: client,
        to: "10.90.2.254:11",
        at: &[101],
        original: "198.51.100.10 -> 10.90.2.254:11",
        replies: [
            "192.168.100.192:101 -> 198.51.100.10",
            "10.90.2.254:11 -> 198.51.100.10",
        ],
    },
    Case {
        change: ("end_port: 39999", "end_port: 29999"),
        from: client,
        to: "10.90.2.253:30000",
        at: &[],
        original: "198.51.100.10 -> 10.90.2.253:30000",
        replies: [
            "192.168.101.11:30000 -> 198.51.100.10",
            "10.90.2.253:30000 -> 198.51.100.10",
        ],
    },
];

pub const UDP_FORWARDS: &[Case] = &[
    Case {
        change: (
            "vm-port: 54, vm-ip: 192.168.101.11",
            "vm-port: 54, vm-ip: 192.168.101.10",
        ),
        from: client,
        to: "10.90.2.254:54",
        at: &[],
        original: "198.51.100.10 -> 10.90.2.254:54",
        replies: [
            "192.168.101.11:54 -> 198.51.100.10",
            "192.168.101.10:54 -> 198.51.100.10",
        ],
    },
    Case {
        change: ("vm-port: 54, vm-ip", "vm-port: 55, vm-ip"),
        from: client,
        to: "10.90.2.254:54",
        at: &[],
        original: "198.51.100.10 -> 10.90.2.254:54",
        replies: [
            "192.168.101.11:54 -> 198.51.100.10",
            "192.168.101.11:55 -> 198.51.100.10",
        ],
    },
];
