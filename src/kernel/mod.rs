//! The only place with system calls: looks at the kernel, and carries out operations on it.
//!
//! Two implementations behave the same: [`Linux`], and [`Fake`], which keeps the state in memory for tests.

mod announce;
mod error;
mod fake;
mod linux;
mod nftables;
mod nic;
mod rtnetlink;
mod sysctl;
mod watch;

pub use announce::send as send_announcements;
pub use error::{Error, Failure, Incomplete};
pub use fake::Fake;
pub use linux::Linux;
pub use nic::{Events as NicEvents, is_first_namespace, rescan_pci};
pub use watch::Watch;

use crate::model::Observed;
use crate::plan::{Announcement, Operation};

/// Doors for the fuzzer (`fuzz/`) to what reads the kernel's bytes; in no other build.
#[cfg(fuzzing)]
#[doc(hidden)]
pub mod fuzz {
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

    /// Tells neighbours of addresses, more than once, without waiting for the end of it.
    ///
    /// # Errors
    /// If it cannot begin.
    fn announce(&mut self, announcements: &[Announcement]) -> Result<(), Error>;
}
