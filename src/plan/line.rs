//! The steps of a plan in words, line by line: what `kylin-vr plan` prints, and reports, and logs.

use std::borrow::Cow;
use std::fmt;

use serde::Serialize;

use super::operation::{LinkRef, Operation};
use crate::model::nft::{Flowtable, Rule, Set, TableChange};
use crate::model::{Hook, LinkIndex, LinkName, Neighbour, OnLink as NeighbourOn, OwnLink, Route, RouteKind};
use crate::owned::NFT_TABLE;
use crate::words::printable;

/// What a line of a plan does to its object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// Comes.
    Add,
    /// Goes.
    Delete,
    /// Changes.
    Change,
    /// Is told to neighbours.
    Announce,
}

/// An operation in words: what `kylin-vr plan` prints, in text and in JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Line {
    /// What happens.
    pub action: Action,
    /// To what kind of thing.
    pub object: &'static str,
    /// To which one, in the words of ip(8), nft(8) and sysctl(8).
    pub text: String,
}

/// Is shown lines: what happens, to what kind of thing, and to which one.
pub type Sight<'s> = &'s mut dyn FnMut(Action, &'static str, fmt::Arguments<'_>);

impl Line {
    /// With control characters made visible: names are ours, unless somebody else put something into our table or made a NIC.
    #[must_use]
    pub fn new(action: Action, object: &'static str, text: fmt::Arguments<'_>) -> Self {
        let text = text.to_string();
        let text = match printable(&text) {
            Cow::Borrowed(_) => text,
            Cow::Owned(escaped) => escaped,
        };
        Self { action, object, text }
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = match self.action {
            Action::Add => '+',
            Action::Delete => '-',
            Action::Change => '~',
            Action::Announce => '!',
        };
        write!(f, "{sign} {:<8} {}", self.object, self.text)
    }
}

impl Operation {
    /// The operation in words, a line for each thing that changes.
    #[must_use]
    pub fn lines(&self) -> Vec<Line> {
        let mut lines = Vec::new();
        self.each_line(&mut |action, object, text| lines.push(Line::new(action, object, text)));
        lines
    }

    /// The same, one after another, and not in words yet: a table has tens of thousands, of which few are read.
    pub fn each_line(&self, see: Sight<'_>) {
        use Action::{Add, Change, Delete};
        match self {
            Self::Table(change) => each_table_line(change, see),
            Self::AddOwnLink { link, below, own } => see(
                Add,
                "link",
                format_args!("{}{}", OnParent(link, below.as_ref(), own), Traits(own, None)),
            ),
            Self::DeleteOwnLink { link, below, own } => {
                see(
                    Delete,
                    "link",
                    format_args!("{}", OnParent(link, below.as_ref(), own)),
                );
            }
            Self::ChangeOwnLink { link, from, to } => see(
                Change,
                "link",
                format_args!(
                    "{}{} (was:{})",
                    link.name,
                    Traits(to, Some(from)),
                    Traits(from, Some(to))
                ),
            ),
            Self::AddClassifier { link } => see(Add, "qdisc", format_args!("clsact dev {}", link.name)),
            Self::DeleteClassifier { link } => {
                see(Delete, "qdisc", format_args!("clsact dev {}", link.name));
            }
            Self::AddHook { link, hook, to_names } => {
                see(Add, "mirror", format_args!("{}", OfMirror(hook, link, to_names)));
            }
            Self::DeleteHook { link, hook, to_names } => {
                see(
                    Delete,
                    "mirror",
                    format_args!("{}", OfMirror(hook, link, to_names)),
                );
            }
            Self::ReplaceHook {
                link, to, to_names, ..
            } => {
                see(Change, "mirror", format_args!("{}", OfMirror(to, link, to_names)));
            }
            Self::SetLink { link, up } => see(
                Change,
                "link",
                format_args!("{} {}", link.name, if *up { "up" } else { "down" }),
            ),
            Self::AddNeighbour { link, neighbour } => see(
                Add,
                of_neighbour(neighbour),
                format_args!("{}", NeighbourOn(neighbour, &link.name)),
            ),
            Self::DeleteNeighbour { link, neighbour } => see(
                Delete,
                of_neighbour(neighbour),
                format_args!("{}", NeighbourOn(neighbour, &link.name)),
            ),
            Self::ReplaceNeighbour { link, from, to } => see(
                Change,
                of_neighbour(to),
                format_args!(
                    "{} (was: {})",
                    NeighbourOn(to, &link.name),
                    NeighbourOn(from, &link.name)
                ),
            ),
            Self::AddAddress { link, address } => {
                see(Add, "address", format_args!("{address} dev {}", link.name));
            }
            Self::DeleteAddress { link, address } => {
                see(Delete, "address", format_args!("{address} dev {}", link.name));
            }
            Self::AddRoute { link, route } => see(Add, "route", format_args!("{}", OnLink(route, link))),
            Self::DeleteRoute { link, route } => {
                see(Delete, "route", format_args!("{}", OnLink(route, link)));
            }
            Self::ReplaceRoute {
                link,
                from_link,
                from,
                to,
            } => see(
                Change,
                "route",
                format_args!("{} (was: {})", OnLink(to, link), OnLink(from, from_link)),
            ),
            Self::SetSysctl { path, from, to, .. } => {
                // sysctl(8)'s own way with a name that has a dot in it (a VLAN's): swap the two.
                let name: String = path
                    .chars()
                    .map(|letter| match letter {
                        '/' => '.',
                        '.' => '/',
                        other => other,
                    })
                    .collect();
                see(Change, "sysctl", format_args!("net.{name} {from} -> {to}"));
            }
        }
    }
}

