//! Probes on the page: one line each, with what arrived, whom it seemed to come from, and whether that is right.

use lab::{Icmp, Namespace, Outcome, Protocol, Tcp, Udp, Vpc};

use crate::page::{Page, Style};
use crate::rows::ROWS;

/// Where forwards of `examples/vpc.yaml` go besides the port that was asked for: everybody listens there as well,
/// so that a packet that is translated wrongly is seen where it went.
const TRANSLATED: [u16; 6] = [22, 80, 100, 101, 102, 5353];

/// One packet and what must become of it.
#[derive(Clone, Copy, Debug)]
pub struct Probe {
    /// The machine that sends, by its name in the picture.
    pub from: &'static str,
    /// What it sends.
    pub protocol: Protocol,
    /// Where to: `10.90.2.250:22`, an address alone for ICMP.
    pub to: &'static str,
    /// The right outcome, in the words of [`Outcome`].
    pub expected: &'static str,
    /// The reason, in a few words.
    pub why: &'static str,
}

/// Scene 3: the packet table of the design, row by row.
pub fn every_row(page: &mut Page, vpc: &Vpc) {
    page.heading("Scene 3: what each packet gets");
    page.say(
        "The design has a table of ten rows that says what becomes of each packet. Every line below is a packet that \
         is really sent, with an answer that must come back. While it is under way every machine listens, so \"a1\" \
         means that a1 got it, and nobody else.",
    );
    for row in ROWS {
        page.line("");
        let title = page.paint(Style::Bold, format!("Row {}: {}", row.number, row.title));
        page.line(format!("  {title}"));
        if let Some(note) = row.note {
            page.remark(note);
        }
        try_all(page, vpc, row.probes);
    }
}

/// Tries some probes, as a table.
pub fn try_all(page: &mut Page, vpc: &Vpc, probes: &[Probe]) {
    let because = if page.is_narrow() { "" } else { "because" };
    let heading = cells("from", "", "to", "arrives at", "coming from", because);
    let heading = page.paint(Style::Dim, heading);
    page.line(format!("      {heading}"));
    for probe in probes {
        try_one(page, vpc, probe);
    }
}

fn try_one(page: &mut Page, vpc: &Vpc, probe: &Probe) {
    let outcome = vpc.probe(machine(vpc, probe.from), probe.protocol, probe.to, &TRANSLATED);
    let right = outcome == probe.expected;
    let protocol = match probe.protocol {
        Tcp => "tcp",
        Udp => "udp",
        Icmp => "ping",
    };
    let (at, source) = arrival(&outcome);
    // Where there is no room beside the packet, the reason stands below it.
    let (beside, below) = if page.is_narrow() {
        ("", probe.why)
    } else {
        (probe.why, "")
    };
    let line = cells(probe.from, protocol, probe.to, &at, &source, beside);
    let mark = page.probe(right);
    page.line(format!("    {mark} {}", line.trim_end()));
    if !below.is_empty() {
        page.line(page.paint(Style::Dim, format!("                     {below}")));
    }
    if !right {
        let wrong = format!("      got:       {outcome}\n      must be:   {}", probe.expected);
        let wrong = page.paint(Style::Red, wrong);
        page.line(wrong);
    }
}

/// Who got it, on which port, and whom they saw.
fn arrival(outcome: &Outcome) -> (String, String) {
    match outcome {
        Outcome::Arrived(arrival) => {
            let at = match arrival.at.port() {
                0 => arrival.host.clone(),
                port => format!("{}:{port}", arrival.host),
            };
            (at, arrival.source.ip().to_string())
        }
        other => (format!("({other})"), "-".to_owned()),
    }
}

fn cells(from: &str, protocol: &str, to: &str, at: &str, source: &str, why: &str) -> String {
    format!("{from:<9} {protocol:<4} {to:<18}  {at:<12} {source:<15}  {why}")
}

/// The machine of this name.
fn machine<'v>(vpc: &'v Vpc, name: &str) -> &'v Namespace {
    if name == "router" {
        return &vpc.router;
    }
    let hosts = [
        &vpc.client,
        &vpc.neighbour,
        &vpc.a1,
        &vpc.a2,
        &vpc.a3,
        &vpc.b1,
        &vpc.b2,
    ];
    let found = hosts.into_iter().find(|host| host.name == name);
    found.unwrap_or_else(|| panic!("there is no machine {name:?} in the picture"))
}
