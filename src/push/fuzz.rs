//! The fuzzer's door: an agent that is a list of lines, whatever it is asked.

use std::collections::VecDeque;
use std::time::Duration;

use super::error::Error;
use super::socket::is_in_step;
use super::stop::Stop;
use super::transport::Transport;
use super::{Answer, Job, Way, talk};

/// An agent's answers, in order. After the last one the connection is lost.
#[derive(Debug)]
pub struct Script(VecDeque<Vec<u8>>);

impl Script {
    pub(super) fn ask(&mut self, command: &'static str) -> Result<Vec<u8>, Error> {
        self.0.pop_front().ok_or(Error::Lost {
            during: command,
            reason: "the script is at its end".to_owned(),
            started: false,
        })
    }
}

/// Looks for an answer to a synchronisation.
pub fn sync(line: &[u8]) {
    is_in_step(line, 1);
}

/// Pushes to an agent that answers with these lines.
///
/// # Errors
/// As [`super::push`].
pub fn push(way: Option<Way>, lines: &[u8]) -> Result<Answer, Error> {
    let lines = lines.split(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect();
    let job = Job {
        text: b"if_list: []\n...\n".to_vec(),
        allow_empty: false,
        program: "kylin-vr".to_owned(),
        config: None,
        directory: "/etc/kylin-vr".into(),
        way,
        timeout: Duration::from_secs(60),
        lock_timeout: Duration::from_secs(60),
    };
    talk(Transport::Script(Script(lines)), &job, &Stop::default())
}
