//! SIGINT and SIGTERM as a value that waits look at, so that a push that is ended cleans up.
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
    /// From now on this process ends by SIGINT and SIGTERM only where it looks at the result. To be called before
    /// it starts threads: they inherit it.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn watch() -> std::io::Result<Arc<Self>> {
        let mut signals = SigSet::empty();
        signals.add(Signal::SIGINT);
        signals.add(Signal::SIGTERM);
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
