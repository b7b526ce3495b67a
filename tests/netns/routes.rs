//! `route_list`: networks behind other routers, with real packets.

use lab::{Host, Icmp, Nic, Tcp, Vpc};
use serde_json::Value;

use crate::configs::{expect, full, said, vpc, vpc_with};
use crate::monitor::{eventually, monitor, settle};

const INSIDE: &str = "route_list: [{to: 172.30.0.0/16, via: 192.168.100.192, metric: 100, inside: true}]\n";
const OTHER: &str = "route_list: [{to: 172.30.0.0/16, via: 192.168.100.192}]\n";

/// The file with routes, and with an elastic IP for 172.30.0.5.
fn file(routes: &str) -> String {
    let eip = "  - {eip: 10.90.2.247, vm-ip: 172.30.0.5}\nport_forward_list:";
    full().replace("port_forward_list:", eip) + routes
}

/// Two machines behind a3: 172.30.0.5, and 172.30.1.6, which has no elastic IP.
fn behind(vpc: &Vpc) -> [Host; 2] {
    [
        vpc.behind(&vpc.a3, "far", [172, 30, 0, 5]),
        vpc.behind(&vpc.a3, "further", [172, 30, 1, 6]),
    ]
}

pub fn a_network_that_is_inside_is_one_of_the_vpc() {
    let vpc = vpc_with(&file(INSIDE));
    let [far, further] = behind(&vpc);
    let meets = |from: &Host, to: &str, ports: &[u16]| {
        let outcome = vpc.probe_with(&[&far, &further], from, Tcp, to, ports);
        format!("{} to {to}: {outcome}", from.name)
    };
    let all = [
        // Between the VPC's networks nothing is translated.
        meets(&vpc.b1, "172.30.0.5:80", &[]),
        meets(&far, "192.168.101.10:80", &[]),
        meets(&vpc.a1, "172.30.1.6:80", &[]),
        // To the outside, with an elastic IP and without.
        meets(&far, "198.51.100.10:80", &[]),
        meets(&further, "198.51.100.10:80", &[]),
        // From outside, from a subnet, from the VM itself and from the router to the elastic IP.
        meets(&vpc.client, "10.90.2.247:22", &[]),
        meets(&vpc.b2, "10.90.2.247:22", &[]),
        meets(&far, "10.90.2.247:22", &[]),
        // To an elastic IP and to a forward of others.
        meets(&far, "10.90.2.250:22", &[]),
        meets(&further, "10.90.2.254:10", &[100]),
    ];
    let expected = [
        "b1 to 172.30.0.5:80: far:80 sees 192.168.101.10",
        "far to 192.168.101.10:80: b1:80 sees 172.30.0.5",
        "a1 to 172.30.1.6:80: further:80 sees 192.168.100.190",
        "far to 198.51.100.10:80: client:80 sees 10.90.2.247",
        "further to 198.51.100.10:80: client:80 sees 10.90.3.37",
        "client to 10.90.2.247:22: far:22 sees 198.51.100.10",
        "b2 to 10.90.2.247:22: far:22 sees 10.90.3.37",
        "far to 10.90.2.247:22: far:22 sees 10.90.2.247",
        "far to 10.90.2.250:22: a1:22 sees 10.90.2.247",
        "further to 10.90.2.254:10: a3:100 sees 10.90.3.37",
    ];
    assert_eq!(all, expected);
    let ping = vpc.probe_with(&[&far], &vpc.router, Icmp, "10.90.2.247", &[]);
    assert!(ping.reached("far"), "{ping}");
    // Behind the NIC of another subnet nobody has such an address.
    let spoofed = vpc.spoof(&vpc.b1, "172.30.0.5:4000", "198.51.100.10:53", &[]);
    assert_eq!(spoofed, "lost");
}

