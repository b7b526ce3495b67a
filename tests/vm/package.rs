//! The life of the package on a router that works: upgraded, removed, purged.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use lab::{Tcp, Vpc};

use crate::bench::{Bench, CONFIG, both_subnets, configure, eip_works, state};

/// The same package under a higher version.
fn newer(package: &Path, directory: &Path) -> PathBuf {
    let (root, newer) = (directory.join("newer"), directory.join("newer.deb"));
    let run = |program: &str, arguments: &[&Path]| {
        let status = Command::new(program)
            .args(arguments)
            .stdout(Stdio::null())
            .status();
        assert!(status.unwrap().success(), "{program} {arguments:?}");
    };
    run("dpkg-deb", &[Path::new("--raw-extract"), package, &root]);
    let script = Path::new("s/^Version: .*/&.99/");
    run("sed", &[Path::new("-i"), script, &root.join("DEBIAN/control")]);
    let options = [Path::new("--root-owner-group"), Path::new("--build")];
    run("dpkg-deb", &[options[0], options[1], &root, &newer]);
    newer
}

pub fn an_upgrade_loses_no_packet_and_a_purge_leaves_nothing(bench: &Bench) {
    let vpc = Vpc::without_router();
    let machine = bench.booted(&vpc);
    let empty = state(&machine);
    configure(&machine, &both_subnets());
    let newer = newer(&bench.package(), vpc.directory());
    machine.copy_in("/root/newer.deb", &std::fs::read(newer).unwrap());
    let everything =
        "ip -4 addr; ip -4 route show table all; nft -a -s list ruleset; sysctl net.ipv4.ip_forward";
    let before = machine.sh(everything);
    let flow = vpc
        .tcp_flow(&vpc.client, "10.90.2.250:22", &[])
        .unwrap_or_else(|outcome| panic!("{outcome}"));
    let ping = vpc.a3.run(|| {
        let mut ping = Command::new("ping");
        ping.args(["-q", "-n", "-i", "0.1", "-w", "600", "198.51.100.10"]);
        ping.stdout(Stdio::piped()).spawn().unwrap()
    });
    machine.sh("DEBIAN_FRONTEND=noninteractive dpkg --install /root/newer.deb");
    machine.wait_for("the monitor", "systemctl is-active kylin-vr-monitor.service");
    assert!(flow.ping_pong());
    // It tells what was lost when it is interrupted.
    let interrupt = format!("kill -INT {}", ping.id());
    Command::new("sh").args(["-c", &interrupt]).status().unwrap();
    let counts = String::from_utf8(ping.wait_with_output().unwrap().stdout).unwrap();
    let mut counts = counts.split(" packets transmitted, ");
    let sent: u32 = counts
        .next()
        .and_then(|head| head.rsplit('\n').next())
        .unwrap()
        .parse()
        .unwrap();
    let received: u32 = counts
        .next()
        .and_then(|tail| tail.split(' ').next())
        .unwrap()
        .parse()
        .unwrap();
    // The last one may be under way.
    assert!(
        sent > 0 && sent - received <= 1,
        "{received} of {sent} pings came back"
    );
    assert_eq!(
        machine.sh(everything),
        before,
        "an upgrade touches nothing in the kernel"
    );
    assert!(machine.sh("dpkg-query -W kylin-vr").contains(".99"));

    machine.sh("DEBIAN_FRONTEND=noninteractive dpkg --remove kylin-vr");
    assert_eq!(state(&machine), empty, "removal");
    machine.sh(&format!("test -s {CONFIG}"));
    assert!(!vpc.probe(&vpc.client, Tcp, "10.90.2.250:22", &[]).reached("a1"));
    machine.sh("DEBIAN_FRONTEND=noninteractive dpkg --install /root/newer.deb");
    machine.wait_for("the router", "kylin-vr status");
    eip_works(&vpc);
    machine.sh("DEBIAN_FRONTEND=noninteractive dpkg --purge kylin-vr");
    assert_eq!(state(&machine), empty, "purge");
    let left = machine.sh(
        "find / -xdev \\( -path /proc -o -path /sys -o -path /root -o -path /var/log \\) -prune \
         -o -name '*kylin-vr*' -print; find /run -name '*kylin-vr*' -print; systemctl list-units --all --type=service,timer,path,socket | grep kylin-vr || true",
    );
    let left: Vec<&str> = left.lines().filter(|line| !line.contains("bench")).collect();
    assert!(left.is_empty(), "{left:#?}");
}
