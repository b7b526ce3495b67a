//! Which operations make what is into what should be.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::nft::TableChange;
use crate::model::{
    ConntrackMax, Desired, DesiredLink, Link, LinkId, LinkIndex, LinkName, LinkSysctl, MacAddr, Missing,
    Observed, Route, RouteKind, Sysctl,
};
use crate::owned::{Owned, ROUTE_PROTOCOL};

use super::{
    Announcement, LinkRef, Operation, Pending, Plan, fast_path, gateways, hooks, neighbours, own_links,
};

/// What makes the kernel match `desired`, given what it has and what of that is ours.
#[must_use]
pub fn diff(desired: &Desired, observed: &Observed, owned: &Owned) -> Plan {
    let mut plan = Plan::default();
    let mirrors = hooks::complete(desired, observed, &mut plan.pending);
    let own_links = own_links::plan(desired, &mirrors, observed);
    let observed = &*own_links.after;
    let links = resolve(desired, observed, &mut plan.pending);
    let released = released_links(desired, observed, owned);
    let ours: BTreeSet<LinkIndex> = links
        .values()
        .map(|(link, _)| link.index)
        .chain(released.iter().map(|(link, _)| link.index))
        .collect();

    let wanted_table = fast_path::table(desired, observed, owned, &mut plan.notes);
    let table = TableChange::between(observed.table.as_deref(), wanted_table.as_deref())
        .map(|change| Operation::Table(change.into()));
    let (late_table, early_table): (Vec<_>, Vec<_>) =
        table.into_iter().partition(|_| desired.table.is_none());
    let (set_sysctls, forwarding, restore_sysctls) = sysctls(desired, observed, owned, &mut plan.notes);
    let (add_addresses, delete_addresses) = addresses(&links, &released, observed);
    let (add_routes, delete_routes) = routes(desired, observed, &links, &ours);
    let (new_neighbours, old_neighbours) =
        neighbours::diff(desired, observed, |id| links.get(&id).map(|(link, _)| *link));
    let addressing = gateways::order(add_addresses, add_routes, delete_routes, delete_addresses);

    let hooks = hooks::plan(&mirrors, observed, owned);
    for mirror in &mirrors {
        let is_of_it = |one: &Operation| match one {
            Operation::AddHook { hook, .. } | Operation::ReplaceHook { to: hook, .. } => {
                mirror.hooks.iter().any(|wanted| wanted.mirror == hook.mirror)
            }
            _ => false,
        };
        if hooks.come.iter().any(is_of_it) {
            let misfits = mirror.fits.iter().filter_map(|fit| fit.misfit(observed));
            plan.notes
                .extend(misfits.map(|misfit| format!("{}: {misfit}", mirror.path)));
        }
    }
    let raised: BTreeSet<MacAddr> = desired.raised().collect();
    let raised_links = raised
        .iter()
        .filter_map(|mac| observed.find(LinkId::Mac(*mac)).ok());
    let links_up = links
        .values()
        .map(|(link, _)| *link)
        .chain(raised_links)
        .filter(|link| !link.up)
        .map(|link| Operation::SetLink {
            link: link.into(),
            up: true,
        });
    let lowered = (owned.raised.iter()).filter(|(mac, _)| {
        !raised.contains(mac)
            && !desired.links.contains_key(&LinkId::Mac(**mac))
            && !owned.links.contains_key(mac)
    });
    let lowered =
        lowered.filter_map(|(mac, before)| Some((observed.find(LinkId::Mac(*mac)).ok()?, before.up)));
    let released_links = released
        .iter()
        .copied()
        .filter(|(link, _)| !matches!(link.id, Some(LinkId::Mac(mac)) if raised.contains(&mac)));
    let set_down = |(link, was_up): (&Link, bool)| {
        (link.up && !was_up).then(|| Operation::SetLink {
            link: link.into(),
            up: false,
        })
    };
    let lowered: Vec<_> = lowered.filter_map(set_down).collect();
    let links_down = released_links.filter_map(set_down);

    // A VLAN cannot be up on a link that is down (`vlan_dev_open`, net/8021q/vlan_dev.c).
    let below: BTreeSet<LinkIndex> = (observed.own_links.values())
        .filter_map(|own| own.kind.parent().copied())
        .collect();
    let is_below =
        |one: &Operation| matches!(one, Operation::SetLink { link, .. } if below.contains(&link.index));
    let (links_below_up, links_up): (Vec<_>, Vec<_>) = links_up.partition(is_below);

    // The routes are by far the most: what comes before them is put there.
    plan.operations = addressing.come;
    // A link that comes starts with IPv6 as all new links do; and the table may name it. What mirrors send by has to be
    // silent before it is up, and down before it is not any more.
    let has_new_links = !own_links.come.is_empty() || !raised.is_empty();
    let (silence, set_sysctls): (Vec<_>, Vec<_>) = set_sysctls.into_iter().partition(|one| match one {
        Operation::SetSysctl { key, .. } => {
            (has_new_links && is_of_new_links(*key))
                || matches!(key, Sysctl::Link(LinkId::Mac(mac), _) if raised.contains(mac))
        }
        _ => false,
    });
    let early = silence
        .into_iter()
        .chain(links_below_up)
        .chain(own_links.come)
        .chain(early_table)
        .chain(links_up)
        .chain(new_neighbours)
        .chain(set_sysctls);
    plan.operations.splice(0..0, early);
    plan.operations.extend(forwarding);
    plan.operations.extend(hooks.come);
    plan.operations.extend(hooks.go);
    plan.operations.extend(lowered);
    plan.operations.extend(restore_sysctls);
    plan.operations.extend(old_neighbours);
    plan.operations.extend(addressing.go);
    plan.operations.extend(links_down);
    plan.operations.extend(own_links.go);
    plan.operations.extend(late_table);

    plan.announcements = announcements(desired, &links, &plan.operations);
    plan
}

