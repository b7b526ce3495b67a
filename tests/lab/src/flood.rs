//! New flows as fast as the kernel takes them: UDP frames that nobody answers, each with a source of its own.
//!
//! The frames are handed over below the IP stack, many in one system call, so that the sender costs little beside the
//! router: what a veth is given is carried on at once, in the sender's own time, so that frames per second at the far
//! end are one over what a frame costs. It must never send the same flow twice: a known one costs far less.

use std::io::IoSlice;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::ifaddrs::getifaddrs;
use nix::sys::socket::{
    AddressFamily, LinkAddr, MsgFlags, MultiHeaders, SockFlag, SockType, bind, sendmmsg, socket,
};

use crate::namespace::Namespace;
use crate::packet;

/// How many frames one system call hands over.
const AT_ONCE: usize = 64;
/// The sources: 198.18.0.0/15 (RFC 2544, for benchmarks), and of each address these ports.
const FIRST_SOURCE: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 0);
const FIRST_PORT: u16 = 1024;
const PORTS: u32 = 60_000;
const ETHERNET: usize = 14;
/// Where chance begins.
const SEED: u64 = 0x9e37_79b9_7f4a_7c15;
/// With it a frame has the 60 bytes that are Ethernet's least.
const PAYLOAD: [u8; 18] = [0; 18];

/// How long to send.
#[derive(Clone, Copy, Debug)]
pub enum Extent {
    /// So long.
    Time(Duration),
    /// So many frames.
    Frames(u64),
}

/// A sender of new flows on one link.
#[derive(Debug)]
pub struct Flood {
    socket: OwnedFd,
    targets: Vec<SocketAddrV4>,
    first_source: Ipv4Addr,
    frames: Vec<Vec<u8>>,
    /// The number of the next flow.
    next: u32,
    random: u64,
}

impl Flood {
    /// Frames from this link of a namespace to a neighbour, each for one of `targets`, at random.
    ///
    /// # Panics
    /// If there is no such link or no target; if packet sockets are forbidden (CAP_NET_RAW).
    pub fn new(from: &Namespace, link: &str, neighbour: &str, targets: Vec<SocketAddrV4>) -> Flood {
        assert!(!targets.is_empty(), "frames need somewhere to go");
        let socket = from.run(|| {
            let address = getifaddrs()
                .expect("list links")
                .filter(|entry| entry.interface_name == link)
                .find_map(|entry| entry.address?.as_link_addr().copied());
            let address: LinkAddr = address.unwrap_or_else(|| panic!("no link {link}"));
            let socket = socket(AddressFamily::Packet, SockType::Raw, SockFlag::SOCK_CLOEXEC, None);
            let socket = socket.expect("open a packet socket");
            bind(socket.as_raw_fd(), &address).unwrap_or_else(|error| panic!("bind to {link}: {error}"));
            socket
        });
        let mac: Vec<u8> = neighbour
            .split(':')
            .map(|octet| u8::from_str_radix(octet, 16).expect("a hardware address"))
            .collect();
        let nobody = SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0);
        let ethernet = [mac.as_slice(), &[2, 0, 0, 0, 0, 1], &[0x08, 0x00]].concat();
        let frame = [ethernet, packet::udp(nobody, nobody, &PAYLOAD)].concat();
        Flood {
            socket,
            targets,
            first_source: FIRST_SOURCE,
            frames: vec![frame; AT_ONCE],
            next: 0,
            random: SEED,
        }
    }

    /// The same from other sources: this address first, and the next one only after 60,000 frames.
    pub fn from_address(self, first_source: Ipv4Addr) -> Flood {
        Flood { first_source, ..self }
    }

    /// Sends, and says how many frames and how long it took.
    ///
    /// # Panics
    /// If the kernel refuses frames for another reason than a full queue.
    pub fn send(&mut self, extent: Extent) -> (u64, Duration) {
        let mut headers = MultiHeaders::<LinkAddr>::preallocate(AT_ONCE, None);
        let nowhere = [None; AT_ONCE];
        let (start, mut sent) = (Instant::now(), 0u64);
        loop {
            let count = match extent {
                Extent::Time(time) if start.elapsed() >= time => break,
                Extent::Time(_) => AT_ONCE,
                Extent::Frames(frames) if sent >= frames => break,
                Extent::Frames(frames) => usize::try_from(frames - sent).unwrap_or(AT_ONCE).min(AT_ONCE),
            };
            for index in 0..count {
                self.aim(index);
            }
            let slices: Vec<[IoSlice; 1]> = self.frames[..count]
                .iter()
                .map(|frame| [IoSlice::new(frame)])
                .collect();
            let taken = sendmmsg(
                self.socket.as_raw_fd(),
                &mut headers,
                &slices,
                &nowhere[..count],
                [],
                MsgFlags::empty(),
            );
            match taken {
                // What is left over of a full queue is not sent again: its flows are not counted.
                Ok(taken) => sent += taken.count() as u64,
                Err(Errno::ENOBUFS | Errno::EINTR) => {}
                Err(error) => panic!("send frames: {error}"),
            }
        }
        (sent, start.elapsed())
    }

    /// Begins again: the same frames follow.
    pub fn rewind(&mut self) {
        self.next = 0;
        self.random = SEED;
    }

    /// Gives a frame the next source, and a target.
    fn aim(&mut self, index: usize) {
        let (address, port) = (self.next / PORTS, self.next % PORTS);
        self.next = self.next.wrapping_add(1);
        let source = Ipv4Addr::from(u32::from(self.first_source) + address);
        let port = FIRST_PORT + u16::try_from(port).expect("below 60,000");
        // Xorshift (Marsaglia 2003): cheap, and no cache of the router's guesses it.
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        let target = self.targets[(self.random % self.targets.len() as u64) as usize];
        packet::readdress(
            &mut self.frames[index][ETHERNET..],
            SocketAddrV4::new(source, port),
            target,
        );
    }
}
