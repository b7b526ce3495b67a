//! The expressions that rules are made of in the kernel: to libnftnl, from a dump, and as text.
//!
//! What the kernel adds by itself is taken away when a dump is read, so that an expression reads back as it was
//! written. One that we never write is [`Expression::Other`]: only its name counts.

use std::ffi::{CStr, CString};
use std::fmt;

use nftnl::nftnl_sys as sys;
use nix::libc;

use super::message::Attributes;
use super::shim::{self, Value};
use super::uapi::expression::{
    bitwise, byteorder, cmp, ct, exthdr, flow_offload, immediate, lookup, meta, nat, payload, rt,
};
use super::uapi::{element, rule};
use crate::kernel::error::Error;

/// A register of four bytes: [`slot`] 0 and up.
pub(super) type Register = u32;

/// The register of the n-th field of a concatenation, or of a lone value (0).
///
/// The first has the number of a 16-byte register, as nft(8) writes it and as the kernel tells it.
pub(super) const fn slot(position: usize) -> Register {
    match position {
        0 => libc::NFT_REG_1 as u32,
        _ => libc::NFT_REG32_00 as u32 + position as u32,
    }
}

/// One expression, in the notation of `nft --debug=netlink`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Expression {
    /// `payload load 4b @ network header + 16 => reg 1`
    Payload {
        /// `NFT_PAYLOAD_*_HEADER`.
        base: u32,
        offset: u32,
        length: u32,
        to: Register,
    },
    /// `meta load mark => reg 1`
    Meta {
        /// `NFT_META_*`.
        key: u32,
        to: Register,
    },
    /// `meta set mark with reg 1`
    MetaSet {
        /// `NFT_META_*`.
        key: u32,
        from: Register,
    },
    /// `ct load state => reg 1`, `ct load dst_ip => reg 1 , dir reply`
    Ct {
        key: u32,
        direction: Option<u8>,
        to: Register,
    },
    /// `flow add @FLOWTABLE`
    FlowOffload { flowtable: String },
    /// `lookup reg 1 set SET dreg 1`
    Lookup {
        set: String,
        from: Register,
        to: Option<Register>,
        negate: bool,
    },
    /// `bitwise reg 1 = ( reg 1 & 0x01000000 ) ^ 0x00000000`
    Bitwise {
        from: Register,
        to: Register,
        mask: u32,
        xor: u32,
    },
    /// `bitwise reg 1 = ( reg 1 & 0x02 ) ^ 0x00`: of one byte
    BitwiseByte { register: Register, mask: u8 },
    /// `cmp neq reg 1 0x00`: of one byte
    NotEqualByte { from: Register, value: u8 },
    /// `rt load tcpmss => reg 1`
    LoadMss { to: Register },
    /// `byteorder reg 1 = hton(reg 1, 2, 2)`
    ToNetworkOrder { register: Register },
    /// `exthdr write tcpopt reg 1 => 2b @ 2 + 2`
    SetMss { from: Register },
    /// `cmp eq reg 1 0x01000000`
    Equal { from: Register, value: u32 },
    /// `cmp eq reg 1 0x00`: of one byte
    EqualByte { from: Register, value: u8 },
    /// `cmp neq reg 1 0x00000000`
    NotEqual { from: Register, value: u32 },
    /// `immediate reg 1 0x0a090909`
    Load { to: Register, value: [u8; 4] },
    /// `immediate reg 0 return`
    Return,
    /// `nat dnat ip addr_min reg 1 proto_min reg 9`
    Nat {
        /// `NFT_NAT_*`.
        kind: u32,
        address: Register,
        port: Option<Register>,
    },
    /// One that we never write.
    Other(String),
}

