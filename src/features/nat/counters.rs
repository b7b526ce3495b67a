//! Packets, bytes and connections by elastic IP and by forward. Pure.
//!
//! What is counted is what goes by an outside address, whoever is at the other end (a client, another VM by way of its own
//! elastic IP): *in* before its destination is translated, *out* after its source was. There both carry the address and
//! the port that the file names, so one key does for both, and a VM that moves keeps its counts. Traffic inside the VPC
//! is not counted. (What the router itself sends to an elastic IP has that as its source as well: it counts both ways, but as no
//! connection.)
//!
//! A packet is counted by an element that the first one of its key makes ([`Count`]), so entries cost a reload nothing,
//! and no change of the maps touches a count. Only who replaces the whole table starts at nothing: a file that turns
//! counters on or off, the first run after an update that has other chains, the repair of a table that somebody spoilt.
//! Connections are counted where only first packets come, in the chains of type nat.

use std::collections::BTreeSet;

use serde::Serialize;

use super::{EIP_TO_VM, FORWARD, FORWARD_RANGE, NAT_DST, NAT_SRC, VM_TO_EIP, VPC_SUBNETS, rule};
use crate::config::{Eip, Forward};
use crate::model::nft::{
    Chain, ChainKind, Count, Counted, Counts, Field, FieldType, Hook, Rule, Set, Statement, Table, Tuple,
};

/// Before the destination is translated.
const BEFORE_NAT: i32 = NAT_DST - 50;
/// After source translation.
const AFTER_NAT: i32 = NAT_SRC + 50;

/// The sets that count what one map knows.
struct Sets {
    map: &'static str,
    to: &'static str,
    from: &'static str,
    connections: &'static str,
}

const EIPS: Sets = Sets {
    map: EIP_TO_VM,
    to: "count_eip_in",
    from: "count_eip_out",
    connections: "count_eip_in_connections",
};
/// Connections that a VM with an elastic IP began, by VM.
const OUT_CONNECTIONS: &str = "count_eip_out_connections";
const FORWARDS: Sets = Sets {
    map: FORWARD,
    to: "count_forward_in",
    from: "count_forward_out",
    connections: "count_forward_connections",
};
/// Sets of their own, an element for each port that is used: who tries all ports of a long range fills these and keeps no
/// other forward from being counted.
const RANGES: Sets = Sets {
    map: FORWARD_RANGE,
    to: "count_range_in",
    from: "count_range_out",
    connections: "count_range_connections",
};

/// Adds to the table what counts.
pub(super) fn count(table: &mut Table) {
    let holds = |map: &str| table.sets.get(map).is_some_and(|set| !set.elements.is_empty());
    let counted: Vec<&Sets> = [&EIPS, &FORWARDS, &RANGES]
        .into_iter()
        .filter(|sets| holds(sets.map))
        .collect();
    let mut after = Vec::new();
    let inside = Statement::InSet {
        field: Field::IpDaddr,
        set: VPC_SUBNETS.to_owned(),
        negate: false,
    };
    let mut before = vec![rule(
        vec![inside, Statement::Return],
        "what stays inside is not counted",
    )];
    for sets in &counted {
        let is_eip = sets.map == EIP_TO_VM;
        let (to, from): (&[Field], &[Field]) = if is_eip {
            (&[Field::IpDaddr], &[Field::IpSaddr])
        } else {
            (
                &[Field::IpDaddr, Field::L4Proto, Field::ThDport],
                &[Field::IpSaddr, Field::L4Proto, Field::ThSport],
            )
        };
        // A forward's port may be the source port of a connection from the router's own address: the packets of that one go
        // the other way.
        let direction = |reply| (!is_eip).then_some(Statement::Direction { reply });
        let statements = |reply, key, set| {
            let count = Statement::Count(counting(key, sets.map, set));
            let all = direction(reply).into_iter().chain([count, Statement::Return]);
            all.collect()
        };
        before.push(rule(
            statements(false, to, sets.to),
            "counted: in, by what the file names",
        ));
        after.push(rule(
            statements(true, from, sets.from),
            "counted: out, by what the file names",
        ));
        let count = Statement::Count(counting(to, sets.map, sets.connections));
        insert(
            table,
            "destination",
            sets.map,
            rule(vec![count], "counted: a new connection"),
        );
        let key: &[FieldType] = if is_eip {
            &[FieldType::Ipv4Addr]
        } else {
            &[FieldType::Ipv4Addr, FieldType::InetProto, FieldType::InetService]
        };
        for name in [sets.to, sets.from, sets.connections] {
            table.sets.insert(name.to_owned(), Set::counting(key));
        }
        if is_eip {
            // By VM: its address is what the rule knows (nft 1.0.6 dies of a set's key that comes out of a map).
            let count = counting(&[Field::IpSaddr], VM_TO_EIP, OUT_CONNECTIONS);
            let count = rule(vec![Statement::Count(count)], "counted: a new connection");
            insert(table, "source", VM_TO_EIP, count);
            table
                .sets
                .insert(OUT_CONNECTIONS.to_owned(), Set::counting(&[FieldType::Ipv4Addr]));
        }
    }
    table.chains.insert(
        "count_in".to_owned(),
        Chain {
            kind: ChainKind::Filter,
            hook: Hook::Prerouting,
            priority: BEFORE_NAT,
            rules: before,
        },
    );
    table.chains.insert(
        "count_out".to_owned(),
        Chain {
            kind: ChainKind::Filter,
            hook: Hook::Postrouting,
            priority: AFTER_NAT,
            rules: after,
        },
    );
}

