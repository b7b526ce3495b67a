//! The running kernel: one look at all its parts, and operations handed to the part that they are for.

use super::conntrack::Conntrack;
use super::nftables::Nftables;
use super::rtnetlink::Rtnetlink;
use super::{Error, Failure, Incomplete, Kernel, announce, sysctl};
use crate::model::nft::Counts;
use crate::model::{Flow, Observed};
use crate::plan::{Announcement, Operation};
use crate::timing::timed;

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
            Operation::Table(change) => timed("apply table", || self.nftables.commit(change)),
            Operation::SetSysctl { path, to, .. } => sysctl::write(path, to),
            _ => unreachable!("an operation of rtnetlink"),
        }
    }
}

/// Whether the second of two operations goes in one system call with the first: then it is carried out even if the first
/// fails.
pub(super) fn go_together(first: &Operation, second: &Operation) -> bool {
    Rtnetlink::takes(second) && Rtnetlink::takes(first) && first.takes_away() == second.takes_away()
}

/// The netlink messages that carry out these operations, one after another, without a socket to send them on: what the
/// benchmarks measure. Sysctls have none.
///
/// # Errors
/// If a name of the table cannot be written.
pub fn encode(operations: &[Operation]) -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::new();
    for operation in operations {
        if let Operation::Table(change) = operation {
            bytes.extend(Nftables::encode(change)?);
        }
    }
    bytes.extend(Rtnetlink::encode(operations));
    Ok(bytes)
}

impl Kernel for Linux {
    fn observe(&mut self) -> Result<Observed, Error> {
        let mut observed = timed("observe links, addresses and routes", || self.rtnetlink.observe())?;
        observed.sysctls = timed("observe sysctls", || sysctl::observe(&observed.links))?;
        observed.table = timed("observe table", || self.nftables.observe())?;
        Ok(observed)
    }

    fn apply(&mut self, operations: &[Operation]) -> Result<(), Incomplete> {
        let mut index = 0;
        while let Some(operation) = operations.get(index) {
            // Neighbouring operations of rtnetlink go in one system call: ten thousand routes do not wait for
            // ten thousand answers. But nothing is taken away before what comes in its place is known to be there.
            let run = operations[index..]
                .iter()
                .take_while(|next| go_together(operation, next))
                .count();
            let (begun, failures) = if run > 0 {
                timed("apply links, addresses and routes", || {
                    self.rtnetlink.apply(&operations[index..index + run])
                })
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

    fn counts(&mut self) -> Result<Counts, Error> {
        self.nftables.counts()
    }

    fn announce(&mut self, announcements: &[Announcement]) -> Result<(), Error> {
        announce::begin(announcements)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{LinkIndex, LinkName, Route, RouteKind};
    use crate::owned::ROUTE_PROTOCOL;
    use crate::plan::LinkRef;
    use crate::undo::undo;

    /// `ENOBUFS` as the kernel gives it, not as a test says: the receive queue is full, and the answer gone.
    #[test]
    fn routes_whose_answer_was_lost_are_there_and_are_taken_back() {
        if !nix::unistd::geteuid().is_root() {
            println!("skipped: routes_whose_answer_was_lost_are_there_and_are_taken_back: needs root");
            return;
        }
        let test = || {
            nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
            let link = LinkRef {
                index: LinkIndex(1),
                name: LinkName("lo".to_owned()),
            };
            let mut kernel = Linux::open().unwrap();
            let up = Operation::SetLink {
                link: link.clone(),
                up: true,
            };
            kernel.apply(&[up]).unwrap();
            let operation = |subnet, host| Operation::AddRoute {
                link: link.clone(),
                route: Route {
                    destination: format!("10.9.{subnet}.{host}/32").parse().unwrap(),
                    table: 255,
                    kind: RouteKind::Local,
                    gateway: None,
                    link: link.index,
                    metric: 0,
                    protocol: ROUTE_PROTOCOL,
                },
            };
            // What is there already is answered with an error each: too many for the queue.
            let there: Vec<_> = (1..=100).map(|host| operation(0, host)).collect();
            kernel.apply(&there).unwrap();
            let before = kernel.observe().unwrap();
            let mut done: Vec<_> = (1..=100).map(|host| operation(1, host)).collect();
            done.splice(0..0, there);
            kernel.rtnetlink.shrink();
            let Incomplete { begun, failures } = kernel.apply(&done).unwrap_err();
            assert_eq!((begun, failures.len()), (200, 1));
            assert!(
                failures[0].error.to_string().contains("no buffer space"),
                "{}",
                failures[0].error
            );
            assert_eq!(kernel.observe().unwrap().routes.len(), 200, "and yet all is done");
            let unsure = vec![done.remove(failures[0].index)];
            done.drain(..100);
            assert_eq!(undo(&mut kernel, &done, &unsure, &before), Vec::<String>::new());
            assert_eq!(kernel.observe().unwrap(), before);
        };
        std::thread::spawn(test).join().unwrap();
    }
}
