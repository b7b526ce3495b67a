//! Looks at what the kernel would do with one packet, and at what is in its way; changes nothing, but that neighbours are
//! asked by ARP, as a packet to them would have it done.

use std::collections::BTreeMap;
use std::fs;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use nix::libc;

use super::conntrack::Conntrack;
use super::netfilter::message::Attributes;
use super::netfilter::socket::{NetfilterSocket, Request, Subsystem};
use super::rtnetlink::Rtnetlink;
use super::{Error, sysctl};
use crate::model::inspected::{ForeignChain, Inspected, Neighbour, Questions};
use crate::model::nft::Packet;
use crate::model::{LinkIndex, Observed};
use crate::owned::{NFT_TABLE, NFT_TRACE_TABLE};

/// The tables of iptables-legacy that have rules or policies in this namespace.
const LEGACY_TABLES: &str = "/proc/thread-self/net/ip_tables_names";
const TRACKED: &str = "netfilter/nf_conntrack_count";
const TRACKED_MAX: &str = "netfilter/nf_conntrack_max";
/// So many flows of one packet are told of: many clients behind one address have as many.
const MOST_FLOWS: usize = 1000;
/// How long a neighbour is asked: three times, a second apart (`mcast_solicit`, `retrans_time_ms`; arp(7)).
const ARP_PATIENCE: Duration = Duration::from_millis(3_500);
const ARP_INTERVAL: Duration = Duration::from_millis(50);

/// A look at what everybody may see.
pub struct Observer(Rtnetlink);

impl Observer {
    /// Opens the socket; needs no rights.
    ///
    /// # Errors
    /// If there is no rtnetlink to be had.
    pub fn open() -> Result<Self, Error> {
        Rtnetlink::open().map(Self)
    }

    /// Links, addresses and routes, without sysctls and our table.
    ///
    /// # Errors
    /// If rtnetlink refuses.
    pub fn links(&mut self) -> Result<Observed, Error> {
        Ok(self.0.observe(super::rtnetlink::Routes::All)?.0)
    }
}

/// An open look at the kernel.
pub struct Inspector {
    rtnetlink: Rtnetlink,
    asked: Instant,
}

impl Inspector {
    /// Opens the sockets, and has the kernel ask these neighbours.
    ///
    /// # Errors
    /// If there is no rtnetlink to be had.
    pub fn open(neighbours: &[(LinkIndex, Ipv4Addr)]) -> Result<Self, Error> {
        let mut rtnetlink = Rtnetlink::open()?;
        for (link, address) in neighbours {
            rtnetlink.solicit(*link, *address)?;
        }
        Ok(Self {
            rtnetlink,
            asked: Instant::now(),
        })
    }

    /// Answers all questions. What cannot be seen is said, and stops nothing. Waits until the neighbours have answered, or had
    /// their time since they were asked.
    ///
    /// # Errors
    /// If rtnetlink refuses.
    pub fn inspect(&mut self, questions: &Questions) -> Result<Inspected, Error> {
        let mut inspected = Inspected {
            carriers: self.rtnetlink.carriers()?,
            ..Inspected::default()
        };
        for question in &questions.routes {
            inspected.routes.push(self.rtnetlink.route(question)?);
        }
        for path in &questions.sysctls {
            if let Some(value) = sysctl::read(path)? {
                inspected.sysctls.insert(path.clone(), value);
            }
        }
        inspected.tracked = number(TRACKED)?.zip(number(TRACKED_MAX)?);
        if let Some(packet) = questions.flow {
            let seen = flows(packet).map(|flows| inspected.flows = flows);
            inspected.unseen.extend(seen.err().map(|error| error.to_string()));
        }
        let seen = foreign_chains().map(|chains| inspected.chains = chains);
        inspected.unseen.extend(seen.err().map(|error| error.to_string()));
        // There is none where the module was never loaded.
        let legacy = fs::read_to_string(LEGACY_TABLES).unwrap_or_default();
        inspected.legacy = legacy.lines().map(str::to_owned).collect();
        inspected.neighbours = self.neighbours(&questions.neighbours)?;
        Ok(inspected)
    }

