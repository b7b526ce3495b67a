//! What the router's kernel tracks: read from the kernel's own list, not by the code that is tested.

use std::fs;

use lab::{Namespace, Vpc};

/// A tracked flow, as it began and as it is answered.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Tracked {
    pub protocol: String,
    /// `198.51.100.10 -> 10.90.2.250:22`; without a port for ICMP.
    pub original: String,
    /// What the answers say: `192.168.100.190:22 -> 198.51.100.10`.
    pub reply: String,
}

/// All tracked IPv4 flows, sorted.
pub fn tracked(vpc: &Vpc) -> Vec<Tracked> {
    // Not /proc/net: that is the namespace of the process, and the thread has another one.
    let text = vpc
        .router
        .run(|| fs::read_to_string("/proc/thread-self/net/nf_conntrack").unwrap());
    let mut all: Vec<Tracked> = text
        .lines()
        .filter(|line| line.starts_with("ipv4"))
        .map(flow)
        .collect();
    all.sort();
    all
}

fn flow(line: &str) -> Tracked {
    let values = |name: &str| -> Vec<&str> {
        let of_name = |word: &'_ str| word.split_once('=').is_some_and(|(key, _)| key == name);
        let words = line.split_whitespace().filter(|word| of_name(word));
        words.map(|word| &word[name.len() + 1..]).collect()
    };
    let (sources, destinations) = (values("src"), values("dst"));
    let with =
        |ports: Vec<&str>, index: usize| ports.get(index).map_or(String::new(), |port| format!(":{port}"));
    Tracked {
        protocol: line.split_whitespace().nth(2).unwrap().to_owned(),
        original: format!(
            "{} -> {}{}",
            sources[0],
            destinations[0],
            with(values("dport"), 0)
        ),
        reply: format!(
            "{}{} -> {}",
            sources[1],
            with(values("sport"), 1),
            destinations[1]
        ),
    }
}

/// The replies of flows that began so.
pub fn replies(vpc: &Vpc, protocol: &str, original: &str) -> Vec<String> {
    let flows = tracked(vpc).into_iter();
    let mut replies: Vec<String> = flows
        .filter(|flow| flow.protocol == protocol && flow.original == original)
        .map(|flow| flow.reply)
        .collect();
    replies.dedup();
    replies
}

/// Sends echo requests of one flow: all have the same identifier. Whether the last one was answered.
pub fn ping(from: &Namespace, to: &str) -> bool {
    let mut command = std::process::Command::new("ping");
    command.args(["-n", "-q", "-c", "1", "-W", "1", "-e", "4242", to]);
    from.output(command).status.success()
}
