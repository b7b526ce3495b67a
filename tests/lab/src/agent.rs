//! kylin-vr as the router's agent: the binary, run in the router's namespace with files of its own.
//!
//! It finds its state, run directory and configuration in a directory made for this VPC and removed with it;
//! the machine's own /etc, /var/lib and /run are never given to it.

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{self, Sender};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::dhcp;
use crate::namespace::{Namespace, finish};
use crate::scratch::Scratch;
use crate::vpc::Vpc;

/// How a run of the agent ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    /// The exit code; 128 and the signal's number if it was killed by one.
    pub code: i32,
    /// What it printed.
    pub stdout: String,
    /// What it logged.
    pub stderr: String,
}

/// The binary and the directory of its files.
#[derive(Debug)]
pub(crate) struct Agent {
    pub(crate) binary: PathBuf,
    pub(crate) directory: Scratch,
}

impl Agent {
    pub(crate) fn new(binary: PathBuf) -> Agent {
        let directory = Scratch::new();
        for part in ["etc", "state", "run"] {
            let path = directory.path().join(part);
            fs::create_dir(&path).expect("make a directory");
            // As the packages make them.
            let mode = if part == "run" { 0o755 } else { 0o700 };
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("set a mode");
        }
        Agent { binary, directory }
    }

    pub(crate) fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command.env("STATE_DIRECTORY", self.directory.path().join("state"));
        command.env("RUNTIME_DIRECTORY", self.directory.path().join("run"));
        // Whoever runs the tests may be a service itself, or like other logs.
        for name in [
            "CONFIGURATION_DIRECTORY",
            "INVOCATION_ID",
            "JOURNAL_STREAM",
            "NOTIFY_SOCKET",
            "KYLIN_VR_LOG",
            "RUST_LOG",
        ] {
            command.env_remove(name);
        }
        command
    }
}

impl Drop for Agent {
    /// What the agent leaves running on purpose would hold the namespace: its DHCP server.
    fn drop(&mut self) {
        let directory = self.directory.path();
        dhcp::end(&directory.join("run/dhcp/dnsmasq.pid"), directory);
    }
}

impl Vpc {
    /// Runs `kylin-vr --config PATH ARGUMENTS` in the router to its end.
    ///
    /// # Panics
    /// If it cannot be started, or hangs for a minute.
    pub fn kylin_vr(&self, arguments: &[&str]) -> Run {
        self.kylin_vr_with_input(arguments, "")
    }

    /// The same with something on its standard input.
    pub fn kylin_vr_with_input(&self, arguments: &[&str], input: &str) -> Run {
        let mut command = self.command();
        command.args(arguments);
        self.router.run_with_sysfs(|| finish(command, input)).into()
    }

    /// The command `kylin-vr --config PATH` with the environment of this VPC, for callers that need more of it;
    /// it must be started within `router.run` or `router.run_with_sysfs`.
    pub fn command(&self) -> Command {
        let mut command = self.agent.command(&self.agent.binary);
        command.arg("--config").arg(self.config_path());
        command
    }

    /// Starts `kylin-vr --config PATH ARGUMENTS` in the router and leaves it running: the monitor.
    pub fn daemon(&self, arguments: &[&str]) -> Daemon {
        // The child is killed when the thread that started it ends, so also when the test is killed. Rust can
        // ask for that only in an unsafe hook between fork and exec; util-linux has a program for it.
        let mut command = self.agent.command(Path::new("setpriv"));
        command
            .args(["--pdeathsig", "KILL", "--"])
            .arg(&self.agent.binary);
        command.arg("--config").arg(self.config_path()).args(arguments);
        Daemon::start(&self.router, command, self.directory())
    }

    /// The directory of the agent's files: `etc/kylin-vr.yaml`, `state`, `run`.
    pub fn directory(&self) -> &Path {
        self.agent.directory.path()
    }

    /// Where the configuration lies.
    pub fn config_path(&self) -> PathBuf {
        self.agent.directory.path().join("etc/kylin-vr.yaml")
    }

