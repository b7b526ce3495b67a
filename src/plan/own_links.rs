//! Links of ours: made before what uses them, changed in place or, where the kernel cannot do that, made anew; gone when
//! nothing uses them any more. The kernel lets us choose a new link's number, so the rest of a plan can point at it.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use crate::model::{
    Desired, DesiredMirror, DesiredOwnLink, Link, LinkId, LinkIndex, LinkName, LinkSysctl, Observed, OwnLink,
    OwnMtu, OwnName, RouteKind, Sysctl,
};

use super::{LinkRef, Operation};
use crate::owned::FIRST_OWN_LINK;

/// What becomes of links of ours.
pub(super) struct OwnLinks<'o> {
    /// The kernel as it is once they were made: what the rest of the plan is made for.
    pub(super) after: Cow<'o, Observed>,
    /// What goes to be made anew, and then what comes and changes.
    pub(super) come: Vec<Operation>,
    /// What goes for good.
    pub(super) go: Vec<Operation>,
}

pub(super) fn plan<'o>(
    desired: &Desired,
    mirrors: &[&DesiredMirror],
    observed: &'o Observed,
) -> OwnLinks<'o> {
    let of_mirrors = mirrors.iter().flat_map(|mirror| &mirror.own_links);
    let all: BTreeMap<OwnName, &DesiredOwnLink> = (desired.own_links.iter().chain(of_mirrors))
        .map(|(name, link)| (*name, link))
        .collect();
    let mut own = OwnLinks {
        after: Cow::Borrowed(observed),
        come: Vec::new(),
        go: Vec::new(),
    };
    if all.is_empty() && observed.own_links.is_empty() {
        return own;
    }
    let (mut clear, mut add) = (Vec::new(), Vec::new());
    let mut taken: BTreeSet<LinkIndex> = observed.links.iter().map(|link| link.index).collect();
    for (name, wanted) in &all {
        let Some(link) = resolve(wanted, observed) else {
            // Its parent is missing: a link of ours that was on it is gone with it. What it is only over is not: it goes.
            continue;
        };
        let there = seen(observed, *name);
        if let Some((seen, has)) = there
            && has.kind == link.kind
        {
            change(seen, has, &link, &mut own);
            continue;
        }
        if let Some((seen, has)) = there {
            clear.push(Operation::DeleteOwnLink {
                link: seen.into(),
                below: below(has, observed),
                own: has.clone().into(),
            });
            forget(own.after.to_mut(), seen.index);
        }
        let index = free(&taken);
        taken.insert(index);
        let come = LinkRef {
            index,
            name: name.link_name(),
        };
        imagine(own.after.to_mut(), desired, *name, index, &link);
        add.push(Operation::AddOwnLink {
            link: come,
            below: below(&link, observed),
            own: link.into(),
        });
    }
    clear.append(&mut add);
    clear.append(&mut own.come);
    own.come = clear;
    for (index, has) in &observed.own_links {
        let Some(link) = observed.link(*index) else {
            continue;
        };
        let wanted = OwnName::new(&link.name.0).and_then(|name| all.get(&name));
        let is_wanted =
            wanted.is_some_and(|wanted| wanted.over.is_none() || resolve(wanted, observed).is_some());
        // What we would not make, somebody else made.
        if !is_wanted && has.kind.is_ours() {
            own.go.push(Operation::DeleteOwnLink {
                link: link.into(),
                below: below(has, observed),
                own: has.clone().into(),
            });
        }
    }
    own
}

/// The link as this kernel is to have it; `None`: the one below it is missing.
fn resolve(wanted: &DesiredOwnLink, observed: &Observed) -> Option<OwnLink<LinkIndex>> {
    let find = |id: &LinkId| observed.find(*id).ok();
    if let Some(over) = &wanted.over {
        find(over)?;
    }
    let kind = wanted.kind.on(|parent| find(parent).map(|link| link.index))?;
    let mtu = match &wanted.mtu {
        OwnMtu::Any => None,
        OwnMtu::Fixed(mtu) => Some(*mtu),
        OwnMtu::Of { links, less } => {
            let mtus = links.iter().filter_map(|id| Some(find(id)?.mtu));
            mtus.max().map(|mtu| mtu.saturating_sub(*less))
        }
    };
    Some(OwnLink {
        kind,
        mtu,
        mac: wanted.mac,
    })
}

