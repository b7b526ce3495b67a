//! What a guest says while it boots, and when it will say no more.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// The kernel's words before it starts its first program (`run_init_process`, init/main.c).
const FIRST_PROGRAM: &[u8] = b"Run /init as init process";

/// Looks at the log of a serial line.
#[derive(Debug)]
pub(super) struct Console {
    log: PathBuf,
    /// How long a kernel may be silent.
    silence: Duration,
    said: usize,
    since: Instant,
}

impl Console {
    pub(super) fn new(log: PathBuf, silence: Duration) -> Console {
        Console {
            log,
            silence,
            said: 0,
            since: Instant::now(),
        }
    }

    /// Whether the kernel stopped for good before any program of the guest ran, so before a disk was touched.
    ///
    /// An emulated kernel does, once in some hundred boots, and it is not always at the same place.
    pub(super) fn is_stuck(&mut self) -> bool {
        let said = fs::read(&self.log).unwrap_or_default();
        if said.len() != self.said {
            (self.said, self.since) = (said.len(), Instant::now());
        }
        let is_silent = self.since.elapsed() >= self.silence;
        is_silent
            && !said
                .windows(FIRST_PROGRAM.len())
                .any(|words| words == FIRST_PROGRAM)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scratch::Scratch;

    #[test]
    fn who_is_silent_before_the_first_program_is_stuck() {
        let files = Scratch::new();
        let log = files.path().join("serial.log");
        let console = |silence| Console::new(log.clone(), Duration::from_secs(silence));
        assert!(console(0).is_stuck());
        assert!(!console(3600).is_stuck());

        fs::write(&log, "[    3.066672] sched_clock: Marking stable\r\n").unwrap();
        assert!(console(0).is_stuck());
        // What it says now it had not said before.
        let mut patient = console(3600);
        patient.since -= Duration::from_secs(7200);
        assert!(!patient.is_stuck());
        patient.since -= Duration::from_secs(7200);
        assert!(patient.is_stuck());

        fs::write(
            &log,
            "[    4.1] Run /init as init process\r\nLoading, please wait...\r\n",
        )
        .unwrap();
        assert!(!console(0).is_stuck());
    }
}
