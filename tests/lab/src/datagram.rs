//! IPv4 packets that carry a mark of their own, written and read byte by byte. Pure: no sockets.
//!
//! A router rewrites addresses and ports, and answers in its own words. What survives is the mark: in the data, in
//! TCP's sequence number, in an answer's acknowledgement, in the packet that an ICMP error is about.

use std::net::Ipv4Addr;

use crate::packet::{be16, checksum};

/// What a packet is, beside its addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Content {
    /// A TCP segment without data.
    Tcp {
        /// Source port.
        source: u16,
        /// Destination port.
        destination: u16,
        /// What it is for.
        kind: Segment,
    },
    /// A UDP datagram.
    Udp {
        /// Source port.
        source: u16,
        /// Destination port.
        destination: u16,
    },
    /// An ICMP echo request, with its identifier.
    Echo(u16),
    /// An ICMP echo reply, with its identifier.
    EchoReply(u16),
    /// ICMP: destination unreachable, with its code. Only read.
    Unreachable(u8),
    /// Any other protocol, with its number.
    Other(u8),
}

/// What a TCP segment is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Segment {
    /// Opens a connection.
    Syn,
    /// Answers that it is open.
    SynAck,
    /// Answers that nobody listens. Only read.
    Reset,
}

/// An IPv4 packet with a mark.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Datagram {
    /// Its source; 0.0.0.0 from the router itself: the kernel chooses.
    pub source: Ipv4Addr,
    /// Its destination.
    pub destination: Ipv4Addr,
    /// What it is.
    pub content: Content,
    /// The mark; of an ICMP error that of the packet it is about.
    pub mark: u32,
}

/// Before the mark, in data: what is not ours does not begin like this.
const MAGIC: [u8; 4] = *b"kvr\n";

const ICMP: u8 = 1;
const TCP: u8 = 6;
const UDP: u8 = 17;

const SYN: u8 = 0x02;
const RST: u8 = 0x04;
const ACK: u8 = 0x10;

impl Datagram {
    /// The packet, with right checksums.
    ///
    /// # Panics
    /// If it is one that is only read.
    pub fn encode(&self) -> Vec<u8> {
        let data = [MAGIC, self.mark.to_be_bytes()].concat();
        let (protocol, mut message) = match self.content {
            Content::Tcp {
                source,
                destination,
                kind,
            } => {
                // An answer to a SYN acknowledges its sequence number, which is the mark.
                let (flags, acknowledged) = match kind {
                    Segment::Syn => (SYN, 0),
                    Segment::SynAck => (SYN | ACK, self.mark.wrapping_add(1)),
                    Segment::Reset => panic!("resets are the router's to send"),
                };
                let mut message = [source.to_be_bytes(), destination.to_be_bytes()].concat();
                message.extend(self.mark.to_be_bytes());
                message.extend(acknowledged.to_be_bytes());
                // Five words of header; a window; checksum and urgent pointer.
                message.extend([0x50, flags, 0xff, 0xff, 0, 0, 0, 0]);
                (TCP, message)
            }
            Content::Udp { source, destination } => {
                let mut message = [source.to_be_bytes(), destination.to_be_bytes()].concat();
                // No checksum: RFC 768 allows it, and the kernel may yet choose the source.
                message.extend([0, 16, 0, 0]);
                message.extend(&data);
                (UDP, message)
            }
            Content::Echo(identifier) | Content::EchoReply(identifier) => {
                let kind = if matches!(self.content, Content::Echo(_)) {
                    8
                } else {
                    0
                };
                let mut message = vec![kind, 0, 0, 0];
                message.extend(identifier.to_be_bytes());
                message.extend([0, 1]);
                message.extend(&data);
                let sum = checksum(&message);
                message[2..4].copy_from_slice(&sum.to_be_bytes());
                (ICMP, message)
            }
            Content::Other(protocol) => (protocol, data),
            Content::Unreachable(_) => panic!("ICMP errors are the router's to send"),
        };
        if protocol == TCP {
            let mut pseudo = [self.source.octets(), self.destination.octets()].concat();
            pseudo.extend([0, TCP, 0, 20]);
            pseudo.extend(&message);
            let sum = checksum(&pseudo);
            message[16..18].copy_from_slice(&sum.to_be_bytes());
        }
        let length = u16::try_from(20 + message.len()).expect("a short packet");
        let mut packet = vec![0x45, 0];
        packet.extend(length.to_be_bytes());
        // Its number, not a fragment, time to live 64.
        packet.extend([
            self.mark.to_be_bytes()[2],
            self.mark.to_be_bytes()[3],
            0,
            0,
            64,
            protocol,
            0,
            0,
        ]);
        packet.extend(self.source.octets());
        packet.extend(self.destination.octets());
        let sum = checksum(&packet);
        packet[10..12].copy_from_slice(&sum.to_be_bytes());
        packet.extend(message);
        packet
    }

