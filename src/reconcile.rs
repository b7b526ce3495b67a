//! The line, run once: look, plan, carry out, look again. Whatever fails is undone.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::Duration;

use crate::flows::{self, Judge, Ruling};
use crate::kernel::{Error as KernelError, Failure, Incomplete, Kernel};
use crate::model::{Conntrack, Desired, Observed};
use crate::owned::Owned;
use crate::plan::{Announcement, Operation, Plan, diff};
use crate::timing::timed;
use crate::undo::undo;
use crate::words::plain;

/// How often a plan is made anew because something else changes the kernel at the same time: nftables, so that ours was
/// refused and nothing is lost but the time.
const ATTEMPTS: usize = 32;

/// How often it is carried out, and the kernel is not as planned afterwards: something undoes it.
const QUARRELS: usize = 8;

/// What the third attempt waits four times, the next one eight times, and so on, up to [`LONGEST`]: two seconds in all.
const PATIENCE: Duration = Duration::from_millis(2);
const LONGEST: Duration = Duration::from_millis(64);

/// What `fast_path: on` comes to where the kernel cannot.
const NO_FAST_PATH: KernelError = KernelError::Unsupported {
    feature: "nftables flowtables, which `fast_path: on` asks for",
    remedy: "use `fast_path: auto`, which goes without them, or a kernel with CONFIG_NF_FLOW_TABLE and \
             CONFIG_NFT_FLOW_OFFLOAD (modules nf_flow_table and nft_flow_offload)",
};

/// How often an undo tries to end the flows that began meanwhile.
const SETTLINGS: usize = 4;

/// Why the kernel does not match.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The kernel cannot be looked at; nothing was changed.
    #[error(transparent)]
    Look(#[from] KernelError),
    /// Operations failed, and all that had been done was undone but for what is left over.
    #[error("{}", failed.join("; "))]
    Failed {
        /// Each operation that failed, and why.
        failed: Vec<String>,
        /// What the undo could not bring back; empty: all is as it was.
        left_over: Vec<String>,
    },
}

/// A kernel that matches.
#[derive(Debug)]
pub struct Reconciled {
    /// What was done, in order; empty: there was nothing to do.
    pub done: Vec<Operation>,
    /// The plan: what is pending, and notes. Its operations are those of the last attempt.
    pub plan: Plan,
    /// What is ours from now on.
    pub owned: Owned,
    /// The mirrors that the kernel refused, and why: of these nothing is there.
    pub refused: BTreeMap<String, String>,
    /// How many tracked flows ended, since their translation changed.
    pub flows_ended: usize,
    /// How the kernel was before.
    before: Observed,
    /// How it is now, if flows ended by that.
    after: Option<Ruling>,
}

/// Makes the kernel match. `record` keeps what is ours, and is called before the kernel is changed and after.
///
/// # Errors
/// If it cannot be made to match; then it is as it was.
pub fn reconcile(
    kernel: &mut dyn Kernel,
    desired: &Desired,
    owned: Owned,
    record: impl FnMut(&Owned) -> std::io::Result<()>,
) -> Result<Reconciled, Error> {
    let before = kernel.observe()?;
    reconcile_from(kernel, before, desired, owned, record)
}

