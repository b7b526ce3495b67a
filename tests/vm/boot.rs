//! What is there when the guest has booted, and from when on.

use lab::guest::Machine;
use lab::{Nic, Vpc};

use crate::bench::{Bench, CONFIG, agrees, eip_works, state, subnet_b_works};
use crate::configs::{NOTE, expect, full};
use crate::rows;

/// Puts a file into a machine that has booted without one, and boots that again.
pub fn boot_with<'b>(bench: &'b Bench, vpc: &Vpc, yaml: &str) -> lab::guest::MachineBuilder<'b> {
    let machine = bench.booted(vpc);
    machine.copy_in(CONFIG, yaml.as_bytes());
    bench.machine(vpc).disk(&machine.shut_down())
}

/// The microseconds from the boot until a unit became active.
fn active_after(machine: &Machine, unit: &str) -> u64 {
    let shown = machine.sh(&format!("systemctl show -P ActiveEnterTimestampMonotonic {unit}"));
    shown.trim().parse().unwrap()
}

pub fn with_a_file_every_row_of_the_packet_table_holds(bench: &Bench) {
    let vpc = Vpc::without_router();
    let machine = boot_with(bench, &vpc, &full()).boot();
    for unit in ["kylin-vr.service", "kylin-vr-monitor.service"] {
        machine.sh(&format!("systemctl is-active {unit}"));
    }
    let (ours, network) = (
        active_after(&machine, "kylin-vr.service"),
        active_after(&machine, "network-pre.target"),
    );
    assert!(
        0 < ours && ours <= network,
        "{ours} us, network-pre.target {network} us"
    );
    let addresses = machine.sh("ip -4 -o addr show scope global");
    for address in ["10.90.3.37/24", "192.168.100.254/24", "192.168.101.254/24"] {
        assert!(addresses.contains(address), "{addresses}");
    }
    rows::check(&vpc, &machine);
    // One flow for each 4 KiB, and a bucket for each: the kernel's own default is a small part of that.
    let number = |script: &str| machine.sh(script).trim().parse::<u64>().unwrap();
    let memory = number("awk '/^MemTotal:/ { print $2 }' /proc/meminfo");
    let flows = number("cat /proc/sys/net/netfilter/nf_conntrack_max");
    assert_eq!(flows, memory / 4);
    assert!(number("cat /proc/sys/net/netfilter/nf_conntrack_buckets") >= flows);
    let before = state(&machine);
    expect(&machine.try_sh("kylin-vr reload", ""), 0, "nothing changed");
    assert_eq!(state(&machine), before);
    the_guest_understands_units_and_rules(&machine);
}

fn the_guest_understands_units_and_rules(machine: &Machine) {
    let said = machine.sh("systemd-analyze verify --man=no /lib/systemd/system/kylin-vr*.service 2>&1");
    assert!(!said.contains("kylin-vr"), "{said}");
    let links = machine.sh("ls /sys/class/net");
    let link = links.split_whitespace().find(|link| *link != "lo").unwrap();
    let script = format!("udevadm test --action=add /sys/class/net/{link} 2>&1");
    let said = machine.sh(&script);
    let complaints: Vec<&str> = said
        .lines()
        .filter(|line| line.contains("kylin-vr.rules") && !line.contains("Reading rules file"))
        .filter(|line| {
            ["nvalid", "nknown", "rror", "gnoring"]
                .iter()
                .any(|word| line.contains(word))
        })
        .collect();
    assert!(complaints.is_empty(), "{complaints:?}");
    assert!(said.contains("kylin-vr-reload"), "{said}");
}

pub fn a_bad_file_and_a_missing_nic_do_not_stop_it(bench: &Bench) {
    let vpc = Vpc::without_router();
    let machine = bench.booted(&vpc);
    crate::bench::configure(&machine, &full());
    machine.copy_in(CONFIG, b"if_list: 5\n...\n");
    let disk = machine.shut_down();

    let machine = bench.machine(&vpc).disk(&disk).without(Nic::SubnetB).boot();
    machine.sh("systemctl is-active kylin-vr.service");
    let journal = machine.sh("journalctl -b --no-pager -u kylin-vr.service");
    assert!(journal.contains("last good configuration"), "{journal}");
    assert!(journal.contains("if_list: 5: expected a list"), "{journal}");
    let status = machine.try_sh("kylin-vr status", "");
    assert!(status.stdout.contains("pending"), "{}", status.stdout);
    eip_works(&vpc);
    machine.plug(Nic::SubnetB);
    machine.wait_for("the address", "ip -4 -o addr | grep 192.168.101.254/24");
    subnet_b_works(&vpc);
    // The next good push heals.
    crate::bench::configure(&machine, NOTE);
    agrees(&machine);
    eip_works(&vpc);
}
