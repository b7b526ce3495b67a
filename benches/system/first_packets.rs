//! New flows a second: what a ruleset costs the first packet of a connection.

use std::net::SocketAddrV4;
use std::time::Duration;

use lab::Extent;

use crate::Bench;
use crate::command::{Agent, processor_time, run};
use crate::others::{Program, constant_prefix_rule, constant_rule, constant_rule_for_each_kind};
use crate::result::{Bound, Results, median, median_ratio, short};
use crate::settings::Settings;
use crate::site::{Site, config, eip_targets, entries, mixed_config, mixed_targets};

const GROUP: &str = "1 first packets";

/// A way of translating, and what its routers made of it.
struct Way {
    name: String,
    make: Box<dyn Fn() -> Router>,
    /// New flows a second, of each router.
    rates: Vec<f64>,
}

/// A router, the sender in front of it, and what came of its turns.
struct Router {
    site: Site,
    flood: lab::Flood,
    arrived: u64,
    time: Duration,
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

    fn theirs(name: &str, vms: usize, program: Program, rules: String, targets: &[SocketAddrV4]) -> Self {
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
            Router {
                site,
                flood,
                arrived: 0,
                time: Duration::ZERO,
            }
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

    fn rate(&self) -> f64 {
        median(&self.rates)
    }

    /// The median of the ratios to another way of the same group: what slows both routers of a round down is in both.
    fn beside(&self, other: &Self) -> f64 {
        median_ratio(&self.rates, &other.rates)
    }
}

impl Router {
    /// Floods once. What counts is what arrives: what is not translated does not.
    fn take_turn(&mut self, way: &str, bench: &Bench) {
        let before = self.site.arrived();
        // Of processor time: the router works in the sender's, and whatever else runs takes none of that.
        let begin = processor_time();
        let (sent, _) = self.flood.send(Extent::Time(bench.settings.flood));
        self.time += processor_time() - begin;
        let arrived = self.site.arrived() - before;
        assert!(
            arrived * 100 >= sent * 99,
            "{way}: of {sent} frames {arrived} arrived: it does not translate, or flows are dropped"
        );
        self.arrived += arrived;
        self.site.forget_flows();
    }

