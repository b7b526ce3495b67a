//! What the kernel should have. A pure function of the configuration.

use std::collections::{BTreeMap, BTreeSet};

use ipnet::Ipv4Net;
use serde::Serialize;

use super::route::TABLE_MAIN;
use super::{
    Conntrack, ConntrackMax, DesiredMirror, DesiredOwnLink, LinkId, MacAddr, Neighbour, Observed, OfMirrors,
    OwnName, Route, Sysctl, nft,
};

/// What the kernel should have of everything that is ours; the default is a router with nothing to do.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Desired {
    /// The links that must be up, and what they carry.
    pub links: BTreeMap<LinkId, DesiredLink>,
    /// The links that we make, and no others with our names.
    pub own_links: BTreeMap<OwnName, DesiredOwnLink>,
    /// What copies packets, by the names of mirrors.
    pub mirrors: BTreeMap<String, DesiredMirror>,
    /// Of these, the ones that are left out for now since the kernel refused them, and why, in words.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub refused: BTreeMap<String, String>,
    /// What each overlay link knows of its neighbours, and nothing else for good.
    pub neighbours: BTreeMap<LinkId, BTreeSet<Neighbour>>,
    /// Routes with our protocol number, and no others of it.
    pub routes: BTreeSet<Route<LinkId>>,
    /// Kernel parameters and their values, but for those of [`Desired::conntrack_max`] and of mirrors.
    pub sysctls: BTreeMap<Sysctl, String>,
    /// How many flows the kernel may track; `None`: that is not ours to say.
    pub conntrack_max: Option<ConntrackMax>,
    /// Our nftables table; `None`: it must not exist.
    pub table: Option<nft::Table>,
    /// What takes established flows past the table; `None`: nothing does.
    pub fast_path: Option<FastPath>,
    /// What becomes of flows whose translation this changes.
    pub conntrack: Conntrack,
}

impl Desired {
    /// What is left without our table, the routes of elastic IPs and the neighbours, as [`super::Observed::rest`].
    #[must_use]
    pub fn rest(mut self) -> Self {
        self.table = None;
        self.neighbours.clear();
        self.routes.retain(|route| route.table == TABLE_MAIN);
        self
    }

    /// The mirrors that are not left out.
    fn made(&self) -> impl Iterator<Item = &DesiredMirror> {
        let mirrors = self.mirrors.iter();
        let made = mirrors.filter(|(name, _)| !self.refused.contains_key(*name));
        made.map(|(_, mirror)| mirror)
    }

    /// The links whose packets are copied.
    pub fn hooked(&self) -> impl Iterator<Item = LinkId> + '_ {
        let hooks = self.made().flat_map(|mirror| &mirror.hooks);
        hooks.map(|hook| hook.link)
    }

    /// The NICs that are set up only because mirrors send by them.
    pub fn raised(&self) -> impl Iterator<Item = MacAddr> + '_ {
        let raised = self.made().flat_map(|mirror| &mirror.raises);
        raised.filter_map(|id| match id {
            LinkId::Mac(mac) => Some(*mac),
            _ => None,
        })
    }

    /// The mirrors that something is for, and nothing else.
    #[must_use]
    pub fn mirrors_of(&self, what: OfMirrors, observed: &Observed) -> Vec<String> {
        let is_at = |id: &LinkId, index| observed.find(*id).is_ok_and(|link| link.index == index);
        let is_for = |name: &str, mirror: &DesiredMirror| match &what {
            OfMirrors::None => false,
            OfMirrors::One(one) => one == name,
            OfMirrors::Link(link) => mirror.own_links.keys().any(|own| *own.as_str() == *link.0),
            OfMirrors::At(index) => mirror.hooks.iter().any(|hook| is_at(&hook.link, *index)),
            OfMirrors::Raise(index) => mirror.raises.iter().any(|id| is_at(id, *index)),
        };
        // A link that is the router's own as well is not for mirrors alone.
        let is_shared = match &what {
            OfMirrors::Link(link) => self.own_links.keys().any(|own| *own.as_str() == *link.0),
            _ => false,
        };
        let mirrors = self
            .mirrors
            .iter()
            .filter(|(name, mirror)| !is_shared && is_for(name, mirror));
        mirrors.map(|(name, _)| name.clone()).collect()
    }

    /// All kernel parameters and their values, on a kernel that is so: how many flows it may track goes by its memory.
    #[must_use]
    pub fn sysctls_on(&self, observed: &Observed) -> BTreeMap<Sysctl, String> {
        let mut sysctls = self.sysctls.clone();
        for mirror in self.made() {
            sysctls.extend(mirror.sysctls.iter().map(|(key, value)| (*key, value.clone())));
        }
        let now = |key| observed.sysctls.get(&key).and_then(|value| value.parse().ok());
        if let (Some(memory), Some(now_max)) = (observed.conntrack_memory, now(Sysctl::ConntrackMax))
            && let Some(flows) = self.conntrack_max.and_then(|most| most.flows(memory, now_max))
        {
            sysctls.insert(Sysctl::ConntrackMax, flows.to_string());
            if let Some(now_buckets) = now(Sysctl::ConntrackBuckets) {
                let buckets = ConntrackMax::buckets(flows, now_buckets);
                sysctls.insert(Sysctl::ConntrackBuckets, buckets.to_string());
            }
        }
        sysctls
    }
}

/// A flowtable of our table, and the chain that fills it: on a kernel that has flowtables, and on the NICs that are there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FastPath {
    /// What both are called.
    pub name: String,
    /// The flowtable without its devices.
    pub flowtable: nft::Flowtable,
    /// Its devices.
    pub devices: BTreeSet<LinkId>,
    /// The chain.
    pub chain: nft::Chain,
    /// What comes before its rules where packets are counted: flows that are take the slow way.
    pub counted: Vec<nft::Rule>,
    /// The sets that these rules name.
    pub counted_sets: BTreeMap<String, nft::Set>,
    /// Whether a kernel without flowtables will not do.
    pub is_required: bool,
}

/// What a link must carry.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct DesiredLink {
    /// Exactly the global IPv4 addresses it must have; `None`: they are not ours to say.
    pub addresses: Option<BTreeSet<Ipv4Net>>,
    /// Whether it faces outside, where elastic IPs are announced.
    pub external: bool,
    /// What the file calls it, for reports: `if_list[1]`.
    pub path: String,
}
