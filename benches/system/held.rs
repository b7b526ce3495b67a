//! Connections held: many flows in the router while a reload changes one elastic IP.

use std::fs;
use std::time::Duration;

use lab::Extent;

use crate::Bench;
use crate::command::{Agent, peak_memory, run};
use crate::result::{Bound, median, show_bytes};
use crate::site::{Site, config, eip, eip_targets, entries, vm};

const GROUP: &str = "7 connections held";
const EIPS: usize = 10_000;

pub fn measure(bench: &mut Bench) {
    let (site, agent) = (Site::new(), Agent::new("held"));
    let write = |extra: usize| {
        let more = (EIPS..EIPS + extra).map(|entry| (eip(entry), vm(entry)));
        agent.write(&config(entries(EIPS).chain(more)));
    };
    write(0);
    run(&site.router, agent.command(&["reload"]));
    // One elastic IP more and one less, in turn.
    let change = |repeats: usize| -> Vec<Duration> {
        let runs = (1..=2 * repeats).map(|turn| {
            write(turn % 2);
            run(&site.router, agent.command(&["reload"])).time
        });
        runs.collect()
    };
    let without = median(&change(bench.settings.repeats));

    // None is to end by itself meanwhile.
    for setting in ["udp_timeout", "udp_timeout_stream"] {
        site.router
            .set_sysctl(&format!("net/netfilter/nf_conntrack_{setting}"), "86400");
    }
    site.set_neighbours(EIPS);
    let slab_before = slab();
    let (sent, _) = site
        .flood(eip_targets(EIPS))
        .send(Extent::Frames(bench.settings.flows));
    let (before, slab_before) = (site.flows(), slab().saturating_sub(slab_before));
    let with = median(&change(bench.settings.repeats));
    write(1);
    let peak = peak_memory(&site.router, &agent.command(&["reload"]));
    let lost = before.saturating_sub(site.flows());

    let results = &mut bench.results;
    let count = format!("{before} flows");
    results.add(
        GROUP,
        "flows that the router took",
        count,
        format!("{sent} sent"),
        before as f64 / sent as f64,
        Bound::AtLeast(1.0),
    );
    let what = format!("one EIP added or removed, {before} flows held");
    results.times(GROUP, &what, with, ("with none", without), Bound::None);
    results.add(
        GROUP,
        "flows lost by these reloads",
        lost.to_string(),
        String::new(),
        lost as f64,
        Bound::AtMost(0.0),
    );
    let each = slab_before as f64 / before as f64;
    results.add(
        GROUP,
        "memory: of the reload; of the flows in the kernel; bytes a flow",
        show_bytes(peak),
        show_bytes(slab_before),
        each,
        Bound::None,
    );
}

/// The kernel's memory for flows, of all namespaces, bytes (slabinfo(5)); 0 if it does not tell.
fn slab() -> u64 {
    let table = fs::read_to_string("/proc/slabinfo").unwrap_or_default();
    let line = table.lines().find_map(|line| line.strip_prefix("nf_conntrack "));
    let numbers: Vec<u64> = line
        .iter()
        .flat_map(|line| line.split_whitespace().take(3))
        .filter_map(|number| number.parse().ok())
        .collect();
    match numbers[..] {
        [_active, all, size] => all * size,
        _ => 0,
    }
}
