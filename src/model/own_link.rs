//! Links that we make ourselves: VLANs, tunnels and overlays, all of them named `kvr-…`.

use std::collections::BTreeSet;
use std::fmt;
use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

use super::{LinkId, LinkName, MacAddr};

/// What the names of links of ours begin with.
pub const OWN_PREFIX: &str = "kvr-";

/// The name of a link of ours: [`OWN_PREFIX`], and what fits into the kernel's 15 bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct OwnName([u8; Self::LENGTH]);

impl OwnName {
    /// The kernel's `IFNAMSIZ` without the zero at the end.
    const LENGTH: usize = 15;

    /// The name, if it is one of ours.
    #[must_use]
    pub fn new(name: &str) -> Option<Self> {
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
        let rest = name.strip_prefix(OWN_PREFIX)?;
        if rest.is_empty() || name.len() > Self::LENGTH || !name.bytes().all(is_plain) {
            return None;
        }
        let mut bytes = [0; Self::LENGTH];
        bytes[..name.len()].copy_from_slice(name.as_bytes());
        Some(Self(bytes))
    }

    /// A name that follows from what a link is, with a letter for its kind: the same wherever and whenever it is made, so
    /// that links with other ends have other names, and one that is to go is never in the way of one that comes.
    #[must_use]
    pub fn of(kind: char, ends: &[u8]) -> Self {
        // FNV-1a, 64 bits: of a few hundred links, two have one name with a chance of one in 10^14.
        let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
        for byte in ends {
            hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
        let mut bytes = [0; Self::LENGTH];
        let digits = format!("{OWN_PREFIX}{}{:010x}", kind.to_ascii_lowercase(), hash >> 24);
        for (byte, digit) in bytes.iter_mut().zip(digits.bytes()) {
            *byte = digit;
        }
        Self(bytes)
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        let length = self.0.iter().position(|byte| *byte == 0).unwrap_or(Self::LENGTH);
        std::str::from_utf8(&self.0[..length]).unwrap_or_default()
    }

    /// The name as the kernel's links have it.
    #[must_use]
    pub fn link_name(&self) -> LinkName {
        LinkName(self.as_str().into())
    }
}

impl fmt::Display for OwnName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for OwnName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl TryFrom<String> for OwnName {
    type Error = String;

    fn try_from(name: String) -> Result<Self, String> {
        Self::new(&name).ok_or_else(|| format!("{name}: not a name of a link of ours"))
    }
}

impl From<OwnName> for String {
    fn from(name: OwnName) -> Self {
        name.as_str().to_owned()
    }
}

/// What a link of ours is; `L` names the link below it: a [`LinkId`] where it is desired, a [`super::LinkIndex`] in the kernel.
/// What is said of none here is the same for all: no learning, no flags of its own (`kernel/rtnetlink/own_link` says which).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum OwnKind<L> {
    /// One VLAN (IEEE 802.1Q) of a link.
    Vlan {
        /// The link that its frames leave by, with a tag.
        parent: L,
        /// 1..=4094.
        id: u16,
    },
    /// Ethernet in GRE (RFC 2784, with the key of RFC 2890).
    Gretap {
        /// The source of its packets; `None`: what the route says.
        local: Option<Ipv4Addr>,
        /// Where they go.
        remote: Ipv4Addr,
        /// What tells tunnels between the same two ends apart; `None`: no key in the header.
        key: Option<u32>,
    },
    /// ERSPAN (draft-foschiano-erspan).
    Erspan {
        /// The source of its packets; `None`: what the route says.
        local: Option<Ipv4Addr>,
        /// Where they go.
        remote: Ipv4Addr,
        /// The session, 0..=1023: what a collector tells them by.
        session: u32,
        /// Which header.
        version: Erspan,
    },
    /// An overlay subnet (RFC 7348). Who is where is said by entries of its forwarding database alone: it does not learn.
    Vxlan {
        /// The number of the subnet, 24 bits.
        vni: u32,
        /// The source of its packets.
        local: Ipv4Addr,
        /// The UDP port that they are sent to and taken from.
        port: u16,
    },
    /// A link with one of our names that we would not make: of another kind, or with other settings. In the kernel only.
    Other(String),
}

/// The versions of ERSPAN's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Erspan {
    /// Version 1 (type II): with an index, 20 bits.
    V1 {
        /// What it is called where the switch's port would be.
        index: u32,
    },
    /// Version 2 (type III): with a time stamp.
    V2,
}

