//! The running kernel: one look at all its parts, and operations handed to the part that they are for.

use std::os::fd::AsFd;
use std::panic::resume_unwind;
use std::thread;
use std::time::Duration;

use super::conntrack::{self, Conntrack};
use super::nftables::Nftables;
use super::rtnetlink::{NeighbourChange, Routes, Rtnetlink, overlays};
use super::watch::{OwnRoutes, RouteChange};
use super::{Error, Failure, Incomplete, Kept, Kernel, announce, sysctl};
use crate::detached;
use crate::model::nft::{Chain, ChainKind, Counts, Flowtable, Hook, Rule, Statement, Table, TableChange};
use crate::model::{Copied, Flow, LinkIndex, LinkName, Observed, Route, TABLE_MAIN};
use crate::plan::{Announcement, Operation};
use crate::timing::timed;

/// The kernel of the network namespace that the process runs in.
pub struct Linux {
    rtnetlink: Rtnetlink,
    nftables: Nftables,
    /// Opened when it is needed first.
    conntrack: Option<Conntrack>,
    /// Hears of what happens to our routes, once somebody wants to know.
    own_routes: Option<OwnRoutes>,
    /// What happened to those of elastic IPs since they were looked at; `None`: that was not heard, or is too much to follow.
    followed: Option<Vec<RouteChange>>,
    /// The same of entries of overlay links.
    followed_neighbours: Option<Vec<NeighbourChange>>,
    /// Whether somebody may have changed these since they were looked at.
    touched_neighbours: bool,
    /// The routes of the main table, as long as nothing happened to them.
    main_routes: Option<Vec<Route<LinkIndex>>>,
    /// Whether the kernel has flowtables, once it was asked.
    has_flowtables: Option<bool>,
    /// The same of counters.
    has_counters: Option<bool>,
}

impl Linux {
    /// Opens the sockets.
    ///
    /// # Errors
    /// If the kernel has no netlink or no nf_tables, or forbids them.
    pub fn open() -> Result<Self, Error> {
        Ok(Self {
            rtnetlink: Rtnetlink::open()?,
            nftables: Nftables::open()?,
            conntrack: None,
            own_routes: None,
            followed: None,
            followed_neighbours: None,
            touched_neighbours: false,
            main_routes: None,
            has_flowtables: None,
            has_counters: None,
        })
    }

    /// Takes note of what happened to our routes and neighbours.
    fn hear(&mut self) {
        let Some(routes) = &self.own_routes else {
            return;
        };
        let happened = routes.drain();
        if let Some(followed) = &mut self.followed {
            followed.extend(happened.elastic);
        }
        if happened.unclear {
            self.followed = None;
        }
        self.followed.take_if(|followed| followed.len() > FEW);
        if let Some(followed) = &mut self.followed_neighbours {
            followed.extend(happened.neighbours);
        }
        if happened.unclear_neighbours {
            self.followed_neighbours = None;
        }
        self.followed_neighbours.take_if(|followed| followed.len() > FEW);
        self.touched_neighbours |= happened.touched_neighbours;
        if happened.main {
            self.main_routes = None;
        }
    }

    /// Looks at everything, or at all but some of the routes, and the neighbours if it is not known what happened to them since
    /// the last look.
    fn look(
        &mut self,
        routes: Routes,
        since: Option<(&Observed, Vec<NeighbourChange>)>,
    ) -> Result<Observed, Error> {
        // Two parts of the kernel that know nothing of each other: each has its own time for the answer.
        let (rtnetlink, nftables) = (&mut self.rtnetlink, &mut self.nftables);
        let (routing, table) = thread::scope(|scope| {
            let routing = scope.spawn(|| {
                let (mut observed, told) = timed("observe links, addresses and routes", || {
                    rtnetlink.observe(routes)
                })?;
                timed("observe neighbours", || {
                    rtnetlink.neighbours(&mut observed, since)
                })?;
                observed.sysctls = timed("observe sysctls", || sysctl::observe(&observed.links, &told))?;
                Ok::<_, Error>(observed)
            });
            let table = timed("observe table", || nftables.observe());
            (routing.join(), table)
        });
        let mut observed = routing.unwrap_or_else(|panic| resume_unwind(panic))?;
        observed.table = table?;
        observed.conntrack_memory = sysctl::conntrack_memory();
        Ok(observed)
    }