impl Expression {
    /// As libnftnl takes it.
    ///
    /// # Errors
    /// If a name cannot be one, or if it is [`Expression::Other`].
    pub(super) fn to_nftnl(&self) -> Result<shim::Expression, Error> {
        use Value::{Data, Number};
        let (name, attributes): (&'static CStr, Vec<(u32, Value)>) = match self {
            Self::Payload {
                base,
                offset,
                length,
                to,
            } => (
                c"payload",
                vec![
                    (sys::NFTNL_EXPR_PAYLOAD_DREG, Number(*to)),
                    (sys::NFTNL_EXPR_PAYLOAD_BASE, Number(*base)),
                    (sys::NFTNL_EXPR_PAYLOAD_OFFSET, Number(*offset)),
                    (sys::NFTNL_EXPR_PAYLOAD_LEN, Number(*length)),
                ],
            ),
            Self::Meta { key, to } => (
                c"meta",
                vec![
                    (sys::NFTNL_EXPR_META_KEY, Number(*key)),
                    (sys::NFTNL_EXPR_META_DREG, Number(*to)),
                ],
            ),
            Self::MetaSet { key, from } => (
                c"meta",
                vec![
                    (sys::NFTNL_EXPR_META_KEY, Number(*key)),
                    (sys::NFTNL_EXPR_META_SREG, Number(*from)),
                ],
            ),
            Self::Lookup {
                set,
                from,
                to,
                negate,
            } => {
                let mut attributes = vec![
                    (sys::NFTNL_EXPR_LOOKUP_SREG, Number(*from)),
                    (sys::NFTNL_EXPR_LOOKUP_SET, Value::Name(c_string(set)?)),
                ];
                attributes.extend(to.map(|to| (sys::NFTNL_EXPR_LOOKUP_DREG, Number(to))));
                if *negate {
                    attributes.push((
                        sys::NFTNL_EXPR_LOOKUP_FLAGS,
                        Number(libc::NFT_LOOKUP_F_INV as u32),
                    ));
                }
                (c"lookup", attributes)
            }
            Self::Bitwise { from, to, mask, xor } => (
                c"bitwise",
                vec![
                    (sys::NFTNL_EXPR_BITWISE_SREG, Number(*from)),
                    (sys::NFTNL_EXPR_BITWISE_DREG, Number(*to)),
                    (sys::NFTNL_EXPR_BITWISE_LEN, Number(size_of::<u32>() as u32)),
                    (sys::NFTNL_EXPR_BITWISE_MASK, Data(mask.to_ne_bytes())),
                    (sys::NFTNL_EXPR_BITWISE_XOR, Data(xor.to_ne_bytes())),
                ],
            ),
            Self::Ct { key, direction, to } => {
                let mut attributes = vec![
                    (sys::NFTNL_EXPR_CT_DREG, Number(*to)),
                    (sys::NFTNL_EXPR_CT_KEY, Number(*key)),
                ];
                attributes.extend(direction.map(|one| (sys::NFTNL_EXPR_CT_DIR, Value::Byte(one))));
                (c"ct", attributes)
            }
            Self::EqualByte { from, value } => (
                c"cmp",
                vec![
                    (sys::NFTNL_EXPR_CMP_SREG, Number(*from)),
                    (sys::NFTNL_EXPR_CMP_OP, Number(libc::NFT_CMP_EQ as u32)),
                    (sys::NFTNL_EXPR_CMP_DATA, Value::Byte(*value)),
                ],
            ),
            Self::FlowOffload { flowtable } => (
                c"flow_offload",
                vec![(sys::NFTNL_EXPR_FLOW_TABLE_NAME, Value::Name(c_string(flowtable)?))],
            ),
            Self::BitwiseByte { register, mask } => (
                c"bitwise",
                vec![
                    (sys::NFTNL_EXPR_BITWISE_SREG, Number(*register)),
                    (sys::NFTNL_EXPR_BITWISE_DREG, Number(*register)),
                    (sys::NFTNL_EXPR_BITWISE_LEN, Number(1)),
                    (sys::NFTNL_EXPR_BITWISE_MASK, Value::Byte(*mask)),
                    (sys::NFTNL_EXPR_BITWISE_XOR, Value::Byte(0)),
                ],
            ),
            Self::NotEqualByte { from, value } => (
                c"cmp",
                vec![
                    (sys::NFTNL_EXPR_CMP_SREG, Number(*from)),
                    (sys::NFTNL_EXPR_CMP_OP, Number(libc::NFT_CMP_NEQ as u32)),
                    (sys::NFTNL_EXPR_CMP_DATA, Value::Byte(*value)),
                ],
            ),
            Self::LoadMss { to } => (
                c"rt",
                vec![
                    (sys::NFTNL_EXPR_RT_KEY, Number(rt::KEY_MSS)),
                    (sys::NFTNL_EXPR_RT_DREG, Number(*to)),
                ],
            ),
            Self::ToNetworkOrder { register } => (
                c"byteorder",
                vec![
                    (sys::NFTNL_EXPR_BYTEORDER_SREG, Number(*register)),
                    (sys::NFTNL_EXPR_BYTEORDER_DREG, Number(*register)),
                    (sys::NFTNL_EXPR_BYTEORDER_OP, Number(byteorder::HTON)),
                    (sys::NFTNL_EXPR_BYTEORDER_LEN, Number(2)),
                    (sys::NFTNL_EXPR_BYTEORDER_SIZE, Number(2)),
                ],
            ),
            Self::SetMss { from } => (
                c"exthdr",
                vec![
                    (sys::NFTNL_EXPR_EXTHDR_SREG, Number(*from)),
                    (sys::NFTNL_EXPR_EXTHDR_TYPE, Value::Byte(exthdr::MAXSEG)),
                    (sys::NFTNL_EXPR_EXTHDR_OFFSET, Number(exthdr::MAXSEG_OFFSET)),
                    (sys::NFTNL_EXPR_EXTHDR_LEN, Number(exthdr::MAXSEG_LENGTH)),
                    (sys::NFTNL_EXPR_EXTHDR_OP, Number(exthdr::TCP_OPTION)),
                ],
            ),
            Self::Equal { from, value } => compare(libc::NFT_CMP_EQ, *from, *value),
            Self::NotEqual { from, value } => compare(libc::NFT_CMP_NEQ, *from, *value),
            Self::Load { to, value } => (
                c"immediate",
                vec![
                    (sys::NFTNL_EXPR_IMM_DREG, Number(*to)),
                    (sys::NFTNL_EXPR_IMM_DATA, Data(*value)),
                ],
            ),
            Self::Return => (
                c"immediate",
                vec![
                    (sys::NFTNL_EXPR_IMM_DREG, Number(libc::NFT_REG_VERDICT as u32)),
                    (sys::NFTNL_EXPR_IMM_VERDICT, Number(libc::NFT_RETURN as u32)),
                ],
            ),
            Self::Nat { kind, address, port } => {
                let mut attributes = vec![
                    (sys::NFTNL_EXPR_NAT_TYPE, Number(*kind)),
                    (sys::NFTNL_EXPR_NAT_FAMILY, Number(libc::NFPROTO_IPV4 as u32)),
                    (sys::NFTNL_EXPR_NAT_REG_ADDR_MIN, Number(*address)),
                ];
                attributes.extend(port.map(|port| (sys::NFTNL_EXPR_NAT_REG_PROTO_MIN, Number(port))));
                (c"nat", attributes)
            }
            Self::Other(_) => return Err(Error::refused(libc::EOPNOTSUPP)),
        };
        Ok(shim::Expression { name, attributes })
    }

