//! One run at a time: a lock on a file, that the kernel takes back when its holder dies.
//!
//! The file's text says who holds it, so that who waits can say for whom. A run that finds another one waiting
//! already with the same work leaves it to that one: a storm of events costs one or two runs, not fifty.

use std::fs::{self, File};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, SystemTime};

use fs2::FileExt;
use serde::{Deserialize, Serialize};

use crate::trusted;
use crate::words::{plain, printable};

/// Who holds the lock.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Holder {
    /// The process.
    pub pid: u32,
    /// Its command line, shortened.
    pub command: String,
    /// Since when, in seconds since 1970.
    pub since: u64,
}

impl std::fmt::Display for Holder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let seconds = now().saturating_sub(self.since);
        write!(
            f,
            "`{}` (process {}, running for {seconds} s)",
            printable(&self.command),
            self.pid
        )
    }
}

/// Why there is no lock.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Another run held it all the time.
    #[error("waited {} s for {}", .waited.as_secs_f32(), name(.holder.as_ref()))]
    TimedOut {
        /// How long was waited.
        waited: Duration,
        /// Who held it at the end, if that could be read.
        holder: Option<Holder>,
    },
    /// The file cannot be used.
    #[error("lock {}: {}", path.display(), plain(.source))]
    File {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
}

fn name(holder: Option<&Holder>) -> String {
    holder.map_or_else(|| "another run".to_owned(), ToString::to_string)
}

/// What came of asking for the lock.
#[derive(Debug)]
pub enum Acquired {
    /// It is ours until dropped.
    Lock(Lock),
    /// Another run waits already, and will do the same work.
    LeftTo(Option<Holder>),
}

/// The lock, held until dropped.
#[derive(Debug)]
pub struct Lock {
    file: File,
    /// Its directory is locked as well: should somebody delete the file, the next run makes another one and has that, but
    /// not this.
    dir: Option<File>,
}

impl Drop for Lock {
    /// Not left to close(2): a child of another thread, between its fork and its exec, has copies of the descriptors, and
    /// would keep the locks (flock(2)).
    fn drop(&mut self) {
        for file in std::iter::once(&self.file).chain(&self.dir) {
            // Nothing can be done about an error, and closing follows.
            let _ = FileExt::unlock(file);
        }
    }
}

/// Everybody may look who holds a lock in it; the files themselves are root's.
const DIRECTORY_MODE: u32 = 0o755;

/// The presence of a monitor.
pub const MONITOR: &str = "monitor";

/// Makes known that this process is here, as long as it holds what is returned; `None`: another one is.
///
/// # Errors
/// If the file cannot be used.
pub fn presence(dir: &Path, name: &str) -> Result<Option<Lock>, Error> {
    let path = dir.join(name);
    let take = || -> io::Result<Option<Lock>> {
        trusted::create_dir(dir, DIRECTORY_MODE)?;
        let file = trusted::open_or_create(&path)?;
        while file.try_lock_exclusive().is_err() {
            // Who looks ([`present`]) has it for a moment, together with others that look.
            if file.try_lock_shared().is_err() {
                return Ok(None);
            }
            FileExt::unlock(&file)?;
            thread::sleep(Duration::from_millis(1));
        }
        hold(file, None).map(Some)
    };
    take().map_err(|source| Error::File {
        path: path.clone(),
        source,
    })
}

/// Who made their presence known by [`presence`], and still runs.
#[must_use]
pub fn present(dir: &Path, name: &str) -> Option<Holder> {
    let path = dir.join(name);
    let file = trusted::open(&path).ok()?;
    match file.try_lock_shared() {
        Ok(()) => None,
        Err(_) => read(&path),
    }
}

