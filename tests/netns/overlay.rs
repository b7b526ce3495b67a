//! Overlay subnets: VMs on two hypervisors with real Open vSwitch, whose flow tables are a mini cloud's, and the router at
//! the end of their tunnels.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use lab::{
    ArpWatch, Carried, Host, Hypervisor, Icmp, Nic, Outcome, Snapshot, Tcp, Udp, Vpc, has_open_vswitch,
};

use crate::configs::{expect, full, said, vpc};
use crate::rows::check;

const ROUTER: [u8; 4] = [10, 90, 3, 37];
const SUBNET_A: &str = "     mac: 52:54:84:11:00:03\n";
const SUBNET_B: &str = "     mac: 52:54:84:11:00:04\n";

/// The VPC of the other tests, with VMs on hypervisors in place of the router's wires to them.
struct Cloud {
    vpc: Vpc,
    one: Hypervisor,
    two: Hypervisor,
}

/// Where a VM is, and in which subnet.
type Placed<'c> = (&'c Host, &'c Hypervisor, &'c Carried);

fn subnets() -> [Carried; 2] {
    [
        Carried {
            vni: 100,
            gateway: [192, 168, 100, 254].into(),
        },
        Carried {
            vni: 101,
            gateway: [192, 168, 101, 254].into(),
        },
    ]
}

impl Cloud {
    /// Subnet A is an overlay, and B is where it says so. VMs a1, a3 and b1 are on the first hypervisor, a2 and b2 on the
    /// second one.
    fn new(vpc: Vpc, has_b: bool) -> Cloud {
        let hypervisor = |name, last| Hypervisor::new(name, [10, 90, 3, last].into(), &vpc.switch, "ext");
        let (one, two) = (hypervisor("hv1", 41), hypervisor("hv2", 42));
        for (vm, on) in [(&vpc.a1, &one), (&vpc.a3, &one), (&vpc.a2, &two)] {
            on.attach(vm, &vpc.switch);
        }
        if has_b {
            one.attach(&vpc.b1, &vpc.switch);
            two.attach(&vpc.b2, &vpc.switch);
        }
        let cloud = Cloud { vpc, one, two };
        cloud.program(&cloud.one, has_b);
        cloud
    }

    /// Puts a configuration in effect, and waits until the switches know where the router and each other are: they drop the
    /// packet that has them ask by ARP.
    fn reload_ok(&self, yaml: &str) {
        self.vpc.reload_ok(yaml);
        self.warm_up();
    }

    fn warm_up(&self) {
        let Vpc { a1, a2, a3, .. } = &self.vpc;
        let begun = Instant::now();
        for (from, to) in [
            (a1, "192.168.100.254"),
            (a2, "192.168.100.254"),
            (a3, "192.168.100.191"),
        ] {
            while !from.ping(to, 3) {
                assert!(
                    begun.elapsed() < Duration::from_secs(30),
                    "{} does not reach {to}",
                    from.name
                );
            }
        }
    }

    /// Programs both hypervisors, for a1 on this one.
    fn program(&self, a1_on: &Hypervisor, has_b: bool) {
        let Cloud { vpc, one, two } = self;
        let subnets = subnets();
        let [a, b] = &subnets;
        let mut vms: Vec<Placed<'_>> = vec![(&vpc.a1, a1_on, a), (&vpc.a3, one, a), (&vpc.a2, two, a)];
        if has_b {
            vms.extend([(&vpc.b1, one, b), (&vpc.b2, two, b)]);
        }
        one.program(&subnets, &vms, ROUTER.into(), &[two]);
        two.program(&subnets, &vms, ROUTER.into(), &[one]);
    }
}

/// The lines of an overlay in place of a NIC's.
fn overlay(vni: u32, peers: &str, vms: &[(&Host, &str)]) -> String {
    let mut text = format!("     vxlan: {{vni: {vni}, peers: [{peers}]}}\n     vm_list:\n");
    for (vm, host) in vms {
        text += &format!(
            "       - {{vm-ip: {}, mac: '{}', host: {host}, name: {}}}\n",
            vm.address,
            vm.mac(),
            vm.name
        );
    }
    text
}

const BOTH: &str = "10.90.3.41, 10.90.3.42";

