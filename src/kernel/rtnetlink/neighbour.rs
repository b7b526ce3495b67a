//! Entries of overlay links as bytes, written and read by hand: there may be tens of thousands of them, two for each VM.
//! `struct ndmsg` and its attributes are those of linux/neighbour.h.

use std::io;
use std::net::Ipv4Addr;

use netlink_packet_core::{NLM_F_APPEND, NLM_F_CREATE, NLM_F_DUMP, NLM_F_REPLACE, NLM_F_REQUEST};
use nix::libc;

use crate::model::{FrameAddr, LinkIndex, Neighbour};
use crate::owned::ROUTE_PROTOCOL;
use crate::plan::Operation;

const HEADER: usize = 16;
/// `struct ndmsg`: family, two of padding, link, state, flags, type.
const NDMSG: usize = 12;
const ATTRIBUTE: usize = 4;

/// `NTF_SELF`: of the link itself, not of a bridge that it is in.
const NTF_SELF: u8 = 0x02;
/// `NUD_PERMANENT`.
const NUD_PERMANENT: u16 = 0x80;
/// `NUD_VALID` (net/neighbour.h): all states in which there is a hardware address to send to.
const NUD_VALID: u16 = 0xde;

const NDA_DST: u16 = 1;
const NDA_LLADDR: u16 = 2;
const NDA_PORT: u16 = 6;
const NDA_VNI: u16 = 7;
const NDA_IFINDEX: u16 = 8;
/// Linux 5.0; before, the kernel passes over it.
const NDA_PROTOCOL: u16 = 12;

/// Writes the message of an operation on such an entry (`flags` beside its own), and says whether it is one.
pub(super) fn write(buffer: &mut Vec<u8>, operation: &Operation, sequence: u32, flags: u16) -> bool {
    let (kind, link, neighbour, own) = match operation {
        // `bridge fdb append`, for frames that may go to many; else `bridge fdb replace`, `ip neighbour replace`
        Operation::AddNeighbour { link, neighbour } => {
            let is_flooded = matches!(neighbour, Neighbour::Forward { to, .. } if to.is_many());
            let own = if is_flooded { NLM_F_APPEND } else { NLM_F_REPLACE };
            (libc::RTM_NEWNEIGH, link, neighbour, NLM_F_CREATE | own)
        }
        // `bridge fdb replace`, `ip neighbour replace`
        Operation::ReplaceNeighbour { link, to, .. } => {
            (libc::RTM_NEWNEIGH, link, to, NLM_F_CREATE | NLM_F_REPLACE)
        }
        // `bridge fdb del`, `ip neighbour del`
        Operation::DeleteNeighbour { link, neighbour } => (libc::RTM_DELNEIGH, link, neighbour, 0),
        _ => return false,
    };
    let start = buffer.len();
    buffer.extend_from_slice(&[0; 4]);
    buffer.extend_from_slice(&kind.to_ne_bytes());
    buffer.extend_from_slice(&(flags | own).to_ne_bytes());
    buffer.extend_from_slice(&sequence.to_ne_bytes());
    // The sender's port: the kernel knows it.
    buffer.extend_from_slice(&[0; 4]);
    let (family, entry_flags) = match neighbour {
        Neighbour::Forward { .. } => (libc::AF_BRIDGE, NTF_SELF),
        Neighbour::Address { .. } => (libc::AF_INET, 0),
    };
    buffer.extend_from_slice(&[family as u8, 0, 0, 0]);
    buffer.extend_from_slice(&link.index.0.to_ne_bytes());
    buffer.extend_from_slice(&NUD_PERMANENT.to_ne_bytes());
    buffer.extend_from_slice(&[entry_flags, 0]);
    match neighbour {
        Neighbour::Forward {
            to,
            host,
            port,
            vni,
            out,
        } => {
            attribute(buffer, NDA_LLADDR, &to.0);
            attribute(buffer, NDA_DST, &host.octets());
            if let Some(port) = port {
                attribute(buffer, NDA_PORT, &port.to_be_bytes());
            }
            if let Some(vni) = vni {
                attribute(buffer, NDA_VNI, &vni.to_ne_bytes());
            }
            if let Some(out) = out {
                attribute(buffer, NDA_IFINDEX, &out.0.to_ne_bytes());
            }
        }
        Neighbour::Address { address, mac } => {
            attribute(buffer, NDA_DST, &address.octets());
            if kind == libc::RTM_NEWNEIGH {
                attribute(buffer, NDA_LLADDR, &mac.0);
                attribute(buffer, NDA_PROTOCOL, &[ROUTE_PROTOCOL]);
            }
        }
    }
    let length = (buffer.len() - start) as u32;
    if let Some(at) = buffer.get_mut(start..start + 4) {
        at.copy_from_slice(&length.to_ne_bytes());
    }
    true
}

