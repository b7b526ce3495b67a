//! What is counted by elastic IP and forward, to the packet: sent by the lab, told by `status --json`.

use lab::{Namespace, Tcp, Udp, Vpc};
use serde_json::Value;

use crate::configs::{expect, full, vpc_with};

/// `packets_in packets_out connections_in connections_out` of an entry.
type Counts = [u64; 4];

/// What `status --json` says of the entry at this path.
fn entry(vpc: &Vpc, path: &str) -> Value {
    let run = vpc.kylin_vr(&["status", "--json"]);
    let status: Value = serde_json::from_str(&run.stdout).unwrap();
    let lists = ["elastic_ips", "forwards"].map(|list| status[list].as_array().unwrap().clone());
    let found = lists.concat().into_iter().find(|one| one["path"] == path);
    found.unwrap_or_else(|| panic!("{path}: {}", run.stdout))
}

fn counts(vpc: &Vpc, path: &str) -> Counts {
    let traffic = &entry(vpc, path)["traffic"];
    ["packets_in", "packets_out", "connections_in", "connections_out"].map(|name| {
        traffic[name]
            .as_u64()
            .unwrap_or_else(|| panic!("{path} {name}: {traffic}"))
    })
}

fn bytes(vpc: &Vpc, path: &str) -> [u64; 2] {
    let traffic = &entry(vpc, path)["traffic"];
    ["bytes_in", "bytes_out"].map(|name| traffic[name].as_u64().unwrap())
}

/// So many echo requests of 128 bytes, answered.
#[track_caller]
fn ping(from: &Namespace, to: &str, number: u32) {
    assert!(from.ping(to, number), "{to} does not answer");
}

const EIP: &str = "eip_list[0]";
/// 10.90.2.254 udp 53 to b2, 5353.
const DNS: &str = "port_forward_list[2]";
const DNS_ADDRESS: &str = "10.90.2.254:53";

pub fn known_traffic_is_counted_to_the_packet_before_and_after_reloads() {
    let vpc = vpc_with(&full());
    let udp = |from, to, times: u64| {
        for _ in 0..times {
            let outcome = vpc.probe(from, Udp, to, &[53, 5353]);
            assert!(outcome.to_string().contains("sees"), "{outcome}");
        }
    };
    assert_eq!((counts(&vpc, EIP), counts(&vpc, DNS)), ([0; 4], [0; 4]));

    ping(&vpc.client, "10.90.2.250", 7);
    assert_eq!(counts(&vpc, EIP), [7, 7, 1, 0]);
    assert_eq!(bytes(&vpc, EIP), [7 * 128; 2]);
    udp(&vpc.client, "10.90.2.250:53", 3);
    assert_eq!(counts(&vpc, EIP), [10, 10, 4, 0]);
    // The VM to the outside: the answers come in.
    ping(&vpc.a1, "198.51.100.10", 5);
    assert_eq!(counts(&vpc, EIP), [15, 15, 4, 1]);
    // Inside, nothing.
    ping(&vpc.a1, "192.168.101.10", 4);
    ping(&vpc.b1, "192.168.100.190", 4);
    assert_eq!(counts(&vpc, EIP), [15, 15, 4, 1]);
    // A VM without one comes by the elastic IP.
    ping(&vpc.b1, "10.90.2.250", 2);
    assert_eq!(counts(&vpc, EIP), [17, 17, 5, 1]);

    udp(&vpc.client, DNS_ADDRESS, 4);
    assert_eq!(counts(&vpc, DNS), [4, 4, 4, 0]);
    // By way of the VM's own elastic IP: that is out of one and in to the other.
    udp(&vpc.a1, DNS_ADDRESS, 1);
    assert_eq!(counts(&vpc, DNS), [5, 5, 5, 0]);
    assert_eq!(counts(&vpc, EIP), [18, 18, 5, 2]);
    // Other ports of that address are the router's own.
    ping(&vpc.client, "10.90.2.254", 3);
    assert_eq!(counts(&vpc, DNS), [5, 5, 5, 0]);

    // Reloads: of nothing, of other entries, and of the VM behind it.
    let more = full().replace(
        "eip_list:",
        "eip_list:\n  - {eip: 10.90.2.77, vm-ip: 192.168.101.11}",
    );
    for text in [&full(), &more] {
        vpc.reload_ok(text);
    }
    let (eip, dns) = ("eip_list[1]", DNS);
    assert_eq!(
        (counts(&vpc, eip), counts(&vpc, dns)),
        ([18, 18, 5, 2], [5, 5, 5, 0])
    );
    ping(&vpc.client, "10.90.2.250", 1);
    udp(&vpc.client, DNS_ADDRESS, 1);
    assert_eq!(
        (counts(&vpc, eip), counts(&vpc, dns)),
        ([19, 19, 6, 2], [6, 6, 6, 0])
    );
    assert_eq!(counts(&vpc, "eip_list[0]"), [0; 4]);
    vpc.reload_ok(&more.replace("192.168.100.190", "192.168.100.191"));
    ping(&vpc.client, "10.90.2.250", 1);
    // What a VM began is the VM's.
    assert_eq!(counts(&vpc, eip), [20, 20, 7, 0]);
    let listed = vpc.router.nft("list table ip kylin_vr");
    assert!(
        listed.contains("ct direction reply ct original ip daddr @count_out return"),
        "{listed}"
    );
}

