//! Small changes to a file's text: entries come and go, and everything else stays as it is, byte by byte: order,
//! comments, quotes, line ends. Pure.
//!
//! What is made is never trusted: the new text is read by the very reader that reads files, and must mean the old
//! configuration with exactly these entries more or less. A text of which that does not come true (anchors, what nobody
//! thought of) is not changed.

mod insert;
mod lines;
mod remove;
mod style;
#[cfg(test)]
mod tests;
mod tree;
mod value;
mod written;

use std::collections::BTreeSet;

use super::fields::{Path, Reader};
use super::{Config, Eip, Forward, Generation, Interface, Mirror, Place, Problem, Vm, mirrors};

pub use value::Value;

/// A list of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum List {
    /// `if_list`.
    Interfaces,
    /// `eip_list`.
    Eips,
    /// `port_forward_list`.
    Forwards,
    /// `mirror_list`.
    Mirrors,
}

impl List {
    /// Its key.
    #[must_use]
    pub fn key(self) -> &'static str {
        match self {
            Self::Interfaces => "if_list",
            Self::Eips => "eip_list",
            Self::Forwards => "port_forward_list",
            Self::Mirrors => "mirror_list",
        }
    }
}

/// An entry of a list; its place says nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// Of `if_list`.
    Interface(Interface),
    /// Of `eip_list`.
    Eip(Eip),
    /// Of `port_forward_list`.
    Forward(Forward),
    /// Of `mirror_list`.
    Mirror(Mirror),
}

impl Entry {
    fn list(&self) -> List {
        match self {
            Self::Interface(_) => List::Interfaces,
            Self::Eip(_) => List::Eips,
            Self::Forward(_) => List::Forwards,
            Self::Mirror(_) => List::Mirrors,
        }
    }
}

impl Mirror {
    /// An entry that was given in words, read as one of the file is; what it means to other entries is not looked at.
    ///
    /// # Errors
    /// What is wrong with it; paths begin below the entry: `to[0].gre.key`.
    pub fn of(value: &Value) -> Result<Self, Vec<Problem>> {
        let mut reader = Reader::new(&[]);
        let mirror = mirrors::read(&mut reader, &value.located(), Path::Root);
        match mirror.filter(|_| reader.problems.is_empty()) {
            Some(mirror) => Ok(mirror),
            None => Err(reader.problems),
        }
    }
}

/// What is to become of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Edit {
    /// These come behind its last entry.
    Add(List, Vec<Entry>),
    /// These go, counted from 0.
    Remove(List, BTreeSet<usize>),
}

/// Why a text stays as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refused {
    /// What it would become is not valid: problems of the text that it would be.
    Invalid(Vec<Problem>),
    /// It is written in a way that no program should change.
    Unsure(List),
}

/// The text of a valid file after a change, and what it means with warnings.
///
/// # Errors
/// If that is not valid, or the text could not be changed for certain.
pub fn edit(text: &str, config: &Config, edit: &Edit) -> Result<(String, Config, Vec<Problem>), Refused> {
    let list = match edit {
        Edit::Add(list, _) | Edit::Remove(list, _) => *list,
    };
    let new = match edit {
        Edit::Add(_, entries) if entries.is_empty() => Some(text.to_owned()),
        Edit::Remove(_, gone) if gone.is_empty() => Some(text.to_owned()),
        Edit::Add(list, entries) => {
            tree::read(text).and_then(|root| insert::insert(text, root.as_ref(), *list, entries))
        }
        Edit::Remove(list, gone) => tree::read(text)
            .flatten()
            .and_then(|root| remove::remove(text, &root, *list, gone)),
    };
    let new = new.ok_or(Refused::Unsure(list))?;
    let parsed = Config::parse(new.as_bytes());
    let Some(changed) = parsed.config else {
        // A problem of the file as a whole is not the entries' fault.
        return Err(if parsed.problems.iter().any(|problem| problem.path.is_empty()) {
            Refused::Unsure(list)
        } else {
            Refused::Invalid(parsed.problems)
        });
    };
    if changed.without_places() != config.changed_by(edit).without_places() {
        return Err(Refused::Unsure(list));
    }
    Ok((new, changed, parsed.problems))
}

impl Config {
    /// What the configuration is meant to be after a change.
    fn changed_by(&self, edit: &Edit) -> Self {
        let mut config = self.clone();
        match edit {
            Edit::Add(list, entries) => {
                for entry in entries.iter().filter(|entry| entry.list() == *list) {
                    match entry.clone() {
                        Entry::Interface(one) => config.interfaces.push(one),
                        Entry::Eip(one) => config.eips.push(one),
                        Entry::Forward(one) => config.forwards.push(one),
                        Entry::Mirror(one) => config.mirrors.push(one),
                    }
                }
            }
            Edit::Remove(List::Interfaces, gone) => retain(&mut config.interfaces, gone),
            Edit::Remove(List::Eips, gone) => retain(&mut config.eips, gone),
            Edit::Remove(List::Forwards, gone) => retain(&mut config.forwards, gone),
            Edit::Remove(List::Mirrors, gone) => retain(&mut config.mirrors, gone),
        }
        config
    }

    /// What two texts have in common that mean the same.
    #[must_use]
    pub fn without_places(&self) -> Self {
        let mut config = self.clone();
        let none = Place::default();
        for one in &mut config.interfaces {
            one.place = none;
            one.vms = (one.vms.iter().cloned())
                .map(|vm| Vm { place: none, ..vm })
                .collect();
        }
        config.eips.iter_mut().for_each(|one| one.place = none);
        config.forwards.iter_mut().for_each(|one| one.place = none);
        config.snat_pool.iter_mut().for_each(|one| one.place = none);
        config.routes.iter_mut().for_each(|one| one.place = none);
        config.mirrors.iter_mut().for_each(|one| one.place = none);
        config.generation = config.generation.map(|one| Generation { place: none, ..one });
        config
    }
}

fn retain<T>(entries: &mut Vec<T>, gone: &BTreeSet<usize>) {
    let mut index = 0;
    entries.retain(|_| {
        index += 1;
        !gone.contains(&(index - 1))
    });
}
