//! One shell for a document, as root in namespaces of its own: whatever it makes goes with it.
//!
//! Mounts, network and processes are its own, and `/tmp`, `/run`, `/var/lib` and `/etc` too, so that the namespaces and
//! files of the tutorial collide with nothing. It must never change the machine.

use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

/// What makes the place, run first.
const PROLOGUE: &str = include_str!("prologue.sh");

/// Stands behind the output of a block.
const END: &str = "@@ the end of the block @@";

pub struct Shell {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Shell {
    /// Starts one, with the command of this build first in its path.
    pub fn start() -> Shell {
        // Ten minutes are no bound of a test, but the end of one that hangs.
        let mut child = Command::new("timeout")
            .args([
                "--kill-after=5",
                "600",
                "unshare",
                "--mount",
                "--net",
                "--pid",
                "--fork",
            ])
            .args(["--kill-child", "--mount-proc", "bash", "-s"])
            .env_clear()
            .env("PATH", "/run/documents/bin:/usr/sbin:/usr/bin:/sbin:/bin")
            .envs([("HOME", "/root"), ("LC_ALL", "C.UTF-8"), ("TERM", "dumb")])
            .env("COMMAND", env!("CARGO_BIN_EXE_kylin-vr"))
            .env("SOURCE", env!("CARGO_MANIFEST_DIR"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .expect("start unshare (util-linux)");
        let input = child.stdin.take().expect("standard input is a pipe");
        let output = BufReader::new(child.stdout.take().expect("standard output is a pipe"));
        let mut shell = Shell { child, input, output };
        shell.say(PROLOGUE);
        assert_eq!(shell.until_end(), Ok(vec![]), "the namespaces of the documents");
        shell
    }

    /// Goes on within a network namespace, as if it were logged in there.
    pub fn enter(&mut self, namespace: &str) {
        self.say(&format!("exec ip netns exec {namespace} bash -s 2>&1\n"));
    }

    /// Runs a block and gives what it printed, both outputs in their order. A command of it that fails is told by a line
    /// of its own if that is asked for.
    ///
    /// # Errors
    /// The shell ended; what it printed until then.
    pub fn run(&mut self, block: &str, tell_failures: bool) -> Result<Vec<String>, String> {
        let mut script = format!("cat >/run/documents/block <<'{END}'\n{block}{END}\n");
        let trap = r#"trap 'echo "exit code $? of \`$BASH_COMMAND\`"' ERR"#;
        let trap = if tell_failures { trap } else { "trap - ERR" };
        // From a file, with an input of its own: what reads its input does not swallow the next block.
        let _ = writeln!(script, "{trap}\n. /run/documents/block </dev/null");
        self.say(&script);
        self.until_end()
    }

    fn say(&mut self, script: &str) {
        // A shell that has ended says so when it is read from.
        let _ = self.input.write_all(script.as_bytes());
    }

    fn until_end(&mut self) -> Result<Vec<String>, String> {
        self.say(&format!("printf '\\n%s\\n' '{END}'\n"));
        let mut lines: Vec<String> = Vec::new();
        loop {
            let mut line = Vec::new();
            match self.output.read_until(b'\n', &mut line) {
                Ok(length) if length > 0 => {}
                _ => return Err(format!("the shell ended; its last words: {}", lines.join("\n"))),
            }
            let line = String::from_utf8_lossy(&line);
            let line = line.strip_suffix('\n').unwrap_or(&line);
            if line == END {
                break;
            }
            lines.push(line.to_owned());
        }
        // The line end before the mark: of an unended line, or an empty one.
        if lines.last().is_some_and(String::is_empty) {
            lines.pop();
        }
        Ok(lines)
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        self.say("exit\n");
        // It is the first process of its namespace: whatever it started ends with it.
        let _ = self.child.wait();
    }
}
