//! A Unix socket that speaks JSON documents, one a line: QMP and the guest agent.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::thread;
use std::time::Duration;

use serde_json::Value;

use crate::wait::Deadline;

#[derive(Debug)]
pub(super) struct Wire {
    stream: UnixStream,
    unread: Vec<u8>,
}

impl Wire {
    /// Connects as soon as QEMU has made the socket.
    ///
    /// # Panics
    /// If that is not in time.
    pub(super) fn connect(path: &Path, deadline: Deadline) -> Wire {
        loop {
            match UnixStream::connect(path) {
                Ok(stream) => {
                    return Wire {
                        stream,
                        unread: Vec::new(),
                    };
                }
                Err(error) => assert!(!deadline.passed(), "connect to {}: {error}", path.display()),
            }
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Sends a document, with these bytes before it.
    pub(super) fn send(&mut self, before: &[u8], document: &Value) -> io::Result<()> {
        let mut bytes = before.to_vec();
        bytes.extend(document.to_string().into_bytes());
        bytes.push(b'\n');
        self.stream.write_all(&bytes)
    }

    /// The next document, an error of [`TimedOut`](io::ErrorKind::TimedOut) if none came in time. What is none, half
    /// a line of a call that was given up, is skipped.
    pub(super) fn receive(&mut self, deadline: Deadline) -> io::Result<Value> {
        loop {
            if let Some(end) = self.unread.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.unread.drain(..=end).collect();
                // The guest agent sets 0xFF, which no document has, before what begins anew.
                let start = line.iter().rposition(|byte| *byte == 0xff).map_or(0, |at| at + 1);
                match serde_json::from_slice(&line[start..]) {
                    Ok(document) => return Ok(document),
                    Err(_) => continue,
                }
            }
            if deadline.passed() {
                return Err(io::ErrorKind::TimedOut.into());
            }
            let timeout = Some(deadline.left());
            self.stream.set_read_timeout(timeout).expect("bound a wait");
            let mut buffer = [0; 65536];
            match self.stream.read(&mut buffer) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(length) => self.unread.extend(&buffer[..length]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}
