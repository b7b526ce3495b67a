//! The only place with system calls: looks at the kernel, and carries out operations on it.
//!
//! Two implementations behave the same: [`Linux`], and [`Fake`], which keeps the state in memory for tests. [`Faulty`]
//! stands around either, and fails where a test says.

mod announce;
mod conntrack;
mod error;
mod fake;
mod faulty;
mod linux;
mod netfilter;
mod nftables;
mod nic;
mod probe;
mod rtnetlink;
mod sysctl;
mod vitals;
mod watch;

pub use announce::send as send_announcements;
pub use error::{Error, Failure, Incomplete};
pub use fake::Fake;
pub use faulty::{Fate, Fault, Faulty, kind};
pub use linux::{Linux, encode};
pub use nic::{Events as NicEvents, is_first_namespace, rescan_pci};
pub use probe::{connect, ping};
pub use vitals::{Neighbour, Vitals, vitals};
pub use watch::Watch;

use crate::model::nft::Counts;
use crate::model::{Flow, Observed};
use crate::plan::{Announcement, Operation};

/// Doors for the fuzzer (`fuzz/`) to what reads the kernel's bytes; in no other build.
#[cfg(fuzzing)]
#[doc(hidden)]
pub mod fuzz {
    pub use super::conntrack::fuzz as conntrack;
    pub use super::nftables::fuzz as nftables;
    pub use super::rtnetlink::fuzz as rtnetlink;
    pub use super::watch::fuzz as watch;
}

/// A kernel that can be looked at and changed.
pub trait Kernel {
    /// What it has now.
    ///
    /// # Errors
    /// If a part cannot be read.
    fn observe(&mut self) -> Result<Observed, Error>;

    /// Carries out operations in order, and stops at the first that fails. The table is changed only if nobody
    /// else changed nftables since the last [`Kernel::observe`]; else that operation fails with
    /// [`Error::Interrupted`].
    ///
    /// Deleting what is gone and adding what is there is success.
    ///
    /// # Errors
    /// What failed, and how far it got.
    fn apply(&mut self, operations: &[Operation]) -> Result<(), Incomplete>;

    /// Ends those of all tracked IPv4 flows of which `is_stale` says so: the kernel forgets them, and their next packet is
    /// looked at as the first one of a flow. Returns how many.
    ///
    /// # Errors
    /// [`Error::Unsupported`] if it cannot be asked for its flows; else if it refuses, and some may have ended then.
    fn end_flows(&mut self, is_stale: &mut dyn FnMut(&Flow) -> bool) -> Result<usize, Error>;

    /// What the counting sets of the table that was seen by the last [`Kernel::observe`] hold; nothing where there is none.
    ///
    /// # Errors
    /// If they cannot be read.
    fn counts(&mut self) -> Result<Counts, Error>;

    /// Tells neighbours of addresses, more than once, without waiting for the end of it.
    ///
    /// # Errors
    /// If it cannot begin.
    fn announce(&mut self, announcements: &[Announcement]) -> Result<(), Error>;
}
