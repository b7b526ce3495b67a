//! Which tracked flows a change of our table leaves stale: those that go by a translation that is not in force any more.
//! Pure; nobody else's flow is ever one of them.

pub mod ports;

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::sync::Arc;

use crate::model::nft::{Former, Origin, Packet, Table, Translation};
use crate::model::{Flow, Observed, RouteKind};
use crate::owned::Unsettled;
use crate::plan::Operation;

/// All that a router translates by, at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ruling {
    /// Its table; `None`: it translates nothing.
    table: Option<Arc<Table>>,
    /// The addresses that it takes for its own.
    local: BTreeSet<Ipv4Addr>,
}

impl From<Observed> for Ruling {
    fn from(observed: Observed) -> Self {
        Self {
            local: local(&observed),
            table: observed.table,
        }
    }
}

/// A [`Ruling`] made ready to be asked about many flows.
#[derive(Debug)]
pub struct Judge<'t> {
    translation: Option<Translation<'t>>,
    local: BTreeSet<Ipv4Addr>,
}

impl<'t> Judge<'t> {
    /// What goes by this table and takes these addresses for its own.
    #[must_use]
    pub fn new(table: Option<&'t Table>, local: BTreeSet<Ipv4Addr>) -> Self {
        Self {
            translation: table.map(Translation::new),
            local,
        }
    }

    /// What goes by what a kernel has.
    #[must_use]
    pub fn of(observed: &'t Observed) -> Self {
        Self::new(observed.table.as_deref(), local(observed))
    }

    /// What becomes of the first packet of a flow.
    #[must_use]
    pub fn translate(&self, packet: Packet) -> Packet {
        let Some(translation) = &self.translation else {
            return packet;
        };
        // No loopback address comes from outside: the kernel drops it as a martian.
        let is_own = packet.source.is_loopback() || self.local.contains(&packet.source);
        let origin = if is_own { Origin::Own } else { Origin::Forwarded };
        translation.of(packet, origin, |to| {
            // Neither is routed further: a broadcast, and a multicast without a multicast router.
            to.is_loopback() || to.is_broadcast() || to.is_multicast() || self.local.contains(&to)
        })
    }
}

impl<'t> From<&'t Ruling> for Judge<'t> {
    fn from(ruling: &'t Ruling) -> Self {
        Self::new(ruling.table.as_deref(), ruling.local.clone())
    }
}

/// Whether a flow is not what `now` would make of it, and what was in force at some time before explains that: else it is
/// somebody else's translation, or a port that the kernel chose. What a flow went by is not known, only what it does:
/// so one whose translation changed and that does the new one already is left alone.
#[must_use]
pub fn is_stale(flow: &Flow, before: &[Judge<'_>], now: &Judge<'_>) -> bool {
    let wanted = now.translate(flow.original);
    flow.translated != wanted
        && before
            .iter()
            .any(|judge| judge.translate(flow.original) != wanted)
}

/// What is to be kept of operations until the flows were looked at; `None`: they change no translation.
#[must_use]
pub fn unsettled(operations: &[Operation]) -> Option<Unsettled> {
    let table = operations.iter().find_map(|operation| match operation {
        Operation::Table(change) if change.can_translate_anew() => Some(Former::of(change)),
        _ => None,
    })?;
    let (mut come, mut gone) = (BTreeSet::new(), BTreeSet::new());
    for operation in operations {
        match operation {
            Operation::AddAddress { address, .. } => drop(come.insert(address.addr())),
            Operation::DeleteAddress { address, .. } => drop(gone.insert(address.addr())),
            Operation::AddRoute { route, .. } if route.kind == RouteKind::Local => {
                come.insert(route.destination.addr());
            }
            Operation::DeleteRoute { route, .. } if route.kind == RouteKind::Local => {
                gone.insert(route.destination.addr());
            }
            _ => {}
        }
    }
    Some(Unsettled { table, come, gone })
}

/// What was in force before each of these changes, the last of which made (or, in a run that was killed, did not make) what
/// is there now.
#[must_use]
pub fn former(now: &Observed, changes: &[Unsettled]) -> Vec<Ruling> {
    let mut rulings: Vec<Ruling> = Vec::with_capacity(changes.len());
    let local_now = local(now);
    for change in changes.iter().rev() {
        let (table, local) = match rulings.last() {
            Some(after) => (after.table.as_deref(), &after.local),
            None => (now.table.as_deref(), &local_now),
        };
        rulings.push(Ruling {
            table: change.table.restore(table).map(Arc::new),
            local: moved(local, &change.come, &change.gone),
        });
    }
    rulings
}

/// The addresses that a router takes for its own after changes.
#[must_use]
pub fn local_after(before: &Observed, changes: &[Unsettled]) -> BTreeSet<Ipv4Addr> {
    changes.iter().fold(local(before), |local, change| {
        moved(&local, &change.gone, &change.come)
    })
}

fn moved(
    local: &BTreeSet<Ipv4Addr>,
    gone: &BTreeSet<Ipv4Addr>,
    come: &BTreeSet<Ipv4Addr>,
) -> BTreeSet<Ipv4Addr> {
    let stay = local.iter().filter(|address| !gone.contains(address));
    stay.chain(come).copied().collect()
}

/// The addresses that the kernel takes for its own: those of links with their subnets' broadcast addresses, and the
/// elastic IPs.
fn local(observed: &Observed) -> BTreeSet<Ipv4Addr> {
    let addresses = observed.addresses.values().flatten();
    let on_links = addresses.flat_map(|net| {
        let broadcast = (net.prefix_len() < 31).then(|| net.broadcast());
        [Some(net.addr()), broadcast].into_iter().flatten()
    });
    let routes = observed
        .routes
        .iter()
        .filter(|route| route.kind == RouteKind::Local);
    on_links
        .chain(routes.map(|route| route.destination.addr()))
        .collect()
}

#[cfg(test)]
mod tests;
