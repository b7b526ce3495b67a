//! Our nf_tables table in the kernel: seen as a value, changed in one batch.
//!
//! The only code that talks to nf_tables. It looks at and writes [`NFT_TABLE`] of family `ip` alone; a batch is
//! carried out only on the very table that was looked at (`NFNL_BATCH_GENID`; what others do to theirs does not matter).
//!
//! - `uapi`, `types`: the numbers of the kernel and of nft(8)
//! - `elements`, `expression`, `statement`, `flowtable`: the parts of a table, each in both directions
//! - `encode`: a change into a batch, by way of nftnl and (`shim`) what that lacks; `decode`: dumps into a table;
//!   `listing`: what the dumps of one look add up to; `ahead`: a look before it is asked for; `touched`: a look at no more
//!   than our own edit touched; `kept`: large sets that an earlier process saw, and nobody touched since

mod ahead;
mod decode;
mod elements;
mod encode;
mod expression;
mod flowtable;
#[cfg(fuzzing)]
pub mod fuzz;
mod kept;
mod listing;
mod shim;
mod statement;
#[cfg(test)]
mod tests;
mod touched;
mod types;
mod uapi;

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::Duration;

use nix::libc;

use self::ahead::Ahead;
use self::elements::Starts;
use self::encode::Batch;
use self::kept::Recalled;
use self::listing::Listing;
use self::touched::Touched;
use super::error::Error;
use super::netfilter::message::{self, Attributes};
use super::netfilter::socket::{Answers, NetfilterSocket, Request, Subsystem};
use super::sysctl;
use crate::model::nft::{Counts, Elements, Set, Table, TableChange};
use crate::owned::NFT_TABLE;

/// Whom we ask; the table is [`NFT_TABLE`].
const TO: Subsystem = Subsystem {
    number: libc::NFNL_SUBSYS_NFTABLES,
    holds: "nftables table ip kylin_vr",
};

/// What a table is called that is only tried.
const REHEARSAL: &str = "kylin_vr_rehearsal";

/// How often a look is repeated that others disturb before that is an error.
const TRIES: u64 = 16;

/// An open connection to nf_tables, and which ruleset it saw last.
///
/// To be kept: closing it after a table was deleted waits for the kernel's RCU, 10 ms and more.
pub(super) struct Nftables {
    socket: NetfilterSocket,
    /// The ruleset's generation at the last look, or after our own last batch.
    generation: Option<u32>,
    /// Our table at the last look, of which a change was not made yet.
    seen: Option<Arc<Table>>,
    /// A look for the next one who asks.
    ahead: Option<Ahead>,
    /// What the next look needs to ask for, after an edit of ours.
    touched: Option<Touched>,
    /// What our last batch wrote into sets that it made: nearly always what they hold.
    written: BTreeMap<String, Elements>,
    /// What an earlier process saw, as long as it may still be so.
    recalled: Option<Recalled>,
    /// Whether our batches deleted anything.
    has_deleted: bool,
}

impl AsFd for Nftables {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// What one try to look brought.
enum Look {
    Seen(Option<Table>),
    Disturbed,
}

impl Nftables {
    /// Opens it in the network namespace of the thread.
    ///
    /// # Errors
    /// [`Error::Unsupported`] if the kernel has no netfilter netlink.
    pub(super) fn open() -> Result<Self, Error> {
        let socket = NetfilterSocket::open().map_err(|source| match source.raw_os_error() {
            Some(libc::EPROTONOSUPPORT | libc::EAFNOSUPPORT) => unsupported(),
            _ => Error::Read {
                what: "nftables".to_owned(),
                source,
            },
        })?;
        Ok(Self {
            socket,
            generation: None,
            seen: None,
            ahead: None,
            touched: None,
            written: BTreeMap::new(),
            recalled: None,
            has_deleted: false,
        })
    }

    /// Whether anything was deleted, so that the end of the socket waits for the kernel.
    pub(super) fn has_deleted(&self) -> bool {
        self.has_deleted
    }

    /// Our table as the kernel has it; `None` if it has none.
    ///
    /// # Errors
    /// [`Error::Interrupted`] if others changed nftables through many tries, [`Error::Unsupported`] if the kernel
    /// has no nf_tables, [`Error::Read`] if it refuses to tell.
    pub(super) fn observe(&mut self) -> Result<Option<Arc<Table>>, Error> {
        self.generation = None;
        self.seen = None;
        if let Some((generation, table)) = self.taken_ahead() {
            self.generation = Some(generation);
            self.seen.clone_from(&table);
            return Ok(table);
        }
        if let Some((generation, table)) = self.look_at_touched() {
            self.generation = Some(generation);
            self.seen = Some(table.clone());
            return Ok(Some(table));
        }
        for attempt in 0..TRIES {
            if attempt > 0 {
                std::thread::sleep(Duration::from_millis(attempt));
            }
            let before = self.ask_generation()?;
            let look = match self.look(before) {
                // What was listed was gone when it was asked for.
                Err(error) if errno(&error) == Some(libc::ENOENT) => Look::Disturbed,
                look => look?,
            };
            if let Look::Seen(table) = look
                && self.ask_generation()? == before
            {
                self.generation = Some(before);
                self.seen = table.map(Arc::new);
                return Ok(self.seen.clone());
            }
        }
        Err(Error::Interrupted)
    }

