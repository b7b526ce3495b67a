//! Every row of the packet table, by the design note's example with a second subnet.

use std::collections::BTreeSet;

use super::*;

const ROUTER: &str = include_str!("../../examples/kylin-vr.yaml");
const MORE: &str = "
  - {eip: 10.90.2.254, protocal: tcp, port: 10, end_port: 12, vm-port: 100, vm-ip: 192.168.100.192}
  - {eip: 10.90.2.250, protocal: tcp, port: 22, vm-port: 2222, vm-ip: 192.168.100.192}
  - {eip: 10.90.3.37, protocal: udp, port: 53, vm-port: 5353, vm-ip: 192.168.101.10}
";

const OUTSIDE: Origin = Origin::Nic(Nic(0));
const A: Origin = Origin::Nic(Nic(1));
const B: Origin = Origin::Nic(Nic(2));

fn config() -> Config {
    let subnet_b = "   - {ipaddr: 192.168.101.254, prefix: 24, mac: \"52:54:84:11:00:04\"}\neip_list:";
    let parsed = Config::parse((ROUTER.replace("eip_list:", subnet_b) + MORE).as_bytes());
    parsed.config.unwrap_or_else(|| panic!("{:?}", parsed.problems))
}

/// What becomes of a packet, in the words of the lab: who gets it by which NIC, and as whose.
fn meets_without(missing: &[usize], from: Origin, source: &str, to: &str) -> String {
    let config = config();
    let nics: BTreeSet<LinkId> = (config.interfaces().iter().enumerate())
        .filter(|(index, _)| !missing.contains(index))
        .map(|(_, one)| one.link())
        .collect();
    let (destination, transport) = match to.split_once([':', '/']) {
        None => (to, Transport::Echo),
        Some((address, port)) => {
            let ports = Ports {
                source: 4000,
                destination: port.parse().unwrap(),
            };
            let is_udp = to.contains('/');
            (
                address,
                if is_udp {
                    Transport::Udp(ports)
                } else {
                    Transport::Tcp(ports)
                },
            )
        }
    };
    let packet = Packet {
        from,
        source: source.parse().unwrap(),
        destination: destination.parse().unwrap(),
        transport,
    };
    let model = Model::new(&config, &nics);
    let outcome = model.translate(&packet);
    assert_eq!(outcome, translate(&config, &nics, &packet));
    let row = outcome.row.map_or("-".to_owned(), |row| row.0.to_string());
    let fate = match outcome.fate {
        Fate::Delivered(one) => {
            let port = one
                .transport
                .ports()
                .map_or(String::new(), |(_, ports)| format!(":{}", ports.destination));
            let back = match model.way_back(&packet, &one).fate {
                Fate::Delivered(back) if Origin::Nic(back.nic) == from => String::new(),
                Fate::Router(_) if from == Origin::Router => String::new(),
                other => format!(", and back {other:?}"),
            };
            let hop = if one.next_hop == one.destination {
                String::new()
            } else {
                format!(" via {}", one.next_hop)
            };
            format!(
                "{} {}{port}{hop} sees {}{back}",
                one.nic, one.destination, one.source
            )
        }
        Fate::Router(receipt) => format!("router {} {:?}", receipt.address, receipt.answer),
        Fate::Dropped(reason) => format!("{reason:?}"),
    };
    let last = outcome
        .decided_by
        .last()
        .unwrap_or_else(|| panic!("nothing decided {packet}"));
    assert!(!last.text.is_empty());
    format!("{row}: {fate}")
}

fn meets(from: Origin, source: &str, to: &str) -> String {
    meets_without(&[], from, source, to)
}

fn decisions(from: Origin, source: &str, destination: &str, transport: Transport) -> Vec<String> {
    let config = config();
    let nics = config.interfaces().iter().map(|one| one.link()).collect();
    let packet = Packet {
        from,
        source: source.parse().unwrap(),
        destination: destination.parse().unwrap(),
        transport,
    };
    let outcome = translate(&config, &nics, &packet);
    outcome.decided_by.iter().map(ToString::to_string).collect()
}

#[test]
fn row_01_between_subnets_nothing_is_translated() {
    assert_eq!(
        meets(A, "192.168.100.190", "192.168.101.10:80"),
        "1: if_list[2] 192.168.101.10:80 sees 192.168.100.190"
    );
}

#[test]
fn row_02_a_vm_without_an_eip_is_seen_as_the_router() {
    assert_eq!(
        meets(B, "192.168.101.10", "198.51.100.10:80"),
        "2: if_list[0] 198.51.100.10:80 via 10.90.3.1 sees 10.90.3.37"
    );
    assert_eq!(
        meets(B, "192.168.101.10", "10.90.3.9"),
        "2: if_list[0] 10.90.3.9 sees 10.90.3.37"
    );
}

