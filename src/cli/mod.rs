//! The command: one file per subcommand, and what they share.

mod by_hand;
mod changes;
mod check;
mod confirm;
mod dhcp;
mod diagram;
mod duration;
mod edit;
mod history;
mod layout;
mod memory;
mod metrics;
mod monitor;
mod plan;
mod probe;
mod push;
mod record;
mod reload;
mod report;
mod reset;
mod rollback;
mod run;
mod schema;
mod start;
mod status;
mod table;
mod terminal;
mod trace;
mod window;

use std::ffi::OsString;
use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt::format;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::intake::{Source, State};
use crate::kernel::{self, Kernel, Linux};
use crate::words::printable_lines;

use duration::{seconds, window_to_confirm};
use layout::Layout;

/// What messages call the configuration that an event is answered with.
const LAST_ACCEPTED: &str = "the last accepted configuration";

const DEFAULT_CONFIG: &str = "/etc/kylin-vr/kylin-vr.yaml";

/// Exit codes beside 0 (the kernel matches the file); 2 (wrong usage) is clap's as well.
mod exit {
    pub(super) const OTHER: u8 = 1;
    pub(super) const USAGE: u8 = 2;
    pub(super) const INVALID: u8 = 3;
    pub(super) const NOT_APPLIED: u8 = 4;
    pub(super) const BUSY: u8 = 5;
}

/// The agent inside a virtual-router VM: makes the kernel match kylin-vr.yaml
#[derive(Debug, Parser)]
#[command(
    name = "kylin-vr",
    version,
    after_help = "Exit codes: 0 the kernel matches the file (NICs may be pending); 1 anything else; 2 wrong usage;\n\
                  3 the configuration is invalid, nothing was touched; 4 could not be applied, rolled back, or was not confirmed in time and taken back;\n\
                  5 another run held the lock past --lock-timeout.\n\n\
                  --start, --reload and -c reload are accepted as well."
)]
struct Arguments {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Args)]
struct Common {
    /// The installed configuration file
    #[arg(long, global = true, value_name = "PATH", default_value = DEFAULT_CONFIG)]
    config: PathBuf,
    /// Print one JSON document on standard output
    #[arg(long, global = true)]
    json: bool,
    /// Give up if another run holds the lock for so long
    #[arg(long, global = true, value_name = "SECONDS", default_value = "60", value_parser = seconds)]
    lock_timeout: Duration,
    /// Log what is done on standard error (-vv: more); KYLIN_VR_LOG sets a filter
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    verbose: u8,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// At boot: apply the installed file; a missing NIC or a bad file does not stop the boot
    Start {
        /// Wait so long for configured NICs that are not there yet, after all else is done
        #[arg(long, value_name = "SECONDS", default_value = "10", value_parser = seconds)]
        wait: Duration,
    },
    /// Apply the installed file; or validate, apply and install another
    Reload {
        #[command(flatten)]
        given: Given,
        /// Apply what was accepted last, whatever the file says now: what udev rules call. Left to a monitor that runs
        #[arg(long, conflicts_with_all = ["file", "allow_empty"])]
        last_accepted: bool,
        /// If NICs are missing, ask the PCI bus to look for them, and wait so long until they are there
        #[arg(long, value_name = "SECONDS", num_args = 0..=1, require_equals = true, default_missing_value = "10",
              value_parser = seconds)]
        rescan: Option<Duration>,
        /// Apply it, and take it back by itself unless `kylin-vr confirm` comes within this time: 60s, 5m, 90
        #[arg(long, value_name = "DURATION", value_parser = window_to_confirm, conflicts_with = "last_accepted")]
        confirm_within: Option<Duration>,
        /// Stay, and confirm it once this was reached: gateway (by ping), or IP:PORT (by TCP); may be repeated
        #[arg(long = "probe", value_name = "gateway|IP:PORT", requires = "confirm_within")]
        probes: Vec<probe::Probe>,
    },
    /// Keep what `reload --confirm-within` applied
    Confirm,
    /// Go back to an earlier configuration, as if it were reloaded
    Rollback {
        /// How many configurations back, as `kylin-vr history` counts them
        #[arg(value_name = "N", default_value = "1")]
        number: usize,
    },
    /// List what was in force, and what could not be applied
    History {
        /// Print the text of this configuration instead, as it was
        #[arg(long, value_name = "N", conflicts_with = "json")]
        text: Option<usize>,
    },
    /// Validate only
    Check(Given),
    /// Show what a reload would change, and change nothing
    Plan(Given),
    /// Show how things are: what is configured, what goes by it, what is pending or wrong and what to do
    Status(status::Options),
    /// Print how things are for Prometheus: entries, counters, health, connection tracking, what the monitor did
    Metrics,
    /// Say what becomes of a packet, and which entries of the file decide it
    Trace(trace::Options),
    /// Add, delete or list elastic IPs of the installed file, and apply it
    #[command(subcommand)]
    Eip(edit::EipCommand),
    /// Add, delete or list forwards of the installed file, and apply it
    #[command(subcommand)]
    Forward(edit::ForwardCommand),
    /// Attach, detach or list NICs of the installed file, and apply it
    #[command(subcommand)]
    Network(edit::NetworkCommand),
    /// Add, delete or list mirrors of the installed file, and apply it
    #[command(subcommand)]
    Mirror(edit::MirrorCommand),
    /// Stay, and put things right when a NIC comes or goes, or something else changed what is ours
    Monitor,
    /// On the hypervisor: send a file into VMs through their guest agents, and print what they report
    Push(push::Options),
    /// Draw what a file says: networks, NICs, VMs, elastic IPs, forwards and mirrors
    Diagram(diagram::Options),
    /// Print the file's JSON Schema, by which editors complete and check it
    Schema,
    /// Remove everything that is ours from the kernel; the file stays
    Reset {
        /// Forget what is kept from run to run as well (for makers of images)
        #[arg(long)]
        all: bool,
    },
    /// Send the gratuitous ARPs that standard input lists
    #[command(hide = true)]
    Announce,
    /// Keep open what was handed over until standard input ends
    #[command(hide = true)]
    LetGo,
    /// Wait for the end of the window to confirm in, and take back
    #[command(hide = true)]
    Guard,
}

