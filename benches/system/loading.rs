//! From nothing to all of it: whole processes, each in a new namespace.

use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use crate::Bench;
use crate::command::{Agent, run};
use crate::others::Program;
use crate::result::{Bound, median};
use crate::site::{GATEWAY, LAN, LAN_ADDRESS, Site, VMS, WAN, WAN_ADDRESS, config, eip, entries, vm};

const GROUP: &str = "2 loading";

pub fn measure(bench: &mut Bench) {
    let sizes = [1_000, 10_000, 65_000];
    let mut ours = Vec::new();
    for count in sizes {
        let files = SameWork::write(count);
        let (mut own, mut others) = (Vec::new(), Vec::new());
        for _ in 0..bench.settings.slow_repeats.max(3) {
            own.push(reload(count));
            others.push(run(&Site::new().router, files.command()).time);
        }
        let own = median(&own);
        ours.push(own);
        let bound = if count == 10_000 {
            Bound::AtMost(0.5)
        } else {
            Bound::None
        };
        let what = format!("{count} EIPs from nothing");
        bench.results.times(
            GROUP,
            &what,
            own,
            ("ip -batch and nft -f, same work", median(&others)),
            bound,
        );
    }
    // What each further one costs, from 10,000 on, beside what it costs up to there.
    let each = |from: usize, to: usize| {
        (ours[to].saturating_sub(ours[from])).as_secs_f64() / (sizes[to] - sizes[from]) as f64
    };
    let (low, high) = (each(0, 1), each(1, 2));
    bench.results.add(
        GROUP,
        "one more EIP, from 10,000 to 65,000, beside from 1,000 to 10,000",
        format!("{:.2} µs", high * 1e6),
        format!("{:.2} µs", low * 1e6),
        high / low,
        Bound::AtMost(1.25),
    );

    for count in [1_000, 10_000] {
        if bench.settings.quick && count > 1_000 {
            continue;
        }
        let files = NotesWay::write(count);
        let times: Vec<Duration> = (0..bench.settings.slow_repeats)
            .map(|_| run(&Site::new().router, files.at_once()).time)
            .collect();
        let what = format!("{count} EIPs, the note's way");
        let own = ours[usize::from(count > 1_000)];
        let beside = ("ip addr add (batched) and iptables-restore", median(&times));
        bench.results.times(GROUP, &what, own, beside, Bound::None);
    }
    let count = bench.settings.processes;
    let own: Vec<Duration> = (0..3).map(|_| reload(count)).collect();
    let each = run(&Site::new().router, NotesWay::write(count).one_by_one()).time;
    let what = format!("{count} EIPs, the note's way, a process each");
    bench.results.times(
        GROUP,
        &what,
        median(&own),
        ("ip and iptables, three processes an EIP", each),
        Bound::None,
    );
}

/// `kylin-vr reload` in a new namespace, with no state.
fn reload(count: usize) -> Duration {
    let (site, agent) = (Site::new(), Agent::new("load"));
    agent.write(&config(entries(count)));
    run(&site.router, agent.command(&["reload"])).time
}

/// What kylin-vr makes, as files for ip and nft.
struct SameWork {
    ip: PathBuf,
    nft: PathBuf,
}

impl SameWork {
    /// Has kylin-vr make it once, and writes down what is there then.
    fn write(count: usize) -> Self {
        let (site, agent) = (Site::new(), Agent::new("same"));
        agent.write(&config(entries(count)));
        run(&site.router, agent.command(&["reload"]));
        let table = site.router.nft("list table ip kylin_vr\n");
        let directory = crate::output_directory();
        let files = Self {
            ip: directory.join("same.ip"),
            nft: directory.join("same.nft"),
        };
        fs::write(&files.nft, table).expect("write the table");
        let mut lines = format!(
            "link set {WAN} up\nlink set {LAN} up\naddr add {WAN_ADDRESS}/24 dev {WAN}\naddr add {LAN_ADDRESS}/16 dev {LAN}\n\
             route add default via {GATEWAY} proto 158\nroute add unreachable {VMS} proto 158 metric 4294967295\n"
        );
        for entry in 0..count {
            let _ = writeln!(
                lines,
                "route add local {}/32 dev lo table local proto 158",
                eip(entry)
            );
        }
        fs::write(&files.ip, lines).expect("write the routes");
        files
    }

    fn command(&self) -> Command {
        shell(&format!(
            "nft -f {} && ip -batch {}",
            self.nft.display(),
            self.ip.display()
        ))
    }
}

impl Drop for SameWork {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.ip);
        let _ = fs::remove_file(&self.nft);
    }
}

/// The design note's way: an address for each elastic IP, and two rules.
struct NotesWay {
    ip: PathBuf,
    iptables: PathBuf,
    script: PathBuf,
}

impl NotesWay {
    fn write(count: usize) -> Self {
        let directory = crate::output_directory();
        let at = |name: &str| directory.join(name);
        let files = Self {
            ip: at("note.ip"),
            iptables: at("note.iptables"),
            script: at("note.sh"),
        };
        let (mut ip, mut script) = (
            format!("link set {WAN} up\n"),
            format!("set -e\nip link set {WAN} up\n"),
        );
        for entry in 0..count {
            let (eip, vm) = (eip(entry), vm(entry));
            let _ = writeln!(ip, "addr add {eip}/32 dev {WAN}");
            let _ = writeln!(script, "ip addr add {eip}/32 dev {WAN}");
            let _ = writeln!(
                script,
                "iptables-legacy -t nat -A PREROUTING -d {eip}/32 -j DNAT --to-destination {vm}"
            );
            let _ = writeln!(
                script,
                "iptables-legacy -t nat -A POSTROUTING -s {vm}/32 -o {WAN} -j SNAT --to-source {eip}"
            );
        }
        fs::write(&files.ip, ip).expect("write the addresses");
        fs::write(&files.script, script).expect("write the script");
        fs::write(&files.iptables, Program::IptablesLegacy.one_rule_each(count)).expect("write the rules");
        files
    }

    fn at_once(&self) -> Command {
        shell(&format!(
            "ip -batch {} && iptables-legacy-restore {}",
            self.ip.display(),
            self.iptables.display()
        ))
    }

    fn one_by_one(&self) -> Command {
        let mut command = Command::new("sh");
        command.arg(&self.script);
        command
    }
}

impl Drop for NotesWay {
    fn drop(&mut self) {
        for file in [&self.ip, &self.iptables, &self.script] {
            let _ = fs::remove_file(file);
        }
    }
}

fn shell(line: &str) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", line]);
    command
}
