//! Why a push has no answer of the VM's, and what to do about it.

use std::io;

use crate::words::plain;

/// What the agent must allow: said whole, since an administrator who allows one at a time comes back six times.
const NEEDED: &str = "guest-sync-delimited, guest-sync, guest-info, guest-exec, guest-exec-status, guest-file-open, \
                      guest-file-write, guest-file-flush, guest-file-close";

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The socket leads nowhere.
    #[error("connect: {}{}", plain(.0), advice(.0))]
    Connect(#[source] io::Error),
    /// The connection is made, or waits to be, and nobody answers.
    #[error(
        "no answer from the guest agent: is qemu-guest-agent running in the VM, and has no other program (libvirt, \
         another push) this socket open? It takes one at a time"
    )]
    Silent,
    /// The connection ended.
    #[error("lost the connection to the guest agent during {during}: {reason}; {}", certainty(*.started))]
    Lost {
        /// The agent's command.
        during: &'static str,
        /// How.
        reason: String,
        /// Whether kylin-vr was started in the VM.
        started: bool,
    },
    /// virsh cannot be run, or says that the domain cannot be reached.
    #[error("virsh: {0}")]
    Virsh(String),
    /// The time is up.
    #[error("the time is up (--timeout) during {during}; {}", certainty(*.started))]
    TimedOut {
        /// The agent's command.
        during: &'static str,
        /// Whether kylin-vr was started in the VM.
        started: bool,
    },
    /// A signal ended the push.
    #[error("ended by signal {signal}; {}", certainty(*.started))]
    Stopped {
        /// Its number.
        signal: i32,
        /// Whether kylin-vr was started in the VM.
        started: bool,
    },
    /// The agent's configuration forbids a command, or the agent is too old for it.
    #[error(
        "the guest agent does not allow {command} ({message}); allow {NEEDED} in the VM's /etc/qemu/qemu-ga.conf \
         (Debian: block-rpcs, allow-rpcs) or /etc/sysconfig/qemu-ga (Red Hat family), and restart the agent there"
    )]
    NotAllowed {
        /// The command.
        command: &'static str,
        /// What the agent said.
        message: String,
    },
    /// The agent has no such program to start.
    #[error(
        "start {program} in the VM: {message}; install kylin-vr there (under SELinux with its label: restorecon), or name its path with --program"
    )]
    NoProgram {
        /// The program.
        program: String,
        /// What the agent said.
        message: String,
    },
    /// The agent could not do a command.
    #[error("{command} in the VM: {message}")]
    Refused {
        /// The command.
        command: &'static str,
        /// What the agent said.
        message: String,
    },
    /// The agent's answer makes no sense.
    #[error("the guest agent's answer to {command} is not understood: {found}")]
    Answer {
        /// The command.
        command: &'static str,
        /// What was wrong with it.
        found: String,
    },
    /// The agent takes no bytes any more.
    #[error("write {path} in the VM: only {written} of {length} bytes were written; is its disk full?")]
    ShortWrite {
        /// The file.
        path: String,
        /// How many bytes it has.
        written: usize,
        /// How many it should have.
        length: usize,
    },
    /// A step before the program failed in the VM.
    #[error("{step} in the VM: {message}")]
    Step {
        /// What was to be done.
        step: String,
        /// What the program for it said.
        message: String,
    },
    /// kylin-vr was killed in the VM.
    #[error("{program} was killed by signal {signal} in the VM: push again once the VM is well")]
    Killed {
        /// The program.
        program: String,
        /// The signal.
        signal: i64,
    },
    /// The text does not fit into one request of this transport.
    #[error(
        "the configuration is too large for --via exec through virsh ({longest} bytes at most): leave --via out"
    )]
    TooLarge {
        /// What fits.
        longest: usize,
    },
    /// All of the above, where cleaning up failed as well.
    #[error("{error}; left behind in the VM: {left}")]
    LeftBehind {
        /// What went wrong at first.
        error: Box<Error>,
        /// What is still there.
        left: String,
    },
}

impl Error {
    /// The kind in a word, for programs.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Connect(_) | Self::Silent | Self::Virsh(_) => "unreachable",
            Self::Lost { .. } => "lost",
            Self::TimedOut { .. } => "timed-out",
            Self::Stopped { .. } => "interrupted",
            Self::NotAllowed { .. } => "not-allowed",
            Self::LeftBehind { error, .. } => error.kind(),
            _ => "failed",
        }
    }

    /// The signal that ended the push.
    #[must_use]
    pub fn signal(&self) -> Option<i32> {
        match self {
            Self::Stopped { signal, .. } => Some(*signal),
            Self::LeftBehind { error, .. } => error.signal(),
            _ => None,
        }
    }

    /// An agent's "no" to a command, by what it says: class and words differ from version to version, and virsh
    /// passes on the words only.
    pub(super) fn from_agent(command: &'static str, class: &str, message: String) -> Self {
        let says = |words: &str| message.contains(words);
        // A frozen agent is not misconfigured (QEMU 8.1 says so; older ones only that the command is disabled).
        let forbidden = class == "CommandNotFound"
            || says("has been disabled")
            || (says("The command ") && says("has not been found"))
            || says("is not allowed");
        if forbidden && !says("frozen") {
            Self::NotAllowed { command, message }
        } else {
            Self::Refused { command, message }
        }
    }

    /// Whether the agent refuses a parameter of this name.
    pub(super) fn is_about(&self, parameter: &str) -> bool {
        matches!(self, Self::Refused { message, .. } if message.contains(parameter))
    }

    /// The same, of a time after kylin-vr was started in the VM.
    pub(super) fn after_start(mut self) -> Self {
        if let Self::Lost { started, .. } | Self::TimedOut { started, .. } | Self::Stopped { started, .. } =
            &mut self
        {
            *started = true;
        }
        self
    }
}

fn certainty(started: bool) -> &'static str {
    if started {
        "kylin-vr may be at work in the VM: see there with `kylin-vr status`, or push again"
    } else {
        "nothing was applied"
    }
}

fn advice(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::NotFound => " (is the VM running, and is this the path of its guest agent's socket?)",
        io::ErrorKind::ConnectionRefused => " (nobody listens there: is the VM running?)",
        io::ErrorKind::PermissionDenied => " (run it as root, or as the user that runs QEMU)",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_allowed_is_told_from_what_went_wrong() {
        let kind = |class, message: &str| Error::from_agent("guest-exec", class, message.to_owned()).kind();
        let disabled = "Command guest-exec has been disabled";
        assert_eq!(kind("CommandNotFound", disabled), "not-allowed");
        assert_eq!(
            kind(
                "",
                &format!("error: internal error: {disabled}: the command is not allowed")
            ),
            "not-allowed"
        );
        let frozen = "Command guest-exec has been disabled: the agent is in frozen state";
        assert_eq!(kind("CommandNotFound", frozen), "failed");
        assert_eq!(kind("GenericError", "No space left on device"), "failed");
    }
}
