//! What the kernel is asked about a packet, and what it should answer.

use std::net::Ipv4Addr;

use crate::config::{Config, Protocol};
use crate::model::inspected::{Followed, Questions, RouteAnswer, RouteQuestion, Traced, Verdict};
use crate::model::{Link, LinkIndex, Observed, nft};
use crate::owned::MARK_KEEP_SOURCE;
use crate::trace::Trace;
use crate::translate::{Fate, Nic, Origin, Packet, Step, Transport};

/// A question about a route.
pub(super) struct Asked {
    pub(super) what: &'static str,
    pub(super) question: RouteQuestion,
    pub(super) wanted: RouteAnswer,
}

/// A neighbour that a packet is sent to.
pub(super) struct NeighbourAsked {
    pub(super) link: LinkIndex,
    pub(super) address: Ipv4Addr,
    pub(super) nic: Nic,
}

/// All questions about a packet.
#[must_use]
pub fn questions(trace: &Trace, config: &Config, observed: &Observed) -> Questions {
    let mut sysctls = vec![
        "ipv4/conf/all/rp_filter".to_owned(),
        "ipv4/conf/all/arp_ignore".to_owned(),
    ];
    let mut nics = Vec::new();
    if let Origin::Nic(nic) = trace.told.packet.from {
        nics.push(nic);
    }
    if let Fate::Delivered(delivery) = &trace.told.outcome.fate {
        nics.push(delivery.nic);
    }
    for link in nics.into_iter().filter_map(|nic| link(config, observed, nic)) {
        sysctls.extend(["rp_filter", "arp_ignore", "forwarding"].map(|name| of_link(link, name)));
    }
    Questions {
        routes: routes(trace, config, observed)
            .iter()
            .map(|one| one.question)
            .collect(),
        neighbours: neighbours(trace, config, observed)
            .iter()
            .map(|one| (one.link, one.address))
            .collect(),
        sysctls,
        flow: translated(trace).map(|_| packet(&trace.told.packet)),
    }
}

/// The path of a link's parameter.
pub(super) fn of_link(link: &Link, name: &str) -> String {
    format!("ipv4/conf/{}/{name}", link.name.0)
}

/// The link of an entry of `if_list`.
pub(super) fn link<'o>(config: &Config, observed: &'o Observed, nic: Nic) -> Option<&'o Link> {
    let interface = config.interfaces().get(nic.0)?;
    observed.find(interface.link()).ok()
}

/// What the kernel would do at each routing decision.
pub(super) fn routes(trace: &Trace, config: &Config, observed: &Observed) -> Vec<Asked> {
    let told = &trace.told;
    let packet = told.packet;
    let index = |nic| link(config, observed, nic).map(|link| link.index);
    let from = match packet.from {
        Origin::Router => None,
        Origin::Nic(nic) => match index(nic) {
            Some(index) => Some(index),
            None => return Vec::new(),
        },
    };
    // A program may send from 127.0.0.1, but nobody can ask for the route of that.
    if packet.source.is_loopback() {
        return Vec::new();
    }
    let is_inside = |address: Ipv4Addr| config.inside().any(|net| net.contains(&address));
    let mark = |before: Ipv4Addr, from: Option<LinkIndex>| match from {
        Some(_) if is_inside(before) => MARK_KEEP_SOURCE,
        _ => 0,
    };
    let mut asked = Vec::new();
    let is_given = |one: &crate::translate::Decision| one.step == Step::Destination && one.entry.is_some();
    let is_translated = translated(trace).is_some_and(|one| one.destination != packet.destination);
    if from.is_some() && is_translated && told.outcome.decided_by.iter().any(is_given) {
        asked.push(Asked {
            what: "address",
            question: RouteQuestion {
                destination: packet.destination,
                source: packet.source,
                from,
                mark: 0,
            },
            wanted: RouteAnswer::Local,
        });
    }
    let wanted = match &told.outcome.fate {
        Fate::Delivered(one) => {
            index(one.nic).map(|link| (one.destination, RouteAnswer::Leaves(link, one.next_hop)))
        }
        Fate::Router(one) => Some((one.address, RouteAnswer::Local)),
        Fate::Dropped(_) => None,
    };
    if let Some((destination, wanted)) = wanted {
        let question = RouteQuestion {
            destination,
            source: packet.source,
            from,
            mark: mark(packet.destination, from),
        };
        asked.push(Asked {
            what: "route",
            question,
            wanted,
        });
    }
    if let (Fate::Delivered(there), Some(back)) = (&told.outcome.fate, &told.back) {
        let wanted = match &back.fate {
            Fate::Delivered(one) => index(one.nic).map(|link| RouteAnswer::Leaves(link, one.next_hop)),
            Fate::Router(_) => Some(RouteAnswer::Local),
            Fate::Dropped(_) => None,
        };
        if let (Some(wanted), Some(from)) = (wanted, index(there.nic)) {
            asked.push(Asked {
                what: "answer",
                question: RouteQuestion {
                    destination: packet.source,
                    source: there.destination,
                    from: Some(from),
                    mark: mark(there.source, Some(from)),
                },
                wanted,
            });
        }
    }
    asked
}

