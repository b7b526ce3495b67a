//! The running kernel: one look at all its parts, and operations handed to the part that they are for.

use super::conntrack::Conntrack;
use super::nftables::Nftables;
use super::rtnetlink::Rtnetlink;
use super::{Error, Failure, Incomplete, Kernel, announce, sysctl};
use crate::model::{Flow, Observed};
use crate::plan::{Announcement, Operation};

/// The kernel of the network namespace that the process runs in.
pub struct Linux {
    rtnetlink: Rtnetlink,
    nftables: Nftables,
    /// Opened when it is needed first.
    conntrack: Option<Conntrack>,
}

impl Linux {
    /// Opens the sockets.
    ///
    /// # Errors
    /// If the kernel has no netlink or no nf_tables, or forbids them.
    pub fn open() -> Result<Self, Error> {
        Ok(Self {
            rtnetlink: Rtnetlink::open()?,
            nftables: Nftables::open()?,
            conntrack: None,
        })
    }

    fn apply_one(&mut self, operation: &Operation) -> Result<(), Error> {
        match operation {
            Operation::Table(change) => self.nftables.commit(change),
            Operation::SetSysctl { path, to, .. } => sysctl::write(path, to),
            _ => unreachable!("an operation of rtnetlink"),
        }
    }
}

impl Kernel for Linux {
    fn observe(&mut self) -> Result<Observed, Error> {
        let mut observed = self.rtnetlink.observe()?;
        observed.sysctls = sysctl::observe(&observed.links)?;
        observed.table = self.nftables.observe()?;
        Ok(observed)
    }

    fn apply(&mut self, operations: &[Operation]) -> Result<(), Incomplete> {
        let mut index = 0;
        while let Some(operation) = operations.get(index) {
            // Neighbouring operations of rtnetlink go in one system call: ten thousand routes do not wait for
            // ten thousand answers. But nothing is taken away before what comes in its place is known to be there.
            let run = operations[index..]
                .iter()
                .take_while(|next| Rtnetlink::takes(next) && next.takes_away() == operation.takes_away())
                .count();
            let (begun, failures) = if run > 0 {
                self.rtnetlink.apply(&operations[index..index + run])
            } else {
                let failed = self.apply_one(operation).err();
                (
                    1,
                    failed
                        .map(|error| Failure { index: 0, error })
                        .into_iter()
                        .collect(),
                )
            };
            if !failures.is_empty() {
                let failures = failures
                    .into_iter()
                    .map(|failure| Failure {
                        index: index + failure.index,
                        ..failure
                    })
                    .collect();
                return Err(Incomplete {
                    begun: index + begun,
                    failures,
                });
            }
            index += begun;
        }
        Ok(())
    }

    fn end_flows(&mut self, is_stale: &mut dyn FnMut(&Flow) -> bool) -> Result<usize, Error> {
        let conntrack = match &mut self.conntrack {
            Some(conntrack) => conntrack,
            none => none.insert(Conntrack::open()?),
        };
        conntrack.end_flows(is_stale)
    }

    fn announce(&mut self, announcements: &[Announcement]) -> Result<(), Error> {
        announce::begin(announcements)
    }
}
