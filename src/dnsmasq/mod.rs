//! The DHCP server of the router, dnsmasq(8): written its configuration, started, told of changes, stopped. One for all
//! subnets, and none where nobody is to be served.
//!
//! What it is told is a value ([`Texts`], of `features::dhcp`), and what it was told last is what stands in its files: so what
//! is to be done is the difference of two values, as everywhere, and to undo it is to go back to the first of them.
//! Other dnsmasqs are never touched: ours is the one that was started with our configuration file.

mod leases;
mod process;

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::config::{Config, Interface};
use crate::features::dhcp::{self, Files, Present, Texts};
use crate::model::{LinkName, Observed};
use crate::plan::{Action, Line};
use crate::words::plain;

pub use leases::Leased;
pub use process::is_installed;

/// Why it is not as it should be.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no such program.
    #[error(
        "dnsmasq is not installed, and DHCP ({entry}) needs it: install the package dnsmasq-base (Debian) or dnsmasq \
         (Red Hat, openEuler)"
    )]
    Absent {
        /// The first entry that needs it.
        entry: String,
    },
    /// It cannot read what it is told.
    #[error("dnsmasq refuses its configuration: {0}")]
    Refused(String),
    /// It does not stay.
    #[error("dnsmasq does not start: {0}")]
    NotStarted(String),
    /// It does not hear.
    #[error("dnsmasq cannot be told to read its hosts again: {0}")]
    NotTold(String),
    /// It stays.
    #[error("dnsmasq does not stop: {0}")]
    NotStopped(String),
    /// Its files cannot be written or read.
    #[error("{path}: {}", plain(.source))]
    File {
        /// Which one.
        path: String,
        /// Why not.
        #[source]
        source: io::Error,
    },
}

/// The server, by its files.
#[derive(Clone, Debug)]
pub struct Server {
    /// What is gone after a reboot.
    directory: PathBuf,
    leases: PathBuf,
}

/// How it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// What it was told last; `None`: nothing.
    pub told: Option<Texts>,
    /// Its process; `None`: it does not run.
    pub process: Option<u32>,
    /// Whether a run that was killed, or failed, was about to tell it something else: its files may say what it was not told.
    pub is_unfinished: bool,
}

/// What makes it another one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    from: Option<Texts>,
    was_running: bool,
    was_unfinished: bool,
    to: Option<Texts>,
}

impl Server {
    /// The one of the router whose state is in these directories.
    #[must_use]
    pub fn new(runtime: &Path, lasting: &Path) -> Self {
        Self {
            directory: runtime.join("dhcp"),
            leases: lasting.join("dhcp.leases"),
        }
    }

