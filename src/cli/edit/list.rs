//! What the installed file lists, as a table or as JSON.

use std::process::ExitCode;

use serde::Serialize;

use super::super::report::{Outcome, Report};
use super::super::{Context, print, run, say, table};
use crate::config::Config;
use crate::intake;
use crate::words::plain;

#[derive(Serialize)]
struct Listing<'c, T> {
    command: &'static str,
    exit_code: u8,
    source: String,
    /// Whether this is what was accepted last, and not a file that was changed since.
    accepted: bool,
    entries: &'c [T],
}

/// Prints the entries that `of` takes from the configuration, in the order of the file.
pub(super) fn run<T: Serialize>(
    context: &Context,
    command: &'static str,
    of: fn(&Config) -> &[T],
    heading: &[&str],
    cells: fn(&T) -> Vec<String>,
) -> ExitCode {
    let source = run::name(context, None);
    let text = match run::read(context, None) {
        Ok(text) => text,
        Err(error) => {
            let message = format!("read {source}: {}", plain(&error));
            return Report::failed(command, source, message).print(context.json);
        }
    };
    let parsed = Config::parse(&text);
    let Some(config) = parsed.config else {
        let message = "the configuration is invalid".to_owned();
        let report = Report::new(command, source, Outcome::Invalid, message);
        return report.with_problems(parsed.problems).print(context.json);
    };
    let last = context.state.accepted().ok().flatten();
    let accepted = last.map_or(intake::is_blank(&text), |last| last == text);
    let entries = of(&config);
    if context.json {
        let listing = Listing {
            command,
            exit_code: 0,
            source,
            accepted,
            entries,
        };
        match serde_json::to_string_pretty(&listing) {
            Ok(text) => print(&(text + "\n")),
            Err(error) => tracing::error!("list: {error}"),
        }
        return ExitCode::SUCCESS;
    }
    let mut out = String::new();
    if entries.is_empty() {
        out.push_str("none\n");
    } else {
        let rows: Vec<Vec<String>> = entries.iter().map(cells).collect();
        table::write(&mut out, heading, &rows);
    }
    if !accepted {
        out.push_str("note: the file is not what was accepted last; `kylin-vr reload` applies it\n");
    }
    say(&out);
    ExitCode::SUCCESS
}
