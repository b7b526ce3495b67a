//! How full the table of tracked flows is, and what became of flows that found no place.

use std::fs;

use serde::Serialize;

/// The table of tracked flows of this network namespace, as the kernel counts it. `None`: it does not say (nf_conntrack is not
/// there, or this kernel has no such counter).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ConntrackUsage {
    /// The flows that are tracked.
    pub count: Option<u64>,
    /// How many may be.
    pub max: Option<u64>,
    /// The buckets of the hash that they are found by.
    pub buckets: Option<u64>,
    /// Flows whose place another one had: no source port was left to their destination. (Or two packets of one flow came at
    /// once, and then not always one is dropped.) Since the namespace began, as are the next two.
    pub insert_failed: Option<u64>,
    /// First packets dropped: nearly all of the above (`nf_ct_resolve_clash`, nf_conntrack_core.c), and those that came while
    /// the table was full.
    pub drop: Option<u64>,
    /// Flows without an answer that had to make room for new ones.
    pub early_drop: Option<u64>,
}

/// How many flows of this namespace are tracked.
pub(super) fn count() -> Option<u64> {
    number("count")
}

fn number(name: &str) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/sys/net/netfilter/nf_conntrack_{name}")).ok()?;
    text.trim().parse().ok()
}

/// Looks.
#[must_use]
pub fn usage() -> ConntrackUsage {
    // Of the thread's own namespace.
    let statistics = fs::read_to_string("/proc/thread-self/net/stat/nf_conntrack").unwrap_or_default();
    let sum = |column| column_sum(&statistics, column);
    ConntrackUsage {
        count: number("count"),
        max: number("max"),
        buckets: number("buckets"),
        insert_failed: sum("insert_failed"),
        drop: sum("drop"),
        early_drop: sum("early_drop"),
    }
}

/// The sum of a column over all processors: hexadecimal numbers below a line of names (`ct_cpu_seq_show`,
/// nf_conntrack_standalone.c). Names came and went with kernels, so the place tells nothing.
fn column_sum(table: &str, column: &str) -> Option<u64> {
    let mut lines = table.lines();
    let place = lines.next()?.split_whitespace().position(|name| name == column)?;
    let numbers = lines.map(|line| u64::from_str_radix(line.split_whitespace().nth(place)?, 16).ok());
    numbers.sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_found_by_name_and_summed_over_processors() {
        let table = "entries  clashres found insert_failed drop\n\
                     00000010  00000000 00000001 0000001f 00000002\n\
                     00000010  00000000 00000001 00000001 00000000\n";
        let sums = ["insert_failed", "drop", "early_drop"].map(|name| column_sum(table, name));
        assert_eq!(sums, [Some(0x20), Some(2), None]);
        assert_eq!(column_sum("", "drop"), None);
        assert_eq!(column_sum("drop\nnonsense\n", "drop"), None);
    }
}
