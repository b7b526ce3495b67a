//! One case on a real kernel: what arrives must be what the model says, and so must the answers to it.

use std::collections::BTreeMap;
use std::fmt;

use kylin_vr::config::Config;
use kylin_vr::translate::{Answer, Delivery, Fate, Model, Origin, Outcome, Packet, Ports, Reason, Transport};
use lab::{Content, Datagram, Rig, Seen, Segment, Side};

use crate::case::{Case, Probe, overlays, slot};
use crate::{mirrors, trace};

/// What was compared.
#[derive(Clone, Debug, Default)]
pub struct Counts {
    pub configurations: u64,
    /// (Configuration, packet) pairs.
    pub packets: u64,
    /// Answers to packets that were delivered.
    pub answers: u64,
    /// Copies of both.
    pub copies: u64,
    pub rows: BTreeMap<u8, u64>,
    /// Of the packets that no row speaks of, and of those that were dropped.
    pub delivered: u64,
    pub taken: u64,
    pub dropped: BTreeMap<Reason, u64>,
}

impl Counts {
    fn count(&mut self, outcome: &Outcome) {
        self.packets += 1;
        match outcome.fate {
            Fate::Delivered(_) => self.delivered += 1,
            Fate::Router(_) => self.taken += 1,
            Fate::Dropped(reason) => *self.dropped.entry(reason).or_default() += 1,
        }
        // A row says what a packet gets, so one that was dropped tells nothing of it.
        if let (Some(row), false) = (outcome.row, matches!(outcome.fate, Fate::Dropped(_))) {
            *self.rows.entry(row.0).or_default() += 1;
        }
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{} configurations, {} packets, {} answers and {} copies compared",
            self.configurations, self.packets, self.answers, self.copies
        )?;
        write!(f, "by row of the table:")?;
        for row in 1..=10 {
            write!(f, " {row}: {};", self.rows.get(&row).unwrap_or(&0))?;
        }
        write!(
            f,
            "\ndelivered {}, taken by the router {}, dropped:",
            self.delivered, self.taken
        )?;
        for (reason, count) in &self.dropped {
            write!(f, " {reason:?} {count};")?;
        }
        Ok(())
    }
}

/// A packet on its way: what was sent, and what the model says.
pub struct Sent<'c> {
    probe: &'c Probe,
    pub packet: Packet,
    outcome: Outcome,
    pub datagram: Datagram,
}

/// Applies a case and compares.
///
/// # Errors
/// What is not as the model says, with its decisions.
pub fn compare(rig: &mut Rig, case: &Case, counts: &mut Counts) -> Result<(), String> {
    rig.set_slots(&case.slots);
    let text = case.file.to_string();
    let run = rig.kylin_vr(&["reload", "-"], &text);
    if run.code != 0 {
        return Err(format!("reload: exit {}\n{}{}", run.code, run.stdout, run.stderr));
    }
    counts.configurations += 1;
    compare_packets(rig, case, counts)
}

/// The same with a router that has the configuration already.
pub fn compare_packets(rig: &mut Rig, case: &Case, counts: &mut Counts) -> Result<(), String> {
    let config = case.file.config();
    let nics = case.nics();
    let model = Model::new(&config, &nics);
    rig.set_overlays(overlays(&config));
    rig.forget();
    // Of a number that nothing else has: what comes late from another batch is not taken for this one's.
    let batch = (counts.packets as u32 + 1) << 8;
    let sent: Vec<Sent> = (case.probes.iter().enumerate())
        .filter_map(|(number, probe)| send(&model, &config, case, probe, batch + number as u32))
        .collect();
    for one in &sent {
        counts.count(&one.outcome);
    }

    let wanted: Vec<Expected> = sent.iter().map(|one| expected(&model, &config, one)).collect();
    let packets: Vec<(Side, Datagram)> = sent.iter().map(|one| (one.probe.side, one.datagram)).collect();
    let wrong = exchange(rig, &packets, &wanted);
    report(rig, &sent, &wrong, "the packet")?;
    counts.copies += mirrors::compare(rig, &config, batch)?;
    // What was wanted is what was seen: so must be what is told of it.
    for (one, wanted) in sent.iter().zip(&wanted) {
        trace::compare(&model, &config, one, &wanted.seen)?;
    }

    // What was delivered is answered, and the answer gets back.
    let mut answered = Vec::new();
    let (mut packets, mut wanted) = (Vec::new(), Vec::new());
    for one in sent {
        let Fate::Delivered(delivery) = one.outcome.fate else {
            continue;
        };
        let Some(by) = slot(&config, delivery.nic) else {
            continue;
        };
        let back = model.way_back(&one.packet, &delivery);
        packets.push((
            Side::Wire(by),
            answer_to(
                &one.datagram,
                back.sent.source,
                back.sent.destination,
                back.sent.transport,
            ),
        ));
        wanted.push(expected_back(&config, &one, back.fate));
        answered.push(one);
    }
    counts.answers += answered.len() as u64;
    let wrong = exchange(rig, &packets, &wanted);
    report(rig, &answered, &wrong, "the answer to the packet")?;
    counts.copies += mirrors::compare(rig, &config, batch)?;
    Ok(())
}

