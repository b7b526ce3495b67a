//! What is ours in the kernel, in one place. Taking something for ours that is not is the worse mistake.
//!
//! Ours are: the nftables table [`NFT_TABLE`]; routes with protocol number [`ROUTE_PROTOCOL`]; the global IPv4
//! addresses and the default routes of NICs whose hardware address is in the file or was in an earlier one;
//! the sysctls of [`crate::model::Sysctl`]; links named [`crate::model::OWN_PREFIX`]`…` of the kinds that we make. Links, tables,
//! routes and addresses beside these are never touched.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

use crate::model::nft::Former;
use crate::model::{Desired, LinkId, LinkSysctl, MacAddr, Observed, Sysctl};

/// Our table of family `ip`. (`inet` NAT needs Linux 5.2; openEuler 20.03 has 4.19.)
pub const NFT_TABLE: &str = "kylin_vr";

/// The chain of it that drops what is of no connection, the only one that drops anything.
pub const NFT_DROPPING_CHAIN: &str = "invalid";

/// The table of `kylin-vr trace --live`, there while it waits for a packet. The kernel removes it with the process that made
/// it (since Linux 5.12), or the next trace does. Nothing else looks at it.
pub const NFT_TRACE_TABLE: &str = "kylin_vr_trace";

/// The `rtm_protocol` of our routes: not one of linux/rtnetlink.h or of iproute2's rt_protos.
pub const ROUTE_PROTOCOL: u8 = 158;

/// The priority of our filters (tc(8)): between those that others put first and those that the kernel counts down from 49152.
pub const FILTER_PRIORITY: u16 = 158;

/// Numbers of links of ours begin here: far from those that the kernel gives, one after another, to the links of others, so
/// that a NIC that comes while a plan is carried out has none of them.
pub const FIRST_OWN_LINK: u32 = 1_580_001;

/// The one bit of a packet's mark that says "keep the source address". Set and tested through a mask, since
/// the other bits are other programs' (Kubernetes has 0xc000, Tailscale 0xff0000, Calico takes from the top).
pub const MARK_KEEP_SOURCE: u32 = 0x0100_0000;

/// What runs since the boot changed that was there before them: how it was, so that it can be again.
///
/// Kept in the runtime directory, as the kernel's own state: both are gone after a reboot.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default)]
pub struct Owned {
    /// NICs whose addresses are ours.
    pub links: BTreeMap<MacAddr, LinkBefore>,
    /// NICs that mirrors send by: set up for that, and nothing else of them is ours.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub raised: BTreeMap<MacAddr, LinkBefore>,
    /// Links that got a clsact qdisc from us, since mirrors need one.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub classifiers: BTreeSet<LinkId>,
    /// The values that sysctls had.
    pub sysctls: BTreeMap<Sysctl, String>,
    /// Whether the kernel was asked for flowtables and has none: to ask takes it tens of milliseconds.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub lacks_flowtables: bool,
    /// The same of counters in the elements of sets.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub lacks_counters: bool,
    /// Changes of the table whose flows were not looked at yet, oldest first: those of the run that is at work, and of
    /// runs that were killed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unsettled: Vec<Unsettled>,
}

/// A change of the table, made or about to be made: what a flow that began before it went by.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Unsettled {
    /// The table before it.
    pub table: Former,
    /// Addresses that are the router's own from then on.
    pub come: BTreeSet<Ipv4Addr>,
    /// Addresses that were until then.
    pub gone: BTreeSet<Ipv4Addr>,
}

/// How a NIC was when we first saw it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct LinkBefore {
    /// Whether it was up, and so stays up when the file lets go of it.
    pub up: bool,
}

impl Owned {
    /// Adds what is about to become ours. To be kept on disk *before* the kernel is changed, so that a killed
    /// run leaves nothing that the next one does not know of.
    #[must_use]
    pub fn with(mut self, desired: &Desired, observed: &Observed) -> Self {
        for id in desired.links.keys() {
            if let (LinkId::Mac(mac), Ok(link)) = (*id, observed.find(*id)) {
                // One that a mirror sent by until now was set up by us.
                let before = self.raised.get(&mac).copied();
                let before = before.unwrap_or(LinkBefore { up: link.up });
                self.links.entry(mac).or_insert(before);
            }
        }
        for id in desired.hooked() {
            if observed
                .find(id)
                .is_ok_and(|link| !observed.classifiers.contains_key(&link.index))
            {
                self.classifiers.insert(id);
            }
        }
        for mac in desired.raised() {
            if let Ok(link) = observed.find(LinkId::Mac(mac)) {
                let before = self.links.get(&mac).copied();
                let before = before.unwrap_or(LinkBefore { up: link.up });
                self.raised.entry(mac).or_insert(before);
            }
        }
        let wanted = desired.sysctls_on(observed);
        // Writing `all` writes every link's, and later links start with the same: from then on `all` stands for
        // how they were. Before that, those that were off already are noted: they must not come on with it.
        let all_before = self.sysctls.get(&Sysctl::DisableIpv6All).cloned();
        let takes_all = all_before.is_none() && desired.sysctls.contains_key(&Sysctl::DisableIpv6All);
        for (key, value) in &observed.sysctls {
            // Those of a link of ours go with it.
            if matches!(key, Sysctl::Link(LinkId::Own(_), _)) {
                continue;
            }
            let is_ipv6_of_link = matches!(key, Sysctl::Link(_, LinkSysctl::DisableIpv6));
            if wanted.contains_key(key) || (is_ipv6_of_link && takes_all && value != "0") {
                let value = if is_ipv6_of_link {
                    all_before.as_ref().unwrap_or(value)
                } else {
                    value
                };
                self.sysctls.entry(*key).or_insert_with(|| value.clone());
            }
        }
        self
    }

    /// Adds a change whose flows must be looked at. One that was noted already, by a run that was killed or whose batch was
    /// refused, counts once: the list does not grow with attempts.
    pub fn note(&mut self, change: Unsettled) {
        if !self.unsettled.contains(&change) {
            self.unsettled.push(change);
        }
    }

    /// Forgets what is not ours any more: what is not desired, and NICs that are gone with all they had.
    #[must_use]
    pub fn only(mut self, desired: &Desired, observed: &Observed) -> Self {
        let there = |id: LinkId| desired.links.contains_key(&id) && observed.find(id).is_ok();
        self.links.retain(|mac, _| there(LinkId::Mac(*mac)));
        let hooked: BTreeSet<LinkId> = desired.hooked().collect();
        self.classifiers
            .retain(|id| hooked.contains(id) && observed.find(*id).is_ok());
        let raised: BTreeSet<MacAddr> = desired.raised().collect();
        let is_raised = |mac: &MacAddr| raised.contains(mac) && observed.find(LinkId::Mac(*mac)).is_ok();
        self.raised.retain(|mac, _| is_raised(mac));
        let wanted = desired.sysctls_on(observed);
        let ipv6_is_off = desired.sysctls.contains_key(&Sysctl::DisableIpv6All);
        self.sysctls.retain(|key, _| match key {
            Sysctl::Link(_, LinkSysctl::DisableIpv6) if ipv6_is_off => true,
            Sysctl::Link(id, _) => {
                let is_raised = matches!(id, LinkId::Mac(mac) if is_raised(mac));
                wanted.contains_key(key) && (there(*id) || is_raised)
            }
            _ => wanted.contains_key(key),
        });
        self
    }
}
