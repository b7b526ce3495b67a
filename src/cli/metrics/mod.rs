//! `kylin-vr metrics`: how things are, for a monitoring system: the same look as `status`, in the words of Prometheus.

mod exposition;

use std::process::ExitCode;

use super::status::{self, Health, State, Status, SubnetStatus, TargetStatus};
use super::{Context, complain, exit, print};
use crate::clock;
use crate::features::nat::counters::Traffic;
use crate::intake::Standing;
use crate::monitor::{Outcome, Tally};

use exposition::{Exposition, Kind};

/// How a request over HTTP is answered.
pub(super) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Whoever scrapes comes every few seconds, and the monitor has other work: to read so many flows takes it a third of a second.
const MOST_FLOWS: u64 = 262_144;

pub(super) fn run(context: &Context) -> ExitCode {
    // Where a monitor runs it has told; where none does there is nothing to tell.
    let tally = context.state.tally().unwrap_or_default();
    match text(context, tally.as_ref()) {
        Ok(text) => {
            print(&text);
            ExitCode::SUCCESS
        }
        Err(error) => {
            complain(&format!("kylin-vr metrics: {error}\n"));
            ExitCode::from(exit::OTHER)
        }
    }
}

/// All metrics; `tally` is what the monitor did since it began.
///
/// # Errors
/// What cannot be looked at, in words.
pub(super) fn text(context: &Context, tally: Option<&Tally>) -> Result<String, String> {
    let status = status::look(context, Some(MOST_FLOWS))?;
    let mut to = Exposition::default();
    configuration(&status, &mut to);
    entries(&status, &mut to);
    eips(&status, &mut to);
    forwards(&status, &mut to);
    dhcp(&status, &mut to);
    mirrors(&status, &mut to);
    conntrack(&status, &mut to);
    monitor(&status, tally, &mut to);
    Ok(to.text())
}

fn configuration(status: &Status, to: &mut Exposition) {
    let name = "kylin_vr_build_info";
    to.family(name, Kind::Gauge, "The agent; always 1.");
    to.sample(name, &[("version", env!("CARGO_PKG_VERSION"))], 1);
    let name = "kylin_vr_health";
    to.family(
        name,
        Kind::Gauge,
        "1 for how things are: ok, pending (something configured is not there), drift (the kernel differs), error.",
    );
    for health in Health::ALL {
        let is = u8::from(health == status.health);
        to.sample(name, &[("state", health.name())], is);
    }
    let name = "kylin_vr_faults";
    to.family(
        name,
        Kind::Gauge,
        "What `kylin-vr status` lists as problems, by kind.",
    );
    let mut kinds: Vec<&str> = status.faults.iter().map(|fault| fault.kind).collect();
    kinds.sort_unstable();
    for same in kinds.chunk_by(|one, other| one == other) {
        to.sample(name, &[("kind", same[0])], same.len());
    }
    let name = "kylin_vr_configuration_info";
    to.family(
        name,
        Kind::Gauge,
        "The configuration in force, by the SHA-256 of its text; always 1.",
    );
    if let Some(sha256) = &status.configuration {
        to.sample(name, &[("sha256", sha256)], 1);
    }
    if let Some(generation) = status.generation {
        to.single(
            "kylin_vr_configuration_generation",
            Kind::Gauge,
            "The generation of the configuration in force.",
            generation,
        );
    }
    let when = |entry: &crate::intake::Kept| clock::from_utc(&entry.entry.when);
    let in_force = status.history.iter().find(|kept| kept.back == Some(0));
    if let Some(when) = in_force.and_then(when) {
        to.single(
            "kylin_vr_configuration_applied_timestamp_seconds",
            Kind::Gauge,
            "When the configuration in force was applied, since 1970.",
            when.as_secs(),
        );
    }
    let failed = status
        .history
        .first()
        .is_some_and(|kept| matches!(kept.entry.result, Standing::Failed | Standing::TakenBack));
    to.single(
        "kylin_vr_last_change_failed",
        Kind::Gauge,
        "1 if the last configuration that was sent could not be applied, or was taken back.",
        u8::from(failed),
    );
    to.single(
        "kylin_vr_differences",
        Kind::Gauge,
        "In how many places the kernel differs from the configuration in force.",
        status.differences.len(),
    );
    to.single(
        "kylin_vr_pending_nics",
        Kind::Gauge,
        "NICs that are configured and not there.",
        status.pending.len(),
    );
}

