//! What counting sets hold: read when somebody asks for it, and never part of a difference.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Element, Set, SetEdit, Statement, Table, TableChange, Tuple};

/// What was counted of one key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub struct Counted {
    /// How many packets.
    pub packets: u64,
    /// Their bytes, from the IP header on.
    pub bytes: u64,
}

impl std::ops::AddAssign for Counted {
    fn add_assign(&mut self, other: Self) {
        // The kernel's own counters wrap around as well.
        self.packets = self.packets.wrapping_add(other.packets);
        self.bytes = self.bytes.wrapping_add(other.bytes);
    }
}

/// What all counting sets hold, by the set's name and the key.
pub type Counts = BTreeMap<String, BTreeMap<Tuple, Counted>>;

impl Table {
    /// The names of the sets that count.
    pub fn counting(&self) -> impl Iterator<Item = &str> {
        let counting = self.sets.iter().filter(|(_, set)| set.counts);
        counting.map(|(name, _)| name.as_str())
    }

    /// What makes the counting sets forget what the maps of their rules do not know any more, so that an address which
    /// comes again starts at nothing; `None` if there is nothing to forget.
    #[must_use]
    pub fn forget(&self, counts: &Counts) -> Option<TableChange> {
        let mut elements = BTreeMap::new();
        for (name, counted) in counts {
            let Some(set) = self.sets.get(name).filter(|set| set.counts) else {
                continue;
            };
            let gone: Vec<_> = self.unknown(name, counted.keys());
            if !gone.is_empty() {
                let edit = SetEdit {
                    set: Set::counting(&set.key),
                    remove: gone,
                    add: Vec::new(),
                };
                elements.insert(name.clone(), edit);
            }
        }
        (!elements.is_empty()).then(|| TableChange::Edit {
            elements,
            chains: BTreeMap::new(),
            remove_sets: BTreeMap::new(),
            add_sets: BTreeMap::new(),
            flowtables: BTreeMap::new(),
        })
    }

    /// Which of these keys no rule would count in this set.
    fn unknown<'k>(&self, name: &str, keys: impl Iterator<Item = &'k Tuple>) -> Vec<(Element, Tuple)> {
        let rules = self.chains.values().flat_map(|chain| &chain.rules);
        let counted_by = rules
            .flat_map(|rule| &rule.statements)
            .filter_map(|one| match one {
                Statement::Count(count) if count.set == name => self.sets.get(&count.map),
                _ => None,
            });
        let maps: Vec<&Set> = counted_by.collect();
        let is_known = |key: &Tuple| maps.iter().any(|map| map.holds(*key));
        keys.filter(|key| !is_known(key))
            .map(|key| (Element::key(*key), Tuple::default()))
            .collect()
    }
}

impl Set {
    /// Whether one of its elements is this key, or a range of keys with this one in it (ranges that differ in their last
    /// field only).
    fn holds(&self, key: Tuple) -> bool {
        if !self.interval {
            return self.elements.contains_key(&Element::key(key));
        }
        let last = Element::range(key, Tuple([u32::MAX; Tuple::MAX]));
        let below = self.elements.range(..=last).next_back();
        below.is_some_and(|(element, _)| {
            let bounds = element.first.0.iter().zip(&element.last.0).zip(&key.0);
            bounds
                .into_iter()
                .all(|((first, last), value)| (first..=last).contains(&value))
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::super::{Chain, ChainKind, Count, Field, FieldType, Hook, Rule};
    use super::*;

    fn table() -> Table {
        use FieldType::{InetProto, InetService, Ipv4Addr};
        let key = [Ipv4Addr, InetProto, InetService];
        let mut map = Set::new(&[Ipv4Addr], &[Ipv4Addr], false);
        map.elements
            .insert(Element::key(Tuple([1, 0, 0])), Tuple([7, 0, 0]));
        let mut ranges = Set::new(&key, &[Ipv4Addr], true);
        let range = Element::range(Tuple([1, 6, 100]), Tuple([1, 6, 900]));
        ranges.elements.insert(range, Tuple([7, 0, 0]));
        let rule = |map: &str, set: &str| {
            let count = Count {
                key: vec![Field::IpDaddr],
                map: map.into(),
                set: set.into(),
            };
            Rule {
                statements: vec![Statement::Count(count)],
                comment: String::new(),
            }
        };
        let chain = Chain {
            kind: ChainKind::Filter,
            hook: Hook::Prerouting,
            priority: 0,
            rules: vec![rule("map", "by_key"), rule("ranges", "of_ranges")],
        };
        let sets = [
            ("map", map),
            ("ranges", ranges),
            ("by_key", Set::counting(&[Ipv4Addr])),
            ("of_ranges", Set::counting(&key)),
        ];
        Table {
            sets: sets.map(|(name, set)| (name.to_owned(), set)).into(),
            chains: [("chain".to_owned(), chain)].into(),
            ..Table::default()
        }
    }

    fn counts(keys: &[(&str, [u32; 3])]) -> Counts {
        let mut counts = Counts::new();
        for (set, key) in keys {
            let set = counts.entry((*set).to_owned()).or_default();
            set.insert(Tuple(*key), Counted::default());
        }
        counts
    }

    #[test]
    fn what_no_map_knows_is_forgotten_and_nothing_else() {
        let known = [
            ("by_key", [1, 0, 0]),
            ("of_ranges", [1, 6, 100]),
            ("of_ranges", [1, 6, 900]),
        ];
        assert_eq!(table().forget(&counts(&known)), None);
        let unknown = [
            ("by_key", [7, 0, 0]),
            ("of_ranges", [1, 6, 99]),
            ("of_ranges", [1, 17, 100]),
            ("of_ranges", [1, 6, 901]),
        ];
        let all: Vec<_> = known.into_iter().chain(unknown).collect();
        let Some(TableChange::Edit { elements, .. }) = table().forget(&counts(&all)) else {
            panic!("an edit")
        };
        let gone: BTreeSet<(&str, [u32; 3])> = elements
            .iter()
            .flat_map(|(name, edit)| {
                edit.remove
                    .iter()
                    .map(|(element, _)| (name.as_str(), element.first.0))
            })
            .collect();
        assert_eq!(gone, unknown.into());
    }

    #[test]
    fn a_set_that_does_not_count_is_left_alone() {
        assert_eq!(
            table().forget(&counts(&[("map", [9, 0, 0]), ("none", [9, 0, 0])])),
            None
        );
    }
}
