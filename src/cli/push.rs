//! `kylin-vr push FILE|- TARGET...`: on the hypervisor, sends a configuration into VMs through their guest agents.

use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{ArgGroup, Args, ValueEnum};
use serde::Serialize;
use serde_json::Value;

use super::report::{Outcome as Result, Report, count};
use super::{Context, DEFAULT_CONFIG, complain, exit, print, say, seconds, table};
use crate::config::Problem;
use crate::intake::Source;
use crate::push::many::{self, Outcome};
use crate::push::stop::Stop;
use crate::push::summary::Summary;
use crate::push::{Job, Target, Way, text};
use crate::words::{plain, printable_lines};

const COMMAND: &str = "push";

/// What is sent where.
#[derive(Debug, Args)]
#[command(
    group(ArgGroup::new("target").args(["socket", "domain"]).required(true).multiple(true)),
    after_help = "The file is checked here first; an invalid one is refused with exit code 3, and no VM is contacted. The VM's\n\
                  kylin-vr applies and installs it, as `kylin-vr reload -` does; --config names the installed file in the VM.\n\n\
                  Exit codes: with one target the VM's own (see kylin-vr --help), and 1 if it could not be asked; with several\n\
                  0 if all are 0, the VM's if those that failed agree, else 1; 128 and its number if a signal ended it.\n\n\
                  kylin-vr push vpc.yaml --socket /run/r1/qga.sock\n\
                  kylin-vr push vpc.yaml --connect qemu:///system --domain router-1 --domain router-2"
)]
pub(super) struct Options {
    /// The configuration: a file, or - for standard input
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// A VM by the unix socket that leads to its guest agent (may be repeated)
    #[arg(long, value_name = "PATH")]
    socket: Vec<PathBuf>,
    /// A VM by its name in libvirt, through virsh (may be repeated)
    #[arg(long, value_name = "NAME", value_parser = domain)]
    domain: Vec<String>,
    /// libvirt's connection URI, for virsh -c
    #[arg(long, value_name = "URI", requires = "domain", value_parser = domain)]
    connect: Option<String>,
    /// The longest that one VM may take
    #[arg(long, value_name = "SECONDS", default_value = "60", value_parser = seconds)]
    timeout: Duration,
    /// How many VMs are pushed to at a time
    #[arg(long, value_name = "N", default_value = "8", value_parser = clap::value_parser!(u16).range(1..))]
    parallel: u16,
    /// Take everything down if the file is nothing but white space
    #[arg(long)]
    allow_empty: bool,
    /// kylin-vr in the VM: a path, or a name that the guest agent looks up
    #[arg(long, value_name = "PATH", default_value = "kylin-vr")]
    program: String,
    /// How the text gets into the VM; without it exec, and file where the agent takes no input
    #[arg(long, value_name = "WAY")]
    via: Option<Via>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Via {
    /// On the standard input of kylin-vr
    Exec,
    /// In a file beside the installed one, which is removed again
    File,
}

/// What virsh would not take for an option.
fn domain(name: &str) -> std::result::Result<String, String> {
    if name.is_empty() || name.starts_with('-') {
        return Err("expected a name that does not begin with `-`".to_owned());
    }
    Ok(name.to_owned())
}

impl Options {
    /// Each one once: an agent talks to one at a time.
    fn targets(&self) -> Vec<Target> {
        let sockets = self.socket.iter().cloned().map(Target::Socket);
        let domains = self.domain.iter().cloned().map(|name| {
            let connect = self.connect.clone();
            Target::Domain { name, connect }
        });
        let mut targets: Vec<Target> = Vec::new();
        for target in sockets.chain(domains) {
            if !targets.contains(&target) {
                targets.push(target);
            }
        }
        targets
    }

