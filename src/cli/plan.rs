//! `kylin-vr plan [FILE|-]`: what a reload would change. Changes nothing, and needs no lock.

use super::report::{Outcome, Report, count};
use super::{Context, Given, dhcp, run};
use crate::config::Config;
use crate::features;
use crate::intake::accept;
use crate::plan::diff;
use crate::reconcile::possible;
use crate::words::plain;

const COMMAND: &str = "plan";

pub(super) fn run(context: &Context, given: &Given) -> Report {
    let source = context.source(given);
    let name = run::name(context, source.as_ref());
    let failed = |what: &str, error: &std::io::Error| {
        Report::failed(COMMAND, &name, format!("{what}: {}", plain(error)))
    };
    let text = match run::read(context, source.as_ref()) {
        Ok(text) => text,
        Err(error) => return failed(&format!("read {name}"), &error),
    };
    let last = match context.state.accepted() {
        Ok(last) => last,
        Err(error) => return failed("read the state", &error),
    };
    let (config, problems) = match accept(&text, last.as_deref(), given.allow_empty) {
        Ok(accepted) => accepted,
        Err(refusal) => {
            let message = "the configuration is invalid: a reload would refuse it".to_owned();
            return Report::new(COMMAND, &name, Outcome::Invalid, message).with_problems(refusal.problems);
        }
    };
    of(context, COMMAND, &name, &config).with_problems(problems)
}

/// What making the kernel match a configuration would change.
pub(super) fn of(context: &Context, command: &'static str, name: &str, config: &Config) -> Report {
    let desired = features::desired(config);
    let mut kernel = match (context.open)() {
        Ok(kernel) => kernel,
        Err(error) => return Report::failed(command, name, error),
    };
    let owned = match run::owned(context, || Ok(kernel.observe()?.table.is_some())) {
        Ok(owned) => owned,
        Err(error) => return Report::failed(command, name, error),
    };
    let observed = match kernel.observe_for(&desired, &owned) {
        Ok(observed) => observed,
        Err(error) => return Report::failed(command, name, error),
    };
    if let Err(error) = possible(&desired, &observed) {
        return Report::failed(command, name, error);
    }
    let plan = diff(&desired, &observed, &owned);
    let (served, notes) = match dhcp::plan(context, config, &observed) {
        Ok(served) => served,
        Err(error) => return Report::failed(command, name, error),
    };
    let changes: usize = plan.operations.iter().map(|one| one.lines().len()).sum();
    let changes = changes + served.len();
    let message = match changes {
        0 => "nothing to change".to_owned(),
        _ => format!("{}; nothing was done", count(changes, "change")),
    };
    let mut report = Report::new(command, name, Outcome::Planned, message).with_plan(
        &plan.operations,
        &plan,
        context.json,
    );
    for line in served {
        report
            .changes
            .push(line.action, line.object, format_args!("{}", line.text));
    }
    report.notes.extend(notes);
    report
}
