//! Netlink messages and their attributes, written and read by hand. Knows nothing of what they mean.
//!
//! A malformed answer is an error, never the end of a list.

use netlink_packet_core::NLA_TYPE_MASK;
use nix::libc;

/// `nfgen_family`: nearly all that we ask for is of IPv4.
pub(in crate::kernel) const FAMILY: u8 = libc::NFPROTO_IPV4 as u8;

/// Header of a netlink message (`struct nlmsghdr`).
const HEADER: usize = 16;
/// Header of a netfilter message (`struct nfgenmsg`).
const NETFILTER_HEADER: usize = 4;
const ATTRIBUTE_HEADER: usize = 4;
const ALIGNMENT: usize = 4;
/// `NLA_F_NESTED`.
const NESTED: u16 = 0x8000;

/// Messages one after another, as one send takes them.
#[derive(Default)]
pub(in crate::kernel) struct Messages {
    bytes: Vec<u8>,
    /// Where the last one starts.
    last: usize,
}

impl Messages {
    pub(in crate::kernel) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Adds a message to nf_tables about our family; `write` adds its attributes.
    pub(in crate::kernel) fn message(
        &mut self,
        kind: libc::c_int,
        flags: libc::c_int,
        sequence: u32,
        write: impl FnOnce(&mut Self),
    ) {
        self.message_to(libc::NFNL_SUBSYS_NFTABLES, kind, flags, sequence, write);
    }

    /// Adds a message to a subsystem (`NFNL_SUBSYS_*`) about our family; `write` adds its attributes.
    pub(in crate::kernel) fn message_to(
        &mut self,
        subsystem: libc::c_int,
        kind: libc::c_int,
        flags: libc::c_int,
        sequence: u32,
        write: impl FnOnce(&mut Self),
    ) {
        self.message_of(FAMILY, subsystem, kind, flags, sequence, write);
    }

    /// The same about another family (`NFPROTO_*`).
    pub(in crate::kernel) fn message_of(
        &mut self,
        family: u8,
        subsystem: libc::c_int,
        kind: libc::c_int,
        flags: libc::c_int,
        sequence: u32,
        write: impl FnOnce(&mut Self),
    ) {
        let kind = ((subsystem << 8) | kind) as u16;
        self.open(kind, flags as u16, sequence, family, 0);
        write(self);
        self.close();
    }

    /// Adds the first or the last message of a batch, which says for which subsystem it is.
    pub(in crate::kernel) fn batch_edge(
        &mut self,
        kind: libc::c_int,
        sequence: u32,
        write: impl FnOnce(&mut Self),
    ) {
        let resource = libc::NFNL_SUBSYS_NFTABLES as u16;
        self.open(
            kind as u16,
            libc::NLM_F_REQUEST as u16,
            sequence,
            libc::NFPROTO_UNSPEC as u8,
            resource,
        );
        write(self);
        self.close();
    }

    fn open(&mut self, kind: u16, flags: u16, sequence: u32, family: u8, resource: u16) {
        self.last = self.bytes.len();
        // The length is filled in by `close`; the last four bytes are the sender's port, 0: the kernel knows it.
        self.bytes.extend_from_slice(&[0; 4]);
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.bytes.extend_from_slice(&flags.to_ne_bytes());
        self.bytes.extend_from_slice(&sequence.to_ne_bytes());
        self.bytes.extend_from_slice(&[0; 4]);
        self.bytes.extend_from_slice(&[family, 0]);
        self.bytes.extend_from_slice(&resource.to_be_bytes());
    }

    /// Adds a message that somebody else wrote, with its own header but for the sequence number and the
    /// request for an acknowledgement.
    pub(in crate::kernel) fn foreign(
        &mut self,
        message: &[u8],
        sequence: u32,
        write: impl FnOnce(&mut Self),
    ) {
        self.last = self.bytes.len();
        self.bytes.extend_from_slice(message);
        self.bytes[self.last + 8..self.last + 12].copy_from_slice(&sequence.to_ne_bytes());
        self.set_flags(|flags| flags & !(libc::NLM_F_ACK as u16));
        write(self);
        self.close();
    }

    /// Asks for an acknowledgement of the last message.
    pub(in crate::kernel) fn acknowledge_last(&mut self) {
        self.set_flags(|flags| flags | libc::NLM_F_ACK as u16);
    }

    fn set_flags(&mut self, change: impl FnOnce(u16) -> u16) {
        let place = &mut self.bytes[self.last + 6..self.last + 8];
        let flags = change(u16::from_ne_bytes([place[0], place[1]]));
        place.copy_from_slice(&flags.to_ne_bytes());
    }

    fn close(&mut self) {
        let length = (self.bytes.len() - self.last) as u32;
        self.bytes[self.last..self.last + 4].copy_from_slice(&length.to_ne_bytes());
    }

