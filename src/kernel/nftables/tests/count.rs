//! Elements that count: written and read back, carried over where they are made anew, and nobody's business but of who asks.

use super::*;
use crate::model::nft::Counted;

/// A router that counts what goes to its elastic IPs, and the answers of forwards.
fn counting() -> Table {
    let mut table = router();
    let look = |key: &[Field], set: &str| Statement::InSet {
        key: key.to_vec(),
        set: set.to_owned(),
        negate: false,
    };
    let port = [Field::IpSaddr, Field::L4Proto, Field::ThSport];
    let rules = [
        rule(&[look(&[Field::IpDaddr], "by_eip"), Statement::Return], "in"),
        rule(
            &[Statement::Direction { reply: true }, look(&port, "by_forward")],
            "out",
        ),
        rule(&[Statement::Direction { reply: false }, Statement::Return], ""),
        rule(
            &[
                Statement::SourceTranslated,
                Statement::DestinationTranslated,
                look(&[Field::CtReplyDaddr], "by_eip"),
            ],
            "",
        ),
    ];
    table.chains.get_mut("keep_source").unwrap().rules.extend(rules);
    for map in ["eip_to_vm", "forward", "forward_ranges"] {
        table.sets.get_mut(map).unwrap().counts = true;
    }
    for (name, map) in [("by_eip", "eip_to_vm"), ("by_forward", "forward_ranges")] {
        let map = &table.sets[map];
        let mut set = Set::new(&map.key, &[], map.interval).counting();
        set.elements = map
            .elements
            .keys()
            .map(|element| (*element, Tuple::default()))
            .collect();
        table.sets.insert(name.to_owned(), set);
    }
    table
}

/// Gives all elements a count of its own, and returns them.
fn count_something(nftables: &mut Nftables, table: &Table) -> crate::model::nft::Counts {
    let mut number = 0;
    for (name, set) in table.counting() {
        for (element, value) in &set.elements {
            number += 1;
            let shown = set.show(*element, *value).to_string();
            let (key, value) = shown
                .split_once(" : ")
                .map_or((&*shown, None), |(key, value)| (key, Some(value)));
            let value = value.map_or_else(String::new, |value| format!(" : {value}"));
            let bytes = number * 1_000_000_000_000u64;
            nft(
                &["-f", "-"],
                &format!(
                    "delete element ip kylin_vr {name} {{ {key} }}; \
                     add element ip kylin_vr {name} {{ {key} counter packets {number} bytes {bytes}{value} }}"
                ),
            );
        }
    }
    expect(nftables, Some(table));
    nftables.counts().unwrap()
}

#[test]
fn rules_and_sets_that_count_read_back_as_they_were_written() {
    in_namespace(
        "rules_and_sets_that_count_read_back_as_they_were_written",
        |nftables| {
            let table = counting();
            make(nftables, Some(&table));
            let listed = nft(&["list", "table", "ip", "kylin_vr"], "");
            for words in [
                "ip daddr @by_eip return",
                "ct direction reply ip saddr . meta l4proto . th sport @by_forward",
                "ct direction original return",
                "ct status snat ct status dnat ct reply ip daddr @by_eip",
                "10.90.2.250 counter packets 0 bytes 0 : 192.168.100.190",
            ] {
                assert!(listed.contains(words), "{words}:\n{listed}");
            }
            // There and back.
            make(nftables, Some(&router()));
            make(nftables, Some(&table));
        },
    );
}

#[test]
fn what_was_counted_stays_whatever_becomes_of_the_table() {
    in_namespace(
        "what_was_counted_stays_whatever_becomes_of_the_table",
        |nftables| {
            let table = counting();
            make(nftables, Some(&table));
            let counts = count_something(nftables, &table);
            let eip = Tuple([u32::from(Ipv4Addr::new(10, 90, 2, 250)), 0, 0]);
            let all: Vec<u64> = counts.values().flatten().map(|(_, one)| one.packets).collect();
            assert_eq!(all.len(), 8, "{counts:?}");
            assert!(all.iter().all(|packets| *packets > 0), "{counts:?}");
            assert_eq!(
                counts["by_eip"][&eip].bytes,
                counts["by_eip"][&eip].packets * 1_000_000_000_000
            );

            // Others come, and one gets another value.
            let mut moved = table.clone();
            let map = moved.sets.get_mut("eip_to_vm").unwrap();
            map.elements.insert(Element::key(eip), address(7));
            map.elements.insert(Element::key(address(1)), address(7));
            let seen = nftables.observe().unwrap();
            let change = TableChange::between(seen.as_deref(), Some(&moved)).unwrap();
            assert!(matches!(change, TableChange::Edit { .. }));
            nftables.commit(&change).unwrap();
            expect(nftables, Some(&moved));
            let mut expected = counts.clone();
            let none = Counted::default();
            expected.get_mut("eip_to_vm").unwrap().insert(address(1), none);
            assert_eq!(nftables.counts().unwrap(), expected);

            // The whole table is replaced, with another set of the same name and without one.
            let mut other = moved.clone();
            other.chains.get_mut("keep_source").unwrap().priority -= 1;
            other.sets.get_mut("forward").unwrap().counts = false;
            let seen = nftables.observe().unwrap();
            let change = TableChange::between(seen.as_deref(), Some(&other)).unwrap();
            assert!(matches!(change, TableChange::Replace { .. }));
            nftables.commit(&change).unwrap();
            expect(nftables, Some(&other));
            expected.remove("forward");
            assert_eq!(nftables.counts().unwrap(), expected);

            // What goes and comes again begins at nothing.
            make(nftables, Some(&router()));
            make(nftables, Some(&table));
            let anew = nftables.counts().unwrap();
            assert!(anew.values().flatten().all(|(_, one)| *one == none), "{anew:?}");
        },
    );
}

#[test]
fn a_set_that_counts_in_another_way_is_seen() {
    in_namespace("a_set_that_counts_in_another_way_is_seen", |nftables| {
        let table = counting();
        for (counting, other) in [
            ("counter", ""),
            ("counter", "quota over 1 mbytes"),
            ("counter", "counter; quota over 1 mbytes"),
        ] {
            make(nftables, None);
            let text = table.to_string();
            let (before, after) = text.split_once("set by_eip").unwrap();
            let after = after.replacen(counting, other, 1);
            nft(&["-f", "-"], &format!("{before}set by_eip{after}"));
            let seen = nftables.observe().unwrap();
            assert_ne!(seen.as_deref(), Some(&table), "{other}");
            make(nftables, Some(&table));
        }
    });
}

#[test]
fn this_kernel_says_of_itself_that_its_elements_can_count() {
    in_namespace(
        "this_kernel_says_of_itself_that_its_elements_can_count",
        |nftables| {
            make(nftables, Some(&counting()));
            assert!(nftables.knows_counters().unwrap());
            let listed = nft(&["list", "ruleset"], "");
            assert!(!listed.contains("rehearsal"), "{listed}");
            expect(nftables, Some(&counting()));
        },
    );
}
