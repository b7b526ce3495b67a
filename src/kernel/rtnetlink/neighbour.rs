//! Entries of overlay links as bytes, written and read by hand: there may be tens of thousands of them, two for each VM.
//! `struct ndmsg` and its attributes are those of linux/neighbour.h.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::Ipv4Addr;

use netlink_packet_core::{NLM_F_APPEND, NLM_F_CREATE, NLM_F_DUMP, NLM_F_REPLACE, NLM_F_REQUEST};
use nix::libc;

use crate::model::{FrameAddr, LinkIndex, Neighbour, NeighbourKey};
use crate::owned::ROUTE_PROTOCOL;
use crate::plan::Operation;

/// As in [`Observed`](crate::model::Observed).
type Neighbours = BTreeMap<LinkIndex, BTreeSet<Neighbour>>;

const HEADER: usize = 16;
/// `struct ndmsg`: family, two of padding, link, state, flags, type.
const NDMSG: usize = 12;
const ATTRIBUTE: usize = 4;

/// `NTF_SELF`: of the link itself, not of a bridge that it is in.
const NTF_SELF: u8 = 0x02;
/// `NTF_PROXY`: what is answered for, and no neighbour.
const NTF_PROXY: u8 = 0x08;
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

/// What a message says of an entry.
struct Entry {
    family: i32,
    link: LinkIndex,
    state: u16,
    flags: u8,
    to: Option<FrameAddr>,
    address: Option<Ipv4Addr>,
    port: Option<u16>,
    vni: Option<u32>,
    out: Option<LinkIndex>,
    is_ours: bool,
}

impl Entry {
    /// Reads a message from behind its netlink header on.
    fn read(payload: &[u8]) -> Option<Self> {
        let (&[family, _, _, _, a, b, c, d, state, high, flags, _], mut rest) =
            payload.split_first_chunk::<NDMSG>()?;
        let mut entry = Self {
            family: i32::from(family),
            link: LinkIndex(u32::from_ne_bytes([a, b, c, d])),
            state: u16::from_ne_bytes([state, high]),
            flags,
            to: None,
            address: None,
            port: None,
            vni: None,
            out: None,
            is_ours: false,
        };
        while let Some(([low, high, kind, upper], _)) = rest.split_first_chunk::<ATTRIBUTE>() {
            let length = usize::from(u16::from_ne_bytes([*low, *high]));
            let value = rest.get(ATTRIBUTE..length)?;
            match u16::from_ne_bytes([*kind, *upper]) {
                NDA_DST => entry.address = <[u8; 4]>::try_from(value).ok().map(Ipv4Addr::from),
                NDA_LLADDR => entry.to = <[u8; 6]>::try_from(value).ok().map(FrameAddr),
                NDA_PORT => entry.port = value.try_into().ok().map(u16::from_be_bytes),
                NDA_PROTOCOL => entry.is_ours = value == [ROUTE_PROTOCOL],
                NDA_VNI => entry.vni = value.try_into().ok().map(u32::from_ne_bytes),
                NDA_IFINDEX => {
                    entry.out = value
                        .try_into()
                        .ok()
                        .map(|index| LinkIndex(u32::from_ne_bytes(index)));
                }
                _ => {}
            }
            rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        }
        Some(entry)
    }

    fn neighbour(&self) -> Option<Neighbour> {
        match self.family {
            libc::AF_BRIDGE => Some(Neighbour::Forward {
                to: self.to?,
                host: self.address?,
                port: self.port,
                vni: self.vni,
                out: self.out,
            }),
            libc::AF_INET => Some(Neighbour::Address {
                address: self.address?,
                mac: self.to?,
            }),
            _ => None,
        }
    }

    /// What is there for good. An address's entry of ours counts as well where another program has given it its own state: a DHCP
    /// server writes down whom it answers (`SIOCSARP`), and takes the state with it, but nothing else.
    fn for_good(&self) -> Option<Neighbour> {
        let is_kept = self.state & NUD_PERMANENT != 0 || self.is_ours && self.family == libc::AF_INET;
        self.neighbour()
            .filter(|_| is_kept && self.state & NUD_VALID != 0)
    }
}

/// Reads a message of a dump, with its header: an entry that is there for good, and its link. `None`: it is none, or no such
/// message.
pub(super) fn read(message: &[u8]) -> Option<(LinkIndex, Neighbour)> {
    let entry = Entry::read(message.get(HEADER..)?)?;
    Some((entry.link, entry.for_good()?))
}

/// What became of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::kernel) struct NeighbourChange {
    link: LinkIndex,
    key: NeighbourKey,
    /// What is there for good now under this key.
    now: Option<Neighbour>,
}

