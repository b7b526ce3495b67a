//! The status in words and tables.

use std::fmt::Write;

use super::super::report::write_changes;
use super::super::table;
use super::{EipStatus, ForwardStatus, InterfaceStatus, Status, held};

impl Status {
    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        for line in &self.summary {
            let _ = writeln!(text, "{line}");
        }
        match &self.monitor {
            Some(holder) => drop(writeln!(text, "watched by {holder}")),
            None => text.push_str("not watched: `kylin-vr monitor` does not run\n"),
        }
        for problem in &self.problems {
            let _ = writeln!(text, "{}: {problem}", self.config);
        }
        for note in &self.notes {
            let _ = writeln!(text, "note: {note}");
        }
        section(
            &mut text,
            "Interfaces",
            &["NIC", "LINK", "ADDRESS", "GATEWAY", "SIDE", "STATE"],
            || self.interfaces.iter().map(InterfaceStatus::cells).collect(),
        );
        section(&mut text, "Elastic IPs", &["EIP", "VM", "STATE"], || {
            let cells = |one: &EipStatus| vec![one.eip.clone(), one.vm.clone(), one.state.text().to_owned()];
            self.elastic_ips.iter().map(cells).collect()
        });
        section(
            &mut text,
            "Forwards",
            &["EIP", "PROTOCOL", "PORTS", "VM", "VM-PORTS", "STATE"],
            || self.forwards.iter().map(ForwardStatus::cells).collect(),
        );
        text += &held::text(&self.conntrack, &self.source_ports);
        if !self.differences.is_empty() {
            let _ = writeln!(text, "\nDifferences");
            write_changes(&mut text, &self.differences.iter().collect());
        }
        text
    }
}

fn section(text: &mut String, title: &str, heading: &[&str], rows: impl FnOnce() -> Vec<Vec<String>>) {
    let rows = rows();
    if !rows.is_empty() {
        let _ = writeln!(text, "\n{title}");
        table::write(text, heading, &rows);
    }
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
        ]
    }
}

impl ForwardStatus {
    fn cells(&self) -> Vec<String> {
        vec![
            self.eip.clone(),
            self.protocol.clone(),
            self.ports.clone(),
            self.vm.clone(),
            self.vm_ports.clone(),
            self.state.text().to_owned(),
        ]
    }
}
