//! The way with a file: written beside the installed one, given to `kylin-vr reload`, removed again.
//!
//! Never the installed file itself: `guest-file-open` empties what it opens, and a push that ends half-way would
//! leave half a configuration for the next boot. kylin-vr in the VM puts the text in its place in one step.

use super::agent::{Agent, Handle};
use super::error::Error;
use super::socket::random;
use super::until::Until;
use super::{Ended, Job, exec};

/// How much goes into one request: its base64 is 64 KiB, which QEMU's and libvirt's buffers take at once.
const CHUNK: usize = 48 << 10;

pub(super) fn push(agent: &mut Agent, job: &Job, until: Until<'_>) -> Result<Ended, Error> {
    let name = format!(".push-{:016x}.yaml", random());
    let mut staging = Staging {
        path: job.directory.join(name).display().to_string(),
        made: false,
        opening: false,
        handle: None,
    };
    let result = staging
        .write(agent, &job.text, until)
        .and_then(|()| exec::reload(agent, job, &staging.path, None, until));
    let left = staging.clean_up(agent);
    match (result, left) {
        (Ok(ended), left) => Ok(Ended { left, ..ended }),
        (Err(error), None) => Err(error),
        (Err(error), Some(left)) => {
            let error = Box::new(error);
            Err(Error::LeftBehind { error, left })
        }
    }
}

/// What there is in the VM, for as long as it is.
struct Staging {
    path: String,
    made: bool,
    /// The agent was asked to open it, and has not answered yet.
    opening: bool,
    handle: Option<Handle>,
}

impl Staging {
    fn write(&mut self, agent: &mut Agent, text: &[u8], until: Until<'_>) -> Result<(), Error> {
        // Files that the agent makes itself can be written by everybody (0666, whatever the umask). One that is
        // there keeps its mode.
        let arguments = ["-m", "600", "/dev/null", &self.path].map(ToOwned::to_owned);
        let made = run(agent, "install", &arguments, until);
        self.made = !matches!(made, Err(Error::NotAllowed { .. } | Error::NoProgram { .. }));
        made?;
        // Its answer is waited for even if the time is up: the agent keeps the file open until it is told the number
        // to close.
        self.opening = true;
        let handle = match agent.open(&self.path, until.patient()) {
            Err(error @ (Error::Lost { .. } | Error::TimedOut { .. } | Error::Stopped { .. })) => {
                return Err(error);
            }
            answer => {
                self.opening = false;
                answer?
            }
        };
        self.handle = Some(handle);
        let mut written = 0;
        while written < text.len() {
            let chunk = &text[written..text.len().min(written + CHUNK)];
            match agent.write(handle, chunk, until)? {
                0 => {
                    return Err(Error::ShortWrite {
                        path: self.path.clone(),
                        written,
                        length: text.len(),
                    });
                }
                count => written += count,
            }
        }
        agent.flush(handle, until)?;
        agent.close(handle, until)?;
        self.handle = None;
        Ok(())
    }

    /// Closes and removes. What could not be is said in words.
    fn clean_up(&mut self, agent: &mut Agent) -> Option<String> {
        let until = Until::grace();
        let mut left = Vec::new();
        if self.opening {
            left.push(
                "perhaps an open file of the guest agent (restart the agent to be rid of it)".to_owned(),
            );
        }
        if let Some(handle) = self.handle.take()
            && let Err(error) = agent.close(handle, until)
            // Its answer to the close before may have been lost on the way.
            && !error.is_about("has not been found")
        {
            left.push(format!("the open file {} of the guest agent ({error})", handle.0));
        }
        if self.made
            && let Err(error) = run(agent, "rm", &["-f".to_owned(), self.path.clone()], until)
        {
            left.push(format!("{} ({error})", self.path));
        }
        (!left.is_empty()).then(|| left.join(", "))
    }
}

/// Runs one of the VM's own programs to its end.
fn run(agent: &mut Agent, program: &str, arguments: &[String], until: Until<'_>) -> Result<(), Error> {
    let process = agent.exec(program, arguments, None, until)?;
    let ended = agent.wait(process, program, until)?;
    if ended.code == 0 {
        return Ok(());
    }
    Err(Error::Step {
        step: format!("{program} {}", arguments.join(" ")),
        message: String::from_utf8_lossy(&ended.err).trim().to_owned(),
    })
}
