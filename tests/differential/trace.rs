//! What `kylin-vr trace --json` tells of a packet, against what the kernel did with it.
//!
//! A process for each of ten thousand packets would take too long: the document is made by the function that the command
//! calls, from a packet that is read from its arguments where arguments can say it.

use kylin_vr::config::Config;
use kylin_vr::trace::{Names, Trace};
use kylin_vr::translate::{Arguments, Model, Nic, Packet, Transport};
use lab::{Content, Seen, Side};
use serde_json::Value;

use crate::case::slot;
use crate::compare::Sent;

/// Compares the document of a packet with what was seen of it.
///
/// # Errors
/// What is told otherwise than it was seen.
pub fn compare(model: &Model<'_>, config: &Config, sent: &Sent<'_>, seen: &[Seen]) -> Result<(), String> {
    let packet = as_argued(model, &sent.packet)?;
    let document = serde_json::to_value(Trace::new(model, config, &packet, &Names::new(), true))
        .map_err(|error| error.to_string())?;
    let is_as_told = match document["outcome"].as_str() {
        Some("delivered") => seen.iter().any(|one| is_delivered(config, &document, one)),
        // Whatever the router answers is not the packet.
        Some("router") => {
            let is_heard = |one: &Seen| one.side == Side::Router && is_told(&document, one);
            let is_silent = matches!(sent.packet.transport, Transport::Other(_));
            (is_silent || seen.iter().any(is_heard)) && !seen.iter().any(|one| is_passed_on(sent, one))
        }
        Some("dropped") => {
            let has_none = ["destination", "destination_port", "source"].map(|key| document[key].is_null());
            has_none == [true; 3] && !seen.iter().any(|one| is_passed_on(sent, one))
        }
        _ => false,
    };
    let names_entries = document["decided_by"].as_array().is_some_and(|all| {
        let is_entry = |one: &Value| one["path"].is_string() && one["line"].as_u64() > Some(0);
        all.iter().all(is_entry)
    });
    if is_as_told && names_entries {
        Ok(())
    } else {
        Err(format!(
            "{}\nis told as {document:#}\nand was seen as {seen:?}",
            sent.packet
        ))
    }
}

/// The packet as the command reads it from its arguments: the same but for its source port. One with a false source, or
/// without a port, cannot be asked about.
fn as_argued(model: &Model<'_>, packet: &Packet) -> Result<Packet, String> {
    let (protocol, port) = match packet.transport {
        Transport::Tcp(ports) => ("tcp".to_owned(), Some(ports.destination.to_string())),
        Transport::Udp(ports) => ("udp".to_owned(), Some(ports.destination.to_string())),
        Transport::Echo => ("icmp".to_owned(), None),
        Transport::Other(number) => (number.to_string(), None),
    };
    let arguments = Arguments {
        from: &packet.source.to_string(),
        to: &packet.destination.to_string(),
        protocol: &protocol,
        port: port.as_deref(),
    };
    if model.origin(packet.source) != Some(packet.from) || port.as_deref() == Some("0") {
        return Ok(*packet);
    }
    model
        .packet(&arguments)
        .map_err(|error| format!("{packet}: {error}"))
}

fn port(content: Content) -> Option<u16> {
    match content {
        Content::Tcp { destination, .. } | Content::Udp { destination, .. } => Some(destination),
        _ => None,
    }
}

/// Whether the addresses and the port are those of the document.
fn is_told(document: &Value, seen: &Seen) -> bool {
    let of = |key: &str| document[key].as_str().unwrap_or_default().to_owned();
    (of("source"), of("destination"))
        == (
            seen.datagram.source.to_string(),
            seen.datagram.destination.to_string(),
        )
        && document["destination_port"].as_u64() == port(seen.datagram.content).map(u64::from)
}

/// Whether this is the packet, on the wire and to the neighbour of the document.
fn is_delivered(config: &Config, document: &Value, seen: &Seen) -> bool {
    let leaves = &document["leaves"];
    let nic = (0..config.interfaces().len())
        .map(Nic)
        .find(|nic| leaves["nic"] == nic.to_string().as_str());
    let wire = nic.and_then(|nic| slot(config, nic)).map(Side::Wire);
    Some(seen.side) == wire
        && seen.next_hop.map(|hop| hop.to_string()).as_deref() == leaves["next_hop"].as_str()
        && is_told(document, seen)
}

/// Whether this is the packet itself, and not an answer to it, on a wire.
fn is_passed_on(sent: &Sent<'_>, seen: &Seen) -> bool {
    let is_the_same = match (sent.datagram.content, seen.datagram.content) {
        (Content::Tcp { kind, .. }, Content::Tcp { kind: of_seen, .. }) => kind == of_seen,
        (Content::Udp { .. }, Content::Udp { .. }) => true,
        (sent, seen) => sent == seen,
    };
    matches!(seen.side, Side::Wire(_)) && is_the_same
}
