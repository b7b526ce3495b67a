//! `reload --confirm-within` when somebody dies meanwhile: the process that waits, the monitor, the run itself, the machine.

use std::fs;
use std::process::{Command, Output, Stdio};
use std::thread;
use std::time::Instant;

use lab::{Daemon, Nic, Vpc};

use crate::configs::{NOTE, expect, full, vpc_with};
use crate::confirm::{
    Before, accepted, eventually, expire, is_open, kill_guard, reload_within, wait_until_taken_back,
};
use crate::monitor::is_watched;

fn monitor(vpc: &Vpc) -> Daemon {
    let monitor = vpc.daemon(&["--verbose", "monitor"]);
    eventually("the monitor", || is_watched(vpc));
    monitor
}

pub fn the_monitor_takes_back_where_nobody_else_is_left() {
    let vpc = vpc_with(NOTE);
    let before = Before::of(&vpc);
    let first = monitor(&vpc);
    // It hears of the window by itself: this one changes nothing in the kernel.
    let run = reload_within(&vpc, "10s", &format!("# a comment\n{NOTE}"));
    expect(&run, 0, "nothing changed");
    kill_guard(&vpc);
    eventually("the taking back", || first.log().contains("taken back"));
    wait_until_taken_back(&vpc);
    before.assert_same(&vpc);

    // A monitor that is started within the window sees to it as well.
    drop(first);
    expect(&reload_within(&vpc, "10s", &full()), 0, "applied");
    kill_guard(&vpc);
    let second = monitor(&vpc);
    wait_until_taken_back(&vpc);
    before.assert_same(&vpc);
    assert_eq!(second.stop().code, 0);
}

pub fn whoever_comes_next_takes_back_what_is_due() {
    let vpc = vpc_with(NOTE);
    let before = Before::of(&vpc);
    for arguments in [&["reload", "--last-accepted"][..], &["start"], &["reload"]] {
        expect(&reload_within(&vpc, "1h", &full()), 0, "applied");
        kill_guard(&vpc);
        expire(&vpc);
        assert!(is_open(&vpc));
        expect(&vpc.kylin_vr(&["status"]), 0, "UNCONFIRMED");
        expect(
            &vpc.kylin_vr(arguments),
            0,
            "was not confirmed in time and is taken back",
        );
        before.assert_same(&vpc);
        assert!(!is_open(&vpc));
    }
    // A confirmation that comes then is too late.
    expect(&reload_within(&vpc, "1h", &full()), 0, "applied");
    kill_guard(&vpc);
    expire(&vpc);
    expect(&vpc.kylin_vr(&["confirm"]), 4, "too late");
    before.assert_same(&vpc);
}

/// The router after a reboot: another name of the boot, and a clock since then that begins anew; both are the kernel's own,
/// by a mount and a time namespace.
struct Rebooted<'v> {
    vpc: &'v Vpc,
    offset: i64,
}

impl<'v> Rebooted<'v> {
    fn new(vpc: &'v Vpc, name: &str, seconds_ago: i64) -> Self {
        kill_guard(vpc);
        fs::remove_dir_all(vpc.directory().join("run")).unwrap();
        fs::create_dir(vpc.directory().join("run")).unwrap();
        fs::write(vpc.directory().join("boot_id"), format!("{name}\n")).unwrap();
        vpc.router.nft("flush ruleset");
        for nic in [Nic::External, Nic::SubnetA, Nic::SubnetB] {
            vpc.router.ip(&format!("address flush dev {}", nic.name()));
            vpc.router.ip(&format!("link set {} down", nic.name()));
        }
        vpc.router.ip("route flush table local proto 158");
        let uptime = fs::read_to_string("/proc/uptime").unwrap();
        let uptime: i64 = uptime.split('.').next().unwrap().parse().unwrap();
        Rebooted {
            vpc,
            offset: seconds_ago - uptime,
        }
    }

    fn kylin_vr(&self, arguments: &str) -> Output {
        let directory = self.vpc.directory().display();
        let script = format!(
            "mount --bind {directory}/boot_id /proc/sys/kernel/random/boot_id && exec {} --config {} {arguments}",
            env!("CARGO_BIN_EXE_kylin-vr"),
            self.vpc.config_path().display()
        );
        let mut command = Command::new("unshare");
        command
            .args(["--mount", "--time", "--boottime", &self.offset.to_string()])
            .args(["--fork", "sh", "-c", &script])
            .env("STATE_DIRECTORY", self.vpc.directory().join("state"))
            .env("RUNTIME_DIRECTORY", self.vpc.directory().join("run"))
            .stdin(Stdio::null());
        self.vpc.router.output(command)
    }

