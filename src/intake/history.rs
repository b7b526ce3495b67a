//! What was in force, and what could not be applied: one file for each configuration, with its text. Bounded, and bound to
//! this VM as the text that was accepted last is.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use super::store::remove;
use super::{State, fingerprint, headed};
use crate::clock::utc;
use crate::config::Config;

/// So many entries that were in force are kept, and so many that were not.
const KEPT: usize = 20;
/// So many bytes of texts at most.
const MAX_TEXTS: u64 = 32 << 20;

/// What became of a configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Standing {
    /// It was applied for good.
    Applied,
    /// It could not be applied, and what had been done was undone.
    Failed,
    /// It is applied, and waits to be confirmed.
    Unconfirmed,
    /// It waited, and was confirmed.
    Confirmed,
    /// It waited, was not confirmed in time, and was taken back.
    TakenBack,
    /// It waited, and another one was applied meanwhile.
    Replaced,
}

impl Standing {
    /// Its name, as in `--json`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Applied => "applied",
            Self::Failed => "failed",
            Self::Unconfirmed => "unconfirmed",
            Self::Confirmed => "confirmed",
            Self::TakenBack => "taken-back",
            Self::Replaced => "replaced",
        }
    }

    /// Whether one may go back to it by a number: what failed was never in force, and what was taken back was not to be.
    fn counts(self) -> bool {
        !matches!(self, Self::Failed | Self::TakenBack)
    }
}

/// How many changes of one kind of object there were.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub struct Counts {
    /// What came.
    pub added: usize,
    /// What was changed.
    pub changed: usize,
    /// What went.
    pub deleted: usize,
}

/// What an entry changed in the kernel.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub struct Summary {
    /// By kind of object: `route`, `nft`.
    pub objects: BTreeMap<String, Counts>,
    /// The first of the changes, in words; of a failed one, why.
    pub lines: Vec<String>,
}

/// All that is known of a configuration but its text.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Entry {
    /// When, in UTC, as RFC 3339 writes it.
    pub when: String,
    /// The subcommand.
    pub command: String,
    /// Where the text came from.
    pub source: String,
    /// The generation, if it has one.
    pub generation: Option<u64>,
    /// The SHA-256 of the text.
    pub sha256: String,
    /// What became of it.
    pub result: Standing,
    /// What it changed.
    pub changes: Summary,
}

/// An entry that is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Kept {
    /// Its file's number: the larger, the newer.
    pub file: u64,
    /// How many configurations one goes back to it: 0 is in force. `None`: one cannot by a number.
    pub back: Option<usize>,
    /// What is known of it.
    #[serde(flatten)]
    pub entry: Entry,
    /// The size of its file.
    #[serde(skip)]
    pub bytes: u64,
}

#[cfg(test)]
impl Kept {
    pub(crate) fn of(file: u64, entry: Entry) -> Self {
        Self {
            file,
            back: None,
            entry,
            bytes: 0,
        }
    }
}

/// What is kept, the newest first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct History {
    /// The entries.
    pub entries: Vec<Kept>,
    /// Files that cannot be read, by number, and why.
    pub damaged: Vec<(u64, String)>,
}

impl History {
    /// The entry to go back to.
    #[must_use]
    pub fn back(&self, number: usize) -> Option<&Kept> {
        self.entries.iter().find(|kept| kept.back == Some(number))
    }

    /// Counts back. Of neighbours with one text, as a taking back makes them, the newest counts.
    fn count(&mut self, in_force: &str) {
        let mut last = in_force.to_owned();
        let mut next = 0;
        for (index, kept) in self
            .entries
            .iter_mut()
            .filter(|kept| kept.entry.result.counts())
            .enumerate()
        {
            // The newest entry may be missing: it could not be written.
            if kept.entry.sha256 != last {
                next += 1;
            } else if index > 0 {
                continue;
            }
            kept.back = Some(next);
            last.clone_from(&kept.entry.sha256);
        }
    }

    /// The numbers of the files that are too many. The newest entry of each text in `kept` stays whatever comes.
    fn surplus(&self, mut kept: Vec<String>) -> Vec<u64> {
        let (mut held, mut failed, mut bytes) = (0, self.damaged.len(), 0);
        let mut surplus = Vec::new();
        for one in &self.entries {
            let number = if one.entry.result == Standing::Failed {
                &mut failed
            } else {
                &mut held
            };
            *number += 1;
            let is_too_many = *number > KEPT || bytes + one.bytes > MAX_TEXTS;
            let texts = kept.len();
            kept.retain(|text| *text != one.entry.sha256);
            if is_too_many && kept.len() == texts {
                surplus.push(one.file);
            } else {
                bytes += one.bytes;
            }
        }
        surplus.extend(self.damaged.iter().skip(KEPT).map(|(file, _)| *file));
        surplus
    }
}

