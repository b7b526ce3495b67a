//! A change into the bytes of one batch: what the kernel carries out whole or not at all.
//!
//! What was read as foreign is left out when an undo asks for it: that it is gone is the lesser evil.

use std::collections::{BTreeMap, BTreeSet};

use nftnl::{ChainType, Policy, ProtoFamily};
use nix::libc;

use super::decode::FOREIGN_PRIORITY;
use super::elements::{self, Direction, Start, Starts};
use super::expression::c_string;
use super::flowtable;
use super::message::Messages;
use super::shim;
use super::statement::compile;
use super::types;
use super::uapi::{LIST_ELEMENT, element, rule, set, table};
use crate::kernel::error::Error;
use crate::model::nft::{
    Chain, ChainEdit, ChainKind, Element, FieldType, Flowtable, FlowtableEdit, Hook, NatTarget, Rule, Set,
    SetEdit, Statement, Table, TableChange, Tuple,
};
use crate::owned::NFT_TABLE;

/// The kernel takes no more in a rule (`NFT_RULE_MAXEXPRS`), and nftnl has no room for many more.
const MOST_EXPRESSIONS: usize = 128;

/// A set of single elements has room for this many: 64 KiB of buckets.
const LEAST_ROOM: u32 = 4_096;

/// A batch, from its first message to its last.
pub(super) struct Batch {
    messages: Messages,
    /// The sequence number of its first message.
    first: u32,
    /// How many messages it has.
    count: u32,
    /// What else than a plain refusal an error means, by the sequence number of the message that it answers.
    needs: BTreeMap<u32, Need>,
    writer: shim::Writer,
    table: nftnl::Table,
    name: String,
    starts: Starts,
}

/// What the kernel must have for a message.
#[derive(Clone, Copy, Debug)]
enum Need {
    /// Chains of type nat.
    NatChains,
    /// Ranges in concatenations.
    ConcatenatedRanges,
    /// The elements that were seen.
    Elements,
    /// The devices of a flowtable.
    Devices,
    /// Elements that count.
    Counters,
}

impl Batch {
    /// The batch that carries out `change`, if the ruleset still is of this generation; its messages are
    /// numbered from `first`. `None` if there is nothing to do.
    ///
    /// # Errors
    /// If a name cannot be written.
    pub(super) fn new(
        change: &TableChange,
        starts: Starts,
        generation: u32,
        first: u32,
    ) -> Result<Option<Self>, Error> {
        let mut batch = Self::begin(NFT_TABLE, generation, first)?;
        batch.starts = starts;
        batch.change(change)?;
        if batch.count == 1 {
            return Ok(None);
        }
        // One answer is enough: an error comes unasked. Not to the end: it answers since Linux 6.10 only.
        batch.messages.acknowledge_last();
        let sequence = batch.next();
        batch
            .messages
            .batch_edge(libc::NFNL_MSG_BATCH_END, sequence, |_| ());
        Ok(Some(batch))
    }

    fn begin(name: &str, generation: u32, first: u32) -> Result<Self, Error> {
        let mut batch = Self {
            messages: Messages::default(),
            first,
            count: 0,
            needs: BTreeMap::new(),
            writer: shim::Writer::new(),
            table: nftnl::Table::new(c_string(name)?, ProtoFamily::Ipv4),
            name: name.to_owned(),
            starts: Starts::default(),
        };
        // nftnl's own batch has no generation: the kernel would take it whatever came in between.
        let sequence = batch.next();
        batch
            .messages
            .batch_edge(libc::NFNL_MSG_BATCH_BEGIN, sequence, |message| {
                message.number(libc::NFNL_BATCH_GENID as u16, generation);
            });
        Ok(batch)
    }

    pub(super) fn bytes(&self) -> &[u8] {
        self.messages.bytes()
    }

    /// How many messages it has.
    pub(super) fn count(&self) -> u32 {
        self.count
    }

