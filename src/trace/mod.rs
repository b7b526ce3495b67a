//! What becomes of one packet, told to people and to programs. Pure.
//!
//! [`Trace`] is the model's answer ([`crate::translate`]) with every decision, the way back and a last sentence; [`live`] is
//! where the kernel does something else, or something on the way is not as it should be.

pub mod live;
mod sentence;
#[cfg(test)]
pub(crate) mod tests;
mod text;

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use serde::Serialize;

use crate::config::Config;
use crate::model::LinkName;
use crate::translate::{
    Answer, Copy, Decision, Delivery, Entry, Fate, Model, Nic, Origin, Outcome, Packet, Reason, Step,
    Transport, WayBack, copies,
};

/// The names of the links that are the file's NICs; a NIC that is not there has none.
pub type Names = BTreeMap<Nic, LinkName>;

/// What becomes of a packet, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Trace {
    /// The packet that was asked about.
    pub packet: Asked,
    /// Where it ends.
    pub outcome: End,
    /// Why nobody gets it; `None`: somebody does.
    pub reason: Option<Reason>,
    /// Its destination after translation; `None`: nobody gets it.
    pub destination: Option<Ipv4Addr>,
    /// The port there; `None`: the protocol has none, or nobody gets it.
    pub destination_port: Option<u16>,
    /// The source that the receiver sees; `None`: nobody gets it.
    pub source: Option<Ipv4Addr>,
    /// The NIC that it leaves by, and whose hardware address it is sent to; `None`: it does not leave.
    pub leaves: Option<Leaves>,
    /// The entries of the file that decided it, in the order of the packet's way.
    pub decided_by: Vec<Decided>,
    /// Every decision, those too that no entry made.
    pub steps: Vec<Decision>,
    /// The answer's way; `None`: nothing was delivered.
    pub way_back: Option<Back>,
    /// The copies that mirrors make of it.
    pub copies: Vec<Copied>,
    /// NICs of the file that are not there.
    pub pending: Vec<PendingNic>,
    /// What it means, in one sentence.
    pub sentence: String,
    /// What to do, where somebody has to do something.
    pub remedy: Option<String>,
    /// The model's own answer.
    #[serde(skip)]
    pub told: Told,
}

/// The model's values behind a [`Trace`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// The packet.
    pub packet: Packet,
    /// What becomes of it.
    pub outcome: Outcome,
    /// What becomes of the answer.
    pub back: Option<WayBack>,
}

/// A packet in words.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Asked {
    /// Who sends it.
    pub from: Ipv4Addr,
    /// Where it is sent to.
    pub to: Ipv4Addr,
    /// `tcp`, `udp`, `icmp`, or the protocol's number.
    pub protocol: String,
    /// The port that it is sent to.
    pub port: Option<u16>,
}

/// Where a packet ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum End {
    /// It leaves the router.
    Delivered,
    /// The router itself gets it.
    Router,
    /// Nobody gets it.
    Dropped,
}

/// An entry of the file that decided something.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Decided {
    /// What about.
    pub step: Step,
    /// Which entry.
    #[serde(flatten)]
    pub entry: Entry,
    /// What it decided.
    pub text: String,
}

/// A copy that a mirror makes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Copied {
    /// The mirror, where, and where to.
    #[serde(flatten)]
    pub copy: Copy,
    /// The NIC's name; `None`: it is not known.
    pub link: Option<LinkName>,
    /// The mirror's entry.
    pub entry: Option<Entry>,
}

/// How a packet leaves the router.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Leaves {
    /// The entry of its NIC.
    pub nic: String,
    /// The NIC's name; `None`: it is not known.
    pub link: Option<LinkName>,
    /// The gateway, or the destination itself.
    pub next_hop: Ipv4Addr,
}

/// The way of the answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Back {
    /// Where it ends.
    pub outcome: End,
    /// Why nobody gets it.
    pub reason: Option<Reason>,
    /// Whom the asker sees as the one who answers; `None`: it gets no answer.
    pub source: Option<Ipv4Addr>,
    /// The NIC that it leaves by.
    pub leaves: Option<Leaves>,
    /// The same in words.
    pub text: String,
}

/// A NIC of the file that is not there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PendingNic {
    /// Its hardware address, or the name of its link where it is an overlay's.
    #[serde(rename = "mac")]
    pub link: String,
    /// Its entry.
    #[serde(flatten)]
    pub entry: Entry,
}