impl State {
    /// What was in force and what could not be applied.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn history(&self) -> io::Result<History> {
        self.history_while(&self.accepted_fingerprint()?)
    }

    fn accepted_fingerprint(&self) -> io::Result<String> {
        Ok(fingerprint(&self.accepted()?.unwrap_or_default()))
    }

    /// The same, while the text of this fingerprint is in force.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn history_while(&self, in_force: &str) -> io::Result<History> {
        let mut history = History::default();
        if !self.is_this_machine()? {
            return Ok(history);
        }
        let mut files = self.history_files()?;
        files.sort_unstable_by(|one, other| other.cmp(one));
        for file in files {
            match headed::read_head::<Entry>(&self.entry_path(file)) {
                Ok(Some((entry, bytes))) => history.entries.push(Kept {
                    file,
                    back: None,
                    entry,
                    bytes,
                }),
                Ok(None) => {}
                Err(error) => history.damaged.push((file, crate::words::plain(&error))),
            }
        }
        // Who waits without a window has been confirmed or replaced, and a power cut kept it from being said.
        if matches!(self.unconfirmed(), Ok(None)) {
            let mut is_newest = true;
            for Kept { entry, .. } in &mut history.entries {
                if entry.result == Standing::Unconfirmed {
                    entry.result = if is_newest && entry.sha256 == in_force {
                        Standing::Confirmed
                    } else {
                        Standing::Replaced
                    };
                }
                is_newest &= !entry.result.counts();
            }
        }
        history.count(in_force);
        Ok(history)
    }

    /// The text of an entry.
    ///
    /// # Errors
    /// If it cannot be read; [`io::ErrorKind::InvalidData`]: it is damaged.
    pub fn history_text(&self, kept: &Kept) -> io::Result<Vec<u8>> {
        match headed::read::<Entry>(&self.entry_path(kept.file))? {
            Some((entry, text)) if entry.sha256 == fingerprint(&text) => Ok(text),
            Some(_) => Err(headed::damaged()),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    /// Adds an entry, and removes what is too old. The lock must be held.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn add_to_history(&self, entry: &Entry, text: &[u8]) -> io::Result<()> {
        self.claim()?;
        let directory = self.history_path();
        DirBuilder::new().recursive(true).mode(0o700).create(&directory)?;
        let newest = self.history_files()?.into_iter().max().unwrap_or(0);
        headed::stage(&self.entry_path(newest + 1), entry, &[text])?.install()?;

        let window = self.unconfirmed().ok().flatten();
        // Nearly always the one that this entry is of: a large text takes its time.
        let in_force = if self.is_accepted(text)? {
            entry.sha256.clone()
        } else {
            self.accepted_fingerprint()?
        };
        let history = self.history_while(&in_force)?;
        let kept = std::iter::once(in_force).chain(window.map(|window| window.target));
        for file in history.surplus(kept.collect()) {
            remove(&self.entry_path(file))?;
        }
        // What killed runs left behind: the lock is ours, so nobody is writing.
        for file in fs::read_dir(&directory)?.flatten() {
            if file.file_name().as_encoded_bytes().starts_with(b".") {
                remove(&file.path())?;
            }
        }
        Ok(())
    }

    /// Makes an entry for the text that was accepted last, if it has none: an earlier version kept no history. Called
    /// before another text takes its place.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn add_missing_to_history(&self) -> io::Result<()> {
        let Some(text) = self.accepted()? else {
            return Ok(());
        };
        let in_force = fingerprint(&text);
        if self.history_while(&in_force)?.back(0).is_some() {
            return Ok(());
        }
        let since = fs::metadata(self.accepted_path())?.modified()?;
        let since = since.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let config = Config::parse(&text).config;
        let entry = Entry {
            when: utc(since),
            command: "unknown".to_owned(),
            source: "unknown".to_owned(),
            generation: config
                .and_then(|config| config.generation())
                .map(|one| one.number),
            sha256: in_force,
            result: Standing::Applied,
            changes: Summary::default(),
        };
        self.add_to_history(&entry, &text)
    }

    /// Says what became of the entries that waited to be confirmed.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn settle_history(&self, result: Standing) -> io::Result<()> {
        if !self.is_this_machine()? {
            return Ok(());
        }
        for file in self.history_files()? {
            let path = self.entry_path(file);
            // Damaged ones are shown as such where they are listed.
            let Ok(Some((head, _))) = headed::read_head::<Entry>(&path) else {
                continue;
            };
            if head.result == Standing::Unconfirmed
                && let Some((entry, text)) = headed::read::<Entry>(&path)?
            {
                headed::stage(&path, &Entry { result, ..entry }, &[&text])?.install()?;
            }
        }
        Ok(())
    }

    pub(super) fn history_path(&self) -> PathBuf {
        self.lasting.join("history")
    }

    fn entry_path(&self, file: u64) -> PathBuf {
        self.history_path().join(format!("{file:06}.yaml"))
    }

    /// The numbers of the files, in no order.
    fn history_files(&self) -> io::Result<Vec<u64>> {
        let files = match fs::read_dir(self.history_path()) {
            Ok(files) => files,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let number = |file: io::Result<fs::DirEntry>| {
            let name = file.ok()?.file_name();
            name.to_str()?.strip_suffix(".yaml")?.parse().ok()
        };
        Ok(files.filter_map(number).collect())
    }
}
