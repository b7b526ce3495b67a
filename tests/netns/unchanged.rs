//! A second run changes nothing, a change costs what changed, and what is removed leaves nothing.

use std::fs;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use lab::{Tcp, Vpc};

use crate::configs::{NOTE, expect, full, said, vpc, vpc_with};
use crate::confirm::eventually;

/// A monitor of the kernel's events, and what it printed.
struct Monitor {
    child: Child,
    log: std::path::PathBuf,
}

impl Monitor {
    fn start(vpc: &Vpc, name: &str, command: &[&str]) -> Self {
        let log = vpc.directory().join(name);
        let out = fs::File::create(&log).unwrap();
        let errors = out.try_clone().unwrap();
        let child = vpc.router.run(|| {
            let mut monitor = Command::new(command[0]);
            monitor
                .args(&command[1..])
                .stdin(Stdio::null())
                .stdout(out)
                .stderr(errors)
                .spawn()
                .unwrap()
        });
        Self { child, log }
    }

    fn text(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }

    /// Waits for an event that `cause` makes, repeated until it is seen: from then on nothing is missed.
    fn wait(&mut self, mark: &str, mut cause: impl FnMut()) {
        let deadline = Instant::now() + Duration::from_secs(20);
        while !self.text().contains(mark) {
            let ended = self.child.try_wait().unwrap();
            assert!(
                Instant::now() < deadline && ended.is_none(),
                "{ended:?}: no {mark} in: {}",
                self.text()
            );
            cause();
            std::thread::sleep(Duration::from_millis(200));
        }
    }
}

