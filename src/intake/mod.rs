//! How a configuration comes in, and what is kept of it from run to run.

mod accept;
mod headed;
mod history;
mod left_over;
mod state;
mod store;
mod unconfirmed;

use std::fmt::Write;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

pub use accept::{Refusal, accept, is_blank, with_end_marker};
pub use history::{Counts, Entry, History, Kept, Standing, Summary};
pub use state::{Stamp, State};
pub use store::Staged;
pub use unconfirmed::{Before, Target, UNCONFIRMED, Unconfirmed};

use sha2::{Digest, Sha256};

use crate::config::MAX_BYTES;
use crate::trusted;
use crate::words::printable;

/// Where a text comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A file.
    File(PathBuf),
    /// Standard input.
    Stdin,
}

impl std::fmt::Display for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::File(path) => f.write_str(&printable(&path.to_string_lossy())),
            Self::Stdin => f.write_str("standard input"),
        }
    }
}

impl Source {
    /// The whole text, or as much of a larger one as shows that it is too large.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn read(&self) -> io::Result<Vec<u8>> {
        match self {
            Self::File(path) => {
                // The operator's own choice: it may be a link, or a pipe.
                read_file(File::open(path)?)
            }
            Self::Stdin => read_bounded(io::stdin().lock(), 0),
        }
    }
}

fn read_file(file: File) -> io::Result<Vec<u8>> {
    let length = file.metadata()?.len();
    read_bounded(file, length)
}

/// Of a text that is too large nothing is kept but that it is: 1 GB costs no more than the largest valid one, and
/// nothing where the length (0: unknown) tells beforehand.
fn read_bounded(from: impl Read, length: u64) -> io::Result<Vec<u8>> {
    const STEP: usize = 1 << 20;
    // Zeros that are never touched have no memory.
    let too_large = || vec![0; MAX_BYTES + 1];
    if length > MAX_BYTES as u64 {
        return Ok(too_large());
    }
    let mut from = from.take(MAX_BYTES as u64 + 1);
    let mut text = Vec::new();
    loop {
        // A vector left to itself would double, and have twice what it needs while it does.
        text.reserve_exact(STEP);
        let more = from.by_ref().take(STEP as u64).read_to_end(&mut text)?;
        if text.len() > MAX_BYTES {
            return Ok(too_large());
        }
        if more == 0 {
            return Ok(text);
        }
    }
}

/// The text of the installed file, or of a file of ours: one that nobody but root can have written.
///
/// # Errors
/// If it cannot be read or trusted.
pub fn read(path: &Path) -> io::Result<Vec<u8>> {
    read_file(trusted::open(path)?)
}

/// The same; `None` if there is none, which is as good as an empty one.
///
/// # Errors
/// If there is one that cannot be read or trusted.
pub fn read_if_there(path: &Path) -> io::Result<Option<Vec<u8>>> {
    match read(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// What tells one text from another: its SHA-256 in hexadecimal digits.
#[must_use]
pub fn fingerprint(text: &[u8]) -> String {
    Sha256::digest(text)
        .iter()
        .fold(String::new(), |mut digits, byte| {
            let _ = write!(digits, "{byte:02x}");
            digits
        })
}