/// Whom the packet and its answer are handed to.
pub(super) fn neighbours(trace: &Trace, config: &Config, observed: &Observed) -> Vec<NeighbourAsked> {
    let back = trace.told.back.as_ref().map(|back| &back.fate);
    let mut asked: Vec<NeighbourAsked> = Vec::new();
    for fate in [Some(&trace.told.outcome.fate), back].into_iter().flatten() {
        if let Fate::Delivered(one) = fate
            && let Some(link) = link(config, observed, one.nic)
            && !asked.iter().any(|other| other.address == one.next_hop)
        {
            asked.push(NeighbourAsked {
                link: link.index,
                address: one.next_hop,
                nic: one.nic,
            });
        }
    }
    asked
}

/// A packet as nftables sees it.
pub(super) fn packet(packet: &Packet) -> nft::Packet {
    nft::Packet {
        protocol: protocol(packet.transport),
        source: packet.source,
        destination: packet.destination,
        destination_port: packet.transport.ports().map(|(_, ports)| ports.destination),
    }
}

/// The number of ICMP.
const ICMP: u8 = 1;

fn protocol(transport: Transport) -> u8 {
    match transport {
        Transport::Tcp(_) => Protocol::Tcp as u8,
        Transport::Udp(_) => Protocol::Udp as u8,
        Transport::Echo => ICMP,
        Transport::Other(number) => number,
    }
}

/// The packet after all translation; `None`: nobody gets it.
pub(super) fn translated(trace: &Trace) -> Option<nft::Packet> {
    Some(nft::Packet {
        protocol: protocol(trace.told.packet.transport),
        source: trace.source?,
        destination: trace.destination?,
        destination_port: trace.destination_port,
    })
}

/// What is to be followed by nftables tracing.
#[must_use]
pub fn followed(trace: &Trace) -> Followed {
    let told = &trace.told;
    let answer = match &told.outcome.fate {
        Fate::Delivered(one) => {
            let port = one.transport.ports().map(|(_, ports)| ports.destination);
            Some(((one.destination, port), one.source))
        }
        Fate::Router(_) | Fate::Dropped(_) => None,
    };
    Followed {
        packet: packet(&told.packet),
        own: told.packet.from == Origin::Router,
        answer,
    }
}

/// Whether no answer is to be waited for any more after these events: it came, or the packet was stopped.
#[must_use]
pub fn is_answered(followed: &Followed, events: &[Traced]) -> bool {
    let is_stopped = |one: &Traced| one.verdict != Verdict::Continues;
    events
        .iter()
        .any(|one| is_stopped(one) || is_of_answer(followed, one))
}

/// Whether an event tells of the answer as it arrived.
pub(super) fn is_of_answer(followed: &Followed, event: &Traced) -> bool {
    match (&followed.answer, event.packet) {
        (Some(((source, _), destination)), Some(packet)) => {
            (packet.source, packet.destination) == (*source, *destination)
                && (packet.source, packet.destination)
                    != (followed.packet.source, followed.packet.destination)
        }
        _ => false,
    }
}