    /// Whether an answer is to one of these messages.
    pub(super) fn has(&self, sequence: u32) -> bool {
        sequence.wrapping_sub(self.first) < self.count
    }

    /// What an error number means as the answer to this message.
    pub(super) fn error(&self, sequence: u32, errno: i32) -> Error {
        match (errno, self.needs.get(&sequence)) {
            (libc::ERESTART, _) => Error::Interrupted,
            // An element that was not seen is there, or one that was seen is not: the look was not whole. A dump
            // of a hash table that grows just then leaves some out and tells some twice (lib/rhashtable.c).
            (libc::EEXIST | libc::ENOENT, Some(Need::Elements)) => Error::Interrupted,
            (libc::ENOENT, Some(Need::NatChains)) => Error::Unsupported {
                feature: "nftables chains of type nat",
                remedy: "load the module nft_chain_nat (nft_chain_nat_ipv4 before Linux 5.1), or use a kernel \
                         with CONFIG_NFT_NAT",
            },
            (libc::ENOENT | libc::EOPNOTSUPP, Some(Need::Counters)) => Error::Unsupported {
                feature: "counters in the elements of nftables sets",
                remedy: "load the module nft_counter, or set `counters: false` in the file",
            },
            // A NIC went since it was seen, or has another name. (That the kernel has flowtables was asked before.)
            (libc::ENOENT, Some(Need::Devices)) => Error::Interrupted,
            (libc::EINVAL | libc::EOPNOTSUPP, Some(Need::ConcatenatedRanges)) => Error::Unsupported {
                feature: "nftables sets with ranges in concatenated keys",
                remedy: "use Linux 5.6 or later",
            },
            _ => Error::refused(errno),
        }
    }

    fn change(&mut self, change: &TableChange) -> Result<(), Error> {
        match change {
            TableChange::Create(table) => self.create(table),
            TableChange::Delete(_) => {
                self.delete();
                Ok(())
            }
            TableChange::Replace { to, .. } => {
                self.delete();
                self.create(to)
            }
            TableChange::Edit {
                elements,
                chains,
                remove_sets,
                add_sets,
                flowtables,
            } => self.edit(elements, chains, (remove_sets, add_sets), flowtables),
        }
    }

    /// A batch that makes this table, which has no sets, under another name, and that has no end: the kernel tries all of it, says whether it
    /// could, and takes it back (`nfnetlink_rcv_batch`, nfnetlink.c; `nft --check` does the same). Nobody hears of it.
    ///
    /// # Errors
    /// If a name cannot be written.
    pub(super) fn rehearsal(name: &str, table: &Table, generation: u32, first: u32) -> Result<Self, Error> {
        let mut batch = Self::begin(name, generation, first)?;
        batch.create(table)?;
        batch.messages.acknowledge_last();
        Ok(batch)
    }

    /// A batch that cannot be carried out, and of which a kernel that knows nothing of expressions of elements says that it
    /// could: one of these is none (Linux 5.7 came with them; others pass over what they do not know). It has no end, as
    /// [`Self::rehearsal`].
    ///
    /// # Errors
    /// If a name cannot be written.
    pub(super) fn impossible(name: &str, generation: u32, first: u32) -> Result<Self, Error> {
        const SET: &str = "set";
        let mut batch = Self::begin(name, generation, first)?;
        batch.create(&Table::default())?;
        let set = Set::new(&[FieldType::Ipv4Addr], &[], false);
        batch.add_set(SET, &set)?;
        let sequence = batch.next();
        let flags = libc::NLM_F_REQUEST | libc::NLM_F_CREATE | libc::NLM_F_EXCL;
        batch
            .messages
            .message(libc::NFT_MSG_NEWSETELEM, flags, sequence, |message| {
                message.text(element::TABLE, name);
                message.text(element::SET, SET);
                message.nested(element::ELEMENTS, |list| {
                    list.nested(LIST_ELEMENT, |entry| {
                        entry.nested(element::KEY, |data| {
                            data.attribute(element::DATA_VALUE, &[10, 0, 0, 1])
                        });
                        // What an expression without a name is, the kernel does not look for.
                        entry.nested(element::EXPRESSION, |expression| {
                            expression.nested(rule::EXPRESSION_DATA, |_| ());
                        });
                    });
                });
            });
        batch.messages.acknowledge_last();
        Ok(batch)
    }

