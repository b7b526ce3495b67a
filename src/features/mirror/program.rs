//! Which packets of a NIC a mirror copies, as a program of classic BPF (Documentation/networking/filter.rst).
//!
//! It sees a frame from its Ethernet header on. A VLAN tag may stand in it (the kernel takes most of them out before), so
//! all that is behind is looked at from `X` on, which is 0 or the four bytes of a tag. It ends at the first condition that does not hold.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

use crate::config::MirrorFilter;
use crate::model::{Direction, Instruction};

// linux/bpf_common.h and linux/filter.h: class, size and mode, or operation and source.
const LOAD_WORD: u16 = 0x20; // BPF_LD | BPF_W | BPF_ABS
const LOAD_HALF: u16 = 0x28; // BPF_LD | BPF_H | BPF_ABS
const LOAD_WORD_AT_X: u16 = 0x40; // BPF_LD | BPF_W | BPF_IND
const LOAD_HALF_AT_X: u16 = 0x48; // BPF_LD | BPF_H | BPF_IND
const LOAD_BYTE_AT_X: u16 = 0x50; // BPF_LD | BPF_B | BPF_IND
const SET_X: u16 = 0x01; // BPF_LDX | BPF_IMM
const X_FROM_A: u16 = 0x07; // BPF_MISC | BPF_TAX
const ADD_X: u16 = 0x0c; // BPF_ALU | BPF_ADD | BPF_X
const AND: u16 = 0x54; // BPF_ALU | BPF_AND | BPF_K
const SHIFT_LEFT: u16 = 0x64; // BPF_ALU | BPF_LSH | BPF_K
const MODULO: u16 = 0x94; // BPF_ALU | BPF_MOD | BPF_K
const JUMP: u16 = 0x05; // BPF_JMP | BPF_JA
const IF_EQUAL: u16 = 0x15; // BPF_JMP | BPF_JEQ | BPF_K
const IF_ABOVE: u16 = 0x25; // BPF_JMP | BPF_JGT | BPF_K
const IF_NOT_BELOW: u16 = 0x35; // BPF_JMP | BPF_JGE | BPF_K
const IF_ANY_BIT: u16 = 0x45; // BPF_JMP | BPF_JSET | BPF_K
const RETURN: u16 = 0x06; // BPF_RET | BPF_K
/// `SKF_AD_OFF + SKF_AD_RANDOM`: a number by chance.
const RANDOM: u32 = (-0x1000_i32 + 56) as u32;

const ETHERTYPE: u32 = 12;
const IPV4: u32 = 0x0800;
/// IEEE 802.1Q and 802.1ad.
const TAGS: [u32; 2] = [0x8100, 0x88a8];
/// In a frame without a tag: of IPv4 its header, and in that the fragment's offset, the protocol and both addresses.
const HEADER: u32 = 14;
const FRAGMENT: u32 = HEADER + 6;
const PROTOCOL: u32 = HEADER + 9;
const SOURCE: u32 = HEADER + 12;
const DESTINATION: u32 = HEADER + 16;
const ICMP: u32 = 1;
const GRE: u32 = 47;
/// The types of ICMP that quote the packet that they are about (RFC 792), and the header before the quote.
const ERRORS: [u32; 4] = [3, 4, 11, 12];
const ICMP_HEADER: u32 = 8;

/// Which packets are copied.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Selection {
    /// The addresses of whose packets they are; `None`: of every frame.
    pub(super) source: Option<Ipv4Net>,
    pub(super) filter: MirrorFilter,
    /// One in so many.
    pub(super) sample: u32,
    /// Where tunnels end that may leave by this NIC: what they carry has been copied.
    pub(super) collectors: Vec<Ipv4Addr>,
    /// Addresses behind other NICs that are copied as well, first and last ones: what came from there was copied there.
    pub(super) copied_before: Vec<(Ipv4Addr, Ipv4Addr)>,
}

