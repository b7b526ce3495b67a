//! The status in words and tables.

use std::fmt::Write;

use super::super::report::{count, write_changes};
use super::super::table;
use super::super::terminal::{Style, Terminal};
use super::super::window;
use super::dhcp::SubnetStatus;
use super::{
    Changed, EipStatus, ForwardStatus, Health, InterfaceStatus, MirrorStatus, Options, OverlayStatus,
    RouteStatus, State, Status, TargetStatus, held,
};
use crate::features::nat::counters::Traffic;
use crate::intake::{Kept, Standing};
use crate::words::printable_lines;

/// What goes first where a table is too wide.
const DISPENSABLE: [&str; 12] = [
    "CHANGED",
    "FILTER",
    "LOST",
    "SELECT",
    "PEERS",
    "CONNECTIONS",
    "VM-PORTS",
    "SIDE",
    "GENERATION",
    "CONFIGURATION",
    "OUT",
    "IN",
];

impl Status {
    /// The whole page, as a terminal shows it.
    pub(super) fn page(&self, options: &Options, terminal: Terminal) -> String {
        let text = self.text(options, terminal.width);
        let mut text = printable_lines(&text);
        if let (Some(_), Some(width)) = (options.watch, terminal.width) {
            // One line here is one line of the screen.
            text = text.lines().map(|line| table::cut(line, width) + "\n").collect();
        }
        if !terminal.has_colours {
            return text.into_owned();
        }
        text.split_inclusive('\n').map(paint).collect()
    }

    fn text(&self, options: &Options, width: Option<usize>) -> String {
        let mut text = String::new();
        let _ = writeln!(text, "{}", self.first_line());
        for line in &self.summary {
            let _ = writeln!(text, "{line}");
        }
        match &self.monitor {
            Some(holder) => drop(writeln!(text, "watched by {holder}")),
            None => text.push_str("not watched: `kylin-vr monitor` does not run\n"),
        }
        if !self.faults.is_empty() {
            text.push_str("\nProblems\n");
            for fault in &self.faults {
                let sign = match fault.level {
                    Health::Ok | Health::Pending => '?',
                    Health::Drift => '~',
                    Health::Error => '!',
                };
                write_wrapped(&mut text, &format!("  {sign} "), &fault.what, width);
                write_wrapped(&mut text, "    -> ", &fault.remedy, width);
            }
        }
        let is_told = |what: &str| self.faults.iter().any(|fault| fault.what == what);
        for problem in &self.problems {
            if !is_told(&problem.to_string()) {
                let _ = writeln!(text, "{}: {problem}", self.config);
            }
        }
        for note in &self.notes {
            let _ = writeln!(text, "note: {note}");
        }
        let is_whole = options.eip.is_none() && options.vm_ip.is_none() && !options.problems;
        let mut section = |title: &str, heading: &[&str], rows: Vec<Vec<String>>| {
            if rows.is_empty() {
                return;
            }
            let _ = writeln!(text, "\n{title}");
            let left_out = table::write_within(&mut text, heading, &rows, width, &DISPENSABLE);
            if !left_out.is_empty() {
                let left_out = left_out.join(", ").to_lowercase();
                let _ = writeln!(text, "  (too narrow for: {left_out})");
            }
        };
        section(
            "Interfaces",
            &["NIC", "LINK", "ADDRESS", "GATEWAY", "SIDE", "STATE", "CHANGED"],
            self.interfaces.iter().map(InterfaceStatus::cells).collect(),
        );
        section(
            "Overlay subnets",
            &OverlayStatus::HEADING,
            self.overlays.iter().map(OverlayStatus::cells).collect(),
        );
        section(
            "Routes",
            &["TO", "VIA", "LINK", "METRIC", "SIDE", "STATE", "CHANGED"],
            self.routes.iter().map(RouteStatus::cells).collect(),
        );
        section(
            "DHCP",
            &["SUBNET", "LINK", "RANGE", "LISTED", "GIVEN", "LEASE", "STATE"],
            self.dhcp
                .iter()
                .flat_map(|dhcp| &dhcp.subnets)
                .map(SubnetStatus::cells)
                .collect(),
        );
        section(
            "Elastic IPs",
            &["EIP", "VM", "STATE", "IN", "OUT", "CONNECTIONS", "CHANGED"],
            self.elastic_ips.iter().map(EipStatus::cells).collect(),
        );
        section(
            "Forwards",
            &[
                "EIP",
                "PROTOCOL",
                "PORTS",
                "VM",
                "VM-PORTS",
                "STATE",
                "IN",
                "OUT",
                "CONNECTIONS",
                "CHANGED",
            ],
            self.forwards.iter().map(ForwardStatus::cells).collect(),
        );
        section(
            "Mirrors",
            &[
                "NAME", "SOURCE", "SELECT", "FILTER", "TO", "LINK", "STATE", "COPIED", "LOST", "CHANGED",
            ],
            self.mirrors.iter().flat_map(MirrorStatus::rows).collect(),
        );
        if is_whole {
            section(
                "Last changes",
                &["WHEN", "COMMAND", "FROM", "GENERATION", "CONFIGURATION", "RESULT"],
                self.history.iter().map(change).collect(),
            );
        }
        if is_whole {
            text += &held::text(&self.conntrack, &self.source_ports);
        }
        if !self.differences.is_empty() {
            let _ = writeln!(text, "\nDifferences");
            write_changes(&mut text, &self.differences.iter().collect());
        }
        text
    }

