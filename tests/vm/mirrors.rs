//! Mirrors in a real VM, to what the kernel of the other tests cannot make: GRE, ERSPAN and VLAN, each with a collector of
//! the kernel's own on the other side, in a network namespace of the machine.

use lab::guest::Machine;
use lab::{Icmp, Outcome, Tcp, Udp, Vpc};

use crate::bench::{Bench, both_subnets, configure};

/// The collectors' links.
const COLLECTORS: [&str; 4] = ["gre", "erspan1", "erspan2", "vlan"];

/// The hardware address of the trunk.
const TRUNK: &str = "52:54:84:22:00:02";

/// A namespace with a collector of each kind, on a wire for tunnels (large enough for all that they add) and a trunk. Those of
/// ERSPAN do not look at the order of what comes (`iseq`): the guest's processors send beside each other.
fn collectors(machine: &Machine) {
    machine.sh(&format!(
        "set -e
        ip netns add col
        ip link add wire mtu 9000 type veth peer name eth0 mtu 9000 netns col
        ip addr add 172.19.0.1/24 dev wire
        ip link set wire up
        ip link add trunk address {TRUNK} type veth peer name trunk0 netns col
        ip -n col addr add 172.19.0.21/24 dev eth0
        ip -n col link set eth0 up
        ip -n col link set trunk0 up
        ends='local 172.19.0.21 remote 172.19.0.1'
        ip -n col link add gre type gretap $ends key 99
        ip -n col link add erspan1 type erspan $ends oseq key 7 erspan_ver 1 erspan 7
        ip -n col link add erspan2 type erspan $ends oseq key 8 erspan_ver 2
        ip -n col link add link trunk0 name vlan type vlan id 51
        for one in gre erspan1 erspan2 vlan; do ip -n col link set $one up; done"
    ));
}

/// The file of the tests with a mirror of one VM to all of them.
fn file() -> String {
    format!(
        "{}mirror_list:
  - name: ids-1
    source: {{vm-ip: 192.168.100.190}}
    to:
      - gre: {{remote: 172.19.0.21, key: 99}}
      - erspan: {{remote: 172.19.0.21, index: 7, version: 1}}
      - erspan: {{remote: 172.19.0.21, index: 8, version: 2}}
      - vlan: {{mac: '{TRUNK}', id: 51}}
",
        both_subnets()
    )
}

/// The NIC of subnet A.
fn subnet_nic(machine: &Machine) -> String {
    let name = machine.sh("basename $(dirname $(grep -l 52:54:84:11:00:03 /sys/class/net/*/address))");
    name.trim().to_owned()
}

/// Starts a capture of the frames of a link that `rest`, tcpdump's arguments, asks for: whole.
fn capture(machine: &Machine, command: &str, link: &str, rest: &str) {
    machine.sh(&format!(
        "systemd-run --quiet --unit=capture-{link} {command} tcpdump -n -s 0 -U -B 8192 -i {link} -w /root/{link}.pcap {rest}
        until [ -s /root/{link}.pcap ]; do sleep 0.1; done"
    ));
}

/// What was captured, each frame a line of its bytes, in order.
fn captured(machine: &Machine, link: &str) -> Vec<String> {
    // What is still on its way to the file, and then its end.
    let text = machine.sh(&format!(
        "sleep 1; systemctl stop capture-{link}; tcpdump -r /root/{link}.pcap -n -t -xx 2>/dev/null"
    ));
    let mut frames: Vec<String> = Vec::new();
    for line in text.lines() {
        match line.strip_prefix('\t').and_then(|line| line.split_once(": ")) {
            Some((_, bytes)) => frames
                .last_mut()
                .expect("a frame begins with its head")
                .push_str(bytes),
            None => frames.push(String::new()),
        }
    }
    frames.sort();
    frames
}

