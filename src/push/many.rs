//! Many VMs at a time, a bounded number of them.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use super::stop::Stop;
use super::{Answer, Error, Job, Target, push};

/// What came of one target.
#[derive(Debug)]
pub struct Outcome {
    /// The target.
    pub target: Target,
    /// The VM's answer, or why there is none.
    pub result: Result<Answer, Error>,
    /// How long it took.
    pub took: Duration,
}

impl Outcome {
    /// The VM's exit code; 1 if there is none.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match &self.result {
            Ok(answer) => answer.exit_code,
            Err(_) => 1,
        }
    }
}

/// Pushes to all targets, at most `parallel` at a time, and gives the outcomes in the order of the targets.
/// `ended` is told of each as it ends.
pub fn push_all(
    targets: &[Target],
    job: &Job,
    parallel: usize,
    stop: &Stop,
    mut ended: impl FnMut(&Outcome),
) -> Vec<Outcome> {
    let next = AtomicUsize::new(0);
    let (sender, receiver) = mpsc::channel();
    let mut outcomes: Vec<(usize, Outcome)> = thread::scope(|scope| {
        for _ in 0..parallel.clamp(1, targets.len().max(1)) {
            let (sender, next) = (sender.clone(), &next);
            scope.spawn(move || {
                while let Some((index, target)) = {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    targets.get(index).map(|target| (index, target))
                } {
                    let start = Instant::now();
                    let result = push(target, job, stop);
                    let outcome = Outcome {
                        target: target.clone(),
                        result,
                        took: start.elapsed(),
                    };
                    if sender.send((index, outcome)).is_err() {
                        return;
                    }
                }
            });
        }
        drop(sender);
        receiver
            .into_iter()
            .inspect(|(_, outcome)| ended(outcome))
            .collect()
    });
    outcomes.sort_by_key(|(index, _)| *index);
    outcomes.into_iter().map(|(_, outcome)| outcome).collect()
}

/// The exit code of them all: 0 if all are 0, that of the VMs that failed if they agree, else 1; and 128 and the
/// signal's number if one ended any of them.
#[must_use]
pub fn exit_code(outcomes: &[Outcome]) -> u8 {
    let signal = |outcome: &Outcome| outcome.result.as_ref().err().and_then(Error::signal);
    if let Some(signal) = outcomes.iter().find_map(signal) {
        return u8::try_from(128 + signal).unwrap_or(1);
    }
    let mut failed = outcomes.iter().map(Outcome::exit_code).filter(|code| *code != 0);
    match failed.next() {
        None => 0,
        Some(first) if failed.all(|code| code == first) => first,
        Some(_) => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(code: Option<u8>) -> Outcome {
        Outcome {
            target: Target::Socket("x".into()),
            result: code.ok_or(Error::Silent).map(|exit_code| Answer {
                exit_code,
                report: None,
                output: String::new(),
                log: String::new(),
                cut_off: false,
                left: None,
            }),
            took: Duration::ZERO,
        }
    }

    #[test]
    fn the_exit_code_is_the_one_that_the_failed_ones_agree_on() {
        let code = |codes: &[Option<u8>]| exit_code(&codes.iter().copied().map(outcome).collect::<Vec<_>>());
        assert_eq!(code(&[Some(0), Some(0)]), 0);
        assert_eq!(code(&[Some(0), Some(3), Some(3)]), 3);
        assert_eq!(code(&[Some(3), Some(4)]), 1);
        assert_eq!(code(&[Some(4), None]), 1);
        assert_eq!(code(&[None, Some(0)]), 1);
        let stopped = Error::Stopped {
            signal: 15,
            started: false,
        };
        let left = Error::LeftBehind {
            error: Box::new(stopped),
            left: "x".to_owned(),
        };
        let stopped = Outcome {
            result: Err(left),
            ..outcome(None)
        };
        assert_eq!(exit_code(&[outcome(Some(3)), stopped]), 143);
    }

    #[test]
    fn outcomes_are_in_the_order_of_the_targets() {
        let targets: Vec<Target> = (0..20)
            .map(|number| Target::Socket(format!("/nonexistent/{number}").into()))
            .collect();
        let job = Job {
            text: Vec::new(),
            allow_empty: false,
            program: "kylin-vr".to_owned(),
            config: None,
            directory: "/etc/kylin-vr".into(),
            way: None,
            timeout: Duration::from_secs(60),
            lock_timeout: Duration::from_secs(60),
        };
        let mut told = 0;
        let outcomes = push_all(&targets, &job, 3, &Stop::default(), |_| told += 1);
        let order: Vec<Target> = outcomes.iter().map(|outcome| outcome.target.clone()).collect();
        assert_eq!(order, targets);
        assert_eq!(told, targets.len());
        assert!(
            outcomes
                .iter()
                .all(|outcome| matches!(outcome.result, Err(Error::Connect(_))))
        );
    }
}