    /// How things are, and what first.
    fn first_line(&self) -> String {
        let Some(worst) = self.faults.first() else {
            return if self.is_configured {
                "OK: the kernel has what is configured".to_owned()
            } else {
                "OK: nothing is configured, and the kernel has nothing of ours".to_owned()
            };
        };
        let more = match self.faults.len() - 1 {
            0 => String::new(),
            more => format!(" ({} more below)", count(more, "problem")),
        };
        format!("{}: {}{more}", self.health.name().to_uppercase(), worst.what)
    }
}

/// Words in lines of at most so many characters, the first after `lead`, the others below its end.
fn write_wrapped(text: &mut String, lead: &str, words: &str, width: Option<usize>) {
    let mut line = lead.to_owned();
    let indent = lead.chars().count();
    let mut is_begun = false;
    for word in words.split(' ') {
        let longer = line.chars().count() + 1 + word.chars().count();
        if is_begun && width.is_some_and(|width| longer > width) {
            let _ = writeln!(text, "{line}");
            line = " ".repeat(indent);
        } else if is_begun {
            line.push(' ');
        }
        line.push_str(word);
        is_begun = true;
    }
    let _ = writeln!(text, "{line}");
}

/// Colours for a line of a page.
fn paint(line: &str) -> String {
    let whole = |style: Style, line: &str| {
        let (text, end) = line.strip_suffix('\n').map_or((line, ""), |text| (text, "\n"));
        style.paint(text) + end
    };
    let styles = [
        ("OK:", Style::Good),
        ("PENDING:", Style::Waiting),
        ("DRIFT:", Style::Bad),
        ("ERROR:", Style::Bad),
        ("UNCONFIRMED:", Style::Waiting),
        ("  ! ", Style::Bad),
        ("  ~ ", Style::Bad),
        ("  ? ", Style::Waiting),
        ("    -> ", Style::Faint),
    ];
    if let Some((_, style)) = styles.iter().find(|(start, _)| line.starts_with(start)) {
        return whole(*style, line);
    }
    let is_title = [
        "Problems",
        "Interfaces",
        "Overlay subnets",
        "Routes",
        "DHCP",
        "Elastic IPs",
        "Forwards",
        "Mirrors",
        "Last changes",
        "Connections",
        "Differences",
    ];
    if is_title.contains(&line.trim_end()) || line.starts_with("Source ports, ") {
        return whole(Style::Heading, line);
    }
    let words = [
        ("  MISSING", Style::Bad),
        ("  pending", Style::Waiting),
        ("  failed", Style::Bad),
    ];
    for (word, style) in words {
        if let Some((before, after)) = line.split_once(word) {
            return format!("{before}  {}{after}", style.paint(word.trim_start()));
        }
    }
    line.to_owned()
}

/// Who changed what, when.
fn change(kept: &Kept) -> Vec<String> {
    let entry = &kept.entry;
    let in_force = kept.back == Some(0) && entry.result != Standing::Failed;
    vec![
        entry.when.clone(),
        entry.command.clone(),
        entry.source.clone(),
        entry
            .generation
            .map_or_else(|| "-".to_owned(), |number| number.to_string()),
        window::short(&entry.sha256).to_owned(),
        format!(
            "{}{}",
            entry.result.name(),
            if in_force { ", in force" } else { "" }
        ),
    ]
}

impl InterfaceStatus {
    fn cells(&self) -> Vec<String> {
        let link = match (&self.link, self.up) {
            (None, _) => "-".to_owned(),
            (Some(link), true) => link.clone(),
            (Some(link), false) => format!("{link} (down)"),
        };
        vec![
            self.mac.clone(),
            link,
            self.address.clone(),
            self.gateway.clone().unwrap_or_else(|| "-".to_owned()),
            if self.external { "outside" } else { "inside" }.to_owned(),
            self.state.text().to_owned(),
            when(self.changed.as_ref()),
        ]
    }
}

impl RouteStatus {
    fn cells(&self) -> Vec<String> {
        vec![
            self.to.clone(),
            self.via.clone(),
            self.link.clone().unwrap_or_else(|| "-".to_owned()),
            self.metric.to_string(),
            if self.inside { "inside" } else { "-" }.to_owned(),
            self.state.text().to_owned(),
            when(self.changed.as_ref()),
        ]
    }
}

