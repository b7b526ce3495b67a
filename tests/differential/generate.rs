//! Random configurations, NICs and packets: from small pools, so that most of it meets something else.

use std::net::Ipv4Addr;

use kylin_vr::config::{Config, Forward};
use kylin_vr::translate::{Ports, Transport};
use lab::{Overlay, Rig, Side};
use proptest::prelude::*;

use crate::case::{Case, Probe, is_there, slot};
use crate::file::File;

/// How many NICs a router may have.
pub const SLOTS: u8 = 5;

/// The slots of the NICs that mirrors send by.
pub const ANALYSERS: [u8; 3] = [Rig::ANALYSERS, Rig::ANALYSERS + 1, Rig::ANALYSERS + 2];

/// Whatever gives random numbers.
pub struct Dice<R>(pub R);

impl<R: Rng> Dice<R> {
    pub fn one<T: Clone>(&mut self, of: &[T]) -> T {
        of[self.0.random_range(0..of.len())].clone()
    }

    pub fn below(&mut self, end: u32) -> u32 {
        self.0.random_range(0..end)
    }

    /// True once in so many times.
    pub fn in_one_of(&mut self, times: u32) -> bool {
        self.below(times) == 0
    }

    fn near(&mut self, base: [u8; 4], count: u32) -> Ipv4Addr {
        Ipv4Addr::from(u32::from(Ipv4Addr::from(base)) + self.below(count))
    }

    /// A configuration, its NICs and packets to it.
    pub fn case(&mut self, packets: usize) -> Case {
        let file = self.file();
        let slots = self.slots();
        let probes = self.probes(&file.config(), &slots, packets);
        Case { file, slots, probes }
    }

    /// Some NICs, most of the time all.
    pub fn slots(&mut self) -> Vec<u8> {
        let is_all = self.below(3) > 0;
        let slots = (0..SLOTS).chain(ANALYSERS);
        slots.filter(|_| is_all || self.below(3) > 0).collect()
    }

    /// What makes an interface an overlay, over the external NIC; some of its VMs are listed.
    fn overlay(&mut self, number: u8, net: u8) -> String {
        let listed: Vec<String> = (3..7)
            .filter(|_| self.in_one_of(2))
            .map(|last| Ipv4Addr::new(192, 168, net, last))
            .map(|vm| {
                let (mac, host) = (Rig::neighbour_mac(vm), Overlay::host_of(vm));
                format!("{{vm-ip: {vm}, mac: \"{mac}\", host: {host}}}")
            })
            .collect();
        let peers = Overlay::HOSTS.map(|host| host.to_string()).join(", ");
        format!(
            "vxlan: {{vni: {}, peers: [{peers}], gateway-mac: \"{}\"}}, vm_list: [{}]",
            1_000 + u32::from(number),
            Rig::mac(Rig::OVERLAYS + number),
            listed.join(", ")
        )
    }

    /// A mirror: often of what others copy as well, or of nothing that there is.
    fn mirror(&mut self, number: u32) -> String {
        let net = self.one(&[100, 100, 101, 102]);
        let source = match self.below(6) {
            0 => "all: true".to_owned(),
            1 | 2 => format!("mac: \"{}\"", Rig::mac(self.below(SLOTS.into()) as u8)),
            3 => format!("vm-ip: {}", self.vm()),
            _ => self.one(&[
                format!("subnet: 192.168.{net}.0/24"),
                format!("subnet: 192.168.{net}.0/29"),
                format!("subnet: 192.168.{net}.4/30"),
                format!("subnet: 172.{}.0.0/16", net - 84),
                "subnet: 172.30.0.0/30".to_owned(),
                "subnet: 172.30.0.0/16".to_owned(),
            ]),
        };
        let select = self.one(&["both", "both", "src", "dst"]);
        let protocol = self.one(&["tcp", "udp"]);
        let port = match self.below(2) {
            0 => self.port(),
            _ => 20_000 + self.below(40) as u16,
        };
        let filter = match self.below(8) {
            0 => format!(", filter: {{protocol: {protocol}}}"),
            1 => ", filter: {protocol: icmp}".to_owned(),
            2 | 3 => format!(", filter: {{protocol: {protocol}, port: {port}}}"),
            4 => format!(", filter: {{cidr: {}}}", self.vm()),
            5 => format!(
                ", filter: {{cidr: {}}}",
                self.one(&["198.51.100.8/29", "10.90.2.248/29", "192.168.0.0/16", "0.0.0.0/0"])
            ),
            _ => String::new(),
        };
        let first = self.below(3) as usize;
        let to: Vec<String> = (0..self.one(&[1, 1, 1, 2, 3]))
            .map(|more| ANALYSERS[(first + more) % ANALYSERS.len()])
            .map(|slot| format!("{{nic: {{mac: \"{}\"}}}}", Rig::mac(slot)))
            .collect();
        format!(
            "name: m{number}, source: {{{source}}}, select: {select}{filter}, to: [{}]",
            to.join(", ")
        )
    }

