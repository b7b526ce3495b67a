//! What a look saw of large sets, kept for the next process, so that a run on ten thousand elastic IPs that are as they were
//! asks the kernel for everything but them.
//!
//! Believed only where the kernel itself says that nobody changed nftables since: its generation is the same, in the same
//! network namespace (`SO_NETNS_COOKIE`, Linux 5.14, never given twice), of the same boot, by the same module
//! (nf_tables counts from 1 when it is loaded anew). Sets like ours change with a batch and in no other way: they have no
//! timeouts, and no packet fills them. Tables, chains, rules, flowtables and the sets themselves are asked for all the same.
//!
//! | bytes | |
//! |---|---|
//! | 4 | `kvr1` |
//! | 4 + n | where it was seen |
//! | 4 | the generation |
//! | 4 | how many sets; each: its name, three bytes for its type, how many elements, and their fields |
//! | 32 | SHA-256 of all before |

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;

use sha2::{Digest, Sha256};

use super::{Nftables, shim};
use crate::clock;
use crate::kernel::Kept;
use crate::model::nft::{Element, Elements, Set, Table, Tuple};

const MAGIC: &[u8] = b"kvr1";
const DIGEST: usize = 32;

/// Fewer elements are asked for in no time.
const LARGE: usize = 1_000;

/// Where the kernel tells of the module; another file each time that it is loaded (kernfs never gives a number twice).
const MODULE: &str = "/sys/module/nf_tables";

/// What an earlier look saw.
pub(super) struct Recalled {
    /// The ruleset's generation then.
    generation: u32,
    sets: BTreeMap<String, (Shape, Elements)>,
}

/// What the fields of a set's elements are: how many in a key and in a value, and whether a key has an end of its own.
type Shape = [u8; 3];

fn shape(set: &Set) -> Shape {
    [set.key.len() as u8, set.data.len() as u8, u8::from(set.interval)]
}

impl Nftables {
    /// Is given what an earlier process [kept](Self::keep). What makes no sense, or is of another place, is as good as nothing.
    pub(in crate::kernel) fn recall(&mut self, bytes: &[u8]) {
        let place = self.place();
        self.recalled = place.and_then(|place| read(bytes, place.as_bytes()));
    }

    /// What the last look saw of large sets.
    pub(in crate::kernel) fn keep(&self) -> Kept {
        let (Some(generation), Some(table)) = (self.generation, &self.seen) else {
            return Kept::Nothing;
        };
        if !table.sets.values().any(is_large) {
            return Kept::Nothing;
        }
        match &self.recalled {
            Some(recalled) if recalled.generation == generation => Kept::Same,
            _ => match self.place() {
                Some(place) => Kept::New(write(place.as_bytes(), generation, table)),
                None => Kept::Nothing,
            },
        }
    }

    /// The elements of a set of this ruleset, if they were seen in it before.
    pub(super) fn recalled(&self, generation: u32, name: &str, set: &Set) -> Option<Elements> {
        let recalled = self
            .recalled
            .as_ref()
            .filter(|one| one.generation == generation)?;
        let (of, elements) = recalled.sets.get(name)?;
        (*of == shape(set)).then(|| elements.clone())
    }

    /// Which ruleset it is whose generation is counted; `None` where that cannot be told.
    fn place(&self) -> Option<String> {
        let namespace = shim::namespace_cookie(&self.socket)?;
        let module = fs::metadata(MODULE).map_or(0, |module| module.ino());
        Some(format!("{} {namespace} {module}", clock::boot().ok()?))
    }
}

fn is_large(set: &Set) -> bool {
    set.elements.len() >= LARGE
}

