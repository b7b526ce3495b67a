//! `kylin-vr status`: what is configured, what the kernel has, what goes by it, and what is pending or wrong.

mod changed;
mod dhcp;
mod entries;
mod faults;
mod held;
mod mirrors;
mod overlays;
mod text;
mod watch;

use std::collections::BTreeMap;
use std::io;
use std::net::Ipv4Addr;
use std::process::ExitCode;
use std::time::Duration;

use serde::Serialize;

use super::duration::seconds;
use super::terminal::{Colour, Terminal};
use super::{Context, complain, exit, print, run, window};
use crate::clock::wall;
use crate::config::{Config, Problem};
use crate::dnsmasq::Change;
use crate::features;
use crate::intake::{Kept, accept, fingerprint};
use crate::kernel::{self, ConntrackUsage, Neighbour};
use crate::lock::{self, Holder};
use crate::plan::{Line, Operation, Pending, UNCOUNTED, diff};
use crate::words::plain;

use changed::Changed;
pub(super) use dhcp::{DhcpStatus, SubnetStatus};
pub(super) use entries::{EipStatus, ForwardStatus, InterfaceStatus, RouteStatus, State};
pub(super) use faults::{Fault, Health};
use held::PortsStatus;
pub(super) use mirrors::{MirrorStatus, TargetStatus};
use overlays::OverlayStatus;

/// So many of the newest entries of the history are shown.
const NEWEST: usize = 5;
const TOO_MANY: &str = "packets and connections are not counted: the file has more than 1024 elastic IPs and forwards \
                        (`counters: true` counts them all the same, `counters: false` ends this note)";

/// What to show of it, and how.
#[derive(Debug, clap::Args)]
pub(super) struct Options {
    /// Only what is of this elastic IP, or of forwards of this address
    #[arg(long, value_name = "ADDRESS")]
    eip: Option<Ipv4Addr>,
    /// Only what leads to this VM
    #[arg(long, value_name = "ADDRESS")]
    vm_ip: Option<Ipv4Addr>,
    /// Only what is wrong or pending
    #[arg(long)]
    problems: bool,
    /// Stay, and show it anew every so many seconds, until Ctrl-C
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, default_missing_value = "2", value_parser = seconds,
          conflicts_with = "json")]
    watch: Option<Duration>,
    /// When to use colours
    #[arg(long, value_name = "WHEN", default_value = "auto")]
    color: Colour,
}