fn entries(status: &Status, to: &mut Exposition) {
    let name = "kylin_vr_entries";
    to.family(
        name,
        Kind::Gauge,
        "Entries of the configuration in force, by kind and by what the kernel has of them.",
    );
    let kinds: [(&str, Vec<State>); 5] = [
        (
            "interface",
            status.interfaces.iter().map(|one| one.state).collect(),
        ),
        ("eip", status.elastic_ips.iter().map(|one| one.state).collect()),
        ("forward", status.forwards.iter().map(|one| one.state).collect()),
        ("route", status.routes.iter().map(|one| one.state).collect()),
        ("mirror", status.mirrors.iter().map(|one| one.state).collect()),
    ];
    let states = [
        (State::Ok, "ok"),
        (State::Pending, "pending"),
        (State::Missing, "missing"),
        (State::Shadowed, "shadowed"),
    ];
    for (kind, all) in kinds {
        for (state, word) in states {
            let number = all.iter().filter(|one| **one == state).count();
            to.sample(name, &[("kind", kind), ("state", word)], number);
        }
    }
}

/// What mirrors copied, by name and target.
fn mirrors(status: &Status, to: &mut Exposition) {
    type Number = fn(&TargetStatus) -> u64;
    let families: [(&str, &str, Number); 3] = [
        (
            "kylin_vr_mirror_packets_total",
            "Packets that a mirror copied to a target.",
            |one| one.packets,
        ),
        (
            "kylin_vr_mirror_bytes_total",
            "Bytes of the packets that a mirror copied to a target.",
            |one| one.bytes,
        ),
        (
            "kylin_vr_mirror_lost_total",
            "Copies that the target's link could not take.",
            |one| one.lost,
        ),
    ];
    for (name, help, number) in families {
        to.family(name, Kind::Counter, help);
        for mirror in &status.mirrors {
            for target in &mirror.targets {
                let labels = [("mirror", mirror.name.as_str()), ("target", &target.to)];
                to.sample(name, &labels, number(target));
            }
        }
    }
}

fn eips(status: &Status, to: &mut Exposition) {
    let name = "kylin_vr_eip_info";
    to.family(name, Kind::Gauge, "Elastic IPs and their VMs; always 1.");
    for one in &status.elastic_ips {
        to.sample(name, &[("eip", &one.eip), ("vm_ip", &one.vm)], 1);
    }
    let all = status.elastic_ips.iter();
    let counted: Vec<_> = all
        .filter_map(|one| Some((vec![("eip", one.eip.as_str())], one.traffic?)))
        .collect();
    traffic("kylin_vr_eip", "an elastic IP", &counted, true, to);
}

fn forwards(status: &Status, to: &mut Exposition) {
    let name = "kylin_vr_forward_info";
    to.family(
        name,
        Kind::Gauge,
        "Forwarded ports and where they lead; always 1.",
    );
    for one in &status.forwards {
        let labels = [
            ("eip", one.eip.as_str()),
            ("protocol", &one.protocol),
            ("ports", &one.ports),
            ("vm_ip", &one.vm),
            ("vm_ports", &one.vm_ports),
        ];
        to.sample(name, &labels, 1);
    }
    let all = status.forwards.iter();
    let counted: Vec<_> = all
        .filter_map(|one| {
            let labels = vec![
                ("eip", one.eip.as_str()),
                ("protocol", one.protocol.as_str()),
                ("ports", one.ports.as_str()),
            ];
            Some((labels, one.traffic?))
        })
        .collect();
    traffic("kylin_vr_forward", "a forward", &counted, false, to);
}

/// Three families of what went by entries.
fn traffic(
    prefix: &str,
    what: &str,
    counted: &[(Vec<(&str, &str)>, Traffic)],
    both_begin: bool,
    to: &mut Exposition,
) {
    type Pair = fn(&Traffic) -> [u64; 2];
    let families: [(&str, &str, Pair); 3] = [
        ("packets", "Packets to (in) and from (out)", |one| {
            [one.packets_in, one.packets_out]
        }),
        (
            "bytes",
            "Bytes, from the IP header on, to (in) and from (out)",
            |one| [one.bytes_in, one.bytes_out],
        ),
        (
            "connections",
            "Connections that were begun to (in) or from (out)",
            |one| [one.connections_in, one.connections_out],
        ),
    ];
    for (unit, help, of) in families {
        let name = format!("{prefix}_{unit}_total");
        to.family(&name, Kind::Counter, &format!("{help} {what}."));
        let directions = if unit == "connections" && !both_begin {
            1
        } else {
            2
        };
        for (labels, one) in counted {
            for (direction, value) in ["in", "out"].into_iter().zip(of(one)).take(directions) {
                let mut labels = labels.clone();
                labels.push(("direction", direction));
                to.sample(&name, &labels, value);
            }
        }
    }
}

