//! What is wrong, the worst first: each with the object and with what to do. Pure but for what was looked at before.

use std::collections::BTreeMap;

use serde::Serialize;

use super::super::report::count;
use super::dhcp;
use super::{FileState, Status, held};
use crate::config::Severity;
use crate::intake::Standing;

/// So full is nearly full, in percent.
const NEARLY_FULL: u64 = 90;
/// So many silent VMs are named.
const NAMED: usize = 3;

/// How things are, in a word; the later, the worse.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(in crate::cli) enum Health {
    /// Everything is as the configuration says.
    Ok,
    /// Something that the configuration names is not there (yet).
    Pending,
    /// The kernel is not as the configuration says.
    Drift,
    /// Packets do not pass that should, or the last configuration could not be taken.
    Error,
}

impl Health {
    pub(in crate::cli) const ALL: [Self; 4] = [Self::Ok, Self::Pending, Self::Drift, Self::Error];

    /// As in `--json`.
    pub(in crate::cli) fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Pending => "pending",
            Self::Drift => "drift",
            Self::Error => "error",
        }
    }
}

/// Something that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(in crate::cli) struct Fault {
    pub(in crate::cli) level: Health,
    /// A name for programs.
    pub(in crate::cli) kind: &'static str,
    /// What is wrong, with the object named.
    pub(in crate::cli) what: String,
    /// What to do about it.
    pub(in crate::cli) remedy: String,
}

impl Status {
    /// Finds what is wrong, and says how things are.
    pub(super) fn judge(&mut self) {
        let mut faults = Vec::new();
        let mut fault = |level, kind, what: String, remedy: String| {
            faults.push(Fault {
                level,
                kind,
                what,
                remedy,
            });
        };
        self.judge_file(&mut fault);
        self.judge_outside(&mut fault);
        self.judge_kernel(&mut fault);
        dhcp::judge(self.dhcp.as_ref(), self.monitor.is_some(), &mut fault);
        for pending in &self.pending {
            let mut place = vec![pending.path.clone()];
            place.extend(pending.addresses.iter().cloned());
            let candidates: Vec<String> = pending.candidates.iter().map(ToString::to_string).collect();
            fault(
                Health::Pending,
                "nic-missing",
                format!(
                    "NIC {} ({}): {} {}",
                    pending.link,
                    place.join(", "),
                    pending.reason,
                    candidates.join(" ")
                )
                .trim_end()
                .to_owned(),
                "plug it in from the hypervisor (it is set up when it comes), or correct `mac`; \
                 `kylin-vr reload --rescan` has the PCI bus look for it"
                    .to_owned(),
            );
        }
        self.judge_vms(&mut fault);
        faults.sort_by_key(|fault| std::cmp::Reverse(fault.level));
        self.health = faults.first().map_or(Health::Ok, |worst| worst.level);
        self.faults = faults;
    }

