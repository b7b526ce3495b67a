//! Statements into the kernel's expressions, and back. Pure.
//!
//! The way back guesses a statement from what stands next and takes it only if it makes exactly these
//! expressions: so what reads as ours does what ours does, and everything else is [`Statement::Foreign`].

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use nix::libc;

use super::expression::{Expression, slot};
use super::uapi::expression::ct;
use crate::model::nft::{Field, NatTarget, Statement};

/// The source and the destination address in an IPv4 header (RFC 791), the ports in a TCP or UDP one.
const OFFSET_SADDR: u32 = 12;
const OFFSET_DADDR: u32 = 16;
const OFFSET_SPORT: u32 = 0;
const OFFSET_DPORT: u32 = 2;
/// The flags of a TCP header, and one that says that it begins a connection (RFC 9293, section 3.1).
const OFFSET_FLAGS: u32 = 13;
const SYN: u8 = 0x02;

/// The expressions of a statement, none for [`Statement::Foreign`].
pub(super) fn compile(statement: &Statement) -> Vec<Expression> {
    const MARK: u32 = libc::NFT_META_MARK as u32;
    let register = slot(0);
    match statement {
        // `ip daddr @SET`, `ip daddr != @SET`, `ip daddr . meta l4proto . th dport @SET`
        Statement::InSet { key, set, negate } => {
            let mut expressions = load_all(key);
            expressions.push(Expression::Lookup {
                set: set.clone(),
                from: register,
                to: None,
                negate: *negate,
            });
            expressions
        }
        // `ip daddr 10.0.0.0/24`, `ip daddr != 10.0.0.0/24`. For a prefix of whole bytes nft(8) loads only these; the kernel
        // does four bytes, a mask and a comparison without calling anything (`nft_payload_fast_eval`), three it does not.
        // A whole address needs no mask.
        Statement::InSubnet {
            field,
            subnet,
            negate,
        } => {
            let number = |address: Ipv4Addr| u32::from_ne_bytes(address.octets());
            let value = number(subnet.addr());
            let mut expressions = load(*field, 0);
            if subnet.prefix_len() < subnet.max_prefix_len() {
                expressions.push(Expression::Bitwise {
                    from: register,
                    to: register,
                    mask: number(subnet.netmask()),
                    xor: 0,
                });
            }
            expressions.push(if *negate {
                Expression::NotEqual {
                    from: register,
                    value,
                }
            } else {
                Expression::Equal {
                    from: register,
                    value,
                }
            });
            expressions
        }
        // `meta l4proto udp th dport 1000-60999`
        Statement::Ports {
            protocol,
            first,
            last,
        } => {
            let mut expressions = load(Field::L4Proto, 0);
            expressions.push(Expression::EqualByte {
                from: register,
                value: *protocol,
            });
            expressions.extend(load(Field::ThDport, 0));
            expressions.extend([
                Expression::AtLeast {
                    from: register,
                    value: *first,
                },
                Expression::AtMost {
                    from: register,
                    value: *last,
                },
            ]);
            expressions
        }
        // `meta mark & BITS == BITS`
        Statement::MarkHas(bits) => vec![
            Expression::Meta {
                key: MARK,
                to: register,
            },
            Expression::Bitwise {
                from: register,
                to: register,
                mask: *bits,
                xor: 0,
            },
            Expression::Equal {
                from: register,
                value: *bits,
            },
        ],
        // `meta mark set meta mark | BITS`
        Statement::MarkSet(bits) => vec![
            Expression::Meta {
                key: MARK,
                to: register,
            },
            Expression::Bitwise {
                from: register,
                to: register,
                mask: !*bits,
                xor: *bits,
            },
            Expression::MetaSet {
                key: MARK,
                from: register,
            },
        ],
        // `ct state established`
        Statement::Established => ct_bits(libc::NFT_CT_STATE as u32, ct::STATE_ESTABLISHED),
        // `ct state established,related,new,untracked`
        Statement::NotInvalid => ct_bits(libc::NFT_CT_STATE as u32, ct::STATES_BUT_INVALID),
        // `ct status dnat`
        Statement::DestinationTranslated => ct_bits(libc::NFT_CT_STATUS as u32, ct::STATUS_DESTINATION),
        // `ct status snat`
        Statement::SourceTranslated => ct_bits(libc::NFT_CT_STATUS as u32, ct::STATUS_SOURCE),
        // `flow add @FLOWTABLE`
        Statement::FlowAdd(flowtable) => vec![Expression::FlowOffload {
            flowtable: flowtable.clone(),
        }],
        // `dnat to ..`
        Statement::Dnat(target) => nat(libc::NFT_NAT_DNAT as u32, target),
        // `snat to ..`
        Statement::Snat(target) => nat(libc::NFT_NAT_SNAT as u32, target),
        // `ct direction original`, `ct direction reply` (`enum ip_conntrack_dir`)
        Statement::Direction { reply } => vec![
            Expression::Ct {
                key: libc::NFT_CT_DIRECTION as u32,
                direction: None,
                to: register,
            },
            Expression::EqualByte {
                from: register,
                value: u8::from(*reply),
            },
        ],
        // `tcp flags syn tcp option maxseg size set rt mtu`
        Statement::ClampMss => vec![
            Expression::Meta {
                key: libc::NFT_META_L4PROTO as u32,
                to: register,
            },
            Expression::EqualByte {
                from: register,
                value: libc::IPPROTO_TCP as u8,
            },
            Expression::Payload {
                base: libc::NFT_PAYLOAD_TRANSPORT_HEADER as u32,
                offset: OFFSET_FLAGS,
                length: 1,
                to: register,
            },
            Expression::BitwiseByte { register, mask: SYN },
            Expression::NotEqualByte {
                from: register,
                value: 0,
            },
            Expression::LoadMss { to: register },
            Expression::ToNetworkOrder { register },
            Expression::SetMss { from: register },
        ],
        // `return`
        Statement::Return => vec![Expression::Return],
        // `drop`
        Statement::Drop => vec![Expression::Drop],
        Statement::Foreign(_) => Vec::new(),
    }
}

