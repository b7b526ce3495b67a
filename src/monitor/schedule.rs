//! When the monitor looks: soon after an event, once for many of them, and not without end when another program
//! keeps undoing what it does. Pure: the clock is an argument.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

/// Events that come closer together than this are one.
const QUIET: Duration = Duration::from_millis(20);
/// However many come, a look is not put off for longer.
const PATIENCE: Duration = Duration::from_millis(200);
/// Repairs of one thing that may follow each other at once, and how long it takes until there may be one more. A
/// table that is flushed by a firewall's restart is repaired at once; a program that flushes it every second is
/// answered twelve times a minute.
const REPAIRS: u32 = 5;
const ONE_MORE: Duration = Duration::from_secs(5);
/// What a run that failed counts as: what it did and undid are events themselves, which ask for the next one at once.
const FAILED: &str = "what failed";
/// After a run that failed the next one comes by itself, each time twice as late, up to a minute.
const RETRY: Duration = Duration::from_secs(1);
const RETRY_AT_MOST: Duration = Duration::from_secs(60);

/// Why there is to be a look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cause {
    /// The last run failed, or did not get the lock; or it is time for what the last one announced.
    Retry,
    /// Something was changed that may be ours.
    Drift,
    /// A NIC came, went or was renamed; or somebody asked.
    Nic,
}

/// What a look came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// There was nothing to do.
    Nothing,
    /// Something was.
    Changed,
    /// It failed and was taken back.
    Failed,
    /// Another run had the lock.
    Busy,
}

impl Outcome {
    /// All of them, in their order.
    pub const ALL: [Self; 4] = [Self::Nothing, Self::Changed, Self::Failed, Self::Busy];

    /// In a word.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Nothing => "unchanged",
            Self::Changed => "changed",
            Self::Failed => "failed",
            Self::Busy => "busy",
        }
    }
}

/// When the next look is due.
#[derive(Debug)]
pub struct Schedule {
    /// The first and the last event since the last look, and the strongest cause.
    pending: Option<(Instant, Instant, Cause)>,
    retry: Option<Instant>,
    next: Option<Instant>,
    failures: u32,
    /// What was repaired of late: how often it may be again at once, and since when that is counted.
    repaired: BTreeMap<String, (u32, Instant)>,
}

impl Schedule {
    /// A schedule with a first look at once.
    #[must_use]
    pub fn new(now: Instant) -> Self {
        Self {
            pending: None,
            retry: Some(now),
            next: None,
            failures: 0,
            repaired: BTreeMap::new(),
        }
    }

    /// An event came.
    pub fn event(&mut self, now: Instant, cause: Cause) {
        self.pending = Some(match self.pending {
            Some((first, _, other)) => (first, now, other.max(cause)),
            None => (now, now, cause),
        });
    }

    /// When the next look is due; `None`: when an event comes.
    #[must_use]
    pub fn due(&self) -> Option<Instant> {
        let event = self.pending.map(|(first, last, cause)| {
            let soon = (last + QUIET).min(first + PATIENCE);
            let spent = self.repaired.values().filter(|(left, _)| *left == 0);
            match spent.map(|(_, since)| *since + ONE_MORE).max() {
                Some(later) if cause == Cause::Drift => soon.max(later),
                _ => soon,
            }
        });
        event.into_iter().chain(self.retry).chain(self.next).min()
    }

    /// There will be something to do then; `None`: not that anybody knew. Each look says it anew.
    pub fn next(&mut self, at: Option<Instant>) {
        self.next = at;
    }

    /// If a look is due now, its cause; its events are answered with it.
    pub fn begin(&mut self, now: Instant) -> Option<Cause> {
        self.repaired.retain(|_, (left, since)| {
            while *left < REPAIRS && now >= *since + ONE_MORE {
                *left += 1;
                *since += ONE_MORE;
            }
            *left < REPAIRS
        });
        self.due().filter(|due| *due <= now)?;
        self.retry = None;
        self.next = None;
        let (_, _, cause) = self.pending.take().unwrap_or((now, now, Cause::Retry));
        Some(cause)
    }

