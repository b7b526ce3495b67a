//! Flows whose translation a reload changed end with it, and no others: with real packets, by the kernel's own list.

use std::fs;
use std::net::UdpSocket;

use lab::{Namespace, TcpFlow, Vpc};

use crate::configs::{expect, said, vpc, vpc_with};
use crate::conntrack_cases::{ADDRESSES, Case, EIP_A1, TCP_FORWARDS, UDP_FORWARDS, base};
use crate::tracked::{ping, replies, tracked};

/// Runs each case beside flows that nothing changes for: `open` begins its flow, and gives what sends the next packet.
fn each<F: Fn()>(vpc: &Vpc, protocol: &str, cases: &[Case], open: impl Fn(&Case) -> F) {
    for case in cases {
        let text = base();
        let changed = text.replace(case.change.0, case.change.1);
        assert_ne!(changed, text, "{:?}", case.change);
        vpc.reload_ok(&text);
        let others = [
            vpc.tcp_flow(&vpc.client, "10.90.2.251:22", &[]).unwrap(),
            vpc.tcp_flow(&vpc.a2, "198.51.100.10:80", &[]).unwrap(),
            vpc.tcp_flow(&vpc.b1, "192.168.100.191:80", &[]).unwrap(),
        ];
        let without_ports = |text: &str| {
            let words = text.split(' ').map(|word| word.split(':').next().unwrap());
            words.collect::<Vec<_>>().join(" ")
        };
        let shown = |text: &str| {
            if protocol == "icmp" {
                without_ports(text)
            } else {
                text.to_owned()
            }
        };
        let (original, [before, after]) = (shown(case.original), case.replies.map(shown));
        let next = open(case);
        assert_eq!(replies(vpc, protocol, &original), [before.as_str()]);
        let run = vpc.reload_ok(&changed);
        // Gone at once, before another packet came.
        assert_eq!(
            replies(vpc, protocol, &original),
            [""; 0],
            "{:?}\n{}",
            case.change,
            said(&run)
        );
        assert!(
            run.stdout.contains(" ended, whose translation changed"),
            "{}",
            said(&run)
        );
        next();
        // A reset by who has it now ends the new flow at once.
        let now = replies(vpc, protocol, &original);
        assert!(
            now == [after.as_str()] || (protocol == "tcp" && now.is_empty()),
            "{:?}: {now:?}",
            case.change
        );
        assert!(others.iter().all(TcpFlow::ping_pong), "{:?}", case.change);
    }
}

pub fn tcp_flows_end_with_their_translation() {
    let vpc = vpc();
    for cases in [ADDRESSES, TCP_FORWARDS] {
        each(&vpc, "tcp", cases, |case| {
            let flow = vpc.tcp_flow((case.from)(&vpc), case.to, case.at).unwrap();
            move || assert!(!flow.ping_pong(), "the old connection lives")
        });
    }
}

pub fn udp_flows_end_with_their_translation() {
    let vpc = vpc();
    for cases in [ADDRESSES, UDP_FORWARDS] {
        each(&vpc, "udp", cases, |case| {
            let flow = vpc.udp_flow((case.from)(&vpc), case.to, case.at).unwrap();
            move || {
                // Answered or not: where it goes is asked of the kernel.
                let _ = flow.ping_pong();
            }
        });
    }
}

pub fn icmp_flows_end_with_their_translation() {
    let vpc = vpc();
    each(&vpc, "icmp", ADDRESSES, |case| {
        let (from, to) = ((case.from)(&vpc), case.to.split(':').next().unwrap());
        assert!(ping(from, to));
        move || {
            let _ = ping(from, to);
        }
    });
}

pub fn after_an_eip_moved_its_new_vm_answers_at_once() {
    let vpc = vpc_with(&base());
    assert!(ping(&vpc.client, "10.90.2.250"));
    let flow = vpc.tcp_flow(&vpc.client, "10.90.2.250:22", &[]).unwrap();
    vpc.reload_ok(&base().replace(EIP_A1, "eip: 10.90.2.250\n    vm-ip: 192.168.100.192"));
    // The old VM is cut off: whoever answers the very same ICMP flow is the new one.
    vpc.a1.ip("link set eth0 down");
    assert!(ping(&vpc.client, "10.90.2.250"));
    assert!(!flow.ping_pong());
    assert_eq!(
        vpc.probe(&vpc.client, lab::Tcp, "10.90.2.250:22", &[]),
        "a3:22 sees 198.51.100.10"
    );
}

/// A datagram that needs no answer, from always the same port.
fn send(from: &Namespace, to: &str) {
    let socket = from.run(|| UdpSocket::bind("0.0.0.0:5000")).unwrap();
    socket.send_to(b"x", to).unwrap();
}

