//! Tables out of bytes: valid for the kernel in what one set or rule says by itself, and otherwise anything that the
//! model can say.

use std::collections::{BTreeMap, BTreeSet};

use arbitrary::{Result, Unstructured};
use ipnet::Ipv4Net;
use kylin_vr::model::LinkName;
use kylin_vr::model::nft::{
    Chain, ChainKind, Element, Field, FieldType, Flowtable, Hook, NatTarget, Rule, Set, Statement, Table,
    Tuple,
};

use FieldType::{InetProto, InetService, Ipv4Addr};

const NAMES: [&str; 4] = ["a", "eip_to_vm", "forward", "vpc_subnets"];

/// A table; no bytes left make the smallest one.
///
/// # Errors
/// Never by the bytes alone: they are taken as zeros where they end.
pub fn table(bytes: &mut Unstructured<'_>) -> Result<Table> {
    let mut table = Table::default();
    for name in NAMES {
        if bytes.ratio(1, 2)? {
            table.sets.insert(name.to_owned(), set(bytes)?);
        }
    }
    for name in ["destination", "source", "keep_source"] {
        if bytes.ratio(1, 2)? {
            table.chains.insert(name.to_owned(), chain(bytes)?);
        }
    }
    if bytes.ratio(1, 4)? {
        table.flowtables.insert("fast_path".to_owned(), flowtable(bytes)?);
    }
    Ok(table)
}

fn highest(field: FieldType) -> u32 {
    match field {
        Ipv4Addr => u32::MAX,
        InetProto => u32::from(u8::MAX),
        InetService => u32::from(u16::MAX),
    }
}

/// Often near the ends and near others.
fn value(bytes: &mut Unstructured<'_>, field: FieldType) -> Result<u32> {
    let near = u32::from(bytes.arbitrary::<u8>()?);
    Ok(match bytes.int_in_range(0..=2)? {
        0 => near.min(highest(field)),
        1 => highest(field) - near.min(highest(field)),
        _ => bytes.arbitrary::<u32>()? & highest(field),
    })
}

fn tuple(bytes: &mut Unstructured<'_>, fields: &[FieldType]) -> Result<Tuple> {
    let mut tuple = Tuple::default();
    for (place, field) in tuple.0.iter_mut().zip(fields) {
        *place = value(bytes, *field)?;
    }
    Ok(tuple)
}

fn set(bytes: &mut Unstructured<'_>) -> Result<Set> {
    let key = *bytes.choose(&[
        &[Ipv4Addr][..],
        &[InetProto],
        &[InetService],
        &[Ipv4Addr, InetService],
        &[Ipv4Addr, InetProto, InetService],
    ])?;
    let data = *bytes.choose(&[&[][..], &[Ipv4Addr], &[InetService], &[Ipv4Addr, InetService]])?;
    let mut set = Set::new(key, data, bytes.arbitrary()?);
    set.counts = bytes.arbitrary()?;
    let count = bytes.int_in_range(0..=12)?;
    let mut keys = BTreeSet::new();
    for _ in 0..count {
        keys.insert(tuple(bytes, key)?);
    }
    let mut keys = keys.into_iter().peekable();
    while let Some(first) = keys.next() {
        let mut last = first;
        if set.interval && bytes.ratio(2, 3)? {
            last = match (key, keys.peek()) {
                // Up to the next one, to the very end, or over whole concatenations.
                ([_], Some(next)) => Tuple([next.0[0] - 1, 0, 0]),
                ([field], None) => Tuple([highest(*field), 0, 0]),
                _ => {
                    let mut last = first;
                    for (position, field) in key.iter().enumerate() {
                        last.0[position] = value(bytes, *field)?.max(first.0[position]);
                    }
                    last
                }
            };
        }
        set.elements.insert(Element { first, last }, tuple(bytes, data)?);
    }
    Ok(set)
}

fn chain(bytes: &mut Unstructured<'_>) -> Result<Chain> {
    let hook = *bytes.choose(&[
        Hook::Prerouting,
        Hook::Input,
        Hook::Forward,
        Hook::Output,
        Hook::Postrouting,
    ])?;
    let priority: i32 = bytes.arbitrary()?;
    let mut chain = Chain {
        kind: *bytes.choose(&[ChainKind::Filter, ChainKind::Nat])?,
        hook,
        // The lowest one stands for what is not ours.
        priority: priority.max(i32::MIN + 1),
        rules: Vec::new(),
    };
    for _ in 0..bytes.int_in_range(0..=4)? {
        let mut statements = Vec::new();
        for _ in 0..bytes.int_in_range(0..=5)? {
            statements.push(statement(bytes)?);
        }
        let length = bytes.int_in_range(0..=127)?;
        let letters = b"abcdefghijklmnopqrstuvwxyz ABCDEF,.:-_0123456789";
        let mut comment = String::new();
        for _ in 0..length {
            comment.push(char::from(*bytes.choose(letters)?));
        }
        chain.rules.push(Rule { statements, comment });
    }
    Ok(chain)
}