    /// One entry of a rule's list of expressions; `None` if it does nothing.
    ///
    /// # Errors
    /// If the message is malformed.
    pub(super) fn read(entry: &[u8]) -> Result<Option<Self>, String> {
        let entry = Attributes::<3>::read(entry)?;
        let name = entry.text(rule::EXPRESSION_NAME).unwrap_or_default();
        let data = Attributes::<16>::read(entry.get(rule::EXPRESSION_DATA).unwrap_or_default())?;
        if name == "byteorder" && does_nothing(&data) {
            return Ok(None);
        }
        let known = match name.as_str() {
            "payload" => read_payload(&data),
            "meta" => read_meta(&data),
            "ct" => read_ct(&data),
            "flow_offload" => {
                let flowtable = data.text(flow_offload::TABLE_NAME);
                flowtable.map(|flowtable| Self::FlowOffload { flowtable })
            }
            "lookup" => read_lookup(&data),
            "bitwise" => read_bitwise(&data),
            "cmp" => read_cmp(&data),
            "immediate" => read_immediate(&data),
            "nat" => read_nat(&data),
            "rt" => read_rt(&data),
            "byteorder" => read_byteorder(&data),
            "exthdr" => read_exthdr(&data),
            _ => None,
        };
        Ok(Some(known.unwrap_or(Self::Other(name))))
    }
}

