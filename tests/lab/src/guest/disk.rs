//! The disk of a machine: a copy-on-write layer over the image.

use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;

use super::image::Image;
use crate::namespace::command;
use crate::scratch::Scratch;

/// A disk that outlives its machine: powered off, or cut off; gone with its last user.
#[derive(Clone, Debug)]
pub struct Disk {
    directory: Arc<Scratch>,
}

impl Disk {
    pub(super) fn new(image: &Image) -> Disk {
        let disk = Disk {
            directory: Arc::new(Scratch::new()),
        };
        let (base, file) = (
            image.disk().display().to_string(),
            disk.file().display().to_string(),
        );
        must(command(
            "qemu-img",
            &["create", "-q", "-f", "qcow2", "-b", &base, "-F", "raw", &file],
        ));
        disk
    }

    /// A copy, as it is now.
    pub fn copy(&self) -> Disk {
        let copy = Disk {
            directory: Arc::new(Scratch::new()),
        };
        let [from, to] = [self, &copy].map(|disk| disk.file().display().to_string());
        must(command("cp", &["--sparse=always", "--reflink=auto", &from, &to]));
        copy
    }

    pub(super) fn file(&self) -> PathBuf {
        self.directory.path().join("disk.qcow2")
    }
}

fn must(mut command: Command) {
    let output = command
        .output()
        .unwrap_or_else(|error| panic!("start {command:?}: {error}"));
    assert!(
        output.status.success(),
        "{command:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}
