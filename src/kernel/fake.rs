//! A kernel in memory, for tests: keeps state, applies operations as Linux does, and can be told to fail.

use std::collections::BTreeSet;
use std::sync::Arc;

use nix::libc::ENETDOWN;

use super::{Error, Failure, Incomplete, Kernel};
use crate::model::nft::{Counts, Set, Table, TableChange};
use crate::model::{
    Classifier, Flow, Link, LinkId, LinkIndex, LinkName, LinkSysctl, MacAddr, Neighbour, Observed, OwnLink,
    OwnName, RouteKind, Sysctl,
};
use crate::plan::{Announcement, LinkRef, Operation};

/// A kernel that is nothing but its state.
#[derive(Clone, Debug, Default)]
pub struct Fake {
    /// What it has.
    pub state: Observed,
    /// The flows that it tracks.
    pub flows: Vec<Flow>,
    /// How many operations (the ending of flows is one, too) succeed before one fails with this error number; `None`: none fails.
    pub fail_after: Option<(usize, i32)>,
    /// What elements of its sets counted: of those that count, and as a test says.
    pub counts: Counts,
    /// What was announced.
    pub announced: Vec<Announcement>,
}

impl Fake {
    /// A kernel in this state.
    #[must_use]
    pub fn new(state: Observed) -> Self {
        Self {
            state,
            ..Self::default()
        }
    }

    fn may_fail(&mut self) -> Result<(), Error> {
        if let Some((left, errno)) = &mut self.fail_after {
            if *left == 0 {
                let errno = *errno;
                self.fail_after = None;
                return Err(Error::refused(errno));
            }
            *left -= 1;
        }
        Ok(())
    }

