//! What counting costs a packet: the same router with counters and without, first packets of flows and later ones.

use std::time::Duration;

use lab::{Extent, Flood};
use nix::time::{ClockId, clock_gettime};

use crate::Bench;
use crate::command::{Agent, run};
use crate::result::{Bound, median, short};
use crate::site::{Site, mixed_config, mixed_targets};

const GROUP: &str = "7 counters";
const ENTRIES: usize = 10_000;
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
    fn new(counters: bool) -> Self {
        let site = Site::new();
        let agent = Agent::new("counters");
        agent.write(&(mixed_config(ENTRIES) + &format!("counters: {counters}\n")));
        run(&site.router, agent.command(&["reload"]));
        site.set_neighbours(ENTRIES);
        let flood = site.flood(mixed_targets(ENTRIES));
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

/// What this thread has used so far.
fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).expect("a clock of the thread");
    time.into()
}

pub fn measure(bench: &mut Bench) {
    let mut ways = [Way::new(true), Way::new(false)];
    // One for nothing: the first packet of each key makes its counter.
    for _ in 0..=bench.settings.flood_rounds * 3 {
        ways.iter_mut().for_each(Way::measure);
    }
    let [counted, uncounted] = &ways;
    let show = |rate: f64| format!("{} k packets/s of processor time", short(rate / 1e3));
    let lines = [
        ("first packets", &counted.first, &uncounted.first),
        ("later packets", &counted.later, &uncounted.later),
    ];
    for (what, counted, uncounted) in lines {
        let (counted, uncounted) = (median(&counted[1..]), median(&uncounted[1..]));
        bench.results.add(
            GROUP,
            &format!("{what}, with counters beside without (10,000 EIPs, 10,000 forwards, a range)"),
            show(counted),
            show(uncounted),
            counted / uncounted,
            Bound::None,
        );
    }
}
