//! Gratuitous ARP: tells the neighbours of a link where an address is now (RFC 5944, section 4.6; `arping -U`).
//!
//! One may be lost, or come before a switch port forwards, so each is sent several times, a second apart. A run
//! does not wait for that: a process of its own sends them.

use std::io;
use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::thread;
use std::time::Duration;

use nix::ifaddrs::getifaddrs;
use nix::sys::socket::{
    AddressFamily, LinkAddr, MsgFlags, SockFlag, SockType, bind, send as send_frame, socket,
};

use super::Error;
use crate::detached;
use crate::plan::Announcement;

/// How often each is sent, and how long between.
const TIMES: usize = 3;
const INTERVAL: Duration = Duration::from_secs(1);
/// After so many frames a pause, for the sake of switches that count ARP.
const BURST: usize = 100;
const PAUSE: Duration = Duration::from_millis(5);

/// Starts a process that sends them, and does not wait for it.
pub(super) fn begin(announcements: &[Announcement]) -> Result<(), Error> {
    if announcements.is_empty() {
        return Ok(());
    }
    let text: String = announcements
        .iter()
        .map(|one| format!("{} {}\n", one.link.index.0, one.address))
        .collect();
    // It reads all of it before it sends anything: this does not wait for the sending.
    detached::start(["announce"], &text).map_err(|source| Error::Read {
        what: "start of the gratuitous ARPs".to_owned(),
        source,
    })
}

/// Sends what [`begin`] was given (`INDEX ADDRESS` a line), as often as is needed. A link that is gone is skipped.
///
/// # Errors
/// If the text cannot be read, or there is no packet socket to be had (CAP_NET_RAW).
pub fn send(list: impl io::Read) -> io::Result<()> {
    let mut wanted: Vec<(usize, Ipv4Addr)> = Vec::new();
    for line in io::read_to_string(list)?.lines() {
        let bad = || {
            io::Error::new(
                io::ErrorKind::InvalidData,
                format!("expected INDEX ADDRESS: {line:?}"),
            )
        };
        let (index, address) = line.split_once(' ').ok_or_else(bad)?;
        wanted.push((
            index.parse().map_err(|_| bad())?,
            address.parse().map_err(|_| bad())?,
        ));
    }
    for round in 0..TIMES {
        if round > 0 {
            thread::sleep(INTERVAL);
        }
        let mut open: Option<(usize, Option<Port>)> = None;
        for (count, (index, address)) in wanted.iter().enumerate() {
            if open.as_ref().is_none_or(|(opened, _)| opened != index) {
                open = Some((*index, Port::open(*index)?));
            }
            if let Some((_, Some(port))) = &open {
                port.announce(*address);
            }
            if count % BURST == BURST - 1 {
                thread::sleep(PAUSE);
            }
        }
    }
    Ok(())
}

/// A packet socket on one link.
struct Port {
    socket: OwnedFd,
    mac: [u8; 6],
}

impl Port {
    /// `None` if there is no such Ethernet link (any more).
    fn open(index: usize) -> io::Result<Option<Self>> {
        let Some(link) = getifaddrs()?
            .filter_map(|entry| entry.address?.as_link_addr().copied())
            .find(|link: &LinkAddr| link.ifindex() == index && link.halen() == 6)
        else {
            return Ok(None);
        };
        let socket = socket(AddressFamily::Packet, SockType::Raw, SockFlag::SOCK_CLOEXEC, None)?;
        // The address names the link, and protocol 0: the socket sends and receives nothing (packet(7)).
        Ok(bind(socket.as_raw_fd(), &link)
            .ok()
            .and(link.addr())
            .map(|mac| Self { socket, mac }))
    }

    fn announce(&self, address: Ipv4Addr) {
        // A link that is down or gone: the next round, or whoever sets it up, will tell.
        let _ = send_frame(
            self.socket.as_raw_fd(),
            &frame(self.mac, address),
            MsgFlags::empty(),
        );
    }
}

/// An ARP request for an address by its own holder (RFC 826): every neighbour that knows the address learns.
fn frame(mac: [u8; 6], address: Ipv4Addr) -> [u8; 42] {
    let mut frame = [0; 42];
    frame[..6].fill(0xff);
    frame[6..12].copy_from_slice(&mac);
    frame[12..14].copy_from_slice(&[0x08, 0x06]); // ETH_P_ARP
    frame[14..22].copy_from_slice(&[0, 1, 8, 0, 6, 4, 0, 1]); // Ethernet, IPv4, their lengths, request
    frame[22..28].copy_from_slice(&mac);
    frame[28..32].copy_from_slice(&address.octets());
    frame[38..42].copy_from_slice(&address.octets());
    frame
}
