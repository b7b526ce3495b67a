//! Opens files that nobody but root can have changed: the configuration, the lock, the state. Never follows a link in
//! the place of one, never waits for a pipe, and judges what was opened, not what a path led to a moment ago.

use std::ffi::OsStr;
use std::fs::{DirBuilder, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use nix::fcntl::{OFlag, open as open_path, openat};
use nix::sys::stat::Mode;

use crate::words::printable;

/// The mode of files that are made.
const PRIVATE: Mode = Mode::S_IRUSR.union(Mode::S_IWUSR);
/// Set-user-id's neighbour: in such a directory only the owner of a file can put another in its place (inode(7)).
const STICKY: u32 = 0o1000;
const OTHERS_WRITE: u32 = 0o002;
const NOT_OWNERS_SEARCH: u32 = 0o011;

/// Why a file is not used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Distrust {
    /// Something else stands in its place.
    #[error(
        "{} is {found}, and a regular file must be there: put one in its place",
        shown(path)
    )]
    NotAFile {
        /// The file.
        path: PathBuf,
        /// What is there.
        found: &'static str,
    },
    /// Somebody else may have written what is there.
    #[error(
        "{} belongs to user {owner}: give it to root (chown root {}), if what is there is right",
        shown(path),
        shown(path)
    )]
    Owner {
        /// The file, or its directory.
        path: PathBuf,
        /// Whose it is.
        owner: u32,
    },
    /// Anybody may.
    #[error(
        "{} can be written by anybody: take that away (chmod o-w {}), if what is there is right",
        shown(path),
        shown(path)
    )]
    Writable {
        /// The file, or its directory.
        path: PathBuf,
    },
}

fn shown(path: &Path) -> String {
    printable(&path.to_string_lossy()).into_owned()
}

/// Opens a file to read it.
///
/// # Errors
/// If it is not there, or cannot be trusted (an error that holds a [`Distrust`]).
pub fn open(path: &Path) -> io::Result<File> {
    open_as(path, OFlag::O_RDONLY)
}

/// Opens a file to read and write it; one that is not there is made, its owner's alone.
///
/// # Errors
/// If it cannot be opened or trusted.
pub fn open_or_create(path: &Path) -> io::Result<File> {
    open_as(path, OFlag::O_RDWR | OFlag::O_CREAT)
}

fn open_as(path: &Path, flags: OFlag) -> io::Result<File> {
    let (dir, name) = parts(path);
    let directory = File::from(open_path(
        dir,
        OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC,
        Mode::empty(),
    )?);
    let directory_mode = judge_directory(&directory, dir)?;
    // O_NONBLOCK: a pipe without a writer would hold us for ever. O_NOCTTY: nor do we want a terminal.
    let flags = flags | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
    let file = match openat(&directory, name, flags, PRIVATE) {
        Ok(file) => File::from(file),
        Err(error) => return Err(what_instead(path).map_or_else(|| error.into(), io::Error::other)),
    };
    judge(&file, path, directory_mode)?;
    Ok(file)
}

/// The directory of a path, and the name in it.
fn parts(path: &Path) -> (&Path, &OsStr) {
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty());
    (
        dir.unwrap_or(Path::new(".")),
        path.file_name().unwrap_or_default(),
    )
}

/// Whether a file that is to be replaced is one that could be trusted; one that is not there can.
///
/// # Errors
/// As those of [`open`].
pub fn check(path: &Path) -> io::Result<()> {
    match open(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Makes a directory, and those above it, with this mode whatever the umask allows beyond it.
///
/// # Errors
/// If it cannot be made.
pub fn create_dir(path: &Path, mode: u32) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(mode).create(path)
}

/// What cannot be opened because it is no file at all.
fn what_instead(path: &Path) -> Option<Distrust> {
    let kind = std::fs::symlink_metadata(path).ok()?.file_type();
    named(kind).map(|found| Distrust::NotAFile {
        path: path.to_owned(),
        found,
    })
}

/// What it is, if it is no regular file.
fn named(kind: std::fs::FileType) -> Option<&'static str> {
    use std::os::unix::fs::FileTypeExt;
    if kind.is_file() {
        None
    } else if kind.is_symlink() {
        Some("a symbolic link")
    } else if kind.is_dir() {
        Some("a directory")
    } else if kind.is_fifo() {
        Some("a pipe")
    } else if kind.is_socket() {
        Some("a socket")
    } else {
        Some("a device")
    }
}

/// The mode of a directory in which nobody but root can put one file in the place of another.
fn judge_directory(directory: &File, path: &Path) -> io::Result<u32> {
    let found = directory.metadata()?;
    let distrust = if !is_trusted(found.uid()) {
        Distrust::Owner {
            path: path.to_owned(),
            owner: found.uid(),
        }
    } else if found.mode() & OTHERS_WRITE != 0 && found.mode() & STICKY == 0 {
        Distrust::Writable {
            path: path.to_owned(),
        }
    } else {
        return Ok(found.mode());
    };
    Err(io::Error::other(distrust))
}