    fn job(&self, context: &Context, text: Vec<u8>) -> Job {
        let config = &context.config;
        Job {
            text,
            allow_empty: self.allow_empty,
            program: self.program.clone(),
            config: (config.as_os_str() != DEFAULT_CONFIG).then(|| config.clone()),
            directory: config.parent().map(PathBuf::from).unwrap_or_default(),
            way: self.via.map(|via| match via {
                Via::Exec => Way::Exec,
                Via::File => Way::File,
            }),
            // A point in time that the clock still knows.
            timeout: self.timeout.min(Duration::from_secs(365 * 24 * 60 * 60)),
            lock_timeout: context.lock_timeout,
        }
    }
}

pub(super) fn run(context: &Context, options: &Options) -> ExitCode {
    let targets = options.targets();
    let source = match options.file.as_os_str() {
        file if file == "-" => Source::Stdin,
        _ => Source::File(options.file.clone()),
    };
    let name = source.to_string();
    let refuse = |result, message: String, problems| {
        let report = Report::new(COMMAND, &name, result, message).with_problems(problems);
        refused(context, &targets, &report)
    };
    let text = match source.read() {
        Ok(text) => text,
        Err(error) => {
            let message = format!("read {name}: {}; nothing was sent", plain(&error));
            return refuse(Result::Failed, message, Vec::new());
        }
    };
    let text = match text::prepare(text, options.allow_empty) {
        Ok(text) => text,
        Err(problems) => {
            let message = "the configuration is invalid; nothing was sent".to_owned();
            return refuse(Result::Invalid, message, problems);
        }
    };
    let stop = match Stop::watch() {
        Ok(stop) => stop,
        Err(error) => {
            let message = format!("watch for signals: {}; nothing was sent", plain(&error));
            return refuse(Result::Failed, message, Vec::new());
        }
    };
    let job = options.job(context, text);
    let mut progress = Progress::new(targets.len(), context.json);
    let outcomes = many::push_all(&targets, &job, options.parallel.into(), &stop, |outcome| {
        tracing::info!(exit_code = outcome.exit_code(), "pushed to {}", outcome.target);
        progress.ended(outcome);
    });
    progress.clear();
    if context.json {
        print_json(&outcomes.iter().map(Entry::of).collect::<Vec<_>>());
    } else if let [outcome] = &outcomes[..] {
        print_one(outcome, &name);
    } else {
        print_many(&outcomes, &name);
    }
    ExitCode::from(many::exit_code(&outcomes))
}

/// Ends before anybody was contacted.
fn refused(context: &Context, targets: &[Target], report: &Report) -> ExitCode {
    if !context.json {
        return report.print(false);
    }
    let entry = |target: &Target| Entry {
        target: target.to_string(),
        exit_code: report.exit_code,
        result: if report.exit_code == exit::INVALID {
            "invalid"
        } else {
            "failed"
        }
        .to_owned(),
        message: report.message.clone(),
        error: Some(report.message.clone()),
        problems: &report.problems,
        ..Entry::default()
    };
    print_json(&targets.iter().map(entry).collect::<Vec<_>>());
    ExitCode::from(report.exit_code)
}

/// A target in the JSON document.
#[derive(Debug, Default, Serialize)]
struct Entry<'o> {
    target: String,
    exit_code: u8,
    result: String,
    message: String,
    generation: Option<u64>,
    configuration: Option<String>,
    report: Option<&'o Value>,
    /// What an old version of kylin-vr printed, that makes no report.
    #[serde(skip_serializing_if = "Option::is_none")]
    output: Option<&'o str>,
    error: Option<String>,
    /// Of a file that was refused here.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    problems: &'o [Problem],
}

impl<'o> Entry<'o> {
    fn of(outcome: &'o Outcome) -> Self {
        let target = outcome.target.to_string();
        let exit_code = outcome.exit_code();
        let summary = Summary::of(outcome);
        let (report, output) = match &outcome.result {
            Ok(answer) => (answer.report.as_ref(), Some(answer.output.as_str())),
            Err(_) => (None, None),
        };
        let said = summary.report.unwrap_or_default();
        Self {
            target,
            exit_code,
            result: summary.result,
            message: summary.message,
            generation: said.generation,
            configuration: said.configuration,
            report,
            output: output.filter(|output| !output.is_empty()),
            error: summary.error,
            problems: &[],
        }
    }
}

