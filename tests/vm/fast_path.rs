//! Established flows on the kernel's fast path: they are still what the rules made of them, and end when those do.

use std::net::UdpSocket;
use std::thread;
use std::time::{Duration, Instant};

use lab::guest::{Machine, patience};
use lab::{Namespace, Nic, Tcp, TcpFlow, UdpFlow, Vpc};

use crate::bench::{Bench, CONFIG, agrees, both_subnets, configure, marked};

/// Once more than there is to do before a flow is on the fast path.
const ENOUGH: usize = 4;
/// How often all flows may be found off it, for they are taken off for a packet now and then.
const TRIES: usize = 4;

/// The devices of our flowtable, as nft(8) says; nothing: there is none.
pub fn devices(machine: &Machine) -> String {
    let listed = machine.sh("nft list table ip kylin_vr");
    let line = listed
        .lines()
        .find_map(|line| line.trim().strip_prefix("devices = { "));
    line.unwrap_or_default().trim_end_matches(" }").to_owned()
}

/// How many packets to or from these ports came to where rules of others are asked about what is forwarded.
fn forwarded(machine: &Machine) -> u64 {
    let listed = machine.sh("nft list table ip watch");
    let counts = listed.split("packets ").skip(1);
    counts
        .map(|rest| rest.split(' ').next().unwrap().parse::<u64>().unwrap())
        .sum()
}

/// Counts packets to and from these ports from now on.
fn watch(machine: &Machine, ports: impl Iterator<Item = u16>) {
    let rules = ports.map(|port| format!("th dport {port} counter; th sport {port} counter; "));
    let chain = format!(
        "type filter hook forward priority 0; {}",
        rules.collect::<String>()
    );
    machine.sh(&format!(
        "nft 'table ip watch {{ }}; delete table ip watch; table ip watch {{ chain c {{ {chain} }}; }}'"
    ));
}

/// All flows pass, both ways, and past the rules.
#[track_caller]
pub fn are_fast(machine: &Machine, flows: &Flows) {
    let pass = |times: usize| {
        for _ in 0..times {
            for (name, _, flow) in flows {
                assert!(flow.passes(), "{name}");
            }
        }
    };
    let slow = || {
        pass(ENOUGH);
        // Of these flows alone: one that was cut goes on to be tried by its ends.
        watch(machine, flows.iter().map(|(_, port, _)| *port));
        pass(ENOUGH);
        forwarded(machine)
    };
    none_is_slow_at_last(slow, flows.len());
}

/// A monitor that has just heard of a NIC may make the flowtable anew meanwhile, which takes each flow off it for a packet.
#[track_caller]
fn none_is_slow_at_last(slow: impl Fn() -> u64, flows: usize) {
    let tries: Vec<u64> = (0..TRIES).map(|_| slow()).take_while(|slow| *slow > 0).collect();
    assert!(
        tries.len() < TRIES,
        "packets of {flows} flows on the slow path, try by try: {tries:?}"
    );
}