fn send<'c>(
    model: &Model<'_>,
    config: &Config,
    case: &Case,
    probe: &'c Probe,
    mark: u32,
) -> Option<Sent<'c>> {
    let mut packet = probe.packet(config, &case.slots)?;
    if probe.side == Side::Router && probe.source.is_unspecified() {
        // Where there is no way, nothing is sent, and it does not matter as whom.
        packet.source = model.own_source(packet.destination).unwrap_or(packet.source);
    }
    Some(Sent {
        probe,
        packet,
        outcome: model.translate(&packet),
        datagram: Datagram {
            source: probe.source,
            destination: probe.destination,
            content: content(probe.transport, mark),
            mark,
        },
    })
}

/// An echo's identifier is the end of its mark: no two are taken for one flow.
fn content(transport: Transport, mark: u32) -> Content {
    match transport {
        Transport::Tcp(Ports { source, destination }) => Content::Tcp {
            source,
            destination,
            kind: Segment::Syn,
        },
        Transport::Udp(Ports { source, destination }) => Content::Udp { source, destination },
        Transport::Echo => Content::Echo(mark as u16),
        Transport::Other(number) => Content::Other(number),
    }
}

fn answer_to(
    question: &Datagram,
    source: std::net::Ipv4Addr,
    destination: std::net::Ipv4Addr,
    transport: Transport,
) -> Datagram {
    let content = match content(transport, question.mark) {
        Content::Tcp {
            source, destination, ..
        } => Content::Tcp {
            source,
            destination,
            kind: Segment::SynAck,
        },
        Content::Echo(identifier) => Content::EchoReply(identifier),
        other => other,
    };
    Datagram {
        source,
        destination,
        content,
        mark: question.mark,
    }
}

/// What must be seen of one packet, and what may be besides.
struct Expected {
    mark: u32,
    seen: Vec<Seen>,
    /// Something that says nothing about the packet's way.
    ignored: fn(&Seen) -> bool,
}

fn expected(model: &Model<'_>, config: &Config, sent: &Sent<'_>) -> Expected {
    let Sent { packet, datagram, .. } = sent;
    let mark = datagram.mark;
    let mut seen = Vec::new();
    let mut ignored: fn(&Seen) -> bool = |_| false;
    match sent.outcome.fate {
        Fate::Delivered(delivery) => {
            seen.extend(leaves(config, &delivery, content(delivery.transport, mark), mark))
        }
        Fate::Router(receipt) => {
            let is_heard = !matches!(packet.transport, Transport::Other(_));
            seen.extend(is_heard.then(|| Seen {
                side: Side::Router,
                next_hop: None,
                datagram: Datagram {
                    source: packet.source,
                    destination: receipt.address,
                    content: content(receipt.transport, mark),
                    mark,
                },
            }));
            let answer = match (receipt.answer, datagram.content) {
                (Answer::EchoReply, Content::Echo(identifier)) => Content::EchoReply(identifier),
                (
                    Answer::Reset,
                    Content::Tcp {
                        source, destination, ..
                    },
                ) => Content::Tcp {
                    source: destination,
                    destination: source,
                    kind: Segment::Reset,
                },
                (Answer::PortUnreachable, _) => Content::Unreachable(3),
                (Answer::ProtocolUnreachable, _) => Content::Unreachable(2),
                (answer, content) => panic!("the model answers {answer:?} to {content:?}"),
            };
            // It goes as what the router itself sends to whoever asked.
            let way = Packet {
                from: Origin::Router,
                source: packet.destination,
                destination: packet.source,
                transport: Transport::Other(255),
            };
            let datagram = Datagram {
                source: packet.destination,
                destination: packet.source,
                content: answer,
                mark,
            };
            match model.translate(&way).fate {
                Fate::Delivered(delivery) => {
                    seen.extend(leaves(config, &delivery, answer, mark).map(|one| Seen { datagram, ..one }));
                }
                Fate::Router(_) => seen.push(Seen {
                    side: Side::Router,
                    next_hop: None,
                    datagram,
                }),
                Fate::Dropped(_) => {}
            }
        }
        Fate::Dropped(Reason::NoRoute | Reason::SubnetPending) => {
            // The sender is told: network or host unreachable.
            ignored = |seen| matches!(seen.datagram.content, Content::Unreachable(0 | 1));
        }
        Fate::Dropped(Reason::Broadcast | Reason::Multicast) => ignored = |seen| seen.side == Side::Router,
        Fate::Dropped(_) => {}
    }
    Expected { mark, seen, ignored }
}

