//! How long the parts of a run take, told at debug level (`-vv`): where the time of a slow run goes.
//!
//! Stands beside the line: pure parts are timed by who calls them, and no result depends on it.

use std::time::Instant;

/// Does a part of a run, and tells at debug level how long it took, in microseconds.
pub(crate) fn timed<T>(part: &'static str, work: impl FnOnce() -> T) -> T {
    let start = Instant::now();
    let result = work();
    tracing::debug!(part, us = start.elapsed().as_micros(), "took");
    result
}
