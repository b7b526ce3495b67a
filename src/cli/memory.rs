//! What the monitor knows from its last look, so that an event costs what it changed and not what there is.
//!
//! What can be large are our table and the routes of elastic IPs. As long as the configuration is the one that was looked
//! at, and the kernel says that nobody touched these since, only the rest is looked at and put right: as much work with
//! ten thousand elastic IPs as with none. Whatever is not certain makes a whole look.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use super::report::Report;
use super::run::{self, Job};
use super::{Context, LAST_ACCEPTED, reload};
use crate::config::Config;
use crate::features;
use crate::intake::{Stamp, Standing};
use crate::kernel::{Error, Incomplete, Kernel};
use crate::lock::Lock;
use crate::model::nft::Counts;
use crate::model::{Desired, Flow, LinkIndex, Observed};
use crate::plan::{Announcement, Operation, diff};

/// How long a mirror that the kernel refused is left out before it is tried again: each time twice as long, up to a minute.
const AGAIN: Duration = Duration::from_secs(1);
const AGAIN_AT_MOST: Duration = Duration::from_secs(60);

/// A kernel that stays open, and what was found at the last whole look.
#[derive(Default)]
pub(super) struct Memory {
    kernel: Option<Box<dyn Kernel>>,
    known: Option<Known>,
    /// The mirrors that the kernel refused, by name, of the configuration with this stamp. What trying one does and undoes
    /// is an event itself: looks that others ask for do without it.
    refused: BTreeMap<String, Refused>,
    refused_of: Option<Stamp>,
}

/// A mirror that is left out for a while.
struct Refused {
    why: String,
    tries: u32,
    again: Instant,
}

/// A configuration that the kernel matched.
struct Known {
    /// The file that it was read from.
    stamp: Stamp,
    /// It, without elastic IPs and forwards.
    config: Config,
    /// What it asks for beside our table and the routes of elastic IPs.
    rest: Desired,
    /// Whether its NICs are in a flowtable, as far as the kernel has such.
    is_fast: bool,
    /// The SHA-256 of its text.
    configuration: Option<String>,
}

impl Memory {
    /// Has the kernel match what was accepted last.
    pub(super) fn look(&mut self, context: &Context, command: &'static str) -> Report {
        reload::reconcile(context, command, Some("last-accepted"), |lock| {
            let stamp = context.state.accepted_stamp();
            if self.refused_of != stamp {
                self.refused.clear();
                self.refused_of = stamp;
            }
            if let Some(report) = self.at_the_rest(context, lock, command) {
                return report;
            }
            self.known = None;
            self.at_everything(context, lock, command)
        })
    }

    /// `None`: a whole look is needed.
    fn at_the_rest(&mut self, context: &Context, lock: &Lock, command: &'static str) -> Option<Report> {
        let left_out = self.left_out();
        let (kernel, known) = (self.kernel.as_deref_mut()?, self.known.as_mut()?);
        known.rest.refused.clone_from(&left_out);
        if context.state.accepted_stamp().as_ref() != Some(&known.stamp) || !kernel.is_settled().ok()? {
            return None;
        }
        let owned = context.state.owned().ok()??;
        let now = kernel.observe_rest().ok()?;
        let outside = known.config.external();
        let outside = outside.and_then(|one| now.find(one.link()).ok());
        // Where the external link comes, every elastic IP is announced on it; a fast path takes in each that comes.
        // An overlay that comes, or gets another hardware address, knows no neighbour.
        let is_whole = |one: &Operation| {
            if matches!(
                one,
                Operation::AddOwnLink { .. } | Operation::ChangeOwnLink { .. }
            ) {
                return true;
            }
            let link = one.brings().map(|link| link.index);
            link.is_some_and(|link| known.is_fast || Some(link) == outside.map(|link| link.index))
        };
        let plan = diff(&known.rest, &now, &owned);
        if !owned.unsettled.is_empty() || plan.operations.iter().any(is_whole) {
            return None;
        }
        let job = Job {
            command,
            source: LAST_ACCEPTED.to_owned(),
            text: &[],
            config: known.config.clone(),
            problems: Vec::new(),
            install: run::Install::Nothing,
            accept: false,
            ends: Standing::Replaced,
        };
        let mut rest = Rest {
            links: now.links.iter().map(|link| link.index).collect(),
            kernel,
        };
        let mut report = run::apply_on(context, lock, &job, &mut rest, Some(now), &known.rest);
        report.configuration.clone_from(&known.configuration);
        if report.exit_code != 0 {
            self.forget();
        }
        self.note(&report, &left_out);
        Some(report)
    }

