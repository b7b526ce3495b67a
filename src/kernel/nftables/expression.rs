//! The expressions that rules are made of in the kernel: to libnftnl, from a dump, and as text.
//!
//! What the kernel adds by itself is taken away when a dump is read, so that an expression reads back as it was
//! written. One that we never write is [`Expression::Other`]: only its name counts.

mod read;

use std::ffi::{CStr, CString};
use std::fmt;

use nftnl::nftnl_sys as sys;
use nix::libc;

use super::shim::{self, Value};
use super::uapi::expression::{byteorder, exthdr, rt};
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
    /// `cmp gte reg 1 0x0000e803`: of two bytes, as the network has them
    AtLeast { from: Register, value: u16 },
    /// `cmp lte reg 1 0x000047ee`: of two bytes, as the network has them
    AtMost { from: Register, value: u16 },
    /// `immediate reg 1 0x0a090909`
    Load { to: Register, value: [u8; 4] },
    /// `immediate reg 0 return`
    Return,
    /// `immediate reg 0 drop`
    Drop,
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
            Self::EqualByte { from, value } => compare(libc::NFT_CMP_EQ, *from, Value::Byte(*value)),
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
            Self::NotEqualByte { from, value } => compare(libc::NFT_CMP_NEQ, *from, Value::Byte(*value)),
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
            Self::Equal { from, value } => compare(libc::NFT_CMP_EQ, *from, Data(value.to_ne_bytes())),
            Self::NotEqual { from, value } => compare(libc::NFT_CMP_NEQ, *from, Data(value.to_ne_bytes())),
            Self::AtLeast { from, value } => {
                compare(libc::NFT_CMP_GTE, *from, Value::Port(value.to_be_bytes()))
            }
            Self::AtMost { from, value } => {
                compare(libc::NFT_CMP_LTE, *from, Value::Port(value.to_be_bytes()))
            }
            Self::Load { to, value } => (
                c"immediate",
                vec![
                    (sys::NFTNL_EXPR_IMM_DREG, Number(*to)),
                    (sys::NFTNL_EXPR_IMM_DATA, Data(*value)),
                ],
            ),
            Self::Return => verdict(libc::NFT_RETURN),
            Self::Drop => verdict(libc::NF_DROP),
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
}

/// The end of a chain or of a packet, as libnftnl takes it.
fn verdict(code: libc::c_int) -> (&'static CStr, Vec<(u32, Value)>) {
    (
        c"immediate",
        vec![
            (
                sys::NFTNL_EXPR_IMM_DREG,
                Value::Number(libc::NFT_REG_VERDICT as u32),
            ),
            (sys::NFTNL_EXPR_IMM_VERDICT, Value::Number(code as u32)),
        ],
    )
}

/// A comparison, by `NFT_CMP_*`, as libnftnl takes it.
fn compare(operation: libc::c_int, from: Register, value: Value) -> (&'static CStr, Vec<(u32, Value)>) {
    (
        c"cmp",
        vec![
            (sys::NFTNL_EXPR_CMP_SREG, Value::Number(from)),
            (sys::NFTNL_EXPR_CMP_OP, Value::Number(operation as u32)),
            (sys::NFTNL_EXPR_CMP_DATA, value),
        ],
    )
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
            Self::AtLeast { from, value } => write!(f, "cmp gte reg {from} 0x{:08x}", value.to_be()),
            Self::AtMost { from, value } => write!(f, "cmp lte reg {from} 0x{:08x}", value.to_be()),
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
            Self::Drop => f.write_str("drop"),
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
