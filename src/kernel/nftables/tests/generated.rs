//! Tables by chance: valid for the kernel, and otherwise anything that the model can say.

use std::collections::{BTreeMap, BTreeSet};

use proptest::collection::{btree_map, btree_set, vec};
use proptest::prelude::*;
use proptest::sample::select;

use super::*;

/// The type of a set: key, data, whether of ranges. Elements of some count.
type Type = (&'static [FieldType], &'static [FieldType], bool);

const TYPES: &[Type] = &[
    (&[Address], &[], false),
    (&[Address], &[], true),
    (&[InetProto], &[], false),
    (&[InetService], &[], true),
    (&[Address], &[Address], false),
    (&[Address], &[Address], true),
    (&[Address], &[Address, InetService], false),
    (&[Address, InetProto, InetService], &[Address, InetService], false),
    (&[Address, InetProto, InetService], &[Address], true),
    (&[Address, InetService], &[Address], true),
    (&[Address, InetProto], &[], false),
];

fn highest(field: FieldType) -> u32 {
    match field {
        Address => u32::MAX,
        InetProto => 255,
        InetService => 65_535,
    }
}

/// Values that are often near each other and near the ends.
fn value(field: FieldType) -> impl Strategy<Value = u32> + Clone {
    let highest = highest(field);
    prop_oneof![0..=3u32, (highest - 3)..=highest, 80..=90u32, 0..=highest]
}

/// Ranges without overlap, some adjacent, some to the ends.
fn ranges(field: FieldType, most: usize) -> impl Strategy<Value = Vec<(u32, u32)>> {
    let cuts = btree_set(value(field), 0..=most);
    (cuts, vec(any::<bool>(), most + 1)).prop_map(move |(cuts, taken)| {
        let cuts: Vec<_> = cuts.into_iter().collect();
        let ends = cuts.iter().skip(1).map(|next| next - 1).chain([highest(field)]);
        cuts.iter()
            .copied()
            .zip(ends)
            .zip(taken)
            .filter(|(_, taken)| *taken)
            .map(|(range, _)| range)
            .collect()
    })
}

fn tuple(fields: &'static [FieldType]) -> impl Strategy<Value = Tuple> {
    let field = |position: usize| match fields.get(position) {
        Some(field) => value(*field).boxed(),
        None => Just(0).boxed(),
    };
    (field(0), field(1), field(2)).prop_map(|(a, b, c)| Tuple([a, b, c]))
}

fn any_set() -> impl Strategy<Value = Set> {
    select(TYPES).prop_flat_map(set_of)
}

/// Tables of one set, all of the same type, with other elements each.
pub(super) fn sets_of_one_type() -> impl Strategy<Value = Vec<Table>> {
    let sets = select(TYPES).prop_flat_map(|kind| vec(set_of(kind), 2..6));
    sets.prop_map(|sets| {
        let counts = sets.iter().any(|set| set.counts);
        let table = |set: Set| Table {
            sets: [("a".to_owned(), Set { counts, ..set })].into(),
            ..Table::default()
        };
        sets.into_iter().map(table).collect()
    })
}

