//! The packet table in code: what a packet meets, straight from the configuration. Pure.
//!
//! [`Model::translate`] says what becomes of the first packet of a flow, and which entries of the file decided it. It
//! never looks at the ruleset that [`crate::features::nat`] makes, so that the two can judge each other.
//!
//! | row | from | to | translation | decided by |
//! |---|---|---|---|---|
//! | 1 | VM | address inside the VPC | none | `Model::new_source` |
//! | 2 | VM without an EIP | outside | source := the router's external address, or its one of `snat_pool` | `Model::new_source` |
//! | 3 | VM with an EIP | outside | source := its EIP | `Model::new_source` |
//! | 4 | outside | EIP of `eip_list` | destination := the VM | `Model::new_destination` |
//! | 5 | VM | EIP of `eip_list` | as 4, and the source as in 2 and 3 | both |
//! | 6 | outside | forwarded port | destination := the VM and its port | `Model::new_destination` |
//! | 7 | VM | forwarded port | as 6, and the source as in 2 and 3 | both |
//! | 8 | the router | EIP, forwarded port | destination as in 4 and 6 | `Model::new_destination` |
//! | 9 | the router | anything else | none | `Model::new_source` |
//! | 10 | outside | other ports of a forward's address | none: it is the router's | `Model::route` |
//!
//! Who is a VM is told by the source address: one of a VPC subnet. That it comes from there is the reverse-path filter's
//! work (`Model::check_source`): strict inside, loose outside. So a packet from outside with a VM's address as source
//! counts as that VM's.
//!
//! The kernel of the model is one whose sysctls of all NICs (`net.ipv4.conf.all`) are the kernel's defaults. It
//! is Linux 5.14 or later in two points: before, the first address of a subnet was a broadcast address as well (up to
//! 5.13), and 0.0.0.0/8 no addresses of hosts (up to 5.2).

mod arguments;
mod index;
mod mirrors;
mod outcome;
mod packet;
mod routing;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use crate::config::Config;
use crate::model::LinkId;
pub use arguments::{ArgumentError, Arguments};
use index::{Index, Way};
pub use mirrors::{CopiedAt, Copy, copies};
pub use outcome::{Answer, Decision, Delivery, Entry, Fate, Outcome, Reason, Receipt, Row, Step, WayBack};
pub use packet::{Nic, Origin, Packet, Ports, Transport};
use routing::Hop;

/// What becomes of a packet. For many packets of one configuration a [`Model`] is made once.
#[must_use]
pub fn translate(config: &Config, nics: &BTreeSet<LinkId>, packet: &Packet) -> Outcome {
    Model::new(config, nics).translate(packet)
}

/// A router with this configuration in effect.
#[derive(Debug)]
pub struct Model<'c> {
    index: Index<'c>,
}

/// How a destination came to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Destination {
    /// It is as it was.
    Kept,
    /// By `eip_list`.
    Mapped,
    /// By `port_forward_list`.
    Forwarded,
}

impl<'c> Model<'c> {
    /// A model of the router whose links, NICs and overlays, are these. The others are pending.
    #[must_use]
    pub fn new(config: &'c Config, nics: &BTreeSet<LinkId>) -> Self {
        Self {
            index: Index::new(config, nics),
        }
    }

    /// The external NIC; `None`: the file has none.
    #[must_use]
    pub fn external(&self) -> Option<Nic> {
        self.index.external()
    }

    /// What becomes of the first packet of a flow.
    #[must_use]
    pub fn translate(&self, packet: &Packet) -> Outcome {
        let mut decided_by = Vec::new();
        let (row, fate) = self.decide(packet, &mut decided_by);
        Outcome {
            fate,
            row,
            decided_by,
        }
    }

    /// The way of the answer to a packet that was delivered.
    #[must_use]
    pub fn way_back(&self, packet: &Packet, delivery: &Delivery) -> WayBack {
        let sent = Packet {
            from: Origin::Nic(delivery.nic),
            source: delivery.destination,
            destination: delivery.source,
            transport: delivery.transport.reversed(),
        };
        // Connection tracking turns both addresses back before the routes are asked; the source is checked as the
        // receiver wrote it, by which it was reached.
        let transport = packet.transport.reversed();
        let fate = match self.route(packet.source, &mut Vec::new()) {
            Err(reason) => Fate::Dropped(reason),
            Ok(Hop::Router) => Fate::Router(receipt(packet.source, transport)),
            Ok(Hop::Leaves(nic, next_hop)) => {
                match self.check_source(delivery.destination, delivery.nic, &mut Vec::new()) {
                    Err(reason) => Fate::Dropped(reason),
                    Ok(()) => Fate::Delivered(Delivery {
                        nic,
                        next_hop,
                        source: packet.destination,
                        destination: packet.source,
                        transport,
                        source_port_may_change: false,
                    }),
                }
            }
        };
        WayBack { sent, fate }
    }