    /// Reads an IPv4 packet. `None`: it has no mark.
    pub fn parse(packet: &[u8]) -> Option<Datagram> {
        let header = usize::from(packet.first()? & 0x0f) * 4;
        let address = |at: usize| -> Option<Ipv4Addr> {
            Some(<[u8; 4]>::try_from(packet.get(at..at + 4)?).ok()?.into())
        };
        let message = packet.get(header..)?;
        let be32 = |at: usize| -> Option<u32> {
            Some(u32::from_be_bytes(message.get(at..at + 4)?.try_into().ok()?))
        };
        let marked = |at: usize| be32(at + 4).filter(|_| message.get(at..at + 4) == Some(&MAGIC));
        let (content, mark) = match *packet.get(9)? {
            TCP => {
                let (source, destination) = (be16(message, 0)?, be16(message, 2)?);
                let flags = message.get(13)? & (SYN | RST | ACK);
                let (kind, mark) = match flags {
                    SYN => (Segment::Syn, be32(4)?),
                    _ if flags & RST != 0 => (Segment::Reset, be32(8)?.wrapping_sub(1)),
                    _ => (Segment::SynAck, be32(4)?),
                };
                (
                    Content::Tcp {
                        source,
                        destination,
                        kind,
                    },
                    mark,
                )
            }
            UDP => {
                let (source, destination) = (be16(message, 0)?, be16(message, 2)?);
                (Content::Udp { source, destination }, marked(8)?)
            }
            ICMP => match *message.first()? {
                8 => (Content::Echo(be16(message, 4)?), marked(8)?),
                0 => (Content::EchoReply(be16(message, 4)?), marked(8)?),
                3 => {
                    let about = Datagram::parse(message.get(8..)?)?;
                    (Content::Unreachable(*message.get(1)?), about.mark)
                }
                _ => return None,
            },
            other => (Content::Other(other), marked(0)?),
        };
        Some(Datagram {
            source: address(12)?,
            destination: address(16)?,
            content,
            mark,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_reads_back() {
        let ports = |kind| Content::Tcp {
            source: 1,
            destination: 65535,
            kind,
        };
        for content in [
            ports(Segment::Syn),
            ports(Segment::SynAck),
            Content::Udp {
                source: 7,
                destination: 53,
            },
            Content::Echo(9),
            Content::EchoReply(9),
            Content::Other(253),
        ] {
            let datagram = Datagram {
                source: [192, 168, 100, 190].into(),
                destination: [10, 90, 2, 250].into(),
                content,
                mark: 0xdead_beef,
            };
            let packet = datagram.encode();
            assert_eq!(Datagram::parse(&packet), Some(datagram));
            assert_eq!(
                Datagram::parse(&packet[..packet.len() - 1 - 8 * usize::from(packet[9] == 6)]),
                None
            );
            assert_eq!(checksum(&packet[..20]), 0);
        }
    }
}
