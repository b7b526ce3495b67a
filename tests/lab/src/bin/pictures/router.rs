//! The router of a VPC as somebody sees it who is logged in to its VM: the command by its name, its files where they
//! belong. All of that is mounted for one thread and what it starts; the machine's own files are never touched.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use lab::Vpc;

use crate::terminal;

/// Mounts of its own for /etc, /run, /tmp and /var/lib, with the command in `/run/documents/bin`: as for the examples of
/// the documents.
const PLACE: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../documents/prologue.sh"));

/// Where the file is.
const INSTALLED: &str = "/etc/kylin-vr/kylin-vr.yaml";

pub struct Router<'v> {
    vpc: &'v Vpc,
    monitor: Child,
}

impl<'v> Router<'v> {
    /// Within mounts of one's own ([`lab::with_own_mounts`]): a router with this file in force, and its monitor.
    pub fn start(vpc: &'v Vpc, command: &Path, yaml: &str) -> Router<'v> {
        let mut place = Command::new("bash");
        place.args(["-c", PLACE]).env("COMMAND", command);
        place.env("SOURCE", concat!(env!("CARGO_MANIFEST_DIR"), "/../.."));
        let made = vpc.router.output(place);
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stdout));
        fs::write(INSTALLED, yaml).expect("write the file");
        let reload = vpc
            .router
            .run_with_sysfs(|| kylin_vr("reload").stdout(Stdio::null()).status());
        assert!(reload.expect("start kylin-vr").success(), "the file is applied");
        let mut monitor = kylin_vr("monitor");
        let monitor = vpc
            .router
            .run_with_sysfs(|| monitor.stderr(Stdio::null()).spawn());
        let monitor = monitor.expect("start the monitor");
        while !Path::new("/run/kylin-vr/monitor").exists() {
            thread::sleep(Duration::from_millis(10));
        }
        Router { vpc, monitor }
    }

    /// What `kylin-vr WORDS`, which must end with `code`, prints on a terminal of so many columns.
    pub fn run(&self, words: &str, code: i32, columns: u16) -> String {
        let run = || terminal::run(kylin_vr(words), code, columns);
        self.vpc.router.run_with_sysfs(run)
    }
}

impl Drop for Router<'_> {
    fn drop(&mut self) {
        let _ = self.monitor.kill().and_then(|()| self.monitor.wait());
    }
}

fn kylin_vr(words: &str) -> Command {
    let mut command = Command::new("kylin-vr");
    command.args(words.split(' ')).current_dir("/tmp").env_clear();
    command.env("PATH", "/run/documents/bin:/usr/sbin:/usr/bin:/sbin:/bin");
    command
}
