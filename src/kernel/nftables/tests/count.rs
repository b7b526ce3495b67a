//! Sets that count: their rules read back as they were written, and their elements are nobody's business but of who asks.

use super::*;
use crate::model::nft::{Count, Counted};

/// A router that counts what goes to its elastic IPs, and the answers of forwards.
fn counting() -> Table {
    let mut table = router();
    let statement = |key: &[Field], map: &str, set: &str| {
        Statement::Count(Count {
            key: key.to_vec(),
            map: map.to_owned(),
            set: set.to_owned(),
        })
    };
    let port = [Field::IpSaddr, Field::L4Proto, Field::ThSport];
    let rules = [
        rule(
            &[
                statement(&[Field::IpDaddr], "eip_to_vm", "by_eip"),
                Statement::Return,
            ],
            "in",
        ),
        rule(
            &[
                Statement::Direction { reply: true },
                statement(&port, "forward", "by_forward"),
            ],
            "out",
        ),
        rule(&[Statement::Direction { reply: false }, Statement::Return], ""),
    ];
    table.chains.get_mut("keep_source").unwrap().rules.extend(rules);
    let sets = [
        ("by_eip", vec![Address]),
        ("by_forward", vec![Address, InetProto, InetService]),
    ];
    for (name, key) in sets {
        table.sets.insert(name.to_owned(), Set::counting(&key));
    }
    table
}

#[test]
fn rules_that_count_read_back_as_they_were_written() {
    in_namespace("rules_that_count_read_back_as_they_were_written", |nftables| {
        let table = counting();
        make(nftables, Some(&table));
        let listed = nft(&["list", "table", "ip", "kylin_vr"], "");
        for rule in [
            "add @by_eip { ip daddr counter } return",
            "ct direction reply add @by_forward { ip saddr . meta l4proto . th sport counter }",
            "ct direction original return",
        ] {
            assert!(listed.contains(rule), "{rule}:\n{listed}");
        }
        // There and back, with the table and one by one.
        make(nftables, Some(&router()));
        make(nftables, Some(&table));
    });
}

#[test]
fn counts_are_read_and_forgotten_and_are_no_difference() {
    in_namespace(
        "counts_are_read_and_forgotten_and_are_no_difference",
        |nftables| {
            let table = counting();
            make(nftables, Some(&table));
            nft(
                &["-f", "-"],
                "add element ip kylin_vr by_eip { 10.90.2.250 counter packets 3 bytes 999, 10.0.0.9 }; \
             add element ip kylin_vr by_forward { 10.0.0.9 . tcp . 80 counter packets 1 bytes 60 }",
            );
            expect(nftables, Some(&table));
            let counts = nftables.counts().unwrap();
            let eip = Tuple([u32::from(Ipv4Addr::new(10, 90, 2, 250)), 0, 0]);
            let counted = Counted {
                packets: 3,
                bytes: 999,
            };
            assert_eq!(counts["by_eip"][&eip], counted);
            assert_eq!((counts["by_eip"].len(), counts["by_forward"].len()), (2, 1));
            nftables.commit(&table.forget(&counts).unwrap()).unwrap();
            expect(nftables, Some(&table));
            let left = nftables.counts().unwrap();
            assert_eq!(left["by_eip"], [(eip, counted)].into());
            assert!(left["by_forward"].is_empty());
            assert_eq!(table.forget(&left), None);
        },
    );
}

#[test]
fn a_rule_that_counts_strangers_is_seen() {
    in_namespace("a_rule_that_counts_strangers_is_seen", |nftables| {
        for rule in [
            "add @by_eip { ip daddr counter }",
            "update @by_eip { ip daddr counter }",
            "add @by_eip { ip daddr limit rate 1/second }",
            "ct original ip daddr 10.0.0.1 return",
        ] {
            let table = counting();
            make(nftables, Some(&table));
            let output = nft_output(&["-f", "-"], &format!("add rule ip kylin_vr keep_source {rule}"));
            if !output.status.success() {
                // `update` needs a set with a timeout before Linux 5.13 or so.
                continue;
            }
            let seen = nftables.observe().unwrap();
            assert_ne!(seen.as_deref(), Some(&table), "{rule}");
            make(nftables, Some(&table));
        }
    });
}
