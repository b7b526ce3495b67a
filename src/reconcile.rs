//! The line, run once: look, plan, carry out, look again. Whatever fails is undone.

use std::time::Duration;

use crate::kernel::{Error as KernelError, Incomplete, Kernel};
use crate::model::{Desired, Observed};
use crate::owned::Owned;
use crate::plan::{Operation, Plan, diff};
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
    /// How the kernel was before.
    before: Observed,
}

/// Makes the kernel match. `record` keeps what is ours, and is called before the kernel is changed and after.
///
/// # Errors
/// If it cannot be made to match; then it is as it was.
pub fn reconcile(
    kernel: &mut dyn Kernel,
    desired: &Desired,
    owned: Owned,
    mut record: impl FnMut(&Owned) -> std::io::Result<()>,
) -> Result<Reconciled, Error> {
    let before = kernel.observe()?;
    let mut now = before.clone();
    let mut ours = owned.clone();
    let mut done = Vec::new();
    let mut announcements = Vec::new();
    // What failed: whether it was carried out all the same is not known, since an answer can be lost.
    let mut unsure = Vec::new();
    let mut failed = Vec::new();
    let mut quarrels = 0;
    for attempt in 0..ATTEMPTS {
        if attempt > 1 {
            // The first run of the loop does the work, the second one verifies. Whatever comes then is somebody
            // else's doing, or a hash table of the kernel's that is still growing: given a little time.
            std::thread::sleep(PATIENCE.saturating_mul(1 << attempt.min(16)).min(LONGEST));
        }
        let mut plan = diff(desired, &now, &ours);
        if plan.is_empty() {
            let ours = ours.clone().with(desired, &now).only(desired, &now);
            if let Err(error) = record(&ours) {
                failed = vec![not_recorded(&error)];
                break;
            }
            plan.announcements = announcements;
            return Ok(Reconciled {
                done,
                plan,
                owned: ours,
                before,
            });
        }
        if quarrels == QUARRELS {
            break;
        }
        ours = ours.with(desired, &now);
        if let Err(error) = record(&ours) {
            failed = vec![not_recorded(&error)];
            break;
        }
        announcements.append(&mut plan.announcements);
        match kernel.apply(&plan.operations) {
            Ok(()) => {
                quarrels += 1;
                done.extend(plan.operations);
            }
            Err(Incomplete { begun, failures }) => {
                let final_ones: Vec<String> = failures
                    .iter()
                    .filter(|failure| !matches!(failure.error, KernelError::Interrupted))
                    .map(|failure| format!("{}: {}", plan.operations[failure.index], failure.error))
                    .collect();
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
        now = match kernel.observe() {
            Ok(now) => now,
            Err(error) => {
                failed = vec![error.to_string()];
                break;
            }
        };
    }
    if failed.is_empty() {
        let rest = diff(desired, &now, &ours).operations;
        let rest: Vec<String> = rest.iter().take(3).map(ToString::to_string).collect();
        failed = vec![format!(
            "something else keeps changing the kernel; still to do: {}",
            rest.join(", ")
        )];
    }
    let left_over = undo(kernel, &done, &unsure, &before);
    // What is left over is still ours: the next run, a `reset` as well, must know of it.
    let kept = if left_over.is_empty() { &owned } else { &ours };
    failed.extend(record(kept).err().map(|error| not_recorded(&error)));
    failed.dedup();
    Err(Error::Failed { failed, left_over })
}

fn not_recorded(error: &std::io::Error) -> String {
    format!("keep the record of what is ours: {}", plain(error))
}

impl Reconciled {
    /// Takes everything back, because what was to follow failed. What could not be brought back is returned.
    #[must_use]
    pub fn undo(self, kernel: &mut dyn Kernel) -> Vec<String> {
        undo(kernel, &self.done, &[], &self.before)
    }
}
