//! Takes operations back: the inverse of each, last first, and then looks until everything is as it was.
//!
//! What failed is not known to have done nothing: an answer can be lost. So what counts is not what the inverses
//! answer but what is seen afterwards, and what is reported as left over is left over.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use crate::kernel::{Error, Incomplete, Kernel};
use crate::model::nft::{Table, TableChange};
use crate::model::{Hook, LinkId, LinkIndex, LinkName, LinkSysctl, Neighbour, Observed, RouteKind, Sysctl};
use crate::plan::{LinkRef, Operation};

/// How often it is looked, and what is not as it was put right: an error may pass (a full queue, a hash table that is
/// just growing), and the time between doubles.
const LOOKS: u32 = 5;
const PATIENCE: Duration = Duration::from_millis(2);

/// Takes back what was `done`, and what is `unsure`: failed, perhaps after it had been carried out. What could not be
/// brought back to how it was `before` is returned: what would have to be done, and why it was not.
#[must_use]
pub(crate) fn undo(
    kernel: &mut dyn Kernel,
    done: &[Operation],
    unsure: &[Operation],
    before: &Observed,
) -> Vec<String> {
    let inverse: Vec<Operation> = done.iter().rev().map(Operation::inverse).collect();
    let mut failed = carry_out(kernel, &inverse);
    let begun: Vec<&Operation> = done.iter().chain(unsure).collect();
    let mut left_over = Vec::new();
    for look in 0..LOOKS {
        if look > 1 {
            std::thread::sleep(PATIENCE * (1 << look));
        }
        match kernel.observe() {
            Ok(now) => {
                let rest = repairs(&begun, &now, before);
                if rest.is_empty() {
                    return Vec::new();
                }
                if look + 1 < LOOKS {
                    failed = carry_out(kernel, &rest);
                }
                left_over = rest.iter().map(|one| with_reason(one, &failed)).collect();
            }
            Err(error) => {
                left_over = failed.iter().map(|(one, why)| format!("{one}: {why}")).collect();
                left_over.push(format!("what else is left over cannot be seen: {error}"));
            }
        }
    }
    left_over
}

fn with_reason(operation: &Operation, failed: &[(Operation, Error)]) -> String {
    match failed.iter().find(|(other, _)| other == operation) {
        Some((_, why)) => format!("{operation}: {why}"),
        None => operation.to_string(),
    }
}

/// Carries out as much as can be, and names what failed.
fn carry_out(kernel: &mut dyn Kernel, operations: &[Operation]) -> Vec<(Operation, Error)> {
    let mut rest = operations;
    let mut failed = Vec::new();
    while !rest.is_empty() {
        match kernel.apply(rest) {
            Ok(()) => break,
            Err(Incomplete { begun, failures }) => {
                let named = failures
                    .into_iter()
                    .map(|one| (rest[one.index].clone(), one.error));
                failed.extend(named);
                rest = &rest[begun..];
            }
        }
    }
    failed
}

/// What makes the things that were touched what they were before.
fn repairs(begun: &[&Operation], now: &Observed, before: &Observed) -> Vec<Operation> {
    let mut repairs = Vec::new();
    for operation in begun.iter().rev() {
        let inverse = back_to(operation, now, before);
        let is_of_its_own = matches!(operation, Operation::Table(_) | Operation::SetSysctl { .. });
        if !is_of_its_own && !is_back(operation, now, before) && !repairs.contains(&inverse) {
            repairs.push(inverse);
        }
    }
    repairs.extend(addresses_that_went_along(begun, now, before));
    repairs.extend(neighbours_that_went_along(begun, now, before));
    repairs.extend(routes_that_went_along(begun, now, before));
    repairs.extend(hooks_that_went_along(begun, now, before));
    repairs.extend(sysctls(begun, now, before));
    if begun.iter().any(|one| matches!(one, Operation::Table(_))) {
        let before = without_gone(before, now);
        let change = TableChange::between(now.table.as_deref(), before.as_deref());
        repairs.extend(change.map(|change| Operation::Table(change.into())));
    }
    repairs
}

