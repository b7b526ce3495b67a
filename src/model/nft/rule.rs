//! Rules and the statements they are made of.

use std::fmt;
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};

use super::FieldType;

/// A rule: statements from left to right, up to the first that does not hold or that ends the chain.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Rule {
    /// What it does.
    pub statements: Vec<Statement>,
    /// What it is for: seen in `nft list ruleset`; at most 127 bytes, no quotation mark.
    pub comment: String,
}

/// A field of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Field {
    /// The source address of the IPv4 header.
    IpSaddr,
    /// The last byte of the source address, the others zero: as an address, so that a set of addresses holds it.
    IpSaddrLastByte,
    /// The destination address of the IPv4 header.
    IpDaddr,
    /// The transport protocol.
    L4Proto,
    /// The destination port of the transport header.
    ThDport,
    /// The source port of the transport header.
    ThSport,
    /// The address that the first packet of the packet's connection was sent to, before any translation.
    CtOriginalDaddr,
    /// The address that answers of the packet's connection are sent to: what its source is seen as.
    CtReplyDaddr,
}

impl Field {
    /// nft(8)'s words.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::IpSaddr => "ip saddr",
            Self::IpSaddrLastByte => "ip saddr & 0.0.0.255",
            Self::IpDaddr => "ip daddr",
            Self::L4Proto => "meta l4proto",
            Self::ThDport => "th dport",
            Self::ThSport => "th sport",
            Self::CtOriginalDaddr => "ct original ip daddr",
            Self::CtReplyDaddr => "ct reply ip daddr",
        }
    }
}

/// One statement or match of a rule.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Statement {
    /// Goes on if the fields are in the set (or are not, where `negate`). Where its elements count
    /// ([`super::Set::counts`]), the one that is found counts the packet.
    InSet {
        /// The fields that are looked up, together.
        key: Vec<Field>,
        /// The set's name.
        set: String,
        /// Whether it must not be in the set.
        negate: bool,
    },
    /// Goes on if the address is in the subnet (or is not, where `negate`).
    InSubnet {
        /// The address.
        field: Field,
        /// The subnet, without bits of a host.
        subnet: Ipv4Net,
        /// Whether it must not be in it.
        negate: bool,
    },
    /// Goes on if the packet is of this transport protocol and to one of these ports.
    Ports {
        /// The protocol (`IPPROTO_*`).
        protocol: u8,
        /// The first port.
        first: u16,
        /// The last port, included.
        last: u16,
    },
    /// Goes on if all of these bits of the packet's mark are set.
    MarkHas(u32),
    /// Sets these bits of the packet's mark and leaves the others.
    MarkSet(u32),
    /// Goes on if the packet is of a tracked flow that was answered, or of one that belongs to such a flow
    /// (`IP_CT_ESTABLISHED`).
    Established,
    /// Goes on unless the kernel finds the packet in no connection, nor one that begins (`NF_CT_STATE_INVALID_BIT`): then no
    /// chain of type nat is asked about it.
    NotInvalid,
    /// Has the flowtable of this name take the packet's flow, if the kernel can: one of TCP that is open or of UDP. Goes on
    /// in any case.
    FlowAdd(String),
    /// Translates the destination; goes on to the next rule where the map has no entry.
    Dnat(NatTarget),
    /// Translates the source; goes on to the next rule where the map has no entry.
    Snat(NatTarget),
    /// Goes on if the packet goes the way that its connection's first one did; or (`reply`) the other way.
    Direction {
        /// Whether against the first one.
        reply: bool,
    },
    /// Goes on if the destination of the packet's connection is translated (`IPS_DST_NAT`).
    DestinationTranslated,
    /// Goes on if the source of the packet's connection is translated (`IPS_SRC_NAT`).
    SourceTranslated,
    /// Goes on if the packet begins a TCP connection, or answers such, and has it say no larger segments than fit into the
    /// packets of its way, there and back (`NFT_RT_TCPMSS`, Linux 4.14). It never raises what is said.
    ClampMss,
    /// Ends the chain.
    Return,
    /// Ends the packet.
    Drop,
    /// What somebody else put into the chain: never desired, and so always a difference.
    Foreign(String),
}

/// What an address becomes.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum NatTarget {
    /// This address.
    Address(Ipv4Addr),
    /// What the map holds for these fields: an address, or an address and a port.
    Map {
        /// The fields that make the key.
        key: Vec<Field>,
        /// The map's name.
        map: String,
        /// Whether its values have a port beside the address.
        port: bool,
    },
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, statement) in self.statements.iter().enumerate() {
            if position > 0 {
                f.write_str(" ")?;
            }
            statement.fmt(f)?;
        }
        if !self.comment.is_empty() {
            write!(f, " comment \"{}\"", self.comment)?;
        }
        Ok(())
    }
}

impl fmt::Display for Statement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InSet { key, set, negate } => {
                write!(f, "{} {}@{set}", joined(key), if *negate { "!= " } else { "" })
            }
            Self::InSubnet {
                field,
                subnet,
                negate,
            } => {
                let negation = if *negate { "!= " } else { "" };
                write!(f, "{} {negation}{}", field.as_str(), subnet.addr())?;
                let is_whole = subnet.prefix_len() == subnet.max_prefix_len();
                if is_whole {
                    Ok(())
                } else {
                    write!(f, "/{}", subnet.prefix_len())
                }
            }
            Self::Ports {
                protocol,
                first,
                last,
            } => {
                f.write_str("meta l4proto ")?;
                FieldType::InetProto.write(f, u32::from(*protocol))?;
                write!(f, " th dport {first}-{last}")
            }
            Self::MarkHas(bits) => write!(f, "meta mark & 0x{bits:08x} == 0x{bits:08x}"),
            Self::MarkSet(bits) => write!(f, "meta mark set meta mark | 0x{bits:08x}"),
            Self::Established => f.write_str("ct state established"),
            Self::NotInvalid => f.write_str("ct state established,related,new,untracked"),
            Self::FlowAdd(flowtable) => write!(f, "flow add @{flowtable}"),
            Self::Dnat(target) => write!(f, "dnat {target}"),
            Self::Snat(target) => write!(f, "snat {target}"),
            Self::Direction { reply: false } => f.write_str("ct direction original"),
            Self::Direction { reply: true } => f.write_str("ct direction reply"),
            Self::DestinationTranslated => f.write_str("ct status dnat"),
            Self::SourceTranslated => f.write_str("ct status snat"),
            Self::ClampMss => f.write_str("tcp flags syn tcp option maxseg size set rt mtu"),
            Self::Return => f.write_str("return"),
            Self::Drop => f.write_str("drop"),
            Self::Foreign(expressions) => write!(f, "# not ours: {expressions}"),
        }
    }
}

fn joined(key: &[Field]) -> String {
    let words: Vec<_> = key.iter().map(|field| field.as_str()).collect();
    words.join(" . ")
}

impl fmt::Display for NatTarget {
    /// nft(8) wants the family spelt out where a map's values have a port.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => write!(f, "to {address}"),
            Self::Map { key, map, port } => {
                let key = joined(key);
                write!(f, "{}to {key} map @{map}", if *port { "ip " } else { "" })
            }
        }
    }
}
