//! Expressions from a dump. What the kernel adds by itself is taken away, so that one reads back as it was written.

use nix::libc;

use super::super::message::Attributes;
use super::super::uapi::expression::{
    bitwise, byteorder, cmp, ct, exthdr, flow_offload, immediate, lookup, meta, nat, payload, rt,
};
use super::super::uapi::{element, rule};
use super::Expression;

type Data<'a> = Attributes<'a, 16>;

impl Expression {
    /// One entry of a rule's list of expressions; `None` if it does nothing.
    ///
    /// # Errors
    /// If the message is malformed.
    pub(in super::super) fn read(entry: &[u8]) -> Result<Option<Self>, String> {
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
    let operation = data.number(cmp::OPERATION)? as i32;
    if let Some(value) = port(data.get(cmp::DATA)) {
        return match operation {
            libc::NFT_CMP_GTE => Some(Expression::AtLeast { from, value }),
            libc::NFT_CMP_LTE => Some(Expression::AtMost { from, value }),
            _ => None,
        };
    }
    let is_equal = match operation {
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
        libc::NF_DROP => Expression::Drop,
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

/// Data of two bytes, as the network has them.
fn port(data: Option<&[u8]>) -> Option<u16> {
    let data = Attributes::<2>::read(data?).ok()?;
    let bytes = data.get(element::DATA_VALUE)?.try_into().ok()?;
    Some(u16::from_be_bytes(bytes))
}

/// Data of one byte.
fn byte(data: Option<&[u8]>) -> Option<u8> {
    let data = Attributes::<2>::read(data?).ok()?;
    match data.get(element::DATA_VALUE)? {
        [byte] => Some(*byte),
        _ => None,
    }
}
