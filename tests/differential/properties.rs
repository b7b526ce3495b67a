//! What holds of the model for every configuration and packet. No kernel is asked.

use std::net::Ipv4Addr;

use kylin_vr::translate::{Decision, Fate, Model, Nic, Origin, Outcome, Packet, translate};
use proptest::prelude::*;

use crate::case::Case;
use crate::generate::Dice;
use crate::random;

const CASES: u64 = 300;
const PACKETS: usize = 100;

/// Packets of a case, and as many from and to anywhere, by NICs that are there, are not, or are in no file.
fn packets(dice: &mut Dice<impl Rng>, case: &Case) -> Vec<Packet> {
    let config = case.file.config();
    let mut packets: Vec<Packet> = (case.probes.iter())
        .filter_map(|probe| probe.packet(&config, &case.slots))
        .collect();
    let mut wild = packets.clone();
    for packet in &mut wild {
        match dice.below(3) {
            0 => packet.source = Ipv4Addr::from(dice.0.random::<u32>()),
            1 => packet.destination = Ipv4Addr::from(dice.0.random::<u32>()),
            _ => packet.from = Origin::Nic(Nic(dice.below(7) as usize)),
        }
    }
    packets.extend(wild);
    packets
}

pub fn the_model_agrees_with_itself() {
    let mut delivered = 0;
    for seed in 0..CASES {
        let mut dice = Dice(random(seed));
        let case = dice.case(PACKETS);
        let (config, nics) = (case.file.config(), case.nics());
        let model = Model::new(&config, &nics);
        for packet in packets(&mut dice, &case) {
            let outcome = model.translate(&packet);
            let story = format!("{case}\n{packet}\n{outcome:?}");
            assert_eq!(outcome, translate(&config, &nics, &packet), "{story}");
            assert!(!outcome.decided_by.is_empty(), "{story}");
            for decision in &outcome.decided_by {
                is_of_the_file(decision, &case.file.to_string(), &story);
            }
            if is_delivered_and_back(&model, &packet, &outcome, &story) {
                delivered += 1;
            }
        }
    }
    assert!(delivered > 1_000, "only {delivered} packets were delivered");
}

/// The path of a decision is that of the entry on its line.
fn is_of_the_file(decision: &Decision, text: &str, story: &str) {
    let Some(entry) = &decision.entry else { return };
    let before: Vec<&str> = text.lines().take(entry.place.line as usize).collect();
    assert!(
        before.last().is_some_and(|line| line.starts_with("  - ")),
        "{story}"
    );
    let list = before
        .iter()
        .rposition(|line| line.ends_with(':'))
        .unwrap_or_else(|| panic!("{story}"));
    let path = format!(
        "{}[{}]",
        before[list].trim_end_matches(':'),
        before.len() - list - 2
    );
    assert_eq!(path, entry.path, "{story}");
}

/// Whether a packet leaves. Then its answer comes in where it went out, and the one who asked sees whom it asked.
fn is_delivered_and_back(model: &Model<'_>, packet: &Packet, outcome: &Outcome, story: &str) -> bool {
    let Fate::Delivered(delivery) = outcome.fate else {
        return false;
    };
    let back = model.way_back(packet, &delivery);
    assert_eq!(back.sent.from, Origin::Nic(delivery.nic), "{story}");
    assert_eq!(
        (back.sent.source, back.sent.destination),
        (delivery.destination, delivery.source),
        "{story}"
    );
    match back.fate {
        Fate::Delivered(returned) => {
            assert_eq!(
                (returned.source, returned.destination),
                (packet.destination, packet.source),
                "{story}"
            );
            assert_eq!(returned.transport, packet.transport.reversed(), "{story}");
            // Inside, a packet comes in only where its answer goes out.
            let is_inside =
                packet.from != Origin::Router && model.external().map(Origin::Nic) != Some(packet.from);
            assert!(!is_inside || Origin::Nic(returned.nic) == packet.from, "{story}");
        }
        Fate::Router(receipt) => {
            assert_eq!(
                (packet.from, receipt.address),
                (Origin::Router, packet.source),
                "{story}"
            );
        }
        // Who sends as somebody that is not there gets no answer, and only the router itself can.
        Fate::Dropped(_) => assert_eq!(packet.from, Origin::Router, "{story}"),
    }
    true
}
