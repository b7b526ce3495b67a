//! The bytes of keys and values: how nft(8) lays out the fields of a tuple and numbers their types.
//!
//! nf_tables itself knows lengths only; the type numbers are nft(8)'s (`enum datatypes` of its datatype.h).
//! The kernel keeps them, so that `nft list ruleset` shows addresses and ports.

use crate::model::nft::{FieldType, Tuple};

/// How many bits a field's type takes in the number of a concatenation (`TYPE_BITS`).
const TYPE_BITS: u32 = 6;
/// Fields of a concatenation start at multiples of a register's four bytes.
pub(super) const SLOT: usize = 4;

const fn number(field: FieldType) -> u32 {
    match field {
        FieldType::Ipv4Addr => 7,
        FieldType::InetProto => 12,
        FieldType::InetService => 13,
    }
}

/// How many bytes the field has.
pub(super) const fn width(field: FieldType) -> usize {
    match field {
        FieldType::Ipv4Addr => 4,
        FieldType::InetProto => 1,
        FieldType::InetService => 2,
    }
}

/// The highest value of the field.
pub(super) const fn highest(field: FieldType) -> u32 {
    match field {
        FieldType::Ipv4Addr => u32::MAX,
        FieldType::InetProto => u8::MAX as u32,
        FieldType::InetService => u16::MAX as u32,
    }
}

/// The number of the type of a key or value with these fields.
pub(super) fn type_number(fields: &[FieldType]) -> u32 {
    fields
        .iter()
        .fold(0, |sum, field| (sum << TYPE_BITS) | number(*field))
}

/// The fields of the type with this number and length; `None` if there is one that we do not have.
pub(super) fn fields(mut type_number: u32, length: u32) -> Option<Vec<FieldType>> {
    let known = [FieldType::Ipv4Addr, FieldType::InetProto, FieldType::InetService];
    let mut fields = Vec::new();
    while type_number != 0 {
        let last = type_number & ((1 << TYPE_BITS) - 1);
        fields.push(known.into_iter().find(|field| number(*field) == last)?);
        type_number >>= TYPE_BITS;
    }
    fields.reverse();
    (!fields.is_empty() && fields.len() <= Tuple::MAX && self::length(&fields) == length as usize)
        .then_some(fields)
}

/// How many bytes a tuple of these fields has: one field its own, several a slot each.
pub(super) fn length(fields: &[FieldType]) -> usize {
    match fields {
        [field] => width(*field),
        _ => fields.len() * SLOT,
    }
}

/// The bytes of a tuple; as many as [`length`] says are used.
pub(super) fn bytes(fields: &[FieldType], tuple: Tuple) -> [u8; Tuple::MAX * SLOT] {
    let mut bytes = [0; Tuple::MAX * SLOT];
    for ((slot, field), value) in bytes.chunks_exact_mut(SLOT).zip(fields).zip(tuple.0) {
        let width = width(*field);
        slot[..width].copy_from_slice(&value.to_be_bytes()[SLOT - width..]);
    }
    bytes
}

/// The tuple that these bytes are; `None` if they are too many or too few.
pub(super) fn tuple(fields: &[FieldType], bytes: &[u8]) -> Option<Tuple> {
    if bytes.len() != length(fields) {
        return None;
    }
    let mut tuple = Tuple::default();
    for ((slot, field), value) in bytes.chunks(SLOT).zip(fields).zip(&mut tuple.0) {
        *value = slot[..width(*field)]
            .iter()
            .fold(0, |sum, byte| (sum << 8) | u32::from(*byte));
    }
    Some(tuple)
}

#[cfg(test)]
mod tests {
    use super::*;

    use FieldType::{InetProto, InetService, Ipv4Addr};

    /// Types, their number as nft 1.0.6 sends it, a tuple and its bytes.
    type Case = (&'static [FieldType], u32, [u32; 3], &'static [u8]);

    const CASES: [Case; 5] = [
        (&[Ipv4Addr], 7, [0x0102_0304, 0, 0], &[1, 2, 3, 4]),
        (&[InetProto], 12, [6, 0, 0], &[6]),
        (&[InetService], 13, [8080, 0, 0], &[0x1f, 0x90]),
        (
            &[Ipv4Addr, InetService],
            0x1cd,
            [0x0102_0304, 8080, 0],
            &[1, 2, 3, 4, 0x1f, 0x90, 0, 0],
        ),
        (
            &[Ipv4Addr, InetProto, InetService],
            0x730d,
            [0x0102_0304, 17, 80],
            &[1, 2, 3, 4, 17, 0, 0, 0, 0, 80, 0, 0],
        ),
    ];

    #[test]
    fn tuples_are_laid_out_as_nft_does() {
        for (types, number, values, expected) in CASES {
            assert_eq!(type_number(types), number);
            assert_eq!(length(types), expected.len());
            assert_eq!(&bytes(types, Tuple(values))[..expected.len()], expected);
            assert_eq!(tuple(types, expected), Some(Tuple(values)));
            assert_eq!(tuple(types, &expected[1..]), None);
            assert_eq!(fields(number, expected.len() as u32).as_deref(), Some(types));
            assert_eq!(fields(number, expected.len() as u32 + 1), None);
        }
    }

    #[test]
    fn unknown_types_are_none() {
        // ipv6_addr, mark, a verdict, four fields, nothing.
        for (number, length) in [
            (8, 16),
            (19, 4),
            (0xffff_ff00, 16),
            (type_number(&[Ipv4Addr; 4]), 16),
            (0, 0),
        ] {
            assert_eq!(fields(number, length), None);
        }
    }
}
