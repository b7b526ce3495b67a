//! A VM's report, read from its JSON and said for people as `kylin-vr reload` says it there. Pure.
//!
//! The VM may run another version: what is not known is left out, what is missing is empty. A report is refused
//! only where a known key holds something else. A VM is not ours: nothing that it says reaches a terminal as a command.

use std::fmt::Write;

use serde::Deserialize;
use serde_json::Value;

use crate::config::{Place, Problem, Severity};
use crate::words::printable;

/// What a VM reported, as far as it is shown.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Report {
    /// How it ended, in a word: `applied`, `unchanged`, `invalid`.
    pub result: String,
    /// The result in a sentence.
    pub message: String,
    /// What was changed.
    pub changes: Vec<Change>,
    pending: Vec<Pending>,
    notes: Vec<String>,
    problems: Vec<Wrong>,
    failed: Vec<String>,
    left_over: Vec<String>,
    /// SHA-256 of the text in force, in hexadecimal; `None`: there is none, or the version does not say.
    pub configuration: Option<String>,
    /// The configuration's generation; `None` as above.
    pub generation: Option<u64>,
}

/// One change.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Change {
    action: String,
    object: String,
    text: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
struct Pending {
    /// `{"mac": "…"}`, or a word.
    link: Value,
    path: String,
    addresses: Vec<String>,
    reason: String,
    candidates: Vec<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
struct Wrong {
    severity: String,
    path: String,
    line: u32,
    column: u32,
    value: Option<String>,
    message: String,
}

/// Changes of one kind in a row, of which only the first are shown.
const SHOWN: usize = 8;

impl Report {
    /// Reads a report; `None`: it is something else.
    #[must_use]
    pub fn read(report: &Value) -> Option<Self> {
        Self::deserialize(said(report)).ok()
    }

    /// What is wrong, a line each, for standard error. `source` is what the text is called here.
    #[must_use]
    pub fn complaints(&self, source: &str) -> String {
        let mut text = String::new();
        for one in &self.problems {
            let severity = match one.severity.as_str() {
                "warning" => Severity::Warning,
                _ => Severity::Error,
            };
            let problem = Problem {
                severity,
                path: one.path.clone(),
                place: Place {
                    line: one.line,
                    column: one.column,
                },
                value: one.value.clone(),
                message: one.message.clone(),
            };
            let word = match severity {
                Severity::Error => "error",
                Severity::Warning => "warning",
            };
            let _ = writeln!(text, "{word}: {source}: {problem}");
        }
        for failed in &self.failed {
            let _ = writeln!(text, "error: {failed}");
        }
        for left in &self.left_over {
            let _ = writeln!(text, "error: not undone: {left}");
        }
        text
    }

    /// What was done and what is pending, a line each, for standard output.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = String::new();
        for run in self.changes.chunk_by(|one, other| one.kind() == other.kind()) {
            // One line more than is shown is no longer than the remark that it is left out.
            let shown = if run.len() > SHOWN + 1 { SHOWN } else { run.len() };
            for change in &run[..shown] {
                let _ = writeln!(text, "{} {:<8} {}", change.sign(), change.object, change.text);
            }
            if shown < run.len() {
                let (_, object, words) = run[0].kind();
                let words = words.join(" ");
                let _ = writeln!(text, "  … and {} more: {object} {words}", run.len() - shown);
            }
        }
        for pending in &self.pending {
            let addresses = pending.addresses.join(", ");
            let link = words(&pending.link);
            let _ = write!(
                text,
                "? pending  {link} ({}, {addresses}): {}",
                pending.path, pending.reason
            );
            for name in &pending.candidates {
                let _ = write!(text, " {name}");
            }
            text.push('\n');
        }
        for note in &self.notes {
            let _ = writeln!(text, "note: {note}");
        }
        text
    }
}

/// A value whose strings can be shown.
fn said(value: &Value) -> Value {
    match value {
        Value::String(text) => printable(text).into(),
        Value::Array(items) => items.iter().map(said).collect(),
        Value::Object(entries) => {
            let entry = |(key, value): (&String, _)| (key.clone(), said(value));
            entries.iter().map(entry).collect()
        }
        other => other.clone(),
    }
}