impl<L> OwnKind<L> {
    /// The same with another name for the link below it; `None` if that has none.
    pub fn on<M>(&self, link: impl FnOnce(&L) -> Option<M>) -> Option<OwnKind<M>> {
        Some(match self {
            Self::Vlan { parent, id } => OwnKind::Vlan {
                parent: link(parent)?,
                id: *id,
            },
            Self::Gretap { local, remote, key } => OwnKind::Gretap {
                local: *local,
                remote: *remote,
                key: *key,
            },
            Self::Erspan {
                local,
                remote,
                session,
                version,
            } => OwnKind::Erspan {
                local: *local,
                remote: *remote,
                session: *session,
                version: *version,
            },
            Self::Vxlan { vni, local, port } => OwnKind::Vxlan {
                vni: *vni,
                local: *local,
                port: *port,
            },
            Self::Other(kind) => OwnKind::Other(kind.clone()),
        })
    }

    /// The link below it.
    #[must_use]
    pub fn parent(&self) -> Option<&L> {
        match self {
            Self::Vlan { parent, .. } => Some(parent),
            _ => None,
        }
    }

    /// Whether it is one that we would make.
    #[must_use]
    pub fn is_ours(&self) -> bool {
        !matches!(self, Self::Other(_))
    }
}

impl<L> fmt::Display for OwnKind<L> {
    /// The words of ip-link(8), without the link below.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ends = |f: &mut fmt::Formatter<'_>, kind, local: &Option<Ipv4Addr>, remote| {
            write!(f, "{kind} remote {remote}")?;
            local.iter().try_for_each(|local| write!(f, " local {local}"))
        };
        match self {
            Self::Vlan { id, .. } => write!(f, "vlan id {id}"),
            Self::Gretap { local, remote, key } => {
                ends(f, "gretap", local, remote)?;
                key.iter().try_for_each(|key| write!(f, " key {key}"))
            }
            Self::Erspan {
                local,
                remote,
                session,
                version,
            } => {
                ends(f, "erspan", local, remote)?;
                write!(f, " key {session} ")?;
                match version {
                    Erspan::V1 { index } => write!(f, "erspan_ver 1 erspan {index}"),
                    Erspan::V2 => f.write_str("erspan_ver 2"),
                }
            }
            Self::Vxlan { vni, local, port } => write!(f, "vxlan id {vni} local {local} dstport {port}"),
            Self::Other(kind) => f.write_str(kind),
        }
    }
}

/// A link of ours that the kernel has, or is to make.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct OwnLink<L> {
    /// What it is.
    pub kind: OwnKind<L>,
    /// The largest packet that fits into a frame of it; `None`: as the kernel thinks right.
    #[serde(default)]
    pub mtu: Option<u32>,
    /// Its hardware address; `None`: any.
    #[serde(default)]
    pub mac: Option<MacAddr>,
}

/// A link of ours that must be there, and up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DesiredOwnLink {
    /// What it is.
    pub kind: OwnKind<LinkId>,
    /// Its MTU.
    pub mtu: OwnMtu,
    /// Its hardware address; `None`: that is not ours to say.
    pub mac: Option<MacAddr>,
    /// A link without which it is not made, and goes; `None`: it needs none.
    pub over: Option<LinkId>,
}

/// How large packets on a link of ours may be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum OwnMtu {
    /// That is not ours to say.
    Any,
    /// So many bytes.
    Fixed(u32),
    /// What the largest of other links takes, less some bytes. With none of them there: not ours to say.
    Of {
        /// The links.
        links: BTreeSet<LinkId>,
        /// How many bytes less.
        less: u32,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_ours_or_none() {
        assert_eq!(OwnName::new("kvr-vx16777215").unwrap().as_str(), "kvr-vx16777215");
        for foreign in [
            "",
            "kvr-",
            "eth0",
            "xkvr-1",
            "kvr-a b",
            "kvr-a/b",
            "kvr-much-too-long",
            "KVR-1",
        ] {
            assert_eq!(OwnName::new(foreign), None, "{foreign}");
        }
    }

    #[test]
    fn a_name_follows_from_the_ends_and_fits() {
        let name = OwnName::of('g', b"172.19.0.21 99");
        assert_eq!(name.as_str().len(), 15);
        assert_eq!(OwnName::new(name.as_str()), Some(name));
        assert_eq!(OwnName::of('g', b"172.19.0.21 99"), name);
        assert_ne!(OwnName::of('g', b"172.19.0.21 98"), name);
        assert_ne!(OwnName::of('e', b"172.19.0.21 99"), name);
    }
}
