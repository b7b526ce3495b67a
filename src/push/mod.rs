//! The hypervisor's side: a configuration into a VM through qemu-guest-agent, and the VM's report back.
//!
//! ```text
//! text ── text::prepare ─▶ marked text ── transport (socket, virsh) ─▶ agent ── exec, or file ─▶ Answer
//! ```
//!
//! - [`text`] refuses here what the VM would refuse, before anybody is contacted.
//! - `transport` carries one request and its answer, over a unix socket or through virsh; `agent` speaks the guest
//!   agent's commands.
//! - Two ways into the VM: `exec` feeds the text to `kylin-vr reload -`, `file` writes a file of its own beside
//!   the installed one first. Neither touches the installed file: kylin-vr in the VM does, once it has applied it.
//! - [`many`] pushes to many VMs at a time; [`report`] and [`summary`] say for people what came of it.
//!
//! Whatever happens, what was opened in a VM is closed and what was written there beside the configuration is
//! removed: the agent lives as long as its VM, and would keep it until then.

mod agent;
mod error;
mod exec;
mod file;
#[cfg(fuzzing)]
#[doc(hidden)]
pub mod fuzz;
pub mod many;
pub mod report;
mod socket;
pub mod stop;
pub mod summary;
pub mod text;
mod transport;
mod until;
mod virsh;

use std::fmt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde_json::Value;

pub use error::Error;

use agent::{Agent, Ended};
use stop::Stop;
use transport::Transport;
use until::Until;

use crate::words::printable_lines;

/// A VM, as its guest agent is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// A unix socket that leads to the agent: QEMU's chardev.
    Socket(PathBuf),
    /// A domain of libvirt's.
    Domain {
        /// Its name.
        name: String,
        /// libvirt's connection URI; `None`: virsh's own choice.
        connect: Option<String>,
    },
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Socket(path) => path.display().fmt(f),
            Self::Domain { name, .. } => f.write_str(name),
        }
    }
}

/// How the text gets into the VM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// On the standard input of the program there.
    Exec,
    /// In a file beside the installed one.
    File,
}

/// What is pushed to each target, and how.
#[derive(Clone, Debug)]
pub struct Job {
    /// The text, as [`text::prepare`] made it.
    pub text: Vec<u8>,
    /// Whether the VM is told to accept a blank one.
    pub allow_empty: bool,
    /// The program in the VM: a path, or a name that the agent looks up.
    pub program: String,
    /// The installed file in the VM, where it is not the usual one.
    pub config: Option<PathBuf>,
    /// The directory in the VM for the file of [`Way::File`].
    pub directory: PathBuf,
    /// `None`: whatever works.
    pub way: Option<Way>,
    /// The longest that a target may take, without cleaning up.
    pub timeout: Duration,
    /// The longest that the VM may wait for its lock.
    pub lock_timeout: Duration,
}

impl Job {
    /// The program's arguments for a text at `source`, a path or `-`.
    fn arguments(&self, source: &str) -> Vec<String> {
        let mut arguments = vec!["reload".to_owned(), source.to_owned(), "--json".to_owned()];
        if self.allow_empty {
            arguments.push("--allow-empty".to_owned());
        }
        // A run that waits there for longer than we wait here would be found out by a time-out only.
        let lock_timeout = self.lock_timeout.min(self.timeout * 3 / 4).as_secs_f64();
        arguments.extend(["--lock-timeout".to_owned(), lock_timeout.to_string()]);
        if let Some(config) = &self.config {
            arguments.extend(["--config".to_owned(), config.display().to_string()]);
        }
        arguments
    }
}

/// What a VM answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// How kylin-vr ended there.
    pub exit_code: u8,
    /// Its report; `None`: it printed none (a version before `--json`), or the agent cut it off.
    pub report: Option<Value>,
    /// What it printed where that was no report, as it can be shown; so also the log.
    pub output: String,
    /// What it said on its standard error.
    pub log: String,
    /// The agent keeps 16 MiB of what a program prints; this was more.
    pub cut_off: bool,
    /// What could not be cleaned up in the VM.
    pub left: Option<String>,
}

impl From<Ended> for Answer {
    fn from(ended: Ended) -> Self {
        let report = serde_json::from_slice(&ended.out)
            .ok()
            .filter(|report: &Value| report.is_object() && !ended.cut_off);
        let text = |bytes: &[u8]| printable_lines(&String::from_utf8_lossy(bytes)).into_owned();
        // Half a report is of no use to anybody.
        let is_text = report.is_none() && !ended.cut_off;
        Self {
            exit_code: ended.code,
            output: if is_text { text(&ended.out) } else { String::new() },
            report,
            log: text(&ended.err),
            cut_off: ended.cut_off,
            left: ended.left,
        }
    }
}

/// Pushes to one target.
///
/// # Errors
/// If the VM gave no answer. It may have applied the configuration all the same, where the error comes after the
/// program was started; the message says so then.
pub fn push(target: &Target, job: &Job, stop: &Stop) -> Result<Answer, Error> {
    talk(Transport::new(target), job, stop)
}

fn talk(transport: Transport, job: &Job, stop: &Stop) -> Result<Answer, Error> {
    let until = Until::new(Instant::now() + job.timeout, stop);
    let mut agent = Agent::new(transport);
    agent.connect(until)?;
    let large = job.text.len() > agent.longest_input();
    let ended = match job.way {
        Some(Way::Exec) if large => {
            return Err(Error::TooLarge {
                longest: agent.longest_input(),
            });
        }
        Some(Way::File) => file::push(&mut agent, job, until),
        None if large => file::push(&mut agent, job, until),
        way => match exec::push(&mut agent, job, until) {
            Err(error) if way.is_none() && error.is_about("input-data") => file::push(&mut agent, job, until),
            ended => ended,
        },
    };
    ended.map(Answer::from)
}
