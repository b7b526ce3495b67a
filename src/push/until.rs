//! How long to wait: to a point in time, or to a signal.

use std::time::{Duration, Instant};

use super::error::Error;
use super::stop::Stop;

/// The longest that a signal goes unseen.
const SLICE: Duration = Duration::from_millis(100);

/// The longest that cleaning up takes in all, and that an answer is waited for which cleaning up needs.
pub(super) const GRACE: Duration = Duration::from_secs(5);

/// Until when to wait.
#[derive(Clone, Copy, Debug)]
pub(super) struct Until<'s> {
    end: Instant,
    stop: Option<&'s Stop>,
    /// How much longer than to the end, or to a signal.
    patience: Duration,
}

impl<'s> Until<'s> {
    pub(super) fn new(end: Instant, stop: &'s Stop) -> Self {
        let (stop, patience) = (Some(stop), Duration::ZERO);
        Self { end, stop, patience }
    }

    /// For cleaning up, which no signal cuts short.
    pub(super) fn grace() -> Self {
        Self {
            end: Instant::now() + GRACE,
            stop: None,
            patience: Duration::ZERO,
        }
    }

    /// A little longer: for an answer without which there would be something left behind.
    pub(super) fn patient(self) -> Self {
        Self {
            patience: GRACE,
            ..self
        }
    }

    /// How long to wait before asking again; not zero.
    ///
    /// # Errors
    /// If it is over.
    pub(super) fn slice(&self, during: &'static str) -> Result<Duration, Error> {
        let now = Instant::now();
        let started = false;
        if let Some((signal, when)) = self.stop.and_then(Stop::came)
            && when + self.patience <= now
        {
            return Err(Error::Stopped { signal, started });
        }
        let left = (self.end + self.patience).saturating_duration_since(now);
        if left.is_zero() {
            return Err(Error::TimedOut { during, started });
        }
        Ok(left.min(SLICE))
    }

    /// What is left until the end, signals apart.
    pub(super) fn left(&self) -> Duration {
        (self.end + self.patience).saturating_duration_since(Instant::now())
    }

    /// Sleeps.
    ///
    /// # Errors
    /// If it is over before.
    pub(super) fn sleep(&self, time: Duration, during: &'static str) -> Result<(), Error> {
        // A fuzzer has no time to wait for an agent that is a script.
        let time = if cfg!(fuzzing) { Duration::ZERO } else { time };
        let wake = Instant::now() + time;
        loop {
            let slice = self.slice(during)?;
            let left = wake.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            std::thread::sleep(slice.min(left));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_ends_a_wait_but_not_the_cleaning_up() {
        let stop = Stop::default();
        let until = Until::new(Instant::now() + Duration::from_secs(600), &stop);
        assert!(until.slice("x").is_ok());
        stop.now(15);
        assert!(matches!(until.slice("x"), Err(Error::Stopped { signal: 15, .. })));
        assert!(until.patient().slice("x").is_ok());
        assert!(Until::grace().slice("x").is_ok());
    }

    #[test]
    fn the_end_ends_a_wait() {
        let stop = Stop::default();
        let until = Until::new(Instant::now(), &stop);
        assert!(matches!(until.slice("x"), Err(Error::TimedOut { .. })));
        assert!(until.patient().slice("x").is_ok());
        assert!(until.sleep(Duration::ZERO, "x").is_err());
    }
}