    /// `add table ip kylin_vr { .. }`
    fn create(&mut self, table: &Table) -> Result<(), Error> {
        let message = self.writer.add(&self.table);
        self.written(&message);
        let mut foreign = self.add_sets(&table.sets)?;
        for (name, flowtable) in &table.flowtables {
            foreign.extend(self.add_flowtable(name, flowtable));
        }
        let chains = || {
            table
                .chains
                .iter()
                .filter(|(_, chain)| chain.priority != FOREIGN_PRIORITY)
        };
        for (name, chain) in chains() {
            self.add_chain(name, chain)?;
        }
        for (name, chain) in chains() {
            self.add_rules(name, &chain.rules, &foreign)?;
        }
        Ok(())
    }

    /// `delete table ip kylin_vr`, with all that is in it.
    fn delete(&mut self) {
        let sequence = self.next();
        self.messages
            .message(libc::NFT_MSG_DELTABLE, libc::NLM_F_REQUEST, sequence, |message| {
                message.text(table::NAME, NFT_TABLE);
            });
    }

    /// Rules go before the sets that they name, and come after them; elements go before others come that may
    /// have their keys.
    fn edit(
        &mut self,
        elements: &BTreeMap<String, SetEdit>,
        chains: &BTreeMap<String, ChainEdit>,
        (remove_sets, add_sets): (&BTreeMap<String, Set>, &BTreeMap<String, Set>),
        flowtables: &BTreeMap<String, FlowtableEdit>,
    ) -> Result<(), Error> {
        for (name, _) in chains.iter().filter(|(_, edit)| !edit.from.is_empty()) {
            self.flush_chain(name);
        }
        for (name, edit) in elements {
            self.elements(Direction::Delete, (name, &edit.set), edit.remove.iter().copied());
        }
        for name in remove_sets.keys() {
            self.delete_set(name);
        }
        for (name, _) in flowtables.iter().filter(|(_, edit)| edit.from.is_some()) {
            self.delete_flowtable(name);
        }
        let mut foreign = self.add_sets(add_sets)?;
        for (name, edit) in flowtables {
            foreign.extend(edit.to.as_ref().and_then(|to| self.add_flowtable(name, to)));
        }
        for (name, edit) in elements {
            self.elements(Direction::Add, (name, &edit.set), edit.add.iter().copied());
        }
        for (name, edit) in chains {
            self.add_rules(name, &edit.to, &foreign)?;
        }
        Ok(())
    }

    /// `flush chain ip kylin_vr NAME`: a deletion that names no rule is of all of them.
    fn flush_chain(&mut self, name: &str) {
        let sequence = self.next();
        self.messages
            .message(libc::NFT_MSG_DELRULE, libc::NLM_F_REQUEST, sequence, |message| {
                message.text(rule::TABLE, NFT_TABLE);
                message.text(rule::CHAIN, name);
            });
    }

    /// `delete set ip kylin_vr NAME`, with all its elements.
    fn delete_set(&mut self, name: &str) {
        let sequence = self.next();
        self.messages
            .message(libc::NFT_MSG_DELSET, libc::NLM_F_REQUEST, sequence, |message| {
                message.text(set::TABLE, NFT_TABLE);
                message.text(set::NAME, name);
            });
    }