    /// From now on it is heard of what happens to all that was looked at. Keeps the routes of the main table.
    fn follow(&mut self, observed: &Observed) {
        self.followed = self.own_routes.as_ref().map(|_| Vec::new());
        self.followed_neighbours = self.own_routes.as_ref().map(|_| Vec::new());
        if let Some(routes) = &mut self.own_routes {
            routes.lead_to(overlays(observed));
        }
        self.keep_main_routes(observed);
    }

    /// Keeps the routes of the main table, if it is heard of what happens to them.
    fn keep_main_routes(&mut self, observed: &Observed) {
        let Some(routes) = &mut self.own_routes else {
            return;
        };
        let main: Vec<_> = (observed.routes.iter())
            .filter(|route| route.table == TABLE_MAIN)
            .cloned()
            .collect();
        routes.leave_by(main.iter().map(|route| route.link));
        self.main_routes = Some(main);
    }

    fn conntrack(&mut self) -> Result<&mut Conntrack, Error> {
        Ok(match &mut self.conntrack {
            Some(conntrack) => conntrack,
            none => none.insert(Conntrack::open()?),
        })
    }

    /// Ends flows on a kernel that lets none go that is on the fast path: without the fast path meanwhile.
    fn end_fast_flows(&mut self, is_stale: &mut dyn FnMut(&Flow) -> bool) -> Result<usize, Error> {
        let Some(fast) = self.nftables.observe()? else {
            return Err(conntrack::STILL_FAST);
        };
        let mut slow = Table::clone(&fast);
        slow.flowtables.clear();
        for chain in slow.chains.values_mut() {
            let is_fast = |statement: &Statement| matches!(statement, Statement::FlowAdd(_));
            chain.rules.retain(|rule| !rule.statements.iter().any(is_fast));
        }
        let Some(change) = TableChange::between(Some(&fast), Some(&slow)) else {
            return Err(conntrack::STILL_FAST);
        };
        tracing::debug!("the kernel lets go of no flow on the fast path: without it for a moment");
        self.nftables.commit(&change)?;
        let mut ended = 0;
        let mut result = Err(conntrack::STILL_FAST);
        for attempt in 0..TRIES {
            // A flowtable that was taken away lets go of its flows a little later (`nf_tables_trans_destroy_work`).
            std::thread::sleep(PATIENCE * attempt);
            let Some(conntrack) = &mut self.conntrack else {
                break;
            };
            result = conntrack.end_flows(is_stale);
            ended += conntrack.ended();
            if !matches!(&result, Err(error) if conntrack::is_still_fast(error)) {
                break;
            }
        }
        self.nftables.observe()?;
        self.nftables.commit(&change.inverse())?;
        result.map(|_| ended)
    }

    /// Carries out operations of rtnetlink. While many of them are, the table is looked at for the look that verifies, if it is
    /// as it will be.
    fn apply_together(&mut self, operations: &[Operation], is_table_done: bool) -> (usize, Vec<Failure>) {
        let (rtnetlink, nftables) = (&mut self.rtnetlink, &mut self.nftables);
        let mut apply = || {
            timed("apply links, addresses and routes", || {
                rtnetlink.apply(operations)
            })
        };
        if operations.len() < MANY {
            return apply();
        }
        // To hear of each of them would take as long again as a look at all of them.
        let is_heard = self.own_routes.take().is_some();
        (self.followed, self.followed_neighbours, self.main_routes) = (None, None, None);
        let applied = thread::scope(|scope| {
            if is_table_done {
                scope.spawn(|| timed("observe table ahead", || nftables.look_ahead()));
            }
            apply()
        });
        if is_heard {
            self.own_routes = OwnRoutes::open().ok();
        }
        applied
    }

    fn apply_one(&mut self, operation: &Operation) -> Result<(), Error> {
        match operation {
            Operation::Table(change) => timed("apply table", || self.nftables.commit(change)),
            Operation::SetSysctl { path, to, .. } => sysctl::write(path, to),
            _ => unreachable!("an operation of rtnetlink"),
        }
    }
}

/// So many routes that came or went are followed one by one; to look at all of them is cheaper than thousands.
const FEW: usize = 256;

