//! Writes a file so that it is the old one or the new one, whole, whenever the power goes.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

use super::left_over;
use crate::trusted;
use crate::words::{plain, printable};

/// A file that is written beside the one whose place it is to take. Dropped, it is gone.
#[derive(Debug)]
pub struct Staged {
    temporary: PathBuf,
    target: PathBuf,
}

impl Staged {
    /// Writes `text` beside `target`, down to the disk. Owner and mode are those of the file that it is to
    /// replace, but nobody else may write it; a new one is its owner's alone.
    ///
    /// # Errors
    /// If it cannot be written, or what it is to replace cannot be trusted; then there is nothing left of it.
    pub fn write(target: &Path, text: &[u8]) -> io::Result<Self> {
        Self::write_parts(target, &[text])
    }

    /// The same unless the file has this text already: `None`.
    ///
    /// # Errors
    /// As of [`Self::write`].
    pub fn unless_held(target: &Path, text: &[u8]) -> io::Result<Option<Self>> {
        if holds(target, text).unwrap_or(false) {
            left_over::remove(target);
            return Ok(None);
        }
        Self::write(target, text).map(Some)
    }

    /// The same with a text of several parts.
    ///
    /// # Errors
    /// As of [`Self::write`].
    pub(super) fn write_parts(target: &Path, parts: &[&[u8]]) -> io::Result<Self> {
        Self::write_beside(target, parts).map_err(|error| named("write", target, &error))
    }

    fn write_beside(target: &Path, parts: &[&[u8]]) -> io::Result<Self> {
        if let Some(dir) = target.parent() {
            trusted::create_dir(dir, 0o700)?;
        }
        trusted::check(target)?;
        let name = target
            .file_name()
            .map(|name| name.to_string_lossy())
            .unwrap_or_default();
        let temporary = target.with_file_name(format!(".{name}.{}", std::process::id()));
        left_over::remove(target);
        // What a killed run with our number left is nobody's.
        let _ = fs::remove_file(&temporary);
        let staged = Self {
            temporary,
            target: target.to_owned(),
        };
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&staged.temporary)?;
        if let Ok(old) = fs::symlink_metadata(target) {
            file.set_permissions(fs::Permissions::from_mode(old.mode() & MODES))?;
            fchown(&file, Some(old.uid()), Some(old.gid()))?;
        }
        for part in parts {
            file.write_all(part)?;
        }
        file.sync_all()?;
        Ok(staged)
    }

    /// Puts it in the place of its target.
    ///
    /// # Errors
    /// If it cannot; then the target is as it was.
    pub fn install(self) -> io::Result<()> {
        let install = || {
            fs::rename(&self.temporary, &self.target)?;
            match self.target.parent() {
                Some(dir) => File::open(dir)?.sync_all(),
                None => Ok(()),
            }
        };
        install().map_err(|error| named("replace", &self.target, &error))
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        // After `install` there is nothing at this path any more.
        let _ = fs::remove_file(&self.temporary);
    }
}

/// What a file may let others do: read it, and its group write it.
const MODES: u32 = 0o664;

/// An error that says which file it is of.
fn named(verb: &str, path: &Path, error: &io::Error) -> io::Error {
    let path = path.to_string_lossy();
    io::Error::new(
        error.kind(),
        format!("{verb} {}: {}", printable(&path), plain(error)),
    )
}

/// Whether a file has this text. A large one is not read into memory for that.
///
/// # Errors
/// If it cannot be read or trusted.
pub(super) fn holds(target: &Path, text: &[u8]) -> io::Result<bool> {
    let mut file = trusted::open(target)?;
    if file.metadata()?.len() != text.len() as u64 {
        return Ok(false);
    }
    let mut piece = vec![0; PIECE.min(text.len())];
    for wanted in text.chunks(PIECE) {
        let found = &mut piece[..wanted.len()];
        file.read_exact(found)?;
        if found != wanted {
            return Ok(false);
        }
    }
    Ok(true)
}

/// So much of a file is compared at once, bytes.
const PIECE: usize = 64 << 10;

/// Replaces a file's text, unless it is that already.
pub(super) fn replace(target: &Path, text: &[u8]) -> io::Result<()> {
    Staged::unless_held(target, text)?.map_or(Ok(()), Staged::install)
}

/// Removes a file; one that is not there is removed already.
pub(super) fn remove(target: &Path) -> io::Result<()> {
    left_over::remove(target);
    match fs::remove_file(target) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(named("remove", target, &error)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_whole_and_keeps_its_mode() {
        let dir = std::env::temp_dir().join(format!("kylin-vr-store-{}", std::process::id()));
        let target = dir.join("deep/file");
        replace(&target, b"one").unwrap();
        assert_eq!(fs::metadata(&target).unwrap().mode() & 0o777, 0o600);
        fs::set_permissions(&target, fs::Permissions::from_mode(0o644)).unwrap();
        replace(&target, b"two").unwrap();
        assert_eq!(fs::read(&target).unwrap(), b"two");
        assert_eq!(fs::metadata(&target).unwrap().mode() & 0o777, 0o644);

        drop(Staged::write(&target, b"three").unwrap());
        assert_eq!(fs::read(&target).unwrap(), b"two");
        assert!(holds(&target, b"two").unwrap());
        for other in [&b"twO"[..], b"tw", b"two ", b""] {
            assert!(!holds(&target, other).unwrap(), "{other:?}");
        }
        let mut large = vec![7; 2 * PIECE + 1];
        replace(&target, &large).unwrap();
        assert!(holds(&target, &large).unwrap());
        large[2 * PIECE] = 8;
        assert!(!holds(&target, &large).unwrap());
        assert_eq!(
            fs::read_dir(target.parent().unwrap()).unwrap().count(),
            1,
            "nothing is left beside it"
        );
        fs::remove_dir_all(&dir).unwrap();
    }
}
