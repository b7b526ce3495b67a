//! What a trace says in words: how a packet enters and leaves, its way back, and the last sentence.

use super::{
    Answer, Config, Decision, Delivery, Entry, Fate, Names, Nic, Origin, Outcome, Packet, Reason, Step,
    WayBack, protocol_and_port,
};
use crate::translate::{Receipt, Transport};

/// All that sentences are made of.
pub(super) struct Words<'t> {
    pub(super) config: &'t Config,
    pub(super) names: &'t Names,
    pub(super) packet: &'t Packet,
    pub(super) outcome: &'t Outcome,
    pub(super) back: Option<&'t WayBack>,
}

impl Words<'_> {
    /// A NIC by its name, or by its entry where that is all that is known.
    fn nic(&self, nic: Nic) -> String {
        match self.names.get(&nic) {
            Some(name) => name.to_string(),
            None => nic.to_string(),
        }
    }

    /// What `vm_list` calls the VM that has an address.
    fn name(&self, address: std::net::Ipv4Addr) -> Option<&str> {
        let vms = self
            .config
            .interfaces()
            .iter()
            .flat_map(|interface| interface.vms.iter());
        let mut named = vms.filter(|vm| vm.address == address);
        named.find_map(|vm| vm.name.as_deref())
    }

    fn entry(&self, nic: Nic) -> Option<Entry> {
        let place = self.config.interfaces().get(nic.0)?.place;
        Some(Entry {
            path: nic.to_string(),
            place,
        })
    }

    fn is_external(&self, nic: Nic) -> bool {
        let interface = self.config.interfaces().get(nic.0);
        interface.is_some_and(|one| one.gateway.is_some())
    }

    /// Where the packet comes in; `None`: nothing is configured.
    pub(super) fn enter(&self) -> Option<Decision> {
        let (text, entry) = match self.packet.from {
            _ if self.config.is_empty() => return None,
            Origin::Router => (
                format!("the router itself sends it, as {}", self.packet.source),
                None,
            ),
            Origin::Nic(nic) => {
                let is_near = || {
                    let interface = self.config.interfaces().get(nic.0);
                    interface.is_some_and(|one| one.address.contains(&self.packet.source))
                };
                let mut routes = self.config.routes().iter();
                let side = if routes.any(|route| route.to.contains(&self.packet.source)) && !is_near() {
                    "from behind another router"
                } else if self.is_external(nic) {
                    "from outside"
                } else {
                    "from its subnet"
                };
                let name = self.name(self.packet.source);
                let name = name.map_or_else(String::new, |name| format!(" ({name})"));
                (format!("{side}{name}, by {}", self.nic(nic)), self.entry(nic))
            }
        };
        Some(Decision {
            step: Step::Enter,
            text,
            entry,
        })
    }

    /// How it goes out; `None`: it does not.
    pub(super) fn leave(&self) -> Option<Decision> {
        let Fate::Delivered(delivery) = &self.outcome.fate else {
            return None;
        };
        Some(Decision {
            step: Step::Leave,
            text: format!(
                "by {}, to the hardware address of {}{}",
                self.nic(delivery.nic),
                delivery.next_hop,
                self.overlay(delivery)
            ),
            entry: None,
        })
    }

    /// How an overlay takes it on: to the hypervisor of a VM that is listed, or to all.
    fn overlay(&self, delivery: &Delivery) -> String {
        let interface = self.config.interfaces().get(delivery.nic.0);
        let Some((interface, vxlan)) = interface.and_then(|one| Some((one, one.vxlan.as_ref()?))) else {
            return String::new();
        };
        let vm = interface.vms.iter().find(|vm| vm.address == delivery.next_hop);
        let to = match vm.and_then(|vm| Some((vm, vm.host?))) {
            Some((_, host)) => format!("to the hypervisor {host}"),
            None if vxlan.peers.is_empty() => {
                "to nobody: it is not in vm_list, and there are no peers".to_owned()
            }
            None => {
                let peers: Vec<String> = vxlan.peers.iter().map(ToString::to_string).collect();
                format!("to all peers ({}): it is not in vm_list", peers.join(", "))
            }
        };
        format!(", in VXLAN {} {to}", vxlan.vni)
    }

    pub(super) fn way_back(&self, back: &WayBack) -> String {
        let asked = format!(
            "{} answers {}",
            with_port(back.sent.source, back.sent.transport.reversed()),
            back.sent.destination
        );
        let from = with_port(self.packet.destination, self.packet.transport);
        match &back.fate {
            Fate::Delivered(one) => format!(
                "{asked}; {} gets it by {} from {from}",
                one.destination,
                self.nic(one.nic)
            ),
            Fate::Router(_) => format!("{asked}; the router gets it from {from}"),
            Fate::Dropped(reason) => format!("{asked}, and the answer is lost: {reason}"),
        }
    }

    /// What it comes to, and what to do about it.
    pub(super) fn sentence(&self) -> (String, Option<String>) {
        match &self.outcome.fate {
            Fate::Delivered(delivery) => self.delivered(delivery),
            Fate::Router(receipt) => (self.taken(receipt), None),
            Fate::Dropped(reason) => self.dropped(*reason),
        }
    }

    fn delivered(&self, delivery: &Delivery) -> (String, Option<String>) {
        let nic = self.nic(delivery.nic);
        let at = described(delivery.destination, delivery.transport);
        // By a route of the file it is sent on purpose, also outside.
        let is_routed = self.is_routed();
        let is_outside = self.is_external(delivery.nic) && !is_routed;
        let translated = self
            .outcome
            .decided_by
            .iter()
            .find(|one| one.step == Step::Destination);
        if let (true, Some(entry)) = (is_outside, translated.and_then(|one| one.entry.as_ref())) {
            let sentence = format!(
                "sent outside by {nic} to {}, not to a VM: the vm-ip {} of {}, line {}, is in no subnet of the VPC",
                delivery.next_hop, delivery.destination, entry.path, entry.place.line
            );
            let remedy = format!(
                "correct the vm-ip of {}, or add the interface of its subnet to if_list",
                entry.path
            );
            return (sentence, Some(remedy));
        }
        if is_outside && self.packet.from == Origin::Nic(delivery.nic) {
            let sentence = format!(
                "sent back outside by {nic} to {}: {} is in neither eip_list nor port_forward_list, and in no subnet of the VPC",
                delivery.next_hop, delivery.destination
            );
            let remedy = format!("add {} to eip_list or port_forward_list", delivery.destination);
            return (sentence, Some(remedy));
        }
        let seen = format!("seen as coming from {}", delivery.source);
        let mut sentence = if delivery.next_hop == delivery.destination {
            match self.name(delivery.destination) {
                Some(name) => format!("delivered to {name}, {at}, by {nic}, {seen}"),
                None => format!("delivered to {at} by {nic}, {seen}"),
            }
        } else {
            let who = if is_routed { "router" } else { "gateway" };
            format!(
                "delivered to the {who} {} by {nic} for {at}, {seen}",
                delivery.next_hop
            )
        };
        if let Some(Fate::Dropped(reason)) = self.back.map(|back| back.fate) {
            sentence += &format!("; but no answer comes back: {reason}");
        }
        (sentence, None)
    }

    /// Whether an entry of `route_list` says where the packet goes.
    fn is_routed(&self) -> bool {
        let mut decided_by = self.outcome.decided_by.iter();
        let route = decided_by.rfind(|one| one.step == Step::Route);
        let entry = route.and_then(|one| one.entry.as_ref());
        entry.is_some_and(|entry| entry.path.starts_with("route_list["))
    }

    fn taken(&self, receipt: &Receipt) -> String {
        let answer = match receipt.answer {
            Answer::EchoReply => "answers the ping",
            Answer::Reset => "refuses it with a TCP reset, unless a program of its own listens there",
            Answer::PortUnreachable => {
                "refuses it (ICMP: port unreachable), unless a program of its own listens there"
            }
            Answer::ProtocolUnreachable => {
                "refuses it (ICMP: protocol unreachable), unless a program of its own takes it"
            }
        };
        // Beyond the translation, only what was not forwarded is said of the destination.
        let not_forwarded = (self.outcome.decided_by.last()).filter(|one| one.step == Step::Destination);
        match not_forwarded {
            Some(why) => format!("not forwarded: {why}; the router itself {answer}"),
            None => format!(
                "for the router itself, {}, which {answer}",
                described(receipt.address, receipt.transport)
            ),
        }
    }

    fn dropped(&self, reason: Reason) -> (String, Option<String>) {
        let why = self.outcome.decided_by.last();
        let missing = || {
            let path = &why?.entry.as_ref()?.path;
            let interfaces = self.config.interfaces().iter().enumerate();
            let (_, one) = interfaces
                .into_iter()
                .find(|(index, _)| Nic(*index).to_string() == *path)?;
            Some(format!(
                "have the hypervisor plug in the NIC {} of {path}; it is set up when it comes",
                one.mac
            ))
        };
        let remedy = match reason {
            Reason::NoRouter => Some("apply a configuration with `kylin-vr reload`".to_owned()),
            Reason::NicMissing | Reason::SubnetPending => missing(),
            Reason::NoRoute => {
                missing().or_else(|| Some("give the external interface its gateway, in if_list".to_owned()))
            }
            _ => None,
        };
        let why = why.map_or_else(|| reason.to_string(), ToString::to_string);
        let place = match reason {
            Reason::NoRouter => "dropped",
            Reason::NicMissing | Reason::MartianSource | Reason::OwnSource | Reason::FalseSource => {
                "dropped where it enters"
            }
            _ => "dropped by the routing",
        };
        (format!("{place}: {why}"), remedy)
    }
}

/// `192.168.100.190 tcp 80`, `192.168.100.190 (icmp)`
fn described(address: std::net::Ipv4Addr, transport: Transport) -> String {
    match (protocol_and_port(transport), transport) {
        ((protocol, Some(port)), _) => format!("{address} {protocol} {port}"),
        ((number, None), Transport::Other(_)) => format!("{address} (protocol {number})"),
        ((protocol, None), _) => format!("{address} ({protocol})"),
    }
}

/// `192.168.100.190:80`, or the address alone.
fn with_port(address: std::net::Ipv4Addr, transport: Transport) -> String {
    match protocol_and_port(transport).1 {
        Some(port) => format!("{address}:{port}"),
        None => address.to_string(),
    }
}
