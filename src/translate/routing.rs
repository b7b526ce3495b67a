//! Where packets go, and where they may come from: routes and the reverse-path filter, the part of the model that knows
//! nothing of translation.

use std::net::Ipv4Addr;

use super::index::Way;
use super::outcome::{Decision, Reason, Step};
use super::packet::Nic;
use super::{Model, say};

/// Where a packet goes next.
pub(super) enum Hop {
    Router,
    /// Out by a NIC, to this neighbour.
    Leaves(Nic, Ipv4Addr),
}

impl Model<'_> {
    /// Where a packet to this address goes.
    pub(super) fn route(&self, destination: Ipv4Addr, decided_by: &mut Vec<Decision>) -> Result<Hop, Reason> {
        if destination.is_multicast() {
            say(
                decided_by,
                Step::Route,
                format!("{destination} is a multicast address"),
                None,
            );
            return Err(Reason::Multicast);
        }
        if destination.is_unspecified() {
            say(
                decided_by,
                Step::Route,
                format!("no packet may go to {destination}"),
                None,
            );
            return Err(Reason::MartianDestination);
        }
        match self.index.way(destination) {
            _ if destination.is_broadcast() => {
                say(
                    decided_by,
                    Step::Route,
                    format!("{destination} is a broadcast address"),
                    None,
                );
                Err(Reason::Broadcast)
            }
            Way::Local => {
                say(
                    decided_by,
                    Step::Route,
                    format!("{destination} is the router's own address"),
                    None,
                );
                Ok(Hop::Router)
            }
            Way::Broadcast => {
                say(
                    decided_by,
                    Step::Route,
                    format!("{destination} is the broadcast address of a subnet"),
                    None,
                );
                Err(Reason::Broadcast)
            }
            Way::OnLink(nic) => {
                let text = format!("{destination} is in the subnet of {nic}");
                say(decided_by, Step::Route, text, self.index.interface_entry(nic));
                Ok(Hop::Leaves(nic, destination))
            }
            Way::Gateway(nic, gateway) => {
                let text = format!("{destination} is reached by the gateway {gateway}");
                say(decided_by, Step::Route, text, self.index.interface_entry(nic));
                Ok(Hop::Leaves(nic, gateway))
            }
            Way::Routed(nic, index) => {
                let next_hop = self.index.next_hop(index).unwrap_or(destination);
                let text = format!("{destination} is reached by the router {next_hop}");
                say(decided_by, Step::Route, text, self.index.route_entry(index));
                Ok(Hop::Leaves(nic, next_hop))
            }
            Way::RoutePending(nic, index) => {
                let path = self.index.route_entry(index).map(|entry| entry.path);
                let text = format!(
                    "{destination} is in the network of {}, which is reached by {nic}, whose NIC is not there",
                    path.unwrap_or_default()
                );
                say(decided_by, Step::Route, text, self.index.interface_entry(nic));
                Err(Reason::SubnetPending)
            }
            Way::Pending(nic) => {
                let text = format!("{destination} is in the subnet of {nic}, whose NIC is not there");
                say(decided_by, Step::Route, text, self.index.interface_entry(nic));
                Err(Reason::SubnetPending)
            }
            Way::None => {
                let (text, entry) = match self.index.external() {
                    Some(nic) => ("the external NIC is not there", self.index.interface_entry(nic)),
                    None => ("no interface has a gateway", None),
                };
                say(
                    decided_by,
                    Step::Route,
                    format!("no way to {destination}: {text}"),
                    entry,
                );
                Err(Reason::NoRoute)
            }
        }
    }

    /// The reverse-path filter (RFC 3704): inside, a packet comes in by the NIC that its source is reached by; outside,
    /// its source can be reached at all.
    pub(super) fn check_source(
        &self,
        source: Ipv4Addr,
        nic: Nic,
        decided_by: &mut Vec<Decision>,
    ) -> Result<(), Reason> {
        let entry = || self.index.interface_entry(nic);
        match self.index.way(source) {
            Way::Local => {
                say(
                    decided_by,
                    Step::ReversePath,
                    format!("the source {source} is the router's own address"),
                    entry(),
                );
                Err(Reason::OwnSource)
            }
            Way::OnLink(by) | Way::Gateway(by, _) | Way::Routed(by, _)
                if by == nic || Some(nic) == self.index.external() =>
            {
                Ok(())
            }
            _ => {
                say(
                    decided_by,
                    Step::ReversePath,
                    format!("the source {source} is not behind {nic}"),
                    entry(),
                );
                Err(Reason::FalseSource)
            }
        }
    }
}
