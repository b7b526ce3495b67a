//! What the monitor did since it began, for who watches it. Pure.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Cause, Outcome};

/// Looks and repairs, counted.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default)]
pub struct Tally {
    /// When it began, in seconds since 1970.
    pub since: u64,
    /// Looks by outcome, in the order of [`Outcome::ALL`].
    looks: [u64; 4],
    /// How long all looks took, in seconds.
    pub seconds: f64,
    /// Things that were put right after something else had changed them.
    pub repairs: u64,
}

impl Tally {
    /// Nothing yet.
    #[must_use]
    pub fn new(since: Duration) -> Self {
        Self {
            since: since.as_secs(),
            ..Self::default()
        }
    }

    /// A look ended that took so long and changed so many things.
    pub fn add(&mut self, cause: Cause, outcome: Outcome, changed: usize, took: Duration) {
        self.looks[outcome as usize] += 1;
        self.seconds += took.as_secs_f64();
        if cause == Cause::Drift && outcome == Outcome::Changed {
            self.repairs += changed as u64;
        }
    }

    /// How many looks ended so.
    #[must_use]
    pub fn of(&self, outcome: Outcome) -> u64 {
        self.looks[outcome as usize]
    }

    /// How many looks there were.
    #[must_use]
    pub fn looks(&self) -> u64 {
        self.looks.iter().sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_others_changed_is_a_repair() {
        let mut tally = Tally::new(Duration::from_secs(7));
        let second = Duration::from_secs(1);
        tally.add(Cause::Nic, Outcome::Changed, 5, second);
        tally.add(Cause::Drift, Outcome::Nothing, 0, second);
        tally.add(Cause::Drift, Outcome::Changed, 2, second);
        tally.add(Cause::Drift, Outcome::Failed, 3, second);
        assert_eq!(
            (tally.repairs, tally.looks(), tally.of(Outcome::Changed)),
            (2, 4, 2)
        );
        let text = serde_json::to_vec(&tally).unwrap();
        assert_eq!(serde_json::from_slice::<Tally>(&text).unwrap(), tally);
    }
}
