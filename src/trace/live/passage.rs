//! What became of one real packet.

use super::{Check, Look, PACKET, note, ok, questions, shown, wrong};
use crate::model::inspected::{Followed, Traced, Verdict, Waypoint};
use crate::model::nft;
use crate::owned::{NFT_DROPPING_CHAIN, NFT_TABLE};
use crate::translate::Origin;
use crate::words::printable;

/// How the way of one packet ended.
enum Passed<'e> {
    /// A rule, or a chain's policy, dropped it or took it away.
    Stopped(&'e Traced),
    /// It was seen here last, and this is how it was.
    Last(Waypoint, Option<nft::Packet>),
    Nothing,
}

impl Look<'_> {
    /// What was seen of a packet that was waited for, and of its answer.
    pub(super) fn passage(&self, checks: &mut Vec<Check>) {
        let Some((time, events)) = self.seen.followed else {
            return;
        };
        if events.is_empty() {
            checks.push(self.nothing_came(time.as_secs_f32()));
            return;
        }
        let followed = questions::followed(self.trace);
        let (packet, answer) = split(&followed, events);
        let passed = passed(&packet);
        let has_left = matches!(passed, Passed::Last(Waypoint::Left, _));
        checks.push(self.packet_check(&passed));
        if has_left && followed.answer.is_some() {
            checks.push(self.answer_check(&answer));
        }
    }

    /// Nobody sent one, or it never came here.
    fn nothing_came(&self, seconds: f32) -> Check {
        let (from, to) = (self.trace.packet.from, self.trace.packet.to);
        let by = match self.trace.told.packet.from {
            Origin::Nic(nic) => self.link(nic).map(|link| format!(" in by {}", link.name)),
            Origin::Router => None,
        };
        let came = format!("no such packet came{} within {seconds} s", by.unwrap_or_default());
        let Origin::Nic(nic) = self.trace.told.packet.from else {
            let text = format!("the router itself sent no such packet within {seconds} s");
            return note(PACKET, text);
        };
        let Some(interface) = self.seen.config.interfaces().get(nic.0) else {
            return note(PACKET, came);
        };
        let own = interface.address.addr();
        let (text, remedy) = if interface.gateway.is_none() {
            (
                format!("{came}: nobody sent one, or it took another way"),
                format!("send one meanwhile, from {from}; is {own} the gateway of the sender?"),
            )
        } else if interface.address.contains(&to) {
            (
                format!("{came}: nobody sent one, or it is lost before this router"),
                format!(
                    "send one meanwhile, from {from}; the router answers ARP for {to}: does it get there?"
                ),
            )
        } else {
            (
                format!("{came}: nobody sent one, or {to} is not routed to this router"),
                format!(
                    "send one meanwhile, from {from}; outside, {to} must be routed to {own}, or be asked for by ARP on the wire of {nic}, \
                     where the router answers"
                ),
            )
        };
        Check {
            remedy: Some(remedy),
            ..note(PACKET, text)
        }
    }

    fn packet_check(&self, passed: &Passed<'_>) -> Check {
        let wanted = self.translated();
        let was_taken = self.trace.outcome == super::super::End::Router;
        match passed {
            Passed::Stopped(event) => stopped(PACKET, "the packet", event),
            Passed::Nothing => note(
                PACKET,
                "a packet came, and nothing was told of its way".to_owned(),
            ),
            Passed::Last(Waypoint::Left, Some(packet)) if Some(*packet) == wanted => {
                ok(PACKET, format!("one came, and left as {}", shown(*packet)))
            }
            Passed::Last(Waypoint::Left, Some(packet)) => {
                let wanted = wanted.map_or_else(
                    || "not leave at all".to_owned(),
                    |one| format!("leave as {}", shown(one)),
                );
                let text = format!("the packet left as {}; it should {wanted}", shown(*packet));
                wrong(
                    PACKET,
                    text,
                    "look at what others translate: `nft list ruleset`, `ip rule`",
                )
            }
            Passed::Last(Waypoint::Left, None) => ok(PACKET, "one came, and left".to_owned()),
            Passed::Last(Waypoint::Taken, _) if was_taken => {
                ok(PACKET, "one came, and the router itself took it".to_owned())
            }
            Passed::Last(Waypoint::Taken, _) => wrong(
                PACKET,
                "the packet was taken by the router itself, and not passed on".to_owned(),
                super::RELOAD,
            ),
            Passed::Last(last, _) => self.lost(*last),
        }
    }

    /// No rule of nftables dropped it, and yet it was not seen again.
    fn lost(&self, last: Waypoint) -> Check {
        let legacy = "`iptables-legacy-save` shows rules that cannot be followed";
        let (place, remedy) = match last {
            Waypoint::Entered | Waypoint::Sent => (
                "before it was routed, by no rule of nftables: connection tracking drops it if its table is full or \
                 the packet makes no sense to it, or a rule of iptables-legacy does",
                format!(
                    "compare net.netfilter.nf_conntrack_count and nf_conntrack_max, see `conntrack -S`; {legacy}"
                ),
            ),
            Waypoint::BeforeRouting if self.trace.outcome == super::super::End::Dropped => {
                return ok(PACKET, "one came, and the routing dropped it".to_owned());
            }
            Waypoint::BeforeRouting => (
                "by the routing: forwarding is off, there is no route, or the reverse-path filter drops it",
                "see `nstat -az IpInNoRoutes TcpExtIPReversePathFilter IpForwDatagrams`, and `ip rule`"
                    .to_owned(),
            ),
            Waypoint::Routed | Waypoint::ForTheRouter => (
                "after it was routed, by no rule of nftables: a rule of iptables-legacy drops it",
                legacy.to_owned(),
            ),
            _ => (
                "as it was about to leave, by no rule of nftables: it is too large for the NIC, or a rule of \
                 iptables-legacy drops it",
                format!("compare the MTUs (`ip link`); {legacy}"),
            ),
        };
        wrong(PACKET, format!("the packet was lost {place}"), &remedy)
    }

    fn answer_check(&self, answer: &[&Traced]) -> Check {
        let subject = "answer";
        let who = self
            .trace
            .destination
            .map_or_else(String::new, |one| one.to_string());
        match passed(answer) {
            Passed::Nothing => {
                let gateway = (self.delivered_by()).map_or_else(String::new, |own| {
                    format!(", and is {own} the gateway that it answers by?")
                });
                Check {
                    remedy: Some(format!("does a firewall of its own drop it{gateway}")),
                    ..note(subject, format!("{who} was not seen to answer"))
                }
            }
            Passed::Stopped(event) => stopped(subject, "the answer", event),
            Passed::Last(Waypoint::Left | Waypoint::Taken, _) => {
                ok(subject, format!("{who} answered, and the answer went back"))
            }
            Passed::Last(..) => wrong(
                subject,
                format!("{who} answered, and the answer was lost in the router, by no rule of nftables"),
                "see `conntrack -S`, `ip rule`, and `iptables-legacy-save`",
            ),
        }
    }

    /// The router's own address on the NIC that the packet leaves by, where no gateway is in between.
    fn delivered_by(&self) -> Option<std::net::Ipv4Addr> {
        let delivery = self.delivery()?;
        let interface = self.seen.config.interfaces().get(delivery.nic.0)?;
        interface.gateway.is_none().then(|| interface.address.addr())
    }
}

