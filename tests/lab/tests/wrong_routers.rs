//! Routers that are wrong in one place: a probe must not be content with any of them.

mod hand;

use hand::{RULESET, needs_netns, vpc_with, wrong};
use lab::{Icmp, Listener, Outcome, Tcp, Udp, probe};
use std::time::Duration;

#[test]
fn a_wrong_target_is_noticed() {
    needs_netns!();
    let vpc = vpc_with(&wrong(
        "10.90.2.250 : 192.168.100.190",
        "10.90.2.250 : 192.168.100.192",
    ));
    for protocol in [Tcp, Udp] {
        assert_eq!(
            vpc.probe(&vpc.client, protocol, "10.90.2.250:22", &[]),
            "a3:22 sees 198.51.100.10"
        );
    }
    assert_eq!(
        vpc.probe(&vpc.client, Icmp, "10.90.2.250", &[]),
        "a3 sees 198.51.100.10"
    );
}

#[test]
fn a_masquerade_that_takes_inbound_clients_along_is_noticed() {
    needs_netns!();
    let vpc = vpc_with(&wrong("ip saddr != @vpc_subnets return", "").replace(
        "meta mark & 0x10000 == 0x10000 return",
        "ip saddr 192.168.100.0/24 meta mark & 0x10000 == 0x10000 return",
    ));
    assert_eq!(
        vpc.probe(&vpc.client, Tcp, "10.90.2.250:22", &[]),
        "a1:22 sees 10.90.3.37"
    );
    assert_eq!(
        vpc.probe(&vpc.client, Icmp, "10.90.2.250", &[]),
        "a1 sees 10.90.3.37"
    );
}

#[test]
fn translation_between_subnets_is_noticed() {
    needs_netns!();
    let vpc = vpc_with(&wrong("meta mark & 0x10000 == 0x10000 return", ""));
    assert_eq!(
        vpc.probe(&vpc.a1, Tcp, "192.168.101.10:22", &[]),
        "b1:22 sees 10.90.2.250"
    );
    assert_eq!(
        vpc.probe(&vpc.b1, Udp, "192.168.100.190:22", &[]),
        "a1:22 sees 10.90.3.37"
    );
}

#[test]
fn a_range_that_lands_on_one_port_is_noticed() {
    needs_netns!();
    let vpc = vpc_with(&wrong("192.168.100.192 . 101", "192.168.100.192 . 100"));
    assert_eq!(
        vpc.probe(&vpc.client, Tcp, "10.90.2.254:11", &[100, 101, 102]),
        "a3:100 sees 198.51.100.10"
    );
}

/// The VM answers its neighbour directly, from an address that the neighbour did not ask.
#[test]
fn a_hairpin_without_source_translation_has_no_answer() {
    needs_netns!();
    let vpc = vpc_with(&wrong(
        "ip saddr != @vpc_subnets return",
        "ip daddr @vpc_subnets return",
    ));
    assert_eq!(vpc.probe(&vpc.a3, Tcp, "10.90.2.250:22", &[]), Outcome::Lost);
    assert_eq!(
        vpc.probe(&vpc.a3, Udp, "10.90.2.250:22", &[]),
        "a1:22 sees 192.168.100.192, no answer"
    );
    let answer = "a1 sees 192.168.100.192, answer from 192.168.100.190";
    assert_eq!(vpc.probe(&vpc.a3, Icmp, "10.90.2.250", &[]), answer);
}

#[test]
fn a_reset_is_refused_a_drop_is_lost_a_reject_is_unreachable() {
    needs_netns!();
    let vpc = vpc_with(RULESET);
    let target = "10.90.2.250:22".parse().expect("an address");
    let others = [vpc.a2.on(22), vpc.b1.on(22)];
    let timeout = Duration::from_millis(300);
    for protocol in [Tcp, Udp] {
        // Nobody listens on a1: its kernel says so.
        assert_eq!(
            probe(&vpc.client, protocol, target, &others, timeout),
            Outcome::Refused
        );
    }
    // Nobody watches a1, but its kernel answers.
    assert_eq!(
        probe(&vpc.client, Icmp, target, &others, timeout),
        "answered by 10.90.2.250"
    );

    vpc.router
        .nft("table ip t { chain c { type filter hook forward priority 0; policy drop; }; }");
    for protocol in [Tcp, Udp, Icmp] {
        assert_eq!(
            vpc.probe(&vpc.client, protocol, "10.90.2.250:22", &[]),
            Outcome::Lost
        );
    }
    let reject = "reject with icmp type host-unreachable";
    vpc.router.nft(&format!(
        "delete table ip t\ntable ip t {{ chain c {{ type filter hook forward priority 0; {reject}; }}; }}"
    ));
    for protocol in [Tcp, Udp, Icmp] {
        assert_eq!(
            vpc.probe(&vpc.client, protocol, "10.90.2.250:22", &[]),
            Outcome::Unreachable
        );
    }
}

#[test]
fn a_sender_without_a_route_is_told_so() {
    needs_netns!();
    let vpc = vpc_with(RULESET);
    vpc.a1.ip("route del default");
    for protocol in [Tcp, Udp, Icmp] {
        assert_eq!(
            vpc.probe(&vpc.a1, protocol, "198.51.100.10:80", &[]),
            Outcome::Unreachable
        );
    }
}

#[test]
fn an_answer_that_gets_lost_is_told_from_a_lost_question() {
    needs_netns!();
    let vpc = vpc_with(RULESET);
    vpc.router.nft(
        "table ip t { chain c { type filter hook forward priority 0; ip saddr 192.168.100.190 drop; }; }",
    );
    assert_eq!(
        vpc.probe(&vpc.client, Udp, "10.90.2.250:22", &[]),
        "a1:22 sees 198.51.100.10, no answer"
    );
    assert_eq!(
        vpc.probe(&vpc.client, Icmp, "10.90.2.250", &[]),
        "a1 sees 198.51.100.10, no answer"
    );
    // A connection has no such state: the server accepts when both ways are proven.
    assert_eq!(vpc.probe(&vpc.client, Tcp, "10.90.2.250:22", &[]), Outcome::Lost);
}

#[test]
fn an_address_of_the_listener_can_be_told() {
    needs_netns!();
    let vpc = vpc_with(RULESET);
    let listener = Listener::new("a1's other address", &vpc.a1, [22]).at([192, 168, 100, 7].into());
    let target = "10.90.2.250:22".parse().expect("an address");
    assert_eq!(
        probe(&vpc.client, Tcp, target, &[listener], Duration::from_millis(300)),
        Outcome::Refused
    );
}

#[test]
fn a_spoofed_source_arrives_until_the_reverse_path_filter_is_on() {
    needs_netns!();
    let vpc = vpc_with(RULESET);
    let send = || vpc.spoof(&vpc.a1, "192.168.101.66:4000", "192.168.101.10:53", &[]);
    assert_eq!(send(), "b1:53 sees 192.168.101.66, no answer");
    assert_eq!(send().arrival().source.port(), 4000);
    vpc.router.set_sysctl("net/ipv4/conf/lan3/rp_filter", "1");
    assert_eq!(send(), Outcome::Lost);
}
