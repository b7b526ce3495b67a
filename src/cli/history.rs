//! `kylin-vr history`: what was in force, and what could not be applied; or the text of one of them.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::process::ExitCode;

use super::{Context, exit, print, table, window};
use crate::intake::{Counts, History, Kept};
use crate::words::plain;

pub(super) fn run(context: &Context, text_of: Option<usize>) -> ExitCode {
    let fail = |code: u8, message: &str| {
        if context.json {
            print(&format!(
                "{}\n",
                serde_json::json!({ "exit_code": code, "message": message })
            ));
        }
        eprintln!("kylin-vr history: {message}");
        ExitCode::from(code)
    };
    let history = match context.state.history() {
        Ok(history) => history,
        Err(error) => return fail(exit::OTHER, &plain(&error)),
    };
    let Some(number) = text_of else {
        if context.json {
            match serde_json::to_string_pretty(&history) {
                Ok(text) => print(&(text + "\n")),
                Err(error) => tracing::error!("history: {error}"),
            }
        } else {
            print(&text(&history));
        }
        return ExitCode::SUCCESS;
    };
    let Some(kept) = history.back(number) else {
        return fail(exit::USAGE, &format!("there is no configuration {number}"));
    };
    match context.state.history_text(kept) {
        Ok(text) => {
            // A reader that went away has seen enough.
            let mut out = io::stdout().lock();
            let _ = out.write_all(&text).and_then(|()| out.flush());
            ExitCode::SUCCESS
        }
        Err(error) => fail(exit::OTHER, &format!("configuration {number} {}", plain(&error))),
    }
}

fn text(history: &History) -> String {
    let mut text = String::new();
    if history.entries.is_empty() {
        text.push_str(if history.damaged.is_empty() {
            "nothing was accepted on this VM yet\n"
        } else {
            "no entry of the history can be read\n"
        });
    } else {
        let rows: Vec<Vec<String>> = history.entries.iter().map(cells).collect();
        let heading = [
            "BACK",
            "WHEN",
            "COMMAND",
            "GENERATION",
            "CONFIGURATION",
            "RESULT",
            "CHANGES",
        ];
        table::write(&mut text, &heading, &rows);
    }
    for (file, why) in &history.damaged {
        let _ = writeln!(text, "note: the file {file:06}.yaml {why} and is left out");
    }
    text
}

fn cells(kept: &Kept) -> Vec<String> {
    let entry = &kept.entry;
    let dash = || "-".to_owned();
    let total = entry
        .changes
        .objects
        .values()
        .fold(Counts::default(), |sum, one| Counts {
            added: sum.added + one.added,
            changed: sum.changed + one.changed,
            deleted: sum.deleted + one.deleted,
        });
    vec![
        kept.back.map_or_else(dash, |back| back.to_string()),
        entry.when.clone(),
        entry.command.clone(),
        entry.generation.map_or_else(dash, |number| number.to_string()),
        window::short(&entry.sha256).to_owned(),
        entry.result.name().to_owned(),
        format!("+{} ~{} -{}", total.added, total.changed, total.deleted),
    ]
}
