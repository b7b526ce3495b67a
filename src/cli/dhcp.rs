//! The DHCP server's part of a run: after the kernel has what its subnets need, and taken back with it.

use super::run::Job;
use super::{Context, start, window};
use crate::config::Config;
use crate::dnsmasq::{self, Change, Server};
use crate::features::dhcp::served;
use crate::kernel::Kernel;
use crate::model::Observed;
use crate::plan::Line;

/// What was done.
#[derive(Debug, Default)]
pub(super) struct Done {
    change: Option<Change>,
    pub(super) notes: Vec<String>,
    /// Why it does not serve; the rest of the router does its work.
    pub(super) failed: Option<String>,
}

/// Whether a run is taken back as a whole if nobody gets an address by it. What the boot and events do is not: a router
/// that passes packets is better than none.
pub(super) fn is_essential(job: &Job<'_>) -> bool {
    job.accept && !matches!(job.command, start::COMMAND | window::COMMAND)
}

/// Makes the server what the configuration says, on a kernel that matches it.
///
/// # Errors
/// Why it is not that, and what of the attempt is left over.
pub(super) fn bring(
    context: &Context,
    job: &Job<'_>,
    kernel: &mut dyn Kernel,
) -> Result<Done, (String, Vec<String>)> {
    let server = context.state.dhcp();
    if served(&job.config).next().is_none() && server.is_idle() {
        return Ok(Done::default());
    }
    let observed = kernel
        .observe_rest()
        .map_err(|error| (error.to_string(), Vec::new()))?;
    let mut done = Done {
        notes: notes(&job.config, &observed),
        ..Done::default()
    };
    let failed = match serve(context, &server, &job.config, &observed) {
        Ok(change) => {
            done.change = change;
            return Ok(done);
        }
        Err(failed) => failed,
    };
    let (error, change) = failed;
    let text = format!("DHCP: {error}");
    if is_essential(job) {
        let undone = change.map(|change| server.carry_out(&change.inverse()));
        let left_over = undone.and_then(Result::err).map(|error| format!("DHCP: {error}"));
        return Err((text, left_over.into_iter().collect()));
    }
    tracing::error!("{text}");
    done.failed = Some(text);
    Ok(done)
}

fn serve(
    context: &Context,
    server: &Server,
    config: &Config,
    observed: &Observed,
) -> Result<Option<Change>, (dnsmasq::Error, Option<Box<Change>>)> {
    let alone = |error| (error, None);
    dnsmasq::possible(config).map_err(alone)?;
    let seen = server.look().map_err(alone)?;
    let is_first = seen.told.is_none();
    let Some(change) = Change::between(seen, server.wanted(config, observed)) else {
        return Ok(None);
    };
    // What a template gave away is nothing to its clones.
    if is_first && context.state.is_of_another_machine() {
        let _ = server.forget();
    }
    match server.carry_out(&change) {
        Ok(()) => Ok(Some(change)),
        Err(error) => Err((error, Some(change.into()))),
    }
}

fn notes(config: &Config, observed: &Observed) -> Vec<String> {
    let unservable = dnsmasq::unservable(config, observed).into_iter();
    let note = |(index, name)| {
        format!("DHCP: if_list[{index}] is not served: dnsmasq takes no link of the name {name}; rename it")
    };
    unservable.map(note).collect()
}

/// What a run would change, and what there is to say of it.
///
/// # Errors
/// If it cannot be done, or not be told.
pub(super) fn plan(
    context: &Context,
    config: &Config,
    observed: &Observed,
) -> Result<(Vec<Line>, Vec<String>), dnsmasq::Error> {
    dnsmasq::possible(config)?;
    let server = context.state.dhcp();
    let change = Change::between(server.look()?, server.wanted(config, observed));
    Ok((
        change.map(|change| change.lines()).unwrap_or_default(),
        notes(config, observed),
    ))
}

impl Done {
    pub(super) fn lines(&self) -> Vec<Line> {
        self.change.as_ref().map(Change::lines).unwrap_or_default()
    }

    /// Takes it back; what could not be brought back is returned.
    pub(super) fn undo(&self, context: &Context) -> Option<String> {
        let change = self.change.as_ref()?;
        let undone = context.state.dhcp().carry_out(&change.inverse());
        undone.err().map(|error| format!("DHCP: {error}"))
    }
}
