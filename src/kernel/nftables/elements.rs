//! The elements of sets and maps: into messages, and from a dump back.
//!
//! By hand, since there are tens of thousands of them: libnftnl allocates each one several times.
//!
//! | set | an element is |
//! |---|---|
//! | plain | a key |
//! | ranges of one field | its first key, and the key after its last with the flag `INTERVAL_END` |
//! | ranges of concatenations (Linux 5.6) | its first and its last key in one |
//!
//! nft(8) also writes an end at 0 into an empty interval set. It is not needed (what is before the first start is
//! in no interval) and could not be kept right by edits: it is read and never written.

use std::iter::Peekable;

use std::collections::BTreeMap;

use nix::libc;

use super::decode::foreign_set;
use super::message::{Attributes, Messages, attributes};
use super::types;
use super::uapi::expression::counter;
use super::uapi::{COUNTER, LIST_ELEMENT, element, rule};
use crate::model::nft::{Counted, Counts, Element, Elements, FieldType, Set, Tuple};
use crate::owned::NFT_TABLE;

/// No element has more bytes: two entries, each with the headers of six attributes, two keys, data, flags and a counter (two
/// headers, a name of eight bytes, two numbers of eight).
const LARGEST: usize = 2 * (6 * 4 + 4 + 3 * Tuple::MAX * types::SLOT + 4 + 2 * 4 + 3 * (4 + 8));

/// Whether elements come or go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Direction {
    /// `add element ip kylin_vr SET { KEY : VALUE, .. }`
    Add,
    /// `delete element ip kylin_vr SET { KEY, .. }`
    Delete,
}

/// Where an element begins to count.
#[derive(Clone, Copy)]
pub(super) enum Start {
    /// At nothing.
    Zero,
    /// Here.
    At(Counted),
}

/// Where elements that a batch makes begin to count.
#[derive(Clone, Default)]
pub(super) struct Starts {
    /// What those of these sets counted before.
    pub(super) counts: Counts,
    /// Whether all are given a counter of their own. If not, the kernel gives them what their set has for all: that costs
    /// it little more than half the time, and is certain since Linux 5.13 (`nft_set_elem_expr_clone`, nf_tables_api.c).
    pub(super) all: bool,
}

impl Starts {
    fn of(&self, set: &str, element: Element) -> Option<Start> {
        let counted = self.counts.get(set).and_then(|set| set.get(&element.first));
        match counted {
            Some(counted) => Some(Start::At(*counted)),
            None => self.all.then_some(Start::Zero),
        }
    }
}

/// Adds one message with as many of the elements as fit; none if none are left.
pub(super) fn put<I: Iterator<Item = (Element, Tuple)>>(
    messages: &mut Messages,
    sequence: u32,
    direction: Direction,
    (name, set): (&str, &Set),
    elements: &mut Peekable<I>,
    starts: &Starts,
) {
    let (kind, flags) = match direction {
        Direction::Add => (libc::NFT_MSG_NEWSETELEM, libc::NLM_F_CREATE | libc::NLM_F_EXCL),
        Direction::Delete => (libc::NFT_MSG_DELSETELEM, 0),
    };
    messages.message(kind, libc::NLM_F_REQUEST | flags, sequence, |message| {
        message.text(element::TABLE, NFT_TABLE);
        message.text(element::SET, name);
        message.nested(element::ELEMENTS, |list| {
            // The length of the list is a u16. A start and its end stay together: the kernel takes a start at
            // the end of a message for a range without an end when it looks for overlaps.
            let limit = list.len() + usize::from(u16::MAX) - 4 - LARGEST;
            while list.len() <= limit {
                let Some((element, value)) = elements.next() else {
                    break;
                };
                put_one(list, direction, set, element, value, starts.of(name, element));
            }
        });
    });
}

/// Adds the question for one element, which is one of the kernel's as well, to a request that names its set.
pub(super) fn put_question(message: &mut Messages, set: &Set, element: Element) {
    message.nested(element::ELEMENTS, |list| {
        put_one(list, Direction::Delete, set, element, Tuple::default(), None);
    });
}

fn put_one(
    list: &mut Messages,
    direction: Direction,
    set: &Set,
    element: Element,
    value: Tuple,
    start: Option<Start>,
) {
    let concatenated = set.interval && set.key.len() > 1;
    list.nested(LIST_ELEMENT, |entry| {
        put_data(entry, element::KEY, &set.key, element.first);
        if concatenated {
            put_data(entry, element::KEY_END, &set.key, element.last);
        }
        if direction == Direction::Add && !set.data.is_empty() {
            put_data(entry, element::DATA, &set.data, value);
        }
        if let (Direction::Add, true, Some(start)) = (direction, set.counts, start) {
            entry.nested(element::EXPRESSION, |expression| put_counter(expression, start));
        }
    });
    if !set.interval || concatenated {
        return;
    }
    if let Some(end) = end(set, element.last) {
        list.nested(LIST_ELEMENT, |entry| {
            entry.number(element::FLAGS, element::FLAG_INTERVAL_END);
            put_data(entry, element::KEY, &set.key, end);
        });
    }
}

