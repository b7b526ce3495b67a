//! `mirror_list` with real packets: copies to a NIC, beside what crossed the router's own.

use std::time::{Duration, Instant};
use std::{fs, thread};

use lab::{Capture, Frames, Icmp, Namespace, Nic, Tcp, Udp, Vpc, together};

use crate::configs::{expect, full, vpc};
use crate::monitor::{eventually, monitor};

const LONG: Duration = Duration::from_secs(20);

/// The target NIC number so many of the router, and its hardware address.
pub fn target(number: usize) -> (String, String) {
    (format!("span{number}"), format!("52:54:84:22:00:{number:02x}"))
}

/// An analyser on a wire of its own to the router; its end is `eth0`.
pub fn analyser(vpc: &Vpc, number: usize) -> Namespace {
    let analyser = Namespace::without_ipv6();
    plug(vpc, &analyser, number);
    analyser
}

pub fn plug(vpc: &Vpc, analyser: &Namespace, number: usize) {
    let (name, mac) = target(number);
    analyser.veth("eth0", "", &vpc.router, &name, &mac);
    analyser.ip("link set eth0 up");
    // As `vpc` does with the NICs of the file.
    vpc.router.ip(&format!("link set {name} up"));
    vpc.router.ip(&format!("link set {name} down"));
}

fn mirror(rest: &str) -> String {
    format!(
        "mirror_list:\n  - {{name: ids-1, {rest}, to: [{{nic: {{mac: '{}'}}}}]}}\n",
        target(1).1
    )
}

/// A file with mirrors.
pub fn file(mirrors: &str) -> String {
    full() + mirrors
}

/// A conversation of a1 with the client, b1 and a forward, in TCP, UDP and ICMP, and nothing of it is lost.
pub fn converse(vpc: &Vpc) {
    let meets = |from: &Namespace, protocol, to: &str, ports: &[u16], expected: &str| {
        assert_eq!(vpc.probe(from, protocol, to, ports), expected);
    };
    meets(
        &vpc.client,
        Tcp,
        "10.90.2.250:22",
        &[],
        "a1:22 sees 198.51.100.10",
    );
    meets(
        &vpc.a1,
        Udp,
        "198.51.100.10:53",
        &[],
        "client:53 sees 10.90.2.250",
    );
    meets(
        &vpc.b1,
        Tcp,
        "192.168.100.190:80",
        &[],
        "a1:80 sees 192.168.101.10",
    );
    meets(
        &vpc.a3,
        Tcp,
        "192.168.101.10:80",
        &[],
        "b1:80 sees 192.168.100.192",
    );
    meets(
        &vpc.client,
        Tcp,
        "10.90.2.254:10",
        &[100],
        "a3:100 sees 198.51.100.10",
    );
    meets(&vpc.b2, Icmp, "192.168.100.191", &[], "a2 sees 192.168.101.11");
}

pub fn of(frames: &Frames, wanted: impl Fn(&[u8]) -> bool) -> Frames {
    let frames = frames.iter().filter(|(frame, _)| wanted(frame));
    frames.map(|(frame, count)| (frame.clone(), *count)).collect()
}

/// The source and the destination of an IPv4 packet, its protocol and its ports.
pub type Ipv4 = ([u8; 4], [u8; 4], u8, u16, u16);

/// Of a frame without options; `None`: it is none.
pub fn ipv4(frame: &[u8]) -> Option<Ipv4> {
    let is_ipv4 = frame.get(12..15)? == [8, 0, 0x45];
    let port = |at: usize| {
        frame
            .get(at..at + 2)
            .map_or(0, |two| u16::from_be_bytes([two[0], two[1]]))
    };
    is_ipv4.then(|| {
        let address = |at: usize| [frame[at], frame[at + 1], frame[at + 2], frame[at + 3]];
        (address(26), address(30), frame[23], port(34), port(36))
    })
}

