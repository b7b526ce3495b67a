//! The difference of two tables, as one atomic change that can be turned around.

use std::collections::BTreeMap;

use super::{Element, Elements, Flowtable, Rule, Set, Statement, Table, Tuple};

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
    /// Changes elements, rules, whole sets and flowtables; everything else keeps its counters.
    Edit {
        /// Elements that go and come, by the name of the set.
        elements: BTreeMap<String, SetEdit>,
        /// Rules that are replaced, by the name of the chain.
        chains: BTreeMap<String, ChainEdit>,
        /// Sets that go, with what they hold.
        remove_sets: BTreeMap<String, Set>,
        /// Sets that come, with what they hold.
        add_sets: BTreeMap<String, Set>,
        /// Flowtables that are made anew, by name; the chains whose rules name them are among `chains`. Their flows are not
        /// cut: the next packet of each goes the slow way, and has it taken in again.
        flowtables: BTreeMap<String, FlowtableEdit>,
    },
}

/// A flowtable before and after; `None`: there is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlowtableEdit {
    /// What is there.
    pub from: Option<Flowtable>,
    /// What comes in its place.
    pub to: Option<Flowtable>,
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
    /// Whether something is deleted or replaced, so that the kernel has something to free.
    #[must_use]
    pub fn deletes(&self) -> bool {
        match self {
            Self::Create(_) => false,
            Self::Delete(_) | Self::Replace { .. } => true,
            Self::Edit {
                elements,
                chains,
                remove_sets,
                flowtables,
                ..
            } => {
                elements.values().any(|edit| !edit.remove.is_empty())
                    || !(chains.is_empty() && remove_sets.is_empty() && flowtables.is_empty())
            }
        }
    }

    /// The sets that it makes, with all that they hold, by name.
    pub fn made(&self) -> impl Iterator<Item = (&String, &Set)> {
        let sets = match self {
            Self::Create(table) | Self::Replace { to: table, .. } => Some(&table.sets),
            Self::Edit { add_sets, .. } => Some(add_sets),
            Self::Delete(_) => None,
        };
        sets.into_iter().flatten()
    }

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
                flowtables,
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
                flowtables: flowtables
                    .iter()
                    .map(|(name, edit)| {
                        let FlowtableEdit { from, to } = edit.clone();
                        (name.clone(), FlowtableEdit { from: to, to: from })
                    })
                    .collect(),
            },
        }
    }

    /// Whether any packet could be translated in another way after it: not if all that it changes is where the fast path
    /// looks for flows.
    #[must_use]
    pub fn can_translate_anew(&self) -> bool {
        match self {
            Self::Create(_) | Self::Delete(_) | Self::Replace { .. } => true,
            Self::Edit {
                elements,
                chains,
                remove_sets,
                add_sets,
                flowtables: _,
            } => {
                !(elements.is_empty() && remove_sets.is_empty() && add_sets.is_empty())
                    || chains.values().any(|edit| edit.from != edit.to)
            }
        }
    }

    /// The edit that makes `from` into `to`; `None` where a chain comes, goes or changes its hook, or a set
    /// its type, or has no room for what is to come: the kernel changes none of these in place.
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
            .all(|(name, set)| to.sets.get(name).is_none_or(|other| set.can_become(other)));
        if !chains_match || !sets_match {
            return None;
        }
        let flowtables: BTreeMap<_, _> = from
            .flowtables
            .keys()
            .chain(to.flowtables.keys())
            .map(|name| (name, from.flowtables.get(name), to.flowtables.get(name)))
            .filter(|(_, from, to)| from != to)
            .map(|(name, from, to)| {
                let (from, to) = (from.cloned(), to.cloned());
                (name.clone(), FlowtableEdit { from, to })
            })
            .collect();
        // The kernel takes no flowtable away that a rule names.
        let names_one = |rules: &[Rule]| {
            rules.iter().flat_map(|rule| &rule.statements).any(
                |statement| matches!(statement, Statement::FlowAdd(name) if flowtables.contains_key(name)),
            )
        };
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
            .filter(|((_, from), to)| from.rules != to.rules || names_one(&from.rules))
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
            flowtables,
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
            size: from.size,
            elements: Elements::default(),
        };
        Some(Self { set, remove, add })
    }
}

#[cfg(test)]
mod tests;
