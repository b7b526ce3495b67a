//! What counting costs a packet: the same router with counters and without, first packets of flows and later ones.

use lab::{Extent, Flood};

use crate::Bench;
use crate::command::{Agent, processor_time, run};
use crate::result::{Bound, median, median_ratio, short};
use crate::site::{Site, UNCOUNTED, config, eip_targets, entries, mixed_config, mixed_targets};

const GROUP: &str = "8 counters";
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
    fn new(count: usize, mixed: bool, counters: bool) -> Self {
        let (text, targets) = if mixed {
            (mixed_config(count), mixed_targets(count))
        } else {
            (config(entries(count)), eip_targets(count))
        };
        let site = Site::new();
        let agent = Agent::new("counters");
        agent.write(&text.replace(UNCOUNTED, &format!("counters: {counters}\n")));
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
        ("100 EIPs", 100, false),
        ("10,000 EIPs", 10_000, false),
        ("10,000 EIPs, 10,000 forwards, a range", 10_000, true),
    ];
    let mut ways =
        what.map(|(_, count, mixed)| [true, false].map(|counters| Way::new(count, mixed, counters)));
    // One for nothing: caches, and what the kernel makes at first use.
    for _ in 0..=bench.settings.flood_rounds * 3 {
        ways.iter_mut().flatten().for_each(Way::measure);
    }
    let show = |rate: f64| format!("{} k packets/s of processor time", short(rate / 1e3));
    for ((what, ..), [counted, uncounted]) in what.iter().zip(&ways) {
        let lines = [
            ("first packets", &counted.first, &uncounted.first),
            ("later packets", &counted.later, &uncounted.later),
        ];
        for (packets, counted, uncounted) in lines {
            let ratio = median_ratio(&counted[1..], &uncounted[1..]);
            let (counted, uncounted) = (median(&counted[1..]), median(&uncounted[1..]));
            bench.results.add(
                GROUP,
                &format!("{packets}, with counters beside without ({what})"),
                show(counted),
                show(uncounted),
                ratio,
                Bound::None,
            );
        }
    }
}