pub fn a_network_that_is_not_inside_sees_the_router_and_is_not_translated() {
    let vpc = vpc();
    let run = vpc.reload_ok(&file(OTHER));
    assert!(
        said(&run).contains("172.30.0.5: is in no subnet of the VPC"),
        "{}",
        said(&run)
    );
    let [far, further] = behind(&vpc);
    let meets = |from: &Host, to: &str| vpc.probe_with(&[&far, &further], from, Tcp, to, &[]).to_string();
    // As anything else that is not the VPC's: a VM is seen as outside.
    assert_eq!(meets(&vpc.b2, "172.30.1.6:80"), "further:80 sees 10.90.3.37");
    assert_eq!(meets(&vpc.a1, "172.30.0.5:80"), "far:80 sees 10.90.2.250");
    assert_eq!(meets(&further, "192.168.101.10:80"), "b1:80 sees 172.30.1.6");
    assert_eq!(meets(&vpc.client, "10.90.2.247:80"), "far:80 sees 198.51.100.10");
    // Nothing gives what comes from there an address outside.
    let sent = vpc.probe_with(&[&far, &further], &further, Tcp, "198.51.100.10:80", &[]);
    assert!(!sent.reached("client"), "{sent}");
}

pub fn while_its_nic_is_missing_nothing_for_it_goes_outside() {
    let vpc = vpc_with(&file(INSIDE));
    let [far, _] = behind(&vpc);
    // Whoever would get it outside.
    vpc.upstream.ip("addr add 172.30.0.5/32 dev lo");
    let monitor = monitor(&vpc);
    let probe = || {
        vpc.probe_with(&[&far], &vpc.b1, Icmp, "172.30.0.5", &[])
            .to_string()
    };
    assert_eq!(probe(), "far sees 192.168.101.10");
    for _ in 0..2 {
        vpc.unplug(Nic::SubnetA);
        eventually(&monitor, "the end of the NIC", || {
            let status = vpc.kylin_vr(&["status", "--json"]);
            let status: Value = serde_json::from_str(&status.stdout).unwrap();
            let eips = status["elastic_ips"].as_array().unwrap();
            let waits = eips.iter().find(|one| one["vm-ip"] == "172.30.0.5").unwrap();
            status["routes"][0]["state"] == "pending" && waits["state"] == "pending"
        });
        assert_eq!(probe(), "unreachable");
        vpc.plug(Nic::SubnetA);
        eventually(&monitor, "the route", || {
            vpc.router
                .ip("route show 172.30.0.0/16")
                .contains("192.168.100.192")
        });
        assert_eq!(probe(), "far sees 192.168.101.10");
    }
}

pub fn routes_come_change_and_go_and_others_routes_stay() {
    let vpc = vpc();
    let empty = vpc.router.snapshot();
    vpc.reload_ok(&full());
    // Of the same network and metric, and of another; the first of its metric is the one that is taken.
    vpc.router
        .ip("route add 172.30.0.0/16 via 192.168.101.10 proto static");
    vpc.router
        .ip("route add 172.31.0.0/16 via 192.168.101.10 proto bird");
    let before = vpc.router.snapshot();
    let ways = || vpc.router.ip("route get 172.30.0.5");
    vpc.reload_ok(&file(OTHER));
    assert!(ways().contains("via 192.168.100.192"), "{}", ways());
    expect(&vpc.reload_ok(&file(OTHER)), 0, "nothing changed");
    vpc.reload_ok(&file(&OTHER.replace("100.192", "100.191")));
    assert!(ways().contains("via 192.168.100.191"), "{}", ways());
    vpc.reload_ok(&file(&OTHER.replace("100.192}", "101.11, metric: 5}")));
    assert!(ways().contains("via 192.168.101.10"), "of metric 0: {}", ways());
    let ours = vpc.router.ip("route show proto 158 172.30.0.0/16");
    assert_eq!(ours.trim(), "172.30.0.0/16 via 192.168.101.11 dev lan4 metric 5");
    expect(&vpc.kylin_vr(&["status"]), 0, "172.30.0.0/16");
    vpc.reload_ok(&file(INSIDE));
    vpc.reload_ok(&full());
    before.assert_same(&vpc.router.snapshot());
    vpc.reload_ok(&file(INSIDE));
    vpc.router.ip("route del 172.30.0.0/16 via 192.168.101.10");
    vpc.router.ip("route del 172.31.0.0/16");
    vpc.reload_ok("if_list: []\n");
    assert_eq!(empty.changes(&vpc.router.snapshot()), "");
}

