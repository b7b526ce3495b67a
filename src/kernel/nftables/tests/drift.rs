//! What others did to our table is seen as a difference, and can be repaired and undone.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::*;
use crate::kernel::error::Error;

/// Does this to our table with nft(8); it must be seen, repaired, and the repair must be undoable.
fn drift(nftables: &mut Nftables, commands: &str) {
    make(nftables, Some(&router()));
    nft(&["-f", "-"], commands);
    let seen = nftables.observe().unwrap();
    assert_ne!(seen.as_deref(), Some(&router()), "{commands}");
    assert_eq!(nftables.observe().unwrap(), seen, "two looks see the same");
    let repair = TableChange::between(seen.as_deref(), Some(&router())).unwrap();
    nftables
        .commit(&repair)
        .unwrap_or_else(|error| panic!("{commands}: {error}\n{repair:#?}"));
    expect(nftables, Some(&router()));
    nftables
        .commit(&repair.inverse())
        .unwrap_or_else(|error| panic!("undo {commands}: {error}"));
    make(nftables, Some(&router()));
}

#[test]
fn every_change_by_others_is_seen_and_repaired() {
    in_namespace("every_change_by_others_is_seen_and_repaired", |nftables| {
        for commands in [
            "add rule ip kylin_vr source counter",
            "add rule ip kylin_vr source counter accept",
            "insert rule ip kylin_vr source ip saddr 10.0.0.1 return",
            "add rule ip kylin_vr source ip saddr { 10.0.0.1, 10.0.0.2 } drop",
            "add rule ip kylin_vr source ip saddr @vpc_subnets return",
            "add rule ip kylin_vr destination meta l4proto tcp dnat to 10.0.0.1:80",
            "add rule ip kylin_vr destination meta l4proto tcp redirect to :80",
            "add rule ip kylin_vr source snat to 10.0.0.1-10.0.0.9 random",
            "add rule ip kylin_vr source snat to 10.0.0.1 persistent",
            "add rule ip kylin_vr source snat to ip saddr map { 10.0.0.1 : 10.0.0.2 }",
            "add rule ip kylin_vr source masquerade",
            "add rule ip kylin_vr keep_source meta mark set 1",
            "add rule ip kylin_vr keep_source meta mark & 1 != 1 return",
            "add rule ip kylin_vr keep_source udp dport set 53",
            "flush chain ip kylin_vr source",
            "flush set ip kylin_vr vpc_subnets",
            "flush ruleset",
            "add element ip kylin_vr eip_to_vm { 10.0.0.1 : 10.0.0.2 }",
            "add element ip kylin_vr vpc_subnets { 0.0.0.0/8, 10.0.0.0/24, 10.0.1.0/24, 255.255.255.0/24 }",
            "delete element ip kylin_vr vpc_subnets { 192.168.100.0/24 }",
            "delete element ip kylin_vr forward_ranges { 10.90.2.252 . tcp . 1000-1999 }",
            "flush set ip kylin_vr vpc_subnets; add element ip kylin_vr vpc_subnets { 0.0.0.0/0 }",
            "add element ip kylin_vr eip_to_vm { * : 10.0.0.2 }",
            "add chain ip kylin_vr mine",
            "add chain ip kylin_vr mine; add rule ip kylin_vr source jump mine",
            "add chain ip kylin_vr mine { type route hook output priority 0; }",
            "add chain ip kylin_vr source { policy drop; }",
            "add chain ip kylin_vr mine { type filter hook forward priority 0; policy drop; }",
            "add set ip kylin_vr mine { type ipv4_addr; }",
            "add set ip kylin_vr mine { type ipv4_addr; timeout 1h; }",
            "add set ip kylin_vr mine { type ipv4_addr; size 8; elements = { 10.0.0.1 } }",
            "add set ip kylin_vr mine { type ipv4_addr; flags dynamic, timeout; }; \
             add rule ip kylin_vr keep_source update @mine { ip saddr }",
            "add set ip kylin_vr mine { type ipv4_addr; counter; }",
            "add set ip kylin_vr mine { type ipv6_addr; elements = { ::1 } }; \
             add rule ip kylin_vr keep_source meta mark 1 accept",
            "add map ip kylin_vr mine { type ipv4_addr : verdict; elements = { 10.0.0.1 : drop } }; \
             add rule ip kylin_vr keep_source ip saddr vmap @mine",
            "add map ip kylin_vr mine { type ipv4_addr : mark; elements = { 10.0.0.1 : 1 } }",
            "delete table ip kylin_vr; add table ip kylin_vr { flags dormant; }",
            "delete table ip kylin_vr",
            "delete table ip kylin_vr; add table ip kylin_vr",
        ] {
            drift(nftables, commands);
        }
    });
}

