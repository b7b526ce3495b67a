//! A hypervisor with a real Open vSwitch, whose flow tables are those of a mini cloud that VXLAN subnets come from.
//!
//! Two bridges: `br-phy` with the NIC to the network below and the hypervisor's address, and `br0` with the VMs and
//! `vxlan-int`, which sends to whom a flow says.

use std::net::Ipv4Addr;

use crate::host::Host;
use crate::namespace::{Namespace, veth_line};
use crate::open_vswitch::{OpenVSwitch, without_offloads};

/// The gateway's hardware address in every subnet.
pub const GATEWAY_MAC: &str = "12:00:00:ff:ff:ff";

/// A subnet that hypervisors carry.
#[derive(Clone, Debug)]
pub struct Carried {
    /// Its number.
    pub vni: u32,
    /// The router's address in it.
    pub gateway: Ipv4Addr,
}

/// A hypervisor; its switch ends when it is dropped.
#[derive(Debug)]
pub struct Hypervisor {
    /// Where it lives.
    pub namespace: Namespace,
    /// Its address in the network below.
    pub address: Ipv4Addr,
    name: String,
    ovs: OpenVSwitch,
}

impl Hypervisor {
    /// One of this name, on the external wire of a switch, with a switch of its own and no VM.
    ///
    /// # Panics
    /// If Open vSwitch does not start.
    pub fn new(name: &str, address: Ipv4Addr, switch: &Namespace, wire: &str) -> Hypervisor {
        let namespace = Namespace::without_ipv6();
        let wires = veth_line(name, "", &namespace, "eth0", "");
        switch.ip_batch(&format!("{wires}\nlink set {name} master {wire} up\n"));
        without_offloads(switch, name);
        namespace.ip_batch("link set lo up\nlink set eth0 up\n");
        let ovs = OpenVSwitch::start(&namespace);
        let hypervisor = Hypervisor {
            namespace,
            address,
            name: name.to_owned(),
            ovs,
        };
        hypervisor.make_bridges();
        hypervisor
    }

    fn vsctl(&self, arguments: &str) {
        self.ovs.vsctl(&self.namespace, arguments);
    }

    fn make_bridges(&self) {
        // The same hardware address after a restart: else whoever knows the old one sends to it for a minute.
        let [.., last] = self.address.octets();
        self.vsctl(&format!(
            "add-br br-phy -- set bridge br-phy datapath_type=netdev other-config:hwaddr=52:54:84:bb:03:{last:02x} \
             -- add-port br-phy eth0"
        ));
        self.namespace.ip_batch(&format!(
            "addr replace {}/24 dev br-phy\nlink set br-phy up\n",
            self.address
        ));
        self.vsctl(&format!(
            "add-br br0 -- set bridge br0 datapath_type=netdev fail-mode=secure \
             -- add-port br0 vxlan-int -- set interface vxlan-int type=vxlan ofport_request=100 \
             options:local_ip={} options:key=flow options:remote_ip=flow",
            self.address
        ));
    }

    /// The switch ends and begins anew, with nothing in it: as after a power failure.
    pub fn restart(&mut self) {
        self.ovs.restart(&self.namespace);
        self.make_bridges();
    }

    /// Its wire is pulled, or put in again.
    pub fn set_wire(&self, switch: &Namespace, is_in: bool) {
        let to = if is_in { "up" } else { "down" };
        switch.ip(&format!("link set {} {to}", self.name));
    }

    /// Takes the switch's end of a VM's wire, whose name is the VM's, out of this namespace, to be its port.
    pub fn attach(&self, vm: &Host, from: &Namespace) {
        from.ip(&format!("link set {} netns {}", vm.name, self.namespace.path()));
        self.namespace.ip(&format!("link set {} up", vm.name));
        // What it sends has its checksums: a switch in userspace computes none.
        without_offloads(&vm.namespace, "eth0");
        self.add_port(vm);
    }

    /// Makes the end of a VM's wire that is here a port of the switch.
    pub fn add_port(&self, vm: &Host) {
        self.vsctl(&format!("add-port br0 {}", vm.name));
    }

    /// Gives a VM's wire to another hypervisor.
    pub fn hand_over(&self, vm: &Host, to: &Hypervisor) {
        self.vsctl(&format!("del-port br0 {}", vm.name));
        to.attach(vm, &self.namespace);
    }

    /// Programs the flow tables: of these subnets, of all their VMs (each on a hypervisor), with this gateway.
    /// `peers` are the other hypervisors, which broadcast goes to in place of a switch node.
    pub fn program(
        &self,
        subnets: &[Carried],
        vms: &[(&Host, &Hypervisor, &Carried)],
        gateway: Ipv4Addr,
        peers: &[&Hypervisor],
    ) {
        let flows = self.flows(subnets, vms, gateway, peers);
        self.ovs.replace_flows(&self.namespace, "br0", &flows);
    }