impl fmt::Display for Operation {
    /// One line, for errors and logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verb = match self {
            Self::Table(change) => {
                let verb = match **change {
                    TableChange::Create(_) => "create",
                    TableChange::Delete(_) => "delete",
                    TableChange::Replace { .. } | TableChange::Edit { .. } => "change",
                };
                return write!(f, "{verb} nftables table ip {NFT_TABLE}");
            }
            Self::SetLink { .. } | Self::SetSysctl { .. } | Self::ChangeOwnLink { .. } => "set",
            Self::AddAddress { .. }
            | Self::AddRoute { .. }
            | Self::AddNeighbour { .. }
            | Self::AddOwnLink { .. }
            | Self::AddClassifier { .. }
            | Self::AddHook { .. } => "add",
            Self::DeleteAddress { .. }
            | Self::DeleteRoute { .. }
            | Self::DeleteNeighbour { .. }
            | Self::DeleteOwnLink { .. }
            | Self::DeleteClassifier { .. }
            | Self::DeleteHook { .. } => "delete",
            Self::ReplaceRoute { .. } | Self::ReplaceHook { .. } | Self::ReplaceNeighbour { .. } => "replace",
        };
        f.write_str(verb)?;
        self.lines()
            .iter()
            .try_for_each(|line| write!(f, " {} {}", line.object, line.text))
    }
}

/// What copies packets: of which mirror, at which link, and where to.
struct OfMirror<'h>(&'h Hook<LinkIndex>, &'h LinkRef, &'h str);

impl fmt::Display for OfMirror<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(hook, link, to) = self;
        write!(f, "{} {} dev {} to {to}", hook.mirror, hook.direction, link.name)
    }
}

/// The commands whose words an entry is told in: bridge(8)'s, and ip(8)'s.
fn of_neighbour(neighbour: &Neighbour) -> &'static str {
    match neighbour {
        Neighbour::Forward { .. } => "fdb",
        Neighbour::Address { .. } => "neigh",
    }
}

/// A link of ours with the one below it.
struct OnParent<'l>(&'l LinkRef, Option<&'l LinkName>, &'l OwnLink<LinkIndex>);

impl fmt::Display for OnParent<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(link, below, own) = self;
        write!(f, "{} {}", link.name, own.kind)?;
        below.iter().try_for_each(|below| write!(f, " on {below}"))
    }
}

/// What can be said of a link of ours beside its kind, in the words of ip-link(8); or only what differs from another.
struct Traits<'l>(&'l OwnLink<LinkIndex>, Option<&'l OwnLink<LinkIndex>>);

impl fmt::Display for Traits<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(own, other) = self;
        let mtu = own.mtu.filter(|_| other.is_none_or(|other| other.mtu != own.mtu));
        let mac = own.mac.filter(|_| other.is_none_or(|other| other.mac != own.mac));
        mtu.iter().try_for_each(|mtu| write!(f, " mtu {mtu}"))?;
        mac.iter().try_for_each(|mac| write!(f, " address {mac}"))
    }
}

/// A route with the link that it is on, as ip(8) writes it.
struct OnLink<'r>(&'r Route<LinkIndex>, &'r LinkRef);

impl fmt::Display for OnLink<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(route, link) = self;
        match route.kind {
            RouteKind::Unreachable => write!(f, "{route}"),
            RouteKind::Unicast | RouteKind::Local => write!(f, "{route} dev {}", link.name),
        }
    }
}