/// What takes an operation back: its inverse. Of what may have come and gone more than once since then, by what there is now.
fn back_to(operation: &Operation, now: &Observed, before: &Observed) -> Operation {
    let (link, hook, to_names) = match operation {
        // A target of a mirror that was left out went up and down again.
        Operation::SetLink { link, up } => {
            let up = before.link(link.index).map_or(!up, |then| then.up);
            let link = link.clone();
            return Operation::SetLink { link, up };
        }
        Operation::AddClassifier { link } | Operation::DeleteClassifier { link } => {
            let link = link.clone();
            return if before.classifiers.contains_key(&link.index) {
                Operation::AddClassifier { link }
            } else {
                Operation::DeleteClassifier { link }
            };
        }
        Operation::AddOwnLink { link, below, own } | Operation::DeleteOwnLink { link, below, own } => {
            let (link, below) = (link.clone(), below.clone());
            return match before.own_links.get(&link.index).cloned().map(Box::new) {
                Some(own) => Operation::AddOwnLink { link, below, own },
                None => Operation::DeleteOwnLink {
                    link,
                    below,
                    own: own.clone(),
                },
            };
        }
        Operation::AddHook { link, hook, to_names } | Operation::DeleteHook { link, hook, to_names } => {
            (link, hook, to_names)
        }
        Operation::ReplaceHook {
            link, from, to_names, ..
        } => (link, from, to_names),
        _ => return operation.inverse(),
    };
    let at = |one: &Observed| {
        let mut hooks = one.hooks.iter();
        let found = hooks.find(|other| other.place() == hook.place());
        found.cloned().map(Box::new)
    };
    let (link, to_names) = (link.clone(), to_names.clone());
    match (at(now), at(before)) {
        (None, Some(hook)) => Operation::AddHook { link, hook, to_names },
        (Some(from), Some(to)) => Operation::ReplaceHook {
            link,
            from,
            to,
            to_names,
        },
        (now, None) => Operation::DeleteHook {
            link,
            hook: now.unwrap_or_else(|| hook.clone()),
            to_names,
        },
    }
}

/// The table as it was, but that a flowtable cannot have the devices again that are gone.
fn without_gone(before: &Observed, now: &Observed) -> Option<Arc<Table>> {
    let is_there = |name: &LinkName| now.links.iter().any(|link| link.name == *name);
    let mut table = before.table.clone()?;
    let mut devices = table.flowtables.values().flat_map(|flowtable| &flowtable.devices);
    if !devices.all(is_there) {
        for flowtable in Arc::make_mut(&mut table).flowtables.values_mut() {
            flowtable.devices.retain(is_there);
        }
    }
    Some(table)
}

/// Whether what an operation touched is as it was. What hangs on a link that is gone cannot be brought back.
fn is_back(operation: &Operation, now: &Observed, before: &Observed) -> bool {
    let is_gone = |link: &LinkRef| now.link(link.index).is_none();
    match operation {
        Operation::AddOwnLink { link, .. } => {
            now.own_links.get(&link.index) == before.own_links.get(&link.index)
        }
        // One that was on a link that is gone cannot be made again.
        Operation::DeleteOwnLink { link, own, .. } => {
            own.kind
                .parent()
                .is_some_and(|parent| now.link(*parent).is_none())
                || now.own_links.get(&link.index) == before.own_links.get(&link.index)
        }
        Operation::ChangeOwnLink { link, .. } => {
            is_gone(link) || now.own_links.get(&link.index) == before.own_links.get(&link.index)
        }
        Operation::AddClassifier { link } | Operation::DeleteClassifier { link } => {
            let has = |one: &Observed| one.classifiers.contains_key(&link.index);
            is_gone(link) || has(now) == has(before)
        }
        Operation::AddHook { link, hook, .. }
        | Operation::DeleteHook { link, hook, .. }
        | Operation::ReplaceHook { link, from: hook, .. } => {
            let at = |one: &Observed| {
                one.hooks
                    .iter()
                    .find(|other| other.place() == hook.place())
                    .cloned()
            };
            let then = at(before);
            // One whose target is gone cannot copy to it again.
            let is_dangling = |hook: &Hook<LinkIndex>| hook.to.iter().any(|to| now.link(*to).is_none());
            is_gone(link) || at(now) == then || then.is_some_and(|hook| is_dangling(&hook))
        }
        Operation::SetLink { link, .. } => {
            let up = |one: &Observed| one.link(link.index).map(|link| link.up);
            is_gone(link) || up(now) == up(before)
        }
        Operation::AddNeighbour { link, neighbour } | Operation::DeleteNeighbour { link, neighbour } => {
            is_gone(link) || has_neighbour(now, link, neighbour) == has_neighbour(before, link, neighbour)
        }
        Operation::ReplaceNeighbour { link, from, to } => {
            let has = |one: &Observed| (has_neighbour(one, link, from), has_neighbour(one, link, to));
            is_gone(link) || has(now) == has(before)
        }
        Operation::AddAddress { link, address } | Operation::DeleteAddress { link, address } => {
            let has = |one: &Observed| {
                one.addresses
                    .get(&link.index)
                    .is_some_and(|all| all.contains(address))
            };
            is_gone(link) || has(now) == has(before)
        }
        Operation::AddRoute { link, route } | Operation::DeleteRoute { link, route } => {
            is_gone(link) || now.routes.contains(route) == before.routes.contains(route)
        }
        Operation::ReplaceRoute {
            from_link, from, to, ..
        } => {
            let has = |one: &Observed| (one.routes.contains(from), one.routes.contains(to));
            is_gone(from_link) || has(now) == has(before)
        }
        Operation::SetSysctl { .. } | Operation::Table(_) => true,
    }
}

