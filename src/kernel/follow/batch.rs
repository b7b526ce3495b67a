//! The table that follows a packet, as one batch.

use std::net::Ipv4Addr;

use nix::libc;

use super::super::netfilter::message::Messages;
use crate::model::inspected::{Followed, Waypoint};
use crate::owned::NFT_TRACE_TABLE;

/// Each chain's hook (`NF_INET_*`) and priority: before and after all others. At the first ones, fragments were not
/// put together yet (-400, `NF_IP_PRI_CONNTRACK_DEFRAG`): only the first has ports.
const CHAINS: [(Waypoint, libc::c_int, i32); 9] = [
    (Waypoint::Entered, libc::NF_INET_PRE_ROUTING, i32::MIN + 1),
    (Waypoint::BeforeRouting, libc::NF_INET_PRE_ROUTING, LAST),
    (Waypoint::ForTheRouter, libc::NF_INET_LOCAL_IN, i32::MIN + 1),
    (Waypoint::Taken, libc::NF_INET_LOCAL_IN, LAST),
    (Waypoint::Routed, libc::NF_INET_FORWARD, i32::MIN + 1),
    (Waypoint::Forwarded, libc::NF_INET_FORWARD, LAST),
    (Waypoint::Sent, libc::NF_INET_LOCAL_OUT, i32::MIN + 1),
    (Waypoint::SentOn, libc::NF_INET_LOCAL_OUT, LAST),
    (Waypoint::Left, libc::NF_INET_POST_ROUTING, LAST),
];

/// Before `NF_IP_PRI_CONNTRACK_CONFIRM` (`INT_MAX`), which may still drop.
const LAST: i32 = i32::MAX - 1;

/// Attributes of linux/netfilter/nf_tables.h.
mod attribute {
    pub const TABLE_NAME: u16 = 1;
    pub const TABLE_FLAGS: u16 = 2;
    pub const CHAIN_TABLE: u16 = 1;
    pub const CHAIN_NAME: u16 = 3;
    pub const CHAIN_HOOK: u16 = 4;
    pub const CHAIN_TYPE: u16 = 7;
    pub const HOOK_NUMBER: u16 = 1;
    pub const HOOK_PRIORITY: u16 = 2;
    pub const RULE_TABLE: u16 = 1;
    pub const RULE_CHAIN: u16 = 2;
    pub const RULE_EXPRESSIONS: u16 = 4;
    pub const LIST_ELEMENT: u16 = 1;
    pub const EXPRESSION_NAME: u16 = 1;
    pub const EXPRESSION_DATA: u16 = 2;
    pub const DATA_VALUE: u16 = 1;
}

/// `NFT_TABLE_F_OWNER`
const OWNER: u32 = 2;
const REGISTER: u32 = libc::NFT_REG_1 as u32;

/// How many sequence numbers the two batches take at most.
pub(super) const MOST: u32 = 32;
pub(super) const REMOVAL: u32 = 3;

/// Messages with running numbers.
struct Batch {
    messages: Messages,
    next: u32,
}

impl Batch {
    fn begin(first: u32) -> Self {
        let mut messages = Messages::default();
        messages.batch_edge(libc::NFNL_MSG_BATCH_BEGIN, first, |_| ());
        Self {
            messages,
            next: first + 1,
        }
    }

    fn add(&mut self, kind: libc::c_int, flags: libc::c_int, write: impl FnOnce(&mut Messages)) {
        self.messages
            .message(kind, libc::NLM_F_REQUEST | flags, self.next, write);
        self.next += 1;
    }

    fn end(mut self) -> Messages {
        self.messages.acknowledge_last();
        self.messages
            .batch_edge(libc::NFNL_MSG_BATCH_END, self.next, |_| ());
        self.messages
    }
}