    fn apply_one(&mut self, operation: &Operation) -> Result<(), Error> {
        self.may_fail()?;
        let state = &mut self.state;
        match operation {
            Operation::Table(change) => {
                let (mut table, mut counts) = (state.table.clone(), self.counts.clone());
                apply_table(&mut table, change)?;
                let moved: BTreeSet<&str> = change.recounted().into_iter().map(|(name, _)| name).collect();
                keep_counts(&mut counts, state.table.as_deref(), table.as_deref(), &moved);
                check_flowtables(state, table.as_deref())?;
                state.table = table;
                self.counts = counts;
            }
            Operation::AddOwnLink { link, own, .. } => self.add_own_link(link, own)?,
            Operation::ChangeOwnLink { link, to, .. } => {
                let found = state.links.iter_mut().find(|found| found.index == link.index);
                let found = found.ok_or(Error::Interrupted)?;
                found.mtu = to.mtu.unwrap_or(found.mtu);
                if state.own_links.get(&link.index).map(|own| own.mac) != Some(to.mac) {
                    flush(state, link.index);
                }
                state.own_links.insert(link.index, (**to).clone());
            }
            Operation::DeleteOwnLink { link, .. } => self.delete_link(link.index),
            Operation::AddClassifier { link } => {
                if state.link(link.index).is_none() || state.classifiers.contains_key(&link.index) {
                    return Err(Error::Interrupted);
                }
                let empty = Classifier::Clsact { is_shared: false };
                state.classifiers.insert(link.index, empty);
            }
            Operation::DeleteClassifier { link } => {
                state.classifiers.remove(&link.index);
                state.hooks.retain(|hook| hook.link != link.index);
            }
            Operation::AddHook { hook, .. } => {
                let is_there = state.hooks.iter().any(|other| other.place() == hook.place());
                let is_dangling = hook.to.iter().any(|to| state.link(*to).is_none());
                if is_there || is_dangling || !state.classifiers.contains_key(&hook.link) {
                    return Err(Error::Interrupted);
                }
                state.hooks.push((**hook).clone());
                state.hooks.sort();
            }
            Operation::ReplaceHook { to, .. } => {
                state.hooks.retain(|other| other.place() != to.place());
                state.hooks.push((**to).clone());
                state.hooks.sort();
            }
            Operation::DeleteHook { hook, .. } => {
                state.hooks.retain(|other| other.place() != hook.place());
            }
            Operation::SetLink { link, up } => {
                let found = state.links.iter_mut().find(|found| found.index == link.index);
                found.ok_or(Error::Interrupted)?.up = *up;
                if !up {
                    flush(state, link.index);
                    // The kernel drops what leads out of a link that goes down.
                    state
                        .routes
                        .retain(|route| route.link != link.index || route.kind == RouteKind::Unreachable);
                }
            }
            Operation::AddNeighbour { link, neighbour } => self.set_neighbour(link, neighbour)?,
            Operation::ReplaceNeighbour { link, to, .. } => self.set_neighbour(link, to)?,
            Operation::DeleteNeighbour { link, neighbour } => {
                if let Some(all) = state.neighbours.get_mut(&link.index) {
                    all.remove(neighbour);
                }
                self.state.neighbours.retain(|_, all| !all.is_empty());
            }
            Operation::AddAddress { link, address } => {
                if state.link(link.index).is_none() {
                    return Err(Error::Interrupted);
                }
                state.addresses.entry(link.index).or_default().insert(*address);
            }
            Operation::DeleteAddress { link, address } => self.delete_address(link.index, *address),
            Operation::AddRoute { route, .. } => {
                let leaves = route.kind != RouteKind::Unreachable;
                if leaves && !state.link(route.link).is_some_and(|link| link.up) {
                    return Err(Error::refused(nix::libc::ENETDOWN));
                }
                if !state.routes.contains(route) {
                    state.routes.insert(0, route.clone());
                }
            }
            Operation::ReplaceRoute { to, .. } => {
                let same = state.routes.iter_mut().find(|other| {
                    (other.destination, other.table, other.metric) == (to.destination, to.table, to.metric)
                });
                match same {
                    Some(same) => *same = to.clone(),
                    None => state.routes.insert(0, to.clone()),
                }
            }
            Operation::DeleteRoute { route, .. } => state.routes.retain(|other| other != route),
            Operation::SetSysctl { key, to, .. } => {
                if matches!(key, Sysctl::Link(..)) && !state.sysctls.contains_key(key) {
                    return Err(Error::Interrupted);
                }
                state.sysctls.insert(*key, to.clone());
                if *key == Sysctl::DisableIpv6All {
                    for (key, value) in &mut state.sysctls {
                        if matches!(
                            key,
                            Sysctl::DisableIpv6Default | Sysctl::Link(_, LinkSysctl::DisableIpv6)
                        ) {
                            value.clone_from(to);
                        }
                    }
                }
            }
        }
        Ok(())
    }

    /// As Linux: a name and a number are one link's, and so are the ends of a tunnel.
    fn add_own_link(&mut self, link: &LinkRef, own: &OwnLink<LinkIndex>) -> Result<(), Error> {
        let state = &mut self.state;
        if let Some(parent) = own.kind.parent() {
            let parent = state.link(*parent).ok_or(Error::Interrupted)?;
            if !parent.up {
                return Err(Error::refused(ENETDOWN));
            }
        }
        let is_same = |one: &Link| one.index == link.index || one.name == link.name;
        let joins_the_same = state.own_links.values().any(|other| other.kind == own.kind);
        if joins_the_same || state.links.iter().any(is_same) {
            return Err(Error::Taken);
        }
        let mtu = own.mtu.unwrap_or(1_500);
        let [_, _, a, b] = link.index.0.to_be_bytes();
        let octets = [2, 0x6b, 0x76, 0x72, a, b];
        state.links.push(Link {
            index: link.index,
            name: link.name.clone(),
            id: OwnName::new(&link.name.0).map(LinkId::Own),
            up: true,
            stacked: own.kind.parent().is_some(),
            ipv6_in_use: false,
            udev_pending: false,
            mtu,
        });
        state.links.sort_by_key(|link| link.index);
        if let Some(name) = OwnName::new(&link.name.0) {
            for parameter in LinkSysctl::ALL {
                let value = state.sysctls.get(&parameter.of_new_links());
                let value = value.map_or("0", String::as_str).to_owned();
                state
                    .sysctls
                    .insert(Sysctl::Link(LinkId::Own(name), parameter), value);
            }
        }
        let made = OwnLink {
            kind: own.kind.clone(),
            mtu: Some(mtu),
            mac: own.mac.or_else(|| MacAddr::from_octets(octets).ok()),
        };
        state.own_links.insert(link.index, made);
        Ok(())
    }

