use super::super::FieldType::{InetProto, InetService, Ipv4Addr as Address};
use super::*;

const TCP: u8 = 6;
const ICMP: u8 = 1;

fn address(text: &str) -> Ipv4Addr {
    text.parse().unwrap()
}

fn packet(protocol: u8, source: &str, destination: &str, port: u16) -> Packet {
    Packet {
        protocol,
        source: address(source),
        destination: address(destination),
        destination_port: (protocol != ICMP).then_some(port),
    }
}

fn set(
    key: &[super::super::FieldType],
    data: &[super::super::FieldType],
    interval: bool,
    elements: &[([u32; 3], [u32; 3], [u32; 3])],
) -> Set {
    let mut set = Set::new(key, data, interval);
    set.elements = elements
        .iter()
        .map(|(first, last, value)| (Element::range(Tuple(*first), Tuple(*last)), Tuple(*value)))
        .collect();
    set
}

fn chain(kind: ChainKind, hook: Hook, priority: i32, rules: &[&[Statement]]) -> Chain {
    let rules = rules
        .iter()
        .map(|statements| Rule {
            statements: statements.to_vec(),
            comment: String::new(),
        })
        .collect();
    Chain {
        kind,
        hook,
        priority,
        rules,
    }
}

fn table(sets: &[(&str, Set)], chains: &[Chain]) -> Table {
    let name = |(index, chain): (usize, &Chain)| (format!("c{index}"), chain.clone());
    Table {
        sets: sets
            .iter()
            .map(|(name, set)| ((*name).to_owned(), set.clone()))
            .collect(),
        flowtables: Default::default(),
        chains: chains.iter().enumerate().map(name).collect(),
    }
}

fn map(key: &[Field], map: &str, port: bool) -> NatTarget {
    NatTarget::Map {
        key: key.to_vec(),
        map: map.to_owned(),
        port,
    }
}

fn shown(packet: Packet) -> String {
    let port = packet
        .destination_port
        .map_or(String::new(), |port| format!(":{port}"));
    format!("{} -> {}{port}", packet.source, packet.destination)
}

fn forwarded(table: &Table, packet: Packet) -> String {
    shown(Translation::new(table).of(packet, Origin::Forwarded, |_| false))
}

#[test]
fn a_plain_map_is_looked_up_by_the_whole_key() {
    let key = [Field::IpDaddr, Field::L4Proto, Field::ThDport];
    let eip = u32::from(address("10.0.0.1"));
    let vm = u32::from(address("192.168.0.1"));
    let ports = set(
        &[Address, InetProto, InetService],
        &[Address, InetService],
        false,
        &[([eip, 6, 80], [eip, 6, 80], [vm, 8080, 0])],
    );
    let dnat = Statement::Dnat(map(&key, "ports", true));
    let table = table(
        &[("ports", ports)],
        &[chain(ChainKind::Nat, Hook::Prerouting, -100, &[&[dnat]])],
    );
    for (protocol, port, expected) in [
        (TCP, 80, "1.1.1.1 -> 192.168.0.1:8080"),
        (TCP, 81, "1.1.1.1 -> 10.0.0.1:81"),
        (17, 80, "1.1.1.1 -> 10.0.0.1:80"),
        (ICMP, 0, "1.1.1.1 -> 10.0.0.1"),
    ] {
        assert_eq!(
            forwarded(&table, packet(protocol, "1.1.1.1", "10.0.0.1", port)),
            expected
        );
    }
    // At the hook of what the router itself sends there is no such chain.
    let own = Translation::new(&table).of(packet(TCP, "1.1.1.1", "10.0.0.1", 80), Origin::Own, |_| false);
    assert_eq!(shown(own), "1.1.1.1 -> 10.0.0.1:80");
}

#[test]
fn a_source_is_looked_up_by_its_last_byte() {
    let pool = [(0, 1), (255, 2)].map(|(byte, to)| ([byte, 0, 0], [byte, 0, 0], [to, 0, 0]));
    let snat = Statement::Snat(map(&[Field::IpSaddrLastByte], "pool", false));
    let table = table(
        &[("pool", set(&[Address], &[Address], false, &pool))],
        &[chain(ChainKind::Nat, Hook::Postrouting, 100, &[&[snat]])],
    );
    for (source, expected) in [
        ("192.168.7.0", "0.0.0.1"),
        ("10.0.0.255", "0.0.0.2"),
        ("10.0.255.1", "10.0.255.1"),
    ] {
        let seen = forwarded(&table, packet(TCP, source, "8.8.8.8", 80));
        assert_eq!(seen, format!("{expected} -> 8.8.8.8:80"));
    }
}

/// `ip daddr ADDRESS meta l4proto PROTOCOL th dport FIRST-LAST dnat to VM`
fn range_rule([address, protocol, first]: [u32; 3], last: u32, vm: u32) -> [Statement; 3] {
    [
        Statement::InSubnet {
            field: Field::IpDaddr,
            subnet: Ipv4Addr::from(address).into(),
            negate: false,
        },
        Statement::Ports {
            protocol: protocol as u8,
            first: first as u16,
            last: last as u16,
        },
        Statement::Dnat(NatTarget::Address(vm.into())),
    ]
}