/// The file of the packet table with subnet A as an overlay whose VMs are all listed, and none flooded to.
fn listed(vpc: &Vpc, a1_on: &str) -> String {
    let vms = [(&vpc.a1, a1_on), (&vpc.a2, "10.90.3.42"), (&vpc.a3, "10.90.3.41")];
    full().replace(SUBNET_A, &overlay(100, "", &vms))
}

fn skip(name: &str) -> bool {
    match has_open_vswitch() {
        Ok(()) => false,
        Err(why) => {
            println!("skipped: {name}: {why}");
            true
        }
    }
}

fn new_vpc(missing: &[Nic]) -> Vpc {
    // Each first packet goes through two processes.
    new_vpc_waiting(missing, Duration::from_millis(1_500))
}

/// One in which a packet is lost only after so long.
fn new_vpc_waiting(missing: &[Nic], timeout: Duration) -> Vpc {
    let builder = Vpc::builder(env!("CARGO_BIN_EXE_kylin-vr"));
    let builder = missing.iter().fold(builder, |builder, nic| builder.without(*nic));
    builder.timeout(timeout).build()
}

pub fn every_row_holds_with_subnet_a_on_hypervisors() {
    if skip("every_row_holds_with_subnet_a_on_hypervisors") {
        return;
    }
    let cloud = Cloud::new(new_vpc(&[Nic::SubnetA]), false);
    cloud.reload_ok(&listed(&cloud.vpc, "10.90.3.41"));
    check(&cloud.vpc, 1..=10);
}

pub fn every_row_holds_with_both_subnets_on_hypervisors() {
    if skip("every_row_holds_with_both_subnets_on_hypervisors") {
        return;
    }
    let cloud = Cloud::new(new_vpc(&[Nic::SubnetA, Nic::SubnetB]), true);
    // No VM is listed: each is found by way of the peers.
    let text = full()
        .replace(SUBNET_A, &overlay(100, BOTH, &[]))
        .replace(SUBNET_B, &overlay(101, BOTH, &[]));
    cloud.reload_ok(&text);
    check(&cloud.vpc, 1..=10);
    let second = cloud.vpc.kylin_vr(&["reload"]);
    expect(&second, 0, "nothing changed");
}

pub fn a_vm_moves_under_traffic_by_one_entry() {
    if skip("a_vm_moves_under_traffic_by_one_entry") {
        return;
    }
    // Late is not lost: the switches are processes, which wait for their turn on a busy machine.
    let patient = new_vpc_waiting(&[Nic::SubnetA], Duration::from_secs(30));
    let cloud = Cloud::new(patient, false);
    let vpc = &cloud.vpc;
    let hosts = ["10.90.3.41", "10.90.3.42"];
    cloud.reload_ok(&listed(vpc, hosts[0]));
    let udp = vpc.udp_flow(&vpc.client, "10.90.2.250:53", &[]).unwrap();
    let tcp = vpc.tcp_flow(&vpc.client, "10.90.2.250:80", &[]).unwrap();
    // A hypervisor sends on what comes for a VM that is not there any more. So whatever the router's entry says, every
    // packet arrives; unless there is a moment without one.
    let (stop, asked) = (AtomicBool::new(false), AtomicU64::new(0));
    let mut lines = Vec::new();
    thread::scope(|scope| {
        let lost = scope.spawn(|| {
            let mut lost = 0;
            while !stop.load(Ordering::Relaxed) {
                lost += u64::from(!udp.ping_pong());
                asked.fetch_add(1, Ordering::Relaxed);
            }
            lost
        });
        for round in 0..20 {
            let run = vpc.reload_ok(&listed(vpc, hosts[(round + 1) % 2]));
            lines.push(run.stdout);
        }
        stop.store(true, Ordering::Relaxed);
        let (lost, asked) = (lost.join().unwrap(), asked.load(Ordering::Relaxed));
        assert_eq!(lost, 0, "of {asked}");
        assert!(asked >= 100, "only {asked} packets in 20 moves");
    });
    for line in lines {
        assert!(
            line.contains("~ fdb") && line.contains("applied 1 change"),
            "{line}"
        );
    }
    assert!(tcp.ping_pong());

    // And the VM itself: its wire goes to the other hypervisor, and the connection goes on.
    cloud.one.hand_over(&vpc.a1, &cloud.two);
    cloud.program(&cloud.two, false);
    vpc.reload_ok(&listed(vpc, hosts[1]));
    assert!(tcp.ping_pong() && udp.ping_pong());
    assert_eq!(
        vpc.probe(&vpc.a1, Tcp, "192.168.101.10:22", &[]),
        "b1:22 sees 192.168.100.190"
    );
}