    /// One takes the place of another that is found by the same.
    fn set_neighbour(&mut self, link: &LinkRef, neighbour: &Neighbour) -> Result<(), Error> {
        if self.state.link(link.index).is_none() {
            return Err(Error::Interrupted);
        }
        let all = self.state.neighbours.entry(link.index).or_default();
        all.retain(|other| other.key() != neighbour.key());
        all.insert(*neighbour);
        Ok(())
    }

    /// What is on a link goes with it.
    fn delete_link(&mut self, index: LinkIndex) {
        let state = &mut self.state;
        let gone = state.link(index).and_then(|link| link.id);
        state
            .sysctls
            .retain(|key, _| !matches!(key, Sysctl::Link(of, _) if Some(*of) == gone));
        state.links.retain(|link| link.index != index);
        state.own_links.remove(&index);
        state.addresses.remove(&index);
        state.classifiers.remove(&index);
        state.hooks.retain(|hook| hook.link != index);
        for to in state.hooks.iter_mut().flat_map(|hook| &mut hook.to) {
            if *to == index {
                *to = LinkIndex(0);
            }
        }
        state.neighbours.remove(&index);
        state
            .routes
            .retain(|route| route.link != index || route.kind == RouteKind::Unreachable);
        let on_it = state
            .own_links
            .iter()
            .find(|(_, own)| own.kind.parent() == Some(&index));
        if let Some(stacked) = on_it.map(|(index, _)| *index) {
            self.delete_link(stacked);
        }
    }

    /// Without `promote_secondaries`, the first address of a subnet takes the later ones with it.
    fn delete_address(&mut self, index: LinkIndex, address: ipnet::Ipv4Net) {
        let mac = self.state.link(index).and_then(|link| link.id);
        let promotes = self.state.sysctls.iter().any(|(key, value)| {
            matches!(key, Sysctl::Link(of, LinkSysctl::PromoteSecondaries)
                if mac == Some(*of))
                && value != "0"
        });
        let addresses: &mut BTreeSet<_> = self.state.addresses.entry(index).or_default();
        addresses.remove(&address);
        if !promotes {
            addresses.retain(|other| other.trunc() != address.trunc());
        }
    }
}

/// A link that goes down, or gets another hardware address, forgets the addresses of its neighbours.
fn flush(state: &mut Observed, index: LinkIndex) {
    if let Some(all) = state.neighbours.get_mut(&index) {
        all.retain(|one| !one.is_flushed());
    }
    state.neighbours.retain(|_, all| !all.is_empty());
}

fn apply_table(table: &mut Option<Arc<Table>>, change: &TableChange) -> Result<(), Error> {
    let exists = || Error::refused(nix::libc::EEXIST);
    let missing = || Error::refused(nix::libc::ENOENT);
    match change {
        TableChange::Create(_) if table.is_some() => return Err(exists()),
        TableChange::Delete(_) | TableChange::Replace { .. } if table.is_none() => return Err(missing()),
        TableChange::Create(to) | TableChange::Replace { to, .. } => *table = Some(Arc::new(to.clone())),
        TableChange::Delete(_) => *table = None,
        TableChange::Edit {
            elements,
            chains,
            remove_sets,
            add_sets,
            flowtables,
        } => {
            // A copy, so that a batch that fails has changed nothing.
            let mut edited = Table::clone(table.as_ref().ok_or_else(missing)?);
            for (name, edit) in chains {
                edited.chains.get_mut(name).ok_or_else(missing)?.rules = edit.to.clone();
            }
            for (name, edit) in elements {
                let set = edited.sets.get_mut(name).ok_or_else(missing)?;
                for (element, _) in &edit.remove {
                    set.elements.remove(element).ok_or_else(missing)?;
                }
                for (element, value) in &edit.add {
                    if set.elements.insert(*element, *value).is_some() {
                        return Err(exists());
                    }
                }
            }
            for name in remove_sets.keys() {
                edited.sets.remove(name).ok_or_else(missing)?;
            }
            for (name, set) in add_sets {
                if edited.sets.insert(name.clone(), set.clone()).is_some() {
                    return Err(exists());
                }
            }
            for (name, edit) in flowtables {
                if edited.flowtables.remove(name).is_some() != edit.from.is_some() {
                    return Err(if edit.from.is_some() { missing() } else { exists() });
                }
                edited
                    .flowtables
                    .extend(edit.to.clone().map(|to| (name.clone(), to)));
            }
            *table = Some(Arc::new(edited));
        }
    }
    Ok(())
}

