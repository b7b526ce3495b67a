//! Where the neighbours on an overlay link are: entries of its forwarding database, and of the ARP table.

use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::{LinkIndex, MacAddr};

/// The destination of a frame: a NIC's address, a group's, or zero, which stands for whatever has no entry of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct FrameAddr(pub [u8; 6]);

impl FrameAddr {
    /// Broadcast, and what has no entry of its own: flooded (`all_zeros_mac`, drivers/net/vxlan).
    pub const OTHERS: Self = Self([0; 6]);

    /// Whether frames to it may go to several hosts at once.
    #[must_use]
    pub fn is_many(self) -> bool {
        self == Self::OTHERS || self.0[0] & 1 == 1
    }
}

impl From<MacAddr> for FrameAddr {
    fn from(mac: MacAddr) -> Self {
        Self(mac.octets())
    }
}

impl fmt::Display for FrameAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl FromStr for FrameAddr {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut octets = [0; 6];
        let mut parts = text.split(':');
        for octet in &mut octets {
            let part = parts.next().filter(|part| part.len() == 2);
            *octet = part
                .and_then(|part| u8::from_str_radix(part, 16).ok())
                .ok_or_else(|| format!("{text}: not a hardware address"))?;
        }
        match parts.next() {
            None => Ok(Self(octets)),
            Some(_) => Err(format!("{text}: not a hardware address")),
        }
    }
}

impl TryFrom<String> for FrameAddr {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<FrameAddr> for String {
    fn from(address: FrameAddr) -> Self {
        address.to_string()
    }
}

/// What a link is told for good of a neighbour. What the kernel finds out by itself (ARP) is none of these.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Neighbour {
    /// Frames to a hardware address are sent to a host (`bridge fdb`).
    Forward {
        /// The frames' destination.
        to: FrameAddr,
        /// The host, by its address in the network below.
        host: Ipv4Addr,
        /// The UDP port there; `None`: the link's own. We never say another one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        port: Option<u16>,
        /// The number of the subnet there; `None`: the link's own. We never say another one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        vni: Option<u32>,
        /// The link that they leave by; `None`: what the route says. We never say one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        out: Option<LinkIndex>,
    },
    /// An address has a hardware address: nobody is asked for it (`ip neighbour`).
    Address {
        /// The address.
        address: Ipv4Addr,
        /// Its hardware address.
        mac: FrameAddr,
    },
}

/// What an entry is found by: one that comes takes the place of one that has the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum NeighbourKey {
    /// Frames to one hardware address go to one host.
    Forward(FrameAddr),
    /// Frames to many: each host has an entry.
    Flood(Neighbour),
    /// An address has one hardware address.
    Address(Ipv4Addr),
}

impl Neighbour {
    /// Frames to this address go to this host.
    #[must_use]
    pub fn forward(to: impl Into<FrameAddr>, host: Ipv4Addr) -> Self {
        Self::Forward {
            to: to.into(),
            host,
            port: None,
            vni: None,
            out: None,
        }
    }

    /// What it is found by.
    #[must_use]
    pub fn key(&self) -> NeighbourKey {
        match self {
            Self::Forward { to, .. } if to.is_many() => NeighbourKey::Flood(*self),
            Self::Forward { to, .. } => NeighbourKey::Forward(*to),
            Self::Address { address, .. } => NeighbourKey::Address(*address),
        }
    }

    /// Whether it goes when its link goes down, or gets another hardware address (`neigh_changeaddr`, `neigh_ifdown`,
    /// net/core/neighbour.c): entries of the forwarding database stay.
    #[must_use]
    pub fn is_flushed(&self) -> bool {
        matches!(self, Self::Address { .. })
    }
}

/// An entry on a link, in the words of ip(8) and bridge(8).
pub struct OnLink<'n>(pub &'n Neighbour, pub &'n super::LinkName);

impl fmt::Display for OnLink<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(neighbour, link) = self;
        match neighbour {
            Neighbour::Forward {
                to,
                host,
                port,
                vni,
                out,
            } => {
                write!(f, "{to} dev {link} dst {host}")?;
                port.iter().try_for_each(|port| write!(f, " port {port}"))?;
                vni.iter().try_for_each(|vni| write!(f, " vni {vni}"))?;
                out.iter().try_for_each(|out| write!(f, " via if{}", out.0))
            }
            Neighbour::Address { address, mac } => write!(f, "{address} lladdr {mac} dev {link}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_s_address_reads_back() {
        for text in ["00:00:00:00:00:00", "02:6e:1d:4e:69:ef", "ff:ff:ff:ff:ff:ff"] {
            assert_eq!(text.parse::<FrameAddr>().unwrap().to_string(), text);
        }
        for text in [
            "",
            "0:0:0:0:0:0",
            "00:00:00:00:00",
            "00:00:00:00:00:00:00",
            "gg:00:00:00:00:00",
        ] {
            assert!(text.parse::<FrameAddr>().is_err(), "{text}");
        }
    }

    #[test]
    fn one_host_takes_the_place_of_another_but_not_among_many() {
        let host = |last| Ipv4Addr::new(10, 90, 4, last);
        let vm: FrameAddr = "02:6e:1d:4e:69:ef".parse().unwrap();
        let key = |to, last| Neighbour::forward(to, host(last)).key();
        assert_eq!(key(vm, 11), key(vm, 12));
        assert_ne!(key(FrameAddr::OTHERS, 11), key(FrameAddr::OTHERS, 12));
    }
}
