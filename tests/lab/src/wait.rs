//! Waiting for sockets with a bound, and tokens to know one's own packets by.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::io;
use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

/// When a probe gives its packet up.
#[derive(Clone, Copy)]
pub(crate) struct Deadline(Instant);

impl Deadline {
    pub(crate) fn after(timeout: Duration) -> Deadline {
        Deadline(Instant::now() + timeout)
    }

    /// What is left, never zero, which would mean "for ever" to a socket's timeout.
    pub(crate) fn left(self) -> Duration {
        self.0
            .saturating_duration_since(Instant::now())
            .max(Duration::from_millis(1))
    }

    pub(crate) fn passed(self) -> bool {
        Instant::now() >= self.0
    }
}

/// Binds or listens, as soon as nobody else has the port.
///
/// A probe's own sockets may outlive it for a moment: a process that another thread starts just then has copies
/// of them from its fork to its exec.
pub(crate) fn when_free(mut bind: impl FnMut() -> io::Result<()>) -> io::Result<()> {
    let deadline = Deadline::after(Duration::from_secs(10));
    loop {
        match bind() {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && !deadline.passed() => {
                std::thread::sleep(Duration::from_millis(2));
            }
            bound => return bound,
        }
    }
}

/// Asks again as long as the answer is `EINTR`. A socket with a time limit gives that even where no signal has a handler, as
/// after a stop of the process (signal(7), "Interruption of system calls and library functions by stop signals"). `read_exact`,
/// `write_all` and `accept` ask again by themselves, `recv` does not.
///
/// # Errors
/// Every other one.
pub fn uninterrupted<T>(mut ask: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match ask() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            answer => return answer,
        }
    }
}

/// Waits until a socket is as asked for by its flags, or in error; says which are. All `false`: the deadline
/// passed.
pub(crate) fn ready(sockets: &[(BorrowedFd<'_>, PollFlags)], deadline: Deadline) -> Vec<bool> {
    let mut polled: Vec<PollFd> = sockets
        .iter()
        .map(|(fd, flags)| PollFd::new(*fd, *flags))
        .collect();
    loop {
        // Rounded up: a wait of 0 ms in the last millisecond would spin.
        let left = u16::try_from(deadline.left().as_millis() + 1).unwrap_or(u16::MAX);
        match poll(&mut polled, PollTimeout::from(left)) {
            Ok(_) => break,
            Err(Errno::EINTR) => {}
            Err(error) => panic!("wait for sockets: {error}"),
        }
    }
    polled.iter().map(|fd| fd.any().unwrap_or(false)).collect()
}

/// Sixteen random bytes: what the packet of a probe carries. Ports and ICMP identifiers are rewritten on the
/// way, what is inside is not.
pub(crate) fn token() -> [u8; 16] {
    // `RandomState` is seeded by the kernel: enough to tell packets apart, and no further dependency.
    let random = || RandomState::new().build_hasher().finish().to_ne_bytes();
    let mut token = [0; 16];
    token[..8].copy_from_slice(&random());
    token[8..].copy_from_slice(&random());
    token
}

/// What an error of the sender's socket says about its packet. `None`: nothing, it is a fault of the lab.
pub(crate) fn verdict(error: &io::Error) -> Option<crate::Outcome> {
    use io::ErrorKind as Kind;
    match error.kind() {
        Kind::ConnectionRefused | Kind::ConnectionReset => Some(crate::Outcome::Refused),
        Kind::HostUnreachable | Kind::NetworkUnreachable => Some(crate::Outcome::Unreachable),
        // ICMP "prohibited" (a firewall's reject) and the route type of the same name.
        Kind::PermissionDenied => Some(crate::Outcome::Unreachable),
        Kind::TimedOut | Kind::WouldBlock => Some(crate::Outcome::Lost),
        _ if error.raw_os_error() == Some(Errno::EHOSTDOWN as i32) => Some(crate::Outcome::Unreachable),
        _ => None,
    }
}