/// The same from a look that was taken already, the last one of this `kernel`.
///
/// # Errors
/// As [`reconcile`].
pub fn reconcile_from(
    kernel: &mut dyn Kernel,
    before: Observed,
    desired: &Desired,
    owned: Owned,
    mut record: impl FnMut(&Owned) -> std::io::Result<()>,
) -> Result<Reconciled, Error> {
    let before = kernel.with_abilities(before, desired, &owned)?;
    possible(desired, &before)?;
    // Without the mirrors that cannot be made: each of them is left out whole, and all else goes on.
    let mut wanted = Cow::Borrowed(desired);
    let mut now = before.clone();
    let mut ours = owned.clone();
    let mut done = Vec::new();
    let mut announcements = Vec::new();
    // What failed: whether it was carried out all the same is not known, since an answer can be lost.
    let mut unsure = Vec::new();
    let mut failed = Vec::new();
    let mut quarrels = 0;
    let mut is_translated_anew = false;
    // What was in force in between, where something else changed the table during the run.
    let mut between: Vec<Ruling> = Vec::new();
    for attempt in 0..ATTEMPTS {
        if attempt > 1 {
            // The first run of the loop does the work, the second one verifies. Whatever comes then is somebody
            // else's doing, or a hash table of the kernel's that is still growing: given a little time.
            std::thread::sleep(PATIENCE.saturating_mul(1 << attempt.min(16)).min(LONGEST));
        }
        let mut plan = timed("diff", || diff(&wanted, &now, &ours));
        if plan.is_empty() {
            let mut flows_ended = 0;
            if !ours.unsettled.is_empty() && desired.conntrack == Conntrack::Delete {
                between.extend(flows::former(&before, &owned.unsettled));
                match settle(
                    kernel,
                    &earlier(Judge::of(&before), &between),
                    &Judge::of(&now),
                    1,
                ) {
                    Ok(Ok(number)) => flows_ended = number,
                    Ok(Err(note)) => plan.notes.push(note),
                    Err(error) => {
                        failed = vec![error];
                        break;
                    }
                }
            }
            let mut ours = ours.clone().with(&wanted, &now).only(&wanted, &now);
            ours.lacks_flowtables = desired.fast_path.is_some() && now.flowtables == Some(false);
            if desired.table.is_some() {
                ours.lacks_counters = now.counters == Some(false);
            }
            ours.unsettled.clear();
            if let Err(error) = record(&ours) {
                failed = vec![not_recorded(&error)];
                break;
            }
            plan.announcements = announcements;
            return Ok(Reconciled {
                done,
                plan,
                owned: ours,
                refused: wanted.refused.clone(),
                flows_ended,
                before,
                after: is_translated_anew.then(|| now.into()),
            });
        }
        if quarrels == QUARRELS {
            break;
        }
        ours = ours.with(&wanted, &now);
        if desired.conntrack == Conntrack::Delete
            && let Some(change) = flows::unsettled(&plan.operations)
        {
            ours.note(change);
            is_translated_anew = true;
        }
        if let Err(error) = record(&ours) {
            failed = vec![not_recorded(&error)];
            break;
        }
        if announcements.is_empty() {
            announcements = std::mem::take(&mut plan.announcements);
        } else {
            announcements.append(&mut plan.announcements);
        }
        match kernel.apply(&plan.operations) {
            Ok(()) => {
                quarrels += 1;
                // Tens of thousands, nearly always at once.
                if done.is_empty() {
                    done = plan.operations;
                } else {
                    done.extend(plan.operations);
                }
            }
            Err(Incomplete { begun, failures }) => {
                let mut final_ones = Vec::new();
                for Failure { index, error } in &failures {
                    if matches!(error, KernelError::Interrupted) {
                        continue;
                    }
                    let operation = &plan.operations[*index];
                    let why = format!("{operation}: {error}");
                    // Of all that are desired: with what one hangs on, the rest of it failed as well.
                    let mirrors = desired.mirrors_of(operation.of_mirrors(), &now);
                    if mirrors.is_empty() {
                        final_ones.push(why);
                        continue;
                    }
                    for name in mirrors {
                        let refused = &mut wanted.to_mut().refused;
                        refused.entry(name).or_insert_with(|| why.clone());
                    }
                }
                let is_failed = |index| failures.iter().any(|failure| failure.index == index);
                for (index, one) in plan.operations.into_iter().take(begun).enumerate() {
                    if is_failed(index) { &mut unsure } else { &mut done }.push(one);
                }
                if !final_ones.is_empty() {
                    failed = final_ones;
                    break;
                }
            }
        }
        let looked =
            (kernel.observe_again(&now)).and_then(|looked| kernel.with_abilities(looked, desired, &ours));
        let last = match looked {
            Ok(next) => std::mem::replace(&mut now, next),
            Err(error) => {
                failed = vec![error.to_string()];
                break;
            }
        };
        if attempt > 0 && last.table != now.table && last.table != before.table {
            between.push(last.into());
        }
    }
    if failed.is_empty() {
        let rest = diff(&wanted, &now, &ours).operations;
        let rest: Vec<String> = rest.iter().take(3).map(ToString::to_string).collect();
        failed = vec![format!(
            "something else keeps changing the kernel; still to do: {}",
            rest.join(", ")
        )];
    }
    let local = flows::local_after(&before, &ours.unsettled[owned.unsettled.len()..]);
    if is_translated_anew {
        note_inverse(done.iter().chain(&unsure), &mut ours, &mut record);
    }
    let mut left_over = undo(kernel, &done, &unsure, &before);
    if is_translated_anew {
        between.push(now.into());
        let tried = Judge::new(desired.table.as_ref(), local);
        left_over.extend(settle(kernel, &earlier(tried, &between), &Judge::of(&before), SETTLINGS).err());
    }
    // What is left over is still ours: the next run, a `reset` as well, must know of it.
    let kept = if left_over.is_empty() { &owned } else { &ours };
    failed.extend(record(kept).err().map(|error| not_recorded(&error)));
    failed.dedup();
    Err(Error::Failed { failed, left_over })
}

