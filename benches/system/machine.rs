//! The machine that the figures are of, and what of it the bench has to change for a while.

use std::fs;
use std::process::Command;

use serde_json::{Value, json};

/// Flows of all namespaces together that the kernel is to take, and the size of their hash table.
const MOST_FLOWS: u64 = 8 << 20;
const HASH: u64 = 2 << 20;

/// What table and figures are of.
pub struct Machine {
    pub description: String,
    pub json: Value,
}

impl Machine {
    pub fn here(quick: bool) -> Self {
        let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let model = cpuinfo
            .lines()
            .find_map(|line| {
                line.strip_prefix("model name")?
                    .split_once(':')
                    .map(|(_, name)| name.trim().to_owned())
            })
            .unwrap_or_else(|| std::env::consts::ARCH.to_owned());
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let kernel = read("/proc/sys/kernel/osrelease");
        let load = read("/proc/loadavg")
            .split(' ')
            .next()
            .unwrap_or_default()
            .to_owned();
        let (date, nft, iptables) = (
            says("date", "+%F"),
            says("nft", "--version"),
            says("iptables", "--version"),
        );
        let commit = says("git", "rev-parse --short HEAD");
        let extent = if quick {
            "short run (QUICK=1): rough"
        } else {
            "whole run"
        };
        let description = format!(
            "{date}, {extent}; {model}, {cores} cores, load {load} at the start; Linux {kernel}; {nft}; {iptables}; kylin-vr {} \
             ({commit})",
            env!("CARGO_PKG_VERSION")
        );
        let json = json!({
            "date": date, "quick": quick, "cpu": model, "cores": cores, "load": load, "kernel": kernel, "nft": nft,
            "iptables": iptables, "commit": commit,
        });
        Self { description, json }
    }
}

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default().trim().to_owned()
}

/// The first line that a command says; nothing if it cannot be asked.
fn says(program: &str, arguments: &str) -> String {
    let output = Command::new(program).args(arguments.split(' ')).output();
    let text = output
        .map(|output| String::from_utf8_lossy(&output.stdout).into_owned())
        .unwrap_or_default();
    text.lines().next().unwrap_or_default().trim().to_owned()
}

/// Room for millions of flows, for as long as this lives. The kernel has one limit for all namespaces.
pub struct Room {
    before: Vec<(&'static str, String)>,
}

impl Room {
    /// Raises what is lower.
    pub fn make() -> Self {
        let mut before = Vec::new();
        for (path, wanted) in [
            // The table first: to set its size changes no limit, but the other way the limit may be refused.
            ("/sys/module/nf_conntrack/parameters/hashsize", HASH),
            ("/proc/sys/net/netfilter/nf_conntrack_max", MOST_FLOWS),
        ] {
            let now = read(path);
            if now.parse::<u64>().is_ok_and(|now| now >= wanted) {
                continue;
            }
            match fs::write(path, wanted.to_string()) {
                Ok(()) => before.push((path, now)),
                Err(error) => panic!("set {path} to {wanted}: {error} (run as root, outside of containers)"),
            }
        }
        Self { before }
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        for (path, value) in self.before.iter().rev() {
            let _ = fs::write(path, value);
        }
    }
}
