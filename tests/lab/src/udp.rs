//! A datagram through the router, and one with a false source.

use std::io::{self, IoSlice, IoSliceMut};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::{AsFd, AsRawFd};
use std::time::Duration;

use nix::cmsg_space;
use nix::libc::in_pktinfo;
use nix::poll::PollFlags;
use nix::sys::socket::{
    ControlMessage, ControlMessageOwned, MsgFlags, SockaddrIn, recvmsg, sendmsg, setsockopt, sockopt,
};
use socket2::{Domain, Protocol, Socket, Type};

use crate::listener::Listener;
use crate::namespace::Namespace;
use crate::outcome::{Arrival, Outcome};
use crate::packet;
use crate::raw::send_as_it_is;
use crate::wait::{Deadline, ready, token, verdict, when_free};

/// One listening socket: of whom, on which port.
pub(crate) struct Server<'a> {
    host: &'a str,
    port: u16,
    socket: Socket,
}

/// A datagram as the server sees it.
pub(crate) struct Datagram {
    source: SocketAddrV4,
    at: Ipv4Addr,
    payload: Vec<u8>,
}

/// Sends a token, has whoever gets it answer with another one. Gives both sockets if the answer came.
pub(crate) fn exchange(
    from: &Namespace,
    to: SocketAddrV4,
    listeners: &[Listener],
    timeout: Duration,
) -> (Outcome, Option<(Socket, Socket)>) {
    let mut servers = listen_all(listeners);
    let (question, answer) = (token(), token());
    let deadline = Deadline::after(timeout);
    let client = match from.run(|| open_client(to)) {
        Ok(client) => client,
        Err(error) => return (failed(&error), None),
    };
    if let Err(error) = client.send(&question) {
        return (failed(&error), None);
    }
    let mut arrived: Option<(Arrival, usize)> = None;
    while !deadline.passed() {
        let mut sockets = vec![(client.as_fd(), PollFlags::POLLIN)];
        sockets.extend(
            servers
                .iter()
                .map(|server| (server.socket.as_fd(), PollFlags::POLLIN)),
        );
        let is_ready = ready(&sockets, deadline);
        for (index, server) in servers
            .iter()
            .enumerate()
            .filter(|(index, _)| is_ready[index + 1])
        {
            let Ok(datagram) = server.receive() else { continue };
            if datagram.payload == question && arrived.is_none() {
                arrived = Some((server.arrival(&datagram, to), index));
                // A failure shows: the client gets no answer.
                let _ = server.answer(&datagram, &answer);
            }
        }
        if !is_ready[0] {
            continue;
        }
        let got = receive(&client);
        match (got, arrived.take()) {
            // The socket is connected: the kernel takes an answer from `to` alone.
            (Ok(payload), Some((mut arrival, index))) if payload == answer => {
                arrival.reply_from = Some(to);
                return (
                    Outcome::Arrived(arrival),
                    Some((client, servers.swap_remove(index).socket)),
                );
            }
            (Ok(_), None) => return (Outcome::Answered(*to.ip()), None),
            (Err(error), None) => return (failed(&error), None),
            (_, unanswered) => arrived = unanswered,
        }
    }
    (
        arrived.map_or(Outcome::Lost, |(arrival, _)| Outcome::Arrived(arrival)),
        None,
    )
}

/// Sends a token with a false source and waits for it to arrive.
pub(crate) fn spoof(
    from: &Namespace,
    source: SocketAddrV4,
    to: SocketAddrV4,
    listeners: &[Listener],
    timeout: Duration,
) -> Outcome {
    let servers = listen_all(listeners);
    let question = token();
    let deadline = Deadline::after(timeout);
    let sent = send_as_it_is(from, &packet::udp(source, to, &question));
    if let Err(error) = sent {
        return failed(&error);
    }
    while !deadline.passed() {
        let sockets: Vec<_> = servers
            .iter()
            .map(|server| (server.socket.as_fd(), PollFlags::POLLIN))
            .collect();
        for (server, _) in servers
            .iter()
            .zip(ready(&sockets, deadline))
            .filter(|(_, ready)| *ready)
        {
            match server.receive() {
                Ok(datagram) if datagram.payload == question => {
                    return Outcome::Arrived(server.arrival(&datagram, to));
                }
                _ => {}
            }
        }
    }
    Outcome::Lost
}

fn listen_all<'a>(listeners: &[Listener<'a>]) -> Vec<Server<'a>> {
    listeners.iter().flat_map(Server::listen).collect()
}

