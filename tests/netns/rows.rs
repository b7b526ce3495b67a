//! The packet table of the design, row by row, from every side, over TCP, UDP and ICMP.

use lab::{Tcp, Vpc};

use crate::configs::{full, vpc_with};
use crate::table::{TRANSLATED, table};

pub fn check(vpc: &Vpc, rows: impl IntoIterator<Item = u8>) {
    let mut table = table(vpc);
    let mut wrong = Vec::new();
    for row in rows {
        for (from, protocol, to, expected) in table.remove(&row).unwrap() {
            // Everybody listens on the port that is sent to, and on those that forwards translate to.
            let outcome = vpc.probe(from, protocol, to, &TRANSLATED);
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

pub fn every_row_holds_without_counters() {
    // As for a large file: chains and sets are others.
    check(
        &vpc_with(&(full() + "counters: false\ndrop_invalid: false\n")),
        1..=10,
    );
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
