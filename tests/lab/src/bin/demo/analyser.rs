//! The scene of the analyser: one VM's conversation is copied to a NIC, and told frame by frame as the analyser saw it.

use std::net::Ipv4Addr;
use std::thread;
use std::time::{Duration, Instant};

use lab::{Capture, Frames, Icmp, Namespace, Nic, Tcp, Vpc, together};

use crate::packets::{Probe, try_all};
use crate::page::Page;
use crate::shell::{kylin_vr, quietly};

/// The router's NIC towards the analyser.
const NIC: &str = "span1";
const MAC: &str = "52:54:84:22:00:01";
/// Whose TCP is copied.
const A1: Ipv4Addr = Ipv4Addr::new(192, 168, 100, 190);

const MIRRORED: Probe = Probe {
    from: "client",
    protocol: Tcp,
    to: "10.90.2.250:22",
    expected: "a1:22 sees 198.51.100.10",
    why: "row 4, and copied",
};
const NOT_MIRRORED: [Probe; 2] = [
    Probe {
        from: "client",
        protocol: Tcp,
        to: "10.90.2.252:22",
        expected: "b1:22 sees 198.51.100.10",
        why: "b1 is no source",
    },
    Probe {
        from: "b2",
        protocol: Icmp,
        to: "192.168.100.190",
        expected: "a1 sees 192.168.101.11",
        why: "not TCP",
    },
];

/// The end of scene 3: an analyser sees what one VM says and hears, and nothing else.
pub fn a_conversation_is_seen(page: &mut Page, vpc: &Vpc) {
    page.say(
        "Somebody wants to see what a1 says over TCP. An analyser is plugged in, by a NIC of the router's that is nothing \
         else. One command, and the router copies a1's packets there (docs/mirroring.md):",
    );
    let analyser = plug(vpc);
    let line = format!("mirror add ids-1 --source vm-ip={A1} --filter protocol=tcp --to nic={MAC}");
    let add = kylin_vr(page, vpc, &line);
    page.check(add.code == 0, "the file has a mirror, and the kernel copies");

    let mut wire = Capture::start(&vpc.router, Nic::SubnetA.name());
    let mut seen = Capture::start(&analyser, "eth0");
    try_all(page, vpc, &[MIRRORED]);
    let whole = is_all_seen(&mut wire, &mut seen);
    page.say("What the analyser's socket got meanwhile:");
    page.line("");
    let frames = seen.in_order();
    for (number, frame) in frames.iter().enumerate() {
        let told = told(frame).unwrap_or_else(|| "not TCP over IPv4".to_owned());
        page.line(format!("    {:>2}  {told}", number + 1));
    }
    page.check(
        whole,
        "that is every frame of a1's TCP that crossed the router's NIC: once, whole, and nothing else",
    );
    page.remark(
        "Copies are made where packets come in and where they leave, on a1's side of the translation: so the analyser sees \
         a1's own address, and the client's.",
    );

    page.say("Others talk as well, and a1 by other protocols. The analyser hears nothing of it:");
    try_all(page, vpc, &NOT_MIRRORED);
    let is_silent = seen.in_order().len() == frames.len();
    page.check(is_silent, "no frame more");

    page.say("Among other things, `status` tells what was copied:");
    let status = quietly(page, vpc, "status");
    let section: Vec<&str> = (status.stdout.lines())
        .skip_while(|line| *line != "Mirrors")
        .take_while(|line| !line.is_empty())
        .collect();
    page.output(&section.join("\n"));
    let count = frames.len().to_string();
    let is_counted = section.iter().any(|line| line.contains("ids-1"))
        && (section.iter().flat_map(|line| line.split_whitespace())).any(|word| word == count);
    page.check(
        status.code == 0 && is_counted,
        &format!("the kernel counted {count} copies"),
    );

    page.say("It was only a look:");
    let del = kylin_vr(page, vpc, "mirror del ids-1");
    try_all(
        page,
        vpc,
        &[Probe {
            why: "row 4",
            ..MIRRORED
        }],
    );
    let is_silent = seen.in_order().len() == frames.len();
    page.check(del.code == 0 && is_silent, "nothing is copied any more");
    unplug(vpc);
}

