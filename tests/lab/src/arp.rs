//! ARP on a wire: watching what is said, and asking who has an address.
//!
//! The frames are read and written by AF_PACKET sockets at the side of the router's peers; the kernel's
//! neighbour table is neither read nor changed.

use std::fmt;
use std::net::Ipv4Addr;
use std::os::fd::{AsFd, AsRawFd};
use std::time::Duration;

use nix::ifaddrs::getifaddrs;
use nix::libc::ETH_P_ARP;
use nix::poll::PollFlags;
use nix::sys::socket::{LinkAddr, MsgFlags, bind, recvfrom, sendto, setsockopt, sockopt};
use socket2::{Domain, Protocol, Socket, Type};

use crate::namespace::Namespace;
use crate::packet::Arp;
use crate::wait::{Deadline, ready};

/// An ARP frame as it was on the wire. MACs are in lower case with colons.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArpFrame {
    /// 1 asks, 2 answers.
    pub operation: u16,
    /// The sender's MAC, as ARP says it.
    pub sender_mac: String,
    /// The sender's address.
    pub sender: Ipv4Addr,
    /// The target's address.
    pub target: Ipv4Addr,
    /// Where the Ethernet frame was for: `ff:ff:ff:ff:ff:ff` for everybody.
    pub destination_mac: String,
}

impl ArpFrame {
    /// Whether the sender tells where it is, rather than asking or answering: sender and target are one.
    pub fn is_gratuitous(&self) -> bool {
        self.sender == self.target
    }

    fn parse(frame: &[u8]) -> Option<ArpFrame> {
        let arp = Arp::parse(frame)?;
        Some(ArpFrame {
            operation: arp.operation,
            sender_mac: mac_text(arp.sender_mac),
            sender: arp.sender,
            target: arp.target,
            destination_mac: mac_text(arp.destination),
        })
    }
}

/// Collects the ARP frames that *come in* on a link from its start on; the kernel keeps them until they are
/// asked for.
pub struct ArpWatch {
    socket: Socket,
    seen: Vec<ArpFrame>,
}

impl ArpWatch {
    /// Starts to watch a link.
    ///
    /// # Panics
    /// If there is no such link.
    pub fn start(namespace: &Namespace, link: &str) -> ArpWatch {
        let (socket, _) = open(namespace, link);
        ArpWatch {
            socket,
            seen: Vec::new(),
        }
    }

    /// All frames since the start.
    pub fn frames(&mut self) -> &[ArpFrame] {
        while let Some(frame) = receive(&self.socket) {
            self.seen.extend(ArpFrame::parse(&frame));
        }
        &self.seen
    }

    /// The gratuitous ones among them.
    pub fn gratuitous(&mut self) -> Vec<ArpFrame> {
        self.frames()
            .iter()
            .filter(|frame| frame.is_gratuitous())
            .cloned()
            .collect()
    }

    /// Waits until a gratuitous frame for this address has come; `None`: not in time.
    pub fn wait_gratuitous(&mut self, address: Ipv4Addr, timeout: Duration) -> Option<ArpFrame> {
        let deadline = Deadline::after(timeout);
        loop {
            let found = self
                .gratuitous()
                .into_iter()
                .find(|frame| frame.sender == address);
            if found.is_some() || deadline.passed() {
                return found;
            }
            ready(&[(self.socket.as_fd(), PollFlags::POLLIN)], deadline);
        }
    }
}

impl fmt::Debug for ArpWatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ArpWatch")
            .field("seen", &self.seen)
            .finish_non_exhaustive()
    }
}

/// Asks on a link who has an address, from the link's own MAC and address; the answer is a MAC, `None` that
/// nobody answered in time.
///
/// # Panics
/// If there is no such link, or it has no address.
pub fn arping(namespace: &Namespace, link: &str, address: Ipv4Addr, timeout: Duration) -> Option<String> {
    let (socket, card) = open(namespace, link);
    let own = namespace
        .address_of(link)
        .unwrap_or_else(|| panic!("{link} has no address to ask from"));
    let request = Arp {
        destination: [0xff; 6],
        operation: 1,
        sender_mac: card.addr().expect("a link address has a MAC"),
        sender: own,
        target_mac: [0; 6],
        target: address,
    };
    sendto(socket.as_raw_fd(), &request.encode(), &card, MsgFlags::empty()).expect("send an ARP request");
    let deadline = Deadline::after(timeout);
    loop {
        while let Some(frame) = receive(&socket) {
            match Arp::parse(&frame) {
                Some(arp) if arp.operation == 2 && arp.sender == address => {
                    return Some(mac_text(arp.sender_mac));
                }
                _ => {}
            }
        }
        if deadline.passed() {
            return None;
        }
        ready(&[(socket.as_fd(), PollFlags::POLLIN)], deadline);
    }
}

/// A packet socket for ARP on one link, and the link's own address.
fn open(namespace: &Namespace, link: &str) -> (Socket, LinkAddr) {
    namespace.run(|| packet_socket(link, ETH_P_ARP))
}

/// A packet socket for one protocol on a link of the thread's namespace, and the link's own address.
pub(crate) fn packet_socket(link: &str, protocol: i32) -> (Socket, LinkAddr) {
    let protocol = u16::try_from(protocol).expect("an EtherType").to_be();
    let socket = Socket::new(
        Domain::PACKET,
        Type::RAW,
        Some(Protocol::from(i32::from(protocol))),
    )
    .expect("open a packet socket (needs CAP_NET_RAW)");
    socket.set_nonblocking(true).expect("make a socket non-blocking");
    // Ten thousand EIPs are announced in one go; the default buffer holds some three hundred frames.
    setsockopt(&socket, sockopt::RcvBufForce, &(64 << 20)).expect("enlarge a receive buffer");
    // nix has no way to build a `LinkAddr`, but the list of addresses has one for every link. Its
    // protocol is 0, with which bind(2) keeps the socket's own.
    let card = getifaddrs()
        .expect("list links")
        .filter(|entry| entry.interface_name == link)
        .find_map(|entry| entry.address?.as_link_addr().copied())
        .unwrap_or_else(|| panic!("no link {link} in the namespace"));
    bind(socket.as_raw_fd(), &card).unwrap_or_else(|error| panic!("watch {link}: {error}"));
    (socket, card)
}

fn receive(socket: &Socket) -> Option<Vec<u8>> {
    let mut buffer = [0; 256];
    let (length, _) = recvfrom::<LinkAddr>(socket.as_raw_fd(), &mut buffer).ok()?;
    Some(buffer[..length].to_vec())
}

fn mac_text(mac: [u8; 6]) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}
