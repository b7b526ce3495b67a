//! What a command did, said once for people and once for programs.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::process::ExitCode;

use serde::Serialize;

use super::changes::Changes;
use super::{complain_report, exit, print, say_report};
use crate::config::{Config, Problem, Severity};
use crate::intake::fingerprint;
use crate::plan::{Action, Operation, Pending, Plan};

/// How it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Outcome {
    /// The kernel was changed and matches.
    Applied,
    /// The kernel matched already.
    Unchanged,
    /// The configuration is valid.
    Valid,
    /// This is what would change.
    Planned,
    /// Another run that waits for the lock will do it.
    LeftToAnother,
    /// The configuration is invalid; nothing was touched.
    Invalid,
    /// What waited to be confirmed is.
    Confirmed,
    /// What was applied was not confirmed in time, and was taken back.
    TakenBack,
    /// It could not be applied and was taken back.
    RolledBack,
    /// Another run held the lock.
    Busy,
    /// The arguments ask for something that there is not.
    WrongUsage,
    /// Something else is wrong.
    Failed,
}

impl Outcome {
    pub(super) fn code(self) -> u8 {
        match self {
            Self::Applied
            | Self::Unchanged
            | Self::Valid
            | Self::Planned
            | Self::LeftToAnother
            | Self::Confirmed => 0,
            Self::WrongUsage => exit::USAGE,
            Self::Invalid => exit::INVALID,
            Self::RolledBack | Self::TakenBack => exit::NOT_APPLIED,
            Self::Busy => exit::BUSY,
            Self::Failed => exit::OTHER,
        }
    }
}

/// The report of a command.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Report {
    pub(super) command: &'static str,
    pub(super) result: Outcome,
    pub(super) exit_code: u8,
    /// The result in a sentence.
    pub(super) message: String,
    /// The text that this is about.
    pub(super) source: String,
    /// What is in force now: the SHA-256 of its text; `None`: nothing was ever accepted, or the command says
    /// nothing of it.
    pub(super) configuration: Option<String>,
    /// Its generation, if it has one.
    pub(super) generation: Option<u64>,
    /// When what is in force is taken back unless it is confirmed, in UTC; `None`: nothing waits.
    pub(super) unconfirmed_until: Option<String>,
    pub(super) changes: Changes,
    /// How many tracked flows ended, since their translation changed.
    pub(super) flows_ended: usize,
    pub(super) pending: Vec<Pending>,
    /// The mirrors among them that the kernel refused, and why.
    #[serde(skip)]
    pub(super) refused: BTreeMap<String, String>,
    pub(super) notes: Vec<String>,
    pub(super) problems: Vec<Problem>,
    /// Operations that failed.
    pub(super) failed: Vec<String>,
    /// What a rollback could not bring back.
    pub(super) left_over: Vec<String>,
}

impl Report {
    pub(super) fn new(
        command: &'static str,
        source: impl ToString,
        result: Outcome,
        message: String,
    ) -> Self {
        Self {
            command,
            result,
            exit_code: result.code(),
            message,
            source: source.to_string(),
            configuration: None,
            generation: None,
            unconfirmed_until: None,
            changes: Changes::default(),
            flows_ended: 0,
            pending: Vec::new(),
            refused: BTreeMap::new(),
            notes: Vec::new(),
            problems: Vec::new(),
            failed: Vec::new(),
            left_over: Vec::new(),
        }
    }

    pub(super) fn failed(command: &'static str, source: impl ToString, error: impl ToString) -> Self {
        Self::new(command, source, Outcome::Failed, error.to_string())
    }

    pub(super) fn with_outcome(mut self, result: Outcome, message: String) -> Self {
        self.result = result;
        self.exit_code = result.code();
        self.message = message;
        self
    }

    pub(super) fn with_problems(mut self, problems: Vec<Problem>) -> Self {
        self.problems = problems;
        self
    }

