//! The monitor, on the kernel's own events: NICs that come and go, and what others change.
//!
//! What it does in the end is waited for, for as long as a slow machine may need; how fast it is belongs elsewhere.

use std::thread;
use std::time::{Duration, Instant};

use kylin_vr::lock;
use lab::{Daemon, Icmp, Nic, Tcp, Vpc};

use crate::configs::{NOTE, expect, full, said, vpc, vpc_with};

const LONG: Duration = Duration::from_secs(30);

/// Waits until something holds.
#[track_caller]
pub fn eventually(monitor: &Daemon, what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + LONG;
    while !holds() {
        assert!(Instant::now() < end, "{what} did not come:\n{}", monitor.log());
        thread::sleep(Duration::from_millis(5));
    }
}

/// Whether a monitor is there.
pub fn is_watched(vpc: &Vpc) -> bool {
    lock::present(&vpc.directory().join("run"), lock::MONITOR).is_some()
}

/// A monitor that has had its first look.
pub fn monitor(vpc: &Vpc) -> Daemon {
    let monitor = vpc.daemon(&["monitor"]);
    eventually(&monitor, "the monitor", || is_watched(vpc));
    monitor
}

fn agrees(vpc: &Vpc) -> bool {
    vpc.kylin_vr(&["status"]).code == 0
}

fn has_address(vpc: &Vpc, link: &str, address: &str) -> bool {
    let output = vpc.router.ip("-4 -oneline address");
    output
        .lines()
        .any(|line| line.contains(link) && line.contains(address))
}

pub fn a_nic_that_comes_after_its_configuration_is_set_up() {
    let vpc = Vpc::builder(env!("CARGO_BIN_EXE_kylin-vr"))
        .without(Nic::SubnetB)
        .build();
    vpc.reload_ok(&full());
    let monitor = monitor(&vpc);
    for round in 0..3 {
        vpc.plug(Nic::SubnetB);
        eventually(&monitor, "the address", || {
            has_address(&vpc, Nic::SubnetB.name(), "192.168.101.254/24")
        });
        eventually(&monitor, "the rest", || agrees(&vpc));
        assert_eq!(
            vpc.probe(&vpc.b1, Tcp, "198.51.100.10:80", &[]),
            "client:80 sees 10.90.3.37",
            "round {round}"
        );
        // The journal tells of each that came and went.
        let told = |words| eventually(&monitor, words, || monitor.log().trim_end().ends_with(words));
        told("the kernel matches what was accepted last");
        vpc.unplug(Nic::SubnetB);
        assert!(!has_address(&vpc, "", "192.168.101.254"));
        expect(&vpc.kylin_vr(&["status"]), 0, "pending");
        told("waiting for 1 NIC: 52:54:84:11:00:04");
    }
    let run = monitor.stop();
    assert_eq!(run.code, 0, "{}", said(&run));
}

/// How often the monitor read our whole table, and how often only what is left without it and the elastic IPs' routes.
fn looks(monitor: &Daemon) -> (usize, usize) {
    let log = monitor.log();
    let count = |part: &str| log.matches(&format!("took part=\"observe {part}\"")).count();
    (count("table"), count("the rest"))
}

/// Waits until the monitor has been quiet for a while.
pub fn settle(monitor: &Daemon) {
    let mut last = None;
    while last != Some(monitor.log().len()) {
        last = Some(monitor.log().len());
        thread::sleep(Duration::from_millis(1_500));
    }
}

