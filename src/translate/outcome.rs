//! What becomes of a packet, and what decided it.

use std::fmt;
use std::net::Ipv4Addr;

use serde::Serialize;

use super::packet::{Nic, Packet, Transport};
use crate::config::Place;

/// What becomes of a packet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Outcome {
    /// Where it ends.
    pub fate: Fate,
    /// The row of the packet table that speaks of it; `None`: none does, it is routed as any router would.
    pub row: Option<Row>,
    /// What decided it, in the order of the packet's way.
    pub decided_by: Vec<Decision>,
}

/// Where a packet ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fate {
    /// It leaves the router by a NIC.
    Delivered(Delivery),
    /// The router itself gets it.
    Router(Receipt),
    /// Nobody gets it.
    Dropped(Reason),
}

/// How a packet leaves the router.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Delivery {
    /// The NIC that it leaves by.
    pub nic: Nic,
    /// Whose hardware address it is sent to: the gateway, or the destination itself where that is on the link.
    pub next_hop: Ipv4Addr,
    /// The source that the receiver sees.
    pub source: Ipv4Addr,
    /// The destination that the receiver sees: its own address.
    pub destination: Ipv4Addr,
    /// Protocol and ports as the receiver sees them.
    pub transport: Transport,
    /// Whether the source port (or the echo's identifier) may be another one: it is kept unless another flow to
    /// the same place has it already.
    pub source_port_may_change: bool,
}

/// How the router takes a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Receipt {
    /// Its address that the packet is for.
    pub address: Ipv4Addr,
    /// The protocol and ports that its programs see.
    pub transport: Transport,
    /// What it answers if no program listens.
    pub answer: Answer,
}

/// What the router answers to a packet that no program of its own waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answer {
    /// An echo reply.
    EchoReply,
    /// A TCP reset.
    Reset,
    /// ICMP: port unreachable.
    PortUnreachable,
    /// ICMP: protocol unreachable.
    ProtocolUnreachable,
}

/// Why nobody gets a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reason {
    /// The configuration is empty: the machine is no router.
    NoRouter,
    /// The NIC that it should come in by is not there.
    NicMissing,
    /// A source that no packet may have: multicast, broadcast, loopback, 0.0.0.0.
    MartianSource,
    /// A destination that no packet on a wire may have: loopback, 0.0.0.0.
    MartianDestination,
    /// The source is an address of the router's own.
    OwnSource,
    /// The reverse-path filter: what is sent to the source would not leave by the NIC that this came in by.
    FalseSource,
    /// A broadcast: never forwarded. (One of the router's own needs a program that asks for it.)
    Broadcast,
    /// A multicast: never forwarded. (Of one that the router itself sends nothing is said.)
    Multicast,
    /// The destination is in a subnet whose NIC is not there.
    SubnetPending,
    /// There is no way: no external NIC is configured, or it is not there.
    NoRoute,
}

impl Reason {
    /// Every reason.
    pub const ALL: [Self; 10] = [
        Self::NoRouter,
        Self::NicMissing,
        Self::MartianSource,
        Self::MartianDestination,
        Self::OwnSource,
        Self::FalseSource,
        Self::Broadcast,
        Self::Multicast,
        Self::SubnetPending,
        Self::NoRoute,
    ];
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoRouter => "the configuration is empty",
            Self::NicMissing => "its NIC is pending",
            Self::MartianSource => "no packet may have this source",
            Self::MartianDestination => "no packet on a wire may have this destination",
            Self::OwnSource => "its source is the router's own address",
            Self::FalseSource => "its source is not behind the NIC that it came by",
            Self::Broadcast => "broadcasts are not forwarded",
            Self::Multicast => "multicasts are not forwarded",
            Self::SubnetPending => "the NIC of its subnet is pending",
            Self::NoRoute => "there is no route",
        })
    }
}

/// A row of the packet table, 1 to 10; see [`super`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct Row(pub u8);

/// What a decision is about, in the order of a packet's way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Step {
    /// Where the packet enters, and whether it may at all.
    Enter,
    /// The translation of the destination.
    Destination,
    /// Where it is sent to.
    Route,
    /// Whether its source is behind the NIC that it came in by.
    ReversePath,
    /// The translation of the source.
    Source,
    /// How it leaves.
    Leave,
    /// The way of the answer.
    Back,
}

/// One thing that was decided on a packet's way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Decision {
    /// What it is about.
    pub step: Step,
    /// A short sentence.
    pub text: String,
    /// The entry of the file that decided; `None`: what every router does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub entry: Option<Entry>,
}

/// An entry of the file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Entry {
    /// `eip_list[3]`
    pub path: String,
    /// Where it stands.
    #[serde(flatten)]
    pub place: Place,
}

impl fmt::Display for Decision {
    /// `destination 10.90.2.250 becomes 192.168.100.190 (eip_list[0], line 12)`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)?;
        match &self.entry {
            Some(entry) if self.text.contains(&entry.path) => write!(f, ", line {}", entry.place.line),
            Some(entry) => write!(f, " ({}, line {})", entry.path, entry.place.line),
            None => Ok(()),
        }
    }
}

/// The way of the answer to a packet that was delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct WayBack {
    /// The answer as its sender sends it. It comes in by the NIC that the packet left by, if the sender has the
    /// router for its gateway.
    pub sent: Packet,
    /// What becomes of it: the one who asked sees whom it asked.
    pub fate: Fate,
}
