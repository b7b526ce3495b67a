//! Commands, measured from the outside as whole processes: how long they take and how much memory.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use lab::Namespace;
use nix::fcntl::{PosixFadviseAdvice, posix_fadvise};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::waitpid;
use nix::time::{ClockId, clock_gettime};
use nix::unistd::Pid;

/// kylin-vr with a configuration and state of its own.
pub struct Agent {
    directory: PathBuf,
}

impl Agent {
    /// In a new directory below `target`: on a disk, where a router's state lies; what is gone after a boot lies in memory.
    pub fn new(name: &str) -> Self {
        // Several of one name live side by side.
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let directory =
            crate::output_directory().join(format!("state-{}-{name}-{count}", std::process::id()));
        let _ = fs::remove_dir_all(&directory);
        fs::create_dir_all(directory.join("lib")).expect("make a directory");
        let agent = Self { directory };
        let _ = fs::remove_dir_all(agent.runtime());
        agent
    }

    /// The size of the command, bytes.
    pub fn size() -> u64 {
        fs::metadata(env!("CARGO_BIN_EXE_kylin-vr"))
            .expect("the command is built")
            .len()
    }

    /// Has the next call read the command from the disk, as on a router. What a compiler just wrote lies in memory in large
    /// pieces, and the kernel maps the whole of each: almost a megabyte more than is used.
    pub fn read_from_disk() {
        let file = fs::File::open(env!("CARGO_BIN_EXE_kylin-vr")).expect("the command is built");
        file.sync_all().expect("write the command to the disk");
        posix_fadvise(&file, 0, 0, PosixFadviseAdvice::POSIX_FADV_DONTNEED).expect("forget the command");
    }

    pub fn directory(&self) -> &Path {
        &self.directory
    }

    fn config(&self) -> PathBuf {
        self.directory.join("kylin-vr.yaml")
    }

    fn runtime(&self) -> PathBuf {
        let name = self
            .directory
            .file_name()
            .expect("a name")
            .to_string_lossy()
            .into_owned();
        let memory = Path::new("/dev/shm");
        let base = if memory.is_dir() { memory } else { &self.directory };
        base.join(format!("kylin-vr-{name}"))
    }

    pub fn write(&self, text: &str) {
        fs::write(self.config(), text).expect("write the configuration");
    }

    /// `kylin-vr --config FILE ARGUMENTS`
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_kylin-vr"));
        command.arg("--config").arg(self.config()).args(arguments);
        self.surround(&mut command);
        command
    }

    /// Gives a command the environment of this agent.
    pub fn surround(&self, command: &mut Command) {
        command
            .env("STATE_DIRECTORY", self.directory.join("lib"))
            .env("RUNTIME_DIRECTORY", self.runtime())
            .env_remove("JOURNAL_STREAM")
            .env_remove("NOTIFY_SOCKET")
            .env_remove("KYLIN_VR_LOG");
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(self.runtime());
        let _ = fs::remove_dir_all(&self.directory);
    }
}

/// A command that ran to its end.
pub struct Ran {
    pub time: Duration,
    pub stderr: String,
}

impl Ran {
    /// How often a run with `-vv` wrote to the kernel, by its log: netlink messages of its batches, and sysctls.
    pub fn writes(&self) -> u64 {
        let of_line = |line: &str| match line.split_once("batch messages=") {
            Some((_, rest)) => rest.split_whitespace().next()?.parse::<u64>().ok(),
            None => line.contains("sysctl path=").then_some(1),
        };
        self.stderr.lines().filter_map(of_line).sum()
    }
}

/// Runs a command in a namespace, and says how long it took from fork to exit.
///
/// # Panics
/// If it fails.
pub fn run(namespace: &Namespace, command: Command) -> Ran {
    let line = format!("{command:?}");
    let (output, time) = namespace.run_with_sysfs(move || timed(command));
    // What announces elastic IPs goes on for seconds: not while something else is measured.
    end_announcers();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(
        output.status.success(),
        "{line}: {}\n{}{}",
        output.status,
        text(&output.stdout),
        text(&output.stderr)
    );
    Ran {
        time,
        stderr: text(&output.stderr),
    }
}

fn timed(mut command: Command) -> (Output, Duration) {
    command.stdin(Stdio::null());
    let start = Instant::now();
    let output = command
        .output()
        .unwrap_or_else(|error| panic!("start {command:?}: {error}"));
    (output, start.elapsed())
}

/// The most memory that a command ever had resident, bytes.
///
/// By GNU time: what the kernel tells of a child counts its parent's memory up to the exec, and GNU time has little.
pub fn peak_memory(namespace: &Namespace, command: &Command) -> u64 {
    let mut measured = Command::new("time");
    measured
        .args(["-f", "%M"])
        .arg(command.get_program())
        .args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => measured.env(name, value),
            None => measured.env_remove(name),
        };
    }
    let ran = run(namespace, measured);
    let kilobytes: u64 = ran
        .stderr
        .trim()
        .lines()
        .last()
        .and_then(|line| line.parse().ok())
        .expect("a number");
    kilobytes * 1024
}

/// Becomes who inherits children of children.
pub fn adopt_orphans() {
    nix::sys::prctl::set_child_subreaper(true).expect("become a subreaper");
}

/// Ends the processes that kylin-vr left to send gratuitous ARPs.
fn end_announcers() {
    let own = std::process::id();
    for entry in fs::read_dir("/proc").expect("list processes").flatten() {
        let Some(pid) = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse::<i32>().ok())
        else {
            continue;
        };
        let read = |name: &str| fs::read_to_string(entry.path().join(name)).unwrap_or_default();
        let is_child = read("status").lines().any(|line| line == format!("PPid:\t{own}"));
        if is_child && read("cmdline") == "kylin-vr\0announce\0" {
            let pid = Pid::from_raw(pid);
            let _ = kill(pid, Signal::SIGKILL);
            let _ = waitpid(pid, None);
        }
    }
}

/// What this thread has used of the processors so far.
pub fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).expect("a clock of the thread");
    time.into()
}
