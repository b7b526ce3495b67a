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

use std::collections::BTreeSet;

use super::{Config, Eip, Forward, Generation, Interface, Place, Problem, Vm, Vxlan};

/// A list of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum List {
    /// `if_list`.
    Interfaces,
    /// `eip_list`.
    Eips,
    /// `port_forward_list`.
    Forwards,
}

impl List {
    /// Its key.
    #[must_use]
    pub fn key(self) -> &'static str {
        match self {
            Self::Interfaces => "if_list",
            Self::Eips => "eip_list",
            Self::Forwards => "port_forward_list",
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
}

impl Entry {
    fn list(&self) -> List {
        match self {
            Self::Interface(_) => List::Interfaces,
            Self::Eip(_) => List::Eips,
            Self::Forward(_) => List::Forwards,
        }
    }

    /// Its keys, each with its value.
    fn fields(&self) -> Vec<(&'static str, Value)> {
        match self {
            Self::Interface(one) => {
                let mut fields = vec![
                    ("ipaddr", text(one.address.addr())),
                    ("prefix", number(one.address.prefix_len())),
                ];
                fields.push(match &one.vxlan {
                    Some(vxlan) => ("vxlan", Value::Map(overlay(vxlan))),
                    None => ("mac", text(one.mac)),
                });
                fields.extend(one.gateway.map(|gateway| ("gateway", text(gateway))));
                fields
            }
            Self::Eip(one) => vec![("eip", text(one.eip)), ("vm-ip", text(one.vm))],
            Self::Forward(one) => {
                let mut fields = vec![
                    ("eip", text(one.eip)),
                    ("protocal", text(one.protocol)),
                    ("port", number(one.port)),
                ];
                fields.extend((one.end_port != one.port).then(|| ("end_port", number(one.end_port))));
                fields.push(("vm-port", number(one.vm_port)));
                fields.push(("vm-ip", text(one.vm)));
                fields
            }
        }
    }
}

/// What an entry has at a key.
enum Value {
    Text(String),
    Number(String),
    List(Vec<Value>),
    Map(Vec<(&'static str, Value)>),
}

fn text(value: impl ToString) -> Value {
    Value::Text(value.to_string())
}

fn number(value: impl ToString) -> Value {
    Value::Number(value.to_string())
}

/// The keys of an interface's `vxlan`, without what it need not say.
fn overlay(vxlan: &Vxlan) -> Vec<(&'static str, Value)> {
    let default = Vxlan::with_defaults(vxlan.vni);
    let differs = |is_other: fn(&Vxlan, &Vxlan) -> bool| {
        default.as_ref().is_none_or(|default| is_other(default, vxlan))
    };
    let mut fields = vec![("vni", number(vxlan.vni))];
    fields.extend(vxlan.local.map(|local| ("local", text(local))));
    if !vxlan.peers.is_empty() {
        fields.push(("peers", Value::List(vxlan.peers.iter().map(text).collect())));
    }
    fields.extend(differs(|one, other| one.port != other.port).then(|| ("port", number(vxlan.port))));
    fields.extend(differs(|one, other| one.mac != other.mac).then(|| ("gateway-mac", text(vxlan.mac))));
    fields
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
                    }
                }
            }
            Edit::Remove(List::Interfaces, gone) => retain(&mut config.interfaces, gone),
            Edit::Remove(List::Eips, gone) => retain(&mut config.eips, gone),
            Edit::Remove(List::Forwards, gone) => retain(&mut config.forwards, gone),
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