/// One document, of which the text is a view.
#[derive(Debug, Serialize)]
pub(super) struct Status {
    /// How things are, in a word.
    pub(super) health: Health,
    /// Whether the kernel has what the last accepted configuration says.
    pub(super) agrees: bool,
    pub(super) exit_code: u8,
    /// What to know first.
    summary: Vec<String>,
    /// What is wrong, the worst first, each with its remedy.
    pub(super) faults: Vec<Fault>,
    /// The installed file, and whether it is what is in effect.
    config: String,
    file: FileState,
    /// What is in effect: the SHA-256 of its text, and its generation.
    pub(super) configuration: Option<String>,
    pub(super) generation: Option<u64>,
    /// When what is in effect is taken back unless it is confirmed, in UTC; `None`: nothing waits.
    unconfirmed_until: Option<String>,
    /// The monitor that runs.
    pub(super) monitor: Option<Holder>,
    pub(super) interfaces: Vec<InterfaceStatus>,
    /// Those of the interfaces that are overlay subnets.
    pub(super) overlays: Vec<OverlayStatus>,
    pub(super) elastic_ips: Vec<EipStatus>,
    pub(super) forwards: Vec<ForwardStatus>,
    pub(super) routes: Vec<RouteStatus>,
    /// Who gives VMs their addresses; `None`: nobody is to.
    pub(super) dhcp: Option<DhcpStatus>,
    pub(super) mirrors: Vec<MirrorStatus>,
    /// The kernel's table of tracked flows.
    pub(super) conntrack: ConntrackUsage,
    /// Of the addresses that VMs without an elastic IP are seen as.
    pub(super) source_ports: Vec<PortsStatus>,
    pub(super) pending: Vec<Pending>,
    /// What a reload of what is in effect would change.
    pub(super) differences: Vec<Line>,
    /// The newest entries of the history, the newest first.
    pub(super) history: Vec<Kept>,
    notes: Vec<String>,
    problems: Vec<Problem>,
    /// The neighbours that packets were for.
    #[serde(skip)]
    pub(super) neighbours: BTreeMap<Ipv4Addr, Neighbour>,
    /// Whether something is configured.
    #[serde(skip)]
    is_configured: bool,
    /// The entries of what is in effect, in the order of their lists.
    #[serde(skip)]
    items: Vec<changed::Item>,
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

pub(super) fn run(context: &Context, options: &Options) -> ExitCode {
    if let Some(period) = options.watch {
        return watch::run(context, options, period);
    }
    match look(context, None) {
        Ok(mut status) => {
            status.date(context, &mut None);
            status.keep(options);
            if context.json {
                match serde_json::to_string_pretty(&status) {
                    Ok(text) => print(&(text + "\n")),
                    Err(error) => tracing::error!("status: {error}"),
                }
            } else {
                print(&status.page(options, Terminal::now(options.color)));
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

/// Looks at everything. Source ports are counted only if no more than `most` flows are tracked: all have to be read for that.
///
/// # Errors
/// What cannot be looked at, in words.
pub(super) fn look(context: &Context, most: Option<u64>) -> Result<Status, String> {
    let installed = run::read(context, None)
        .map_err(|error| format!("read {}: {}", run::name(context, None), plain(&error)))?;
    let state = |error: io::Error| format!("read the state: {}", plain(&error));
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
    let desired = features::desired(&config);
    let mut kernel = (context.open)().map_err(|error| error.to_string())?;
    let owned = run::owned(context, || Ok(kernel.observe()?.table.is_some()))?;
    let observed = kernel
        .observe_for(&desired, &owned)
        .map_err(|error| error.to_string())?;
    let is_counted = observed
        .table
        .as_ref()
        .is_some_and(|table| table.counting().next().is_some());
    let counts = kernel.counts().map_err(|error| error.to_string())?;
    let counts = is_counted.then_some(&counts);
    let copied = if config.mirrors().is_empty() {
        Vec::new()
    } else {
        kernel.copied().map_err(|error| error.to_string())?
    };
    let conntrack = kernel::conntrack_usage();
    let is_cheap = most.is_none_or(|most| conntrack.count.is_none_or(|count| count <= most));
    let source_ports = if is_cheap {
        held::source_ports(&config, kernel.as_mut())
    } else {
        Ok(Vec::new())
    };
    drop(kernel);
    let mut plan = diff(&desired, &observed, &owned);
    if config.counters() && owned.lacks_counters {
        plan.notes.push(UNCOUNTED.to_owned());
    }
    if config.has_too_many_to_count() {
        plan.notes.push(TOO_MANY.to_owned());
    }
    let mut differences: Vec<Line> = plan.operations.iter().flat_map(Operation::lines).collect();
    let server = context.state.dhcp();
    let seen = server.look().map_err(|error| error.to_string())?;
    let wanted = server.wanted(&config, &observed);
    let change = Change::between(seen.clone(), wanted);
    differences.extend(change.iter().flat_map(Change::lines));
    let leases = server.leases().unwrap_or_else(|error| {
        plan.notes.push(format!(
            "the addresses that dnsmasq gave away cannot be read: {}",
            plain(&error)
        ));
        Vec::new()
    });
    let now = wall().as_secs();
    let dhcp = dhcp::status(&config, &observed, &seen, &leases, now);

    let agrees = differences.is_empty();
    let mut status = Status {
        health: Health::Ok,
        agrees,
        exit_code: match (agrees, file) {
            (true, FileState::InEffect) => 0,
            (_, FileState::Invalid) => exit::INVALID,
            _ => exit::OTHER,
        },
        summary: Vec::new(),
        faults: Vec::new(),
        config: run::name(context, None),
        file,
        configuration: accepted.as_deref().map(fingerprint),
        generation: config.generation().map(|generation| generation.number),
        unconfirmed_until: None,
        monitor: lock::present(context.state.runtime(), lock::MONITOR),
        interfaces: entries::interfaces(&config, &observed),
        overlays: overlays::overlays(&config, &desired, &observed),
        elastic_ips: entries::eips(&config, &observed, counts),
        forwards: entries::forwards(&config, &observed, counts),
        routes: entries::routes(&config, &observed),
        dhcp,
        mirrors: mirrors::mirrors(&config, &desired, &observed, &plan, &copied),
        conntrack,
        source_ports: Vec::new(),
        pending: plan.pending,
        differences,
        history: Vec::new(),
        notes: plan.notes,
        problems,
        neighbours: kernel::neighbours(),
        is_configured: !config.is_empty(),
        items: changed::items(&config),
    };
    let notes = (status.mirrors.iter()).flat_map(|mirror| {
        mirror
            .notes
            .iter()
            .map(|note| format!("mirror {}: {note}", mirror.name))
    });
    status.notes.extend(notes);
    match source_ports {
        Ok(source_ports) => status.source_ports = source_ports,
        Err(error) => status
            .notes
            .push(format!("how many source ports are in use is not known: {error}")),
    }
    match context.state.history() {
        Ok(history) => status.history = history.entries.into_iter().take(NEWEST).collect(),
        Err(error) => status.notes.push(format!("read the history: {}", plain(&error))),
    }
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
    status.judge();
    Ok(status)
}

impl Status {
    /// Leaves out the entries that were not asked for.
    fn keep(&mut self, options: &Options) {
        let is =
            |asked: Option<Ipv4Addr>, address: &str| asked.is_none_or(|asked| asked.to_string() == address);
        let is_wrong = |state: State| !options.problems || state != State::Ok;
        let one = options.eip.is_some() || options.vm_ip.is_some();
        self.elastic_ips
            .retain(|one| is(options.eip, &one.eip) && is(options.vm_ip, &one.vm) && is_wrong(one.state));
        self.forwards
            .retain(|one| is(options.eip, &one.eip) && is(options.vm_ip, &one.vm) && is_wrong(one.state));
        self.interfaces.retain(|one_of| !one && is_wrong(one_of.state));
        self.routes.retain(|one_of| !one && is_wrong(one_of.state));
        if let Some(dhcp) = &mut self.dhcp {
            dhcp.subnets.retain(|one_of| !one && is_wrong(one_of.state));
        }
        self.overlays
            .retain(|one_of| !one && (!options.problems || one_of.is_wrong()));
        self.mirrors.retain(|one_of| !one && is_wrong(one_of.state));
        if one && !options.problems && self.elastic_ips.is_empty() && self.forwards.is_empty() {
            let asked = [("eip", options.eip), ("vm-ip", options.vm_ip)];
            let asked: Vec<String> = asked
                .iter()
                .filter_map(|(key, address)| Some(format!("{key} {}", (*address)?)))
                .collect();
            self.notes.push(format!(
                "no entry of what is in effect has {}: without it, `kylin-vr status` lists all",
                asked.join(" and ")
            ));
        }
    }
}
