//! How our table was before a change, as far as the change says: small enough to be kept on the disk while the change is
//! made, and enough to tell what a flow that began before it went by.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Element, Rule, Set, Table, TableChange, Tuple};

/// The table before a change.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Former {
    /// There was none.
    Absent,
    /// This one.
    Whole(Table),
    /// The one after the change, but for these.
    Parts {
        /// Sets by name.
        sets: BTreeMap<String, FormerSet>,
        /// The rules that chains had, by the chain's name.
        chains: BTreeMap<String, Vec<Rule>>,
    },
}

/// A set before a change.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FormerSet {
    /// There was none of this name.
    Absent,
    /// This one.
    Whole(Set),
    /// The one after the change, but for these elements.
    Elements {
        /// What it did not hold, sorted.
        without: Vec<Element>,
        /// What it held.
        with: Vec<(Element, Tuple)>,
    },
}

impl Former {
    /// What a change leaves behind.
    #[must_use]
    pub fn of(change: &TableChange) -> Self {
        match change {
            TableChange::Create(_) => Self::Absent,
            TableChange::Delete(from) | TableChange::Replace { from, .. } => Self::Whole(from.clone()),
            TableChange::Edit {
                elements,
                chains,
                remove_sets,
                add_sets,
                // What is on the fast path was translated before it came there.
                flowtables: _,
            } => {
                // What only counts translates nothing.
                let elements = elements.iter().filter(|(_, edit)| !edit.set.is_counter());
                let elements = elements.map(|(name, edit)| {
                    let without = edit.add.iter().map(|(element, _)| *element).collect();
                    let with = edit.remove.clone();
                    (name.clone(), FormerSet::Elements { without, with })
                });
                let removed = remove_sets
                    .iter()
                    .filter(|(_, set)| !set.is_counter())
                    .map(|(name, set)| (name.clone(), FormerSet::Whole(set.clone())));
                let added = add_sets.keys().map(|name| (name.clone(), FormerSet::Absent));
                Self::Parts {
                    sets: elements.chain(removed).chain(added).collect(),
                    chains: chains
                        .iter()
                        .map(|(name, edit)| (name.clone(), edit.from.clone()))
                        .collect(),
                }
            }
        }
    }

    /// The table before the change, from the one after it. Lenient: whether the change was made at all is not known of a
    /// run that was killed, and what is there already, or is not there, is as it should be.
    #[must_use]
    pub fn restore(&self, after: Option<&Table>) -> Option<Table> {
        let (sets, chains) = match self {
            Self::Absent => return None,
            Self::Whole(table) => return Some(table.clone()),
            Self::Parts { sets, chains } => (sets, chains),
        };
        let mut table = after?.clone();
        for (name, former) in sets {
            match former {
                FormerSet::Absent => {
                    table.sets.remove(name);
                }
                FormerSet::Whole(set) => {
                    table.sets.insert(name.clone(), set.clone());
                }
                FormerSet::Elements { without, with } => {
                    if let Some(set) = table.sets.get_mut(name) {
                        set.elements
                            .retain(|element, _| without.binary_search(element).is_err());
                        set.elements.extend(with.iter().copied());
                    }
                }
            }
        }
        for (name, rules) in chains {
            if let Some(chain) = table.chains.get_mut(name) {
                chain.rules.clone_from(rules);
            }
        }
        Some(table)
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::super::{Chain, ChainKind, FieldType, Hook, Statement};
    use super::*;

    fn table(sets: &[(&str, &[(u8, u8)])], rules: usize) -> Table {
        let mut table = Table::default();
        for (name, entries) in sets {
            let mut set = Set::new(&[FieldType::Ipv4Addr], &[FieldType::Ipv4Addr], false);
            set.elements.extend(entries.iter().map(|(from, to)| {
                (
                    Element::key(Ipv4Addr::new(10, 0, 0, *from)),
                    Tuple::from(Ipv4Addr::new(192, 168, 0, *to)),
                )
            }));
            table.sets.insert((*name).to_owned(), set);
        }
        let rule = Rule {
            statements: vec![Statement::Return],
            comment: String::new(),
        };
        let chain = Chain {
            kind: ChainKind::Nat,
            hook: Hook::Prerouting,
            priority: 0,
            rules: vec![rule; rules],
        };
        table.chains.insert("chain".to_owned(), chain);
        table
    }

    #[test]
    fn the_table_before_any_change_is_told_whether_it_was_made_or_not_and_after_the_disk() {
        let mut other_chain = table(&[("a", &[(1, 1)])], 1);
        other_chain.chains.clear();
        let ends = [
            None,
            Some(table(&[("a", &[(1, 1), (2, 2), (3, 3)]), ("gone", &[(7, 7)])], 1)),
            Some(table(&[("a", &[(1, 1), (2, 9), (4, 4)]), ("come", &[(7, 7)])], 2)),
            Some(other_chain),
        ];
        for from in &ends {
            for to in &ends {
                let Some(change) = TableChange::between(from.as_ref(), to.as_ref()) else {
                    continue;
                };
                let former = serde_json::to_vec(&Former::of(&change)).unwrap();
                let former: Former = serde_json::from_slice(&former).unwrap();
                assert_eq!(former.restore(to.as_ref()), *from);
                assert_eq!(former.restore(from.as_ref()), *from);
            }
        }
    }
}