/// Whether any of these bits of what is tracked of the packet's connection is set.
fn ct_bits(key: u32, mask: u32) -> Vec<Expression> {
    let register = slot(0);
    vec![
        Expression::Ct {
            key,
            direction: None,
            to: register,
        },
        Expression::Bitwise {
            from: register,
            to: register,
            mask,
            xor: 0,
        },
        Expression::NotEqual {
            from: register,
            value: 0,
        },
    ]
}

/// `ip saddr`, `ip saddr & 0.0.0.255`, `ip daddr`, `meta l4proto`, `th dport`, `th sport`,
/// `ct original ip daddr`, `ct reply ip daddr` into the n-th slot.
fn load(field: Field, position: usize) -> Vec<Expression> {
    let to = slot(position);
    let address = |offset| Expression::Payload {
        base: libc::NFT_PAYLOAD_NETWORK_HEADER as u32,
        offset,
        length: 4,
        to,
    };
    match field {
        Field::IpSaddr => vec![address(OFFSET_SADDR)],
        Field::IpSaddrLastByte => vec![
            address(OFFSET_SADDR),
            Expression::Bitwise {
                from: to,
                to,
                mask: u32::from_ne_bytes([0, 0, 0, 255]),
                xor: 0,
            },
        ],
        Field::IpDaddr => vec![address(OFFSET_DADDR)],
        Field::L4Proto => vec![Expression::Meta {
            key: libc::NFT_META_L4PROTO as u32,
            to,
        }],
        Field::ThDport => vec![Expression::Payload {
            base: libc::NFT_PAYLOAD_TRANSPORT_HEADER as u32,
            offset: OFFSET_DPORT,
            length: 2,
            to,
        }],
        Field::ThSport => vec![Expression::Payload {
            base: libc::NFT_PAYLOAD_TRANSPORT_HEADER as u32,
            offset: OFFSET_SPORT,
            length: 2,
            to,
        }],
        Field::CtOriginalDaddr => vec![connection_daddr(ct::DIRECTION_ORIGINAL, to)],
        Field::CtReplyDaddr => vec![connection_daddr(ct::DIRECTION_REPLY, to)],
    }
}

fn connection_daddr(direction: u8, to: u32) -> Expression {
    Expression::Ct {
        key: ct::KEY_DESTINATION_IP,
        direction: Some(direction),
        to,
    }
}

fn load_all(key: &[Field]) -> Vec<Expression> {
    let fields = key.iter().enumerate();
    fields
        .flat_map(|(position, field)| load(*field, position))
        .collect()
}

fn nat(kind: u32, target: &NatTarget) -> Vec<Expression> {
    let address = slot(0);
    match target {
        // `to 10.9.9.9`
        NatTarget::Address(to) => vec![
            Expression::Load {
                to: address,
                value: to.octets(),
            },
            Expression::Nat {
                kind,
                address,
                port: None,
            },
        ],
        // `ip to ip daddr . meta l4proto . th dport map @MAP`: the map's value takes the slots of the key
        NatTarget::Map { key, map, port } => {
            let mut expressions = load_all(key);
            expressions.extend([
                Expression::Lookup {
                    set: map.clone(),
                    from: slot(0),
                    to: Some(address),
                    negate: false,
                },
                Expression::Nat {
                    kind,
                    address,
                    port: port.then_some(slot(1)),
                },
            ]);
            expressions
        }
    }
}

/// The statements that these expressions are; the first that is none of ours takes all that follow with it.
pub(super) fn decompile(mut expressions: &[Expression]) -> Vec<Statement> {
    let mut statements = Vec::new();
    while !expressions.is_empty() {
        let Some((statement, rest)) = next(expressions) else {
            let rest = expressions.iter().map(ToString::to_string).collect::<Vec<_>>();
            statements.push(Statement::Foreign(rest.join("; ")));
            break;
        };
        statements.push(statement);
        expressions = rest;
    }
    statements
}

