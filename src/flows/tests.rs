//! Flows before and after a change of the file, by the tables that it makes.

use super::*;
use crate::config::Config;
use crate::features;
use crate::model::nft::TableChange;

const HEAD: &str = "if_list:
  - {ipaddr: 10.90.3.37, prefix: 24, mac: '52:54:84:00:08:45', gateway: 10.90.3.1}
  - {ipaddr: 192.168.100.254, prefix: 24, mac: '52:54:84:11:00:03'}
";
const EIP: &str = "eip_list: [{eip: 10.90.2.250, vm-ip: 192.168.100.190}]\n";
const FORWARD: &str = "port_forward_list: [{eip: 10.90.2.254, protocal: tcp, port: 80, vm-port: 8080, vm-ip: 192.168.100.190}]\n";

const TCP: u8 = 6;
const ICMP: u8 = 1;

/// The router of this file.
fn ruling(text: &str) -> Ruling {
    let config = Config::parse(text.as_bytes()).config.unwrap();
    let desired = features::desired(&config);
    let routes = desired
        .routes
        .iter()
        .filter(|route| route.kind == RouteKind::Local);
    let addresses = config.interfaces().iter().map(|one| one.address.addr());
    Ruling {
        local: routes
            .map(|route| route.destination.addr())
            .chain(addresses)
            .collect(),
        table: desired.table.map(Arc::new),
    }
}

/// A packet as `198.51.100.10 10.90.2.250:80`, without a port: ICMP.
fn packet(text: &str) -> Packet {
    let (source, destination) = text.split_once(' ').unwrap();
    let (destination, port) = match destination.split_once(':') {
        Some((address, port)) => (address, Some(port.parse().unwrap())),
        None => (destination, None),
    };
    Packet {
        protocol: if port.is_some() { TCP } else { ICMP },
        source: source.parse().unwrap(),
        destination: destination.parse().unwrap(),
        destination_port: port,
    }
}

/// Whether a flow that began under one file is stale under another one.
fn stale(before: &str, first: &str, now: &str) -> bool {
    let (before, now) = (ruling(before), ruling(now));
    let flow = begun(first, &before);
    is_stale(&flow, &[Judge::from(&before)], &Judge::from(&now))
}

/// A flow as it begins under a ruling.
fn begun(first: &str, ruling: &Ruling) -> Flow {
    let original = packet(first);
    Flow {
        original,
        translated: Judge::from(ruling).translate(original),
    }
}

#[test]
fn a_flow_is_stale_if_and_only_if_its_translation_changed() {
    let none = HEAD.to_owned();
    let eip = format!("{HEAD}{EIP}");
    let moved = eip.replace("192.168.100.190", "192.168.100.191");
    let forward = format!("{HEAD}{FORWARD}");
    let outside = forward.replace("8080", "8081");
    let external = HEAD.replace("10.90.3.37", "10.90.3.38");
    let nothing = String::new();
    let cases: &[(&str, &str, &str, bool)] = &[
        // An EIP unbound, moved, or bound to a VM that was masqueraded.
        (&eip, "198.51.100.10 10.90.2.250:22", &none, true),
        (&eip, "198.51.100.10 10.90.2.250", &none, true),
        (&eip, "198.51.100.10 10.90.2.250:22", &moved, true),
        (&eip, "198.51.100.10 10.90.2.250", &moved, true),
        (&eip, "192.168.100.190 198.51.100.10:80", &none, true),
        (&eip, "192.168.100.190 198.51.100.10:80", &moved, true),
        (&none, "192.168.100.190 198.51.100.10:80", &eip, true),
        (&none, "192.168.100.190 198.51.100.10", &eip, true),
        (&eip, "192.168.100.192 10.90.2.250:22", &moved, true),
        // Others beside it.
        (&none, "192.168.100.191 198.51.100.10:80", &eip, false),
        (&eip, "192.168.100.192 198.51.100.10:80", &moved, false),
        (
            &eip,
            "198.51.100.10 10.90.2.250:22",
            &format!("{HEAD}{EIP}{FORWARD}"),
            false,
        ),
        // Private traffic, and the router's own.
        (&none, "192.168.100.190 192.168.100.254:22", &eip, false),
        (&none, "192.168.100.190 10.90.3.37:22", &eip, false),
        (&none, "192.168.100.190 10.90.3.37", &eip, false),
        (&none, "192.168.100.190 255.255.255.255:67", &eip, false),
        (&none, "10.90.3.37 198.51.100.10:80", &eip, false),
        (&none, "127.0.0.1 127.0.0.1:80", &eip, false),
        (&eip, "10.90.2.250 10.90.2.250:22", &moved, true),
        (&none, "10.90.3.37 10.90.2.250:22", &eip, true),
        // A forward removed, pointed elsewhere, or to another port; other ports of its address.
        (&forward, "198.51.100.10 10.90.2.254:80", &none, true),
        (&forward, "198.51.100.10 10.90.2.254:80", &outside, true),
        (&forward, "198.51.100.10 10.90.2.254:81", &outside, false),
        (&forward, "198.51.100.10 10.90.2.254", &none, false),
        // To the router itself, and through it afterwards: with another source.
        (&forward, "192.168.100.190 10.90.2.254", &none, true),
        // Another external address.
        (&none, "192.168.100.190 198.51.100.10:80", &external, true),
        (
            &eip,
            "192.168.100.190 198.51.100.10:80",
            &format!("{external}{EIP}"),
            false,
        ),
        // NAT comes and goes.
        (&nothing, "192.168.100.190 198.51.100.10:80", &none, true),
        (&nothing, "198.51.100.10 10.90.2.250:80", &eip, true),
        (&nothing, "172.17.0.2 198.51.100.10:80", &eip, false),
        (&eip, "198.51.100.10 10.90.2.250:22", &nothing, true),
        (&eip, "198.51.100.10 10.90.3.37:22", &nothing, false),
    ];
    for (before, first, now, expected) in cases {
        assert_eq!(
            stale(before, first, now),
            *expected,
            "{first}, from\n{before}to\n{now}"
        );
        assert!(!stale(now, first, now), "{first}: nothing changed");
    }
}

