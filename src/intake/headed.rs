//! A file with a head: its first line is a comment of YAML, `# ` and JSON, and what follows are texts as they are. Written
//! whole, so that what is said of a text and the text can never be of different runs.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::store::Staged;
use crate::config::MAX_BYTES;

const COMMENT: &[u8] = b"# ";

/// The most bytes that a head may have: a longer one is not ours.
const MAX_HEAD: u64 = 64 << 10;

/// Writes a head and texts beside the file's place.
pub(super) fn stage(path: &Path, head: &impl Serialize, texts: &[&[u8]]) -> io::Result<Staged> {
    let mut line = COMMENT.to_vec();
    serde_json::to_writer(&mut line, head)?;
    line.push(b'\n');
    Staged::write_parts(path, &[&[&line[..]], texts].concat())
}

/// The head, and the number of bytes that follow it; `None`: there is no such file.
///
/// # Errors
/// If it cannot be read; [`io::ErrorKind::InvalidData`]: it is damaged.
pub(super) fn read_head<T: DeserializeOwned>(path: &Path) -> io::Result<Option<(T, u64)>> {
    Ok(open(path)?.map(|(head, rest, _)| (head, rest)))
}

/// The head and what follows it; `None`: there is no such file.
///
/// # Errors
/// As of [`read_head`].
pub(super) fn read<T: DeserializeOwned>(path: &Path) -> io::Result<Option<(T, Vec<u8>)>> {
    let Some((head, _, mut rest)) = open(path)? else {
        return Ok(None);
    };
    let mut texts = Vec::new();
    // Two texts at most, of which each is bounded.
    rest.by_ref()
        .take(2 * MAX_BYTES as u64 + 2)
        .read_to_end(&mut texts)?;
    Ok(Some((head, texts)))
}

/// The error of a file that is not as it was written.
pub(super) fn damaged() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "is damaged")
}

fn open<T: DeserializeOwned>(path: &Path) -> io::Result<Option<(T, u64, BufReader<File>)>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let length = file.metadata()?.len();
    let mut file = BufReader::new(file);
    let mut line = Vec::new();
    file.by_ref().take(MAX_HEAD).read_until(b'\n', &mut line)?;
    let head = line
        .strip_prefix(COMMENT)
        .and_then(|line| line.strip_suffix(b"\n"))
        .and_then(|json| serde_json::from_slice(json).ok())
        .ok_or_else(damaged)?;
    Ok(Some((head, length.saturating_sub(line.len() as u64), file)))
}