fn below(own: &OwnLink<LinkIndex>, observed: &Observed) -> Option<LinkName> {
    let parent = observed.link(*own.kind.parent()?)?;
    Some(parent.name.clone())
}

fn seen(observed: &Observed, name: OwnName) -> Option<(&Link, &OwnLink<LinkIndex>)> {
    let link = observed
        .links
        .iter()
        .find(|link| *link.name.0 == *name.as_str())?;
    Some((link, observed.own_links.get(&link.index)?))
}

fn free(taken: &BTreeSet<LinkIndex>) -> LinkIndex {
    let mut index = LinkIndex(FIRST_OWN_LINK);
    while taken.contains(&index) {
        index.0 += 1;
    }
    index
}

/// What differs of a link that is of the right kind, and can be changed while it is in use.
fn change(seen: &Link, has: &OwnLink<LinkIndex>, wanted: &OwnLink<LinkIndex>, own: &mut OwnLinks<'_>) {
    let to = OwnLink {
        kind: has.kind.clone(),
        mtu: wanted.mtu.or(has.mtu),
        mac: wanted.mac.or(has.mac),
    };
    if to != *has {
        let after = own.after.to_mut();
        if let (Some(link), Some(mtu)) = (after.links.iter_mut().find(|one| one.index == seen.index), to.mtu)
        {
            link.mtu = mtu;
        }
        if to.mac != has.mac
            && let Some(neighbours) = after.neighbours.get_mut(&seen.index)
        {
            neighbours.retain(|one| !one.is_flushed());
        }
        after.own_links.insert(seen.index, to.clone());
        own.come.push(Operation::ChangeOwnLink {
            link: seen.into(),
            from: has.clone().into(),
            to: to.into(),
        });
    }
    if !seen.up {
        own.come.push(Operation::SetLink {
            link: seen.into(),
            up: true,
        });
        let links = &mut own.after.to_mut().links;
        if let Some(link) = links.iter_mut().find(|one| one.index == seen.index) {
            link.up = true;
        }
    }
}

/// The kernel as it is without a link, and without what goes along with it.
fn forget(after: &mut Observed, index: LinkIndex) {
    after.links.retain(|link| link.index != index);
    after.own_links.remove(&index);
    after.addresses.remove(&index);
    after.classifiers.remove(&index);
    after.hooks.retain(|hook| hook.link != index);
    after.neighbours.remove(&index);
    after
        .routes
        .retain(|route| route.link != index || route.kind == RouteKind::Unreachable);
}