fn stopped(subject: &'static str, what: &str, event: &Traced) -> Check {
    let Traced {
        family, table, chain, ..
    } = event;
    if (*family, table.as_str(), chain.as_str()) == ("ip", NFT_TABLE, NFT_DROPPING_CHAIN) {
        let text = format!(
            "{what} is of no connection that the kernel tracks: it is not translated, and does not leave with a private address"
        );
        let remedy = "the router was booted since, or never saw it begin: both ends must connect anew (`drop_invalid`)";
        return wrong(subject, text, remedy);
    }
    let (table, chain) = (printable(table), printable(chain));
    let by = match event.rule {
        Some(rule) => format!("the rule with handle {rule} of chain {chain} in table {family} {table}"),
        None => format!("the policy of chain {chain} in table {family} {table}"),
    };
    let how = if event.verdict == Verdict::Dropped {
        "is dropped by"
    } else {
        "is handed to a program by"
    };
    let remedy = format!(
        "it is not ours; see `nft -a list chain {family} {table} {chain}`, and accept the packet there"
    );
    wrong(subject, format!("{what} {how} {by}"), &remedy)
}

/// The events of the first packet, and those of the first answer.
fn split<'e>(followed: &Followed, events: &'e [Traced]) -> (Vec<&'e Traced>, Vec<&'e Traced>) {
    let of = |id: Option<u32>| events.iter().filter(move |one| Some(one.id) == id).collect();
    let answer = events
        .iter()
        .find(|one| questions::is_of_answer(followed, one))
        .map(|one| one.id);
    let packet = events.iter().find(|one| Some(one.id) != answer).map(|one| one.id);
    (of(packet), of(answer))
}

fn passed<'e>(events: &[&'e Traced]) -> Passed<'e> {
    if let Some(stopped) = events.iter().find(|one| one.verdict != Verdict::Continues) {
        return Passed::Stopped(stopped);
    }
    // What the router sends to itself comes in again after it left.
    let Some(last) = events.iter().rev().find_map(|one| one.waypoint) else {
        return Passed::Nothing;
    };
    // The first event of a chain has the packet; the next ones, up to its policy, say only what came of it.
    let at_last = events.iter().rev().filter(|one| one.waypoint == Some(last));
    Passed::Last(last, at_last.filter_map(|one| one.packet).next())
}
