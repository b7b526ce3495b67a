//! How much is measured: all of it, or (`QUICK=1`) just enough to see that it works and roughly where it stands.

use std::time::Duration;

/// Sizes, repetitions and times of one run of the bench.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Whether this is the short run.
    pub quick: bool,
    /// Rounds of the floods of known flows; the ways take turns.
    pub flood_rounds: usize,
    /// How often the routers of the floods of first packets are made anew.
    pub routers: usize,
    /// How long one flood of first packets lasts.
    pub flood: Duration,
    /// Repetitions of what takes a fraction of a second.
    pub repeats: usize,
    /// Repetitions of what takes seconds.
    pub slow_repeats: usize,
    /// Entries of the others' one rule each.
    pub rules: &'static [usize],
    /// Entries of the note's way with one process a rule.
    pub processes: usize,
    /// How long the monitor is watched doing nothing.
    pub idle: Duration,
    /// Flows held.
    pub flows: u64,
}

impl Settings {
    /// From the environment.
    pub fn new() -> Self {
        let quick = std::env::var_os("QUICK").is_some_and(|value| !value.is_empty() && value != "0");
        if quick {
            Self {
                quick,
                flood_rounds: 3,
                routers: 3,
                flood: Duration::from_millis(600),
                repeats: 5,
                slow_repeats: 1,
                rules: &[100, 1_000],
                processes: 100,
                idle: Duration::from_secs(5),
                flows: 100_000,
            }
        } else {
            Self {
                quick,
                flood_rounds: 12,
                routers: 17,
                flood: Duration::from_millis(1_000),
                repeats: 15,
                slow_repeats: 3,
                rules: &[100, 1_000, 10_000, 65_000],
                processes: 1_000,
                idle: Duration::from_secs(60),
                flows: 1_000_000,
            }
        }
    }
}
