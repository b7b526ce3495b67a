//! What analysers got, against what mirrors copy by the model: each frame that crossed a wire, to the last byte, as often as
//! the model says, and nothing else.

use std::collections::BTreeMap;

use kylin_vr::config::{Config, MirrorTarget};
use kylin_vr::translate::{Delivery, Fate, Origin, Packet, Ports, Reason, Transport, copies};
use lab::{Content, Crossed, Datagram, Rig};

use crate::case::{mac, nic};
use crate::generate;

/// Frames, and how often each came; by the analyser's slot.
type Frames = BTreeMap<(u8, Vec<u8>), usize>;

/// Compares what came of the packets of a batch; gives how many copies there were.
///
/// # Errors
/// What came, or did not, otherwise than the model says.
pub fn compare(rig: &Rig, config: &Config, batch: u32) -> Result<u64, String> {
    let (mut expected, mut seen) = (Frames::new(), Frames::new());
    let slots = rig.slots();
    for crossed in rig.crossed() {
        // What has no mark is not ours: ARP, announcements.
        let Some(datagram) = of_batch(&crossed.frame, batch) else {
            continue;
        };
        if generate::ANALYSERS.contains(&crossed.slot) {
            *seen.entry((crossed.slot, crossed.frame.clone())).or_default() += 1;
            continue;
        }
        for slot in copied_to(config, &slots, crossed, &datagram) {
            *expected.entry((slot, crossed.frame.clone())).or_default() += 1;
        }
    }
    let mut text = String::new();
    for (what, these, those) in [("missing", &expected, &seen), ("not expected", &seen, &expected)] {
        for ((slot, frame), count) in these {
            let other = those.get(&(*slot, frame.clone())).unwrap_or(&0);
            if count > other {
                let datagram = of_batch(frame, batch);
                text += &format!(
                    "{what} at analyser {slot}, {} of {count} times: {datagram:?}\n",
                    count - other
                );
            }
        }
    }
    if text.is_empty() {
        Ok(seen.values().sum::<usize>() as u64)
    } else {
        let filters: Vec<String> = (slots.iter().filter(|slot| **slot < Rig::ANALYSERS))
            .flat_map(|slot| ["ingress", "egress"].map(|side| format!("filter show dev nic{slot} {side}")))
            .map(|line| format!("tc {line}\n{}", rig.router.tc(&line)))
            .collect();
        Err(format!(
            "copies are not as the model says\n{text}{}",
            filters.concat()
        ))
    }
}

fn of_batch(frame: &[u8], batch: u32) -> Option<Datagram> {
    let datagram = Datagram::parse(frame.get(14..).filter(|_| frame[12..14] == [8, 0])?)?;
    (datagram.mark & !0xff == batch).then_some(datagram)
}

/// Where copies of a frame go, once for each.
fn copied_to(config: &Config, slots: &[u8], crossed: &Crossed, datagram: &Datagram) -> Vec<u8> {
    let Some(nic) = nic(config, crossed.slot) else {
        return Vec::new();
    };
    let (source, destination) = (datagram.source, datagram.destination);
    let transport = transport(datagram.content);
    // A packet that comes in and gets no further, or one that only leaves.
    let (from, fate) = if crossed.is_incoming {
        (Origin::Nic(nic), Fate::Dropped(Reason::NoRoute))
    } else {
        let delivery = Delivery {
            nic,
            next_hop: destination,
            source,
            destination,
            transport,
            source_port_may_change: false,
        };
        (Origin::Router, Fate::Delivered(delivery))
    };
    let packet = Packet {
        from,
        source,
        destination,
        transport,
    };
    let mut to = Vec::new();
    for copy in copies(config, &packet, &fate) {
        let mirror = config.mirrors().iter().find(|one| *one.name == *copy.mirror);
        let targets = mirror.expect("copies are of mirrors").to.iter();
        let targets: Vec<u8> = targets.map(target_slot).collect();
        // Where one of its NICs is missing, there is nothing of a mirror.
        if targets.iter().all(|slot| slots.contains(slot)) {
            to.extend(targets);
        }
    }
    to
}

fn target_slot(target: &MirrorTarget) -> u8 {
    let slot = generate::ANALYSERS
        .into_iter()
        .find(|slot| target.mac() == Some(mac(*slot)));
    slot.expect("mirrors here have NICs for targets")
}

/// What filters of mirrors see of it.
fn transport(content: Content) -> Transport {
    match content {
        Content::Tcp {
            source, destination, ..
        } => Transport::Tcp(Ports { source, destination }),
        Content::Udp { source, destination } => Transport::Udp(Ports { source, destination }),
        Content::Echo(_) | Content::EchoReply(_) | Content::Unreachable(_) => Transport::Echo,
        Content::Other(number) => Transport::Other(number),
    }
}
