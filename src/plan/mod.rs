//! The difference between what should be and what is, as an ordered list of operations. Pure: no I/O, no clock.
//!
//! The order is what keeps packets right while it is carried out: translation first, links, addresses (add
//! before delete, but where one is to be a gateway), routes, forwarding; then what goes, translation last.

mod diff;
mod fast_path;
mod gateways;
mod hooks;
mod line;
mod neighbours;
mod operation;
mod own_links;

use std::net::Ipv4Addr;

use serde::Serialize;

use crate::model::{LinkId, LinkName};

pub use diff::diff;
pub(crate) use fast_path::UNCOUNTED;
pub use line::{Action, Line, Sight};
pub use operation::{LinkRef, Operation};

/// What a run would do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// What changes in the kernel, in order.
    pub operations: Vec<Operation>,
    /// Addresses that neighbours are to be told of, by the link they are on. Follows from the operations: a
    /// plan that changes nothing announces nothing.
    pub announcements: Vec<Announcement>,
    /// What waits for a NIC.
    pub pending: Vec<Pending>,
    /// What was left alone on purpose, and why.
    pub notes: Vec<String>,
}

impl Plan {
    /// Whether there is nothing to do (but perhaps to wait for a NIC).
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.operations.is_empty()
    }
}

/// A gratuitous ARP to send: `arping -U` of `address` on `link`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Announcement {
    /// The link whose neighbours are told.
    pub link: LinkRef,
    /// The address that is here now.
    pub address: Ipv4Addr,
}

/// A configured NIC that is not there, or not for certain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Pending {
    /// The hardware address that the file gives.
    pub link: LinkId,
    /// Where in the file.
    pub path: String,
    /// The addresses that it will get.
    pub addresses: Vec<String>,
    /// Why it waits: no link has the address, or several do.
    pub reason: String,
    /// The links that have the address, where they are several.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub candidates: Vec<LinkName>,
}