fn counting(key: &[Field], map: &str, set: &str) -> Count {
    Count {
        key: key.to_vec(),
        map: map.to_owned(),
        set: set.to_owned(),
    }
}

/// Puts a rule before the one that translates by this map.
fn insert(table: &mut Table, chain: &str, map: &str, rule: Rule) {
    use crate::model::nft::NatTarget::Map;
    let Some(chain) = table.chains.get_mut(chain) else {
        return;
    };
    let translates = |one: &Rule| {
        matches!(one.statements.last(), Some(Statement::Dnat(Map { map: by, .. }) | Statement::Snat(Map { map: by, .. }))
            if by == map)
    };
    if let Some(place) = chain.rules.iter().position(translates) {
        chain.rules.insert(place, rule);
    }
}

/// What went by one entry since it is there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Traffic {
    /// Packets to the outside address.
    pub packets_in: u64,
    /// Their bytes, from the IP header on.
    pub bytes_in: u64,
    /// Packets from it.
    pub packets_out: u64,
    /// Their bytes.
    pub bytes_out: u64,
    /// Connections that others began.
    pub connections_in: u64,
    /// Connections that the VM began, since it has an elastic IP; of a forward none.
    pub connections_out: u64,
}

/// What was counted of elastic IPs, in their order. What a VM began counts for the first that it has: that is its source.
#[must_use]
pub fn of_eips(counts: &Counts, entries: &[Eip]) -> Vec<Traffic> {
    let mut seen = BTreeSet::new();
    let of = |entry: &Eip| {
        let (key, vm) = (Tuple::from(entry.eip), Tuple::from(entry.vm));
        let is_source = seen.insert(entry.vm);
        let began = is_source.then(|| sum(counts, OUT_CONNECTIONS, vm, vm).packets);
        Traffic {
            connections_out: began.unwrap_or_default(),
            ..traffic(counts, &EIPS, key, key)
        }
    };
    entries.iter().map(of).collect()
}

/// What was counted of a forward: of a range, all its ports together.
#[must_use]
pub fn of_forward(counts: &Counts, entry: &Forward) -> Traffic {
    let long = super::is_long_range(entry);
    let sets = if long { &RANGES } else { &FORWARDS };
    let key = |port| super::outside(entry, port);
    traffic(counts, sets, key(entry.port), key(entry.end_port))
}

fn traffic(counts: &Counts, sets: &Sets, first: Tuple, last: Tuple) -> Traffic {
    let of = |set| sum(counts, set, first, last);
    let (to, from) = (of(sets.to), of(sets.from));
    Traffic {
        packets_in: to.packets,
        bytes_in: to.bytes,
        packets_out: from.packets,
        bytes_out: from.bytes,
        connections_in: of(sets.connections).packets,
        connections_out: 0,
    }
}

/// What was counted of all keys from `first` to `last`.
fn sum(counts: &Counts, set: &str, first: Tuple, last: Tuple) -> Counted {
    let mut sum = Counted::default();
    let counted = counts.get(set).into_iter();
    for (_, one) in counted.flat_map(|counted| counted.range(first..=last)) {
        sum += *one;
    }
    sum
}