    /// The flow tables. Tables 0 and 10 and the answers to ARP requests of table 50 are the mini cloud's own: a hypervisor
    /// answers its VMs for the gateway and for all VMs, and into the tunnel, to who asked by it, for all VMs as well, who hear
    /// nothing of that. Two things are other: the tunnel number is set towards the gateway too, since the router tells
    /// subnets apart by it; and broadcast goes to each hypervisor, not by a switch node.
    fn flows(
        &self,
        subnets: &[Carried],
        vms: &[(&Host, &Hypervisor, &Carried)],
        gateway: Ipv4Addr,
        peers: &[&Hypervisor],
    ) -> String {
        let mac = GATEWAY_MAC;
        let mut flows = "table=0,priority=20,dl_dst=ff:ff:ff:ff:ff:ff,actions=resubmit(,50)\n\
                         table=0,priority=10,dl_dst=00:00:00:00:00:00/01:00:00:00:00:00,actions=resubmit(,10)\n\
                         table=0,priority=10,dl_dst=01:00:00:00:00:00/01:00:00:00:00:00,actions=resubmit(,50)\n\
                         table=0,priority=0,actions=drop\n\
                         table=10,priority=0,actions=drop\n\
                         table=50,priority=0,actions=drop\n"
            .to_owned();
        let to =
            |address: Ipv4Addr| format!("load:{:#x}->NXM_NX_TUN_IPV4_DST[],vxlan-int", u32::from(address));
        let number = |subnet: &Carried| format!("load:{:#x}->NXM_NX_TUN_ID[]", subnet.vni);
        let arp = |address: Ipv4Addr, mac: &str| {
            format!(
                "table=50,priority=20,arp,arp_tpa={address},arp_op=1,actions=move:NXM_OF_ETH_SRC[]->NXM_OF_ETH_DST[],\
                 mod_dl_src:{mac},load:0x02->NXM_OF_ARP_OP[],move:NXM_NX_ARP_SHA[]->NXM_NX_ARP_THA[],\
                 load:0x{}->NXM_NX_ARP_SHA[],move:NXM_OF_ARP_SPA[]->NXM_OF_ARP_TPA[],load:{:#x}->NXM_OF_ARP_SPA[],in_port\n",
                mac.replace(':', ""),
                u32::from(address)
            )
        };
        for subnet in subnets {
            flows += &arp(subnet.gateway, mac);
        }
        for (vm, on, subnet) in vms {
            let (address, vm_mac, set) = (vm.address, vm.mac(), number(subnet));
            let is_here = on.address == self.address;
            let deliver = if is_here {
                vm.name.clone()
            } else {
                // What comes for a VM that has moved is sent on: live migration loses nothing.
                flows += &format!(
                    "table=10,priority=16,in_port=vxlan-int,dl_dst={vm_mac},actions={set},load:{:#x}->NXM_NX_TUN_IPV4_DST[],in_port\n",
                    u32::from(on.address)
                );
                format!("{set},{}", to(on.address))
            };
            flows += &format!("table=10,priority=15,dl_dst={vm_mac},actions={deliver}\n");
            flows += &arp(address, &vm_mac);
            // Above what comes by a tunnel and is for all: to the one who asked, in the subnet that it asked in.
            let back = format!("{set},move:NXM_NX_TUN_IPV4_SRC[]->NXM_NX_TUN_IPV4_DST[],in_port");
            let asked_by_tunnel = arp(address, &vm_mac)
                .replace(
                    "priority=20",
                    &format!("priority=26,in_port=vxlan-int,tun_id={:#x}", subnet.vni),
                )
                .replace(",in_port\n", &format!(",{back}\n"));
            flows += &asked_by_tunnel;
            if !is_here {
                continue;
            }
            // A VM's frame to the gateway.
            flows += &format!(
                "table=10,priority=5,dl_src={vm_mac},dl_dst={mac},actions={set},{}\n",
                to(gateway)
            );
            // Its broadcast: to the VMs of the subnet that are here, and to all other hypervisors and the router.
            let name = &vm.name;
            let mut everywhere = set.clone();
            for (other, on, its) in vms {
                if on.address == self.address && its.vni == subnet.vni && other.name != vm.name {
                    everywhere += &format!(",output:{}", other.name);
                }
            }
            for address in peers.iter().map(|peer| peer.address).chain([gateway]) {
                everywhere += &format!(",{}", to(address));
            }
            flows += &format!("table=50,priority=10,in_port={name},actions={everywhere}\n");
        }
        for subnet in subnets {
            let here = vms
                .iter()
                .filter(|(_, on, its)| on.address == self.address && its.vni == subnet.vni);
            let ports: Vec<String> = here.map(|(vm, ..)| format!("output:{}", vm.name)).collect();
            if !ports.is_empty() {
                flows += &format!(
                    "table=50,priority=25,in_port=vxlan-int,tun_id={:#x},actions={}\n",
                    subnet.vni,
                    ports.join(",")
                );
            }
        }
        flows
    }
}