    fn judge_file(&self, fault: &mut impl FnMut(Health, &'static str, String, String)) {
        match self.file {
            FileState::InEffect => {}
            FileState::Changed => fault(
                Health::Drift,
                "file-changed",
                format!("{} was changed and is not in effect yet", self.config),
                "`kylin-vr plan` shows what it would change, `kylin-vr reload` applies it".to_owned(),
            ),
            FileState::Invalid => fault(
                Health::Error,
                "file-invalid",
                format!(
                    "{} was changed and would be REFUSED: it is not in effect",
                    self.config
                ),
                "correct what is named below (`kylin-vr check` lists all of it), then `kylin-vr reload`"
                    .to_owned(),
            ),
        }
        if let Some(last) = self.history.first().map(|kept| &kept.entry)
            && matches!(last.result, Standing::Failed | Standing::TakenBack)
        {
            let (what, remedy) = if last.result == Standing::Failed {
                let why = last.changes.lines.first();
                (
                    format!(
                        "the last configuration ({} by `{}` from {}) could not be applied{}",
                        last.when,
                        last.command,
                        last.source,
                        why.map_or_else(String::new, |why| format!(": {why}"))
                    ),
                    "the one before it is in force; remove the cause and send it again",
                )
            } else {
                (
                    format!(
                        "the last configuration ({} by `{}` from {}) was not confirmed in time and was taken back",
                        last.when, last.command, last.source
                    ),
                    "the one before it is in force; send it again, and `kylin-vr confirm` once you still reach the router",
                )
            };
            fault(Health::Error, "last-change-failed", what, remedy.to_owned());
        }
    }

    fn judge_outside(&self, fault: &mut impl FnMut(Health, &'static str, String, String)) {
        for interface in &self.interfaces {
            let gateway = interface.gateway.as_deref().and_then(|text| text.parse().ok());
            let neighbour = gateway.and_then(|gateway| self.neighbours.get(&gateway));
            if let (Some(gateway), Some(neighbour)) = (gateway, neighbour)
                && !neighbour.answers
            {
                fault(
                    Health::Error,
                    "gateway-silent",
                    format!(
                        "the gateway {gateway} does not answer on {}: nothing of the VPC gets outside",
                        neighbour.link
                    ),
                    format!(
                        "compare `gateway` of {} with the outside network, and the NIC's port or VLAN on the hypervisor",
                        interface.path
                    ),
                );
            }
        }
        held::judge(&self.source_ports, fault);
        if let (Some(tracked), Some(limit)) = (self.conntrack.count, self.conntrack.max)
            && limit > 0
            && tracked.saturating_mul(100) >= limit.saturating_mul(NEARLY_FULL)
        {
            let full = tracked >= limit;
            fault(
                Health::Error,
                "conntrack-full",
                format!(
                    "connection tracking is {}: {tracked} of {limit} flows; new connections {}",
                    if full { "full" } else { "nearly full" },
                    if full { "are dropped" } else { "will be dropped" },
                ),
                "raise `conntrack_max` in the file, or give the VM more memory; `conntrack -L | sort` shows who \
                 opens so many"
                    .to_owned(),
            );
        }
    }

    fn judge_kernel(&self, fault: &mut impl FnMut(Health, &'static str, String, String)) {
        let repair = if self.monitor.is_some() {
            "the monitor puts it right within seconds; if it comes back, another program changes it: \
             `journalctl -u kylin-vr-monitor`"
        } else {
            "`kylin-vr reload` puts that right; `kylin-vr monitor` would do it by itself, and does not run"
        };
        let is_forwarding = |text: &str| text.contains("ip_forward");
        if self
            .differences
            .iter()
            .any(|line| line.object == "sysctl" && is_forwarding(&line.text))
        {
            fault(
                Health::Error,
                "forwarding-off",
                "forwarding is off (net.ipv4.ip_forward is 0): no packet passes the router".to_owned(),
                repair.to_owned(),
            );
        }
        if !self.differences.is_empty() {
            fault(
                Health::Drift,
                "drift",
                format!(
                    "the kernel differs from what is configured in {} (below)",
                    count(self.differences.len(), "place")
                ),
                repair.to_owned(),
            );
        }
    }

    fn judge_vms(&self, fault: &mut impl FnMut(Health, &'static str, String, String)) {
        for problem in &self.problems {
            if problem.severity == Severity::Warning && self.file == FileState::InEffect {
                fault(
                    Health::Pending,
                    "file-warning",
                    problem.to_string(),
                    format!("correct it in {}, then `kylin-vr reload`", self.config),
                );
            }
        }
        let eips = self.elastic_ips.iter().map(|one| (&one.vm, &one.path));
        let forwards = self.forwards.iter().map(|one| (&one.vm, &one.path));
        let mut silent = BTreeMap::new();
        for (vm, path) in eips.chain(forwards) {
            let neighbour = vm.parse().ok().and_then(|vm| self.neighbours.get(&vm));
            if let Some(neighbour) = neighbour.filter(|neighbour| !neighbour.answers) {
                silent.entry(vm).or_insert((path, &neighbour.link));
            }
        }
        for (vm, (path, link)) in silent.iter().take(NAMED) {
            fault(
                Health::Pending,
                "vm-silent",
                format!("the VM {vm} ({path}) does not answer on {link}"),
                "see that it runs, has this address, and is on this network".to_owned(),
            );
        }
        if silent.len() > NAMED {
            fault(
                Health::Pending,
                "vm-silent",
                format!("{} more do not answer", count(silent.len() - NAMED, "VM")),
                "`ip neighbour show nud failed` lists them".to_owned(),
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::InterfaceStatus;
    use super::super::entries::State;
    use super::*;
    use crate::kernel::{ConntrackUsage, Neighbour};
    use crate::plan::{Action, Line};

    fn status() -> Status {
        Status {
            health: Health::Ok,
            agrees: true,
            exit_code: 0,
            summary: Vec::new(),
            faults: Vec::new(),
            config: "kylin-vr.yaml".to_owned(),
            file: FileState::InEffect,
            configuration: None,
            generation: None,
            unconfirmed_until: None,
            monitor: None,
            overlays: Vec::new(),
            interfaces: vec![InterfaceStatus {
                path: "if_list[0]".to_owned(),
                mac: "52:54:84:00:08:45".to_owned(),
                link: Some("eth0".to_owned()),
                up: true,
                address: "10.90.3.37/24".to_owned(),
                gateway: Some("10.90.3.1".to_owned()),
                external: true,
                state: State::Ok,
                changed: None,
            }],
            elastic_ips: Vec::new(),
            forwards: Vec::new(),
            routes: Vec::new(),
            dhcp: None,
            mirrors: Vec::new(),
            pending: Vec::new(),
            differences: Vec::new(),
            history: Vec::new(),
            notes: Vec::new(),
            problems: Vec::new(),
            conntrack: ConntrackUsage::default(),
            source_ports: Vec::new(),
            neighbours: BTreeMap::new(),
            is_configured: true,
            items: Vec::new(),
        }
    }

    fn kinds(mut status: Status) -> (Health, Vec<&'static str>) {
        status.judge();
        assert!(status.faults.iter().all(|fault| !fault.remedy.is_empty()));
        (
            status.health,
            status.faults.iter().map(|fault| fault.kind).collect(),
        )
    }

    #[test]
    fn without_a_fault_all_is_well() {
        assert_eq!(kinds(status()), (Health::Ok, vec![]));
    }

    fn usage(count: u64, max: u64) -> ConntrackUsage {
        ConntrackUsage {
            count: Some(count),
            max: Some(max),
            ..ConntrackUsage::default()
        }
    }

    #[test]
    fn connection_tracking_is_told_before_it_is_full() {
        for (tracked, expected) in [(89, Health::Ok), (90, Health::Error), (100, Health::Error)] {
            let mut status = status();
            status.conntrack = usage(tracked, 100);
            assert_eq!(kinds(status).0, expected, "{tracked}");
        }
        let mut unlimited = status();
        unlimited.conntrack = usage(7, 0);
        assert_eq!(kinds(unlimited).0, Health::Ok);
    }

    #[test]
    fn the_worst_comes_first() {
        let mut status = status();
        let silent = Neighbour {
            answers: false,
            link: "eth0".to_owned(),
        };
        status.neighbours.insert([10, 90, 3, 1].into(), silent);
        status.differences = vec![Line {
            action: Action::Add,
            object: "route",
            text: "local 10.90.2.250 dev lo".to_owned(),
        }];
        status.file = FileState::Changed;
        assert_eq!(
            kinds(status),
            (Health::Error, vec!["gateway-silent", "file-changed", "drift"])
        );
    }
}
