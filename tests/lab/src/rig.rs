//! A router with nothing around it but wires, for many packets at once.
//!
//! Each NIC of the router has a wire whose far end is a packet socket: it is the neighbour for every next hop (it
//! answers ARP for any address, with a MAC that says which), sends frames as anybody, and records all that the
//! router sends. NICs are known by a number, their slot, from which the MAC follows.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::{AsFd, AsRawFd};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use nix::libc::{AF_NETLINK, ETH_P_ALL, IPPROTO_RAW, NETLINK_NETFILTER};
use nix::poll::PollFlags;
use nix::sys::socket::{LinkAddr, MsgFlags, recv, sendto, setsockopt, sockopt};
use socket2::{Domain, Protocol, Socket, Type};

use crate::agent::{Agent, Run};
use crate::arp::packet_socket;
use crate::datagram::Datagram;
use crate::namespace::{Namespace, finish};
use crate::packet::{Arp, be16};
use crate::tunnel::Overlay;
use crate::wait::{Deadline, ready};

/// How long nothing may come before a packet that is missed counts as lost. The slowest thing is an ARP request that
/// the kernel sends again, after a second.
const LOST: Duration = Duration::from_millis(1_500);
/// How long nothing may come once all that was expected has: for what should not come at all.
const QUIET: Duration = Duration::from_millis(12);

/// Where something is put in, or seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Side {
    /// The wire of the NIC in this slot.
    Wire(u8),
    /// The router itself.
    Router,
}

/// Something that came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Seen {
    /// Where.
    pub side: Side,
    /// On a wire: to whom the frame was sent, by its MAC; `None`: to nobody that the rig is.
    pub next_hop: Option<Ipv4Addr>,
    /// What.
    pub datagram: Datagram,
}

/// A frame that crossed a wire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Crossed {
    /// The wire's slot.
    pub slot: u8,
    /// Whether it went into the router; else it came out.
    pub is_incoming: bool,
    /// It, from its Ethernet header on.
    pub frame: Vec<u8>,
}

/// A router and its wires. It is gone when dropped.
#[derive(Debug)]
pub struct Rig {
    /// The machine that kylin-vr makes a router.
    pub router: Namespace,
    far: Namespace,
    wires: BTreeMap<u8, Wire>,
    agent: Agent,
    /// Sends with a header of its own.
    raw: Socket,
    /// Hear what the router takes for itself.
    ears: Vec<Socket>,
    /// What crossed the wires in the last exchange.
    crossed: Vec<Crossed>,
    overlays: Vec<Overlay>,
}

#[derive(Debug)]
struct Wire {
    socket: Socket,
    card: LinkAddr,
    mac: [u8; 6],
}