/// `counter`, `counter packets 7 bytes 420`
pub(super) fn put_counter(expression: &mut Messages, start: Start) {
    expression.text(rule::EXPRESSION_NAME, COUNTER);
    if let Start::At(counted) = start {
        expression.nested(rule::EXPRESSION_DATA, |data| {
            data.attribute(counter::BYTES, &counted.bytes.to_be_bytes());
            data.attribute(counter::PACKETS, &counted.packets.to_be_bytes());
        });
    }
}

fn put_data(entry: &mut Messages, kind: u16, fields: &[FieldType], tuple: Tuple) {
    let length = types::length(fields);
    entry.nested(kind, |data| {
        data.attribute(element::DATA_VALUE, &types::bytes(fields, tuple)[..length])
    });
}

/// Adds what the elements of one message of a dump counted, by their (lowest) key. One without a counter has counted nothing.
///
/// # Errors
/// If the message is malformed.
pub(super) fn counts(set: &Set, message: &[u8], counts: &mut BTreeMap<Tuple, Counted>) -> Result<(), String> {
    let message = Attributes::<4>::read(message)?;
    for entry in attributes(message.get(element::ELEMENTS).unwrap_or_default()) {
        let entry = Attributes::<12>::read(entry?.1)?;
        let key = Attributes::<2>::read(entry.get(element::KEY).unwrap_or_default())?;
        let key = key.get(element::DATA_VALUE);
        let Some(key) = key.and_then(|bytes| types::tuple(&set.key, bytes)) else {
            continue;
        };
        let expression = Attributes::<3>::read(entry.get(element::EXPRESSION).unwrap_or_default())?;
        let data = expression.get(rule::EXPRESSION_DATA).unwrap_or_default();
        let data = Attributes::<4>::read(data)?;
        let number = |kind| data.get(kind).and_then(|bytes| bytes.try_into().ok());
        let counted = Counted {
            packets: number(counter::PACKETS).map_or(0, u64::from_be_bytes),
            bytes: number(counter::BYTES).map_or(0, u64::from_be_bytes),
        };
        counts.insert(key, counted);
    }
    Ok(())
}

/// The key after the last of a range of one field; none after the highest key.
fn end(set: &Set, last: Tuple) -> Option<Tuple> {
    let highest = set.key.first().map_or(0, |field| types::highest(*field));
    (last.0[0] < highest).then(|| Tuple([last.0[0] + 1, 0, 0]))
}

/// The elements of one set while its dump is read.
#[derive(Debug, Default)]
pub(super) struct Read {
    entries: Vec<Entry>,
    /// Whether one was of a kind that we do not have.
    foreign: bool,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    first: Tuple,
    /// Ends sort before starts: one range ends where the next begins.
    is_start: bool,
    last: Option<Tuple>,
    value: Tuple,
}

impl Read {
    /// Takes the elements of one message of a dump of `set`.
    ///
    /// # Errors
    /// If the message is malformed. An element that we do not understand is no error, see [`Self::finish`].
    pub(super) fn message(&mut self, set: &Set, message: &[u8]) -> Result<(), String> {
        let message = Attributes::<4>::read(message)?;
        for entry in attributes(message.get(element::ELEMENTS).unwrap_or_default()) {
            let (_, entry) = entry?;
            match read_one(set, entry)? {
                Some(entry) => self.entries.push(entry),
                None => self.foreign = true,
            }
        }
        Ok(())
    }

    /// Fills `set` with its elements; one that it cannot hold makes it a set that no desired one equals. `false`: they
    /// were not told whole. Where they are those of `written`, they are not in memory twice.
    pub(super) fn fill(self, set: &mut Set, written: Option<&Elements>) -> bool {
        match self.finish(set, written) {
            Told::All(elements) => set.elements = elements,
            Told::Twice => return false,
            Told::Foreign => *set = foreign_set(),
        }
        true
    }

    /// The value of this element, if it is all that was told.
    pub(super) fn only(&self, element: Element) -> Option<Tuple> {
        match self.entries[..] {
            [entry] if !self.foreign && entry.is_start && entry.first == element.first => Some(entry.value),
            _ => None,
        }
    }

    /// The elements of `set`.
    fn finish(&self, set: &Set, written: Option<&Elements>) -> Told {
        let Some(order) = self.order() else {
            return Told::Twice;
        };
        if self.foreign {
            return Told::Foreign;
        }
        let entries = order.iter().map(|place| self.entries[*place]);
        if set.interval && set.key.len() == 1 {
            return fold(set, entries).map_or(Told::Foreign, Told::All);
        }
        let element = |entry: Entry| {
            let last = entry.last.unwrap_or(entry.first);
            (
                Element {
                    first: entry.first,
                    last,
                },
                entry.value,
            )
        };
        let elements = entries.map(element);
        let is_told = |written: &&Elements| {
            let written = written.iter().map(|(key, value)| (*key, *value));
            elements.clone().eq(written)
        };
        match written.filter(is_told) {
            Some(written) => Told::All(written.clone()),
            None => Told::All(elements.collect()),
        }
    }