    /// Adds a flowtable; its name if it was read as foreign, and so left out.
    fn add_flowtable<'a>(&mut self, name: &'a str, wanted: &Flowtable) -> Option<&'a str> {
        if wanted.priority == FOREIGN_PRIORITY {
            return Some(name);
        }
        let sequence = self.next();
        flowtable::add(&mut self.messages, sequence, (&self.name, name), wanted);
        self.needs.insert(sequence, Need::Devices);
        None
    }

    fn delete_flowtable(&mut self, name: &str) {
        let sequence = self.next();
        flowtable::delete(&mut self.messages, sequence, (&self.name, name));
    }

    /// Adds sets with what they hold. Returns those that were left out: what was read as [`foreign`].
    ///
    /// [`foreign`]: super::decode::foreign_set
    fn add_sets<'a>(&mut self, sets: &'a BTreeMap<String, Set>) -> Result<BTreeSet<&'a str>, Error> {
        let mut foreign = BTreeSet::new();
        for (name, set) in sets {
            if set.key.is_empty() {
                foreign.insert(name.as_str());
                continue;
            }
            self.add_set(name, set)?;
            self.elements(
                Direction::Add,
                (name, set),
                set.elements.iter().map(|(key, value)| (*key, *value)),
            );
        }
        Ok(foreign)
    }

    /// `add set ip kylin_vr NAME { type ipv4_addr . inet_proto . inet_service : ipv4_addr; flags interval; counter; }`
    fn add_set(&mut self, name: &str, set: &Set) -> Result<(), Error> {
        // Whether it can be a name.
        c_string(name)?;
        let concatenated_ranges = set.interval && set.key.len() > 1;
        let mut flags = 0;
        if set.interval {
            flags |= libc::NFT_SET_INTERVAL as u32;
        }
        if !set.data.is_empty() {
            flags |= libc::NFT_SET_MAP as u32;
        }
        if concatenated_ranges {
            flags |= set::FLAG_CONCATENATION;
        }
        let (id, sequence) = (self.count, self.next());
        let create = libc::NLM_F_REQUEST | libc::NLM_F_CREATE | libc::NLM_F_EXCL;
        self.messages
            .message(libc::NFT_MSG_NEWSET, create, sequence, |message| {
                message.text(set::TABLE, &self.name);
                message.text(set::NAME, name);
                message.number(set::FLAGS, flags);
                message.number(set::KEY_TYPE, types::type_number(&set.key));
                message.number(set::KEY_LENGTH, types::length(&set.key) as u32);
                if !set.data.is_empty() {
                    message.number(set::DATA_TYPE, types::type_number(&set.data));
                    message.number(set::DATA_LENGTH, types::length(&set.data) as u32);
                }
                message.number(set::ID, id);
                message.nested(set::DESCRIPTION, |description| {
                    let room = room(set);
                    if room > 0 {
                        description.number(set::DESCRIPTION_SIZE, room);
                    }
                    if concatenated_ranges {
                        // Without the length of each field the kernel would compare the key as a whole.
                        description.nested(set::DESCRIPTION_CONCATENATION, |fields| {
                            for field in &set.key {
                                let length = types::width(*field) as u32;
                                fields.nested(LIST_ELEMENT, |one| one.number(set::FIELD_LENGTH, length));
                            }
                        });
                    }
                });
                if set.counts {
                    message.nested(set::EXPRESSION, |counter| {
                        elements::put_counter(counter, Start::Zero)
                    });
                }
            });
        if concatenated_ranges {
            self.needs.insert(sequence, Need::ConcatenatedRanges);
        } else if set.counts {
            self.needs.insert(sequence, Need::Counters);
        }
        Ok(())
    }

    fn elements(
        &mut self,
        direction: Direction,
        set: (&str, &Set),
        elements: impl Iterator<Item = (Element, Tuple)>,
    ) {
        let mut elements = elements.peekable();
        while elements.peek().is_some() {
            let sequence = self.next();
            let messages = &mut self.messages;
            elements::put(messages, sequence, direction, set, &mut elements, &self.starts);
            self.needs.insert(sequence, Need::Elements);
        }
    }

    /// `add chain ip kylin_vr NAME { type nat hook prerouting priority -100; policy accept; }`
    fn add_chain(&mut self, name: &str, chain: &Chain) -> Result<(), Error> {
        let message = {
            let mut message = nftnl::Chain::new(c_string(name)?, &self.table);
            message.set_hook(hook(chain.hook), chain.priority);
            message.set_type(match chain.kind {
                ChainKind::Filter => ChainType::Filter,
                ChainKind::Nat => ChainType::Nat,
            });
            message.set_policy(Policy::Accept);
            self.writer.add(&message)
        };
        let sequence = self.written(&message);
        if chain.kind == ChainKind::Nat {
            self.needs.insert(sequence, Need::NatChains);
        }
        Ok(())
    }

    /// `add rule ip kylin_vr CHAIN ..`, for all but the rules that are not ours or name a set that is not.
    fn add_rules(&mut self, chain: &str, rules: &[Rule], foreign: &BTreeSet<&str>) -> Result<(), Error> {
        let can_be_written = |statement: &Statement| match statement {
            Statement::Foreign(_) => false,
            Statement::FlowAdd(flowtable) => !foreign.contains(flowtable.as_str()),
            Statement::InSet { set, .. } => !foreign.contains(set.as_str()),
            Statement::Dnat(NatTarget::Map { map, .. }) | Statement::Snat(NatTarget::Map { map, .. }) => {
                !foreign.contains(map.as_str())
            }
            _ => true,
        };
        for rule in rules
            .iter()
            .filter(|rule| rule.statements.iter().all(can_be_written))
        {
            let expressions: Vec<_> = rule.statements.iter().flat_map(compile).collect();
            if expressions.len() > MOST_EXPRESSIONS {
                return Err(Error::refused(libc::EINVAL));
            }
            let message = {
                let chain = nftnl::Chain::new(c_string(chain)?, &self.table);
                let mut message = nftnl::Rule::new(&chain);
                for expression in expressions {
                    message.add_expr(&expression.to_nftnl()?);
                }
                self.writer.add(&message)
            };
            let userdata = comment(&rule.comment)?;
            let sequence = self.next();
            self.messages.foreign(&message, sequence, |message| {
                if !rule.comment.is_empty() {
                    message.attribute(rule::USERDATA, &userdata);
                }
            });
        }
        Ok(())
    }

    /// Adds a message that nftnl wrote.
    fn written(&mut self, message: &[u8]) -> u32 {
        let sequence = self.next();
        self.messages.foreign(message, sequence, |_| ());
        sequence
    }

    /// The sequence number of the next message.
    fn next(&mut self) -> u32 {
        self.count += 1;
        self.first.wrapping_add(self.count - 1)
    }
}