/// Notes what an undo is about to change: flows that began under the new table, too, are looked at by the next run if
/// this one is killed meanwhile.
fn note_inverse<'o>(
    begun: impl IntoIterator<Item = &'o Operation, IntoIter: DoubleEndedIterator>,
    ours: &mut Owned,
    mut record: impl FnMut(&Owned) -> std::io::Result<()>,
) {
    let inverse: Vec<Operation> = begun.into_iter().rev().map(Operation::inverse).collect();
    if let Some(change) = flows::unsettled(&inverse) {
        ours.note(change);
        // What cannot be noted is undone all the same.
        let _ = record(ours);
    }
}

/// Whether this kernel can be what is desired at all.
///
/// # Errors
/// If it lacks what the file says that it must have.
pub fn possible(desired: &Desired, observed: &Observed) -> Result<(), Error> {
    let is_required = desired
        .fast_path
        .as_ref()
        .is_some_and(|wanted| wanted.is_required);
    if is_required && observed.flowtables == Some(false) {
        return Err(NO_FAST_PATH.into());
    }
    Ok(())
}

/// Ends the flows whose translation changed, and says how many; or, where the kernel has no means for it, why not.
/// Tries so often, since an error may pass.
fn settle(
    kernel: &mut dyn Kernel,
    earlier: &[Judge<'_>],
    now: &Judge<'_>,
    tries: usize,
) -> Result<Result<usize, String>, String> {
    let mut result = Ok(Ok(0));
    for attempt in 0..tries {
        if attempt > 0 {
            std::thread::sleep(PATIENCE);
        }
        result = match kernel.end_flows(&mut |flow| flows::is_stale(flow, earlier, now)) {
            Ok(ended) => Ok(Ok(ended)),
            Err(error @ KernelError::Unsupported { .. }) => {
                Ok(Err(format!("flows whose translation changed go on: {error}")))
            }
            Err(error) => Err(format!("end the flows whose translation changed: {error}")),
        };
        if result.is_ok() {
            break;
        }
    }
    result
}

/// What was in force at first, and then in between.
fn earlier<'t>(first: Judge<'t>, between: &'t [Ruling]) -> Vec<Judge<'t>> {
    std::iter::once(first)
        .chain(between.iter().map(Judge::from))
        .collect()
}

fn not_recorded(error: &std::io::Error) -> String {
    format!("keep the record of what is ours: {}", plain(error))
}

impl Reconciled {
    /// What is to be told to neighbours. All else, which was told in a report, is forgotten: it may be what takes the most memory.
    #[must_use]
    pub fn into_announcements(self) -> Vec<Announcement> {
        self.plan.announcements
    }

    /// Takes everything back, because what was to follow failed. What could not be brought back is returned. `record`
    /// keeps what is ours until that is done.
    #[must_use]
    pub fn undo(
        self,
        kernel: &mut dyn Kernel,
        mut record: impl FnMut(&Owned) -> std::io::Result<()>,
    ) -> Vec<String> {
        if self.after.is_some() {
            note_inverse(&self.done, &mut self.owned.clone(), &mut record);
        }
        let mut left_over = undo(kernel, &self.done, &[], &self.before);
        if let Some(after) = &self.after {
            let settled = settle(kernel, &[after.into()], &Judge::of(&self.before), SETTLINGS);
            left_over.extend(settled.err());
        }
        left_over
    }
}
