//! Packets, bytes and connections by elastic IP and by forward. Pure.
//!
//! What is counted is what goes by an outside address, whoever is at the other end (a client, another VM by way of its own
//! elastic IP): *in* what is sent to it, *out* what comes from it, by the address and port that the file names, so a VM that
//! moves keeps its counts. Traffic inside the VPC is not counted.
//!
//! Elements count: those of sets that hold the same keys as the maps, for packets, and those of the maps themselves, for
//! connections, since the kernel looks into these once a flow, at its first packet, and would do that anyway. So nothing
//! else may look into the maps.
//!
//! After all translation, what is tracked of a connection says by which address it goes, in both directions: a packet is
//! looked up there only if its connection is translated, and where it then is to be found: most cost one look-up. A port
//! that was forwarded is not seen there any more (nft(8) has no words for a key with the port that a connection began with),
//! so these packets are counted before their destination is translated, where there are such forwards.
//!
//! What the router itself sends to an elastic IP is counted, *in*; the answers come by no hook that counts.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use serde::Serialize;

use super::{EIP_TO_VM, FORWARD, FORWARD_RANGE, NAT_DST, NAT_SRC, VM_TO_EIP, rule};
use crate::config::{Eip, Forward};
use crate::model::nft::{
    Chain, ChainKind, Counted, Counts, Element, Field, FieldType, Hook, Rule, Set, Statement, Table, Tuple,
};

/// Just before the destination is translated, and just after the source was.
const BEFORE_NAT: i32 = NAT_DST - 1;
const AFTER_NAT: i32 = NAT_SRC + 1;

/// Elastic IPs.
const EIPS: Sets = Sets {
    to: "count_in",
    from: "count_out",
};
/// The addresses of forwards: what is of none needs no look at ports.
const FORWARDED: &str = "count_forwarded";
/// Forwarded ports.
const FORWARDS: Sets = Sets {
    to: "count_forward_in",
    from: "count_forward_out",
};
/// Long ranges of them that are alone: by address and protocol.
const RANGES: Sets = Sets {
    to: "count_range_in",
    from: "count_range_out",
};
/// Long ranges beside others: by their ports.
const SHARED_RANGES: Sets = Sets {
    to: "count_shared_range_in",
    from: "count_shared_range_out",
};

/// The sets that count what one map knows.
struct Sets {
    to: &'static str,
    from: &'static str,
}

