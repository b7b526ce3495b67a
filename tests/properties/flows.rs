//! Exactly the flows whose translation changed end, whatever happens on the way.

use std::collections::BTreeSet;

use kylin_vr::features;
use kylin_vr::flows::Judge;
use kylin_vr::kernel::Fake;
use kylin_vr::model::nft::Packet;
use kylin_vr::model::{Flow, Observed};
use kylin_vr::owned::Owned;
use kylin_vr::reconcile::reconcile;
use proptest::prelude::*;

use super::{apply, config, kernel, parse};

/// The first packet of a flow: from and to all that configurations speak of, and others.
fn packet() -> impl Strategy<Value = Packet> {
    let end = prop_oneof![
        3 => (1..21u8).prop_map(|eip| [10, 90, 2, eip]),
        3 => (1..4u8, 1..21u8).prop_map(|(subnet, vm)| [192, 168, subnet, vm]),
        1 => (11..14u8).prop_map(|host| [10, 90, 3, host]),
        1 => (200..206u8).prop_map(|host| [10, 90, 3, host]),
        1 => Just([198, 51, 100, 10]),
        1 => Just([172, 17, 0, 2]),
        1 => Just([127, 0, 0, 1]),
    ];
    let port = (1..8u16, 0..620u16).prop_map(|(slot, offset)| 1000 * slot + offset);
    (prop::sample::select(vec![1u8, 6, 17]), end.clone(), end, port).prop_map(
        |(protocol, source, destination, port)| Packet {
            protocol,
            source: source.into(),
            destination: destination.into(),
            destination_port: (protocol != 1).then_some(port),
        },
    )
}

/// Lets flows begin as the kernel is now; those that somebody else translates go to where we send nothing.
fn begin(kernel: &mut Fake, packets: &[Packet], foreign: bool) {
    let state = kernel.state.clone();
    let judge = Judge::of(&state);
    kernel.flows.extend(packets.iter().map(|packet| {
        let mut translated = judge.translate(*packet);
        if foreign {
            (translated.destination, translated.destination_port) = ([172, 18, 0, 1].into(), Some(1));
        }
        Flow {
            original: *packet,
            translated,
        }
    }));
}

/// Asserts that of the flows before exactly those ended that had to, given the state that they began under.
fn judge_flows(before: &[Flow], was: &Observed, kernel: &Fake) -> Result<(), TestCaseError> {
    let (old, new) = (Judge::of(was), Judge::of(&kernel.state));
    let live: BTreeSet<Flow> = kernel.flows.iter().copied().collect();
    for flow in before {
        let (original, wanted) = (old.translate(flow.original), new.translate(flow.original));
        let ends = original != wanted && flow.translated != wanted;
        prop_assert_eq!(
            live.contains(flow),
            !ends,
            "{:?}: was {:?}, wanted {:?}",
            flow,
            original,
            wanted
        );
    }
    Ok(())
}

proptest! {
    #[test]
    fn exactly_the_flows_whose_translation_changed_end(state in kernel(), texts in proptest::collection::vec(config(), 1..5), packets in proptest::collection::vec(packet(), 40), foreign in proptest::collection::vec(packet(), 5)) {
        let mut kernel = Fake::new(state);
        let mut owned = Owned::default();
        for text in texts.iter().map(String::as_str).chain([""]) {
            begin(&mut kernel, &packets, false);
            begin(&mut kernel, &foreign, true);
            kernel.flows.sort();
            kernel.flows.dedup();
            let (before, was) = (kernel.flows.clone(), kernel.state.clone());
            let counted = before.len();
            let run = reconcile(&mut kernel, &features::desired(&parse(text)), owned, |_| Ok(())).unwrap();
            prop_assert_eq!(run.flows_ended, counted - kernel.flows.len());
            prop_assert_eq!(&run.owned.unsettled, &vec![]);
            owned = run.owned;
            judge_flows(&before, &was, &kernel)?;
        }
    }

    #[test]
    fn flows_of_a_killed_run_end_with_the_next_one(state in kernel(), first in config(), second in config(), third in config(), packets in proptest::collection::vec(packet(), 40), applied: bool) {
        let mut kernel = Fake::new(state);
        let owned = apply(&mut kernel, &first, Owned::default());
        begin(&mut kernel, &packets, false);
        let was = kernel.state.clone();
        // Killed with the record written, and the table changed or not yet.
        let mut recorded = owned.clone();
        let mut dead = kernel.clone();
        let _ = reconcile(&mut dead, &features::desired(&parse(&second)), owned, |owned| {
            if !owned.unsettled.is_empty() {
                recorded = owned.clone();
            }
            Ok(())
        });
        if applied {
            kernel.state = dead.state;
            begin(&mut kernel, &packets, false);
        }
        kernel.flows.sort();
        kernel.flows.dedup();
        let (before, killed) = (kernel.flows.clone(), kernel.state.clone());
        apply(&mut kernel, &third, recorded);
        let (old, middle, new) = (Judge::of(&was), Judge::of(&killed), Judge::of(&kernel.state));
        for flow in &before {
            let wanted = new.translate(flow.original);
            let ends = flow.translated != wanted && [&old, &middle].iter().any(|judge| judge.translate(flow.original) != wanted);
            prop_assert_eq!(kernel.flows.contains(flow), !ends, "{:?}", flow);
            // All began under one of the two: what does something else has ended.
            prop_assert!(ends || flow.translated == wanted);
        }
    }

    #[test]
    fn a_run_that_fails_leaves_the_flows_of_what_is_in_force(state in kernel(), first in config(), second in config(), packets in proptest::collection::vec(packet(), 40), at in 0..60usize) {
        let mut kernel = Fake::new(state);
        let owned = apply(&mut kernel, &first, Owned::default());
        begin(&mut kernel, &packets, false);
        kernel.flows.sort();
        kernel.flows.dedup();
        let (before, was) = (kernel.flows.clone(), kernel.state.clone());
        let desired = features::desired(&parse(&second));
        // As if they began while the new table was there.
        let mut meanwhile = Fake::new(was.clone());
        reconcile(&mut meanwhile, &desired, owned.clone(), |_| Ok(())).unwrap();
        begin(&mut meanwhile, &packets, false);
        kernel.flows.append(&mut meanwhile.flows);
        kernel.fail_after = Some((at, 5));
        let result = reconcile(&mut kernel, &desired, owned, |_| Ok(()));
        let now = Judge::of(&kernel.state);
        let is_table_touched = was.table.as_deref() != desired.table.as_ref();
        for flow in &kernel.flows {
            prop_assert!(flow.translated == now.translate(flow.original) || !is_table_touched, "{:?} {:?}", flow, result);
        }
        if result.is_err() {
            // An end of flows that fails once has not ended any; whatever was as it is now lives.
            let live: BTreeSet<Flow> = kernel.flows.iter().copied().collect();
            for flow in &before {
                prop_assert!(live.contains(flow), "{:?} {:?}", flow, result);
            }
        }
    }
}
