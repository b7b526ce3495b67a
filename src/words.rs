//! The system's errors as parts of our sentences.

use std::io;

/// What an error says, in lower case and without its number: `no such file or directory`.
#[must_use]
pub fn plain(error: &io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or(&text).to_lowercase()
}

/// A text of somebody else's as one line that can be shown: what would move a terminal's cursor, end our line or turn
/// its direction is written as an escape, `\u{1b}`.
#[must_use]
pub fn one_line(text: &str) -> String {
    shown(text, |_| false)
}

/// The same of a text of many lines: their ends stay, and tabs.
#[must_use]
pub fn many_lines(text: &str) -> String {
    shown(text, |one| matches!(one, '\n' | '\t'))
}

fn shown(text: &str, stays: impl Fn(char) -> bool) -> String {
    let mut shown = String::with_capacity(text.len());
    for one in text.chars() {
        // Line and paragraph separators, and the marks of the Unicode bidirectional algorithm (UAX #9).
        let turns =
            matches!(one, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        if (one.is_control() || turns) && !stays(one) {
            shown.extend(one.escape_unicode());
        } else {
            shown.push(one);
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_moves_no_cursor() {
        let text = "a\x1b[2J\r\n\tb \u{9b}1m\u{202e}c\u{2028}d\x7f äß网";
        assert_eq!(
            one_line(text),
            r"a\u{1b}[2J\u{d}\u{a}\u{9}b \u{9b}1m\u{202e}c\u{2028}d\u{7f} äß网"
        );
        assert_eq!(
            many_lines(text),
            "a\\u{1b}[2J\\u{d}\n\tb \\u{9b}1m\\u{202e}c\\u{2028}d\\u{7f} äß网"
        );
    }
}
