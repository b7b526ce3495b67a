//! The fuzzer's door: a dump as bytes, and the deletions that would be sent for it, without a kernel.

use super::{Entry, Messages};
use crate::kernel::netfilter::message::{Content, answers};
use crate::model::Flow;

/// What is read of a datagram of a dump, up to what cannot be read, and for each flow the bytes of its deletion. The first
/// one has the sequence number 1.
#[must_use]
pub fn deletions(datagram: &[u8]) -> Vec<(Flow, Vec<u8>)> {
    let mut deletions = Vec::new();
    for answer in answers(datagram) {
        let Ok(Content::Object(family, message)) = answer.and_then(|answer| answer.content()) else {
            continue;
        };
        let Ok(Some(entry)) = Entry::of(family, message) else {
            continue;
        };
        let mut batch = Messages::default();
        entry.delete(&mut batch, deletions.len() as u32 + 1);
        deletions.push((entry.flow, batch.bytes().to_vec()));
    }
    deletions
}