/// In place of one that was left over (by one that was killed, before Linux 5.12): add, delete, add is no error whether there is
/// one or not.
pub(super) fn create(followed: &Followed, owned: bool, first: u32) -> Messages {
    let mut batch = Batch::begin(first);
    let name = |message: &mut Messages| message.text(attribute::TABLE_NAME, NFT_TRACE_TABLE);
    batch.add(libc::NFT_MSG_NEWTABLE, libc::NLM_F_CREATE, name);
    batch.add(libc::NFT_MSG_DELTABLE, 0, name);
    batch.add(libc::NFT_MSG_NEWTABLE, libc::NLM_F_CREATE, |message| {
        name(message);
        if owned {
            message.number(attribute::TABLE_FLAGS, OWNER);
        }
    });
    for (waypoint, hook, priority) in CHAINS {
        // add chain ip kylin_vr_trace NAME { type filter hook HOOK priority PRIORITY; }
        batch.add(libc::NFT_MSG_NEWCHAIN, libc::NLM_F_CREATE, |message| {
            message.text(attribute::CHAIN_TABLE, NFT_TRACE_TABLE);
            message.text(attribute::CHAIN_NAME, waypoint.name());
            message.nested(attribute::CHAIN_HOOK, |message| {
                message.number(attribute::HOOK_NUMBER, hook as u32);
                message.attribute(attribute::HOOK_PRIORITY, &priority.to_be_bytes());
            });
            message.text(attribute::CHAIN_TYPE, "filter");
        });
    }
    let packet = followed.packet;
    let chain = if followed.own {
        Waypoint::Sent
    } else {
        Waypoint::Entered
    };
    let port = packet.destination_port.map(|port| (DESTINATION_PORT, port));
    rule(
        &mut batch,
        chain,
        packet.protocol,
        (packet.source, packet.destination),
        port,
    );
    if let Some(((source, port), destination)) = followed.answer {
        let port = port.map(|port| (SOURCE_PORT, port));
        rule(
            &mut batch,
            Waypoint::Entered,
            packet.protocol,
            (source, destination),
            port,
        );
    }
    batch.end()
}

pub(super) fn remove(first: u32) -> Messages {
    let mut batch = Batch::begin(first);
    batch.add(libc::NFT_MSG_DELTABLE, 0, |message| {
        message.text(attribute::TABLE_NAME, NFT_TRACE_TABLE);
    });
    batch.end()
}

/// Offsets into the headers of IPv4, and of TCP and UDP.
const PROTOCOL: u32 = 9;
const SOURCE: u32 = 12;
const DESTINATION: u32 = 16;
const SOURCE_PORT: u32 = 0;
const DESTINATION_PORT: u32 = 2;

/// add rule ip kylin_vr_trace CHAIN ip protocol P ip saddr S ip daddr D th dport N limit rate 1/second burst 1 packets
/// meta nftrace set 1
fn rule(
    batch: &mut Batch,
    chain: Waypoint,
    protocol: u8,
    (source, destination): (Ipv4Addr, Ipv4Addr),
    port: Option<(u32, u16)>,
) {
    let flags = libc::NLM_F_CREATE | libc::NLM_F_APPEND;
    batch.add(libc::NFT_MSG_NEWRULE, flags, |message| {
        message.text(attribute::RULE_TABLE, NFT_TRACE_TABLE);
        message.text(attribute::RULE_CHAIN, chain.name());
        message.nested(attribute::RULE_EXPRESSIONS, |list| {
            let network = libc::NFT_PAYLOAD_NETWORK_HEADER as u32;
            field_is(list, network, PROTOCOL, &[protocol]);
            field_is(list, network, SOURCE, &source.octets());
            field_is(list, network, DESTINATION, &destination.octets());
            if let Some((offset, port)) = port {
                let transport = libc::NFT_PAYLOAD_TRANSPORT_HEADER as u32;
                field_is(list, transport, offset, &port.to_be_bytes());
            }
            expression(list, "limit", |data| {
                // NFTA_LIMIT_RATE, NFTA_LIMIT_UNIT (seconds), NFTA_LIMIT_BURST: a flood of packets is no flood of events.
                data.attribute(1, &1_u64.to_be_bytes());
                data.attribute(2, &1_u64.to_be_bytes());
                data.number(3, 1);
            });
            expression(list, "immediate", |data| {
                // NFTA_IMMEDIATE_DREG, NFTA_IMMEDIATE_DATA
                data.number(1, REGISTER);
                data.nested(2, |data| data.attribute(attribute::DATA_VALUE, &[1]));
            });
            expression(list, "meta", |data| {
                // NFTA_META_KEY, NFTA_META_SREG
                data.number(2, libc::NFT_META_NFTRACE as u32);
                data.number(3, REGISTER);
            });
        });
    });
}

/// Bytes of a header are these, else the rule ends.
fn field_is(list: &mut Messages, base: u32, offset: u32, value: &[u8]) {
    expression(list, "payload", |data| {
        // NFTA_PAYLOAD_DREG, _BASE, _OFFSET, _LEN
        data.number(1, REGISTER);
        data.number(2, base);
        data.number(3, offset);
        data.number(4, value.len() as u32);
    });
    expression(list, "cmp", |data| {
        // NFTA_CMP_SREG, _OP, _DATA
        data.number(1, REGISTER);
        data.number(2, libc::NFT_CMP_EQ as u32);
        data.nested(3, |data| data.attribute(attribute::DATA_VALUE, value));
    });
}

fn expression(list: &mut Messages, name: &str, write: impl FnOnce(&mut Messages)) {
    list.nested(attribute::LIST_ELEMENT, |element| {
        element.text(attribute::EXPRESSION_NAME, name);
        element.nested(attribute::EXPRESSION_DATA, write);
    });
}