impl<'a> Server<'a> {
    fn listen(listener: &Listener<'a>) -> Vec<Server<'a>> {
        let bind = |port| match bind(listener.address, port) {
            Ok(socket) => Server {
                host: listener.name,
                port,
                socket,
            },
            Err(error) => panic!("{} listens on udp port {port}: {error}", listener.name),
        };
        listener
            .namespace
            .run(|| listener.ports.iter().map(|&port| bind(port)).collect())
    }

    fn receive(&self) -> io::Result<Datagram> {
        receive_with_destination(&self.socket)
    }

    fn answer(&self, question: &Datagram, payload: &[u8]) -> io::Result<()> {
        answer(&self.socket, question, payload)
    }

    fn arrival(&self, datagram: &Datagram, sent_to: SocketAddrV4) -> Arrival {
        Arrival {
            host: self.host.to_owned(),
            source: datagram.source,
            at: SocketAddrV4::new(datagram.at, self.port),
            sent_to,
            reply_from: None,
        }
    }
}

/// Whether a datagram gets from the client to the server and an answer back.
pub(crate) fn ping_pong(client: &Socket, server: &Socket, timeout: Duration) -> bool {
    let (question, reply) = (token(), token());
    let deadline = Deadline::after(timeout);
    if client.send(&question).is_err() {
        return false;
    }
    while !deadline.passed() {
        let sockets = [
            (client.as_fd(), PollFlags::POLLIN),
            (server.as_fd(), PollFlags::POLLIN),
        ];
        let is_ready = ready(&sockets, deadline);
        if is_ready[1] {
            let asked = receive_with_destination(server)
                .ok()
                .filter(|got| got.payload == question);
            if asked.is_some_and(|datagram| answer(server, &datagram, &reply).is_err()) {
                return false;
            }
        }
        if is_ready[0] {
            match receive(client) {
                Ok(payload) if payload == reply => return true,
                Ok(_) => {}
                Err(_) => return false,
            }
        }
    }
    false
}

fn bind(address: Ipv4Addr, port: u16) -> io::Result<Socket> {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_freebind_v4(true)?;
    socket.set_nonblocking(true)?;
    setsockopt(&socket, sockopt::Ipv4PacketInfo, &true)?;
    when_free(|| socket.bind(&SocketAddrV4::new(address, port).into()))?;
    Ok(socket)
}

fn open_client(to: SocketAddrV4) -> io::Result<Socket> {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_nonblocking(true)?;
    // Without it a UDP socket hears of "port unreachable" alone.
    setsockopt(&socket, sockopt::Ipv4RecvErr, &true)?;
    socket.connect(&to.into())?;
    Ok(socket)
}

fn receive(mut socket: &Socket) -> io::Result<Vec<u8>> {
    use std::io::Read;
    let mut buffer = [0; 64];
    let length = socket.read(&mut buffer)?;
    Ok(buffer[..length].to_vec())
}

fn receive_with_destination(socket: &Socket) -> io::Result<Datagram> {
    let mut buffer = [0; 64];
    let mut control = cmsg_space!(in_pktinfo);
    let mut parts = [IoSliceMut::new(&mut buffer)];
    let message = recvmsg::<SockaddrIn>(
        socket.as_raw_fd(),
        &mut parts,
        Some(&mut control),
        MsgFlags::empty(),
    )?;
    let length = message.bytes;
    let source = message.address.map(SocketAddrV4::from);
    let at = message.cmsgs()?.find_map(|message| match message {
        // In network byte order as it lies in memory.
        ControlMessageOwned::Ipv4PacketInfo(info) => Some(Ipv4Addr::from(info.ipi_addr.s_addr.to_ne_bytes())),
        _ => None,
    });
    let (Some(source), Some(at)) = (source, at) else {
        return Err(io::ErrorKind::InvalidData.into());
    };
    Ok(Datagram {
        source,
        at,
        payload: buffer[..length].to_vec(),
    })
}

/// Answers from the address that was asked. A socket bound to all addresses would answer from the one that the
/// route prefers, which on a machine with many (the router with its EIPs) is another one.
fn answer(socket: &Socket, question: &Datagram, payload: &[u8]) -> io::Result<()> {
    let source = nix::libc::in_addr {
        s_addr: u32::from_ne_bytes(question.at.octets()),
    };
    let info = in_pktinfo {
        ipi_ifindex: 0,
        ipi_spec_dst: source,
        ipi_addr: source,
    };
    let (parts, control) = ([IoSlice::new(payload)], [ControlMessage::Ipv4PacketInfo(&info)]);
    let to = SockaddrIn::from(question.source);
    sendmsg(socket.as_raw_fd(), &parts, &control, MsgFlags::empty(), Some(&to))?;
    Ok(())
}

fn failed(error: &io::Error) -> Outcome {
    verdict(error).unwrap_or_else(|| panic!("send a datagram: {error}"))
}
