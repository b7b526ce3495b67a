//! The difference of two tables, as one atomic change that can be turned around.

use std::collections::BTreeMap;

use super::{Element, Rule, Set, Table, Tuple};

/// What one netlink batch does to our table.
#[derive(Clone, Debug, PartialEq, Eq)]

pub enum TableChange {
    /// Makes it.
    Create(Table),
    /// Takes it away.
    Delete(Table),
    /// Puts another in its place; flows that are established live on.
    Replace {
        /// What is there.
        from: Table,
        /// What comes in its place.
        to: Table,
    },
    /// Changes elements, rules and whole sets; everything else keeps its counters.
    Edit {
        /// Elements that go and come, by the name of the set.
        elements: BTreeMap<String, SetEdit>,
        /// Rules that are replaced, by the name of the chain.
        chains: BTreeMap<String, ChainEdit>,
        /// Sets that go, with what they hold.
        remove_sets: BTreeMap<String, Set>,
        /// Sets that come, with what they hold.
        add_sets: BTreeMap<String, Set>,
    },
}

/// The elements of one set that go and come. One that changes its value does both.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetEdit {
    /// The set's type; its own elements are empty.
    pub set: Set,
    /// What goes, with the values it had.
    pub remove: Vec<(Element, Tuple)>,
    /// What comes.
    pub add: Vec<(Element, Tuple)>,
}

/// The rules of one chain, all of them, before and after.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChainEdit {
    /// What is there.
    pub from: Vec<Rule>,
    /// What comes in its place.
    pub to: Vec<Rule>,
}

impl TableChange {
    /// What makes `from` into `to`; `None` if they are the same.
    #[must_use]
    pub fn between(from: Option<&Table>, to: Option<&Table>) -> Option<Self> {
        match (from, to) {
            (None, None) => None,
            (None, Some(to)) => Some(Self::Create(to.clone())),
            (Some(from), None) => Some(Self::Delete(from.clone())),
            (Some(from), Some(to)) if from == to => None,
            (Some(from), Some(to)) => Some(Self::edit(from, to).unwrap_or_else(|| Self::Replace {
                from: from.clone(),
                to: to.clone(),
            })),
        }
    }

    /// The change that undoes this one.
    #[must_use]
    pub fn inverse(&self) -> Self {
        match self {
            Self::Create(table) => Self::Delete(table.clone()),
            Self::Delete(table) => Self::Create(table.clone()),
            Self::Replace { from, to } => Self::Replace {
                from: to.clone(),
                to: from.clone(),
            },
            Self::Edit {
                elements,
                chains,
                remove_sets,
                add_sets,
            } => Self::Edit {
                elements: elements
                    .iter()
                    .map(|(name, edit)| {
                        let SetEdit { set, remove, add } = edit.clone();
                        (
                            name.clone(),
                            SetEdit {
                                set,
                                remove: add,
                                add: remove,
                            },
                        )
                    })
                    .collect(),
                chains: chains
                    .iter()
                    .map(|(name, edit)| {
                        let ChainEdit { from, to } = edit.clone();
                        (name.clone(), ChainEdit { from: to, to: from })
                    })
                    .collect(),
                remove_sets: add_sets.clone(),
                add_sets: remove_sets.clone(),
            },
        }
    }

    /// The edit that makes `from` into `to`; `None` where a chain comes, goes or changes its hook, or a set
    /// its type: the kernel changes neither in place.
    fn edit(from: &Table, to: &Table) -> Option<Self> {
        let chains_match = from.chains.len() == to.chains.len()
            && from.chains.iter().all(|(name, chain)| {
                to.chains
                    .get(name)
                    .is_some_and(|other| chain.same_definition(other))
            });
        let sets_match = from
            .sets
            .iter()
            .all(|(name, set)| to.sets.get(name).is_none_or(|other| set.same_type(other)));
        if !chains_match || !sets_match {
            return None;
        }
        let mut elements = BTreeMap::new();
        for (name, set) in &from.sets {
            if let Some(edit) = to.sets.get(name).and_then(|other| SetEdit::between(set, other)) {
                elements.insert(name.clone(), edit);
            }
        }
        let chains = from
            .chains
            .iter()
            .zip(to.chains.values())
            .filter(|((_, from), to)| from.rules != to.rules)
            .map(|((name, from), to)| {
                (
                    name.clone(),
                    ChainEdit {
                        from: from.rules.clone(),
                        to: to.rules.clone(),
                    },
                )
            })
            .collect();
        let only_in = |one: &Table, other: &Table| {
            one.sets
                .iter()
                .filter(|(name, _)| !other.sets.contains_key(*name))
                .map(|(name, set)| (name.clone(), set.clone()))
                .collect()
        };
        Some(Self::Edit {
            elements,
            chains,
            remove_sets: only_in(from, to),
            add_sets: only_in(to, from),
        })
    }
}