    fn rate(&self) -> f64 {
        self.arrived as f64 / self.time.as_secs_f64()
    }
}

const FEW: usize = 100;
const SOME: usize = 1_000;
const MIDDLE: usize = 10_000;
const MOST: usize = 65_000;
/// How many elastic IPs, and VMs, the lines of the plot have.
const SIZES: [usize; 4] = [FEW, SOME, MIDDLE, MOST];

/// Ways that lines compare with each other, and whose routers are there at the same time.
///
/// Where in memory a table comes to lie makes a constant difference, so routers are made anew many times. Few are there at
/// a time: the kernel has one table of neighbours for all namespaces.
struct Group {
    ways: Vec<Way>,
    /// How many routers of each way.
    routers: usize,
}

/// All ways. Lines find them by name.
struct Ways {
    groups: Vec<Group>,
    /// The others' one rule each.
    others: Vec<(Program, usize)>,
}

const LOADED: &str = "all loaded, to EIPs";
const LOADED_ALL_KINDS: &str = "all loaded, to all kinds";
const LOADED_FEW: &str = "all loaded, to 100";
const LOADED_ONWARDS: &str = "all loaded, one next hop";
const FEW_ONWARDS: &str = "100, one next hop";
const MOST_ONWARDS: &str = "65,000, one next hop";
const MOST_FEW: &str = "65,000, to 100";
const FLOOR: &str = "constant rule, one VM";
const FLOOR_ALL_KINDS: &str = "constant rules, all kinds";
const FLOOR_WITHOUT_DEMUX: &str = "constant rule, no early demux";
const FLOOR_ONWARDS: &str = "constant rule, one next hop";

fn floor_of(vms: usize) -> String {
    format!("constant rule, {vms} VMs")
}

fn ours_of(eips: usize) -> String {
    format!("kylin-vr, {eips}")
}

fn other_of((program, rules): (Program, usize)) -> String {
    format!("{}, {rules}", program.name())
}

/// A constant rule with as many VMs: what many VMs cost the kernel (their neighbour entries are looked up) is no rule's doing.
fn floor(name: &str, vms: usize, targets: &[SocketAddrV4]) -> Way {
    Way::theirs(name, vms, Program::Nft, constant_prefix_rule(), targets)
}

/// So many elastic IPs, and the floor of as many VMs.
fn plain_pair(count: usize) -> [Way; 2] {
    let targets = eip_targets(count);
    let ours = Way::ours(&ours_of(count), count, &config(entries(count)), &targets);
    [floor(&floor_of(count), count, &targets), ours]
}

/// 10,000 of everything loaded, and as many elastic IPs alone.
fn all_loaded() -> Vec<Way> {
    let loaded = mixed_config(MIDDLE);
    let (eips, mixed) = (eip_targets(MIDDLE), mixed_targets(MIDDLE));
    let for_each_kind = constant_rule_for_each_kind();
    let mut ways = vec![
        Way::theirs(FLOOR, MIDDLE, Program::Nft, constant_rule(), &eips),
        Way::theirs(FLOOR_ALL_KINDS, MIDDLE, Program::Nft, for_each_kind, &mixed),
        floor(FLOOR_WITHOUT_DEMUX, MIDDLE, &eips)
            .with(|site| site.router.set_sysctl("net/ipv4/ip_early_demux", "0")),
        Way::ours(LOADED, MIDDLE, &loaded, &eips),
        Way::ours(LOADED_ALL_KINDS, MIDDLE, &loaded, &mixed),
    ];
    ways.extend(plain_pair(MIDDLE));
    ways
}

/// From 100 to 65,000, and the same flows as with 100: what the others cost that are loaded beside them.
fn few_and_most() -> Vec<Way> {
    let (loaded, most) = (mixed_config(MIDDLE), config(entries(MOST)));
    let targets = eip_targets(FEW);
    let mut ways = vec![
        Way::ours(LOADED_FEW, FEW, &loaded, &targets),
        Way::ours(MOST_FEW, FEW, &most, &targets),
    ];
    ways.extend([FEW, MOST].into_iter().flat_map(plain_pair));
    ways
}

/// Each flow to an elastic IP at random, and one neighbour: nothing but the rules has more to look up.
fn one_next_hop() -> Vec<Way> {
    let eips = eip_targets(MIDDLE);
    let (loaded, few, most) = (mixed_config(MIDDLE), config(entries(FEW)), config(entries(MOST)));
    let ways = [
        floor(FLOOR_ONWARDS, 0, &eips),
        Way::ours(LOADED_ONWARDS, 0, &loaded, &eips),
        Way::ours(FEW_ONWARDS, 0, &few, &eip_targets(FEW)),
        Way::ours(MOST_ONWARDS, 0, &most, &eip_targets(MOST)),
    ];
    ways.map(|way| way.with(Site::set_next_hop)).into()
}

impl Ways {
    fn new(settings: &Settings) -> Self {
        let others: Vec<_> = Program::ALL
            .into_iter()
            .flat_map(|program| settings.rules.iter().map(move |count| (program, *count)))
            .collect();
        let a_rule_each = others.iter().map(|other| {
            let (program, count) = *other;
            let rules = program.one_rule_each(count);
            Way::theirs(&other_of(*other), count, program, rules, &eip_targets(count))
        });
        let groups = [
            (all_loaded(), settings.routers),
            (one_next_hop(), settings.routers),
            (few_and_most(), settings.routers / 2 + 1),
            (plain_pair(SOME).into(), settings.routers / 2 + 1),
            // They are times slower, not hundredths.
            (a_rule_each.collect(), settings.routers / 8 + 1),
        ];
        let groups = groups.map(|(ways, routers)| Group { ways, routers });
        Self {
            groups: groups.into(),
            others,
        }
    }

    fn named(&self, name: &str) -> &Way {
        let mut ways = self.groups.iter().flat_map(|group| &group.ways);
        ways.find(|way| way.name == name)
            .unwrap_or_else(|| panic!("no way is called {name}"))
    }

    /// Two ways of one group.
    fn pair(&self, one: &str, other: &str) -> [&Way; 2] {
        let in_one = |group: &&Group| {
            let is_there = |name| group.ways.iter().any(|way| way.name == name);
            is_there(one) && is_there(other)
        };
        let group = self.groups.iter().find(in_one);
        assert!(group.is_some(), "{one} and {other} are not measured in turn");
        [one, other].map(|name| self.named(name))
    }
}

impl Group {
    fn measure(&mut self, bench: &Bench) {
        for round in 0..self.routers {
            let mut routers: Vec<Router> = self.ways.iter().map(|way| (way.make)()).collect();
            for _ in 0..bench.settings.turns {
                for place in 0..routers.len() {
                    // What one way leaves to be freed, the next one waits for: not always the same one.
                    let index = (place + round) % routers.len();
                    routers[index].take_turn(&self.ways[index].name, bench);
                }
            }
            for (way, router) in self.ways.iter_mut().zip(&routers) {
                way.rates.push(router.rate());
            }
        }
    }
}

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
            format!("{} {beside}", show(other)),
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
            format!("{} {as_many}", show(floor)),
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
        results.add(GROUP, what, show(most), show(least), most.beside(least), bound);
    }
    // Both of one round: what many VMs cost is in either.
    let [most, least] = [MOST, FEW].map(|count| -> Vec<f64> {
        let [ours, floor] = ways.pair(&ours_of(count), &floor_of(count));
        let rates = ours.rates.iter().zip(&floor.rates);
        rates.map(|(ours, floor)| ours / floor).collect()
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
