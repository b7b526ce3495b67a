//! Any table becomes any other, and is read back as it was written, by us and by nft(8).

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use super::generated::{any_table, sets_of_one_type, variant_of};
use super::*;

/// Runs `test` on values by chance, all in one namespace.
fn check<S: Strategy>(
    name: &str,
    cases: u32,
    values: impl FnOnce() -> S + Send,
    test: impl Fn(&mut Nftables, S::Value) + Send,
) {
    in_namespace(name, move |nftables| {
        let nftables = std::cell::RefCell::new(nftables);
        let config = Config {
            cases,
            failure_persistence: None,
            ..Config::default()
        };
        let result = TestRunner::new(config).run(&values(), |value| {
            test(&mut nftables.borrow_mut(), value);
            Ok(())
        });
        if let Err(error) = result {
            panic!("{error}");
        }
    });
}

#[test]
fn any_table_reads_back_as_it_was_written() {
    check(
        "any_table_reads_back_as_it_was_written",
        200,
        any_table,
        |nftables, table| {
            make(nftables, None);
            make(nftables, Some(&table));
        },
    );
}

#[test]
fn any_table_becomes_any_other_and_back() {
    let tables = || {
        any_table().prop_flat_map(|table| {
            let variants = proptest::collection::vec(variant_of(table.clone()), 1..4);
            (Just(table), variants, any_table())
        })
    };
    check(
        "any_table_becomes_any_other_and_back",
        100,
        tables,
        |nftables, (first, variants, last)| {
            make(nftables, Some(&first));
            let mut before = first;
            for after in variants.into_iter().chain([last]) {
                if let Some(change) = TableChange::between(Some(&before), Some(&after)) {
                    // There, back and there again, without a look in between.
                    for change in [&change, &change.inverse(), &change] {
                        nftables
                            .commit(change)
                            .unwrap_or_else(|error| panic!("{error}\n{change:#?}"));
                    }
                }
                expect(nftables, Some(&after));
                before = after;
            }
            make(nftables, None);
        },
    );
}

#[test]
fn nft_and_we_read_and_write_the_same() {
    check(
        "nft_and_we_read_and_write_the_same",
        60,
        any_table,
        |nftables, table| {
            let text = table.to_string();
            make(nftables, None);
            nft(&["-c", "-f", "-"], &text);
            nft(&["-f", "-"], &text);
            // nft(8) wrote, we read; we take away, and add, what it wrote.
            expect(nftables, Some(&table));
            let mut bare = table.clone();
            bare.sets.values_mut().for_each(|set| set.elements.clear());
            make(nftables, Some(&bare));
            make(nftables, Some(&table));
            // We wrote, nft(8) reads.
            make(nftables, None);
            make(nftables, Some(&table));
            let listed = nft(&["list", "table", "ip", "kylin_vr"], "");
            nft(&["delete", "table", "ip", "kylin_vr"], "");
            nft(&["-f", "-"], &listed);
            expect(nftables, Some(&table));
            nft(&["delete", "table", "ip", "kylin_vr"], "");
        },
    );
}

#[test]
fn elements_become_any_other_elements_in_place() {
    check(
        "elements_become_any_other_elements_in_place",
        200,
        sets_of_one_type,
        |nftables, tables| {
            make(nftables, None);
            for table in &tables {
                make(nftables, Some(table));
            }
            for pair in tables.windows(2).rev() {
                if let Some(back) = TableChange::between(Some(&pair[1]), Some(&pair[0])) {
                    assert!(matches!(back, TableChange::Edit { .. }));
                    nftables
                        .commit(&back)
                        .unwrap_or_else(|error| panic!("{error}\n{back:#?}"));
                }
                expect(nftables, Some(&pair[0]));
            }
        },
    );
}
