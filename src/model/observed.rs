//! What the kernel has, of all that a plan may depend on.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};

use super::route::TABLE_MAIN;
use super::{Classifier, Hook, Link, LinkId, LinkIndex, LinkName, Neighbour, OwnLink, Route, Sysctl, nft};

/// What the kernel has at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default)]
pub struct Observed {
    /// Every link, in the order of their numbers.
    pub links: Vec<Link>,
    /// What those are that have names of ours.
    pub own_links: BTreeMap<LinkIndex, OwnLink<LinkIndex>>,
    /// What hooks are hung on, at the links that have such.
    pub classifiers: BTreeMap<LinkIndex, Classifier>,
    /// Our hooks, in the order of their places.
    pub hooks: Vec<Hook<LinkIndex>>,
    /// What overlay links of ours were told for good of their neighbours, by whomever.
    pub neighbours: BTreeMap<LinkIndex, BTreeSet<Neighbour>>,
    /// The IPv4 addresses of global scope on each link, ours or not.
    pub addresses: BTreeMap<LinkIndex, BTreeSet<Ipv4Net>>,
    /// Default routes of the main table, whoever made them, and every route with our protocol number, in
    /// the kernel's order (among equals the first one is used).
    pub routes: Vec<Route<LinkIndex>>,
    /// The parameters of [`Sysctl`] that exist: those of NICs that are there, those of IPv6 where it is built in.
    pub sysctls: BTreeMap<Sysctl, String>,
    /// The machine's memory, bytes, of which tracked flows take a part; `None`: how many there may be cannot be set from here.
    pub conntrack_memory: Option<u64>,
    /// Our nftables table, if it exists. Shared: it is what is large.
    pub table: Option<Arc<nft::Table>>,
    /// Whether the kernel has flowtables; `None`: it was not asked.
    pub flowtables: Option<bool>,
    /// Whether elements of its sets can count; `None`: it was not asked.
    pub counters: Option<bool>,
}

/// Why a desired link cannot be pointed at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Missing<'a> {
    /// No link has the address.
    Absent,
    /// Several have it, so that none is certain.
    Ambiguous(Vec<&'a Link>),
    /// This one has it, and udevd has not finished with it.
    UdevPending(&'a Link),
}

impl Missing<'_> {
    /// Why, in words, and the links among which none is certain.
    #[must_use]
    pub fn reason(&self) -> (String, Vec<LinkName>) {
        match self {
            Self::Absent => ("no link has this hardware address".to_owned(), Vec::new()),
            Self::UdevPending(link) => (
                format!("udevd has not finished with {} yet", link.name),
                Vec::new(),
            ),
            Self::Ambiguous(found) => (
                "several links have this hardware address".to_owned(),
                found.iter().map(|link| link.name.clone()).collect(),
            ),
        }
    }
}

impl Observed {
    /// The one link that a desired state means by `id`.
    ///
    /// # Errors
    /// If there is none or more than one.
    pub fn find(&self, id: LinkId) -> Result<&Link, Missing<'_>> {
        let found: Vec<&Link> = self
            .links
            .iter()
            .filter(|link| link.id == Some(id) && (!link.stacked || matches!(id, LinkId::Own(_))))
            .collect();
        match found[..] {
            [] => Err(Missing::Absent),
            [link] if link.udev_pending => Err(Missing::UdevPending(link)),
            [link] => Ok(link),
            _ => Err(Missing::Ambiguous(found)),
        }
    }

    /// What is left without our table, the routes of elastic IPs and the neighbours on overlays: how large it is depends on the NICs alone.
    #[must_use]
    pub fn rest(mut self) -> Self {
        self.table = None;
        self.neighbours.clear();
        self.routes.retain(|route| route.table == TABLE_MAIN);
        self
    }

    /// The link with this number.
    #[must_use]
    pub fn link(&self, index: LinkIndex) -> Option<&Link> {
        self.links.iter().find(|link| link.index == index)
    }

    /// The path below `/proc/sys/net` of a parameter, with the name that a NIC has now; `None` if it is missing.
    #[must_use]
    pub fn sysctl_path(&self, key: Sysctl) -> Option<String> {
        match key {
            Sysctl::Link(id, parameter) => self.find(id).ok().map(|link| parameter.path(&link.name)),
            _ => key.path().map(ToOwned::to_owned),
        }
    }
}