#[track_caller]
pub fn assert_copied(analyser: &mut Capture, expected: &Frames) {
    assert!(!expected.is_empty(), "nothing crossed");
    // Announcements are sent by a process of its own, also while captures begin.
    let is_other = |frame: &[u8]| frame[12..14] != [8, 6] || frame[28..32] != frame[38..42];
    let expected = &of(expected, is_other);
    let end = Instant::now() + LONG;
    let mut seen = of(&analyser.received(), is_other);
    while seen != *expected && Instant::now() < end {
        std::thread::sleep(Duration::from_millis(2));
        seen = of(&analyser.received(), is_other);
    }
    let missing: Vec<_> = expected
        .iter()
        .filter(|(frame, count)| seen.get(*frame) != Some(count))
        .collect();
    let more: Vec<_> = seen
        .keys()
        .filter(|frame| !expected.contains_key(*frame))
        .collect();
    assert!(
        seen == *expected,
        "of {} frames {} are missing or came more than once: {missing:02x?}\nnot expected: {more:02x?}",
        expected.len(),
        missing.len()
    );
}

pub fn what_crosses_a_nic_reaches_the_analyser_once_whole_and_in_the_right_direction() {
    let vpc = vpc();
    let (plain, watched) = (analyser(&vpc, 1), Nic::SubnetA);
    for (select, sent, received) in [
        ("both", true, true),
        ("src", false, true),
        ("to-lport", true, false),
    ] {
        let source = format!("source: {{mac: '{}'}}, select: {select}", watched.mac());
        vpc.reload_ok(&file(&mirror(&source)));
        vpc.settle();
        let mut nic = Capture::start(&vpc.router, watched.name());
        let mut copies = Capture::start(&plain, "eth0");
        converse(&vpc);
        let mut expected = Frames::new();
        if received {
            expected = together(&expected, &nic.received());
        }
        if sent {
            expected = together(&expected, &nic.sent());
        }
        assert!(
            expected.values().sum::<usize>() >= 10,
            "{select}: {}",
            expected.len()
        );
        assert_copied(&mut copies, &expected);
    }
    // Nothing of it is left over, and nothing more is copied.
    vpc.reload_ok(&full());
    let mut copies = Capture::start(&plain, "eth0");
    converse(&vpc);
    assert_eq!(copies.received(), Frames::new());
}

pub fn a_vm_a_subnet_and_a_filter_choose_what_is_copied() {
    let vpc = vpc();
    let plain = analyser(&vpc, 1);
    type Wanted = fn([u8; 4], [u8; 4], u8, u16, u16) -> bool;
    let cases: [(&str, Wanted); 4] = [
        ("source: {vm-ip: 192.168.100.190}", |from, to, _, _, _| {
            from == [192, 168, 100, 190] || to == [192, 168, 100, 190]
        }),
        (
            "source: {subnet: 192.168.100.0/24}, filter: {protocol: tcp, port: 80}",
            |_, _, protocol, one, other| protocol == 6 && (one == 80 || other == 80),
        ),
        (
            "source: {subnet: 192.168.100.128/25}, filter: {protocol: icmp}",
            |_, _, protocol, _, _| protocol == 1,
        ),
        (
            "source: {subnet: 192.168.100.0/24}, filter: {cidr: 198.51.100.0/24}",
            |from, to, _, _, _| from[0] == 198 || to[0] == 198,
        ),
    ];
    for (rest, wanted) in cases {
        vpc.reload_ok(&file(&mirror(rest)));
        vpc.settle();
        let mut nic = Capture::start(&vpc.router, Nic::SubnetA.name());
        let mut copies = Capture::start(&plain, "eth0");
        converse(&vpc);
        let crossed = together(&nic.received(), &nic.sent());
        let expected = of(&crossed, |frame| {
            ipv4(frame).is_some_and(|(from, to, protocol, one, other)| wanted(from, to, protocol, one, other))
        });
        assert!(expected.len() < crossed.len(), "{rest}: nothing is left out");
        assert_copied(&mut copies, &expected);
    }
}