impl Rig {
    /// A router without a NIC, for the `kylin-vr` binary at this path.
    pub fn new(binary: impl Into<PathBuf>) -> Rig {
        let router = Namespace::new();
        // Else ICMP errors are bounded, to one a second for each host and some fifty at once for all.
        router.set_sysctl("net/ipv4/icmp_ratemask", "0");
        let (raw, ears) = router.run(|| {
            let open = |protocol: i32| {
                let socket = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::from(protocol)))
                    .expect("open a raw socket (needs CAP_NET_RAW)");
                socket.set_nonblocking(true).expect("make a socket non-blocking");
                setsockopt(&socket, sockopt::RcvBufForce, &(8 << 20)).expect("enlarge a receive buffer");
                socket
            };
            (open(IPPROTO_RAW), [1, 6, 17].map(open).into())
        });
        Rig {
            router,
            far: Namespace::without_ipv6(),
            wires: BTreeMap::new(),
            agent: Agent::new(binary.into()),
            raw,
            ears,
            crossed: Vec::new(),
            overlays: Vec::new(),
        }
    }

    /// From this slot on, NICs have analysers on their wires: nobody sends there, or answers, and whatever comes out is a
    /// copy.
    pub const ANALYSERS: u8 = 16;

    /// From this slot on there are no NICs but overlay subnets, whose VMs are behind one.
    pub const OVERLAYS: u8 = 32;

    /// The MAC that everybody with this address has.
    pub fn neighbour_mac(address: Ipv4Addr) -> String {
        mac_of(address).map(|byte| format!("{byte:02x}")).join(":")
    }

    /// Says which overlay subnets there are.
    pub fn set_overlays(&mut self, overlays: Vec<Overlay>) {
        self.overlays = overlays;
    }

    /// What crossed the wires in the last exchange, in the order of each; of analysers all that came.
    pub fn crossed(&self) -> &[Crossed] {
        &self.crossed
    }

    /// The MAC of the NIC in a slot.
    pub fn mac(slot: u8) -> String {
        format!("52:54:84:22:00:{slot:02x}")
    }

    /// The slots whose NIC is there.
    pub fn slots(&self) -> Vec<u8> {
        self.wires.keys().copied().collect()
    }

    /// Plugs and unplugs NICs until exactly these are there.
    pub fn set_slots(&mut self, slots: &[u8]) {
        let gone: Vec<u8> = self
            .wires
            .keys()
            .copied()
            .filter(|slot| !slots.contains(slot))
            .collect();
        let mut lines = String::new();
        for slot in gone {
            lines += &format!("link del w{slot}\n");
            self.wires.remove(&slot);
        }
        let new: Vec<u8> = slots
            .iter()
            .copied()
            .filter(|slot| !self.wires.contains_key(slot))
            .collect();
        for slot in &new {
            let (mac, path) = (Rig::mac(*slot), self.router.path());
            lines += &format!("link add w{slot} type veth peer name nic{slot} address {mac} netns {path}\n");
            lines += &format!("link set w{slot} up\n");
        }
        if !lines.is_empty() {
            self.far.ip_batch(&lines);
        }
        // The kernel gives a link its queueing discipline when it first goes up, and never takes it away again:
        // without this a router could not be as it was.
        let up_down: String = (new.iter())
            .map(|slot| format!("link set nic{slot} up\nlink set nic{slot} down\n"))
            .collect();
        if !up_down.is_empty() {
            self.router.ip_batch(&up_down);
        }
        for slot in new {
            let wire = self.far.run(|| Wire::open(slot));
            self.wires.insert(slot, wire);
        }
    }

    /// Runs `kylin-vr --config PATH ARGUMENTS` in the router to its end, with something on its standard input.
    pub fn kylin_vr(&self, arguments: &[&str], input: &str) -> Run {
        let mut command = self.command();
        command.args(arguments);
        let output = self.router.run_with_sysfs(|| finish(command, input));
        Run::new(output.status, &output.stdout, &output.stderr)
    }

    /// The same, killed after a while. `false`: it had ended before.
    pub fn kylin_vr_killed(&self, arguments: &[&str], input: &str, after: Duration) -> bool {
        let mut command = self.command();
        command.args(arguments);
        self.router.run_with_sysfs(move || {
            command
                .stdin(Stdio::piped())
                .stdout(Stdio::null())
                .stderr(Stdio::null());
            let mut child = command.spawn().expect("start kylin-vr");
            let mut stdin = child.stdin.take().expect("standard input is a pipe");
            // Killed or done before it has read all: nothing to be told of.
            let _ = stdin.write_all(input.as_bytes());
            drop(stdin);
            thread::sleep(after);
            let was_running = child.try_wait().expect("ask for a child").is_none();
            let _ = child.kill();
            child.wait().expect("wait for kylin-vr");
            was_running
        })
    }

    /// The names of the agent's files.
    pub fn files(&self) -> Vec<String> {
        let mut names = Vec::new();
        for part in ["etc", "state", "run"] {
            let entries = fs::read_dir(self.agent.directory.path().join(part)).expect("list a directory");
            names.extend(
                entries
                    .flatten()
                    .map(|entry| format!("{part}/{}", entry.file_name().to_string_lossy())),
            );
        }
        names.sort();
        names
    }

    fn command(&self) -> Command {
        let mut command = self.agent.command(&self.agent.binary);
        command
            .arg("--config")
            .arg(self.agent.directory.path().join("etc/kylin-vr.yaml"));
        command
    }

    /// Has the router forget all connections, so that what comes next is the first packet of one, and all neighbours.
    ///
    /// The kernel keeps a subnet's broadcast address as a neighbour with the MAC of everybody, once it has sent there
    /// (it does tell a false source that there is no way), and still does when the subnet is a larger one in which the
    /// address is a host's (Linux 6.18).
    pub fn forget(&self) {
        // To ip-neighbour(8) "all" means neither these nor those that are there for good.
        self.router.ip_batch("neigh flush all\nneigh flush nud noarp\n");
        // An IPCTNL_MSG_CT_DELETE without a tuple, of no family: everything (linux/netfilter/nfnetlink_conntrack.h).
        let mut message = 20u32.to_ne_bytes().to_vec();
        message.extend(0x0102u16.to_ne_bytes());
        // NLM_F_REQUEST and NLM_F_ACK; number; port.
        message.extend(5u16.to_ne_bytes());
        message.extend([0; 12]);
        let answer = self.router.run(|| {
            let socket = Socket::new(
                Domain::from(AF_NETLINK),
                Type::RAW,
                Some(Protocol::from(NETLINK_NETFILTER)),
            )?;
            socket.send(&message)?;
            let mut answer = [0; 64];
            (&socket).read(&mut answer).map(|_| answer)
        });
        let answer = answer.expect("have connections forgotten");
        assert_eq!(answer[16..20], [0; 4], "have connections forgotten");
    }

    /// Puts packets in, each at its side, and gives all that came out, until nothing comes any more. `enough` says
    /// whether everything that is expected has come: until then it waits longer.
    ///
    /// What is put in by a NIC that is not there, or that the router itself cannot send, is lost.
    pub fn exchange(
        &mut self,
        packets: &[(Side, Datagram)],
        mut enough: impl FnMut(&[Seen]) -> bool,
    ) -> Vec<Seen> {
        // Far ends are up always; those of NICs that are down never get there, and are not waited for.
        self.router.settle();
        // What is left of earlier exchanges, announcements for one.
        self.collect(&mut Vec::new());
        self.crossed.clear();
        let mut seen = Vec::new();
        for (number, (side, datagram)) in packets.iter().enumerate() {
            let packet = datagram.encode();
            match side {
                Side::Wire(slot) if *slot >= Self::OVERLAYS => {
                    let overlay = self.overlays.iter().find(|one| one.slot == *slot);
                    let below = overlay.and_then(|one| Some((one, self.wires.get(&one.below)?)));
                    if let Some((overlay, below)) = below {
                        let frame = framed(mac_in(*slot), &packet, datagram.source);
                        let host = Overlay::host_of(datagram.source);
                        below.send(&overlay.wrap(&frame, datagram.source), host);
                        self.crossed.push(Crossed {
                            slot: *slot,
                            is_incoming: true,
                            frame,
                        });
                    }
                }
                Side::Wire(slot) => {
                    if let Some(wire) = self.wires.get(slot) {
                        self.crossed.push(Crossed {
                            slot: *slot,
                            is_incoming: true,
                            frame: wire.send(&packet, datagram.source),
                        });
                    }
                }
                Side::Router => {
                    let to = SocketAddrV4::new(datagram.destination, 0);
                    // No way there, or none that the kernel lets it go: that is seen by what does not come.
                    let _ = self.raw.send_to(&packet, &to.into());
                }
            }
            // Neighbours are asked for meanwhile; the kernel keeps only so many packets for each.
            if number % 16 == 15 {
                self.collect(&mut seen);
            }
        }
        loop {
            let quiet = if enough(&seen) { QUIET } else { LOST };
            let sockets = self
                .wires
                .values()
                .map(|wire| wire.socket.as_fd())
                .chain(self.ears.iter().map(Socket::as_fd));
            let sockets: Vec<_> = sockets.map(|fd| (fd, PollFlags::POLLIN)).collect();
            if !ready(&sockets, Deadline::after(quiet)).contains(&true) {
                return seen;
            }
            self.collect(&mut seen);
        }
    }

    /// Takes what waits at all sockets, and answers ARP.
    fn collect(&mut self, seen: &mut Vec<Seen>) {
        let mut buffer = [0; 2048];
        for (slot, wire) in &self.wires {
            while let Ok(length) = recv(wire.socket.as_raw_fd(), &mut buffer, MsgFlags::empty()) {
                let frame = &buffer[..length];
                let came_out = || Crossed {
                    slot: *slot,
                    is_incoming: false,
                    frame: frame.to_vec(),
                };
                if *slot >= Self::ANALYSERS {
                    self.crossed.push(came_out());
                    continue;
                }
                // The socket hears what it sends itself, too.
                if frame.get(6..12) != Some(&wire.mac) {
                    continue;
                }
                self.crossed.push(came_out());
                match be16(frame, 12) {
                    Some(0x0806) => wire.answer(frame),
                    Some(0x0800) => {
                        seen.extend(Datagram::parse(&frame[14..]).map(|datagram| Seen {
                            side: Side::Wire(*slot),
                            next_hop: address_of(&frame[..6]),
                            datagram,
                        }));
                        let overlays = self.overlays.iter().filter(|one| one.below == *slot);
                        for overlay in overlays {
                            let Some((host, frame)) = overlay.unwrap(&frame[14..]) else {
                                continue;
                            };
                            if frame.get(6..12) == Some(&mac_in(overlay.slot)) {
                                let came = wire.comes_to(host, frame, overlay);
                                self.crossed.extend(came.is_some().then(|| Crossed {
                                    slot: overlay.slot,
                                    is_incoming: false,
                                    frame: frame.to_vec(),
                                }));
                                seen.extend(came.flatten());
                            }
                        }
                    }
                    _ => {}
                }
            }
        }
        for ear in &self.ears {
            while let Ok(length) = recv(ear.as_raw_fd(), &mut buffer, MsgFlags::empty()) {
                seen.extend(Datagram::parse(&buffer[..length]).map(|datagram| Seen {
                    side: Side::Router,
                    next_hop: None,
                    datagram,
                }));
            }
        }
    }
}