    /// Whether no batch of anybody's was carried out since the last look, or since our own last batch. The table that was
    /// seen is forgotten: there is nothing to change before the next look.
    ///
    /// # Errors
    /// If it cannot be asked.
    pub(super) fn is_as_seen(&mut self) -> Result<bool, Error> {
        (self.seen, self.ahead, self.touched) = (None, None, None);
        // Whoever stays would hold all that it ever wrote.
        self.written.clear();
        let Some(generation) = self.generation else {
            return Ok(false);
        };
        Ok(self.ask_generation()? == generation)
    }

    /// Carries out a change of the table that was seen last, whole or not at all. What others do to their own tables
    /// meanwhile does not matter.
    ///
    /// # Errors
    /// [`Error::Interrupted`] if the table is not as it was seen last (or was never looked at), or others changed
    /// nftables through many tries: nothing was done, or, where the kernel's answer was lost, maybe all.
    /// [`Error::Unsupported`] and [`Error::Refused`] if the kernel cannot or will not: nothing was done.
    pub(super) fn commit(&mut self, change: &TableChange) -> Result<(), Error> {
        (self.ahead, self.touched) = (None, None);
        let Some(mut generation) = self.generation else {
            return Err(Error::Interrupted);
        };
        let seen = self.seen.take();
        // Packets that go by from here to the batch are not counted.
        let counts = self.counts_of(change.recounted()).unwrap_or_else(|error| {
            tracing::warn!("what was counted until now is lost: {error}");
            Counts::new()
        });
        let all = sysctl::release() < (5, 13);
        let starts = Starts { counts, all };
        let mut result = self.try_to_commit(change, &starts, generation);
        // Between the look and the batch are other operations and writes to the disk: a program that changes
        // nftables without pause would come in between every time. From a look of its own to the batch is a moment.
        for _ in 0..TRIES {
            if !matches!(result, Err(Error::Interrupted)) || self.observe()? != seen {
                break;
            }
            match self.generation {
                // Refused, though nobody changed anything: what was seen was not whole.
                Some(now) if now == generation => break,
                Some(now) => generation = now,
                None => break,
            }
            result = self.try_to_commit(change, &starts, generation);
        }
        self.seen = None;
        if matches!(result, Err(Error::Interrupted)) {
            self.generation = None;
        }
        self.written.clear();
        self.has_deleted |= result.is_ok() && change.deletes();
        if result.is_ok() {
            let sets = change
                .made()
                .map(|(name, set)| (name.clone(), set.elements.clone()));
            self.written.extend(sets);
        }
        if let (Ok(()), Some(generation), Some(before)) = (&result, self.generation, seen) {
            self.touched = Touched::new(change, before, generation);
        }
        result
    }

    /// Carries out a change of a ruleset of this generation.
    fn try_to_commit(&mut self, change: &TableChange, starts: &Starts, generation: u32) -> Result<(), Error> {
        let first = self.socket.numbers(0);
        let Some(batch) = Batch::new(change, starts.clone(), generation, first)? else {
            return Ok(());
        };
        self.socket.numbers(batch.count());
        tracing::debug!(
            messages = batch.count(),
            bytes = batch.bytes().len(),
            "nftables batch"
        );
        // Unknown until the kernel has answered.
        self.generation = None;
        let answers = self.socket.batch(batch.bytes(), |sequence| batch.has(sequence));
        match answers.map_err(not_sent)? {
            Answers::Acknowledged => {
                // Our batch was the one that followed (`nf_tables_commit`, nf_tables_api.c: 0 is left out).
                self.generation = Some(generation.checked_add(1).unwrap_or(1));
                Ok(())
            }
            Answers::Failed(sequence, errno) => {
                let error = batch.error(sequence, errno);
                if !matches!(error, Error::Interrupted) {
                    self.generation = Some(generation);
                }
                Err(error)
            }
            Answers::Lost => match self.ask_generation()? {
                now if now == generation => {
                    self.generation = Some(generation);
                    Err(Error::refused(libc::ENOBUFS))
                }
                // Somebody's batch was carried out, ours or another's before it: only a look can tell.
                _ => Err(Error::Interrupted),
            },
        }
    }