    pub fn file(&mut self) -> File {
        if self.in_one_of(40) {
            return File::default();
        }
        let mut slots: Vec<u8> = (0..SLOTS).collect();
        let mut file = File {
            ipv6: self.in_one_of(10),
            uncounted: self.in_one_of(2),
            ..File::default()
        };
        let mut take = |dice: &mut Self| slots.swap_remove(dice.below(slots.len() as u32) as usize);
        if self.below(12) > 0 {
            let slot = take(self);
            let prefix = self.one(&[24, 24, 24, 16, 20, 28, 30, 31]);
            let gateway = match prefix {
                31 => [10, 90, 3, 36],
                28 | 30 => [10, 90, 3, 38],
                _ => self.one(&[[10, 90, 3, 1], [10, 90, 3, 38]]),
            };
            let gateway = Ipv4Addr::from(gateway);
            file.interfaces.push(format!(
                "ipaddr: 10.90.3.37, prefix: {prefix}, mac: \"{}\", gateway: {gateway}",
                Rig::mac(slot)
            ));
        }
        let internal = self.one(&[0, 1, 2, 2, 2, 3, 3]);
        for number in 0..internal {
            let slot = take(self);
            let net = 100 + number;
            let (address, prefix) = self.one(&[
                (format!("192.168.{net}.254"), 24),
                (format!("192.168.{net}.254"), 24),
                (format!("192.168.{net}.1"), 24),
                (format!("192.168.{net}.1"), 25),
                (format!("192.168.{net}.14"), 28),
                (format!("192.168.{net}.2"), 30),
                (format!("192.168.{net}.2"), 31),
                (format!("192.168.{net}.2"), 32),
                (format!("172.{}.0.1", net - 84), 16),
                // Overlaps with others, or with elastic IPs: only one of them stays.
                ("192.168.0.1".to_owned(), 16),
                ("10.90.3.1".to_owned(), 24),
            ]);
            let link = if self.in_one_of(3) {
                self.overlay(number, net)
            } else {
                format!("mac: \"{}\"", Rig::mac(slot))
            };
            file.interfaces
                .push(format!("ipaddr: {address}, prefix: {prefix}, {link}"));
        }
        for _ in 0..self.one(&[0, 1, 3, 6, 12]) {
            let (eip, vm) = (self.eip(), self.vm());
            file.eips.push(format!("eip: {eip}, vm-ip: {vm}"));
        }
        for _ in 0..self.one(&[0, 1, 3, 6, 12]) {
            let (eip, vm) = (self.eip(), self.vm());
            let protocol = self.one(&["tcp", "udp"]);
            let port = self.port();
            let length = self.one(&[1, 1, 2, 3, 7, 255, 256, 257, 2_000, 40_000]);
            let end = (u32::from(port) + length - 1).min(65_535);
            // Few ports are shifted by much, or the kernel has many elements to make.
            let vm_port = if length > 300 || self.in_one_of(2) {
                port
            } else {
                self.port()
            };
            file.forwards.push(format!(
                "eip: {eip}, protocal: {protocol}, port: {port}, end_port: {end}, vm-port: {vm_port}, vm-ip: {vm}"
            ));
        }
        for _ in 0..self.one(&[0, 0, 0, 1, 2, 3, 5]) {
            let first = self.pool_address();
            let last = Ipv4Addr::from(u32::from(first) + self.one(&[0, 0, 0, 1, 2, 6]));
            file.pool.push(if last == first {
                first.to_string()
            } else {
                format!("{first}-{last}")
            });
        }
        for _ in 0..self.one(&[0, 0, 0, 1, 2, 4]) {
            let via = match self.below(6) {
                0 => self.near([10, 90, 3, 38], 2),
                1 => self.vm(),
                number => self.near([192, 168, 99 + number.min(3) as u8, 1], 3),
            };
            // Some have subnets in them, or others of these; some have elastic IPs, or the clients outside.
            let to = self.one(&[
                "172.30.0.0/16",
                "172.30.0.0/30",
                "172.30.0.2",
                "192.168.0.0/16",
                "10.90.2.252/30",
                "198.51.100.8/29",
            ]);
            let (metric, inside) = (self.one(&[0, 0, 100, 4_294_967_294u32]), self.in_one_of(2));
            file.routes.push(format!(
                "to: {to}, via: {via}, metric: {metric}, inside: {inside}"
            ));
        }
        for number in 0..self.one(&[0, 0, 1, 2, 3, 5]) {
            let mirror = self.mirror(number);
            file.mirrors.push(mirror);
        }
        file.repaired()
    }

