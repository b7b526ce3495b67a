//! What is kept from run to run: the configuration that was accepted last, bound to this VM, and what is ours
//! in the kernel, which lasts until the reboot.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::store::{Staged, holds, remove, replace};
use crate::dnsmasq::Server;
use crate::kernel::Kept;
use crate::monitor::Tally;
use crate::owned::Owned;

/// Where the firmware tells which VM this is (Documentation/ABI/testing/sysfs-firmware-dmi-tables).
const PRODUCT_UUID: &str = "/sys/class/dmi/id/product_uuid";

/// The two directories of state.
#[derive(Clone, Debug)]
pub struct State {
    pub(super) lasting: PathBuf,
    runtime: PathBuf,
    machine: String,
}

/// Tells a text from the one before it and the one after: each is a file of its own, written once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// Device, number and size.
    file: (u64, u64, u64),
    written: (i64, i64),
    changed: (i64, i64),
}

impl State {
    /// State in these directories, of the VM that this is.
    #[must_use]
    pub fn new(lasting: PathBuf, runtime: PathBuf) -> Self {
        // Machines without DMI (some ARM boards, containers) are all the same one.
        let machine = fs::read_to_string(PRODUCT_UUID).unwrap_or_default();
        let machine = machine.trim().to_lowercase();
        let machine = if machine.is_empty() {
            "unknown".to_owned()
        } else {
            machine
        };
        Self {
            lasting,
            runtime,
            machine,
        }
    }

    /// The directory of what is gone after a reboot.
    #[must_use]
    pub fn runtime(&self) -> &Path {
        &self.runtime
    }

    /// The directory of what outlives a reboot.
    #[must_use]
    pub fn lasting(&self) -> &Path {
        &self.lasting
    }

    /// The text that was accepted last on this VM; `None` if none was. That of another VM, whose disk this one
    /// was copied from, does not count.
    ///
    /// # Errors
    /// If there is one that cannot be read.
    pub fn accepted(&self) -> io::Result<Option<Vec<u8>>> {
        if !self.is_this_machine()? {
            return Ok(None);
        }
        super::read_if_there(&self.accepted_path())
    }

