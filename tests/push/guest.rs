//! A VM as push sees it: a real qemu-ga on a unix socket, in the router's namespace of a VPC of its own.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{self, Sender};
use std::thread;
use std::time::{Duration, Instant};
use std::{fs, iter};

use lab::{Run, Vpc};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

/// The example of the design note: two NICs, an EIP and forwards.
pub const NOTE: &str = include_str!("../../examples/kylin-vr.yaml");

const KYLIN_VR: &str = env!("CARGO_BIN_EXE_kylin-vr");

/// A VPC, and an agent in its router. Both are gone when dropped.
pub struct Guest {
    pub vpc: Vpc,
    agent: Child,
    /// The thread that started the agent waits for this to be dropped.
    _parent: Sender<()>,
}

impl Guest {
    pub fn new() -> Guest {
        Guest::with(&[])
    }

    /// With these arguments for qemu-ga.
    pub fn with(arguments: &[&str]) -> Guest {
        let vpc = Vpc::builder(KYLIN_VR).build();
        let directory = vpc.directory().to_owned();
        fs::write(directory.join("kylin-vr.yaml"), NOTE).unwrap();
        // Killed with the thread that started it, so also when the tests are killed.
        let mut command = Command::new("setpriv");
        command
            .args(["--pdeathsig", "KILL", "--", "qemu-ga", "-m", "unix-listen", "-p"])
            .arg(directory.join("qga.sock"))
            .arg("-t")
            .arg(&directory)
            .args(arguments)
            .env("STATE_DIRECTORY", directory.join("state"))
            .env("RUNTIME_DIRECTORY", directory.join("run"))
            .env_remove("JOURNAL_STREAM")
            .env_remove("KYLIN_VR_LOG")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(fs::File::create(directory.join("qga.log")).unwrap());
        let (started, agent) = mpsc::channel();
        let (parent, gone) = mpsc::channel::<()>();
        let router = vpc.router.clone();
        thread::spawn(move || {
            router.run_with_sysfs(move || {
                let _ = started.send(command.spawn());
                let _ = gone.recv();
            });
        });
        let agent = agent.recv().unwrap().expect("start setpriv (of util-linux)");
        let guest = Guest {
            vpc,
            agent,
            _parent: parent,
        };
        wait_for("the agent's socket", || guest.path("qga.sock").exists());
        guest
    }

    /// A file of the scratch directory.
    pub fn path(&self, name: &str) -> PathBuf {
        self.vpc.directory().join(name)
    }

    /// `kylin-vr push kylin-vr.yaml --socket qga.sock --program KYLIN-VR` and more arguments.
    pub fn push(&self, arguments: &[&str]) -> Run {
        self.push_to(&self.path("qga.sock"), arguments)
    }

    pub fn push_to(&self, socket: &Path, arguments: &[&str]) -> Run {
        run(self.push_command(socket, arguments))
    }

    pub fn push_command(&self, socket: &Path, arguments: &[&str]) -> Command {
        let mut command = self.vpc.command();
        command.arg("push").arg(self.path("kylin-vr.yaml"));
        command.arg("--socket").arg(socket);
        if !arguments.contains(&"--program") {
            command.args(["--program", KYLIN_VR]);
        }
        command.args(arguments);
        command
    }

    /// A program for `--program`.
    pub fn script(&self, text: &str) -> String {
        use std::os::unix::fs::PermissionsExt;
        let path = self.path("program");
        fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        path.to_str().unwrap().to_owned()
    }

    /// Asks the agent a few things itself.
    pub fn ask(&self, requests: &[Value]) -> Vec<Value> {
        let stream = UnixStream::connect(self.path("qga.sock")).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        let mut lines = BufReader::new(&stream);
        requests
            .iter()
            .map(|request| {
                writeln!(&stream, "{request}").unwrap();
                let mut line = String::new();
                lines.read_line(&mut line).unwrap();
                serde_json::from_str(&line).unwrap()
            })
            .collect()
    }

    /// How many files the agent has open, once nobody is connected.
    pub fn open_files(&self) -> usize {
        let count = || {
            let files = fs::read_dir(format!("/proc/{}/fd", self.agent.id())).unwrap();
            files.count()
        };
        // It sees a moment later that its client is gone: twice the same is steady.
        let mut last = count();
        loop {
            thread::sleep(Duration::from_millis(50));
            let now = count();
            if now == last {
                return now;
            }
            last = now;
        }
    }

    /// Nothing is left of a push: no handle, no file beside the installed one.
    #[track_caller]
    pub fn assert_clean(&self, open_files: usize) {
        wait_for("the agent to have as few files open as before", || {
            self.open_files() == open_files
        });
        self.assert_no_handle();
        self.assert_no_staging();
    }

    fn assert_no_handle(&self) {
        // Handles count up from 1000: the next one says how many there were.
        let probe = self.path("probe");
        let open = json!({"execute": "guest-file-open", "arguments": {"path": probe, "mode": "w"}});
        let next = self.ask(&[open])[0]["return"].as_i64().unwrap();
        let close = |handle| json!({"execute": "guest-file-close", "arguments": {"handle": handle}});
        let closed = self.ask(&(1000..=next).map(close).collect::<Vec<_>>());
        for (handle, answer) in iter::zip(1000.., closed) {
            assert_eq!(
                answer.get("return").is_some(),
                handle == next,
                "handle {handle}: {answer}"
            );
        }
    }

    /// No file beside the installed one.
    #[track_caller]
    pub fn assert_no_staging(&self) {
        let staged: Vec<_> = fs::read_dir(self.path("etc"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .filter(|name| name != "kylin-vr.yaml")
            .collect();
        assert!(staged.is_empty(), "{staged:?}");
    }

    /// The installed file's text.
    pub fn installed(&self) -> String {
        fs::read_to_string(self.vpc.config_path()).unwrap()
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        // What a push that was given up left running: it would go on, in a directory that is gone.
        let pid = self.agent.id();
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
        for child in children.split_whitespace().filter_map(|pid| pid.parse().ok()) {
            let _ = kill(Pid::from_raw(child), Signal::SIGKILL);
        }
        let _ = self.agent.kill();
        let _ = self.agent.wait();
    }
}

/// Runs a command to its end.
pub fn run(mut command: Command) -> Run {
    ended(&command.stdin(Stdio::null()).output().unwrap())
}

pub fn ended(output: &Output) -> Run {
    Run {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// Waits for what must come; a minute is for a machine that does much else.
#[track_caller]
pub fn wait_for(what: &str, reached: impl Fn() -> bool) {
    let end = Instant::now() + Duration::from_secs(60);
    while !reached() {
        assert!(Instant::now() < end, "waited a minute for {what}");
        thread::sleep(Duration::from_millis(10));
    }
}

/// Asserts how a push ended and what it said.
#[track_caller]
pub fn expect(run: &Run, code: i32, words: &[&str]) {
    let said = format!("exit {}\n{}{}", run.code, run.stdout, run.stderr);
    assert_eq!(run.code, code, "{said}");
    for words in words {
        assert!(said.contains(words), "{words:?} expected:\n{said}");
    }
}