#[test]
fn ranges_hold_their_ends_and_nothing_beyond() {
    let eip = |last: u8| u32::from(Ipv4Addr::new(10, 0, 0, last));
    let entry = |eip, first, last, vm: u32| ([eip, 6, first], [eip, 6, last], [vm, 0, 0]);
    let regular = [
        entry(eip(1), 100, 199, 1),
        entry(eip(1), 200, 200, 2),
        entry(eip(1), 60_000, 65_535, 3),
        entry(eip(3), 0, 9, 4),
    ];
    // A box in two fields: no predecessor tells.
    let mut irregular = regular.to_vec();
    irregular.push(([eip(10), 6, 5], [eip(20), 6, 9], [5, 0, 0]));
    let key = [Field::IpDaddr, Field::L4Proto, Field::ThDport];
    let looked_up = [vec![Statement::Dnat(map(&key, "ports", false))]];
    let compared = regular.map(|(first, last, vm)| range_rule(first, last[2], vm[0]).to_vec());
    let cases: [(_, &[Vec<Statement>]); 3] = [
        (&regular[..], &looked_up),
        (&irregular, &looked_up),
        (&regular, &compared),
    ];
    for (elements, rules) in cases {
        let ports = set(&[Address, InetProto, InetService], &[Address], true, elements);
        let rules: Vec<&[Statement]> = rules.iter().map(Vec::as_slice).collect();
        let table = table(
            &[("ports", ports)],
            &[chain(ChainKind::Nat, Hook::Prerouting, -100, &rules)],
        );
        let translation = Translation::new(&table);
        for (protocol, port) in [(17, 150), (ICMP, 0)] {
            let other = packet(protocol, "1.1.1.1", "10.0.0.1", port);
            assert_eq!(translation.of(other, Origin::Forwarded, |_| false), other);
        }
        for last in [0, 1, 2, 3, 4, 9, 10, 15, 20, 21] {
            for port in [0, 1, 5, 9, 10, 99, 100, 199, 200, 201, 59_999, 60_000, 65_535] {
                let packet = packet(TCP, "1.1.1.1", &format!("10.0.0.{last}"), port);
                let one_by_one = elements.iter().find(|(first, end, _)| {
                    (first[0]..=end[0]).contains(&eip(last)) && (first[2]..=end[2]).contains(&port.into())
                });
                let expected = one_by_one.map_or(packet.destination, |(_, _, vm)| vm[0].into());
                let found = translation.of(packet, Origin::Forwarded, |_| false);
                assert_eq!(
                    (found.destination, found.destination_port),
                    (expected, Some(port))
                );
            }
        }
    }
}

#[test]
fn chains_go_by_priority_and_the_first_translation_of_a_hook_wins() {
    let to = |last| Statement::Dnat(NatTarget::Address(Ipv4Addr::new(192, 168, 0, last)));
    let inside = set(
        &[Address],
        &[],
        true,
        &[([0xc0a8_0000, 0, 0], [0xc0a8_00ff, 0, 0], [0; 3])],
    );
    let in_set = |field, negate| Statement::InSet {
        key: vec![field],
        set: "inside".to_owned(),
        negate,
    };
    let snat = Statement::Snat(NatTarget::Address(address("10.0.0.9")));
    let nat = |priority, rules| chain(ChainKind::Nat, Hook::Prerouting, priority, rules);
    // Named in the wrong order.
    let chains = [
        chain(
            ChainKind::Nat,
            Hook::Postrouting,
            100,
            &[
                &[Statement::MarkHas(2), Statement::Return],
                &[in_set(Field::IpSaddr, true), Statement::Return],
                &[snat],
            ],
        ),
        nat(0, &[&[to(2)]]),
        nat(
            -100,
            &[
                &[Statement::MarkHas(4), to(3)],
                &[Statement::Foreign("x".into()), to(4)],
                &[to(1)],
            ],
        ),
        chain(
            ChainKind::Filter,
            Hook::Prerouting,
            -150,
            &[&[in_set(Field::IpDaddr, false), Statement::MarkSet(2)]],
        ),
    ];
    let table = table(&[("inside", inside)], &chains);
    for (source, destination, expected) in [
        ("192.168.0.7", "8.8.8.8", "10.0.0.9 -> 192.168.0.1:1"),
        // Marked before it was translated.
        ("192.168.0.7", "192.168.0.8", "192.168.0.7 -> 192.168.0.1:1"),
        ("192.168.1.0", "8.8.8.8", "192.168.1.0 -> 192.168.0.1:1"),
    ] {
        assert_eq!(forwarded(&table, packet(TCP, source, destination, 1)), expected);
    }
    // What the router takes for itself, after translation, is not looked at after routing.
    let translation = Translation::new(&table);
    let from_inside = packet(TCP, "192.168.0.7", "8.8.8.8", 1);
    let local = translation.of(from_inside, Origin::Forwarded, |to| to == address("192.168.0.1"));
    assert_eq!(shown(local), "192.168.0.7 -> 192.168.0.1:1");
    let own = translation.of(from_inside, Origin::Own, |_| true);
    assert_eq!(shown(own), "10.0.0.9 -> 8.8.8.8:1");
}