fn set_of((key, data, interval): Type) -> impl Strategy<Value = Set> {
    let keys = match (interval, key) {
        (false, _) => btree_set(tuple(key), 0..20)
            .prop_map(|keys| keys.into_iter().map(Element::key).collect::<BTreeSet<_>>())
            .boxed(),
        (true, [field]) => ranges(*field, 12)
            .prop_map(|ranges| {
                let range = |(first, last)| Element {
                    first: Tuple([first, 0, 0]),
                    last: Tuple([last, 0, 0]),
                };
                ranges.into_iter().map(range).collect()
            })
            .boxed(),
        // Ranges in the last field, below exact values in the others; now and then in the first, too.
        (true, _) => {
            let last = key.len() - 1;
            let others = btree_map(tuple(&key[..last]), ranges(key[last], 6), 0..5);
            (others, any::<bool>())
                .prop_map(move |(others, wide)| {
                    let mut elements = BTreeSet::new();
                    let mut free = 0;
                    for (prefix, ranges) in others {
                        for (from, to) in ranges {
                            let (mut first, mut end) = (prefix, prefix);
                            if wide && first.0[0] >= free && first.0[0] < u32::MAX / 2 {
                                end.0[0] = first.0[0] + 5;
                                free = end.0[0] + 1;
                            } else if wide {
                                continue;
                            }
                            (first.0[last], end.0[last]) = (from, to);
                            elements.insert(Element { first, last: end });
                        }
                    }
                    elements
                })
                .boxed()
        }
    };
    (keys, vec(tuple(data), 20), any::<bool>()).prop_map(move |(keys, values, counts)| {
        let mut set = Set::new(key, data, interval);
        // Ranges of one field have an element of their own for each end, which the model knows nothing of.
        set.counts = counts && (!interval || key.len() > 1);
        let empty = data.is_empty();
        let values = values
            .into_iter()
            .map(|value| if empty { Tuple::default() } else { value });
        set.elements = keys.into_iter().zip(values.cycle()).collect();
        set
    })
}

fn field_type(field: Field) -> FieldType {
    match field {
        Field::IpSaddr
        | Field::IpSaddrLastByte
        | Field::IpDaddr
        | Field::CtOriginalDaddr
        | Field::CtReplyDaddr => Address,
        Field::L4Proto => InetProto,
        Field::ThDport | Field::ThSport => InetService,
    }
}

fn field_of(field: FieldType, source: bool) -> Field {
    [Field::IpSaddr, Field::IpDaddr, Field::L4Proto, Field::ThDport]
        .into_iter()
        .filter(|candidate| field_type(*candidate) == field)
        .find(|candidate| source || *candidate != Field::IpSaddr)
        .unwrap()
}

fn ports(protocol: u8, first: u16, last: u16) -> Statement {
    Statement::Ports {
        protocol,
        first,
        last,
    }
}

/// Statements that a chain of this kind may have, with these sets.
fn statements(sets: &BTreeMap<String, Set>, kind: ChainKind, hook: Hook) -> Vec<Vec<Statement>> {
    let mut all = vec![
        vec![Statement::MarkHas(0x0100_0000), Statement::Return],
        vec![Statement::MarkSet(0x0000_8000)],
        vec![Statement::Return],
        vec![Statement::SourceTranslated, Statement::Return],
        vec![Statement::DestinationTranslated, Statement::Established],
        vec![Statement::NotInvalid, Statement::Return],
        vec![Statement::Drop],
        vec![ports(17, 1000, 60999), Statement::Return],
        vec![ports(132, 1, u16::MAX), Statement::MarkSet(8)],
        vec![Statement::Direction { reply: true }, Statement::Return],
        vec![Statement::Direction { reply: false }, Statement::MarkSet(2)],
    ];
    // Of whole bytes, but four, nft(8) makes other expressions (`statement`).
    for (field, subnet) in [
        (Field::IpSaddr, "10.1.0.0/17"),
        (Field::IpDaddr, "10.9.9.8/31"),
        (Field::IpDaddr, "10.9.9.9/32"),
    ] {
        for negate in [false, true] {
            let subnet = subnet.parse().unwrap();
            let compare = Statement::InSubnet {
                field,
                subnet,
                negate,
            };
            all.push(vec![compare, Statement::MarkSet(0x0200_0000)]);
        }
    }
    for (name, set) in sets {
        let source = name.len() % 2 == 0;
        let mut key: Vec<_> = set.key.iter().map(|field| field_of(*field, source)).collect();
        if key == [Field::IpSaddr] && set.elements.len() % 3 == 1 && set.data.is_empty() {
            key = vec![if name.len() == 1 {
                Field::CtReplyDaddr
            } else {
                Field::CtOriginalDaddr
            }];
        }
        if key == [Field::IpSaddr] && set.elements.len() % 2 == 1 {
            key = vec![Field::IpSaddrLastByte];
        }
        // nft(8) has no ports without a protocol.
        let has_protocol = !key.contains(&Field::ThDport) || key.contains(&Field::L4Proto);
        if set.data.is_empty() && (key.len() == 1 || has_protocol) {
            for negate in [false, true] {
                let look = Statement::InSet {
                    key: key.clone(),
                    set: name.clone(),
                    negate,
                };
                all.push(vec![look.clone(), Statement::MarkSet(0x0400_0000)]);
                all.push(vec![Statement::MarkHas(2), look, Statement::Return]);
            }
        }
        if kind == ChainKind::Nat {
            let nat = if hook == Hook::Postrouting {
                Statement::Snat
            } else {
                Statement::Dnat
            };
            all.push(vec![nat(NatTarget::Address(Ipv4Addr::new(10, 9, 9, 9)))]);
            let port = set.data.len() > 1;
            // nft(8) has no ports without a protocol.
            if set.data.first() == Some(&Address) && (!port || key.contains(&Field::L4Proto)) {
                all.push(vec![nat(NatTarget::Map {
                    key,
                    map: name.clone(),
                    port,
                })]);
            }
        }
    }
    all
}