/// Nothing where no subnet has DHCP.
fn dhcp(status: &Status, to: &mut Exposition) {
    let Some(dhcp) = &status.dhcp else {
        return;
    };
    to.single(
        "kylin_vr_dhcp_running",
        Kind::Gauge,
        "1 while the DHCP server, dnsmasq, runs.",
        u8::from(dhcp.process.is_some()),
    );
    type Of = fn(&SubnetStatus) -> u64;
    let families: [(&str, &str, Of); 3] = [
        ("leases", "Addresses of a subnet that are given away.", |one| {
            one.leases as u64
        }),
        ("range_leases", "Those of them that are of its range.", |one| {
            one.of_range.into()
        }),
        ("range_addresses", "Addresses of a subnet's range.", |one| {
            one.size.into()
        }),
    ];
    for (name, help, of) in families {
        let name = format!("kylin_vr_dhcp_{name}");
        to.family(&name, Kind::Gauge, help);
        for subnet in &dhcp.subnets {
            to.sample(&name, &[("subnet", &subnet.subnet)], of(subnet));
        }
    }
}

fn conntrack(status: &Status, to: &mut Exposition) {
    let usage = &status.conntrack;
    if let (Some(tracked), Some(limit)) = (usage.count, usage.max) {
        to.single(
            "kylin_vr_conntrack_entries",
            Kind::Gauge,
            "Flows that are tracked.",
            tracked,
        );
        to.single(
            "kylin_vr_conntrack_entries_limit",
            Kind::Gauge,
            "Flows that may be tracked; new connections are dropped beyond.",
            limit,
        );
    }
    let reasons = [
        ("insert_failed", usage.insert_failed),
        ("dropped", usage.drop),
        ("early", usage.early_drop),
    ];
    let name = "kylin_vr_conntrack_drops_total";
    to.family(
        name,
        Kind::Counter,
        "Flows that did not live: dropped (first packets, for want of room or of a source port), insert_failed (nearly all \
         of these for want of a source port), early (unanswered, evicted for new ones).",
    );
    for (reason, value) in reasons {
        if let Some(value) = value {
            to.sample(name, &[("reason", reason)], value);
        }
    }
    let name = "kylin_vr_source_ports_in_use";
    to.family(
        name,
        Kind::Gauge,
        "Source ports in use towards the busiest destination of an address that VMs without an elastic IP are seen as; \
         missing while more than 262144 flows are tracked.",
    );
    for one in &status.source_ports {
        to.sample(name, &[("address", &one.address)], one.in_use);
    }
    let name = "kylin_vr_source_ports_limit";
    to.family(name, Kind::Gauge, "How many there are towards one destination.");
    for one in &status.source_ports {
        to.sample(name, &[("address", &one.address)], one.of);
    }
    let gateways: Vec<(&str, bool)> = status
        .interfaces
        .iter()
        .filter_map(|one| {
            let gateway = one.gateway.as_deref()?;
            let neighbour = status.neighbours.get(&gateway.parse().ok()?)?;
            Some((gateway, neighbour.answers))
        })
        .collect();
    let name = "kylin_vr_gateway_answers";
    to.family(
        name,
        Kind::Gauge,
        "Whether the outside gateway answers ARP; missing while nothing was sent to it.",
    );
    for (gateway, answers) in gateways {
        to.sample(name, &[("gateway", gateway)], u8::from(answers));
    }
}

fn monitor(status: &Status, tally: Option<&Tally>, to: &mut Exposition) {
    to.single(
        "kylin_vr_monitor_running",
        Kind::Gauge,
        "Whether `kylin-vr monitor` runs.",
        u8::from(status.monitor.is_some()),
    );
    let Some(tally) = tally.filter(|_| status.monitor.is_some()) else {
        return;
    };
    to.single(
        "kylin_vr_monitor_start_time_seconds",
        Kind::Gauge,
        "When the monitor began, since 1970.",
        tally.since,
    );
    let name = "kylin_vr_reconciles_total";
    to.family(
        name,
        Kind::Counter,
        "Looks of the monitor at the kernel, by what came of them.",
    );
    for outcome in Outcome::ALL {
        to.sample(name, &[("result", outcome.name())], tally.of(outcome));
    }
    let name = "kylin_vr_reconcile_duration_seconds";
    to.family(
        name,
        Kind::Summary,
        "How long the monitor's looks took, changes included.",
    );
    to.sample(&format!("{name}_sum"), &[], tally.seconds);
    to.sample(&format!("{name}_count"), &[], tally.looks());
    to.single(
        "kylin_vr_drift_repairs_total",
        Kind::Counter,
        "Things that the monitor put right after something else had changed them.",
        tally.repairs,
    );
}
