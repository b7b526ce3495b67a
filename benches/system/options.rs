//! What options of the file cost a packet: the same router with one and without, first packets of flows and later ones.

use lab::{Extent, Flood};

use crate::Bench;
use crate::command::{Agent, processor_time, run};
use crate::result::{Bound, median, median_ratio, short};
use crate::site::{Site, config, eip_targets, entries, mixed_config, mixed_targets};

const GROUP: &str = "8 options";
/// So many flows are sent again and again as known ones.
const FLOWS: u64 = 100_000;

/// A router, and packets a second of each round.
struct Way {
    site: Site,
    flood: Flood,
    first: Vec<f64>,
    later: Vec<f64>,
}

impl Way {
    /// With an option that all other lines are measured without, or as these are.
    fn new(count: usize, mixed: bool, option: Option<&str>) -> Self {
        let (text, targets) = if mixed {
            (mixed_config(count), mixed_targets(count))
        } else {
            (config(entries(count)), eip_targets(count))
        };
        let site = Site::new();
        let agent = Agent::new("options");
        let with = option.map(|option| text.replace(&format!("{option}: false"), &format!("{option}: true")));
        assert_ne!(with.as_ref(), Some(&text), "the file turns no {option:?} off");
        agent.write(with.as_ref().unwrap_or(&text));
        run(&site.router, agent.command(&["reload"]));
        site.set_neighbours(count);
        let flood = site.flood(targets);
        Self {
            site,
            flood,
            first: Vec::new(),
            later: Vec::new(),
        }
    }

    /// The same flows twice: the second time the router knows them.
    fn measure(&mut self) {
        for rates in [&mut self.first, &mut self.later] {
            self.flood.rewind();
            let before = self.site.arrived();
            // Of processor time: the router works in the sender's, and whatever else runs takes none of that.
            let begin = processor_time();
            self.flood.send(Extent::Frames(FLOWS));
            let time = processor_time() - begin;
            rates.push((self.site.arrived() - before) as f64 / time.as_secs_f64());
        }
        self.site.forget_flows();
    }
}

pub fn measure(bench: &mut Bench) {
    let what = [
        ("counters", "100 EIPs", 100, false),
        ("counters", "10,000 EIPs", 10_000, false),
        ("counters", "10,000 EIPs, 10,000 forwards, a range", 10_000, true),
        ("drop_invalid", "10,000 EIPs", 10_000, false),
    ];
    let mut ways = what
        .map(|(option, _, count, mixed)| [Some(option), None].map(|option| Way::new(count, mixed, option)));
    // One for nothing: caches, and what the kernel makes at first use.
    for _ in 0..=bench.settings.flood_rounds {
        ways.iter_mut().flatten().for_each(Way::measure);
    }
    let show = |rate: f64| format!("{} k packets/s of processor time", short(rate / 1e3));
    for ((option, what, ..), [with, without]) in what.iter().zip(&ways) {
        let lines = [
            ("first packets", &with.first, &without.first),
            ("later packets", &with.later, &without.later),
        ];
        for (packets, with, without) in lines {
            let ratio = median_ratio(&with[1..], &without[1..]);
            let (with, without) = (median(&with[1..]), median(&without[1..]));
            bench.results.add(
                GROUP,
                &format!("{packets}, with {option} beside without ({what})"),
                show(with),
                show(without),
                ratio,
                Bound::None,
            );
        }
    }
}
