//! Whether the router reaches something: an echo by ICMP (RFC 792), a connection by TCP.

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4, TcpStream};
use std::os::fd::{AsFd, AsRawFd};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrIn, recvfrom, sendto, socket,
};

const ECHO: u8 = 8;
const ECHO_REPLY: u8 = 0;

/// Asks a host for an echo, and waits for it.
///
/// # Errors
/// If none comes in time, or there is no raw socket to be had (CAP_NET_RAW).
pub fn ping(host: Ipv4Addr, timeout: Duration) -> io::Result<()> {
    let until = Instant::now() + timeout;
    let socket = socket(
        AddressFamily::Inet,
        SockType::Raw,
        SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK,
        SockProtocol::Icmp,
    )?;
    let request = echo(std::process::id());
    let to = SockaddrIn::from(SocketAddrV4::new(host, 0));
    sendto(socket.as_raw_fd(), &request, &to, MsgFlags::empty())?;
    let mut packet = [0; 2048];
    loop {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::Error::new(io::ErrorKind::TimedOut, "no answer to ping"));
        }
        let mut fds = [PollFd::new(socket.as_fd(), PollFlags::POLLIN)];
        let timeout = PollTimeout::try_from(left + Duration::from_millis(1)).unwrap_or(PollTimeout::MAX);
        match poll(&mut fds, timeout) {
            Ok(_) | Err(nix::Error::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
        // A raw socket hears all ICMP of the machine.
        match recvfrom::<SockaddrIn>(socket.as_raw_fd(), &mut packet) {
            Ok((length, Some(from)))
                if from.ip() == host && is_answer(packet.get(..length).unwrap_or_default(), &request) =>
            {
                return Ok(());
            }
            Ok(_) | Err(nix::Error::EAGAIN | nix::Error::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Opens a TCP connection, and closes it.
///
/// # Errors
/// If it cannot be opened in time.
pub fn connect(to: SocketAddrV4, timeout: Duration) -> io::Result<()> {
    TcpStream::connect_timeout(&to.into(), timeout).map(drop)
}

/// An echo request. Its identifier and its data tell it from those of other processes.
fn echo(process: u32) -> [u8; 12] {
    let [a, b, c, d] = process.to_be_bytes();
    let mut packet = [ECHO, 0, 0, 0, c, d, 0, 1, a, b, c, d];
    let sum: u32 = packet
        .chunks(2)
        .map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]])))
        .sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    let folded = (folded & 0xffff) + (folded >> 16);
    // Two bytes of it are left after folding (RFC 1071).
    let [_, _, high, low] = (!folded).to_be_bytes();
    [packet[2], packet[3]] = [high, low];
    packet
}

/// Whether an IPv4 packet is the answer to a request: the same identifier, number and data.
fn is_answer(packet: &[u8], request: &[u8; 12]) -> bool {
    let header = packet.first().map_or(0, |first| usize::from(first & 0x0f) * 4);
    let Some(icmp) = packet.get(header..).filter(|icmp| icmp.len() >= 12) else {
        return false;
    };
    icmp[0] == ECHO_REPLY && icmp[4..12] == request[4..12]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_echo_is_known_by_its_number_and_data() {
        let request = echo(0x0001_f00d);
        let sum: u32 = request
            .chunks(2)
            .map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]])))
            .sum();
        assert_eq!((sum & 0xffff) + (sum >> 16), 0xffff, "the checksum is right");
        let answer = |kind: u8, icmp: [u8; 12]| {
            let mut packet = vec![0x45; 1];
            packet.resize(20, 0);
            packet.extend(icmp);
            packet[20] = kind;
            packet
        };
        assert!(is_answer(&answer(ECHO_REPLY, request), &request));
        assert!(!is_answer(&answer(ECHO, request), &request), "the request itself");
        assert!(!is_answer(&answer(ECHO_REPLY, echo(0x0002_f00d)), &request));
        assert!(!is_answer(&answer(ECHO_REPLY, request)[..31], &request));
        assert!(!is_answer(&[], &request));
    }
}