/// A configuration that is not the installed one.
#[derive(Debug, Args)]
struct Given {
    /// A file, or - for standard input; without it the installed file
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
    /// Accept a file of nothing but white space even if the router is configured
    #[arg(long)]
    allow_empty: bool,
}

/// What every subcommand works with.
struct Context {
    config: PathBuf,
    state: State,
    lock_timeout: Duration,
    json: bool,
    open: Box<OpenKernel>,
}

/// Opens the kernel that a command works on.
type OpenKernel = dyn Fn() -> Result<Box<dyn Kernel>, kernel::Error>;

impl Context {
    /// The source that was given; `None` for the installed file.
    fn source(&self, given: &Given) -> Option<Source> {
        match given.file.as_deref() {
            None => None,
            Some(file) if file.as_os_str() == "-" => Some(Source::Stdin),
            Some(file) if file == self.config => None,
            Some(file) => Some(Source::File(file.to_owned())),
        }
    }
}

/// The command's definition: what the manual pages and the shells' completions are made of.
pub fn command() -> clap::Command {
    <Arguments as clap::CommandFactory>::command()
}

/// Runs the command with these arguments, the program's name first.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    kernel::spare_memory();
    main_with(arguments, || Ok(Box::new(Linux::open()?)))
}

/// The same on a kernel that `open` opens: programs of the tests have one that fails where they say.
pub fn main_with(
    arguments: impl IntoIterator<Item = OsString>,
    open: impl Fn() -> Result<Box<dyn Kernel>, kernel::Error> + 'static,
) -> ExitCode {
    let Arguments { common, command } = Arguments::parse_from(modern(arguments));
    log_to_stderr(common.verbose.max(u8::from(matches!(command, Command::Monitor))));
    let (lasting, runtime) = directories(|variable| std::env::var_os(variable));
    let state = State::new(lasting, runtime);
    let Common {
        config,
        json,
        lock_timeout,
        ..
    } = common;
    let context = Context {
        config,
        state,
        lock_timeout,
        json,
        open: Box::new(open),
    };
    let report = match command {
        Command::Start { wait } => window::tell(&context, start::run(&context, wait)),
        Command::Reload {
            given,
            last_accepted,
            rescan,
            confirm_within,
            probes,
        } => {
            let confirmation = reload::Confirmation {
                within: confirm_within,
                probes,
            };
            let report = if last_accepted || (given.file.is_none() && confirm_within.is_none() && is_udev()) {
                reload::last_accepted(&context, rescan)
            } else {
                reload::run(&context, &given, rescan, &confirmation)
            };
            window::tell(&context, known(&context, report))
        }
        Command::Confirm => known(&context, confirm::run(&context)),
        Command::Rollback { number } => {
            window::tell(&context, known(&context, rollback::run(&context, number)))
        }
        Command::History { text } => return history::run(&context, text),
        Command::Check(given) => check::run(&context, &given),
        Command::Plan(given) => plan::run(&context, &given),
        Command::Reset { all } => reset::run(&context, all),
        Command::Status(options) => return status::run(&context, &options),
        Command::Metrics => return metrics::run(&context),
        Command::Eip(command) => return edit::eip(&context, &command),
        Command::Forward(command) => return edit::forward(&context, &command),
        Command::Network(command) => return edit::network(&context, &command),
        Command::Mirror(command) => return edit::mirror(&context, &command),
        Command::Diagram(options) => return diagram::run(&context, &options),
        Command::Schema => return schema::run(),
        Command::Trace(options) => return trace::run(&context, &options),
        Command::Monitor => return monitor::run(context),
        Command::Push(options) => return push::run(&context, &options),
        Command::Guard => {
            window::guard(&context);
            return ExitCode::SUCCESS;
        }
        Command::LetGo => {
            let _ = io::copy(&mut io::stdin(), &mut io::sink());
            return ExitCode::SUCCESS;
        }
        Command::Announce => {
            return match kernel::send_announcements(io::stdin().lock()) {
                Ok(()) => ExitCode::SUCCESS,
                Err(error) => {
                    tracing::error!("gratuitous ARP: {error}");
                    ExitCode::from(exit::OTHER)
                }
            };
        }
    };
    report.print(context.json)
}

