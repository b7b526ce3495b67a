//! Network links as the kernel names them, and as the file does (by hardware address).

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{MacAddr, OwnName};
use crate::words::printable;

/// The kernel's number of a link (`ifindex`); a link that comes back has another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, Serialize)]
#[serde(transparent)]
pub struct LinkIndex(pub u32);

/// The kernel's name of a link (`IFNAMSIZ`: 15 bytes), which udev may change at any time. Shared: each of ten thousand routes
/// of a plan names its link.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, Serialize)]
#[serde(transparent)]
pub struct LinkName(pub Arc<str>);

impl fmt::Display for LinkName {
    /// For people: the kernel takes any byte but `/`, `:` and white space, so also what a terminal acts on.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&printable(&self.0))
    }
}

/// How a desired state names a link: by what stays the same over renames and reboots.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LinkId {
    /// `lo`.
    Loopback,
    /// The NIC with this hardware address.
    Mac(MacAddr),
    /// The link of ours with this name.
    Own(OwnName),
}

impl fmt::Display for LinkId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Loopback => f.write_str("lo"),
            Self::Mac(mac) => mac.fmt(f),
            Self::Own(name) => name.fmt(f),
        }
    }
}

/// A link that the kernel has.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Link {
    /// Its number.
    pub index: LinkIndex,
    /// Its name at the time of the look.
    pub name: LinkName,
    /// What a desired state would call it; `None` for links that have no Ethernet address.
    pub id: Option<LinkId>,
    /// Whether it is administratively up (`IFF_UP`).
    pub up: bool,
    /// Whether it sits on another link and borrows that one's address (vlan, macvlan, bridge, bond, …):
    /// such a link is never the NIC that the file means.
    #[serde(default)]
    pub stacked: bool,
    /// Whether it has IPv6 addresses beyond the link-local one.
    #[serde(default)]
    pub ipv6_in_use: bool,
    /// Whether udevd is still at work on it, and will perhaps rename it: until then it counts as missing.
    #[serde(default)]
    pub udev_pending: bool,
    /// The largest packet that fits into a frame of it, bytes (Ethernet's 1,500 where that was not told).
    #[serde(default = "ethernet")]
    pub mtu: u32,
}

const fn ethernet() -> u32 {
    1_500
}
