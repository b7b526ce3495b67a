//! `mirror_list` over time: NICs that come and go, many mirrors, and what others do beside them and to them.

use std::net::UdpSocket;
use std::time::Instant;

use lab::{Capture, Daemon, Frames, Namespace, Nic, Vpc, together};
use serde_json::Value;

use crate::configs::{expect, full, said, vpc};
use crate::mirrors::{analyser, assert_copied, converse, ipv4, of, plug, target};
use crate::monitor::{eventually, monitor};

/// A router with three NICs and nothing else.
const PLAIN: &str = "
if_list:
  - {ipaddr: 10.90.3.37, prefix: 24, mac: '52:54:84:00:08:45', gateway: 10.90.3.1}
  - {ipaddr: 192.168.100.254, prefix: 24, mac: '52:54:84:11:00:03'}
  - {ipaddr: 192.168.101.254, prefix: 24, mac: '52:54:84:11:00:04'}
";

/// A file with mirrors, each of which is a name, the rest, and its targets.
fn with(rest: &str, mirrors: &[(&str, &str, &[usize])]) -> String {
    let mut text = format!("{rest}mirror_list:\n");
    for (name, rest, targets) in mirrors {
        let to = targets
            .iter()
            .map(|number| format!("{{nic: {{mac: '{}'}}}}", target(*number).1));
        let to: Vec<String> = to.collect();
        text += &format!("  - {{name: {name}, {rest}, to: [{}]}}\n", to.join(", "));
    }
    text
}

/// The filters of a NIC, as tc(8) tells them; those of a mirror have its name in hexadecimal.
fn filters(vpc: &Vpc, link: &str) -> String {
    let side = |side| vpc.router.tc(&format!("filter show dev {link} {side}"));
    side("ingress") + &side("egress")
}

fn cookie(name: &str) -> String {
    name.bytes().map(|byte| format!("{byte:02x}")).collect()
}

fn has_filters(vpc: &Vpc, link: &str, name: &str) -> bool {
    filters(vpc, link).contains(&format!("cookie {}", cookie(name)))
}

/// What `status` says of mirrors: the state of each by its name.
fn states(vpc: &Vpc) -> Vec<(String, String)> {
    let run = vpc.kylin_vr(&["status", "--json"]);
    let status: Value =
        serde_json::from_str(&run.stdout).unwrap_or_else(|error| panic!("{error}: {}", said(&run)));
    let word = |one: &Value, key: &str| one[key].as_str().unwrap_or_default().to_owned();
    let mirrors = status["mirrors"].as_array().expect("a list of mirrors").iter();
    mirrors
        .map(|one| (word(one, "name"), word(one, "state")))
        .collect()
}

fn are(vpc: &Vpc, wanted: &[(&str, &str)]) -> bool {
    let states = states(vpc);
    states
        .iter()
        .map(|(name, state)| (&**name, &**state))
        .eq(wanted.iter().copied())
}

/// What crosses these NICs in a conversation reaches the analyser, once.
fn assert_sees(vpc: &Vpc, analyser: &Namespace, nics: &[Nic]) {
    vpc.settle();
    let mut crossing: Vec<Capture> = nics
        .iter()
        .map(|nic| Capture::start(&vpc.router, nic.name()))
        .collect();
    let mut copies = Capture::start(analyser, "eth0");
    converse(vpc);
    let expected = crossing.iter_mut().fold(Frames::new(), |all, nic| {
        together(&all, &together(&nic.received(), &nic.sent()))
    });
    assert_copied(&mut copies, &expected);
}