/// An element that goes takes its count along, and one that is made anew has it only where it was given on.
fn keep_counts(counts: &mut Counts, before: Option<&Table>, after: Option<&Table>, moved: &BTreeSet<&str>) {
    counts.retain(|name, counted| {
        let set = |table: Option<&'_ Table>| table.and_then(|table| table.sets.get(name)).cloned();
        let (before, after) = (set(before), set(after));
        let (Some(before), Some(after)) = (before, after.filter(|set| set.counts)) else {
            return false;
        };
        counted.retain(|key, _| {
            let of = |set: &Set| {
                let mut elements = set.elements.iter();
                elements
                    .find(|(element, _)| element.first == *key)
                    .map(|(_, value)| *value)
            };
            let value = of(&after);
            value.is_some() && (moved.contains(name.as_str()) || value == of(&before))
        });
        true
    });
}

/// The kernel takes no flowtable on a link that is not there, or if it has none at all.
fn check_flowtables(state: &Observed, table: Option<&Table>) -> Result<(), Error> {
    let mut flowtables = table
        .into_iter()
        .flat_map(|table| table.flowtables.values())
        .peekable();
    if flowtables.peek().is_some() && state.flowtables != Some(true) {
        return Err(Error::refused(nix::libc::ENOENT));
    }
    let is_there = |name: &LinkName| state.links.iter().any(|link| link.name == *name);
    match flowtables.all(|flowtable| flowtable.devices.iter().all(is_there)) {
        true => Ok(()),
        false => Err(Error::Interrupted),
    }
}

impl Kernel for Fake {
    fn observe(&mut self) -> Result<Observed, Error> {
        Ok(self.state.clone())
    }

    fn has_flowtables(&mut self) -> Result<bool, Error> {
        Ok(self.state.flowtables == Some(true))
    }

    fn has_counters(&mut self) -> Result<bool, Error> {
        Ok(self.state.counters != Some(false))
    }

    fn apply(&mut self, operations: &[Operation]) -> Result<(), Incomplete> {
        for (index, operation) in operations.iter().enumerate() {
            if let Err(error) = self.apply_one(operation) {
                return Err(Incomplete {
                    begun: index + 1,
                    failures: vec![Failure { index, error }],
                });
            }
        }
        Ok(())
    }

    fn end_flows(&mut self, is_stale: &mut dyn FnMut(&Flow) -> bool) -> Result<usize, Error> {
        self.may_fail()?;
        let before = self.flows.len();
        self.flows.retain(|flow| !is_stale(flow));
        Ok(before - self.flows.len())
    }

    fn counts(&mut self) -> Result<Counts, Error> {
        Ok(self.counts.clone())
    }

    fn read_flows(&mut self, see: &mut dyn FnMut(Option<&Flow>)) -> Result<(), Error> {
        see(None);
        self.flows.iter().for_each(|flow| see(Some(flow)));
        Ok(())
    }

    fn announce(&mut self, announcements: &[Announcement]) -> Result<(), Error> {
        self.announced.extend_from_slice(announcements);
        Ok(())
    }
}
