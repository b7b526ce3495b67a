//! An entry of `mirror_list`: whose packets are copied, which of them, and where to.

use std::fmt;
use std::net::Ipv4Addr;
use std::sync::Arc;

use ipnet::Ipv4Net;
use serde::Serialize;

use super::Place;
use crate::model::MacAddr;

/// Packets that are copied to analysers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Mirror {
    /// What it is called: at most [`Mirror::LONGEST_NAME`] bytes, since the kernel keeps it with what copies.
    pub name: Arc<str>,
    /// Whose packets.
    pub source: Source,
    /// Those that it sends, that it is sent, or both.
    pub select: Select,
    /// Which of them.
    pub filter: Filter,
    /// Where copies go; at least one.
    pub to: Arc<[Target]>,
    /// How many bytes of a packet are copied; 0: all.
    pub snaplen: u32,
    /// One in so many is copied, by chance; at least 1.
    pub sample: u32,
    /// Where the entry stands.
    pub place: Place,
}

impl Mirror {
    /// `TC_COOKIE_MAX_SIZE`, linux/pkt_cls.h.
    pub const LONGEST_NAME: usize = 16;
    /// Each target is an action of a filter, of which the kernel takes 32 (`TCA_ACT_MAX_PRIO`).
    pub const MOST_TARGETS: usize = 16;
    /// The least that can be kept of a packet: an Ethernet header, and the kernel's smallest MTU (`ETH_MIN_MTU`).
    pub const LEAST_SNAPLEN: u32 = 82;

    /// What is copied of the source's packets, in words.
    #[must_use]
    pub fn which(&self) -> String {
        let Filter { protocol, port, cidr } = self.filter;
        let mut words: Vec<String> = Vec::new();
        words.extend(protocol.map(|protocol| protocol.to_string()));
        words.extend(port.map(|port| format!("port {port}")));
        words.extend(cidr.map(|cidr| format!("cidr {cidr}")));
        if self.sample > 1 {
            words.push(format!("one in {}", self.sample));
        }
        if self.snaplen > 0 {
            words.push(format!("{} bytes of each", self.snaplen));
        }
        if words.is_empty() {
            words.push("all".to_owned());
        }
        words.join(", ")
    }

    /// Where copies go, in words.
    #[must_use]
    pub fn targets(&self) -> String {
        let targets: Vec<String> = self.to.iter().map(ToString::to_string).collect();
        targets.join(", ")
    }
}

impl fmt::Display for Mirror {
    /// `ids-1 (src of vm-ip 192.168.100.190, tcp, port 443) to gre 172.19.0.21 key 99`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} ({} of {}, {}) to {}",
            self.name,
            self.select,
            self.source,
            self.which(),
            self.targets()
        )
    }
}

/// Whose packets are copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Source {
    /// All that comes in and leaves by one of the router's NICs.
    Mac(MacAddr),
    /// Those of addresses of a subnet, or a part of it.
    Subnet(Ipv4Net),
    /// Those of one VM.
    VmIp(Ipv4Addr),
    /// All that comes in and leaves by the NICs of subnets.
    All,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Mac(mac) => write!(f, "mac {mac}"),
            Self::Subnet(net) => write!(f, "subnet {net}"),
            Self::VmIp(vm) => write!(f, "vm-ip {vm}"),
            Self::All => f.write_str("all"),
        }
    }
}

/// Which direction is copied, seen from the source.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Select {
    /// Both.
    #[default]
    Both,
    /// What the source sends.
    Src,
    /// What the source is sent.
    Dst,
}

impl fmt::Display for Select {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Both => "both",
            Self::Src => "src",
            Self::Dst => "dst",
        })
    }
}

/// Which packets are copied; `None`: whatever they have there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Filter {
    /// Of this protocol.
    pub protocol: Option<FilterProtocol>,
    /// From or to this port.
    pub port: Option<u16>,
    /// From or to one of these addresses.
    pub cidr: Option<Ipv4Net>,
}

/// A protocol that can be chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum FilterProtocol {
    /// ICMP.
    Icmp = 1,
    /// TCP.
    Tcp = 6,
    /// UDP.
    Udp = 17,
}

impl fmt::Display for FilterProtocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Icmp => "icmp",
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        })
    }
}

/// Where copies go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Target {
    /// Out of a NIC of the router's that is nothing else, as they are (SPAN).
    Nic {
        /// The NIC.
        mac: MacAddr,
    },
    /// Into a GRE tunnel, with their Ethernet header.
    Gre {
        /// The collector.
        remote: Ipv4Addr,
        /// What it tells mirrors apart by.
        key: Option<u32>,
    },
    /// Into an ERSPAN tunnel.
    Erspan {
        /// The collector.
        remote: Ipv4Addr,
        /// What it tells mirrors apart by, 0..=1023.
        session: u32,
        /// The index in the header of version 1, 20 bits.
        index: u32,
        /// 1 or 2.
        version: u8,
    },
    /// Out of a NIC with a VLAN tag, towards a switch that carries them on (RSPAN).
    Vlan {
        /// The NIC.
        mac: MacAddr,
        /// 1..=4094.
        id: u16,
    },
}

impl Target {
    /// The collector that a tunnel ends at.
    #[must_use]
    pub fn remote(&self) -> Option<Ipv4Addr> {
        match self {
            Self::Gre { remote, .. } | Self::Erspan { remote, .. } => Some(*remote),
            Self::Nic { .. } | Self::Vlan { .. } => None,
        }
    }

    /// The NIC that copies leave by.
    #[must_use]
    pub fn mac(&self) -> Option<MacAddr> {
        match self {
            Self::Nic { mac } | Self::Vlan { mac, .. } => Some(*mac),
            Self::Gre { .. } | Self::Erspan { .. } => None,
        }
    }

    /// How many bytes a tunnel's packet has more than what it carries has without its Ethernet header: that, GRE's (with a key, a
    /// sequence number), ERSPAN's, and that of IPv4.
    #[must_use]
    pub fn overhead(&self) -> u32 {
        14 + match self {
            Self::Nic { .. } => return 0,
            // A tag is no part of what an MTU counts.
            Self::Vlan { .. } => return 0,
            Self::Gre { key: None, .. } => 20 + 4,
            Self::Gre { key: Some(_), .. } => 20 + 8,
            Self::Erspan { version: 1, .. } => 20 + 8 + 8,
            Self::Erspan { .. } => 20 + 8 + 12,
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nic { mac } => write!(f, "nic {mac}"),
            Self::Gre { remote, key } => {
                write!(f, "gre {remote}")?;
                key.iter().try_for_each(|key| write!(f, " key {key}"))
            }
            Self::Erspan {
                remote,
                session,
                index,
                version,
            } => {
                write!(f, "erspan {remote} session {session} version {version}")?;
                if *version == 1 {
                    write!(f, " index {index}")?;
                }
                Ok(())
            }
            Self::Vlan { mac, id } => write!(f, "vlan {id} on {mac}"),
        }
    }
}