    #[track_caller]
    fn start(&self, words: &str) {
        let output = self.kylin_vr("start");
        let text = format!(
            "{}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        assert!(output.status.success() && text.contains(words), "{text}");
    }
}

fn subnet_b() -> String {
    let start = full().find("   - ipaddr: 192.168.101.254").unwrap();
    let end = full().find("eip_list:").unwrap();
    format!("{}eip_list:", &full()[start..end])
}

pub fn a_window_goes_on_after_a_reboot() {
    // The same NICs in both: the record of how these were is gone with the reboot, and the namespace does not forget.
    let vpc = vpc_with(&NOTE.replace("eip_list:", &subnet_b()));
    let before = Before::of(&vpc);
    expect(&reload_within(&vpc, "1h", &full()), 0, "applied");

    let first = Rebooted::new(&vpc, "first", 1);
    first.start("unless `kylin-vr confirm` comes before");
    assert_eq!(accepted(&vpc), full().as_bytes());
    assert!(is_open(&vpc));
    // The wall clock says that there is most of an hour left; the time since the boot, that there are seconds.
    let second = Rebooted::new(&vpc, "second", 3590);
    second.start("applied");
    wait_until_taken_back(&vpc);
    before.assert_same(&vpc);

    // Over while the machine was off: the boot goes back to what was there before.
    expect(&reload_within(&vpc, "1h", &full()), 0, "applied");
    let third = Rebooted::new(&vpc, "third", 4000);
    third.start("was not confirmed in time and is taken back");
    before.assert_same(&vpc);
    assert!(!is_open(&vpc));

    // Confirmed after the reboot, it stays.
    expect(&reload_within(&vpc, "1h", &full()), 0, "applied");
    let fourth = Rebooted::new(&vpc, "fourth", 1);
    fourth.start("unless");
    assert!(fourth.kylin_vr("confirm").status.success());
    let fifth = Rebooted::new(&vpc, "fifth", 4000);
    fifth.start("applied");
    assert_eq!(accepted(&vpc), full().as_bytes());
}

pub fn killed_at_any_moment_nothing_unconfirmed_stays_without_a_deadline() {
    let vpc = vpc_with(NOTE);
    let before = Before::of(&vpc);
    let started = Instant::now();
    expect(&reload_within(&vpc, "1h", &full()), 0, "applied");
    let mut turning = started.elapsed();
    expire(&vpc);
    wait_until_taken_back(&vpc);
    let (mut old, mut new) = (0, 0);
    for round in 0..30_u32 {
        let mut child = vpc.router.run_with_sysfs(|| {
            let mut command = vpc.command();
            command
                .args(["reload", "--confirm-within", "1h", "-"])
                .stdin(Stdio::piped())
                .stdout(Stdio::null())
                .stderr(Stdio::null());
            let mut child = command.spawn().unwrap();
            let mut stdin = child.stdin.take().unwrap();
            std::io::Write::write_all(&mut stdin, full().as_bytes()).unwrap();
            child
        });
        // Around the moment when the new one becomes the accepted one: how long that takes depends on what else runs
        // here, so each round is told by those before it.
        thread::sleep(turning * (5 + round * 7 % 11) / 10);
        let _ = child.kill();
        child.wait().unwrap();
        let is_new = accepted(&vpc) == full().as_bytes();
        if is_new {
            new += 1;
            turning = turning * 10 / 12;
            assert!(is_open(&vpc), "round {round}: nobody would take it back");
        } else {
            old += 1;
            turning = turning * 12 / 10;
            assert_eq!(accepted(&vpc), NOTE.as_bytes());
        }
        // What is accepted is what the router comes to, at the latest by the next run.
        let kernel = vpc.router.snapshot();
        if !is_open(&vpc) {
            before.kernel.assert_same(&kernel);
            continue;
        }
        expire(&vpc);
        expect(&vpc.kylin_vr(&["reload", "--last-accepted"]), 0, "");
        wait_until_taken_back(&vpc);
        before.assert_same(&vpc);
    }
    println!("killed, at last around {turning:?}: {old} times the old one, {new} times the new one");
    assert!(
        old > 0 && new > 0,
        "{old} times the old one, {new} times the new one"
    );
}
