//! What is written is in the kernel, for us and for nft(8), whole or not at all, however large it is.

use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::libc;

use super::super::listing::Listing;
use super::super::message::{Content, answers};
use super::super::touched::Touched;
use super::super::uapi;
use super::*;
use crate::kernel::error::Error;
use crate::model::LinkName;
use crate::model::nft::{Element, Flowtable, Tuple};

#[test]
fn a_table_comes_changes_and_goes() {
    in_namespace("a_table_comes_changes_and_goes", |nftables| {
        expect(nftables, None);
        make(nftables, Some(&router()));
        make(nftables, Some(&Table::default()));
        make(nftables, Some(&router()));
        make(nftables, None);
        make(nftables, None);
    });
}

#[test]
fn nft_lists_what_was_written() {
    in_namespace("nft_lists_what_was_written", |nftables| {
        make(nftables, Some(&router()));
        let listed = nft(&["list", "table", "ip", "kylin_vr"], "");
        for line in [
            "type ipv4_addr . inet_proto . inet_service : ipv4_addr . inet_service",
            "10.90.2.250 : 192.168.100.190",
            "192.168.100.0/24",
            "10.90.2.251 . tcp . 80 : 192.168.100.190 . 8080",
            "10.90.2.252 . tcp . 1000-1999 : 192.168.100.190",
            "type filter hook prerouting priority mangle; policy accept;",
            "type nat hook prerouting priority dstnat; policy accept;",
            "ip daddr @vpc_subnets meta mark set meta mark | 0x01000000 comment \"between subnets\"",
            "dnat to ip daddr map @eip_to_vm comment \"floating\"",
            "dnat ip to ip daddr . meta l4proto . th dport map @forward comment \"forwards\"",
            "dnat to ip daddr . meta l4proto . th dport map @forward_ranges",
            "ip daddr 10.90.2.253 udp dport 1000-60999 dnat to 192.168.100.190 comment \"a range\"",
            "meta mark & 0x01000000 == 0x01000000 return comment \"kept\"",
            "ip saddr != 192.168.100.0/23 ip saddr != 192.168.101.0/25 return comment \"outside\"",
            "ip saddr != @vpc_subnets return comment \"not of a VM\"",
            "snat to 10.90.3.37 comment \"the rest\"",
        ] {
            let normal = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
            assert!(normal(&listed).contains(&normal(line)), "{line}\n{listed}");
        }
        // nft(8) reads its own listing back.
        nft(&["delete", "table", "ip", "kylin_vr"], "");
        nft(&["-f", "-"], &listed);
        expect(nftables, Some(&router()));
    });
}

#[test]
fn nothing_is_carried_out_on_another_table() {
    in_namespace("nothing_is_carried_out_on_another_table", |nftables| {
        let create = TableChange::Create(router());
        // Never looked at.
        assert!(matches!(nftables.commit(&create), Err(Error::Interrupted)));
        nftables.observe().unwrap();
        nft(&["add", "table", "ip", "kylin_vr"], "");
        assert!(matches!(nftables.commit(&create), Err(Error::Interrupted)));
        nft(&["delete", "table", "ip", "kylin_vr"], "");
        assert!(matches!(nftables.commit(&create), Err(Error::Interrupted)));
        expect(nftables, None);
        // Nor where the change would fit: what is wanted was planned for what was seen.
        nftables.observe().unwrap();
        nft(
            &["-f", "-"],
            "add table ip kylin_vr; add chain ip kylin_vr of_somebody",
        );
        let delete = create.inverse();
        assert!(matches!(nftables.commit(&delete), Err(Error::Interrupted)));
        assert!(nft(&["list", "tables"], "").contains("table ip kylin_vr"));
        nft(&["delete", "table", "ip", "kylin_vr"], "");
        // What others do to tables of theirs does not matter.
        nftables.observe().unwrap();
        nft(&["add", "table", "ip", "of_somebody"], "");
        nftables.commit(&create).unwrap();
        // Our own batch is no other's: no look is needed in between.
        nftables.commit(&create.inverse()).unwrap();
        nftables.commit(&create).unwrap();
        expect(nftables, Some(&router()));
        assert!(nft(&["list", "tables"], "").contains("table ip of_somebody"));
    });
}

