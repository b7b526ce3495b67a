//! Links, addresses and routes, by rtnetlink(7).
//!
//! Looking goes through the rtnetlink crate; operations go through [`batch`], which sends many in one call.

mod ask;
mod batch;
#[cfg(fuzzing)]
pub mod fuzz;
mod message;
mod observe;

use std::io;

use netlink_sys::AsyncSocket;
use tokio::runtime::Runtime;

use self::batch::Batch;
use super::{Error, Failure};
use crate::model::{LinkIndex, Observed};
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

/// Two connections to the kernel's routing part: one that looks, one that changes.
pub(super) struct Rtnetlink {
    runtime: Runtime,
    handle: rtnetlink::Handle,
    batch: Batch,
    /// Whether the kernel keeps to what a request asks for (`NETLINK_GET_STRICT_CHK`, Linux 4.20): else a dump of one table
    /// is one of all.
    is_strict: bool,
    /// The number of `lo`, 1 in every namespace (`LOOPBACK_IFINDEX`, include/net/flow.h).
    loopback: LinkIndex,
}

impl Rtnetlink {
    pub(super) fn open() -> Result<Self, Error> {
        let open = || -> io::Result<Self> {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_io()
                .build()?;
            let (handle, is_strict) = {
                let _inside = runtime.enter();
                let (mut connection, handle, _) = rtnetlink::new_connection()?;
                let socket = connection.socket_mut().socket_mut();
                let is_strict = socket.set_netlink_get_strict_chk(true).is_ok();
                runtime.spawn(connection);
                (handle, is_strict)
            };
            Ok(Self {
                runtime,
                handle,
                is_strict,
                batch: Batch::open()?,
                loopback: LinkIndex(1),
            })
        };
        open().map_err(|source| Error::Read {
            what: "the rtnetlink socket".to_owned(),
            source,
        })
    }

    /// Links, addresses and routes.
    pub(super) fn observe(&mut self, routes: Routes) -> Result<Observed, Error> {
        self.runtime
            .block_on(observe::observe(&self.handle, self.loopback, routes))
    }

    /// Whether it can be asked for the routes of one table.
    pub(super) fn is_strict(&self) -> bool {
        self.is_strict
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
