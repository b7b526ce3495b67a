//! A guest in QEMU, in the namespace of the VPC's switch.
//!
//! It must never outlive its test: QEMU is killed with the process that started it, whatever ends that.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use std::{fs, thread};

use super::agent::GuestAgent;
use super::disk::Disk;
use super::image::tail;
use super::nics::Plugged;
use super::patience;
use super::qmp::Qmp;
use crate::namespace::Namespace;
use crate::scratch::Scratch;
use crate::wait::Deadline;
use crate::{Daemon, Run};

/// How many NICs fit.
pub(super) const SLOTS: usize = 16;
pub(super) const SNAPSHOT: &str = "booted";

pub(super) type Slots = [Option<Plugged>; SLOTS];

/// A running guest; it is killed when dropped. Fields are dropped in this order: QEMU before its files and taps.
#[derive(Debug)]
pub struct Machine {
    pub(super) qemu: Mutex<Daemon>,
    pub(super) qmp: Mutex<Qmp>,
    pub(super) bench: Mutex<GuestAgent>,
    pub(super) slots: Mutex<Slots>,
    pub(super) disk: Disk,
    pub(super) files: Scratch,
    pub(super) switch: Namespace,
}

impl Machine {
    /// Runs a shell script in the guest and gives its standard output.
    ///
    /// # Panics
    /// If it fails, with what it said.
    pub fn sh(&self, script: &str) -> String {
        let run = self.try_sh(script, "");
        assert!(
            run.code == 0,
            "{script}: exit {}\n{}{}",
            run.code,
            run.stdout,
            run.stderr
        );
        run.stdout
    }

    /// The same, however it ends, with something on its standard input.
    pub fn try_sh(&self, script: &str, input: &str) -> Run {
        self.bench().exec("/bin/sh", &["-c", script], input.as_bytes())
    }

    /// Repeats a script until it succeeds, and gives what it printed then.
    ///
    /// # Panics
    /// If it does not in time, with what it said last.
    pub fn wait_for(&self, what: &str, script: &str) -> String {
        let deadline = Deadline::after(patience());
        loop {
            let asked = Instant::now();
            let run = self.try_sh(script, "");
            if run.code == 0 {
                return run.stdout;
            }
            let said = format!("{}{}", run.stdout, run.stderr);
            assert!(!deadline.passed(), "{what} does not come: {script}:\n{said}");
            // To ask takes an emulated processor some tenths of a second: most of its time is for what is waited for.
            thread::sleep((asked.elapsed() * 2).min(Duration::from_secs(2)));
        }
    }

    /// Puts a file into the guest.
    pub fn copy_in(&self, path: &str, bytes: &[u8]) {
        let mut bench = self.bench();
        let failed = |error| panic!("write {path} in the guest: {error}");
        let file = bench.open(path, "w").unwrap_or_else(failed);
        for chunk in bytes.chunks(48 * 1024) {
            let taken = bench
                .write(file, chunk)
                .unwrap_or_else(|error| panic!("write {path}: {error}"));
            assert_eq!(taken, chunk.len(), "write {path}");
        }
        bench
            .close(file)
            .unwrap_or_else(|error| panic!("close {path}: {error}"));
    }

    /// Connects to the guest agent that a hypervisor has; one connection at a time.
    pub fn agent(&self) -> GuestAgent {
        GuestAgent::connect(&self.agent_socket())
    }

    /// The socket of that agent, for `kylin-vr push`.
    pub fn agent_socket(&self) -> PathBuf {
        self.files.path().join("agent.sock")
    }

    /// The processor time that the guest's processors have taken so far: what it spends, whoever else is busy. Disks and
    /// NICs are emulated by other threads, and are not in it.
    ///
    /// # Panics
    /// If the machine is gone.
    pub fn processor_time(&self) -> Duration {
        let processors = self.with_qmp(|qmp| qmp.call("query-cpus-fast", serde_json::json!({})));
        let processors = processors.as_array().expect("a list of processors").iter();
        let pid = self.lock(&self.qemu).pid();
        let nanoseconds = processors.map(|processor| {
            let path = format!("/proc/{pid}/task/{}/schedstat", processor["thread-id"]);
            let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
            let first: Option<u64> = text
                .split_whitespace()
                .next()
                .and_then(|number| number.parse().ok());
            first.unwrap_or_else(|| panic!("{path}: {text}"))
        });
        Duration::from_nanos(nanoseconds.sum())
    }

    /// Ends QEMU as a power cut ends a machine, and gives the disk as it is then.
    pub fn power_cut(self) -> Disk {
        self.disk.clone()
    }

    /// Shuts the guest down and gives its disk.
    ///
    /// # Panics
    /// If it does not go in time.
    pub fn shut_down(self) -> Disk {
        self.bench().exec_start("/bin/systemctl", &["poweroff"], b"");
        let deadline = Deadline::after(patience());
        while self.lock(&self.qemu).is_running() {
            assert!(!deadline.passed(), "the guest does not shut down");
            thread::sleep(Duration::from_millis(20));
        }
        self.disk.clone()
    }

    /// Saves a snapshot and switches off.
    pub(super) fn save_snapshot(self) -> Disk {
        // The page cache of the guest would be most of the file.
        self.sh("sync; echo 3 >/proc/sys/vm/drop_caches");
        self.with_qmp(|qmp| qmp.human(&format!("savevm {SNAPSHOT}")));
        self.disk.clone()
    }

    pub(super) fn switch(&self) -> &Namespace {
        &self.switch
    }

    pub(super) fn with_qmp<T>(&self, f: impl FnOnce(&mut Qmp) -> T) -> T {
        f(&mut self.lock(&self.qmp))
    }

    pub(super) fn with_slots<T>(&self, f: impl FnOnce(&mut Slots) -> T) -> T {
        f(&mut self.lock(&self.slots))
    }

    pub(super) fn bench(&self) -> MutexGuard<'_, GuestAgent> {
        self.lock(&self.bench)
    }

    /// A panic elsewhere has said what is wrong.
    fn lock<'m, T>(&self, mutex: &'m Mutex<T>) -> MutexGuard<'m, T> {
        mutex.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        if thread::panicking() {
            let said = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                self.try_sh("journalctl -b -o short-monotonic --no-pager -u 'kylin-vr*' | tail -n 100; ip -4 addr; ip route", "").stdout
            }));
            eprintln!("--- the guest\n{}", said.unwrap_or_default());
            drop(Report(Some(self.files.path().to_owned())));
        }
    }
}

/// Shows QEMU's words and the end of the serial log when dropped in a panic.
pub(super) struct Report(pub(super) Option<PathBuf>);

impl Report {
    pub(super) fn not_needed(mut self) {
        self.0 = None;
    }
}

impl Drop for Report {
    fn drop(&mut self) {
        let Some(files) = &self.0 else { return };
        let read = |path: &Path| fs::read(path).unwrap_or_default();
        let said: Vec<u8> = fs::read_dir(files)
            .into_iter()
            .flatten()
            .flatten()
            .filter(|entry| entry.file_name().to_string_lossy().ends_with(".stderr"))
            .flat_map(|entry| read(&entry.path()))
            .collect();
        let serial = read(&files.join("serial.log"));
        let [said, serial] = [said, serial].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        eprintln!("--- QEMU\n{}\n--- serial\n{}", tail(&said, 20), tail(&serial, 40));
    }
}