#[test]
fn row_03_a_vm_with_an_eip_is_seen_as_that() {
    assert_eq!(
        meets(A, "192.168.100.191", "198.51.100.10/53"),
        "3: if_list[0] 198.51.100.10:53 via 10.90.3.1 sees 10.90.2.251"
    );
}

#[test]
fn row_04_an_eip_leads_to_its_vm_and_the_client_keeps_its_address() {
    for to in ["10.90.2.250:22", "10.90.2.250/7", "10.90.2.250:80"] {
        let port = &to[12..];
        assert_eq!(
            meets(OUTSIDE, "198.51.100.10", to),
            format!("4: if_list[1] 192.168.100.190:{port} sees 198.51.100.10")
        );
    }
    assert_eq!(
        meets(OUTSIDE, "198.51.100.10", "10.90.2.250"),
        "4: if_list[1] 192.168.100.190 sees 198.51.100.10"
    );
}

#[test]
fn row_05_inside_an_eip_leads_to_its_vm_and_the_caller_is_seen_as_outside() {
    for (from, source, seen) in [
        (A, "192.168.100.191", "10.90.2.251"),
        (A, "192.168.100.190", "10.90.2.250"),
        (A, "192.168.100.7", "10.90.3.37"),
        (B, "192.168.101.10", "10.90.3.37"),
    ] {
        assert_eq!(
            meets(from, source, "10.90.2.250:22"),
            format!("5: if_list[1] 192.168.100.190:22 sees {seen}")
        );
    }
}

#[test]
fn row_06_a_forward_leads_port_by_port_and_the_client_keeps_its_address() {
    for (to, at) in [
        ("10.90.2.254:80", "192.168.100.190:80"),
        ("10.90.2.254:82", "192.168.100.190:82"),
        ("10.90.2.254:11", "192.168.100.192:101"),
        ("10.90.2.254:12", "192.168.100.192:102"),
    ] {
        assert_eq!(
            meets(OUTSIDE, "198.51.100.10", to),
            format!("6: if_list[1] {at} sees 198.51.100.10")
        );
    }
    assert_eq!(
        meets(OUTSIDE, "198.51.100.10", "10.90.3.37/53"),
        "6: if_list[2] 192.168.101.10:5353 sees 198.51.100.10"
    );
}

#[test]
fn row_07_inside_a_forward_works_as_outside() {
    assert_eq!(
        meets(A, "192.168.100.190", "10.90.2.254:80"),
        "7: if_list[1] 192.168.100.190:80 sees 10.90.2.250"
    );
    assert_eq!(
        meets(B, "192.168.101.10", "10.90.3.37/53"),
        "7: if_list[2] 192.168.101.10:5353 sees 10.90.3.37"
    );
}

#[test]
fn row_08_the_router_itself_reaches_eips_and_forwards() {
    assert_eq!(
        meets(Origin::Router, "10.90.2.250", "10.90.2.250:22"),
        "8: if_list[1] 192.168.100.190:22 sees 10.90.2.250"
    );
    assert_eq!(
        meets(Origin::Router, "10.90.3.37", "10.90.2.254:11"),
        "8: if_list[1] 192.168.100.192:101 sees 10.90.3.37"
    );
}

#[test]
fn row_09_the_router_itself_is_not_translated() {
    assert_eq!(
        meets(Origin::Router, "192.168.100.254", "198.51.100.10/53"),
        "9: if_list[0] 198.51.100.10:53 via 10.90.3.1 sees 192.168.100.254"
    );
}

#[test]
fn row_10_other_ports_of_a_forward_are_not_forwarded_and_ping_is_answered() {
    let client = "198.51.100.10";
    assert_eq!(
        meets(OUTSIDE, client, "10.90.2.254"),
        "10: router 10.90.2.254 EchoReply"
    );
    assert_eq!(
        meets(OUTSIDE, client, "10.90.2.254:83"),
        "10: router 10.90.2.254 Reset"
    );
    assert_eq!(
        meets(OUTSIDE, client, "10.90.2.254/80"),
        "10: router 10.90.2.254 PortUnreachable"
    );
    let ports = Ports {
        source: 4000,
        destination: 83,
    };
    let said = decisions(OUTSIDE, client, "10.90.2.254", Transport::Tcp(ports));
    assert_eq!(
        said.last().map(String::as_str),
        Some(
            "no forward for tcp 83 on 10.90.2.254; the nearest is port_forward_list[0], ports 80-82, line 18"
        )
    );
}

