//! The history's entry of what a run applied, or could not apply.
//!
//! The history is for people, and what it cannot hold (a full disk) is a note in the report: the router works, and a
//! reload is not refused for it. What must not be lost, the text to go back to, is not in the history alone.

use std::collections::BTreeMap;

use super::changes::Changes;
use super::report::Report;
use super::run::Job;
use super::{Context, window};
use crate::clock::{utc, wall};
use crate::intake::{Counts, Entry, Standing, State, Summary, fingerprint};
use crate::plan::Action;
use crate::words::plain;

/// So many lines of what was changed are kept.
const LINES: usize = 8;

/// What is to become an entry; begun before the accepted text is replaced.
pub(super) struct Record {
    is_new: bool,
    notes: Vec<String>,
}

impl Record {
    /// Whether there is to be an entry, and one for what was in force before, if that has none.
    pub(super) fn begin(state: &State, job: &Job<'_>) -> Self {
        let mut record = Self {
            is_new: is_new(state, job),
            notes: Vec::new(),
        };
        if record.is_new {
            let added = state.add_missing_to_history();
            record.notes.extend(added.err().map(|error| not_kept(&error)));
        }
        record
    }

    /// Ends the window of another configuration, and makes the entry. What went wrong is returned.
    pub(super) fn end(&mut self, context: &Context, job: &Job<'_>, report: &Report) -> Vec<String> {
        if job.accept {
            // Before the entry, which may be the one that waits.
            let ended = window::replaced(context, job.text, job.ends);
            self.notes.extend(
                ended
                    .err()
                    .map(|error| format!("the earlier window to confirm in: {}", plain(&error))),
            );
        }
        if self.is_new {
            let sha256 = (report.configuration.clone()).unwrap_or_else(|| fingerprint(job.text));
            let is_waiting = matches!(context.state.unconfirmed(), Ok(Some(one)) if one.waiting == sha256);
            let result = if is_waiting {
                Standing::Unconfirmed
            } else {
                Standing::Applied
            };
            if is_waiting {
                // One that waited before, and whose window goes on with this text.
                let settled = context.state.settle_history(Standing::Replaced);
                self.notes.extend(settled.err().map(|error| not_kept(&error)));
            }
            let added = context
                .state
                .add_to_history(&entry(job, sha256, result, summary(&report.changes)), job.text);
            self.notes.extend(added.err().map(|error| not_kept(&error)));
        }
        std::mem::take(&mut self.notes)
    }
}

/// Makes an entry of what could not be applied.
pub(super) fn failed(context: &Context, job: &Job<'_>, failed: &[String]) {
    if !is_new(&context.state, job) {
        return;
    }
    let summary = Summary {
        lines: failed.iter().take(LINES).cloned().collect(),
        ..Summary::default()
    };
    if let Err(error) = context.state.add_to_history(
        &entry(job, fingerprint(job.text), Standing::Failed, summary),
        job.text,
    ) {
        tracing::warn!("{}", not_kept(&error));
    }
}

fn is_new(state: &State, job: &Job<'_>) -> bool {
    job.accept && !state.is_accepted(job.text).unwrap_or(false)
}

fn not_kept(error: &std::io::Error) -> String {
    format!("not in the history: {}", plain(error))
}

fn entry(job: &Job<'_>, sha256: String, result: Standing, changes: Summary) -> Entry {
    Entry {
        when: utc(wall()),
        command: job.command.to_owned(),
        source: job.source.clone(),
        generation: job.config.generation().map(|one| one.number),
        sha256,
        result,
        changes,
    }
}

/// Changes counted, and the first of them. Pure.
fn summary(changes: &Changes) -> Summary {
    let mut objects: BTreeMap<&str, Counts> = BTreeMap::new();
    for (action, object, number) in changes.kinds() {
        let counts = objects.entry(object).or_default();
        match action {
            Action::Add => counts.added += number,
            Action::Delete => counts.deleted += number,
            Action::Change => counts.changed += number,
            Action::Announce => {}
        }
    }
    let mut lines = changes.shortened();
    lines.truncate(LINES);
    Summary {
        objects: (objects.into_iter())
            .map(|(object, counts)| (object.to_owned(), counts))
            .collect(),
        lines,
    }
}
