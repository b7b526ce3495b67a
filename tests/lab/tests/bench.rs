//! The bench itself: namespaces, plugging, ARP, flows, snapshots, and running an agent.

mod hand;

use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use hand::{RULESET, needs_netns, set_up, vpc_with};
use lab::{ArpWatch, Icmp, Namespace, Nic, Tcp, Udp, Vpc, arping};

const SHORT: Duration = Duration::from_millis(300);

#[test]
fn a_thread_inside_has_the_namespace_and_the_caller_keeps_its_own() {
    needs_netns!();
    let own = fs::read_link("/proc/thread-self/ns/net").expect("read a link");
    let namespace = Namespace::new();
    let inside = namespace.run(|| fs::read_link("/proc/thread-self/ns/net").expect("read a link"));
    assert_ne!(inside, own);
    assert_eq!(
        fs::read_link("/proc/thread-self/ns/net").expect("read a link"),
        own
    );
    assert_eq!(
        namespace
            .clone()
            .run(|| fs::read_link("/proc/thread-self/ns/net").expect("read")),
        inside
    );
    // It is up: a socket there reaches its own namespace's `lo` alone.
    let listener = namespace.run(|| TcpListener::bind("127.0.0.1:80").expect("listen in a namespace"));
    let address = listener.local_addr().expect("an address");
    assert!(
        namespace
            .run(|| std::net::TcpStream::connect_timeout(&address, SHORT))
            .is_ok()
    );
}

#[test]
#[should_panic(expected = "said inside")]
fn a_panic_inside_comes_out() {
    if let Err(reason) = lab::is_root_with_netns() {
        eprintln!("skipped: {reason}");
        panic!("said inside");
    }
    Namespace::new().run(|| panic!("said inside"));
}

#[test]
#[should_panic(expected = "Cannot find device")]
fn a_command_that_fails_says_what_it_said() {
    if let Err(reason) = lab::is_root_with_netns() {
        eprintln!("skipped: {reason}");
        panic!("Cannot find device");
    }
    Namespace::new().ip("link set nothing up");
}

#[test]
fn sys_shows_the_links_of_the_namespace_to_who_needs_it() {
    needs_netns!();
    let namespace = Namespace::with_lo_down();
    namespace.veth(
        "wan7",
        "52:54:84:00:08:45",
        &Namespace::without_ipv6(),
        "eth0",
        "",
    );
    let address = || fs::read_to_string("/sys/class/net/wan7/address").unwrap_or_default();
    assert_eq!(namespace.run_with_sysfs(address), "52:54:84:00:08:45\n");
    assert_eq!(address(), "", "the machine's own /sys is as it was");
}

#[test]
fn a_new_vpc_has_nics_that_are_down_and_quiet_hosts() {
    needs_netns!();
    let started = Instant::now();
    let vpc = Vpc::builder("/nonexistent").without(Nic::SubnetB).build();
    println!("built in {:?}", started.elapsed());
    let links = vpc.router.ip("-o link");
    assert!(
        links.contains("wan7") && links.contains("lan3") && !links.contains("lan4"),
        "{links}"
    );
    assert!(
        links
            .lines()
            .filter(|line| !line.contains("lo:"))
            .all(|line| line.contains("state DOWN"))
    );
    let addresses = vpc.router.ip("-4 -o addr");
    assert!(
        addresses.lines().all(|line| line.contains("127.0.0.1")),
        "{addresses}"
    );
    assert_eq!(vpc.router.sysctl("net/ipv4/ip_forward"), "0");
    for host in [&vpc.client, &vpc.neighbour, &vpc.a1, &vpc.b2] {
        assert_eq!(host.ip("-6 addr"), "", "{}", host.name);
    }
    // Within a subnet no router is needed.
    assert_eq!(
        vpc.probe(&vpc.a1, Tcp, "192.168.100.191:22", &[]),
        "a2:22 sees 192.168.100.190"
    );
}

