//! Flows that stay open while the router is reconfigured, to ask again and again whether they still pass.

use std::net::SocketAddrV4;
use std::time::Duration;

use socket2::Socket;

use crate::listener::Listener;
use crate::namespace::Namespace;
use crate::outcome::Outcome;
use crate::tcp::{self, Connection};
use crate::udp;

/// An open TCP connection.
pub struct TcpFlow {
    connection: Connection,
    timeout: Duration,
}

/// Two UDP sockets that have spoken with each other.
pub struct UdpFlow {
    client: Socket,
    server: Socket,
    timeout: Duration,
}

impl TcpFlow {
    /// Connects as the probe does, and keeps the connection.
    ///
    /// # Errors
    /// What became of the attempt, if words did not pass both ways.
    pub fn open(
        from: &Namespace,
        to: SocketAddrV4,
        listeners: &[Listener],
        timeout: Duration,
    ) -> Result<TcpFlow, Outcome> {
        match tcp::exchange(from, to, listeners, timeout) {
            (_, Some(connection)) => Ok(TcpFlow { connection, timeout }),
            (outcome, None) => Err(outcome),
        }
    }

    /// Whether a word passes to the server and another one back, in time.
    pub fn ping_pong(&self) -> bool {
        self.connection.exchange_tokens(self.timeout).is_ok()
    }
}

impl UdpFlow {
    /// Exchanges datagrams as the probe does, and keeps the sockets.
    ///
    /// # Errors
    /// What became of the attempt, if no answer came.
    pub fn open(
        from: &Namespace,
        to: SocketAddrV4,
        listeners: &[Listener],
        timeout: Duration,
    ) -> Result<UdpFlow, Outcome> {
        match udp::exchange(from, to, listeners, timeout) {
            (_, Some((client, server))) => Ok(UdpFlow {
                client,
                server,
                timeout,
            }),
            (outcome, None) => Err(outcome),
        }
    }

    /// Whether a datagram passes to the server and its answer back, in time.
    pub fn ping_pong(&self) -> bool {
        udp::ping_pong(&self.client, &self.server, self.timeout)
    }
}