fn each_table_line(change: &TableChange, see: Sight<'_>) {
    use Action::{Add, Change, Delete};
    let mut push = |action, text: fmt::Arguments<'_>| see(action, "nft", text);
    match change {
        TableChange::Create(table) => {
            push(Add, format_args!("table ip {NFT_TABLE}"));
            for (name, flowtable) in &table.flowtables {
                push(
                    Add,
                    format_args!("flowtable {name}: on {}", flowtable.show_devices()),
                );
            }
            for (name, chain) in &table.chains {
                for rule in &chain.rules {
                    push(Add, format_args!("rule {name}: {rule}"));
                }
            }
            // Those that are there to count have the keys of others.
            for (name, set) in table.sets.iter().filter(|(_, set)| !set.is_counter()) {
                for (element, value) in &set.elements {
                    push(
                        Add,
                        format_args!("element {name} {{ {} }}", set.show(*element, *value)),
                    );
                }
            }
        }
        TableChange::Delete(table) => {
            push(
                Delete,
                format_args!("table ip {NFT_TABLE} ({} elements)", table.elements()),
            );
        }
        TableChange::Replace { from, to } => {
            push(
                Change,
                format_args!(
                    "table ip {NFT_TABLE} ({} -> {} elements)",
                    from.elements(),
                    to.elements()
                ),
            );
            // The one thing that comes and goes while elements stay as they are.
            for (action, one, other) in [(Delete, from, to), (Add, to, from)] {
                for (name, flowtable) in &one.flowtables {
                    if other.flowtables.get(name) != Some(flowtable) {
                        push(
                            action,
                            format_args!("flowtable {name}: on {}", flowtable.show_devices()),
                        );
                    }
                }
            }
        }
        TableChange::Edit {
            elements,
            chains,
            remove_sets,
            add_sets,
            flowtables,
        } => {
            for (name, edit) in flowtables {
                let on = |flowtable: &Flowtable| format!("flowtable {name}: on {}", flowtable.show_devices());
                match (&edit.from, &edit.to) {
                    (Some(from), Some(to)) => {
                        push(Change, format_args!("{} (was: {})", on(to), from.show_devices()));
                    }
                    (Some(from), None) => push(Delete, format_args!("{}", on(from))),
                    (None, to) => to.iter().for_each(|to| push(Add, format_args!("{}", on(to)))),
                }
            }
            // Those that are the same are written anew for a flowtable's sake.
            for (name, edit) in chains.iter().filter(|(_, edit)| edit.from != edit.to) {
                // The chain is written anew, as a whole; told is what differs.
                let only_in = |one: &[Rule], other: &[Rule]| -> Vec<String> {
                    let rules = one.iter().filter(|rule| !other.contains(rule));
                    rules.map(|rule| format!("rule {name}: {rule}")).collect()
                };
                let (gone, come) = (only_in(&edit.from, &edit.to), only_in(&edit.to, &edit.from));
                if gone.is_empty() && come.is_empty() {
                    push(
                        Change,
                        format_args!("rules {name}: in another order, or fewer times"),
                    );
                }
                gone.iter().for_each(|text| push(Delete, format_args!("{text}")));
                come.iter().for_each(|text| push(Add, format_args!("{text}")));
            }
            // What counts follows the maps, and is told only where it alone is not as it should be.
            let is_alone = elements.values().all(|edit| edit.set.is_counter());
            for (name, edit) in elements.iter().filter(|_| is_alone) {
                let (gone, come) = (edit.remove.len(), edit.add.len());
                push(Change, format_args!("counters {name}: {come} come, {gone} go"));
            }
            let mut element = |action, name: &str, set: &Set, (element, value)| {
                push(
                    action,
                    format_args!("element {name} {{ {} }}", set.show(element, value)),
                );
            };
            for (name, edit) in elements.iter().filter(|(_, edit)| !edit.set.is_counter()) {
                edit.remove
                    .iter()
                    .for_each(|pair| element(Delete, name, &edit.set, *pair));
                edit.add
                    .iter()
                    .for_each(|pair| element(Add, name, &edit.set, *pair));
            }
            for (action, sets) in [(Delete, remove_sets), (Add, add_sets)] {
                for (name, set) in sets {
                    push(action, format_args!("{} {name}", set.kind()));
                    let told = (!set.is_counter()).then_some(&set.elements);
                    for (key, value) in told.into_iter().flatten() {
                        push(
                            action,
                            format_args!("element {name} {{ {} }}", set.show(*key, *value)),
                        );
                    }
                }
            }
        }
    }
}