fn expected_back(config: &Config, sent: &Sent<'_>, fate: Fate) -> Expected {
    let mark = sent.datagram.mark;
    let back = |transport| {
        answer_to(
            &sent.datagram,
            sent.packet.destination,
            sent.packet.source,
            transport,
        )
    };
    let mut seen = Vec::new();
    let mut ignored: fn(&Seen) -> bool = |_| false;
    match fate {
        Fate::Delivered(delivery) => {
            let datagram = back(delivery.transport);
            seen.extend(leaves(config, &delivery, datagram.content, mark));
        }
        Fate::Router(receipt) => {
            seen.push(Seen {
                side: Side::Router,
                next_hop: None,
                datagram: back(receipt.transport),
            });
            // Nobody on the router waits for it.
            ignored = |seen| matches!(seen.datagram.content, Content::Unreachable(_));
        }
        Fate::Dropped(_) => ignored = |seen| matches!(seen.datagram.content, Content::Unreachable(0 | 1)),
    }
    Expected { mark, seen, ignored }
}

/// A packet on the wire that it leaves by.
fn leaves(config: &Config, delivery: &Delivery, content: Content, mark: u32) -> Option<Seen> {
    Some(Seen {
        side: Side::Wire(slot(config, delivery.nic)?),
        next_hop: Some(delivery.next_hop),
        datagram: Datagram {
            source: delivery.source,
            destination: delivery.destination,
            content,
            mark,
        },
    })
}

/// Sends packets and gives, for each that is not as expected, its number, what was wanted and what was seen.
fn exchange(
    rig: &mut Rig,
    packets: &[(Side, Datagram)],
    wanted: &[Expected],
) -> Vec<(usize, Vec<Seen>, Vec<Seen>)> {
    let numbers: BTreeMap<u32, usize> = (wanted.iter().enumerate())
        .map(|(number, one)| (one.mark, number))
        .collect();
    let count: usize = wanted.iter().map(|one| one.seen.len()).sum();
    let of = |one: &Seen| {
        let number = *numbers.get(&one.datagram.mark)?;
        (!(wanted[number].ignored)(one)).then_some(number)
    };
    let all = rig.exchange(packets, |seen| {
        seen.iter().filter(|one| of(one).is_some()).count() >= count
    });
    let mut seen: Vec<Vec<Seen>> = vec![Vec::new(); wanted.len()];
    for one in all {
        if let Some(number) = of(&one) {
            seen[number].push(one);
        }
    }
    let mut wrong = Vec::new();
    for (number, (one, mut seen)) in wanted.iter().zip(seen).enumerate() {
        let mut expected = one.seen.clone();
        expected.sort();
        seen.sort();
        if expected != seen {
            wrong.push((number, expected, seen));
        }
    }
    wrong
}

fn report(
    rig: &Rig,
    sent: &[Sent<'_>],
    wrong: &[(usize, Vec<Seen>, Vec<Seen>)],
    what: &str,
) -> Result<(), String> {
    if wrong.is_empty() {
        return Ok(());
    }
    let mut text = format!("{} of {} are not as the model says\n", wrong.len(), sent.len());
    for (number, expected, seen) in wrong.iter().take(3) {
        let one = &sent[*number];
        text += &format!("{what} {}\n  the model says {:?}\n", one.packet, one.outcome.fate);
        for decision in &one.outcome.decided_by {
            text += &format!("    {decision}\n");
        }
        text += &format!("  expected {}\n  seen     {}\n", shown(expected), shown(seen));
    }
    for what in [
        "address",
        "route show table all",
        "route show cache",
        "neigh show nud all",
    ] {
        text += &format!("{what}:\n{}", rig.router.ip(&format!("-4 {what}")));
    }
    Err(text)
}

fn shown(seen: &[Seen]) -> String {
    let one = |seen: &Seen| {
        let Datagram {
            source,
            destination,
            content,
            ..
        } = seen.datagram;
        let hop = seen
            .next_hop
            .map_or(String::new(), |hop| format!(" to {hop}'s MAC"));
        format!("at {:?}{hop}: {source} > {destination} {content:?}", seen.side)
    };
    match seen {
        [] => "nothing".to_owned(),
        seen => seen.iter().map(one).collect::<Vec<_>>().join(", "),
    }
}
