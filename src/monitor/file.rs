//! Hears of a file that comes, is replaced or goes (inotify(7)).

use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};

/// The events of one file's name in a directory; what is in the file is not heard of: it is replaced whole.
pub(super) struct FileEvents {
    inotify: Inotify,
    name: &'static str,
}

impl FileEvents {
    /// Listens from now on.
    ///
    /// # Errors
    /// If the directory cannot be made or listened to.
    pub(super) fn of(directory: &Path, name: &'static str) -> io::Result<Self> {
        fs::create_dir_all(directory)?;
        let inotify = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK)?;
        let events = AddWatchFlags::IN_MOVED_TO | AddWatchFlags::IN_DELETE;
        inotify.add_watch(directory, events)?;
        Ok(Self { inotify, name })
    }

    /// Whether something happened to the file since the last call.
    pub(super) fn drain(&self) -> bool {
        let mut is_changed = false;
        while let Ok(events) = self.inotify.read_events() {
            // One without a name is of the directory, or says that events were lost.
            is_changed |= events
                .iter()
                .any(|event| event.name.as_deref().is_none_or(|name| name == self.name));
        }
        is_changed
    }
}

impl AsFd for FileEvents {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.inotify.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_replaced_or_goes_is_heard_of_and_others_are_not() {
        let dir = std::env::temp_dir().join(format!("kylin-vr-file-{}", std::process::id()));
        let events = FileEvents::of(&dir, "one").unwrap();
        assert!(!events.drain());
        fs::write(dir.join("new"), "text").unwrap();
        fs::rename(dir.join("new"), dir.join("one")).unwrap();
        assert!(events.drain());
        assert!(!events.drain());
        fs::write(dir.join("new"), "text").unwrap();
        fs::rename(dir.join("new"), dir.join("other")).unwrap();
        assert!(!events.drain());
        fs::remove_file(dir.join("one")).unwrap();
        assert!(events.drain());
        fs::remove_dir_all(&dir).unwrap();
    }
}
