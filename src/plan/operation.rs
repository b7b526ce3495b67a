//! One step of a plan: a value that can be shown, carried out and turned around.

use ipnet::Ipv4Net;

use crate::model::nft::TableChange;
use crate::model::{Hook, Link, LinkIndex, LinkName, Neighbour, OfMirrors, OwnLink, Route, Sysctl};

/// A link as an operation points at it: by number, and by name for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkRef {
    /// The kernel's number.
    pub index: LinkIndex,
    /// Its name when the plan was made.
    pub name: LinkName,
}

impl From<&Link> for LinkRef {
    fn from(link: &Link) -> Self {
        Self {
            index: link.index,
            name: link.name.clone(),
        }
    }
}

/// One change of the kernel. Small, since there may be tens of thousands: what is large and rare is in a box.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operation {
    /// One batch on our nftables table: there is one such operation, and tens of thousands of smaller ones.
    Table(Box<TableChange>),
    /// Makes a link of ours, which is up then.
    AddOwnLink {
        /// Its name, and the number that it gets.
        link: LinkRef,
        /// The name of the link below it, if it has one.
        below: Option<LinkName>,
        /// What it is.
        own: Box<OwnLink<LinkIndex>>,
    },
    /// Changes what can be changed of a link of ours that is there.
    ChangeOwnLink {
        /// The link.
        link: LinkRef,
        /// How it is.
        from: Box<OwnLink<LinkIndex>>,
        /// How it becomes; of the same kind.
        to: Box<OwnLink<LinkIndex>>,
    },
    /// Deletes a link of ours, with all that is on it.
    DeleteOwnLink {
        /// The link.
        link: LinkRef,
        /// The name of the link below it, if it has one.
        below: Option<LinkName>,
        /// What it is.
        own: Box<OwnLink<LinkIndex>>,
    },
    /// Gives a link what hooks are hung on.
    AddClassifier {
        /// The link.
        link: LinkRef,
    },
    /// Takes that from it, and whatever hangs on it.
    DeleteClassifier {
        /// The link.
        link: LinkRef,
    },
    /// Begins to copy packets of a link.
    AddHook {
        /// The link.
        link: LinkRef,
        /// What copies them.
        hook: Box<Hook<LinkIndex>>,
        /// The names of the links that copies go to, for people.
        to_names: Box<str>,
    },
    /// Copies other packets than before, or to other links, from one packet to the next.
    ReplaceHook {
        /// The link.
        link: LinkRef,
        /// What copies them.
        from: Box<Hook<LinkIndex>>,
        /// What is to, at the same place.
        to: Box<Hook<LinkIndex>>,
        /// The names of the links that copies go to, for people.
        to_names: Box<str>,
    },
    /// Copies no more.
    DeleteHook {
        /// The link.
        link: LinkRef,
        /// What copied.
        hook: Box<Hook<LinkIndex>>,
        /// The names of the links that copies went to, for people.
        to_names: Box<str>,
    },
    /// Sets a link up, or down.
    SetLink {
        /// The link.
        link: LinkRef,
        /// Up or down.
        up: bool,
    },
    /// Tells an overlay link of a neighbour, for good.
    AddNeighbour {
        /// The link.
        link: LinkRef,
        /// The neighbour.
        neighbour: Neighbour,
    },
    /// Puts one in the place of another that is found by the same: no packet is without either.
    ReplaceNeighbour {
        /// The link.
        link: LinkRef,
        /// What is there.
        from: Neighbour,
        /// What takes its place.
        to: Neighbour,
    },
    /// Deletes exactly this one.
    DeleteNeighbour {
        /// The link.
        link: LinkRef,
        /// The neighbour.
        neighbour: Neighbour,
    },
    /// Gives a link an address.
    AddAddress {
        /// The link.
        link: LinkRef,
        /// The address with the prefix of its subnet.
        address: Ipv4Net,
    },
    /// Takes an address from a link.
    DeleteAddress {
        /// The link.
        link: LinkRef,
        /// The address with the prefix of its subnet.
        address: Ipv4Net,
    },
    /// Adds a route before others of its destination and metric, which stay.
    AddRoute {
        /// The route's link.
        link: LinkRef,
        /// The route.
        route: Route<LinkIndex>,
    },
    /// Puts a route in the place of the first one of its destination and metric.
    ReplaceRoute {
        /// The new route's link.
        link: LinkRef,
        /// The old route's link, if it is still there.
        from_link: LinkRef,
        /// The route that is there.
        from: Route<LinkIndex>,
        /// The route that takes its place.
        to: Route<LinkIndex>,
    },
    /// Deletes exactly this route.
    DeleteRoute {
        /// The route's link.
        link: LinkRef,
        /// The route.
        route: Route<LinkIndex>,
    },
    /// Writes a kernel parameter.
    SetSysctl {
        /// Which one.
        key: Sysctl,
        /// Its path below `/proc/sys/net`, with the name that the NIC has now.
        path: String,
        /// What it is.
        from: String,
        /// What it becomes.
        to: String,
    },
}

