//! VXLAN (RFC 7348) as hypervisors speak it, byte by byte: frames of an overlay in and out of packets. Pure: no sockets.

use std::net::{Ipv4Addr, SocketAddrV4};

use crate::packet::{be16, readdress, udp};

/// The port that VXLAN has by default.
const PORT: u16 = 4789;
/// The headers of IPv4 and UDP, and that of VXLAN.
const OUTER: usize = 20 + 8;
const VXLAN: usize = 8;

/// An overlay subnet of a router, from the hypervisors' side: half of its VMs are on each of two.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Overlay {
    /// The side that its VMs are at.
    pub slot: u8,
    /// The slot of the NIC that its packets come by.
    pub below: u8,
    /// Its number.
    pub vni: u32,
    /// The router's address.
    pub local: Ipv4Addr,
}

impl Overlay {
    /// The two hypervisors.
    pub const HOSTS: [Ipv4Addr; 2] = [Ipv4Addr::new(203, 0, 113, 77), Ipv4Addr::new(203, 0, 113, 78)];

    /// The hypervisor that a VM is on.
    pub fn host_of(vm: Ipv4Addr) -> Ipv4Addr {
        Self::HOSTS[usize::from(vm.octets()[3] % 2)]
    }

    /// A VM's frame in a packet to the router.
    pub(crate) fn wrap(&self, frame: &[u8], vm: Ipv4Addr) -> Vec<u8> {
        let mut data = vec![0x08, 0, 0, 0];
        data.extend((self.vni << 8).to_be_bytes());
        data.extend(frame);
        let source = SocketAddrV4::new(Self::host_of(vm), 49_152 + u16::from(vm.octets()[3]));
        let to = SocketAddrV4::new(self.local, PORT);
        let mut packet = udp(source, to, &data);
        readdress(&mut packet, source, to);
        packet
    }

    /// The hypervisor that a packet of the router is for, and the frame in it; `None`: it is another one.
    pub(crate) fn unwrap<'p>(&self, packet: &'p [u8]) -> Option<(Ipv4Addr, &'p [u8])> {
        let is_udp = packet.first() == Some(&0x45) && packet.get(9) == Some(&17);
        let to: [u8; 4] = packet.get(16..20)?.try_into().ok()?;
        let header = packet.get(OUTER..OUTER + VXLAN)?;
        let is_ours =
            is_udp && be16(packet, 22) == Some(PORT) && header[4..8] == (self.vni << 8).to_be_bytes();
        is_ours.then_some((to.into(), &packet[OUTER + VXLAN..]))
    }
}