impl NeighbourChange {
    /// Reads an event from behind its netlink header on. `None`: what became of what is not said, or not by this alone.
    pub(in crate::kernel) fn read(kind: u16, payload: &[u8]) -> Option<Self> {
        let entry = Entry::read(payload)?;
        let key = match entry.family {
            // An entry that goes has no hardware address any more. A proxy's is another table's.
            libc::AF_INET if entry.flags & NTF_PROXY == 0 => NeighbourKey::Address(entry.address?),
            // Of those to many the event tells one host, while all of them change state (`vxlan_fdb_update_existing`).
            libc::AF_BRIDGE => match entry.neighbour()?.key() {
                NeighbourKey::Flood(_) => return None,
                key => key,
            },
            _ => return None,
        };
        let now = entry.for_good().filter(|_| kind == libc::RTM_NEWNEIGH);
        Some(Self {
            link: entry.link,
            key,
            now,
        })
    }

    /// What is there now, as [`read`] has it.
    #[cfg(fuzzing)]
    pub(super) fn entry(&self) -> Option<(LinkIndex, Neighbour)> {
        Some((self.link, self.now?))
    }
}

/// What is there after these changes, in their order, of what was there when the first of them was listened for.
pub(super) fn follow(last: &Neighbours, changes: &[NeighbourChange]) -> Neighbours {
    let mut latest = BTreeMap::<LinkIndex, BTreeMap<NeighbourKey, Option<Neighbour>>>::new();
    for change in changes {
        (latest.entry(change.link).or_default()).insert(change.key, change.now);
    }
    let mut all = last.clone();
    for (link, changed) in latest {
        let entries = all.entry(link).or_default();
        entries.retain(|one| !changed.contains_key(&one.key()));
        entries.extend(changed.into_values().flatten());
    }
    all.retain(|_, entries| !entries.is_empty());
    all
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
    fn an_event_tells_what_is_there_under_which_key() {
        let told = |kind, neighbour| NeighbourChange::read(kind, &written(neighbour)[HEADER..]);
        for neighbour in all() {
            let change = |now| {
                let is_one = !matches!(neighbour.key(), NeighbourKey::Flood(_));
                is_one.then_some(NeighbourChange {
                    link: link().index,
                    key: neighbour.key(),
                    now,
                })
            };
            assert_eq!(told(libc::RTM_NEWNEIGH, neighbour), change(Some(neighbour)));
            assert_eq!(told(libc::RTM_DELNEIGH, neighbour), change(None));
        }
        // As `ip neigh del` has it: failed, without a hardware address.
        let mut gone = written(all()[3]);
        gone[HEADER + 8] = 0x20;
        gone[HEADER + NDMSG + 8 + 2] = 0xff;
        let change = NeighbourChange::read(libc::RTM_DELNEIGH, &gone[HEADER..]).unwrap();
        assert_eq!((change.key, change.now), (all()[3].key(), None));
    }

    #[test]
    fn of_several_changes_of_one_entry_the_last_one_counts() {
        let (from, address) = (all()[0], all()[3]);
        let index = link().index;
        let change = |neighbour: Neighbour, is_there: bool| NeighbourChange {
            link: index,
            key: neighbour.key(),
            now: is_there.then_some(neighbour),
        };
        let other = Neighbour::forward(FrameAddr([2, 0, 0, 0, 0, 1]), Ipv4Addr::new(10, 90, 4, 11));
        let last = Neighbours::from([(index, [from, address].into())]);
        let to = Neighbour::forward(FrameAddr([2, 0x6e, 0x1d, 0x4e, 0x69, 0xef]), Ipv4Addr::LOCALHOST);
        for (changes, now) in [
            (vec![], vec![from, address]),
            (vec![change(to, true)], vec![to, address]),
            (vec![change(to, true), change(from, true)], vec![from, address]),
            // Heard of although the look had seen it already.
            (vec![change(from, true)], vec![from, address]),
            (vec![change(from, false), change(from, true)], vec![from, address]),
            (vec![change(from, true), change(from, false)], vec![address]),
            (
                vec![change(other, true), change(address, false)],
                vec![from, other],
            ),
            (vec![change(other, false)], vec![from, address]),
        ] {
            let expected = Neighbours::from([(index, now.into_iter().collect())]);
            assert_eq!(follow(&last, &changes), expected, "{changes:?}");
        }
        let none = [change(from, false), change(address, false)];
        assert_eq!(follow(&last, &none), Neighbours::new());
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
                let _ = NeighbourChange::read(libc::RTM_NEWNEIGH, &bytes[HEADER.min(cut)..cut]);
                let _ = read_dump(&bytes[..cut], 7, |_| ());
                for value in [0, 1, 3, 4, 0x7f, 0xff] {
                    let mut other = bytes.clone();
                    other[cut] = value;
                    let _ = read(&other);
                    let _ = NeighbourChange::read(libc::RTM_NEWNEIGH, &other[HEADER..]);
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
