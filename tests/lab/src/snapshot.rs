//! A whole namespace as text, to say that it is as it was, or in what it is not.
//!
//! Everything that a router could leave behind is in it: links, addresses, routes and rules of both families,
//! permanent neighbours, nftables, queueing disciplines and what filters at them, sysctls. What changes by itself is not: counters, lifetimes, learned
//! neighbours.

use std::fmt;
use std::fs;
use std::path::Path;
use std::thread;
use std::time::Duration;

use crate::diff::diff;
use crate::namespace::{Namespace, command, finish};

/// The text of a namespace at one moment.
#[derive(Clone, PartialEq, Eq)]
pub struct Snapshot {
    text: String,
}

/// The commands whose output is taken, in this order. `-s` leaves out nftables' counters.
const COMMANDS: [&str; 10] = [
    "ip -d addr",
    "ip -4 rule",
    "ip -4 route show table all",
    "ip -4 neigh show nud permanent",
    "bridge fdb show",
    "ip -6 rule",
    "ip -6 route show table all",
    "ip -6 neigh show nud permanent",
    "nft -s list ruleset",
    "tc qdisc",
];

/// Where sysctls lie that are a namespace's own.
const SYSCTLS: [&str; 3] = ["net/ipv4", "net/ipv6", "net/netfilter"];

/// Sysctls that say nothing about the configuration: random keys, counters, buttons.
const VOLATILE: [&str; 6] = [
    "stable_secret",
    "tcp_fastopen_key",
    "flush",
    "nf_conntrack_count",
    "tcp_mem",
    "udp_mem",
];

impl Namespace {
    /// Takes a snapshot.
    pub fn snapshot(&self) -> Snapshot {
        self.settle();
        let text = self.run(|| {
            wait_for_addresses();
            let mut text: String = COMMANDS.iter().map(|line| section(line)).collect();
            let filtered: Vec<String> = text.lines().filter_map(filtered).collect();
            for link in filtered {
                text += &section(&format!("tc filter show dev {link} ingress"));
                text += &section(&format!("tc filter show dev {link} egress"));
            }
            for directory in SYSCTLS {
                text += &format!("# sysctl {directory}\n");
                append_sysctls(&mut text, Path::new(directory));
            }
            text
        });
        Snapshot { text }
    }
}

impl Snapshot {
    /// What differs in a later one: `-` went, `+` came, each under its section's title. Empty: nothing.
    pub fn changes(&self, later: &Snapshot) -> String {
        diff(&self.text, &later.text)
    }

    /// Asserts that nothing differs in a later one.
    ///
    /// # Panics
    /// If something does, with the changes.
    pub fn assert_same(&self, later: &Snapshot) {
        assert!(
            self == later,
            "the namespace is not as it was:\n{}",
            self.changes(later)
        );
    }
}

impl fmt::Display for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// The text, with its line breaks: `assert_eq!` would print it in one line.
impl fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\n{self}")
    }
}

/// Waits until no IPv6 address is being checked for duplicates any more, two seconds at most: only then it gets its
/// route in the table `local`, which would otherwise come between two snapshots.
fn wait_for_addresses() {
    for _ in 0..100 {
        let output = finish(command("ip", &["-6", "address", "show", "tentative"]), "");
        if output.stdout.is_empty() {
            return;
        }
        thread::sleep(Duration::from_millis(20));
    }
}

/// The link of a line of `tc qdisc` that packets are looked at by filters at.
fn filtered(line: &str) -> Option<String> {
    let rest = line.strip_prefix("qdisc clsact ")?;
    let (_, link) = rest.split_once(" dev ")?;
    link.split(' ').next().map(str::to_owned)
}

fn section(line: &str) -> String {
    let words: Vec<&str> = line.split(' ').collect();
    let output = finish(command(words[0], &words[1..]), "");
    // A kernel without IPv6 makes `ip -6` fail: that is a state, too, and the same before and after.
    let said = [output.stdout, output.stderr].concat();
    let mut lines = in_order(String::from_utf8_lossy(&said).lines().map(normal).collect());
    // Which groups a link listens to says whether it was ever up.
    lines.retain(|line| {
        !["33:33:", "01:00:5e:"]
            .iter()
            .any(|group| line.starts_with(group))
    });
    // A hash table's order says nothing.
    if line.starts_with("bridge ") || line.contains(" neigh ") {
        lines.sort();
    }
    // Those of one priority stand as they came; each has some lines.
    if line.starts_with("tc filter ") {
        let text = lines.join("\n");
        let mut filters: Vec<&str> = text.split("filter ").map(str::trim_end).collect();
        filters.sort_unstable();
        lines = filters.into_iter().map(str::to_owned).collect();
    }
    format!("# {line}\n{}\n", lines.join("\n"))
}

/// nft lists sets in the order in which they were made, which says nothing: here by their names.
fn in_order(lines: Vec<String>) -> Vec<String> {
    let (mut ordered, mut sets, mut set) = (Vec::new(), Vec::new(), Vec::new());
    for line in lines {
        let is_in_set = !set.is_empty();
        if is_in_set || line.starts_with("\tset ") || line.starts_with("\tmap ") {
            let is_last = line == "\t}";
            set.push(line);
            if is_last {
                sets.push(std::mem::take(&mut set));
            }
        } else if !line.is_empty() || sets.is_empty() {
            sets.sort();
            ordered.extend(sets.drain(..).flatten());
            ordered.push(line);
        }
    }
    sets.sort();
    ordered.extend(sets.into_iter().flatten());
    ordered.extend(set);
    ordered
}

/// A line without what changes by itself: lifetimes, the moment of duplicate address detection, how many elements a
/// set is made for, which says nothing about what it holds, and the number of a filter's action.
fn normal(line: &str) -> String {
    let mut words: Vec<&str> = Vec::new();
    for word in line.trim_end().split(' ') {
        match (words.last(), word) {
            (Some(&("valid_lft" | "preferred_lft" | "expires" | "\t\tsize")), word) if word != "forever" => {
                words.push("*")
            }
            (Some(&"\tindex"), number) if number.parse::<u32>().is_ok() => words.push("*"),
            (_, "tentative") => {}
            _ => words.push(word),
        }
    }
    words.join(" ")
}

fn append_sysctls(text: &mut String, directory: &Path) {
    let root = Path::new("/proc/sys");
    let Ok(entries) = fs::read_dir(root.join(directory)) else {
        return;
    };
    let mut names: Vec<_> = entries.flatten().map(|entry| entry.file_name()).collect();
    names.sort();
    for name in names {
        let path = directory.join(&name);
        let name = name.to_string_lossy();
        if VOLATILE.contains(&&*name) {
            continue;
        }
        if root.join(&path).is_dir() {
            append_sysctls(text, &path);
        } else if let Ok(value) = fs::read_to_string(root.join(&path)) {
            *text += &format!("{} = {}\n", path.display(), value.trim_end().replace('\t', " "));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::normal;

    #[test]
    fn lifetimes_and_tentative_addresses_are_not_told() {
        let line = "       valid_lft 86398sec preferred_lft forever";
        assert_eq!(normal(line), "       valid_lft * preferred_lft forever");
        let line = "    inet6 fe80::1/64 scope link tentative proto kernel_ll ";
        assert_eq!(normal(line), "    inet6 fe80::1/64 scope link proto kernel_ll");
        let line = "\tindex 12 ref 1 bind 1";
        assert_eq!(normal(line), "\tindex * ref 1 bind 1");
    }
}
