//! The fuzzer's door: dumps and batches as bytes, without a kernel.

use std::collections::BTreeMap;

use nix::libc;

use super::elements;
use super::encode::Batch;
use super::listing::Listing;
use super::message::{Answer, Attributes, Content, answers, attributes};
use super::uapi::{element, flowtable};
use crate::kernel::error::Error;
use crate::model::nft::{Table, TableChange};
use crate::owned::NFT_TABLE;

/// The table that these answers tell of, whatever their order; `None` if they are not whole. Messages that add objects
/// are those that tell of them, so that a batch can be read as well.
///
/// # Errors
/// If a message is malformed.
pub fn read(bytes: &[u8]) -> Result<Option<Table>, String> {
    let mut objects = Vec::new();
    for answer in answers(bytes) {
        let answer = answer?;
        if let Content::Object(family, message) = answer.content()? {
            objects.push((kind(&answer), family, message));
        }
    }
    let mut listing = Listing::default();
    let mut each = |wanted: libc::c_int, read: fn(&mut Listing, u8, &[u8]) -> Result<(), String>| {
        objects
            .iter()
            .filter(|(kind, ..)| *kind == Some(wanted))
            .try_for_each(|(_, family, message)| read(&mut listing, *family, message))
    };
    each(libc::NFT_MSG_NEWTABLE, |listing, _, message| {
        listing.table(message)
    })?;
    each(libc::NFT_MSG_NEWSET, Listing::set)?;
    each(flowtable::MESSAGE_NEW, Listing::flowtable)?;
    each(libc::NFT_MSG_NEWCHAIN, Listing::chain)?;
    each(libc::NFT_MSG_NEWRULE, Listing::rule)?;
    let mut reads: BTreeMap<String, elements::Read> = BTreeMap::new();
    for (_, _, message) in objects
        .iter()
        .filter(|(kind, ..)| *kind == Some(libc::NFT_MSG_NEWSETELEM))
    {
        let name = Attributes::<4>::read(message)?
            .text(element::SET)
            .unwrap_or_default();
        if let Some(set) = listing.sets.get(&name).filter(|set| !set.key.is_empty()) {
            reads.entry(name).or_default().message(set, message)?;
        }
    }
    let mut whole = true;
    for (name, read) in reads {
        if let Some(set) = listing.sets.get_mut(&name) {
            whole &= read.fill(set, None);
        }
    }
    Ok(listing.finish().filter(|_| whole))
}

/// The batch that carries out a change; no bytes if there is nothing to do.
///
/// # Errors
/// If a name cannot be written.
pub fn write(change: &TableChange) -> Result<Vec<u8>, Error> {
    Ok(Batch::new(change, elements::Starts::default(), 1, 1)?
        .map_or_else(Vec::new, |batch| batch.bytes().to_vec()))
}

/// Whether a datagram has a well-formed message about our table, read as a look reads it.
#[must_use]
pub fn is_of_our_table(datagram: &[u8]) -> bool {
    let name = [NFT_TABLE.as_bytes(), &[0]].concat();
    answers(datagram).map_while(Result::ok).any(|answer| {
        let Ok(Content::Object(_, message)) = answer.content() else {
            return false;
        };
        // NFTA_*_TABLE, of every kind of object.
        let table = attributes(message)
            .map_while(Result::ok)
            .find(|(kind, _)| *kind == 1);
        kind(&answer).is_some() && table.is_some_and(|(_, table)| table == name)
    })
}

/// `NFT_MSG_*`; `None` for messages of other subsystems.
fn kind(answer: &Answer<'_>) -> Option<libc::c_int> {
    let kind = libc::c_int::from(answer.kind);
    (kind >> 8 == libc::NFNL_SUBSYS_NFTABLES).then_some(kind & 0xff)
}