type Links<'a> = BTreeMap<LinkId, (&'a Link, &'a DesiredLink)>;

fn resolve<'a>(desired: &'a Desired, observed: &'a Observed, pending: &mut Vec<Pending>) -> Links<'a> {
    let mut links = Links::new();
    for (id, wanted) in &desired.links {
        let (reason, candidates) = match observed.find(*id) {
            Ok(link) => {
                links.insert(*id, (link, wanted));
                continue;
            }
            Err(missing) => {
                let (reason, candidates) = missing.reason();
                let waits = (missing == Missing::Absent)
                    .then(|| waits_for(*id, desired))
                    .flatten();
                (waits.unwrap_or(reason), candidates)
            }
        };
        let addresses = wanted
            .addresses
            .iter()
            .flatten()
            .map(ToString::to_string)
            .collect();
        pending.push(Pending {
            link: *id,
            path: wanted.path.clone(),
            addresses,
            reason,
            candidates,
        });
    }
    pending.sort_by(|one, other| path_order(&one.path).cmp(&path_order(&other.path)));
    links
}

/// What a link of ours that is not there waits for.
fn waits_for(id: LinkId, desired: &Desired) -> Option<String> {
    let LinkId::Own(name) = id else { return None };
    let over = desired.own_links.get(&name)?.over?;
    Some(format!("the NIC that it is over, {over}, is not there"))
}

/// `if_list[10]` comes after `if_list[9]`.
fn path_order(path: &str) -> (usize, &str) {
    (path.len(), path)
}

/// NICs that the file named once and does not any more, and whether each was up before.
fn released_links<'a>(desired: &Desired, observed: &'a Observed, owned: &Owned) -> Vec<(&'a Link, bool)> {
    owned
        .links
        .iter()
        .filter(|(mac, _)| !desired.links.contains_key(&LinkId::Mac(**mac)))
        .filter_map(|(mac, before)| Some((observed.find(LinkId::Mac(*mac)).ok()?, before.up)))
        .collect()
}

fn addresses(
    links: &Links<'_>,
    released: &[(&Link, bool)],
    observed: &Observed,
) -> (Vec<Operation>, Vec<Operation>) {
    let nothing = BTreeSet::new();
    let wanted = links
        .values()
        .filter_map(|(link, wanted)| Some((*link, wanted.addresses.as_ref()?)))
        .chain(released.iter().map(|(link, _)| (*link, &nothing)));
    let (mut add, mut delete) = (Vec::new(), Vec::new());
    for (link, wanted) in wanted {
        let has = observed.addresses.get(&link.index).unwrap_or(&nothing);
        add.extend(wanted.difference(has).map(|address| Operation::AddAddress {
            link: link.into(),
            address: *address,
        }));
        delete.extend(has.difference(wanted).map(|address| Operation::DeleteAddress {
            link: link.into(),
            address: *address,
        }));
    }
    (add, delete)
}

