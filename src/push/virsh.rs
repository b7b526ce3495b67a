//! A guest agent through libvirt's command: one process for each request.
//!
//! libvirt keeps the agent in step itself, and lets one request in at a time. What virsh says on its standard
//! error is passed on; nothing here reads libvirt's own files.

use std::io::{self, Read};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;

use super::error::Error;
use super::transport::LONGEST_ANSWER;
use super::until::Until;
use crate::words::plain;

/// A domain.
#[derive(Debug)]
pub(super) struct Virsh {
    name: String,
    connect: Option<String>,
}

impl Virsh {
    /// The kernel takes 128 KiB in one argument (MAX_ARG_STRLEN, execve(2)), and virsh a request only there.
    pub(super) const LONGEST_REQUEST: usize = 127 << 10;

    pub(super) fn new(name: &str, connect: Option<&str>) -> Self {
        Self {
            name: name.to_owned(),
            connect: connect.map(ToOwned::to_owned),
        }
    }

    /// The answer's text.
    ///
    /// # Errors
    /// virsh's own, in its words.
    pub(super) fn ask(
        &self,
        command: &'static str,
        request: &str,
        until: Until<'_>,
    ) -> Result<Vec<u8>, Error> {
        // libvirt's own limit, in whole seconds, is behind ours, so that it is never libvirt that loses an answer.
        let timeout = (until.left().as_secs() + 1).to_string();
        let mut virsh = Command::new("virsh");
        if let Some(uri) = &self.connect {
            virsh.args(["-c", uri]);
        }
        virsh
            .args(["qemu-agent-command", &self.name, request, "--timeout", &timeout])
            // Its words are looked at: in English.
            .env("LC_ALL", "C");
        let output = Running::start(virsh)?.output(command, until)?;
        if output.success {
            return Ok(output.stdout);
        }
        let message = said(&output.stderr);
        // libvirt wraps the agent's "no" into a sentence of its own: every other error is about the way there.
        if message.contains("unable to execute QEMU agent command") {
            return Err(Error::from_agent(command, "", message));
        }
        // Its words for an agent that took the request and never answered.
        if ["timed out", "disappeared", "End of file"]
            .iter()
            .any(|words| message.contains(words))
        {
            return Err(Error::Lost {
                during: command,
                reason: format!("virsh: {message}"),
                started: false,
            });
        }
        Err(Error::Virsh(message))
    }
}

struct Output {
    success: bool,
    stdout: Vec<u8>,
    stderr: Vec<u8>,
}

/// A virsh that is killed when dropped.
struct Running(Child);

impl Running {
    fn start(mut command: Command) -> Result<Self, Error> {
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn();
        child.map(Self).map_err(|error| {
            Error::Virsh(match error.kind() {
                io::ErrorKind::NotFound => {
                    "not found: install libvirt's client programs (libvirt-clients), or use --socket"
                        .to_owned()
                }
                _ => plain(&error),
            })
        })
    }

    fn output(mut self, during: &'static str, until: Until<'_>) -> Result<Output, Error> {
        let broken = |error: io::Error| Error::Virsh(plain(&error));
        let (sender, receiver) = mpsc::channel();
        let stdout = self
            .0
            .stdout
            .take()
            .map(|from| Box::new(from) as Box<dyn Read + Send>);
        let stderr = self
            .0
            .stderr
            .take()
            .map(|from| Box::new(from) as Box<dyn Read + Send>);
        for (index, stream) in [stdout, stderr].into_iter().enumerate() {
            let sender = sender.clone();
            // Left to itself at the deadline: a pipe that a process of virsh's keeps open has no time limit.
            thread::spawn(move || {
                let mut bytes = Vec::new();
                let read = stream.map_or(Ok(0), |from| {
                    from.take(LONGEST_ANSWER as u64 + 1).read_to_end(&mut bytes)
                });
                let _ = sender.send((index, read.map(|_| bytes)));
            });
        }
        let mut streams = [Vec::new(), Vec::new()];
        let mut open = streams.len();
        while open > 0 {
            match receiver.recv_timeout(until.slice(during)?) {
                Ok((index, bytes)) => {
                    streams[index] = bytes.map_err(broken)?;
                    open -= 1;
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        let [stdout, stderr] = streams;
        if stdout.len().max(stderr.len()) > LONGEST_ANSWER {
            return Err(Error::Answer {
                command: during,
                found: format!("it is longer than {} MiB", LONGEST_ANSWER >> 20),
            });
        }
        loop {
            if let Some(status) = self.0.try_wait().map_err(broken)? {
                let success = status.success();
                return Ok(Output {
                    success,
                    stdout,
                    stderr,
                });
            }
            until.sleep(std::time::Duration::from_millis(1), during)?;
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What virsh said, in one line and without its "error: ".
fn said(stderr: &[u8]) -> String {
    let text = String::from_utf8_lossy(stderr);
    let lines: Vec<&str> = text
        .lines()
        .map(|line| line.trim().trim_start_matches("error: "))
        .filter(|line| !line.is_empty())
        .collect();
    if lines.is_empty() {
        "it failed and said nothing".to_owned()
    } else {
        lines.join("; ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_virsh_says_is_one_line() {
        let stderr =
            b"error: failed to get domain 'r9'\nerror: Domain not found: no domain with matching name\n\n";
        assert_eq!(
            said(stderr),
            "failed to get domain 'r9'; Domain not found: no domain with matching name"
        );
        assert_eq!(said(b""), "it failed and said nothing");
    }
}