impl Trace {
    /// Asks the model, and puts its answer in words. NICs without a name are those that are not there, unless `assumed`:
    /// then nothing is known of them, and the model takes all for there.
    #[must_use]
    pub fn new(model: &Model<'_>, config: &Config, packet: &Packet, names: &Names, assumed: bool) -> Self {
        let outcome = model.translate(packet);
        let back = match outcome.fate {
            Fate::Delivered(delivery) => Some(model.way_back(packet, &delivery)),
            Fate::Router(_) | Fate::Dropped(_) => None,
        };
        let leaves = |delivery: &Delivery| Leaves {
            nic: delivery.nic.to_string(),
            link: names.get(&delivery.nic).cloned(),
            next_hop: delivery.next_hop,
        };
        let (destination, port, source) = match outcome.fate {
            Fate::Delivered(one) => (Some(one.destination), port_of(one.transport), Some(one.source)),
            Fate::Router(one) => (Some(one.address), port_of(one.transport), Some(packet.source)),
            Fate::Dropped(_) => (None, None, None),
        };
        let words = sentence::Words {
            config,
            names,
            packet,
            outcome: &outcome,
            back: back.as_ref(),
        };
        let mut steps: Vec<Decision> = words.enter().into_iter().collect();
        steps.extend(outcome.decided_by.iter().cloned());
        steps.extend(words.leave());
        let (sentence, remedy) = words.sentence();
        let (protocol, asked_port) = protocol_and_port(packet.transport);
        Self {
            packet: Asked {
                from: packet.source,
                to: packet.destination,
                protocol,
                port: asked_port,
            },
            outcome: end(&outcome.fate),
            reason: reason(&outcome.fate),
            destination,
            destination_port: port,
            source,
            leaves: match &outcome.fate {
                Fate::Delivered(delivery) => Some(leaves(delivery)),
                _ => None,
            },
            decided_by: (steps.iter())
                .filter_map(|one| {
                    Some(Decided {
                        step: one.step,
                        entry: one.entry.clone()?,
                        text: one.text.clone(),
                    })
                })
                .collect(),
            way_back: back.as_ref().map(|back| Back {
                outcome: end(&back.fate),
                reason: reason(&back.fate),
                source: match &back.fate {
                    Fate::Delivered(one) => Some(one.source),
                    Fate::Router(_) => Some(packet.destination),
                    Fate::Dropped(_) => None,
                },
                leaves: match &back.fate {
                    Fate::Delivered(delivery) => Some(leaves(delivery)),
                    _ => None,
                },
                text: words.way_back(back),
            }),
            copies: copies(config, packet, &outcome.fate)
                .into_iter()
                .map(|copy| Copied {
                    link: names.get(&copy.nic).cloned(),
                    entry: copy.entry(config),
                    copy,
                })
                .collect(),
            pending: (config.interfaces().iter().enumerate())
                .filter(|(index, _)| !assumed && !names.contains_key(&Nic(*index)))
                .map(|(index, one)| PendingNic {
                    link: one.link().to_string(),
                    entry: Entry {
                        path: Nic(index).to_string(),
                        place: one.place,
                    },
                })
                .collect(),
            steps,
            sentence,
            remedy,
            told: Told {
                packet: *packet,
                outcome,
                back,
            },
        }
    }
}

fn end(fate: &Fate) -> End {
    match fate {
        Fate::Delivered(_) => End::Delivered,
        Fate::Router(_) => End::Router,
        Fate::Dropped(_) => End::Dropped,
    }
}

fn reason(fate: &Fate) -> Option<Reason> {
    match fate {
        Fate::Dropped(reason) => Some(*reason),
        Fate::Delivered(_) | Fate::Router(_) => None,
    }
}

/// The port that a packet is sent to.
fn port_of(transport: Transport) -> Option<u16> {
    transport.ports().map(|(_, ports)| ports.destination)
}

fn protocol_and_port(transport: Transport) -> (String, Option<u16>) {
    let protocol = match transport {
        Transport::Tcp(_) => "tcp".to_owned(),
        Transport::Udp(_) => "udp".to_owned(),
        Transport::Echo => "icmp".to_owned(),
        Transport::Other(number) => number.to_string(),
    };
    (protocol, port_of(transport))
}