pub fn what_goes_and_comes_again_starts_at_nothing() {
    let vpc = vpc_with(&full());
    ping(&vpc.client, "10.90.2.250", 2);
    assert!(
        vpc.probe(&vpc.client, Udp, DNS_ADDRESS, &[5353])
            .to_string()
            .contains("sees")
    );
    let other = "eip_list[1]";
    let two = full().replace(
        "eip_list:",
        "eip_list:\n  - {eip: 10.90.2.77, vm-ip: 192.168.101.11}",
    );
    vpc.reload_ok(&two);
    ping(&vpc.client, "10.90.2.77", 3);
    // The first one and the forward go; what stays keeps its counts.
    let without = two
        .replace("- eip: 10.90.2.250\n    vm-ip: 192.168.100.190", "")
        .replace(
            "  - {eip: 10.90.2.254, protocal: udp, port: 53, vm-port: 5353, vm-ip: 192.168.101.11}\n",
            "",
        );
    vpc.reload_ok(&without);
    vpc.reload_ok(&two);
    assert_eq!(counts(&vpc, other), [0; 4]);
    assert_eq!(counts(&vpc, DNS), [0; 4]);
    assert_eq!(counts(&vpc, EIP), [3, 3, 1, 0]);
}

pub fn a_long_range_is_counted_as_one() {
    // Of tcp it is alone on its address; of udp a second one is beside it, and another forward.
    let beside = "
  - {eip: 10.90.2.252, protocol: udp, port: 1000, end_port: 1999, vm-port: 1000, vm-ip: 192.168.101.10}
  - {eip: 10.90.2.252, protocol: udp, port: 3000, end_port: 3999, vm-port: 3000, vm-ip: 192.168.101.11}
  - {eip: 10.90.2.248, protocol: udp, port: 4000, end_port: 4999, vm-port: 4000, vm-ip: 192.168.101.11}
  - {eip: 10.90.2.248, protocol: tcp, port: 22, vm-port: 2222, vm-ip: 192.168.101.11}
  - {eip: 10.90.2.249, protocol: udp, port: 5000, end_port: 5999, vm-port: 5000, vm-ip: 192.168.101.11}
  - {eip: 10.90.2.247, protocol: udp, port: 6000, end_port: 6999, vm-port: 7000, vm-ip: 192.168.101.11}
  - {eip: 10.90.2.248, protocol: udp, port: 8000, end_port: 8999, vm-port: 9000, vm-ip: 192.168.101.11}
";
    let vpc = vpc_with(&(full() + beside));
    let forward = |number: usize| format!("port_forward_list[{number}]");
    let send_shifted = |to: &str, port: u16, by: u16, times: u64| {
        for _ in 0..times {
            let outcome = vpc.probe(&vpc.client, Udp, &format!("{to}:{port}"), &[port + by]);
            assert!(outcome.to_string().contains("sees"), "{to}:{port}: {outcome}");
        }
    };
    let send = |to, port, times| send_shifted(to, port, 0, times);
    let first = 6;
    send("10.90.2.252", 1000, 1);
    send("10.90.2.252", 1500, 1);
    send("10.90.2.252", 3999, 3);
    send("10.90.2.248", 4321, 4);
    send("10.90.2.249", 5999, 5);
    send_shifted("10.90.2.247", 6000, 1000, 1);
    send_shifted("10.90.2.247", 6999, 1000, 2);
    send_shifted("10.90.2.248", 8500, 1000, 2);
    let expected = [2, 3, 4, 0, 5, 3, 2];
    for (number, packets) in expected.into_iter().enumerate() {
        let counted = counts(&vpc, &forward(first + number));
        assert_eq!(counted, [packets, packets, packets, 0], "{number}");
    }
    // A port that is shifted has an element to be translated by, and none to be counted by.
    let listed = vpc.router.nft("list table ip kylin_vr");
    let counted = listed.split("count_forward_in").nth(1).unwrap();
    let counted = counted.split('}').next().unwrap();
    assert!(!counted.contains(". 6500"), "{counted}");
    let range = forward(3);
    for port in [20_000, 25_000, 39_999] {
        let outcome = vpc.probe(&vpc.client, Tcp, &format!("10.90.2.253:{port}"), &[port]);
        assert!(outcome.to_string().contains("sees"), "{outcome}");
    }
    let [packets_in, packets_out, connections, out] = counts(&vpc, &range);
    assert_eq!((connections, out), (3, 0));
    // A handshake, a word each way and the end of it: at least four each way a connection.
    assert!(packets_in >= 12 && packets_out >= 9, "{packets_in} {packets_out}");
}

