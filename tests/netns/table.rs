//! The packet table of the design: every probe of every row, for a router in a namespace or in a VM.

use std::collections::BTreeMap;

use lab::{Icmp, Namespace, Protocol, Tcp, Udp, Vpc};

/// Who sends what where, and what is to become of it.
pub type Probe<'v> = (&'v Namespace, Protocol, &'static str, &'static str);

/// Ports that forwards translate to, where everybody has to listen as well.
pub const TRANSLATED: [u16; 7] = [22, 100, 101, 102, 5353, 30001, 60000];

/// Every probe of every row, for [`full`](crate::configs::full).
#[rustfmt::skip]
pub fn table(vpc: &Vpc) -> BTreeMap<u8, Vec<Probe<'_>>> {
    let Vpc { client, neighbour, router, a1, a2, a3, b1, b2, .. } = vpc;
    let (a1, a2, a3, b1, b2): (&Namespace, &Namespace, &Namespace, &Namespace, &Namespace) = (a1, a2, a3, b1, b2);
    let (client, neighbour): (&Namespace, &Namespace) = (client, neighbour);
    BTreeMap::from([
        (1, vec![
            (a1, Tcp, "192.168.101.10:22", "b1:22 sees 192.168.100.190"),
            (a3, Tcp, "192.168.101.11:80", "b2:80 sees 192.168.100.192"),
            (b1, Udp, "192.168.100.192:53", "a3:53 sees 192.168.101.10"),
            (b1, Tcp, "192.168.100.190:80", "a1:80 sees 192.168.101.10"),
            (a3, Icmp, "192.168.101.11", "b2 sees 192.168.100.192"),
            (a1, Icmp, "192.168.100.191", "a2 sees 192.168.100.190"),
        ]),
        (2, vec![
            (a3, Tcp, "198.51.100.10:80", "client:80 sees 10.90.3.37"),
            (b1, Tcp, "198.51.100.10:80", "client:80 sees 10.90.3.37"),
            (a3, Udp, "198.51.100.10:53", "client:53 sees 10.90.3.37"),
            (b2, Icmp, "198.51.100.10", "client sees 10.90.3.37"),
            (b2, Icmp, "10.90.3.1", "upstream sees 10.90.3.37"),
            (b1, Tcp, "10.90.3.9:22", "neighbour:22 sees 10.90.3.37"),
        ]),
        (3, vec![
            (a1, Tcp, "198.51.100.10:80", "client:80 sees 10.90.2.250"),
            (a2, Tcp, "198.51.100.10:80", "client:80 sees 10.90.2.251"),
            (a2, Udp, "10.90.3.9:53", "neighbour:53 sees 10.90.2.251"),
            (a1, Icmp, "198.51.100.10", "client sees 10.90.2.250"),
        ]),
        (4, vec![
            (client, Tcp, "10.90.2.250:22", "a1:22 sees 198.51.100.10"),
            (client, Tcp, "10.90.2.250:65535", "a1:65535 sees 198.51.100.10"),
            (client, Udp, "10.90.2.251:9999", "a2:9999 sees 198.51.100.10"),
            (client, Icmp, "10.90.2.250", "a1 sees 198.51.100.10"),
            (client, Icmp, "10.90.2.251", "a2 sees 198.51.100.10"),
            (neighbour, Tcp, "10.90.2.250:22", "a1:22 sees 10.90.3.9"),
        ]),
        (5, vec![
            // From the same subnet, with and without an elastic IP of one's own.
            (a3, Tcp, "10.90.2.250:22", "a1:22 sees 10.90.3.37"),
            (a3, Icmp, "10.90.2.250", "a1 sees 10.90.3.37"),
            (a2, Tcp, "10.90.2.250:22", "a1:22 sees 10.90.2.251"),
            (a2, Udp, "10.90.2.250:22", "a1:22 sees 10.90.2.251"),
            // From another subnet.
            (b1, Tcp, "10.90.2.250:22", "a1:22 sees 10.90.3.37"),
            (b1, Udp, "10.90.2.251:53", "a2:53 sees 10.90.3.37"),
            (b1, Icmp, "10.90.2.250", "a1 sees 10.90.3.37"),
            // The VM itself.
            (a1, Tcp, "10.90.2.250:22", "a1:22 sees 10.90.2.250"),
            (a1, Udp, "10.90.2.250:22", "a1:22 sees 10.90.2.250"),
            (a1, Icmp, "10.90.2.250", "a1 sees 10.90.2.250"),
        ]),
        (6, vec![
            (client, Tcp, "10.90.2.254:80", "a1:80 sees 198.51.100.10"),
            (client, Tcp, "10.90.2.254:81", "a1:81 sees 198.51.100.10"),
            (client, Tcp, "10.90.2.254:82", "a1:82 sees 198.51.100.10"),
            (client, Tcp, "10.90.2.254:10", "a3:100 sees 198.51.100.10"),
            (client, Tcp, "10.90.2.254:11", "a3:101 sees 198.51.100.10"),
            (client, Tcp, "10.90.2.254:12", "a3:102 sees 198.51.100.10"),
            (client, Udp, "10.90.2.254:53", "b2:5353 sees 198.51.100.10"),
            (neighbour, Tcp, "10.90.2.254:11", "a3:101 sees 10.90.3.9"),
            (client, Tcp, "10.90.2.253:20000", "b2:20000 sees 198.51.100.10"),
            (client, Tcp, "10.90.2.253:31234", "b2:31234 sees 198.51.100.10"),
            (client, Tcp, "10.90.2.253:39999", "b2:39999 sees 198.51.100.10"),
            (client, Udp, "10.90.2.253:30000", "b1:30001 sees 198.51.100.10"),
            (client, Udp, "10.90.2.253:59999", "b1:60000 sees 198.51.100.10"),
            (client, Tcp, "10.90.3.37:2222", "a3:22 sees 198.51.100.10"),
        ]),
        (7, vec![
            (a1, Tcp, "10.90.2.254:81", "a1:81 sees 10.90.2.250"),
            (a2, Tcp, "10.90.2.254:80", "a1:80 sees 10.90.2.251"),
            (a3, Tcp, "10.90.2.254:11", "a3:101 sees 10.90.3.37"),
            (b1, Tcp, "10.90.2.254:12", "a3:102 sees 10.90.3.37"),
            (b1, Udp, "10.90.2.254:53", "b2:5353 sees 10.90.3.37"),
            (a2, Udp, "10.90.2.254:53", "b2:5353 sees 10.90.2.251"),
            (b2, Tcp, "10.90.2.253:25000", "b2:25000 sees 10.90.3.37"),
            (a1, Tcp, "10.90.3.37:2222", "a3:22 sees 10.90.2.250"),
        ]),
        (8, vec![
            // The source is the address that the router looked up as its own.
            (router, Tcp, "10.90.2.250:22", "a1:22 sees 10.90.2.250"),
            (router, Udp, "10.90.2.251:53", "a2:53 sees 10.90.2.251"),
            (router, Icmp, "10.90.2.251", "a2 sees 10.90.2.251"),
            (router, Tcp, "10.90.2.254:11", "a3:101 sees 10.90.2.254"),
            (router, Udp, "10.90.2.254:53", "b2:5353 sees 10.90.2.254"),
            (router, Tcp, "10.90.2.253:25000", "b2:25000 sees 10.90.2.253"),
        ]),
        (9, vec![
            (router, Tcp, "192.168.100.190:22", "a1:22 sees 192.168.100.254"),
            (router, Icmp, "192.168.101.10", "b1 sees 192.168.101.254"),
            (router, Udp, "198.51.100.10:53", "client:53 sees 10.90.3.37"),
            (router, Icmp, "10.90.3.1", "upstream sees 10.90.3.37"),
        ]),
        (10, vec![
            // The router takes it for itself; no VM gets it.
            (client, Tcp, "10.90.2.254:83", "router:83 sees 198.51.100.10"),
            (client, Tcp, "10.90.2.254:9", "router:9 sees 198.51.100.10"),
            (client, Tcp, "10.90.2.253:19999", "router:19999 sees 198.51.100.10"),
            (client, Tcp, "10.90.2.253:40000", "router:40000 sees 198.51.100.10"),
            (client, Udp, "10.90.2.254:80", "router:80 sees 198.51.100.10"),
            (client, Icmp, "10.90.2.254", "router sees 198.51.100.10"),
            (client, Icmp, "10.90.2.253", "router sees 198.51.100.10"),
            (a3, Icmp, "10.90.2.254", "router sees 192.168.100.192"),
        ]),
    ])
}