impl Wire {
    fn open(slot: u8) -> Wire {
        let (socket, card) = packet_socket(&format!("w{slot}"), ETH_P_ALL);
        Wire {
            socket,
            card,
            mac: mac_in(slot),
        }
    }

    /// Sends an IPv4 packet to the router, from whoever has this address; gives the frame.
    fn send(&self, packet: &[u8], source: Ipv4Addr) -> Vec<u8> {
        let frame = framed(self.mac, packet, source);
        self.transmit(&frame);
        frame
    }

    /// A frame of an overlay at a hypervisor: ARP for one of its VMs is answered. `None`: it is for nobody there; else what
    /// was seen, if it has a mark.
    fn comes_to(&self, host: Ipv4Addr, frame: &[u8], overlay: &Overlay) -> Option<Option<Seen>> {
        if be16(frame, 12)? == 0x0806 {
            let asked = Arp::parse(frame).filter(|arp| arp.operation == 1 && arp.sender != arp.target)?;
            if Overlay::host_of(asked.target) == host {
                let answer = answer_to(&asked, mac_in(overlay.slot));
                self.send(&overlay.wrap(&answer.encode(), asked.target), host);
            }
            return None;
        }
        let next_hop = address_of(&frame[..6])?;
        let is_here = be16(frame, 12)? == 0x0800 && Overlay::host_of(next_hop) == host;
        is_here.then(|| {
            Datagram::parse(&frame[14..]).map(|datagram| Seen {
                side: Side::Wire(overlay.slot),
                next_hop: Some(next_hop),
                datagram,
            })
        })
    }