/// So many operations take as long as a look at the table.
const MANY: usize = 1_000;

/// How often flows that leave the fast path are tried to be ended, and how much longer each try waits than the one before:
/// two seconds in all.
const TRIES: u32 = 16;
const PATIENCE: Duration = Duration::from_millis(16);

/// The smallest table that has all that a fast path is made of; `lo` is in every network namespace.
fn with_flowtable() -> Table {
    let name = "fast_path".to_owned();
    let flowtable = Flowtable {
        devices: [LinkName("lo".into())].into(),
        ..Flowtable::default()
    };
    let rule = Rule {
        statements: vec![Statement::Established, Statement::FlowAdd(name.clone())],
        comment: String::new(),
    };
    let chain = Chain {
        kind: ChainKind::Filter,
        hook: Hook::Forward,
        priority: 0,
        rules: vec![rule],
    };
    Table {
        flowtables: [(name.clone(), flowtable)].into(),
        chains: [(name, chain)].into(),
        ..Table::default()
    }
}

/// Whether the second of two operations goes in one system call with the first: then it is carried out even if the first
/// fails.
pub(super) fn go_together(first: &Operation, second: &Operation) -> bool {
    Rtnetlink::takes(second) && Rtnetlink::takes(first) && first.takes_away() == second.takes_away()
}

/// The netlink messages that carry out these operations, one after another, without a socket to send them on: what the
/// benchmarks measure. Sysctls have none.
///
/// # Errors
/// If a name of the table cannot be written.
pub fn encode(operations: &[Operation]) -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::new();
    for operation in operations {
        if let Operation::Table(change) = operation {
            bytes.extend(Nftables::encode(change)?);
        }
    }
    bytes.extend(Rtnetlink::encode(operations));
    Ok(bytes)
}

impl Kernel for Linux {
    fn observe(&mut self) -> Result<Observed, Error> {
        // What was heard until now does not matter; what is heard while it is looked does.
        self.hear();
        (self.followed, self.followed_neighbours, self.main_routes) = (None, None, None);
        self.touched_neighbours = false;
        let observed = self.look(Routes::All, None)?;
        self.follow(&observed);
        Ok(observed)
    }

    fn observe_again(&mut self, last: &Observed) -> Result<Observed, Error> {
        self.hear();
        // What is heard from here on is for the next look.
        let Some(changes) = self.followed.take() else {
            return self.observe();
        };
        let neighbours = self.followed_neighbours.take();
        self.touched_neighbours = false;
        let main = self.main_routes.take();
        let routes = if main.is_some() {
            Routes::None
        } else {
            Routes::Main
        };
        let mut observed = self.look(routes, neighbours.map(|changes| (last, changes)))?;
        observed.routes.retain(|route| route.table == TABLE_MAIN);
        observed.routes.extend(main.into_iter().flatten());
        let mut elastic = last.routes.clone();
        elastic.retain(|route| route.table != TABLE_MAIN);
        for change in changes {
            match change {
                RouteChange::Came(route) => {
                    // In the kernel's order.
                    let place = elastic.partition_point(|one| one.destination <= route.destination);
                    elastic.insert(place, route);
                }
                RouteChange::Went(route) => elastic.retain(|one| *one != route),
            }
        }
        observed.routes.extend(elastic);
        self.follow(&observed);
        Ok(observed)
    }

    fn listen(&mut self) -> Result<(), Error> {
        if self.own_routes.is_none() && self.rtnetlink.is_strict() {
            self.own_routes = Some(OwnRoutes::open()?);
        }
        Ok(())
    }

    fn is_settled(&mut self) -> Result<bool, Error> {
        self.hear();
        Ok(self.nftables.is_as_seen()?
            && self.followed.as_ref().is_some_and(Vec::is_empty)
            && !self.touched_neighbours)
    }

    fn observe_rest(&mut self) -> Result<Observed, Error> {
        self.hear();
        let known = self.main_routes.take();
        // The kernel walks all routes for those of one table: local and main are one trie (`fib_trie_unmerge`).
        let routes = if known.is_some() {
            Routes::None
        } else {
            Routes::Main
        };
        let (mut observed, told) = timed("observe the rest", || self.rtnetlink.observe(routes))?;
        observed.routes.extend(known.into_iter().flatten());
        observed.sysctls = timed("observe sysctls", || sysctl::observe(&observed.links, &told))?;
        observed.conntrack_memory = sysctl::conntrack_memory();
        let observed = observed.rest();
        self.keep_main_routes(&observed);
        Ok(observed)
    }

