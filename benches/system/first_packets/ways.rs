//! The ways that are measured, by name, and which of them take turns with which.

use std::net::SocketAddrV4;

use super::way::{Group, Way};
use crate::others::{Program, constant_prefix_rule, constant_rule, constant_rule_for_each_kind};
use crate::settings::Settings;
use crate::site::{Site, config, eip_targets, entries, mixed_config, mixed_targets};

pub(super) const FEW: usize = 100;
const SOME: usize = 1_000;
pub(super) const MIDDLE: usize = 10_000;
pub(super) const MOST: usize = 65_000;
/// How many elastic IPs, and VMs, the lines of the plot have.
pub(super) const SIZES: [usize; 4] = [FEW, SOME, MIDDLE, MOST];

/// All groups. Lines find ways by name; one that several lines compare with others may be in several groups.
pub(super) struct Ways {
    pub(super) groups: Vec<Group>,
    /// The others' one rule each.
    pub(super) others: Vec<(Program, usize)>,
}

pub(super) const LOADED: &str = "all loaded, to EIPs";
pub(super) const LOADED_ALL_KINDS: &str = "all loaded, to all kinds";
pub(super) const LOADED_FEW: &str = "all loaded, to 100";
pub(super) const LOADED_ONWARDS: &str = "all loaded, one next hop";
pub(super) const FEW_ONWARDS: &str = "100, one next hop";
pub(super) const MOST_ONWARDS: &str = "65,000, one next hop";
pub(super) const MOST_FEW: &str = "65,000, to 100";
pub(super) const FLOOR: &str = "constant rule, one VM";
pub(super) const FLOOR_ALL_KINDS: &str = "constant rules, all kinds";
pub(super) const FLOOR_WITHOUT_DEMUX: &str = "constant rule, no early demux";
pub(super) const FLOOR_ONWARDS: &str = "constant rule, one next hop";

pub(super) fn floor_of(vms: usize) -> String {
    format!("constant rule, {vms} VMs")
}

pub(super) fn ours_of(eips: usize) -> String {
    format!("kylin-vr, {eips}")
}

pub(super) fn other_of((program, rules): (Program, usize)) -> String {
    format!("{}, {rules}", program.name())
}

/// A constant rule with as many VMs: what many VMs cost the kernel (their neighbour entries are looked up) is no rule's doing.
fn floor(name: &str, vms: usize, targets: &[SocketAddrV4]) -> Way {
    Way::theirs(name, vms, Program::Nft, constant_prefix_rule(), targets)
}

fn floor_to(vms: usize) -> Way {
    floor(&floor_of(vms), vms, &eip_targets(vms))
}

/// So many elastic IPs, and flows to all of them.
fn ours_to(eips: usize) -> Way {
    Way::ours(&ours_of(eips), eips, &config(entries(eips)), &eip_targets(eips))
}

/// So many elastic IPs beside the floor of as many VMs.
fn beside_floors(counts: [usize; 2]) -> Vec<Way> {
    let pairs = counts.map(|count| [floor_to(count), ours_to(count)]);
    pairs.into_iter().flatten().collect()
}

/// 10,000 of everything.
fn loaded(name: &str, vms: usize, targets: &[SocketAddrV4]) -> Way {
    Way::ours(name, vms, &mixed_config(MIDDLE), targets)
}

fn loaded_to_eips() -> Way {
    loaded(LOADED, MIDDLE, &eip_targets(MIDDLE))
}

fn loaded_to_all_kinds() -> Way {
    loaded(LOADED_ALL_KINDS, MIDDLE, &mixed_targets(MIDDLE))
}

/// Floors that the loaded router is measured beside in a second place.
fn other_floors() -> [Way; 2] {
    let eips = eip_targets(MIDDLE);
    let no_demux = |site: &Site| site.router.set_sysctl("net/ipv4/ip_early_demux", "0");
    [
        Way::theirs(FLOOR, MIDDLE, Program::Nft, constant_rule(), &eips),
        floor(FLOOR_WITHOUT_DEMUX, MIDDLE, &eips).with(no_demux),
    ]
}

fn floor_of_all_kinds() -> Way {
    let (rules, targets) = (constant_rule_for_each_kind(), mixed_targets(MIDDLE));
    Way::theirs(FLOOR_ALL_KINDS, MIDDLE, Program::Nft, rules, &targets)
}

/// Each flow to an elastic IP at random, and one neighbour: nothing but the rules has more to look up.
fn one_next_hop() -> [[Way; 2]; 2] {
    let onwards = |name, eips| Way::ours(name, 0, &config(entries(eips)), &eip_targets(eips));
    let eips = eip_targets(MIDDLE);
    let pairs = [
        [floor(FLOOR_ONWARDS, 0, &eips), loaded(LOADED_ONWARDS, 0, &eips)],
        [onwards(FEW_ONWARDS, FEW), onwards(MOST_ONWARDS, MOST)],
    ];
    pairs.map(|pair| pair.map(|way| way.with(Site::set_next_hop)))
}

/// The same flows, to 100 elastic IPs: what the others cost that are loaded beside them.
fn to_few() -> [[Way; 2]; 2] {
    let targets = eip_targets(FEW);
    let most = Way::ours(MOST_FEW, FEW, &config(entries(MOST)), &targets);
    [
        [floor_to(FEW), loaded(LOADED_FEW, FEW, &targets)],
        [ours_to(FEW), most],
    ]
}

impl Ways {
    pub(super) fn new(settings: &Settings) -> Self {
        let others: Vec<_> = Program::ALL
            .into_iter()
            .flat_map(|program| settings.rules.iter().map(move |count| (program, *count)))
            .collect();
        let a_rule_each = others.iter().map(|other| {
            let (program, count) = *other;
            let rules = program.one_rule_each(count);
            Way::theirs(&other_of(*other), count, program, rules, &eip_targets(count))
        });
        let [floor_onwards, growth_onwards] = one_next_hop();
        let [floor_to_few, growth_to_few] = to_few();
        let (often, seldom) = (settings.routers, settings.routers.div_ceil(3));
        let groups: [(Vec<Way>, usize); 11] = [
            (vec![floor_to(MIDDLE), loaded_to_eips()], often),
            (vec![floor_to(MIDDLE), loaded_to_all_kinds()], often),
            (vec![floor_of_all_kinds(), loaded_to_all_kinds()], often),
            (floor_onwards.into(), often),
            (floor_to_few.into(), often),
            (growth_onwards.into(), often),
            (growth_to_few.into(), often),
            (beside_floors([FEW, MOST]), seldom),
            (beside_floors([SOME, MIDDLE]), seldom),
            (
                other_floors().into_iter().chain([loaded_to_eips()]).collect(),
                seldom,
            ),
            // They are times slower, not hundredths.
            (a_rule_each.collect(), settings.routers.div_ceil(9)),
        ];
        let groups = groups.map(|(ways, routers)| Group { ways, routers });
        Self {
            groups: groups.into(),
            others,
        }
    }

    pub(super) fn named(&self, name: &str) -> &Way {
        let mut ways = self.groups.iter().flat_map(|group| &group.ways);
        ways.find(|way| way.name == name)
            .unwrap_or_else(|| panic!("no way is called {name}"))
    }

    /// Two ways of one group.
    pub(super) fn pair(&self, one: &str, other: &str) -> [&Way; 2] {
        let both = self.groups.iter().find_map(|group| {
            let named = |name| group.ways.iter().find(|way| way.name == name);
            Some([named(one)?, named(other)?])
        });
        both.unwrap_or_else(|| panic!("{one} and {other} are not measured in turn"))
    }
}
