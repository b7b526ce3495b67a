//! The entries of the configuration, each with what the kernel has of it and what went by it. Pure.

use std::collections::BTreeMap;

use serde::Serialize;

use super::changed::Changed;
use crate::config::{Config, Forward, Interface, StaticRoute};
use crate::features::nat;
use crate::features::nat::counters::{self, Traffic};
use crate::model::nft::Counts;
use crate::model::{Missing, Observed, RouteKind, TABLE_MAIN};
use crate::owned::ROUTE_PROTOCOL;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(in crate::cli) enum State {
    /// The kernel has it.
    Ok,
    /// It waits for a NIC.
    Pending,
    /// The kernel does not have it, or not whole.
    Missing,
    /// Another entry decides in its place.
    Shadowed,
}

impl State {
    pub(super) fn of(is_there: bool) -> Self {
        if is_there { Self::Ok } else { Self::Missing }
    }

    /// Whole in the kernel, but of no use yet.
    fn or_pending(self, waits: bool) -> Self {
        if self == Self::Ok && waits {
            Self::Pending
        } else {
            self
        }
    }

    pub(in crate::cli) fn text(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Pending => "pending",
            Self::Missing => "MISSING",
            Self::Shadowed => "no effect (eip_list has the address)",
        }
    }
}

#[derive(Debug, Serialize)]
pub(in crate::cli) struct InterfaceStatus {
    pub(in crate::cli) path: String,
    pub(in crate::cli) mac: String,
    pub(in crate::cli) link: Option<String>,
    pub(in crate::cli) up: bool,
    pub(in crate::cli) address: String,
    pub(in crate::cli) gateway: Option<String>,
    pub(in crate::cli) external: bool,
    pub(in crate::cli) state: State,
    /// `None`: no configuration that is kept has it.
    pub(in crate::cli) changed: Option<Changed>,
}

#[derive(Debug, Serialize)]
pub(in crate::cli) struct EipStatus {
    pub(in crate::cli) path: String,
    pub(in crate::cli) eip: String,
    #[serde(rename = "vm-ip")]
    pub(in crate::cli) vm: String,
    /// What `vm_list` calls the VM.
    #[serde(rename = "vm-name")]
    pub(in crate::cli) vm_name: Option<String>,
    pub(in crate::cli) state: State,
    /// `None`: nothing is counted.
    pub(in crate::cli) traffic: Option<Traffic>,
    /// `None`: no configuration that is kept has it.
    pub(in crate::cli) changed: Option<Changed>,
}

#[derive(Debug, Serialize)]
pub(in crate::cli) struct ForwardStatus {
    pub(in crate::cli) path: String,
    pub(in crate::cli) eip: String,
    pub(in crate::cli) protocol: String,
    pub(in crate::cli) ports: String,
    #[serde(rename = "vm-ip")]
    pub(in crate::cli) vm: String,
    /// What `vm_list` calls the VM.
    #[serde(rename = "vm-name")]
    pub(in crate::cli) vm_name: Option<String>,
    #[serde(rename = "vm-ports")]
    pub(in crate::cli) vm_ports: String,
    pub(in crate::cli) state: State,
    /// `None`: nothing is counted.
    pub(in crate::cli) traffic: Option<Traffic>,
    /// `None`: no configuration that is kept has it.
    pub(in crate::cli) changed: Option<Changed>,
}

#[derive(Debug, Serialize)]
pub(in crate::cli) struct RouteStatus {
    pub(in crate::cli) path: String,
    pub(in crate::cli) to: String,
    pub(in crate::cli) via: String,
    /// The link that it leads out of; `None`: its NIC is not there.
    pub(in crate::cli) link: Option<String>,
    pub(in crate::cli) metric: u32,
    pub(in crate::cli) inside: bool,
    pub(in crate::cli) state: State,
    /// `None`: no configuration that is kept has it.
    pub(in crate::cli) changed: Option<Changed>,
}

pub(super) fn interfaces(config: &Config, observed: &Observed) -> Vec<InterfaceStatus> {
    let status = |(index, interface): (usize, &Interface)| {
        let found = observed.find(interface.link());
        let has_address = found.as_ref().is_ok_and(|link| {
            link.up
                && observed
                    .addresses
                    .get(&link.index)
                    .is_some_and(|all| all.contains(&interface.address))
        });
        InterfaceStatus {
            path: format!("if_list[{index}]"),
            mac: match interface.vxlan {
                None => interface.mac.to_string(),
                Some(_) => interface.link().to_string(),
            },
            link: match &found {
                Ok(link) | Err(Missing::UdevPending(link)) => Some(link.name.to_string()),
                Err(Missing::Absent) => None,
                Err(Missing::Ambiguous(links)) => Some(
                    links
                        .iter()
                        .map(|link| link.name.to_string())
                        .collect::<Vec<_>>()
                        .join("|"),
                ),
            },
            up: found.as_ref().is_ok_and(|link| link.up),
            address: interface.address.to_string(),
            gateway: interface.gateway.map(|gateway| gateway.to_string()),
            external: interface.gateway.is_some(),
            state: if found.is_err() {
                State::Pending
            } else {
                State::of(has_address)
            },
            changed: None,
        }
    };
    config.interfaces().iter().enumerate().map(status).collect()
}

