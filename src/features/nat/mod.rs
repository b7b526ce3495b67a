//! Translation: elastic IPs, port forwarding, masquerading. Constant-time maps, never a rule per entry but for a few
//! long ranges.
//!
//! The decision goes by address sets and not by links' names, so the ruleset is a function of the file alone,
//! holds before a NIC is there, and survives renames:
//!
//! - the destination is looked up as an elastic IP (any protocol), then as a forwarded port. Neither is ever inside the
//!   VPC: such a file is refused;
//! - what is sent to an address inside the VPC is marked: it keeps its source. What the router itself sends is marked as
//!   well. The kernel asks chains of type nat about the first packet of a flow only, and the decision is needed for that
//!   one only: so the later ones cost nothing;
//! - after routing, what is not marked and comes from inside gets its own elastic IP as source, or the router's
//!   external address. With a pool, it gets the address of the pool that the last byte of its own one stands for: a map
//!   with an element for each of the 256, so that a VM is always seen as the same one, and anybody can tell as which.

pub mod counters;
mod invalid;

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

use super::overlay;
use crate::config::{Config, Eip, Forward, SnatPool};
use crate::model::nft::{
    Chain, ChainKind, Element, Field, FieldType, Hook, NatTarget, Rule, Set, Statement, Table, Tuple,
};
use crate::model::{Desired, Observed};
use crate::owned::{MARK_KEEP_SOURCE, NFT_DROPPING_CHAIN};

const DESTINATION: &str = "destination";
const LONG_FORWARD: &str = "long forwarded range: to the VM, same port";
const VPC_SUBNETS: &str = "vpc_subnets";
const EIP_TO_VM: &str = "eip_to_vm";
const VM_TO_EIP: &str = "vm_to_eip";
const FORWARD: &str = "forward";
const FORWARD_RANGE: &str = "forward_range";
const SNAT_POOL: &str = "snat_pool";

/// From this many ports on, a range that keeps its ports is one rule, or one element of an interval map, instead of an
/// element a port of the hash map. Below, the hash map is cheaper to look up than the interval map, and needs no Linux 5.6.
const LONG_RANGE: u32 = 256;

/// Up to this many long ranges have a rule each, if nothing counts their connections: three comparisons, where a look-up
/// in an interval map of several fields (`nft_set_pipapo`, Linux 5.6) costs some ten times as much.
const FEW_RANGES: usize = 8;

/// Up to this many subnets are compared one by one, which the kernel does in a fraction of the time of a look-up in a set
/// of ranges (a red-black tree; `make bench`, first packets).
const FEW_SUBNETS: usize = 8;

/// `NF_IP_PRI_NAT_DST` and `NF_IP_PRI_NAT_SRC`, linux/netfilter_ipv4.h.
const NAT_DST: i32 = -100;
const NAT_SRC: i32 = 100;

