//! NICs that are plugged and pulled while the guest runs.

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use lab::guest::Machine;
use lab::{Nic, Vpc};

use crate::bench::{Bench, agrees, both_subnets, configure, eip_works, state, subnet_b_works};
use crate::configs::NOTE;

const B: &str = "192.168.101.254/24";

fn wait_for_subnet_b(machine: &Machine) {
    machine.wait_for("the address", &format!("ip -4 -o addr | grep {B}"));
    agrees(machine);
}

/// Configuration first, then the NIC; pulled; and the other way round.
pub fn check(vpc: &Vpc, machine: &Machine) {
    machine.unplug(Nic::SubnetB);
    configure(machine, &both_subnets());
    let without = state(machine);
    assert!(machine.sh("kylin-vr status").contains("pending"));
    machine.plug(Nic::SubnetB);
    wait_for_subnet_b(machine);
    subnet_b_works(vpc);
    let with = state(machine);

    machine.unplug(Nic::SubnetB);
    agrees(machine);
    assert_eq!(state(machine), without, "what is pulled leaves nothing");
    assert!(machine.sh("kylin-vr status").contains("pending"));
    eip_works(vpc);

    configure(machine, NOTE);
    machine.plug(Nic::SubnetB);
    let link = machine.link(Nic::SubnetB.name());
    assert_eq!(
        machine
            .sh(&format!("ip -4 addr show dev {link}"))
            .matches("inet ")
            .count(),
        0
    );
    configure(machine, &both_subnets());
    assert_eq!(state(machine), with, "the NIC first ends the same");
    subnet_b_works(vpc);
}

pub fn a_nic_forwards_when_plugged_and_leaves_nothing_when_pulled(bench: &Bench) {
    let vpc = Vpc::without_router();
    let machine = bench.booted(&vpc);
    check(&vpc, &machine);
    machine.sh("systemd-run --quiet --unit=watch sh -c 'exec ip -ts monitor link address >/run/watch.log'");
    machine.wait_for("the watch", "systemctl is-active watch");
    for _ in 0..20 {
        machine.unplug(Nic::SubnetB);
        machine.plug(Nic::SubnetB);
        wait_for_subnet_b(&machine);
    }
    subnet_b_works(&vpc);
    let mut took = milliseconds_to_the_address(&machine.sh("cat /run/watch.log"));
    took.sort_by(f64::total_cmp);
    assert_eq!(took.len(), 20, "{took:?}");
    // Printed, never judged: the processor may be emulated, on a machine with other work.
    println!(
        "\nhot-plug, from the kernel's first word of the NIC to its address, 20 plugs: p50 {:.0} ms, p99 {:.0} ms",
        took[9], took[19]
    );
}

pub fn the_udev_rule_alone_sets_a_nic_up(bench: &Bench) {
    let vpc = Vpc::without_router();
    let machine = bench.booted(&vpc);
    configure(&machine, &both_subnets());
    let before = state(&machine);
    machine.sh("systemctl stop kylin-vr-monitor.service");
    machine.unplug(Nic::SubnetB);
    machine.plug(Nic::SubnetB);
    wait_for_subnet_b(&machine);
    assert_eq!(state(&machine), before);
    subnet_b_works(&vpc);
}

/// The trouble that the note had on ARM, made by taking the device from the bus: it is there, and nobody says so.
pub fn a_nic_that_the_guest_does_not_see_is_found_by_a_rescan(bench: &Bench) {
    let vpc = Vpc::without_router();
    let machine = bench.booted(&vpc);
    configure(&machine, &both_subnets());
    let before = state(&machine);
    let link = machine.link(Nic::SubnetB.name());
    machine.sh(&format!("echo 1 >/sys/class/net/{link}/device/../remove"));
    machine.wait_for("its end", &format!("! ip link show dev {link}"));
    let blind = machine.try_sh("kylin-vr reload", "");
    assert!(
        blind.code == 0 && blind.stdout.contains("1 NIC pending"),
        "{blind:?}"
    );
    let found = machine.try_sh("kylin-vr reload --rescan=120", "");
    assert!(found.code == 0 && !found.stdout.contains("pending"), "{found:?}");
    assert_eq!(state(&machine), before);
    subnet_b_works(&vpc);
}

