//! The fast path: what the kernel does with packets of flows that are established, past all rules.
//!
//! It is for packets that come in by a NIC of the file and go on: what the router takes for itself never comes to where a
//! flow is taken in. A flow's first packets go the whole way, are translated by the table's rules and tracked; what is
//! taken in is translated and sent on as they were.

use crate::config::{Config, FastPathMode};
use crate::model::nft::{Chain, ChainKind, Flowtable, Hook, Rule, Statement};
use crate::model::{Desired, FastPath, LinkId};

/// The name of the flowtable, and of the chain that fills it.
const FAST_PATH: &str = "fast_path";

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
    desired.fast_path = Some(FastPath {
        name: FAST_PATH.to_owned(),
        flowtable: Flowtable::default(),
        devices: config
            .interfaces()
            .iter()
            .map(|interface| LinkId::Mac(interface.mac))
            .collect(),
        chain: Chain {
            kind: ChainKind::Filter,
            hook: Hook::Forward,
            priority: AFTER_FILTERS,
            rules: vec![Rule { statements, comment }],
        },
        is_required,
    });
}
