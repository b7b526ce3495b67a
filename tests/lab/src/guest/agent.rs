//! The guest agent's protocol, as far as a hypervisor that configures a router speaks it.
//!
//! A client of the bench's own: the lab judges `kylin-vr push`, so it must not lean on it.

use std::io;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value, json};

use super::patience;
use super::wire::Wire;
use crate::Run;
use crate::wait::{Deadline, token};

/// A connection to a guest agent. There is one at a time: a second one waits until the first is dropped.
#[derive(Debug)]
pub struct GuestAgent {
    wire: Wire,
}

/// A file that the guest agent holds open; it stays open until it is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Handle(i64);

impl GuestAgent {
    /// Connects and waits until the agent answers, which may be after a boot.
    ///
    /// # Panics
    /// If it does not in time.
    pub fn connect(socket: &Path) -> GuestAgent {
        let agent = GuestAgent::connect_unless(socket, || false);
        agent.expect("nothing made it give up")
    }

    /// The same; `None`: in the meantime there was no use in waiting any more.
    ///
    /// # Panics
    /// If it does not answer in time.
    pub(super) fn connect_unless(socket: &Path, mut is_useless: impl FnMut() -> bool) -> Option<GuestAgent> {
        let deadline = Deadline::after(patience());
        let wire = Wire::connect(socket, deadline);
        let mut agent = GuestAgent { wire };
        // What is sent before the guest has opened its port is lost: it is asked again.
        while !agent.synchronise(Duration::from_secs(1)) {
            if is_useless() {
                return None;
            }
            assert!(!deadline.passed(), "the guest agent does not answer");
        }
        Some(agent)
    }

    /// Throws away what is still under way of a call that was given up, in both directions.
    fn synchronise(&mut self, timeout: Duration) -> bool {
        let id = u32::from_le_bytes(token()[..4].try_into().expect("four bytes"));
        let asked = json!({"execute": "guest-sync-delimited", "arguments": {"id": id}});
        if self.wire.send(b"\xff", &asked).is_err() {
            return false;
        }
        let deadline = Deadline::after(timeout);
        loop {
            match self.wire.receive(deadline) {
                Ok(answer) if answer["return"] == id => return true,
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::TimedOut => return false,
                Err(error) => panic!("hear from QEMU: {error}"),
            }
        }
    }

    /// Runs a command of the agent.
    ///
    /// # Errors
    /// The agent's words; or that the machine is gone, or does not answer.
    pub fn call(&mut self, command: &str, arguments: Value) -> Result<Value, String> {
        let asked = json!({"execute": command, "arguments": arguments});
        let sent = self.wire.send(b"", &asked);
        let answer = sent.and_then(|()| self.wire.receive(Deadline::after(patience())));
        let mut answer = answer.map_err(|error| error.to_string())?;
        match answer.get_mut("return") {
            Some(result) => Ok(result.take()),
            None => Err(answer["error"]["desc"].as_str().unwrap_or_default().to_owned()),
        }
    }

    fn must(&mut self, command: &str, arguments: Value) -> Value {
        self.call(command, arguments)
            .unwrap_or_else(|error| panic!("{command}: {error}"))
    }

    /// Runs a program in the guest to its end, with something on its standard input.
    ///
    /// # Panics
    /// If it cannot be started, or does not end.
    pub fn exec(&mut self, program: &str, arguments: &[&str], input: &[u8]) -> Run {
        let pid = self.exec_start(program, arguments, input);
        let (started, deadline) = (Instant::now(), Deadline::after(patience()));
        loop {
            let status = self.must("guest-exec-status", json!({"pid": pid}));
            if status["exited"] == true {
                return ended(&status);
            }
            assert!(!deadline.passed(), "{program} {arguments:?} does not end");
            // The longer it takes, the less often: an answer, and what the journal writes of it, takes an emulated processor 10 ms.
            thread::sleep(
                (started.elapsed() / 4).clamp(Duration::from_millis(40), Duration::from_millis(500)),
            );
        }
    }

    /// Starts a program, and gives its process id.
    ///
    /// # Panics
    /// If it cannot be started.
    pub fn exec_start(&mut self, program: &str, arguments: &[&str], input: &[u8]) -> i64 {
        let started = self.try_exec_start(program, arguments, input);
        started.unwrap_or_else(|error| panic!("guest-exec {program}: {error}"))
    }

    /// The same, for a guest that may be gone.
    ///
    /// # Errors
    /// As [`call`](GuestAgent::call).
    pub fn try_exec_start(&mut self, program: &str, arguments: &[&str], input: &[u8]) -> Result<i64, String> {
        let mut wanted = json!({"path": program, "arg": arguments, "capture-output": true});
        if !input.is_empty() {
            wanted["input-data"] = BASE64.encode(input).into();
        }
        let started = self.call("guest-exec", wanted)?;
        Ok(started["pid"].as_i64().expect("a pid is a number"))
    }

    /// Opens a file, with a mode of fopen(3): `w` empties it.
    ///
    /// # Errors
    /// The agent's words; so also the next.
    pub fn open(&mut self, path: &str, mode: &str) -> Result<Handle, String> {
        let handle = self.call("guest-file-open", json!({"path": path, "mode": mode}))?;
        Ok(Handle(handle.as_i64().expect("a handle is a number")))
    }

    /// Writes some bytes; how many it took.
    ///
    /// # Errors
    /// As above.
    pub fn write(&mut self, handle: Handle, bytes: &[u8]) -> Result<usize, String> {
        let arguments = json!({"handle": handle.0, "buf-b64": BASE64.encode(bytes)});
        let written = self.call("guest-file-write", arguments)?;
        Ok(written["count"].as_u64().expect("a count is a number") as usize)
    }

    /// Gives what was written to the kernel, and leaves the file open.
    ///
    /// # Errors
    /// As above.
    pub fn flush(&mut self, handle: Handle) -> Result<(), String> {
        self.call("guest-file-flush", json!({"handle": handle.0}))
            .map(drop)
    }

    /// Closes a file.
    ///
    /// # Errors
    /// As above.
    pub fn close(&mut self, handle: Handle) -> Result<(), String> {
        self.call("guest-file-close", json!({"handle": handle.0}))
            .map(drop)
    }
}

impl Handle {
    /// Its number: the agent never gives one twice.
    pub fn number(self) -> i64 {
        self.0
    }
}

fn ended(status: &Value) -> Run {
    let text = |key: &str| {
        let bytes = BASE64
            .decode(status[key].as_str().unwrap_or_default())
            .expect("output is Base64");
        String::from_utf8_lossy(&bytes).into_owned()
    };
    let number = |key: &str| status[key].as_i64().and_then(|number| i32::try_from(number).ok());
    Run {
        code: number("exitcode")
            .or(number("signal").map(|signal| 128 + signal))
            .unwrap_or(-1),
        stdout: text("out-data"),
        stderr: text("err-data"),
    }
}