/// Devices as the kernel can name them: any byte but `/`, `:` and white space, 15 at most.
fn flowtable(bytes: &mut Unstructured<'_>) -> Result<Flowtable> {
    let priority: i32 = bytes.arbitrary()?;
    let mut flowtable = Flowtable {
        priority: priority.max(i32::MIN + 1),
        ..Flowtable::default()
    };
    for _ in 0..bytes.int_in_range(0..=4)? {
        let mut name = String::new();
        for _ in 0..bytes.int_in_range(1..=15)? {
            name.push(char::from(*bytes.choose(b"abcxyz0189._-@\"'{}\x1b")?));
        }
        flowtable.devices.insert(LinkName(name.into()));
    }
    Ok(flowtable)
}

fn statement(bytes: &mut Unstructured<'_>) -> Result<Statement> {
    Ok(match bytes.int_in_range(0..=14)? {
        0 => Statement::InSet {
            key: key(bytes)?,
            set: name(bytes)?,
            negate: bytes.arbitrary()?,
        },
        1 => Statement::MarkHas(bytes.arbitrary()?),
        2 => Statement::MarkSet(bytes.arbitrary()?),
        3 => Statement::Dnat(target(bytes)?),
        4 => Statement::Snat(target(bytes)?),
        5 => Statement::InSubnet {
            field: *bytes.choose(&[Field::IpSaddr, Field::IpDaddr])?,
            subnet: Ipv4Net::new_assert(bytes.arbitrary::<u32>()?.into(), bytes.int_in_range(0..=32)?)
                .trunc(),
            negate: bytes.arbitrary()?,
        },
        10 => Statement::Direction {
            reply: bytes.arbitrary()?,
        },
        6 => Statement::SourceTranslated,
        9 => Statement::DestinationTranslated,
        7 => Statement::Established,
        8 => Statement::FlowAdd("fast_path".to_owned()),
        11 => Statement::NotInvalid,
        12 => Statement::Drop,
        13 => Statement::Ports {
            protocol: bytes.arbitrary()?,
            first: bytes.arbitrary()?,
            last: bytes.arbitrary()?,
        },
        _ => Statement::Return,
    })
}

fn target(bytes: &mut Unstructured<'_>) -> Result<NatTarget> {
    if bytes.arbitrary()? {
        return Ok(NatTarget::Address(bytes.arbitrary::<u32>()?.into()));
    }
    Ok(NatTarget::Map {
        key: key(bytes)?,
        map: name(bytes)?,
        port: bytes.arbitrary()?,
    })
}

fn key(bytes: &mut Unstructured<'_>) -> Result<Vec<Field>> {
    let mut key = Vec::new();
    for _ in 0..bytes.int_in_range(1..=Tuple::MAX)? {
        key.push(field(bytes)?);
    }
    Ok(key)
}

fn field(bytes: &mut Unstructured<'_>) -> Result<Field> {
    bytes
        .choose(&[
            Field::IpSaddr,
            Field::IpDaddr,
            Field::L4Proto,
            Field::ThDport,
            Field::ThSport,
            Field::IpSaddrLastByte,
            Field::CtOriginalDaddr,
            Field::CtReplyDaddr,
        ])
        .copied()
}

fn name(bytes: &mut Unstructured<'_>) -> Result<String> {
    bytes.choose(&NAMES).map(|name| (*name).to_owned())
}

/// Rules that name a set that the table lacks are read back as foreign: taken out.
pub fn only_known_sets(table: &mut Table) {
    let sets: BTreeMap<_, _> = table.sets.clone();
    let is_known = |statement: &Statement| match statement {
        Statement::InSet { set, .. } => sets.contains_key(set),
        Statement::Dnat(NatTarget::Map { map, .. }) | Statement::Snat(NatTarget::Map { map, .. }) => {
            sets.contains_key(map)
        }
        _ => true,
    };
    for chain in table.chains.values_mut() {
        chain.rules.retain(|rule| rule.statements.iter().all(is_known));
    }
}