pub(super) fn desire(config: &Config, desired: &mut Desired) {
    use FieldType::{InetProto, InetService, Ipv4Addr};
    let mut table = Table::default();

    let inside = Inside::new(config.inside());
    let mut eip_to_vm = Set::new(&[Ipv4Addr], &[Ipv4Addr], false);
    let mut vm_to_eip = eip_to_vm.clone();
    // Collected, not inserted: then a map is made at once, with no room to spare, which would take a third more.
    let eips = config.eips().iter();
    eip_to_vm.elements = eips
        .map(|entry| (Element::key(entry.eip), entry.vm.into()))
        .collect();
    let mut vms: Vec<_> = config.eips().iter().map(|entry| (entry.vm, entry.eip)).collect();
    // Of several the first is the VM's address outside: the order among them stays.
    vms.sort_by_key(|(vm, _)| *vm);
    vms.dedup_by_key(|(vm, _)| *vm);
    let vms = vms.into_iter();
    vm_to_eip.elements = vms.map(|(vm, eip)| (Element::key(vm), eip.into())).collect();
    let mut forward = Set::new(
        &[Ipv4Addr, InetProto, InetService],
        &[Ipv4Addr, InetService],
        false,
    );
    let mut ranges = Vec::new();
    let mut shifted = Vec::new();
    let is_mapped = |entry: &&Forward| eip_to_vm.elements.contains_key(&Element::key(entry.eip));
    for entry in config.forwards().iter().filter(|entry| !is_mapped(entry)) {
        if is_long_range(entry) {
            ranges.push(entry);
        } else {
            forward.elements.extend(port_elements(entry));
            shifted.extend(is_long(entry).then(|| range_element(entry).0));
        }
    }

    let keep = Statement::MarkSet(MARK_KEEP_SOURCE);
    let mut translated = vec![rule(
        vec![Statement::Dnat(lookup(&[Field::IpDaddr], EIP_TO_VM, false))],
        "elastic IP: to its VM, whatever the protocol",
    )];
    let port_key = [Field::IpDaddr, Field::L4Proto, Field::ThDport];
    let ports = rule(
        vec![Statement::Dnat(lookup(&port_key, FORWARD, true))],
        "forwarded port: to the VM's port",
    );
    let most = if config.counters() { 0 } else { FEW_RANGES };
    if ranges.len() <= most {
        // What is cheaper is asked first: no port is in both.
        translated.extend(ranges.iter().map(|entry| range_rule(entry)));
        translated.push(ports);
    } else {
        translated.push(ports);
        translated.push(rule(
            vec![Statement::Dnat(lookup(&port_key, FORWARD_RANGE, false))],
            LONG_FORWARD,
        ));
        let mut map = Set::new(&[Ipv4Addr, InetProto, InetService], &[Ipv4Addr], true);
        map.elements = ranges.iter().map(|entry| range_element(entry)).collect();
        table.sets.insert(FORWARD_RANGE.to_owned(), map);
    }

    // What comes from outside is most of what is new, so it is asked about first.
    let outside = [inside.none_of(Field::IpSaddr), vec![Statement::Return]].concat();
    let mut source = vec![
        rule(outside, "from outside: keeps its source"),
        rule(
            vec![Statement::MarkHas(MARK_KEEP_SOURCE), Statement::Return],
            "marked: keeps its source",
        ),
        rule(
            vec![Statement::Snat(lookup(&[Field::IpSaddr], VM_TO_EIP, false))],
            "VM with an elastic IP: seen as that",
        ),
    ];
    let pool: Vec<_> = config.snat_pool().iter().flat_map(SnatPool::addresses).collect();
    if !pool.is_empty() {
        source.push(rule(
            vec![Statement::Snat(lookup(
                &[Field::IpSaddrLastByte],
                SNAT_POOL,
                false,
            ))],
            "other VMs: seen as their address of the pool",
        ));
        table.sets.insert(SNAT_POOL.to_owned(), pool_set(&pool));
    } else if let Some(external) = config.external() {
        source.push(rule(
            vec![Statement::Snat(NatTarget::Address(external.address.addr()))],
            "other VMs: seen as the router",
        ));
    }

    // A translation ends the chain, and what it is marked for as well.
    let kept = inside.any_of(Field::IpDaddr).into_iter().map(|inside| {
        rule(
            vec![inside, keep.clone()],
            "to a private address: keep the source",
        )
    });
    let destination = translated.iter().cloned().chain(kept).collect();
    if config.drop_invalid() && !config.masquerade().is_empty() {
        table
            .chains
            .insert(NFT_DROPPING_CHAIN.to_owned(), invalid::chain(&inside));
    }
    let own = rule(vec![keep.clone()], "from the router itself: keep the source");
    let own_destination = [vec![own], translated].concat();
    if let Inside::Many(subnets) = inside {
        table.sets.insert(VPC_SUBNETS.to_owned(), subnets);
    }

    for (name, set) in [(EIP_TO_VM, eip_to_vm), (VM_TO_EIP, vm_to_eip), (FORWARD, forward)] {
        table.sets.insert(name.to_owned(), set);
    }
    for (name, hook, priority, rules) in [
        (DESTINATION, Hook::Prerouting, NAT_DST, destination),
        ("own_destination", Hook::Output, NAT_DST, own_destination),
        ("source", Hook::Postrouting, NAT_SRC, source),
    ] {
        table.chains.insert(
            name.to_owned(),
            Chain {
                kind: ChainKind::Nat,
                hook,
                priority,
                rules,
            },
        );
    }
    if config.counters() {
        counters::count(&mut table, &shifted);
    }
    overlay::clamp(config, &mut table);
    desired.table = Some(table);
}

/// How it is told whether an address is inside the VPC.
enum Inside {
    /// Each subnet is compared with.
    Few(Vec<Ipv4Net>),
    /// They are looked up.
    Many(Set),
}

impl Inside {
    fn new(subnets: impl Iterator<Item = Ipv4Net>) -> Self {
        let subnets = widest(subnets);
        if subnets.len() <= FEW_SUBNETS {
            return Self::Few(subnets);
        }
        let mut set = Set::new(&[FieldType::Ipv4Addr], &[], true);
        let ranges = subnets
            .iter()
            .map(|net| Element::range(net.network(), net.broadcast()));
        set.elements = ranges.map(|range| (range, Tuple::default())).collect();
        Self::Many(set)
    }

    /// Matches, for a rule each: the address is inside.
    fn any_of(&self, field: Field) -> Vec<Statement> {
        self.matches(field, false)
    }

    /// Matches, all for one rule: the address is not inside.
    fn none_of(&self, field: Field) -> Vec<Statement> {
        self.matches(field, true)
    }

