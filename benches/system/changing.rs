//! A change costs what changed, and no change costs a look.

use std::net::Ipv4Addr;
use std::time::Duration;

use crate::Bench;
use crate::command::{Agent, Ran, run};
use crate::result::{Bound, median};
use crate::site::{Site, config, eip, entries, vm};

const CHANGING: &str = "3 changing";
const UNCHANGED: &str = "4 nothing to do";

/// A router with so many elastic IPs.
struct Router {
    site: Site,
    agent: Agent,
    eips: Vec<(Ipv4Addr, Ipv4Addr)>,
}

/// What is done to the file, in turn; after the last one it is as it was.
const CHANGES: [&str; 3] = ["added to", "moved in", "removed from"];

impl Router {
    fn new(count: usize) -> Self {
        let router = Self {
            site: Site::new(),
            agent: Agent::new("change"),
            eips: entries(count).collect(),
        };
        router.write();
        router.run(&["reload"]);
        router
    }

    fn write(&self) {
        self.agent.write(&config(self.eips.iter().copied()));
    }

    fn change(&mut self, change: &str) {
        let new = self.eips.len();
        match change {
            "added to" => self.eips.push((eip(new), vm(new))),
            "moved in" => {
                let (_, to) = self.eips.last_mut().expect("there is one");
                *to = vm(new + 1);
            }
            _ => drop(self.eips.pop()),
        }
        self.write();
    }

    fn run(&self, arguments: &[&str]) -> Ran {
        run(&self.site.router, self.agent.command(arguments))
    }

    /// How often a reload writes to the kernel.
    fn writes(&self) -> u64 {
        self.run(&["-vv", "reload"]).writes()
    }
}

pub fn measure(bench: &mut Bench) {
    let mut router = Router::new(10_000);
    let mut checks = Vec::new();
    let mut unchanged = Vec::new();
    let mut changes = [const { Vec::<Duration>::new() }; CHANGES.len()];
    for _ in 0..bench.settings.repeats {
        for (change, times) in CHANGES.iter().zip(&mut changes) {
            router.change(change);
            checks.push(router.run(&["check"]).time);
            times.push(router.run(&["reload"]).time);
            unchanged.push(router.run(&["reload"]).time);
        }
    }
    let check = median(&checks);
    for (change, times) in CHANGES.iter().zip(&changes) {
        let what = format!("one EIP {change} 10,000");
        bench.results.times(
            CHANGING,
            &what,
            median(times),
            ("kylin-vr check", check),
            Bound::AtMost(2.0),
        );
    }
    let mut small = Router::new(100);
    for change in CHANGES {
        let count = |router: &mut Router| {
            router.change(change);
            router.writes()
        };
        let (many, few) = (count(&mut router), count(&mut small));
        bench.results.add(
            CHANGING,
            &format!("netlink messages and sysctls written, one EIP {change} 10,000"),
            many.to_string(),
            format!("{few} with 100"),
            many as f64 / few as f64,
            Bound::Between(1.0, 1.0),
        );
    }
    let same = ("kylin-vr check", check);
    bench.results.times(
        UNCHANGED,
        "reload of 10,000 EIPs, unchanged",
        median(&unchanged),
        same,
        Bound::AtMost(1.5),
    );
    let writes = router.writes();
    let none = (writes as f64, Bound::AtMost(0.0));
    bench.results.add(
        UNCHANGED,
        "netlink messages and sysctls written",
        writes.to_string(),
        String::new(),
        none.0,
        none.1,
    );
}