#[test]
fn decisions_name_the_entries_in_the_order_of_the_way() {
    let said = decisions(A, "192.168.100.191", "10.90.2.250", Transport::Echo);
    assert_eq!(
        said,
        [
            "destination 10.90.2.250 becomes 192.168.100.190 (eip_list[0], line 13)",
            "192.168.100.190 is in the subnet of if_list[1], line 8",
            "source 192.168.100.191 becomes its elastic IP 10.90.2.251 (eip_list[1], line 15)",
        ]
    );
}

#[test]
fn false_sources_are_dropped_inside_and_those_of_the_router_everywhere() {
    assert_eq!(meets(A, "192.168.101.10", "198.51.100.10"), "-: FalseSource");
    assert_eq!(meets(A, "198.51.100.10", "192.168.101.10"), "-: FalseSource");
    assert_eq!(meets(A, "192.168.100.254", "198.51.100.10"), "-: OwnSource");
    assert_eq!(meets(OUTSIDE, "10.90.2.250", "10.90.2.251"), "4: OwnSource");
    assert_eq!(meets(OUTSIDE, "127.0.0.1", "10.90.2.251"), "-: MartianSource");
    // Outside, what has a VM's source is taken for that VM's; its answers go to the VM.
    assert!(
        meets(OUTSIDE, "192.168.100.7", "10.90.2.250")
            .starts_with("5: if_list[1] 192.168.100.190 sees 10.90.3.37")
    );
}

#[test]
fn what_is_for_a_pending_nic_goes_nowhere() {
    assert_eq!(
        meets_without(&[2], A, "192.168.100.7", "192.168.101.10"),
        "-: SubnetPending"
    );
    assert_eq!(
        meets_without(&[2], B, "192.168.101.10", "192.168.100.7"),
        "-: NicMissing"
    );
    assert_eq!(
        meets_without(&[0], A, "192.168.100.7", "198.51.100.10"),
        "-: NoRoute"
    );
    // An elastic IP does not need the external NIC inside.
    assert_eq!(
        meets_without(&[0], A, "192.168.100.7", "10.90.2.251"),
        "5: if_list[1] 192.168.100.191 sees 10.90.3.37"
    );
    // The router's own address is gone with its NIC, but its forwards are not, for others than the router itself.
    assert_eq!(
        meets_without(&[0], A, "192.168.100.7", "10.90.3.37/53"),
        "7: if_list[2] 192.168.101.10:5353 sees 10.90.3.37"
    );
    assert_eq!(
        meets_without(&[0], Origin::Router, "192.168.100.254", "10.90.3.37/53"),
        "8: NoRoute"
    );
}

#[test]
fn broadcasts_and_multicasts_are_not_forwarded() {
    assert_eq!(meets(A, "192.168.100.7", "192.168.101.255"), "-: Broadcast");
    assert_eq!(meets(A, "192.168.100.7", "255.255.255.255"), "-: Broadcast");
    assert_eq!(meets(A, "192.168.100.7", "224.0.0.5"), "-: Multicast");
    for to in ["0.0.0.0", "255.255.255.255"] {
        assert_eq!(meets(A, "0.0.0.0", to), "-: Broadcast");
    }
    assert_eq!(meets(A, "0.0.0.0", "192.168.101.10"), "-: MartianSource");
    for to in ["0.0.0.0", "127.0.0.1"] {
        assert_eq!(meets(A, "192.168.100.7", to), "-: MartianDestination");
    }
}

#[test]
fn an_empty_configuration_is_no_router() {
    let packet = Packet {
        from: Origin::Router,
        source: [10, 0, 0, 1].into(),
        destination: [10, 0, 0, 2].into(),
        transport: Transport::Echo,
    };
    let outcome = translate(&Config::default(), &BTreeSet::new(), &packet);
    assert_eq!(outcome.fate, Fate::Dropped(Reason::NoRouter));
}

#[test]
fn the_routers_own_source_is_that_of_the_way() {
    let config = config();
    let nics = config.interfaces().iter().map(|one| one.link()).collect();
    let model = Model::new(&config, &nics);
    for (to, source) in [
        ("10.90.2.250", "10.90.2.250"),
        ("192.168.101.10", "192.168.101.254"),
        ("198.51.100.10", "10.90.3.37"),
    ] {
        assert_eq!(
            model.own_source(to.parse().unwrap()),
            Some(source.parse().unwrap())
        );
    }
}