/// Adds to the table what counts. `shifted` are the long ranges whose ports the table has one by one: what counts needs no
/// element a port, of which each costs the kernel some kilobytes while it tells a monitor of it.
pub(super) fn count(table: &mut Table, shifted: &[Element]) {
    for map in [EIP_TO_VM, VM_TO_EIP, FORWARD, FORWARD_RANGE] {
        if let Some(map) = table.sets.get_mut(map) {
            map.counts = true;
        }
    }
    let (mut before, mut after, mut last) = (Vec::new(), Vec::new(), Vec::new());
    if let Some(keys) = keys(table, EIP_TO_VM, &[]) {
        (after, last) = of_eips_after_nat();
        add(table, &EIPS, keys);
    }
    let forwards = keys(table, FORWARD, shifted).map(|keys| (FORWARDS, keys));
    let (alone, shared) = ranges(table, forwards.as_ref().map(|(_, keys)| keys), shifted);
    let shared = (!shared.elements.is_empty()).then_some((SHARED_RANGES, shared));
    let forwards: Vec<(Sets, Set)> = forwards.into_iter().chain(shared).collect();
    let is_forwarded = |key, negate| Statement::InSet {
        key: vec![key],
        set: FORWARDED.to_owned(),
        negate,
    };
    if !forwards.is_empty() {
        let mut addresses = Set::new(&[FieldType::Ipv4Addr], &[], false);
        for element in forwards.iter().flat_map(|(_, keys)| keys.elements.keys()) {
            let address = Element::key(Ipv4Addr::from(element.first.0[0]));
            addresses.elements.insert(address, Tuple::default());
        }
        table.sets.insert(FORWARDED.to_owned(), addresses);
        before.push(rule(
            vec![is_forwarded(Field::IpDaddr, true), Statement::Return],
            "of no forward: not counted here",
        ));
        // To look among thousands of elastic IPs in vain costs more than to ask the few addresses of forwards first.
        if !last.is_empty() {
            after.push(rule(
                vec![
                    Statement::DestinationTranslated,
                    Statement::Direction { reply: false },
                    is_forwarded(Field::CtOriginalDaddr, false),
                    Statement::Return,
                ],
                "to a forward: counted before",
            ));
        }
    }
    for (sets, keys) in forwards {
        // A forward's port may be the source port of a connection that begins at its address: answers to that one are none of
        // the forward's.
        let key = [Field::IpDaddr, Field::L4Proto, Field::ThDport];
        let statements = vec![
            Statement::Direction { reply: false },
            look(&key, sets.to),
            Statement::Return,
        ];
        before.push(rule(statements, "counted: to a forward"));
        let mut statements = vec![
            Statement::DestinationTranslated,
            Statement::Direction { reply: true },
        ];
        if !last.is_empty() {
            statements.push(is_forwarded(Field::CtOriginalDaddr, false));
        }
        let key = [Field::IpSaddr, Field::L4Proto, Field::ThSport];
        statements.extend([look(&key, sets.from), Statement::Return]);
        after.push(rule(statements, "counted: from a forward"));
        add(table, &sets, keys);
    }
    after.append(&mut last);
    if !alone.elements.is_empty() {
        for (reply, set) in [(false, RANGES.to), (true, RANGES.from)] {
            let key = [Field::CtOriginalDaddr, Field::L4Proto];
            let statements = vec![
                Statement::DestinationTranslated,
                Statement::Direction { reply },
                look(&key, set),
                Statement::Return,
            ];
            after.push(rule(statements, "counted: of a long range"));
        }
        add(table, &RANGES, alone);
    }
    for (name, hook, priority, rules) in [
        ("count_before", Hook::Prerouting, BEFORE_NAT, before),
        ("count", Hook::Postrouting, AFTER_NAT, after),
    ] {
        if !rules.is_empty() {
            let chain = Chain {
                kind: ChainKind::Filter,
                hook,
                priority,
                rules,
            };
            table.chains.insert(name.to_owned(), chain);
        }
    }
}

/// Of a connection that a VM with an elastic IP began, its source is that; of one to an elastic IP, its destination. Of one
/// from a VM with an elastic IP to another both, or to a forward: so the first rules do not end the chain.
fn of_eips_after_nat() -> (Vec<Rule>, Vec<Rule>) {
    use Statement::{DestinationTranslated, Direction, Return, SourceTranslated};
    let source = |reply, set| {
        let looked = look(&[Field::CtReplyDaddr], set);
        let statements = vec![SourceTranslated, Direction { reply }, looked];
        rule(statements, "counted: of an elastic IP")
    };
    let destination = |reply, set| {
        let looked = look(&[Field::CtOriginalDaddr], set);
        let statements = vec![DestinationTranslated, Direction { reply }, looked, Return];
        rule(statements, "counted: of an elastic IP")
    };
    (
        vec![source(false, EIPS.from), source(true, EIPS.to)],
        vec![destination(false, EIPS.to), destination(true, EIPS.from)],
    )
}

fn look(key: &[Field], set: &str) -> Statement {
    Statement::InSet {
        key: key.to_vec(),
        set: set.to_owned(),
        negate: false,
    }
}

/// A counting set with the keys of a map that are in none of these ranges; `None` if there are none.
fn keys(table: &Table, map: &str, without: &[Element]) -> Option<Set> {
    let map = table.sets.get(map)?;
    let without: BTreeMap<Tuple, Tuple> = without.iter().map(|range| (range.first, range.last)).collect();
    let is_without = |key: Tuple| {
        let range = without.range(..=key).next_back();
        range.is_some_and(|(_, last)| key <= *last)
    };
    let mut keys = Set::new(&map.key, &[], map.interval).counting();
    let elements = map.elements.keys().filter(|element| !is_without(element.first));
    keys.elements = elements.map(|element| (*element, Tuple::default())).collect();
    (!keys.elements.is_empty()).then_some(keys)
}