/// The program of a selection for packets of one direction.
pub(super) fn program(selection: &Selection, direction: Direction) -> Vec<Instruction> {
    let mut program = Program::default();
    let filter = &selection.filter;
    let needs_ipv4 = selection.source.is_some()
        || filter.protocol.is_some()
        || filter.port.is_some()
        || filter.cidr.is_some();
    let looks_at_ipv4 = needs_ipv4 || !selection.collectors.is_empty() || !selection.copied_before.is_empty();
    if looks_at_ipv4 {
        program.find_ipv4();
        let mut ipv4 = Program::default();
        if let Some(source) = selection.source {
            ipv4.load(LOAD_WORD_AT_X, own_address(direction));
            ipv4.require_in(source);
        }
        if let Some(cidr) = filter.cidr {
            ipv4.require_either_in(cidr);
        }
        if let Some(protocol) = filter.protocol {
            ipv4.load(LOAD_BYTE_AT_X, PROTOCOL);
            ipv4.require(IF_EQUAL, protocol as u32);
        }
        if !selection.copied_before.is_empty() && direction == Direction::Egress {
            ipv4.load(LOAD_WORD_AT_X, SOURCE);
            for (first, last) in &selection.copied_before {
                ipv4.refuse_in(*first, *last);
            }
        }
        if !selection.collectors.is_empty() {
            ipv4.refuse_copies(&selection.collectors, direction);
        }
        // The last: it moves X.
        if let Some(port) = filter.port {
            ipv4.require_port(port.into());
        }
        // Of what is not IPv4, all or nothing.
        if needs_ipv4 {
            program.require(IF_EQUAL, IPV4);
        } else {
            program.push(IF_EQUAL, 1, 0, IPV4);
            program.push(JUMP, 0, 0, ipv4.0.len() as u32);
        }
        program.0.append(&mut ipv4.0);
    }
    if selection.sample > 1 {
        program.load(LOAD_WORD, RANDOM);
        program.load(MODULO, selection.sample);
        program.require(IF_EQUAL, 0);
    }
    program.push(RETURN, 0, 0, u32::MAX);
    program.0
}

/// The address of whose packet it is: who sends it, or who is to get it.
fn own_address(direction: Direction) -> u32 {
    match direction {
        Direction::Ingress => SOURCE,
        Direction::Egress => DESTINATION,
    }
}

#[derive(Default)]
struct Program(Vec<Instruction>);

impl Program {
    fn push(&mut self, code: u16, jt: u8, jf: u8, k: u32) {
        self.0.push(Instruction { code, jt, jf, k });
    }

    fn load(&mut self, code: u16, k: u32) {
        self.push(code, 0, 0, k);
    }

    /// Ends with "no" unless the condition holds.
    fn require(&mut self, condition: u16, k: u32) {
        self.push(condition, 1, 0, k);
        self.push(RETURN, 0, 0, 0);
    }

    /// Ends with "no" if the condition holds.
    fn refuse(&mut self, condition: u16, k: u32) {
        self.push(condition, 0, 1, k);
        self.push(RETURN, 0, 0, 0);
    }

    /// `X` becomes the length of the tag; `A` the type of what is behind it.
    fn find_ipv4(&mut self) {
        self.load(LOAD_HALF, ETHERTYPE);
        self.push(IF_EQUAL, 1, 0, TAGS[0]);
        self.push(IF_EQUAL, 0, 3, TAGS[1]);
        self.load(LOAD_HALF, ETHERTYPE + 4);
        self.load(SET_X, 4);
        self.push(JUMP, 0, 0, 1);
        self.load(SET_X, 0);
    }

    /// The address in `A` is one of these.
    fn require_in(&mut self, net: Ipv4Net) {
        if net.prefix_len() < 32 {
            self.load(AND, net.netmask().into());
        }
        self.require(IF_EQUAL, net.network().into());
    }

    /// The address in `A` is none of these, and stays in `A`.
    fn refuse_in(&mut self, first: Ipv4Addr, last: Ipv4Addr) {
        self.push(IF_NOT_BELOW, 0, 2, first.into());
        self.push(IF_ABOVE, 1, 0, last.into());
        self.push(RETURN, 0, 0, 0);
    }