impl MirrorStatus {
    /// One for each target.
    fn rows(&self) -> Vec<Vec<String>> {
        let row = |(index, target): (usize, &TargetStatus)| {
            let once = |text: &str| {
                if index == 0 {
                    text.to_owned()
                } else {
                    String::new()
                }
            };
            vec![
                once(&self.name),
                once(&self.source),
                once(&self.select),
                once(&self.filter),
                target.to.clone(),
                target.link.clone().unwrap_or_else(|| "-".to_owned()),
                once(self.state.text()),
                format!("{} {}B", short(target.packets), short(target.bytes)),
                target.lost.to_string(),
                once(&when(self.changed.as_ref())),
            ]
        };
        self.targets.iter().enumerate().map(row).collect()
    }
}

impl EipStatus {
    fn cells(&self) -> Vec<String> {
        let mut cells = vec![self.eip.clone(), vm(&self.vm, self.vm_name.as_deref())];
        cells.extend(state_and_traffic(self.state, self.traffic));
        cells.push(when(self.changed.as_ref()));
        cells
    }
}

impl ForwardStatus {
    fn cells(&self) -> Vec<String> {
        let mut cells = vec![
            self.eip.clone(),
            self.protocol.clone(),
            self.ports.clone(),
            vm(&self.vm, self.vm_name.as_deref()),
            self.vm_ports.clone(),
        ];
        cells.extend(state_and_traffic(self.state, self.traffic));
        cells.push(when(self.changed.as_ref()));
        cells
    }
}

/// A VM by its address, and by what the file calls it.
fn vm(address: &str, name: Option<&str>) -> String {
    name.map_or_else(|| address.to_owned(), |name| format!("{address} {name}"))
}

fn when(changed: Option<&Changed>) -> String {
    changed.map_or_else(|| "-".to_owned(), Changed::text)
}

fn state_and_traffic(state: State, traffic: Option<Traffic>) -> [String; 4] {
    let dash = || "-".to_owned();
    let both = |packets: u64, bytes: u64| format!("{} {}B", short(packets), short(bytes));
    let (to, from, connections) = match traffic {
        None => (dash(), dash(), dash()),
        Some(one) => (
            both(one.packets_in, one.bytes_in),
            both(one.packets_out, one.bytes_out),
            format!(
                "{} in, {} out",
                short(one.connections_in),
                short(one.connections_out)
            ),
        ),
    };
    [state.text().to_owned(), to, from, connections]
}

/// A number in at most five characters: `999`, `1.2k`, `34k`, `5.6M`.
fn short(number: u64) -> String {
    const UNITS: [char; 6] = ['k', 'M', 'G', 'T', 'P', 'E'];
    if number < 1000 {
        return number.to_string();
    }
    let (mut whole, mut tenths, mut unit) = (number, 0, 0);
    while whole >= 1000 {
        (whole, tenths) = (whole / 1000, whole % 1000 / 100);
        unit += 1;
    }
    let unit = UNITS[(unit - 1).min(UNITS.len() - 1)];
    if whole < 10 {
        format!("{whole}.{tenths}{unit}")
    } else {
        format!("{whole}{unit}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short() {
        let cases = [
            (0, "0"),
            (999, "999"),
            (1000, "1.0k"),
            (1999, "1.9k"),
            (12_345, "12k"),
            (999_999, "999k"),
            (5_600_000, "5.6M"),
            (u64::MAX, "18E"),
        ];
        for (number, expected) in cases {
            assert_eq!(short(number), expected);
        }
    }

    #[test]
    fn words_are_wrapped_below_their_start() {
        let mut text = String::new();
        write_wrapped(&mut text, "  ! ", "one two three four", Some(13));
        assert_eq!(text, "  ! one two\n    three\n    four\n");
        text.clear();
        write_wrapped(&mut text, "  ! ", "one two three four", None);
        assert_eq!(text, "  ! one two three four\n");
        text.clear();
        write_wrapped(&mut text, "  ! ", "averylongword b", Some(5));
        assert_eq!(text, "  ! averylongword\n    b\n");
    }

    #[test]
    fn painting_changes_no_text() {
        let plain =
            "ERROR: x\n\nProblems\n  ! x\n    -> y\nForwards\n  a  MISSING  0 0B\n  b  pending\n  c  ok\n";
        let painted: String = plain.split_inclusive('\n').map(paint).collect();
        assert_ne!(painted, plain);
        let mut bare = String::new();
        for part in painted.split("\x1b[") {
            let is_first = bare.is_empty() && !painted.starts_with('\x1b');
            bare.push_str(if is_first {
                part
            } else {
                part.split_once('m').map_or(part, |(_, rest)| rest)
            });
        }
        assert_eq!(bare, plain);
    }
}