#[test]
fn a_nic_can_be_plugged_later_unplugged_and_plugged_under_another_name() {
    needs_netns!();
    let vpc = Vpc::builder("/nonexistent").without(Nic::SubnetB).build();
    vpc.plug(Nic::SubnetB);
    set_up(&vpc.router, RULESET);
    assert_eq!(
        vpc.probe(&vpc.b1, Icmp, "192.168.100.190", &[]),
        "a1 sees 192.168.101.10"
    );
    vpc.unplug(Nic::SubnetB);
    assert!(!vpc.router.ip("-o link").contains("lan4"));
    assert_eq!(vpc.probe(&vpc.a1, Icmp, "192.168.101.10", &[]), "lost");
    vpc.plug_as(Nic::SubnetB, "swift0");
    let link = vpc.router.ip("-o link show swift0");
    assert!(
        link.contains(Nic::SubnetB.mac()) && link.contains("state DOWN"),
        "{link}"
    );
    vpc.router
        .ip_batch("addr add 192.168.101.254/24 dev swift0\nlink set swift0 up");
    assert_eq!(
        vpc.probe(&vpc.b1, Icmp, "192.168.100.190", &[]),
        "a1 sees 192.168.101.10"
    );
}

#[test]
fn flows_pass_until_the_way_is_cut_and_again_after() {
    needs_netns!();
    let vpc = vpc_with(RULESET);
    let tcp = vpc
        .tcp_flow(&vpc.client, "10.90.2.250:22", &[])
        .expect("a TCP flow opens");
    let udp = vpc
        .udp_flow(&vpc.client, "10.90.2.254:53", &[5353])
        .expect("a UDP flow opens");
    assert!(tcp.ping_pong() && udp.ping_pong() && tcp.ping_pong() && udp.ping_pong());
    // The whole table replaced, as facts.md says: established flows do not notice.
    vpc.router.nft(&format!("delete table ip kylin_vr\n{RULESET}"));
    assert!(tcp.ping_pong() && udp.ping_pong());
    vpc.router.set_sysctl("net/ipv4/ip_forward", "0");
    assert!(!udp.ping_pong() && !tcp.ping_pong());
    vpc.router.set_sysctl("net/ipv4/ip_forward", "1");
    assert!(udp.ping_pong());
    assert!(vpc.tcp_flow(&vpc.client, "10.90.2.249:22", &[]).is_err());
}

#[test]
fn arp_is_asked_and_watched() {
    needs_netns!();
    let vpc = vpc_with(RULESET);
    let external = Nic::External.mac();
    assert_eq!(vpc.who_has("10.90.2.250").as_deref(), Some(external));
    assert_eq!(vpc.who_has("10.90.3.37").as_deref(), Some(external));
    assert_eq!(vpc.who_has("10.90.2.249"), None);
    let gateway = Ipv4Addr::new(192, 168, 100, 254);
    assert_eq!(
        arping(&vpc.a1, "eth0", gateway, SHORT).as_deref(),
        Some(Nic::SubnetA.mac())
    );

    let mut watch = ArpWatch::start(&vpc.upstream, "eth0");
    let mut elsewhere = ArpWatch::start(&vpc.a1, "eth0");
    // The kernel announces the addresses of a link whose MAC changes, when told to.
    let moved = "52:54:84:00:08:46";
    vpc.router.set_sysctl("net/ipv4/conf/wan7/arp_notify", "1");
    vpc.router.ip(&format!("link set wan7 address {moved}"));
    let frame = watch
        .wait_gratuitous([10, 90, 3, 37].into(), Duration::from_secs(2))
        .expect("an announcement");
    let told = (frame.operation, &*frame.sender_mac, &*frame.destination_mac);
    assert_eq!(told, (1, moved, "ff:ff:ff:ff:ff:ff"));
    assert_eq!(watch.gratuitous().len(), 1);
    assert!(elsewhere.gratuitous().is_empty());
    // A question is no announcement.
    vpc.probe(&vpc.router, Icmp, "10.90.3.1", &[]);
    assert!(watch.frames().iter().any(|frame| !frame.is_gratuitous()));
    assert_eq!(watch.gratuitous().len(), 1);
}