pub(super) fn routes(config: &Config, observed: &Observed) -> Vec<RouteStatus> {
    let status = |(index, route): (usize, &StaticRoute)| {
        let interface = config.subnet_of(route.via);
        let link = interface.and_then(|(_, one)| observed.find(one.link()).ok());
        let is_there = observed.routes.iter().any(|other| {
            (other.destination, other.gateway, other.metric) == (route.to, Some(route.via), route.metric)
                && (other.table, other.protocol) == (TABLE_MAIN, ROUTE_PROTOCOL)
                && link.is_some_and(|link| link.index == other.link)
        });
        RouteStatus {
            path: format!("route_list[{index}]"),
            to: route.to.to_string(),
            via: route.via.to_string(),
            link: link.map(|link| link.name.to_string()),
            metric: route.metric,
            inside: route.inside,
            state: if link.is_some() {
                State::of(is_there)
            } else {
                State::Pending
            },
            changed: None,
        }
    };
    config.routes().iter().enumerate().map(status).collect()
}

/// Whether the router takes packets to an address for its own.
fn answers(config: &Config, observed: &Observed) -> impl Fn(std::net::Ipv4Addr) -> bool + use<> {
    let mut local: Vec<_> = observed
        .routes
        .iter()
        .filter(|route| route.kind == RouteKind::Local)
        .map(|route| route.destination.addr())
        .chain(
            config
                .interfaces()
                .iter()
                .map(|interface| interface.address.addr()),
        )
        .collect();
    local.sort_unstable();
    move |address| local.binary_search(&address).is_ok()
}

/// Whether a VM, or the outside, cannot be reached because a NIC is missing.
fn waits(config: &Config, observed: &Observed) -> impl Fn(std::net::Ipv4Addr) -> bool + use<> {
    let missing: Vec<_> = config
        .interfaces()
        .iter()
        .filter(|interface| observed.find(interface.link()).is_err())
        .map(|interface| (interface.address, interface.gateway.is_some()))
        .collect();
    let routed: Vec<_> = routes(config, observed)
        .into_iter()
        .zip(config.routes())
        .map(|(status, route)| (route.to, status.state == State::Pending))
        .collect();
    move |vm| {
        let mut leading = routed.iter().filter(|(to, _)| to.contains(&vm)).peekable();
        missing
            .iter()
            .any(|(net, external)| *external || net.contains(&vm))
            || leading.peek().is_some() && leading.all(|(_, is_pending)| *is_pending)
    }
}

pub(super) fn eips(config: &Config, observed: &Observed, counts: Option<&Counts>) -> Vec<EipStatus> {
    let answers = answers(config, observed);
    let waits = waits(config, observed);
    let names = config.vm_names();
    let traffic = counts.map_or_else(Vec::new, |counts| counters::of_eips(counts, config.eips()));
    let entries = config.eips().iter().enumerate();
    entries
        .map(|(index, entry)| EipStatus {
            path: format!("eip_list[{index}]"),
            eip: entry.eip.to_string(),
            vm: entry.vm.to_string(),
            vm_name: names.get(&entry.vm).map(|name| (*name).to_owned()),
            state: State::of(answers(entry.eip) && nat::holds_eip(observed, entry))
                .or_pending(waits(entry.vm)),
            traffic: traffic.get(index).copied(),
            changed: None,
        })
        .collect()
}

pub(super) fn forwards(config: &Config, observed: &Observed, counts: Option<&Counts>) -> Vec<ForwardStatus> {
    let answers = answers(config, observed);
    let waits = waits(config, observed);
    let names = config.vm_names();
    let mapped: BTreeMap<_, _> = config.eips().iter().map(|entry| (entry.eip, entry.vm)).collect();
    let range = |first: u16, last: u16| {
        if first == last {
            first.to_string()
        } else {
            format!("{first}-{last}")
        }
    };
    let state = |entry: &Forward| {
        if mapped.contains_key(&entry.eip) {
            State::Shadowed
        } else {
            State::of(answers(entry.eip) && nat::holds_forward(observed, entry)).or_pending(waits(entry.vm))
        }
    };
    let entries = config.forwards().iter().enumerate();
    entries
        .map(|(index, entry)| ForwardStatus {
            path: format!("port_forward_list[{index}]"),
            eip: entry.eip.to_string(),
            protocol: entry.protocol.to_string(),
            ports: range(entry.port, entry.end_port),
            vm: entry.vm.to_string(),
            vm_name: names.get(&entry.vm).map(|name| (*name).to_owned()),
            vm_ports: range(entry.vm_port, entry.vm_end_port()),
            state: state(entry),
            traffic: counts.map(|counts| counters::of_forward(counts, entry)),
            changed: None,
        })
        .collect()
}
