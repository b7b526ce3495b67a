//! A VPC made of network namespaces, and probes that say what a packet met.
//!
//! The lab answers one question: *a packet goes from here to there; who gets it, and whom does it seem to
//! come from?* It is a black box around the router: it runs the `kylin-vr` binary by path, never links it,
//! and believes only what the sockets at the far side see, so it cannot share a mistake with the code
//! that it judges.
//!
//! ```no_run
//! use lab::{Tcp, Vpc};
//! let vpc = Vpc::builder("/usr/sbin/kylin-vr").build();
//! vpc.reload_ok("if_list: []");
//! assert_eq!(vpc.probe(&vpc.client, Tcp, "10.90.2.250:22", &[]), "a1:22 sees 198.51.100.10");
//! ```
//!
//! The line through it: [`Namespace`] (a namespace without a name, gone with its last user) -> [`Host`] (a
//! VM) -> [`Vpc`] (the topology of the design note) -> [`probe`] (one packet, one [`Outcome`]). Beside the
//! line stand flows that live through reloads ([`TcpFlow`], [`UdpFlow`]), floods of new ones ([`Flood`]), ARP ([`ArpWatch`], [`arping`]), DHCP
//! ([`DhcpClient`]), the text of
//! a whole namespace ([`Snapshot`]), and a router with nothing but wires around it, for thousands of packets
//! ([`Rig`]). Where a namespace is not enough of a router, the router is a real VM: [`guest`].
//!
//! It is test code: whatever it cannot do it reports by a panic that names the command or the call.
//! It must never touch the namespace it was started in, nor leave anything behind.

mod agent;
mod arp;
mod capture;
mod datagram;
mod dhcp;
mod diff;
mod flood;
mod flow;
pub mod guest;
mod host;
mod hypervisor;
mod icmp;
mod listener;
mod namespace;
mod open_vswitch;
mod outcome;
mod packet;
mod probe;
mod raw;
mod rig;
mod scratch;
mod snapshot;
mod tcp;
mod topology;
mod tunnel;
mod udp;
mod vpc;
mod wait;

pub use agent::{Daemon, Run};
pub use arp::{ArpFrame, ArpWatch, arping};
pub use capture::{Capture, Frames, together};
pub use datagram::{Content, Datagram, Segment};
pub use dhcp::{DhcpClient, DhcpLease, renew};
pub use flood::{Extent, Flood};
pub use flow::{TcpFlow, UdpFlow};
pub use host::Host;
pub use hypervisor::{Carried, GATEWAY_MAC, Hypervisor};
pub use listener::Listener;
pub use namespace::{Namespace, is_root_with_netns, with_own_mounts};
pub use open_vswitch::{OpenVSwitch, has_open_vswitch};
pub use outcome::{Arrival, Outcome};
pub use probe::{Icmp, Protocol, Tcp, Udp, probe, spoof};
pub use raw::{fill_in_checksum, send_as_it_is};
pub use rig::{Crossed, Rig, Seen, Side};
pub use snapshot::Snapshot;
pub use topology::Nic;
pub use tunnel::Overlay;
pub use vpc::{Builder, Vpc};
pub use wait::uninterrupted;