    fn transmit(&self, frame: &[u8]) {
        let sent = || sendto(self.socket.as_raw_fd(), frame, &self.card, MsgFlags::empty());
        match sent() {
            Ok(_) => {}
            // The far side is down: so is the wire. (What should have come there is missed.)
            Err(nix::errno::Errno::ENETDOWN | nix::errno::Errno::ENOBUFS) => {}
            Err(error) => panic!("send a frame: {}", io::Error::from(error)),
        }
    }

    fn answer(&self, frame: &[u8]) {
        let Some(asked) = Arp::parse(frame).filter(|arp| arp.operation == 1 && arp.sender != arp.target)
        else {
            return;
        };
        self.transmit(&answer_to(&asked, self.mac).encode());
    }
}

/// The router's MAC on the wire of a slot.
fn mac_in(slot: u8) -> [u8; 6] {
    [0x52, 0x54, 0x84, 0x22, 0, slot]
}

/// An IPv4 packet in a frame to the router, from whoever has this address.
fn framed(router: [u8; 6], packet: &[u8], source: Ipv4Addr) -> Vec<u8> {
    let mut frame = [router, mac_of(source)].concat();
    frame.extend([0x08, 0x00]);
    frame.extend(packet);
    frame
}

/// What the one who has the address answers.
fn answer_to(asked: &Arp, router: [u8; 6]) -> Arp {
    Arp {
        destination: router,
        operation: 2,
        sender_mac: mac_of(asked.target),
        sender: asked.target,
        target_mac: router,
        target: asked.sender,
    }
}

/// The MAC that everybody with this address has: one that was chosen by hand, the address at its end.
fn mac_of(address: Ipv4Addr) -> [u8; 6] {
    let [a, b, c, d] = address.octets();
    [0x02, 0x4b, a, b, c, d]
}

fn address_of(mac: &[u8]) -> Option<Ipv4Addr> {
    match *mac {
        [0x02, 0x4b, a, b, c, d] => Some([a, b, c, d].into()),
        _ => None,
    }
}