fn any_chain(sets: BTreeMap<String, Set>) -> impl Strategy<Value = Chain> {
    let kinds = vec![
        (ChainKind::Filter, Hook::Prerouting),
        (ChainKind::Filter, Hook::Input),
        (ChainKind::Filter, Hook::Forward),
        (ChainKind::Nat, Hook::Prerouting),
        (ChainKind::Nat, Hook::Output),
        (ChainKind::Nat, Hook::Postrouting),
    ];
    (select(kinds), -199..=300i32).prop_flat_map(move |((kind, hook), priority)| {
        let one = (
            select(statements(&sets, kind, hook)),
            "([a-z][a-zA-Z0-9 ,.:-]{0,126})?",
        );
        vec(one, 0..5).prop_map(move |rules| {
            let rules = rules
                .into_iter()
                .map(|(statements, comment)| Rule { statements, comment })
                .collect();
            Chain {
                kind,
                hook,
                priority,
                rules,
            }
        })
    })
}

/// Tables that often have sets and chains of the same names, so that one is made into the other by edits.
pub(super) fn any_table() -> impl Strategy<Value = Table> {
    let name = select(vec!["a", "bb", "eip_to_vm", "forward"]).prop_map(str::to_owned);
    btree_map(name, any_set(), 0..4).prop_flat_map(|sets| {
        let name = select(vec!["destination", "source", "keep"]).prop_map(str::to_owned);
        btree_map(name, any_chain(sets.clone()), 0..4).prop_map(move |chains| Table {
            sets: sets.clone(),
            chains,
            ..Table::default()
        })
    })
}

/// Another table of the same sets and chains: other elements, other rules.
pub(super) fn variant_of(table: Table) -> impl Strategy<Value = Table> {
    (any::<u64>(), any_table()).prop_map(move |(bits, other)| {
        let mut table = table.clone();
        let mut bits = (0..).map(|position| bits >> (position % 61) & 1 == 1);
        let mut taken = || bits.next().unwrap_or_default();
        for set in table.sets.values_mut() {
            set.elements.retain(|_, _| taken());
            let values: Vec<_> = set.elements.values().rev().copied().collect();
            for (value, reversed) in set.elements.values_mut().zip(values) {
                if taken() {
                    *value = reversed;
                }
            }
        }
        for chain in table.chains.values_mut() {
            chain.rules.retain(|_| taken());
            if taken() {
                chain.rules.reverse();
            }
        }
        for (name, set) in other.sets {
            if taken() {
                table.sets.entry(name).or_insert(set);
            }
        }
        table
    })
}
