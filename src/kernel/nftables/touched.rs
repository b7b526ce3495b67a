//! The look after our own edit of a few elements: the kernel is asked for these alone, as long as it says that nobody else
//! changed nftables since the look before. Then all else is as it was seen.

use std::sync::Arc;

use nix::libc;

use super::{Nftables, TO, elements, errno, uapi};
use crate::kernel::error::Error;
use crate::kernel::netfilter::message::FAMILY;
use crate::kernel::netfilter::socket::Request;
use crate::model::nft::{Element, Set, SetEdit, Table, TableChange, Tuple};
use crate::owned::NFT_TABLE;

/// So many elements are asked for one by one; a look at all is cheaper than thousands of questions.
const MOST: usize = 256;

/// An edit of elements that was carried out.
pub(super) struct Touched {
    /// The ruleset's generation after it.
    generation: u32,
    /// Our table before it.
    before: Arc<Table>,
    /// What went or came, by the name of its set.
    elements: Vec<(String, Element)>,
}

impl Touched {
    /// What this change of this table touched, if that is a few elements and nothing else.
    ///
    /// The kernel is not asked for ranges of one field: two of its elements are one of ours.
    pub(super) fn new(change: &TableChange, before: Arc<Table>, generation: u32) -> Option<Self> {
        let TableChange::Edit {
            elements,
            chains,
            remove_sets,
            add_sets,
            flowtables,
        } = change
        else {
            return None;
        };
        let is_of_elements =
            chains.is_empty() && remove_sets.is_empty() && add_sets.is_empty() && flowtables.is_empty();
        let count = |edit: &SetEdit| edit.remove.len() + edit.add.len();
        if !is_of_elements
            || elements.values().any(|edit| edit.set.interval)
            || elements.values().map(count).sum::<usize>() > MOST
        {
            return None;
        }
        let touched = |(name, edit): (&String, &SetEdit)| {
            let name = name.clone();
            let both = edit.remove.iter().chain(&edit.add).map(|(element, _)| *element);
            both.map(move |element| (name.clone(), element))
                .collect::<Vec<_>>()
        };
        let mut elements: Vec<_> = elements.iter().flat_map(touched).collect();
        elements.sort_unstable();
        elements.dedup();
        Some(Self {
            generation,
            before,
            elements,
        })
    }
}

impl Nftables {
    /// Our table after our own edit; `None`: it has to be looked at as a whole.
    pub(super) fn look_at_touched(&mut self) -> Option<(u32, Arc<Table>)> {
        let Touched {
            generation,
            before,
            elements,
        } = self.touched.take()?;
        if self.ask_generation().ok()? != generation {
            return None;
        }
        let mut table = Table::clone(&before);
        for (name, element) in elements {
            let set = table.sets.get_mut(&name)?;
            match self.look_at_element(&name, set, element).ok()? {
                Some(value) => set.elements.insert(element, value),
                None => set.elements.remove(&element),
            };
        }
        (self.ask_generation().ok()? == generation).then(|| (generation, Arc::new(table)))
    }

    /// The value of an element that the kernel has; `None`: it has none.
    ///
    /// # Errors
    /// If it does not tell, or tells of another one.
    fn look_at_element(&mut self, name: &str, set: &Set, element: Element) -> Result<Option<Tuple>, Error> {
        let request = Request {
            to: &TO,
            what: "get an element of a set",
            kind: libc::NFT_MSG_GETSETELEM,
            flags: 0,
            names: &[(uapi::element::TABLE, NFT_TABLE), (uapi::element::SET, name)],
        };
        let mut read = elements::Read::default();
        let asked = self.socket.ask_for(
            FAMILY,
            &request,
            |message| elements::put_question(message, set, element),
            |_, message| read.message(set, message),
        );
        match asked {
            Err(error) if errno(&error) == Some(libc::ENOENT) => return Ok(None),
            asked => asked?,
        };
        match read.only(element) {
            Some(value) => Ok(Some(value)),
            None => Err(Error::Garbled {
                request: request.what,
                problem: "another element".to_owned(),
            }),
        }
    }
}