/// A report that says what is in force, whatever came of the run.
fn known(context: &Context, report: report::Report) -> report::Report {
    if report.configuration.is_none() {
        run::still_in_force(context, report)
    } else {
        report
    }
}

/// The calls that existing units, rules and hypervisors make, in today's words.
fn modern(arguments: impl IntoIterator<Item = OsString>) -> Vec<OsString> {
    let mut modern: Vec<OsString> = arguments.into_iter().collect();
    let mut index = 0;
    while index + 1 < modern.len() {
        index += 1;
        match modern[index].to_str() {
            // Its value is the next word.
            Some("--config" | "--lock-timeout") => index += 1,
            Some("--start") => {
                modern[index] = "start".into();
                break;
            }
            Some("--reload") => {
                modern[index] = "reload".into();
                break;
            }
            Some("-c") => {
                modern.remove(index);
                break;
            }
            // What follows a subcommand is its own.
            Some(word) if word.starts_with('-') => {}
            _ => break,
        }
    }
    modern
}

/// Whether udevd runs us for a NIC (udev(7), RUN: the event's properties are the environment): so do rules of old,
/// with `-c reload`.
fn is_udev() -> bool {
    let is = |name: &str, value: &str| std::env::var_os(name).is_some_and(|one| one == value);
    is("SUBSYSTEM", "net") && std::env::var_os("DEVPATH").is_some() && std::env::var_os("ACTION").is_some()
}

/// The directories of state: where `STATE_DIRECTORY` and `RUNTIME_DIRECTORY` point (systemd.exec(5), the first of a
/// list), or the usual ones.
///
/// One of them alone counts only if its name is ours: whatever service runs us, a guest agent for one, may have a
/// directory of its own and hand that variable down. A run that took its lock there would be alone with it, and a
/// monitor beside it would undo its work.
fn directories(variable: impl Fn(&str) -> Option<OsString>) -> (PathBuf, PathBuf) {
    let named = |name: &str| std::env::split_paths(&variable(name).filter(|list| !list.is_empty())?).next();
    match (named("STATE_DIRECTORY"), named("RUNTIME_DIRECTORY")) {
        (Some(lasting), Some(runtime)) => (lasting, runtime),
        (lasting, runtime) => {
            let ours = |one: &PathBuf| one.ends_with("kylin-vr");
            (
                lasting.filter(ours).unwrap_or_else(|| "/var/lib/kylin-vr".into()),
                runtime.filter(ours).unwrap_or_else(|| "/run/kylin-vr".into()),
            )
        }
    }
}

/// Fields that repeat what the text says.
const TO_FILTER_BY: [&str; 7] = [
    "changes",
    "command",
    "configuration",
    "errors",
    "exit_code",
    "flows",
    "pending",
];

