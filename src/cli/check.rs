//! `kylin-vr check [FILE|-]`: validates, and touches nothing.

use super::report::{Outcome, Report, count};
use super::{Context, Given, run};
use crate::dnsmasq;
use crate::intake::accept;
use crate::words::plain;

const COMMAND: &str = "check";

pub(super) fn run(context: &Context, given: &Given) -> Report {
    let source = context.source(given);
    let name = run::name(context, source.as_ref());
    // A file that is to be checked must be there, the installed one too.
    let text = match source.map_or_else(|| crate::intake::read(&context.config), |one| one.read()) {
        Ok(text) => text,
        Err(error) => return Report::failed(COMMAND, &name, format!("read {name}: {}", plain(&error))),
    };
    match accept(&text, None, true) {
        Ok((config, problems)) => {
            if let Err(error) = dnsmasq::possible(&config) {
                return Report::failed(COMMAND, &name, error).with_problems(problems);
            }
            let mut message = format!(
                "valid: {}, {}, {}",
                count(config.interfaces().len(), "interface"),
                count(config.eips().len(), "elastic IP"),
                count(config.forwards().len(), "forward")
            );
            // Most routers have none.
            if !config.routes().is_empty() {
                message = format!("{message}, {}", count(config.routes().len(), "route"));
            }
            Report::new(COMMAND, name, Outcome::Valid, message).with_problems(problems)
        }
        Err(refusal) => Report::new(
            COMMAND,
            name,
            Outcome::Invalid,
            "the configuration is invalid".to_owned(),
        )
        .with_problems(refusal.problems),
    }
}
