//! What the file says of the router as a whole, and what it means to say nothing of it.

use serde::Serialize;

use super::{Config, Place};
use crate::model::{Conntrack, ConntrackMax};

/// How many elastic IPs and forwards there may be for what costs packets and memory to be done where the file does not say.
pub const MOST_COUNTED: usize = 1_024;

/// Whether established flows go past the rules (the file's `fast_path`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum FastPathMode {
    /// Where the kernel can.
    #[default]
    Auto,
    /// A kernel that cannot is an error.
    On,
    /// They do not.
    Off,
}

/// The number of a configuration, that whoever pushes it counts up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Generation {
    /// The number.
    pub number: u64,
    /// Where it stands.
    pub place: Place,
}

impl Config {
    /// Whether IPv6 is left as it is; else it is turned off.
    #[must_use]
    pub fn ipv6(&self) -> bool {
        self.ipv6
    }

    /// What becomes of flows whose translation changes with this configuration.
    #[must_use]
    pub fn conntrack(&self) -> Conntrack {
        self.conntrack
    }

    /// Whether what is of no connection is kept from leaving with a private address: as the file says, else where it has no more
    /// than [`MOST_COUNTED`] elastic IPs and forwards. It costs each packet a chain.
    #[must_use]
    pub fn drop_invalid(&self) -> bool {
        self.drop_invalid.unwrap_or(!self.has_many())
    }

    /// Whether packets, bytes and connections are counted by elastic IP and forward: as the file says, else where it has no
    /// more than [`MOST_COUNTED`] of these. Each counter is an element more to load and to look at, and the kernel builds a
    /// message of some kilobytes for each while a monitor listens: with ten thousand, a small VM would have no room for that.
    #[must_use]
    pub fn counters(&self) -> bool {
        self.counters.unwrap_or(!self.has_many())
    }

    fn has_many(&self) -> bool {
        self.eips.len() + self.forwards.len() > MOST_COUNTED
    }

    /// Whether nothing is counted only since there are so many entries.
    #[must_use]
    pub fn has_too_many_to_count(&self) -> bool {
        self.counters.is_none() && !self.counters()
    }

    /// How many flows the kernel may track.
    #[must_use]
    pub fn conntrack_max(&self) -> ConntrackMax {
        self.conntrack_max
    }

    /// Whether established flows go past the rules.
    #[must_use]
    pub fn fast_path(&self) -> FastPathMode {
        self.fast_path
    }

    /// The number of this configuration; `None`: it has none, and may replace any other.
    #[must_use]
    pub fn generation(&self) -> Option<Generation> {
        self.generation
    }
}
