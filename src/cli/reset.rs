//! `kylin-vr reset`: takes everything down that is ours. The file stays.

use super::Context;
use super::report::Report;
use super::run::{self, Install, Job};
use crate::config::Config;
use crate::intake::Standing;
use crate::words::plain;

const COMMAND: &str = "reset";

pub(super) fn run(context: &Context, all: bool) -> Report {
    let lock = match run::lock(context, COMMAND, None) {
        Ok(lock) => lock,
        Err(report) => return *report,
    };
    let job = Job {
        command: COMMAND,
        source: run::name(context, None),
        // From now on nothing is the last accepted: no event brings back what was reset.
        text: b"",
        config: Config::default(),
        problems: Vec::new(),
        install: Install::Nothing,
        accept: true,
        ends: Standing::Replaced,
    };
    let mut report = run::apply(context, &lock, &job);
    if all
        && report.exit_code == 0
        && let Err(error) = context.state.forget()
    {
        report = Report::failed(
            COMMAND,
            &report.source,
            format!("forget the state: {}", plain(&error)),
        );
    }
    report
}
