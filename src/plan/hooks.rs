//! What copies packets for mirrors: a mirror is there whole, or, where one of its links is missing, not at all.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::{Classifier, Desired, DesiredMirror, Hook, LinkId, LinkIndex, Observed};
use crate::owned::Owned;

use super::diff::link_ref;
use super::{Operation, Pending};

/// What becomes of hooks.
#[derive(Default)]
pub(super) struct Hooks {
    pub(super) come: Vec<Operation>,
    pub(super) go: Vec<Operation>,
}

/// The mirrors that can be made, of which every link is there or (one of ours) can be; of the others, what is missing, or why
/// the kernel refused them.
pub(super) fn complete<'d>(
    desired: &'d Desired,
    observed: &Observed,
    pending: &mut Vec<Pending>,
) -> Vec<&'d DesiredMirror> {
    let mut complete = Vec::new();
    for (name, mirror) in &desired.mirrors {
        let before = pending.len();
        let refused = desired.refused.get(name).zip(mirror.hooks.first());
        pending.extend(refused.map(|(why, hook)| Pending {
            link: hook.link,
            path: mirror.path.clone(),
            addresses: Vec::new(),
            reason: why.clone(),
            candidates: Vec::new(),
        }));
        for (path, id) in &mirror.needs {
            let (reason, candidates) = match observed.find(*id) {
                Ok(_) => continue,
                // An overlay that is not there yet comes with this very plan, or its hooks with the next.
                Err(_) if matches!(id, LinkId::Own(_)) => continue,
                Err(missing) => missing.reason(),
            };
            pending.push(Pending {
                link: *id,
                path: path.clone(),
                addresses: Vec::new(),
                reason,
                candidates,
            });
        }
        for hook in &mirror.hooks {
            let taken = observed
                .find(hook.link)
                .ok()
                .filter(|link| observed.classifiers.get(&link.index) == Some(&Classifier::Ingress));
            if let Some(link) = taken {
                pending.push(Pending {
                    link: hook.link,
                    path: mirror.path.clone(),
                    addresses: Vec::new(),
                    reason: format!(
                        "another program has an ingress qdisc on {0}, where mirrors need clsact (`tc qdisc del dev {0} ingress`)",
                        link.name
                    ),
                    candidates: Vec::new(),
                });
                break;
            }
        }
        if pending.len() == before {
            complete.push(mirror);
        }
    }
    complete
}

/// What makes the hooks of these mirrors, and no others, with the links that there are by then.
pub(super) fn plan(mirrors: &[&DesiredMirror], observed: &Observed, owned: &Owned) -> Hooks {
    let mut hooks = Hooks::default();
    let wanted: BTreeMap<_, Hook<LinkIndex>> = mirrors
        .iter()
        .flat_map(|mirror| &mirror.hooks)
        .filter_map(|hook| hook.on(|id| Some(observed.find(id).ok()?.index)))
        .map(|hook| (hook.place(), hook))
        .collect();
    let has: BTreeMap<_, _> = observed.hooks.iter().map(|hook| (hook.place(), hook)).collect();
    let in_use: BTreeSet<LinkIndex> = wanted.values().map(|hook| hook.link).collect();
    for link in &in_use {
        if !observed.classifiers.contains_key(link) {
            let link = link_ref(observed, *link);
            hooks.come.push(Operation::AddClassifier { link });
        }
    }
    let places: BTreeSet<_> = wanted.keys().copied().collect();
    for (place, hook) in wanted {
        let link = link_ref(observed, hook.link);
        match has.get(&place) {
            Some(from) if **from == hook => {}
            Some(from) => hooks.come.push(Operation::ReplaceHook {
                to_names: names(&hook, observed).into(),
                link,
                from: (*from).clone().into(),
                to: hook.into(),
            }),
            None => hooks.come.push(Operation::AddHook {
                to_names: names(&hook, observed).into(),
                link,
                hook: hook.into(),
            }),
        }
    }
    for hook in &observed.hooks {
        if !places.contains(&hook.place()) {
            hooks.go.push(Operation::DeleteHook {
                to_names: names(hook, observed).into(),
                link: link_ref(observed, hook.link),
                hook: hook.clone().into(),
            });
        }
    }
    // One that others made and left empty goes as well: nobody can tell it from ours, and nothing is lost with it.
    // Where ours never came to have a filter, since the run was killed, it is known by the record.
    let recorded = (owned.classifiers.iter()).filter_map(|id| Some(observed.find(*id).ok()?.index));
    let emptied: BTreeSet<LinkIndex> = (observed.hooks.iter().map(|hook| hook.link))
        .chain(recorded)
        .filter(|link| !in_use.contains(link))
        .filter(|link| observed.classifiers.get(link) == Some(&Classifier::Clsact { is_shared: false }))
        .collect();
    hooks
        .go
        .extend(emptied.into_iter().map(|link| Operation::DeleteClassifier {
            link: link_ref(observed, link),
        }));
    hooks
}