/// The keys of long ranges. Nothing else is forwarded of the address and protocol of the first ones, so what is translated
/// there is theirs, whatever its port: no look-up among ranges is needed, which costs several times one in a hash.
fn ranges(table: &Table, forwards: Option<&Set>, shifted: &[Element]) -> (Set, Set) {
    use FieldType::{InetProto, InetService, Ipv4Addr};
    let mut alone = Set::new(&[Ipv4Addr, InetProto], &[], false).counting();
    let mut shared = Set::new(&[Ipv4Addr, InetProto, InetService], &[], true).counting();
    let forwarded = forwards.into_iter().flat_map(|set| set.elements.keys());
    let forwarded: BTreeSet<u32> = forwarded.map(|element| element.first.0[0]).collect();
    let kept = table.sets.get(FORWARD_RANGE).into_iter();
    let kept = kept.flat_map(|map| map.elements.keys());
    let all: Vec<Element> = kept.chain(shifted).copied().collect();
    let mut number: BTreeMap<Tuple, u32> = BTreeMap::new();
    for element in &all {
        *number.entry(address_and_protocol(element.first)).or_default() += 1;
    }
    for element in all {
        let key = address_and_protocol(element.first);
        if number[&key] == 1 && !forwarded.contains(&element.first.0[0]) {
            alone.elements.insert(Element::key(key), Tuple::default());
        } else {
            shared.elements.insert(element, Tuple::default());
        }
    }
    (alone, shared)
}

fn address_and_protocol(Tuple([address, protocol, _]): Tuple) -> Tuple {
    Tuple([address, protocol, 0])
}

fn add(table: &mut Table, sets: &Sets, keys: Set) {
    table.sets.insert(sets.from.to_owned(), keys.clone());
    table.sets.insert(sets.to.to_owned(), keys);
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
        let began = is_source.then(|| sum(counts, VM_TO_EIP, vm, vm).packets);
        Traffic {
            connections_out: began.unwrap_or_default(),
            ..traffic(counts, EIP_TO_VM, &EIPS, key, key)
        }
    };
    entries.iter().map(of).collect()
}

/// What was counted of a forward: of a range, all its ports together.
#[must_use]
pub fn of_forward(counts: &Counts, entry: &Forward) -> Traffic {
    let key = |port| super::outside(entry, port);
    if super::is_long(entry) {
        // One element, told by its first key, of one of both kinds of sets.
        let (first, pair) = (key(entry.port), address_and_protocol(key(entry.port)));
        let (map, last) = if super::is_long_range(entry) {
            (FORWARD_RANGE, first)
        } else {
            (FORWARD, key(entry.end_port))
        };
        let alone = traffic(counts, map, &RANGES, pair, pair);
        let shared = traffic(counts, map, &SHARED_RANGES, first, first);
        Traffic {
            packets_in: alone.packets_in + shared.packets_in,
            bytes_in: alone.bytes_in + shared.bytes_in,
            packets_out: alone.packets_out + shared.packets_out,
            bytes_out: alone.bytes_out + shared.bytes_out,
            connections_in: sum(counts, map, first, last).packets,
            connections_out: 0,
        }
    } else {
        traffic(counts, FORWARD, &FORWARDS, key(entry.port), key(entry.end_port))
    }
}

fn traffic(counts: &Counts, map: &str, sets: &Sets, first: Tuple, last: Tuple) -> Traffic {
    let of = |set| sum(counts, set, first, last);
    let (to, from) = (of(sets.to), of(sets.from));
    Traffic {
        packets_in: to.packets,
        bytes_in: to.bytes,
        packets_out: from.packets,
        bytes_out: from.bytes,
        connections_in: of(map).packets,
        connections_out: 0,
    }
}

/// What was counted of all keys from `first` to `last`.
fn sum(counts: &Counts, set: &str, first: Tuple, last: Tuple) -> Counted {
    let mut sum = Counted::default();
    let counted: Option<&BTreeMap<Tuple, Counted>> = counts.get(set);
    for (_, one) in counted
        .into_iter()
        .flat_map(|counted| counted.range(first..=last))
    {
        sum += *one;
    }
    sum
}