/// Somebody else's table that has the kernel track flows while ours is not there.
const TRACKING: &str =
    "table ip other { chain tracking { type filter hook forward priority 0; ct state invalid drop; }; }";

pub fn flows_that_began_before_the_translation_was_there_end_when_it_comes() {
    let vpc = vpc();
    vpc.router.nft(TRACKING);
    vpc.router
        .ip_batch("addr add 10.90.3.37/24 dev wan7\naddr add 192.168.100.254/24 dev lan3\nlink set wan7 up\nlink set lan3 up\n\
                   route add default via 10.90.3.1\n");
    vpc.router.set_sysctl("net/ipv4/ip_forward", "1");
    vpc.settle();
    let untranslated = ["198.51.100.10:53 -> 192.168.100.192"];
    let replies = || replies(&vpc, "udp", "192.168.100.192 -> 198.51.100.10:53");
    send(&vpc.a3, "198.51.100.10:53");
    assert_eq!(replies(), untranslated);
    // The first load.
    expect(&vpc.reload_ok(&base()), 0, " ended, whose translation changed");
    assert_eq!(replies(), [""; 0]);
    send(&vpc.a3, "198.51.100.10:53");
    assert_eq!(replies(), ["198.51.100.10:53 -> 10.90.3.37"]);

    // Somebody flushed it, and a flow began meanwhile beside one that had begun before.
    let flow = vpc.tcp_flow(&vpc.client, "10.90.2.250:22", &[]).unwrap();
    vpc.router.nft("delete table ip kylin_vr");
    let open = Sender::new(&vpc.a2);
    open.send("198.51.100.10:53");
    expect(
        &vpc.kylin_vr(&["reload"]),
        0,
        "flow     1 ended, whose translation changed",
    );
    assert!(flow.ping_pong());

    // And all of ours end with `reset`, but not what the router did itself.
    let own = vpc.udp_flow(&vpc.router, "10.90.3.1:53", &[]);
    assert!(own.is_ok());
    expect(&vpc.kylin_vr(&["reset"]), 0, " ended, whose translation changed");
    let of_ours = |flow: &&crate::tracked::Tracked| flow.original.contains("10.90.2.250");
    assert_eq!(tracked(&vpc).iter().filter(of_ours).count(), 0);
    let of_its_own = |flow: &&crate::tracked::Tracked| flow.original.ends_with("-> 10.90.3.1:53");
    assert_eq!(tracked(&vpc).iter().filter(of_its_own).count(), 1);
}

/// A socket of a VM that stays open.
struct Sender(UdpSocket);

impl Sender {
    fn new(from: &Namespace) -> Self {
        Self(from.run(|| UdpSocket::bind("0.0.0.0:0")).unwrap())
    }

    fn send(&self, to: &str) {
        self.0.send_to(b"x", to).unwrap();
    }
}

pub fn flows_that_others_translate_live_on() {
    let vpc = vpc_with(&base());
    vpc.router.nft(
        "table ip other {
           chain pre { type nat hook prerouting priority -110; ip daddr 10.90.3.37 tcp dport 9000 dnat to 192.168.101.10:80; }
           chain post { type nat hook postrouting priority 90; ip saddr 192.168.101.10 oifname wan7 meta l4proto { tcp, udp } snat to 10.90.3.37:2000-2999; }
         }",
    );
    let flows = [
        vpc.tcp_flow(&vpc.client, "10.90.3.37:9000", &[80]).unwrap(),
        vpc.tcp_flow(&vpc.b1, "198.51.100.10:80", &[]).unwrap(),
    ];
    let udp = vpc.udp_flow(&vpc.b1, "198.51.100.10:53", &[]).unwrap();
    let before = tracked(&vpc);
    for change in [
        (EIP_A1, "eip: 10.90.2.250\n    vm-ip: 192.168.100.192"),
        ("port: 2222", "port: 2223"),
        ("end_port: 39999", "end_port: 29999"),
    ] {
        assert!(base().contains(change.0), "{change:?}");
        vpc.reload_ok(&base().replace(change.0, change.1));
        assert!(
            flows.iter().all(TcpFlow::ping_pong) && udp.ping_pong(),
            "{change:?}"
        );
    }
    for flow in before
        .iter()
        .filter(|flow| flow.original.contains("192.168.101.10") || flow.original.contains(":9000"))
    {
        assert!(tracked(&vpc).contains(flow), "{flow:?}");
    }
}

