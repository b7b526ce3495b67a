//! The table in a real kernel, and the events of real packets.

use std::net::UdpSocket;

use super::*;
use crate::model::inspected::{Verdict, Waypoint};
use crate::model::nft::Packet;

/// Runs in a network namespace of its own; without root it says so.
fn in_namespace(test: impl FnOnce() + Send + 'static) {
    if !nix::unistd::geteuid().is_root() {
        println!("skipped: needs root");
        return;
    }
    let run = move || {
        nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
        let up = std::process::Command::new("ip")
            .args(["link", "set", "lo", "up"])
            .status();
        assert!(up.unwrap().success());
        test();
    };
    std::thread::spawn(run).join().unwrap();
}

fn to_port(port: u16) -> Followed {
    Followed {
        packet: Packet {
            protocol: 17,
            source: [127, 0, 0, 1].into(),
            destination: [127, 0, 0, 1].into(),
            destination_port: Some(port),
        },
        own: true,
        answer: None,
    }
}

fn send_to(port: u16) {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.send_to(b"x", ("127.0.0.1", port)).unwrap();
}

fn nft(text: &str) -> String {
    let output = std::process::Command::new("nft")
        .args(text.split(' '))
        .output()
        .unwrap();
    assert!(output.status.success(), "{text}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn a_packet_is_followed_from_hook_to_hook_and_others_are_not() {
    in_namespace(|| {
        let mut follower = Follower::open(&to_port(53)).unwrap();
        send_to(54);
        send_to(53);
        let events = follower.wait(Duration::from_secs(5), |_| false).unwrap();
        let seen = events.iter().filter(|one| one.rule.is_none());
        let mut waypoints: Vec<Waypoint> = seen.filter_map(|one| one.waypoint).collect();
        // The end of a chain, and its policy.
        waypoints.dedup();
        use Waypoint::{BeforeRouting, Entered, ForTheRouter, Left, Sent, SentOn, Taken};
        assert_eq!(
            waypoints,
            [Sent, SentOn, Left, Entered, BeforeRouting, ForTheRouter, Taken]
        );
        let ports: Vec<_> = events
            .iter()
            .filter_map(|one| one.packet?.destination_port)
            .collect();
        assert!(
            !ports.is_empty() && ports.iter().all(|port| *port == 53),
            "{events:?}"
        );
        assert!(
            events.iter().all(|one| one.verdict == Verdict::Continues),
            "{events:?}"
        );
    });
}

#[test]
fn who_drops_it_is_told_with_table_chain_and_rule() {
    in_namespace(|| {
        nft("add table inet other");
        nft("add chain inet other c { type filter hook output priority 0 ; }");
        nft("add rule inet other c udp dport 53 drop");
        let mut follower = Follower::open(&to_port(53)).unwrap();
        // Refused: the drop is told to who sends.
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let _ = socket.send_to(b"x", "127.0.0.1:53");
        let events = follower.wait(Duration::from_secs(5), |_| false).unwrap();
        let last = events.last().unwrap();
        assert_eq!(
            (last.family, last.table.as_str(), last.chain.as_str()),
            ("inet", "other", "c")
        );
        assert_eq!(
            (last.verdict, last.rule.is_some()),
            (Verdict::Dropped, true),
            "{events:?}"
        );
    });
}

#[test]
fn the_table_is_gone_with_it_and_one_that_was_left_over_is_no_error() {
    in_namespace(|| {
        nft("add table ip kylin_vr_trace");
        nft("add chain ip kylin_vr_trace entered");
        let follower = Follower::open(&to_port(53)).unwrap();
        assert!(nft("list tables").contains("kylin_vr_trace"));
        let second = Follower::open(&to_port(54)).err().unwrap().to_string();
        assert!(second.contains("another `kylin-vr trace --live`"), "{second}");
        drop(follower);
        assert_eq!(nft("list tables"), "");
    });
}