#[test]
fn a_look_ahead_counts_as_long_as_nobody_changed_anything() {
    in_namespace(
        "a_look_ahead_counts_as_long_as_nobody_changed_anything",
        |nftables| {
            for to in [None, Some(router())] {
                make(nftables, to.as_ref());
                nftables.look_ahead();
                assert!(nftables.ahead.is_some());
                expect(nftables, to.as_ref());
                assert!(nftables.ahead.is_none(), "taken");
            }
            // Ours or anybody's.
            nftables.look_ahead();
            nft(
                &["-f", "-"],
                "add element ip kylin_vr eip_to_vm { 10.99.9.9 : 10.0.0.9 }",
            );
            let seen = nftables.observe().unwrap().unwrap();
            assert_eq!(seen.elements(), router().elements() + 1);
            nftables.look_ahead();
            let change = TableChange::between(Some(&seen), Some(&router())).unwrap();
            nftables.commit(&change).unwrap();
            expect(nftables, Some(&router()));
            // A change is planned from a look that was asked for.
            nft(&["delete", "table", "ip", "kylin_vr"], "");
            nftables.look_ahead();
            let delete = TableChange::Delete(router());
            assert!(matches!(nftables.commit(&delete), Err(Error::Interrupted)));
            expect(nftables, None);
        },
    );
}

#[test]
fn after_an_edit_of_ours_only_what_it_touched_is_asked_for() {
    in_namespace(
        "after_an_edit_of_ours_only_what_it_touched_is_asked_for",
        |nftables| {
            make(nftables, Some(&router()));
            let (mut table, one) = (router(), |n: u32| Element {
                first: Tuple([n, 0, 0]),
                last: Tuple([n, 0, 0]),
            });
            let (address, other) = (0x0a63_0909, 0x0a63_090a);
            let mut edit = |nftables: &mut Nftables, vm: Option<u32>| {
                let map = table.sets.get_mut("eip_to_vm").unwrap();
                match vm {
                    Some(vm) => map.elements.insert(one(address), Tuple([vm, 0, 0])),
                    None => map.elements.remove(&one(address)),
                };
                let seen = nftables.observe().unwrap();
                nftables
                    .commit(&TableChange::between(seen.as_deref(), Some(&table)).unwrap())
                    .unwrap();
                assert!(nftables.touched.is_some());
                table.clone()
            };
            // Comes, changes, goes; and a look at everything, by somebody else, sees the same.
            for vm in [Some(7), Some(8), None] {
                let table = edit(nftables, vm);
                assert!(nftables.look_at_touched().is_some_and(|(_, seen)| *seen == table));
                expect(nftables, Some(&table));
                expect(&mut Nftables::open().unwrap(), Some(&table));
            }
            // What others do between the edit and the look is seen: to the same element, and to another.
            for theirs in [
                "delete element ip kylin_vr eip_to_vm { 10.99.9.9 }",
                "add element ip kylin_vr eip_to_vm { 10.99.9.10 : 10.0.0.9 }",
            ] {
                let mut table = edit(nftables, Some(9));
                nft(&["-f", "-"], theirs);
                let elements = &mut table.sets.get_mut("eip_to_vm").unwrap().elements;
                if theirs.starts_with("delete") {
                    elements.remove(&one(address));
                } else {
                    elements.insert(one(other), Tuple([0x0a00_0009, 0, 0]));
                }
                assert!(nftables.touched.is_some());
                expect(nftables, Some(&table));
                assert!(nftables.touched.is_none());
            }
        },
    );
}

#[test]
fn what_the_kernel_tells_of_an_element_counts_not_what_was_sent() {
    in_namespace(
        "what_the_kernel_tells_of_an_element_counts_not_what_was_sent",
        |nftables| {
            make(nftables, Some(&router()));
            let generation = nftables.generation.unwrap();
            // An edit that was never carried out, though it is said to be: the kernel has the one, and not the other.
            let mut table = router();
            let map = &mut table.sets.get_mut("eip_to_vm").unwrap().elements;
            let (there, _) = map
                .iter()
                .next()
                .map(|(element, value)| (*element, *value))
                .unwrap();
            map.remove(&there);
            let new = Element {
                first: Tuple([1, 0, 0]),
                last: Tuple([1, 0, 0]),
            };
            map.insert(new, Tuple([2, 0, 0]));
            let before = Arc::new(router());
            let change = TableChange::between(Some(&before), Some(&table)).unwrap();
            nftables.touched = Touched::new(&change, before, generation);
            assert!(nftables.touched.is_some());
            expect(nftables, Some(&router()));
        },
    );
}