pub fn conntrack_keep_lets_every_flow_go_on() {
    let keep = |text: &str| format!("{text}conntrack: keep\n");
    let vpc = vpc_with(&keep(&base()));
    let flows = [
        vpc.tcp_flow(&vpc.client, "10.90.2.250:22", &[]).unwrap(),
        vpc.tcp_flow(&vpc.a3, "198.51.100.10:80", &[]).unwrap(),
        vpc.tcp_flow(&vpc.client, "10.90.2.254:11", &[101]).unwrap(),
    ];
    let changed = base()
        .replace(EIP_A1, "eip: 10.90.2.250\n    vm-ip: 192.168.100.192")
        .replace("vm-port: 100", "vm-port: 200");
    let run = vpc.reload_ok(&keep(&changed));
    assert!(flows.iter().all(TcpFlow::ping_pong));
    assert!(!run.stdout.contains("ended"), "{}", said(&run));
    // Only the flows of later changes end: what went on is not remembered.
    let run = vpc.reload_ok(&changed);
    assert!(
        flows.iter().all(TcpFlow::ping_pong) && !run.stdout.contains("ended"),
        "{}",
        said(&run)
    );
}

pub fn the_flows_of_a_killed_run_end_with_the_next() {
    let vpc = vpc_with(&base());
    let path = vpc.directory().join("run/owned.json");
    let before: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    assert!(before.get("unsettled").is_none(), "{before}");
    let flow = vpc.tcp_flow(&vpc.client, "10.90.2.250:22", &[]).unwrap();
    let other = vpc.tcp_flow(&vpc.client, "10.90.2.251:22", &[]).unwrap();
    let moved = base().replace(EIP_A1, "eip: 10.90.2.250\n    vm-ip: 192.168.100.192");
    vpc.reload_ok(&(moved.clone() + "conntrack: keep\n"));
    assert!(flow.ping_pong());
    // As a run leaves it that is killed after the table: the flow is there, and what was there before is noted.
    let tuple = |last: [u8; 4]| serde_json::json!([u32::from_be_bytes(last), 0, 0]);
    let element = |key: [u8; 4]| serde_json::json!({"first": tuple(key), "last": tuple(key)});
    let (eip, a1, a3) = ([10, 90, 2, 250], [192, 168, 100, 190], [192, 168, 100, 192]);
    let mut owned = before.clone();
    owned["unsettled"] = serde_json::json!([{
        "table": {"parts": {"chains": {}, "sets": {
            "eip_to_vm": {"elements": {"without": [element(eip)], "with": [[element(eip), tuple(a1)]]}},
            "vm_to_eip": {"elements": {"without": [element(a3)], "with": [[element(a1), tuple(eip)]]}},
        }}},
        "come": [], "gone": [],
    }]);
    fs::write(&path, serde_json::to_vec(&owned).unwrap()).unwrap();
    let run = vpc.reload_ok(&moved);
    expect(&run, 0, "nothing changed");
    expect(&run, 0, "flow     1 ended");
    assert!(!flow.ping_pong() && other.ping_pong());
    let after: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    assert_eq!(after, before);
    let run = vpc.kylin_vr(&["reload"]);
    assert_eq!(run.stdout.trim(), "nothing changed", "{}", said(&run));
}

pub fn of_many_flows_few_end() {
    const MANY: u16 = 20_000;
    let vpc = vpc_with(&base());
    // Half a minute is short for so many on a busy machine.
    vpc.router
        .set_sysctl("net/netfilter/nf_conntrack_udp_timeout", "600");
    // Nobody answers, so nobody waits; and no table of neighbours or errors is in the way.
    let (a2, a3) = (Sender::new(&vpc.a2), Sender::new(&vpc.a3));
    for port in 1..=MANY {
        a2.send(&format!("198.51.100.10:{port}"));
        if port % 100 == 0 {
            a3.send(&format!("198.51.100.10:{port}"));
        }
    }
    let of = |source: &str| {
        let flows = tracked(&vpc);
        flows
            .iter()
            .filter(|flow| flow.protocol == "udp" && flow.original.starts_with(source))
            .count()
    };
    assert_eq!((of("192.168.100.191"), of("192.168.100.192")), (MANY.into(), 200));
    let moved = base().replace(EIP_A1, "eip: 10.90.2.250\n    vm-ip: 192.168.100.192");
    expect(&vpc.reload_ok(&moved), 0, "flow     200 ended");
    assert_eq!((of("192.168.100.191"), of("192.168.100.192")), (MANY.into(), 0));
    // And many.
    expect(&vpc.kylin_vr(&["reset"]), 0, "flow     20000 ended");
    assert_eq!(of("192.168.100.191"), 0);
}