impl SetEdit {
    fn between(from: &Set, to: &Set) -> Option<Self> {
        // Both are sorted: one pass over the two, no search per element.
        let missing_in = |one: &Set, other: &Set| {
            let mut others = other.elements.iter().peekable();
            one.elements
                .iter()
                .filter(|(element, value)| {
                    while others.next_if(|(other, _)| other < element).is_some() {}
                    others.peek() != Some(&(*element, *value))
                })
                .map(|(element, value)| (*element, *value))
                .collect::<Vec<_>>()
        };
        let (remove, add) = (missing_in(from, to), missing_in(to, from));
        if remove.is_empty() && add.is_empty() {
            return None;
        }
        let set = Set {
            key: from.key.clone(),
            data: from.data.clone(),
            interval: from.interval,
            counts: from.counts,
            elements: BTreeMap::new(),
        };
        Some(Self { set, remove, add })
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::super::{Chain, ChainKind, FieldType, Hook, Statement};
    use super::*;

    fn map(entries: &[(u8, u8)]) -> Set {
        let mut set = Set::new(&[FieldType::Ipv4Addr], &[FieldType::Ipv4Addr], false);
        for (from, to) in entries {
            set.elements.insert(
                Element::key(Ipv4Addr::new(10, 0, 0, *from)),
                Ipv4Addr::new(192, 168, 0, *to).into(),
            );
        }
        set
    }

    fn table(sets: &[(&str, Set)], comment: &str) -> Table {
        let rule = Rule {
            statements: vec![Statement::Return],
            comment: comment.into(),
        };
        let chain = Chain {
            kind: ChainKind::Nat,
            hook: Hook::Prerouting,
            priority: -100,
            rules: vec![rule],
        };
        Table {
            sets: sets
                .iter()
                .map(|(name, set)| ((*name).to_owned(), set.clone()))
                .collect(),
            chains: [("destination".to_owned(), chain)].into(),
        }
    }

    #[test]
    fn equal_tables_need_no_change() {
        let one = table(&[("a", map(&[(1, 1)]))], "x");
        assert_eq!(TableChange::between(Some(&one), Some(&one.clone())), None);
        assert_eq!(TableChange::between(None, None), None);
    }

    #[test]
    fn only_changed_elements_are_written() {
        let from = table(&[("a", map(&[(1, 1), (2, 2), (3, 3)]))], "x");
        let to = table(&[("a", map(&[(1, 1), (2, 9), (4, 4)]))], "x");
        let Some(TableChange::Edit {
            elements,
            chains,
            remove_sets,
            add_sets,
        }) = TableChange::between(Some(&from), Some(&to))
        else {
            panic!("an edit")
        };
        assert!(chains.is_empty() && remove_sets.is_empty() && add_sets.is_empty());
        let edit = &elements["a"];
        let shown = |list: &[(Element, Tuple)]| {
            list.iter()
                .map(|(key, value)| edit.set.show(*key, *value).to_string())
                .collect::<Vec<_>>()
        };
        assert_eq!(
            shown(&edit.remove),
            ["10.0.0.2 : 192.168.0.2", "10.0.0.3 : 192.168.0.3"]
        );
        assert_eq!(
            shown(&edit.add),
            ["10.0.0.2 : 192.168.0.9", "10.0.0.4 : 192.168.0.4"]
        );
    }

    #[test]
    fn a_set_that_comes_or_goes_is_an_edit_and_a_chain_that_does_a_replacement() {
        let from = table(&[("a", map(&[(1, 1)]))], "x");
        let to = table(&[("a", map(&[(1, 1)])), ("b", map(&[(2, 2)]))], "y");
        let change = TableChange::between(Some(&from), Some(&to)).unwrap();
        assert!(
            matches!(&change, TableChange::Edit { add_sets, chains, .. } if add_sets.len() == 1 && chains.len() == 1)
        );
        let mut other = to.clone();
        other.chains.clear();
        assert!(matches!(
            TableChange::between(Some(&to), Some(&other)),
            Some(TableChange::Replace { .. })
        ));
    }

    #[test]
    fn the_inverse_of_the_inverse_is_the_change() {
        let tables = [
            table(&[("a", map(&[(1, 1), (2, 2)]))], "x"),
            table(&[("b", map(&[(2, 3)]))], "y"),
            Table::default(),
        ];
        let mut ends: Vec<Option<&Table>> = tables.iter().map(Some).collect();
        ends.push(None);
        for from in &ends {
            for to in &ends {
                if let Some(change) = TableChange::between(*from, *to) {
                    assert_eq!(change.inverse().inverse(), change);
                    assert_eq!(TableChange::between(*to, *from), Some(change.inverse()));
                }
            }
        }
    }
}