#[test]
fn two_snapshots_of_a_namespace_at_rest_are_equal_and_a_change_shows() {
    needs_netns!();
    let vpc = vpc_with(RULESET);
    let before = vpc.router.snapshot();
    // Traffic changes counters, neighbours and conntrack: nothing of the configuration.
    vpc.probe(&vpc.client, Udp, "10.90.2.250:22", &[]);
    before.assert_same(&vpc.router.snapshot());
    vpc.router
        .ip_batch("addr add 10.1.2.3/32 dev lan3\nlink set lan4 mtu 1400");
    vpc.router.set_sysctl("net/ipv4/conf/lan3/rp_filter", "2");
    vpc.router
        .nft("add element ip kylin_vr eip_to_vm { 10.90.2.9 : 192.168.100.9 }");
    let changes = before.changes(&vpc.router.snapshot());
    for part in [
        "+     inet 10.1.2.3/32",
        "mtu 1400",
        "+ net/ipv4/conf/lan3/rp_filter = 2",
        "10.90.2.9",
    ] {
        assert!(changes.contains(part), "{part} is not in\n{changes}");
    }
    assert!(changes.lines().count() < 25, "{changes}");
    vpc.router
        .ip_batch("addr del 10.1.2.3/32 dev lan3\nlink set lan4 mtu 1500");
    vpc.router.set_sysctl("net/ipv4/conf/lan3/rp_filter", "0");
    vpc.router
        .nft("delete element ip kylin_vr eip_to_vm { 10.90.2.9 }");
    before.assert_same(&vpc.router.snapshot());
}

/// A shell script in the agent's place tells how it was called.
fn script(name: &str, text: &str) -> PathBuf {
    // Several processes may run this test at once.
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}", std::process::id()));
    fs::write(&path, format!("#!/bin/sh\n{text}\n")).expect("write a script");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("make it executable");
    path
}

#[test]
fn the_agent_runs_in_the_router_with_files_of_its_own() {
    needs_netns!();
    let agent = script(
        "run",
        "cat $2; echo $3 $4; ip -br link show wan7; cat /sys/class/net/lan3/address; cat
         touch $STATE_DIRECTORY/s $RUNTIME_DIRECTORY/r; echo log >&2; exit 3",
    );
    let vpc = Vpc::builder(&agent).build();
    vpc.write_config("if_list: []\n");
    let run = vpc.kylin_vr_with_input(&["check", "-"], "typed\n");
    assert_eq!((run.code, &*run.stderr), (3, "log\n"));
    let lines: Vec<&str> = run.stdout.lines().collect();
    assert_eq!(lines[..2], ["if_list: []", "check -"]);
    assert!(lines[2].contains(Nic::External.mac()));
    assert_eq!(lines[3..], [Nic::SubnetA.mac(), "typed"]);
    let directory = vpc.directory().to_owned();
    assert!(directory.join("state/s").exists() && directory.join("run/r").exists());
    drop(vpc);
    assert!(!directory.exists());
    fs::remove_file(agent).expect("remove the script");
}

#[test]
fn a_daemon_stays_is_watched_and_stops() {
    needs_netns!();
    let agent = script(
        "daemon",
        "trap 'echo bye; exit 0' TERM; echo $3 ready >&2; while :; do sleep 0.05; done",
    );
    let vpc = Vpc::builder(&agent).build();
    let mut daemon = vpc.daemon(&["monitor"]);
    assert!(
        daemon.wait_for("monitor ready", Duration::from_secs(5)),
        "{}",
        daemon.log()
    );
    assert!(daemon.is_running());
    let run = daemon.stop();
    assert_eq!((run.code, &*run.stdout), (0, "bye\n"));
    let pid = vpc.daemon(&["monitor"]).pid();
    assert!(
        !fs::exists(format!("/proc/{pid}")).expect("look"),
        "dropped and still there"
    );
    fs::remove_file(agent).expect("remove the script");
}
