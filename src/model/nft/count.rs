//! What elements count: read when somebody asks for it, carried over where elements are made anew, and never part of a
//! difference.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::{Element, NatTarget, Rule, Set, SetEdit, Statement, Table, TableChange, Tuple};

/// What one element counted.
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

/// What the elements of sets counted, by the set's name and the (lowest) key.
pub type Counts = BTreeMap<String, BTreeMap<Tuple, Counted>>;

impl Table {
    /// The sets whose elements count, by name.
    pub fn counting(&self) -> impl Iterator<Item = (&str, &Set)> {
        let counting = self.sets.iter().filter(|(_, set)| set.counts);
        counting.map(|(name, set)| (name.as_str(), set))
    }

    /// The same for a kernel whose elements do not count: without what is there for nothing but to count.
    #[must_use]
    pub fn without_counters(&self) -> Self {
        let is_counter = |name: &String| self.sets.get(name).is_some_and(Set::is_counter);
        let counts = |rule: &Rule| named(rule).any(is_counter);
        let chains = self
            .chains
            .iter()
            .filter(|(_, chain)| !chain.rules.iter().any(counts));
        let chains: BTreeMap<_, _> = chains
            .map(|(name, chain)| (name.clone(), chain.clone()))
            .collect();
        // What only rules named that are gone is of no use either.
        let rules = |table: &Self| -> BTreeSet<String> {
            let rules = table.chains.values().flat_map(|chain| &chain.rules);
            rules.flat_map(named).cloned().collect()
        };
        let before = rules(self);
        let mut table = Self {
            chains,
            ..self.clone()
        };
        let after = rules(&table);
        table
            .sets
            .retain(|name, _| after.contains(name) || !before.contains(name));
        table.sets.values_mut().for_each(|set| set.counts = false);
        table
    }
}

/// The sets that a rule names.
fn named(rule: &Rule) -> impl Iterator<Item = &String> {
    rule.statements.iter().filter_map(|statement| match statement {
        Statement::InSet { set, .. } => Some(set),
        Statement::Dnat(NatTarget::Map { map, .. }) | Statement::Snat(NatTarget::Map { map, .. }) => {
            Some(map)
        }
        _ => None,
    })
}

impl TableChange {
    /// The sets of which elements that count are made anew, by name: what these counted until now is theirs again.
    #[must_use]
    pub fn recounted(&self) -> Vec<(&str, &Set)> {
        match self {
            Self::Create(_) | Self::Delete(_) => Vec::new(),
            Self::Replace { from, to } => from
                .counting()
                .filter(|(name, set)| {
                    let other = to.sets.get(*name);
                    other.is_some_and(|other| other.counts && other.key == set.key)
                })
                .collect(),
            Self::Edit { elements, .. } => {
                let edits = elements.iter();
                let recounted = edits.filter(|(_, edit)| edit.set.counts && edit.has_other_values());
                recounted.map(|(name, edit)| (name.as_str(), &edit.set)).collect()
            }
        }
    }
}

impl SetEdit {
    /// Whether an element goes and comes again, with another value.
    fn has_other_values(&self) -> bool {
        let removed: BTreeSet<&Element> = self.remove.iter().map(|(element, _)| element).collect();
        self.add.iter().any(|(element, _)| removed.contains(element))
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Chain, ChainKind, Field, FieldType, Hook};
    use super::*;

    fn element(key: u32) -> (Element, Tuple) {
        (Element::key(Tuple([key, 0, 0])), Tuple([key + 100, 0, 0]))
    }

    /// A map that counts beside one that does not, and what only counts.
    fn table() -> Table {
        use FieldType::Ipv4Addr;
        let map = |keys: &[u32]| {
            let mut map = Set::new(&[Ipv4Addr], &[Ipv4Addr], false);
            map.elements = keys.iter().copied().map(element).collect();
            map
        };
        let look = |set: &str| Statement::InSet {
            key: vec![Field::IpDaddr],
            set: set.to_owned(),
            negate: false,
        };
        let nat = |map: &str| {
            Statement::Dnat(NatTarget::Map {
                key: vec![Field::IpDaddr],
                map: map.to_owned(),
                port: false,
            })
        };
        let chain = |kind, statements: Vec<Vec<Statement>>| Chain {
            kind,
            hook: Hook::Prerouting,
            priority: 0,
            rules: statements
                .into_iter()
                .map(|statements| Rule {
                    statements,
                    comment: String::new(),
                })
                .collect(),
        };
        let sets = [
            ("plain", map(&[1, 2])),
            ("map", map(&[1, 2]).counting()),
            ("counter", Set::new(&[Ipv4Addr], &[], false).counting()),
            ("gate", Set::new(&[Ipv4Addr], &[], false)),
            ("nobody_s", Set::new(&[Ipv4Addr], &[], false)),
        ];
        let chains = [
            (
                "nat",
                chain(ChainKind::Nat, vec![vec![nat("plain")], vec![nat("map")]]),
            ),
            (
                "count",
                chain(
                    ChainKind::Filter,
                    vec![vec![look("gate"), look("plain")], vec![look("counter")]],
                ),
            ),
        ];
        Table {
            sets: sets.map(|(name, set)| (name.to_owned(), set)).into(),
            chains: chains.map(|(name, chain)| (name.to_owned(), chain)).into(),
            ..Table::default()
        }
    }

    #[test]
    fn without_counters_what_translates_is_as_it_was() {
        let (with, without) = (table(), table().without_counters());
        assert_eq!(Vec::from_iter(without.sets.keys()), ["map", "nobody_s", "plain"]);
        assert_eq!(without.sets["map"].elements, with.sets["map"].elements);
        assert_eq!(without.counting().count(), 0);
        assert_eq!(Vec::from_iter(without.chains.keys()), ["nat"]);
        assert_eq!(without.chains["nat"], with.chains["nat"]);
        assert_eq!(without.without_counters(), without);
    }

    fn recounted(from: &Table, to: &Table) -> Vec<String> {
        let change = TableChange::between(Some(from), Some(to)).unwrap();
        let there = change.recounted().into_iter().map(|(name, _)| name.to_owned());
        let there: Vec<_> = there.collect();
        let back = change.inverse();
        assert_eq!(
            back.recounted()
                .into_iter()
                .map(|(name, _)| name)
                .collect::<Vec<_>>(),
            there
        );
        there
    }

    #[test]
    fn what_is_counted_is_needed_of_elements_that_are_made_anew_only() {
        let from = table();
        let mut more = from.clone();
        for name in ["map", "plain"] {
            let (key, value) = element(3);
            more.sets.get_mut(name).unwrap().elements.insert(key, value);
        }
        assert_eq!(recounted(&from, &more), Vec::<String>::new());
        for name in ["map", "plain"] {
            let (key, _) = element(2);
            more.sets
                .get_mut(name)
                .unwrap()
                .elements
                .insert(key, Tuple([7, 0, 0]));
        }
        assert_eq!(recounted(&from, &more), ["map"]);
        more.chains.get_mut("nat").unwrap().priority = 1;
        more.sets.remove("counter");
        assert_eq!(recounted(&from, &more), ["map"]);
        assert_eq!(recounted(&from, &from.without_counters()), Vec::<String>::new());
    }
}
