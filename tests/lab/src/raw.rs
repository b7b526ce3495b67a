//! IPv4 packets that are sent as they are.

use std::net::{Ipv4Addr, SocketAddrV4};

use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use crate::namespace::Namespace;
use crate::packet::checksum;

/// Where the checksum is: of TCP (RFC 9293, section 3.1) and UDP (RFC 768), by protocol number.
const CHECKSUMS: [(u8, usize); 2] = [(6, 16), (17, 6)];

/// Sends an IPv4 packet by the routes of a namespace; the kernel fills in the checksum of its first header.
///
/// # Errors
/// If the kernel refuses it.
///
/// # Panics
/// If it is too short to have a destination.
pub fn send_as_it_is(from: &Namespace, packet: &[u8]) -> std::io::Result<()> {
    let destination: [u8; 4] = packet[16..20].try_into().expect("four octets");
    let to = SocketAddrV4::new(Ipv4Addr::from(destination), 0);
    from.run(|| {
        // A raw socket of this protocol takes the IP header from us and still uses the sender's routes.
        let protocol = Protocol::from(nix::libc::IPPROTO_RAW);
        let socket = Socket::new(Domain::IPV4, Type::RAW, Some(protocol))?;
        socket.send_to(packet, &SockAddr::from(to)).map(drop)
    })
}

/// Fills in the checksum of a TCP or UDP packet whose IPv4 header has no options.
///
/// # Panics
/// If it is of another protocol, or too short.
pub fn fill_in_checksum(packet: &mut [u8]) {
    let protocol = packet[9];
    let (_, at) = *CHECKSUMS
        .iter()
        .find(|(number, _)| *number == protocol)
        .expect("TCP or UDP");
    packet[20 + at..22 + at].fill(0);
    let length = u16::try_from(packet.len() - 20).expect("a short packet");
    let pseudo = [
        &packet[12..20],
        &[0, protocol],
        &length.to_be_bytes(),
        &packet[20..],
    ]
    .concat();
    packet[20 + at..22 + at].copy_from_slice(&checksum(&pseudo).to_be_bytes());
}