/// The kernel as it is with a link that is to be made: up, with nothing on it.
fn imagine(
    after: &mut Observed,
    desired: &Desired,
    name: OwnName,
    index: LinkIndex,
    own: &OwnLink<LinkIndex>,
) {
    after.links.push(Link {
        index,
        name: name.link_name(),
        id: Some(LinkId::Own(name)),
        up: true,
        stacked: own.kind.parent().is_some(),
        ipv6_in_use: false,
        udev_pending: false,
        mtu: own.mtu.unwrap_or(1_500),
    });
    after.own_links.insert(index, own.clone());
    for parameter in LinkSysctl::ALL {
        // What new links start with is set before this one comes, where it is to be set.
        let of_new_links = parameter.of_new_links();
        let now = after.sysctls.get(&of_new_links);
        let value = now.map(|now| desired.sysctls.get(&of_new_links).unwrap_or(now).clone());
        let key = Sysctl::Link(LinkId::Own(name), parameter);
        match value {
            Some(value) => drop(after.sysctls.insert(key, value)),
            None => drop(after.sysctls.remove(&key)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::super::diff;
    use super::*;
    use crate::kernel::{Fake, Kernel};
    use crate::model::{MacAddr, OwnKind};
    use crate::owned::Owned;
    use crate::reconcile::reconcile;

    fn nic() -> MacAddr {
        "52:54:84:11:00:03".parse().unwrap()
    }

    fn kernel() -> Fake {
        let nic = Link {
            index: LinkIndex(2),
            name: LinkName("eth0".into()),
            id: Some(LinkId::Mac(nic())),
            up: true,
            stacked: false,
            ipv6_in_use: false,
            udev_pending: false,
            mtu: 9_000,
        };
        Fake::new(Observed {
            links: vec![nic],
            ..Observed::default()
        })
    }

    fn vlan(id: u16) -> OwnKind<LinkId> {
        let parent = LinkId::Mac(nic());
        OwnKind::Vlan { parent, id }
    }

    fn gre(key: u32) -> OwnKind<LinkId> {
        OwnKind::Gretap {
            local: None,
            remote: Ipv4Addr::new(172, 19, 0, 21),
            key: Some(key),
        }
    }

    fn desired(links: &[(&str, OwnKind<LinkId>, OwnMtu)]) -> Desired {
        let own = |(name, kind, mtu): &(&str, OwnKind<LinkId>, OwnMtu)| {
            let (kind, mtu, mac) = (kind.clone(), mtu.clone(), None);
            (
                OwnName::new(name).unwrap(),
                DesiredOwnLink {
                    kind,
                    mtu,
                    mac,
                    over: None,
                },
            )
        };
        Desired {
            own_links: links.iter().map(own).collect(),
            ..Desired::default()
        }
    }

    fn lines(desired: &Desired, kernel: &Fake) -> Vec<String> {
        let plan = diff(desired, &kernel.state, &Owned::default());
        let lines = plan.operations.iter().flat_map(Operation::lines);
        lines.map(|line| line.to_string()).collect()
    }

    fn make(desired: &Desired, kernel: &mut Fake) {
        reconcile(kernel, desired, Owned::default(), |_| Ok(())).unwrap();
        assert_eq!(
            lines(desired, kernel),
            Vec::<String>::new(),
            "a second run has something to do"
        );
    }

    #[test]
    fn links_come_change_in_place_are_made_anew_and_go() {
        let mut kernel = kernel();
        let mtu = || OwnMtu::Of {
            links: [LinkId::Mac(nic())].into(),
            less: 50,
        };
        let first = desired(&[("kvr-a", gre(1), mtu()), ("kvr-b", vlan(5), OwnMtu::Any)]);
        assert_eq!(
            lines(&first, &kernel),
            [
                "+ link     kvr-a gretap remote 172.19.0.21 key 1 mtu 8950",
                "+ link     kvr-b vlan id 5 on eth0"
            ]
        );
        make(&first, &mut kernel);

        kernel.state.links[0].mtu = 1_500;
        let second = desired(&[("kvr-a", gre(1), mtu()), ("kvr-b", vlan(6), OwnMtu::Any)]);
        assert_eq!(
            lines(&second, &kernel),
            [
                "- link     kvr-b vlan id 5 on eth0",
                "+ link     kvr-b vlan id 6 on eth0",
                "~ link     kvr-a mtu 1450 (was: mtu 8950)",
            ]
        );
        let old = kernel
            .state
            .find(LinkId::Own(OwnName::new("kvr-b").unwrap()))
            .unwrap()
            .index;
        make(&second, &mut kernel);
        let new = kernel
            .state
            .find(LinkId::Own(OwnName::new("kvr-b").unwrap()))
            .unwrap()
            .index;
        assert_ne!(old, new, "whatever still points at the old one is seen to");

        assert_eq!(lines(&Desired::default(), &kernel).len(), 2);
        make(&Desired::default(), &mut kernel);
        assert_eq!(kernel.state.links.len(), 1);
    }

    #[test]
    fn a_link_whose_parent_is_missing_is_not_made_and_comes_with_it() {
        let mut kernel = kernel();
        let nic = kernel.state.links.remove(0);
        let wanted = desired(&[("kvr-b", vlan(5), OwnMtu::Any)]);
        make(&wanted, &mut kernel);
        assert!(kernel.state.links.is_empty());
        kernel.state.links.push(nic);
        make(&wanted, &mut kernel);
        assert_eq!(kernel.state.links.len(), 2);
    }

    #[test]
    fn a_link_of_another_kind_is_replaced_only_where_its_name_is_needed() {
        let mut kernel = kernel();
        for (index, name) in [(7, "kvr-a"), (8, "kvr-z")] {
            imagine(
                &mut kernel.state,
                &Desired::default(),
                OwnName::new(name).unwrap(),
                LinkIndex(index),
                &OwnLink {
                    kind: OwnKind::Other("dummy".to_owned()),
                    mtu: None,
                    mac: None,
                },
            );
        }
        let wanted = desired(&[("kvr-a", gre(1), OwnMtu::Any)]);
        make(&wanted, &mut kernel);
        make(&Desired::default(), &mut kernel);
        let left = kernel.observe().unwrap().links;
        assert_eq!(
            left.iter().map(|link| &*link.name.0).collect::<Vec<_>>(),
            ["eth0", "kvr-z"]
        );
    }
}