/// Whether a link of ours was deleted, and with it what was on it.
fn was_deleted(begun: &[&Operation], index: LinkIndex) -> bool {
    begun
        .iter()
        .any(|one| matches!(one, Operation::DeleteOwnLink { link, .. } if link.index == index))
}

/// A hook whose target, a link of ours, was deleted copies nowhere, also one that nobody changed.
fn hooks_that_went_along(begun: &[&Operation], now: &Observed, before: &Observed) -> Vec<Operation> {
    let was_made_anew = |link: &LinkIndex| was_deleted(begun, *link) && now.link(*link).is_some();
    let changed = before
        .hooks
        .iter()
        .filter(|hook| hook.to.iter().any(was_made_anew));
    let back = changed.filter_map(|to| {
        let from = now.hooks.iter().find(|hook| hook.place() == to.place())?;
        (from != to).then(|| Operation::ReplaceHook {
            link: now.link(to.link).map(LinkRef::from).unwrap_or(LinkRef {
                index: to.link,
                name: LinkName("".into()),
            }),
            from: from.clone().into(),
            to: to.clone().into(),
            to_names: Box::default(),
        })
    });
    back.collect()
}

/// Without `promote_secondaries`, which may be back to what it was already, the kernel drops the later addresses of a
/// subnet with the first one, also those that nobody deleted; and those of a link of ours that was deleted.
fn addresses_that_went_along(begun: &[&Operation], now: &Observed, before: &Observed) -> Vec<Operation> {
    let mut back = Vec::new();
    for (index, addresses) in &before.addresses {
        let touched = |one: &Operation| match one {
            Operation::AddAddress { link, address } | Operation::DeleteAddress { link, address } => {
                (link.index == *index).then_some(*address)
            }
            _ => None,
        };
        let named: Vec<_> = begun.iter().filter_map(|one| touched(one)).collect();
        let is_touched = !named.is_empty() || was_deleted(begun, *index);
        let (Some(link), true) = (now.link(*index), is_touched) else {
            continue;
        };
        let there = now.addresses.get(index);
        let lost = addresses.iter().copied().filter(|address| {
            !named.contains(address) && !there.is_some_and(|there| there.contains(address))
        });
        back.extend(lost.map(|address| Operation::AddAddress {
            link: link.into(),
            address,
        }));
    }
    back
}

fn has_neighbour(one: &Observed, link: &LinkRef, neighbour: &Neighbour) -> bool {
    let all = one.neighbours.get(&link.index);
    all.is_some_and(|all| all.contains(neighbour))
}