pub fn with_all_what_goes_from_subnet_to_subnet_is_copied_once() {
    let vpc = vpc();
    let plain = analyser(&vpc, 1);
    vpc.reload_ok(&file(&mirror("source: {all: true}")));
    vpc.settle();
    let mut nics = [Nic::SubnetA, Nic::SubnetB].map(|nic| Capture::start(&vpc.router, nic.name()));
    let mut copies = Capture::start(&plain, "eth0");
    converse(&vpc);
    let [a, b] = &mut nics;
    let inside =
        |frame: &[u8], third: u8| ipv4(frame).is_some_and(|(from, ..)| from[..3] == [192, 168, third]);
    let expected = together(
        &together(&a.received(), &b.received()),
        &together(
            &of(&a.sent(), |frame| !inside(frame, 101)),
            &of(&b.sent(), |frame| !inside(frame, 100)),
        ),
    );
    assert_copied(&mut copies, &expected);
}

pub fn by_hand_a_mirror_comes_copies_and_goes_without_residue() {
    let vpc = vpc();
    let plain = analyser(&vpc, 1);
    let text = format!("# mine\n{}# the end\n...\n", full());
    vpc.reload_ok(&text);
    let before = vpc.router.snapshot();
    let file = || fs::read_to_string(vpc.config_path()).unwrap();
    let mac = target(1).1;
    let to = format!("nic={mac}");
    let add = [
        "mirror",
        "add",
        "ids-1",
        "--source",
        "vm-ip=192.168.100.190",
        "--select",
        "src",
        "--to",
        &to,
    ];
    // What it would do, first.
    let dry = vpc.kylin_vr(&[&add[..], &["--dry-run"]].concat());
    expect(
        &dry,
        0,
        "note: added: ids-1 (src of vm-ip 192.168.100.190, all) to nic 52:54:84:22:00:01",
    );
    assert_eq!(file(), text);
    before.assert_same(&vpc.router.snapshot());

    expect(&vpc.kylin_vr(&add), 0, "applied");
    let new = format!(
        "mirror_list:\n  - {{name: ids-1, source: {{vm-ip: 192.168.100.190}}, select: src, to: [{{nic: {{mac: {mac}}}}}]}}\n"
    );
    let changed = file();
    assert!(changed.contains(&new), "{changed}");
    assert_eq!(changed.replace(&new, ""), text);
    vpc.settle();
    let mut nic = Capture::start(&vpc.router, Nic::SubnetA.name());
    let mut copies = Capture::start(&plain, "eth0");
    converse(&vpc);
    let sent = |frame: &[u8]| ipv4(frame).is_some_and(|(from, ..)| from == [192, 168, 100, 190]);
    assert_copied(&mut copies, &of(&nic.received(), sent));

    // Tried again it is as asked for; another one of that name is not put in its place.
    expect(&vpc.kylin_vr(&add), 0, "is there already (mirror_list[0], line");
    let other = ["mirror", "add", "ids-1", "--source", "all", "--to", &to];
    expect(&vpc.kylin_vr(&other), 3, "`kylin-vr mirror del ids-1` first");
    // What the file would be refused for.
    let own = [
        "mirror",
        "add",
        "b",
        "--source",
        "all",
        "--to",
        "nic=52:54:84:11:00:03",
    ];
    expect(&vpc.kylin_vr(&own), 3, "copies go to a NIC that is nothing else");
    let none = ["mirror", "add", "b", "--source", "all", "--to", "gre=here"];
    expect(
        &vpc.kylin_vr(&none),
        2,
        "to[0].gre.remote: here: expected an IPv4 address",
    );
    assert_eq!(file(), changed);

    expect(
        &vpc.kylin_vr(&["mirror", "list"]),
        0,
        "  ids-1  vm-ip 192.168.100.190  src     all     nic 52:54:84:22:00:01",
    );
    let json = vpc.kylin_vr(&["mirror", "list", "--json"]);
    let value: serde_json::Value = serde_json::from_str(&json.stdout).unwrap();
    assert_eq!(value["entries"][0]["source"]["vm-ip"], "192.168.100.190");
    assert_eq!(value["entries"][0]["to"][0]["nic"]["mac"], *mac);

    expect(
        &vpc.kylin_vr(&["mirror", "del", "ids-2"]),
        2,
        "ids-2 is not in mirror_list",
    );
    expect(
        &vpc.kylin_vr(&["mirror", "del", "--if-exists", "ids-2", "ids-1"]),
        0,
        "deleted: ids-1 (src",
    );
    // The key stays, as that of the other lists does.
    assert_eq!(file().replace("mirror_list: []\n", ""), text);
    before.assert_same(&vpc.router.snapshot());
    let mut copies = Capture::start(&plain, "eth0");
    converse(&vpc);
    assert_eq!(copies.received(), Frames::new());
    expect(&vpc.kylin_vr(&["mirror", "list"]), 0, "none");

    // What the hypervisor does not know of goes with its next push, which says so.
    expect(&vpc.kylin_vr(&add), 0, "applied");
    expect(
        &vpc.kylin_vr_with_input(&["reload", "-"], &text),
        0,
        "by hand: added mirror ids-1 (src of vm-ip 192.168.100.190, all) to nic 52:54:84:22:00:01 (",
    );
    before.assert_same(&vpc.router.snapshot());
}