fn write(place: &[u8], generation: u32, table: &Table) -> Vec<u8> {
    let sets: Vec<_> = table.sets.iter().filter(|(_, set)| is_large(set)).collect();
    let size: usize = sets.iter().map(|(_, set)| set.elements.len() * 16).sum();
    let mut bytes = Vec::with_capacity(size + 256);
    bytes.extend_from_slice(MAGIC);
    put_text(&mut bytes, place);
    put(&mut bytes, generation);
    put(&mut bytes, sets.len() as u32);
    for (name, set) in sets {
        let [keys, values, interval] = shape(set);
        put_text(&mut bytes, name.as_bytes());
        bytes.extend_from_slice(&[keys, values, interval]);
        put(&mut bytes, set.elements.len() as u32);
        let mut fields = |tuple: Tuple, count: u8| {
            for field in &tuple.0[..usize::from(count)] {
                bytes.extend_from_slice(&field.to_ne_bytes());
            }
        };
        for (element, value) in &set.elements {
            fields(element.first, keys);
            fields(element.last, keys * interval);
            fields(*value, values);
        }
    }
    let digest = Sha256::digest(&bytes);
    bytes.extend_from_slice(&digest);
    bytes
}

fn put(bytes: &mut Vec<u8>, number: u32) {
    bytes.extend_from_slice(&number.to_ne_bytes());
}

fn put_text(bytes: &mut Vec<u8>, text: &[u8]) {
    put(bytes, text.len() as u32);
    bytes.extend_from_slice(text);
}

/// What was kept at `place`; `None`: it is of another one, or not whole.
fn read(bytes: &[u8], place: &[u8]) -> Option<Recalled> {
    let (bytes, digest) = bytes.split_at_checked(bytes.len().checked_sub(DIGEST)?)?;
    let mut rest = Rest(bytes.strip_prefix(MAGIC)?);
    if rest.text()? != place || *Sha256::digest(bytes) != *digest {
        return None;
    }
    let generation = rest.number()?;
    let mut sets = BTreeMap::new();
    for _ in 0..rest.number()? {
        let name = String::from_utf8(rest.text()?.to_vec()).ok()?;
        let (shape, elements) = rest.elements()?;
        sets.insert(name, (shape, elements));
    }
    rest.0.is_empty().then_some(Recalled { generation, sets })
}

/// What is left to read.
struct Rest<'b>(&'b [u8]);

impl<'b> Rest<'b> {
    fn take(&mut self, count: usize) -> Option<&'b [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn number(&mut self) -> Option<u32> {
        let (taken, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(u32::from_ne_bytes(*taken))
    }

