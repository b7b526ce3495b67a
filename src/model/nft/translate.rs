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
                Statement::Ports {
                    protocol,
                    first,
                    last,
                } => {
                    let port = walk.packet.destination_port?;
                    if walk.packet.protocol != *protocol || !(*first..=*last).contains(&port) {
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
                Statement::Direction { reply: false } | Statement::NotInvalid => {}
                Statement::Direction { reply: true } => return None,
                // Nothing of ours ends a packet at a hook that translates.
                Statement::Return | Statement::Drop => return Some(End::Returned),
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
mod tests;
