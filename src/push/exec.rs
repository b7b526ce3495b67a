//! The way without a file: the text is the standard input of `kylin-vr reload -` in the VM.
//!
//! Nothing secret goes into arguments: the agent writes them into the VM's journal, and not the input.

use super::Job;
use super::agent::{Agent, Ended};
use super::error::Error;
use super::until::Until;

pub(super) fn push(agent: &mut Agent, job: &Job, until: Until<'_>) -> Result<Ended, Error> {
    reload(agent, job, "-", Some(&job.text), until)
}

/// Runs `kylin-vr reload` on a text at `source`, and waits for its end.
pub(super) fn reload(
    agent: &mut Agent,
    job: &Job,
    source: &str,
    input: Option<&[u8]>,
    until: Until<'_>,
) -> Result<Ended, Error> {
    let process = agent
        .exec(&job.program, &job.arguments(source), input, until)
        .map_err(Error::after_start)?;
    agent
        .wait(process, &job.program, until)
        .map_err(|error| match error {
            Error::Virsh(message) => Error::Lost {
                during: "guest-exec-status",
                reason: format!("virsh: {message}"),
                started: true,
            },
            error => error.after_start(),
        })
}
