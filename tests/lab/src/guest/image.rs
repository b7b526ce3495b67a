//! What a machine boots: a user land made by a script, the package installed into a copy of it, a choice of kernels.
//!
//! Both steps are kept under a name that is the hash of what went into them, so they are done again exactly when that
//! changed. A file is made under another name and renamed, and a lock keeps test runs beside each other from making
//! the same; what no run uses any more is removed.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use nix::fcntl::{Flock, FlockArg};
use sha2::{Digest, Sha256};

use super::disk::Disk;
use super::machine::Machine;
use crate::namespace::{Namespace, command};
use crate::vpc::Vpc;

/// A kernel that the image can be booted with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kernel {
    /// That of Debian 11, KylinSec 3.5.1 and openEuler 22.03.
    Linux5_10,
    /// Debian 12's own.
    Linux6_1,
    /// That of Debian 13.
    Linux6_12,
    /// The same for aarch64, of an image of its own.
    Linux6_12Aarch64,
}

impl Kernel {
    /// Its version, as the image's script calls it.
    pub fn version(self) -> &'static str {
        match self {
            Kernel::Linux5_10 => "5.10",
            Kernel::Linux6_1 => "6.1",
            Kernel::Linux6_12 | Kernel::Linux6_12Aarch64 => "6.12",
        }
    }

    /// How many processors a machine has: two where it is about what runs at once. Those of two machines on two real ones
    /// spend a third of their time waiting for each other (a processor that asks another to do something spins until it does).
    pub(super) fn processors(self) -> &'static str {
        match self {
            Kernel::Linux5_10 | Kernel::Linux6_1 => "1",
            Kernel::Linux6_12 | Kernel::Linux6_12Aarch64 => "2",
        }
    }
}

/// A root file system with the package in it, and the kernels.
#[derive(Debug)]
pub struct Image {
    base: PathBuf,
    disk: PathBuf,
    /// As long as this is held, no other run removes the files.
    _held: Flock<File>,
    /// A machine that has booted, for each kernel that a test asked for.
    booted: [Mutex<Option<Disk>>; 4],
}

impl Image {
    /// Makes the image, or finds it in `cache`, which is for images of this recipe alone. `recipe` is a script; all
    /// files beside it count.
    ///
    /// # Panics
    /// If the script fails or the package cannot be installed, with what was said.
    pub fn with_package(cache: &Path, recipe: &Path, package: &Path) -> Image {
        fs::create_dir_all(cache).expect("make the directory of images");
        let lock = File::create(cache.join(".lock")).expect("make the lock of images");
        let _lock = Flock::lock(lock, FlockArg::LockExclusive).expect("lock the images");
        let base = cache.join(format!(
            "base-{}",
            hash(&files_below(recipe.parent().expect("a script is in a directory")))
        ));
        if !base.exists() {
            build(recipe, &base);
        }
        let disk = base.join(format!("root-{}.ext4", hash(&[package.to_owned()])));
        if !disk.exists() {
            install(&base, package, &disk);
        }
        let held = File::open(&disk).expect("open the image");
        let held = Flock::lock(held, FlockArg::LockShared).expect("hold the image");
        remove_unused(cache, &base);
        Image {
            base,
            disk,
            _held: held,
            booted: Default::default(),
        }
    }

    pub(super) fn disk(&self) -> &Path {
        &self.disk
    }

    pub(super) fn kernel_file(&self, kernel: Kernel, name: &str) -> PathBuf {
        self.base.join(kernel.version()).join(name)
    }

    /// A disk with a snapshot of a booted machine, made by the first who asks.
    pub(super) fn booted(&self, kernel: Kernel) -> Disk {
        let booted = &self.booted[kernel as usize];
        // If making it failed, it fails again for the next, with a report of its own.
        let mut booted = booted.lock().unwrap_or_else(PoisonError::into_inner);
        booted
            .get_or_insert_with(|| {
                let vpc = Vpc::without_router();
                let machine = Machine::builder(self, &vpc).kernel(kernel).boot();
                machine.save_snapshot()
            })
            .clone()
    }
}

