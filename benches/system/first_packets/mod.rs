//! New flows a second: what a ruleset costs the first packet of a connection.

mod way;
mod ways;

use way::Way;
use ways::{
    FEW, FEW_ONWARDS, FLOOR, FLOOR_ALL_KINDS, FLOOR_ONWARDS, FLOOR_WITHOUT_DEMUX, LOADED, LOADED_ALL_KINDS,
    LOADED_FEW, LOADED_ONWARDS, MIDDLE, MOST, MOST_FEW, MOST_ONWARDS, SIZES, Ways, floor_of, other_of,
    ours_of,
};

use crate::Bench;
use crate::others::Program;
use crate::result::{Bound, Results, median, median_ratio, short};

const GROUP: &str = "1 first packets";

pub fn measure(bench: &mut Bench) {
    let mut ways = Ways::new(&bench.settings);
    for group in &mut ways.groups {
        group.measure(bench);
    }
    beside_constant_rules(&ways, &mut bench.results);
    growth(&ways, &mut bench.results);
    beside_others(&ways, &mut bench.results);
    plot(&ways, &mut bench.results);
}

fn show(way: &Way) -> String {
    format!("{} k flows/s", short(way.rate() / 1e3))
}

fn beside_constant_rules(ways: &Ways, results: &mut Results) {
    let as_many = "one constant rule, as many VMs";
    let loaded = "10,000 EIPs, 10,000 forwards and a range of 60,000 ports loaded";
    let (middle, few) = (floor_of(MIDDLE), floor_of(FEW));
    let asked = Bound::AtLeast(0.95);
    let lines = [
        (LOADED, "flows to EIPs", middle.as_str(), as_many, asked),
        (
            LOADED,
            "flows to EIPs",
            FLOOR,
            "one constant rule, to one VM",
            Bound::None,
        ),
        (
            LOADED,
            "flows to EIPs",
            FLOOR_WITHOUT_DEMUX,
            "one constant rule, as many VMs, and ip_early_demux off as well",
            Bound::None,
        ),
        (
            LOADED_ONWARDS,
            "flows to EIPs, VMs behind one next hop",
            FLOOR_ONWARDS,
            "one constant rule, the same next hop",
            asked,
        ),
        (LOADED_FEW, "flows to 100 of the EIPs", &few, as_many, asked),
        (
            LOADED_ALL_KINDS,
            "flows to EIPs, forwards and the range, a third each",
            FLOOR_ALL_KINDS,
            "a constant rule for each of the three",
            asked,
        ),
        (
            LOADED_ALL_KINDS,
            "flows to EIPs, forwards and the range, a third each",
            &middle,
            as_many,
            asked,
        ),
    ];
    for (way, flows, other, beside, bound) in lines {
        let [way, other] = ways.pair(way, other);
        results.add(
            GROUP,
            &format!("{loaded}; {flows}"),
            show(way),
            format!("{} {beside}; {}", show(other), way.spread(other)),
            way.beside(other),
            bound,
        );
    }
    for count in SIZES {
        let [way, floor] = ways.pair(&ours_of(count), &floor_of(count));
        results.add(
            GROUP,
            &format!("{count} EIPs"),
            show(way),
            format!("{} {as_many}; {}", show(floor), way.spread(floor)),
            way.beside(floor),
            Bound::None,
        );
    }
}

fn growth(ways: &Ways, results: &mut Results) {
    let same = Bound::Between(0.9, 1.1);
    let lines = [
        (
            "65,000 EIPs beside 100, the same flows, to 100 of them",
            MOST_FEW.to_owned(),
            ours_of(FEW),
            same,
        ),
        (
            "65,000 EIPs beside 100, VMs behind one next hop",
            MOST_ONWARDS.to_owned(),
            FEW_ONWARDS.to_owned(),
            same,
        ),
        (
            "65,000 EIPs beside 100, flows to all of them",
            ours_of(MOST),
            ours_of(FEW),
            same,
        ),
        (
            "the same of one constant rule: 65,000 VMs beside 100",
            floor_of(MOST),
            floor_of(FEW),
            Bound::None,
        ),
    ];
    for (what, most, least, bound) in lines {
        let [most, least] = ways.pair(&most, &least);
        let beside = format!("{}; {}", show(least), most.spread(least));
        results.add(GROUP, what, show(most), beside, most.beside(least), bound);
    }
    // Both of one round: what many VMs cost is in either.
    let [most, least] = [MOST, FEW].map(|count| {
        let [ours, floor] = ways.pair(&ours_of(count), &floor_of(count));
        ours.ratios(floor)
    });
    results.add(
        GROUP,
        "the rules' part of it: 65,000 EIPs beside 100, each beside one constant rule to as many VMs",
        format!("{:.2}", median(&most)),
        format!("{:.2}", median(&least)),
        median_ratio(&most, &least),
        same,
    );
}

fn beside_others(ways: &Ways, results: &mut Results) {
    for other in &ways.others {
        let (program, count) = *other;
        let (own, way) = (ways.named(&ours_of(count)), ways.named(&other_of(*other)));
        let bound = if count >= MIDDLE {
            Bound::AtLeast(40.0)
        } else {
            Bound::None
        };
        results.add(
            GROUP,
            &format!("{count} EIPs, theirs a rule each"),
            show(own),
            format!("{} {}", show(way), program.name()),
            own.rate() / way.rate(),
            bound,
        );
    }
}

fn plot(ways: &Ways, results: &mut Results) {
    let points = |name: fn(usize) -> String| {
        let rate = |count| (count, ways.named(&name(count)).rate());
        SIZES.into_iter().map(rate).collect()
    };
    results
        .series
        .push(("one constant rule".to_owned(), points(floor_of)));
    results.series.push(("kylin-vr".to_owned(), points(ours_of)));
    for program in Program::ALL {
        let others = ways.others.iter().filter(|(one, _)| *one == program);
        let points = others.map(|other| (other.1, ways.named(&other_of(*other)).rate()));
        results
            .series
            .push((format!("{}, a rule each", program.name()), points.collect()));
    }
}
