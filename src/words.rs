//! The system's errors, and what others named, as parts of our sentences.

use std::borrow::Cow;
use std::io;

/// What an error says, in lower case and without its number: `no such file or directory`. One of our own is as it is.
#[must_use]
pub fn plain(error: &io::Error) -> String {
    let text = error.to_string();
    if error.get_ref().is_some() {
        return text;
    }
    text.split(" (os error").next().unwrap_or(&text).to_lowercase()
}

/// Text that others chose (a NIC's name, a key of a file, an agent's words) as it can stand in a line: what would end the
/// line, move a terminal's cursor or turn the reading direction is written `\u{1b}`.
#[must_use]
pub fn printable(text: &str) -> Cow<'_, str> {
    escaped(text, |_| false)
}

/// The same of a text of several lines: their ends and tabs stay.
#[must_use]
pub fn printable_lines(text: &str) -> Cow<'_, str> {
    escaped(text, |letter| matches!(letter, '\n' | '\t'))
}

fn escaped(text: &str, stays: impl Fn(char) -> bool) -> Cow<'_, str> {
    // The standard library knows what cannot be printed (its own quotes and backslashes can).
    let is_plain = |letter: char| {
        matches!(letter, ' '..='~') || stays(letter) || letter.escape_debug().eq(std::iter::once(letter))
    };
    if text.chars().all(is_plain) {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(text.len() + 8);
    for letter in text.chars() {
        if is_plain(letter) {
            escaped.push(letter);
        } else {
            escaped.extend(letter.escape_debug());
        }
    }
    Cow::Owned(escaped)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_would_act_on_is_written_out() {
        for (text, shown) in [
            ("eth0", "eth0"),
            ("it's \"10%\" \\ größer, 网卡 …", "it's \"10%\" \\ größer, 网卡 …"),
            ("a\u{1b}[31mb", "a\\u{1b}[31mb"),
            ("a\nerror: all is lost\r", "a\\nerror: all is lost\\r"),
            ("\u{202e}0hte\u{2066}", "\\u{202e}0hte\\u{2066}"),
            ("\u{9b}2J\u{7f}\u{0}", "\\u{9b}2J\\u{7f}\\0"),
            ("a\u{200b}b\u{feff}", "a\\u{200b}b\\u{feff}"),
        ] {
            assert_eq!(printable(text), shown);
        }
        assert_eq!(printable_lines("a\n\tb\u{1b}c\n"), "a\n\tb\\u{1b}c\n");
    }

    #[test]
    fn only_the_systems_own_errors_are_put_in_lower_case() {
        assert_eq!(
            plain(&io::Error::from_raw_os_error(2)),
            "no such file or directory"
        );
        assert_eq!(plain(&io::Error::other("/A is a pipe")), "/A is a pipe");
    }
}
