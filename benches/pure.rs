//! The pure parts of a run, one by one: `cargo bench --bench pure`.
//!
//! `parse` reads the YAML into a tree and no further: its list has a name that is not known, so that it is refused before
//! its entries are looked at. `validate` is the same with the right name: what it takes longer is the checks. Then what
//! the kernel should have; the difference from an empty kernel (`diff-all`), from one that has it all (`diff-none`), and
//! from one that lacks one elastic IP (`diff-one`); and the netlink messages that bring all of it.

#![allow(missing_docs)] // Of what criterion's macros make.

use std::fmt::Write as _;
use std::hint::black_box;
use std::net::Ipv4Addr;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use kylin_vr::config::Config;
use kylin_vr::features;
use kylin_vr::kernel::{self, Fake};
use kylin_vr::model::{Desired, Link, LinkId, LinkIndex, LinkName, Observed};
use kylin_vr::owned::Owned;
use kylin_vr::plan::diff;
use kylin_vr::reconcile::reconcile;

const HEAD: &str = "if_list:
  - {ipaddr: 10.90.3.37, prefix: 24, mac: 52:54:84:00:08:45, gateway: 10.90.3.1}
  - {ipaddr: 192.168.255.254, prefix: 16, mac: 52:54:84:11:00:03}
";

fn text(list: &str, entries: u32) -> Vec<u8> {
    let address =
        |network: [u8; 4], entry: u32| Ipv4Addr::from(u32::from(Ipv4Addr::from(network)) + 1 + entry);
    let mut text = format!("{HEAD}{list}:\n");
    for entry in 0..entries {
        let (eip, vm) = (address([10, 91, 0, 0], entry), address([192, 168, 0, 0], entry));
        let _ = writeln!(text, "  - eip: {eip}\n    vm-ip: {vm}");
    }
    text.into_bytes()
}

fn desired(entries: u32) -> Desired {
    let parsed = Config::parse(&text("eip_list", entries));
    features::desired(&parsed.config.expect("a valid file"))
}

/// A kernel with the file's NICs, and nothing set on them.
fn fresh() -> Observed {
    let mut observed = Observed::default();
    let mac = |text: &str| LinkId::Mac(text.parse().expect("a hardware address"));
    let ids = [
        LinkId::Loopback,
        mac("52:54:84:00:08:45"),
        mac("52:54:84:11:00:03"),
    ];
    for (index, id) in (1..).zip(ids) {
        observed.links.push(Link {
            index: LinkIndex(index),
            name: LinkName(format!("eth{index}").into()),
            id: Some(id),
            up: false,
            stacked: false,
            ipv6_in_use: false,
            udev_pending: false,
            mtu: 1_500,
        });
    }
    observed
}

/// The same kernel with all of it.
fn full(desired: &Desired) -> Observed {
    let mut kernel = Fake::new(fresh());
    reconcile(&mut kernel, desired, Owned::default(), |_| Ok(())).expect("a kernel in memory takes all");
    kernel.state
}

fn line(criterion: &mut Criterion) {
    for entries in [1_000, 10_000, 65_000] {
        let mut group = criterion.benchmark_group("pure");
        group.throughput(Throughput::Elements(u64::from(entries)));
        let (misnamed, good) = (text("eip_lost", entries), text("eip_list", entries));
        assert!(Config::parse(&misnamed).config.is_none());
        group.bench_function(BenchmarkId::new("parse", entries), |bench| {
            bench.iter(|| Config::parse(black_box(&misnamed)));
        });
        group.bench_function(BenchmarkId::new("validate", entries), |bench| {
            bench.iter(|| Config::parse(black_box(&good)));
        });
        let config = Config::parse(&good).config.expect("a valid file");
        group.bench_function(BenchmarkId::new("desired", entries), |bench| {
            bench.iter(|| features::desired(black_box(&config)));
        });
        let (wanted, owned) = (desired(entries), Owned::default());
        let kernels = [
            ("diff-all", fresh()),
            ("diff-one", full(&desired(entries - 1))),
            ("diff-none", full(&wanted)),
        ];
        for (name, observed) in &kernels {
            group.bench_function(BenchmarkId::new(*name, entries), |bench| {
                bench.iter(|| diff(black_box(&wanted), observed, &owned));
            });
        }
        let plan = diff(&wanted, &fresh(), &owned);
        group.bench_function(BenchmarkId::new("encode", entries), |bench| {
            bench.iter(|| kernel::encode(black_box(&plan.operations)).expect("names that can be written"));
        });
        group.finish();
    }
}

criterion_group! {
    name = pure;
    config = Criterion::default()
        .without_plots()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(2));
    targets = line
}
criterion_main!(pure);