#[test]
fn what_somebody_else_translated_is_left_alone() {
    let (none, eip) = (ruling(HEAD), ruling(&format!("{HEAD}{EIP}")));
    let judges = [Judge::from(&none)];
    // Docker's published port on the router's address, and its masquerading.
    for (first, translated) in [
        ("198.51.100.10 10.90.3.37:8080", "198.51.100.10 172.17.0.2:80"),
        ("172.17.0.2 198.51.100.10:80", "10.90.3.37 198.51.100.10:80"),
        // Our own, and of a VM that nothing changed for: to a port that another one had.
        ("192.168.100.191 198.51.100.10:80", "10.90.3.37 198.51.100.10:80"),
    ] {
        let flow = Flow {
            original: packet(first),
            translated: packet(translated),
        };
        assert!(!is_stale(&flow, &judges, &Judge::from(&eip)), "{first}");
    }
}

#[test]
fn a_flow_that_does_what_is_in_force_now_lives_whatever_was_in_between() {
    let eip = ruling(&format!("{HEAD}{EIP}"));
    let flow = begun("198.51.100.10 10.90.2.250:22", &eip);
    let flushed = Ruling {
        table: None,
        local: eip.local.clone(),
    };
    let untranslated = begun("198.51.100.10 10.90.2.250:22", &flushed);
    let judges = [Judge::from(&flushed)];
    assert!(!is_stale(&flow, &judges, &Judge::from(&eip)));
    assert!(is_stale(&untranslated, &judges, &Judge::from(&eip)));
}

#[test]
fn what_was_before_the_changes_of_killed_runs_is_told_from_what_is_there() {
    let rulings: Vec<Ruling> = [
        format!("{HEAD}{EIP}"),
        format!("{HEAD}{EIP}{FORWARD}"),
        HEAD.to_owned(),
        String::new(),
    ]
    .iter()
    .map(|text| ruling(text))
    .collect();
    let changes: Vec<Unsettled> = rulings
        .windows(2)
        .map(|pair| Unsettled {
            table: Former::of(
                &TableChange::between(pair[0].table.as_deref(), pair[1].table.as_deref()).unwrap(),
            ),
            come: pair[1].local.difference(&pair[0].local).copied().collect(),
            gone: pair[0].local.difference(&pair[1].local).copied().collect(),
        })
        .collect();
    let now = Observed::default();
    let told = former(&now, &changes);
    assert_eq!(told.into_iter().rev().collect::<Vec<_>>(), rulings[..3]);
}
