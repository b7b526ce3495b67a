//! What is read back from nf_tables. The first byte chooses: 0: the rest is the kernel's answers, any bytes; else the
//! rest makes two tables, that must come back as they were written and become each other.

#![no_main]

use std::collections::BTreeSet;

use arbitrary::Unstructured;
use kylin_vr::kernel::fuzz::nftables;
use kylin_vr::kernel::{Fake, Kernel};
use kylin_vr::model::nft::{Table, TableChange};
use kylin_vr::model::{Link, LinkIndex, LinkName, Observed};
use kylin_vr::plan::Operation;
use kylin_vr_fuzz::{assert_told, tables};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    match data.split_first() {
        Some((0, answers)) => hostile(answers),
        Some((_, bytes)) => {
            let _ = round_trip(&mut Unstructured::new(bytes));
        }
        None => {}
    }
});

/// Whatever the kernel says, it can be shown, replaced and taken away, and the undo of that can be written.
fn hostile(answers: &[u8]) {
    let Ok(Some(seen)) = nftables::read(answers) else {
        return;
    };
    let ours = Table::default();
    for to in [None, Some(&ours)] {
        let Some(change) = TableChange::between(Some(&seen), to) else {
            continue;
        };
        for line in Operation::Table(change.clone().into()).lines() {
            assert_told(&line.text);
        }
        let bytes = nftables::write(&change).expect("what was seen can be taken away");
        nftables::read(&bytes).expect("our own messages are well-formed");
        // An undo leaves out what it has no word for, and may find a name that cannot be written.
        let _ = nftables::write(&change.inverse());
    }
}

fn round_trip(bytes: &mut Unstructured<'_>) -> arbitrary::Result<()> {
    let (mut one, mut other) = (tables::table(bytes)?, tables::table(bytes)?);
    tables::only_known_sets(&mut one);
    tables::only_known_sets(&mut other);
    for table in [&one, &other] {
        let written =
            nftables::write(&TableChange::Create(table.clone())).expect("a valid table can be written");
        let read = nftables::read(&written).expect("our own messages are well-formed");
        assert_eq!(read.as_ref(), Some(table));
    }
    let Some(change) = TableChange::between(Some(&one), Some(&other)) else {
        assert_eq!(one, other);
        return Ok(());
    };
    nftables::write(&change).expect("a valid change can be written");
    // The kernel takes a flowtable only on links that are there.
    let devices =
        [&one, &other].map(|table| table.flowtables.values().flat_map(|flowtable| &flowtable.devices));
    let names: BTreeSet<&LinkName> = devices.into_iter().flatten().collect();
    let links = names.into_iter().zip(1..).map(|(name, index)| Link {
        index: LinkIndex(index),
        name: name.clone(),
        id: None,
        up: true,
        stacked: false,
        ipv6_in_use: false,
        udev_pending: false,
        mtu: 1_500,
    });
    let mut kernel = Fake::new(Observed {
        links: links.collect(),
        flowtables: Some(true),
        table: Some(std::sync::Arc::new(one.clone())),
        ..Observed::default()
    });
    for (change, expected) in [(change.clone(), &other), (change.inverse(), &one)] {
        assert!(
            !Operation::Table(change.clone().into()).lines().is_empty(),
            "a change that is not told"
        );
        kernel
            .apply(&[Operation::Table(change.into())])
            .expect("a change fits the table that it is of");
        assert_eq!(kernel.state.table.as_deref(), Some(expected));
    }
    Ok(())
}
