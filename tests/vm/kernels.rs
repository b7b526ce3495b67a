//! What the other tests look at one by one, in the life of one machine: for kernels that boot slowly.

use lab::Vpc;

use crate::bench::{Bench, CONFIG, marked};
use crate::configs::full;
use crate::{drift, hotplug, pushes, rows};

pub fn it_plugs_takes_pushes_repairs_and_boots_with_every_row(bench: &Bench) {
    let vpc = Vpc::without_router();
    let machine = bench.booted(&vpc);
    assert!(machine.sh("uname -r").starts_with(bench.kernel().version()));
    hotplug::check(&vpc, &machine);
    pushes::check(&vpc, &machine);
    drift::check(&vpc, &machine);
    machine.copy_in(CONFIG, marked(&full()).as_bytes());
    let disk = machine.shut_down();
    let machine = bench.machine(&vpc).disk(&disk).boot();
    rows::check(&vpc, &machine);
}
