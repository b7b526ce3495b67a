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
mod tests;
