//! `kylin-vr confirm`: keeps what `reload --confirm-within` applied.

use super::report::{Outcome, Report};
use super::{Context, run, window};
use crate::intake::{History, Kept, Standing};
use crate::words::plain;

const COMMAND: &str = "confirm";

pub(super) fn run(context: &Context) -> Report {
    let report = |outcome, message| Report::new(COMMAND, run::name(context, None), outcome, message);
    let lock = match run::lock(context, COMMAND, None) {
        Ok(lock) => lock,
        Err(report) => return *report,
    };
    if let Some(settled) = window::settle(context, &lock) {
        return match settled.exit_code {
            0 => report(Outcome::TakenBack, format!("too late: {}", settled.message)),
            _ => settled,
        };
    }
    match window::confirm(context, &lock) {
        Ok(Some(window)) => report(
            Outcome::Confirmed,
            format!("confirmed {}: it stays", window::short(&window.waiting)),
        ),
        Ok(None) => match context.state.history() {
            Ok(history) => {
                let (outcome, message) = nothing_waits(&history);
                report(outcome, message)
            }
            Err(error) => Report::failed(COMMAND, run::name(context, None), plain(&error)),
        },
        Err((outcome, message)) => report(outcome, message),
    }
}

/// What to say to who confirms when nothing waits: whether it is confirmed already, or gone. Pure.
fn nothing_waits(history: &History) -> (Outcome, String) {
    let mut held = history
        .entries
        .iter()
        .filter(|kept| kept.entry.result != Standing::Failed);
    let newest = held.next();
    match (newest, held.next()) {
        (Some(Kept { entry, .. }), _) if entry.result == Standing::Confirmed => {
            let id = window::short(&entry.sha256);
            (Outcome::Confirmed, format!("{id} is confirmed already"))
        }
        (Some(Kept { entry: now, .. }), Some(Kept { entry: before, .. }))
            if before.result == Standing::TakenBack =>
        {
            let id = window::short(&before.sha256);
            let message = format!("too late: {id} was taken back at {}", now.when);
            (Outcome::TakenBack, message)
        }
        _ => {
            let message =
                "nothing waits to be confirmed: what is in force was applied without --confirm-within";
            (Outcome::Failed, message.to_owned())
        }
    }
}