/// An analyser on a wire of its own to the router; its end is `eth0`.
pub fn plug(vpc: &Vpc) -> Namespace {
    let analyser = Namespace::without_ipv6();
    analyser.veth("eth0", "", &vpc.router, NIC, MAC);
    analyser.ip("link set eth0 up");
    analyser
}

/// Takes the wire away.
pub fn unplug(vpc: &Vpc) {
    vpc.router.ip(&format!("link delete {NIC}"));
}

/// Whether the analyser has seen exactly what crossed the wire of a1's subnet and is a1's TCP.
fn is_all_seen(wire: &mut Capture, seen: &mut Capture) -> bool {
    let end = Instant::now() + Duration::from_secs(10);
    loop {
        let crossed = together(&wire.received(), &wire.sent());
        let of_a1 = |frame: &[u8]| Segment::read(frame).is_some_and(|one| one.from == A1 || one.to == A1);
        let expected: Frames = crossed.into_iter().filter(|(frame, _)| of_a1(frame)).collect();
        let is_same = !expected.is_empty() && seen.received() == expected;
        if is_same || Instant::now() > end {
            return is_same;
        }
        thread::sleep(Duration::from_millis(20));
    }
}

/// A TCP segment, as far as it is told.
struct Segment<'f> {
    from: Ipv4Addr,
    to: Ipv4Addr,
    ports: (u16, u16),
    flags: u8,
    data: &'f [u8],
}

impl<'f> Segment<'f> {
    /// That of an Ethernet frame; `None`: it has none.
    fn read(frame: &'f [u8]) -> Option<Self> {
        let packet = frame.get(14..).filter(|_| frame[12..14] == [8, 0])?;
        let length = usize::from(u16::from_be_bytes([*packet.get(2)?, *packet.get(3)?]));
        let header = usize::from(packet[0] & 15) * 4;
        let packet = packet.get(..length).unwrap_or(packet);
        let segment = packet.get(header..).filter(|_| packet.get(9) == Some(&6))?;
        let address = |at: usize| -> Option<Ipv4Addr> {
            let octets: [u8; 4] = packet.get(at..at + 4)?.try_into().ok()?;
            Some(octets.into())
        };
        let port = |at: usize| Some(u16::from_be_bytes([*segment.get(at)?, *segment.get(at + 1)?]));
        Some(Self {
            from: address(12)?,
            to: address(16)?,
            ports: (port(0)?, port(2)?),
            flags: *segment.get(13)?,
            data: segment.get(usize::from(segment[12] >> 4) * 4..)?,
        })
    }
}

/// A frame in a line; `None`: it has no TCP in it.
fn told(frame: &[u8]) -> Option<String> {
    let segment = Segment::read(frame)?;
    let names = [(2, "SYN"), (16, "ACK"), (1, "FIN"), (4, "RST")];
    let flags: Vec<&str> = names
        .iter()
        .filter(|(bit, _)| segment.flags & bit != 0)
        .map(|(_, name)| *name)
        .collect();
    let data = match segment.data.len() {
        0 => String::new(),
        1 => "  1 byte".to_owned(),
        length => format!("  {length} bytes"),
    };
    let from = format!("{}:{}", segment.from, segment.ports.0);
    let to = format!("{}:{}", segment.to, segment.ports.1);
    Some(format!("{from:<21} > {to:<21}  tcp {}{data}", flags.join(" ")))
}

#[cfg(test)]
mod tests {
    use super::told;

    #[test]
    fn a_segment_is_a_line() {
        let mut frame = [[2; 12].to_vec(), vec![8, 0, 0x45, 0, 0, 43]].concat();
        frame.extend([0, 0, 0, 0, 64, 6, 0, 0, 192, 168, 100, 190, 198, 51, 100, 10]);
        frame.extend([
            0, 22, 0x80, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0x50, 0x18, 0, 0, 0, 0, 0, 0,
        ]);
        frame.extend(*b"abc and the padding of a short frame");
        let line = "192.168.100.190:22    > 198.51.100.10:32769    tcp ACK  3 bytes";
        assert_eq!(told(&frame).as_deref(), Some(line));
        frame[13] = 6;
        assert_eq!(told(&frame), None);
        assert_eq!(told(&[]), None);
    }
}