    /// Whether the kernel could make this table, which has no sets, tried without making it. Modules that it lacks are loaded for that.
    ///
    /// # Errors
    /// [`Error::Interrupted`] if others changed nftables through many tries, [`Error::Refused`] if it will not even try.
    pub(super) fn can_make(&mut self, table: &Table) -> Result<bool, Error> {
        self.could(|generation, first| Batch::rehearsal(REHEARSAL, table, generation, first))
    }

    /// Whether the kernel knows that elements can have expressions of their own, such as a counter.
    ///
    /// # Errors
    /// As of [`Self::can_make`].
    pub(super) fn knows_counters(&mut self) -> Result<bool, Error> {
        let could = self.could(|generation, first| Batch::impossible(REHEARSAL, generation, first))?;
        Ok(!could)
    }

    /// Whether the kernel could carry out a batch that it must not.
    fn could(&mut self, batch: impl Fn(u32, u32) -> Result<Batch, Error>) -> Result<bool, Error> {
        for _ in 0..TRIES {
            let generation = self.ask_generation()?;
            let first = self.socket.numbers(0);
            let batch = batch(generation, first)?;
            self.socket.numbers(batch.count());
            let answers = self.socket.batch(batch.bytes(), |sequence| batch.has(sequence));
            match answers.map_err(not_sent)? {
                Answers::Acknowledged => return Ok(true),
                Answers::Failed(_, libc::ENOENT | libc::EOPNOTSUPP | libc::EINVAL) => return Ok(false),
                Answers::Failed(_, libc::ERESTART) | Answers::Lost => {}
                Answers::Failed(_, errno) => return Err(Error::refused(errno)),
            }
        }
        Err(Error::Interrupted)
    }

    /// The batch of a change, as it would be sent on a fresh socket.
    ///
    /// # Errors
    /// If a name cannot be written.
    pub(super) fn encode(change: &TableChange) -> Result<Vec<u8>, Error> {
        let batch = Batch::new(change, Starts::default(), 0, 1)?;
        Ok(batch.map_or_else(Vec::new, |batch| batch.bytes().to_vec()))
    }

    /// `NFT_MSG_GETGEN`: a number that every batch changes.
    fn ask_generation(&mut self) -> Result<u32, Error> {
        let what = "get the generation";
        let request = Request {
            to: &TO,
            what,
            kind: libc::NFT_MSG_GETGEN,
            flags: 0,
            names: &[],
        };
        let mut generation = None;
        let asked = self.socket.ask(&request, |_, message| {
            generation = Attributes::<2>::read(message)?.number(uapi::GENERATION_ID);
            Ok(())
        });
        match asked {
            // nfnetlink knows no such subsystem, or nf_tables is older than generations.
            Err(error) if matches!(errno(&error), Some(libc::EINVAL | libc::EOPNOTSUPP)) => {
                Err(unsupported())
            }
            Err(error) => Err(error),
            Ok(_) => generation.ok_or(Error::Garbled {
                request: what,
                problem: "no generation".to_owned(),
            }),
        }
    }

    fn look(&mut self, generation: u32) -> Result<Look, Error> {
        let mut listing = Listing::default();
        if !self.look_at_table(&mut listing)? {
            return Ok(Look::Seen(None));
        }
        let whole = self.look_at_sets(&mut listing, generation)?
            && self.look_at_flowtables(&mut listing)?
            && self.look_at_chains(&mut listing)?;
        Ok(match listing.finish().filter(|_| whole) {
            Some(table) => Look::Seen(Some(table)),
            None => Look::Disturbed,
        })
    }

    /// Whether there is our table.
    fn look_at_table(&mut self, listing: &mut Listing) -> Result<bool, Error> {
        let names = [(uapi::table::NAME, NFT_TABLE)];
        let request = Request {
            to: &TO,
            what: "get the table",
            kind: libc::NFT_MSG_GETTABLE,
            flags: 0,
            names: &names,
        };
        match self.socket.ask(&request, |_, message| listing.table(message)) {
            Err(error) if errno(&error) == Some(libc::ENOENT) => Ok(false),
            asked => asked.map(|_| true),
        }
    }