    pub(in crate::kernel) fn attribute(&mut self, kind: u16, value: &[u8]) {
        let length = (ATTRIBUTE_HEADER + value.len()) as u16;
        self.bytes.extend_from_slice(&length.to_ne_bytes());
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.bytes.extend_from_slice(value);
        self.bytes.resize(self.bytes.len().next_multiple_of(ALIGNMENT), 0);
    }

    /// A number as nf_tables has them all: big-endian.
    pub(in crate::kernel) fn number(&mut self, kind: u16, value: u32) {
        self.attribute(kind, &value.to_be_bytes());
    }

    /// A zero-terminated string.
    pub(in crate::kernel) fn text(&mut self, kind: u16, value: &str) {
        self.attribute(kind, &[value.as_bytes(), &[0]].concat());
    }

    /// An attribute made of attributes, at most [`u16::MAX`] bytes of them.
    pub(in crate::kernel) fn nested(&mut self, kind: u16, write: impl FnOnce(&mut Self)) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&[0; 2]);
        self.bytes.extend_from_slice(&(kind | NESTED).to_ne_bytes());
        write(self);
        let length = self.bytes.len() - start;
        debug_assert!(
            length <= usize::from(u16::MAX),
            "attribute {kind} has {length} bytes"
        );
        self.bytes[start..start + 2].copy_from_slice(&(length as u16).to_ne_bytes());
    }

    /// An attribute made of attributes that somebody else wrote.
    pub(in crate::kernel) fn nested_bytes(&mut self, kind: u16, value: &[u8]) {
        self.attribute(kind | NESTED, value);
    }

    pub(in crate::kernel) fn len(&self) -> usize {
        self.bytes.len()
    }
}

/// One message of the kernel's answer.
#[derive(Clone, Copy, Debug)]
pub(in crate::kernel) struct Answer<'a> {
    pub(in crate::kernel) kind: u16,
    flags: u16,
    /// The sequence number of what it answers.
    pub(in crate::kernel) sequence: u32,
    pub(in crate::kernel) payload: &'a [u8],
}

/// What a message of an answer says.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::kernel) enum Content<'a> {
    /// An object: the attributes, and its family.
    Object(u8, &'a [u8]),
    /// The request was carried out, or (for a dump) all was said.
    Done,
    /// The request failed with this error number.
    Failed(i32),
}

impl<'a> Answer<'a> {
    /// Whether the kernel's state changed while it was dumped (`NLM_F_DUMP_INTR`).
    pub(in crate::kernel) fn interrupted(&self) -> bool {
        self.flags & libc::NLM_F_DUMP_INTR as u16 != 0
    }

    pub(in crate::kernel) fn content(&self) -> Result<Content<'a>, String> {
        match libc::c_int::from(self.kind) {
            libc::NLMSG_ERROR | libc::NLMSG_DONE => match self.payload.first_chunk() {
                Some(&code) => match i32::from_ne_bytes(code) {
                    code if code < 0 => Ok(Content::Failed(code.saturating_neg())),
                    _ => Ok(Content::Done),
                },
                None if libc::c_int::from(self.kind) == libc::NLMSG_DONE => Ok(Content::Done),
                None => Err("an error without a number".to_owned()),
            },
            _ => match self.payload.split_at_checked(NETFILTER_HEADER) {
                Some((header, attributes)) => Ok(Content::Object(header[0], attributes)),
                None => Err(format!("a message of type {:#x} that is too short", self.kind)),
            },
        }
    }
}

/// The messages in what one receive brought.
pub(in crate::kernel) fn answers(mut bytes: &[u8]) -> impl Iterator<Item = Result<Answer<'_>, String>> {
    std::iter::from_fn(move || {
        if bytes.is_empty() {
            return None;
        }
        let read = || {
            let length = u32::from_ne_bytes(*bytes.first_chunk()?) as usize;
            let message = bytes.get(..length).filter(|message| message.len() >= HEADER)?;
            let half = |at: usize| u16::from_ne_bytes([message[at], message[at + 1]]);
            let sequence = u32::from_ne_bytes([message[8], message[9], message[10], message[11]]);
            Some(Answer {
                kind: half(4),
                flags: half(6),
                sequence,
                payload: &message[HEADER..],
            })
        };
        let answer = read();
        let length = answer.map_or(bytes.len(), |answer| HEADER + answer.payload.len());
        bytes = bytes
            .get(length.next_multiple_of(ALIGNMENT)..)
            .unwrap_or_default();
        Some(answer.ok_or_else(|| "a message longer than the answer".to_owned()))
    })
}

/// The attributes in `bytes`, one by one, in order.
///
/// By hand: each of tens of thousands of elements has half a dozen.
pub(in crate::kernel) fn attributes(
    mut bytes: &[u8],
) -> impl Iterator<Item = Result<(u16, &[u8]), &'static str>> {
    std::iter::from_fn(move || {
        let &[low, high, kind, flags, ..] = bytes else {
            return match std::mem::take(&mut bytes) {
                [] => None,
                _ => Some(Err("an attribute without a head")),
            };
        };
        let length = usize::from(u16::from_ne_bytes([low, high]));
        let Some(value) = bytes.get(ATTRIBUTE_HEADER..length) else {
            bytes = &[];
            return Some(Err("an attribute longer or shorter than it can be"));
        };
        // The padding after the last one may be left out.
        bytes = bytes
            .get(length.next_multiple_of(ALIGNMENT)..)
            .unwrap_or_default();
        Some(Ok((u16::from_ne_bytes([kind, flags]) & NLA_TYPE_MASK, value)))
    })
}

