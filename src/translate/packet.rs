//! A packet at the moment that it enters the router, as values.

use std::fmt;
use std::net::Ipv4Addr;

use serde::Serialize;

use crate::config::Protocol;

/// A NIC of the file, by its place in `if_list`, counted from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct Nic(pub usize);

impl fmt::Display for Nic {
    /// `if_list[1]`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "if_list[{}]", self.0)
    }
}

/// Where a packet enters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Origin {
    /// It comes in by a NIC, the external one or that of a subnet.
    Nic(Nic),
    /// A program on the router sends it.
    Router,
}

/// What a packet carries: its protocol, and ports where there are any.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Transport {
    /// The first packet of a TCP connection.
    Tcp(Ports),
    /// A UDP datagram.
    Udp(Ports),
    /// An ICMP echo request.
    Echo,
    /// Any other protocol, by its number: translated by address alone.
    Other(u8),
}

/// The two ports of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Ports {
    /// The sender's.
    pub source: u16,
    /// The receiver's.
    pub destination: u16,
}

impl Transport {
    /// The protocol of a forward, and the ports; `None`: it has none.
    #[must_use]
    pub fn ports(self) -> Option<(Protocol, Ports)> {
        match self {
            Self::Tcp(ports) => Some((Protocol::Tcp, ports)),
            Self::Udp(ports) => Some((Protocol::Udp, ports)),
            Self::Echo | Self::Other(_) => None,
        }
    }

    /// The same with another destination port. What has no ports stays as it is.
    #[must_use]
    pub fn to_port(self, destination: u16) -> Self {
        match self {
            Self::Tcp(ports) => Self::Tcp(Ports { destination, ..ports }),
            Self::Udp(ports) => Self::Udp(Ports { destination, ..ports }),
            Self::Echo | Self::Other(_) => self,
        }
    }

    /// That of an answer: the ports change places.
    #[must_use]
    pub fn reversed(self) -> Self {
        let swap = |ports: Ports| Ports {
            source: ports.destination,
            destination: ports.source,
        };
        match self {
            Self::Tcp(ports) => Self::Tcp(swap(ports)),
            Self::Udp(ports) => Self::Udp(swap(ports)),
            Self::Echo | Self::Other(_) => self,
        }
    }
}

/// The first packet of a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Packet {
    /// Where it enters.
    pub from: Origin,
    /// Who seems to have sent it.
    pub source: Ipv4Addr,
    /// Where it is for.
    pub destination: Ipv4Addr,
    /// What it carries.
    pub transport: Transport,
}

impl fmt::Display for Packet {
    /// `tcp 192.168.100.190:4000 > 10.90.2.254:80 in by if_list[1]`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            source, destination, ..
        } = self;
        match self.transport {
            Transport::Echo => write!(f, "icmp echo {source} > {destination}")?,
            Transport::Other(number) => write!(f, "protocol {number} {source} > {destination}")?,
            Transport::Tcp(ports) => write!(
                f,
                "tcp {source}:{} > {destination}:{}",
                ports.source, ports.destination
            )?,
            Transport::Udp(ports) => write!(
                f,
                "udp {source}:{} > {destination}:{}",
                ports.source, ports.destination
            )?,
        }
        match self.from {
            Origin::Nic(nic) => write!(f, " in by {nic}"),
            Origin::Router => f.write_str(" from the router"),
        }
    }
}
