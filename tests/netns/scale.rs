//! Many entries: applied, and read back equal.

use lab::{Tcp, Udp};

use crate::configs::{NOTE, expect, vpc};

pub fn ten_thousand_eips_and_a_long_range_are_read_back_equal() {
    let vpc = vpc();
    let head = NOTE.replace(
        "prefix: 24\n     mac: 52:54:84:11:00:03",
        "prefix: 16\n     mac: 52:54:84:11:00:03",
    );
    let head = head.split("eip_list:").next().unwrap();
    let eips: String = (0..10_000)
        .map(|number| {
            let (high, low) = (number / 250, number % 250 + 1);
            format!("  - eip: 10.91.{high}.{low}\n    vm-ip: 192.168.{high}.{low}\n")
        })
        .collect();
    // Counted, so that the long range is an element.
    let text = format!(
        "counters: true\n{head}eip_list:\n{eips}  - eip: 10.90.2.250\n    vm-ip: 192.168.100.190\nport_forward_list:\n  \
         - {{eip: 10.90.2.254, protocal: tcp, port: 10000, end_port: 29999, vm-port: 10000, vm-ip: 192.168.100.191}}\n  \
         - {{eip: 10.90.2.254, protocal: udp, port: 10000, end_port: 29999, vm-port: 40000, vm-ip: 192.168.100.192}}\n"
    );
    vpc.reload_ok(&text);
    // Read back by us, and counted by nft.
    expect(&vpc.kylin_vr(&["reload"]), 0, "nothing changed");
    expect(&vpc.kylin_vr(&["plan"]), 0, "nothing to change");
    let count = |map: &str| {
        vpc.router
            .nft(&format!("list map ip kylin_vr {map}"))
            .matches(" : ")
            .count()
            - 1
    };
    assert_eq!(
        (
            count("eip_to_vm"),
            count("vm_to_eip"),
            count("forward"),
            count("forward_range")
        ),
        (10_001, 10_001, 20_000, 1)
    );
    let routes = vpc.router.ip("-4 route show table local proto 158");
    assert_eq!(routes.lines().count(), 10_002);
    assert_eq!(
        vpc.probe(&vpc.client, Tcp, "10.90.2.250:22", &[]),
        "a1:22 sees 198.51.100.10"
    );
    assert_eq!(
        vpc.probe(&vpc.client, Tcp, "10.90.2.254:29999", &[]),
        "a2:29999 sees 198.51.100.10"
    );
    assert_eq!(
        vpc.probe(&vpc.client, Udp, "10.90.2.254:29999", &[59_999]),
        "a3:59999 sees 198.51.100.10"
    );
    // One more is one more.
    let run = vpc.reload_ok(&text.replace(
        "port_forward_list:",
        "  - {eip: 10.90.2.251, vm-ip: 192.168.100.191}\nport_forward_list:",
    ));
    assert_eq!(run.stdout.matches("element").count(), 2, "{}", run.stdout);
    vpc.reload_ok("if_list: []\n");
    assert_eq!(vpc.router.ip("-4 route show table all proto 158"), "");
}

pub fn every_port_of_a_shifted_range_goes_to_its_own_port() {
    let vpc = vpc();
    for (port, end_port, vm_port) in [
        (10u16, 12u16, 100u16),
        (100, 102, 10),
        (1000, 1300, 1001),
        (65_000, 65_535, 1),
    ] {
        let head = NOTE.split("port_forward_list:").next().unwrap();
        vpc.reload_ok(&format!(
            "{head}port_forward_list:\n  - {{eip: 10.90.2.254, protocal: tcp, port: {port}, end_port: {end_port}, \
             vm-port: {vm_port}, vm-ip: 192.168.100.192}}\n"
        ));
        let middle = port + (end_port - port) / 2;
        for outside in [port, port + 1, middle, end_port] {
            let inside = vm_port + (outside - port);
            let outcome = vpc.probe(&vpc.client, Tcp, &format!("10.90.2.254:{outside}"), &[inside]);
            assert_eq!(
                outcome,
                format!("a3:{inside} sees 198.51.100.10").as_str(),
                "{outside} of {port}-{end_port}"
            );
        }
    }
}
