//! What copies packets of a link: a filter at its clsact qdisc (tc(8)), and the program by which it chooses.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};

use super::{DesiredOwnLink, LinkId, LinkIndex, LinkName, Observed, OwnName, Sysctl};

/// Which packets of a link a hook sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// Those that come in by it.
    Ingress,
    /// Those that leave by it.
    Egress,
}

impl fmt::Display for Direction {
    /// tc(8)'s words.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ingress => "ingress",
            Self::Egress => "egress",
        })
    }
}

/// An instruction of classic BPF (`struct sock_filter`, linux/filter.h).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, Serialize)]
pub struct Instruction {
    /// What it does.
    pub code: u16,
    /// How many instructions are passed over if a condition holds.
    pub jt: u8,
    /// The same if it does not.
    pub jf: u8,
    /// Its operand.
    pub k: u32,
}

/// The most instructions of a program: the kernel takes 4,096 (`BPF_MAXINSNS`), but tells no more than 32 KiB at a time.
pub const LONGEST_PROGRAM: usize = 2_048;

/// A filter that copies the packets which its program chooses to other links, and lets them go on as if nothing had
/// been. `L` names links: a [`LinkId`] where it is desired, a [`super::LinkIndex`] in the kernel.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize)]
pub struct Hook<L> {
    /// The link whose packets it sees.
    pub link: L,
    /// Which of them.
    pub direction: Direction,
    /// Its number among ours at that place; not 0.
    pub handle: u32,
    /// The mirror that it is of.
    pub mirror: String,
    /// Says which packets it copies. Empty: it is not known what it does, since somebody else changed it.
    pub program: Vec<Instruction>,
    /// Where copies go, in this order. In the kernel, a link that is gone is number 0.
    pub to: Vec<L>,
}

impl<L: Copy> Hook<L> {
    /// The same with other names for links; `None`: one has none.
    pub fn on<M>(&self, link: impl Fn(L) -> Option<M>) -> Option<Hook<M>> {
        Some(Hook {
            link: link(self.link)?,
            direction: self.direction,
            handle: self.handle,
            mirror: self.mirror.clone(),
            program: self.program.clone(),
            to: self.to.iter().map(|one| link(*one)).collect::<Option<_>>()?,
        })
    }

    /// Its place: no two have the same.
    pub fn place(&self) -> (L, Direction, u32) {
        (self.link, self.direction, self.handle)
    }
}

/// What hooks are hung on at a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Classifier {
    /// A clsact qdisc.
    Clsact {
        /// Whether it has filters that are not ours.
        is_shared: bool,
    },
    /// An ingress qdisc of another program, in the place of a clsact qdisc.
    Ingress,
}

/// What makes one mirror: all of it, or nothing where a link is missing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct DesiredMirror {
    /// What the file calls it, for reports: `mirror_list[1]`.
    pub path: String,
    /// What copies packets, and where to.
    pub hooks: Vec<Hook<LinkId>>,
    /// The links of ours that copies leave by.
    pub own_links: BTreeMap<OwnName, DesiredOwnLink>,
    /// Every link that must be there, by what the file calls it; NICs that copies leave by have to be up.
    pub needs: BTreeMap<String, LinkId>,
    /// Those of them that are set up for it.
    pub raises: Vec<LinkId>,
    /// What keeps the links that copies leave by silent.
    pub sysctls: BTreeMap<Sysctl, String>,
    /// What copies have to fit through.
    pub fits: Vec<Fit>,
}

/// What the copies of some links' packets have to fit through.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Fit {
    /// Where they go, in words.
    pub to: String,
    /// Whose packets they are of.
    pub of: BTreeSet<LinkId>,
    /// How large they are at most, without their Ethernet header; `None`: as large as the packets.
    pub most: Option<u32>,
    /// How much larger they are in a tunnel.
    pub more: u32,
    /// The link that they leave by.
    pub via: LinkId,
    /// Whether those that are too large leave in fragments; else they are lost.
    pub fragments: bool,
}

impl Fit {
    /// What does not fit, in words with both figures; `None`: all does, or a link is not there.
    #[must_use]
    pub fn misfit(&self, observed: &Observed) -> Option<String> {
        let via = observed.find(self.via).ok()?;
        let of = self.of.iter().filter_map(|id| observed.find(*id).ok());
        let largest = of.max_by_key(|link| link.mtu)?;
        let most = self.most.map_or(largest.mtu, |most| most.min(largest.mtu));
        let needed = most + self.more;
        if needed <= via.mtu {
            return None;
        }
        let Self { to, .. } = self;
        Some(if self.fragments {
            format!(
                "copies of the largest packets of {} ({most} bytes) take {needed} bytes to {to}, and {} has an MTU of {}: they \
                 leave in fragments",
                largest.name, via.name, via.mtu
            )
        } else {
            format!(
                "copies of the largest packets of {} ({most} bytes) are lost on the way to {to}: {} has an MTU of {}",
                largest.name, via.name, via.mtu
            )
        })
    }
}

/// What a step of a plan does for mirrors, if it does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OfMirrors {
    /// It makes or changes a link with this name.
    Link(LinkName),
    /// It readies this link for copies of its packets.
    At(LinkIndex),
    /// It sets this link up, by which copies leave.
    Raise(LinkIndex),
    /// It is of this mirror.
    One(String),
    /// Nothing.
    None,
}

/// What a mirror copied to one of its targets at one of its hooks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Copied<L> {
    /// The mirror.
    pub mirror: String,
    /// The link whose packets they were.
    pub link: L,
    /// Which of them.
    pub direction: Direction,
    /// Where they went.
    pub to: L,
    /// How many.
    pub packets: u64,
    /// Their bytes.
    pub bytes: u64,
    /// How many could not be handed over (the target was gone or down, or its queue full).
    pub lost: u64,
}
