//! The window in which a configuration waits to be confirmed: until when, and what to go back to. One file, which holds
//! the texts to go back to as well, so that nothing else is needed to do it.

use std::fs::{self, File};
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::store::{Staged, remove};
use super::{State, fingerprint, headed};
use crate::clock::Moment;

/// The name of the file in the lasting directory.
pub const UNCONFIRMED: &str = "unconfirmed";

/// What the installed file was before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Installed {
    /// There was none.
    Absent,
    /// The text that was accepted.
    AsAccepted,
    /// Another text.
    Own,
}

/// A configuration that waits to be confirmed.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Unconfirmed {
    /// When the window was opened.
    pub since: Moment,
    /// How long it is.
    pub within: Duration,
    /// The SHA-256 of the text that waits.
    pub waiting: String,
    /// That of the text that was in force when the window was opened: an earlier one that waited, or [`Self::target`].
    pub replaced: String,
    /// That of the text to go back to.
    pub target: String,
    /// Its bytes: those of the installed file follow, where they are others.
    target_bytes: usize,
    file: Installed,
    /// The SHA-256 of what follows the head.
    texts: String,
}

/// What to go back to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The text that was accepted last; empty if none was: a router with nothing to do.
    pub accepted: Vec<u8>,
    /// The text of the installed file; `None`: there was none.
    pub file: Option<Vec<u8>>,
}

impl Unconfirmed {
    /// How long it may still be confirmed; zero: it is to be taken back. Pure.
    ///
    /// In the same boot CLOCK_BOOTTIME decides, which nobody can set. After a reboot the wall clock does, and the time
    /// since that boot bounds it: a clock that went backwards does not stretch the window.
    #[must_use]
    pub fn remaining(&self, now: &Moment) -> Duration {
        let Self { since, within, .. } = self;
        if now.boot == since.boot {
            (since.since_boot + *within).saturating_sub(now.since_boot)
        } else {
            let by_wall = (since.wall + *within).saturating_sub(now.wall);
            by_wall.min(within.saturating_sub(now.since_boot))
        }
    }

    /// Whether this text, the one accepted last, is what the window is about. Another one took its place by a decision
    /// of its own.
    #[must_use]
    pub fn concerns(&self, accepted: &str) -> bool {
        [&self.waiting, &self.replaced, &self.target].contains(&&accepted.to_owned())
    }

    /// Whether this text, that of the installed file, is one that was put there within the window.
    #[must_use]
    pub fn installed(&self, file: &str) -> bool {
        file == self.waiting || (file == self.replaced && self.replaced != self.target)
    }
}

impl State {
    /// The configuration that waits to be confirmed; `None`: none does.
    ///
    /// # Errors
    /// If there is a record that cannot be read; [`io::ErrorKind::InvalidData`]: it is damaged.
    pub fn unconfirmed(&self) -> io::Result<Option<Unconfirmed>> {
        if !self.is_this_machine()? {
            return Ok(None);
        }
        Ok(headed::read_head(&self.unconfirmed_path())?.map(|(head, _)| head))
    }

    /// What to go back to; `None`: nothing waits.
    ///
    /// # Errors
    /// As of [`State::unconfirmed`].
    pub fn target(&self) -> io::Result<Option<Target>> {
        if !self.is_this_machine()? {
            return Ok(None);
        }
        let Some((head, mut accepted)) = headed::read::<Unconfirmed>(&self.unconfirmed_path())? else {
            return Ok(None);
        };
        if fingerprint(&accepted) != head.texts || accepted.len() < head.target_bytes {
            return Err(headed::damaged());
        }
        let own = accepted.split_off(head.target_bytes);
        let file = match head.file {
            Installed::Absent => None,
            Installed::AsAccepted => Some(accepted.clone()),
            Installed::Own => Some(own),
        };
        Ok(Some(Target { accepted, file }))
    }