#[test]
fn with_a_pool_a_vm_is_seen_as_its_address_of_it_and_the_entry_is_named() {
    let text = ROUTER.to_owned() + "snat_pool: [10.90.2.240-10.90.2.241, 10.90.3.37]\n";
    let config = Config::parse(text.as_bytes()).config.unwrap();
    let nics = config.interfaces().iter().map(|one| one.link()).collect();
    let model = Model::new(&config, &nics);
    let outcome = |from, source: [u8; 4], destination: [u8; 4]| {
        model.translate(&Packet {
            from,
            source: source.into(),
            destination: destination.into(),
            transport: Transport::Echo,
        })
    };
    // By the last byte: 192 mod 3 is 0.
    for (last, expected, entry) in [
        (192, "10.90.2.240", "snat_pool[0]"),
        (193, "10.90.2.241", "snat_pool[0]"),
        (194, "10.90.3.37", "snat_pool[1]"),
        (195, "10.90.2.240", "snat_pool[0]"),
        // An elastic IP comes first.
        (190, "10.90.2.250", "eip_list[0]"),
    ] {
        for (destination, row) in [
            ([198, 51, 100, 10], if last == 190 { 3 } else { 2 }),
            ([10, 90, 2, 251], 5),
        ] {
            let outcome = outcome(A, [192, 168, 100, last], destination);
            let Fate::Delivered(delivery) = outcome.fate else {
                panic!("{outcome:?}")
            };
            assert_eq!(
                (delivery.source.to_string().as_str(), outcome.row),
                (expected, Some(Row(row)))
            );
            let decision = outcome.decided_by.last().unwrap();
            assert_eq!(decision.entry.as_ref().unwrap().path, entry);
        }
    }
    let to_the_pool = outcome(OUTSIDE, [198, 51, 100, 10], [10, 90, 2, 240]).fate;
    assert!(matches!(to_the_pool, Fate::Router(_)), "{to_the_pool:?}");
}

#[test]
fn a_network_behind_another_router_is_inside_if_the_file_says_so() {
    let text = ROUTER.to_owned()
        + "route_list:
  - {to: 172.30.0.0/16, via: 192.168.100.2, inside: true}
  - {to: 172.30.9.0/24, via: 10.90.3.9}
  - {to: 172.30.9.0/24, via: 192.168.100.3, metric: 5}
  - {to: 172.31.0.0/16, via: 192.168.100.4}
";
    let config = Config::parse(text.as_bytes()).config.unwrap();
    let whole: BTreeSet<LinkId> = config.interfaces().iter().map(|one| one.link()).collect();
    let outcome = |missing: &[usize], from, source: &str, destination: &str| {
        let gone: Vec<LinkId> = missing
            .iter()
            .map(|index| config.interfaces()[*index].link())
            .collect();
        let nics = whole.iter().filter(|id| !gone.contains(id)).copied().collect();
        let packet = Packet {
            from,
            source: source.parse().unwrap(),
            destination: destination.parse().unwrap(),
            transport: Transport::Echo,
        };
        match Model::new(&config, &nics).translate(&packet).fate {
            Fate::Delivered(one) => format!("{} by {} as {}", one.next_hop, one.nic, one.source),
            other => format!("{other:?}"),
        }
    };
    let vm = "192.168.100.7";
    assert_eq!(
        outcome(&[], A, vm, "172.30.1.1"),
        "192.168.100.2 by if_list[1] as 192.168.100.7"
    );
    // A longer prefix wins; what is in a network that is inside is inside, whatever way leads there.
    assert_eq!(
        outcome(&[], A, vm, "172.30.9.1"),
        "10.90.3.9 by if_list[0] as 192.168.100.7"
    );
    assert_eq!(
        outcome(&[], A, vm, "172.31.0.1"),
        "192.168.100.4 by if_list[1] as 10.90.3.37"
    );
    assert_eq!(
        outcome(&[], A, "172.30.1.1", "198.51.100.10"),
        "10.90.3.1 by if_list[0] as 10.90.3.37"
    );
    assert_eq!(
        outcome(&[], A, "172.31.0.1", "198.51.100.10"),
        "10.90.3.1 by if_list[0] as 172.31.0.1"
    );
    assert_eq!(
        outcome(&[], OUTSIDE, "172.30.9.1", "192.168.100.7"),
        "192.168.100.7 by if_list[1] as 172.30.9.1"
    );
    assert_eq!(
        outcome(&[], A, "172.30.9.1", "198.51.100.10"),
        "Dropped(FalseSource)"
    );
    // Without the NIC of one way the next one is taken, and what is inside goes nowhere else.
    assert_eq!(
        outcome(&[0], A, vm, "172.30.9.1"),
        "192.168.100.3 by if_list[1] as 192.168.100.7"
    );
    assert_eq!(
        outcome(&[1], OUTSIDE, "198.51.100.10", "172.30.1.1"),
        "Dropped(SubnetPending)"
    );
    assert_eq!(
        outcome(&[1], OUTSIDE, "198.51.100.10", "172.31.1.1"),
        "10.90.3.1 by if_list[0] as 198.51.100.10"
    );
}
