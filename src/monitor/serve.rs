//! Metrics for who connects to a socket that systemd handed over. Never waits for a client: what each has sent is read and
//! what it takes is written, whenever poll(2) says so; few at a time, and none for long.

use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpListener;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixListener;
use std::time::{Duration, Instant};

use listenfd::ListenFd;
use nix::poll::PollFlags;

use super::request::{self, LONGEST, Request};

/// So many at a time; others are sent away.
const CLIENTS: usize = 8;
/// A client that has not asked and read by then is sent away.
const PATIENCE: Duration = Duration::from_secs(5);
/// Who asks more often than this gets what was seen before: a look costs something.
const FRESH: Duration = Duration::from_secs(1);

/// The sockets, and who is connected.
pub struct Server {
    listeners: Vec<Listener>,
    clients: Vec<Client>,
    /// What was told last.
    last: Option<(Instant, Vec<u8>)>,
    kind: &'static str,
}

enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener),
}

/// A connection, of either kind.
trait Stream: Read + Write + AsFd {}
impl<S: Read + Write + AsFd> Stream for S {}

struct Client {
    stream: Box<dyn Stream>,
    asked: Vec<u8>,
    /// The answer, and how much of it was taken.
    answer: Option<(Vec<u8>, usize)>,
    end: Instant,
}

impl Server {
    /// On the sockets that systemd handed over (sd_listen_fds(3)); `None`: there are none. `kind` is the type of the text.
    ///
    /// # Errors
    /// If one of them is no listening stream socket.
    pub fn from_environment(kind: &'static str) -> io::Result<Option<Self>> {
        let mut handed = ListenFd::from_env();
        let mut listeners = Vec::new();
        for index in 0..handed.len() {
            let listener = match handed.take_unix_listener(index) {
                Ok(Some(socket)) => Listener::Unix(socket),
                Ok(None) => continue,
                Err(_) => match handed.take_tcp_listener(index)? {
                    Some(socket) => Listener::Tcp(socket),
                    None => continue,
                },
            };
            listener.prepare()?;
            listeners.push(listener);
        }
        Ok((!listeners.is_empty()).then(|| Self {
            listeners,
            clients: Vec::new(),
            last: None,
            kind,
        }))
    }

    /// What to wait for.
    pub(super) fn fds(&self) -> Vec<(BorrowedFd<'_>, PollFlags)> {
        let listeners = self.listeners.iter().map(|one| (one.as_fd(), PollFlags::POLLIN));
        let clients = self.clients.iter().map(|client| {
            let flags = match client.answer {
                None => PollFlags::POLLIN,
                Some(_) => PollFlags::POLLOUT,
            };
            (client.stream.as_fd(), flags)
        });
        listeners.chain(clients).collect()
    }

    /// When the first client is to be sent away; `None`: there is none.
    pub(super) fn due(&self) -> Option<Instant> {
        self.clients.iter().map(|client| client.end).min()
    }

    /// Does what can be done at once; `text` is asked for at most once a second.
    pub(super) fn turn(&mut self, now: Instant, mut text: impl FnMut() -> Result<String, String>) {
        for listener in &self.listeners {
            // Bounded: who connects without end keeps nobody from anything else.
            for _ in 0..CLIENTS {
                let Ok(stream) = listener.accept() else { break };
                if self.clients.len() < CLIENTS {
                    self.clients.push(Client {
                        stream,
                        asked: Vec::new(),
                        answer: None,
                        end: now + PATIENCE,
                    });
                }
            }
        }
        let (last, kind) = (&mut self.last, self.kind);
        let mut page = || {
            if last.as_ref().is_none_or(|(when, _)| now >= *when + FRESH) {
                let page = text().map(String::into_bytes).map_err(|error| {
                    request::answer("500 Internal Server Error", "text/plain", &(error + "\n"), false)
                });
                match page {
                    Ok(page) => *last = Some((now, page)),
                    Err(answer) => return Err(answer),
                }
            }
            Ok(last.as_ref().map(|(_, page)| page.clone()).unwrap_or_default())
        };
        self.clients
            .retain_mut(|client| now < client.end && client.turn(kind, &mut page));
    }
}

impl Listener {
    /// Does not wait. (`listenfd` sees to it that it is not left to processes that we start.)
    fn prepare(&self) -> io::Result<()> {
        match self {
            Self::Tcp(socket) => socket.set_nonblocking(true),
            Self::Unix(socket) => socket.set_nonblocking(true),
        }
    }

    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(socket) => socket.as_fd(),
            Self::Unix(socket) => socket.as_fd(),
        }
    }

    fn accept(&self) -> io::Result<Box<dyn Stream>> {
        match self {
            Self::Tcp(socket) => {
                let (stream, _) = socket.accept()?;
                stream.set_nonblocking(true)?;
                Ok(Box::new(stream))
            }
            Self::Unix(socket) => {
                let (stream, _) = socket.accept()?;
                stream.set_nonblocking(true)?;
                Ok(Box::new(stream))
            }
        }
    }
}

impl Client {
    /// Reads and writes what can be; `false`: it is done with, or gone.
    fn turn(&mut self, kind: &str, page: &mut impl FnMut() -> Result<Vec<u8>, Vec<u8>>) -> bool {
        while self.answer.is_none() {
            let mut buffer = [0; 1024];
            match self.stream.read(&mut buffer) {
                Ok(0) => return false,
                Ok(length) => self.asked.extend_from_slice(&buffer[..length]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return true,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(_) => return false,
            }
            self.asked.truncate(LONGEST);
            let answer = match request::read(&self.asked) {
                Request::Unfinished => continue,
                Request::Metrics { head } => match page() {
                    Ok(page) => request::answer("200 OK", kind, &String::from_utf8_lossy(&page), head),
                    Err(answer) => answer,
                },
                Request::Unknown => request::answer("404 Not Found", "text/plain", "see /metrics\n", false),
                Request::Bad => request::answer("400 Bad Request", "text/plain", "GET /metrics\n", false),
            };
            self.answer = Some((answer, 0));
        }
        let Some((answer, taken)) = &mut self.answer else {
            return true;
        };
        while *taken < answer.len() {
            match self.stream.write(&answer[*taken..]) {
                Ok(0) => return false,
                Ok(length) => *taken += length,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return true,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return false,
            }
        }
        false
    }
}