pub fn a_nic_costs_no_look_at_what_it_has_nothing_to_do_with() {
    let vpc = Vpc::builder(env!("CARGO_BIN_EXE_kylin-vr"))
        .without(Nic::SubnetB)
        .build();
    vpc.reload_ok(&full());
    let monitor = vpc.daemon(&["-vv", "monitor"]);
    eventually(&monitor, "the monitor", || is_watched(&vpc));
    eventually(&monitor, "a whole look", || looks(&monitor).0 > 0);
    settle(&monitor);
    let (whole, _) = looks(&monitor);
    let plugged = |address| {
        vpc.plug(Nic::SubnetB);
        eventually(&monitor, "the address", || {
            has_address(&vpc, Nic::SubnetB.name(), address)
        });
        eventually(&monitor, "the rest", || agrees(&vpc));
    };
    plugged("192.168.101.254/24");
    settle(&monitor);
    vpc.unplug(Nic::SubnetB);
    settle(&monitor);
    let (after, rest) = looks(&monitor);
    assert_eq!(after, whole, "{}", monitor.log());
    assert!(rest > 0, "{}", monitor.log());

    // What somebody does to what is not looked at is found all the same.
    let elastic = || vpc.router.ip("route show table local proto 158");
    assert!(elastic().contains("10.90.2.250"));
    for change in [
        "route del local 10.90.2.250 dev lo table local",
        "link set lo down",
    ] {
        vpc.router.ip(change);
        eventually(&monitor, change, || {
            elastic().contains("10.90.2.250") && agrees(&vpc)
        });
        settle(&monitor);
    }
    for change in [
        "flush ruleset",
        "delete element ip kylin_vr eip_to_vm { 10.90.2.250 }",
    ] {
        vpc.router.nft(change);
        eventually(&monitor, change, || agrees(&vpc));
        settle(&monitor);
    }
    // And so is a configuration that came meanwhile, also with a NIC that is not there yet.
    vpc.reload_ok(&full().replace("192.168.101.254", "192.168.101.253"));
    plugged("192.168.101.253/24");
    // The external NIC that comes again answers for all that is outside.
    vpc.unplug(Nic::External);
    settle(&monitor);
    vpc.plug(Nic::External);
    eventually(&monitor, "the external NIC", || agrees(&vpc));
    assert_eq!(
        vpc.probe(&vpc.client, Tcp, "10.90.2.250:80", &[]),
        "a1:80 sees 198.51.100.10"
    );
}

pub fn a_nic_that_comes_before_its_configuration_ends_up_the_same() {
    let vpc = Vpc::builder(env!("CARGO_BIN_EXE_kylin-vr"))
        .without(Nic::SubnetB)
        .build();
    vpc.reload_ok(NOTE);
    let monitor = monitor(&vpc);
    vpc.plug(Nic::SubnetB);
    vpc.reload_ok(&full());
    assert_eq!(
        vpc.probe(&vpc.b1, Icmp, "198.51.100.10", &[]),
        "client sees 10.90.3.37"
    );
    let before = vpc.router.snapshot();
    vpc.unplug(Nic::SubnetB);
    vpc.plug(Nic::SubnetB);
    eventually(&monitor, "the NIC", || {
        agrees(&vpc) && has_address(&vpc, "", "192.168.101.254")
    });
    let changes = before.changes(&vpc.router.snapshot());
    // A new link has another number; all else is the same.
    assert!(
        !changes.contains("192.168.") && !changes.contains("kylin"),
        "{changes}"
    );
}

pub fn a_nic_under_another_name_is_the_same_nic() {
    let vpc = vpc_with(&full());
    let monitor = monitor(&vpc);
    vpc.unplug(Nic::SubnetB);
    vpc.plug_as(Nic::SubnetB, "eth7");
    eventually(&monitor, "the address", || {
        has_address(&vpc, "eth7", "192.168.101.254/24")
    });
    vpc.router.ip("link set eth7 down");
    vpc.router.ip("link set eth7 name enp9s0");
    eventually(&monitor, "the link", || {
        has_address(&vpc, "enp9s0", "192.168.101.254/24") && agrees(&vpc)
    });
}

pub fn a_storm_of_nics_ends_right() {
    let vpc = vpc_with(&full());
    let monitor = monitor(&vpc);
    for round in 0..10 {
        let nic = Nic::ALL[round % Nic::ALL.len()];
        vpc.unplug(nic);
        vpc.plug_as(nic, &format!("storm{round}"));
    }
    eventually(&monitor, "the end of it", || {
        let status = vpc.kylin_vr(&["status"]);
        status.code == 0 && !status.stdout.contains("pending")
    });
    assert_eq!(
        vpc.probe(&vpc.client, Tcp, "10.90.2.250:22", &[]),
        "a1:22 sees 198.51.100.10"
    );
    assert_eq!(
        vpc.probe(&vpc.b1, Tcp, "192.168.100.190:22", &[]),
        "a1:22 sees 192.168.101.10"
    );
}

