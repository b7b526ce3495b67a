//! Long forwarded ranges that keep their ports: a rule each while they are few and nothing counts, else looked up.

use lab::{Tcp, Vpc};
use serde_json::Value;

use crate::configs::{expect, full, said, vpc_with};

const RANGE: &str =
    "eip: 10.90.2.253, protocol: tcp, port: 20000, end_port: 39999, vm-port: 20000, vm-ip: 192.168.101.11";

/// The file without counters, and so many ranges more, of 256 ports each.
fn file(more: u16) -> String {
    let mut file = full();
    for number in 0..more {
        let (first, last) = (1000 + 300 * number, 1255 + 300 * number);
        file += &format!(
            "  - {{eip: 10.90.2.253, protocol: tcp, port: {first}, end_port: {last}, vm-port: {first}, vm-ip: 192.168.100.192}}\n"
        );
    }
    file + "counters: false\n"
}

/// What `status` says of each of them.
fn states(vpc: &Vpc) -> Vec<Value> {
    let status: Value = serde_json::from_str(&vpc.kylin_vr(&["status", "--json"]).stdout).unwrap();
    let forwards = status["forwards"].as_array().unwrap().iter();
    let kept = forwards.filter(|one| one["eip"] == "10.90.2.253" && one["ports"] == one["vm-ports"]);
    kept.map(|one| one["state"].clone()).collect()
}

/// The ends of ranges and what is next to them.
fn expect_packets(vpc: &Vpc, more: u16) {
    let mut expected = vec![
        (20000, "b2"),
        (31234, "b2"),
        (39999, "b2"),
        (19999, "router"),
        (40000, "router"),
    ];
    for number in 0..more {
        let (first, last) = (1000 + 300 * number, 1255 + 300 * number);
        expected.extend([
            (first, "a3"),
            (last, "a3"),
            (first - 1, "router"),
            (last + 1, "router"),
        ]);
    }
    for (port, name) in expected {
        let outcome = vpc.probe(&vpc.client, Tcp, &format!("10.90.2.253:{port}"), &[]);
        assert_eq!(outcome, format!("{name}:{port} sees 198.51.100.10").as_str());
    }
}

pub fn a_few_have_a_rule_each_and_more_are_looked_up() {
    let vpc = vpc_with(&file(7));
    let table = || vpc.router.nft("list table ip kylin_vr");
    assert!(!table().contains("forward_range"), "{}", table());
    assert_eq!(states(&vpc), ["ok"; 8]);
    expect_packets(&vpc, 7);
    let flow = vpc.tcp_flow(&vpc.client, "10.90.2.253:30000", &[]).unwrap();
    let run = vpc.reload_ok(&file(7));
    expect(&run, 0, "nothing changed");

    for more in [8, 7, 8] {
        let run = vpc.reload_ok(&file(more));
        assert!(!run.stdout.contains("flow"), "{}", said(&run));
        assert_eq!(table().contains("forward_range"), more == 8, "{}", table());
        assert!(
            states(&vpc).iter().all(|state| state == "ok"),
            "{more} more ranges"
        );
        assert!(flow.ping_pong(), "{more} more ranges");
    }
    expect_packets(&vpc, 8);
    // Counted, they are looked up however few they are.
    let counted = file(0).replace("counters: false", "counters: true");
    vpc.reload_ok(&counted);
    assert!(table().contains("map forward_range"), "{}", table());
    expect_packets(&vpc, 0);
    assert!(flow.ping_pong());
}

pub fn flows_end_with_the_rule_of_their_range() {
    let vpc = vpc_with(&file(1));
    let flow = || vpc.tcp_flow(&vpc.client, "10.90.2.253:30000", &[]).unwrap();
    let other = vpc.tcp_flow(&vpc.client, "10.90.2.253:1000", &[]).unwrap();
    for (change, at) in [
        (RANGE.replace("39999", "29999"), "router"),
        (RANGE.replace("10.90.2.253", "10.90.2.252"), "router"),
        (RANGE.replace("192.168.101.11", "192.168.101.10"), "b1"),
    ] {
        vpc.reload_ok(&file(1));
        let old = flow();
        let changed = file(1).replace(RANGE, &change);
        assert_ne!(changed, file(1));
        expect(&vpc.reload_ok(&changed), 0, "ended, whose translation changed");
        assert!(!old.ping_pong(), "{change}");
        let outcome = vpc.probe(&vpc.client, Tcp, "10.90.2.253:30000", &[]);
        assert_eq!(outcome, format!("{at}:30000 sees 198.51.100.10").as_str());
        assert!(other.ping_pong(), "{change}");
    }
}

pub fn a_rule_that_somebody_deleted_is_put_back() {
    let vpc = vpc_with(&file(0));
    vpc.router.nft("flush chain ip kylin_vr destination");
    assert_eq!(states(&vpc), ["missing"]);
    let status = vpc.kylin_vr(&["status"]);
    expect(&status, 1, "DRIFT: ");
    expect(&status, 1, "th dport 20000-39999 dnat to 192.168.101.11");
    vpc.reload_ok(&file(0));
    expect_packets(&vpc, 0);
}
