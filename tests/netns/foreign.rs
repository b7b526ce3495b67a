//! What is not ours survives everything.

use lab::{Tcp, Vpc};

use crate::configs::{NOTE, full, said, vpc, vpc_with};

/// A NIC that no file names, with addresses and routes; another nftables table; iptables rules.
fn make_foreign_things(vpc: &Vpc) {
    vpc.router.ip_batch(
        "link add mgmt0 address 52:54:84:99:00:01 type veth peer name mgmt1\nlink set mgmt0 up\nlink set mgmt1 up\n\
         addr add 172.16.0.5/24 dev mgmt0\naddr add 172.16.0.6/24 dev mgmt0\naddr add 203.0.113.9/32 dev lo\n\
         route add 172.30.0.0/16 via 172.16.0.1 dev mgmt0\n\
         route add default via 172.16.0.1 dev mgmt0 metric 500\nroute add 10.200.0.0/16 via 172.16.0.1 table 77\n\
         rule add from 172.16.0.5 table 77 priority 900",
    );
    vpc.router.nft(
        "table ip foreign { set s { type ipv4_addr; elements = { 10.90.2.250 }; }; \
         chain c { type filter hook forward priority 0; ip saddr 192.0.2.0/24 drop; }; }; \
         table inet kylin_vr2 { chain c { type filter hook input priority 0; tcp dport 4444 drop; }; }",
    );
    let mut iptables = std::process::Command::new("iptables-nft");
    iptables.args([
        "-t",
        "nat",
        "-A",
        "POSTROUTING",
        "-s",
        "172.31.0.0/16",
        "-j",
        "MASQUERADE",
    ]);
    let output = vpc.router.output(iptables);
    assert!(output.status.success(), "{output:?}");
}

/// All that is foreign, as text.
fn foreign_things(vpc: &Vpc) -> String {
    [
        vpc.router.ip("-d addr show dev mgmt0"),
        vpc.router.ip("-4 addr show dev lo"),
        vpc.router.ip("-4 route show table all dev mgmt0"),
        vpc.router.ip("rule"),
        vpc.router.nft("list table ip foreign"),
        vpc.router.nft("list table inet kylin_vr2"),
        vpc.router.nft("list table ip nat"),
    ]
    .concat()
}

pub fn everything_foreign_survives_every_command() {
    let vpc = vpc();
    make_foreign_things(&vpc);
    // Their IPv6 is another test's.
    vpc.router.set_sysctl("net/ipv6/conf/mgmt0/disable_ipv6", "1");
    vpc.router.set_sysctl("net/ipv6/conf/mgmt1/disable_ipv6", "1");
    vpc.router.set_sysctl("net/ipv6/conf/lo/disable_ipv6", "1");
    let before = foreign_things(&vpc);
    let commands: &[&[&str]] = &[
        &["start"],
        &["plan"],
        &["check"],
        &["status"],
        &["reload"],
        &["reset"],
        &["start"],
        &["reset", "--all"],
    ];
    for (text, commands) in [
        (full(), commands),
        (NOTE.to_owned(), commands),
        ("if_list: []\n".to_owned(), commands),
    ] {
        vpc.write_config(&text);
        for command in commands {
            let run = vpc.kylin_vr(command);
            assert!([0, 1].contains(&run.code), "{command:?}: {}", said(&run));
            assert_eq!(foreign_things(&vpc), before, "after {command:?}");
        }
    }
}

pub fn a_foreign_default_route_of_the_same_metric_survives() {
    let vpc = vpc();
    make_foreign_things(&vpc);
    vpc.router.ip("route add default via 172.16.0.1 dev mgmt0");
    vpc.reload_ok(NOTE);
    let defaults = || vpc.router.ip("-4 route show default");
    let wanted = [
        "default via 10.90.3.1 dev wan7 proto 158",
        "default via 172.16.0.1 dev mgmt0",
    ];
    let lines = |text: &str| {
        text.lines()
            .map(|line| line.trim().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(lines(&defaults())[..2], wanted);
    assert_eq!(
        vpc.probe(&vpc.a3, Tcp, "198.51.100.10:80", &[]),
        "client:80 sees 10.90.3.37"
    );
    vpc.reload_ok(&NOTE.replace("gateway: 10.90.3.1", "gateway: 10.90.3.9"));
    assert_eq!(
        lines(&defaults())[..2],
        ["default via 10.90.3.9 dev wan7 proto 158", wanted[1]]
    );
    // Put before ours, it would be in use: ours goes to the front again, and the other one stays.
    vpc.router.ip("route del default via 172.16.0.1 dev mgmt0");
    vpc.router.ip("route prepend default via 172.16.0.1 dev mgmt0");
    let run = vpc.reload_ok(NOTE);
    assert!(run.stdout.contains("applied"), "{}", said(&run));
    assert_eq!(lines(&defaults())[..2], wanted);
    vpc.reload_ok("if_list: []\n");
    assert_eq!(lines(&defaults())[0], wanted[1]);
}

pub fn a_foreign_mark_keeps_its_other_bits() {
    let vpc = vpc_with(&full());
    // Another program's mark, set before ours and looked at after it, at both hooks where we set one.
    vpc.router.nft(
        "table ip foreign { chain before { type filter hook prerouting priority -160; meta mark set 0x00004321; }; \
         chain out { type filter hook output priority -160; meta mark set 0x00004321; }; \
         chain after { type filter hook postrouting priority 90; meta mark & 0xfeffffff != 0x00004321 counter drop; }; }",
    );
    assert_eq!(
        vpc.probe(&vpc.a1, Tcp, "192.168.101.10:22", &[]),
        "b1:22 sees 192.168.100.190"
    );
    assert_eq!(
        vpc.probe(&vpc.b1, Tcp, "198.51.100.10:80", &[]),
        "client:80 sees 10.90.3.37"
    );
    assert_eq!(
        vpc.probe(&vpc.router, Tcp, "192.168.101.10:22", &[]),
        "b1:22 sees 192.168.101.254"
    );
    let counted = vpc.router.nft("list chain ip foreign after");
    assert!(counted.contains("packets 0 "), "{counted}");
}

pub fn ipv6_of_an_unlisted_nic_is_left_alone() {
    let vpc = vpc();
    vpc.router.ip_batch(
        "link add mgmt0 address 52:54:84:99:00:01 type veth peer name mgmt1\nlink set mgmt0 up\nlink set mgmt1 up\n\
         addr add fd00:16::5/64 dev mgmt0 nodad",
    );
    let run = vpc.reload_ok(NOTE);
    assert!(
        run.stdout.contains("mgmt0, which is not in the file, uses IPv6"),
        "{}",
        said(&run)
    );
    assert!(vpc.router.ip("-6 addr show dev mgmt0").contains("fd00:16::5/64"));
    assert_eq!(vpc.router.sysctl("net/ipv6/conf/lan3/disable_ipv6"), "1");
    assert!(vpc.kylin_vr(&["reload"]).stdout.contains("nothing changed"));
    vpc.reload_ok("if_list: []\n");
    assert!(vpc.router.ip("-6 addr show dev mgmt0").contains("fd00:16::5/64"));
    assert_eq!(vpc.router.sysctl("net/ipv6/conf/lan3/disable_ipv6"), "0");
}
