//! Templates and their clones.

use lab::Vpc;

use crate::bench::{Bench, CONFIG, configure, eip_works, state};
use crate::configs::{NOTE, expect};

/// As the note makes them: the file emptied, the machine shut down.
pub fn a_clone_of_a_template_comes_up_empty_and_takes_its_first_push(bench: &Bench) {
    let vpc = Vpc::without_router();
    let machine = bench.booted(&vpc);
    let empty = state(&machine);
    configure(&machine, NOTE);
    assert_ne!(state(&machine), empty);
    machine.sh(&format!(": >{CONFIG}"));
    let template = machine.shut_down();

    let clone = bench.machine(&vpc).disk(&template).clone_number(7).boot();
    clone.sh("systemctl is-active kylin-vr.service kylin-vr-monitor.service");
    assert_eq!(state(&clone), empty);
    let mut own = NOTE.to_owned();
    for mac in ["52:54:84:00:08:45", "52:54:84:11:00:03"] {
        own = own.replace(mac, &lab::guest::clone_mac(mac, 7));
    }
    expect(&crate::pushes::by_input(&mut clone.agent(), &own), 0, "applied");
    eip_works(&vpc);
}