/// Asks until it is answered as it should be: a switch learns again where others are in its own time.
fn becomes(expected: &str, ask: impl Fn() -> lab::Outcome) {
    let begun = Instant::now();
    loop {
        let outcome = ask();
        if outcome == expected {
            return;
        }
        assert!(
            begun.elapsed() < Duration::from_secs(30),
            "{outcome}, not {expected}"
        );
    }
}

pub fn a_hypervisor_goes_and_comes() {
    if skip("a_hypervisor_goes_and_comes") {
        return;
    }
    let mut cloud = Cloud::new(new_vpc(&[Nic::SubnetA]), false);
    cloud.reload_ok(&listed(&cloud.vpc, "10.90.3.41"));
    let to = |vpc: &Vpc, eip: &str| vpc.probe(&vpc.client, Udp, eip, &[]);
    let (a1, a2) = ("a1:53 sees 198.51.100.10", "a2:53 sees 198.51.100.10");
    assert_eq!(to(&cloud.vpc, "10.90.2.250:53"), a1);

    cloud.one.set_wire(&cloud.vpc.switch, false);
    assert_eq!(to(&cloud.vpc, "10.90.2.250:53"), "lost");
    assert_eq!(to(&cloud.vpc, "10.90.2.251:53"), a2, "the other one is as it was");
    cloud.one.set_wire(&cloud.vpc.switch, true);
    becomes(a1, || to(&cloud.vpc, "10.90.2.250:53"));

    // It begins anew with nothing; its VMs' wires are still there.
    cloud.one.restart();
    assert_eq!(to(&cloud.vpc, "10.90.2.250:53"), "lost");
    for vm in [&cloud.vpc.a1, &cloud.vpc.a3] {
        cloud.one.add_port(vm);
    }
    cloud.program(&cloud.one, false);
    becomes(a1, || to(&cloud.vpc, "10.90.2.250:53"));
    let second = cloud.vpc.kylin_vr(&["reload"]);
    expect(&second, 0, "nothing changed");
}

pub fn nothing_is_flooded_where_every_vm_is_listed() {
    if skip("nothing_is_flooded_where_every_vm_is_listed") {
        return;
    }
    let cloud = Cloud::new(new_vpc(&[Nic::SubnetA]), false);
    let vpc = &cloud.vpc;
    let nobody = "192.168.100.77";
    // Whether the VMs hear that somebody is asked for who is not listed.
    let is_heard = |should_be: bool| {
        let begun = Instant::now();
        let mut watches = [&vpc.a1, &vpc.a2].map(|vm| ArpWatch::start(vm, "eth0"));
        // A switch on a busy machine takes its time; and of one that was asked for just before, the router may have given up
        // in the meantime, so it asks again.
        loop {
            let outcome = vpc.probe(&vpc.b1, Udp, &format!("{nobody}:53"), &[]);
            assert!(
                matches!(outcome, Outcome::Lost | Outcome::Unreachable),
                "{outcome}"
            );
            let heard = watches.each_mut().map(|watch| {
                let asks = |frame: &lab::ArpFrame| frame.target.to_string() == nobody;
                watch.frames().iter().any(asks)
            });
            if !should_be || heard == [true, true] || begun.elapsed() > Duration::from_secs(10) {
                return heard;
            }
        }
    };
    cloud.reload_ok(&listed(vpc, "10.90.3.41"));
    assert_eq!(
        vpc.probe(&vpc.b1, Icmp, "192.168.100.190", &[]),
        "a1 sees 192.168.101.10"
    );
    assert_eq!(is_heard(false), [false, false]);
    // With peers, VMs that are not listed are asked for.
    vpc.reload_ok(&listed(vpc, "10.90.3.41").replace("peers: []", &format!("peers: [{BOTH}]")));
    assert_eq!(is_heard(true), [true, true]);
}