/// The kernel forgets the neighbours of a link that goes down, gets another hardware address or is deleted, also those that
/// nobody deleted.
fn neighbours_that_went_along(begun: &[&Operation], now: &Observed, before: &Observed) -> Vec<Operation> {
    let touched: BTreeSet<LinkIndex> = begun
        .iter()
        .filter_map(|one| match one {
            Operation::SetLink { link, .. }
            | Operation::ChangeOwnLink { link, .. }
            | Operation::DeleteOwnLink { link, .. } => Some(link.index),
            _ => None,
        })
        .collect();
    let mut back = Vec::new();
    for index in touched {
        let (Some(link), Some(all)) = (now.link(index), before.neighbours.get(&index)) else {
            continue;
        };
        let link = LinkRef::from(link);
        let lost = all
            .iter()
            .filter(|neighbour| !has_neighbour(now, &link, neighbour));
        back.extend(lost.map(|neighbour| Operation::AddNeighbour {
            link: link.clone(),
            neighbour: *neighbour,
        }));
    }
    back
}

/// The kernel drops the routes out of a link that goes down or is deleted, also those that nobody deleted.
fn routes_that_went_along(begun: &[&Operation], now: &Observed, before: &Observed) -> Vec<Operation> {
    let was_down = |index: LinkIndex| {
        begun
            .iter()
            .any(|one| matches!(one, Operation::SetLink { link, up: false } if link.index == index))
            || was_deleted(begun, index)
    };
    let named = |route| {
        begun.iter().any(|one| match one {
            Operation::AddRoute { route: other, .. } | Operation::DeleteRoute { route: other, .. } => {
                other == route
            }
            Operation::ReplaceRoute { from, .. } => from == route,
            _ => false,
        })
    };
    let lost = before.routes.iter().filter(|route| {
        route.kind != RouteKind::Unreachable
            && was_down(route.link)
            && !now.routes.contains(route)
            && !named(*route)
    });
    // Each comes before those of its kind that are there already: the first of before last.
    let back = lost.rev().filter_map(|route| {
        let link = now.link(route.link)?.into();
        Some(Operation::AddRoute {
            link,
            route: route.clone(),
        })
    });
    back.collect()
}

/// Also those that the kernel wrote along with another, and those of a link of ours that was made anew.
fn sysctls(begun: &[&Operation], now: &Observed, before: &Observed) -> Vec<Operation> {
    let touched = |wanted| {
        begun
            .iter()
            .any(|one| matches!(one, Operation::SetSysctl { key, .. } if *key == wanted))
    };
    let mut repairs = Vec::new();
    for (key, to) in &before.sysctls {
        let along = matches!(
            key,
            Sysctl::Link(_, LinkSysctl::DisableIpv6) | Sysctl::DisableIpv6Default
        ) && touched(Sysctl::DisableIpv6All);
        let is_of_deleted = |one: &&Operation| match (key, one) {
            (Sysctl::Link(LinkId::Own(name), _), Operation::DeleteOwnLink { link, .. }) => {
                *link.name.0 == *name.as_str()
            }
            _ => false,
        };
        let along = along || begun.iter().any(is_of_deleted);
        let (Some(from), true) = (
            now.sysctls.get(key).filter(|from| *from != to),
            along || touched(*key),
        ) else {
            continue;
        };
        if let Some(path) = now.sysctl_path(*key) {
            repairs.push(Operation::SetSysctl {
                key: *key,
                path,
                from: from.clone(),
                to: to.clone(),
            });
        }
    }
    repairs
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Link, LinkIndex};

    #[test]
    fn a_link_that_went_up_and_down_again_is_brought_back_once() {
        let kernel = |up| Observed {
            links: vec![Link {
                index: LinkIndex(2),
                name: LinkName("span1".into()),
                id: None,
                up,
                stacked: false,
                ipv6_in_use: false,
                udev_pending: false,
                mtu: 1_500,
            }],
            ..Observed::default()
        };
        let (now, before) = (kernel(true), kernel(false));
        let set = |up| Operation::SetLink {
            link: (&now.links[0]).into(),
            up,
        };
        assert_eq!(repairs(&[&set(true), &set(false)], &now, &before), [set(false)]);
    }
}