pub fn a_nic_that_goes_takes_its_mirror_down_whole_and_brings_it_back() {
    let vpc = vpc();
    let analysers = [1, 2, 3].map(|number| analyser(&vpc, number));
    let (a, b) = (Nic::SubnetA, Nic::SubnetB);
    let (of_a, of_b) = (
        format!("source: {{mac: '{}'}}", a.mac()),
        format!("source: {{mac: '{}'}}", b.mac()),
    );
    vpc.reload_ok(&with(
        &full(),
        &[("ids-1", &of_a, &[1, 2]), ("ids-2", &of_b, &[3])],
    ));
    let monitor = monitor(&vpc);
    assert_sees(&vpc, &analysers[2], &[b]);
    let is_whole = |monitor: &Daemon| {
        eventually(monitor, "both mirrors", || {
            are(&vpc, &[("ids-1", "ok"), ("ids-2", "ok")])
        });
    };
    for round in 0..2 {
        // A target: nothing is left that points at it, or at the other target.
        vpc.router.ip("link del span2");
        eventually(&monitor, "the end of the first mirror", || {
            !has_filters(&vpc, a.name(), "ids-1") && are(&vpc, &[("ids-1", "pending"), ("ids-2", "ok")])
        });
        assert!(
            !vpc.router
                .tc("qdisc")
                .contains(&format!("clsact ffff: dev {}", a.name())),
            "round {round}"
        );
        let mut first = Capture::start(&analysers[0], "eth0");
        assert_sees(&vpc, &analysers[2], &[b]);
        assert_eq!(first.received(), Frames::new());
        plug(&vpc, &analysers[1], 2);
        is_whole(&monitor);
        for analyser in &analysers[..2] {
            assert_sees(&vpc, analyser, &[a]);
        }
        // A source.
        vpc.unplug(b);
        eventually(&monitor, "the end of the second mirror", || {
            are(&vpc, &[("ids-1", "ok"), ("ids-2", "pending")])
        });
        vpc.plug(b);
        is_whole(&monitor);
        assert_sees(&vpc, &analysers[2], &[b]);
        assert_sees(&vpc, &analysers[0], &[a]);
    }
    let run = monitor.stop();
    assert_eq!(run.code, 0, "{}", said(&run));
}

/// Datagrams from a VM to these ports of the client, and back from it to the VM's elastic IP.
fn send(vpc: &Vpc, ports: impl Iterator<Item = u16>) {
    let socket = |namespace: &Namespace| {
        namespace
            .run(|| UdpSocket::bind("0.0.0.0:0"))
            .expect("open a socket")
    };
    let (vm, client) = (socket(&vpc.a1), socket(&vpc.client));
    for port in ports {
        // An earlier one may have been answered by "nobody listens".
        for (socket, to) in [(&vm, "198.51.100.10"), (&client, "10.90.2.250")] {
            let _ = socket.send_to(b"copied", (to, port));
            let _ = socket.send_to(b"copied again", (to, port));
        }
    }
}

pub fn thirty_two_mirrors_each_see_exactly_their_own() {
    const MIRRORS: usize = 32;
    let vpc = vpc();
    let analysers = Namespace::without_ipv6();
    for number in 1..=MIRRORS {
        let (name, mac) = target(number);
        analysers.veth(&format!("far{number}"), "", &vpc.router, &name, &mac);
        analysers.ip(&format!("link set far{number} up"));
    }
    let port = |number: usize| 5_000 + number as u16;
    let rests: Vec<String> = (1..=MIRRORS)
        .map(|number| {
            let source = [
                "subnet: 192.168.100.0/24",
                "vm-ip: 192.168.100.190",
                "mac: '52:54:84:11:00:03'",
            ][number % 3];
            format!(
                "source: {{{source}}}, filter: {{protocol: udp, port: {}}}",
                port(number)
            )
        })
        .collect();
    let names: Vec<String> = (1..=MIRRORS).map(|number| format!("m{number}")).collect();
    let numbers: Vec<[usize; 1]> = (1..=MIRRORS).map(|number| [number]).collect();
    let mirrors: Vec<(&str, &str, &[usize])> = (0..MIRRORS)
        .map(|index| (&*names[index], &*rests[index], &numbers[index][..]))
        .collect();
    vpc.reload_ok(&with(&full(), &mirrors));
    expect(&vpc.kylin_vr(&["reload"]), 0, "nothing changed");
    vpc.settle();
    let mut nic = Capture::start(&vpc.router, Nic::SubnetA.name());
    let mut copies: Vec<Capture> = (1..=MIRRORS)
        .map(|number| Capture::start(&analysers, &format!("far{number}")))
        .collect();
    // And to ports of no mirror.
    send(&vpc, (0..=MIRRORS + 1).map(port));
    // The last ones have crossed once an answer to what was sent after them has.
    converse(&vpc);
    let crossed = together(&nic.received(), &nic.sent());
    for number in 1..=MIRRORS {
        let is_to_it = |frame: &[u8]| {
            ipv4(frame).is_some_and(|(_, _, protocol, from, to)| {
                protocol == 17 && [from, to].contains(&port(number))
            })
        };
        let expected = of(&crossed, is_to_it);
        assert_eq!(expected.values().sum::<usize>(), 4, "{number}: {expected:02x?}");
        assert_copied(&mut copies[number - 1], &expected);
    }
}

