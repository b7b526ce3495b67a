//! Packets that connection tracking may find fault with: for the hosts to judge, and translated like all others. One that is not
//! translated is the router's own to answer, or would tell of a private address outside, and is kept in.

use lab::{Capture, Namespace, fill_in_checksum, send_as_it_is};

use crate::configs::{full, vpc_with};
use crate::confirm::eventually;

const ETHERNET: usize = 14;
const TCP: u8 = 6;
const UDP: u8 = 17;
const ICMP: u8 = 1;
/// Flags of a TCP segment (RFC 9293, section 3.1).
const END: u8 = 0x01;
const RESET: u8 = 0x04;
const ACKNOWLEDGES: u8 = 0x10;

pub const CLIENT: [u8; 4] = [198, 51, 100, 10];
const EIP: [u8; 4] = [10, 90, 2, 250];
const A1: [u8; 4] = [192, 168, 100, 190];
pub const A3: [u8; 4] = [192, 168, 100, 192];
const B1: [u8; 4] = [192, 168, 101, 10];
const ROUTER: [u8; 4] = [10, 90, 3, 37];

fn ipv4(protocol: u8, source: [u8; 4], destination: [u8; 4], message: &[u8]) -> Vec<u8> {
    let length = u16::try_from(20 + message.len()).unwrap().to_be_bytes();
    let head = [0x45, 0, length[0], length[1], 0, 0, 0, 0, 64, protocol, 0, 0];
    [&head, source.as_slice(), &destination, message].concat()
}

fn be32(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap())
}

/// What a peer would send who takes this segment for the newest one: an acknowledgement, this far ahead of what it is expected
/// to send.
fn answer_from_ahead(frame: &[u8], ahead: u32) -> Vec<u8> {
    let packet = &frame[ETHERNET..];
    let total = usize::from(u16::from_be_bytes([packet[2], packet[3]]));
    let segment = &packet[20..total];
    let data = segment.len() - usize::from(segment[12] >> 4) * 4;
    let expected = be32(segment, 4).wrapping_add(u32::try_from(data).unwrap());
    let mut answer = [&segment[2..4], &segment[..2]].concat();
    answer.extend(be32(segment, 8).wrapping_add(ahead).to_be_bytes());
    answer.extend(expected.to_be_bytes());
    answer.extend([0x50, ACKNOWLEDGES, 0xff, 0xff, 0, 0, 0, 0]);
    let (source, destination) = (
        packet[16..20].try_into().unwrap(),
        packet[12..16].try_into().unwrap(),
    );
    let mut packet = ipv4(TCP, source, destination, &answer);
    fill_in_checksum(&mut packet);
    packet
}

/// Waits until a frame like this has come in.
fn comes(what: &str, capture: &mut Capture, is_it: impl Fn(&[u8]) -> bool) {
    eventually(what, || {
        capture.in_order().iter().any(|frame| is_it(&frame[ETHERNET..]))
    });
}

/// A late or lost acknowledgement is enough for a segment that the tracking of connections finds out of the window. If it were
/// left untranslated, it would come to the router itself, which knows of no connection and resets the client's.
pub fn a_segment_outside_of_the_window_ends_no_connection() {
    let vpc = vpc_with(&full());
    let mut at_client = Capture::start(&vpc.client, "eth0");
    let flow = vpc.tcp_flow(&vpc.client, "10.90.2.250:22", &[]).unwrap();
    let is_segment = |frame: &&Vec<u8>| frame[12..14] == [0x08, 0] && frame[ETHERNET + 9] == TCP;
    let newest = at_client
        .in_order()
        .into_iter()
        .rfind(|frame| is_segment(&frame))
        .unwrap();
    let mut at_vm = Capture::start(&vpc.a1, "eth0");
    let stray = answer_from_ahead(&newest, 1 << 30);
    send_as_it_is(&vpc.client, &stray).unwrap();
    comes("the segment at the VM", &mut at_vm, |packet| {
        packet[9] == TCP
            && packet[12..16] == CLIENT
            && packet[16..20] == A1
            && packet[24..28] == stray[24..28]
    });
    assert!(flow.ping_pong(), "the connection is gone");
    let is_reset = |frame: &Vec<u8>| is_segment(&frame) && frame[ETHERNET + 33] & RESET != 0;
    assert!(
        !at_client.in_order().iter().any(is_reset),
        "the client got a reset"
    );
}