    /// The address that the router itself sends from, if a program has not chosen one; `None`: it cannot be sent.
    #[must_use]
    pub fn own_source(&self, destination: Ipv4Addr) -> Option<Ipv4Addr> {
        match self.index.way(destination) {
            Way::Local => Some(destination),
            Way::OnLink(nic) | Way::Gateway(nic, _) | Way::Routed(nic, _) => {
                self.index.interface(nic).map(|one| one.address.addr())
            }
            Way::Broadcast | Way::Pending(_) | Way::RoutePending(..) | Way::None => None,
        }
    }

    fn decide(&self, packet: &Packet, decided_by: &mut Vec<Decision>) -> (Option<Row>, Fate) {
        if let Err(reason) = self.enter(packet, decided_by) {
            return (None, Fate::Dropped(reason));
        }
        let before = decided_by.len();
        let (how, destination, transport) = self.new_destination(packet, decided_by);
        let row = self.row(packet, how);
        if packet.from == Origin::Router {
            // The way is asked for twice: a program cannot even send where there is none, whatever a forward would
            // make of it.
            if let Err(reason) = self.route(packet.destination, &mut Vec::new()) {
                decided_by.truncate(before);
                let _ = self.route(packet.destination, decided_by);
                return (row, Fate::Dropped(reason));
            }
        }
        if packet.from != Origin::Router && destination.is_loopback() {
            say(
                decided_by,
                Step::Destination,
                format!("no packet on a wire may go to {destination}"),
                None,
            );
            return (row, Fate::Dropped(Reason::MartianDestination));
        }
        let hop = match self.route(destination, decided_by) {
            Ok(hop) => hop,
            Err(reason) => return (row, Fate::Dropped(reason)),
        };
        if let Origin::Nic(nic) = packet.from
            && let Err(reason) = self.check_source(packet.source, nic, decided_by)
        {
            return (row, Fate::Dropped(reason));
        }
        let (nic, next_hop) = match hop {
            Hop::Leaves(_, _) if packet.source.is_loopback() => {
                say(
                    decided_by,
                    Step::Route,
                    "127.0.0.0/8 never leaves the machine",
                    None,
                );
                return (row, Fate::Dropped(Reason::MartianSource));
            }
            Hop::Leaves(nic, next_hop) => (nic, next_hop),
            Hop::Router => {
                if how == Destination::Kept {
                    self.say_not_forwarded(packet, decided_by);
                }
                return (row, Fate::Router(receipt(destination, transport)));
            }
        };
        let source = self.new_source(packet, decided_by);
        let row = match row {
            None if self.is_from_vm(packet) => Some(self.row_of_vm(packet)),
            row => row,
        };
        let delivery = Delivery {
            nic,
            next_hop,
            source: source.unwrap_or(packet.source),
            destination,
            transport,
            source_port_may_change: source.is_some(),
        };
        (row, Fate::Delivered(delivery))
    }

    /// Whether the packet gets in at all.
    fn enter(&self, packet: &Packet, decided_by: &mut Vec<Decision>) -> Result<(), Reason> {
        if self.index.config().is_empty() {
            say(decided_by, Step::Enter, "nothing is configured", None);
            return Err(Reason::NoRouter);
        }
        let Origin::Nic(nic) = packet.from else {
            return Ok(());
        };
        if !self.index.is_present(nic) {
            say(
                decided_by,
                Step::Enter,
                "the NIC is not there",
                self.index.interface_entry(nic),
            );
            return Err(Reason::NicMissing);
        }
        let Packet {
            source, destination, ..
        } = packet;
        // Who has no address yet asks everybody for one (DHCP; RFC 1122 knows 0.0.0.0 as a way to say it).
        if source.is_unspecified() && (destination.is_broadcast() || destination.is_unspecified()) {
            say(
                decided_by,
                Step::Enter,
                "a broadcast of a host that has no address yet",
                None,
            );
            return Err(Reason::Broadcast);
        }
        if source.is_multicast() || source.is_broadcast() || source.is_loopback() || source.is_unspecified() {
            say(
                decided_by,
                Step::Enter,
                format!("no packet may come from {source}"),
                None,
            );
            return Err(Reason::MartianSource);
        }
        Ok(())
    }

    /// Rows 4 to 8: where a packet to an elastic IP or a forwarded port goes. `eip_list` wins.
    fn new_destination(
        &self,
        packet: &Packet,
        decided_by: &mut Vec<Decision>,
    ) -> (Destination, Ipv4Addr, Transport) {
        let Packet {
            destination,
            transport,
            ..
        } = *packet;
        if let Some((index, vm)) = self.index.mapped(destination) {
            let text = format!("destination {destination} becomes {vm}");
            say(decided_by, Step::Destination, text, self.index.eip_entry(index));
            return (Destination::Mapped, vm, transport);
        }
        let forward = transport.ports().and_then(|(protocol, ports)| {
            Some((
                self.index.forward(destination, protocol, ports.destination)?,
                ports,
            ))
        });
        if let Some((forward, ports)) = forward {
            let entry = forward.entry;
            // Port by port: the third port of the range is the third one on the VM.
            let port = entry.vm_port + (ports.destination - entry.port);
            let text = format!(
                "destination {destination}:{} becomes {}:{port}",
                ports.destination, entry.vm
            );
            say(decided_by, Step::Destination, text, Some(forward.entry()));
            return (Destination::Forwarded, entry.vm, transport.to_port(port));
        }
        (Destination::Kept, destination, transport)
    }

