//! A directory of one's own under the temporary directory, gone when dropped.
//!
//! A killed process cannot remove its directories, so the next one does. It must never take one that is in
//! use: each is held by a lock on a file in it, which the kernel drops with its process.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use nix::fcntl::{Flock, FlockArg};

const PREFIX: &str = "kylin-vr-lab-";
const LOCK: &str = ".lock";

#[derive(Debug)]
pub(crate) struct Scratch {
    path: PathBuf,
    _lock: Flock<File>,
}

impl Scratch {
    /// Makes an empty directory, and removes those that killed processes left.
    pub(crate) fn new() -> Scratch {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        remove_left_over();
        loop {
            let (pid, count) = (std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
            let path = std::env::temp_dir().join(format!("{PREFIX}{pid}-{count}"));
            match Scratch::make(&path) {
                Ok(lock) => return Scratch { path, _lock: lock },
                // Another process with this number, in a container that shares the temporary directory.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => panic!("make {}: {error}", path.display()),
            }
        }
    }

    fn make(path: &Path) -> io::Result<Flock<File>> {
        fs::create_dir(path)?;
        // The file gets its name when it is locked: a directory without it is not yet to be judged.
        let unnamed = path.join(".locking");
        let lock =
            Flock::lock(File::create(&unnamed)?, FlockArg::LockExclusive).map_err(|(_, error)| error)?;
        fs::rename(&unnamed, path.join(LOCK))?;
        Ok(lock)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // A panic here would hide the one that failed the test.
        let _ = fs::remove_dir_all(&self.path);
    }
}

/// What cannot be read or removed belongs to somebody else, or is being removed by another: let it be.
fn remove_left_over() {
    for entry in fs::read_dir(std::env::temp_dir()).into_iter().flatten().flatten() {
        if !entry.file_name().to_string_lossy().starts_with(PREFIX) {
            continue;
        }
        let Ok(file) = File::open(entry.path().join(LOCK)) else {
            continue;
        };
        if let Ok(_held) = Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_killed_process_left_is_removed_and_what_is_in_use_is_not() {
        let in_use = Scratch::new();
        let left = std::env::temp_dir().join(format!("{PREFIX}left-{}", std::process::id()));
        drop(Scratch::make(&left).expect("make a directory"));
        let other = Scratch::new();
        assert!(in_use.path().exists() && other.path().exists() && !left.exists());
        let path = other.path().to_owned();
        drop(other);
        assert!(!path.exists());
    }
}
