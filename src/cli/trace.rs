//! `kylin-vr trace`: what becomes of a packet, which entries of the file decide it, and, with `--live`, whether the kernel
//! does the same. Changes nothing.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use serde::Serialize;

use super::duration::seconds;
use super::report::{Outcome, Report};
use super::{Context, complain, exit, print, run, say_report};
use crate::config::{Config, Problem};
use crate::features;
use crate::intake::{Source, accept};
use crate::kernel::{Follower, Inspector, Observer};
use crate::model::{LinkId, Observed};
use crate::plan::{Action, Line, Operation, diff};
use crate::trace::live::{self, Live, Seen};
use crate::trace::{Names, Trace};
use crate::translate::{ArgumentError, Arguments, Model, Nic, Origin, Packet, Transport};
use crate::words::plain;

const COMMAND: &str = "trace";

/// A packet, and by what it is judged.
#[derive(Debug, Args)]
pub(super) struct Options {
    /// The sender's address: a VM's, one outside, or one of the router's own
    #[arg(long, value_name = "ADDRESS")]
    from: String,
    /// The address that it sends to
    #[arg(long, value_name = "ADDRESS")]
    to: String,
    /// tcp, udp, icmp, or the number of another protocol
    #[arg(value_name = "PROTOCOL")]
    protocol: String,
    /// The port that it sends to (tcp and udp)
    #[arg(value_name = "PORT")]
    port: Option<String>,
    /// By this file, or - for standard input; without it, by what was accepted last
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
    /// Look whether the kernel does the same, and follow one real packet, if one comes within this time (5 s; 0: none)
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, require_equals = true, default_missing_value = "5",
          value_parser = seconds)]
    live: Option<Duration>,
}

/// One document, of which the text is a view.
#[derive(Debug, Serialize)]
struct Document {
    /// Where the configuration comes from.
    configuration: String,
    #[serde(flatten)]
    trace: Trace,
    notes: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    live: Option<Live>,
    exit_code: u8,
}

/// A configuration that packets are judged by.
struct Judged {
    name: String,
    config: Config,
    /// Whether it is what was accepted last.
    in_force: bool,
    notes: Vec<String>,
}

/// Why there is no answer.
enum Failure {
    Usage(String),
    Invalid(String, Vec<Problem>),
    Other(String),
}

pub(super) fn run(context: &Context, options: &Options) -> ExitCode {
    match answer(context, options) {
        Ok(document) => {
            if context.json {
                match serde_json::to_string_pretty(&document) {
                    Ok(text) => print(&(text + "\n")),
                    Err(error) => tracing::error!("trace: {error}"),
                }
            } else {
                say_report(&document.text());
            }
            ExitCode::from(document.exit_code)
        }
        Err(failure) => report(failure).print(context.json),
    }
}

fn report(failure: Failure) -> Report {
    match failure {
        Failure::Usage(message) => Report::new(COMMAND, "", Outcome::WrongUsage, message),
        Failure::Invalid(name, problems) => {
            let message = "the configuration is invalid: there is nothing to trace by".to_owned();
            Report::new(COMMAND, name, Outcome::Invalid, message).with_problems(problems)
        }
        Failure::Other(message) => Report::failed(COMMAND, "", message),
    }
}

impl Document {
    fn text(&self) -> String {
        let mut text = self.trace.text();
        for note in &self.notes {
            text += &format!("note: {note}\n");
        }
        let mut conclude = |sentence: &str, remedy: &Option<String>| {
            text += &format!("\n{sentence}\n");
            if let Some(remedy) = remedy {
                text += &format!("  -> {remedy}\n");
            }
        };
        conclude(&self.trace.sentence, &self.trace.remedy);
        if let Some(live) = &self.live {
            conclude(live.text().trim_end(), &None);
            conclude(&format!("in the kernel: {}", live.sentence), &live.remedy);
        }
        text
    }
}

fn answer(context: &Context, options: &Options) -> Result<Document, Failure> {
    let (port, file) = options.port_and_file();
    let mut judged = judged(context, file)?;
    let look = look(context, options)?;
    let (names, assumed) = names(&judged, &look);
    if assumed {
        let note = "none of the file's NICs is on this machine: as if all of them were there";
        judged.notes.push(note.to_owned());
    }
    let nics: BTreeSet<LinkId> = (judged.config.interfaces().iter().enumerate())
        .filter(|(index, _)| assumed || names.contains_key(&Nic(*index)))
        .map(|(_, one)| one.link())
        .collect();
    let model = Model::new(&judged.config, &nics);
    let arguments = Arguments {
        from: &options.from,
        to: &options.to,
        protocol: &options.protocol,
        port,
    };
    let packet = match model.packet(&arguments) {
        Ok(packet) => packet,
        // Not wrong usage: a router with nothing to do has no outside.
        Err(ArgumentError::NoOutside(source)) if judged.config.is_empty() => Packet {
            from: Origin::Router,
            source,
            destination: arguments.to.parse().unwrap_or(source),
            transport: Transport::Echo,
        },
        Err(error) => return Err(Failure::Usage(error.to_string())),
    };
    let trace = Trace::new(&model, &judged.config, &packet, &names, assumed);
    let live = match options.live {
        Some(wait) => Some(examine(context, &judged, &trace, &look, wait)?),
        None => None,
    };
    let agrees = live.as_ref().is_none_or(|live| live.agrees);
    Ok(Document {
        configuration: judged.name,
        trace,
        notes: judged.notes,
        live,
        exit_code: if agrees { 0 } else { exit::OTHER },
    })
}