    fn text(&mut self) -> Option<&'b [u8]> {
        let length = self.number()?;
        self.take(length as usize)
    }

    fn elements(&mut self) -> Option<(Shape, Elements)> {
        let shape: Shape = self.take(3)?.try_into().ok()?;
        let [keys, values, interval] = shape;
        if usize::from(keys.max(values)) > Tuple::MAX || keys == 0 || interval > 1 {
            return None;
        }
        let count = self.number()?;
        let mut one = || {
            let first = self.tuple(keys)?;
            let last = if interval == 1 { self.tuple(keys)? } else { first };
            Some((Element { first, last }, self.tuple(values)?))
        };
        let elements: Option<Elements> = (0..count).map(|_| one()).collect();
        Some((shape, elements.filter(|all| all.len() == count as usize)?))
    }

    fn tuple(&mut self, count: u8) -> Option<Tuple> {
        let mut tuple = Tuple::default();
        for field in &mut tuple.0[..usize::from(count)] {
            *field = self.number()?;
        }
        Some(tuple)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::model::nft::FieldType::{InetProto, InetService, Ipv4Addr};
    use crate::model::nft::TableChange;

    fn table(count: u32) -> Table {
        let mut eip = Set::new(&[Ipv4Addr], &[Ipv4Addr], false);
        let mut forward = Set::new(
            &[Ipv4Addr, InetProto, InetService],
            &[Ipv4Addr, InetService],
            false,
        );
        let mut range = Set::new(&[Ipv4Addr, InetService], &[Ipv4Addr], true);
        for one in 0..count {
            eip.elements
                .insert(Element::key(Tuple([one, 0, 0])), Tuple([!one, 0, 0]));
            forward
                .elements
                .insert(Element::key(Tuple([7, 6, one])), Tuple([9, one + 1, 0]));
            range.elements.insert(
                Element::range(Tuple([one, 10, 0]), Tuple([one, 20, 0])),
                Tuple([one, 0, 0]),
            );
        }
        let sets = [("eip", eip), ("forward", forward), ("range", range)];
        Table {
            sets: sets.map(|(name, set)| (name.to_owned(), set)).into(),
            ..Table::default()
        }
    }

    #[test]
    fn what_was_written_is_read_at_its_place_only() {
        let table = table(1_500);
        let bytes = write(b"here", 7, &table);
        let recalled = read(&bytes, b"here").unwrap();
        assert_eq!(recalled.generation, 7);
        for (name, set) in &table.sets {
            assert_eq!(recalled.sets[name], (shape(set), set.elements.clone()), "{name}");
        }
        assert!(read(&bytes, b"there").is_none());
        assert!(read(&[], b"here").is_none());
    }

    #[test]
    fn what_is_not_whole_is_nothing() {
        let bytes = write(b"here", 7, &table(1_000));
        for place in (0..bytes.len()).step_by(97) {
            assert!(read(&bytes[..place], b"here").is_none(), "cut at {place}");
            let mut other = bytes.clone();
            other[place] ^= 1;
            assert!(read(&other, b"here").is_none(), "changed at {place}");
        }
        // Not even with a sum that is right.
        let whole = &bytes[..bytes.len() - DIGEST];
        for cut in [5, 13, 20, 40, whole.len() - 1] {
            let mut other = whole[..cut].to_vec();
            other.extend(Sha256::digest(&whole[..cut]));
            assert!(read(&other, b"here").is_none(), "cut at {cut}");
        }
    }

    #[test]
    fn small_sets_are_not_kept() {
        let few = write(b"here", 7, &table(LARGE as u32 - 1));
        assert!(read(&few, b"here").unwrap().sets.is_empty());
    }

    /// What was kept is told instead of what is there, so it must be told only while nobody changed anything.
    #[test]
    fn what_was_kept_is_believed_until_anybody_changes_nftables() {
        if !nix::unistd::geteuid().is_root() {
            println!("skipped: what_was_kept_is_believed_until_anybody_changes_nftables: needs root");
            return;
        }
        let test = || {
            nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
            let mut first = Nftables::open().unwrap();
            if first.place().is_none() {
                println!(
                    "skipped: what_was_kept_is_believed_until_anybody_changes_nftables: needs Linux 5.14"
                );
                return;
            }
            let there = table(1_000);
            first.observe().unwrap();
            let change = TableChange::between(None, Some(&there)).unwrap();
            first.commit(&change).unwrap();
            assert_eq!(first.observe().unwrap().as_deref(), Some(&there));
            let Kept::New(bytes) = first.keep() else {
                panic!("it is large")
            };

            // Something else than what is there tells whether it was asked for.
            let mut other = there.clone();
            let set = other.sets.get_mut("eip").unwrap();
            set.elements
                .insert(Element::key(Tuple([1 << 20, 0, 0])), Tuple([5, 0, 0]));
            let place = first.place().unwrap();
            let generation = first.generation.unwrap();
            let false_bytes = write(place.as_bytes(), generation, &other);
            let look = |bytes: &[u8]| {
                let mut next = Nftables::open().unwrap();
                next.recall(bytes);
                let seen = next.observe().unwrap();
                (seen, next.keep())
            };
            assert_eq!(look(&false_bytes), (Some(Arc::new(other.clone())), Kept::Same));
            assert_eq!(look(&bytes), (Some(Arc::new(there.clone())), Kept::Same));
            assert_eq!(
                look(&[]),
                (Some(Arc::new(there.clone())), Kept::New(bytes.clone()))
            );

            let not_here = write(b"elsewhere", generation, &other);
            assert_eq!(look(&not_here).0.as_deref(), Some(&there));
            let before = write(place.as_bytes(), generation - 1, &other);
            assert_eq!(look(&before).0.as_deref(), Some(&there));
            let mut smaller = there.clone();
            let set = smaller.sets.get_mut("eip").unwrap();
            set.elements.remove(&Element::key(Tuple([0, 0, 0])));
            let change = TableChange::between(Some(&there), Some(&smaller)).unwrap();
            first.commit(&change).unwrap();
            assert_eq!(look(&false_bytes).0.as_deref(), Some(&smaller));
            assert!(matches!(first.keep(), Kept::Nothing), "a change is not a look");
        };
        std::thread::spawn(test).join().unwrap();
    }
}