    /// Whether this is the text that was accepted last on this VM.
    ///
    /// # Errors
    /// If there is one that cannot be read.
    pub fn is_accepted(&self, text: &[u8]) -> io::Result<bool> {
        if !self.is_this_machine()? {
            return Ok(false);
        }
        match holds(&self.accepted_path(), text) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            holds => holds,
        }
    }

    /// Which file the text that was accepted last is in; `None`: there is none, or it cannot be told.
    #[must_use]
    pub fn accepted_stamp(&self) -> Option<Stamp> {
        if !self.is_this_machine().ok()? {
            return None;
        }
        let file = fs::metadata(self.accepted_path()).ok()?;
        Some(Stamp {
            file: (file.dev(), file.ino(), file.size()),
            written: (file.mtime(), file.mtime_nsec()),
            changed: (file.ctime(), file.ctime_nsec()),
        })
    }

    /// Writes the text that is about to be accepted, so that installing it is all that is left to do, once the state is
    /// [claimed](Self::claim); `None`: it is the one that was accepted last.
    ///
    /// # Errors
    /// If it cannot be written; then the one before it is kept.
    pub fn stage(&self, text: &[u8]) -> io::Result<Option<Staged>> {
        if self.is_this_machine()? {
            Staged::unless_held(&self.accepted_path(), text)
        } else {
            // That of another VM is about to go, even if it is the same.
            Staged::write(&self.accepted_path(), text).map(Some)
        }
    }

    /// Makes the lasting state this VM's: that of another one is removed.
    ///
    /// # Errors
    /// If it cannot be removed, or made this one's.
    pub fn claim(&self) -> io::Result<()> {
        if self.is_this_machine()? {
            return Ok(());
        }
        // In this order a power cut leaves no text of another VM under this one's name.
        self.remove_texts()?;
        replace(&self.machine_path(), self.machine.as_bytes())
    }

    fn remove_texts(&self) -> io::Result<()> {
        // The window first: without the rest it would bring back what is to be forgotten.
        self.close_window()?;
        remove(&self.accepted_path())?;
        match fs::remove_dir_all(self.history_path()) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// Forgets everything that outlives a reboot.
    ///
    /// # Errors
    /// If it cannot be removed.
    pub fn forget(&self) -> io::Result<()> {
        self.remove_texts()?;
        self.dhcp().forget()?;
        remove(&self.machine_path())
    }

    /// The DHCP server whose files are in these directories.
    #[must_use]
    pub fn dhcp(&self) -> Server {
        Server::new(&self.runtime, &self.lasting)
    }

    /// Whether what outlives a reboot is another VM's, whose disk this one was copied from.
    #[must_use]
    pub fn is_of_another_machine(&self) -> bool {
        self.machine_path().exists() && !self.is_this_machine().unwrap_or(false)
    }

    /// What is ours in the kernel; `None` if there is no record: nothing was done since the boot, or it was lost.
    ///
    /// # Errors
    /// If there is a record that cannot be read.
    pub fn owned(&self) -> io::Result<Option<Owned>> {
        // A record that makes no sense is as good as none: it is written whole or not at all, so this was not us.
        let Some(text) = super::read_if_there(&self.owned_path())? else {
            return Ok(None);
        };
        let owned = serde_json::from_slice(&text);
        if let Err(error) = &owned {
            tracing::warn!(
                "{} is damaged and of no use ({error}): links and sysctls that were changed before it was cannot be given back \
                 as they were",
                self.owned_path().display()
            );
        }
        Ok(owned.ok())
    }

    /// Keeps what is ours in the kernel.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn record(&self, owned: &Owned) -> io::Result<()> {
        if *owned == Owned::default() {
            return remove(&self.owned_path());
        }
        // For nobody to read: with changes whose flows were not looked at yet it may be large.
        replace(&self.owned_path(), &serde_json::to_vec(owned)?)
    }

    /// What an earlier run [kept](Self::keep_seen) of what it saw; what cannot be read is as good as nothing.
    #[must_use]
    pub fn seen(&self) -> Option<Vec<u8>> {
        super::read_if_there(&self.seen_path()).ok().flatten()
    }

    /// Keeps what a run saw, for the next one to see less.
    ///
    /// # Errors
    /// If it cannot be written, or what is there cannot be removed.
    pub fn keep_seen(&self, kept: &Kept) -> io::Result<()> {
        match kept {
            Kept::Nothing => remove(&self.seen_path()),
            Kept::Same => Ok(()),
            Kept::New(bytes) => replace(&self.seen_path(), bytes),
        }
    }

    /// What the monitor did since it began; `None`: it did not tell.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn tally(&self) -> io::Result<Option<Tally>> {
        let text = super::read_if_there(&self.tally_path())?;
        Ok(text.and_then(|text| serde_json::from_slice(&text).ok()))
    }

    /// Keeps what the monitor did.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn keep_tally(&self, tally: &Tally) -> io::Result<()> {
        replace(&self.tally_path(), &serde_json::to_vec(tally)?)
    }

    pub(super) fn is_this_machine(&self) -> io::Result<bool> {
        Ok(super::read_if_there(&self.machine_path())?.as_deref() == Some(self.machine.as_bytes()))
    }

    pub(super) fn accepted_path(&self) -> PathBuf {
        self.lasting.join("accepted.yaml")
    }

    fn machine_path(&self) -> PathBuf {
        self.lasting.join("machine")
    }

    fn tally_path(&self) -> PathBuf {
        self.runtime.join("tally.json")
    }

    fn seen_path(&self) -> PathBuf {
        self.runtime.join("seen")
    }

    fn owned_path(&self) -> PathBuf {
        self.runtime.join("owned.json")
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::clock::Moment;
    use crate::intake::{Entry, History, Standing, Summary, Target, fingerprint};

    #[test]
    fn a_clone_does_not_see_what_its_template_accepted() {
        let dir = std::env::temp_dir().join(format!("kylin-vr-state-{}", std::process::id()));
        let on = |machine: &str| State {
            lasting: dir.join("lib"),
            runtime: dir.join("run"),
            machine: machine.to_owned(),
        };
        let (template, clone) = (on("a"), on("b"));
        assert_eq!(template.accepted().unwrap(), None);
        let accept = |state: &State, text| {
            let staged = state.stage(text).unwrap();
            state.claim().unwrap();
            staged.map_or(Ok(()), Staged::install)
        };
        accept(&template, b"eip_list: []\n").unwrap();
        assert_eq!(template.accepted().unwrap().unwrap(), b"eip_list: []\n");
        assert_eq!(clone.accepted().unwrap(), None);
        let entry = Entry {
            when: String::new(),
            command: "reload".to_owned(),
            source: String::new(),
            generation: None,
            sha256: fingerprint(b"eip_list: []\n"),
            result: Standing::Unconfirmed,
            changes: Summary::default(),
        };
        template.add_to_history(&entry, b"eip_list: []\n").unwrap();
        let target = Target {
            accepted: b"a".to_vec(),
            file: None,
        };
        let (now, minute) = (Moment::now().unwrap(), Duration::from_secs(60));
        template
            .open_window(now, minute, b"eip_list: []\n", String::new(), &target)
            .unwrap();
        assert_eq!(template.history().unwrap().entries.len(), 1);
        assert!(template.target().unwrap().is_some());
        assert_eq!(clone.history().unwrap(), History::default());
        assert_eq!(
            (clone.unconfirmed().unwrap(), clone.target().unwrap()),
            (None, None)
        );
        // Even one that its template accepted as well.
        accept(&clone, b"eip_list: []\n").unwrap();
        assert_eq!(clone.accepted().unwrap().unwrap(), b"eip_list: []\n");
        accept(&clone, b"if_list: []\n").unwrap();
        assert_eq!(clone.accepted().unwrap().unwrap(), b"if_list: []\n");
        assert_eq!(template.accepted().unwrap(), None);
        // Not even if the disk goes back to the VM that it came from.
        assert!(!template.history_path().exists() && !template.unconfirmed_path().exists());
        clone.add_to_history(&entry, b"eip_list: []\n").unwrap();
        clone.forget().unwrap();
        assert_eq!(clone.accepted().unwrap(), None);
        assert!(!clone.history_path().exists());
        fs::remove_dir_all(&dir).unwrap();
    }
}
