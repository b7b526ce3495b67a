//! An nftables table as a value: sets, maps, chains and rules, in the words of nft(8).
//!
//! Only what a router uses is here, but that in general form, so that a feature adds its sets and rules without
//! the kernel layer knowing what they are for. `Display` writes what `nft -f` reads.

mod change;
mod count;
mod flowtable;
mod former;
mod held;
mod rule;
mod set;
mod translate;

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

pub use change::{ChainEdit, FlowtableEdit, SetEdit, TableChange};
pub use count::{Counted, Counts};
pub use flowtable::Flowtable;
pub use former::{Former, FormerSet};
pub use held::Elements;
pub use rule::{Field, NatTarget, Rule, Statement};
pub use set::{Element, FieldType, Set, Tuple};
pub use translate::{Origin, Packet, Translation};

/// A table of family `ip`. Its name is that of [`crate::owned::NFT_TABLE`]: there is one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default)]
pub struct Table {
    /// Sets and maps by name.
    pub sets: BTreeMap<String, Set>,
    /// Flowtables by name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub flowtables: BTreeMap<String, Flowtable>,
    /// Chains by name.
    pub chains: BTreeMap<String, Chain>,
}

/// A base chain: the kernel calls it at a hook. Its policy is to accept.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Chain {
    /// What kind of work it does.
    pub kind: ChainKind,
    /// Where in a packet's way it is called.
    pub hook: Hook,
    /// The order among all chains of the hook, lower first.
    pub priority: i32,
    /// Its rules, in order.
    pub rules: Vec<Rule>,
}

impl Chain {
    /// Whether another chain differs in its rules at most: those can be replaced in place.
    #[must_use]
    pub fn same_definition(&self, other: &Self) -> bool {
        (self.kind, self.hook, self.priority) == (other.kind, other.hook, other.priority)
    }
}

/// The type of a base chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ChainKind {
    /// Sees every packet.
    Filter,
    /// Sees the first packet of each connection and decides its translation.
    Nat,
}

impl ChainKind {
    /// The kernel's and nft(8)'s word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Filter => "filter",
            Self::Nat => "nat",
        }
    }
}

/// Where a base chain is called (`enum nf_inet_hooks`, linux/netfilter.h).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Hook {
    /// Before routing.
    Prerouting = 0,
    /// To the router itself.
    Input = 1,
    /// Through it.
    Forward = 2,
    /// From the router itself.
    Output = 3,
    /// After routing.
    Postrouting = 4,
}

impl Hook {
    /// nft(8)'s word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Prerouting => "prerouting",
            Self::Input => "input",
            Self::Forward => "forward",
            Self::Output => "output",
            Self::Postrouting => "postrouting",
        }
    }

    /// The hook with the kernel's number `number`.
    #[must_use]
    pub fn from_number(number: u32) -> Option<Self> {
        [
            Self::Prerouting,
            Self::Input,
            Self::Forward,
            Self::Output,
            Self::Postrouting,
        ]
        .into_iter()
        .find(|hook| *hook as u32 == number)
    }
}

impl Table {
    /// How many elements all sets hold but those that are there to count.
    #[must_use]
    pub fn elements(&self) -> usize {
        let sets = self.sets.values().filter(|set| !set.is_counter());
        sets.map(|set| set.elements.len()).sum()
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "table ip {} {{", crate::owned::NFT_TABLE)?;
        for (name, set) in &self.sets {
            set.write(f, name)?;
        }
        for (name, flowtable) in &self.flowtables {
            flowtable.write(f, name)?;
        }
        for (name, chain) in &self.chains {
            writeln!(f, "\tchain {name} {{")?;
            writeln!(
                f,
                "\t\ttype {} hook {} priority {}; policy accept;",
                chain.kind.as_str(),
                chain.hook.as_str(),
                chain.priority
            )?;
            for rule in &chain.rules {
                writeln!(f, "\t\t{rule}")?;
            }
            writeln!(f, "\t}}")?;
        }
        writeln!(f, "}}")
    }
}
