//! What is to be known of NICs beside netlink: udevd's part, and the PCI bus.
//!
//! A new link is left alone until udevd has done its part: before Linux 6.2 a link that is
//! up cannot be renamed (`dev_change_name`, net/core/dev.c), so who sets one up too early takes its name from it.

use std::fs;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::Error;
use crate::model::Link;

/// Where udevd listens for its own commands; there as long as it runs.
const CONTROL: &str = "/run/udev/control";

/// Written to, it makes the kernel look for PCI devices.
const RESCAN: &str = "/sys/bus/pci/rescan";

/// Whether we run in the network namespace of the first process: the one whose links udevd names, and network
/// managers manage.
#[must_use]
pub fn is_first_namespace() -> bool {
    // /proc/PID/ns/net needs CAP_SYS_PTRACE, which a hardened unit does not have. Files below /proc/PID/net are
    // those of its namespace, each with an inode of its own (fs/proc/proc_net.c).
    let inode = |process: &str| {
        fs::metadata(format!("/proc/{process}/net/dev"))
            .ok()
            .map(|file| file.ino())
    };
    let own = inode("thread-self");
    own.is_some() && own == inode("1")
}

/// Whether udevd looks after the links of our namespace.
#[must_use]
pub fn is_udev_here() -> bool {
    Path::new(CONTROL).exists() && is_first_namespace()
}

/// Whether udevd has finished with a link that it is to name (sd_device_get_is_initialized(3)).
pub(super) fn is_finished(link: &Link) -> bool {
    match ::udev::Device::from_subsystem_sysname("net".to_owned(), link.name.0.to_string()) {
        Ok(device) => device.is_initialized(),
        // Renamed or gone this moment: there will be an event of it.
        Err(_) => false,
    }
}

/// Events of NICs: udevd's, which come when it has finished with one, or the kernel's where there is no udevd.
pub struct Events(::udev::MonitorSocket);

impl Events {
    /// Listens from now on.
    ///
    /// # Errors
    /// If there is no such socket to be had.
    pub fn open() -> io::Result<Self> {
        let builder = if is_udev_here() {
            ::udev::MonitorBuilder::new()?
        } else {
            ::udev::MonitorBuilder::new_kernel()?
        };
        Ok(Self(builder.match_subsystem("net")?.listen()?))
    }

    /// Waits for the next one, at most so long; `false`: none came.
    ///
    /// # Errors
    /// If the socket is broken.
    pub fn wait(&self, timeout: Duration) -> io::Result<bool> {
        let timeout = PollTimeout::try_from(timeout).unwrap_or(PollTimeout::MAX);
        let mut fds = [PollFd::new(self.0.as_fd(), PollFlags::POLLIN)];
        match poll(&mut fds, timeout) {
            // A signal came in between: the caller looks again, and waits on.
            Err(nix::Error::EINTR) => Ok(true),
            ready => Ok(ready? > 0),
        }
    }

    /// What has come since the last call, in words: `add enp3s0`. The hardware address is none of an event's
    /// properties, and on `remove` sysfs has lost it: an event says only that there is something to look at.
    #[must_use]
    pub fn drain(&self) -> Vec<String> {
        let word = |event: ::udev::Event| {
            let action = event.action().unwrap_or_default().to_string_lossy().into_owned();
            format!("{action} {}", event.sysname().to_string_lossy())
        };
        self.0.iter().map(word).collect()
    }
}

impl AsFd for Events {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Asks the PCI bus to look for devices that it was not told of, and waits until it has
/// (Documentation/ABI/testing/sysfs-bus-pci).
///
/// # Errors
/// If there is no such bus, or we may not.
pub fn rescan_pci() -> Result<(), Error> {
    fs::write(RESCAN, "1").map_err(|source| Error::Write {
        path: RESCAN.to_owned(),
        source,
    })
}