impl Drop for Monitor {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub fn a_second_reload_writes_nothing() {
    // `nft monitor` reads the whole ruleset first, and again whenever it changes meanwhile: not a large one.
    let vpc = vpc_with(&full().replace("end_port: 59999", "end_port: 30099"));
    let flow = vpc.tcp_flow(&vpc.client, "10.90.2.250:22", &[]).unwrap();
    let mut nft = Monitor::start(&vpc, "nft.log", &["stdbuf", "-oL", "nft", "monitor"]);
    let mut ip = Monitor::start(
        &vpc,
        "ip.log",
        &[
            "stdbuf", "-oL", "ip", "monitor", "link", "address", "route", "rule",
        ],
    );
    let mark = |number: u32| {
        vpc.router.nft(&format!("add table ip mark{number}"));
        vpc.router.nft(&format!("delete table ip mark{number}"));
        vpc.router.ip(&format!("route add blackhole 203.0.113.{number}"));
        vpc.router.ip(&format!("route del blackhole 203.0.113.{number}"));
    };
    nft.wait("mark1", || mark(1));
    ip.wait("203.0.113.1", || mark(1));
    let flows = || {
        // Not /proc/net: that is the namespace of the process, and the thread has another one.
        let table = vpc
            .router
            .run(|| fs::read_to_string("/proc/thread-self/net/nf_conntrack").unwrap());
        assert!(
            table.contains("dst=10.90.2.250"),
            "the open flow is in it: {table}"
        );
        // Only which flows there are and how they are translated: times and counters go on.
        let keep = |word: &&str| word.contains('=') || word.contains('[');
        let of_line = |line: &str| line.split_whitespace().filter(keep).collect::<Vec<_>>().join(" ");
        let mut lines: Vec<String> = table.lines().map(of_line).collect();
        lines.sort();
        lines
    };
    let (before, flows_before) = (vpc.router.snapshot(), flows());
    for command in ["reload", "start"] {
        let run = vpc.kylin_vr(&[command]);
        assert_eq!(
            (run.code, run.stdout.trim()),
            (0, "nothing changed"),
            "{}",
            said(&run)
        );
        // Nothing changed, nothing logged.
        assert_eq!(run.stderr, "");
    }
    before.assert_same(&vpc.router.snapshot());
    assert_eq!(flows(), flows_before);
    nft.wait("mark2", || mark(2));
    ip.wait("203.0.113.2", || mark(2));
    for (monitor, marks) in [(&nft, ["mark1", "mark2"]), (&ip, ["203.0.113.1", "203.0.113.2"])] {
        let text = monitor.text();
        let between = &text[text.rfind(marks[0]).unwrap()..text.find(marks[1]).unwrap()];
        let events: Vec<&str> = between
            .lines()
            .skip(1)
            .filter(|line| !line.starts_with('#') && !marks.iter().any(|mark| line.contains(mark)))
            .filter(|line| {
                !matches!(
                    line.trim(),
                    "" | "add table ip" | "delete table ip" | "blackhole" | "Deleted blackhole"
                )
            })
            .collect();
        assert!(events.is_empty(), "the kernel saw: {events:?}\nin {text}");
    }
    assert!(flow.ping_pong());
}

pub fn what_waits_for_the_kernel_after_a_removal_ends_by_itself() {
    let vpc = vpc_with(&full());
    let _flow = vpc.tcp_flow(&vpc.client, "10.90.2.250:22", &[]).unwrap();
    // Sockets of programs to netfilter (protocol 12); the kernel's own has no port.
    let sockets = || {
        let all = vpc
            .router
            .run(|| fs::read_to_string("/proc/thread-self/net/netlink").unwrap());
        let of_netfilter = |line: &&str| {
            let fields: Vec<&str> = line.split_whitespace().collect();
            fields[1] == "12" && fields[2] != "0"
        };
        all.lines().skip(1).filter(of_netfilter).count()
    };
    assert_eq!(sockets(), 0);
    vpc.write_config(NOTE);
    let reload = vpc.kylin_vr(&["-vv", "reload"]);
    expect(&reload, 0, "- nft      map forward_range");
    assert!(
        reload.stderr.contains("another process waits"),
        "{}",
        reload.stderr
    );
    eventually("the end of the sockets", || sockets() == 0);
}

pub fn drift_is_put_right() {
    // Without the tens of thousands of elements that nft(8) would list each time.
    let vpc = vpc_with(&full().replace("end_port: 59999", "end_port: 30099"));
    let before = vpc.router.snapshot();
    let spoils: &[&dyn Fn()] = &[
        &|| drop(vpc.router.nft("flush ruleset")),
        &|| drop(vpc.router.nft("flush chain ip kylin_vr source")),
        &|| drop(vpc.router.nft("insert rule ip kylin_vr source counter accept")),
        &|| drop(vpc.router.nft("add chain ip kylin_vr other")),
        &|| drop(vpc.router.nft("add set ip kylin_vr other { type ifname; }")),
        &|| {
            drop(
                vpc.router
                    .nft("delete element ip kylin_vr eip_to_vm { 10.90.2.250 }"),
            )
        },
        &|| {
            drop(
                vpc.router
                    .nft("add element ip kylin_vr vm_to_eip { 1.2.3.4 : 5.6.7.8 }"),
            )
        },
        &|| {
            drop(
                vpc.router
                    .nft("insert rule ip kylin_vr source ip saddr 172.16.0.0/12 return"),
            )
        },
        &|| drop(vpc.router.ip("addr flush dev lan3 scope global")),
        &|| drop(vpc.router.ip("addr add 10.1.2.3/24 dev wan7")),
        &|| drop(vpc.router.ip("link set wan7 down")),
        &|| drop(vpc.router.ip("link set lo down")),
        &|| drop(vpc.router.ip("route del default")),
        &|| drop(vpc.router.ip("route replace default via 10.90.3.9")),
        &|| drop(vpc.router.ip("route del local 10.90.2.250 dev lo table local")),
        &|| {
            drop(
                vpc.router
                    .ip("route add local 10.99.99.99 dev lo table local proto 158"),
            )
        },
        &|| vpc.router.set_sysctl("net/ipv4/ip_forward", "0"),
        &|| vpc.router.set_sysctl("net/ipv4/conf/lan3/rp_filter", "0"),
    ];
    for (number, spoil) in spoils.iter().enumerate() {
        spoil();
        let status = vpc.kylin_vr(&["status"]);
        assert!(
            status.code == 1
                && ["DRIFT", "ERROR"]
                    .iter()
                    .any(|word| status.stdout.starts_with(word)),
            "{number}: {}",
            said(&status)
        );
        let run = vpc.kylin_vr(&["reload"]);
        assert_eq!(run.code, 0, "{number}: {}", said(&run));
        assert!(run.stdout.contains("applied"), "{number}: {}", said(&run));
        let changes = before.changes(&vpc.router.snapshot());
        // Taking lo down and up gives it 127.0.0.1 again, and switching forwarding resets accept_redirects.
        let own = |line: &&str| line.starts_with(['+', '-']) && !line.contains("accept_redirects");
        assert!(changes.lines().filter(own).count() == 0, "{number}: {changes}");
    }
    assert_eq!(
        vpc.probe(&vpc.client, Tcp, "10.90.2.250:22", &[]),
        "a1:22 sees 198.51.100.10"
    );
}

pub fn flows_live_through_a_reload_that_changes_others() {
    let vpc = vpc_with(&full());
    let flows = [
        vpc.tcp_flow(&vpc.client, "10.90.2.250:22", &[]).unwrap(),
        vpc.tcp_flow(&vpc.client, "10.90.2.254:11", &[101]).unwrap(),
        vpc.tcp_flow(&vpc.b1, "198.51.100.10:80", &[]).unwrap(),
        vpc.tcp_flow(&vpc.b1, "10.90.2.250:80", &[]).unwrap(),
    ];
    let udp = vpc.udp_flow(&vpc.a1, "198.51.100.10:53", &[]).unwrap();
    for round in 0..5 {
        vpc.reload_ok(&full().replace("10.90.2.251", &format!("10.90.2.{}", 100 + round)));
        assert!(
            flows.iter().all(lab::TcpFlow::ping_pong) && udp.ping_pong(),
            "round {round}"
        );
        vpc.reload_ok(&full().replace(
            "port: 10, end_port: 12",
            &format!("port: 10, end_port: {}", 13 + round),
        ));
        assert!(
            flows.iter().all(lab::TcpFlow::ping_pong) && udp.ping_pong(),
            "round {round}"
        );
    }
}

pub fn entries_removed_in_random_order_leave_the_namespace_as_it_was() {
    let vpc = vpc();
    let before = vpc.router.snapshot();
    let text = full();
    let config: Vec<&str> = text.lines().collect();
    // Entries by the line they begin on; each with its section.
    let mut entries: Vec<(usize, usize)> = Vec::new();
    for (number, line) in config.iter().enumerate() {
        if line.trim_start().starts_with("- ") {
            let end = (number + 1..config.len())
                .find(|next| config[*next].trim_start().starts_with("- ") || config[*next].ends_with(':'))
                .unwrap_or(config.len());
            entries.push((number, end));
        }
    }
    vpc.reload_ok(&text);
    // A different order each time the tests run; the seed is told so that a failure can be repeated.
    let mut seed = std::env::var("KYLIN_VR_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok())
        .unwrap_or_else(|| {
            u64::from(std::process::id()) ^ std::time::UNIX_EPOCH.elapsed().unwrap().as_secs()
        });
    println!("KYLIN_VR_SEED={seed}");
    let mut gone = vec![false; config.len()];
    while !entries.is_empty() {
        seed = seed
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        let (start, end) = entries.swap_remove((seed >> 33) as usize % entries.len());
        gone[start..end].fill(true);
        let rest: String = config
            .iter()
            .zip(&gone)
            .filter(|(_, gone)| !**gone)
            .map(|(line, _)| format!("{line}\n"))
            .collect();
        let run = vpc.reload_ok(&rest);
        assert!(!run.stdout.contains("nothing changed"), "{}\n{rest}", said(&run));
    }
    let changes = before.changes(&vpc.router.snapshot());
    assert_eq!(changes, "", "seed {seed}");
}

pub fn removal_leaves_no_address_even_if_the_record_was_lost() {
    let vpc = vpc_with(&full());
    fs::remove_dir_all(vpc.directory().join("run")).unwrap();
    vpc.reload_ok(NOTE);
    let addresses = vpc.router.ip("-4 -o addr show scope global");
    assert!(
        !addresses.contains("192.168.101.254") && addresses.contains("192.168.100.254"),
        "{addresses}"
    );
    // One that somebody else wrote into is said to be lost.
    fs::write(vpc.directory().join("run/owned.json"), "{").unwrap();
    let path = vpc.directory().join("again.yaml");
    fs::write(&path, NOTE).unwrap();
    let again = vpc.kylin_vr(&["--verbose", "reload", path.to_str().unwrap()]);
    expect(&again, 0, "owned.json is damaged");
    // Without our table nothing in the kernel is ours: a NIC that is not in the file is somebody else's.
    vpc.reload_ok("if_list: []\n");
    vpc.router.ip("addr add 10.7.7.7/16 dev lan3");
    vpc.reload_ok("if_list: []\n");
    assert!(vpc.router.ip("-4 addr show dev lan3").contains("10.7.7.7"));
}

pub fn removal_gives_back_links_and_sysctls_as_they_were() {
    let vpc = vpc();
    vpc.router.ip("link set lan3 up");
    vpc.router.ip("link add p0 type veth peer name p1");
    vpc.router.set_sysctl("net/ipv6/conf/p0/disable_ipv6", "1");
    vpc.router.set_sysctl("net/ipv4/conf/wan7/rp_filter", "1");
    vpc.router
        .set_sysctl("net/ipv4/conf/lan3/promote_secondaries", "1");
    let before = vpc.router.snapshot();
    for text in [
        NOTE.to_owned(),
        full(),
        format!("ipv6: true\n{}", full()),
        NOTE.to_owned(),
    ] {
        vpc.reload_ok(&text);
    }
    vpc.reload_ok("if_list: []\n");
    before.assert_same(&vpc.router.snapshot());
}

/// What an earlier run saw of large sets is believed only as long as it is still so.
pub fn drift_in_large_sets_is_put_right_although_they_were_seen_before() {
    let mut yaml = full().replace("end_port: 59999", "end_port: 30099");
    let eips: String = (0..1_200)
        .map(|one| {
            let (high, low) = (one / 250, one % 250 + 1);
            format!("  - {{eip: 10.91.{high}.{low}, vm-ip: 192.168.100.{low}}}\n")
        })
        .collect();
    yaml = yaml.replace("port_forward_list:", &format!("{eips}port_forward_list:"));
    let vpc = vpc_with(&yaml);
    let seen = vpc.directory().join("run/seen");
    let table = || vpc.router.nft("list ruleset");
    let whole = table();
    let is_unchanged = |case: &str| {
        let run = vpc.kylin_vr(&["reload"]);
        assert!(run.stdout.contains("nothing changed"), "{case}: {}", said(&run));
    };
    is_unchanged("at first");
    let kept = fs::read(&seen).expect("what was seen is kept");
    let delete = || {
        drop(
            vpc.router
                .nft("delete element ip kylin_vr eip_to_vm { 10.91.3.7 }"),
        )
    };
    let add = || {
        let element = "add element ip kylin_vr eip_to_vm { 1.2.3.4 : 5.6.7.8 }";
        drop(vpc.router.nft(element));
    };
    let change = || {
        delete();
        let element = "add element ip kylin_vr eip_to_vm { 10.91.3.7 : 192.168.100.9 }";
        drop(vpc.router.nft(element));
    };
    let other = || drop(vpc.router.nft("add table ip other; delete table ip other"));
    let flush = || drop(vpc.router.nft("flush ruleset"));
    let damage = |by: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = fs::read(&seen).unwrap();
        by(&mut bytes);
        fs::write(&seen, bytes).unwrap();
        delete();
    };
    let spoils: [(&str, &dyn Fn()); 8] = [
        ("an element went", &delete),
        ("one came", &add),
        ("one is another", &change),
        ("all went", &flush),
        ("cut off", &|| damage(&|bytes| bytes.truncate(bytes.len() / 2))),
        ("another byte", &|| damage(&|bytes| bytes[1_000] ^= 1)),
        ("empty", &|| damage(&Vec::clear)),
        ("what was seen first", &|| {
            other();
            damage(&|bytes| bytes.clone_from(&kept));
        }),
    ];
    for (case, spoil) in spoils {
        spoil();
        assert_ne!(table(), whole, "{case}");
        let run = vpc.kylin_vr(&["reload"]);
        assert!(
            run.code == 0 && run.stdout.contains("applied"),
            "{case}: {}",
            said(&run)
        );
        assert_eq!(table(), whole, "{case}");
        is_unchanged(case);
    }
    other();
    is_unchanged("another table came and went");
    // Another kernel's: it has as many changes behind it, but nothing of ours.
    let clone = crate::configs::vpc();
    clone.reload_ok("if_list: []\n");
    fs::write(clone.directory().join("run/seen"), fs::read(&seen).unwrap()).unwrap();
    clone.reload_ok(&yaml);
    assert_eq!(clone.router.nft("list ruleset"), whole);
    let run = vpc.kylin_vr(&["reset"]);
    assert_eq!(run.code, 0, "{}", said(&run));
    assert!(!seen.exists(), "what was seen is kept although nothing is there");
}
