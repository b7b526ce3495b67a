//! What the packet needs: its NICs, forwarding, our table, the routes.

use std::net::Ipv4Addr;

use super::questions::{self, Asked, routes};
use super::{Check, Look, RELOAD, Seen, ok, shown, wrong};
use crate::flows::Judge;
use crate::model::inspected::RouteAnswer;
use crate::model::{Link, Missing, Sysctl};
use crate::translate::{Origin, Step};

impl Look<'_> {
    pub(super) fn links(&self, checks: &mut Vec<Check>) {
        for nic in self.nics() {
            let Some(interface) = self.seen.config.interfaces().get(nic.0) else {
                continue;
            };
            let link = match self.seen.observed.find(interface.link()) {
                Ok(link) => link,
                Err(missing) => {
                    let (why, remedy) = match missing {
                        Missing::Absent => ("is not there", "have the hypervisor plug it in"),
                        Missing::Ambiguous(_) => (
                            "is there more than once",
                            "have the hypervisor give each NIC a hardware address of its own",
                        ),
                        Missing::UdevPending(_) => (
                            "is not ready: udevd is at work on it",
                            "wait a moment; if it stays so, see `udevadm settle` and `journalctl -u systemd-udevd`",
                        ),
                    };
                    let text = format!(
                        "the NIC {} of {nic}, line {}, {why}",
                        interface.mac, interface.place.line
                    );
                    checks.push(wrong("link", text, remedy));
                    continue;
                }
            };
            let name = &link.name;
            let addresses = self.seen.observed.addresses.get(&link.index);
            if !link.up {
                checks.push(wrong("link", format!("{name} is down"), RELOAD));
            } else if self.seen.inspected.carriers.get(&link.index) == Some(&false) {
                let text = format!("{name} has no carrier: nothing is at the other end of its wire");
                checks.push(wrong(
                    "link",
                    text,
                    "look at the NIC's link state on the hypervisor",
                ));
            } else if !addresses.is_some_and(|all| all.contains(&interface.address)) {
                let text = format!("{name} does not have the address {} of {nic}", interface.address);
                checks.push(wrong("link", text, RELOAD));
            } else {
                checks.push(ok("link", format!("{name} is up and has {}", interface.address)));
            }
        }
    }

    pub(super) fn forwarding(&self, checks: &mut Vec<Check>) {
        let Origin::Nic(nic) = self.trace.told.packet.from else {
            return;
        };
        let Some(link) = self.link(nic).filter(|_| self.delivery().is_some()) else {
            return;
        };
        let of_link = self.sysctl(&questions::of_link(link, "forwarding"));
        if self
            .seen
            .observed
            .sysctls
            .get(&Sysctl::IpForward)
            .is_some_and(|value| value == "0")
        {
            let text = "forwarding is off: the kernel passes no packet on (net.ipv4.ip_forward is 0)";
            checks.push(wrong("forwarding", text.to_owned(), RELOAD));
        } else if of_link == Some("0") {
            let parameter = format!("net.ipv4.conf.{}.forwarding", link.name);
            let text = format!(
                "forwarding is off for what comes in by {} ({parameter} is 0)",
                link.name
            );
            checks.push(wrong("forwarding", text, &format!("`sysctl -w {parameter}=1`")));
        } else {
            checks.push(ok("forwarding", "on".to_owned()));
        }
    }

    /// What the sets, maps and rules that the kernel has make of the packet.
    pub(super) fn table(&self, checks: &mut Vec<Check>) {
        let Some(wanted) = self.translated() else {
            return;
        };
        if self.seen.observed.table.is_none() {
            let text =
                "the kernel does not have our table: nothing is translated (table ip kylin_vr is missing)";
            checks.push(wrong("table", text.to_owned(), RELOAD));
            return;
        }
        let found = Judge::of(self.seen.observed).translate(self.packet());
        if found == wanted {
            checks.push(ok(
                "table",
                format!("table ip kylin_vr makes it {}", shown(found)),
            ));
        } else {
            let text = format!(
                "the table in the kernel is not that of the configuration: it makes the packet {}, not {}",
                shown(found),
                shown(wanted)
            );
            checks.push(wrong("table", text, RELOAD));
        }
    }

    pub(super) fn routes(&self, checks: &mut Vec<Check>) {
        let Seen {
            config,
            observed,
            inspected,
            ..
        } = self.seen;
        for (asked, answer) in routes(self.trace, config, observed).iter().zip(&inspected.routes) {
            let Asked {
                what,
                wanted,
                question,
            } = asked;
            if answer == wanted {
                if *what != "answer" {
                    checks.push(ok(what, self.route_text(answer, question.destination)));
                }
                continue;
            }
            let by = question.from.and_then(|index| observed.link(index));
            let shown = |answer: &RouteAnswer| self.route_text(answer, question.destination);
            let text = match answer {
                RouteAnswer::Refused(nix::libc::EXDEV) => {
                    let name = by.map_or_else(String::new, |link| link.name.to_string());
                    let value = |of: &str| {
                        self.sysctl(&format!("ipv4/conf/{of}/rp_filter"))
                            .unwrap_or("?")
                            .to_owned()
                    };
                    format!(
                        "the reverse-path filter drops what comes from {} by {name}: the way back is another one \
                         (rp_filter is {}, for all NICs {})",
                        question.source,
                        value(by.map_or("", |link| &link.name.0)),
                        value("all")
                    )
                }
                RouteAnswer::Refused(_) => format!("{what}: {}", shown(answer)),
                answer => format!("{what}: {}, not {}", shown(answer), shown(wanted)),
            };
            let iif = by.map_or_else(String::new, |link| format!(" iif {}", link.name));
            let same = format!(
                "look at `ip route get {} from {}{iif}` and `ip rule`; {RELOAD} if the route is ours",
                question.destination, question.source
            );
            checks.push(wrong(what, text, &same));
        }
        self.arp(checks);
    }

    fn route_text(&self, answer: &RouteAnswer, destination: Ipv4Addr) -> String {
        match answer {
            RouteAnswer::Leaves(link, next_hop) => {
                let name = self
                    .seen
                    .observed
                    .link(*link)
                    .map_or_else(|| format!("link {}", link.0), |link| link.name.to_string());
                if *next_hop == destination {
                    format!("{destination} by {name}")
                } else {
                    format!("{destination} by {name} via {next_hop}")
                }
            }
            RouteAnswer::Local => format!("{destination} to the router itself"),
            RouteAnswer::Refused(errno) => {
                let error = std::io::Error::from_raw_os_error(*errno);
                format!("{destination} is refused ({})", crate::words::plain(&error))
            }
            RouteAnswer::Other(kind) => format!("{destination} by a route of kind {kind}"),
        }
    }

    /// Whether the router answers ARP for an address that it has no address of on the link.
    fn arp(&self, checks: &mut Vec<Check>) {
        let Some(link) = self.claims_by() else { return };
        let values = [
            questions::of_link(link, "arp_ignore"),
            "ipv4/conf/all/arp_ignore".to_owned(),
        ];
        let ignores = values
            .iter()
            .find(|path| self.sysctl(path).is_some_and(|value| value != "0"));
        if let Some(path) = ignores {
            let parameter = path.replace('/', ".");
            let text = format!(
                "the router does not answer ARP for {} on {} (net.{parameter} is {})",
                self.trace.packet.to,
                link.name,
                self.sysctl(path).unwrap_or_default()
            );
            checks.push(wrong("arp", text, &format!("`sysctl -w net.{parameter}=0`")));
        }
    }

    /// The external link, if the packet comes from outside for an address that the file gives away.
    fn claims_by(&self) -> Option<&Link> {
        let Origin::Nic(nic) = self.trace.told.packet.from else {
            return None;
        };
        let is_external = self.seen.config.interfaces().get(nic.0)?.gateway.is_some();
        let mut steps = self.trace.told.outcome.decided_by.iter();
        let is_given = steps.any(|one| one.step == Step::Destination && one.entry.is_some());
        self.link(nic).filter(|_| is_external && is_given)
    }
}
