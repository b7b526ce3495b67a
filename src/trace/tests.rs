//! What is said of packets.

use std::collections::BTreeSet;

use super::*;
use crate::config::Config;
use crate::model::LinkId;
use crate::translate::Arguments;

pub(super) const ROUTER: &str = include_str!("../../examples/kylin-vr.yaml");
pub(super) const FROM_OUTSIDE: &str = "198.51.100.10 10.90.2.250 tcp 22";

pub(super) fn config(text: &str) -> Config {
    let parsed = Config::parse(text.as_bytes());
    parsed.config.unwrap_or_else(|| panic!("{:?}", parsed.problems))
}

/// The trace of `FROM TO PROTOCOL [PORT]`, where these NICs of the file are missing.
pub(super) fn trace(config: &Config, missing: &[usize], words: &str) -> Trace {
    let there = (0..config.interfaces().len()).filter(|index| !missing.contains(index));
    let names: Names = there
        .map(|index| (Nic(index), LinkName(format!("eth{index}").into())))
        .collect();
    let nics: BTreeSet<LinkId> = names
        .keys()
        .map(|nic| config.interfaces()[nic.0].link())
        .collect();
    let model = Model::new(config, &nics);
    let words: Vec<&str> = words.split(' ').collect();
    let arguments = Arguments {
        from: words[0],
        to: words[1],
        protocol: words[2],
        port: words.get(3).copied(),
    };
    Trace::new(&model, config, &model.packet(&arguments).unwrap(), &names, false)
}

#[test]
fn the_last_sentence_says_who_gets_it_or_why_nobody_does() {
    let outside = ROUTER.replace("vm-ip: 192.168.100.191", "vm-ip: 192.168.200.5");
    for (text, missing, words, sentence, remedy) in [
        (
            ROUTER,
            &[][..],
            "192.168.100.190 10.90.2.251 tcp 443",
            "delivered to 192.168.100.191 tcp 443 by eth1, seen as coming from 10.90.2.250",
            None,
        ),
        (
            ROUTER,
            &[],
            "198.51.100.10 10.90.2.250 icmp",
            "delivered to 192.168.100.190 (icmp) by eth1, seen as coming from 198.51.100.10",
            None,
        ),
        (
            ROUTER,
            &[],
            "192.168.100.7 8.8.8.8 47",
            "delivered to the gateway 10.90.3.1 by eth0 for 8.8.8.8 (protocol 47), seen as coming from 10.90.3.37",
            None,
        ),
        (
            ROUTER,
            &[],
            "198.51.100.10 10.90.2.254 tcp 8081",
            "not forwarded: no forward for tcp 8081 on 10.90.2.254; the nearest is port_forward_list[0], ports 80-82, \
             line 17; the router itself refuses it with a TCP reset, unless a program of its own listens there",
            None,
        ),
        (
            ROUTER,
            &[],
            "198.51.100.10 10.90.2.254 icmp",
            "not forwarded: only ports of 10.90.2.254 are forwarded: the router answers; the router itself answers the ping",
            None,
        ),
        (
            ROUTER,
            &[],
            "192.168.100.190 10.90.3.37 udp 53",
            "for the router itself, 10.90.3.37 udp 53, which refuses it (ICMP: port unreachable), unless a program of \
             its own listens there",
            None,
        ),
        (
            ROUTER,
            &[1],
            FROM_OUTSIDE,
            "dropped by the routing: 192.168.100.190 is in the subnet of if_list[1], whose NIC is not there, line 8",
            Some(
                "have the hypervisor plug in the NIC 52:54:84:11:00:03 of if_list[1]; it is set up when it comes",
            ),
        ),
        (
            ROUTER,
            &[0],
            "198.51.100.10 10.90.2.250 udp 1",
            "dropped where it enters: the NIC is not there (if_list[0], line 4)",
            Some(
                "have the hypervisor plug in the NIC 52:54:84:00:08:45 of if_list[0]; it is set up when it comes",
            ),
        ),
        (
            outside.as_str(),
            &[],
            "198.51.100.10 10.90.2.251 tcp 22",
            "sent outside by eth0 to 10.90.3.1, not to a VM: the vm-ip 192.168.200.5 of eip_list[1], line 14, is in no \
             subnet of the VPC",
            Some("correct the vm-ip of eip_list[1], or add the interface of its subnet to if_list"),
        ),
        (
            ROUTER,
            &[],
            "198.51.100.10 10.90.2.9 tcp 22",
            "sent back outside by eth0 to 10.90.3.1: 10.90.2.9 is in neither eip_list nor port_forward_list, and in no \
             subnet of the VPC",
            Some("add 10.90.2.9 to eip_list or port_forward_list"),
        ),
        (
            ROUTER,
            &[],
            "192.168.100.7 192.168.100.255 udp 67",
            "dropped by the routing: 192.168.100.255 is the broadcast address of a subnet",
            None,
        ),
    ] {
        let trace = trace(&config(text), missing, words);
        assert_eq!(
            (trace.sentence.as_str(), trace.remedy.as_deref()),
            (sentence, remedy),
            "{words}"
        );
    }
}

