//! Kernel parameters, through the files below `/proc/sys/net` of the namespace that we run in. Those of links are in the dump of the
//! links as well: hundreds of links would be thousands of files.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;

use super::Error;
use super::rtnetlink::Parameters;
use crate::model::{Link, LinkId, LinkSysctl, Sysctl};
use crate::words::printable;

const ROOT: &str = "/proc/sys/net";

/// Names whose files below `conf` are no link's: a link of such a name has none (`sysctl_dev_name_is_allowed`,
/// include/linux/inetdevice.h).
const RESERVED: [&str; 2] = ["all", "default"];

/// Every parameter of [`Sysctl`] that exists for these links. What `told` lacks is read.
pub(super) fn observe(links: &[Link], told: &Parameters) -> Result<BTreeMap<Sysctl, String>, Error> {
    let mut values = BTreeMap::new();
    for key in Sysctl::GLOBAL {
        if let Some(path) = key.path() {
            values.extend(read(path)?.map(|value| (key, value)));
        }
    }
    // Of two links with one hardware address, one on the other, that below is meant; one of ours has a name of its own.
    let is_one = |link: &&Link| !link.stacked || matches!(link.id, Some(LinkId::Own(_)));
    for link in links.iter().filter(is_one) {
        if let Some(id @ (LinkId::Mac(_) | LinkId::Own(_))) = link.id {
            for parameter in LinkSysctl::ALL {
                let told = told.get(&(link.index, parameter));
                let value = match told.filter(|_| has_file(&values, link, parameter)) {
                    // As the kernel writes it (`proc_dointvec`).
                    Some(value) => Some(value.to_string()),
                    None => read(&parameter.path(&link.name))?,
                };
                values.extend(value.map(|value| (Sysctl::Link(id, parameter), value)));
            }
        }
    }
    Ok(values)
}

/// Whether a parameter that the kernel told is one that can be written: where `/proc/sys` is hidden, or a part of it, there is none.
fn has_file(values: &BTreeMap<Sysctl, String>, link: &Link, parameter: LinkSysctl) -> bool {
    values.contains_key(&parameter.of_new_links()) && !RESERVED.contains(&&*link.name.0)
}

/// The memory of the machine, bytes, if the size of nf_conntrack is to be set from here; `None`: it is not. Another network
/// namespace than the first sees it and may not write it (`nf_conntrack_standalone_init_sysctl`, nf_conntrack_standalone.c),
/// nor may a container whose `/proc/sys` is read-only.
pub(super) fn conntrack_memory() -> Option<u64> {
    let path = Sysctl::ConntrackMax.path()?;
    // To open is not to write, and asks for every right at once: mode, capability, mount.
    fs::OpenOptions::new()
        .write(true)
        .open(Path::new(ROOT).join(path))
        .ok()?;
    Some(nix::sys::sysinfo::sysinfo().ok()?.ram_total())
}

/// Whether the kernel was certainly built without flowtables. Since Linux 5.14 nf_conntrack has parameters for them if it
/// was built with them (`nf_ct_sysctl_table`, nf_conntrack_standalone.c); before, and as long as nf_conntrack is not loaded,
/// only a try can tell.
pub(super) fn lacks_flowtables() -> bool {
    let is_there = |name| Path::new(ROOT).join("netfilter").join(name).exists();
    release() >= (5, 14) && is_there("nf_conntrack_max") && !is_there("nf_flowtable_tcp_timeout")
}

/// The first two numbers of the kernel's release; zeros if it has none.
pub(super) fn release() -> (u32, u32) {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let mut numbers = release
        .split(['.', '-'])
        .map_while(|part| part.trim().parse::<u32>().ok());
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

/// A parameter's value; `None` if there is no such parameter (any more).
pub(super) fn read(path: &str) -> Result<Option<String>, Error> {
    match fs::read_to_string(Path::new(ROOT).join(path)) {
        Ok(text) => Ok(Some(text.trim().to_owned())),
        // ENODEV: the link went between the open and the read.
        Err(error) if gone(&error) => Ok(None),
        Err(source) => Err(Error::Read {
            what: format!("{ROOT}/{}", printable(path)),
            source,
        }),
    }
}

/// Writes a parameter. One of a NIC that is gone is [`Error::Interrupted`].
pub(super) fn write(path: &str, value: &str) -> Result<(), Error> {
    tracing::debug!(path, value, "sysctl");
    fs::write(Path::new(ROOT).join(path), value).map_err(|source| {
        if gone(&source) {
            Error::Interrupted
        } else {
            Error::Refused { source }
        }
    })
}

fn gone(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(nix::libc::ENODEV)
}
