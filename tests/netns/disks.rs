//! Disks that are full, cannot be written, or have lost what was on them.

use std::fs;
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use lab::{Vpc, with_own_mounts};

use crate::configs::{NOTE, expect, full, vpc};

fn mount(arguments: &[&str], directory: &Path) {
    let status = Command::new("mount")
        .args(arguments)
        .arg(directory)
        .status()
        .unwrap();
    assert!(status.success(), "mount {arguments:?}");
}

/// A VPC with the note's configuration, one of whose directories is a small disk of its own.
fn on_a_disk(part: &str) -> (Vpc, PathBuf) {
    let vpc = vpc();
    let directory = vpc.directory().join(part);
    mount(&["-t", "tmpfs", "-o", "size=4m,mode=0700", "tmpfs"], &directory);
    vpc.reload_ok(NOTE);
    (vpc, directory)
}

/// Writes till there is no more room.
fn fill(directory: &Path) -> PathBuf {
    let path = directory.join("filler");
    let mut file = fs::File::create(&path).unwrap();
    while file.write_all(&[0; 4096]).is_ok() {}
    path
}

/// Where a directory is full or read-only: the exit code of a `reload -`, and what it must say.
const SAID: [(&str, i32, &str); 3] = [
    ("etc", 1, "write {}/kylin-vr.yaml: "),
    ("state", 4, "keep the configuration: write {}/accepted.yaml: "),
    ("run", 4, "keep the record of what is ours: write {}/owned.json: "),
];

pub fn a_full_disk_changes_nothing_and_space_heals() {
    for (part, code, words) in SAID {
        with_own_mounts(|| {
            let (vpc, directory) = on_a_disk(part);
            let before = vpc.router.snapshot();
            let installed = fs::read(vpc.config_path()).unwrap();
            let filler = fill(&directory);
            let words = words.replace("{}", directory.to_str().unwrap()) + "no space left on device";
            for _ in 0..2 {
                let run = vpc.kylin_vr_with_input(&["reload", "-"], &full());
                expect(&run, code, &words);
                before.assert_same(&vpc.router.snapshot());
                assert_eq!(fs::read(vpc.config_path()).unwrap(), installed);
            }
            // What needs no space goes on.
            expect(&vpc.kylin_vr(&["reload"]), 0, "nothing changed");
            expect(&vpc.kylin_vr(&["status"]), 0, "ok");
            fs::remove_file(filler).unwrap();
            expect(&vpc.kylin_vr_with_input(&["reload", "-"], &full()), 0, "applied");
            expect(&vpc.kylin_vr(&["status"]), 0, "ok");
        });
    }
}

pub fn a_read_only_disk_changes_nothing() {
    for (part, code, words) in SAID {
        with_own_mounts(|| {
            let (vpc, directory) = on_a_disk(part);
            let before = vpc.router.snapshot();
            mount(&["-o", "remount,ro"], &directory);
            // Without a place for the lock nothing is even tried.
            let (code, words) = if part == "run" {
                (1, "lock {}/lock: ")
            } else {
                (code, words)
            };
            let words = words.replace("{}", directory.to_str().unwrap()) + "read-only file system";
            expect(&vpc.kylin_vr_with_input(&["reload", "-"], &full()), code, &words);
            before.assert_same(&vpc.router.snapshot());
            if part != "run" {
                // The file is only read.
                expect(&vpc.kylin_vr(&["reload"]), 0, "nothing changed");
                expect(&vpc.kylin_vr(&["start"]), 0, "nothing changed");
            }
            mount(&["-o", "remount,rw"], &directory);
            expect(&vpc.kylin_vr_with_input(&["reload", "-"], &full()), 0, "applied");
        });
    }
}

pub fn directories_that_are_missing_are_made_again() {
    let vpc = vpc();
    vpc.reload_ok(NOTE);
    let before = vpc.router.snapshot();
    for (part, mode) in [("etc", 0o700), ("state", 0o700), ("run", 0o755)] {
        let directory = vpc.directory().join(part);
        fs::remove_dir_all(&directory).unwrap();
        expect(&vpc.kylin_vr_with_input(&["reload", "-"], NOTE), 0, "");
        assert_eq!(fs::metadata(&directory).unwrap().mode() & 0o7777, mode, "{part}");
        before.assert_same(&vpc.router.snapshot());
        expect(&vpc.kylin_vr(&["status"]), 0, "ok");
    }
}
