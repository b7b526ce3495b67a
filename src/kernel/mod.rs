//! The only place with system calls: looks at the kernel, and carries out operations on it.
//!
//! Two implementations behave the same: [`Linux`], and [`Fake`], which keeps the state in memory for tests. [`Faulty`]
//! stands around either, and fails where a test says.

mod announce;
mod conntrack;
mod error;
mod fake;
mod faulty;
mod follow;
mod inspect;
mod linux;
mod neighbours;
mod netfilter;
mod nftables;
mod nic;
mod probe;
mod rtnetlink;
mod sysctl;
mod watch;

use std::sync::Arc;

pub use announce::send as send_announcements;
pub use conntrack::usage::{ConntrackUsage, usage as conntrack_usage};
pub use error::{Error, Failure, Incomplete};
pub use fake::Fake;
pub use faulty::{Fate, Fault, Faulty, kind};
pub use follow::Follower;
pub use inspect::{Inspector, Observer};
pub use linux::{Linux, encode};
pub use neighbours::{Neighbour, neighbours};
pub use nftables::spare_memory;
pub use nic::{Events as NicEvents, is_first_namespace, rescan_pci};
pub use probe::{connect, ping};
pub use watch::Watch;

use crate::model::nft::{Counts, Table};
use crate::model::{Copied, Desired, Flow, LinkIndex, Observed};
use crate::owned::Owned;
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

/// What a process keeps for the next one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kept {
    /// Nothing, and what was kept before is of no use.
    Nothing,
    /// What was kept before.
    Same,
    /// This.
    New(Vec<u8>),
}

/// A kernel that can be looked at and changed.
pub trait Kernel: Send {
    /// What it has now.
    ///
    /// # Errors
    /// If a part cannot be read.
    fn observe(&mut self) -> Result<Observed, Error>;

    /// Begins to hear of changes, so that [`Kernel::is_settled`] can tell.
    ///
    /// # Errors
    /// If it cannot be heard of them.
    fn listen(&mut self) -> Result<(), Error> {
        Ok(())
    }

    /// Whether what can be large, our table and the routes of elastic IPs, is as the last [`Kernel::observe`] saw it: told
    /// without looking at it. `false`: it is not, or that is not known.
    ///
    /// # Errors
    /// If it cannot be asked.
    fn is_settled(&mut self) -> Result<bool, Error> {
        Ok(false)
    }

    /// What it has now, but for our table and the routes of elastic IPs ([`Observed::rest`]).
    ///
    /// # Errors
    /// If a part cannot be read.
    fn observe_rest(&mut self) -> Result<Observed, Error> {
        Ok(self.observe()?.rest())
    }

    /// What it has after operations of ours, where `last` is what the last look saw. What can be large is not looked at again
    /// where the kernel itself tells what became of it since.
    ///
    /// # Errors
    /// As of [`Kernel::observe`].
    fn observe_again(&mut self, _last: &Observed) -> Result<Observed, Error> {
        self.observe()
    }

    /// Is given what [`Kernel::keep`] gave an earlier process, before the first look. It is believed only as far as the kernel
    /// says that it is still so.
    fn recall(&mut self, _kept: &[u8]) {}

    /// What the last look saw and an earlier process may be spared to look at.
    fn keep(&self) -> Kept {
        Kept::Same
    }

    /// Closes it for good, and leaves it to another process to wait until what was deleted is freed.
    fn let_go(self: Box<Self>) {}

    /// Whether it has flowtables ([`FastPath`](crate::model::FastPath)). It may be given to load modules for that.
    ///
    /// # Errors
    /// If it cannot be asked.
    fn has_flowtables(&mut self) -> Result<bool, Error>;

    /// Whether elements of its sets can count ([`Set::counts`](crate::model::nft::Set::counts)).
    ///
    /// # Errors
    /// If it cannot be asked.
    fn has_counters(&mut self) -> Result<bool, Error>;

    /// What it has now, with what `desired` needs to know of it beside ([`Kernel::with_abilities`]).
    ///
    /// # Errors
    /// As of both.
    fn observe_for(&mut self, desired: &Desired, owned: &Owned) -> Result<Observed, Error> {
        let observed = self.observe()?;
        self.with_abilities(observed, desired, owned)
    }

    /// Adds whether it has flowtables and counters to what was seen. It is asked only if they are wanted, none of ours is
    /// there, and it did not say no since the boot (unless it must).
    ///
    /// # Errors
    /// If it cannot be asked.
    fn with_abilities(
        &mut self,
        mut observed: Observed,
        desired: &Desired,
        owned: &Owned,
    ) -> Result<Observed, Error> {
        if let (Some(wanted), None) = (&desired.fast_path, observed.flowtables) {
            let is_there = |table: &Arc<Table>| !table.flowtables.is_empty();
            let is_known_to_lack = owned.lacks_flowtables && !wanted.is_required;
            let has = observed.table.as_ref().is_some_and(is_there)
                || (!is_known_to_lack && self.has_flowtables()?);
            observed.flowtables = Some(has);
        }
        let counts = |table: &Table| table.counting().next().is_some();
        if desired.table.as_ref().is_some_and(counts) && observed.counters.is_none() {
            let is_there = observed.table.as_deref().is_some_and(counts);
            let has = is_there || (!owned.lacks_counters && self.has_counters()?);
            observed.counters = Some(has);
        }
        Ok(observed)
    }

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

    /// What the elements of the table that was seen by the last [`Kernel::observe`] counted; nothing where there is none.
    ///
    /// # Errors
    /// If they cannot be read.
    fn counts(&mut self) -> Result<Counts, Error>;

    /// What each hook of a mirror copied since it was made.
    ///
    /// # Errors
    /// If it cannot be read.
    fn copied(&mut self) -> Result<Vec<Copied<LinkIndex>>, Error> {
        Ok(Vec::new())
    }

    /// Shows every tracked IPv4 flow to `see`. `None` comes before the first one, and again where the reading begins anew:
    /// what was seen until then does not count.
    ///
    /// # Errors
    /// [`Error::Unsupported`] if it cannot be asked for its flows; else if they cannot be read.
    fn read_flows(&mut self, see: &mut dyn FnMut(Option<&Flow>)) -> Result<(), Error>;

    /// Tells neighbours of addresses, more than once, without waiting for the end of it.
    ///
    /// # Errors
    /// If it cannot begin.
    fn announce(&mut self, announcements: &[Announcement]) -> Result<(), Error>;
}