    /// Rows 1 to 3, 5, 7 and 9: the source that a packet leaves with; `None`: its own.
    fn new_source(&self, packet: &Packet, decided_by: &mut Vec<Decision>) -> Option<Ipv4Addr> {
        let Packet {
            source, destination, ..
        } = *packet;
        if packet.from == Origin::Router {
            say(
                decided_by,
                Step::Source,
                "sent by the router itself: keeps its source",
                None,
            );
            return None;
        }
        let Some(inside) = self.index.inside(source) else {
            say(
                decided_by,
                Step::Source,
                format!("from outside: keeps its source {source}"),
                None,
            );
            return None;
        };
        if let Some(target) = self.index.inside(destination) {
            let text = format!("to an address inside the VPC: keeps its source {source}");
            say(decided_by, Step::Source, text, self.index.inside_entry(target));
            return None;
        }
        if let Some((index, eip)) = self.index.eip_of(source) {
            let text = format!("source {source} becomes its elastic IP {eip}");
            say(decided_by, Step::Source, text, self.index.eip_entry(index));
            return Some(eip);
        }
        if let Some((index, address)) = self.index.pool_address(source) {
            let text = format!("source {source} has no elastic IP: becomes {address} of the pool");
            say(decided_by, Step::Source, text, self.index.pool_entry(index));
            return Some(address);
        }
        let Some((nic, external)) = self
            .index
            .external()
            .and_then(|nic| Some((nic, self.index.interface(nic)?)))
        else {
            let text = format!("no interface has a gateway: keeps its source {source}");
            say(decided_by, Step::Source, text, self.index.inside_entry(inside));
            return None;
        };
        let address = external.address.addr();
        let text = format!("source {source} has no elastic IP: becomes the router's {address}");
        say(decided_by, Step::Source, text, self.index.interface_entry(nic));
        Some(address)
    }

    fn is_from_vm(&self, packet: &Packet) -> bool {
        packet.from != Origin::Router && self.index.inside(packet.source).is_some()
    }

    /// The row of a packet, but for a VM's to an address that is not translated: that is told once it leaves.
    fn row(&self, packet: &Packet, how: Destination) -> Option<Row> {
        let is_vm = self.is_from_vm(packet);
        Some(Row(match (packet.from, how) {
            (Origin::Router, Destination::Kept) => 9,
            (Origin::Router, _) => 8,
            (_, Destination::Mapped) => {
                if is_vm {
                    5
                } else {
                    4
                }
            }
            (_, Destination::Forwarded) => {
                if is_vm {
                    7
                } else {
                    6
                }
            }
            (_, Destination::Kept) if !is_vm && self.index.has_forwards(packet.destination) => 10,
            (_, Destination::Kept) => return None,
        }))
    }

    fn row_of_vm(&self, packet: &Packet) -> Row {
        Row(if self.index.inside(packet.destination).is_some() {
            1
        } else if self.index.eip_of(packet.source).is_some() {
            3
        } else {
            2
        })
    }

    /// Row 10: what would have been forwarded.
    fn say_not_forwarded(&self, packet: &Packet, decided_by: &mut Vec<Decision>) {
        let Packet {
            destination,
            transport,
            ..
        } = *packet;
        if !self.index.has_forwards(destination) {
            return;
        }
        let Some((protocol, ports)) = transport.ports() else {
            let text = format!("only ports of {destination} are forwarded: the router answers");
            return say(decided_by, Step::Destination, text, None);
        };
        let port = ports.destination;
        let text = format!("no forward for {protocol} {port} on {destination}");
        match self.index.nearest(destination, protocol, port) {
            Some(nearest) => {
                let text = format!(
                    "{text}; the nearest is {}, {}",
                    nearest.entry().path,
                    nearest.ports()
                );
                say(decided_by, Step::Destination, text, Some(nearest.entry()));
            }
            None => say(
                decided_by,
                Step::Destination,
                format!("{text}, and none for {protocol}"),
                None,
            ),
        }
    }
}

fn receipt(address: Ipv4Addr, transport: Transport) -> Receipt {
    let answer = match transport {
        Transport::Echo => Answer::EchoReply,
        Transport::Tcp(_) => Answer::Reset,
        Transport::Udp(_) => Answer::PortUnreachable,
        Transport::Other(_) => Answer::ProtocolUnreachable,
    };
    Receipt {
        address,
        transport,
        answer,
    }
}

fn say(decided_by: &mut Vec<Decision>, step: Step, text: impl Into<String>, entry: Option<Entry>) {
    decided_by.push(Decision {
        step,
        text: text.into(),
        entry,
    });
}
