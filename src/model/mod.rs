//! Plain values: what the file, the plan and the kernel have in common. No I/O, and nothing of ours imported.

mod conntrack_max;
mod desired;
mod flow;
mod hook;
pub mod inspected;
mod link;
mod mac;
mod neighbour;
pub mod nft;
mod observed;
mod own_link;
mod route;
mod sysctl;

pub use conntrack_max::ConntrackMax;
pub use desired::{Desired, DesiredLink, FastPath};
pub use flow::{Conntrack, Flow};
pub use hook::{
    Classifier, Copied, DesiredMirror, Direction, Fit, Hook, Instruction, LONGEST_PROGRAM, OfMirrors,
};
pub use link::{Link, LinkId, LinkIndex, LinkName};
pub use mac::{MacAddr, MacAddrError};
pub use neighbour::{FrameAddr, Neighbour, NeighbourKey, OnLink};
pub use observed::{Missing, Observed};
pub use own_link::{DesiredOwnLink, Erspan, OWN_PREFIX, OwnKind, OwnLink, OwnMtu, OwnName};
pub use route::{Route, RouteKind, TABLE_LOCAL, TABLE_MAIN};
pub use sysctl::{LinkSysctl, Sysctl};
