//! New flows a second: what a ruleset costs the first packet of a connection.

use std::net::SocketAddrV4;

use lab::Extent;

use crate::Bench;
use crate::command::{Agent, processor_time, run};
use crate::others::{Program, constant_prefix_rule, constant_rule, constant_rule_for_each_kind};
use crate::result::{Bound, median, median_ratio, short};
use crate::site::{Site, config, eip_targets, entries, mixed_config, mixed_targets};

const GROUP: &str = "1 first packets";

/// A way of translating, and what its routers made of it.
struct Way {
    name: String,
    make: Box<dyn Fn() -> Router>,
    /// New flows a second, of each round.
    rates: Vec<f64>,
}

/// A router, and the sender in front of it.
struct Router {
    site: Site,
    flood: lab::Flood,
}

impl Way {
    fn ours(name: &str, vms: usize, text: &str, targets: &[SocketAddrV4]) -> Self {
        let text = text.to_owned();
        let make = move || {
            let site = Site::new();
            let agent = Agent::new("flood");
            agent.write(&text);
            run(&site.router, agent.command(&["reload"]));
            site
        };
        Self::new(name, make, vms, targets)
    }

    fn theirs(name: &str, vms: usize, program: Program, rules: String) -> Self {
        Self::theirs_to(name, vms, program, rules, &eip_targets(vms))
    }

    fn theirs_to(name: &str, vms: usize, program: Program, rules: String, targets: &[SocketAddrV4]) -> Self {
        let make = move || {
            let site = Site::new();
            site.set_up_by_hand();
            let file = crate::output_directory().join("rules");
            std::fs::write(&file, &rules).expect("write the rules");
            run(&site.router, program.load(&file));
            let _ = std::fs::remove_file(&file);
            site
        };
        Self::new(name, make, vms, targets)
    }

    fn new(name: &str, make: impl Fn() -> Site + 'static, vms: usize, targets: &[SocketAddrV4]) -> Self {
        let targets = targets.to_vec();
        let make = move || {
            let site = make();
            site.set_neighbours(vms);
            let flood = site.flood(targets.clone());
            Router { site, flood }
        };
        Self {
            name: name.to_owned(),
            make: Box::new(make),
            rates: Vec::new(),
        }
    }

    /// The same with another step after the router was made.
    fn with(self, step: impl Fn(&Site) + 'static) -> Self {
        let make = move || {
            let router = (self.make)();
            step(&router.site);
            router
        };
        Self {
            make: Box::new(make),
            ..self
        }
    }

    /// Floods once. What counts is what arrives: what is not translated does not.
    fn measure(&mut self, router: &mut Router, bench: &Bench) {
        let before = router.site.arrived();
        // Of processor time: the router works in the sender's, and whatever else runs takes none of that.
        let begin = processor_time();
        let (sent, _) = router.flood.send(Extent::Time(bench.settings.flood));
        let time = processor_time() - begin;
        let arrived = router.site.arrived() - before;
        assert!(
            arrived * 100 >= sent * 99,
            "{}: of {sent} frames {arrived} arrived: it does not translate, or flows are dropped",
            self.name
        );
        self.rates.push(arrived as f64 / time.as_secs_f64());
        router.site.forget_flows();
    }

    fn rate(&self) -> f64 {
        median(&self.rates)
    }

    fn beside(&self, other: &Self) -> f64 {
        median_ratio(&self.rates, &other.rates)
    }
}