pub fn what_others_remove_is_put_right() {
    let vpc = vpc_with(NOTE);
    let monitor = monitor(&vpc);
    let (outside, inside) = (Nic::External.name(), Nic::SubnetA.name());
    let before = vpc.router.snapshot();
    let deeds: [(&str, &dyn Fn()); 9] = [
        ("address", &|| {
            drop(vpc.router.ip(&format!("address flush dev {inside}")))
        }),
        ("default", &|| drop(vpc.router.ip("route del default"))),
        ("table", &|| drop(vpc.router.nft("delete table ip kylin_vr"))),
        ("table", &|| drop(vpc.router.nft("flush ruleset"))),
        ("nft", &|| drop(vpc.router.nft("flush map ip kylin_vr eip_to_vm"))),
        ("default", &|| {
            vpc.router.ip(&format!("link set {outside} down"));
            vpc.router.ip(&format!("link set {outside} up"));
        }),
        ("link", &|| {
            drop(vpc.router.ip(&format!("link set {inside} down")))
        }),
        ("local", &|| {
            drop(vpc.router.ip("route flush table local proto 158"))
        }),
        ("ip_forward", &|| {
            vpc.router.set_sysctl("net/ipv4/ip_forward", "0")
        }),
    ];
    for (round, (found, deed)) in deeds.into_iter().enumerate() {
        let told = monitor.log().matches("put right").count();
        deed();
        eventually(&monitor, &format!("the repair after {round} ({found})"), || {
            monitor.log().matches("put right").count() > told && agrees(&vpc)
        });
        assert!(monitor.log().contains(found), "{}", monitor.log());
    }
    before.assert_same(&vpc.router.snapshot());
    assert_eq!(
        vpc.probe(&vpc.client, Tcp, "10.90.2.250:22", &[]),
        "a1:22 sees 198.51.100.10"
    );
}

pub fn two_quarrelling_programs_do_not_spin() {
    let vpc = vpc_with(NOTE);
    let monitor = monitor(&vpc);
    let link = Nic::SubnetA.name();
    let address = "192.168.100.254/24";
    // Whoever undoes it does so as soon as it is there.
    eventually(&monitor, "the end of its patience", || {
        if has_address(&vpc, link, address) {
            vpc.router.ip(&format!("address del {address} dev {link}"));
        }
        monitor.log().contains("something keeps undoing")
    });
    assert!(
        monitor.log().matches("put right").count() >= 5,
        "{}",
        monitor.log()
    );
    // When the other gives up, the router is put right; and a NIC need not wait for that.
    vpc.unplug(Nic::SubnetA);
    vpc.plug(Nic::SubnetA);
    eventually(&monitor, "the end of the quarrel", || {
        has_address(&vpc, link, address)
    });
}

pub fn foreign_changes_survive_a_repair() {
    let vpc = vpc_with(NOTE);
    let monitor = monitor(&vpc);
    vpc.router.nft("add table ip docker");
    vpc.router
        .nft("add chain ip docker forward { type filter hook forward priority 0; }");
    vpc.router.ip("link add mgmt0 type veth peer name mgmt1");
    vpc.router.ip("address add 172.16.0.1/24 dev mgmt0");
    vpc.router.ip("link set mgmt0 up");
    vpc.router.ip("route add 10.250.0.0/16 dev mgmt0 proto bird");
    vpc.router.nft("delete table ip kylin_vr");
    eventually(&monitor, "the table", || agrees(&vpc));
    assert!(vpc.router.nft("list ruleset").contains("table ip docker"));
    assert!(vpc.router.ip("-4 address").contains("172.16.0.1/24"));
    assert!(vpc.router.ip("route").contains("10.250.0.0/16"));
}

pub fn a_file_that_is_just_being_written_is_not_picked_up() {
    let vpc = vpc_with(&full());
    let monitor = monitor(&vpc);
    // Cut off after the interfaces: valid, and without what VMs live by.
    let cut = NOTE.split("eip_list").next().expect("a first part");
    vpc.write_config(cut);
    vpc.unplug(Nic::SubnetB);
    vpc.plug(Nic::SubnetB);
    eventually(&monitor, "the NIC", || has_address(&vpc, "", "192.168.101.254"));
    assert_eq!(
        vpc.probe(&vpc.client, Tcp, "10.90.2.250:22", &[]),
        "a1:22 sees 198.51.100.10"
    );
}