/// Runs the recipe, two or three minutes.
fn build(recipe: &Path, base: &Path) {
    let started = Instant::now();
    eprintln!("vm: building the image, {}", base.display());
    let unfinished = base.with_extension("new");
    let log = base.with_extension("log");
    let out = File::create(&log).expect("make the log of the image");
    let errors = out.try_clone().expect("share the log of the image");
    // The network that it needs is the machine's. In mount and process namespaces of its own: what it mounts in the
    // root (/dev is one of them) and what it starts is gone with it, also when it is killed.
    let status = Command::new("setpriv")
        .args([
            "--pdeathsig",
            "KILL",
            "--",
            "unshare",
            "--mount",
            "--pid",
            "--fork",
        ])
        .args(["--kill-child", "sh"])
        .args([recipe, &unfinished])
        .stdout(out)
        .stderr(errors)
        .status()
        .expect("start setpriv (of util-linux)");
    let said = fs::read_to_string(&log).unwrap_or_default();
    assert!(status.success(), "build the image: {status}\n{}", tail(&said, 30));
    fs::rename(&unfinished, base).expect("name the image");
    eprintln!("vm: built in {} s", started.elapsed().as_secs());
}

/// Installs the package into a copy, as on a machine without a network, and makes a file system of it.
fn install(base: &Path, package: &Path, disk: &Path) {
    let root = disk.with_extension("root");
    let unfinished = disk.with_extension("new");
    let _ = fs::remove_dir_all(&root);
    let _ = fs::remove_file(&unfinished);
    let path = |path: &Path| path.to_str().expect("a path is text").to_owned();
    // A maintainer script that starts something must not find this machine's network, nor (no /sys) its devices.
    let bubble = Namespace::new();
    let run = |line: &[&str]| {
        let output = bubble.output(command(line[0], &line[1..]));
        let said = [output.stdout, output.stderr].concat();
        assert!(
            output.status.success(),
            "{line:?}: {}\n{}",
            output.status,
            String::from_utf8_lossy(&said)
        );
    };
    run(&[
        "cp",
        "-a",
        "--reflink=auto",
        &path(&base.join("rootfs")),
        &path(&root),
    ]);
    run(&["cp", &path(package), &path(&root.join("kylin-vr.deb"))]);
    run(&[
        "env",
        "DEBIAN_FRONTEND=noninteractive",
        "chroot",
        &path(&root),
        "dpkg",
        "--install",
        "/kylin-vr.deb",
    ]);
    run(&["rm", &path(&root.join("kylin-vr.deb"))]);
    // With a journal, small: power cuts are tested.
    run(&[
        "mke2fs",
        "-q",
        "-t",
        "ext4",
        "-O",
        "^metadata_csum",
        "-J",
        "size=8",
        "-m",
        "0",
        "-L",
        "root",
        "-d",
        &path(&root),
        &path(&unfinished),
        "1600M",
    ]);
    fs::rename(&unfinished, disk).expect("name the disk");
    fs::remove_dir_all(&root).expect("remove the copy");
}

/// Removes what other hashes left, unless a run holds it.
fn remove_unused(cache: &Path, base: &Path) {
    for entry in fs::read_dir(cache).into_iter().flatten().flatten() {
        let path = entry.path();
        let mut in_use = path == base;
        for disk in files_below(&path)
            .iter()
            .filter(|path| path.extension().is_some_and(|end| end == "ext4"))
        {
            let file = File::open(disk).expect("open an image");
            match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
                Ok(_unused) => drop(fs::remove_file(disk)),
                Err(_) => in_use = true,
            }
        }
        if path.is_dir() && !in_use {
            let _ = fs::remove_dir_all(&path);
        }
    }
}

/// The first 16 digits of the SHA-256 of names and contents.
fn hash(files: &[PathBuf]) -> String {
    let mut hash = Sha256::new();
    for path in files {
        hash.update(path.file_name().unwrap_or_default().as_encoded_bytes());
        hash.update(fs::read(path).unwrap_or_else(|error| panic!("read {}: {error}", path.display())));
    }
    hash.finalize()
        .iter()
        .take(8)
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// The regular files of a directory and those below it, in order; of an image, those of its top alone.
fn files_below(directory: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        match entry.file_type() {
            Ok(kind) if kind.is_dir() && entry.file_name() != "rootfs" => {
                files.extend(files_below(&entry.path()))
            }
            Ok(kind) if kind.is_file() => files.push(entry.path()),
            _ => {}
        }
    }
    files.sort();
    files
}

/// The last lines of a text.
pub(super) fn tail(text: &str, count: usize) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(count)..].join("\n")
}