pub fn five_hundred_mirrors_come_and_go_without_residue() {
    let vpc = vpc();
    let _analysers = [1, 2, 3].map(|number| analyser(&vpc, number));
    vpc.reload_ok(PLAIN);
    let before = vpc.router.snapshot();
    let one = |number: usize, name: &str| {
        let source = [
            "mac: '52:54:84:11:00:03'",
            "subnet: 192.168.101.0/24",
            "all: true",
            "vm-ip: 192.168.100.190",
        ][number % 4];
        let select = ["both", "src", "dst"][number % 3];
        let rest = format!("source: {{{source}}}, select: {select}");
        vpc.reload_ok(&with(PLAIN, &[(name, &rest, &[1 + number % 3])]));
    };
    // How IPv6 of each target was is known from the first mirror to it on.
    (0..3).for_each(|number| one(number, "first"));
    vpc.reload_ok(PLAIN);
    let files = || {
        let parts = ["state", "run"].map(|part| vpc.directory().join(part));
        let entries = parts.iter().flat_map(|part| std::fs::read_dir(part).unwrap());
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        names
    };
    let owned = || std::fs::read_to_string(vpc.directory().join("run/owned.json")).unwrap();
    let (names, record) = (files(), owned());
    // With each reload one comes and the one before goes.
    for number in 0..500 {
        let name = format!("m{number}");
        one(number, &name);
        if number % 50 == 0 {
            assert!(are(&vpc, &[(&name, "ok")]), "{name}");
        }
    }
    vpc.reload_ok(PLAIN);
    before.assert_same(&vpc.router.snapshot());
    assert_eq!(files(), names);
    assert_eq!(owned(), record);
}

pub fn filters_of_others_stay_and_still_work() {
    let vpc = vpc();
    let (plain, taker) = (analyser(&vpc, 1), analyser(&vpc, 2));
    vpc.reload_ok(&full());
    vpc.router.ip("link set span2 up");
    let link = Nic::SubnetA.name();
    vpc.router.tc(&format!("qdisc add dev {link} clsact"));
    // One before ours and one after them, each of which takes what comes to a port.
    for (priority, port) in [(10, 7_001), (300, 7_002)] {
        vpc.router.tc(&format!(
            "filter add dev {link} ingress prio {priority} protocol ip u32 match ip protocol 17 0xff match ip dport {port} 0xffff action mirred egress redirect dev span2"
        ));
    }
    let before = vpc.router.snapshot();
    let arrive = |expected: [bool; 3]| {
        vpc.settle();
        let mut outside = Capture::start(&vpc.client, "eth0");
        let mut copies = Capture::start(&plain, "eth0");
        let mut taken = Capture::start(&taker, "eth0");
        send(&vpc, [7_001, 7_002, 7_003].into_iter());
        converse(&vpc);
        let seen = |frames: &Frames, port: u16| {
            let from_vm = [10, 90, 2, 250];
            frames.keys().any(|frame| {
                ipv4(frame).is_some_and(|(from, _, protocol, _, to)| {
                    protocol == 17 && to == port && (from == from_vm || from == [192, 168, 100, 190])
                })
            })
        };
        let (outside, copies, taken) = (outside.received(), copies.received(), taken.received());
        let ports = [7_001, 7_002, 7_003];
        assert_eq!(ports.map(|port| seen(&outside, port)), [false, false, true]);
        assert_eq!(ports.map(|port| seen(&taken, port)), [true, true, false]);
        assert_eq!(ports.map(|port| seen(&copies, port)), expected);
    };
    arrive([false; 3]);
    for _ in 0..2 {
        let mirror = ("ids-1", "source: {subnet: 192.168.100.0/24}", &[1][..]);
        vpc.reload_ok(&with(&full(), &[mirror]));
        expect(&vpc.kylin_vr(&["reload"]), 0, "nothing changed");
        // What is taken before ours is not seen; what is taken after them is.
        arrive([false, true, true]);
        vpc.reload_ok(&full());
        before.assert_same(&vpc.router.snapshot());
        arrive([false; 3]);
    }
    // And a clsact qdisc that others put a filter into after us stays with it.
    vpc.router.tc(&format!("qdisc del dev {link} clsact"));
    let bare = vpc.router.snapshot();
    vpc.reload_ok(&with(
        &full(),
        &[("ids-1", "source: {subnet: 192.168.100.0/24}", &[1])],
    ));
    vpc.router.tc(&format!(
        "filter add dev {link} egress prio 10 protocol ip u32 match u8 0 0 flowid 1:1"
    ));
    vpc.reload_ok(&full());
    assert!(
        filters(&vpc, link).contains("pref 10 u32"),
        "{}",
        filters(&vpc, link)
    );
    vpc.router.tc(&format!("qdisc del dev {link} clsact"));
    bare.assert_same(&vpc.router.snapshot());
}