#[test]
fn a_refused_batch_leaves_everything_as_it_was() {
    in_namespace("a_refused_batch_leaves_everything_as_it_was", |nftables| {
        make(nftables, Some(&router()));
        let mut wrong = router();
        let nowhere = Statement::InSet {
            key: vec![Field::IpDaddr],
            set: "not_there".into(),
            negate: false,
        };
        wrong.chains.get_mut("source").unwrap().rules = vec![rule(&[nowhere], "")];
        wrong.sets.get_mut("eip_to_vm").unwrap().elements.clear();
        let change = TableChange::between(Some(&router()), Some(&wrong)).unwrap();
        assert!(matches!(nftables.commit(&change), Err(Error::Refused { .. })));
        // And another one can follow without a look, since nothing happened.
        nftables.commit(&TableChange::Delete(router())).unwrap();
        expect(nftables, None);
        make(nftables, Some(&router()));
        assert!(matches!(nftables.commit(&change), Err(Error::Refused { .. })));
        expect(nftables, Some(&router()));
        // A second creation of what is there.
        assert!(matches!(
            nftables.commit(&TableChange::Create(router())),
            Err(Error::Refused { source }) if source.raw_os_error() == Some(nix::libc::EEXIST)
        ));
    });
}

/// A router's table with the fast path on these links.
fn fast(devices: &[&str]) -> Table {
    let mut table = router();
    let flowtable = Flowtable {
        priority: -7,
        devices: devices.iter().map(|name| LinkName((*name).into())).collect(),
    };
    let taken = [Statement::Established, Statement::FlowAdd("fast".into())];
    let chain = Chain {
        kind: ChainKind::Filter,
        hook: Hook::Forward,
        priority: 9,
        rules: vec![rule(&taken, "fast")],
    };
    table.flowtables.insert("fast".into(), flowtable);
    table.chains.insert("fast".into(), chain);
    table
}

/// What a batch would make, read as if the kernel had told it. Elements aside.
fn told(change: &TableChange) -> Table {
    let bytes = Nftables::encode(change).unwrap();
    let mut listing = Listing::default();
    for answer in answers(&bytes) {
        let answer = answer.unwrap();
        let Content::Object(family, message) = answer.content().unwrap() else {
            continue;
        };
        let read = match i32::from(answer.kind & 0xff) {
            libc::NFT_MSG_NEWSET => listing.set(family, message),
            libc::NFT_MSG_NEWCHAIN => listing.chain(family, message),
            libc::NFT_MSG_NEWRULE => listing.rule(family, message),
            uapi::flowtable::MESSAGE_NEW => listing.flowtable(family, message),
            _ => Ok(()),
        };
        read.unwrap();
    }
    listing.finish().unwrap()
}

/// Without a kernel: this one may have no flowtables. The tests in a VM have.
#[test]
fn a_flowtable_reads_back_from_the_batch_that_makes_it() {
    let mut table = fast(&["eth0", "a.name@of15.by"]);
    for set in table.sets.values_mut() {
        set.elements.clear();
    }
    assert_eq!(told(&TableChange::Create(table.clone())), table);
    // As an edit: itself, and the chain that names it.
    let (other, without) = (fast(&["eth1"]), router());
    let edit = TableChange::between(Some(&other), Some(&fast(&["eth0", "a.name@of15.by"]))).unwrap();
    let told = told(&edit);
    assert_eq!(told.flowtables, table.flowtables);
    assert!(told.sets.is_empty() && told.chains.is_empty(), "{told}");
    assert!(matches!(
        TableChange::between(Some(&other), Some(&without)),
        Some(TableChange::Replace { .. })
    ));
}