    /// A look ended. `repaired` names what it changed. What is returned is repaired only every now and then from
    /// now on, since something keeps undoing it.
    pub fn ended(
        &mut self,
        now: Instant,
        cause: Cause,
        outcome: Outcome,
        repaired: BTreeSet<String>,
    ) -> Vec<String> {
        match outcome {
            Outcome::Nothing | Outcome::Changed => self.failures = 0,
            Outcome::Busy => self.retry = Some(now + RETRY),
            Outcome::Failed => {
                let wait = RETRY.saturating_mul(1 << self.failures.min(6)).min(RETRY_AT_MOST);
                self.failures = self.failures.saturating_add(1);
                self.retry = Some(now + wait);
            }
        }
        let mut spent = Vec::new();
        // What comes with a NIC is no repair.
        let failed = (outcome == Outcome::Failed).then(|| FAILED.to_owned());
        for thing in (repaired.into_iter().chain(failed)).filter(|_| cause == Cause::Drift) {
            let (left, _) = self.repaired.entry(thing.clone()).or_insert((REPAIRS, now));
            if *left == 1 && thing != FAILED {
                spent.push(thing);
            }
            *left = left.saturating_sub(1);
        }
        spent
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn table() -> BTreeSet<String> {
        BTreeSet::from(["nft".to_owned()])
    }

    /// A schedule after its first look.
    fn quiet(now: Instant) -> Schedule {
        let mut schedule = Schedule::new(now);
        assert_eq!(schedule.begin(now), Some(Cause::Retry));
        schedule.ended(now, Cause::Retry, Outcome::Nothing, BTreeSet::new());
        assert_eq!(schedule.due(), None);
        schedule
    }

    #[test]
    fn many_events_are_one_look() {
        let start = Instant::now();
        let mut schedule = quiet(start);
        for step in 0..10 {
            schedule.event(
                start + step * MS,
                if step == 3 { Cause::Nic } else { Cause::Drift },
            );
        }
        assert_eq!(schedule.begin(start + 10 * MS), None);
        assert_eq!(schedule.begin(start + 29 * MS), Some(Cause::Nic));
        assert_eq!(schedule.due(), None);
    }

    #[test]
    fn events_without_end_do_not_put_the_look_off_for_ever() {
        let start = Instant::now();
        let mut schedule = quiet(start);
        let looks = (0..1000).filter(|step| {
            schedule.event(start + *step * MS, Cause::Nic);
            schedule.begin(start + *step * MS).is_some()
        });
        assert_eq!(looks.count(), 4);
    }

    #[test]
    fn two_quarrelling_programs_do_not_spin() {
        let start = Instant::now();
        let mut schedule = quiet(start);
        let (mut repairs, mut told) = (0, 0);
        for step in 0..60_000 {
            let now = start + step * MS;
            schedule.event(now, Cause::Drift);
            if let Some(cause) = schedule.begin(now) {
                repairs += 1;
                told += schedule.ended(now, cause, Outcome::Changed, table()).len();
            }
        }
        assert_eq!(repairs, 5 + 11, "five at once, then one every five seconds");
        assert!(told >= 1);
        // A NIC that comes meanwhile does not wait for that.
        let now = start + 60_000 * MS;
        schedule.event(now, Cause::Nic);
        assert_eq!(schedule.begin(now + QUIET), Some(Cause::Nic));
        // After a quiet minute all is as before.
        let now = start + 120_000 * MS;
        for _ in 0..REPAIRS {
            schedule.event(now, Cause::Drift);
            let cause = schedule.begin(now + QUIET).unwrap();
            schedule.ended(now, cause, Outcome::Changed, table());
        }
    }

    #[test]
    fn different_repairs_are_no_quarrel() {
        let start = Instant::now();
        let mut schedule = quiet(start);
        for step in 0..100 {
            let now = start + step * 50 * MS;
            schedule.event(now, Cause::Drift);
            let cause = schedule.begin(now + QUIET).unwrap();
            let thing = BTreeSet::from([format!("address {step}")]);
            assert!(schedule.ended(now, cause, Outcome::Changed, thing).is_empty());
        }
    }

    #[test]
    fn looks_that_find_nothing_are_not_counted() {
        let start = Instant::now();
        let mut schedule = quiet(start);
        for step in 0..100 {
            let now = start + step * 50 * MS;
            schedule.event(now, Cause::Drift);
            let cause = schedule.begin(now + QUIET).unwrap();
            assert!(
                schedule
                    .ended(now, cause, Outcome::Nothing, BTreeSet::new())
                    .is_empty()
            );
        }
    }

    #[test]
    fn what_is_due_by_the_clock_is_looked_at_then() {
        let start = Instant::now();
        let mut schedule = quiet(start);
        schedule.next(Some(start + 500 * MS));
        assert_eq!(schedule.begin(start + 499 * MS), None);
        assert_eq!(schedule.due(), Some(start + 500 * MS));
        assert_eq!(schedule.begin(start + 500 * MS), Some(Cause::Retry));
        assert_eq!(schedule.due(), None);
        // A look that an event asked for says anew what is due.
        schedule.next(Some(start + 900 * MS));
        schedule.event(start + 600 * MS, Cause::Drift);
        assert_eq!(schedule.begin(start + 620 * MS), Some(Cause::Drift));
        assert_eq!(schedule.due(), None);
    }

    #[test]
    fn a_run_that_fails_does_not_spin_by_the_events_of_what_it_does_and_undoes() {
        let start = Instant::now();
        let mut schedule = quiet(start);
        schedule.event(start, Cause::Drift);
        let mut runs = 0;
        for step in 0..60_000 {
            let now = start + step * MS;
            if let Some(cause) = schedule.begin(now) {
                runs += 1;
                assert!(
                    schedule
                        .ended(now, cause, Outcome::Failed, BTreeSet::new())
                        .is_empty()
                );
                schedule.event(now, Cause::Drift);
            }
        }
        assert!((5..=5 + 12 + 6).contains(&runs), "{runs}");
        // A NIC that comes meanwhile does not wait for that.
        let now = start + 60_000 * MS;
        schedule.event(now, Cause::Nic);
        assert_eq!(schedule.begin(now + QUIET), Some(Cause::Nic));
    }

    #[test]
    fn what_failed_is_tried_again_ever_later() {
        let start = Instant::now();
        let mut schedule = quiet(start);
        let (mut now, mut waits) = (start, Vec::new());
        for _ in 0..8 {
            schedule.ended(now, Cause::Retry, Outcome::Failed, BTreeSet::new());
            let due = schedule.due().unwrap();
            waits.push((due - now).as_secs());
            now = due;
            assert_eq!(schedule.begin(now), Some(Cause::Retry));
        }
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 60, 60]);
        schedule.ended(now, Cause::Retry, Outcome::Nothing, BTreeSet::new());
        assert_eq!(schedule.due(), None);
    }
}
