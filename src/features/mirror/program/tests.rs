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
            |(tag, source, destination, protocol, options, is_later_fragment, ports, quote, is_arp)| Frame {
                tag,
                source,
                destination,
                protocol,
                options,
                is_later_fragment,
                ports,
                quote,
                is_arp,
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
