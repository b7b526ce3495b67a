//! The guest agent's commands (QEMU Guest Agent Protocol Reference), with what they take and give as values.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value, json};

use super::error::Error;
use super::transport::Transport;
use super::until::Until;

/// A process that the agent started, by the agent's number for it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Process(i64);

/// A file that the agent has open, until it is closed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Handle(pub(super) i64);

/// How a process ended that was not killed.
#[derive(Debug)]
pub(super) struct Ended {
    pub(super) code: u8,
    pub(super) out: Vec<u8>,
    pub(super) err: Vec<u8>,
    /// Whether the agent kept only a part of the output.
    pub(super) cut_off: bool,
    /// What could not be cleaned up afterwards.
    pub(super) left: Option<String>,
}

/// An agent.
#[derive(Debug)]
pub(super) struct Agent {
    transport: Transport,
}

impl Agent {
    pub(super) fn new(transport: Transport) -> Self {
        Self { transport }
    }

    /// Finds out whether it answers.
    pub(super) fn connect(&mut self, until: Until<'_>) -> Result<(), Error> {
        self.transport.connect(until)
    }

    /// How many bytes fit into the standard input of a process: four of a request are three of them, and 4 KiB are
    /// for the rest of the request.
    pub(super) fn longest_input(&self) -> usize {
        (self.transport.longest_request() - (4 << 10)) / 4 * 3
    }

    /// Starts a program, with `input` as its standard input; `None`: none.
    pub(super) fn exec(
        &mut self,
        program: &str,
        arguments: &[String],
        input: Option<&[u8]>,
        until: Until<'_>,
    ) -> Result<Process, Error> {
        const COMMAND: &str = "guest-exec";
        let mut with = json!({"path": program, "arg": arguments, "capture-output": true});
        if let Some(input) = input {
            with["input-data"] = BASE64.encode(input).into();
        }
        match self.call(COMMAND, with, until) {
            Ok(answer) => number(COMMAND, &answer["pid"]).map(Process),
            Err(Error::Refused { message, .. }) if message.contains("execute child process") => {
                let program = program.to_owned();
                Err(Error::NoProgram { program, message })
            }
            Err(error) => Err(error),
        }
    }

    /// Waits for a process's end. `program` is what messages call it.
    pub(super) fn wait(&mut self, process: Process, program: &str, until: Until<'_>) -> Result<Ended, Error> {
        const COMMAND: &str = "guest-exec-status";
        let mut pause = Duration::from_millis(20);
        let status = loop {
            let status =
                self.call(COMMAND, json!({"pid": process.0}), until)
                    .map_err(|error| match error {
                        error if error.is_about("'pid'") || error.is_about("PID") => Error::Lost {
                            during: COMMAND,
                            reason: "it was restarted, and does not know its process any more".to_owned(),
                            started: true,
                        },
                        error => error,
                    })?;
            if status["exited"] == true {
                break status;
            }
            until.sleep(pause, COMMAND)?;
            pause = (pause * 3 / 2).min(Duration::from_millis(500));
        };
        if !status["signal"].is_null() {
            let signal = number(COMMAND, &status["signal"])?;
            let program = program.to_owned();
            return Err(Error::Killed { program, signal });
        }
        let code = number(COMMAND, &status["exitcode"])?;
        Ok(Ended {
            code: u8::try_from(code).unwrap_or(1),
            out: data(COMMAND, &status["out-data"])?,
            err: data(COMMAND, &status["err-data"])?,
            cut_off: status["out-truncated"] == true,
            left: None,
        })
    }

    /// Opens a file for writing, and empties it.
    pub(super) fn open(&mut self, path: &str, until: Until<'_>) -> Result<Handle, Error> {
        const COMMAND: &str = "guest-file-open";
        let answer = self.call(COMMAND, json!({"path": path, "mode": "w"}), until)?;
        number(COMMAND, &answer).map(Handle)
    }

    /// Writes, and says how many bytes of it were.
    pub(super) fn write(&mut self, handle: Handle, bytes: &[u8], until: Until<'_>) -> Result<usize, Error> {
        const COMMAND: &str = "guest-file-write";
        let with = json!({"handle": handle.0, "buf-b64": BASE64.encode(bytes)});
        let count = number(COMMAND, &self.call(COMMAND, with, until)?["count"])?;
        match usize::try_from(count) {
            Ok(count) if count <= bytes.len() => Ok(count),
            _ => Err(Error::Answer {
                command: COMMAND,
                found: format!("{count} of {} bytes written", bytes.len()),
            }),
        }
    }

    pub(super) fn flush(&mut self, handle: Handle, until: Until<'_>) -> Result<(), Error> {
        self.call("guest-file-flush", json!({"handle": handle.0}), until)
            .map(|_| ())
    }

    pub(super) fn close(&mut self, handle: Handle, until: Until<'_>) -> Result<(), Error> {
        self.call("guest-file-close", json!({"handle": handle.0}), until)
            .map(|_| ())
    }

    fn call(&mut self, command: &'static str, with: Value, until: Until<'_>) -> Result<Value, Error> {
        let request = json!({"execute": command, "arguments": with});
        self.transport.ask(command, &request, until)
    }
}

fn number(command: &'static str, value: &Value) -> Result<i64, Error> {
    value.as_i64().ok_or_else(|| Error::Answer {
        command,
        found: format!("{value} in place of a number"),
    })
}

/// Bytes in base64; nothing is no bytes.
fn data(command: &'static str, value: &Value) -> Result<Vec<u8>, Error> {
    BASE64
        .decode(value.as_str().unwrap_or_default())
        .map_err(|error| Error::Answer {
            command,
            found: format!("no base64: {error}"),
        })
}