pub fn measure(bench: &mut Bench) {
    let (few, middle, most) = (100, 10_000, 65_000);
    let sizes = [few, 1_000, middle, most];
    let all_kinds = mixed_config(middle);
    let mut ways = vec![
        Way::theirs("floor", middle, Program::Nft, constant_rule()),
        Way::ours("loaded", middle, &all_kinds, &eip_targets(middle)),
        Way::ours("loaded, all kinds", middle, &all_kinds, &mixed_targets(middle)),
        Way::theirs_to(
            "floor, all kinds",
            middle,
            Program::Nft,
            constant_rule_for_each_kind(),
            &mixed_targets(middle),
        ),
        Way::theirs(
            "floor, no early demux",
            middle,
            Program::Nft,
            constant_prefix_rule(),
        )
        .with(|site| site.router.set_sysctl("net/ipv4/ip_early_demux", "0")),
        // The same flows as with 100: what the others cost that are loaded beside them.
        Way::ours("loaded, flows to 100", few, &all_kinds, &eip_targets(few)),
        Way::ours(
            "65,000, flows to 100",
            few,
            &config(entries(most)),
            &eip_targets(few),
        ),
        // Each flow to an elastic IP at random, and one neighbour, so that nothing but the rules has more to look up.
        Way::theirs_to(
            "floor, one next hop",
            0,
            Program::Nft,
            constant_prefix_rule(),
            &eip_targets(middle),
        )
        .with(Site::set_next_hop),
        Way::ours("loaded, one next hop", 0, &all_kinds, &eip_targets(middle)).with(Site::set_next_hop),
        Way::ours("100, one next hop", 0, &config(entries(few)), &eip_targets(few)).with(Site::set_next_hop),
        Way::ours(
            "65,000, one next hop",
            0,
            &config(entries(most)),
            &eip_targets(most),
        )
        .with(Site::set_next_hop),
    ];
    // What many VMs cost the kernel (their neighbour entries are looked up) is no rule's doing: a floor for each number.
    let first_of_floors = ways.len();
    ways.extend(sizes.map(|count| {
        let name = format!("floor, {count} VMs");
        Way::theirs(&name, count, Program::Nft, constant_prefix_rule())
    }));
    let first_of_ours = ways.len();
    ways.extend(sizes.map(|count| {
        let name = format!("kylin-vr, {count}");
        Way::ours(&name, count, &config(entries(count)), &eip_targets(count))
    }));
    let first_of_others = ways.len();
    let others: Vec<(Program, usize)> = Program::ALL
        .iter()
        .flat_map(|program| bench.settings.rules.iter().map(|count| (*program, *count)))
        .collect();
    ways.extend(others.iter().map(|(program, count)| {
        let name = format!("{}, {count}", program.name());
        Way::theirs(&name, *count, *program, program.one_rule_each(*count))
    }));
    // Where in memory a table comes to lie makes a constant difference, so routers are made anew several times. Few are there
    // at a time: the kernel has one table of neighbours for all namespaces.
    for _ in 0..bench.settings.routers {
        let mut routers: Vec<Router> = ways.iter().map(|way| (way.make)()).collect();
        for _ in 0..bench.settings.turns {
            for (way, router) in ways.iter_mut().zip(&mut routers) {
                way.measure(router, bench);
            }
        }
    }

    let show = |rate: f64| format!("{} k flows/s", short(rate / 1e3));
    let [
        floor,
        loaded,
        all_kinds,
        floor_of_all,
        floor_without_demux,
        loaded_to_few,
        most_to_few,
        floor_onwards,
        loaded_onwards,
        few_onwards,
        most_onwards,
    ] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10].map(|index: usize| &ways[index]);
    let (floors, ours) = (
        &ways[first_of_floors..first_of_ours],
        &ways[first_of_ours..first_of_others],
    );
    let results = &mut bench.results;
    let all = "10,000 EIPs, 10,000 forwards and a range of 60,000 ports loaded";
    let to_eips = format!("{all}; flows to EIPs");
    let to_few = format!("{all}; flows to 100 of the EIPs");
    let onwards = "VMs behind one next hop";
    let to_eips_onwards = format!("{to_eips}, {onwards}");
    let most_beside_few_onwards = format!("65,000 EIPs beside 100, {onwards}");
    let as_many = "one constant rule, as many VMs";
    let lines = [
        (
            to_eips.as_str(),
            loaded,
            &floors[2],
            as_many,
            Bound::AtLeast(0.95),
        ),
        (
            "the same",
            loaded,
            floor,
            "one constant rule, to one VM",
            Bound::None,
        ),
        (
            "the same",
            loaded,
            floor_without_demux,
            "one constant rule, as many VMs, and ip_early_demux off as well",
            Bound::None,
        ),
        (
            "the same; flows to EIPs, forwards and the range, a third each",
            all_kinds,
            floor_of_all,
            "a constant rule for each of the three",
            Bound::AtLeast(0.95),
        ),
        ("the same", all_kinds, &floors[2], as_many, Bound::AtLeast(0.95)),
        (
            to_few.as_str(),
            loaded_to_few,
            &floors[0],
            as_many,
            Bound::AtLeast(0.95),
        ),
        (
            &to_eips_onwards,
            loaded_onwards,
            floor_onwards,
            "one constant rule, the same next hop",
            Bound::AtLeast(0.95),
        ),
    ];
    for (what, way, other, beside, bound) in lines {
        let beside = format!("{} {beside}", show(other.rate()));
        results.add(GROUP, what, show(way.rate()), beside, way.beside(other), bound);
    }
    for ((count, way), floor) in sizes.iter().zip(ours).zip(floors) {
        results.add(
            GROUP,
            &format!("{count} EIPs"),
            show(way.rate()),
            format!("{} {as_many}", show(floor.rate())),
            way.beside(floor),
            Bound::None,
        );
    }
    let same = Bound::Between(0.9, 1.1);
    let growth = [
        (
            "65,000 EIPs beside 100, the same flows, to 100 of them",
            most_to_few,
            &ours[0],
            same,
        ),
        (&most_beside_few_onwards, most_onwards, few_onwards, same),
        (
            "65,000 EIPs beside 100, flows to all of them",
            &ours[3],
            &ours[0],
            same,
        ),
        (
            "the same of one constant rule: 65,000 VMs beside 100",
            &floors[3],
            &floors[0],
            Bound::None,
        ),
    ];
    for (what, most, least, bound) in growth {
        results.add(
            GROUP,
            what,
            show(most.rate()),
            show(least.rate()),
            most.beside(least),
            bound,
        );
    }
    // Both of one round: what many VMs cost is in either.
    let share = |index: usize| -> Vec<f64> {
        let rates = ours[index].rates.iter().zip(&floors[index].rates);
        rates.map(|(ours, floor)| ours / floor).collect()
    };
    let (most, least) = (share(3), share(0));
    results.add(
        GROUP,
        "the rules' part of it: 65,000 EIPs beside 100, each beside one constant rule to as many VMs",
        format!("{:.2}", median(&most)),
        format!("{:.2}", median(&least)),
        median_ratio(&most, &least),
        same,
    );
    for ((program, count), way) in others.iter().zip(&ways[first_of_others..]) {
        let own = sizes
            .iter()
            .position(|size| size == count)
            .map_or(&ours[2], |index| &ours[index]);
        let bound = if *count == middle {
            Bound::AtLeast(40.0)
        } else {
            Bound::None
        };
        let beside = format!("{} {}", show(way.rate()), program.name());
        results.add(
            GROUP,
            &format!("{count} EIPs, theirs a rule each"),
            show(own.rate()),
            beside,
            own.beside(way),
            bound,
        );
    }

    let points = |ways: &[Way]| sizes.into_iter().zip(ways.iter().map(Way::rate)).collect();
    results
        .series
        .push(("one constant rule".to_owned(), points(floors)));
    results.series.push(("kylin-vr".to_owned(), points(ours)));
    for program in Program::ALL {
        let points = others.iter().zip(&ways[first_of_others..]);
        let points = points.filter(|((one, _), _)| *one == program);
        let points = points.map(|((_, count), way)| (*count, way.rate())).collect();
        results
            .series
            .push((format!("{}, a rule each", program.name()), points));
    }
}