#[test]
fn a_table_that_is_tried_is_never_there_and_the_answer_is_that_of_nft() {
    let name = "a_table_that_is_tried_is_never_there_and_the_answer_is_that_of_nft";
    in_namespace(name, |nftables| {
        nft(
            &["-f", "-"],
            "table ip others { chain c { type filter hook input priority 0; }; }",
        );
        let before = (nft(&["list", "ruleset"], ""), nftables.ask_generation().unwrap());
        let mut fast = fast(&["lo"]);
        fast.sets.clear();
        fast.chains.retain(|name, _| name == "fast");
        let mut plain = fast.clone();
        plain.flowtables.clear();
        plain.chains.get_mut("fast").unwrap().rules[0].statements = vec![Statement::Established];
        assert!(nftables.can_make(&plain).unwrap());
        let checked = nft_output(&["--check", "-f", "-"], &fast.to_string());
        assert_eq!(
            nftables.can_make(&fast).unwrap(),
            checked.status.success(),
            "{}",
            String::from_utf8_lossy(&checked.stderr)
        );
        assert_eq!(
            (nft(&["list", "ruleset"], ""), nftables.ask_generation().unwrap()),
            before
        );
    });
}

/// A table that maps `count` addresses both ways, and nothing else.
fn eips(count: u32) -> Table {
    let mut table = router();
    for (name, from, to) in [
        ("eip_to_vm", 0x0a00_0000, 0xac10_0000),
        ("vm_to_eip", 0xac10_0000, 0x0a00_0000),
    ] {
        let entries = (0..count).map(|n| (Element::key(address(from + n)), address(to + n)));
        table.sets.get_mut(name).unwrap().elements = entries.collect();
    }
    table
}

fn timed<T>(work: impl FnOnce() -> T) -> (Duration, T) {
    let start = Instant::now();
    let result = work();
    (start.elapsed(), result)
}

#[test]
fn tens_of_thousands_of_elements_are_one_batch() {
    in_namespace("tens_of_thousands_of_elements_are_one_batch", |nftables| {
        for count in [10_000, 65_000] {
            let table = eips(count);
            nftables.observe().unwrap();
            let create = TableChange::Create(table.clone());
            let (encode, _) = timed(|| super::super::encode::Batch::new(&create, Default::default(), 1, 1));
            let (commit, result) = timed(|| nftables.commit(&create));
            result.unwrap();
            let (observe, seen) = timed(|| nftables.observe().unwrap());
            assert_eq!(seen.as_deref(), Some(&table));
            let edit = TableChange::between(Some(&table), Some(&eips(count + 1))).unwrap();
            let (one_more, result) = timed(|| nftables.commit(&edit));
            result.unwrap();
            expect(nftables, Some(&eips(count + 1)));
            let (none, result) = timed(|| {
                nftables.commit(&TableChange::between(Some(&eips(count + 1)), Some(&eips(0))).unwrap())
            });
            result.unwrap();
            expect(nftables, Some(&eips(0)));
            make(nftables, None);
            println!(
                "{count} EIPs: encode {encode:?} commit {commit:?}, observe {observe:?}, one more {one_more:?}, delete all {none:?}"
            );
        }
    });
}

#[test]
fn a_map_has_room_for_more_and_one_that_it_is_too_small_for_is_replaced() {
    in_namespace(
        "a_map_has_room_for_more_and_one_that_it_is_too_small_for_is_replaced",
        |nftables| {
            let size = |nftables: &mut Nftables| nftables.observe().unwrap().unwrap().sets["eip_to_vm"].size;
            let change = |nftables: &mut Nftables, to| {
                TableChange::between(nftables.observe().unwrap().as_deref(), Some(&eips(to))).unwrap()
            };
            make(nftables, Some(&eips(0)));
            assert_eq!(size(nftables), 4_096);
            // As many as it was made for fit, also where all of them are changed at once.
            for to in [4_096, 1, 4_096] {
                assert!(matches!(change(nftables, to), TableChange::Edit { .. }), "{to}");
                make(nftables, Some(&eips(to)));
            }
            assert!(matches!(change(nftables, 4_097), TableChange::Replace { .. }));
            make(nftables, Some(&eips(4_097)));
            assert_eq!(size(nftables), 8_192);
            make(nftables, Some(&eips(7_000)));
            assert_eq!(size(nftables), 8_192);

            // One that another program made has no size, and need not have one.
            make(nftables, None);
            nft(&["-f", "-"], &eips(1).to_string());
            assert_eq!(size(nftables), 0);
            make(nftables, Some(&eips(5_000)));
            assert_eq!(size(nftables), 0);
        },
    );
}

