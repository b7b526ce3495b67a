//! What a table makes of the first packet of a flow: its rules, carried out as the kernel would. Pure.
//!
//! It knows nothing of what the rules are for. What it cannot know of a packet (marks of other programs, statements
//! that are not ours) it takes for not there.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use super::{Chain, ChainKind, Element, Field, Hook, NatTarget, Rule, Set, Statement, Table, Tuple};

/// One end-to-end direction of a packet: what decides its translation, and what the translation changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Packet {
    /// The transport protocol (`IPPROTO_*`).
    pub protocol: u8,
    /// The source address. Its port decides nothing, and the kernel may choose another one.
    pub source: Ipv4Addr,
    /// The destination address.
    pub destination: Ipv4Addr,
    /// The destination port; `None` for protocols that have no ports.
    pub destination_port: Option<u16>,
}

/// Where a packet comes from and goes to, which says what hooks it meets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Another machine.
    Forwarded,
    /// The router itself.
    Own,
}

/// A table made ready to be asked about many packets.
#[derive(Debug)]
pub struct Translation<'t> {
    table: &'t Table,
    /// The base chains that another machine's packet meets before routing, and those of the router's own; lowest priority
    /// first.
    before: [Vec<&'t Chain>; 2],
    /// Those after routing.
    after: Vec<&'t Chain>,
    /// Interval sets whose ranges are not told apart by their last field alone: looked through one by one.
    irregular: BTreeSet<&'t str>,
}

impl<'t> Translation<'t> {
    /// Puts the chains in order.
    #[must_use]
    pub fn new(table: &'t Table) -> Self {
        let at = |hook| {
            let mut chains: Vec<&Chain> = table.chains.values().filter(|chain| chain.hook == hook).collect();
            chains.sort_by_key(|chain| chain.priority);
            chains
        };
        let irregular = |set: &Set| {
            let leading = ..set.key.len().saturating_sub(1);
            let is_regular = |element: &Element| element.first.0[leading] == element.last.0[leading];
            set.interval && !set.elements.keys().all(is_regular)
        };
        Self {
            table,
            before: [at(Hook::Prerouting), at(Hook::Output)],
            after: at(Hook::Postrouting),
            irregular: table
                .sets
                .iter()
                .filter(|(_, set)| irregular(set))
                .map(|(name, _)| name.as_str())
                .collect(),
        }
    }

    /// What becomes of a packet. What the router takes for itself (`is_local`, asked after its destination was
    /// translated) never comes to the hook after routing.
    #[must_use]
    pub fn of(&self, packet: Packet, origin: Origin, is_local: impl Fn(Ipv4Addr) -> bool) -> Packet {
        let mut walk = Walk { packet, mark: 0 };
        self.hook(&self.before[origin as usize], &mut walk);
        if origin == Origin::Own || !is_local(walk.packet.destination) {
            self.hook(&self.after, &mut walk);
        }
        walk.packet
    }

    fn hook(&self, chains: &[&Chain], walk: &mut Walk) {
        // At one hook a flow is translated once (`nf_nat_inet_fn`, nf_nat_core.c).
        let mut is_translated = false;
        for chain in chains {
            if chain.kind == ChainKind::Filter || !is_translated {
                is_translated |=
                    chain.rules.iter().find_map(|rule| self.rule(rule, walk)) == Some(End::Translated);
            }
        }
    }