fn next(expressions: &[Expression]) -> Option<(Statement, &[Expression])> {
    let guess = guess(expressions)?;
    let rest = expressions.strip_prefix(compile(&guess).as_slice())?;
    Some((guess, rest))
}

/// What the next statement is if it is one of ours.
fn guess(expressions: &[Expression]) -> Option<Statement> {
    let (fields, rest) = fields(expressions);
    let translate = |kind: u32, target| match kind as i32 {
        libc::NFT_NAT_SNAT => Statement::Snat(target),
        _ => Statement::Dnat(target),
    };
    match (fields.as_slice(), rest) {
        (
            [_, ..],
            [
                Expression::Lookup {
                    set,
                    to: None,
                    negate,
                    ..
                },
                ..,
            ],
        ) => Some(Statement::InSet {
            key: fields,
            set: set.clone(),
            negate: *negate,
        }),
        (
            [field],
            [
                Expression::Bitwise { mask, .. },
                compare @ (Expression::Equal { value, .. } | Expression::NotEqual { value, .. }),
                ..,
            ],
        ) => {
            let [address, mask] = [value, mask].map(|number| Ipv4Addr::from(number.to_ne_bytes()));
            Some(Statement::InSubnet {
                field: *field,
                subnet: Ipv4Net::with_netmask(address, mask).ok()?,
                negate: matches!(compare, Expression::NotEqual { .. }),
            })
        }
        (
            [field],
            [
                compare @ (Expression::Equal { value, .. } | Expression::NotEqual { value, .. }),
                ..,
            ],
        ) => Some(Statement::InSubnet {
            field: *field,
            subnet: Ipv4Addr::from(value.to_ne_bytes()).into(),
            negate: matches!(compare, Expression::NotEqual { .. }),
        }),
        (
            [Field::L4Proto],
            [
                Expression::EqualByte { value, .. },
                Expression::Payload { .. },
                Expression::AtLeast { value: first, .. },
                Expression::AtMost { value: last, .. },
                ..,
            ],
        ) => Some(Statement::Ports {
            protocol: *value,
            first: *first,
            last: *last,
        }),
        (
            [_, ..],
            [
                Expression::Lookup { set, to: Some(_), .. },
                Expression::Nat { kind, port, .. },
                ..,
            ],
        ) => {
            let map = NatTarget::Map {
                key: fields,
                map: set.clone(),
                port: port.is_some(),
            };
            Some(translate(*kind, map))
        }
        ([], [Expression::Load { value, .. }, Expression::Nat { kind, .. }, ..]) => {
            Some(translate(*kind, NatTarget::Address((*value).into())))
        }
        (
            [],
            [
                Expression::Meta { .. },
                Expression::Bitwise { .. },
                Expression::Equal { value, .. },
                ..,
            ],
        ) => Some(Statement::MarkHas(*value)),
        (
            [],
            [
                Expression::Meta { .. },
                Expression::Bitwise { xor, .. },
                Expression::MetaSet { .. },
                ..,
            ],
        ) => Some(Statement::MarkSet(*xor)),
        ([], [Expression::Ct { .. }, Expression::EqualByte { value, .. }, ..]) => {
            Some(Statement::Direction { reply: *value != 0 })
        }
        ([], [Expression::Ct { key, .. }, Expression::Bitwise { mask, .. }, ..]) => {
            Some(match (*key as i32, *mask) {
                (libc::NFT_CT_STATE, ct::STATE_ESTABLISHED) => Statement::Established,
                (libc::NFT_CT_STATE, _) => Statement::NotInvalid,
                (_, ct::STATUS_DESTINATION) => Statement::DestinationTranslated,
                _ => Statement::SourceTranslated,
            })
        }
        ([], [Expression::FlowOffload { flowtable }, ..]) => Some(Statement::FlowAdd(flowtable.clone())),
        ([Field::L4Proto], [Expression::EqualByte { .. }, ..]) => Some(Statement::ClampMss),
        ([], [Expression::Return, ..]) => Some(Statement::Return),
        ([], [Expression::Drop, ..]) => Some(Statement::Drop),
        _ => None,
    }
}

/// The fields that expressions load into the slots, from the first on, and what follows them.
fn fields(mut expressions: &[Expression]) -> (Vec<Field>, &[Expression]) {
    // What is masked begins as what is not: it is tried first.
    let all = [
        Field::IpSaddrLastByte,
        Field::IpSaddr,
        Field::IpDaddr,
        Field::L4Proto,
        Field::ThDport,
        Field::ThSport,
        Field::CtOriginalDaddr,
        Field::CtReplyDaddr,
    ];
    let mut fields = Vec::new();
    while let Some((field, rest)) = all.into_iter().find_map(|field| {
        let rest = expressions.strip_prefix(load(field, fields.len()).as_slice())?;
        Some((field, rest))
    }) {
        fields.push(field);
        expressions = rest;
    }
    (fields, expressions)
}

#[cfg(test)]
mod tests;