/// Adds an attribute; messages stay at multiples of four.
fn attribute(buffer: &mut Vec<u8>, kind: u16, value: &[u8]) {
    buffer.extend_from_slice(&((ATTRIBUTE + value.len()) as u16).to_ne_bytes());
    buffer.extend_from_slice(&kind.to_ne_bytes());
    buffer.extend_from_slice(value);
    buffer.resize(buffer.len().next_multiple_of(4), 0);
}

/// What asks for all entries of a family: of all links, since a request for each of hundreds would take longer.
pub(super) fn request(family: i32, sequence: u32) -> Vec<u8> {
    let mut bytes = ((HEADER + NDMSG) as u32).to_ne_bytes().to_vec();
    bytes.extend_from_slice(&libc::RTM_GETNEIGH.to_ne_bytes());
    bytes.extend_from_slice(&(NLM_F_REQUEST | NLM_F_DUMP).to_ne_bytes());
    bytes.extend_from_slice(&sequence.to_ne_bytes());
    bytes.resize(HEADER, 0);
    bytes.push(family as u8);
    bytes.resize(HEADER + NDMSG, 0);
    bytes
}

/// Reads a message of a dump, with its header: an entry that is there for good, and its link. An address's entry of ours counts
/// as well where another program has given it its own state: a DHCP server writes down whom it answers (`SIOCSARP`), and takes
/// the state with it, but nothing else. `None`: it is none, or no such message.
pub(super) fn read(message: &[u8]) -> Option<(LinkIndex, Neighbour)> {
    let payload = message.get(HEADER..)?;
    let (&[family, _, _, _, a, b, c, d, state, high, ..], mut rest) = payload.split_first_chunk::<NDMSG>()?;
    let state = u16::from_ne_bytes([state, high]);
    if state & NUD_VALID == 0 {
        return None;
    }
    let (mut to, mut address, mut port, mut vni, mut out) = (None, None, None, None, None);
    let mut is_ours = false;
    while let Some(([low, high, kind, upper], _)) = rest.split_first_chunk::<ATTRIBUTE>() {
        let length = usize::from(u16::from_ne_bytes([*low, *high]));
        let value = rest.get(ATTRIBUTE..length)?;
        match u16::from_ne_bytes([*kind, *upper]) {
            NDA_DST => address = <[u8; 4]>::try_from(value).ok().map(Ipv4Addr::from),
            NDA_LLADDR => to = <[u8; 6]>::try_from(value).ok().map(FrameAddr),
            NDA_PORT => port = value.try_into().ok().map(u16::from_be_bytes),
            NDA_PROTOCOL => is_ours = value == [ROUTE_PROTOCOL],
            NDA_VNI => vni = value.try_into().ok().map(u32::from_ne_bytes),
            NDA_IFINDEX => {
                out = value
                    .try_into()
                    .ok()
                    .map(|index| LinkIndex(u32::from_ne_bytes(index)));
            }
            _ => {}
        }
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    let neighbour = match i32::from(family) {
        libc::AF_BRIDGE => Neighbour::Forward {
            to: to?,
            host: address?,
            port,
            vni,
            out,
        },
        libc::AF_INET => Neighbour::Address {
            address: address?,
            mac: to?,
        },
        _ => return None,
    };
    let is_there = state & NUD_PERMANENT != 0 || is_ours && i32::from(family) == libc::AF_INET;
    is_there.then_some((LinkIndex(u32::from_ne_bytes([a, b, c, d])), neighbour))
}

/// Shows the messages of a datagram to `see`, and says whether it was the last one of a dump.
pub(super) fn read_dump(mut rest: &[u8], sequence: u32, mut see: impl FnMut(&[u8])) -> io::Result<bool> {
    while !rest.is_empty() {
        let garbled = || io::Error::new(io::ErrorKind::InvalidData, "a message longer than the answer");
        let length = rest.first_chunk().map_or(0, |length| u32::from_ne_bytes(*length)) as usize;
        let message = rest
            .get(..length)
            .filter(|message| message.len() >= HEADER)
            .ok_or_else(garbled)?;
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        // Of an earlier look that was given up on.
        if message[8..12] != sequence.to_ne_bytes() {
            continue;
        }
        match i32::from(u16::from_ne_bytes([message[4], message[5]])) {
            libc::NLMSG_DONE | libc::NLMSG_ERROR => {
                let code = message.get(HEADER..).and_then(|code| code.first_chunk());
                let code = code.map_or(0, |code| i32::from_ne_bytes(*code));
                return match code.saturating_neg() {
                    ..=0 => Ok(true),
                    errno => Err(io::Error::from_raw_os_error(errno)),
                };
            }
            _ => see(message),
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::LinkName;
    use crate::plan::LinkRef;

    fn all() -> Vec<Neighbour> {
        let host = Ipv4Addr::new(10, 90, 4, 11);
        let to = FrameAddr([2, 0x6e, 0x1d, 0x4e, 0x69, 0xef]);
        vec![
            Neighbour::forward(to, host),
            Neighbour::forward(FrameAddr::OTHERS, host),
            Neighbour::Forward {
                to,
                host,
                port: Some(8472),
                vni: Some(7),
                out: Some(LinkIndex(3)),
            },
            Neighbour::Address {
                address: Ipv4Addr::new(172, 20, 1, 10),
                mac: to,
            },
        ]
    }

    fn link() -> LinkRef {
        LinkRef {
            index: LinkIndex(1_580_001),
            name: LinkName("kvr-vx100".into()),
        }
    }

    fn written(neighbour: Neighbour) -> Vec<u8> {
        let mut bytes = Vec::new();
        let link = link();
        assert!(write(
            &mut bytes,
            &Operation::AddNeighbour { link, neighbour },
            7,
            0
        ));
        bytes
    }

    #[test]
    fn what_is_written_reads_back() {
        for neighbour in all() {
            let bytes = written(neighbour);
            assert_eq!(bytes.len() % 4, 0);
            assert_eq!(bytes[..4], (bytes.len() as u32).to_ne_bytes());
            assert_eq!(read(&bytes), Some((link().index, neighbour)));
        }
    }

    #[test]
    fn what_is_not_there_for_good_is_passed_over_and_no_byte_makes_it_panic() {
        for neighbour in all() {
            let bytes = written(neighbour);
            let mut dynamic = bytes.clone();
            dynamic[HEADER + 8] = 0x02;
            // Of an address it is ours, in whatever state another program has put it; but not if nobody answers.
            let is_address = matches!(neighbour, Neighbour::Address { .. });
            assert_eq!(read(&dynamic), is_address.then_some((link().index, neighbour)));
            dynamic[HEADER + 8] = 0x20;
            assert_eq!(read(&dynamic), None);
            for cut in 0..bytes.len() {
                let _ = read(&bytes[..cut]);
                let _ = read_dump(&bytes[..cut], 7, |_| ());
                for value in [0, 1, 3, 4, 0x7f, 0xff] {
                    let mut other = bytes.clone();
                    other[cut] = value;
                    let _ = read(&other);
                    let _ = read_dump(&other, 7, |_| ());
                }
            }
        }
    }

    #[test]
    fn a_dump_ends_with_done_or_with_an_error() {
        let message = |kind: i32, code: i32| {
            let mut bytes = 20_u32.to_ne_bytes().to_vec();
            bytes.extend((kind as u16).to_ne_bytes());
            bytes.extend([0; 2]);
            bytes.extend(7_u32.to_ne_bytes());
            bytes.extend([0; 4]);
            bytes.extend(code.to_ne_bytes());
            bytes
        };
        let mut seen = 0;
        let bytes = [written(all()[0]), message(libc::NLMSG_DONE, 0)].concat();
        assert!(read_dump(&bytes, 7, |_| seen += 1).unwrap());
        assert_eq!(seen, 1);
        let refused = read_dump(&message(libc::NLMSG_ERROR, -1), 7, |_| ()).unwrap_err();
        assert_eq!(refused.raw_os_error(), Some(1));
        assert!(!read_dump(&message(libc::NLMSG_DONE, 0), 8, |_| ()).unwrap());
    }
}