    fn look_at_sets(&mut self, listing: &mut Listing, generation: u32) -> Result<bool, Error> {
        let names = [(uapi::set::TABLE, NFT_TABLE)];
        let request = Request {
            to: &TO,
            what: "list the sets",
            kind: libc::NFT_MSG_GETSET,
            flags: libc::NLM_F_DUMP,
            names: &names,
        };
        if !self
            .socket
            .ask(&request, |family, message| listing.set(family, message))?
        {
            return Ok(false);
        }
        for (name, set) in listing.sets.iter_mut().filter(|(_, set)| !set.key.is_empty()) {
            if let Some(elements) = self.recalled(generation, name, set) {
                set.elements = elements;
            } else if !self.look_at_elements(name, set)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn look_at_elements(&mut self, name: &str, set: &mut Set) -> Result<bool, Error> {
        let names = [(uapi::element::TABLE, NFT_TABLE), (uapi::element::SET, name)];
        let request = Request {
            to: &TO,
            what: "list the elements of a set",
            kind: libc::NFT_MSG_GETSETELEM,
            flags: libc::NLM_F_DUMP,
            names: &names,
        };
        let mut read = elements::Read::default();
        let whole = self
            .socket
            .ask(&request, |_, message| read.message(set, message))?;
        Ok(read.fill(set, self.written.get(name)) && whole)
    }

    /// What the elements of the table that was seen last counted; nothing where there is none.
    ///
    /// Not a look at one moment: packets count on meanwhile.
    ///
    /// # Errors
    /// As [`Self::observe`].
    pub(super) fn counts(&mut self) -> Result<Counts, Error> {
        match self.seen.clone() {
            Some(table) => self.counts_of(table.counting()),
            None => Ok(Counts::new()),
        }
    }

    fn counts_of<'s>(&mut self, sets: impl IntoIterator<Item = (&'s str, &'s Set)>) -> Result<Counts, Error> {
        let mut counts = Counts::new();
        for (name, set) in sets {
            let names = [(uapi::element::TABLE, NFT_TABLE), (uapi::element::SET, name)];
            let request = Request {
                to: &TO,
                what: "list the counters of a set",
                kind: libc::NFT_MSG_GETSETELEM,
                flags: libc::NLM_F_DUMP,
                names: &names,
            };
            let mut counted = BTreeMap::new();
            for attempt in 0..TRIES {
                std::thread::sleep(Duration::from_millis(attempt));
                // What was told already stays: each further try can only add to it.
                let told = self.socket.ask(&request, |_, message| {
                    elements::counts(set, message, &mut counted)
                });
                match told {
                    Ok(true) => break,
                    // Somebody else's change of nftables came in between.
                    Ok(false) => {}
                    // The set went meanwhile: with the next reload, or somebody's `nft flush ruleset`.
                    Err(error) if errno(&error) == Some(libc::ENOENT) => break,
                    Err(error) => return Err(error),
                }
            }
            counts.insert(name.to_owned(), counted);
        }
        Ok(counts)
    }

    fn look_at_flowtables(&mut self, listing: &mut Listing) -> Result<bool, Error> {
        let request = Request {
            to: &TO,
            what: "list the flowtables",
            kind: uapi::flowtable::MESSAGE_GET,
            flags: libc::NLM_F_DUMP,
            names: &[(uapi::flowtable::TABLE, NFT_TABLE)],
        };
        self.socket
            .ask(&request, |family, message| listing.flowtable(family, message))
    }

    fn look_at_chains(&mut self, listing: &mut Listing) -> Result<bool, Error> {
        let request = Request {
            to: &TO,
            what: "list the chains",
            kind: libc::NFT_MSG_GETCHAIN,
            flags: libc::NLM_F_DUMP,
            names: &[(uapi::chain::TABLE, NFT_TABLE)],
        };
        let whole = self
            .socket
            .ask(&request, |family, message| listing.chain(family, message))?;
        let request = Request {
            to: &TO,
            what: "list the rules",
            kind: libc::NFT_MSG_GETRULE,
            flags: libc::NLM_F_DUMP,
            names: &[(uapi::rule::TABLE, NFT_TABLE)],
        };
        Ok(whole
            & self
                .socket
                .ask(&request, |family, message| listing.rule(family, message))?)
    }
}

/// To be called once, before there are threads: large blocks of memory are given back when they are free.
pub fn spare_memory() {
    shim::give_back_large_blocks();
}

fn errno(error: &Error) -> Option<i32> {
    match error {
        Error::Read { source, .. } => source.raw_os_error(),
        _ => None,
    }
}

fn not_sent(error: io::Error) -> Error {
    match error.raw_os_error() {
        Some(libc::EMSGSIZE) => Error::Unsupported {
            feature: "room for a netlink message of this size",
            remedy: "run with CAP_NET_ADMIN in the initial user namespace, or raise net.core.wmem_max",
        },
        _ => Error::Refused { source: error },
    }
}

fn unsupported() -> Error {
    Error::Unsupported {
        feature: "nf_tables",
        remedy: "use Linux 4.18 or later with CONFIG_NF_TABLES, or load the module nf_tables",
    }
}
