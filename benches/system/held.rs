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
    // It counts source ports by reading all flows.
    let status = || run(&site.router, agent.command(&["status", "--json"])).time;
    let status_without = median(&[status(), status(), status()]);

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
    let status_with = median(&[status(), status(), status()]);
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
    let what = format!("status, {before} flows held");
    results.times(
        GROUP,
        &what,
        status_with,
        ("with none", status_without),
        Bound::None,
    );
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

/// The kernel's memory that it cannot give up (`SUnreclaim` of proc_meminfo(5)), bytes: of flows, what they consist of (256 each)
/// and what NAT notes of them (128) are in different caches of it. Of all namespaces and all else; 0 if it does not tell.
fn slab() -> u64 {
    let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = memory.lines().find_map(|line| line.strip_prefix("SUnreclaim:"));
    let kibibytes = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    kibibytes.unwrap_or(0) * 1024
}
