//! Links, addresses and routes, by rtnetlink(7).
//!
//! Addresses are looked at through the rtnetlink crate, links ([`link`]) and routes by [`dump`]; operations go through [`batch`],
//! which sends many in one call. What there may be ten thousand of goes by hand ([`elastic`], [`neighbour`]). [`own_link`]: links
//! that we make; [`tc`]: what copies packets.

mod ask;
mod batch;
mod dump;
mod elastic;
#[cfg(fuzzing)]
pub mod fuzz;
mod link;
mod message;
mod neighbour;
mod observe;
mod own_link;
mod tc;

use std::io;

use netlink_sys::AsyncSocket;
use tokio::runtime::Runtime;

use self::batch::Batch;
use self::dump::Dump;
pub(super) use self::dump::overlays;
pub(super) use self::elastic::{Told, read_payload};
pub(super) use self::link::Parameters;
pub(super) use self::neighbour::NeighbourChange;
use super::{Error, Failure};
use crate::model::{Copied, LinkIndex, Observed};
use crate::plan::Operation;

/// Which routes a look is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Routes {
    /// All of them.
    All,
    /// None.
    None,
    /// Those of the main table; of a kernel that cannot tell tables apart, all.
    Main,
}

/// Connections to the kernel's routing part: those that look, and one that changes.
pub(super) struct Rtnetlink {
    runtime: Runtime,
    handle: rtnetlink::Handle,
    dump: Dump,
    batch: Batch,
    /// The number of `lo`, 1 in every namespace (`LOOPBACK_IFINDEX`, include/net/flow.h).
    loopback: LinkIndex,
}

impl Rtnetlink {
    pub(super) fn open() -> Result<Self, Error> {
        let open = || -> io::Result<Self> {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_io()
                .build()?;
            let handle = {
                let _inside = runtime.enter();
                let (mut connection, handle, _) = rtnetlink::new_connection()?;
                let socket = connection.socket_mut().socket_mut();
                // Not known to every kernel, and of no consequence to what is asked here.
                let _ = socket.set_netlink_get_strict_chk(true);
                runtime.spawn(connection);
                handle
            };
            Ok(Self {
                runtime,
                handle,
                dump: Dump::open()?,
                batch: Batch::open()?,
                loopback: LinkIndex(1),
            })
        };
        open().map_err(|source| Error::Read {
            what: "the rtnetlink socket".to_owned(),
            source,
        })
    }

    /// Links, addresses and routes, and what the kernel tells of the links' parameters along with them.
    pub(super) fn observe(&mut self, routes: Routes) -> Result<(Observed, Parameters), Error> {
        let (mut observed, parameters) = observe::links(&mut self.dump, self.loopback)?;
        let addresses = observe::addresses(&self.handle, &mut observed);
        self.runtime.block_on(addresses)?;
        observed.routes = self.dump.routes(routes, self.loopback)?;
        let seen = tc::observe(&mut self.dump)?;
        (observed.classifiers, observed.hooks) = (seen.classifiers, seen.hooks);
        Ok((observed, parameters))
    }

    /// Adds what overlay links of ours were told of their neighbours, where `since` is the last look and what happened to them
    /// since then.
    pub(super) fn neighbours(
        &mut self,
        observed: &mut Observed,
        since: Option<(&Observed, Vec<NeighbourChange>)>,
    ) -> Result<(), Error> {
        self.dump.neighbours(observed, since)
    }

    /// What our hooks copied.
    pub(super) fn copied(&mut self) -> Result<Vec<Copied<LinkIndex>>, Error> {
        Ok(tc::observe(&mut self.dump)?.copied)
    }

    /// Whether it can be asked for the routes of one table.
    pub(super) fn is_strict(&self) -> bool {
        self.dump.is_strict
    }

    /// Whether an operation is this part's.
    pub(super) fn takes(operation: &Operation) -> bool {
        !matches!(operation, Operation::Table(_) | Operation::SetSysctl { .. })
    }

    /// The messages of those operations that are this part's.
    pub(super) fn encode(operations: &[Operation]) -> Vec<u8> {
        batch::messages(operations, 1)
    }

    /// Carries out operations in order: how many were begun, and which of these failed.
    pub(super) fn apply(&mut self, operations: &[Operation]) -> (usize, Vec<Failure>) {
        self.batch.apply(operations)
    }

    /// Has room for a few answers only.
    #[cfg(test)]
    pub(super) fn shrink(&mut self) {
        self.batch.shrink();
    }
}