/// Attributes by their number; those of numbers that we do not know are left out.
pub(in crate::kernel) struct Attributes<'a, const N: usize>([Option<&'a [u8]>; N]);

impl<'a, const N: usize> Attributes<'a, N> {
    pub(in crate::kernel) fn read(bytes: &'a [u8]) -> Result<Self, String> {
        let mut found = [None; N];
        for attribute in attributes(bytes) {
            let (kind, value) = attribute?;
            if let Some(place) = found.get_mut(usize::from(kind)) {
                *place = Some(value);
            }
        }
        Ok(Self(found))
    }

    pub(in crate::kernel) fn get(&self, kind: u16) -> Option<&'a [u8]> {
        self.0.get(usize::from(kind)).copied().flatten()
    }

    pub(in crate::kernel) fn has(&self, kind: u16) -> bool {
        self.get(kind).is_some()
    }

    /// A big-endian number of four bytes.
    pub(in crate::kernel) fn number(&self, kind: u16) -> Option<u32> {
        self.get(kind)
            .and_then(|value| Some(u32::from_be_bytes(value.try_into().ok()?)))
    }

    /// A string up to its terminating zero.
    pub(in crate::kernel) fn text(&self, kind: u16) -> Option<String> {
        let value = self.get(kind)?;
        Some(String::from_utf8_lossy(value.split(|byte| *byte == 0).next()?).into_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        let mut messages = Messages::default();
        messages.message(libc::NFT_MSG_NEWSET, 0, 7, |message| {
            message.text(2, "five5");
            message.nested(3, |message| {
                message.number(1, 0x0102_0304);
                message.attribute(2, &[9]);
            });
        });
        messages.message(libc::NFT_MSG_NEWSET, libc::NLM_F_DUMP_INTR, 8, |_| ());
        let read = answers(messages.bytes()).collect::<Result<Vec<_>, _>>().unwrap();
        assert_eq!(
            read.iter().map(|answer| answer.sequence).collect::<Vec<_>>(),
            [7, 8]
        );
        assert!(!read[0].interrupted() && read[1].interrupted());
        let Ok(Content::Object(_, bytes)) = read[0].content() else {
            panic!("an object")
        };
        let outer = Attributes::<4>::read(bytes).unwrap();
        assert_eq!(outer.text(2).as_deref(), Some("five5"));
        let inner = Attributes::<4>::read(outer.get(3).unwrap()).unwrap();
        assert_eq!(
            (inner.number(1), inner.get(2), inner.number(2)),
            (Some(0x0102_0304), Some(&[9][..]), None)
        );
    }

    #[test]
    fn attributes_are_read_as_the_crate_reads_them_whatever_byte_is_changed() {
        let mut messages = Messages::default();
        messages.message(libc::NFT_MSG_NEWSET, 0, 7, |message| {
            message.text(2, "five5");
            message.nested(3, |message| message.number(1, 0x0102_0304));
            message.attribute(4, &[1, 2, 3]);
        });
        let whole = &messages.bytes()[HEADER + NETFILTER_HEADER..];
        let lengths = (0..=whole.len()).map(|length| whole[..length].to_vec());
        let changed = (0..whole.len()).flat_map(|place| {
            (0..=u8::MAX).map(move |byte| {
                let mut changed = whole.to_vec();
                changed[place] = byte;
                changed
            })
        });
        for bytes in lengths.chain(changed) {
            let by_hand: Vec<_> = attributes(&bytes).map(Result::ok).collect();
            let by_crate: Vec<_> = netlink_packet_core::NlasIterator::new(&bytes[..])
                .map(|attribute| {
                    let attribute = attribute.ok()?;
                    let end = ATTRIBUTE_HEADER + attribute.value_length();
                    Some((attribute.kind(), &attribute.into_inner()[ATTRIBUTE_HEADER..end]))
                })
                .collect();
            assert_eq!(by_hand, by_crate, "{bytes:?}");
        }
    }

    #[test]
    fn a_cut_off_answer_is_an_error_and_no_end() {
        let mut messages = Messages::default();
        messages.message(libc::NFT_MSG_NEWSET, 0, 7, |message| message.number(1, 1));
        let whole = messages.bytes();
        for length in 1..whole.len() {
            assert!(
                answers(&whole[..length]).any(|answer| answer.is_err()),
                "{length} bytes"
            );
        }
        for length in 21..whole.len() {
            assert!(
                attributes(&whole[20..length]).any(|attribute| attribute.is_err()),
                "{length} bytes"
            );
        }
    }
}