    /// When a mirror is to be tried again; `None`: none was refused.
    pub(super) fn next(&self) -> Option<Duration> {
        let next = self.refused.values().map(|one| one.again).min()?;
        Some(next.saturating_duration_since(Instant::now()))
    }

    /// The mirrors that are not tried now, and why.
    fn left_out(&self) -> BTreeMap<String, String> {
        let now = Instant::now();
        let waiting = self.refused.iter().filter(|(_, one)| one.again > now);
        waiting
            .map(|(name, one)| (name.clone(), one.why.clone()))
            .collect()
    }

    /// Remembers what was refused in a run without those that were left out.
    fn note(&mut self, report: &Report, left_out: &BTreeMap<String, String>) {
        if report.exit_code != 0 {
            return;
        }
        self.refused.retain(|name, _| report.refused.contains_key(name));
        for (name, why) in &report.refused {
            if left_out.contains_key(name) {
                continue;
            }
            let tries = self.refused.get(name).map_or(0, |one| one.tries);
            let wait = AGAIN.saturating_mul(1 << tries.min(6)).min(AGAIN_AT_MOST);
            tracing::warn!(
                "mirror {name} is left out: {why}; it is tried again in {} s",
                wait.as_secs()
            );
            let refused = Refused {
                why: why.clone(),
                tries: tries.saturating_add(1),
                again: Instant::now() + wait,
            };
            self.refused.insert(name.clone(), refused);
        }
    }

    fn at_everything(&mut self, context: &Context, lock: &Lock, command: &'static str) -> Report {
        // Before the text is read: one that is replaced meanwhile is another one at the next look.
        let stamp = context.state.accepted_stamp();
        let left_out = self.left_out();
        let report = reload::with_last_accepted(context, command, |job| {
            let kernel = match &mut self.kernel {
                Some(kernel) => kernel,
                none => match (context.open)() {
                    Ok(kernel) => none.insert(kernel),
                    Err(error) => return Report::failed(command, &job.source, error),
                },
            };
            // Without it every look is a whole one.
            if let Err(error) = kernel.listen() {
                tracing::debug!(%error, "listen");
            }
            let mut desired = features::desired(&job.config);
            desired.refused.clone_from(&left_out);
            let report = run::apply_on(context, lock, job, kernel.as_mut(), None, &desired);
            match (report.exit_code, stamp, kernel.is_settled()) {
                (0, Some(stamp), Ok(true)) => {
                    self.known = Some(Known {
                        stamp,
                        config: job.config.without_entries(),
                        is_fast: desired.fast_path.is_some() && kernel.has_flowtables().unwrap_or(true),
                        rest: desired.rest(),
                        configuration: report.configuration.clone(),
                    });
                }
                (0, _, Ok(_)) => {}
                _ => self.forget(),
            }
            report
        });
        self.note(&report, &left_out);
        report
    }

    /// Begins anew, with a kernel opened anew.
    fn forget(&mut self) {
        self.kernel = None;
        self.known = None;
    }
}

/// A kernel without what is known to be as it should be.
struct Rest<'k> {
    kernel: &'k mut dyn Kernel,
    /// The links that there were at first. What comes meanwhile is for the next look, which its event asks for: it may be
    /// one that needs a whole look.
    links: BTreeSet<LinkIndex>,
}

impl Kernel for Rest<'_> {
    fn observe(&mut self) -> Result<Observed, Error> {
        let mut observed = self.kernel.observe_rest()?;
        observed.links.retain(|link| self.links.contains(&link.index));
        Ok(observed)
    }

    fn apply(&mut self, operations: &[Operation]) -> Result<(), Incomplete> {
        self.kernel.apply(operations)
    }

    fn end_flows(&mut self, is_stale: &mut dyn FnMut(&Flow) -> bool) -> Result<usize, Error> {
        self.kernel.end_flows(is_stale)
    }

    fn has_flowtables(&mut self) -> Result<bool, Error> {
        self.kernel.has_flowtables()
    }

    fn has_counters(&mut self) -> Result<bool, Error> {
        self.kernel.has_counters()
    }

    fn read_flows(&mut self, see: &mut dyn FnMut(Option<&Flow>)) -> Result<(), Error> {
        self.kernel.read_flows(see)
    }

    fn counts(&mut self) -> Result<Counts, Error> {
        self.kernel.counts()
    }

    fn announce(&mut self, announcements: &[Announcement]) -> Result<(), Error> {
        self.kernel.announce(announcements)
    }
}
