//! What the dumps of one look add up to: our table. Pure; who asks for the dumps is told of each message.
//!
//! Not every kernel keeps to the table that it is asked for: what is of others is passed over.

use std::collections::{BTreeMap, BTreeSet};

use super::decode;
use super::uapi::FAMILY;
use crate::model::nft::{Chain, Set, Table};
use crate::owned::NFT_TABLE;

/// Our table as far as it was told.
#[derive(Default)]
pub(super) struct Listing {
    /// Sets by name; their elements are dumps of their own.
    pub(super) sets: BTreeMap<String, Set>,
    chains: BTreeMap<String, Chain>,
    /// What is odd about the table itself, as a chain.
    oddity: Option<Chain>,
    /// The kernel's numbers of the rules that were told.
    handles: BTreeSet<u64>,
    told_twice: bool,
}

impl Listing {
    /// Our table itself.
    ///
    /// # Errors
    /// As of all these, if the message is malformed.
    pub(super) fn table(&mut self, message: &[u8]) -> Result<(), String> {
        self.oddity = decode::table(message)?;
        Ok(())
    }

    /// A set, without its elements.
    pub(super) fn set(&mut self, family: u8, message: &[u8]) -> Result<(), String> {
        if let (table, name, Some(set)) = decode::set(message)?
            && is_ours(family, &table)
        {
            self.sets.insert(name, set);
        }
        Ok(())
    }

    /// A chain, without its rules.
    pub(super) fn chain(&mut self, family: u8, message: &[u8]) -> Result<(), String> {
        let (table, name, chain) = decode::chain(message)?;
        if is_ours(family, &table) {
            self.chains.insert(name, chain);
        }
        Ok(())
    }

    /// A rule, once all sets and chains were told.
    pub(super) fn rule(&mut self, family: u8, message: &[u8]) -> Result<(), String> {
        let placed = decode::rule(message, &self.sets)?;
        if let (Some(chain), true) = (
            self.chains.get_mut(&placed.chain),
            is_ours(family, &placed.table),
        ) {
            chain.rules.push(placed.rule);
            self.told_twice |= placed.handle.is_some_and(|handle| !self.handles.insert(handle));
        }
        Ok(())
    }

    /// The table; `None` if a rule was told twice: then another may be left out. The kernel goes on where it was by
    /// counting rules, those too of a batch that is being put together and has no generation yet
    /// (`__nf_tables_dump_rules`; seen on Linux 6.18).
    pub(super) fn finish(mut self) -> Option<Table> {
        if let Some(oddity) = self.oddity {
            // Not the name of any chain: nft(8) takes no spaces.
            self.chains.insert("table ip kylin_vr".to_owned(), oddity);
        }
        (!self.told_twice).then_some(Table {
            sets: self.sets,
            chains: self.chains,
        })
    }
}

fn is_ours(family: u8, table: &str) -> bool {
    family == FAMILY && table == NFT_TABLE
}
