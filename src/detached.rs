//! Processes of our own that go on after the run that starts them.

use std::ffi::OsStr;
use std::io::{self, Write};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::thread;

/// Starts `kylin-vr ARGUMENTS` with this on its standard input, and does not wait for its end.
///
/// # Errors
/// If it cannot be started, or does not take the input.
pub fn start(arguments: impl IntoIterator<Item: AsRef<OsStr>>, input: &str) -> io::Result<()> {
    let mut child = Command::new("/proc/self/exe")
        .arg0("kylin-vr")
        .args(arguments)
        .stdin(Stdio::piped())
        // Whoever reads what a run says waits for all who could still say something.
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        // It keeps nobody from unmounting what the run happened to stand in.
        .current_dir("/")
        // Whoever ends our process group (a terminal, a test) does not mean this one.
        .process_group(0)
        .spawn()?;
    let told = child
        .stdin
        .take()
        .map_or(Ok(()), |mut stdin| stdin.write_all(input.as_bytes()));
    // A run ends before its child; a monitor that stays must not leave a zombie each time.
    thread::spawn(move || child.wait());
    told
}
