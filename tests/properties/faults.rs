//! Whatever fails, once or twice, and whenever a run is killed.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use kylin_vr::features;
use kylin_vr::kernel::{Fake, Fate, Fault, Faulty};
use kylin_vr::model::{LinkIndex, Observed};
use kylin_vr::owned::Owned;
use kylin_vr::plan::diff;
use kylin_vr::reconcile::{Error, Reconciled, reconcile};
use proptest::prelude::*;

use super::{apply, config, kept_or_default, kernel, parse};

proptest! {
    #[test]
    fn whatever_fails_everything_is_as_it_was(state in kernel(), first in config(), second in config(), at in 0..60usize) {
        let mut kernel = Fake::new(state);
        let owned = apply(&mut kernel, &first, Owned::default());
        let before = kernel.state.clone();
        let desired = features::desired(&parse(&second));
        kernel.fail_after = Some((at, 5));
        let mut kept = None;
        let result = reconcile(&mut kernel, &desired, owned.clone(), |owned| {
            kept = Some(owned.clone());
            Ok(())
        });
        match result {
            Ok(done) => {
                kernel.fail_after = None;
                let rest = diff(&desired, &kernel.state, kept.as_ref().unwrap());
                // A mirror that could not be made is left out, and comes with the next run.
                if rest.is_empty() {
                    return Ok(());
                }
                prop_assert!(is_left_out(&done), "{:?}", rest);
                apply(&mut kernel, &second, kept.unwrap());
            }
            Err(Error::Failed { failed, left_over }) => {
                prop_assert_eq!(failed.len(), 1);
                prop_assert_eq!(left_over, Vec::<String>::new());
                prop_assert_eq!(sorted(kernel.state.clone()), sorted(before));
                prop_assert_eq!(kept, Some(owned));
                // And the next run heals.
                kernel.fail_after = None;
                let owned = kept_or_default(&kernel, &second);
                prop_assert!(owned);
            }
            Err(other) => prop_assert!(false, "{other}"),
        }
    }
}

/// Whether a mirror was left out, since the kernel refused a part of it.
fn is_left_out(done: &Reconciled) -> bool {
    let refused = |reason: &str| {
        reason.ends_with("(os error 5)")
            || reason.contains("input/output error")
            || reason.contains("device or resource busy")
            || reason.contains("no buffer space")
    };
    done.plan
        .pending
        .iter()
        .any(|one| one.path.starts_with("mirror_list[") && refused(&one.reason))
}

fn fault(first: usize, last: usize, fate: Fate) -> Fault {
    let kind = None;
    Fault {
        first,
        last,
        fate,
        kind,
    }
}

fn sorted(mut state: Observed) -> Observed {
    state.addresses.retain(|_, addresses| !addresses.is_empty());
    state.routes.sort();
    state.links.sort_by_key(|link| link.index);
    state
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(ProptestConfig::default().cases / 2))]

    #[test]
    fn whatever_fails_twice_everything_is_as_it_was(state in kernel(), first in config(), second in config(), at in 0..40usize, then in 1..40usize, lost: (bool, bool)) {
        let mut kernel = Fake::new(state);
        let owned = apply(&mut kernel, &first, Owned::default());
        let before = kernel.state.clone();
        let desired = features::desired(&parse(&second));
        let fate = |lost| if lost { Fate::Lose(105) } else { Fate::Fail(16) };
        let faults = vec![fault(at, at, fate(lost.0)), fault(at + then, at + then, fate(lost.1))];
        let mut kernel = Faulty::new(kernel, faults, |_, _| ());
        let mut kept = owned.clone();
        let result = reconcile(&mut kernel, &desired, owned.clone(), |owned| {
            kept = owned.clone();
            Ok(())
        });
        let state = &kernel.inner().state;
        match result {
            Ok(done) => prop_assert!(diff(&desired, state, &kept).is_empty() || is_left_out(&done)),
            Err(error) => {
                if let Error::Failed { left_over, .. } = error {
                    prop_assert_eq!(left_over, Vec::<String>::new());
                }
                prop_assert_eq!(sorted(state.clone()), sorted(before));
                prop_assert_eq!(kept, owned);
            }
        }
    }

    #[test]
    fn whenever_a_run_is_killed_the_next_one_heals_and_forgets_nothing(state in kernel(), first in config(), second in config(), at in 0..60usize, after: bool) {
        let mut clean = state.clone();
        let named: BTreeSet<LinkIndex> = [&first, &second].into_iter().flat_map(|text| {
            let config = parse(text);
            config.interfaces().iter().filter_map(|one| Some(state.find(one.link()).ok()?.index)).collect::<Vec<_>>()
        }).collect();
        clean.addresses.retain(|index, _| !named.contains(index));

        let mut kernel = Fake::new(state);
        let owned = apply(&mut kernel, &first, Owned::default());
        // From the kill on nothing is done in the kernel and nothing is kept.
        let dead = AtomicBool::new(false);
        let last = if after { Fate::Lose(5) } else { Fate::Fail(5) };
        let faults = vec![fault(at, at, last), fault(at + 1, usize::MAX, Fate::Fail(5))];
        let mut killed = Faulty::new(kernel, faults, |_, fate| dead.store(dead.load(Relaxed) || fate.is_some(), Relaxed));
        let mut kept = owned.clone();
        let _ = reconcile(&mut killed, &features::desired(&parse(&second)), owned, |owned| {
            if !dead.load(Relaxed) {
                kept = owned.clone();
            }
            Ok(())
        });
        let mut kernel = killed.inner().clone();
        let kept = apply(&mut kernel, &second, kept);
        prop_assert_eq!(apply(&mut kernel, "", kept), Owned::default());
        kernel.state.addresses.retain(|_, addresses| !addresses.is_empty());
        clean.links[0].up = kernel.state.links[0].up;
        prop_assert_eq!(kernel.state, clean);
    }
}
