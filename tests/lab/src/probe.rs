//! One packet (or one short exchange), and what became of it.
//!
//! A probe never asks the router: it opens sockets in the namespaces of all listeners, lets the sender send,
//! and tells which of the listeners got it. All sockets are watched by one thread, so an answer is taken at
//! once; only a lost packet costs the whole wait.

use std::net::SocketAddrV4;
use std::time::Duration;

use crate::listener::Listener;
use crate::namespace::Namespace;
use crate::outcome::Outcome;
use crate::{icmp, tcp, udp};

/// What a probe sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// A connection, with a token each way.
    Tcp,
    /// A datagram, with a token each way.
    Udp,
    /// An echo request, answered by the kernel of whoever gets it. Ports mean nothing.
    Icmp,
}

pub use Protocol::{Icmp, Tcp, Udp};

/// Sends from one namespace and says who got it. `Arrived` needs a listener; without one an exchange can at
/// most be `Answered`.
///
/// One probe at a time in a namespace: listeners of two would fight for their ports. Links that have come up
/// just now may swallow the packet (see [`Vpc::settle`](crate::Vpc::settle)).
///
/// # Panics
/// If a socket cannot be opened or bound.
pub fn probe(
    from: &Namespace,
    protocol: Protocol,
    to: SocketAddrV4,
    listeners: &[Listener],
    timeout: Duration,
) -> Outcome {
    match protocol {
        Tcp => tcp::exchange(from, to, listeners, timeout).0,
        Udp => udp::exchange(from, to, listeners, timeout).0,
        Icmp => icmp::echo(from, *to.ip(), listeners, timeout),
    }
}

/// Sends one hand-made UDP datagram with a source address that need not be the sender's, by the sender's own
/// routes, and says who got it. Nobody can answer: an arrival has no `reply_from`.
pub fn spoof(
    from: &Namespace,
    source: SocketAddrV4,
    to: SocketAddrV4,
    listeners: &[Listener],
    timeout: Duration,
) -> Outcome {
    udp::spoof(from, source, to, listeners, timeout)
}