    /// Whether it was told nothing since the boot, or all that was taken back.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        !self.directory.exists()
    }

    fn settings(&self) -> PathBuf {
        self.directory.join("dnsmasq.conf")
    }

    fn hosts(&self) -> PathBuf {
        self.directory.join("hosts")
    }

    fn pid(&self) -> PathBuf {
        self.directory.join("dnsmasq.pid")
    }

    /// Is there while it is told something else.
    fn unfinished(&self) -> PathBuf {
        self.directory.join("unfinished")
    }

    /// What it is to be told of a configuration, on a kernel that is so.
    #[must_use]
    pub fn wanted(&self, config: &Config, observed: &Observed) -> Option<Texts> {
        let (hosts, pid) = (self.hosts(), self.pid());
        let files = Files {
            hosts: &hosts,
            leases: &self.leases,
            pid: &pid,
        };
        dhcp::texts(config, files, |interface| present(interface, observed))
    }

    /// How it is.
    ///
    /// # Errors
    /// If its files cannot be read.
    pub fn look(&self) -> Result<Seen, Error> {
        if self.is_idle() {
            return Ok(Seen::default());
        }
        let read = |path: PathBuf| match fs::read_to_string(&path) {
            Ok(text) => Ok(Some(text)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(file(&path, source)),
        };
        let told = read(self.settings())?.zip(read(self.hosts())?);
        Ok(Seen {
            told: told.map(|(settings, hosts)| Texts { settings, hosts }),
            process: process::find(&self.settings(), &self.pid()),
            is_unfinished: self.unfinished().exists(),
        })
    }

    /// Makes it what a change says.
    ///
    /// # Errors
    /// If it does not become that. What it was may be gone then: the inverse of the change brings it back.
    pub fn carry_out(&self, change: &Change) -> Result<(), Error> {
        let Some(to) = &change.to else {
            process::stop(&self.settings(), &self.pid())?;
            return match fs::remove_dir_all(&self.directory) {
                Err(source) if source.kind() != io::ErrorKind::NotFound => Err(file(&self.directory, source)),
                _ => Ok(()),
            };
        };
        self.prepare().map_err(|source| file(&self.directory, source))?;
        let now = self.look()?;
        let keeps_settings = now.told.as_ref().is_some_and(|told| told.settings == to.settings);
        let running = now.process.filter(|_| keeps_settings && !now.is_unfinished);
        if running.is_none() {
            // Before anything changes: an old dnsmasq may not know all that it is told.
            let new = self.directory.join("dnsmasq.conf.new");
            write(&new, &to.settings)?;
            let fits = process::test(&new);
            let _ = fs::remove_file(&new);
            fits?;
        }
        write(&self.unfinished(), "")?;
        write(&self.hosts(), &to.hosts)?;
        if let Some(process) = running {
            process::read_hosts_again(&self.settings(), process)?;
        } else {
            write(&self.settings(), &to.settings)?;
            process::restart(&self.settings(), &self.pid())?;
        }
        let marker = self.unfinished();
        fs::remove_file(&marker).map_err(|source| file(&marker, source))
    }

    /// Its directory, where it finds its files when it is no longer root.
    fn prepare(&self) -> io::Result<()> {
        let open = |path: &Path, bits: u32| {
            let mode = fs::metadata(path)?.permissions().mode();
            if mode & bits == bits {
                return Ok(());
            }
            fs::set_permissions(path, fs::Permissions::from_mode(mode | bits))
        };
        fs::create_dir_all(&self.directory)?;
        // To go through, not to look around: every file in it has a mode of its own.
        self.directory
            .parent()
            .map_or(Ok(()), |runtime| open(runtime, 0o011))?;
        open(&self.directory, 0o055)
    }

    /// The addresses that it gave away, as it wrote them down.
    ///
    /// # Errors
    /// If that cannot be read.
    pub fn leases(&self) -> io::Result<Vec<Leased>> {
        match fs::read_to_string(&self.leases) {
            Ok(text) => Ok(leases::read(&text)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }

    /// Forgets them.
    ///
    /// # Errors
    /// If they cannot be removed.
    pub fn forget(&self) -> io::Result<()> {
        match fs::remove_file(&self.leases) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

/// How the link of an interface is; `None`: it is not there, or not for certain.
fn present(interface: &Interface, observed: &Observed) -> Option<Present> {
    let link = observed.find(interface.link()).ok()?;
    Some(Present {
        name: link.name.clone(),
        mtu: link.mtu,
    })
}

/// Links of subnets with DHCP that cannot be served, since their names would mean something to dnsmasq.
#[must_use]
pub fn unservable(config: &Config, observed: &Observed) -> Vec<(usize, LinkName)> {
    let found = dhcp::served(config).filter_map(|(index, interface, _)| {
        let link = observed.find(interface.link()).ok()?;
        (!dhcp::is_servable(&link.name)).then(|| (index, link.name.clone()))
    });
    found.collect()
}

/// Whether a configuration asks for it where it is not installed.
///
/// # Errors
/// If so.
pub fn possible(config: &Config) -> Result<(), Error> {
    match dhcp::served(config).next() {
        Some((index, ..)) if !is_installed() => Err(Error::Absent {
            entry: format!("if_list[{index}].dhcp"),
        }),
        _ => Ok(()),
    }
}

impl Change {
    /// What makes it as it is wanted; `None`: it is.
    #[must_use]
    pub fn between(seen: Seen, wanted: Option<Texts>) -> Option<Self> {
        let is_running = seen.process.is_some();
        if seen.told == wanted && is_running == wanted.is_some() && !seen.is_unfinished {
            return None;
        }
        Some(Self {
            from: seen.told,
            was_running: is_running,
            was_unfinished: seen.is_unfinished,
            to: wanted,
        })
    }

    /// What takes it back. One that had not run before runs then: it should have.
    #[must_use]
    pub fn inverse(&self) -> Self {
        Self {
            from: self.to.clone(),
            was_running: self.to.is_some(),
            was_unfinished: false,
            to: self.from.clone(),
        }
    }

    /// It in words: the lines of dnsmasq's configuration that come and go.
    #[must_use]
    pub fn lines(&self) -> Vec<Line> {
        // What all subnets have in common is the same always, but with another version of this.
        let is_whole = self.from.is_some() && self.to.is_some();
        let (from, to) = (
            words(self.from.as_ref(), is_whole),
            words(self.to.as_ref(), is_whole),
        );
        let (old, new): (BTreeSet<&String>, BTreeSet<&String>) = (from.iter().collect(), to.iter().collect());
        let gone = from.iter().filter(|line| !new.contains(line));
        let come = to.iter().filter(|line| !old.contains(line));
        let line = |action| move |text: &String| Line::new(action, "dhcp", format_args!("{text}"));
        let runs = |action| Line::new(action, "dhcp", format_args!("dnsmasq runs"));
        let mut lines = Vec::new();
        match (&self.to, self.was_running) {
            (Some(_), false) => lines.push(runs(Action::Add)),
            (None, true) => lines.push(runs(Action::Delete)),
            _ => {}
        }
        lines.extend(gone.map(line(Action::Delete)));
        lines.extend(come.map(line(Action::Add)));
        if lines.is_empty() && self.was_unfinished {
            let text =
                format_args!("dnsmasq starts anew: a run that told it something did not come to its end");
            lines.push(Line::new(Action::Change, "dhcp", text));
        } else if lines.is_empty() {
            lines.push(Line::new(
                Action::Change,
                "dhcp",
                format_args!("the configuration, in another order"),
            ));
        }
        lines
    }
}

/// What dnsmasq is told, line by line, without remarks; of the subnets alone unless the `whole` of it is wanted.
fn words(texts: Option<&Texts>, whole: bool) -> Vec<String> {
    let Some(texts) = texts else {
        return Vec::new();
    };
    let subnets = texts.settings.split_once("\n\n").map(|(_, subnets)| subnets);
    let settings = subnets.filter(|_| !whole).unwrap_or(&texts.settings);
    let settings = settings
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'));
    let hosts = texts.hosts.lines().map(|line| format!("dhcp-host={line}"));
    settings.map(str::to_owned).chain(hosts).collect()
}

/// Writes a file that others can read as well, whole.
fn write(path: &Path, text: &str) -> Result<(), Error> {
    let whole = || {
        if fs::read(path).is_ok_and(|old| old == text.as_bytes()) {
            return Ok(());
        }
        let temporary = path.with_extension(format!("{}~", std::process::id()));
        fs::write(&temporary, text)?;
        fs::set_permissions(&temporary, fs::Permissions::from_mode(0o644))?;
        fs::rename(&temporary, path)
    };
    whole().map_err(|source| file(path, source))
}

fn file(path: &Path, source: io::Error) -> Error {
    Error::File {
        path: path.display().to_string(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(settings: &str, hosts: &str) -> Texts {
        Texts {
            settings: settings.to_owned(),
            hosts: hosts.to_owned(),
        }
    }

    fn said(change: &Change) -> Vec<String> {
        change.lines().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_change_is_told_in_lines_of_dnsmasq_and_can_be_turned_round() {
        let (old, new) = (
            texts("# x\nport=0\n\ninterface=lan3\n", "a,1\n"),
            texts("port=0\ninterface=lan4\n", "a,1\nb,2\n"),
        );
        let seen = |told: &Texts, process| Seen {
            told: Some(told.clone()),
            process,
            is_unfinished: false,
        };
        assert_eq!(Change::between(seen(&old, Some(7)), Some(old.clone())), None);
        assert_eq!(Change::between(Seen::default(), None), None);
        let change = Change::between(seen(&old, Some(7)), Some(new.clone())).unwrap();
        assert_eq!(
            said(&change),
            [
                "- dhcp     interface=lan3",
                "+ dhcp     interface=lan4",
                "+ dhcp     dhcp-host=b,2"
            ]
        );
        assert_eq!(
            change.inverse(),
            Change::between(seen(&new, Some(7)), Some(old.clone())).unwrap()
        );
        // Of one that comes or goes what it is told of subnets.
        let change = Change::between(Seen::default(), Some(old.clone())).unwrap();
        assert_eq!(
            said(&change),
            [
                "+ dhcp     dnsmasq runs",
                "+ dhcp     interface=lan3",
                "+ dhcp     dhcp-host=a,1"
            ]
        );
        // One that crashed has to start, and nothing else changes.
        let change = Change::between(seen(&old, None), Some(old.clone())).unwrap();
        assert_eq!(said(&change), ["+ dhcp     dnsmasq runs"]);
        // One that was told something half: it starts anew.
        let half = Seen {
            is_unfinished: true,
            ..seen(&old, Some(7))
        };
        let change = Change::between(half, Some(old.clone())).unwrap();
        assert!(
            said(&change)[0].starts_with("~ dhcp     dnsmasq starts anew"),
            "{:?}",
            said(&change)
        );
        let change = Change::between(seen(&old, Some(7)), None).unwrap();
        assert_eq!(said(&change)[0], "- dhcp     dnsmasq runs");
    }
}