    fn recall(&mut self, kept: &[u8]) {
        self.nftables.recall(kept);
    }

    fn keep(&self) -> Kept {
        self.nftables.keep()
    }

    fn has_flowtables(&mut self) -> Result<bool, Error> {
        if let Some(has) = self.has_flowtables {
            return Ok(has);
        }
        // A try costs as much as a load of thousands of elements.
        let has = !sysctl::lacks_flowtables()
            && timed("try a flowtable", || self.nftables.can_make(&with_flowtable()))?;
        self.has_flowtables = Some(has);
        Ok(has)
    }

    fn has_counters(&mut self) -> Result<bool, Error> {
        if let Some(has) = self.has_counters {
            return Ok(has);
        }
        // Later kernels have them all; some earlier ones (RHEL 8) were given them.
        let has = sysctl::release() >= (5, 7) || timed("try a counter", || self.nftables.knows_counters())?;
        self.has_counters = Some(has);
        Ok(has)
    }

    fn apply(&mut self, operations: &[Operation]) -> Result<(), Incomplete> {
        let mut index = 0;
        while let Some(operation) = operations.get(index) {
            // Neighbouring operations of rtnetlink go in one system call: ten thousand routes do not wait for
            // ten thousand answers. But nothing is taken away before what comes in its place is known to be there.
            let run = operations[index..]
                .iter()
                .take_while(|next| go_together(operation, next))
                .count();
            let (begun, failures) = if run > 0 {
                let (these, rest) = operations[index..].split_at(run);
                let is_table_done = !rest.iter().any(|one| matches!(one, Operation::Table(_)));
                self.apply_together(these, is_table_done)
            } else {
                let failed = self.apply_one(operation).err();
                (
                    1,
                    failed
                        .map(|error| Failure { index: 0, error })
                        .into_iter()
                        .collect(),
                )
            };
            if !failures.is_empty() {
                let failures = failures
                    .into_iter()
                    .map(|failure| Failure {
                        index: index + failure.index,
                        ..failure
                    })
                    .collect();
                return Err(Incomplete {
                    begun: index + begun,
                    failures,
                });
            }
            index += begun;
        }
        Ok(())
    }

    fn end_flows(&mut self, is_stale: &mut dyn FnMut(&Flow) -> bool) -> Result<usize, Error> {
        let conntrack = self.conntrack()?;
        match conntrack.end_flows(is_stale) {
            Err(error) if conntrack::is_still_fast(&error) => {
                let ended = conntrack.ended();
                Ok(ended + self.end_fast_flows(is_stale)?)
            }
            ended => ended,
        }
    }

    fn read_flows(&mut self, see: &mut dyn FnMut(Option<&Flow>)) -> Result<(), Error> {
        self.conntrack()?.read_flows(see)
    }

    fn counts(&mut self) -> Result<Counts, Error> {
        self.nftables.counts()
    }

    fn copied(&mut self) -> Result<Vec<Copied<LinkIndex>>, Error> {
        self.rtnetlink.copied()
    }

    fn announce(&mut self, announcements: &[Announcement]) -> Result<(), Error> {
        announce::begin(announcements)
    }

    /// Where something was deleted from nftables, the end of every netfilter socket waits until it is freed
    /// (`nft_rcv_nl_event`, net/netfilter/nf_tables_api.c): two grace periods of RCU, 10 ms and more.
    fn let_go(self: Box<Self>) {
        if !self.nftables.has_deleted() {
            return;
        }
        let conntrack = self.conntrack.iter().flat_map(Conntrack::files);
        let other = detached::keep_open(std::iter::once(self.nftables.as_fd()).chain(conntrack));
        // Before `other`, with which the other one ends.
        drop(self);
        match &other {
            Ok(_) => tracing::debug!("another process waits until what was deleted is freed"),
            Err(error) => tracing::debug!(%error, "this process waits until what was deleted is freed"),
        }
    }
}

#[cfg(test)]
mod tests;