pub fn counters_can_be_turned_off() {
    let vpc = vpc_with(&(full() + "counters: false\n"));
    ping(&vpc.client, "10.90.2.250", 2);
    assert_eq!(entry(&vpc, EIP)["traffic"], Value::Null);
    let table = vpc.router.nft("list table ip kylin_vr");
    assert!(!table.contains("count"), "{table}");
    vpc.reload_ok(&full());
    ping(&vpc.client, "10.90.2.250", 2);
    assert_eq!(counts(&vpc, EIP), [2, 2, 1, 0]);
}

pub fn a_counter_that_is_gone_is_put_back() {
    let vpc = vpc_with(&full());
    ping(&vpc.client, "10.90.2.250", 2);
    vpc.router
        .nft("delete element ip kylin_vr count_in { 10.90.2.250 }");
    let status = vpc.kylin_vr(&["status"]);
    expect(&status, 1, "DRIFT: ");
    expect(&status, 1, "~ nft      counters count_in: 1 come, 0 go");
    let plan = vpc.kylin_vr(&["plan"]);
    expect(&plan, 0, "counters count_in");
    vpc.reload_ok(&full());
    ping(&vpc.client, "10.90.2.250", 1);
    assert_eq!(counts(&vpc, EIP), [1, 3, 2, 0]);
}

pub fn a_table_that_is_replaced_keeps_what_was_counted() {
    let vpc = vpc_with(&full());
    ping(&vpc.client, "10.90.2.250", 4);
    ping(&vpc.a1, "198.51.100.10", 2);
    let dns = vpc.probe(&vpc.client, Udp, DNS_ADDRESS, &[5353]);
    assert!(dns.to_string().contains("sees"), "{dns}");
    let before = (counts(&vpc, EIP), counts(&vpc, DNS));
    assert_eq!(before, ([6, 6, 1, 1], [1, 1, 1, 0]));
    // More than the maps were made for.
    let entry = |number: u32| {
        let (high, low) = (number / 250, number % 250 + 1);
        format!("  - {{eip: 10.91.{high}.{low}, vm-ip: 192.168.101.{low}}}\n")
    };
    let entries: String = (0..5_000).map(entry).collect();
    // So many are counted only where the file asks for it.
    let more = full().replace(
        "port_forward_list:",
        &(entries + "counters: true\nport_forward_list:"),
    );
    vpc.write_config(&more);
    let reload = vpc.kylin_vr(&["reload"]);
    let replaced = "~ nft      table ip kylin_vr (";
    assert!(
        reload.code == 0 && reload.stdout.contains(replaced),
        "{}",
        reload.stdout
    );
    assert_eq!((counts(&vpc, EIP), counts(&vpc, DNS)), before);
    ping(&vpc.client, "10.90.2.250", 1);
    assert_eq!(counts(&vpc, EIP), [7, 7, 2, 1]);
    vpc.reload_ok(&full());
    assert_eq!((counts(&vpc, EIP), counts(&vpc, DNS)), ([7, 7, 2, 1], before.1));
}

pub fn what_the_router_sends_to_an_elastic_ip_is_counted_in() {
    let vpc = vpc_with(&full());
    ping(&vpc.router, "10.90.2.250", 3);
    assert_eq!(counts(&vpc, EIP), [3, 0, 1, 0]);
    // Its own traffic is none of anybody's.
    ping(&vpc.router, "198.51.100.10", 3);
    ping(&vpc.router, "192.168.100.190", 3);
    assert_eq!(counts(&vpc, EIP), [3, 0, 1, 0]);
}
