//! What the dumps of one look add up to: our table. Pure; who asks for the dumps is told of each message.
//!
//! Not every kernel keeps to the table that it is asked for: what is of others is passed over.

use std::collections::{BTreeMap, BTreeSet};

use super::decode::{self, foreign_chain};
use super::flowtable;
use super::uapi::FAMILY;
use crate::model::nft::{Chain, Flowtable, Set, Table};
use crate::owned::NFT_TABLE;

/// Our table as far as it was told.
#[derive(Default)]
pub(super) struct Listing {
    /// Sets by name; their elements are dumps of their own.
    pub(super) sets: BTreeMap<String, Set>,
    chains: BTreeMap<String, Chain>,
    flowtables: BTreeMap<String, Flowtable>,
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
        self.oddity = decode::table(message)?.or_else(|| self.oddity.take());
        Ok(())
    }

    /// A set, without its elements.
    pub(super) fn set(&mut self, family: u8, message: &[u8]) -> Result<(), String> {
        if let (table, name, Some(set)) = decode::set(message)?
            && is_ours(family, &table)
        {
            if !can_be_named(&name) {
                self.oddity = Some(foreign_chain("a set that cannot be named".to_owned()));
            }
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

    /// A flowtable.
    pub(super) fn flowtable(&mut self, family: u8, message: &[u8]) -> Result<(), String> {
        let (table, name, flowtable) = flowtable::read(message)?;
        if is_ours(family, &table) {
            self.flowtables.insert(name, flowtable);
        }
        Ok(())
    }

    /// A rule, once all sets and chains were told.
    pub(super) fn rule(&mut self, family: u8, message: &[u8]) -> Result<(), String> {
        let placed = decode::rule(message, &self.sets)?;
        if let (Some(chain), true) = (self.chains.get_mut(&placed.chain), is_ours(family, &placed.table)) {
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
            flowtables: self.flowtables,
            chains: self.chains,
        })
    }
}

/// Whether a set of this name can be taken away by itself: the kernel allows any bytes in a name (`NFT_NAME_MAXLEN` of
/// them), and one that is not UTF-8 was read with replacements. Else only with the whole table.
fn can_be_named(name: &str) -> bool {
    (1..256).contains(&name.len()) && !name.contains(char::REPLACEMENT_CHARACTER)
}

fn is_ours(family: u8, table: &str) -> bool {
    family == FAMILY && table == NFT_TABLE
}

#[cfg(test)]
mod tests {
    use nix::libc;

    use super::super::message::{Content, Messages, answers};
    use super::super::uapi::set;
    use super::*;
    use crate::model::nft::TableChange;

    /// Our table with a set of this name, as the kernel tells of it.
    fn with_set(name: &[u8]) -> Table {
        let mut messages = Messages::default();
        messages.message(libc::NFT_MSG_NEWSET, 0, 1, |message| {
            message.text(set::TABLE, NFT_TABLE);
            message.attribute(set::NAME, name);
            message.number(set::KEY_TYPE, 7);
            message.number(set::KEY_LENGTH, 4);
        });
        let Ok(Content::Object(family, message)) =
            answers(messages.bytes()).next().unwrap().unwrap().content()
        else {
            panic!("an object")
        };
        let mut listing = Listing::default();
        listing.set(family, message).unwrap();
        listing.finish().unwrap()
    }

    #[test]
    fn a_set_that_cannot_be_named_goes_with_the_table() {
        let to = Table::default();
        let change = |name: &[u8]| TableChange::between(Some(&with_set(name)), Some(&to)).unwrap();
        assert!(matches!(change(b"plain\0"), TableChange::Edit { .. }));
        for name in [&b"\xff\0"[..], b"\0", &[b'a'; 256]] {
            assert!(matches!(change(name), TableChange::Replace { .. }), "{name:?}");
        }
    }
}
