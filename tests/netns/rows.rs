//! The packet table of the design, row by row, from every side, over TCP, UDP and ICMP.

use std::collections::BTreeMap;

use lab::{Icmp, Namespace, Protocol, Tcp, Udp, Vpc};

use crate::configs::{full, vpc_with};

type Probe<'v> = (&'v Namespace, Protocol, &'static str, &'static str);

/// Every probe of every row, for [`full`].
#[rustfmt::skip]
fn table(vpc: &Vpc) -> BTreeMap<u8, Vec<Probe<'_>>> {
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

fn check(vpc: &Vpc, rows: impl IntoIterator<Item = u8>) {
    let mut table = table(vpc);
    let mut wrong = Vec::new();
    for row in rows {
        for (from, protocol, to, expected) in table.remove(&row).unwrap() {
            // Everybody listens on the port that is sent to, and on those that forwards translate to.
            let outcome = vpc.probe(from, protocol, to, &[22, 100, 101, 102, 5353, 30001, 60000]);
            if outcome != expected {
                wrong.push(format!(
                    "row {row}: {protocol:?} to {to}: {outcome}, not {expected}"
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

macro_rules! rows {
    ($($name:ident: $row:literal;)+) => {
        $(pub fn $name() {
            check(&vpc_with(&full()), [$row]);
        })+
    };
}

rows! {
    row_01_between_subnets_nothing_is_translated: 1;
    row_02_a_vm_without_an_eip_is_seen_as_the_router: 2;
    row_03_a_vm_with_an_eip_is_seen_as_that: 3;
    row_04_an_eip_leads_to_its_vm_and_the_client_keeps_its_address: 4;
    row_05_inside_an_eip_leads_to_its_vm_and_the_caller_is_seen_as_outside: 5;
    row_06_a_forward_leads_port_by_port_and_the_client_keeps_its_address: 6;
    row_07_inside_a_forward_works_as_outside: 7;
    row_08_the_router_itself_reaches_eips_and_forwards: 8;
    row_09_the_router_itself_is_not_translated: 9;
    row_10_other_ports_of_a_forward_are_not_forwarded_and_ping_is_answered: 10;
}

pub fn every_row_holds_with_strict_reverse_path_filters() {
    let vpc = vpc_with(&full());
    // What Red Hat's distributions set; the larger of `all` and a NIC's own holds.
    vpc.router.set_sysctl("net/ipv4/conf/wan7/rp_filter", "1");
    check(&vpc, 1..=10);
}

pub fn eip_list_wins_over_a_forward_of_the_same_address() {
    let forward = "  - {eip: 10.90.2.250, protocal: tcp, port: 80, vm-port: 8080, vm-ip: 192.168.100.192}\n";
    let vpc = vpc_with(&(full() + forward));
    assert_eq!(
        vpc.probe(&vpc.client, Tcp, "10.90.2.250:80", &[8080]),
        "a1:80 sees 198.51.100.10"
    );
    let check = vpc.kylin_vr(&["check"]);
    crate::configs::expect(
        &check,
        0,
        "port_forward_list[6].eip: 10.90.2.250: has no effect: eip_list[0] gives",
    );
    // Without the mapping the forward has its turn.
    vpc.reload_ok(&(full().replace("- eip: 10.90.2.250\n    vm-ip: 192.168.100.190", "") + forward));
    assert_eq!(
        vpc.probe(&vpc.client, Tcp, "10.90.2.250:80", &[8080]),
        "a3:8080 sees 198.51.100.10"
    );
}

pub fn a_false_source_from_inside_is_dropped() {
    let vpc = vpc_with(&full());
    // As b1, from subnet A: seen as b1 it would get through everywhere that b1 may go.
    let spoofed = vpc.spoof(&vpc.a3, "192.168.101.10:1234", "198.51.100.10:53", &[]);
    assert_eq!(spoofed, "lost");
    let honest = vpc.spoof(&vpc.a3, "192.168.100.192:1234", "198.51.100.10:53", &[]);
    assert_eq!(honest, "client:53 sees 10.90.3.37, no answer");
}