pub fn hypervisors_answer_arp_for_the_gateway_and_for_their_vms() {
    if skip("hypervisors_answer_arp_for_the_gateway_and_for_their_vms") {
        return;
    }
    let cloud = Cloud::new(new_vpc(&[Nic::SubnetA]), false);
    let vpc = &cloud.vpc;
    // No VM is listed: the router asks its peers.
    cloud.reload_ok(&full().replace(SUBNET_A, &overlay(100, BOTH, &[])));
    vpc.router.ip("neigh flush dev kvr-vx100");
    for vm in [&vpc.a1, &vpc.a2] {
        vm.ip("neigh flush dev eth0");
    }
    // What comes in: requests for an address, and answers that say it.
    let asks = |watch: &mut ArpWatch, target: &str| {
        let mut frames = watch.frames().iter();
        frames
            .any(|frame| frame.operation == 1 && !frame.is_gratuitous() && frame.target.to_string() == target)
    };
    let answers = |watch: &mut ArpWatch, sender: &str| {
        let mut frames = watch.frames().iter();
        frames.any(|frame| frame.operation == 2 && frame.sender.to_string() == sender)
    };
    let mut at_router = ArpWatch::start(&vpc.router, "kvr-vx100");
    let mut at_vms = [&vpc.a1, &vpc.a2].map(|vm| ArpWatch::start(vm, "eth0"));
    becomes("a1:53 sees 192.168.101.10", || {
        vpc.probe(&vpc.b1, Udp, "192.168.100.190:53", &[])
    });
    becomes("b1:53 sees 192.168.100.191", || {
        vpc.probe(&vpc.a2, Udp, "192.168.101.10:53", &[])
    });
    // The router asked by the tunnel, and had an answer; no VM heard of it.
    assert!(answers(&mut at_router, "192.168.100.190"));
    for watch in &mut at_vms {
        assert!(!asks(watch, "192.168.100.190"), "{:?}", watch.frames());
    }
    // And for the gateway the hypervisor answers its VMs: the router never hears of it.
    assert!(answers(&mut at_vms[1], "192.168.100.254"));
    assert!(
        !asks(&mut at_router, "192.168.100.254"),
        "{:?}",
        at_router.frames()
    );
    let learned = vpc.a2.ip("neigh show 192.168.100.254 dev eth0");
    assert!(learned.contains(lab::GATEWAY_MAC), "{learned}");
}

/// What `router` has, as often as it takes until that does not change any more.
fn settled(vpc: &Vpc) -> Snapshot {
    vpc.router.snapshot()
}

pub fn an_overlay_waits_for_its_nic_and_leaves_nothing() {
    let vpc = vpc();
    let before = settled(&vpc);
    let text = listed(&vpc, "10.90.3.41");
    vpc.unplug(Nic::External);
    let run = vpc.reload_ok(&text);
    assert!(
        run.stdout
            .contains("kvr-vx100 (if_list[1], 192.168.100.254/24): the NIC that it is over, 52:54:84:00:08:45, is not there"),
        "{}",
        said(&run)
    );
    assert!(!vpc.router.ip("link").contains("kvr-"));
    vpc.plug(Nic::External);
    let run = vpc.kylin_vr(&["reload"]);
    expect(
        &run,
        0,
        "+ link     kvr-vx100 vxlan id 100 local 10.90.3.37 dstport 4789 mtu 1450",
    );
    expect(&vpc.kylin_vr(&["reload"]), 0, "nothing changed");
    let status = vpc.kylin_vr(&["status"]);
    let line = "100  192.168.100.254/24  10.90.3.37:4789  -      3 on 2 hypervisors  ok";
    assert!(status.stdout.contains(line), "{}", said(&status));
    // The NIC goes: so does the overlay, and comes back with it.
    vpc.unplug(Nic::External);
    expect(&vpc.kylin_vr(&["reload"]), 0, "- link     kvr-vx100");
    vpc.plug(Nic::External);
    expect(&vpc.kylin_vr(&["reload"]), 0, "+ neigh    192.168.100.190");
    expect(&vpc.kylin_vr(&["reset"]), 0, "- link     kvr-vx100");
    // A NIC that was plugged in again has another number, and never was up.
    let links = vpc.router.ip("-d link");
    assert!(!links.contains("kvr-"), "{links}");
    let fresh = self::vpc();
    drop(before);
    let before = fresh.router.snapshot();
    fresh.reload_ok(&listed(&fresh, "10.90.3.41"));
    expect(&fresh.kylin_vr(&["reset"]), 0, "applied");
    before.assert_same(&fresh.router.snapshot());
}

