//! How many flows the kernel tracks at most, and how large the hash table is that it finds them by.
//!
//! The kernel's own defaults are a workstation's: since Linux 5.15 65,536 flows where there is more than 1 GiB of memory, 262,144
//! from 4 GiB on (`nf_conntrack_init_start`, nf_conntrack_core.c). Once they are there, the first packet of every other flow is
//! dropped. A gateway has little else to spend its memory on.

use std::ops::RangeInclusive;

use serde::Serialize;

/// Of so much memory (bytes) one flow is tracked. A flow takes 256 bytes (`struct nf_conn`), 128 for what NAT notes of it, and a
/// bucket of 8: measured 390 to 400, with the allocator's waste at most 512. So an eighth of the memory at most is flows.
const MEMORY_A_FLOW: u64 = 4096;
/// More are not asked for, whatever the memory: the table itself would take 128 MiB then.
const MOST: u64 = 1 << 24;

/// How many flows the kernel tracks at most (the file's `conntrack_max`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ConntrackMax {
    /// As the memory allows; what is larger already stays.
    #[default]
    Auto,
    /// So many.
    Flows(u32),
    /// As it is.
    Keep,
}

impl ConntrackMax {
    /// What a number of flows may be: the kernel keeps a signed one.
    pub const RANGE: RangeInclusive<u32> = 1024..=i32::MAX as u32;

    /// The flows that this means on a machine with so much memory (bytes), where so many are allowed already; `None`: it says
    /// nothing.
    #[must_use]
    pub fn flows(self, memory: u64, now: u64) -> Option<u64> {
        match self {
            Self::Auto => Some((memory / MEMORY_A_FLOW).min(MOST).max(now)),
            Self::Flows(flows) => Some(flows.into()),
            Self::Keep => None,
        }
    }

    /// The buckets for so many flows, where there are so many already. A flow is in two of them, so that on average two share
    /// one when all are there: the kernel's own ratio since 5.15. A hash that is large enough stays: the kernel rounds what is
    /// written up to whole pages, and a smaller one saves next to nothing.
    #[must_use]
    pub fn buckets(flows: u64, now: u64) -> u64 {
        flows.min(MOST).max(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn auto_gives_an_eighth_of_the_memory_and_never_lowers() {
        const GIB: u64 = 1 << 30;
        for (memory, now, expected) in [
            (GIB / 2, 65_536, 131_072),
            (GIB, 65_536, 262_144),
            (4 * GIB, 262_144, 1_048_576),
            (1024 * GIB, 262_144, 16_777_216),
            (GIB, 2_000_000, 2_000_000),
            (0, 65_536, 65_536),
        ] {
            assert_eq!(ConntrackMax::Auto.flows(memory, now), Some(expected));
        }
    }

    #[test]
    fn a_number_is_taken_as_it_is_and_keep_says_nothing() {
        assert_eq!(ConntrackMax::Flows(5000).flows(1 << 30, 65_536), Some(5000));
        assert_eq!(ConntrackMax::Keep.flows(1 << 30, 65_536), None);
        assert_eq!(ConntrackMax::buckets(5000, 65_536), 65_536);
        assert_eq!(ConntrackMax::buckets(100_000, 65_536), 100_000);
        assert_eq!(ConntrackMax::buckets(2_000_000_000, 65_536), 16_777_216);
    }
}