pub fn what_others_change_of_a_mirror_is_found_and_put_right() {
    let vpc = vpc();
    let (plain, _other) = (analyser(&vpc, 1), analyser(&vpc, 2));
    let link = Nic::SubnetA.name();
    let source = format!("source: {{mac: '{}'}}", Nic::SubnetA.mac());
    vpc.reload_ok(&with(&full(), &[("ids-1", &source, &[1])]));
    let before = vpc.router.snapshot();
    let handle = {
        let told = filters(&vpc, link);
        let (_, rest) = told.split_once("handle ").expect("a filter with a number");
        rest.split(' ').next().expect("a number").to_owned()
    };
    let copies = |to: &str, number: &str| {
        format!(
            "filter replace dev {link} ingress prio 158 protocol all handle {number} bpf bytecode '1,6 0 0 0' action mirred egress mirror dev {to} continue cookie {}",
            cookie("ids-1")
        )
    };
    let deeds = [
        format!("filter del dev {link} ingress prio 158"),
        format!("filter del dev {link} egress prio 158 protocol all handle {handle} bpf"),
        format!("qdisc del dev {link} clsact"),
        // Another program, another target, another action; and one that only looks like ours.
        copies("span1", &handle),
        copies("span2", &handle),
        format!(
            "filter replace dev {link} ingress prio 158 protocol all handle {handle} bpf bytecode '1,6 0 0 0' action mirred egress redirect dev span2 cookie {}",
            cookie("ids-1")
        ),
        copies("span2", "0x9"),
    ];
    let set_down = "link set span1 down";
    let act = |deed: &str| match deed {
        deed if deed == set_down => vpc.router.ip(deed),
        deed => vpc.router.tc(deed),
    };
    for deed in deeds.iter().map(String::as_str).chain([set_down]) {
        act(deed);
        let status = vpc.kylin_vr(&["status"]);
        assert!(status.code != 0, "{deed}: {}", said(&status));
        assert!(are(&vpc, &[("ids-1", "missing")]), "{deed}: {:?}", states(&vpc));
        expect(&vpc.kylin_vr(&["reload"]), 0, "applied");
        expect(&vpc.kylin_vr(&["status"]), 0, "");
        before.assert_same(&vpc.router.snapshot());
    }
    let monitor = monitor(&vpc);
    // What its first look finds is told in other words.
    eventually(&monitor, "the first look", || {
        monitor.log().contains("the kernel matches")
    });
    // No more than it answers at once.
    for deed in [&*deeds[1], &*deeds[2], &*deeds[4], set_down] {
        let told = monitor.log().matches("put right").count();
        act(deed);
        eventually(&monitor, deed, || {
            monitor.log().matches("put right").count() > told && vpc.kylin_vr(&["status"]).code == 0
        });
    }
    before.assert_same(&vpc.router.snapshot());
    assert_sees(&vpc, &plain, &[Nic::SubnetA]);
}

