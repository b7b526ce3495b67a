//! The process: a unit of systemd's where systemd looks after our network namespace, else one of its own.
//!
//! The router's own units may do no more than their work asks for, and dnsmasq needs other rights: so it is a unit of its
//! own, which systemd also starts again when it ends by itself.

use std::fs;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::Error;
use crate::kernel::is_first_namespace;
use crate::words::plain;

const PROGRAM: &str = "dnsmasq";
const UNIT: &str = "kylin-vr-dnsmasq.service";

/// The configuration that the unit starts it with.
const OF_UNIT: &str = "/run/kylin-vr/dhcp/dnsmasq.conf";

/// Where packages and administrators put units.
const UNITS: [&str; 3] = [
    "/etc/systemd/system",
    "/usr/lib/systemd/system",
    "/lib/systemd/system",
];

/// Where it may be beside what `PATH` says: that of a user often has no directory of the system's programs.
const PATHS: &str = "/usr/sbin:/usr/bin:/sbin:/bin:/usr/local/sbin";

/// Nothing that is asked here takes a second. What does not end hangs.
const PATIENCE: Duration = Duration::from_secs(20);

/// How long it may take to stop when it is asked to.
const END: Duration = Duration::from_secs(5);

/// Whether the program is there.
#[must_use]
pub fn is_installed() -> bool {
    program().is_some()
}

fn program() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let directories = std::env::split_paths(&path).chain(std::env::split_paths(PATHS));
    let mut programs = directories.map(|directory| directory.join(PROGRAM));
    programs.find(|program| {
        let file = fs::metadata(program);
        file.is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
    })
}

/// Whether it is systemd's to start and stop the one with this configuration.
fn is_unit(settings: &Path) -> bool {
    settings == Path::new(OF_UNIT)
        && Path::new("/run/systemd/system").is_dir()
        && is_first_namespace()
        && UNITS
            .iter()
            .any(|directory| Path::new(directory).join(UNIT).exists())
}

/// The process that was started with this configuration. What its own file says is believed only if it is that one: the file
/// is dnsmasq's, and a number may be another's by now.
pub(super) fn find(settings: &Path, pid: &Path) -> Option<u32> {
    let told = fs::read_to_string(pid)
        .ok()
        .and_then(|text| text.trim().parse().ok());
    if let Some(process) = told.filter(|process| is_ours(*process, settings)) {
        return Some(process);
    }
    let processes = fs::read_dir("/proc").ok()?.filter_map(|entry| {
        let name = entry.ok()?.file_name();
        name.to_str()?.parse::<u32>().ok()
    });
    processes.into_iter().find(|process| is_ours(*process, settings))
}

fn is_ours(process: u32, settings: &Path) -> bool {
    let Ok(line) = fs::read(format!("/proc/{process}/cmdline")) else {
        return false;
    };
    let mut arguments = line.split(|byte| *byte == 0);
    let is_dnsmasq = arguments
        .next()
        .is_some_and(|first| first.rsplit(|byte| *byte == b'/').next() == Some(PROGRAM.as_bytes()));
    let given = given(settings);
    is_dnsmasq && arguments.any(|argument| argument == given.as_bytes())
}

fn given(settings: &Path) -> String {
    format!("--conf-file={}", settings.display())
}

/// Has dnsmasq say whether it can read a configuration.
pub(super) fn test(settings: &Path) -> Result<(), Error> {
    run(dnsmasq(settings).arg("--test")).map_err(Error::Refused)
}

fn dnsmasq(settings: &Path) -> Command {
    let mut command = Command::new(program().unwrap_or_else(|| PROGRAM.into()));
    command.arg(given(settings));
    command
}

/// Starts it, anew if it runs.
pub(super) fn restart(settings: &Path, pid: &Path) -> Result<(), Error> {
    if is_unit(settings) {
        return systemctl("restart").map_err(Error::NotStarted);
    }
    stop(settings, pid)?;
    // It goes on by itself, once it has all that it needs: until then it says what is wrong.
    run(dnsmasq(settings).current_dir("/")).map_err(Error::NotStarted)
}

/// Has it read its hosts again: addresses that it gave away stay given.
pub(super) fn read_hosts_again(settings: &Path, process: u32) -> Result<(), Error> {
    if is_unit(settings) {
        return systemctl("reload").map_err(Error::NotTold);
    }
    signal(process, Signal::SIGHUP).map_err(Error::NotTold)
}

/// Stops it, if it runs.
pub(super) fn stop(settings: &Path, pid: &Path) -> Result<(), Error> {
    if is_unit(settings) {
        return systemctl("stop").map_err(Error::NotStopped);
    }
    for how in [Signal::SIGTERM, Signal::SIGKILL] {
        let Some(process) = find(settings, pid) else {
            return Ok(());
        };
        signal(process, how).map_err(Error::NotStopped)?;
        let end = Instant::now() + END;
        while is_ours(process, settings) && Instant::now() < end {
            thread::sleep(Duration::from_millis(5));
        }
    }
    match find(settings, pid) {
        Some(process) => Err(Error::NotStopped(format!("process {process} is still there"))),
        None => Ok(()),
    }
}

/// A process that is gone has heard.
fn signal(process: u32, signal: Signal) -> Result<(), String> {
    let number = i32::try_from(process).map_err(|error| error.to_string())?;
    match kill(Pid::from_raw(number), signal) {
        Ok(()) | Err(nix::errno::Errno::ESRCH) => Ok(()),
        Err(errno) => Err(plain(&errno.into())),
    }
}

fn systemctl(verb: &str) -> Result<(), String> {
    let mut command = Command::new("systemctl");
    command.args(["--quiet", "--no-ask-password", verb, UNIT]);
    run(&mut command).map_err(|said| {
        // systemd says that it failed; the journal, what dnsmasq said of it.
        let mut journal = Command::new("journalctl");
        journal.args([
            "--quiet",
            "--no-pager",
            "--output=cat",
            "--lines=20",
            "--boot",
            "--unit",
            UNIT,
        ]);
        let told = journal
            .stdin(Stdio::null())
            .output()
            .map(|output| output.stdout)
            .unwrap_or_default();
        let told = String::from_utf8_lossy(&told).into_owned();
        let last = told.lines().rev().find_map(|line| line.strip_prefix("dnsmasq: "));
        last.map_or(said, str::to_owned)
    })
}

/// Runs a command to its end.
///
/// # Errors
/// What it said, if it did not succeed.
fn run(command: &mut Command) -> Result<(), String> {
    let mut child = command
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| plain(&error))?;
    let end = Instant::now() + PATIENCE;
    let status = loop {
        match child.try_wait() {
            Ok(Some(status)) => break status,
            Ok(None) if Instant::now() < end => thread::sleep(Duration::from_millis(2)),
            Ok(None) => {
                let _ = child.kill();
                let _ = child.wait();
                return Err(format!("it did not end within {} s", PATIENCE.as_secs()));
            }
            Err(error) => return Err(plain(&error)),
        }
    };
    if status.success() {
        return Ok(());
    }
    let mut said = Vec::new();
    // A few lines, which the pipe holds.
    let _ = child
        .stderr
        .take()
        .map(|mut stderr| stderr.read_to_end(&mut said));
    let said = String::from_utf8_lossy(&said).into_owned();
    let lines = said.lines().map(str::trim).filter(|line| !line.is_empty());
    let lines: Vec<&str> = lines
        .map(|line| line.strip_prefix("dnsmasq: ").unwrap_or(line))
        .collect();
    Err(if lines.is_empty() {
        status.to_string()
    } else {
        lines.join("; ")
    })
}
