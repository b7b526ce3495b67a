//! The two kinds of IPv4 routes that a router needs: the way out, and the addresses that it answers for.

use std::fmt;
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};

/// `RT_TABLE_MAIN`, linux/rtnetlink.h: the one that the ways out are in.
pub const TABLE_MAIN: u32 = 254;
/// `RT_TABLE_LOCAL`: the one that the router's own addresses are in, and the elastic IPs.
pub const TABLE_LOCAL: u32 = 255;

/// What the kernel does with a packet that takes the route.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum RouteKind {
    /// Forwards it (`RTN_UNICAST`).
    Unicast,
    /// Takes it for its own, and answers ARP for it (`RTN_LOCAL`).
    Local,
    /// Refuses it, and tells the sender (`RTN_UNREACHABLE`).
    Unreachable,
}

/// An IPv4 route out of a link `L`: a [`super::LinkId`] where it is desired, a [`super::LinkIndex`] in the kernel.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, Serialize)]
pub struct Route<L> {
    /// What it is for.
    pub destination: Ipv4Net,
    /// The kernel's number of its table (`RT_TABLE_MAIN` 254, `RT_TABLE_LOCAL` 255).
    pub table: u32,
    /// What happens to a packet.
    pub kind: RouteKind,
    /// The next hop; `None` where the destination is on the link itself.
    #[serde(default)]
    pub gateway: Option<Ipv4Addr>,
    /// The link that packets leave by; `lo` where they leave by none.
    pub link: L,
    /// Lower wins; 0 is what a route without a metric has.
    #[serde(default)]
    pub metric: u32,
    /// Who made it (`rtm_protocol`, linux/rtnetlink.h).
    pub protocol: u8,
}

impl<L> Route<L> {
    /// The same route out of another link.
    pub fn on<M>(&self, link: M) -> Route<M> {
        Route {
            destination: self.destination,
            table: self.table,
            kind: self.kind,
            gateway: self.gateway,
            link,
            metric: self.metric,
            protocol: self.protocol,
        }
    }

    /// Whether this is a way to everywhere.
    #[must_use]
    pub fn is_default(&self) -> bool {
        self.kind == RouteKind::Unicast && self.destination.prefix_len() == 0
    }
}

impl<L> fmt::Display for Route<L> {
    /// The words of ip-route(8), without the link.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            RouteKind::Unicast => {}
            RouteKind::Local => f.write_str("local ")?,
            RouteKind::Unreachable => f.write_str("unreachable ")?,
        }
        match self.destination.prefix_len() {
            0 => f.write_str("default")?,
            32 => write!(f, "{}", self.destination.addr())?,
            _ => write!(f, "{}", self.destination)?,
        }
        if let Some(gateway) = self.gateway {
            write!(f, " via {gateway}")?;
        }
        if self.metric != 0 {
            write!(f, " metric {}", self.metric)?;
        }
        Ok(())
    }
}
