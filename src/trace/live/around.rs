//! What is around the way of a packet: tracked flows, neighbours, differences from the configuration, other programs.

use std::collections::BTreeSet;

use super::{Check, Look, note, ok, questions, shown, wrong};
use crate::model::Flow;
use crate::model::inspected::Neighbour;
use crate::translate::{Fate, Origin};
use crate::words::printable;

impl Look<'_> {
    pub(super) fn tracking(&self, checks: &mut Vec<Check>) {
        if let Some((count, max)) = self.seen.inspected.tracked {
            // Without a limit (0) there is always room.
            let room = if max == 0 { u64::MAX } else { max };
            if count >= room {
                let text = format!(
                    "the table of tracked flows is full ({count} of {max}): the first packet of a new flow is dropped"
                );
                let remedy = "raise `conntrack_max` in the file, or give the VM more memory; `conntrack -L | sort` shows \
                              who opens so many";
                checks.push(wrong("tracking", text, remedy));
            } else if count >= room / 20 * 19 {
                let text = format!("the table of tracked flows is nearly full: {count} of {max}");
                checks.push(note("tracking", text));
            } else {
                checks.push(ok("tracking", format!("{count} of {max} flows are tracked")));
            }
        }
        let Some(wanted) = self.translated() else {
            return;
        };
        let stale = |flow: &&Flow| flow.translated != wanted;
        if let Some(flow) = self.seen.inspected.flows.iter().find(stale) {
            let text = format!(
                "a flow that began before goes on as it began: {}, not {}",
                shown(flow.translated),
                shown(wanted)
            );
            let remedy = format!(
                "`conntrack -D --orig-src {} --orig-dst {}` ends it; its next packet is translated anew",
                flow.original.source, flow.original.destination
            );
            checks.push(wrong("flow", text, &remedy));
        }
    }

    /// Mirrors of which the kernel has nothing: their copies are not made, and the packet itself goes its way.
    pub(super) fn mirrors(&self, checks: &mut Vec<Check>) {
        let hooks = &self.seen.observed.hooks;
        let is_there = |name: &str| hooks.iter().any(|hook| hook.mirror == name);
        let names: BTreeSet<&str> = (self.trace.copies.iter())
            .map(|one| one.copy.mirror.as_str())
            .collect();
        for name in names.into_iter().filter(|name| !is_there(name)) {
            let text = format!("{name} copies nothing: it is not in the kernel (`kylin-vr status` says why)");
            checks.push(note("mirror", text));
        }
    }

    pub(super) fn neighbours(&self, checks: &mut Vec<Check>) {
        let asked = questions::neighbours(self.trace, self.seen.config, self.seen.observed);
        for (asked, state) in asked.iter().zip(&self.seen.inspected.neighbours) {
            let (link, address, nic) = (asked.link, asked.address, asked.nic);
            let name = (self.seen.observed.link(link)).map_or_else(String::new, |link| link.name.to_string());
            let interface = self.seen.config.interfaces().get(nic.0);
            let gateway = interface.filter(|one| one.gateway == Some(address));
            let who = if gateway.is_some() { "the gateway " } else { "" };
            match state {
                Neighbour::Answers => {
                    checks.push(ok("neighbour", format!("{who}{address} answers ARP on {name}")));
                }
                Neighbour::Silent => {
                    let text = format!("{who}{address} does not answer ARP on {name}");
                    let remedy = match gateway {
                        Some(one) => format!(
                            "is the gateway of {nic}, line {}, right, and is the NIC in its network?",
                            one.place.line
                        ),
                        None => format!(
                            "is the VM running, does it have this address, and is its NIC in the network of {nic}?"
                        ),
                    };
                    checks.push(wrong("neighbour", text, &remedy));
                }
                Neighbour::Stale => {
                    let text = format!("{who}{address} answered ARP on {name} a while ago");
                    checks.push(note("neighbour", text));
                }
                Neighbour::Unknown => {
                    let text = format!("nothing is known of {who}{address} on {name}");
                    checks.push(note("neighbour", text));
                }
            }
        }
    }

    pub(super) fn differences(&self, checks: &mut Vec<Check>) {
        let Some(first) = self.seen.differences.first() else {
            return;
        };
        let more = match self.seen.differences.len() - 1 {
            0 => String::new(),
            more => format!(", and {more} more"),
        };
        let text = format!("the kernel is not as the configuration says: a reload would {first}{more}");
        checks.push(wrong(
            "kernel",
            text,
            "`kylin-vr plan` shows all of it, and `kylin-vr reload` puts it right",
        ));
    }

    /// What others have in the way.
    pub(super) fn others(&self, checks: &mut Vec<Check>) {
        let hooks: &[&str] = match (self.trace.told.packet.from, &self.trace.told.outcome.fate) {
            (Origin::Router, _) => &["output", "postrouting"],
            (_, Fate::Router(_)) => &["prerouting", "input"],
            _ => &["prerouting", "forward", "postrouting"],
        };
        for chain in &self.seen.inspected.chains {
            let (family, table, name) = (chain.family, &chain.table, &chain.name);
            let who = printable(&format!("table {family} {table}, chain {name}")).into_owned();
            match chain.hook {
                Some(hook) if hooks.contains(&hook) => {
                    let drops = if chain.drops {
                        ": it drops what none of its rules accepts"
                    } else {
                        ""
                    };
                    checks.push(note("others", format!("{who} stands at {hook}{drops}")));
                }
                None => {
                    let text = format!("{who} stands at a link: what it drops cannot be followed");
                    checks.push(note("others", text));
                }
                Some(_) => {}
            }
        }
        if !self.seen.inspected.legacy.is_empty() {
            let tables = self.seen.inspected.legacy.join(", ");
            let text = format!(
                "iptables-legacy has the tables {tables}: what it drops cannot be followed; `iptables-legacy-save` shows it"
            );
            checks.push(note("others", text));
        }
    }
}