pub fn a_wrong_checksum_is_for_the_receiver_to_see() {
    let vpc = vpc_with(&full());
    let wrong = |source: [u8; 4], destination: [u8; 4], port: u8| {
        let mut packet = ipv4(
            UDP,
            source,
            destination,
            &[0x13, port, 0, 53, 0, 12, 0, 0, b'w', b'o', b'r', b'd'],
        );
        fill_in_checksum(&mut packet);
        packet[27] ^= 1;
        packet
    };
    let mut at_client = Capture::start(&vpc.client, "eth0");
    send_as_it_is(&vpc.a3, &wrong(A3, CLIENT, 1)).unwrap();
    comes("a datagram at the client", &mut at_client, |packet| {
        packet[9] == UDP && packet[28..32] == *b"word"
    });
    let sources = |frames: Vec<Vec<u8>>| -> Vec<[u8; 4]> {
        let ours = frames.iter().filter(|frame| frame.ends_with(b"word"));
        ours.map(|frame| frame[ETHERNET + 12..ETHERNET + 16].try_into().unwrap())
            .collect()
    };
    assert_eq!(sources(at_client.in_order()), [ROUTER]);

    let mut at_vm = Capture::start(&vpc.a1, "eth0");
    send_as_it_is(&vpc.client, &wrong(CLIENT, EIP, 2)).unwrap();
    comes("a datagram at the VM", &mut at_vm, |packet| {
        packet[9] == UDP && packet[12..16] == CLIENT && packet[16..20] == A1
    });
}

/// What begins no connection and is of none: ends of TCP connections, and an ICMP error about one.
pub fn of_no_connection(source: [u8; 4], destination: [u8; 4]) -> Vec<Vec<u8>> {
    let ends = [END, END | ACKNOWLEDGES, RESET, RESET | ACKNOWLEDGES];
    let segment = |flags| {
        let ports = [0x9c, 0x40, 0, 80];
        let message = [
            &ports[..],
            &[0, 0, 0, 1, 0, 0, 0, 1, 0x50, flags, 0xff, 0xff, 0, 0, 0, 0],
        ]
        .concat();
        let mut packet = ipv4(TCP, source, destination, &message);
        fill_in_checksum(&mut packet);
        packet
    };
    // Destination unreachable, of a port (RFC 792).
    let about = ipv4(UDP, destination, source, &[0, 53, 0x9c, 0x40, 0, 8, 0, 0]);
    let error = ipv4(
        ICMP,
        source,
        destination,
        &[&[3, 3, 0, 0, 0, 0, 0, 0], &about[..]].concat(),
    );
    ends.into_iter().map(segment).chain([error]).collect()
}

/// How many of these packets came out at the other end with the sender's own address: a datagram that follows them is waited for.
fn arrive_untranslated(
    sender: &Namespace,
    source: [u8; 4],
    receiver: &Namespace,
    destination: [u8; 4],
) -> usize {
    let mut capture = Capture::start(receiver, "eth0");
    for packet in of_no_connection(source, destination) {
        send_as_it_is(sender, &packet).unwrap();
    }
    let mut last = ipv4(
        UDP,
        source,
        destination,
        &[0x13, 1, 0, 53, 0, 12, 0, 0, b'l', b'a', b's', b't'],
    );
    fill_in_checksum(&mut last);
    send_as_it_is(sender, &last).unwrap();
    comes("the datagram after them", &mut capture, |packet| {
        packet[28..].starts_with(b"last")
    });
    let frames = capture.in_order();
    let before = frames.iter().filter(|frame| !frame.ends_with(b"last"));
    before
        .filter(|frame| frame[12..14] == [0x08, 0] && frame[ETHERNET + 12..ETHERNET + 16] == source)
        .count()
}

/// Whoever closes a connection that the router has forgotten, after a reboot, begins one with its end.
pub fn what_is_of_no_connection_does_not_leave_with_a_private_address() {
    let vpc = vpc_with(&full());
    let outside = || {
        let from = [(&vpc.a1, A1), (&vpc.a3, A3)];
        from.map(|(vm, address)| arrive_untranslated(vm, address, &vpc.client, CLIENT))
    };
    assert_eq!(outside(), [0, 0]);
    // Between subnets nothing is translated.
    let between = || arrive_untranslated(&vpc.a1, A1, &vpc.b1, B1);
    let all = of_no_connection(A1, B1).len();
    assert_eq!(between(), all);

    vpc.reload_ok(&format!("drop_invalid: false\n{}", full()));
    assert_eq!(outside(), [all, all]);
    assert_eq!(between(), all);
}
