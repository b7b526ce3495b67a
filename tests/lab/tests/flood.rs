//! Floods: every frame arrives, and every one is a flow of its own.

mod hand;

use std::net::SocketAddrV4;
use std::time::{Duration, Instant};

use hand::needs_netns;
use lab::{Extent, Flood, Namespace};

#[test]
fn every_frame_of_a_flood_is_a_new_flow_to_one_of_its_targets() {
    needs_netns!();
    let (from, to) = (Namespace::without_ipv6(), Namespace::without_ipv6());
    from.veth("eth0", "", &to, "eth0", "02:00:00:00:00:02");
    from.ip("link set eth0 up");
    to.ip_batch(
        "link set lo up\nlink set eth0 up\naddr add 10.1.1.1/24 dev eth0\naddr add 10.1.1.2/24 dev eth0\n",
    );
    // Accepted and never answered, so that conntrack keeps them; counted by destination.
    to.nft(
        "table ip t {\n counter one { }\n counter other { }\n chain incoming {\n type filter hook input priority 0\n\
         ip daddr 10.1.1.1 udp dport 9 ct state new counter name one\n\
         ip daddr 10.1.1.2 udp dport 10 ct state new counter name other\n }\n}\n",
    );
    to.ip("route add 198.18.0.0/15 dev eth0");
    let targets: Vec<SocketAddrV4> = ["10.1.1.1:9", "10.1.1.2:10"]
        .map(|to| to.parse().expect("an address"))
        .into();
    let mut flood = Flood::new(&from, "eth0", "02:00:00:00:00:02", targets);
    let count = |name: &str| -> u64 {
        let text = to.nft(&format!("list counter ip t {name}\n"));
        let number = text
            .split_once("packets ")
            .and_then(|(_, rest)| rest.split_whitespace().next()?.parse().ok());
        number.unwrap_or_else(|| panic!("no counter in {text}"))
    };
    let (mut one, mut other) = (0, 0);
    for burst in 1..=3 {
        let (sent, _) = flood.send(Extent::Frames(500));
        assert_eq!(sent, 500);
        // On a busy machine they wait in a queue of the processor, which is 1,000 long (net.core.netdev_max_backlog).
        let end = Instant::now() + Duration::from_secs(30);
        while one + other < burst * 500 && Instant::now() < end {
            (one, other) = (count("one"), count("other"));
        }
        assert_eq!(one + other, burst * 500, "{one} + {other}");
    }
    assert!(one > 500 && other > 500, "at random: {one}, {other}");
}