impl Operation {
    /// The operation that undoes this one.
    #[must_use]
    pub fn inverse(&self) -> Self {
        match self.clone() {
            Self::Table(change) => Self::Table(change.inverse().into()),
            Self::AddOwnLink { link, below, own } => Self::DeleteOwnLink { link, below, own },
            Self::DeleteOwnLink { link, below, own } => Self::AddOwnLink { link, below, own },
            Self::ChangeOwnLink { link, from, to } => Self::ChangeOwnLink {
                link,
                from: to,
                to: from,
            },
            Self::AddClassifier { link } => Self::DeleteClassifier { link },
            Self::DeleteClassifier { link } => Self::AddClassifier { link },
            Self::AddHook { link, hook, to_names } => Self::DeleteHook { link, hook, to_names },
            Self::DeleteHook { link, hook, to_names } => Self::AddHook { link, hook, to_names },
            Self::ReplaceHook {
                link,
                from,
                to,
                to_names,
            } => Self::ReplaceHook {
                link,
                from: to,
                to: from,
                to_names,
            },
            Self::SetLink { link, up } => Self::SetLink { link, up: !up },
            Self::AddNeighbour { link, neighbour } => Self::DeleteNeighbour { link, neighbour },
            Self::DeleteNeighbour { link, neighbour } => Self::AddNeighbour { link, neighbour },
            Self::ReplaceNeighbour { link, from, to } => Self::ReplaceNeighbour {
                link,
                from: to,
                to: from,
            },
            Self::AddAddress { link, address } => Self::DeleteAddress { link, address },
            Self::DeleteAddress { link, address } => Self::AddAddress { link, address },
            Self::AddRoute { link, route } => Self::DeleteRoute { link, route },
            Self::DeleteRoute { link, route } => Self::AddRoute { link, route },
            Self::ReplaceRoute {
                link,
                from_link,
                from,
                to,
            } => Self::ReplaceRoute {
                link: from_link,
                from_link: link,
                from: to,
                to: from,
            },
            Self::SetSysctl { key, path, from, to } => Self::SetSysctl {
                key,
                path,
                from: to,
                to: from,
            },
        }
    }

    /// The link that neighbours hear of because of it: it gets an address, or comes up.
    #[must_use]
    pub fn brings(&self) -> Option<&LinkRef> {
        match self {
            Self::AddAddress { link, .. } | Self::SetLink { link, up: true } => Some(link),
            _ => None,
        }
    }

    /// What this does for mirrors: if it fails, so do these.
    #[must_use]
    pub fn of_mirrors(&self) -> OfMirrors {
        match self {
            Self::AddOwnLink { link, .. } | Self::ChangeOwnLink { link, .. } => {
                OfMirrors::Link(link.name.clone())
            }
            Self::AddClassifier { link } => OfMirrors::At(link.index),
            Self::SetLink { link, up: true } => OfMirrors::Raise(link.index),
            Self::AddHook { hook, .. } | Self::ReplaceHook { to: hook, .. } => {
                OfMirrors::One(hook.mirror.clone())
            }
            _ => OfMirrors::None,
        }
    }

    /// Whether something goes without anything in its place.
    #[must_use]
    pub fn takes_away(&self) -> bool {
        matches!(
            self,
            Self::DeleteAddress { .. }
                | Self::DeleteNeighbour { .. }
                | Self::DeleteRoute { .. }
                | Self::DeleteOwnLink { .. }
                | Self::DeleteHook { .. }
                | Self::DeleteClassifier { .. }
                | Self::SetLink { up: false, .. }
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_operation_is_small_since_there_are_tens_of_thousands() {
        assert!(size_of::<Operation>() <= 104, "{} bytes", size_of::<Operation>());
    }
}
