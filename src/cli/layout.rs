//! A report as a terminal shows it best: broken where its columns begin, changes in their colours. A pipe gets the text as
//! it is, so no program ever sees the difference.

use std::io::IsTerminal;

use super::terminal::{Colour, Terminal};

/// Where a column may begin at the latest, to be one that goes on below.
const LAST_COLUMN: usize = 30;

/// What a terminal is, as far as it matters to a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Layout {
    /// How many columns a line has.
    width: usize,
    /// Whether it takes colours.
    has_colours: bool,
}

impl Layout {
    /// That of an output; `None`: it is no terminal, or its size is not known.
    pub(super) fn of(output: &impl IsTerminal) -> Option<Layout> {
        let terminal = Terminal::of(output, Colour::Auto);
        Some(Layout {
            width: terminal.width.filter(|_| output.is_terminal())?,
            has_colours: terminal.has_colours,
        })
    }

    /// The text for this terminal. It must be free of control characters.
    pub(super) fn apply(self, text: &str) -> String {
        let mut out = String::with_capacity(text.len());
        for line in text.lines() {
            let style = style(line).filter(|_| self.has_colours);
            for piece in wrap(line, self.width) {
                match style {
                    Some(code) => out += &format!("\x1b[{code}m{piece}\x1b[0m\n"),
                    None => out += &format!("{piece}\n"),
                }
            }
        }
        out
    }
}

/// The colour of a line (ECMA-48, SGR), by what it begins with.
fn style(line: &str) -> Option<&'static str> {
    const GOOD: &str = "32";
    const WAITING: &str = "33";
    const BAD: &str = "31";
    let begins = |words: &[&str]| words.iter().any(|word| line.starts_with(word));
    if begins(&["+ ", "delivered to "]) {
        Some(GOOD)
    } else if begins(&["~ ", "? ", "warning: ", "not forwarded: ", "sent outside "]) {
        Some(WAITING)
    } else if begins(&["- ", "error: ", "dropped "]) || line.contains("  WRONG  ") {
        Some(BAD)
    } else {
        None
    }
}

/// Breaks a line at blanks where it would be longer than `width`. What follows stands below the last column that begins
/// near the left; without one it is indented by two.
fn wrap(line: &str, width: usize) -> Vec<String> {
    if line.chars().count() <= width {
        return vec![line.to_owned()];
    }
    let indent = line.len() - line.trim_start().len();
    // Where a word begins behind two blanks or more.
    let begins = |at: &usize| {
        line.is_char_boundary(*at) && line[..*at].ends_with("  ") && !line[*at..].starts_with(' ')
    };
    let column = (indent + 2..line.len().min(LAST_COLUMN)).rfind(begins);
    let hang = column.filter(|column| column * 2 < width).unwrap_or(indent + 2);
    let (mut pieces, mut piece) = (Vec::new(), String::new());
    for word in line.split_inclusive(' ') {
        let length = piece.chars().count() + word.trim_end().chars().count();
        if length > width && piece.chars().count() > hang {
            pieces.push(piece.trim_end().to_owned());
            piece = " ".repeat(hang);
        }
        piece += word;
    }
    pieces.push(piece);
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_goes_on_below_its_last_column() {
        let line = "  route         ok     192.168.100.190 by eth1, and more";
        assert_eq!(
            wrap(line, 48),
            [
                "  route         ok     192.168.100.190 by eth1,",
                "                       and more"
            ]
        );
        assert_eq!(
            wrap("+ nft      rule source: return", 24),
            ["+ nft      rule source:", "           return"]
        );
        assert_eq!(
            wrap("error: a long sentence", 16),
            ["error: a long", "  sentence"]
        );
    }

    #[test]
    fn a_line_that_fits_and_a_word_that_does_not_stay_whole() {
        assert_eq!(wrap("- route    default", 18), ["- route    default"]);
        assert_eq!(wrap("note: unbreakable-word", 8), ["note:", "  unbreakable-word"]);
    }

    #[test]
    fn every_piece_of_a_change_has_its_colour_and_no_colours_are_no_bytes() {
        let text = "- route    default via 10.90.3.1\napplied 1 change\n";
        let layout = |has_colours| Layout {
            width: 24,
            has_colours,
        };
        assert_eq!(
            layout(true).apply(text),
            "\x1b[31m- route    default via\x1b[0m\n\x1b[31m           10.90.3.1\x1b[0m\napplied 1 change\n"
        );
        assert_eq!(
            layout(false).apply(text),
            "- route    default via\n           10.90.3.1\napplied 1 change\n"
        );
    }
}