    /// Carries out a rule; `None`: the chain goes on.
    fn rule(&self, rule: &Rule, walk: &mut Walk) -> Option<End> {
        for statement in &rule.statements {
            match statement {
                Statement::InSet { key, set, negate } => {
                    let is_in = self.look_up(set, key, walk.packet).is_some();
                    if is_in == *negate {
                        return None;
                    }
                }
                Statement::InSubnet {
                    field,
                    subnet,
                    negate,
                } => {
                    let address = field.of(walk.packet).map(Ipv4Addr::from);
                    if address.is_none_or(|address| subnet.contains(&address) == *negate) {
                        return None;
                    }
                }
                Statement::MarkHas(bits) => {
                    if walk.mark & bits != *bits {
                        return None;
                    }
                }
                Statement::MarkSet(bits) => walk.mark |= bits,
                // Only first packets are asked about.
                Statement::Direction { reply: false } => {}
                Statement::Direction { reply: true } => return None,
                Statement::Return => return Some(End::Returned),
                Statement::Dnat(target) => {
                    let (address, port) = self.target(target, walk.packet)?;
                    walk.packet.destination = address;
                    if port.is_some() {
                        walk.packet.destination_port = port;
                    }
                    return Some(End::Translated);
                }
                Statement::Snat(target) => {
                    (walk.packet.source, _) = self.target(target, walk.packet)?;
                    return Some(End::Translated);
                }
                // What is asked about is a flow's first packet.
                Statement::Established
                | Statement::DestinationTranslated
                | Statement::SourceTranslated
                | Statement::Foreign(_) => return None,
                // What is asked about is where it goes.
                Statement::FlowAdd(_) | Statement::ClampMss => {}
            }
        }
        None
    }

    fn target(&self, target: &NatTarget, packet: Packet) -> Option<(Ipv4Addr, Option<u16>)> {
        match target {
            NatTarget::Address(address) => Some((*address, None)),
            NatTarget::Map { key, map, port } => {
                let Tuple([address, to_port, _]) = self.look_up(map, key, packet)?;
                let to_port = if *port {
                    Some(to_port.try_into().ok()?)
                } else {
                    None
                };
                Some((address.into(), to_port))
            }
        }
    }

    /// The value that a set has for the fields of a packet.
    fn look_up(&self, name: &str, fields: &[Field], packet: Packet) -> Option<Tuple> {
        let set = self.table.sets.get(name)?;
        let mut key = Tuple::default();
        for (place, field) in key.0.iter_mut().zip(fields) {
            *place = field.of(packet)?;
        }
        if !set.interval {
            return set.elements.get(&Element::key(key)).copied();
        }
        let holds = |element: &Element| {
            let bounds = element.first.0.iter().zip(&element.last.0).zip(&key.0);
            bounds
                .into_iter()
                .all(|((first, last), value)| (first..=last).contains(&value))
        };
        if self.irregular.contains(name) {
            let found = set.elements.iter().find(|(element, _)| holds(element));
            return found.map(|(_, value)| *value);
        }
        // Ranges do not overlap: only the last one that starts at the key or before it can hold it.
        let last = Element::range(key, Tuple([u32::MAX; Tuple::MAX]));
        let (element, value) = set.elements.range(..=last).next_back()?;
        holds(element).then_some(*value)
    }
}

impl Field {
    /// What it holds; `None`: this packet has none.
    fn of(self, packet: Packet) -> Option<u32> {
        Some(match self {
            Self::IpSaddr => packet.source.into(),
            Self::IpSaddrLastByte => packet.source.octets()[3].into(),
            Self::IpDaddr => packet.destination.into(),
            Self::L4Proto => packet.protocol.into(),
            Self::ThDport => packet.destination_port?.into(),
            // They decide no translation, and are not told.
            Self::ThSport | Self::CtOriginalDaddr | Self::CtReplyDaddr => return None,
        })
    }
}

/// A packet on its way.
struct Walk {
    packet: Packet,
    mark: u32,
}

/// How a rule ended its chain.
#[derive(PartialEq, Eq)]
enum End {
    Returned,
    Translated,
}

#[cfg(test)]
mod tests {
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
        for elements in [&regular[..], &irregular] {
            let ports = set(&[Address, InetProto, InetService], &[Address], true, elements);
            let dnat = Statement::Dnat(map(&key, "ports", false));
            let table = table(
                &[("ports", ports)],
                &[chain(ChainKind::Nat, Hook::Prerouting, -100, &[&[dnat]])],
            );
            let translation = Translation::new(&table);
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
}