    fn neighbours(&mut self, neighbours: &[(LinkIndex, Ipv4Addr)]) -> Result<Vec<Neighbour>, Error> {
        loop {
            let mut known = Vec::new();
            for (link, address) in neighbours {
                known.push(self.rtnetlink.neighbour(*link, *address)?);
            }
            let is_settled = |one: &Neighbour| matches!(one, Neighbour::Answers | Neighbour::Silent);
            if known.iter().all(is_settled) || self.asked.elapsed() > ARP_PATIENCE {
                return Ok(known);
            }
            std::thread::sleep(ARP_INTERVAL);
        }
    }
}

fn number(path: &str) -> Result<Option<u64>, Error> {
    Ok(sysctl::read(path)?.and_then(|text| text.parse().ok()))
}

/// The tracked flows that began with such a packet.
fn flows(packet: Packet) -> Result<Vec<crate::model::Flow>, Error> {
    let mut found = Vec::new();
    // None is ended: the table is only read.
    Conntrack::open()?.end_flows(&mut |flow| {
        if flow.original == packet && found.len() < MOST_FLOWS && !found.contains(flow) {
            found.push(*flow);
        }
        false
    })?;
    Ok(found)
}

/// Base chains of other tables that IPv4 packets meet.
fn foreign_chains() -> Result<Vec<ForeignChain>, Error> {
    let request = Request {
        to: &Subsystem {
            number: libc::NFNL_SUBSYS_NFTABLES,
            holds: "other nftables chains",
        },
        what: "list all chains",
        kind: libc::NFT_MSG_GETCHAIN,
        flags: libc::NLM_F_DUMP,
        names: &[],
    };
    let mut socket = NetfilterSocket::open().map_err(|source| Error::Read {
        what: "other nftables chains".to_owned(),
        source,
    })?;
    let mut chains = Vec::new();
    socket.ask_of(libc::NFPROTO_UNSPEC as u8, &request, |family, message| {
        chains.extend(foreign_chain(family, message)?);
        Ok(())
    })?;
    Ok(chains)
}

/// `NFTA_CHAIN_*` and `NFTA_HOOK_HOOKNUM`, linux/netfilter/nf_tables.h.
mod attribute {
    pub const TABLE: u16 = 1;
    pub const NAME: u16 = 3;
    pub const HOOK: u16 = 4;
    pub const POLICY: u16 = 5;
    pub const HOOK_NUMBER: u16 = 1;
}

fn foreign_chain(family: u8, message: &[u8]) -> Result<Option<ForeignChain>, String> {
    let attributes = Attributes::<8>::read(message)?;
    let (Some(hook), Some(family)) = (attributes.get(attribute::HOOK), family_name(family)) else {
        return Ok(None);
    };
    let table = attributes.text(attribute::TABLE).unwrap_or_default();
    if family == "ip" && [NFT_TABLE, NFT_TRACE_TABLE].contains(&table.as_str()) {
        return Ok(None);
    }
    let number = Attributes::<2>::read(hook)?.number(attribute::HOOK_NUMBER);
    // `NF_INET_*`; in a netdev table all hooks are those of a link, and in inet there is one more (ingress).
    let hook = match number {
        _ if family == "netdev" => None,
        Some(0) => Some("prerouting"),
        Some(1) => Some("input"),
        Some(2) => Some("forward"),
        Some(3) => Some("output"),
        Some(4) => Some("postrouting"),
        _ => None,
    };
    Ok(Some(ForeignChain {
        family,
        table,
        name: attributes.text(attribute::NAME).unwrap_or_default(),
        hook,
        drops: attributes.number(attribute::POLICY) == Some(libc::NF_DROP as u32),
    }))
}

/// The families whose chains IPv4 packets meet.
pub(super) fn family_name(family: u8) -> Option<&'static str> {
    BTreeMap::from([
        (libc::NFPROTO_INET, "inet"),
        (libc::NFPROTO_IPV4, "ip"),
        (libc::NFPROTO_NETDEV, "netdev"),
    ])
    .get(&libc::c_int::from(family))
    .copied()
}
