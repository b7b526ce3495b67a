//! What other programs in the guest undo is put right.

use lab::guest::Machine;
use lab::{Nic, Vpc};

use crate::bench::{Bench, agrees, both_subnets, configure, eip_works, state, told};
use crate::configs::full;
use crate::rows;

/// Undoes one thing after the other, and waits each time until it is back.
pub fn check(vpc: &Vpc, machine: &Machine) {
    configure(machine, &both_subnets());
    let (outside, inside) = (
        machine.link(Nic::External.name()),
        machine.link(Nic::SubnetA.name()),
    );
    let before = state(machine);
    let deeds = [
        format!("ip addr flush dev {inside}"),
        "ip route del default".to_owned(),
        "nft flush ruleset".to_owned(),
        "nft delete table ip kylin_vr".to_owned(),
        format!("ip link set {outside} down"),
        format!("ip link set {outside} down; sleep 1; ip link set {outside} up"),
        "sysctl -w net.ipv4.ip_forward=0".to_owned(),
        // What Debian ships begins with `flush ruleset`.
        "grep -q 'flush ruleset' /etc/nftables.conf && systemctl restart nftables && nft delete table inet filter"
            .to_owned(),
    ];
    for deed in &deeds {
        let repairs = told(machine, "put right what");
        machine.sh(deed);
        agrees(machine);
        assert_eq!(state(machine), before, "after {deed}");
        assert!(
            told(machine, "put right what") > repairs,
            "somebody else put {deed} right"
        );
    }
    eip_works(vpc);
}

pub fn what_others_undo_is_put_right(bench: &Bench) {
    let vpc = Vpc::without_router();
    let machine = bench.booted(&vpc);
    check(&vpc, &machine);
    configure(&machine, &full());
    machine.sh("nft flush ruleset");
    agrees(&machine);
    // By its field, at its level, with a text that says it all.
    let journal = |filter: &str| machine.sh(&format!("journalctl -b --no-pager -t kylin-vr {filter}"));
    let applied = journal("KYLIN_VR_COMMAND=monitor");
    assert!(
        applied.contains(" of the last accepted configuration"),
        "{applied}"
    );
    let warnings = journal("-p warning");
    assert!(
        warnings.contains("put right what something else had changed: ") && !warnings.contains("applied "),
        "{warnings}"
    );
    rows::check_briefly(&vpc, &machine);
}

pub fn two_quarrelling_programs_do_not_spin(bench: &Bench) {
    let vpc = Vpc::without_router();
    let machine = bench.booted(&vpc);
    configure(&machine, &both_subnets());
    let before = told(&machine, "put right what");
    let seconds: u64 = machine
        .sh("start=$(cut -d. -f1 /proc/uptime); \
             for round in $(seq 100); do nft delete table ip kylin_vr 2>/dev/null; sleep 0.1; done; \
             echo $(($(cut -d. -f1 /proc/uptime) - start))")
        .trim()
        .parse()
        .unwrap();
    let repairs = told(&machine, "put right what") - before;
    // Five at once, then one every five seconds; the seconds are the guest's.
    let most = 5 + seconds / 5 + 1;
    assert!(
        (1..=most).contains(&(repairs as u64)),
        "{repairs} repairs in {seconds} s"
    );
    assert!(told(&machine, "something keeps undoing") > 0);
    agrees(&machine);
    eip_works(&vpc);
}
