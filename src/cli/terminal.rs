//! What a terminal is told beyond text: colours, and how wide it is. A pipe gets neither.

use std::io::{self, IsTerminal};

use clap::ValueEnum;

/// When to use colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Colour {
    /// On a terminal, unless NO_COLOR is set.
    Auto,
    /// Also into a pipe.
    Always,
    /// Nowhere.
    Never,
}

/// Standard output, as far as it matters to what is written there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Terminal {
    /// Whether it takes colours.
    pub(super) has_colours: bool,
    /// How many columns a line has; `None`: as many as it takes.
    pub(super) width: Option<usize>,
    /// How many lines there are; `None`: it is no terminal.
    pub(super) height: Option<usize>,
}

impl Terminal {
    /// Standard output as it is now.
    pub(super) fn now(colour: Colour) -> Self {
        Self::of(&io::stdout(), colour)
    }

    /// An output as it is now.
    pub(super) fn of(output: &impl IsTerminal, colour: Colour) -> Self {
        let is_terminal = output.is_terminal();
        let set = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let size = terminal_size::terminal_size().filter(|_| is_terminal);
        // COLUMNS says how wide text is to be, also into a pipe.
        let columns = set("COLUMNS").and_then(|columns| columns.parse().ok());
        Self {
            has_colours: has_colours(
                colour,
                is_terminal,
                set("NO_COLOR").is_some(),
                set("TERM").as_deref(),
            ),
            width: columns.or(size.map(|(width, _)| usize::from(width.0))),
            // One that does not know its size (a serial console) is as small as they were.
            height: is_terminal.then(|| size.map_or(24, |(_, height)| usize::from(height.0))),
        }
    }
}

fn has_colours(colour: Colour, is_terminal: bool, no_color: bool, term: Option<&str>) -> bool {
    match colour {
        Colour::Always => true,
        Colour::Never => false,
        // https://no-color.org
        Colour::Auto => is_terminal && !no_color && term != Some("dumb"),
    }
}

/// Colours and weights (ECMA-48, SGR).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Style {
    Good,
    Waiting,
    Bad,
    Heading,
    Faint,
}

impl Style {
    /// The text in this style; it must be free of control characters already.
    pub(super) fn paint(self, text: &str) -> String {
        let code = match self {
            Self::Good => "32",
            Self::Waiting => "33",
            Self::Bad => "1;31",
            Self::Heading => "1",
            Self::Faint => "2",
        };
        format!("\x1b[{code}m{text}\x1b[0m")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_are_for_terminals_that_want_them() {
        let auto = |is_terminal, no_color, term| has_colours(Colour::Auto, is_terminal, no_color, term);
        assert!(auto(true, false, Some("xterm")));
        assert!(!auto(false, false, Some("xterm")));
        assert!(!auto(true, true, Some("xterm")));
        assert!(!auto(true, false, Some("dumb")));
        assert!(has_colours(Colour::Always, false, true, None));
        assert!(!has_colours(Colour::Never, true, false, None));
    }
}