#[test]
fn the_way_is_told_line_by_line() {
    let trace = trace(&config(ROUTER), &[], "192.168.100.190 10.90.2.251 tcp 443");
    assert_eq!(
        trace.text(),
        "tcp from 192.168.100.190 to 10.90.2.251 port 443
  enters        from its subnet, by eth1 (if_list[1], line 8)
  destination   10.90.2.251 becomes 192.168.100.191 (eip_list[1], line 14)
  route         192.168.100.191 is in the subnet of if_list[1], line 8
  source        192.168.100.190 becomes its elastic IP 10.90.2.250 (eip_list[0], line 12)
  leaves        by eth1, to the hardware address of 192.168.100.191
  way back      192.168.100.191:443 answers 10.90.2.250; 192.168.100.190 gets it by eth1 from 10.90.2.251:443
"
    );
}

#[test]
fn the_document_has_what_programs_need() {
    let json =
        serde_json::to_value(trace(&config(ROUTER), &[], "192.168.100.190 10.90.2.254 tcp 81")).unwrap();
    assert_eq!(json["outcome"], "delivered");
    assert_eq!(json["destination"], "192.168.100.190");
    assert_eq!(json["destination_port"], 81);
    assert_eq!(json["source"], "10.90.2.250");
    let decided = json["decided_by"].as_array().unwrap();
    let of = |path: &str| decided.iter().find(|one| one["path"] == path).unwrap()["line"].clone();
    assert_eq!(
        (of("port_forward_list[0]"), of("eip_list[0]")),
        (17.into(), 12.into())
    );
    let json = serde_json::to_value(trace(&config(ROUTER), &[1], FROM_OUTSIDE)).unwrap();
    assert_eq!(
        (&json["outcome"], &json["destination"]),
        (&"dropped".into(), &serde_json::Value::Null)
    );
    assert_eq!(
        (&json["reason"], &json["pending"][0]["path"]),
        (&"subnet-pending".into(), &"if_list[1]".into())
    );
    let json = serde_json::to_value(trace(&config(ROUTER), &[], "198.51.100.10 10.90.2.254 udp 9")).unwrap();
    assert_eq!(
        (&json["outcome"], &json["destination"]),
        (&"router".into(), &"10.90.2.254".into())
    );
}

#[test]
fn a_vm_that_is_listed_is_called_by_its_name() {
    let list = "mac: \"52:54:84:11:00:03\", vm_list: [{vm-ip: 192.168.100.190, mac: '02:00:00:00:00:01', name: web-1}]";
    let text = "if_list:
  - {ipaddr: 10.90.3.37, prefix: 24, mac: '52:54:84:00:08:45', gateway: 10.90.3.1}
  - {ipaddr: 192.168.100.254, prefix: 24, LIST}
eip_list: [{eip: 10.90.2.250, vm-ip: 192.168.100.190}]
"
    .replace("LIST", list);
    let config = config(&text);
    assert_eq!(
        trace(&config, &[], FROM_OUTSIDE).sentence,
        "delivered to web-1, 192.168.100.190 tcp 22, by eth1, seen as coming from 198.51.100.10"
    );
    let first = trace(&config, &[], "192.168.100.190 198.51.100.10 tcp 80").steps[0].clone();
    assert_eq!(first.text, "from its subnet (web-1), by eth1");
}
