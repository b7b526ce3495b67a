//! The few bytes that the lab writes and reads itself: IPv4, UDP, ICMP echo and ARP. Pure: no sockets.

use std::net::{Ipv4Addr, SocketAddrV4};

/// An echo request or reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Echo {
    pub(crate) identifier: u16,
    pub(crate) data: [u8; 16],
}

/// What the lab understands of ICMP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum IcmpPacket {
    Request(Echo),
    Reply(Echo),
    /// About an echo request with this identifier.
    Unreachable {
        identifier: u16,
    },
}

const ECHO_REPLY: u8 = 0;
const UNREACHABLE: u8 = 3;
const ECHO_REQUEST: u8 = 8;

impl Echo {
    /// The request's ICMP message.
    pub(crate) fn encode(self) -> Vec<u8> {
        let mut message = vec![ECHO_REQUEST, 0, 0, 0];
        message.extend(self.identifier.to_be_bytes());
        message.extend(1u16.to_be_bytes());
        message.extend(self.data);
        let sum = checksum(&message);
        message[2..4].copy_from_slice(&sum.to_be_bytes());
        message
    }
}

/// Reads an IPv4 packet with ICMP in it: source, destination, message. `None`: nothing the lab knows.
pub(crate) fn parse_icmp(packet: &[u8]) -> Option<(Ipv4Addr, Ipv4Addr, IcmpPacket)> {
    let (source, destination, message) = parse_ipv4(packet)?;
    let kind = match *message.first()? {
        ECHO_REQUEST => IcmpPacket::Request(parse_echo(message)?),
        ECHO_REPLY => IcmpPacket::Reply(parse_echo(message)?),
        UNREACHABLE => {
            // Behind the eight bytes of its own header: the head of the packet that it is about.
            let (_, _, inner) = parse_ipv4(message.get(8..)?)?;
            let identifier = be16(inner, 4)?;
            (inner.first() == Some(&ECHO_REQUEST)).then_some(IcmpPacket::Unreachable { identifier })?
        }
        _ => return None,
    };
    Some((source, destination, kind))
}

fn parse_echo(message: &[u8]) -> Option<Echo> {
    Some(Echo {
        identifier: be16(message, 4)?,
        data: message.get(8..24)?.try_into().ok()?,
    })
}

fn parse_ipv4(packet: &[u8]) -> Option<(Ipv4Addr, Ipv4Addr, &[u8])> {
    let header = usize::from(packet.first()? & 0x0f) * 4;
    Some((address(packet, 12)?, address(packet, 16)?, packet.get(header..)?))
}

/// A UDP datagram with its IPv4 header, ready for a raw socket.
pub(crate) fn udp(source: SocketAddrV4, to: SocketAddrV4, payload: &[u8]) -> Vec<u8> {
    let length = |header: usize| {
        u16::try_from(header + payload.len())
            .expect("a short payload")
            .to_be_bytes()
    };
    let mut packet = vec![0x45, 0];
    packet.extend(length(28));
    // Identification and fragment 0; time to live 64; UDP; a checksum that the kernel fills in.
    packet.extend([0, 0, 0, 0, 64, 17, 0, 0]);
    packet.extend(source.ip().octets());
    packet.extend(to.ip().octets());
    packet.extend(source.port().to_be_bytes());
    packet.extend(to.port().to_be_bytes());
    packet.extend(length(8));
    // No UDP checksum: RFC 768 allows it, and a router that translates leaves it alone.
    packet.extend([0, 0]);
    packet.extend(payload);
    packet
}

/// Gives a datagram of [`udp`] another source and destination, and the checksum that a raw socket would fill in.
pub(crate) fn readdress(packet: &mut [u8], source: SocketAddrV4, to: SocketAddrV4) {
    packet[10..12].fill(0);
    packet[12..16].copy_from_slice(&source.ip().octets());
    packet[16..20].copy_from_slice(&to.ip().octets());
    let sum = checksum(&packet[..20]);
    packet[10..12].copy_from_slice(&sum.to_be_bytes());
    packet[20..22].copy_from_slice(&source.port().to_be_bytes());
    packet[22..24].copy_from_slice(&to.port().to_be_bytes());
}