type Data<'a> = Attributes<'a, 16>;

/// A comparison, by `NFT_CMP_*`, as libnftnl takes it.
fn compare(operation: libc::c_int, from: Register, value: u32) -> (&'static CStr, Vec<(u32, Value)>) {
    (
        c"cmp",
        vec![
            (sys::NFTNL_EXPR_CMP_SREG, Value::Number(from)),
            (sys::NFTNL_EXPR_CMP_OP, Value::Number(operation as u32)),
            (sys::NFTNL_EXPR_CMP_DATA, Value::Data(value.to_ne_bytes())),
        ],
    )
}

/// nft 1.0.6 puts `byteorder reg 9 = hton(reg 9, 2, 1)` behind a protocol that is looked up in ranges: it swaps
/// as many pairs of bytes as there are in one byte.
fn does_nothing(data: &Data<'_>) -> bool {
    let (length, size) = (data.number(byteorder::LENGTH), data.number(byteorder::SIZE));
    data.number(byteorder::SREG) == data.number(byteorder::DREG)
        && matches!((length, size), (Some(length), Some(size)) if length < size)
}

fn read_payload(data: &Data<'_>) -> Option<Expression> {
    Some(Expression::Payload {
        base: data.number(payload::BASE)?,
        offset: data.number(payload::OFFSET)?,
        length: data.number(payload::LENGTH)?,
        to: data.number(payload::DREG)?,
    })
}

fn read_meta(data: &Data<'_>) -> Option<Expression> {
    let key = data.number(meta::KEY)?;
    match (data.number(meta::DREG), data.number(meta::SREG)) {
        (Some(to), None) => Some(Expression::Meta { key, to }),
        (None, Some(from)) => Some(Expression::MetaSet { key, from }),
        _ => None,
    }
}

fn read_ct(data: &Data<'_>) -> Option<Expression> {
    let direction = match data.get(ct::DIRECTION) {
        None => None,
        Some([direction]) => Some(*direction),
        Some(_) => return None,
    };
    Some(Expression::Ct {
        key: data.number(ct::KEY)?,
        direction,
        to: data.number(ct::DREG)?,
    })
}

fn read_lookup(data: &Data<'_>) -> Option<Expression> {
    let flags = data.number(lookup::FLAGS).unwrap_or(0);
    (flags & !(libc::NFT_LOOKUP_F_INV as u32) == 0).then_some(())?;
    Some(Expression::Lookup {
        set: data.text(lookup::SET)?,
        from: data.number(lookup::SREG)?,
        to: data.number(lookup::DREG),
        negate: flags != 0,
    })
}

fn read_rt(data: &Data<'_>) -> Option<Expression> {
    (data.number(rt::KEY)? == rt::KEY_MSS).then_some(())?;
    Some(Expression::LoadMss {
        to: data.number(rt::DREG)?,
    })
}

fn read_byteorder(data: &Data<'_>) -> Option<Expression> {
    let register = data.number(byteorder::SREG)?;
    let is_plain = data.number(byteorder::DREG)? == register
        && data.number(byteorder::OPERATION)? == byteorder::HTON
        && data.number(byteorder::LENGTH)? == 2
        && data.number(byteorder::SIZE)? == 2;
    is_plain.then_some(Expression::ToNetworkOrder { register })
}

fn read_exthdr(data: &Data<'_>) -> Option<Expression> {
    let is_mss = data.get(exthdr::TYPE)? == [exthdr::MAXSEG]
        && data.number(exthdr::OFFSET)? == exthdr::MAXSEG_OFFSET
        && data.number(exthdr::LENGTH)? == exthdr::MAXSEG_LENGTH
        && data.number(exthdr::OPERATION)? == exthdr::TCP_OPTION
        && data.number(exthdr::FLAGS).unwrap_or(0) == 0;
    is_mss.then_some(Expression::SetMss {
        from: data.number(exthdr::SREG)?,
    })
}