/// A group may write, the administrator's own for one: whoever gave it that right meant it. So does the guest agent, and
/// everybody else as well: files that it makes (guest-file-open) have mode 0666, whatever its umask
/// (`DEFAULT_NEW_FILE_MODE`, qga/commands-posix.c). In a directory that only root can enter, as that of the packages,
/// that gives nobody anything.
fn judge(file: &File, path: &Path, directory_mode: u32) -> io::Result<()> {
    let found = file.metadata()?;
    let path = path.to_owned();
    let distrust = if let Some(found) = named(found.file_type()) {
        Distrust::NotAFile { path, found }
    } else if !is_trusted(found.uid()) {
        let owner = found.uid();
        Distrust::Owner { path, owner }
    } else if found.mode() & OTHERS_WRITE != 0 && directory_mode & NOT_OWNERS_SEARCH != 0 {
        Distrust::Writable { path }
    } else {
        return Ok(());
    };
    Err(io::Error::other(distrust))
}

/// Root, or whoever runs us.
fn is_trusted(owner: u32) -> bool {
    owner == 0 || owner == nix::unistd::geteuid().as_raw()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{self, Permissions};
    use std::os::unix::fs::{PermissionsExt, chown, symlink};

    struct Dir(PathBuf);

    impl Dir {
        fn new(name: &str) -> Self {
            let dir = std::env::temp_dir().join(format!("kylin-vr-trusted-{name}-{}", std::process::id()));
            create_dir(&dir, 0o755).unwrap();
            Self(dir)
        }

        /// A file of this mode, in the directory of that mode.
        fn with(&self, mode: u32, directory: u32) -> PathBuf {
            let path = self.0.join("file");
            fs::write(&path, "text").unwrap();
            fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            fs::set_permissions(&self.0, Permissions::from_mode(directory)).unwrap();
            path
        }
    }

    impl Drop for Dir {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn refused(path: &Path) -> String {
        [open(path), open_or_create(path)].map(|one| one.unwrap_err().to_string())[0].clone()
    }

    #[test]
    fn what_others_can_write_is_refused() {
        let dir = Dir::new("writable");
        for (mode, directory, trusted) in [
            (0o600, 0o700, true),
            (0o644, 0o755, true),
            (0o664, 0o775, true),
            (0o666, 0o755, false),
            (0o602, 0o755, false),
            // What the guest agent makes, in the packages' directory.
            (0o666, 0o700, true),
            (0o666, 0o710, false),
            (0o600, 0o777, false),
            (0o600, 0o1777, true),
            (0o666, 0o1777, false),
        ] {
            let path = dir.with(mode, directory);
            assert_eq!(open(&path).is_ok(), trusted, "{mode:o} in {directory:o}");
            assert_eq!(
                open_or_create(&path).is_ok(),
                trusted,
                "{mode:o} in {directory:o}"
            );
        }
        let path = dir.with(0o666, 0o755);
        let remedy = format!("chmod o-w {}", path.display());
        assert!(refused(&path).contains(&remedy), "{}", refused(&path));
        let path = dir.with(0o600, 0o777);
        let remedy = format!("chmod o-w {})", dir.0.display());
        assert!(refused(&path).contains(&remedy), "{}", refused(&path));
    }

    #[test]
    fn what_is_no_file_is_refused_and_never_waited_for() {
        let dir = Dir::new("kinds");
        let at = |name: &str| dir.0.join(name);
        symlink("/etc/hostname", at("link")).unwrap();
        symlink("nowhere", at("dangling")).unwrap();
        fs::create_dir(at("dir")).unwrap();
        nix::unistd::mkfifo(&at("pipe"), Mode::S_IRUSR).unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(at("socket")).unwrap();
        for (name, words) in [
            ("link", "a symbolic link"),
            ("dangling", "a symbolic link"),
            ("dir", "a directory"),
            ("pipe", "a pipe"),
            ("socket", "a socket"),
        ] {
            let said = refused(&at(name));
            assert!(
                said.contains(words) && said.contains(&*at(name).to_string_lossy()),
                "{said}"
            );
        }
        assert!(refused(Path::new("/dev/null")).contains("a device"));
        assert!(!at("nowhere").exists());
    }

    #[test]
    fn what_belongs_to_another_user_is_refused() {
        if !nix::unistd::geteuid().is_root() {
            return;
        }
        let dir = Dir::new("owner");
        let path = dir.with(0o600, 0o755);
        chown(&path, Some(65_534), None).unwrap();
        assert!(refused(&path).contains("belongs to user 65534"));
        chown(&path, Some(0), None).unwrap();
        assert!(open(&path).is_ok());
        chown(&dir.0, Some(65_534), None).unwrap();
        assert!(refused(&path).contains("belongs to user 65534"));
    }

    #[test]
    fn what_is_made_is_its_owners_alone() {
        let dir = Dir::new("made");
        assert_eq!(
            open(&dir.0.join("new")).unwrap_err().kind(),
            io::ErrorKind::NotFound
        );
        let made = open_or_create(&dir.0.join("new")).unwrap();
        assert_eq!(made.metadata().unwrap().mode() & 0o777, 0o600);
        assert!(check(&dir.0.join("none/none")).is_ok());
    }
}
