//! The ten rows of the packet table through a right router: the probes say what the table says.

mod hand;

use hand::{RULESET, needs_netns, vpc_with};
use lab::{Icmp, Namespace, Protocol, Tcp, Udp, Vpc};

#[test]
fn a_right_router_gives_every_row_of_the_packet_table() {
    needs_netns!();
    let vpc = vpc_with(RULESET);
    let Vpc {
        client,
        neighbour,
        router,
        a1,
        a2,
        a3,
        b1,
        b2,
        ..
    } = &vpc;
    #[rustfmt::skip]
    let rows: &[(u8, &Namespace, Protocol, &str, &str)] = &[
        (1, a1, Tcp, "192.168.101.10:22", "b1:22 sees 192.168.100.190"),
        (1, b1, Udp, "192.168.100.192:53", "a3:53 sees 192.168.101.10"),
        (1, a3, Icmp, "192.168.101.11", "b2 sees 192.168.100.192"),
        (1, a1, Icmp, "192.168.100.191", "a2 sees 192.168.100.190"),
        (2, b1, Tcp, "198.51.100.10:80", "client:80 sees 10.90.3.37"),
        (2, a3, Udp, "198.51.100.10:53", "client:53 sees 10.90.3.37"),
        (2, b2, Icmp, "198.51.100.10", "client sees 10.90.3.37"),
        (2, b2, Icmp, "10.90.3.1", "upstream sees 10.90.3.37"),
        (3, a1, Tcp, "198.51.100.10:80", "client:80 sees 10.90.2.250"),
        (3, a2, Udp, "10.90.3.9:53", "neighbour:53 sees 10.90.2.251"),
        (3, a1, Icmp, "198.51.100.10", "client sees 10.90.2.250"),
        (4, client, Tcp, "10.90.2.250:22", "a1:22 sees 198.51.100.10"),
        (4, client, Udp, "10.90.2.251:9999", "a2:9999 sees 198.51.100.10"),
        (4, client, Icmp, "10.90.2.251", "a2 sees 198.51.100.10"),
        (4, neighbour, Tcp, "10.90.2.250:22", "a1:22 sees 10.90.3.9"),
        (5, a3, Tcp, "10.90.2.250:22", "a1:22 sees 10.90.3.37"),
        (5, a2, Udp, "10.90.2.250:22", "a1:22 sees 10.90.2.251"),
        (5, b1, Icmp, "10.90.2.250", "a1 sees 10.90.3.37"),
        (5, a1, Tcp, "10.90.2.250:22", "a1:22 sees 10.90.2.250"),
        (5, a1, Udp, "10.90.2.250:22", "a1:22 sees 10.90.2.250"),
        (5, a1, Icmp, "10.90.2.250", "a1 sees 10.90.2.250"),
        (6, client, Tcp, "10.90.2.254:80", "a1:80 sees 198.51.100.10"),
        (6, client, Tcp, "10.90.2.254:82", "a1:82 sees 198.51.100.10"),
        (6, client, Tcp, "10.90.2.254:10", "a3:100 sees 198.51.100.10"),
        (6, client, Tcp, "10.90.2.254:11", "a3:101 sees 198.51.100.10"),
        (6, client, Tcp, "10.90.2.254:12", "a3:102 sees 198.51.100.10"),
        (6, client, Udp, "10.90.2.254:53", "b2:5353 sees 198.51.100.10"),
        (7, a1, Tcp, "10.90.2.254:81", "a1:81 sees 10.90.2.250"),
        (7, a3, Tcp, "10.90.2.254:11", "a3:101 sees 10.90.3.37"),
        (7, b1, Udp, "10.90.2.254:53", "b2:5353 sees 10.90.3.37"),
        (7, a2, Udp, "10.90.2.254:53", "b2:5353 sees 10.90.2.251"),
        // The router's own source is the address of the NIC towards the VM, or of the local route it looked up.
        (8, router, Tcp, "10.90.2.250:22", "a1:22 sees 10.90.2.250"),
        (8, router, Tcp, "10.90.2.254:11", "a3:101 sees 10.90.2.254"),
        (8, router, Icmp, "10.90.2.251", "a2 sees 10.90.2.251"),
        (9, router, Tcp, "192.168.100.190:22", "a1:22 sees 192.168.100.254"),
        (9, router, Udp, "198.51.100.10:53", "client:53 sees 10.90.3.37"),
        (9, router, Icmp, "192.168.101.10", "b1 sees 192.168.101.254"),
        // Taken by the router itself, not forwarded.
        (10, client, Tcp, "10.90.2.254:83", "router:83 sees 198.51.100.10"),
        (10, client, Udp, "10.90.2.254:80", "router:80 sees 198.51.100.10"),
        (10, client, Icmp, "10.90.2.254", "router sees 198.51.100.10"),
    ];
    let mut wrong = Vec::new();
    for (row, from, protocol, to, expected) in rows {
        let outcome = vpc.probe(from, *protocol, to, &[100, 101, 102, 5353]);
        if outcome != *expected {
            wrong.push(format!(
                "row {row}: {protocol:?} to {to}: {outcome}, not {expected}"
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn both_ends_of_an_arrival_are_told() {
    needs_netns!();
    let vpc = vpc_with(RULESET);
    for protocol in [Tcp, Udp] {
        let outcome = vpc.probe(&vpc.client, protocol, "10.90.2.250:2200", &[]);
        let arrival = outcome.arrival();
        assert_eq!(arrival.at.to_string(), "192.168.100.190:2200");
        assert_eq!(
            arrival.reply_from.map(|from| from.to_string()).as_deref(),
            Some("10.90.2.250:2200")
        );
        assert_ne!(arrival.source.port(), 0);
    }
}