fn read_bitwise(data: &Data<'_>) -> Option<Expression> {
    // `NFT_BITWISE_MASK_XOR` is what kernels before 5.6 do, which have no such attribute.
    (data.number(bitwise::OPERATION).unwrap_or(0) == 0).then_some(())?;
    if let (Some(1), Some(mask), Some(0)) = (
        data.number(bitwise::LENGTH),
        byte(data.get(bitwise::MASK)),
        byte(data.get(bitwise::XOR)),
    ) {
        let register = data.number(bitwise::SREG)?;
        return (data.number(bitwise::DREG)? == register)
            .then_some(Expression::BitwiseByte { register, mask });
    }
    Some(Expression::Bitwise {
        from: data.number(bitwise::SREG)?,
        to: data.number(bitwise::DREG)?,
        mask: u32::from_ne_bytes(word(data.get(bitwise::MASK))?),
        xor: u32::from_ne_bytes(word(data.get(bitwise::XOR))?),
    })
}

fn read_cmp(data: &Data<'_>) -> Option<Expression> {
    let from = data.number(cmp::SREG)?;
    let is_equal = match data.number(cmp::OPERATION)? as i32 {
        libc::NFT_CMP_EQ => true,
        libc::NFT_CMP_NEQ => false,
        _ => return None,
    };
    if let Some(value) = byte(data.get(cmp::DATA)) {
        return Some(if is_equal {
            Expression::EqualByte { from, value }
        } else {
            Expression::NotEqualByte { from, value }
        });
    }
    let value = u32::from_ne_bytes(word(data.get(cmp::DATA))?);
    Some(if is_equal {
        Expression::Equal { from, value }
    } else {
        Expression::NotEqual { from, value }
    })
}

fn read_immediate(data: &Data<'_>) -> Option<Expression> {
    let to = data.number(immediate::DREG)?;
    if to != libc::NFT_REG_VERDICT as u32 {
        return Some(Expression::Load {
            to,
            value: word(data.get(immediate::DATA))?,
        });
    }
    let verdict = Attributes::<4>::read(data.get(immediate::DATA)?).ok()?;
    let verdict = Attributes::<4>::read(verdict.get(element::DATA_VERDICT)?).ok()?;
    let chain = verdict.text(immediate::VERDICT_CHAIN).unwrap_or_default();
    Some(match verdict.number(immediate::VERDICT_CODE)? as i32 {
        libc::NFT_RETURN => Expression::Return,
        libc::NFT_JUMP => Expression::Other(format!("jump {chain}")),
        libc::NFT_GOTO => Expression::Other(format!("goto {chain}")),
        libc::NF_ACCEPT => Expression::Other("accept".to_owned()),
        libc::NF_DROP => Expression::Other("drop".to_owned()),
        code => Expression::Other(format!("verdict {code}")),
    })
}

fn read_nat(data: &Data<'_>) -> Option<Expression> {
    let address = data.number(nat::ADDRESS_MIN)?;
    let port = data.number(nat::PORT_MIN);
    // The kernel fills in the upper ends of the ranges, and the flags that the registers imply.
    let is_plain = data
        .number(nat::ADDRESS_MAX)
        .is_none_or(|maximum| maximum == address)
        && data
            .number(nat::PORT_MAX)
            .is_none_or(|maximum| Some(maximum) == port)
        && data.number(nat::FLAGS).unwrap_or(0) & !nat::FLAGS_OF_REGISTERS == 0
        && data.number(nat::FAMILY)? == libc::NFPROTO_IPV4 as u32;
    is_plain.then_some(Expression::Nat {
        kind: data.number(nat::TYPE)?,
        address,
        port,
    })
}

/// Data of four bytes.
fn word(data: Option<&[u8]>) -> Option<[u8; 4]> {
    Attributes::<2>::read(data?)
        .ok()?
        .get(element::DATA_VALUE)?
        .try_into()
        .ok()
}

/// Data of one byte.
fn byte(data: Option<&[u8]>) -> Option<u8> {
    let data = Attributes::<2>::read(data?).ok()?;
    match data.get(element::DATA_VALUE)? {
        [byte] => Some(*byte),
        _ => None,
    }
}

