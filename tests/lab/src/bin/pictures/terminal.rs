//! A terminal of a given width: what a command prints on it, with its colours and broken where a terminal breaks it.

use std::fs::File;
use std::io::Read;
use std::process::Command;

use nix::pty::{Winsize, openpty};

/// Lines of the terminal; commands print past them, and nothing scrolls away here.
const ROWS: u16 = 50;

/// Runs a command on a terminal of so many columns, and gives all that it prints, lines unbroken.
///
/// # Panics
/// If there are no terminals, it cannot be started, or it ends otherwise than with `code`: then it is no picture of
/// what it should show.
pub fn run(mut command: Command, code: i32, columns: u16) -> String {
    let size = Winsize {
        ws_row: ROWS,
        ws_col: columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    let pair = openpty(&size, None).expect("open a terminal");
    let end = || pair.slave.try_clone().expect("share a terminal");
    command.stdin(end()).stdout(end()).stderr(end());
    command
        .env("TERM", "xterm-256color")
        .env_remove("NO_COLOR")
        .env_remove("COLUMNS");
    let program = format!("{command:?}");
    let mut child = command
        .spawn()
        .unwrap_or_else(|error| panic!("start {command:?}: {error}"));
    // Both hold the other end open; the reading ends when nobody does.
    drop((command, pair.slave));
    let (mut master, mut printed, mut part) = (File::from(pair.master), Vec::new(), [0; 4096]);
    // Linux ends a terminal by EIO.
    while let Ok(length) = master.read(&mut part) {
        printed.extend_from_slice(&part[..length]);
    }
    let ended = child.wait().expect("wait for the command");
    let printed = String::from_utf8_lossy(&printed).replace('\r', "");
    assert_eq!(ended.code(), Some(code), "{program}: {printed}");
    printed
}

/// Breaks lines after so many characters, as a terminal does; escape sequences take no place.
pub fn wrap(text: &str, columns: usize) -> String {
    let mut wrapped = String::new();
    let (mut column, mut in_escape) = (0, false);
    for sign in text.chars() {
        match sign {
            '\x1b' => in_escape = true,
            // ECMA-48: a control sequence ends with a byte from `@` on; `[` is its introducer.
            _ if in_escape => in_escape = sign == '[' || !('@'..='~').contains(&sign),
            '\n' => column = 0,
            _ if column == columns => {
                wrapped.push('\n');
                column = 1;
            }
            _ => column += 1,
        }
        wrapped.push(sign);
    }
    wrapped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_sees_the_width_and_a_terminal() {
        let mut command = Command::new("sh");
        command.args(["-c", "stty size; test -t 1 && echo yes"]);
        assert_eq!(run(command, 0, 80), "50 80\nyes\n");
    }

    #[test]
    fn lines_are_broken_where_a_terminal_breaks_them() {
        assert_eq!(wrap("abcd\nabc\n", 3), "abc\nd\nabc\n");
        assert_eq!(wrap("\x1b[1mabc\x1b[0md", 3), "\x1b[1mabc\x1b[0m\nd");
    }
}
