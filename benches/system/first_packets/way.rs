//! Routers that translate in one way or another, flooded in turn.

use std::net::SocketAddrV4;
use std::time::Duration;

use lab::Extent;

use crate::Bench;
use crate::command::{Agent, processor_time, run};
use crate::others::Program;
use crate::result::{median, middle_half, ratios};
use crate::site::Site;

/// A way of translating, and what its routers made of it.
pub(super) struct Way {
    pub(super) name: String,
    make: Box<dyn Fn() -> Router>,
    /// New flows a second, of each router.
    rates: Vec<f64>,
}

/// A router, and the sender in front of it.
struct Router {
    site: Site,
    flood: lab::Flood,
}

impl Way {
    pub(super) fn ours(name: &str, vms: usize, text: &str, targets: &[SocketAddrV4]) -> Self {
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

    pub(super) fn theirs(
        name: &str,
        vms: usize,
        program: Program,
        rules: String,
        targets: &[SocketAddrV4],
    ) -> Self {
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
    pub(super) fn with(self, step: impl Fn(&Site) + 'static) -> Self {
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

    pub(super) fn rate(&self) -> f64 {
        median(&self.rates)
    }

    /// How many times as fast as another way of the same group: what slows both routers of a round down is in both.
    pub(super) fn ratios(&self, other: &Self) -> Vec<f64> {
        ratios(&self.rates, &other.rates)
    }

    /// The median of these.
    pub(super) fn beside(&self, other: &Self) -> f64 {
        median(&self.ratios(other))
    }

    /// Between what they lie, but for a quarter of the rounds at either end.
    pub(super) fn spread(&self, other: &Self) -> String {
        let [from, to] = middle_half(&self.ratios(other));
        format!("half of the rounds {from:.2} to {to:.2}")
    }
}

impl Router {
    /// Floods, and says how many new flows a second of processor time there were: the router works in the sender's, and
    /// whatever else runs takes none of that. What counts is what arrives: what is not translated does not.
    fn rate(&mut self, way: &str, time: Duration) -> f64 {
        let before = self.site.arrived();
        let begin = processor_time();
        let (sent, _) = self.flood.send(Extent::Time(time));
        let taken = processor_time() - begin;
        let arrived = self.site.arrived() - before;
        assert!(
            arrived * 100 >= sent * 99,
            "{way}: of {sent} frames {arrived} arrived: it does not translate, or flows are dropped"
        );
        self.site.forget_flows();
        arrived as f64 / taken.as_secs_f64()
    }
}

/// Ways that lines compare with each other, and whose routers are there at the same time.
///
/// Where in memory a table comes to lie makes a constant difference, so routers are made anew many times. As few as possible
/// are there at a time: the kernel has one table of neighbours for all namespaces, and the processor's cache is one too.
pub(super) struct Group {
    pub(super) ways: Vec<Way>,
    /// How many routers of each way.
    pub(super) routers: usize,
}

impl Group {
    pub(super) fn measure(&mut self, bench: &Bench) {
        for round in 0..self.routers {
            // Who comes later finds the table of neighbours fuller, and waits for what the way before it leaves to be freed: each
            // way is the first one about as often as any other, and comes after either of two others.
            let first = (round / 2) % self.ways.len();
            let mut order: Vec<usize> = (first..self.ways.len()).chain(0..first).collect();
            if round % 2 == 1 {
                order.reverse();
            }
            let mut routers: Vec<Router> = order.iter().map(|way| (self.ways[*way].make)()).collect();
            for (router, way) in routers.iter_mut().zip(&order) {
                let way = &mut self.ways[*way];
                way.rates.push(router.rate(&way.name, bench.settings.flood));
            }
        }
    }
}
