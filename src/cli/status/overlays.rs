//! The overlay subnets of the configuration, each with what the kernel has of it. Pure.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use serde::Serialize;

use super::State;
use crate::config::{Config, Interface, Vxlan};
use crate::model::{Desired, Observed};

/// An overlay subnet.
#[derive(Debug, Serialize)]
pub(in crate::cli) struct OverlayStatus {
    path: String,
    vni: u32,
    address: String,
    /// The router's address that hypervisors send to, and the port.
    local: String,
    port: u16,
    peers: Vec<Ipv4Addr>,
    /// How many VMs are listed, and on how many hypervisors.
    vms: usize,
    hypervisors: usize,
    link: String,
    state: State,
}

pub(super) fn overlays(config: &Config, desired: &Desired, observed: &Observed) -> Vec<OverlayStatus> {
    let overlay = |(index, interface, vxlan): (usize, &Interface, &Vxlan)| {
        let id = interface.link();
        let hosts: BTreeSet<Ipv4Addr> = interface.vms.iter().filter_map(|vm| vm.host).collect();
        let local = config.below(vxlan).map(|below| below.address.addr().to_string());
        let state = match observed.find(id) {
            Err(_) => State::Pending,
            Ok(link) => {
                let nothing = BTreeSet::new();
                let has = observed.neighbours.get(&link.index).unwrap_or(&nothing);
                State::of(desired.neighbours.get(&id).is_none_or(|wanted| wanted == has))
            }
        };
        OverlayStatus {
            path: format!("if_list[{index}]"),
            vni: vxlan.vni,
            address: interface.address.to_string(),
            local: local.unwrap_or_default(),
            port: vxlan.port,
            peers: vxlan.peers.clone(),
            vms: interface.vms.len(),
            hypervisors: hosts.len(),
            link: vxlan.link_name().to_string(),
            state,
        }
    };
    (config.interfaces().iter().enumerate())
        .filter_map(|(index, one)| Some((index, one, one.vxlan.as_ref()?)))
        .map(overlay)
        .collect()
}

impl OverlayStatus {
    pub(super) const HEADING: [&str; 6] = ["VNI", "SUBNET", "LOCAL", "PEERS", "VMS LISTED", "STATE"];

    pub(super) fn cells(&self) -> Vec<String> {
        let peers: Vec<String> = self.peers.iter().take(2).map(ToString::to_string).collect();
        let peers = match self.peers.len() {
            0 => "-".to_owned(),
            1 | 2 => peers.join(", "),
            more => format!("{} and {} more", peers.join(", "), more - 2),
        };
        let vms = match self.hypervisors {
            _ if self.vms == 0 => "-".to_owned(),
            1 => format!("{} on 1 hypervisor", self.vms),
            hosts => format!("{} on {hosts} hypervisors", self.vms),
        };
        vec![
            self.vni.to_string(),
            self.address.clone(),
            format!("{}:{}", self.local, self.port),
            peers,
            vms,
            self.state.text().to_owned(),
        ]
    }

    pub(super) fn is_wrong(&self) -> bool {
        self.state != State::Ok
    }
}