    /// The places of the entries, in their order; `None` if one is there twice.
    ///
    /// A hash table is told in no order. Keys are sorted as numbers where they can be, each with its place: whole entries are
    /// large to move, and take many steps to compare.
    fn order(&self) -> Option<Vec<usize>> {
        const PLACE: u32 = 31;
        let all = |is_so: fn(&Entry) -> bool| self.entries.iter().all(is_so);
        let entries = self.entries.iter().enumerate();
        if self.entries.len() >= 1 << PLACE || !all(|entry| entry.last.is_none()) {
            let keys = entries.map(|(place, entry)| ((entry.first, entry.is_start, entry.last), place));
            let keys = sorted(keys, |one, other| one.0 == other.0)?;
            return Some(keys.into_iter().map(|(_, place)| place).collect());
        }
        if all(|entry| entry.first.0[1..] == [0, 0]) {
            let keys = entries.map(|(place, entry)| {
                let key = (u64::from(entry.first.0[0]) << 1) | u64::from(entry.is_start);
                (key << PLACE) | place as u64
            });
            let keys = sorted(keys, |one, other| one >> PLACE == other >> PLACE)?;
            let place = |key| (key & ((1 << PLACE) - 1)) as usize;
            return Some(keys.into_iter().map(place).collect());
        }
        let keys = entries.map(|(place, entry)| {
            let fields = entry.first.0.iter();
            let key = fields.fold(0, |key, field| (key << 32) | u128::from(*field));
            (((key << 1) | u128::from(entry.is_start)) << PLACE) | place as u128
        });
        let keys = sorted(keys, |one, other| one >> PLACE == other >> PLACE)?;
        let place = |key| (key & ((1 << PLACE) - 1)) as usize;
        Some(keys.into_iter().map(place).collect())
    }
}

/// What is in order; `None` if two of it are the same.
fn sorted<K: Ord + Copy>(keys: impl Iterator<Item = K>, is_same: fn(K, K) -> bool) -> Option<Vec<K>> {
    let mut keys: Vec<K> = keys.collect();
    keys.sort_unstable();
    let is_twice = keys.windows(2).any(|pair| is_same(pair[0], pair[1]));
    (!is_twice).then_some(keys)
}

/// What a dump of a set says.
#[derive(Debug, PartialEq, Eq)]
enum Told {
    /// What it holds.
    All(Elements),
    /// An element twice: others changed the set, or its hash table grew, while it was told (the kernel goes on
    /// where it was by counting), and as many may be left out.
    Twice,
    /// An element that a [`Set`] cannot hold (for example `*`, the rest of all keys).
    Foreign,
}

fn read_one(set: &Set, entry: &[u8]) -> Result<Option<Entry>, String> {
    let (mut flags, mut first, mut last, mut value) = (0, None, None, None);
    for attribute in attributes(entry) {
        match attribute? {
            (element::FLAGS, bytes) => flags = bytes.try_into().map_or(0, u32::from_be_bytes),
            (element::KEY, bytes) => first = read_data(&set.key, bytes)?,
            (element::KEY_END, bytes) => last = read_data(&set.key, bytes)?,
            (element::DATA, bytes) => value = read_data(&set.data, bytes)?,
            _ => {}
        }
    }
    let is_start = match flags {
        0 => true,
        element::FLAG_INTERVAL_END => false,
        _ => return Ok(None),
    };
    let Some(first) = first else {
        return Ok(None);
    };
    let value = match value {
        Some(value) => value,
        None if set.data.is_empty() || !is_start => Tuple::default(),
        None => return Ok(None),
    };
    Ok(Some(Entry {
        first,
        is_start,
        last,
        value,
    }))
}

/// The tuple in a key or in data; `None` if it is none of these fields.
fn read_data(fields: &[FieldType], bytes: &[u8]) -> Result<Option<Tuple>, String> {
    let mut value = None;
    for attribute in attributes(bytes) {
        if let (element::DATA_VALUE, bytes) = attribute? {
            value = types::tuple(fields, bytes);
        }
    }
    Ok(value)
}

/// Starts and ends, in order, back to ranges. `None` where an end is missing, or has no start: such a set works, but our
/// edits would miss the end that they want to delete.
fn fold(set: &Set, entries: impl ExactSizeIterator<Item = Entry>) -> Option<Elements> {
    let highest = set.key.first().map_or(0, |field| types::highest(*field));
    let mut ranges = Vec::with_capacity(entries.len() / 2);
    let mut open: Option<Entry> = None;
    for entry in entries {
        match (open.take(), entry.is_start) {
            (None, true) => open = Some(entry),
            (Some(start), false) => {
                let last = Tuple([entry.first.0[0].checked_sub(1)?, 0, 0]);
                ranges.push((
                    Element {
                        first: start.first,
                        last,
                    },
                    start.value,
                ));
            }
            (None, false) if entry.first == Tuple::default() => {}
            (None, false) | (Some(_), true) => return None,
        }
    }
    if let Some(start) = open {
        ranges.push((
            Element {
                first: start.first,
                last: Tuple([highest, 0, 0]),
            },
            start.value,
        ));
    }
    Some(ranges.into_iter().collect())
}

#[cfg(test)]
mod tests;
