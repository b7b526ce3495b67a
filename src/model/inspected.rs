//! What a kernel is asked about the way of one packet, and what it says.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use super::{Flow, LinkIndex, nft};

/// What is to be looked at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Questions {
    /// Where packets would be sent.
    pub routes: Vec<RouteQuestion>,
    /// Neighbours that must answer ARP.
    pub neighbours: Vec<(LinkIndex, Ipv4Addr)>,
    /// Parameters, by their paths below `/proc/sys/net`.
    pub sysctls: Vec<String>,
    /// The first packet of the flows that are looked for, whatever its source port.
    pub flow: Option<nft::Packet>,
}

/// A packet at the moment that it is routed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RouteQuestion {
    /// Its destination then.
    pub destination: Ipv4Addr,
    /// Its source.
    pub source: Ipv4Addr,
    /// The link that it came in by; `None`: the router itself sends it.
    pub from: Option<LinkIndex>,
    /// Its mark.
    pub mark: u32,
}

/// Where the kernel sends a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RouteAnswer {
    /// Out by this link, to this neighbour.
    Leaves(LinkIndex, Ipv4Addr),
    /// To itself.
    Local,
    /// Nowhere: the error number (`errno(3)`, positive).
    Refused(i32),
    /// It was not told in a way that we know: a route of another kind, by its name.
    Other(String),
}

/// What the kernel knows of a neighbour (`NUD_*`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Neighbour {
    /// It answers, or needs not be asked.
    Answers,
    /// It did a while ago, and has not been heard of since.
    Stale,
    /// It was asked, and does not answer.
    Silent,
    /// Nobody has asked, or the answer is still waited for.
    Unknown,
}

/// A base chain of nftables that is not ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForeignChain {
    /// `ip`, `inet`, …
    pub family: &'static str,
    /// Its table.
    pub table: String,
    /// Its name.
    pub name: String,
    /// `prerouting`, `input`, `forward`, `output`, `postrouting`; `None`: a hook of a link.
    pub hook: Option<&'static str>,
    /// What it does with what no rule decides: whether it drops.
    pub drops: bool,
}

/// What a kernel said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Inspected {
    /// To each question about routes.
    pub routes: Vec<RouteAnswer>,
    /// Of each neighbour.
    pub neighbours: Vec<Neighbour>,
    /// Whether something is at the other end of the wire, of every link.
    pub carriers: BTreeMap<LinkIndex, bool>,
    /// The parameters that exist.
    pub sysctls: BTreeMap<String, String>,
    /// How many flows are tracked, and how many can be.
    pub tracked: Option<(u64, u64)>,
    /// Flows of this packet.
    pub flows: Vec<Flow>,
    /// Base chains that are not ours.
    pub chains: Vec<ForeignChain>,
    /// Tables of iptables-legacy that are there.
    pub legacy: Vec<String>,
    /// What could not be looked at, and why.
    pub unseen: Vec<String>,
}

/// Which packet is to be followed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Followed {
    /// As it arrives, from whatever port.
    pub packet: nft::Packet,
    /// Whether the router itself sends it.
    pub own: bool,
    /// Its answer, as it arrives: the source with its port, and the destination.
    pub answer: Option<((Ipv4Addr, Option<u16>), Ipv4Addr)>,
}

/// Where a packet is seen that is followed: first and last at each hook of netfilter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Waypoint {
    /// Where it comes in by a link, before anything else.
    Entered,
    /// After translation of its destination, before it is routed.
    BeforeRouting,
    /// When it was routed to the router itself.
    ForTheRouter,
    /// When the router itself takes it.
    Taken,
    /// When it was routed to somebody else.
    Routed,
    /// When nobody on the way forbade it.
    Forwarded,
    /// Where the router itself sends it.
    Sent,
    /// The same after translation of its destination.
    SentOn,
    /// As it leaves.
    Left,
}

impl Waypoint {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Entered,
        Self::BeforeRouting,
        Self::ForTheRouter,
        Self::Taken,
        Self::Routed,
        Self::Forwarded,
        Self::Sent,
        Self::SentOn,
        Self::Left,
    ];

    /// The name of its chain.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Entered => "entered",
            Self::BeforeRouting => "before_routing",
            Self::ForTheRouter => "for_the_router",
            Self::Taken => "taken",
            Self::Routed => "routed",
            Self::Forwarded => "forwarded",
            Self::Sent => "sent",
            Self::SentOn => "sent_on",
            Self::Left => "left",
        }
    }
}

/// One thing that nftables did to a packet that is followed (nft(8), monitor trace).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Traced {
    /// Which packet.
    pub id: u32,
    /// `ip`, `inet`, …
    pub family: &'static str,
    /// The table.
    pub table: String,
    /// The chain.
    pub chain: String,
    /// Where the packet was seen; `None`: in a chain of somebody else's, or of our own table.
    pub waypoint: Option<Waypoint>,
    /// The rule's number; `None`: the chain's policy, or its end.
    pub rule: Option<u64>,
    /// What came of it.
    pub verdict: Verdict,
    /// The packet, where it was told.
    pub packet: Option<nft::Packet>,
    /// The link that it came in by.
    pub from: Option<LinkIndex>,
    /// The link that it goes out by.
    pub to: Option<LinkIndex>,
}

/// What a rule or a chain said of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It goes on.
    Continues,
    /// It is dropped (or rejected).
    Dropped,
    /// A program gets it (`queue`), or it was taken away.
    Taken,
}