    /// The configuration that is in force: its text and what it means.
    pub(super) fn with_in_force(mut self, in_force: Option<(&[u8], &Config)>) -> Self {
        self.configuration = in_force.map(|(text, _)| fingerprint(text));
        self.generation = in_force
            .and_then(|(_, config)| config.generation())
            .map(|one| one.number);
        self
    }

    /// What the same work, done again, did beyond this.
    pub(super) fn followed_by(mut self, mut next: Self) -> Self {
        if next.result == Outcome::Unchanged && self.result == Outcome::Applied {
            next.result = Outcome::Applied;
        }
        self.changes.append(next.changes);
        next.changes = self.changes;
        next.flows_ended += self.flows_ended;
        if next.result == Outcome::Applied {
            let pending = match next.pending.len() {
                0 => String::new(),
                pending => format!("; {} pending", count(pending, "NIC")),
            };
            let changes = next.changes.count();
            next.message = format!("applied {}{pending}", count(changes, "change"));
        }
        for note in self.notes {
            if !next.notes.contains(&note) {
                next.notes.push(note);
            }
        }
        next
    }

    /// What a plan says, with the operations that were done or are to be. `whole`: with every line, for a program.
    pub(super) fn with_plan(mut self, operations: &[Operation], plan: &Plan, whole: bool) -> Self {
        let mut changes = Changes::new(whole);
        for operation in operations {
            operation.each_line(&mut |action, object, text| changes.push(action, object, text));
        }
        for one in &plan.announcements {
            let text = format_args!("announce {} dev {}", one.address, one.link.name);
            changes.push(Action::Announce, "arp", text);
        }
        self.changes = changes;
        self.pending.clone_from(&plan.pending);
        self.notes.clone_from(&plan.notes);
        self
    }

    /// Prints it: JSON and the changes on standard output, what is wrong on standard error.
    pub(super) fn print(&self, json: bool) -> ExitCode {
        if json {
            match serde_json::to_string_pretty(self) {
                Ok(text) => print(&(text + "\n")),
                Err(error) => tracing::error!("report: {error}"),
            }
        } else {
            complain_report(&self.complaints());
            say_report(&self.text());
        }
        ExitCode::from(self.exit_code)
    }

    fn complaints(&self) -> String {
        let mut text = String::new();
        for problem in &self.problems {
            let severity = match problem.severity {
                Severity::Error => "error",
                Severity::Warning => "warning",
            };
            let _ = writeln!(text, "{severity}: {}: {problem}", self.source);
        }
        for failed in &self.failed {
            let _ = writeln!(text, "error: {failed}");
        }
        for left in &self.left_over {
            let _ = writeln!(text, "error: not undone: {left}");
        }
        if self.exit_code != 0 {
            let _ = writeln!(text, "kylin-vr {}: {}", self.command, self.message);
        }
        text
    }

    fn text(&self) -> String {
        let mut text = String::new();
        write_changes(&mut text, &self.changes);
        if self.flows_ended > 0 {
            let _ = writeln!(
                text,
                "- {:<8} {} ended, whose translation changed",
                "flow", self.flows_ended
            );
        }
        for pending in &self.pending {
            let addresses = pending.addresses.join(", ");
            let _ = write!(
                text,
                "? pending  {} ({}, {addresses}): {}",
                pending.link, pending.path, pending.reason
            );
            let names: Vec<String> = pending.candidates.iter().map(ToString::to_string).collect();
            let separator = if names.is_empty() { "" } else { ": " };
            let _ = writeln!(text, "{separator}{}", names.join(", "));
        }
        for note in &self.notes {
            let _ = writeln!(text, "note: {note}");
        }
        if self.exit_code == 0 {
            let _ = writeln!(text, "{}", self.message);
        }
        text
    }
}

/// A number of things: `1 NIC`, `2 NICs`.
pub(super) fn count(number: usize, thing: &str) -> String {
    format!("{number} {thing}{}", if number == 1 { "" } else { "s" })
}

pub(super) fn write_changes(text: &mut String, changes: &Changes) {
    for line in changes.shortened() {
        let _ = writeln!(text, "{line}");
    }
}
