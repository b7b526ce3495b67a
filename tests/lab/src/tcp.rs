//! A TCP connection through the router: who accepted it, from whom, and did words pass both ways.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4, TcpStream};
use std::os::fd::AsFd;
use std::time::Duration;

use nix::poll::PollFlags;
use socket2::{Domain, Protocol, Socket, Type};

use crate::listener::Listener;
use crate::namespace::Namespace;
use crate::outcome::{Arrival, Outcome};
use crate::wait::{Deadline, ready, token, verdict, when_free};

/// Both ends of an open connection.
pub(crate) struct Connection {
    pub(crate) client: TcpStream,
    pub(crate) server: TcpStream,
}

/// Connects and exchanges tokens. The connection is given as well if words passed both ways.
pub(crate) fn exchange(
    from: &Namespace,
    to: SocketAddrV4,
    listeners: &[Listener],
    timeout: Duration,
) -> (Outcome, Option<Connection>) {
    let open: Vec<(&str, Socket)> = listeners.iter().flat_map(listen).collect();
    let deadline = Deadline::after(timeout);
    let client = match from.run(|| connect(to)) {
        Ok(client) => client,
        Err(error) => return (failed(&error), None),
    };
    let (mut connected, mut accepted) = (false, None);
    while !(connected && accepted.is_some()) {
        // A connected client is always writable: it is watched until then, or the wait would spin.
        let wanted = if connected {
            PollFlags::empty()
        } else {
            PollFlags::POLLOUT
        };
        let mut sockets = vec![(client.as_fd(), wanted)];
        sockets.extend(open.iter().map(|(_, socket)| (socket.as_fd(), PollFlags::POLLIN)));
        let is_ready = ready(&sockets, deadline);
        if is_ready[0] {
            match client.take_error().expect("read the error of a socket") {
                Some(error) => return (failed(&error), None),
                None if connected => {}
                None => connected = true,
            }
        }
        for ((name, socket), _) in open.iter().zip(&is_ready[1..]).filter(|(_, ready)| **ready) {
            accepted = accepted.or_else(|| Some((*name, socket.accept().ok()?)));
        }
        if deadline.passed() {
            break;
        }
    }
    match accepted {
        Some((host, (server, peer))) => {
            let at = v4(&server.local_addr().expect("an accepted socket has an address"));
            let source = v4(&peer);
            let connection = Connection {
                client: client.into(),
                server: server.into(),
            };
            let passed = connection.exchange_tokens(deadline.left().max(Duration::from_millis(50)));
            let reply_from = passed.is_ok().then_some(to);
            let arrival = Arrival {
                host: host.to_owned(),
                source,
                at,
                sent_to: to,
                reply_from,
            };
            (Outcome::Arrived(arrival), passed.is_ok().then_some(connection))
        }
        None if connected => (Outcome::Answered(*to.ip()), None),
        None => (Outcome::Lost, None),
    }
}

impl Connection {
    /// A token from the client to the server and another one back.
    pub(crate) fn exchange_tokens(&self, timeout: Duration) -> io::Result<()> {
        for (mut writer, mut reader) in [(&self.client, &self.server), (&self.server, &self.client)] {
            writer.set_nonblocking(false)?;
            reader.set_nonblocking(false)?;
            reader.set_read_timeout(Some(timeout))?;
            let sent = token();
            writer.write_all(&sent)?;
            let mut got = [0; 16];
            // An answer to an earlier question may still be on its way: only the newest token counts.
            while got != sent {
                reader.read_exact(&mut got)?;
            }
        }
        Ok(())
    }
}

fn listen<'a>(listener: &Listener<'a>) -> Vec<(&'a str, Socket)> {
    listener.namespace.run(|| {
        let bind = |port| bind_and_listen(listener.address, port);
        let name = |port| move |error| panic!("{} listens on tcp port {port}: {error}", listener.name);
        listener
            .ports
            .iter()
            .map(|&port| (listener.name, bind(port).unwrap_or_else(name(port))))
            .collect()
    })
}

fn bind_and_listen(address: Ipv4Addr, port: u16) -> io::Result<Socket> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?;
    // The last probe's connections are still in TIME_WAIT on this port.
    socket.set_reuse_address(true)?;
    socket.set_freebind_v4(true)?;
    socket.set_nonblocking(true)?;
    let address = SocketAddrV4::new(address, port).into();
    when_free(|| socket.bind(&address))?;
    when_free(|| socket.listen(16))?;
    Ok(socket)
}

fn connect(to: SocketAddrV4) -> io::Result<Socket> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    socket.set_tcp_nodelay(true)?;
    match socket.connect(&to.into()) {
        Err(error) if error.raw_os_error() != Some(nix::errno::Errno::EINPROGRESS as i32) => Err(error),
        _ => Ok(socket),
    }
}

fn failed(error: &io::Error) -> Outcome {
    verdict(error).unwrap_or_else(|| panic!("connect: {error}"))
}

pub(crate) fn v4(address: &socket2::SockAddr) -> SocketAddrV4 {
    address
        .as_socket_ipv4()
        .expect("an IPv4 socket has an IPv4 address")
}