    /// One of both addresses is one of these.
    fn require_either_in(&mut self, net: Ipv4Net) {
        let mask = net.netmask().into();
        self.load(LOAD_WORD_AT_X, SOURCE);
        self.load(AND, mask);
        self.push(IF_EQUAL, 4, 0, net.network().into());
        self.load(LOAD_WORD_AT_X, DESTINATION);
        self.load(AND, mask);
        self.require(IF_EQUAL, net.network().into());
    }

    /// The packet is not one of a tunnel to these, nor an error about one: the copy of a copy would go on for ever.
    fn refuse_copies(&mut self, collectors: &[Ipv4Addr], direction: Direction) {
        let mut copies = Self::default();
        match direction {
            Direction::Egress => {
                copies.load(LOAD_WORD_AT_X, DESTINATION);
                for collector in collectors {
                    copies.refuse(IF_EQUAL, (*collector).into());
                }
                self.load(LOAD_BYTE_AT_X, PROTOCOL);
                self.push(IF_EQUAL, 1, 0, GRE);
                self.push(JUMP, 0, 0, copies.0.len() as u32);
            }
            Direction::Ingress => {
                // X is put back by what follows: the tag's length is in scratch memory meanwhile.
                copies.load(STORE_X, 0);
                copies.load(LOAD_BYTE_AT_X, HEADER);
                copies.load(AND, 0xf);
                copies.load(SHIFT_LEFT, 2);
                copies.load(ADD_X, 0);
                copies.load(X_FROM_A, 0);
                let mut quote = Self::default();
                quote.load(LOAD_WORD_AT_X, ICMP_HEADER + DESTINATION);
                for collector in collectors {
                    quote.refuse(IF_EQUAL, (*collector).into());
                }
                let mut quoted = Self::default();
                quoted.load(LOAD_BYTE_AT_X, ICMP_HEADER + PROTOCOL);
                quoted.push(IF_EQUAL, 1, 0, GRE);
                quoted.push(JUMP, 0, 0, quote.0.len() as u32);
                quoted.0.append(&mut quote.0);
                copies.load(LOAD_BYTE_AT_X, HEADER);
                for (index, kind) in ERRORS.iter().enumerate() {
                    let behind = (ERRORS.len() - index) as u8;
                    copies.push(IF_EQUAL, behind, 0, *kind);
                }
                copies.push(JUMP, 0, 0, quoted.0.len() as u32);
                copies.0.append(&mut quoted.0);
                copies.load(LOAD_X, 0);
                self.load(LOAD_BYTE_AT_X, PROTOCOL);
                self.push(IF_EQUAL, 1, 0, ICMP);
                self.push(JUMP, 0, 0, copies.0.len() as u32);
            }
        }
        self.0.append(&mut copies.0);
    }

    /// One of both ports is this one: of the first fragment, if there are several. The others have none.
    fn require_port(&mut self, port: u32) {
        self.load(LOAD_HALF_AT_X, FRAGMENT);
        self.refuse(IF_ANY_BIT, 0x1fff);
        self.load(LOAD_BYTE_AT_X, HEADER);
        self.load(AND, 0xf);
        self.load(SHIFT_LEFT, 2);
        self.load(ADD_X, 0);
        self.load(X_FROM_A, 0);
        self.load(LOAD_HALF_AT_X, HEADER);
        self.push(IF_EQUAL, 3, 0, port);
        self.load(LOAD_HALF_AT_X, HEADER + 2);
        self.require(IF_EQUAL, port);
    }
}