fn routes(
    desired: &Desired,
    observed: &Observed,
    links: &Links<'_>,
    ours: &BTreeSet<LinkIndex>,
) -> (Vec<Operation>, Vec<Operation>) {
    let is_ours = |route: &Route<LinkIndex>| {
        route.protocol == ROUTE_PROTOCOL || (route.is_default() && ours.contains(&route.link))
    };
    let wanted = Sorted::new(desired.routes.iter().filter_map(|route| {
        let (link, _) = links.get(&route.link)?;
        Some((route.on(link.index), *link))
    }));
    let mut is_wanted = wanted.search();
    let has = Sorted::new(observed.routes.iter().map(|route| (route, ())));
    let mut is_there = has.search();
    // A route that is to be replaced is not also to be deleted.
    let mut replaced = BTreeSet::new();
    let new = wanted.0.len().saturating_sub(has.0.len());
    let (mut add, mut delete) = (Vec::with_capacity(new), Vec::new());
    for (route, link) in &wanted.0 {
        // The kernel replaces the first route of the same destination, metric and table, whoever made it:
        // only where that one is ours is a replacement right, else ours goes before it and wins. To other networks than
        // everywhere the routes of others are not looked at: there ours comes first, and then the old one goes.
        let first = if route.is_default() {
            observed.routes.iter().find(|other| {
                (other.destination, other.table, other.metric)
                    == (route.destination, route.table, route.metric)
            })
        } else {
            None
        };
        if is_there(&route) {
            if first.is_some_and(|first| first != route && !is_ours(first)) {
                // Another program put its own before ours, and that one is in use: ours goes to the front again.
                let (link, route) = (LinkRef::from(*link), route.clone());
                add.push(Operation::DeleteRoute {
                    link: link.clone(),
                    route: route.clone(),
                });
                add.push(Operation::AddRoute { link, route });
            }
            continue;
        }
        match first {
            Some(from) if is_ours(from) && !is_wanted(from) && !replaced.contains(from) => {
                replaced.insert(from);
                add.push(Operation::ReplaceRoute {
                    link: (*link).into(),
                    from_link: link_ref(observed, from.link),
                    from: from.clone(),
                    to: route.clone(),
                });
            }
            _ => add.push(Operation::AddRoute {
                link: (*link).into(),
                route: route.clone(),
            }),
        }
    }
    for route in &observed.routes {
        if is_ours(route) && !is_wanted(route) && !replaced.contains(route) {
            delete.push(Operation::DeleteRoute {
                link: link_ref(observed, route.link),
                route: route.clone(),
            });
        }
    }
    (add, delete)
}

/// Keys in order, each once, with their values. Tens of thousands of routes come in nearly their order, and are asked for in it.
struct Sorted<K, V>(Vec<(K, V)>);

impl<K: Ord, V> Sorted<K, V> {
    fn new(pairs: impl Iterator<Item = (K, V)>) -> Self {
        let mut pairs: Vec<_> = pairs.collect();
        pairs.sort_by(|one, other| one.0.cmp(&other.0));
        pairs.dedup_by(|one, other| one.0 == other.0);
        Self(pairs)
    }

    /// Whether a key is among them: tried first is the one after that which was found before.
    fn search(&self) -> impl FnMut(&K) -> bool {
        let mut next = 0;
        move |key| {
            let is_next = self.0.get(next).is_some_and(|(other, _)| other == key);
            let place = if is_next {
                Ok(next)
            } else {
                self.0.binary_search_by(|(other, _)| other.cmp(key))
            };
            next = place.map_or_else(|place| place, |place| place + 1);
            place.is_ok()
        }
    }
}

pub(super) fn link_ref(observed: &Observed, index: LinkIndex) -> LinkRef {
    observed.link(index).map_or_else(
        || LinkRef {
            index,
            name: LinkName(format!("if{}", index.0).into()),
        },
        LinkRef::from,
    )
}