/// By what it is, and the port of its server.
pub type Flows = Vec<(&'static str, u16, Flow)>;

pub enum Flow {
    Tcp(TcpFlow),
    Udp(UdpFlow),
}

impl Flow {
    /// Whether it passes, there and back.
    fn passes(&self) -> bool {
        match self {
            Flow::Tcp(flow) => flow.ping_pong(),
            Flow::Udp(flow) => flow.ping_pong(),
        }
    }
}

const MOVES: &str = "from outside to an elastic IP";
const MOVES_UDP: &str = "from outside to an elastic IP, UDP";
const GOES: &str = "from outside to a forward";
const STAYS: &str = "to another subnet";

/// One flow of every kind of translation.
pub fn flows(vpc: &Vpc) -> Flows {
    let tcp = [
        (MOVES, &vpc.client, "10.90.2.250", 22),
        (GOES, &vpc.client, "10.90.2.254", 80),
        ("out, as an elastic IP", &vpc.a1, "198.51.100.10", 8000),
        ("out, as the router", &vpc.a3, "198.51.100.10", 8001),
        (STAYS, &vpc.a1, "192.168.101.10", 8002),
        ("to an elastic IP, from inside", &vpc.a3, "10.90.2.250", 8003),
    ];
    let tcp = tcp.map(|(name, from, to, port)| {
        let flow = vpc.tcp_flow(from, &format!("{to}:{port}"), &[port]);
        (
            name,
            port,
            Flow::Tcp(flow.unwrap_or_else(|outcome| panic!("{name}: {outcome}"))),
        )
    });
    let udp = [
        (MOVES_UDP, &vpc.client, "10.90.2.250", 5301),
        ("out, as the router, UDP", &vpc.a3, "198.51.100.10", 5302),
    ];
    let udp = udp.map(|(name, from, to, port)| (name, port, udp_flow(vpc, from, to, port)));
    tcp.into_iter().chain(udp).collect()
}

fn udp_flow(vpc: &Vpc, from: &Namespace, to: &str, port: u16) -> Flow {
    let flow = vpc.udp_flow(from, &format!("{to}:{port}"), &[port]);
    Flow::Udp(flow.unwrap_or_else(|outcome| panic!("{to}, UDP: {outcome}")))
}

fn passes(flows: &Flows, name: &str) -> bool {
    flows.iter().find(|(one, ..)| *one == name).unwrap().2.passes()
}

pub fn established_flows_take_it_and_end_with_their_entry(bench: &Bench) {
    let vpc = Vpc::without_router();
    let machine = bench.booted(&vpc);
    check(&vpc, &machine);
}

pub fn check(vpc: &Vpc, machine: &Machine) {
    // What is counted takes no fast path; here all are to.
    let file = format!("counters: false\n{}", both_subnets());
    configure(machine, &file);
    assert_eq!(devices(machine).split(", ").count(), 3, "{}", devices(machine));
    let again = machine.sh("kylin-vr reload");
    assert!(again.starts_with("nothing changed"), "{again}");

    let mut open = flows(vpc);
    are_fast(machine, &open);

    // A packet that has come too far is not sent on: upstream and the router take one each.
    vpc.client.set_sysctl("net/ipv4/ip_default_ttl", "3");
    assert!(passes(&open, MOVES_UDP), "TTL 3");
    vpc.client.set_sysctl("net/ipv4/ip_default_ttl", "2");
    assert!(!passes(&open, MOVES_UDP), "TTL 2");
    vpc.client.set_sysctl("net/ipv4/ip_default_ttl", "64");

    // An elastic IP that moves ends its flows; the others stay, and on the fast path.
    let moved = file.replace(
        "eip: 10.90.2.250\n    vm-ip: 192.168.100.190",
        "eip: 10.90.2.250\n    vm-ip: 192.168.100.192",
    );
    assert_ne!(moved, file);
    let log = machine.try_sh(&format!("cat >{CONFIG} && kylin-vr -vv reload"), &marked(&moved));
    assert!(
        log.code == 0 && log.stdout.contains("ended, whose translation changed"),
        "{log:?}"
    );
    let is_held = log
        .stderr
        .contains("the kernel lets go of no flow on the fast path");
    println!(
        "\nthe kernel lets go of flows on the fast path: {}",
        if is_held { "no" } else { "yes" }
    );
    assert!(
        !passes(&open, MOVES) && !passes(&open, MOVES_UDP),
        "to the VM that had it"
    );
    assert_eq!(
        vpc.probe(&vpc.client, Tcp, "10.90.2.250:22", &[]),
        "a3:22 sees 198.51.100.10"
    );
    open.retain(|(name, ..)| [GOES, STAYS].contains(name));
    are_fast(machine, &open);
    // A forward that goes, too.
    let (without, _) = moved.split_once("port_forward_list").unwrap();
    configure(machine, without);
    assert!(!passes(&open, GOES) && passes(&open, STAYS));
    drop(open);
    configure(machine, &file);

    // A NIC that is pulled and plugged again, and one that is renamed.
    let listing = "nft list table ip kylin_vr | grep devices";
    machine.unplug(Nic::SubnetB);
    machine.wait_for("its end", &format!("test $({listing} | tr , '\\n' | wc -l) = 2"));
    agrees(machine);
    machine.plug(Nic::SubnetB);
    let link = machine.link(Nic::SubnetB.name());
    machine.wait_for("the NIC in the flowtable", &format!("{listing} | grep {link}"));
    agrees(machine);
    let lines = format!("link set {link} down\\nlink set {link} name renamed0\\nlink set renamed0 up\\n");
    machine.wait_for("the rename", &format!("printf '{lines}' | ip -batch -"));
    machine.wait_for(
        "its new name in the flowtable",
        &format!("{listing} | grep renamed0"),
    );
    agrees(machine);
    assert_eq!(devices(machine).split(", ").count(), 3, "{}", devices(machine));
    let open = flows(vpc);
    are_fast(machine, &open);

    // Off: flows go on, on the slow path, and nothing of it is left. On again.
    configure(machine, &format!("fast_path: off\n{file}"));
    let listed = machine.sh("nft list table ip kylin_vr");
    assert!(!listed.contains("fast_path"), "{listed}");
    assert!(open.iter().all(|(.., flow)| flow.passes()));
    assert!(forwarded(machine) >= 2 * open.len() as u64);
    configure(machine, &format!("fast_path: on\n{file}"));
    are_fast(machine, &open);
    drop(open);

    // A packet that is too long for the next link is answered, not sent on.
    let mac = Nic::SubnetA.mac();
    machine.sh(&format!(
        "for link in /sys/class/net/*; do [ $(cat $link/address) != {mac} ] || ip link set ${{link##*/}} mtu 1000; done"
    ));
    let server = vpc.a1.run(|| UdpSocket::bind("0.0.0.0:5303").unwrap());
    let client = vpc.client.run(|| UdpSocket::bind("0.0.0.0:0").unwrap());
    vpc.client.run(|| client.connect("10.90.2.250:5303").unwrap());
    for socket in [&client, &server] {
        socket.set_read_timeout(Some(patience())).unwrap();
    }
    let exchange = || {
        let mut buffer = [0; 64];
        client.send(b"question").unwrap();
        let (_, from) = lab::uninterrupted(|| server.recv_from(&mut buffer)).unwrap();
        server.send_to(b"answer", from).unwrap();
        lab::uninterrupted(|| client.recv(&mut buffer)).unwrap();
    };
    // The monitor hears of the link.
    let slow = || {
        (0..ENOUGH).for_each(|_| exchange());
        watch(machine, [5303].into_iter());
        exchange();
        forwarded(machine)
    };
    none_is_slow_at_last(slow, 1);
    client.send(&[0; 1200]).unwrap();
    let deadline = Instant::now() + patience();
    while !vpc.client.ip("route get 10.90.2.250").contains("mtu 1000") {
        assert!(
            Instant::now() < deadline,
            "nobody says that the packet is too long"
        );
        thread::sleep(Duration::from_millis(50));
    }

    machine.sh("kylin-vr reset");
    let listed = machine.sh("nft list ruleset");
    assert!(
        !listed.contains("kylin_vr") && !listed.contains("flowtable"),
        "{listed}"
    );
}

/// What `status` says was counted of the entry at this path: packets in and out.
fn packets(machine: &Machine, list: &str, path: &str) -> [u64; 2] {
    let status = machine.sh("kylin-vr status --json");
    let status: serde_json::Value = serde_json::from_str(&status).unwrap();
    let entries = status[list].as_array().unwrap();
    let entry = entries.iter().find(|one| one["path"] == path).unwrap();
    ["packets_in", "packets_out"].map(|name| entry["traffic"][name].as_u64().unwrap())
}

pub fn what_is_counted_stays_off_it_and_is_right_to_the_packet(bench: &Bench) {
    const PACKETS: u64 = 50;
    let vpc = Vpc::without_router();
    let machine = bench.booted(&vpc);
    let file = both_subnets();
    configure(&machine, &file);
    assert_eq!(devices(&machine).split(", ").count(), 3, "{}", devices(&machine));
    let again = machine.sh("kylin-vr reload");
    assert!(again.starts_with("nothing changed"), "{again}");

    // A packet each way is one each way: nothing acknowledges it.
    let dns = vpc.udp_flow(&vpc.client, "10.90.2.254:53", &[5353]);
    let counted: Flows = vec![
        (MOVES_UDP, 5301, udp_flow(&vpc, &vpc.client, "10.90.2.250", 5301)),
        (
            "out, as an elastic IP, UDP",
            5302,
            udp_flow(&vpc, &vpc.a1, "198.51.100.10", 5302),
        ),
        (
            "to an elastic IP, from inside, UDP",
            5303,
            udp_flow(&vpc, &vpc.a3, "10.90.2.250", 5303),
        ),
        (
            "from outside to a forward, UDP",
            5353,
            Flow::Udp(dns.unwrap_or_else(|outcome| panic!("{outcome}"))),
        ),
    ];
    let others: Flows = vec![
        (
            "out, as the router, UDP",
            5304,
            udp_flow(&vpc, &vpc.a3, "198.51.100.10", 5304),
        ),
        (
            "to another subnet, UDP",
            5305,
            udp_flow(&vpc, &vpc.a1, "192.168.101.10", 5305),
        ),
    ];
    are_fast(&machine, &others);
    let eip = || packets(&machine, "elastic_ips", "eip_list[0]");
    let forward = || packets(&machine, "forwards", "port_forward_list[2]");
    let (eip_before, forward_before) = (eip(), forward());
    watch(&machine, counted.iter().map(|(_, port, _)| *port));
    for _ in 0..PACKETS {
        for (name, _, flow) in &counted {
            assert!(flow.passes(), "{name}");
        }
    }
    assert_eq!(forwarded(&machine), 2 * PACKETS * counted.len() as u64);
    assert_eq!(eip(), eip_before.map(|before| before + 3 * PACKETS));
    assert_eq!(forward(), forward_before.map(|before| before + PACKETS));

    // Not counted: all of them take it, and none is cut.
    configure(&machine, &format!("counters: false\n{file}"));
    are_fast(&machine, &counted);
    are_fast(&machine, &others);
}

const ROUNDS: usize = 5;
const FLOOD: u32 = 100_000;
const WAYS: [(&str, &str); 5] = [
    ("none", "sent, and dropped at once"),
    ("plain", "forwarded, no netfilter"),
    ("off", "translated"),
    ("counted", "translated, counted"),
    ("on", "translated, fast path"),
];

/// Measured, and printed; never judged.
pub fn what_a_packet_of_an_established_flow_costs(bench: &Bench) {
    let vpc = Vpc::without_router();
    let machine = bench.booted(&vpc);
    machine.copy_in("/run/measure.sh", include_bytes!("fast_path/measure.sh"));
    machine.sh("sh /run/measure.sh prepare");
    let mut rounds = Vec::new();
    for _ in 0..ROUNDS {
        // Interleaved: what else this machine has to do is the same for all, more or less.
        rounds.push(WAYS.map(|(way, _)| {
            machine.sh(&format!("sh /run/measure.sh set-up {way}"));
            let before = machine.processor_time();
            machine.sh(&format!("sh /run/measure.sh flood {way} {FLOOD}"));
            (machine.processor_time() - before).as_secs_f64() * 1e6 / f64::from(FLOOD)
        }));
    }
    let release = machine.sh("uname -r");
    println!(
        "\nprocessor time of a packet of an established flow, emulated, Linux {}:",
        release.trim()
    );
    let mut medians = [0.0; WAYS.len()];
    for (way, (_, name)) in WAYS.iter().enumerate() {
        let mut costs: Vec<f64> = rounds.iter().map(|round| round[way]).collect();
        costs.sort_by(f64::total_cmp);
        medians[way] = costs[ROUNDS / 2];
        let (least, most) = (costs[0], costs[ROUNDS - 1]);
        println!("  {name:<26} {:>6.2} us ({least:.2} to {most:.2})", medians[way]);
    }
    let [none, plain, off, _, on] = medians;
    let share = |one: f64, other: f64| (one - none) / (other - none);
    println!(
        "  fast path beside translated: {:.2} times the packets; of the router's share alone {:.2}",
        off / on,
        share(off, on)
    );
    println!(
        "  fast path beside plain forwarding: {:.2} times; of the router's share alone {:.2}",
        plain / on,
        share(plain, on)
    );
}