/// An ARP frame for IPv4 over Ethernet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Arp {
    /// Where the Ethernet frame is for.
    pub(crate) destination: [u8; 6],
    /// 1 asks, 2 answers.
    pub(crate) operation: u16,
    pub(crate) sender_mac: [u8; 6],
    pub(crate) sender: Ipv4Addr,
    pub(crate) target_mac: [u8; 6],
    pub(crate) target: Ipv4Addr,
}

impl Arp {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut frame = Vec::with_capacity(42);
        frame.extend(self.destination);
        frame.extend(self.sender_mac);
        // EtherType ARP; hardware Ethernet, protocol IPv4, their address lengths.
        frame.extend([0x08, 0x06, 0, 1, 0x08, 0, 6, 4]);
        frame.extend(self.operation.to_be_bytes());
        frame.extend(self.sender_mac);
        frame.extend(self.sender.octets());
        frame.extend(self.target_mac);
        frame.extend(self.target.octets());
        frame
    }

    /// `None`: not ARP for IPv4 over Ethernet.
    pub(crate) fn parse(frame: &[u8]) -> Option<Arp> {
        if frame.get(12..20)? != [0x08, 0x06, 0, 1, 0x08, 0, 6, 4] {
            return None;
        }
        let mac = |at: usize| frame.get(at..at + 6)?.try_into().ok();
        Some(Arp {
            destination: mac(0)?,
            operation: be16(frame, 20)?,
            sender_mac: mac(22)?,
            sender: address(frame, 28)?,
            target_mac: mac(32)?,
            target: address(frame, 38)?,
        })
    }
}

pub(crate) fn be16(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

fn address(bytes: &[u8], at: usize) -> Option<Ipv4Addr> {
    let octets: [u8; 4] = bytes.get(at..at + 4)?.try_into().ok()?;
    Some(octets.into())
}

/// RFC 1071.
pub(crate) fn checksum(bytes: &[u8]) -> u16 {
    let mut sum: u32 = bytes
        .chunks(2)
        .map(|pair| u32::from(pair[0]) << 8 | u32::from(pair.get(1).copied().unwrap_or(0)))
        .sum();
    while sum > 0xffff {
        sum = (sum >> 16) + (sum & 0xffff);
    }
    // The sum was folded into 16 bits.
    !(sum as u16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checksummed_message_sums_to_zero() {
        let message = Echo {
            identifier: 0xbeef,
            data: *b"0123456789abcdef",
        }
        .encode();
        assert_eq!(checksum(&message), 0);
    }

    #[test]
    fn arp_reads_what_it_writes() {
        let arp = Arp {
            destination: [0xff; 6],
            operation: 1,
            sender_mac: [2, 0, 0, 0, 0, 1],
            sender: [10, 90, 3, 1].into(),
            target_mac: [0; 6],
            target: [10, 90, 2, 250].into(),
        };
        assert_eq!(Arp::parse(&arp.encode()), Some(arp));
        assert_eq!(Arp::parse(&arp.encode()[..41]), None);
    }

    #[test]
    fn an_unreachable_message_names_the_request_it_is_about() {
        let echo = Echo {
            identifier: 77,
            data: [1; 16],
        };
        let (a, b) = (
            SocketAddrV4::new([1, 1, 1, 1].into(), 0),
            SocketAddrV4::new([2, 2, 2, 2].into(), 0),
        );
        let header = |from, to| udp(from, to, &[])[..20].to_vec();
        let packet = [
            header(b, a),
            vec![3, 1, 0, 0, 0, 0, 0, 0],
            header(a, b),
            echo.encode(),
        ]
        .concat();
        let read = parse_icmp(&packet).map(|(_, _, message)| message);
        assert_eq!(read, Some(IcmpPacket::Unreachable { identifier: 77 }));
    }
}
