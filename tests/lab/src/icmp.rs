//! An ICMP echo through the router: who got the request, from whom, and whom the reply came from.
//!
//! Raw ICMP sockets get a copy of what their namespace takes for itself, after all translation; what is
//! merely forwarded they do not see. So the router is a listener like any other.

use std::io::{self, Read};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::AsFd;
use std::time::Duration;

use nix::poll::PollFlags;
use socket2::{Domain, Protocol, Socket, Type};

use crate::listener::Listener;
use crate::namespace::Namespace;
use crate::outcome::{Arrival, Outcome};
use crate::packet::{self, Echo, IcmpPacket};
use crate::wait::{Deadline, ready, token, verdict};

/// Sends one echo request. Each request has an identifier and data of its own: the identifier may be
/// rewritten on the way, the data is what it is known by.
pub(crate) fn echo(from: &Namespace, to: Ipv4Addr, listeners: &[Listener], timeout: Duration) -> Outcome {
    let open: Vec<(&str, Socket)> = listeners
        .iter()
        .map(|listener| {
            (
                listener.name,
                listener
                    .namespace
                    .run(raw_socket)
                    .expect("open a raw ICMP socket"),
            )
        })
        .collect();
    let data = token();
    let request = Echo {
        identifier: u16::from_ne_bytes([data[0], data[1]]),
        data,
    };
    let deadline = Deadline::after(timeout);
    let sender = from.run(|| {
        let socket = raw_socket()?;
        socket.send_to(&request.encode(), &SocketAddrV4::new(to, 0).into())?;
        Ok(socket)
    });
    let sender = match sender {
        Ok(sender) => sender,
        Err(error) => return failed(&error),
    };
    let mut arrived: Option<Arrival> = None;
    while !deadline.passed() {
        let mut sockets = vec![(sender.as_fd(), PollFlags::POLLIN)];
        sockets.extend(open.iter().map(|(_, socket)| (socket.as_fd(), PollFlags::POLLIN)));
        let is_ready = ready(&sockets, deadline);
        for ((name, socket), _) in open.iter().zip(&is_ready[1..]).filter(|(_, ready)| **ready) {
            for (source, at, packet) in received(socket) {
                let IcmpPacket::Request(got) = packet else {
                    continue;
                };
                // The first to get it is meant; a router that answers itself forwards nothing.
                if got.data == data && arrived.is_none() {
                    arrived = Some(arrival(name, source, at, to));
                }
            }
        }
        for (source, _, packet) in received(&sender) {
            match packet {
                IcmpPacket::Reply(got) if got.data == data => {
                    return match arrived {
                        Some(arrival) => {
                            let reply_from = Some(SocketAddrV4::new(source, 0));
                            Outcome::Arrived(Arrival {
                                reply_from,
                                ..arrival
                            })
                        }
                        None => Outcome::Answered(source),
                    };
                }
                IcmpPacket::Unreachable { identifier } if identifier == request.identifier => {
                    return arrived.map_or(Outcome::Unreachable, Outcome::Arrived);
                }
                _ => {}
            }
        }
    }
    arrived.map_or(Outcome::Lost, Outcome::Arrived)
}

fn arrival(host: &str, source: Ipv4Addr, at: Ipv4Addr, to: Ipv4Addr) -> Arrival {
    Arrival {
        host: host.to_owned(),
        source: SocketAddrV4::new(source, 0),
        at: SocketAddrV4::new(at, 0),
        sent_to: SocketAddrV4::new(to, 0),
        reply_from: None,
    }
}

fn raw_socket() -> io::Result<Socket> {
    let socket = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::ICMPV4))?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// Everything that waits at a raw socket: source, destination, content.
fn received(mut socket: &Socket) -> Vec<(Ipv4Addr, Ipv4Addr, IcmpPacket)> {
    let mut packets = Vec::new();
    let mut buffer = [0; 2048];
    while let Ok(length) = socket.read(&mut buffer) {
        packets.extend(packet::parse_icmp(&buffer[..length]));
    }
    packets
}

fn failed(error: &io::Error) -> Outcome {
    verdict(error).unwrap_or_else(|| panic!("send an echo request: {error}"))
}