/// A value for people: `{"mac": "52:…"}` is `52:…`.
fn words(value: &Value) -> String {
    match value {
        Value::String(word) => word.clone(),
        Value::Object(kind) => kind.values().map(words).collect::<Vec<_>>().join(" "),
        other => other.to_string(),
    }
}

impl Change {
    fn sign(&self) -> char {
        match self.action.as_str() {
            "add" => '+',
            "delete" => '-',
            "change" => '~',
            "announce" => '!',
            _ => ' ',
        }
    }

    /// What changes have in common that are shown as one kind: `+ nft element eip_to_vm`, `+ route local`.
    fn kind(&self) -> (&str, &str, Vec<&str>) {
        let words = match self.object.as_str() {
            "nft" => 2,
            "route" => 1,
            _ => 0,
        };
        (
            &self.action,
            &self.object,
            self.text.split(' ').take(words).collect(),
        )
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_report_is_said_as_the_vm_says_it() {
        let report = Report::read(&json!({
            "command": "reload", "result": "applied", "exit_code": 0, "message": "applied 2 changes; 1 NIC pending",
            "source": "standard input", "from the future": [1, {}],
            "changes": [{"action": "add", "object": "link", "text": "lan1 up"},
                        {"action": "announce", "object": "arp", "text": "announce 10.0.0.1 dev wan7"}],
            "pending": [{"link": {"mac": "52:54:84:11:00:04"}, "path": "if_list[2]", "addresses": ["10.1.0.1/24"],
                         "reason": "no such NIC"}],
            "notes": ["a note"],
            "problems": [{"severity": "warning", "path": "eip_list[0].vm-ip", "line": 3, "column": 5,
                          "value": "10.9.9.9", "message": "in no subnet"}],
            "failed": [], "left_over": [], "configuration": null, "generation": 7
        }))
        .unwrap();
        assert_eq!(
            report.text(),
            "+ link     lan1 up\n! arp      announce 10.0.0.1 dev wan7\n\
             ? pending  52:54:84:11:00:04 (if_list[2], 10.1.0.1/24): no such NIC\nnote: a note\n"
        );
        assert_eq!(
            report.complaints("vpc.yaml"),
            "warning: vpc.yaml: line 3, column 5: eip_list[0].vm-ip: 10.9.9.9: in no subnet\n"
        );
        assert_eq!((report.generation, report.configuration), (Some(7), None));
    }

    #[test]
    fn many_changes_of_one_kind_are_shortened() {
        let change =
            |number| json!({"action": "add", "object": "route", "text": format!("local 10.0.0.{number}")});
        let changes: Vec<Value> = (0..20).map(change).collect();
        let text = Report::read(&json!({"changes": changes})).unwrap().text();
        assert_eq!(text.lines().count(), 9);
        assert!(text.ends_with("  … and 12 more: route local\n"), "{text}");
    }

    #[test]
    fn a_hostile_vm_moves_no_cursor() {
        let bad = "\u{1b}[2J\nerror: forged \u{9b}";
        let report = Report::read(&json!({
            "result": bad, "message": bad, "configuration": bad, "notes": [bad], "failed": [bad], "left_over": [bad],
            "changes": [{"action": "add", "object": bad, "text": bad}],
            "pending": [{"link": {bad: bad}, "path": bad, "addresses": [bad], "reason": bad, "candidates": [bad]}],
            "problems": [{"severity": "error", "path": bad, "value": bad, "message": bad}],
        }))
        .unwrap();
        let configuration = report.configuration.clone().unwrap_or_default();
        let lines = [report.text(), report.complaints("vpc.yaml")].concat();
        assert_eq!(lines.lines().count(), 6, "{lines}");
        for text in lines
            .lines()
            .chain([&*report.result, &*report.message, &*configuration])
        {
            assert!(!text.contains(char::is_control), "{text:?}");
        }
    }

    #[test]
    fn what_is_no_report_is_none() {
        assert_eq!(Report::read(&json!({"changes": 5})), None);
        assert_eq!(Report::read(&json!([1])), None);
        assert_eq!(Report::read(&json!({})), Some(Report::default()));
    }
}