const STORE_X: u16 = 0x03; // BPF_STX
const LOAD_X: u16 = 0x61; // BPF_LDX | BPF_MEM

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::config::MirrorProtocol;

    /// What classic BPF does, as the kernel's documentation says; `None`: a program that the kernel would not take.
    fn run(program: &[Instruction], frame: &[u8], random: u32) -> Option<u32> {
        let (mut a, mut x, mut memory) = (0u32, 0u32, [0u32; 16]);
        let load = |at: u32, size: usize| {
            let bytes = frame.get(at as usize..at as usize + size)?;
            Some(bytes.iter().fold(0, |all, byte| all << 8 | u32::from(*byte)))
        };
        let mut next = 0;
        loop {
            let Instruction { code, jt, jf, k } = *program.get(next)?;
            next += 1;
            let mut jump = |condition: bool| next += usize::from(if condition { jt } else { jf });
            let mut out_of_frame = false;
            let mut or_end = |value: Option<u32>| {
                out_of_frame = value.is_none();
                value.unwrap_or_default()
            };
            match code {
                LOAD_WORD if k == RANDOM => a = random,
                LOAD_WORD => a = or_end(load(k, 4)),
                LOAD_HALF => a = or_end(load(k, 2)),
                LOAD_WORD_AT_X => a = or_end(load(x + k, 4)),
                LOAD_HALF_AT_X => a = or_end(load(x + k, 2)),
                LOAD_BYTE_AT_X => a = or_end(load(x + k, 1)),
                SET_X => x = k,
                X_FROM_A => x = a,
                STORE_X => memory[k as usize] = x,
                LOAD_X => x = memory[k as usize],
                ADD_X => a += x,
                AND => a &= k,
                SHIFT_LEFT => a <<= k,
                MODULO => a %= k,
                JUMP => next += k as usize,
                IF_EQUAL => jump(a == k),
                IF_ABOVE => jump(a > k),
                IF_NOT_BELOW => jump(a >= k),
                IF_ANY_BIT => jump(a & k != 0),
                RETURN => return Some(k),
                _ => return None,
            }
            // What reaches behind the frame ends with "no" (`bpf_convert_filter`, net/core/filter.c).
            if out_of_frame {
                return Some(0);
            }
        }
    }

    #[derive(Clone, Debug)]
    struct Frame {
        tag: Option<u16>,
        source: Ipv4Addr,
        destination: Ipv4Addr,
        protocol: u8,
        options: usize,
        is_later_fragment: bool,
        ports: (u16, u16),
        /// Of an ICMP error: the protocol and the destination of what it quotes.
        quote: Option<(u8, u8, Ipv4Addr)>,
        is_arp: bool,
    }

    impl Frame {
        fn bytes(&self) -> Vec<u8> {
            let mut bytes = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];
            if let Some(kind) = self.tag {
                bytes.extend(kind.to_be_bytes());
                bytes.extend([0, 51]);
            }
            if self.is_arp {
                bytes.extend([8, 6]);
                bytes.extend([0; 46]);
                return bytes;
            }
            bytes.extend([8, 0]);
            let offset = if self.is_later_fragment { 1 } else { 0 };
            let ip = |bytes: &mut Vec<u8>, options: usize, protocol, source: Ipv4Addr, to: Ipv4Addr| {
                bytes.extend([
                    0x45 + options as u8,
                    0,
                    0,
                    60,
                    0,
                    0,
                    0,
                    offset,
                    64,
                    protocol,
                    0,
                    0,
                ]);
                bytes.extend(source.octets());
                bytes.extend(to.octets());
                bytes.extend(vec![1; options * 4]);
            };
            ip(
                &mut bytes,
                self.options,
                self.protocol,
                self.source,
                self.destination,
            );
            match self.quote {
                Some((kind, protocol, to)) if self.protocol == 1 => {
                    bytes.extend([kind, 1, 0, 0, 0, 0, 0, 0]);
                    ip(&mut bytes, 0, protocol, self.destination, to);
                    bytes.extend([0; 8]);
                }
                _ => {
                    bytes.extend(self.ports.0.to_be_bytes());
                    bytes.extend(self.ports.1.to_be_bytes());
                    bytes.extend([0; 16]);
                }
            }
            bytes
        }
    }

    /// The same in plain words.
    fn is_copied(selection: &Selection, direction: Direction, frame: &Frame, random: u32) -> bool {
        let filter = &selection.filter;
        let has_conditions = selection.source.is_some() || *filter != MirrorFilter::default();
        let is_sampled = selection.sample <= 1 || random.is_multiple_of(selection.sample);
        if frame.is_arp {
            return !has_conditions && is_sampled;
        }
        let own = match direction {
            Direction::Ingress => frame.source,
            Direction::Egress => frame.destination,
        };
        let (source, destination) = (frame.source, frame.destination);
        let is_port = |port| {
            let ports = match frame.quote {
                Some((kind, ..)) if frame.protocol == 1 => (u16::from(kind) << 8 | 1, 0),
                _ => frame.ports,
            };
            !frame.is_later_fragment && (ports.0 == port || ports.1 == port)
        };
        let is_copy = match direction {
            Direction::Egress => frame.protocol == 47 && selection.collectors.contains(&destination),
            Direction::Ingress => {
                frame.protocol == 1
                    && frame.quote.is_some_and(|(kind, protocol, to)| {
                        [3, 4, 11, 12].contains(&kind) && protocol == 47 && selection.collectors.contains(&to)
                    })
            }
        };
        let was_copied = direction == Direction::Egress
            && selection
                .copied_before
                .iter()
                .any(|(first, last)| (first..=last).contains(&&source));
        is_sampled
            && selection.source.is_none_or(|net| net.contains(&own))
            && filter
                .cidr
                .is_none_or(|net| net.contains(&source) || net.contains(&destination))
            && filter
                .protocol
                .is_none_or(|protocol| protocol as u8 == frame.protocol)
            && filter.port.is_none_or(is_port)
            && !is_copy
            && !was_copied
    }

    fn address() -> impl Strategy<Value = Ipv4Addr> {
        (0..4u8, 1..4u8).prop_map(|(net, host)| Ipv4Addr::new(10, 0, net, host))
    }

    fn net() -> impl Strategy<Value = Ipv4Net> {
        (address(), prop::sample::select(vec![0, 8, 23, 24, 30, 32]))
            .prop_map(|(address, prefix)| Ipv4Net::new(address, prefix).unwrap().trunc())
    }

    fn selection() -> impl Strategy<Value = Selection> {
        let protocol = prop::option::of(prop::sample::select(vec![
            MirrorProtocol::Icmp,
            MirrorProtocol::Tcp,
            MirrorProtocol::Udp,
        ]));
        (
            prop::option::of(net()),
            protocol,
            prop::option::of(1..4u16),
            prop::option::of(net()),
            1..3u32,
            prop::collection::vec(address(), 0..3),
            prop::collection::vec(net(), 0..3),
        )
            .prop_map(
                |(source, protocol, port, cidr, sample, collectors, copied_before)| Selection {
                    source,
                    filter: MirrorFilter { protocol, port, cidr },
                    sample,
                    collectors,
                    copied_before: copied_before
                        .iter()
                        .map(|net: &Ipv4Net| (net.network(), net.broadcast()))
                        .collect(),
                },
            )
    }

    fn frame() -> impl Strategy<Value = Frame> {
        let tag = prop::option::of(prop::sample::select(vec![0x8100, 0x88a8]));
        let protocol = prop::sample::select(vec![1u8, 6, 17, 47]);
        let kind = prop::sample::select(vec![0u8, 3, 8, 11]);
        let quoted = prop::sample::select(vec![6u8, 47]);
        (
            tag,
            address(),
            address(),
            protocol,
            0..3usize,
            prop::bool::weighted(0.2),
            (1..5u16, 1..5u16),
            prop::option::of((kind, quoted, address())),
            prop::bool::weighted(0.1),
        )
            .prop_map(
                |(tag, source, destination, protocol, options, is_later_fragment, ports, quote, is_arp)| {
                    Frame {
                        tag,
                        source,
                        destination,
                        protocol,
                        options,
                        is_later_fragment,
                        ports,
                        quote,
                        is_arp,
                    }
                },
            )
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4_000))]

        #[test]
        fn a_program_does_what_is_said_of_it(selection in selection(), frame in frame(), egress: bool, random: u32) {
            let direction = if egress { Direction::Egress } else { Direction::Ingress };
            let program = program(&selection, direction);
            let said = run(&program, &frame.bytes(), random);
            let copied = is_copied(&selection, direction, &frame, random);
            prop_assert_eq!(said, Some(if copied { u32::MAX } else { 0 }), "{:?}", program);
        }
    }

    #[test]
    fn without_conditions_every_frame_is_copied_whatever_it_is() {
        let program = program(
            &Selection {
                sample: 1,
                ..Selection::default()
            },
            Direction::Ingress,
        );
        assert_eq!(program.len(), 1);
        assert_eq!(run(&program, &[], 0), Some(u32::MAX));
    }
}
