//! A kernel that fails where it is told to: what tests put around [`super::Linux`] or [`super::Fake`].
//!
//! Every look, every operation and every announcement is a step, counted from 0. The command itself never has one:
//! only a program of the tests opens it ([`crate::cli::main_with`]).

use std::str::FromStr;

use nix::libc::{ENODEV, ERESTART};

use super::linux::go_together;
use super::{Error, Failure, Incomplete, Kept, Kernel};
use crate::model::nft::{Counts, TableChange};
use crate::model::{Copied, Flow, LinkIndex, Observed};
use crate::plan::{Announcement, Operation};

/// What goes wrong at a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It is refused with this error number, and nothing is done.
    Fail(i32),
    /// It is done, and answered with this error number: the answer was lost.
    Lose(i32),
    /// The process is killed before it.
    KillBefore,
    /// The process is killed when it is done.
    KillAfter,
}

/// Which steps go wrong, and how: `7:fail:1`, `7-9:lose:105`, `7-:fail:1` (from there on), `7-:fail:1:add-route` (those of
/// one kind), `7:kill-before`, `7:kill-after`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The first step.
    pub first: usize,
    /// The last one.
    pub last: usize,
    /// What happens to them.
    pub fate: Fate,
    /// Only to steps of this [`kind`]; `None`: to all.
    pub kind: Option<String>,
}

impl FromStr for Fault {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bad =
            || format!("{text}: expected STEP[-[STEP]]:fail|lose|kill-before|kill-after[:ERRNO[:KIND]]");
        let number = |word: &str| word.parse().map_err(|_| bad());
        let mut words = text.split(':');
        let (steps, fate) = words.next().zip(words.next()).ok_or_else(bad)?;
        let (first, last) = match steps.split_once('-') {
            None => (number(steps)?, number(steps)?),
            Some((first, "")) => (number(first)?, usize::MAX),
            Some((first, last)) => (number(first)?, number(last)?),
        };
        let errno = words.next().and_then(|word| word.parse().ok());
        let fate = match (fate, errno) {
            ("fail", Some(errno)) => Fate::Fail(errno),
            ("lose", Some(errno)) => Fate::Lose(errno),
            ("kill-before", None) => Fate::KillBefore,
            ("kill-after", None) => Fate::KillAfter,
            _ => return Err(bad()),
        };
        let kind = words.next().map(str::to_owned);
        Ok(Self {
            first,
            last,
            fate,
            kind,
        })
    }
}

/// A kernel with faults.
pub struct Faulty<K, F> {
    kernel: K,
    faults: Vec<Fault>,
    steps: usize,
    tell: F,
}

impl<K: Kernel, F: FnMut(&'static str, Option<Fate>)> Faulty<K, F> {
    /// `tell` hears of every step before it: its kind ([`kind`], `observe`, `counts`, `announce`,
    /// `end-flows`), and what will happen to it.
    pub fn new(kernel: K, faults: Vec<Fault>, tell: F) -> Self {
        Self {
            kernel,
            faults,
            steps: 0,
            tell,
        }
    }

    /// The kernel as it is.
    pub fn inner(&self) -> &K {
        &self.kernel
    }

    /// One step of a kind, done by `run` unless something comes in between.
    fn step<T>(
        &mut self,
        kind: &'static str,
        run: impl FnOnce(&mut K) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let step = self.steps;
        self.steps += 1;
        let fault = self.faults.iter().find(|one| {
            (one.first..=one.last).contains(&step) && one.kind.as_deref().is_none_or(|only| only == kind)
        });
        let fate = fault.map(|one| one.fate);
        (self.tell)(kind, fate);
        match fate {
            None => run(&mut self.kernel),
            Some(Fate::Fail(errno)) => Err(error(errno)),
            Some(Fate::Lose(errno)) => run(&mut self.kernel).and(Err(error(errno))),
            Some(Fate::KillBefore) => Err(die()),
            Some(Fate::KillAfter) => {
                let _ = run(&mut self.kernel);
                Err(die())
            }
        }
    }
}

/// Ends the process as `kill -9` does: nothing is flushed, closed or dropped.
fn die() -> Error {
    let _ = nix::sys::signal::raise(nix::sys::signal::Signal::SIGKILL);
    // Never: the signal is delivered before the call returns.
    Error::Interrupted
}

/// As the kernel's two parts take an error number.
fn error(errno: i32) -> Error {
    match errno {
        ENODEV | ERESTART => Error::Interrupted,
        errno => Error::refused(errno),
    }
}

