//! The page that is written: headings, paragraphs, indented blocks, verdicts. It counts what was right.
//!
//! Whether there is colour changes no character of the text, so a page in a file reads as on a terminal.

use std::fmt::Display;
use std::io::{self, IsTerminal, Write};
use std::time::Duration;

/// Columns of the page: as many as read well, fewer on a terminal that has fewer.
const WIDTH: usize = 100;

/// How a piece of text looks on a terminal (SGR parameters, ECMA-48).
#[derive(Clone, Copy, Debug)]
pub enum Style {
    /// Headings and commands.
    Bold,
    /// What may be skipped.
    Dim,
    /// What is right, what is added.
    Green,
    /// What is wrong, what is removed.
    Red,
    /// What is changed or pending.
    Yellow,
}

/// How many were tried, and how many were right.
#[derive(Clone, Copy, Debug, Default)]
struct Tally {
    tried: u32,
    right: u32,
}

/// Standard output, and the count of what was right.
#[derive(Debug)]
pub struct Page {
    colour: bool,
    width: usize,
    probes: Tally,
    checks: Tally,
}

impl Tally {
    fn count(&mut self, right: bool) {
        self.tried += 1;
        self.right += u32::from(right);
    }
}

impl Page {
    /// In colour on a terminal, unless `NO_COLOR` is set (no-color.org: and not empty).
    pub fn new() -> Page {
        let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let is_terminal = io::stdout().is_terminal();
        let size = terminal_size::terminal_size().filter(|_| is_terminal);
        Page {
            colour: is_terminal && !no_color,
            width: size.map_or(WIDTH, |(width, _)| usize::from(width.0).clamp(60, WIDTH)),
            probes: Tally::default(),
            checks: Tally::default(),
        }
    }

    /// A text in a style.
    pub fn paint(&self, style: Style, text: impl Display) -> String {
        let code = match style {
            Style::Bold => 1,
            Style::Dim => 2,
            Style::Green => 32,
            Style::Red => 31,
            Style::Yellow => 33,
        };
        match self.colour {
            true => format!("\x1b[{code}m{text}\x1b[0m"),
            false => text.to_string(),
        }
    }

    /// Whether a line has less than all of its columns.
    pub fn is_narrow(&self) -> bool {
        self.width < WIDTH
    }

    /// One line as it is. A reader that went away has seen enough; the exit code is still of use.
    pub fn line(&mut self, text: impl Display) {
        let _ = writeln!(io::stdout(), "{text}");
    }

    /// The heading of a scene.
    pub fn heading(&mut self, text: &str) {
        let rule = "─".repeat(self.width.saturating_sub(text.chars().count() + 4));
        let heading = self.paint(Style::Bold, format!("── {text} {rule}"));
        self.line(format!("\n\n{heading}"));
    }

    /// A paragraph, after an empty line, broken at the page's width.
    pub fn say(&mut self, text: &str) {
        self.line("");
        for line in wrap(text, self.width, 0) {
            self.line(line);
        }
    }

    /// A remark under a table, indented and broken.
    pub fn remark(&mut self, text: &str) {
        for line in wrap(text, self.width - 6, 0) {
            let line = self.paint(Style::Dim, line);
            self.line(format!("      {line}"));
        }
    }

    /// A command as one would type it.
    pub fn command(&mut self, text: &str) {
        let text = self.paint(Style::Bold, format!("$ {text}"));
        self.line(format!("\n  {text}"));
    }

    /// What a command printed: indented, broken at the page's width, changes in their colours.
    pub fn output(&mut self, text: &str) {
        for line in text.lines() {
            let mut words = line.splitn(2, ' ');
            let style = match words.next() {
                Some("+") => Some(Style::Green),
                Some("-" | "error:") => Some(Style::Red),
                Some("~" | "?" | "warning:") => Some(Style::Yellow),
                Some(word) if word.starts_with('#') => Some(Style::Dim),
                _ => None,
            };
            // In a list of changes, a line goes on below where its text began.
            let is_change = ["+ ", "- ", "~ "].iter().any(|sign| line.starts_with(sign));
            for piece in wrap(line, self.width - 4, if is_change { 11 } else { 4 }) {
                let piece = style.map_or_else(|| piece.clone(), |style| self.paint(style, &piece));
                self.line(format!("    {piece}").trim_end());
            }
        }
    }

    /// Says whether something other than a probe is as it should be.
    pub fn check(&mut self, right: bool, what: &str) {
        self.checks.count(right);
        let mark = self.mark(right);
        let what = if right {
            what.to_owned()
        } else {
            self.paint(Style::Red, format!("NOT SO: {what}"))
        };
        self.line(format!("  {mark} {what}"));
    }

    /// Counts a probe and gives the mark to show for it.
    pub fn probe(&mut self, right: bool) -> String {
        self.probes.count(right);
        self.mark(right)
    }

    fn mark(&self, right: bool) -> String {
        if right {
            self.paint(Style::Green, "✓")
        } else {
            self.paint(Style::Red, "✗")
        }
    }

    /// The last line; whether everything was right.
    pub fn end(&mut self, took: Duration) -> bool {
        let Page { probes, checks, .. } = *self;
        let all_right = probes.tried == probes.right && checks.tried == checks.right;
        let text = format!(
            "{} probes, {} right; {} other checks, {} right; {:.1} s",
            probes.tried,
            probes.right,
            checks.tried,
            checks.right,
            took.as_secs_f64()
        );
        let (style, verdict) = match all_right {
            true => (Style::Green, "All as it should be"),
            false => (Style::Red, "NOT ALL AS IT SHOULD BE (look for ✗ above)"),
        };
        self.line("\n");
        for line in wrap(&format!("{verdict}: {text}."), self.width, 0) {
            self.line(self.paint(style, line));
        }
        all_right
    }
}

/// Breaks a line at blanks where it would be longer than `width`; what follows is indented by `hang`. Blanks
/// within a piece stay as they are, so a line that fits is untouched.
fn wrap(line: &str, width: usize, hang: usize) -> Vec<String> {
    let mut pieces = Vec::new();
    let mut piece = String::new();
    for word in line.split_inclusive(' ') {
        let length = piece.chars().count() + word.trim_end().chars().count();
        if length > width && !piece.trim().is_empty() {
            pieces.push(piece.trim_end().to_owned());
            piece = " ".repeat(hang);
        }
        piece += word;
    }
    pieces.push(piece.trim_end().to_owned());
    pieces
}

#[cfg(test)]
mod tests {
    use super::wrap;

    #[test]
    fn a_line_that_fits_is_untouched() {
        assert_eq!(wrap("+ nft      table", 16, 11), ["+ nft      table"]);
        assert_eq!(wrap("", 16, 11), [""]);
    }

    #[test]
    fn a_long_line_goes_on_below_its_text() {
        assert_eq!(
            wrap("+ nft      rule source: return", 20, 4),
            ["+ nft      rule", "    source: return"]
        );
        assert_eq!(wrap("unbreakable-word next", 5, 1), ["unbreakable-word", " next"]);
    }
}