pub fn what_others_change_of_a_route_is_put_right() {
    let vpc = vpc_with(&file(INSIDE));
    let before = vpc.router.snapshot();
    let link = Nic::SubnetA.name();
    let deeds: [&dyn Fn(); 4] = [
        &|| drop(vpc.router.ip("route del 172.30.0.0/16 via 192.168.100.192")),
        &|| drop(vpc.router.ip("route del unreachable 172.30.0.0/16")),
        &|| {
            let another = "route replace 172.30.0.0/16 via 192.168.100.191 metric 100 proto 158";
            drop(vpc.router.ip(another));
        },
        &|| {
            vpc.router.ip(&format!("link set {link} down"));
            vpc.router.ip(&format!("link set {link} up"));
        },
    ];
    for deed in deeds {
        deed();
        let run = vpc.kylin_vr(&["status"]);
        assert!(
            run.code == 1 && run.stdout.contains("172.30.0.0/16"),
            "{}",
            said(&run)
        );
        vpc.reload_ok(&file(INSIDE));
        before.assert_same(&vpc.router.snapshot());
    }
    // The monitor hears of each, and looks at nothing but the rest.
    let monitor = monitor(&vpc);
    settle(&monitor);
    for deed in deeds {
        let told = monitor.log().matches("put right").count();
        deed();
        eventually(&monitor, "the repair", || {
            monitor.log().matches("put right").count() > told
        });
        eventually(&monitor, "the route", || vpc.kylin_vr(&["status"]).code == 0);
    }
    before.assert_same(&vpc.router.snapshot());
}

pub fn a_route_is_traced() {
    let vpc = vpc_with(&file(INSIDE));
    let [far, _] = behind(&vpc);
    let ping = vpc.probe_with(&[&far], &vpc.b1, Icmp, "172.30.0.5", &[]);
    assert!(ping.reached("far"), "{ping}");
    let trace = vpc.kylin_vr(&[
        "trace",
        "--from",
        "192.168.101.10",
        "--to",
        "172.30.0.5",
        "tcp",
        "80",
    ]);
    expect(&trace, 0, "172.30.0.5 is reached by the router 192.168.100.192");
    expect(&trace, 0, "route_list[0]");
    let trace = vpc.kylin_vr(&[
        "trace",
        "--from",
        "172.30.0.5",
        "--to",
        "198.51.100.10",
        "tcp",
        "80",
    ]);
    expect(&trace, 0, "from behind another router, by lan3");
    expect(&trace, 0, "seen as coming from 10.90.2.247");
}

/// Refused by the kernel as long as it is the broadcast address of any subnet of the router.
pub fn a_next_hop_that_was_a_broadcast_address_is_one() {
    let vpc = vpc();
    let subnet = |address: &str, prefix: u8| {
        format!("if_list:\n  - {{ipaddr: {address}, prefix: {prefix}, mac: '52:54:84:11:00:03'}}\n")
    };
    vpc.reload_ok(&subnet("192.168.101.1", 30));
    let routed = subnet("192.168.101.14", 28) + "route_list:\n  - {to: 172.30.0.0/16, via: 192.168.101.3}\n";
    vpc.reload_ok(&routed);
    let routes = vpc.router.ip("route show 172.30.0.0/16");
    assert!(routes.contains("via 192.168.101.3"), "{routes}");
    // And back, by a plan the other way round.
    vpc.reload_ok(&subnet("192.168.101.1", 30));
    assert_eq!(vpc.router.ip("route show 172.30.0.0/16"), "");
}