#[test]
fn other_tables_are_none_of_ours() {
    in_namespace("other_tables_are_none_of_ours", |nftables| {
        let others = "table ip of_somebody {\n\tset vpc_subnets {\n\t\ttype ipv4_addr\n\t}\n\n\tchain source {\n\t\t\
                      type nat hook postrouting priority srcnat; policy accept;\n\t\tmasquerade\n\t}\n}\n";
        let same_name = others.replace("table ip of_somebody", "table ip6 kylin_vr");
        nft(&["-f", "-"], &format!("{others}{same_name}"));
        let before = nft(&["list", "ruleset"], "");
        expect(nftables, None);
        make(nftables, Some(&router()));
        make(nftables, Some(&Table::default()));
        make(nftables, None);
        assert_eq!(nft(&["list", "ruleset"], ""), before);
    });
}

#[test]
fn a_set_of_the_wrong_type_is_replaced() {
    in_namespace("a_set_of_the_wrong_type_is_replaced", |nftables| {
        for commands in [
            "add set ip kylin_vr vpc_subnets { type ipv4_addr; }",
            "add set ip kylin_vr vpc_subnets { type ipv4_addr; flags interval, timeout; }",
            "add set ip kylin_vr vpc_subnets { type ether_addr; }; \
             add chain ip kylin_vr source { type nat hook postrouting priority 100; }; \
             add rule ip kylin_vr source ether saddr @vpc_subnets",
        ] {
            nft(&["-f", "-"], &format!("add table ip kylin_vr; {commands}"));
            let seen = nftables.observe().unwrap();
            let change = TableChange::between(seen.as_deref(), Some(&router())).unwrap();
            assert!(matches!(change, TableChange::Replace { .. }), "{change:?}");
            nftables.commit(&change).unwrap();
            expect(nftables, Some(&router()));
            nftables.commit(&change.inverse()).unwrap();
            make(nftables, None);
        }
    });
}

/// Somebody turns one table into another all the time: a look sees one of the two and never a mix.
#[test]
fn a_look_that_others_disturb_is_repeated() {
    in_namespace("a_look_that_others_disturb_is_repeated", |nftables| {
        let one = router();
        let mut other = router();
        for set in other.sets.values_mut() {
            set.elements.clear();
        }
        for rule in other.chains.values_mut().flat_map(|chain| &mut chain.rules) {
            rule.comment = "other".to_owned();
        }
        make(nftables, Some(&one));
        let change = TableChange::between(Some(&one), Some(&other)).unwrap();
        let (stop, start) = (AtomicBool::new(false), Instant::now());
        std::thread::scope(|scope| {
            // A new thread is in the namespace of the one that starts it.
            let writer = scope.spawn(|| {
                let mut writer = Nftables::open().unwrap();
                writer.observe().unwrap();
                let mut changes = 0;
                for change in [&change, &change.inverse()].into_iter().cycle() {
                    writer.commit(change).unwrap();
                    changes += 1;
                    // Also when the looks have failed.
                    if stop.load(Ordering::Relaxed) || start.elapsed() > Duration::from_secs(20) {
                        break;
                    }
                    // A look takes some 100 us; the pauses are now shorter, now longer.
                    std::thread::sleep(Duration::from_micros(u64::from(changes * 37 % 700_u32)));
                }
                changes
            });
            let mut seen = [0; 2];
            let (mut mix, mut mixed) = (None, false);
            for _ in 0..2_000 {
                match nftables.observe() {
                    Ok(Some(table)) if *table == one => seen[0] += 1,
                    Ok(Some(table)) if *table == other => seen[1] += 1,
                    Err(Error::Interrupted) => {}
                    // The kernel counts the generation up a moment before it shows it (`nf_tables_commit`): a look
                    // that begins in between is a mix, which a second one right after it is not.
                    Ok(_) if !mixed => {
                        mixed = true;
                        continue;
                    }
                    // Not a panic: the scope would wait for the writer, which waits to be stopped.
                    other => {
                        mix = Some(other);
                        break;
                    }
                }
                mixed = false;
            }
            stop.store(true, Ordering::Relaxed);
            let changes = writer.join().unwrap();
            assert!(mix.is_none(), "{mix:#?}");
            assert!(
                changes > 10 && seen[0] > 0 && seen[1] > 0,
                "{changes} changes, seen {seen:?}"
            );
        });
    });
}