pub fn what_was_reset_stays_reset() {
    let vpc = vpc_with(NOTE);
    let monitor = monitor(&vpc);
    expect(&vpc.kylin_vr(&["reset"]), 0, "applied");
    vpc.unplug(Nic::SubnetB);
    vpc.plug(Nic::SubnetB);
    thread::sleep(Duration::from_millis(300));
    assert!(
        !vpc.router.nft("list ruleset").contains("kylin_vr"),
        "{}",
        monitor.log()
    );
    assert!(!has_address(&vpc, "", "192.168."));
}

pub fn it_stops_when_asked_and_leaves_the_router_as_it_is() {
    let vpc = vpc_with(NOTE);
    let monitor = monitor(&vpc);
    vpc.router
        .ip(&format!("address flush dev {}", Nic::External.name()));
    eventually(&monitor, "the address", || agrees(&vpc));
    // Its gratuitous ARPs take two seconds, and are no business of whoever waits for it to end.
    let before = vpc.router.snapshot();
    let run = monitor.stop();
    assert_eq!(run.code, 0, "{}", said(&run));
    before.assert_same(&vpc.router.snapshot());
}

pub fn runs_of_udev_are_left_to_a_monitor() {
    let vpc = vpc();
    vpc.reload_ok(NOTE);
    expect(
        &vpc.kylin_vr(&["reload", "--last-accepted"]),
        0,
        "nothing changed",
    );
    let first = monitor(&vpc);
    expect(&vpc.kylin_vr(&["reload", "--last-accepted"]), 0, "left to");
    let second = vpc.kylin_vr(&["monitor"]);
    expect(&second, 1, "watches already");
    drop(first);

    // Without one they do it themselves: what was accepted last, not what the file says now. A rule of old has no
    // word for that, but udevd's environment.
    vpc.write_config("if_list: []\n");
    vpc.router.nft("delete table ip kylin_vr");
    expect(&vpc.kylin_vr(&["reload", "--last-accepted"]), 0, "+ nft");
    vpc.router.nft("delete table ip kylin_vr");
    let mut command = vpc.command();
    command.args(["-c", "reload"]);
    for (name, value) in [("ACTION", "add"), ("SUBSYSTEM", "net"), ("DEVPATH", "/devices/x")] {
        command.env(name, value);
    }
    let output = vpc.router.output(command);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(text.contains("+ nft"), "{text}");
    assert!(agrees_but_for_the_file(&vpc));
}

fn agrees_but_for_the_file(vpc: &Vpc) -> bool {
    vpc.kylin_vr(&["status", "--json"])
        .stdout
        .contains("\"agrees\": true")
}

pub fn start_waits_for_a_nic_and_then_goes_on() {
    let vpc = Vpc::builder(env!("CARGO_BIN_EXE_kylin-vr"))
        .without(Nic::SubnetB)
        .build();
    vpc.write_config(&full());
    // The rest works while it waits.
    let start = vpc.daemon(&["start", "--wait", "60"]);
    eventually(&start, "the rest", || has_address(&vpc, "", "192.168.100.254/24"));
    vpc.plug(Nic::SubnetB);
    let mut start = start;
    let end = Instant::now() + LONG;
    while start.is_running() {
        assert!(Instant::now() < end, "it waits on:\n{}", start.log());
        thread::sleep(Duration::from_millis(5));
    }
    assert!(has_address(&vpc, "", "192.168.101.254/24"));

    vpc.unplug(Nic::SubnetB);
    let run = vpc.kylin_vr(&["start", "--wait", "0.1"]);
    expect(&run, 0, "waited 0.1 s: 1 NIC is still missing");
    let run = vpc.kylin_vr(&["reload", "--rescan=0.1"]);
    expect(&run, 0, "waited 0.1 s: 1 NIC is still missing");
}

pub fn an_older_generation_is_refused() {
    let vpc = vpc_with(&format!("generation: 7\n{NOTE}"));
    let run = vpc.kylin_vr_with_input(&["reload", "-"], "generation: 6\nif_list: []\n");
    expect(&run, 3, "older than what is in force, generation 7");
    assert!(agrees(&vpc));
    let run = vpc.kylin_vr_with_input(&["reload", "-", "--json"], "generation: 8\nif_list: []\n");
    expect(&run, 0, "\"generation\": 8");
}