/// Long enough for what a link says of its own accord: MLD, duplicate address detection, router solicitations.
const A_WHILE: Duration = Duration::from_secs(5);

pub fn towards_the_analyser_the_router_is_silent() {
    assert_silent(false);
}

pub fn towards_the_analyser_it_is_silent_where_ipv6_is_left_on() {
    assert_silent(true);
}

fn assert_silent(ipv6: bool) {
    let vpc = vpc();
    let listener = Namespace::without_ipv6();
    let (name, mac) = target(1);
    listener.veth("eth0", "", &vpc.router, &name, &mac);
    listener.ip("link set eth0 up");
    let mut copies = Capture::start(&listener, "eth0");
    let file = format!(
        "ipv6: {ipv6}\n{}",
        file(&mirror("source: {vm-ip: 192.168.100.191}"))
    );
    let silent = |copies: &mut Capture, after: &str| {
        thread::sleep(A_WHILE);
        assert_eq!(copies.received(), Frames::new(), "ipv6: {ipv6}, after {after}");
    };
    vpc.reload_ok(&file);
    silent(&mut copies, "a reload");
    expect(&vpc.kylin_vr(&["reload"]), 0, "nothing changed");
    expect(&vpc.kylin_vr(&["status"]), 0, "OK");
    // Whoever asks there for the router is not answered, by ARP or at all.
    for address in ["192.168.100.99/24", "10.90.3.99/24"] {
        listener.ip(&format!("address add {address} dev eth0"));
    }
    for router in ["192.168.100.254", "10.90.3.37", "10.90.2.250"] {
        listener.ip(&format!("route replace {router} dev eth0"));
        assert!(!listener.ping(router, 1), "{router}");
        listener.ip(&format!("neigh replace {router} lladdr {mac} dev eth0"));
        assert!(!listener.ping(router, 1), "{router}");
    }
    silent(&mut copies, "questions");
    // A NIC that comes, by the monitor.
    let monitor = monitor(&vpc);
    vpc.router.ip(&format!("link delete {name}"));
    listener.veth("eth0", "", &vpc.router, &name, &mac);
    let mut copies = Capture::start(&listener, "eth0");
    listener.ip("link set eth0 up");
    eventually(&monitor, "the mirror", || {
        monitor.log().contains("ids-1 egress dev lan3 to span1") && vpc.kylin_vr(&["status"]).code == 0
    });
    silent(&mut copies, "a plug");
    drop(monitor);
    // And yet all of it arrives.
    let mut nic = Capture::start(&vpc.router, Nic::SubnetA.name());
    assert_eq!(
        vpc.probe(&vpc.b2, Icmp, "192.168.100.191", &[]),
        "a2 sees 192.168.101.11"
    );
    let a2 = [192, 168, 100, 191];
    let expected = of(&together(&nic.received(), &nic.sent()), |frame| {
        ipv4(frame).is_some_and(|(from, to, ..)| from == a2 || to == a2)
    });
    assert_copied(&mut copies, &expected);
    let mut copies = Capture::start(&listener, "eth0");
    vpc.reload_ok(&format!("ipv6: {ipv6}\n{}", full()));
    silent(&mut copies, "its removal");
}
