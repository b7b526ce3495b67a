//! One event of nftables tracing (`NFT_MSG_TRACE`), as a value.

use std::net::Ipv4Addr;

use nix::libc;

use super::super::conntrack::has_ports;
use super::super::inspect::family_name;
use super::super::netfilter::message::Attributes;
use crate::model::LinkIndex;
use crate::model::inspected::{Traced, Verdict, Waypoint};
use crate::model::nft::Packet;
use crate::owned::NFT_TRACE_TABLE;

/// `NFTA_TRACE_*`, linux/netfilter/nf_tables.h.
mod attribute {
    pub const TABLE: u16 = 1;
    pub const CHAIN: u16 = 2;
    pub const RULE: u16 = 3;
    pub const KIND: u16 = 4;
    pub const VERDICT: u16 = 5;
    pub const ID: u16 = 6;
    pub const NETWORK_HEADER: u16 = 8;
    pub const TRANSPORT_HEADER: u16 = 9;
    pub const FROM: u16 = 10;
    pub const TO: u16 = 12;
    pub const POLICY: u16 = 16;
    /// `NFTA_VERDICT_CODE`
    pub const VERDICT_CODE: u16 = 1;
}

/// `NFT_TRACETYPE_POLICY`, `NFT_TRACETYPE_RULE`
const POLICY: u32 = 1;
const RULE: u32 = 3;

/// `None`: of a family whose packets are not ours.
pub(super) fn read(family: u8, message: &[u8]) -> Result<Option<Traced>, String> {
    let Some(family) = family_name(family) else {
        return Ok(None);
    };
    let attributes = Attributes::<17>::read(message)?;
    let kind = attributes.number(attribute::KIND);
    let code = match (kind, attributes.get(attribute::VERDICT)) {
        (Some(POLICY), _) => attributes.number(attribute::POLICY),
        (_, Some(verdict)) => Attributes::<3>::read(verdict)?.number(attribute::VERDICT_CODE),
        (_, None) => None,
    };
    let handle = attributes
        .get(attribute::RULE)
        .and_then(|value| value.try_into().ok());
    let link = |kind| attributes.number(kind).map(LinkIndex);
    let table = attributes.text(attribute::TABLE).unwrap_or_default();
    let chain = attributes.text(attribute::CHAIN).unwrap_or_default();
    let is_ours = family == "ip" && table == NFT_TRACE_TABLE;
    Ok(Some(Traced {
        waypoint: Waypoint::ALL
            .into_iter()
            .find(|one| is_ours && one.name() == chain),
        id: attributes.number(attribute::ID).ok_or("no id")?,
        family,
        table,
        chain,
        rule: handle.map(u64::from_be_bytes).filter(|_| kind == Some(RULE)),
        // Jumps, returns and the like are negative (`NFT_JUMP`, …).
        verdict: match code.map(u32::cast_signed) {
            Some(libc::NF_DROP) => Verdict::Dropped,
            Some(code) if code == libc::NF_STOLEN || code & 0xff == libc::NF_QUEUE => Verdict::Taken,
            _ => Verdict::Continues,
        },
        packet: packet(&attributes),
        from: link(attribute::FROM),
        to: link(attribute::TO),
    }))
}

/// The packet by its headers, as it is at this place.
fn packet(attributes: &Attributes<'_, 17>) -> Option<Packet> {
    let header = attributes.get(attribute::NETWORK_HEADER)?;
    let address = |at: usize| {
        let octets: [u8; 4] = header.get(at..at + 4)?.try_into().ok()?;
        Some(Ipv4Addr::from(octets))
    };
    let protocol = *header.get(9)?;
    let port = || {
        let transport = attributes.get(attribute::TRANSPORT_HEADER)?;
        Some(u16::from_be_bytes(transport.get(2..4)?.try_into().ok()?))
    };
    Some(Packet {
        protocol,
        source: address(12)?,
        destination: address(16)?,
        destination_port: if has_ports(protocol) { port() } else { None },
    })
}
