//! `status --watch`: the page, again and again in the same place, until a key of the terminal or a signal ends it.

use std::process::ExitCode;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

use super::super::table::cut;
use super::super::terminal::Terminal;
use super::super::{Context, complain, exit, print};
use super::{Options, look};
use crate::words::printable;

/// The other screen of the terminal, without a cursor; and back to what was there before.
const ENTER: &str = "\x1b[?1049h\x1b[?25l";
const LEAVE: &str = "\x1b[?25h\x1b[?1049l";

pub(super) fn run(context: &Context, options: &Options, period: Duration) -> ExitCode {
    let mut mask = SigSet::empty();
    for signal in [
        Signal::SIGINT,
        Signal::SIGTERM,
        Signal::SIGHUP,
        Signal::SIGQUIT,
        Signal::SIGWINCH,
    ] {
        mask.add(signal);
    }
    // Signals are read, so that there is no moment at which one leaves the terminal as it is now.
    let signals = mask
        .thread_block()
        .and_then(|()| SignalFd::with_flags(&mask, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK));
    let signals = match signals {
        Ok(signals) => signals,
        Err(error) => {
            complain(&format!("kylin-vr status: listen for signals: {error}\n"));
            return ExitCode::from(exit::OTHER);
        }
    };
    let is_terminal = Terminal::now(options.color).height.is_some();
    if is_terminal {
        print(ENTER);
    }
    // Not more often than a look takes: the rest of the machine has work to do.
    let period = period.max(Duration::from_millis(200));
    let mut known = None;
    loop {
        let terminal = Terminal::now(options.color);
        let page = match look(context, None) {
            Ok(mut status) => {
                status.date(context, &mut known);
                status.keep(options);
                status.page(options, terminal)
            }
            Err(error) => format!("kylin-vr status: {}\n", printable(&error)),
        };
        match terminal.height {
            Some(height) => print(&screen(&page, height, period)),
            None => print(&(page + "\n")),
        }
        let mut fds = [PollFd::new(std::os::fd::AsFd::as_fd(&signals), PollFlags::POLLIN)];
        let timeout = PollTimeout::try_from(period).unwrap_or(PollTimeout::MAX);
        let _ = poll(&mut fds, timeout);
        if let Ok(Some(signal)) = signals.read_signal()
            && Signal::try_from(signal.ssi_signo.cast_signed()) != Ok(Signal::SIGWINCH)
        {
            break;
        }
    }
    if is_terminal {
        print(LEAVE);
    }
    ExitCode::SUCCESS
}

/// A page in place of the one before it, in so many lines. Pure.
fn screen(page: &str, height: usize, period: Duration) -> String {
    let room = height.saturating_sub(1);
    let lines: Vec<&str> = page.lines().collect();
    // Each line is cleared behind its end rather than the screen before: that would flicker.
    let mut screen = "\x1b[H".to_owned();
    for line in lines.iter().take(room) {
        screen.push_str(line);
        screen.push_str("\x1b[K\n");
    }
    let more = match lines.len().saturating_sub(room) {
        0 => String::new(),
        more => format!("{more} more lines; "),
    };
    let last = format!(
        "{more}every {} s, Ctrl-C ends",
        (period.as_millis() as f64) / 1000.0
    );
    screen.push_str(&cut(&last, 80));
    screen.push_str("\x1b[K\x1b[J");
    screen
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_screen_has_no_more_lines_than_the_terminal() {
        let page = "line\n".repeat(100);
        let screen = screen(&page, 24, Duration::from_millis(2500));
        assert_eq!(screen.lines().count(), 24);
        assert!(screen.contains("77 more lines; every 2.5 s"), "{screen}");
        assert!(!super::screen("one\n", 24, Duration::from_secs(2)).contains("more"));
    }
}