/// Takes the lock in `dir`, waiting at most `timeout`. `work` names work that does not depend on when it is
/// done, and that another run that waits can do for this one; `None`: this run's work is its own. `waiting` is
/// told once for whom it waits.
///
/// # Errors
/// If another run holds it all the time, or the file cannot be used.
pub fn acquire(
    dir: &Path,
    timeout: Duration,
    work: Option<&str>,
    waiting: impl FnOnce(Option<&Holder>),
) -> Result<Acquired, Error> {
    let path = dir.join("lock");
    let broken = |path: &Path| {
        let path = path.to_owned();
        |source| Error::File { path, source }
    };
    trusted::create_dir(dir, DIRECTORY_MODE).map_err(broken(dir))?;
    let file = trusted::open_or_create(&path).map_err(broken(&path))?;
    let directory = File::open(dir).map_err(broken(dir))?;
    if file.try_lock_exclusive().is_ok() && is_at(&file, &path) && directory.try_lock_exclusive().is_ok() {
        return hold(file, Some(directory))
            .map(Acquired::Lock)
            .map_err(broken(&path));
    }
    drop((file, directory));

    // The queue is a lock as well: whoever has it waits for the lock, and does this work next.
    let queue = match work {
        None => None,
        Some(work) => {
            let path = dir.join(format!("waiting-{work}"));
            let queue = trusted::open_or_create(&path).map_err(broken(&path))?;
            if queue.try_lock_exclusive().is_err() {
                return Ok(Acquired::LeftTo(read(&path)));
            }
            write_holder(&queue).map_err(broken(&path))?;
            Some(queue)
        }
    };
    waiting(read(&path).as_ref());
    let lock = wait(dir, &path, timeout)?;
    // Who asks from now on must wait for itself: this run is about to look at what there is to do.
    drop(queue);
    Ok(Acquired::Lock(lock))
}

/// Waits in a thread of its own, since flock(2) knows no time limit. After a timeout the process ends soon, and
/// the thread with it; should it get the lock before that, it lets go of it at once.
fn wait(dir: &Path, path: &Path, timeout: Duration) -> Result<Lock, Error> {
    let (sender, receiver) = mpsc::channel();
    let (own_dir, own_path) = (dir.to_owned(), path.to_owned());
    let lock_both = move || -> io::Result<(File, File)> {
        loop {
            let file = trusted::open_or_create(&own_path)?;
            file.lock_exclusive()?;
            let directory = File::open(&own_dir)?;
            directory.lock_exclusive()?;
            // Else somebody deleted them while they were held: the locks of nobody. Again.
            if is_at(&file, &own_path) && is_at(&directory, &own_dir) {
                return Ok((file, directory));
            }
        }
    };
    thread::spawn(move || {
        let _ = sender.send(lock_both());
    });
    match receiver.recv_timeout(timeout) {
        Ok(locked) => locked
            .and_then(|(file, dir)| hold(file, Some(dir)))
            .map_err(|source| Error::File {
                path: path.to_owned(),
                source,
            }),
        Err(_) => Err(Error::TimedOut {
            waited: timeout,
            holder: read(path),
        }),
    }
}

/// Whether the path still leads to this file.
fn is_at(file: &File, path: &Path) -> bool {
    match (file.metadata(), fs::metadata(path)) {
        (Ok(own), Ok(there)) => (own.dev(), own.ino()) == (there.dev(), there.ino()),
        _ => false,
    }
}

fn hold(file: File, dir: Option<File>) -> io::Result<Lock> {
    write_holder(&file)?;
    Ok(Lock { file, dir })
}

fn write_holder(mut file: &File) -> io::Result<()> {
    let command: Vec<String> = std::env::args().take(8).collect();
    let command = command.join(" ").chars().take(200).collect();
    let text = serde_json::to_vec(&Holder {
        pid: std::process::id(),
        command,
        since: now(),
    })?;
    file.set_len(0)?;
    file.rewind()?;
    file.write_all(&text)
}

fn read(path: &Path) -> Option<Holder> {
    let mut text = String::new();
    trusted::open(path)
        .ok()?
        .take(4096)
        .read_to_string(&mut text)
        .ok()?;
    serde_json::from_str(&text).ok()
}