pub fn one_in_so_many_is_copied_by_chance() {
    const SENT: u32 = 20_000;
    let vpc = vpc();
    let plain = analyser(&vpc, 1);
    let mirror = (
        "ids-1",
        "source: {vm-ip: 192.168.100.190}, select: src, filter: {protocol: udp, port: 9}, sample: 10",
        &[1][..],
    );
    vpc.reload_ok(&with(&full(), &[mirror]));
    vpc.settle();
    let received = |namespace: &Namespace, link: &str| -> u32 {
        let told = namespace.ip(&format!("-json -s link show dev {link}"));
        let links: Value = serde_json::from_str(&told).expect("ip(8) tells JSON");
        links[0]["stats64"]["rx"]["packets"].as_u64().expect("a count") as u32
    };
    let before = (
        received(&vpc.router, Nic::SubnetA.name()),
        received(&plain, "eth0"),
    );
    let socket = vpc
        .a1
        .run(|| UdpSocket::bind("0.0.0.0:0"))
        .expect("open a socket");
    for _ in 0..SENT {
        // Errors are answers to an earlier one: nobody listens. Each is sent all the same.
        while socket.send_to(b"one of many", "10.90.3.9:9").is_err() {}
    }
    let came = received(&vpc.router, Nic::SubnetA.name()) - before.0;
    let copied = received(&plain, "eth0") - before.1;
    assert!(came >= SENT / 2, "only {came} of {SENT} came to the router");
    // Of a binomial distribution: seven times its deviation is met by chance once in 10^11 times; what else came to the
    // NIC meanwhile (ARP) is no hundred packets.
    let expected = f64::from(came) / 10.0;
    let deviation = (f64::from(came) * 0.1 * 0.9).sqrt();
    let off = (f64::from(copied) - expected).abs();
    assert!(
        off < 7.0 * deviation + 10.0,
        "{copied} of {came} copied, {expected} +- {deviation} expected"
    );
}

pub fn a_mirror_that_the_kernel_refuses_is_tried_ever_more_rarely() {
    let vpc = vpc();
    let (plain, _other) = (analyser(&vpc, 1), analyser(&vpc, 2));
    let link = Nic::SubnetB.name();
    // At our priority a filter of another kind: none of ours can be beside it.
    let foreign = format!("dev {link} ingress prio 158 protocol all u32");
    vpc.router.tc(&format!("qdisc add dev {link} clsact"));
    vpc.router
        .tc(&format!("filter add {foreign} match u8 0 0 flowid 1:1"));
    let begun = Instant::now();
    let (of_a, of_b) = (
        format!("source: {{mac: '{}'}}", Nic::SubnetA.mac()),
        format!("source: {{mac: '{}'}}", Nic::SubnetB.mac()),
    );
    let run = vpc.reload_ok(&with(&full(), &[("ids-1", &of_a, &[1]), ("ids-2", &of_b, &[2])]));
    expect(&run, 0, "add mirror ids-2 ingress");
    let monitor = monitor(&vpc);
    let tries = || monitor.log().matches("mirror ids-2 is left out").count();
    eventually(&monitor, "the third try", || tries() >= 3);
    // What trying does and undoes (its target goes up and down) brings no further try; nor does what others do.
    for _ in 0..3 {
        vpc.router.nft("delete table ip kylin_vr");
        eventually(&monitor, "the table", || {
            vpc.router.nft("list tables").contains("kylin_vr")
        });
    }
    eventually(&monitor, "the fourth try", || tries() >= 4);
    // After the first at least 1 s, then 2, 4, 8 and so on.
    let (tries, seconds) = (tries(), begun.elapsed().as_secs_f64());
    let at_most = 1
        + (1..)
            .take_while(|tries| f64::from((1 << tries) - 1) <= seconds)
            .count();
    assert!(
        tries <= at_most,
        "{tries} tries in {seconds} s\n{}",
        monitor.log()
    );
    assert!(
        !monitor.log().contains("something keeps undoing"),
        "{}",
        monitor.log()
    );
    // The other one was never touched.
    assert_sees(&vpc, &plain, &[Nic::SubnetA]);
    vpc.router.tc(&format!("filter del dev {link} ingress prio 158"));
    eventually(&monitor, "the mirror", || {
        has_filters(&vpc, link, "ids-2") && are(&vpc, &[("ids-1", "ok"), ("ids-2", "ok")])
    });
}
