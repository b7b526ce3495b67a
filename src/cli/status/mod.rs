//! `kylin-vr status`: what is configured, what the kernel has, and what is pending or wrong.

mod text;

use std::collections::BTreeMap;
use std::process::ExitCode;

use serde::Serialize;

use super::report::count;
use super::{Context, complain, exit, print, run, say, window};
use crate::config::{Config, Forward, Interface, Problem};
use crate::features::nat::counters::{self, Traffic};
use crate::features::{self, nat};
use crate::intake::{accept, fingerprint};
use crate::lock::{self, Holder};
use crate::model::nft::Counts;
use crate::model::{LinkId, Missing, Observed, RouteKind};
use crate::plan::{Line, Operation, Pending, diff};
use crate::words::plain;

/// One document, of which the text is a view.
#[derive(Debug, Serialize)]
struct Status {
    /// Whether the kernel has what the last accepted configuration says.
    agrees: bool,
    exit_code: u8,
    /// What to know first.
    summary: Vec<String>,
    /// The installed file, and whether it is what is in effect.
    config: String,
    file: FileState,
    /// What is in effect: the SHA-256 of its text, and its generation.
    configuration: Option<String>,
    generation: Option<u64>,
    /// When what is in effect is taken back unless it is confirmed, in UTC; `None`: nothing waits.
    unconfirmed_until: Option<String>,
    /// The monitor that runs.
    monitor: Option<Holder>,
    interfaces: Vec<InterfaceStatus>,
    elastic_ips: Vec<EipStatus>,
    forwards: Vec<ForwardStatus>,
    pending: Vec<Pending>,
    /// What a reload of what is in effect would change.
    differences: Vec<Line>,
    notes: Vec<String>,
    problems: Vec<Problem>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum FileState {
    /// The file is what was accepted last.
    InEffect,
    /// It was changed since, and a reload would accept it.
    Changed,
    /// It was changed since, and a reload would refuse it.
    Invalid,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum State {
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
    fn of(is_there: bool) -> Self {
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

    fn text(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Pending => "pending",
            Self::Missing => "MISSING",
            Self::Shadowed => "no effect (eip_list has the address)",
        }
    }
}

#[derive(Debug, Serialize)]
struct InterfaceStatus {
    path: String,
    mac: String,
    link: Option<String>,
    up: bool,
    address: String,
    gateway: Option<String>,
    external: bool,
    state: State,
}

#[derive(Debug, Serialize)]
struct EipStatus {
    path: String,
    eip: String,
    #[serde(rename = "vm-ip")]
    vm: String,
    state: State,
    /// `None`: nothing is counted.
    traffic: Option<Traffic>,
}

#[derive(Debug, Serialize)]
struct ForwardStatus {
    path: String,
    eip: String,
    protocol: String,
    ports: String,
    #[serde(rename = "vm-ip")]
    vm: String,
    #[serde(rename = "vm-ports")]
    vm_ports: String,
    state: State,
    /// `None`: nothing is counted.
    traffic: Option<Traffic>,
}

pub(super) fn run(context: &Context) -> ExitCode {
    match look(context) {
        Ok(status) => {
            if context.json {
                match serde_json::to_string_pretty(&status) {
                    Ok(text) => print(&(text + "\n")),
                    Err(error) => tracing::error!(%error, "status"),
                }
            } else {
                say(&status.text());
            }
            ExitCode::from(status.exit_code)
        }
        Err(error) => {
            if context.json {
                print(&format!(
                    "{}\n",
                    serde_json::json!({ "exit_code": exit::OTHER, "message": error })
                ));
            }
            complain(&format!("kylin-vr status: {error}\n"));
            ExitCode::from(exit::OTHER)
        }
    }
}

fn look(context: &Context) -> Result<Status, String> {
    let installed = run::read(context, None)
        .map_err(|error| format!("read {}: {}", run::name(context, None), plain(&error)))?;
    let state = |error: std::io::Error| format!("read the state: {}", plain(&error));
    let accepted = context.state.accepted().map_err(state)?;
    let config = accepted
        .as_deref()
        .and_then(|text| Config::parse(text).config)
        .unwrap_or_default();

    let in_effect = accepted.as_deref().unwrap_or_default();
    let (file, problems) = if installed == in_effect {
        (FileState::InEffect, Config::parse(&installed).problems)
    } else {
        match accept(&installed, accepted.as_deref(), false) {
            Ok((_, problems)) => (FileState::Changed, problems),
            Err(refusal) => (FileState::Invalid, refusal.problems),
        }
    };
    let mut kernel = (context.open)().map_err(|error| error.to_string())?;
    let observed = kernel.observe().map_err(|error| error.to_string())?;
    let is_counted = observed
        .table
        .as_ref()
        .is_some_and(|table| table.counting().next().is_some());
    let counts = match kernel.counts() {
        Ok(counts) => is_counted.then_some(counts),
        Err(error) => return Err(error.to_string()),
    };
    drop(kernel);
    let owned = run::owned(context, || Ok(observed.table.is_some()))?;
    let plan = diff(&features::desired(&config), &observed, &owned);
    let differences: Vec<Line> = plan.operations.iter().flat_map(Operation::lines).collect();

    let agrees = differences.is_empty();
    let mut status = Status {
        agrees,
        exit_code: match (agrees, file) {
            (true, FileState::InEffect) => 0,
            (_, FileState::Invalid) => exit::INVALID,
            _ => exit::OTHER,
        },
        summary: Vec::new(),
        config: run::name(context, None),
        file,
        configuration: accepted.as_deref().map(fingerprint),
        generation: config.generation().map(|generation| generation.number),
        unconfirmed_until: None,
        monitor: lock::present(context.state.runtime(), lock::MONITOR),
        interfaces: interfaces(&config, &observed),
        elastic_ips: eips(&config, &observed, counts.as_ref()),
        forwards: forwards(&config, &observed, counts.as_ref()),
        pending: plan.pending,
        differences,
        notes: plan.notes,
        problems,
    };
    match window::look(context) {
        Ok(None) => {}
        Ok(Some(open)) => {
            status.summary.push(format!(
                "UNCONFIRMED: {} is taken back at {} (in {} s); `kylin-vr confirm` keeps it",
                window::short(&open.window.waiting),
                open.until,
                open.left.as_secs_f64().ceil()
            ));
            status.unconfirmed_until = Some(open.until);
        }
        Err(error) => status.notes.push(error),
    }
    status.summarise(config.is_empty());
    Ok(status)
}

fn interfaces(config: &Config, observed: &Observed) -> Vec<InterfaceStatus> {
    let status = |(index, interface): (usize, &Interface)| {
        let found = observed.find(LinkId::Mac(interface.mac));
        let has_address = found.as_ref().is_ok_and(|link| {
            link.up
                && observed
                    .addresses
                    .get(&link.index)
                    .is_some_and(|all| all.contains(&interface.address))
        });
        InterfaceStatus {
            path: format!("if_list[{index}]"),
            mac: interface.mac.to_string(),
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
        }
    };
    config.interfaces().iter().enumerate().map(status).collect()
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
        .filter(|interface| observed.find(LinkId::Mac(interface.mac)).is_err())
        .map(|interface| (interface.address, interface.gateway.is_some()))
        .collect();
    move |vm| {
        missing
            .iter()
            .any(|(net, external)| *external || net.contains(&vm))
    }
}

fn eips(config: &Config, observed: &Observed, counts: Option<&Counts>) -> Vec<EipStatus> {
    let answers = answers(config, observed);
    let waits = waits(config, observed);
    let traffic = counts.map_or_else(Vec::new, |counts| counters::of_eips(counts, config.eips()));
    let entries = config.eips().iter().enumerate();
    entries
        .map(|(index, entry)| EipStatus {
            path: format!("eip_list[{index}]"),
            eip: entry.eip.to_string(),
            vm: entry.vm.to_string(),
            state: State::of(answers(entry.eip) && nat::holds_eip(observed, entry))
                .or_pending(waits(entry.vm)),
            traffic: traffic.get(index).copied(),
        })
        .collect()
}

fn forwards(config: &Config, observed: &Observed, counts: Option<&Counts>) -> Vec<ForwardStatus> {
    let answers = answers(config, observed);
    let waits = waits(config, observed);
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
            vm_ports: range(entry.vm_port, entry.vm_end_port()),
            state: state(entry),
            traffic: counts.map(|counts| counters::of_forward(counts, entry)),
        })
        .collect()
}

impl Status {
    fn summarise(&mut self, nothing_configured: bool) {
        let mut say = |text: String| self.summary.push(text);
        match (self.agrees, nothing_configured) {
            (true, true) => say("nothing is configured, and the kernel has nothing of ours".to_owned()),
            (true, false) => say("ok: the kernel has what is configured".to_owned()),
            (false, _) => say(format!(
                "NOT OK: the kernel differs in {} (below); `kylin-vr reload` puts that right",
                count(self.differences.len(), "place")
            )),
        }
        if !self.pending.is_empty() {
            say(format!("{} pending", count(self.pending.len(), "NIC")));
        }
        match self.file {
            FileState::InEffect => {}
            FileState::Changed => say(format!(
                "{} was changed and is not in effect yet: `kylin-vr plan` shows what it would change",
                self.config
            )),
            FileState::Invalid => say(format!(
                "{} was changed and would be REFUSED: it is not in effect",
                self.config
            )),
        }
    }
}