fn now() -> u64 {
    SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    struct Dir(PathBuf);

    impl Dir {
        fn new(name: &str) -> Self {
            let dir = std::env::temp_dir().join(format!("kylin-vr-lock-{}-{name}", std::process::id()));
            fs::create_dir_all(&dir).unwrap();
            Self(dir)
        }
    }

    impl Drop for Dir {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn take(dir: &Dir, work: Option<&str>) -> Result<Acquired, Error> {
        acquire(&dir.0, Duration::from_millis(50), work, |_| {})
    }

    #[test]
    fn a_second_run_waits_and_says_for_whom() {
        let dir = Dir::new("second");
        let Acquired::Lock(first) = take(&dir, None).unwrap() else {
            panic!("free")
        };
        let error = take(&dir, None).unwrap_err();
        let Error::TimedOut {
            holder: Some(holder), ..
        } = error
        else {
            panic!("{error}")
        };
        assert_eq!(holder.pid, std::process::id());
        drop(first);
        assert!(matches!(take(&dir, None), Ok(Acquired::Lock(_))));
    }

    #[test]
    fn a_third_run_leaves_the_same_work_to_the_second() {
        let dir = Dir::new("third");
        let Acquired::Lock(first) = take(&dir, Some("reload")).unwrap() else {
            panic!("free")
        };
        let (told, waits) = mpsc::channel();
        let path = dir.0.clone();
        let second = thread::spawn(move || {
            acquire(&path, Duration::from_secs(30), Some("reload"), |_| {
                told.send(()).unwrap()
            })
        });
        waits.recv().unwrap();
        assert!(matches!(
            take(&dir, Some("reload")),
            Ok(Acquired::LeftTo(Some(_)))
        ));
        assert!(matches!(take(&dir, Some("other")), Err(Error::TimedOut { .. })));
        drop(first);
        assert!(matches!(second.join().unwrap(), Ok(Acquired::Lock(_))));
    }

    #[test]
    fn a_lock_file_that_was_deleted_still_locks() {
        let dir = Dir::new("deleted");
        let Acquired::Lock(first) = take(&dir, None).unwrap() else {
            panic!("free")
        };
        fs::remove_file(dir.0.join("lock")).unwrap();
        assert!(matches!(take(&dir, None), Err(Error::TimedOut { .. })));
        // Who waited for the deleted one, and who waits for the new one: one after the other.
        let both: Vec<_> = (0..2)
            .map(|_| {
                let dir = dir.0.clone();
                thread::spawn(move || {
                    let got = acquire(&dir, Duration::from_secs(30), None, |_| {}).unwrap();
                    assert!(matches!(got, Acquired::Lock(_)), "its own work");
                })
            })
            .collect();
        drop(first);
        for one in both {
            one.join().unwrap();
        }
        let Acquired::Lock(_new) = take(&dir, None).unwrap() else {
            panic!("free")
        };
        assert!(matches!(take(&dir, None), Err(Error::TimedOut { .. })));
    }

    #[test]
    fn a_clock_that_goes_backwards_is_no_negative_time() {
        let holder = Holder {
            pid: 7,
            command: "kylin-vr\u{1b}[31m reload".to_owned(),
            since: now() + 1_000,
        };
        assert_eq!(
            holder.to_string(),
            "`kylin-vr\\u{1b}[31m reload` (process 7, running for 0 s)"
        );
    }

    #[test]
    fn a_presence_is_known_as_long_as_it_lasts() {
        let dir = Dir::new("presence");
        assert_eq!(present(&dir.0, MONITOR), None);
        let here = presence(&dir.0, MONITOR).unwrap().unwrap();
        assert!(presence(&dir.0, MONITOR).unwrap().is_none());
        assert_eq!(present(&dir.0, MONITOR).unwrap().pid, std::process::id());
        drop(here);
        assert_eq!(present(&dir.0, MONITOR), None);
    }

    /// They lock the file as well, for a moment.
    #[test]
    fn who_only_looks_is_no_presence() {
        let dir = Dir::new("looking");
        let path = dir.0.clone();
        drop(presence(&path, MONITOR).unwrap());
        let end = AtomicBool::new(false);
        thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    while !end.load(Ordering::Relaxed) {
                        let _ = present(&path, MONITOR);
                    }
                });
            }
            let all = (0..2_000).all(|_| presence(&path, MONITOR).unwrap().is_some());
            end.store(true, Ordering::Relaxed);
            assert!(all);
        });
    }

    /// As a child has one, between its fork and its exec.
    #[test]
    fn a_copy_of_the_descriptor_keeps_no_lock() {
        let dir = Dir::new("copy");
        let Acquired::Lock(first) = take(&dir, None).unwrap() else {
            panic!("free")
        };
        let _copies = (first.file.try_clone(), first.dir.as_ref().map(File::try_clone));
        drop(first);
        assert!(matches!(take(&dir, None), Ok(Acquired::Lock(_))));
    }

    #[test]
    fn a_holders_command_line_is_shown_as_one_line() {
        let holder = Holder {
            pid: 7,
            command: "kylin-vr reload \u{1b}[2J\nx".to_owned(),
            since: u64::MAX,
        };
        let shown = r"`kylin-vr reload \u{1b}[2J\nx` (process 7, running for 0 s)";
        assert_eq!(holder.to_string(), shown);
    }

    #[test]
    fn a_link_in_place_of_the_file_is_refused() {
        let dir = Dir::new("link");
        std::os::unix::fs::symlink("/dev/null", dir.0.join("lock")).unwrap();
        assert!(matches!(take(&dir, None), Err(Error::File { .. })));
    }
}
