//! What an entry is made of when it is written, or was given in words: keys with texts, numbers, mappings and lists.

use std::borrow::Cow;

use super::super::node::{Key, Located, Node};
use super::super::problem::Place;

/// The value of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// A text; whether it needs quotes is told from what it is.
    Text(String),
    /// A number, quoted where the file quotes its numbers.
    Number(String),
    /// `true`.
    True,
    /// A mapping.
    Map(Vec<(Cow<'static, str>, Value)>),
    /// A list.
    List(Vec<Value>),
}

impl Value {
    /// A mapping with a key and its value.
    #[must_use]
    pub fn pair(key: impl Into<Cow<'static, str>>, value: Self) -> Self {
        Self::Map(vec![(key.into(), value)])
    }

    /// A number.
    #[must_use]
    pub fn number(number: impl ToString) -> Self {
        Self::Number(number.to_string())
    }

    /// A text.
    #[must_use]
    pub fn text(text: impl ToString) -> Self {
        Self::Text(text.to_string())
    }

    /// As the reader would have it from a file, but for the place.
    pub(in crate::config) fn located(&self) -> Located<'_> {
        let place = Place::default();
        let node = match self {
            Self::Text(text) | Self::Number(text) => Node::Text(Cow::Borrowed(text)),
            Self::True => Node::Text(Cow::Borrowed("true")),
            Self::Map(pairs) => {
                let pairs = pairs
                    .iter()
                    .map(|(key, value)| (Key::new(key, place), value.located()));
                Node::Map(pairs.collect())
            }
            Self::List(items) => Node::List(items.iter().map(Self::located).collect()),
        };
        Located::new(node, place, (0, 0))
    }
}

/// Whether a text without quotes would be something else to some reader of YAML: a number, or one of the words for yes, no
/// and nothing.
pub(super) fn needs_quotes(text: &str) -> bool {
    const WORDS: [&str; 9] = ["null", "true", "false", "yes", "no", "on", "off", "y", "n"];
    let is_word = WORDS.iter().any(|word| word.eq_ignore_ascii_case(text));
    let looks_like_a_number = text.starts_with(|first: char| first.is_ascii_digit())
        && !text.contains([':', '/'])
        && text.bytes().filter(|byte| *byte == b'.').count() != 3;
    text.is_empty() || is_word || looks_like_a_number
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_be_something_else_needs_quotes() {
        for text in [
            "",
            "7",
            "1e3",
            "0x1f",
            "1.5",
            "2026-01-01",
            "True",
            "no",
            "NULL",
            "y",
        ] {
            assert!(needs_quotes(text), "{text}");
        }
        for text in [
            "ids-1",
            "nothing",
            "both",
            "10.90.2.250",
            "10.0.0.0/8",
            "52:54:84:11:00:03",
        ] {
            assert!(!needs_quotes(text), "{text}");
        }
    }
}