/// A name as C has it, of the length that the kernel allows (`NFT_NAME_MAXLEN`, with the terminating zero).
pub(super) fn c_string(name: &str) -> Result<CString, Error> {
    match CString::new(name) {
        Ok(name) if (1..256).contains(&name.count_bytes()) => Ok(name),
        _ => Err(Error::refused(libc::EINVAL)),
    }
}

impl fmt::Display for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Payload {
                base,
                offset,
                length,
                to,
            } => {
                let header = match *base as i32 {
                    libc::NFT_PAYLOAD_LL_HEADER => "link",
                    libc::NFT_PAYLOAD_NETWORK_HEADER => "network",
                    libc::NFT_PAYLOAD_TRANSPORT_HEADER => "transport",
                    _ => "other",
                };
                write!(
                    f,
                    "payload load {length}b @ {header} header + {offset} => reg {to}"
                )
            }
            Self::Meta { key, to } => write!(f, "meta load {} => reg {to}", meta_name(*key)),
            Self::MetaSet { key, from } => write!(f, "meta set {} with reg {from}", meta_name(*key)),
            Self::Lookup {
                set,
                from,
                to,
                negate,
            } => {
                write!(f, "lookup reg {from} set {set}")?;
                if let Some(to) = to {
                    write!(f, " dreg {to}")?;
                }
                if *negate { f.write_str(" inverted") } else { Ok(()) }
            }
            Self::Bitwise { from, to, mask, xor } => {
                write!(
                    f,
                    "bitwise reg {to} = ( reg {from} & 0x{mask:08x} ) ^ 0x{xor:08x}"
                )
            }
            Self::Ct { key, direction, to } => {
                write!(f, "ct load {} => reg {to}", ct_name(*key))?;
                direction.map_or(Ok(()), |direction| write!(f, " dir {direction}"))
            }
            Self::FlowOffload { flowtable } => write!(f, "flow add @{flowtable}"),
            Self::NotEqual { from, value } => write!(f, "cmp neq reg {from} 0x{value:08x}"),
            Self::Equal { from, value } => write!(f, "cmp eq reg {from} 0x{value:08x}"),
            Self::BitwiseByte { register, mask } => {
                write!(
                    f,
                    "bitwise reg {register} = ( reg {register} & 0x{mask:02x} ) ^ 0x00"
                )
            }
            Self::NotEqualByte { from, value } => write!(f, "cmp neq reg {from} 0x{value:02x}"),
            Self::LoadMss { to } => write!(f, "rt load tcpmss => reg {to}"),
            Self::ToNetworkOrder { register } => {
                write!(f, "byteorder reg {register} = hton(reg {register}, 2, 2)")
            }
            Self::SetMss { from } => write!(f, "exthdr write tcpopt reg {from} => 2b @ 2 + 2"),
            Self::EqualByte { from, value } => write!(f, "cmp eq reg {from} 0x{value:02x}"),
            Self::Load { to, value } => write!(f, "immediate reg {to} 0x{:08x}", u32::from_be_bytes(*value)),
            Self::Return => f.write_str("return"),
            Self::Nat { kind, address, port } => {
                let kind = if *kind as i32 == libc::NFT_NAT_SNAT {
                    "snat"
                } else {
                    "dnat"
                };
                write!(f, "nat {kind} ip addr_min reg {address}")?;
                port.map_or(Ok(()), |port| write!(f, " proto_min reg {port}"))
            }
            Self::Other(name) => f.write_str(name),
        }
    }
}

fn ct_name(key: u32) -> String {
    match key as i32 {
        libc::NFT_CT_STATE => "state".to_owned(),
        libc::NFT_CT_STATUS => "status".to_owned(),
        libc::NFT_CT_DIRECTION => "direction".to_owned(),
        _ => format!("key {key}"),
    }
}

fn meta_name(key: u32) -> String {
    match key as i32 {
        libc::NFT_META_MARK => "mark".to_owned(),
        libc::NFT_META_L4PROTO => "l4proto".to_owned(),
        _ => format!("key {key}"),
    }
}