#[test]
fn one_map_of_sixty_thousand_forwards() {
    in_namespace("one_map_of_sixty_thousand_forwards", |nftables| {
        let mut table = router();
        let forward = table.sets.get_mut("forward").unwrap();
        forward.elements = (1..=60_000)
            .map(|port| {
                (
                    Element::key(Tuple([0x0a00_0001, 6, port])),
                    Tuple([0xac10_0001, 65_536 - port, 0]),
                )
            })
            .collect();
        make(nftables, Some(&table));
        let listed = nft(&["list", "map", "ip", "kylin_vr", "forward"], "");
        assert_eq!(listed.matches("10.0.0.1 . tcp").count(), 60_000);
    });
}

#[test]
fn many_ranges_of_one_field_are_read_back_in_any_number_of_messages() {
    in_namespace(
        "many_ranges_of_one_field_are_read_back_in_any_number_of_messages",
        |nftables| {
            let mut table = router();
            let subnets = table.sets.get_mut("vpc_subnets").unwrap();
            // Adjacent, and to both ends of the address space.
            subnets.elements = (0..20_000u32)
                .map(|n| {
                    let last = if n == 19_999 {
                        u32::MAX
                    } else {
                        n * 0x1_0000 / 2 + 0x7fff
                    };
                    (
                        Element::range(address(n * 0x1_0000 / 2), address(last)),
                        Tuple::default(),
                    )
                })
                .collect();
            make(nftables, Some(&table));
            make(nftables, Some(&router()));
        },
    );
}

/// A user namespace may not go over the limits of the socket buffers: what is too large is said, not cut off.
#[test]
fn a_batch_that_cannot_be_sent_says_so() {
    in_namespace("a_batch_that_cannot_be_sent_says_so", |nftables| {
        nftables.observe().unwrap();
        nftables.socket.limit_room();
        let result = nftables.commit(&TableChange::Create(eips(65_000)));
        assert!(matches!(result, Err(Error::Unsupported { .. })), "{result:?}");
        let mut other = Nftables::open().unwrap();
        expect(&mut other, None);
    });
}

/// Elements are in intervals as the kernel sees it, not only as we list them.
#[test]
fn the_kernel_finds_what_is_in_a_range() {
    in_namespace("the_kernel_finds_what_is_in_a_range", |nftables| {
        let mut table = router();
        let ranges: &[(u32, u32)] = &[(0, 9), (10, 19), (30, 30), (u32::MAX - 9, u32::MAX)];
        let elements: Vec<_> = ranges
            .iter()
            .map(|(first, last)| ([*first, 0, 0], [*last, 0, 0], [0; 3]))
            .collect();
        table
            .sets
            .insert("vpc_subnets".to_owned(), set(&[Address], &[], true, &elements));
        make(nftables, Some(&table));
        for (number, inside) in [
            (0, true),
            (9, true),
            (10, true),
            (19, true),
            (20, false),
            (29, false),
            (30, true),
            (31, false),
            (u32::MAX - 10, false),
            (u32::MAX - 9, true),
            (u32::MAX, true),
        ] {
            let element = format!("{{ {} }}", Ipv4Addr::from(number));
            let output = nft_output(&["get", "element", "ip", "kylin_vr", "vpc_subnets", &element], "");
            assert_eq!(output.status.success(), inside, "{element}");
        }
    });
}

/// The batch may have been carried out or not; what it was is for a look to say.
#[test]
fn a_lost_answer_is_no_success() {
    in_namespace("a_lost_answer_is_no_success", |nftables| {
        nftables.observe().unwrap();
        nftables.socket.clog();
        assert!(matches!(
            nftables.commit(&TableChange::Create(router())),
            Err(Error::Interrupted)
        ));
        assert!(matches!(
            nftables.commit(&TableChange::Create(router())),
            Err(Error::Interrupted)
        ));
        expect(nftables, Some(&router()));
        nftables.socket.clog();
        assert!(matches!(
            nftables.commit(&TableChange::Create(router())),
            Err(Error::Refused { .. })
        ));
        expect(nftables, Some(&router()));
    });
}

#[test]
fn without_privilege_the_error_says_what_is_needed() {
    if nix::unistd::geteuid().is_root() {
        println!("skipped: without_privilege_the_error_says_what_is_needed: root has it");
        return;
    }
    let error = Nftables::open().unwrap().observe().unwrap_err();
    assert_eq!(
        error.to_string(),
        "read nftables table ip kylin_vr: operation not permitted (needs root, or CAP_NET_ADMIN)"
    );
}