    /// Often an address that is something else already: a forward's, the router's own, one of a VPC subnet.
    fn pool_address(&mut self) -> Ipv4Addr {
        match self.below(6) {
            0 => self.eip(),
            1 => self.near([10, 90, 3, 37], 3),
            _ => self.near([10, 90, 2, 236], 14),
        }
    }

    fn eip(&mut self) -> Ipv4Addr {
        match self.below(8) {
            0 => self.near([10, 90, 3, 37], 5),
            1 => self.near([203, 0, 113, 1], 3),
            2 => self.near([192, 168, 100, 200], 2),
            _ => self.near([10, 90, 2, 250], 8),
        }
    }

    fn vm(&mut self) -> Ipv4Addr {
        let net = self.one(&[100, 100, 101, 102]);
        match self.below(16) {
            // In no subnet; beside the router, outside; an address that is perhaps a forward's.
            0 => self.near([10, 200, 0, 1], 2),
            1 => self.near([10, 90, 3, 38], 3),
            2 => self.near([10, 90, 2, 252], 3),
            3 => self.near([192, 168, net, 252], 4),
            4 | 5 => self.near([172, net - 84, 0, 1], 3),
            6 | 7 => self.near([172, 30, 0, 1], 4),
            _ => self.near([192, 168, net, 1], 6),
        }
    }

    fn port(&mut self) -> u16 {
        self.one(&[
            1, 22, 78, 79, 80, 81, 82, 100, 8_000, 8_080, 20_000, 65_279, 65_534, 65_535,
        ])
    }

    /// Packets from every side, most of them to or beside what the file names.
    pub fn probes(&mut self, config: &Config, slots: &[u8], count: usize) -> Vec<Probe> {
        let mut sides: Vec<Side> = (config.interfaces().iter().enumerate())
            .filter_map(|(index, _)| slot(config, kylin_vr::translate::Nic(index)))
            .filter(|slot| is_there(config, slots, *slot))
            .map(Side::Wire)
            .collect();
        sides.push(Side::Router);
        (0..count)
            .filter_map(|number| self.probe(config, &sides, number))
            .collect()
    }

    /// Packets of a batch differ in their source ports and protocols: no two can be taken for one flow.
    fn probe(&mut self, config: &Config, sides: &[Side], number: usize) -> Option<Probe> {
        // The router itself is the last one, and has the fewest rows.
        let wires = &sides[..sides.len() - 1];
        let side = if wires.is_empty() || self.in_one_of(8) {
            Side::Router
        } else {
            self.one(wires)
        };
        let forward = (!config.forwards().is_empty()).then(|| self.one(config.forwards()));
        let source = 20_000 + u16::try_from(number).ok()?;
        let (destination, transport) = match forward {
            Some(forward) if self.in_one_of(3) => {
                let destination = self.port_of(&forward);
                let ports = Ports { source, destination };
                let is_tcp = (forward.protocol == kylin_vr::config::Protocol::Tcp) != self.in_one_of(8);
                (
                    forward.eip,
                    if is_tcp {
                        Transport::Tcp(ports)
                    } else {
                        Transport::Udp(ports)
                    },
                )
            }
            _ => {
                let ports = Ports {
                    source,
                    destination: self.port(),
                };
                let transport = match self.below(10) {
                    0..4 => Transport::Tcp(ports),
                    4..7 => Transport::Udp(ports),
                    // Above those that the kernel knows, below those that are for experiments.
                    7 if number < 100 && side != Side::Router => Transport::Other(145 + number as u8),
                    _ => Transport::Echo,
                };
                (self.destination(config), transport)
            }
        };
        let source = self.source(config, side, transport);
        // What the router itself sends to a group, or to no address, is no matter of the packet table.
        let is_beside = destination.is_multicast() || destination.is_unspecified();
        (side != Side::Router || !is_beside).then_some(Probe {
            side,
            source,
            destination,
            transport,
        })
    }

