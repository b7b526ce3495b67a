//! What crosses a link, frame by frame: what an analyser sees, and what it should have seen.

use std::collections::BTreeMap;
use std::fmt;
use std::os::fd::AsRawFd;
use std::thread;
use std::time::{Duration, Instant};

use nix::libc::{ETH_P_ALL, PACKET_OUTGOING};
use nix::sys::socket::{LinkAddr, recvfrom};
use socket2::Socket;

use crate::arp::packet_socket;
use crate::namespace::Namespace;

/// Larger than any frame: what was not cut into segments yet has up to 64 KiB.
const LARGEST: usize = 1 << 17;

/// A frame, and how often it was seen.
pub type Frames = BTreeMap<Vec<u8>, usize>;

/// Collects the frames that come in or leave by a link from its start on.
pub struct Capture {
    socket: Socket,
    received: Frames,
    in_order: Vec<Vec<u8>>,
    sent: Frames,
}

impl Capture {
    /// Starts to watch a link.
    ///
    /// # Panics
    /// If there is no such link.
    pub fn start(namespace: &Namespace, link: &str) -> Capture {
        let (socket, _) = namespace.run(|| packet_socket(link, ETH_P_ALL));
        Capture {
            socket,
            received: Frames::new(),
            in_order: Vec::new(),
            sent: Frames::new(),
        }
    }

    fn read(&mut self) {
        let mut buffer = vec![0; LARGEST];
        while let Ok((length, from)) = recvfrom::<LinkAddr>(self.socket.as_raw_fd(), &mut buffer) {
            let is_sent = from.is_some_and(|from| from.pkttype() == PACKET_OUTGOING);
            let frames = if is_sent {
                &mut self.sent
            } else {
                self.in_order.push(buffer[..length].to_vec());
                &mut self.received
            };
            *frames.entry(buffer[..length].to_vec()).or_default() += 1;
        }
    }

    /// What came in since the start.
    pub fn received(&mut self) -> Frames {
        self.read();
        self.received.clone()
    }

    /// The same, one after the other.
    pub fn in_order(&mut self) -> Vec<Vec<u8>> {
        self.read();
        self.in_order.clone()
    }

    /// What left since the start.
    pub fn sent(&mut self) -> Frames {
        self.read();
        self.sent.clone()
    }

    /// Waits until this has come in as often as said, and nothing else, at most so long; gives what has.
    pub fn wait_received(&mut self, expected: &Frames, timeout: Duration) -> Frames {
        let end = Instant::now() + timeout;
        loop {
            let received = self.received();
            if received == *expected || Instant::now() > end {
                return received;
            }
            thread::sleep(Duration::from_millis(2));
        }
    }
}

impl fmt::Debug for Capture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Capture").finish_non_exhaustive()
    }
}

/// Frames of both.
pub fn together(one: &Frames, other: &Frames) -> Frames {
    let mut all = one.clone();
    for (frame, count) in other {
        *all.entry(frame.clone()).or_default() += count;
    }
    all
}