/// What is set before addresses come, `ip_forward` on its own, and what goes back to what it was.
fn sysctls(
    desired: &Desired,
    observed: &Observed,
    owned: &Owned,
    notes: &mut Vec<String>,
) -> (Vec<Operation>, Vec<Operation>, Vec<Operation>) {
    let mut values = observed.sysctls.clone();
    let all_wanted = desired.sysctls_on(observed);
    notes.extend(conntrack_note(desired, observed));
    let (mut set, mut forwarding, mut restore) = (Vec::new(), Vec::new(), Vec::new());
    let restored = owned
        .sysctls
        .iter()
        .filter(|(key, _)| !all_wanted.contains_key(key));
    let wanted = all_wanted.iter().map(|(key, to)| (key, to, true));
    for (key, to, is_wanted) in wanted.chain(restored.map(|(key, to)| (key, to, false))) {
        // Not there: the NIC is missing, or IPv6 is not built in; then there is nothing to set.
        let Some(from) = values.get(key).filter(|from| *from != to) else {
            continue;
        };
        let Some(path) = observed.sysctl_path(*key) else {
            continue;
        };
        if !is_wanted && is_ipv6_of_link(*key) && desired.sysctls.contains_key(&Sysctl::DisableIpv6All) {
            // A link that is not in the file follows `all` as long as that is ours, and goes back with it.
            continue;
        }
        if *key == Sysctl::DisableIpv6All
            && to != "0"
            && let Some(name) = foreign_ipv6(desired, observed, owned)
        {
            notes.push(format!(
                "net.ipv6.conf.all.disable_ipv6 stays {from}: {name}, which is not in the file, uses IPv6 \
                     (the file's own NICs and new ones have it off)"
            ));
            continue;
        }
        let operation = Operation::SetSysctl {
            key: *key,
            path,
            from: from.clone(),
            to: to.clone(),
        };
        match (*key, is_wanted) {
            (_, false) => restore.push(operation),
            (Sysctl::IpForward, true) => forwarding.push(operation),
            (_, true) => set.push(operation),
        }
        if *key == Sysctl::DisableIpv6All {
            // The kernel writes every link's along with it (net/ipv6/addrconf.c, addrconf_disable_ipv6).
            for (key, value) in &mut values {
                if is_ipv6_of_link(*key) || *key == Sysctl::DisableIpv6Default {
                    value.clone_from(to);
                }
            }
        }
    }
    (set, forwarding, restore)
}

/// Why the kernel does not track as many flows at most as the file says.
fn conntrack_note(desired: &Desired, observed: &Observed) -> Option<String> {
    let (Some(ConntrackMax::Flows(flows)), None) = (desired.conntrack_max, observed.conntrack_memory) else {
        return None;
    };
    let now = observed.sysctls.get(&Sysctl::ConntrackMax)?;
    (*now != flows.to_string()).then(|| {
        format!(
            "net.netfilter.nf_conntrack_max stays {now}, not {flows} (conntrack_max): it is the whole machine's, and only \
             its first network namespace, with a /proc/sys that can be written, may set it"
        )
    })
}

/// Whether it decides what a link that comes starts with, and has all links along with it.
fn is_of_new_links(key: Sysctl) -> bool {
    matches!(key, Sysctl::DisableIpv6All | Sysctl::DisableIpv6Default)
}

fn is_ipv6_of_link(key: Sysctl) -> bool {
    matches!(key, Sysctl::Link(_, LinkSysctl::DisableIpv6))
}

/// A link beside ours that would lose addresses if IPv6 went off everywhere.
fn foreign_ipv6<'a>(desired: &Desired, observed: &'a Observed, owned: &Owned) -> Option<&'a LinkName> {
    observed
        .links
        .iter()
        .filter(|link| link.ipv6_in_use)
        .find(|link| match link.id {
            Some(LinkId::Mac(mac)) if !link.stacked => {
                !desired.links.contains_key(&LinkId::Mac(mac))
                    && !owned.links.contains_key(&mac)
                    && !owned.raised.contains_key(&mac)
                    && !desired.raised().any(|raised| raised == mac)
            }
            Some(LinkId::Loopback | LinkId::Own(_)) => false,
            _ => true,
        })
        .map(|link| &link.name)
}

/// Who must hear of what is new: elastic IPs that came, on the external link; an address that came, on its own
/// link; and everything that is outside, where the external link itself came.
fn announcements(desired: &Desired, links: &Links<'_>, operations: &[Operation]) -> Vec<Announcement> {
    let external = links
        .values()
        .find(|(_, wanted)| wanted.external)
        .map(|(link, _)| LinkRef::from(*link));
    let mut announced = Vec::new();
    let mut new_eips = Vec::new();
    let mut external_is_new = false;
    for operation in operations {
        match operation {
            Operation::AddAddress { link, address } => {
                external_is_new |= external.as_ref() == Some(link);
                announced.push(Announcement {
                    link: link.clone(),
                    address: address.addr(),
                });
            }
            Operation::SetLink { link, up: true } => external_is_new |= external.as_ref() == Some(link),
            Operation::AddRoute { route, .. } if route.kind == RouteKind::Local => {
                new_eips.push(route.destination.addr());
            }
            _ => {}
        }
    }
    if external_is_new {
        let eips = desired
            .routes
            .iter()
            .filter(|route| route.kind == RouteKind::Local);
        new_eips = eips.map(|route| route.destination.addr()).collect();
    }
    let eips = external.iter().flat_map(|link| {
        new_eips.iter().map(|address| Announcement {
            link: link.clone(),
            address: *address,
        })
    });
    announced.extend(eips);
    announced
}
