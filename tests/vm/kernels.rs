//! The same, storms aside, on the other kernels.

use lab::Vpc;
use lab::guest::Kernel;

use crate::bench::{Bench, CONFIG, marked};
use crate::configs::full;
use crate::{drift, hotplug, pushes, rows};

pub fn linux_5_10_boots_plugs_takes_pushes_and_repairs(bench: &Bench) {
    check(bench, Kernel::Linux5_10);
}

pub fn linux_6_12_boots_plugs_takes_pushes_and_repairs(bench: &Bench) {
    check(bench, Kernel::Linux6_12);
}

/// Cross-built, on a processor that is emulated always. Not asked for by `make test`: `make test-arm` does.
pub fn linux_6_12_on_aarch64_boots_plugs_takes_pushes_and_repairs(_: &Bench) {
    check(&Bench::aarch64(), Kernel::Linux6_12Aarch64);
}

fn check(bench: &Bench, kernel: Kernel) {
    let vpc = Vpc::without_router();
    let machine = bench.booted_with(&vpc, kernel);
    assert!(machine.sh("uname -r").starts_with(kernel.version()));
    hotplug::check(&vpc, &machine);
    pushes::check(&vpc, &machine);
    drift::check(&vpc, &machine);
    machine.copy_in(CONFIG, marked(&full()).as_bytes());
    let disk = machine.shut_down();
    let machine = bench.machine(&vpc).kernel(kernel).disk(&disk).boot();
    rows::check(&vpc, &machine);
}
