//! Sets and maps, and what they hold.

use std::fmt;
use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

use super::Elements;

/// The type of one field of a key or of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FieldType {
    /// An IPv4 address.
    Ipv4Addr,
    /// A protocol number of the IP header.
    InetProto,
    /// A TCP or UDP port.
    InetService,
}

impl FieldType {
    /// nft(8)'s word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ipv4Addr => "ipv4_addr",
            Self::InetProto => "inet_proto",
            Self::InetService => "inet_service",
        }
    }

    pub(super) fn write(self, f: &mut fmt::Formatter<'_>, value: u32) -> fmt::Result {
        match (self, value) {
            (Self::Ipv4Addr, _) => write!(f, "{}", Ipv4Addr::from(value)),
            (Self::InetProto, 6) => f.write_str("tcp"),
            (Self::InetProto, 17) => f.write_str("udp"),
            _ => write!(f, "{value}"),
        }
    }
}

/// Up to three fields, as numbers in host order, so that tuples sort as people count; unused ones are 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize)]
#[serde(transparent)]
pub struct Tuple(pub [u32; Tuple::MAX]);

impl Tuple {
    /// The most fields that a key or a value has.
    pub const MAX: usize = 3;
}

impl From<Ipv4Addr> for Tuple {
    fn from(address: Ipv4Addr) -> Self {
        Self([address.into(), 0, 0])
    }
}

/// One key of a set, or one range of keys: `first` and `last` (inclusive) are equal but in interval sets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize)]
pub struct Element {
    /// The lowest key.
    pub first: Tuple,
    /// The highest key.
    pub last: Tuple,
}

impl Element {
    /// The element of one key.
    pub fn key(key: impl Into<Tuple>) -> Self {
        let key = key.into();
        Self {
            first: key,
            last: key,
        }
    }

    /// The element of all keys from `first` to `last`, both included.
    pub fn range(first: impl Into<Tuple>, last: impl Into<Tuple>) -> Self {
        Self {
            first: first.into(),
            last: last.into(),
        }
    }
}

/// A named set, or a map where it has `data`.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Set {
    /// The types of a key's fields; more than one: a concatenation.
    pub key: Vec<FieldType>,
    /// The types of a value's fields; empty: a set, no map.
    #[serde(default)]
    pub data: Vec<FieldType>,
    /// Whether elements are ranges.
    #[serde(default)]
    pub interval: bool,
    /// Whether each element counts the packets that it is found for, and their bytes (Linux 5.7). How much that is stands
    /// in [`super::Counts`], and is never part of a difference.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub counts: bool,
    /// How many elements it was made for, as the kernel says; 0: any number, or not made yet. Two sets are equal whatever
    /// they were made for: only whether all elements fit matters.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub size: u32,
    /// What it holds; the value is zero where there is no data.
    #[serde(default)]
    pub elements: Elements,
}

impl Set {
    /// A set or map of this type that holds nothing.
    #[must_use]
    pub fn new(key: &[FieldType], data: &[FieldType], interval: bool) -> Self {
        Self {
            key: key.to_vec(),
            data: data.to_vec(),
            interval,
            counts: false,
            size: 0,
            elements: Elements::default(),
        }
    }

    /// The same, with elements that count.
    #[must_use]
    pub fn counting(self) -> Self {
        Self { counts: true, ..self }
    }

    /// Whether it is there for nothing but to count.
    #[must_use]
    pub fn is_counter(&self) -> bool {
        self.counts && self.data.is_empty()
    }

    /// Whether it can become another one by a change of its elements: it has their type, and room for them.
    #[must_use]
    pub fn can_become(&self, other: &Self) -> bool {
        self.same_type(other) && (self.size == 0 || other.elements.len() <= self.size as usize)
    }

    fn same_type(&self, other: &Self) -> bool {
        let kind = |set: &Self| (set.interval, set.counts);
        (&self.key, &self.data, kind(self)) == (&other.key, &other.data, kind(other))
    }

    /// `map` or `set`.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        if self.data.is_empty() { "set" } else { "map" }
    }

    /// One element as nft(8) writes it: `10.90.2.250 : 192.168.100.190`.
    #[must_use]
    pub fn show(&self, element: Element, value: Tuple) -> impl fmt::Display + '_ {
        struct Shown<'a>(&'a Set, Element, Tuple);
        impl fmt::Display for Shown<'_> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let Self(set, element, value) = self;
                write_tuple(f, &set.key, element.first, element.last)?;
                if !set.data.is_empty() {
                    f.write_str(" : ")?;
                    write_tuple(f, &set.data, *value, *value)?;
                }
                Ok(())
            }
        }
        Shown(self, element, value)
    }

    pub(super) fn write(&self, f: &mut fmt::Formatter<'_>, name: &str) -> fmt::Result {
        let types = |types: &[FieldType]| {
            types
                .iter()
                .map(|field| field.as_str())
                .collect::<Vec<_>>()
                .join(" . ")
        };
        writeln!(f, "\t{} {name} {{", self.kind())?;
        write!(f, "\t\ttype {}", types(&self.key))?;
        if !self.data.is_empty() {
            write!(f, " : {}", types(&self.data))?;
        }
        writeln!(f)?;
        if self.interval {
            writeln!(f, "\t\tflags interval")?;
        }
        if self.counts {
            writeln!(f, "\t\tcounter")?;
        }
        if !self.elements.is_empty() {
            writeln!(f, "\t\telements = {{")?;
            for (element, value) in &self.elements {
                writeln!(f, "\t\t\t{},", self.show(*element, *value))?;
            }
            writeln!(f, "\t\t}}")?;
        }
        writeln!(f, "\t}}")
    }
}

impl PartialEq for Set {
    fn eq(&self, other: &Self) -> bool {
        self.same_type(other) && self.elements == other.elements
    }
}

impl Eq for Set {}

fn is_zero(size: &u32) -> bool {
    *size == 0
}

fn write_tuple(f: &mut fmt::Formatter<'_>, types: &[FieldType], first: Tuple, last: Tuple) -> fmt::Result {
    for (position, field) in types.iter().enumerate() {
        if position > 0 {
            f.write_str(" . ")?;
        }
        let (first, last) = (first.0[position], last.0[position]);
        field.write(f, first)?;
        if first != last {
            f.write_str("-")?;
            field.write(f, last)?;
        }
    }
    Ok(())
}