/// How many elements a set is made for; 0: any number. With a number the kernel takes a hash table of a fixed size
/// (`nft_hash_type`, nft_set_hash.c) instead of one that grows: elements come faster, lookups are cheaper, and a dump is
/// whole also right after a change. Ranges are in trees, which have no size.
///
/// A quarter more than there is, then the next power of two: a set that outgrows its size is replaced with the whole table.
fn room(set: &Set) -> u32 {
    if set.interval {
        return 0;
    }
    let elements = u32::try_from(set.elements.len()).unwrap_or(u32::MAX);
    let room = elements.saturating_add(elements / 4).max(LEAST_ROOM);
    room.checked_next_power_of_two().unwrap_or(u32::MAX).max(set.size)
}

/// A rule's user data with a comment as nft(8) writes it: type, length, and the text with a zero at its end.
fn comment(text: &str) -> Result<Vec<u8>, Error> {
    let length = u8::try_from(text.len() + 1).map_err(|_| Error::refused(libc::EINVAL))?;
    Ok([&[rule::USERDATA_COMMENT, length], text.as_bytes(), &[0]].concat())
}

const fn hook(hook: Hook) -> nftnl::Hook {
    match hook {
        Hook::Prerouting => nftnl::Hook::PreRouting,
        Hook::Input => nftnl::Hook::In,
        Hook::Forward => nftnl::Hook::Forward,
        Hook::Output => nftnl::Hook::Out,
        Hook::Postrouting => nftnl::Hook::PostRouting,
    }
}
