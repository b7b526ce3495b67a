//! What waits to be confirmed, and a machine that loses its power meanwhile.

use lab::Vpc;

use crate::bench::{Bench, CONFIG, both_subnets, configure, eip_works, marked, state};
use crate::configs::{NOTE, expect};

pub fn what_is_not_confirmed_is_taken_back_after_a_power_cut(bench: &Bench) {
    let vpc = Vpc::without_router();
    let machine = bench.booted(&vpc);
    configure(&machine, NOTE);
    let before = (state(&machine), machine.sh(&format!("cat {CONFIG}")));
    machine.sh("sync");
    let run = machine.try_sh("kylin-vr reload --confirm-within 90s -", &marked(&both_subnets()));
    expect(&run, 0, "unless `kylin-vr confirm` comes before");
    assert_ne!(state(&machine), before.0);
    let disk = machine.power_cut();

    // Whether the boot takes longer than the window or not: nobody does anything, and it is taken back.
    let machine = bench.machine(&vpc).disk(&disk).boot();
    machine.wait_for(
        "the end of the window",
        "! test -e /var/lib/kylin-vr/unconfirmed && kylin-vr status",
    );
    assert_eq!((state(&machine), machine.sh(&format!("cat {CONFIG}"))), before);
    eip_works(&vpc);
    let history = machine.sh("kylin-vr history");
    assert!(
        history.contains("taken-back") && history.contains("take-back"),
        "{history}"
    );
    expect(&machine.try_sh("kylin-vr confirm", ""), 4, "was taken back");
    // The monitor is where it was, and the units may write what they took back.
    machine.sh("systemctl is-active kylin-vr.service kylin-vr-monitor.service");
    configure(&machine, &both_subnets());
    expect(
        &machine.try_sh("kylin-vr rollback && kylin-vr status", ""),
        0,
        "ok",
    );
    assert_eq!(state(&machine), before.0);
}