    /// Writes the configuration, as the hypervisor does; nothing is run.
    pub fn write_config(&self, yaml: &str) {
        fs::write(self.config_path(), yaml).expect("write the configuration");
    }

    /// Writes the configuration and reloads.
    ///
    /// # Panics
    /// If the exit code is not 0.
    pub fn reload_ok(&self, yaml: &str) -> Run {
        self.write_config(yaml);
        let run = self.kylin_vr(&["reload"]);
        assert_eq!(run.code, 0, "reload:\n{}{}", run.stdout, run.stderr);
        run
    }
}

impl From<Output> for Run {
    fn from(output: Output) -> Run {
        Run::new(output.status, &output.stdout, &output.stderr)
    }
}

impl Run {
    pub(crate) fn new(status: ExitStatus, stdout: &[u8], stderr: &[u8]) -> Run {
        use std::os::unix::process::ExitStatusExt;
        let code = status
            .code()
            .unwrap_or_else(|| 128 + status.signal().unwrap_or(0));
        let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
        Run {
            code,
            stdout: text(stdout),
            stderr: text(stderr),
        }
    }
}

/// An agent that stays. It is killed when dropped.
#[derive(Debug)]
pub struct Daemon {
    child: Child,
    stdout: PathBuf,
    stderr: PathBuf,
    /// The thread that started the child waits for this to be dropped.
    _parent: Sender<()>,
}

impl Daemon {
    /// Starts a command in a namespace; what it says goes into files in `directory`.
    ///
    /// # Panics
    /// If it cannot be started.
    pub fn start(router: &Namespace, command: Command, directory: &Path) -> Daemon {
        Self::start_with(router, command, directory, Stdio::null())
    }

    /// The same, with something to read from.
    ///
    /// # Panics
    /// As [`Self::start`].
    pub fn start_with(router: &Namespace, mut command: Command, directory: &Path, stdin: Stdio) -> Daemon {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let file = |kind: &str| directory.join(format!("daemon-{count}.{kind}"));
        let (stdout, stderr) = (file("stdout"), file("stderr"));
        let create = |path: &Path| File::create(path).expect("make a log file");
        command
            .stdin(stdin)
            .stdout(create(&stdout))
            .stderr(create(&stderr));
        let (started, child) = mpsc::channel();
        let (parent, gone) = mpsc::channel::<()>();
        let router = router.clone();
        thread::spawn(move || {
            router.run_with_sysfs(move || {
                let _ = started.send(command.spawn());
                let _ = gone.recv();
            });
        });
        let child = child
            .recv()
            .expect("the thread sends")
            .expect("start setpriv (of util-linux)");
        Daemon {
            child,
            stdout,
            stderr,
            _parent: parent,
        }
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it has logged so far.
    pub fn log(&self) -> String {
        fs::read_to_string(&self.stderr).unwrap_or_default()
    }

    /// Waits until the log contains a text; `false`: not in time.
    pub fn wait_for(&self, text: &str, timeout: Duration) -> bool {
        wait_until(timeout, || self.log().contains(text))
    }

    /// Whether it still runs.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Asks it to end (SIGTERM), and kills it if it has not after five seconds.
    pub fn stop(mut self) -> Run {
        self.signal(Signal::SIGTERM);
        wait_until(Duration::from_secs(5), || !self.is_running());
        self.signal(Signal::SIGKILL);
        let status = self.child.wait().expect("wait for the daemon");
        let read = |path: &Path| fs::read(path).unwrap_or_default();
        Run::new(status, &read(&self.stdout), &read(&self.stderr))
    }

    fn signal(&mut self, signal: Signal) {
        // A child that was waited for is gone, and its number may be another's.
        if self.is_running() {
            let pid = i32::try_from(self.child.id()).expect("a pid is an i32");
            let _ = kill(Pid::from_raw(pid), signal);
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn wait_until(timeout: Duration, mut reached: impl FnMut() -> bool) -> bool {
    let end = Instant::now() + timeout;
    loop {
        if reached() {
            return true;
        }
        if Instant::now() >= end {
            return false;
        }
        thread::sleep(Duration::from_millis(2));
    }
}