/// What kind of operation it is.
#[must_use]
pub fn kind(operation: &Operation) -> &'static str {
    match operation {
        Operation::Table(change) => match **change {
            TableChange::Create(_) => "create-table",
            TableChange::Delete(_) => "delete-table",
            TableChange::Replace { .. } => "replace-table",
            TableChange::Edit { .. } => "edit-table",
        },
        Operation::AddOwnLink { .. } => "add-link",
        Operation::ChangeOwnLink { .. } => "change-link",
        Operation::DeleteOwnLink { .. } => "delete-link",
        Operation::AddClassifier { .. } => "add-qdisc",
        Operation::DeleteClassifier { .. } => "delete-qdisc",
        Operation::AddHook { .. } => "add-hook",
        Operation::ReplaceHook { .. } => "replace-hook",
        Operation::DeleteHook { .. } => "delete-hook",
        Operation::SetLink { up: true, .. } => "link-up",
        Operation::SetLink { up: false, .. } => "link-down",
        Operation::AddNeighbour { .. } => "add-neighbour",
        Operation::ReplaceNeighbour { .. } => "replace-neighbour",
        Operation::DeleteNeighbour { .. } => "delete-neighbour",
        Operation::AddAddress { .. } => "add-address",
        Operation::DeleteAddress { .. } => "delete-address",
        Operation::AddRoute { .. } => "add-route",
        Operation::ReplaceRoute { .. } => "replace-route",
        Operation::DeleteRoute { .. } => "delete-route",
        Operation::SetSysctl { .. } => "set-sysctl",
    }
}

impl<K: Kernel, F: FnMut(&'static str, Option<Fate>) + Send> Kernel for Faulty<K, F> {
    fn observe(&mut self) -> Result<Observed, Error> {
        self.step("observe", K::observe)
    }

    fn listen(&mut self) -> Result<(), Error> {
        self.kernel.listen()
    }

    fn is_settled(&mut self) -> Result<bool, Error> {
        self.kernel.is_settled()
    }

    fn observe_again(&mut self, last: &Observed) -> Result<Observed, Error> {
        self.step("observe", |kernel| kernel.observe_again(last))
    }

    fn observe_rest(&mut self) -> Result<Observed, Error> {
        self.step("observe", K::observe_rest)
    }

    fn recall(&mut self, kept: &[u8]) {
        self.kernel.recall(kept);
    }

    fn keep(&self) -> Kept {
        self.kernel.keep()
    }

    fn has_flowtables(&mut self) -> Result<bool, Error> {
        self.kernel.has_flowtables()
    }

    fn has_counters(&mut self) -> Result<bool, Error> {
        self.kernel.has_counters()
    }

    /// One by one; but what goes in one system call on Linux is carried out to the end of that, as it is there.
    fn apply(&mut self, operations: &[Operation]) -> Result<(), Incomplete> {
        let mut failures = Vec::new();
        let mut first: Option<usize> = None;
        for (index, operation) in operations.iter().enumerate() {
            if let Some(first) = first.filter(|_| !failures.is_empty())
                && !go_together(&operations[first], operation)
            {
                return Err(Incomplete {
                    begun: index,
                    failures,
                });
            }
            if first.is_none_or(|first| !go_together(&operations[first], operation)) {
                first = Some(index);
            }
            let one = std::slice::from_ref(operation);
            let done = self.step(kind(operation), |kernel| {
                kernel.apply(one).map_err(|incomplete| {
                    let error = incomplete
                        .failures
                        .into_iter()
                        .next()
                        .map(|failure| failure.error);
                    error.unwrap_or(Error::Interrupted)
                })
            });
            failures.extend(done.err().map(|error| Failure { index, error }));
        }
        if failures.is_empty() {
            return Ok(());
        }
        Err(Incomplete {
            begun: operations.len(),
            failures,
        })
    }

    fn counts(&mut self) -> Result<Counts, Error> {
        self.step("counts", K::counts)
    }

    fn copied(&mut self) -> Result<Vec<Copied<LinkIndex>>, Error> {
        self.step("copied", K::copied)
    }

    fn announce(&mut self, announcements: &[Announcement]) -> Result<(), Error> {
        self.step("announce", |kernel| kernel.announce(announcements))
    }

    fn end_flows(&mut self, is_stale: &mut dyn FnMut(&Flow) -> bool) -> Result<usize, Error> {
        self.step("end-flows", |kernel| kernel.end_flows(is_stale))
    }

    fn read_flows(&mut self, see: &mut dyn FnMut(Option<&Flow>)) -> Result<(), Error> {
        self.step("read-flows", |kernel| kernel.read_flows(see))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_read_as_they_are_written() {
        let of = |text: &str| text.parse::<Fault>().map(|one| (one.first, one.last, one.fate));
        assert_eq!(of("7:fail:12"), Ok((7, 7, Fate::Fail(12))));
        assert_eq!(of("7-9:lose:105"), Ok((7, 9, Fate::Lose(105))));
        assert_eq!(of("7-:fail:1"), Ok((7, usize::MAX, Fate::Fail(1))));
        assert_eq!(of("0:kill-after"), Ok((0, 0, Fate::KillAfter)));
        for bad in ["", "7", "x:fail:1", "7:fail", "7:kill-before:1", "7:other:1"] {
            assert!(of(bad).is_err(), "{bad}");
        }
    }
}
