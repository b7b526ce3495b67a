//! Processes of our own that go on after the run that starts them.

use std::ffi::OsStr;
use std::io::{self, Write};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::thread;

use nix::unistd::dup;

/// The command that waits for the end of its standard input.
pub const LET_GO: &str = "let-go";

/// Starts `kylin-vr ARGUMENTS` with this on its standard input, and does not wait for its end.
///
/// # Errors
/// If it cannot be started, or does not take the input.
pub fn start(arguments: impl IntoIterator<Item: AsRef<OsStr>>, input: &str) -> io::Result<()> {
    let mut child = spawn(arguments)?;
    let told = child
        .stdin
        .take()
        .map_or(Ok(()), |mut stdin| stdin.write_all(input.as_bytes()));
    leave(child);
    told
}

/// Starts a process that keeps these open until what is returned is closed, if only by our end.
///
/// # Errors
/// If it cannot be started.
pub fn keep_open<'f>(files: impl IntoIterator<Item = BorrowedFd<'f>>) -> io::Result<ChildStdin> {
    // Unlike what they are copied from, copies go over to the new program.
    let _copies: Vec<OwnedFd> = files.into_iter().map(dup).collect::<Result<_, _>>()?;
    let mut child = spawn([LET_GO])?;
    let end = child.stdin.take();
    leave(child);
    end.ok_or_else(|| io::ErrorKind::BrokenPipe.into())
}

fn spawn(arguments: impl IntoIterator<Item: AsRef<OsStr>>) -> io::Result<Child> {
    Command::new("/proc/self/exe")
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
        .spawn()
}

/// A run ends before its child; a monitor that stays must not leave a zombie each time.
fn leave(mut child: Child) {
    thread::spawn(move || child.wait());
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::*;

    #[test]
    fn a_copy_goes_over_and_what_it_is_copied_from_does_not() {
        use nix::fcntl::{F_GETFD, FdFlag, fcntl};
        let (reader, _writer) = io::pipe().unwrap();
        let copy = dup(reader.as_fd()).unwrap();
        let closes = |file: BorrowedFd<'_>| fcntl(file, F_GETFD).unwrap() & FdFlag::FD_CLOEXEC.bits() != 0;
        assert!(closes(reader.as_fd()) && !closes(copy.as_fd()));
    }
}