/// For each NIC that came, by the guest's clock, in what `ip -ts monitor` printed.
fn milliseconds_to_the_address(log: &str) -> Vec<f64> {
    let (mut announced, mut took) = (BTreeMap::new(), Vec::new());
    for line in log.lines().filter(|line| !line.contains("Deleted")) {
        // `[2026-05-01T10:00:00.123456] 5: eth0: <BROADCAST,MULTICAST> ..`, then the rest of it in lines of its own.
        let Some((time, rest)) = line.strip_prefix('[').and_then(|line| line.split_once("] ")) else {
            continue;
        };
        let Some((number, rest)) = rest.split_once(": ") else {
            continue;
        };
        let seconds: f64 = time
            .split_once('T')
            .map(|(_, clock)| {
                clock
                    .split(':')
                    .fold(0.0, |sum, part| sum * 60.0 + part.parse::<f64>().unwrap())
            })
            .unwrap();
        if rest.contains(B) {
            if let Some(start) = announced.remove(number) {
                took.push((seconds - start) * 1000.0);
            }
        } else if !rest.contains("inet") {
            announced.entry(number.to_owned()).or_insert(seconds);
        }
    }
    took
}

/// Numbers that look random, the same for the same seed (xorshift64).
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        for shift in [13_i32, -7, 17] {
            self.0 ^= if shift > 0 {
                self.0 << shift
            } else {
                self.0 >> -shift
            };
        }
        self.0 % bound
    }
}

const STORM: u64 = 10;

fn storm_mac(number: u64) -> String {
    format!("52:54:84:33:00:{number:02x}")
}

pub fn a_storm_of_nics_ends_right(bench: &Bench) {
    let seed = std::env::var("KYLIN_VR_TEST_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok());
    let seed =
        seed.unwrap_or_else(|| SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64);
    println!("\na storm of NICs: KYLIN_VR_TEST_SEED={seed}");
    let vpc = Vpc::without_router();
    let machine = bench.booted(&vpc);
    let subnets: String = (0..STORM)
        .map(|number| {
            let mac = storm_mac(number);
            format!("   - ipaddr: 172.20.{number}.1\n     prefix: 24\n     mac: {mac}\n")
        })
        .collect();
    configure(
        &machine,
        &both_subnets().replace("eip_list:", &format!("{subnets}eip_list:")),
    );

    let mut random = Random(seed | 1);
    let mut is_there = [false; STORM as usize];
    for round in 0..40 {
        let number = random.below(STORM);
        let (id, there) = (format!("hot{number}"), &mut is_there[number as usize]);
        match (*there, random.below(3)) {
            (false, _) => machine.plug_as(&id, Nic::SubnetB, &storm_mac(number)),
            (true, 0) => {
                // A link can be renamed while it is down, and the monitor may be quicker to put it up.
                let link = machine.link(&id);
                let lines = format!("link set {link} down\\nlink set {link} name storm{round}\\n");
                machine.wait_for("the rename", &format!("printf '{lines}' | ip -batch -"));
                continue;
            }
            (true, _) => machine.unplug_id(&id),
        }
        *there = !*there;
    }
    for (number, there) in is_there.iter().enumerate() {
        let has = format!("ip -4 -o addr | grep -q 172.20.{number}.1/24");
        if *there {
            machine.wait_for(&format!("the address of NIC {number}"), &has);
        } else {
            machine.sh(&format!("! {has}"));
        }
    }
    agrees(&machine);
    let pending = machine.sh("kylin-vr status").matches(" pending").count();
    assert!(
        pending >= is_there.iter().filter(|there| !**there).count(),
        "{pending}"
    );
    eip_works(&vpc);
    subnet_b_works(&vpc);
}
