//! SIGHUP, SIGINT and SIGTERM as a value that waits look at, so that a push that is ended cleans up.
//!
//! The signals are blocked, not caught: the processes that are started meanwhile inherit that, so that Ctrl-C at a
//! terminal, which goes to virsh as well, does not kill it while it carries the number of an open file.

use std::sync::{Arc, OnceLock};
use std::time::Instant;

use nix::sys::signal::{SigSet, Signal};

/// Whether a signal came, which one and when.
#[derive(Debug, Default)]
pub struct Stop {
    came: OnceLock<(i32, Instant)>,
}

impl Stop {
    /// From now on this process ends by these signals only where it looks at the result. To be called before it
    /// starts threads: they inherit it. What is ignored already (nohup, a shell's background) stays so.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn watch() -> std::io::Result<Arc<Self>> {
        let mut signals = SigSet::empty();
        let ignored = ignored(&std::fs::read_to_string("/proc/self/status")?);
        for signal in [Signal::SIGHUP, Signal::SIGINT, Signal::SIGTERM] {
            if ignored & (1 << (signal as i32 - 1)) == 0 {
                signals.add(signal);
            }
        }
        signals.thread_block()?;
        let stop = Arc::new(Self::default());
        let told = Arc::clone(&stop);
        std::thread::Builder::new()
            .name("signals".to_owned())
            .spawn(move || {
                while let Ok(signal) = signals.wait() {
                    told.now(signal as i32);
                }
            })?;
        Ok(stop)
    }

    /// What a signal does. The first one counts.
    pub fn now(&self, signal: i32) {
        let _ = self.came.set((signal, Instant::now()));
    }

    /// The signal that came, and when.
    #[must_use]
    pub fn came(&self) -> Option<(i32, Instant)> {
        self.came.get().copied()
    }
}

/// The ignored signals of a process, of its `/proc/PID/status`: a bit each, the first one's is 1 (proc(5)). A signal
/// that is blocked is kept even if it is ignored, so they must not be waited for.
fn ignored(status: &str) -> u64 {
    status
        .lines()
        .find_map(|line| line.strip_prefix("SigIgn:"))
        .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ignored_signals_are_read() {
        assert_eq!(
            ignored("SigBlk:\t0000000000000002\nSigIgn:\t0000000000001001\n"),
            0x1001
        );
        assert_eq!(ignored(""), 0);
    }

    #[test]
    fn the_first_signal_counts() {
        let stop = Stop::default();
        assert!(stop.came().is_none());
        stop.now(2);
        stop.now(15);
        assert_eq!(stop.came().map(|(signal, _)| signal), Some(2));
    }
}