/// What the links are called that a hook copies to.
fn names(hook: &Hook<LinkIndex>, observed: &Observed) -> String {
    let names = hook.to.iter().map(|to| link_ref(observed, *to).name.to_string());
    names.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::super::diff;
    use super::*;
    use crate::kernel::Fake;
    use crate::model::{Direction, Instruction, Link, LinkName};
    use crate::reconcile::reconcile;

    fn id(last: u8) -> LinkId {
        LinkId::Mac(format!("52:54:84:00:00:{last:02x}").parse().unwrap())
    }

    fn link(last: u8) -> Link {
        Link {
            index: LinkIndex(u32::from(last)),
            name: LinkName(format!("eth{last}").into()),
            id: Some(id(last)),
            up: last == 1,
            stacked: false,
            ipv6_in_use: false,
            udev_pending: false,
            mtu: 1_500,
        }
    }

    fn kernel() -> Fake {
        Fake::new(Observed {
            links: vec![link(1), link(2)],
            ..Observed::default()
        })
    }

    /// What `eth1` receives goes to `eth2`.
    fn desired(k: u32) -> Desired {
        let (code, jt, jf) = (6, 0, 0);
        let hook = Hook {
            link: id(1),
            direction: Direction::Ingress,
            handle: 7,
            mirror: "ids-1".to_owned(),
            program: vec![Instruction { code, jt, jf, k }],
            to: vec![id(2)],
        };
        let mirror = DesiredMirror {
            path: "mirror_list[0]".to_owned(),
            hooks: vec![hook],
            needs: [("a".to_owned(), id(1)), ("b".to_owned(), id(2))].into(),
            raises: vec![id(2)],
            ..DesiredMirror::default()
        };
        Desired {
            mirrors: [("ids-1".to_owned(), mirror)].into(),
            ..Desired::default()
        }
    }

    fn lines(desired: &Desired, kernel: &Fake, owned: &Owned) -> Vec<String> {
        let plan = diff(desired, &kernel.state, owned);
        let lines = plan.operations.iter().flat_map(Operation::lines);
        lines.map(|line| line.to_string()).collect()
    }

    fn make(desired: &Desired, kernel: &mut Fake, owned: Owned) -> Owned {
        let owned = reconcile(kernel, desired, owned, |_| Ok(())).unwrap().owned;
        assert_eq!(lines(desired, kernel, &owned), Vec::<String>::new());
        owned
    }

    #[test]
    fn a_mirror_comes_changes_in_place_and_goes_without_residue() {
        let mut kernel = kernel();
        let before = kernel.state.clone();
        assert_eq!(
            lines(&desired(1), &kernel, &Owned::default()),
            [
                "~ link     eth2 up",
                "+ qdisc    clsact dev eth1",
                "+ mirror   ids-1 ingress dev eth1 to eth2"
            ]
        );
        let owned = make(&desired(1), &mut kernel, Owned::default());
        assert_eq!(
            lines(&desired(2), &kernel, &owned),
            ["~ mirror   ids-1 ingress dev eth1 to eth2"]
        );
        let owned = make(&desired(2), &mut kernel, owned);
        let owned = make(&Desired::default(), &mut kernel, owned);
        assert_eq!((kernel.state, owned), (before, Owned::default()));
    }

    #[test]
    fn a_mirror_without_its_target_is_not_there_and_comes_back_with_it() {
        let mut kernel = kernel();
        let owned = make(&desired(1), &mut kernel, Owned::default());
        kernel.state.links.pop();
        kernel.state.hooks[0].to = vec![LinkIndex(0)];
        let owned = make(&desired(1), &mut kernel, owned);
        assert!(kernel.state.hooks.is_empty() && kernel.state.classifiers.is_empty());
        let pending = diff(&desired(1), &kernel.state, &owned).pending;
        assert_eq!((pending.len(), pending[0].link), (1, id(2)));
        kernel.state.links.push(link(2));
        make(&desired(1), &mut kernel, owned);
        assert_eq!(kernel.state.hooks.len(), 1);
    }

    #[test]
    fn a_qdisc_with_filters_of_others_stays_and_one_of_another_kind_is_in_the_way() {
        let mut kernel = kernel();
        let shared = Classifier::Clsact { is_shared: true };
        kernel.state.classifiers.insert(LinkIndex(1), shared);
        let owned = make(&desired(1), &mut kernel, Owned::default());
        let owned = make(&Desired::default(), &mut kernel, owned);
        assert_eq!(kernel.state.classifiers, [(LinkIndex(1), shared)].into());
        kernel.state.classifiers.insert(LinkIndex(1), Classifier::Ingress);
        let owned = make(&desired(1), &mut kernel, owned);
        let pending = diff(&desired(1), &kernel.state, &owned).pending;
        assert!(pending[0].reason.contains("ingress qdisc on eth1"), "{pending:?}");
    }

    #[test]
    fn a_mirror_that_cannot_be_made_is_left_out_whole_and_others_go_on() {
        for (fails_at, is_left_out) in [(2, true), (3, true), (4, false)] {
            let mut kernel = kernel();
            let mut wanted = desired(1);
            let mut other = wanted.mirrors["ids-1"].clone();
            other.hooks[0].mirror = "ids-2".to_owned();
            other.hooks[0].handle = 8;
            wanted.mirrors.insert("ids-2".to_owned(), other);
            kernel.fail_after = Some((fails_at, nix::libc::EPERM));
            let done = reconcile(&mut kernel, &wanted, Owned::default(), |_| Ok(())).unwrap();
            let left: Vec<&str> = kernel.state.hooks.iter().map(|hook| &*hook.mirror).collect();
            let pending = &done.plan.pending;
            if is_left_out {
                assert_eq!((left.len(), pending.len()), (1, 1), "{left:?} {pending:?}");
                assert!(pending[0].reason.starts_with("add mirror ids-"), "{pending:?}");
            } else {
                assert_eq!((left.len(), pending.len()), (2, 0), "{left:?} {pending:?}");
            }
        }
    }

    #[test]
    fn a_qdisc_that_a_killed_run_left_empty_goes_if_it_is_recorded_as_ours() {
        let mut kernel = kernel();
        let before = kernel.state.clone();
        let ours = Owned::default().with(&desired(1), &kernel.state);
        let alone = Classifier::Clsact { is_shared: false };
        kernel.state.classifiers.insert(LinkIndex(1), alone);
        let foreign = make(&Desired::default(), &mut kernel, Owned::default());
        assert_eq!(kernel.state.classifiers.len(), 1, "{foreign:?}");
        make(&Desired::default(), &mut kernel, ours);
        assert_eq!(kernel.state, before);
    }
}