pub fn what_is_foreign_on_our_link_goes_and_elsewhere_stays() {
    let vpc = vpc();
    vpc.router.ip_batch(
        "link add theirs type vxlan id 7 dstport 4790 local 10.90.3.37 nolearning\nlink set theirs up\n\
         neigh add 10.7.0.9 lladdr 02:00:00:00:00:09 dev theirs nud permanent\n",
    );
    let fdb = |arguments: &str| {
        let mut command = std::process::Command::new("bridge");
        command.args(arguments.split(' '));
        let output = vpc.router.output(command);
        assert!(output.status.success(), "bridge {arguments}: {output:?}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    fdb("fdb add 02:00:00:00:00:09 dev theirs dst 10.90.4.9");
    let text = listed(&vpc, "10.90.3.41");
    vpc.reload_ok(&text);
    let ours = vpc.router.snapshot();
    // Learned ones are the kernel's own business; these are for good.
    fdb("fdb add 02:00:00:00:00:08 dev kvr-vx100 dst 10.90.4.9");
    fdb("fdb append 00:00:00:00:00:00 dev kvr-vx100 dst 10.90.4.9");
    fdb(&format!(
        "fdb replace {} dev kvr-vx100 dst 10.90.4.9 port 1",
        vpc.a1.mac()
    ));
    fdb(&format!("fdb del {} dev kvr-vx100", vpc.a2.mac()));
    vpc.router.ip_batch(
        "neigh add 192.168.100.77 lladdr 02:00:00:00:00:08 dev kvr-vx100 nud permanent\n\
         neigh del 192.168.100.190 dev kvr-vx100\nlink set kvr-vx100 mtu 1300\n",
    );
    let run = vpc.kylin_vr(&["reload"]);
    expect(&run, 0, "applied 7 changes");
    ours.assert_same(&vpc.router.snapshot());
    // One that learns, or is of another subnet, is made anew.
    vpc.router.ip_batch(
        "link del kvr-vx100\nlink add kvr-vx100 type vxlan id 100 dstport 4789 local 10.90.3.37 learning\n",
    );
    expect(&vpc.kylin_vr(&["reload"]), 0, "+ link     kvr-vx100");
    expect(&vpc.kylin_vr(&["reload"]), 0, "nothing changed");
    expect(&vpc.kylin_vr(&["reset"]), 0, "applied");
    assert!(fdb("fdb show dev theirs").contains("02:00:00:00:00:09 dst 10.90.4.9"));
    assert!(
        vpc.router
            .ip("neigh show dev theirs nud permanent")
            .contains("10.7.0.9")
    );
}

pub fn what_others_change_of_a_parameter_of_a_link_is_put_right() {
    let vpc = vpc();
    vpc.reload_ok(&listed(&vpc, "10.90.3.41"));
    let ours = vpc.router.snapshot();
    for link in ["kvr-vx100", "wan7"] {
        for (parameter, odd) in [
            ("ipv4/conf/LINK/promote_secondaries", "0"),
            ("ipv4/conf/LINK/rp_filter", "7"),
            ("ipv4/conf/LINK/rp_filter", "-1"),
            ("ipv6/conf/LINK/disable_ipv6", "0"),
        ] {
            let path = format!("net/{}", parameter.replace("LINK", link));
            let wanted = vpc.router.sysctl(&path);
            vpc.router.set_sysctl(&path, odd);
            assert_ne!(vpc.router.sysctl(&path), wanted, "{path}");
            let run = vpc.kylin_vr(&["reload"]);
            expect(&run, 0, "applied");
            assert_eq!(vpc.router.sysctl(&path), wanted, "{path}: {}", said(&run));
            ours.assert_same(&vpc.router.snapshot());
        }
    }
    expect(&vpc.kylin_vr(&["reload"]), 0, "nothing changed");
}

pub fn connections_say_segments_that_fit_into_the_overlay() {
    if skip("connections_say_segments_that_fit_into_the_overlay") {
        return;
    }
    let cloud = Cloud::new(new_vpc(&[Nic::SubnetA]), false);
    let vpc = &cloud.vpc;
    cloud.reload_ok(&listed(vpc, "10.90.3.41"));
    // 1,450 bytes, of which 40 are headers; whoever begins.
    let count = "table ip segments {
        chain input {
            type filter hook input priority 0;
            tcp flags syn tcp option maxseg size 1410 counter accept
            tcp flags syn counter drop
        }
    }";
    for (from, to, at) in [
        (&vpc.client, "10.90.2.250:80", "a1:80 sees 198.51.100.10"),
        (&vpc.a3, "192.168.101.10:80", "b1:80 sees 192.168.100.192"),
        (&vpc.b1, "192.168.100.191:80", "a2:80 sees 192.168.101.10"),
    ] {
        for host in [&vpc.client, &vpc.a1, &vpc.a2, &vpc.a3, &vpc.b1] {
            host.nft(&format!("table ip segments\ndelete table ip segments\n{count}"));
        }
        assert_eq!(vpc.probe(from, Tcp, to, &[]), at);
        let counted = from.nft("list table ip segments");
        assert!(!counted.contains("1410 counter packets 0"), "{counted}");
    }
    // Without an overlay there is no such chain.
    vpc.reload_ok(&full());
    assert!(
        !vpc.router
            .nft("list table ip kylin_vr")
            .contains("chain segments")
    );
}

pub fn a_small_path_is_told_of_through_the_translation_on_either_side() {
    if skip("a_small_path_is_told_of_through_the_translation_on_either_side") {
        return;
    }
    let cloud = Cloud::new(new_vpc(&[Nic::SubnetA]), false);
    let vpc = &cloud.vpc;
    cloud.reload_ok(&listed(vpc, "10.90.3.41"));
    // Whether a host learns, by packets of this size that must not be cut, how large they may be towards another one.
    let learns = |host: &Host, to: &str, size: u32, mtu: &str| {
        let begun = Instant::now();
        loop {
            let mut ping = std::process::Command::new("ping");
            let size = (size - 28).to_string();
            ping.args(["-n", "-q", "-c", "1", "-W", "1", "-M", "do", "-s", &size, to]);
            host.output(ping);
            let route = host.ip(&format!("route get {to}"));
            if route.contains(&format!("mtu {mtu}")) {
                return;
            }
            let waited = begun.elapsed();
            assert!(waited < Duration::from_secs(20), "{} to {to}: {route}", host.name);
        }
    };
    // The overlay is smaller than the client's wire: the client hears of it from its elastic IP's way, and so does a VM in
    // the NIC's subnet.
    learns(&vpc.client, "10.90.2.250", 1500, "1450");
    learns(&vpc.b1, "192.168.100.190", 1500, "1450");
    // A wire outside is smaller yet: a VM with an elastic IP hears of it, and one that is seen as the router.
    vpc.upstream.ip("link set client mtu 1300");
    learns(&vpc.a1, "198.51.100.10", 1400, "1300");
    learns(&vpc.a3, "198.51.100.10", 1400, "1300");
    learns(&vpc.b1, "198.51.100.10", 1400, "1300");
}

pub fn the_monitor_puts_entries_right_and_makes_the_overlay_anew() {
    let vpc = vpc();
    let text = listed(&vpc, "10.90.3.41");
    vpc.reload_ok(&text);
    let monitor = vpc.daemon(&["monitor"]);
    assert!(
        monitor.wait_for("the kernel matches", Duration::from_secs(30)),
        "{}",
        monitor.log()
    );
    let before = vpc.router.snapshot();
    let becomes_so_again = |what: &str| {
        let begun = Instant::now();
        loop {
            let now = vpc.router.snapshot();
            if now == before {
                return;
            }
            let changes = before.changes(&now);
            assert!(
                begun.elapsed() < Duration::from_secs(60),
                "{what}: {changes}{}",
                monitor.log()
            );
            thread::sleep(Duration::from_millis(50));
        }
    };
    let bridge = |arguments: &str| {
        let mut command = std::process::Command::new("bridge");
        command.args(arguments.split(' '));
        assert!(vpc.router.output(command).status.success(), "bridge {arguments}");
    };
    bridge(&format!("fdb del {} dev kvr-vx100", vpc.a1.mac()));
    becomes_so_again("an entry went");
    bridge(&format!(
        "fdb replace {} dev kvr-vx100 dst 10.90.4.9",
        vpc.a2.mac()
    ));
    becomes_so_again("an entry changed");
    bridge("fdb add 02:00:00:00:00:08 dev kvr-vx100 dst 10.90.4.9");
    becomes_so_again("one came");
    vpc.router.ip("neigh del 192.168.100.190 dev kvr-vx100");
    becomes_so_again("a neighbour went");
    vpc.router.ip("link set kvr-vx100 address 12:00:00:00:00:01");
    becomes_so_again("another hardware address");
    // One that is made anew has another number.
    vpc.router.ip("link del kvr-vx100");
    let begun = Instant::now();
    while !vpc
        .router
        .ip("neigh show nud permanent")
        .contains("192.168.100.192 dev kvr-vx100")
    {
        assert!(begun.elapsed() < Duration::from_secs(60), "{}", monitor.log());
        thread::sleep(Duration::from_millis(50));
    }
    expect(&vpc.kylin_vr(&["reload"]), 0, "nothing changed");
    assert_eq!(monitor.stop().code, 0);
}

/// Overlays of this many VMs in all, a moved one of which is on the second hypervisor.
fn many(overlays: u32, vms: u32, moved: Option<u32>) -> String {
    let mut text =
        "if_list:\n  - {ipaddr: 10.90.3.37, prefix: 24, mac: '52:54:84:00:08:45', gateway: 10.90.3.1}\n"
            .to_owned();
    for overlay in 0..overlays {
        let net = format!("172.{}.{}", 16 + overlay / 256, overlay % 256);
        text += &format!(
            "  - ipaddr: {net}.1\n    prefix: 24\n    vxlan: {{vni: {}}}\n    vm_list:\n",
            overlay + 1
        );
        for vm in 0..vms / overlays {
            let number = overlay * (vms / overlays) + vm;
            let host = if moved == Some(number) { 42 } else { 41 };
            text += &format!(
                "      - {{vm-ip: {net}.{}, mac: '02:00:{:02x}:{:02x}:{:02x}:{:02x}', host: 10.90.3.{host}}}\n",
                vm + 10,
                number >> 24,
                number >> 16 & 0xff,
                number >> 8 & 0xff,
                number & 0xff
            );
        }
    }
    text
}

/// How many netlink messages to routing a run sent, as it logs them.
fn messages(run: &lab::Run) -> usize {
    let counts = run
        .stderr
        .lines()
        .filter_map(|line| line.split_once("rtnetlink batch messages="));
    counts
        .map(|(_, rest)| rest.split(' ').next().unwrap().parse::<usize>().unwrap())
        .sum()
}

pub fn five_hundred_overlays_of_twenty_thousand_vms_load_and_one_moved_vm_is_one_message() {
    let vpc = vpc();
    vpc.write_config(&many(500, 20_000, None));
    let begun = Instant::now();
    let run = vpc.kylin_vr(&["-vv", "reload", "--json"]);
    assert_eq!(
        run.code,
        0,
        "{}",
        run.stdout.chars().take(2_000).collect::<String>()
    );
    println!(
        "500 overlay subnets and 20,000 VMs in {:.1?}, {} messages",
        begun.elapsed(),
        messages(&run)
    );
    assert!(messages(&run) > 40_000, "the log has another form");
    assert_eq!(vpc.router.ip("neigh show nud permanent").lines().count(), 20_000);
    expect(&vpc.kylin_vr(&["reload"]), 0, "nothing changed");

    vpc.write_config(&many(500, 20_000, Some(12_345)));
    let begun = Instant::now();
    let run = vpc.kylin_vr(&["-vv", "reload"]);
    expect(&run, 0, "applied 1 change");
    println!("one that moved in {:.1?}", begun.elapsed());
    assert_eq!(messages(&run), 1, "{}", said(&run));
    let begun = Instant::now();
    expect(&vpc.kylin_vr(&["check"]), 0, "");
    println!("a check alone takes {:.1?}", begun.elapsed());

    expect(&vpc.kylin_vr(&["reset"]), 0, "applied");
    assert!(!vpc.router.ip("link").contains("kvr-"));
}