impl Options {
    /// Protocols without ports are followed by the file at once.
    fn port_and_file(&self) -> (Option<&str>, Option<&Path>) {
        let is_number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        let has_ports = ["tcp", "udp", "6", "17"].contains(&self.protocol.to_ascii_lowercase().as_str());
        match (self.port.as_deref(), self.file.as_deref()) {
            (Some(word), None) if !has_ports && !is_number(word) => (None, Some(Path::new(word))),
            other => other,
        }
    }
}

/// The configuration: that of a file, or what was accepted last.
fn judged(context: &Context, file: Option<&Path>) -> Result<Judged, Failure> {
    let state = |error: std::io::Error| Failure::Other(format!("read the state: {}", plain(&error)));
    let Some(file) = file else {
        let accepted = context.state.accepted().map_err(state)?;
        let mut notes = Vec::new();
        if accepted.is_none() {
            notes.push("no configuration was accepted on this VM yet".to_owned());
        }
        return Ok(Judged {
            name: super::LAST_ACCEPTED.to_owned(),
            config: (accepted.as_deref())
                .and_then(|text| Config::parse(text).config)
                .unwrap_or_default(),
            in_force: true,
            notes,
        });
    };
    let source = if file.as_os_str() == "-" {
        Source::Stdin
    } else {
        Source::File(file.to_owned())
    };
    let name = source.to_string();
    let text = source
        .read()
        .map_err(|error| Failure::Other(format!("read {name}: {}", plain(&error))))?;
    match accept(&text, None, true) {
        Ok((config, _)) => {
            // Whoever may not read the state asks about a file of his own.
            let in_force = context
                .state
                .accepted()
                .is_ok_and(|accepted| accepted.as_deref() == Some(&*text));
            Ok(Judged {
                name,
                config,
                in_force,
                notes: Vec::new(),
            })
        }
        Err(refusal) => Err(Failure::Invalid(name, refusal.problems)),
    }
}

/// The links that are there; for more, the right to see all of nftables is needed.
fn look(context: &Context, options: &Options) -> Result<Observed, Failure> {
    let observed = if options.live.is_some() {
        (context.open)().and_then(|mut kernel| kernel.observe())
    } else {
        Observer::open().and_then(|mut observer| observer.links())
    };
    observed.map_err(|error| Failure::Other(error.to_string()))
}

/// The NICs of the file that are there; and whether none is, so that the machine is no router of this file.
fn names(judged: &Judged, observed: &Observed) -> (Names, bool) {
    let interfaces = judged.config.interfaces().iter().enumerate();
    let names: Names = interfaces
        .filter_map(|(index, one)| {
            let link = observed.find(one.link()).ok()?;
            Some((Nic(index), link.name.clone()))
        })
        .collect();
    let assumed = names.is_empty() && !judged.in_force && !judged.config.interfaces().is_empty();
    (names, assumed)
}

/// Asks the kernel, and waits for a packet meanwhile.
fn examine(
    context: &Context,
    judged: &Judged,
    trace: &Trace,
    observed: &Observed,
    wait: Duration,
) -> Result<Live, Failure> {
    let other = |error: crate::kernel::Error| Failure::Other(error.to_string());
    let questions = live::questions(trace, &judged.config, observed);
    let mut inspector = Inspector::open(&questions.neighbours).map_err(other)?;
    let mut unseen = Vec::new();
    let mut followed = None;
    if !wait.is_zero() {
        let what = live::followed(trace);
        let events = Follower::open(&what).and_then(|mut follower| {
            if !context.json {
                complain(&format!(
                    "waiting up to {} s for: {}\n",
                    wait.as_secs_f32(),
                    trace.packet
                ));
            }
            follower.wait(wait, |events| live::is_answered(&what, events))
        });
        match events {
            Ok(events) => followed = Some(events),
            Err(error) => unseen.push(error.to_string()),
        }
    }
    let mut inspected = inspector.inspect(&questions).map_err(other)?;
    inspected.unseen.append(&mut unseen);
    let differences = if judged.in_force {
        let owned = run::owned(context, || Ok(observed.table.is_some())).map_err(Failure::Other)?;
        let desired = features::desired(&judged.config);
        let observed = (context.open)()
            .and_then(|mut kernel| kernel.with_abilities(observed.clone(), &desired, &owned))
            .map_err(other)?;
        let plan = diff(&desired, &observed, &owned);
        plan.operations
            .iter()
            .flat_map(Operation::lines)
            .map(|line| change(&line))
            .collect()
    } else {
        Vec::new()
    };
    let mut live = live::examine(
        trace,
        &Seen {
            config: &judged.config,
            observed,
            inspected: &inspected,
            differences: &differences,
            followed: followed.as_deref().map(|events| (wait, events)),
        },
    );
    if !judged.in_force {
        live.sentence += "; but this is not the configuration that was accepted last";
    }
    Ok(live)
}

/// `change net.ipv4.ip_forward 0 -> 1`
fn change(line: &Line) -> String {
    let verb = match line.action {
        Action::Add => "add",
        Action::Delete => "remove",
        Action::Change => "change",
        Action::Announce => "announce",
    };
    format!("{verb} the {} {}", line.object, line.text)
}
