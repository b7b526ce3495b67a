//! What a change of one table into another says, and undoes.

use std::net::Ipv4Addr;

use super::super::{Chain, ChainKind, FieldType, Hook};
use super::*;
use crate::model::LinkName;

fn map(entries: &[(u8, u8)]) -> Set {
    let mut set = Set::new(&[FieldType::Ipv4Addr], &[FieldType::Ipv4Addr], false);
    for (from, to) in entries {
        set.elements.insert(
            Element::key(Ipv4Addr::new(10, 0, 0, *from)),
            Ipv4Addr::new(192, 168, 0, *to).into(),
        );
    }
    set
}

fn table(sets: &[(&str, Set)], comment: &str) -> Table {
    let rule = Rule {
        statements: vec![Statement::Return],
        comment: comment.into(),
    };
    let chain = Chain {
        kind: ChainKind::Nat,
        hook: Hook::Prerouting,
        priority: -100,
        rules: vec![rule],
    };
    Table {
        sets: sets
            .iter()
            .map(|(name, set)| ((*name).to_owned(), set.clone()))
            .collect(),
        flowtables: BTreeMap::new(),
        chains: [("destination".to_owned(), chain)].into(),
    }
}

#[test]
fn equal_tables_need_no_change() {
    let one = table(&[("a", map(&[(1, 1)]))], "x");
    assert_eq!(TableChange::between(Some(&one), Some(&one.clone())), None);
    assert_eq!(TableChange::between(None, None), None);
}

#[test]
fn only_changed_elements_are_written() {
    let from = table(&[("a", map(&[(1, 1), (2, 2), (3, 3)]))], "x");
    let to = table(&[("a", map(&[(1, 1), (2, 9), (4, 4)]))], "x");
    let Some(TableChange::Edit {
        elements,
        chains,
        remove_sets,
        add_sets,
        flowtables,
    }) = TableChange::between(Some(&from), Some(&to))
    else {
        panic!("an edit")
    };
    assert!(chains.is_empty() && remove_sets.is_empty() && add_sets.is_empty() && flowtables.is_empty());
    let edit = &elements["a"];
    let shown = |list: &[(Element, Tuple)]| {
        list.iter()
            .map(|(key, value)| edit.set.show(*key, *value).to_string())
            .collect::<Vec<_>>()
    };
    assert_eq!(
        shown(&edit.remove),
        ["10.0.0.2 : 192.168.0.2", "10.0.0.3 : 192.168.0.3"]
    );
    assert_eq!(
        shown(&edit.add),
        ["10.0.0.2 : 192.168.0.9", "10.0.0.4 : 192.168.0.4"]
    );
}

#[test]
fn a_set_that_comes_or_goes_is_an_edit_and_a_chain_that_does_a_replacement() {
    let from = table(&[("a", map(&[(1, 1)]))], "x");
    let to = table(&[("a", map(&[(1, 1)])), ("b", map(&[(2, 2)]))], "y");
    let change = TableChange::between(Some(&from), Some(&to)).unwrap();
    assert!(
        matches!(&change, TableChange::Edit { add_sets, chains, .. } if add_sets.len() == 1 && chains.len() == 1)
    );
    let mut other = to.clone();
    other.chains.clear();
    assert!(matches!(
        TableChange::between(Some(&to), Some(&other)),
        Some(TableChange::Replace { .. })
    ));
}

/// With a flowtable on these devices.
fn fast(mut table: Table, devices: &[&str]) -> Table {
    let names = devices.iter().map(|name| LinkName((*name).to_owned()));
    let flowtable = Flowtable {
        priority: 0,
        devices: names.collect(),
    };
    table.flowtables.insert("fast_path".to_owned(), flowtable);
    let rule = Rule {
        statements: vec![Statement::FlowAdd("fast_path".to_owned())],
        comment: String::new(),
    };
    let chain = Chain {
        kind: ChainKind::Filter,
        hook: Hook::Forward,
        priority: 0,
        rules: vec![rule],
    };
    table.chains.insert("fast_path".to_owned(), chain);
    table
}

#[test]
fn a_flowtable_on_other_devices_is_an_edit_with_the_rules_that_name_it_and_translates_nothing_anew() {
    let plain = table(&[("a", map(&[(1, 1)]))], "x");
    let (one, two) = (
        fast(plain.clone(), &["eth0"]),
        fast(plain.clone(), &["eth0", "eth1"]),
    );
    let change = TableChange::between(Some(&one), Some(&two)).unwrap();
    let TableChange::Edit {
        chains, flowtables, ..
    } = &change
    else {
        panic!("an edit")
    };
    assert_eq!(Vec::from_iter(chains.keys()), ["fast_path"]);
    assert_eq!(
        (&flowtables["fast_path"].from, &flowtables["fast_path"].to),
        (
            &one.flowtables.get("fast_path").cloned(),
            &two.flowtables.get("fast_path").cloned()
        )
    );
    assert!(!change.can_translate_anew());
    let more = fast(table(&[("a", map(&[(1, 2)]))], "x"), &["eth0", "eth1"]);
    assert!(
        TableChange::between(Some(&one), Some(&more))
            .unwrap()
            .can_translate_anew()
    );
    // As it comes and goes, its chain does.
    for (from, to) in [(&plain, &one), (&one, &plain)] {
        let change = TableChange::between(Some(from), Some(to));
        assert!(matches!(change, Some(TableChange::Replace { .. })));
    }
}

#[test]
fn the_inverse_of_the_inverse_is_the_change() {
    let tables = [
        table(&[("a", map(&[(1, 1), (2, 2)]))], "x"),
        table(&[("b", map(&[(2, 3)]))], "y"),
        fast(table(&[("b", map(&[(2, 3)]))], "y"), &["eth0"]),
        fast(table(&[("b", map(&[(2, 4)]))], "y"), &["eth1"]),
        Table::default(),
    ];
    let mut ends: Vec<Option<&Table>> = tables.iter().map(Some).collect();
    ends.push(None);
    for from in &ends {
        for to in &ends {
            if let Some(change) = TableChange::between(*from, *to) {
                assert_eq!(change.inverse().inverse(), change);
                assert_eq!(TableChange::between(*to, *from), Some(change.inverse()));
            }
        }
    }
}