fn print_json(entries: &[Entry]) {
    match serde_json::to_string_pretty(entries) {
        Ok(text) => print(&(text + "\n")),
        Err(error) => tracing::error!("report: {error}"),
    }
}

/// The VM's report, as the VM would have printed it.
fn print_one(outcome: &Outcome, source: &str) {
    let Summary {
        message,
        error,
        report,
        ..
    } = Summary::of(outcome);
    let target = &outcome.target;
    let failed = outcome.exit_code() != 0;
    let mut text = String::new();
    if let Ok(answer) = &outcome.result {
        complain(&answer.log);
        text = report.map_or_else(
            || match &answer.report {
                // Of a version whose words are not ours any more: as it is.
                Some(report) => printable_lines(&format!("{report:#}\n")).into_owned(),
                None => answer.output.clone(),
            },
            |report| {
                complain(&report.complaints(source));
                report.text()
            },
        );
        if failed {
            complain(&format!("kylin-vr {COMMAND}: {target}: {message}\n"));
        } else {
            text += &format!("{target}: {message}\n");
        }
    }
    if let Some(error) = error {
        complain(&format!("kylin-vr {COMMAND}: {target}: {error}\n"));
    }
    say(&text);
}

/// What is wrong, and a table.
fn print_many(outcomes: &[Outcome], source: &str) {
    let mut rows = Vec::new();
    for outcome in outcomes {
        let summary = Summary::of(outcome);
        if let Some(report) = &summary.report {
            for line in report.complaints(source).lines() {
                complain(&format!("{}: {line}\n", outcome.target));
            }
        }
        let report = summary.report;
        let changes = report.as_ref().map(|report| report.changes.len().to_string());
        let report = report.unwrap_or_default();
        let or_none = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
        rows.push(vec![
            outcome.target.to_string(),
            summary.result,
            or_none(
                outcome
                    .result
                    .as_ref()
                    .ok()
                    .map(|answer| answer.exit_code.to_string()),
            ),
            or_none(report.generation.map(|number| number.to_string())),
            or_none(report.configuration.map(|hash| hash.chars().take(12).collect())),
            or_none(changes),
            format!("{:.2} s", outcome.took.as_secs_f64()),
        ]);
    }
    let failed = outcomes.iter().filter(|outcome| outcome.exit_code() != 0).count();
    let mut text = String::new();
    let heading = [
        "TARGET",
        "RESULT",
        "EXIT",
        "GENERATION",
        "CONFIGURATION",
        "CHANGES",
        "TIME",
    ];
    table::write(&mut text, &heading, &rows);
    text += &match failed {
        0 => format!("pushed to {}\n", count(outcomes.len(), "VM")),
        _ => format!("pushed to {}; {failed} failed\n", count(outcomes.len(), "VM")),
    };
    say(&text);
}

/// What is told meanwhile on standard error: one line that changes at a terminal, else a line for each target.
struct Progress {
    targets: usize,
    ended: usize,
    failed: usize,
    quiet: bool,
    terminal: bool,
}

impl Progress {
    fn new(targets: usize, json: bool) -> Self {
        Self {
            targets,
            ended: 0,
            failed: 0,
            quiet: json || targets < 2,
            terminal: io::stderr().is_terminal(),
        }
    }

    fn ended(&mut self, outcome: &Outcome) {
        self.ended += 1;
        let failed = outcome.exit_code() != 0;
        self.failed += usize::from(failed);
        if self.quiet {
            return;
        }
        let summary = Summary::of(outcome);
        let message = match summary.error {
            Some(error) if outcome.result.is_ok() => format!("{}; {error}", summary.message),
            _ => summary.message,
        };
        if !self.terminal {
            complain(&format!("{}: {message}\n", outcome.target));
            return;
        }
        self.clear();
        // At a terminal only what is wrong stays.
        if failed {
            complain(&format!("{}: {message}\n", outcome.target));
        }
        eprint!("{} of {} done, {} failed", self.ended, self.targets, self.failed);
        let _ = io::stderr().flush();
    }

    fn clear(&self) {
        if !self.quiet && self.terminal {
            eprint!("\r\x1b[K");
        }
    }
}
