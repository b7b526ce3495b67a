//! The fast path: what the kernel does with packets of flows that are established, past all rules.
//!
//! It is for packets that come in by a NIC of the file and go on: what the router takes for itself never comes to where a
//! flow is taken in. A flow's first packets go the whole way, are translated by the table's rules and tracked; what is
//! taken in is translated and sent on as they were.
//!
//! Nor does it meet a rule that counts. So what is counted, flows by an elastic IP or a forward, is not taken in; all others
//! are: between subnets, and what VMs without an elastic IP send outside.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use crate::config::{Config, FastPathMode};
use crate::model::nft::{
    Chain, ChainKind, Element, Field, FieldType, Flowtable, Hook, Rule, Set, Statement, Tuple,
};
use crate::model::{Desired, FastPath};

/// The name of the flowtable, and of the chain that fills it.
const FAST_PATH: &str = "fast_path";
/// What VMs without an elastic IP are seen as.
const MASQUERADE: &str = "masquerade";

/// After all that others may have there (`NF_IP_PRI_LAST` is higher yet): what they drop is never taken in.
const AFTER_FILTERS: i32 = 1000;

pub(super) fn desire(config: &Config, desired: &mut Desired) {
    let is_required = match config.fast_path() {
        FastPathMode::Off => return,
        FastPathMode::Auto => false,
        FastPathMode::On => true,
    };
    // Answered ones only: the kernel keeps those that it has taken in even where it is short of room for others, and
    // whoever sends to nobody must not fill it. It takes TCP and UDP by itself, and of TCP what is open
    // (`nft_flow_offload_eval`, nft_flow_offload.c).
    let statements = vec![Statement::Established, Statement::FlowAdd(FAST_PATH.to_owned())];
    let comment = "answered: from now on past all rules".to_owned();
    let (counted, counted_sets) = if config.counters() {
        counted(&config.masquerade())
    } else {
        Default::default()
    };
    desired.fast_path = Some(FastPath {
        name: FAST_PATH.to_owned(),
        flowtable: Flowtable::default(),
        devices: config
            .interfaces()
            .iter()
            .map(|interface| interface.link())
            .collect(),
        chain: Chain {
            kind: ChainKind::Filter,
            hook: Hook::Forward,
            priority: AFTER_FILTERS,
            rules: vec![Rule { statements, comment }],
        },
        counted,
        counted_sets,
        is_required,
    });
}

/// Rules that end the chain for flows that are counted, and the set that they ask: the addresses that VMs without an elastic
/// IP are seen as. Whoever is seen as another one has an elastic IP.
fn counted(masquerade: &[Ipv4Addr]) -> (Vec<Rule>, BTreeMap<String, Set>) {
    let rule = |statements, comment: &str| Rule {
        statements,
        comment: comment.to_owned(),
    };
    let rules = vec![
        rule(
            vec![Statement::DestinationTranslated, Statement::Return],
            "to an elastic IP or a forward: counted",
        ),
        rule(
            vec![
                Statement::SourceTranslated,
                Statement::InSet {
                    key: vec![Field::CtReplyDaddr],
                    set: MASQUERADE.to_owned(),
                    negate: true,
                },
                Statement::Return,
            ],
            "from an elastic IP: counted",
        ),
    ];
    let mut set = Set::new(&[FieldType::Ipv4Addr], &[], false);
    let elements = masquerade.iter().map(|address| Element::key(*address));
    set.elements = elements.map(|element| (element, Tuple::default())).collect();
    (rules, [(MASQUERADE.to_owned(), set)].into())
}