    /// Opens a window for `waiting`, or puts it in the place of one that is open. `replaced` is the SHA-256 of the text in
    /// force. It is on the disk when this returns. What was there before is returned.
    ///
    /// # Errors
    /// If it cannot be written; then all is as it was.
    pub fn open_window(
        &self,
        since: Moment,
        within: Duration,
        waiting: &[u8],
        replaced: String,
        target: &Target,
    ) -> io::Result<(Unconfirmed, Before)> {
        self.claim()?;
        let (file, own) = match target.file.as_deref() {
            None => (Installed::Absent, &[][..]),
            Some(file) if file == target.accepted => (Installed::AsAccepted, &[][..]),
            Some(file) => (Installed::Own, file),
        };
        let head = Unconfirmed {
            since,
            within,
            waiting: fingerprint(waiting),
            replaced,
            target: fingerprint(&target.accepted),
            target_bytes: target.accepted.len(),
            file,
            texts: fingerprint(&[&target.accepted, own].concat()),
        };
        let path = self.unconfirmed_path();
        let before = match fs::read(&path) {
            Ok(before) => Some(before),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        headed::stage(&path, &head, &[&target.accepted, own])?.install()?;
        Ok((head, Before(before)))
    }

    /// Puts back what was before a window was opened.
    ///
    /// # Errors
    /// If it cannot; then the window stays open.
    pub fn reopen_window(&self, before: Before) -> io::Result<()> {
        match before.0 {
            Some(bytes) => Staged::write(&self.unconfirmed_path(), &bytes)?.install(),
            None => self.close_window(),
        }
    }

    /// Closes the window. It does not come back with a power cut once this has returned.
    ///
    /// # Errors
    /// If it cannot be removed.
    pub fn close_window(&self) -> io::Result<()> {
        let path = self.unconfirmed_path();
        if !path.exists() {
            return Ok(());
        }
        remove(&path)?;
        match path.parent() {
            Some(directory) => File::open(directory)?.sync_all(),
            None => Ok(()),
        }
    }

    pub(super) fn unconfirmed_path(&self) -> PathBuf {
        self.lasting.join(UNCONFIRMED)
    }
}

/// The window before one was opened.
#[derive(Debug)]
pub struct Before(Option<Vec<u8>>);

#[cfg(test)]
mod tests {
    use super::*;

    fn at(boot: &str, since_boot: u64, wall: u64) -> Moment {
        Moment {
            boot: boot.to_owned(),
            since_boot: Duration::from_secs(since_boot),
            wall: Duration::from_secs(wall),
        }
    }

    fn window() -> Unconfirmed {
        Unconfirmed {
            since: at("a", 1000, 50_000),
            within: Duration::from_secs(60),
            waiting: "w".to_owned(),
            replaced: "r".to_owned(),
            target: "t".to_owned(),
            target_bytes: 0,
            file: Installed::Absent,
            texts: String::new(),
        }
    }

    #[test]
    fn no_clock_stretches_the_window() {
        for (now, left) in [
            (at("a", 1000, 50_000), 60),
            (at("a", 1059, 50_059), 1),
            (at("a", 1060, 50_060), 0),
            (at("a", 9000, 50_000), 0),
            // The wall clock jumps, either way: it is not asked in the same boot.
            (at("a", 1010, 0), 50),
            (at("a", 1010, 90_000), 50),
            // After a reboot it is.
            (at("b", 5, 50_020), 40),
            (at("b", 5, 50_060), 0),
            (at("b", 5, 90_000), 0),
            // It went backwards: the window is not longer than it was, and goes by.
            (at("b", 0, 0), 60),
            (at("b", 10, 0), 50),
            (at("b", 59, 0), 1),
            (at("b", 60, 0), 0),
            (at("b", 600, 0), 0),
        ] {
            let remaining = window().remaining(&now);
            assert_eq!(remaining, Duration::from_secs(left), "{now:?}");
        }
    }

    #[test]
    fn another_text_in_force_is_no_concern_of_the_window() {
        let window = window();
        for (text, concerns, installed) in [
            ("w", true, true),
            ("r", true, true),
            ("t", true, false),
            ("x", false, false),
        ] {
            assert_eq!(
                (window.concerns(text), window.installed(text)),
                (concerns, installed)
            );
        }
        let first = Unconfirmed {
            replaced: "t".to_owned(),
            ..window
        };
        assert!(!first.installed("t"));
    }

    #[test]
    fn the_texts_to_go_back_to_are_kept_byte_for_byte() {
        let dir = std::env::temp_dir().join(format!("kylin-vr-unconfirmed-{}", std::process::id()));
        let state = State::new(dir.join("lib"), dir.join("run"));
        assert_eq!(state.unconfirmed().unwrap(), None);
        let own = b"# \xff\r\nno YAML: [".to_vec();
        for file in [None, Some(b"a: 1\n".to_vec()), Some(Vec::new()), Some(own)] {
            let target = Target {
                accepted: b"a: 1\n".to_vec(),
                file,
            };
            let now = Moment::now().unwrap();
            let (head, _) = state
                .open_window(now, Duration::from_secs(60), b"b", fingerprint(b"r"), &target)
                .unwrap();
            assert_eq!(state.unconfirmed().unwrap(), Some(head));
            assert_eq!(state.target().unwrap(), Some(target));
        }
        // A byte that the disk lost is no text to go back to.
        let path = state.unconfirmed_path();
        let whole = fs::read(&path).unwrap();
        fs::write(&path, &whole[..whole.len() - 1]).unwrap();
        assert_eq!(state.target().unwrap_err().kind(), io::ErrorKind::InvalidData);
        fs::write(&path, b"garbage").unwrap();
        assert_eq!(
            state.unconfirmed().unwrap_err().kind(),
            io::ErrorKind::InvalidData
        );
        state.close_window().unwrap();
        state.close_window().unwrap();
        assert_eq!(state.unconfirmed().unwrap(), None);
        fs::remove_dir_all(&dir).unwrap();
    }
}