    /// A port of a forward, at its edges, beside them, or within.
    fn port_of(&mut self, forward: &Forward) -> u16 {
        let within = u32::from(forward.port) + self.below(forward.ports());
        self.one(&[
            forward.port,
            forward.end_port,
            forward.port.saturating_sub(1).max(1),
            forward.end_port.saturating_add(1),
            within as u16,
        ])
    }

    fn destination(&mut self, config: &Config) -> Ipv4Addr {
        let mut named: Vec<Ipv4Addr> = config.eips().iter().map(|entry| entry.eip).collect();
        named.extend(config.forwards().iter().map(|entry| entry.eip));
        match self.below(12) {
            0..4 if !named.is_empty() => self.one(&named),
            4 if self.in_one_of(2) => self.pool_address(),
            4 => self.eip(),
            5 if !config.interfaces().is_empty() => self.one(config.interfaces()).address.addr(),
            // Broadcasts of /31 and /32 are hosts.
            6 if !config.interfaces().is_empty() => self.one(config.interfaces()).address.broadcast(),
            7 => self.near([198, 51, 100, 10], 2),
            8 => self.near([10, 90, 3, 38], 3),
            9 if self.in_one_of(6) => self.one(&[
                Ipv4Addr::new(224, 0, 0, 5),
                Ipv4Addr::UNSPECIFIED,
                Ipv4Addr::new(127, 0, 0, 1),
            ]),
            _ => self.vm(),
        }
    }

    fn source(&mut self, config: &Config, side: Side, transport: Transport) -> Ipv4Addr {
        let Side::Wire(by) = side else {
            let own: Vec<Ipv4Addr> = config.interfaces().iter().map(|one| one.address.addr()).collect();
            // Which address is the kernel's to choose: with a checksum over it, only ours can be right.
            return match transport {
                Transport::Tcp(_) if !own.is_empty() => self.one(&own),
                Transport::Tcp(_) => Ipv4Addr::LOCALHOST,
                _ => Ipv4Addr::UNSPECIFIED,
            };
        };
        let interface = config
            .interfaces()
            .iter()
            .find(|one| one.mac == crate::case::mac(by));
        let is_external = interface.is_some_and(|one| one.gateway.is_some());
        // What is behind the routers of its subnet.
        let routed: Vec<Ipv4Addr> = (config.routes().iter())
            .filter(|route| interface.is_some_and(|one| one.address.contains(&route.via)))
            .map(|route| route.to.network())
            .collect();
        if !routed.is_empty() && self.in_one_of(3) {
            let net = self.one(&routed).octets();
            return self.near(net, 4);
        }
        match self.below(12) {
            0 => self.vm(),
            1 => self.eip(),
            2 => self.one(&[
                Ipv4Addr::new(127, 0, 0, 1),
                Ipv4Addr::new(224, 0, 0, 1),
                Ipv4Addr::UNSPECIFIED,
                Ipv4Addr::new(198, 51, 100, 10),
            ]),
            3..9 if is_external => self.near([198, 51, 100, 10], 3),
            9 if is_external => self.near([10, 90, 3, 38], 3),
            _ => match interface {
                // A host of its subnet, one that has an elastic IP if there is one.
                Some(one) => {
                    let vms: Vec<Ipv4Addr> = (config.eips().iter())
                        .map(|entry| entry.vm)
                        .filter(|vm| one.address.contains(vm))
                        .collect();
                    if !vms.is_empty() && self.in_one_of(2) {
                        self.one(&vms)
                    } else {
                        let net = one.address.network().octets();
                        self.near([net[0], net[1], net[2], net[3].saturating_add(1)], 5)
                    }
                }
                None => self.vm(),
            },
        }
    }
}
