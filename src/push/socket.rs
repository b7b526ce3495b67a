//! A unix socket that leads to a guest agent, as QEMU's `-chardev socket,server=on` makes it.
//!
//! QEMU hands bytes through and takes one client at a time: another one waits in the queue, and what an earlier
//! client did not read may come to us. So each connection begins with `guest-sync-delimited`, and is never used
//! again after an answer did not come in time: the next request makes a new one.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, connect, socket};
use serde_json::{Value, json};

use super::error::Error;
use super::transport::LONGEST_ANSWER;
use super::until::Until;
use crate::words::plain;

const SYNC: &str = "guest-sync-delimited";

/// No JSON text has this byte: the agent drops what came before it, and puts one before its answer.
const DELIMITER: u8 = 0xff;

/// A socket, connected when it is needed.
#[derive(Debug)]
pub(super) struct Socket {
    path: PathBuf,
    connection: Option<Connection>,
}

impl Socket {
    pub(super) fn new(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            connection: None,
        }
    }

    pub(super) fn ask(
        &mut self,
        command: &'static str,
        request: String,
        until: Until<'_>,
    ) -> Result<Vec<u8>, Error> {
        // Taken, so that it is gone unless it stays in step.
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => self.in_step(until)?,
        };
        connection.write(request.as_bytes(), command, until)?;
        connection.write(b"\n", command, until)?;
        let answer = connection.read_line(command, until)?;
        self.connection = Some(connection);
        Ok(answer)
    }

    pub(super) fn connect(&mut self, until: Until<'_>) -> Result<(), Error> {
        self.connection = Some(self.in_step(until)?);
        Ok(())
    }

    /// A new connection, in step with the agent.
    fn in_step(&self, until: Until<'_>) -> Result<Connection, Error> {
        let stream = self.open(until)?;
        let mut connection = Connection {
            stream,
            unread: Vec::new(),
        };
        match connection.sync(until) {
            Err(Error::TimedOut { .. }) => Err(Error::Silent),
            synced => synced.map(|()| connection),
        }
    }

    fn open(&self, until: Until<'_>) -> Result<UnixStream, Error> {
        let fail = |errno: Errno| Error::Connect(errno.into());
        let address = UnixAddr::new(&self.path).map_err(fail)?;
        // Not std's connect, which would wait for ever where the queue of waiting clients is full.
        let fd = socket(
            AddressFamily::Unix,
            SockType::Stream,
            SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC,
            None,
        )
        .map_err(fail)?;
        loop {
            match connect(fd.as_raw_fd(), &address) {
                Ok(()) => break,
                Err(Errno::EAGAIN | Errno::EINTR) => match until.sleep(Duration::from_millis(20), SYNC) {
                    Err(Error::TimedOut { .. }) => return Err(Error::Silent),
                    slept => slept?,
                },
                Err(errno) => return Err(fail(errno)),
            }
        }
        let stream = UnixStream::from(fd);
        stream.set_nonblocking(false).map_err(Error::Connect)?;
        Ok(stream)
    }
}

/// A connection in step: nothing is on its way in it but the answer to our last request.
#[derive(Debug)]
struct Connection {
    stream: UnixStream,
    unread: Vec<u8>,
}

impl Connection {
    fn sync(&mut self, until: Until<'_>) -> Result<(), Error> {
        // Not guessable by a client before us is enough; the agent's number is a signed one.
        let id = random() >> 1;
        let request = json!({"execute": SYNC, "arguments": {"id": id}}).to_string();
        let bytes = [&[DELIMITER], request.as_bytes(), b"\n"].concat();
        self.write(&bytes, SYNC, until)?;
        loop {
            // An answer to somebody else's is stale.
            if is_in_step(&self.read_line(SYNC, until)?, id) {
                return Ok(());
            }
        }
    }

    fn write(&mut self, mut bytes: &[u8], during: &'static str, until: Until<'_>) -> Result<(), Error> {
        while !bytes.is_empty() {
            let slice = until.slice(during)?;
            let written = self
                .stream
                .set_write_timeout(Some(slice))
                .and_then(|()| self.stream.write(bytes));
            match written {
                Ok(0) => return Err(lost(during, &ErrorKind::WriteZero.into())),
                Ok(written) => bytes = &bytes[written..],
                Err(error) if is_again(&error) => {}
                Err(error) => return Err(lost(during, &error)),
            }
        }
        Ok(())
    }

    fn read_line(&mut self, during: &'static str, until: Until<'_>) -> Result<Vec<u8>, Error> {
        let mut searched = 0;
        let mut bytes = vec![0; 64 << 10];
        loop {
            let new = &self.unread[searched..];
            if let Some(found) = new.iter().position(|byte| *byte == b'\n') {
                let rest = self.unread.split_off(searched + found + 1);
                let mut line = std::mem::replace(&mut self.unread, rest);
                line.pop();
                return Ok(line);
            }
            searched = self.unread.len();
            if searched > LONGEST_ANSWER {
                let found = format!("it is longer than {} MiB", LONGEST_ANSWER >> 20);
                let command = during;
                return Err(Error::Answer { command, found });
            }
            let slice = until.slice(during)?;
            let read = self
                .stream
                .set_read_timeout(Some(slice))
                .and_then(|()| self.stream.read(&mut bytes));
            match read {
                Ok(0) => return Err(lost(during, &ErrorKind::UnexpectedEof.into())),
                Ok(read) => self.unread.extend_from_slice(&bytes[..read]),
                Err(error) if is_again(&error) => {}
                Err(error) => return Err(lost(during, &error)),
            }
        }
    }
}

/// Whether a line is the answer to the `guest-sync-delimited` with this number.
pub(super) fn is_in_step(line: &[u8], id: u64) -> bool {
    // What is before the last delimiter is stale, and may have been cut off anywhere.
    let answer = line.rsplit(|byte| *byte == DELIMITER).next().unwrap_or_default();
    matches!(serde_json::from_slice(answer), Ok(Value::Object(answer))
        if answer.get("return").and_then(Value::as_u64) == Some(id))
}

fn is_again(error: &io::Error) -> bool {
    // A socket's time-out is EAGAIN.
    matches!(
        error.kind(),
        ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted
    )
}

fn lost(during: &'static str, error: &io::Error) -> Error {
    let reason = match error.kind() {
        ErrorKind::UnexpectedEof | ErrorKind::WriteZero => "the other side closed it".to_owned(),
        _ => plain(error),
    };
    Error::Lost {
        during,
        reason,
        started: false,
    }
}

/// A number that nobody else has: the standard library's hash keys are random.
pub(super) fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}
