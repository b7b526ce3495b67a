//! The arguments of a trace, and a configuration: the first line has the arguments, as words (`-`: no port), and a number
//! whose bits say which NICs are missing; the rest is the file.
//!
//! Each packet that can be asked about gets an answer, the same one each time, and what is told of it is one line. So
//! do the packets between all addresses that the file knows.

#![no_main]

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use kylin_vr::config::Config;
use kylin_vr::trace::{Names, Trace};
use kylin_vr::translate::{Arguments, Fate, Model, Origin, Packet, Reason, Transport, translate};
use kylin_vr_fuzz::assert_told;
use libfuzzer_sys::fuzz_target;

/// How many entries of each list are asked about.
const ENTRIES: usize = 3;

fuzz_target!(|data: &[u8]| {
    let end = data.iter().position(|byte| *byte == b'\n').unwrap_or(data.len());
    let (words, text) = data.split_at(end);
    let words = String::from_utf8_lossy(words);
    let mut words = words.split(' ');
    let mut word = || words.next().unwrap_or_default();
    let arguments = Arguments {
        from: word(),
        to: word(),
        protocol: word(),
        port: Some(word()).filter(|port| *port != "-"),
    };
    let missing: u64 = word().parse().unwrap_or_default();
    let Some(config) = Config::parse(text).config else {
        return;
    };
    let nics: BTreeSet<_> = (config.interfaces().iter().enumerate())
        .filter(|(index, _)| missing >> (index % 64) & 1 == 0)
        .map(|(_, one)| one.link())
        .collect();
    let model = Model::new(&config, &nics);
    let packet = model.packet(&arguments);
    assert_eq!(packet, model.packet(&arguments));
    let packet = match packet {
        Ok(packet) => packet,
        Err(error) => return assert_told(&error.to_string()),
    };
    assert_eq!(Ok(packet.source), arguments.from.parse());
    assert_eq!(Ok(packet.destination), arguments.to.parse());
    assert_eq!(packet.transport.ports().is_some(), arguments.port.is_some());
    if let (Some((_, ports)), Some(port)) = (packet.transport.ports(), arguments.port) {
        assert_eq!(Ok(ports.destination), port.parse());
    }
    // A number and a name are one protocol: none that has ports, or an echo, hides as another one.
    assert!(!matches!(packet.transport, Transport::Other(1 | 6 | 17)));
    assert_eq!(translate(&config, &nics, &packet), model.translate(&packet));
    trace(&config, &model, &packet);

    let mut addresses = vec![packet.source, packet.destination];
    for one in config.interfaces().iter().take(ENTRIES) {
        addresses.extend([one.address.addr(), one.address.network(), one.address.broadcast()]);
        addresses.extend(one.gateway);
    }
    addresses.extend(
        config
            .eips()
            .iter()
            .take(ENTRIES)
            .flat_map(|one| [one.eip, one.vm]),
    );
    addresses.extend(
        config
            .forwards()
            .iter()
            .take(ENTRIES)
            .flat_map(|one| [one.eip, one.vm]),
    );
    for source in &addresses {
        let Some(from) = model.origin(*source) else {
            continue;
        };
        for destination in &addresses {
            let packet = Packet {
                from,
                source: *source,
                destination: *destination,
                ..packet
            };
            trace(&config, &model, &packet);
        }
    }
});

fn trace(config: &Config, model: &Model<'_>, packet: &Packet) {
    if let Origin::Nic(nic) = packet.from {
        assert!(nic.0 < config.interfaces().len(), "{packet}");
    }
    assert_told(&packet.to_string());
    let outcome = model.translate(packet);
    assert_eq!(outcome, model.translate(packet), "{packet}");
    assert!(!outcome.decided_by.is_empty(), "{packet}: nothing is said");
    for decision in &outcome.decided_by {
        assert_told(&decision.to_string());
        // Line 0 is the file as a whole.
        assert!(
            decision.entry.as_ref().is_none_or(|entry| entry.place.line > 0),
            "{decision}"
        );
    }
    let told = Trace::new(model, config, packet, &Names::new(), true);
    assert_told(&told.sentence);
    assert_told(told.remedy.as_deref().unwrap_or_default());
    told.text().lines().for_each(assert_told);
    let of_the_router = |address: Ipv4Addr| model.origin(address) == Some(Origin::Router);
    match outcome.fate {
        Fate::Delivered(delivery) => {
            assert!(delivery.nic.0 < config.interfaces().len());
            assert!(
                !of_the_router(delivery.destination),
                "{packet}: leaves for the router"
            );
            let back = model.way_back(packet, &delivery);
            assert_eq!(back, model.way_back(packet, &delivery), "{packet}");
            if let Fate::Delivered(answer) = back.fate {
                // Who asked sees whom it asked.
                assert_eq!(
                    (answer.source, answer.destination),
                    (packet.destination, packet.source)
                );
                assert_eq!(answer.transport, packet.transport.reversed());
            }
        }
        Fate::Router(receipt) => assert!(of_the_router(receipt.address), "{packet}: {receipt:?}"),
        // Where a packet enters is told by its source.
        Fate::Dropped(reason) => assert_ne!(reason, Reason::OwnSource, "{packet}"),
    }
}