/// To the journal under systemd (its stream is standard error) what is done; to people only what is wrong: they
/// read the report.
fn log_to_stderr(verbose: u8) {
    let in_journal = std::env::var_os("JOURNAL_STREAM").is_some();
    let level = match verbose {
        0 if in_journal => LevelFilter::INFO,
        0 => LevelFilter::OFF,
        1 => LevelFilter::INFO,
        _ => LevelFilter::DEBUG,
    };
    // Levels by target only: a filter of fields would bring an engine for regular expressions.
    let asked = std::env::var("KYLIN_VR_LOG").ok();
    let filter: Targets = asked
        .and_then(|asked| asked.parse().ok())
        .unwrap_or_else(|| Targets::new().with_default(level));
    let builder = tracing_subscriber::fmt()
        .with_max_level(LevelFilter::TRACE)
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal())
        .with_target(false)
        .fmt_fields(format::debug_fn(|out, field, value| match field.name() {
            "message" => write!(out, "{value:?}"),
            name if TO_FILTER_BY.contains(&name) => Ok(()),
            name => write!(out, " {name}={value:?}"),
        }));
    if in_journal {
        // With the fields of each event beside its text (`journalctl KYLIN_VR_COMMAND=reload`), and its own level.
        match tracing_journald::layer() {
            Ok(journal) => {
                let journal = journal.with_field_prefix(Some("KYLIN_VR".to_owned()));
                tracing_subscriber::registry().with(journal).with(filter).init();
            }
            Err(_) => builder.without_time().finish().with(filter).init(),
        }
    } else {
        builder.finish().with(filter).init();
    }
}

/// Writes to standard output. A reader that went away has seen enough.
fn print(text: &str) {
    let mut out = io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

/// Writes text for people to standard output: whoever named what is in it, a terminal shows it and does nothing else.
fn say(text: &str) {
    print(&printable_lines(text));
}

/// The same to standard error.
fn complain(text: &str) {
    eprint!("{}", printable_lines(text));
}

/// Says a report, laid out for the terminal if standard output is one.
fn say_report(text: &str) {
    let text = printable_lines(text);
    print(&Layout::of(&io::stdout()).map_or_else(|| text.to_string(), |layout| layout.apply(&text)));
}

/// The same of what is wrong with it, to standard error.
fn complain_report(text: &str) {
    let text = printable_lines(text);
    eprint!(
        "{}",
        Layout::of(&io::stderr()).map_or_else(|| text.to_string(), |layout| layout.apply(&text))
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    fn modern_words(words: &[&str]) -> Vec<String> {
        let arguments = std::iter::once("kylin-vr")
            .chain(words.iter().copied())
            .map(OsString::from);
        modern(arguments)
            .into_iter()
            .skip(1)
            .map(|word| word.into_string().unwrap())
            .collect()
    }

    #[test]
    fn old_spellings_are_the_new_commands() {
        assert_eq!(modern_words(&["--start"]), ["start"]);
        assert_eq!(modern_words(&["--reload"]), ["reload"]);
        assert_eq!(modern_words(&["-c", "reload"]), ["reload"]);
        assert_eq!(
            modern_words(&["--json", "-c", "reload", "x.yaml"]),
            ["--json", "reload", "x.yaml"]
        );
        assert_eq!(modern_words(&["reload", "--start"]), ["reload", "--start"]);
        assert_eq!(
            modern_words(&["--config", "x", "-c", "reload"]),
            ["--config", "x", "reload"]
        );
        assert_eq!(modern_words(&[]), [] as [&str; 0]);
    }

    #[test]
    fn the_directory_of_another_service_is_not_ours() {
        let of = |state: &'static str, runtime: &'static str| {
            let (state, runtime) = directories(|name| {
                let value = if name == "STATE_DIRECTORY" { state } else { runtime };
                (!value.is_empty()).then(|| value.into())
            });
            [state, runtime].map(|path| path.display().to_string())
        };
        assert_eq!(of("", ""), ["/var/lib/kylin-vr", "/run/kylin-vr"]);
        assert_eq!(of("/a/state", "/a/run:/b"), ["/a/state", "/a/run"]);
        assert_eq!(of("", "/run/qemu-ga"), ["/var/lib/kylin-vr", "/run/kylin-vr"]);
        assert_eq!(of("/srv/kylin-vr", ""), ["/srv/kylin-vr", "/run/kylin-vr"]);
    }

    #[test]
    fn the_arguments_make_sense_to_clap() {
        command().debug_assert();
    }
}