pub fn every_kind_of_collector_gets_every_packet_once_and_whole(bench: &Bench) {
    let vpc = Vpc::without_router();
    let machine = bench.booted(&vpc);
    collectors(&machine);
    configure(&machine, &file());
    let again = machine.sh("kylin-vr reload");
    assert!(again.starts_with("nothing changed"), "{again}");
    let nic = subnet_nic(&machine);
    capture(&machine, "", &nic, "ip host 192.168.100.190");
    for link in COLLECTORS {
        // What comes in: the collector's own link looks for IPv6 routers.
        capture(&machine, "ip netns exec col", link, "-Q in");
    }

    for (from, protocol, to, expected) in [
        (&vpc.client, Tcp, "10.90.2.250:22", "a1:22 sees 198.51.100.10"),
        (&vpc.client, Udp, "10.90.2.250:53", "a1:53 sees 198.51.100.10"),
        (&vpc.a1, Tcp, "198.51.100.10:80", "client:80 sees 10.90.2.250"),
        (&vpc.b1, Tcp, "192.168.100.190:80", "a1:80 sees 192.168.101.10"),
    ] {
        assert_eq!(vpc.probe(from, protocol, to, &[]), expected);
    }
    assert_ne!(vpc.probe(&vpc.a1, Icmp, "198.51.100.10", &[]), Outcome::Lost);

    let crossed = captured(&machine, &nic);
    assert!(crossed.len() > 20, "{crossed:#?}");
    for link in COLLECTORS {
        let seen = captured(&machine, link);
        assert!(
            seen == crossed,
            "{link}: {} of {}\n{seen:#?}\n{crossed:#?}\n{}",
            seen.len(),
            crossed.len(),
            machine.sh("kylin-vr status; tc -s filter show dev $(ls /sys/class/net | head -1) ingress")
        );
    }

    // Nothing is left of it.
    configure(&machine, &both_subnets());
    let left = machine.sh(&format!("ip -o link | grep -c kvr- ; tc qdisc show dev {nic}"));
    assert!(left.starts_with("0\n") && !left.contains("clsact"), "{left}");
}

const ROUNDS: usize = 3;
const FLOOD: u32 = 50_000;
/// Kinds of targets; each is measured as ours and as made by tc(8).
const KINDS: [&str; 4] = ["span", "gre", "erspan", "vlan"];

/// Measured, and printed; never judged.
pub fn what_a_copy_costs(bench: &Bench) {
    let vpc = Vpc::without_router();
    let machine = bench.booted(&vpc);
    machine.copy_in("/run/measure.sh", include_bytes!("mirrors/measure.sh"));
    machine.sh("sh /run/measure.sh prepare");
    let both = |kind: &&str| [format!("{kind}-ours"), format!("{kind}-tc")];
    let mut ways = vec!["none".to_owned()];
    ways.extend(KINDS.iter().flat_map(both));
    let mut costs = vec![Vec::new(); ways.len()];
    for _ in 0..ROUNDS {
        // Interleaved: what else this machine has to do is the same for all, more or less.
        for (way, costs) in ways.iter().zip(&mut costs) {
            machine.sh(&format!("sh /run/measure.sh set-up {way}"));
            let before = machine.processor_time();
            machine.sh(&format!("sh /run/measure.sh flood {way} {FLOOD}"));
            let spent = machine.processor_time() - before;
            costs.push(spent.as_secs_f64() * 1e6 / f64::from(FLOOD));
        }
    }
    let release = machine.sh("uname -r");
    println!(
        "\nprocessor time of a packet that is forwarded and copied, emulated, Linux {}:",
        release.trim()
    );
    let mut medians = Vec::new();
    for (way, costs) in ways.iter().zip(&mut costs) {
        costs.sort_by(f64::total_cmp);
        let (least, median, most) = (costs[0], costs[ROUNDS / 2], costs[ROUNDS - 1]);
        println!("  {way:<12} {median:>6.2} us ({least:.2} to {most:.2})");
        medians.push(median);
    }
    for (kind, pair) in KINDS.iter().zip(medians[1..].chunks(2)) {
        println!(
            "  {kind}: {:.2} of the packets without a mirror; beside tc {:.2}",
            medians[0] / pair[0],
            pair[1] / pair[0]
        );
    }
}