    fn matches(&self, field: Field, negate: bool) -> Vec<Statement> {
        match self {
            Self::Few(subnets) => subnets
                .iter()
                .map(|subnet| Statement::InSubnet {
                    field,
                    subnet: *subnet,
                    negate,
                })
                .collect(),
            Self::Many(_) => vec![Statement::InSet {
                key: vec![field],
                set: VPC_SUBNETS.to_owned(),
                negate,
            }],
        }
    }
}

/// Those that are in no other one, in their order: a set takes no ranges that overlap, and to compare twice is of no use.
fn widest(subnets: impl Iterator<Item = Ipv4Net>) -> Vec<Ipv4Net> {
    let mut subnets: Vec<_> = subnets.enumerate().collect();
    // A wider one starts no later than those in it, and comes first.
    subnets.sort_by_key(|(_, net)| (net.network(), net.prefix_len()));
    subnets.dedup_by(|(_, later), (_, wide)| wide.contains(&*later));
    subnets.sort_by_key(|(place, _)| *place);
    subnets.into_iter().map(|(_, net)| net).collect()
}

/// The address of the pool for each last byte of a VM's own.
fn pool_set(pool: &[Ipv4Addr]) -> Set {
    let mut set = Set::new(&[FieldType::Ipv4Addr], &[FieldType::Ipv4Addr], false);
    let bytes = (0..=u8::MAX).map(|byte| Element::key(Ipv4Addr::new(0, 0, 0, byte)));
    let values = pool.iter().cycle().map(|address| Tuple::from(*address));
    set.elements = bytes.zip(values).collect();
    set
}

/// Whether the kernel has what this elastic IP needs in our table.
#[must_use]
pub fn holds_eip(observed: &Observed, entry: &Eip) -> bool {
    holds(observed, EIP_TO_VM, Element::key(entry.eip), entry.vm.into())
}

/// Whether the kernel has what this forward needs in our table.
#[must_use]
pub fn holds_forward(observed: &Observed, entry: &Forward) -> bool {
    if is_long_range(entry) {
        let (element, value) = range_element(entry);
        holds(observed, FORWARD_RANGE, element, value) || has_rule(observed, &range_rule(entry))
    } else {
        port_elements(entry).all(|(element, value)| holds(observed, FORWARD, element, value))
    }
}

fn holds(observed: &Observed, set: &str, element: Element, value: Tuple) -> bool {
    let set = observed.table.as_ref().and_then(|table| table.sets.get(set));
    set.and_then(|set| set.elements.get(&element)) == Some(&value)
}

fn has_rule(observed: &Observed, rule: &Rule) -> bool {
    let chain = observed
        .table
        .as_ref()
        .and_then(|table| table.chains.get(DESTINATION));
    chain.is_some_and(|chain| chain.rules.contains(rule))
}

fn is_long_range(entry: &Forward) -> bool {
    entry.keeps_ports() && is_long(entry)
}

fn is_long(entry: &Forward) -> bool {
    entry.ports() >= LONG_RANGE
}

fn range_element(entry: &Forward) -> (Element, Tuple) {
    (
        Element::range(outside(entry, entry.port), outside(entry, entry.end_port)),
        entry.vm.into(),
    )
}

fn range_rule(entry: &Forward) -> Rule {
    let address = Statement::InSubnet {
        field: Field::IpDaddr,
        subnet: entry.eip.into(),
        negate: false,
    };
    let ports = Statement::Ports {
        protocol: entry.protocol as u8,
        first: entry.port,
        last: entry.end_port,
    };
    let translate = Statement::Dnat(NatTarget::Address(entry.vm));
    rule(vec![address, ports, translate], LONG_FORWARD)
}

/// Port by port: `dnat to a:100-102` would send every port of the range to 100.
fn port_elements(entry: &Forward) -> impl Iterator<Item = (Element, Tuple)> + '_ {
    (entry.port..=entry.end_port).map(|port| {
        let vm_port = entry.vm_port + (port - entry.port);
        (
            Element::key(outside(entry, port)),
            Tuple([entry.vm.into(), u32::from(vm_port), 0]),
        )
    })
}

/// The key of a forwarded port.
fn outside(entry: &Forward, port: u16) -> Tuple {
    Tuple([Ipv4Addr::into(entry.eip), entry.protocol as u32, u32::from(port)])
}

fn lookup(key: &[Field], map: &str, port: bool) -> NatTarget {
    NatTarget::Map {
        key: key.to_vec(),
        map: map.to_owned(),
        port,
    }
}

fn rule(statements: Vec<Statement>, comment: &str) -> Rule {
    Rule {
        statements,
        comment: comment.to_owned(),
    }
}
