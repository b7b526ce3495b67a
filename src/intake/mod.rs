//! How a configuration comes in, and what is kept of it from run to run.

mod accept;
mod state;
mod store;

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

pub use accept::{Refusal, accept};
pub use state::State;
pub use store::Staged;

use crate::config::MAX_BYTES;

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
            Self::File(path) => path.display().fmt(f),
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
            Self::File(path) => read_bounded(File::open(path)?),
            Self::Stdin => read_bounded(io::stdin().lock()),
        }
    }
}

/// Of a text that is too large only as much is kept as its refusal needs: 1 GB costs as little as 17 MiB.
fn read_bounded(from: impl Read) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    from.take(MAX_BYTES as u64 + 1).read_to_end(&mut text)?;
    Ok(text)
}

/// The text of the file at `path`; `None` if there is none, which is as good as an empty one.
///
/// # Errors
/// If there is one that cannot be read.
pub fn read_if_there(path: &Path) -> io::Result<Option<Vec<u8>>> {
    match Source::File(path.to_owned()).read() {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}
