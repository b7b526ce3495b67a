//! Entries of overlay links: which come, change and go. One that moved is one operation, and comes before any goes: at no
//! moment is a VM that stays without one.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::{Desired, Link, LinkId, Neighbour, NeighbourKey, Observed};

use super::{LinkRef, Operation};

/// What comes and changes, and what goes after that. `find` has the links of the desired state that are there.
pub(super) fn diff<'o>(
    desired: &Desired,
    observed: &Observed,
    find: impl Fn(LinkId) -> Option<&'o Link>,
) -> (Vec<Operation>, Vec<Operation>) {
    let (mut come, mut go) = (Vec::new(), Vec::new());
    let nothing = BTreeSet::new();
    for (id, wanted) in &desired.neighbours {
        let Some(link) = find(*id) else {
            continue;
        };
        let has = observed.neighbours.get(&link.index).unwrap_or(&nothing);
        if has == wanted {
            continue;
        }
        let link = LinkRef::from(link);
        let mut gone: BTreeMap<NeighbourKey, Neighbour> =
            has.difference(wanted).map(|one| (one.key(), *one)).collect();
        for neighbour in wanted.difference(has).copied() {
            let link = link.clone();
            come.push(match gone.remove(&neighbour.key()) {
                Some(from) => Operation::ReplaceNeighbour {
                    link,
                    from,
                    to: neighbour,
                },
                None => Operation::AddNeighbour { link, neighbour },
            });
        }
        go.extend(gone.into_values().map(|neighbour| Operation::DeleteNeighbour {
            link: link.clone(),
            neighbour,
        }));
    }
    (come, go)
}
