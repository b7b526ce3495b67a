//! What it takes while it works, and while it waits: memory, wake-ups, the size on the disk.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use lab::Daemon;

use crate::Bench;
use crate::command::{Agent, peak_memory, run};
use crate::result::{Bound, median, show_bytes};
use crate::site::{Site, config, entries};

const GROUP: &str = "5 lean";
const CHANGING: &str = "3 changing";
const MIB: f64 = (1 << 20) as f64;

/// A NIC of the file that comes and goes.
const PLUGGED: &str = "lan1";
const PLUGGED_MAC: &str = "52:54:84:11:00:05";
const PLUGGED_ADDRESS: &str = "172.31.0.254";

pub fn measure(bench: &mut Bench) {
    reload(bench);
    idle(bench);
    hot_plug(bench);
    let size = Agent::size();
    let value = size as f64 / MIB;
    let none = String::new();
    bench.results.add(
        GROUP,
        "size of the command, MiB",
        show_bytes(size),
        none,
        value,
        Bound::AtMost(6.0),
    );
}

fn reload(bench: &mut Bench) {
    let text = config(entries(10_000));
    Agent::read_from_disk();
    let peaks: Vec<u64> = (0..bench.settings.repeats)
        .map(|_| {
            let (site, agent) = (Site::new(), Agent::new("lean"));
            agent.write(&text);
            peak_memory(&site.router, &agent.command(&["reload"]))
        })
        .collect();
    let peak = median(&peaks);
    let most = 5.0 * text.len() as f64 + 10.0 * MIB;
    bench.results.add(
        GROUP,
        "peak memory of a reload of 10,000 EIPs, beside 5 files and 10 MiB",
        show_bytes(peak),
        format!("{} file", show_bytes(text.len() as u64)),
        peak as f64 / most,
        Bound::AtMost(1.0),
    );
}

/// A monitor that has done its first look.
struct Monitor {
    site: Site,
    daemon: Daemon,
    _agent: Agent,
}

impl Monitor {
    fn start(count: usize) -> Self {
        let (site, agent) = (Site::new(), Agent::new("monitor"));
        let nic =
            format!("if_list:\n  - ipaddr: {PLUGGED_ADDRESS}\n    prefix: 24\n    mac: {PLUGGED_MAC}\n");
        agent.write(&config(entries(count)).replace("if_list:\n", &nic));
        run(&site.router, agent.command(&["reload"]));
        // It ends with this process, however that ends (setpriv is of util-linux).
        let command = agent.command(&["monitor"]);
        let mut kept = Command::new("setpriv");
        kept.args(["--pdeathsig", "KILL", "--"])
            .arg(command.get_program())
            .args(command.get_args());
        agent.surround(&mut kept);
        let daemon = Daemon::start(&site.router, kept, agent.directory());
        let monitor = Self {
            site,
            daemon,
            _agent: agent,
        };
        monitor.settle();
        monitor
    }

    /// Waits until it has slept for a second and a half.
    fn settle(&self) {
        let (end, mut last) = (Instant::now() + Duration::from_secs(60), None);
        loop {
            let now = Some((self.wake_ups(), self.processor_time()));
            if now == last {
                return;
            }
            assert!(
                Instant::now() < end,
                "the monitor does not come to rest:\n{}",
                self.daemon.log()
            );
            last = now;
            sleep(Duration::from_millis(1_500));
        }
    }

    /// What a file of each of its threads has.
    fn threads<T>(&self, name: &str, read: impl Fn(&str) -> T) -> Vec<T> {
        let tasks = PathBuf::from(format!("/proc/{}/task", self.daemon.pid()));
        let tasks = fs::read_dir(tasks).expect("the monitor runs").flatten();
        tasks
            .filter_map(|task| Some(read(&fs::read_to_string(task.path().join(name)).ok()?)))
            .collect()
    }

    /// How often it gave the processor away to wait for something.
    fn wake_ups(&self) -> u64 {
        self.threads("status", |text| number_after(text, "\nvoluntary_ctxt_switches:"))
            .iter()
            .sum()
    }

    /// Time on the processor.
    fn processor_time(&self) -> Duration {
        let times = self.threads("schedstat", |text| {
            text.split(' ').next().and_then(|time| time.parse::<u64>().ok())
        });
        Duration::from_nanos(times.into_iter().flatten().sum())
    }

    fn memory(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.daemon.pid()));
        number_after(&status.expect("the monitor runs"), "\nVmRSS:") * 1024
    }

    fn plug(&self) {
        self.site
            .router
            .veth(PLUGGED, PLUGGED_MAC, &self.site.sink, "eth1", "");
        let end = Instant::now() + Duration::from_secs(30);
        while !self.site.router.ip("-4 addr show").contains(PLUGGED_ADDRESS) {
            assert!(
                Instant::now() < end,
                "the NIC is not set up:\n{}",
                self.daemon.log()
            );
            sleep(Duration::from_millis(20));
        }
    }
}

fn number_after(text: &str, name: &str) -> u64 {
    let rest = text.split_once(name).map(|(_, rest)| rest);
    rest.and_then(|rest| rest.split_whitespace().next()?.parse().ok())
        .unwrap_or_else(|| panic!("no {name} in {text}"))
}

fn idle(bench: &mut Bench) {
    let monitor = Monitor::start(1_000);
    let before = monitor.wake_ups();
    sleep(bench.settings.idle);
    let woken = monitor.wake_ups() - before;
    let memory = monitor.memory();
    let value = memory as f64 / MIB;
    let none = String::new;
    bench.results.add(
        GROUP,
        "monitor idle, 1,000 EIPs, MiB",
        show_bytes(memory),
        none(),
        value,
        Bound::AtMost(10.0),
    );
    let what = format!("its wake-ups in {} s", bench.settings.idle.as_secs());
    bench.results.add(
        GROUP,
        &what,
        woken.to_string(),
        none(),
        woken as f64,
        Bound::AtMost(0.0),
    );
}

fn hot_plug(bench: &mut Bench) {
    let cost = |count: usize| {
        let monitor = Monitor::start(count);
        let times: Vec<Duration> = (0..bench.settings.slow_repeats)
            .map(|_| {
                let before = monitor.processor_time();
                monitor.plug();
                monitor.settle();
                let cost = monitor.processor_time() - before;
                monitor.site.router.ip(&format!("link del {PLUGGED}"));
                monitor.settle();
                cost
            })
            .collect();
        median(&times)
    };
    let (many, few) = (cost(10_000), cost(100));
    let what = "a NIC is plugged, processor time of the monitor, 10,000 EIPs";
    bench
        .results
        .times(CHANGING, what, many, ("with 100", few), Bound::AtMost(1.25));
}
