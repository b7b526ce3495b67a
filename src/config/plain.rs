//! A short way to the tree for what hypervisors write: lists of mappings of plain scalars.
//!
//! The YAML crate's own events are read here without what makes them general (aliases that are replayed, budgets, one
//! visitor for every type), which takes half the time. Whatever is unusual is left to the YAML crate: anchors, tags, deep
//! nesting, several documents, and every text that has an error. Both ways give the same tree; `tests` holds them to it.

use std::borrow::Cow;

use granit_parser::{Event, Options, Parser, ScalarStyle, ScanError, Span};

use super::node::{Key, Located, Node, classify, narrow};
use super::problem::Place;

/// No configuration is deeper.
const DEEPEST: usize = 8;

/// Takes an entry of the list with this key of the file; gives it back if it is to stay in the tree.
pub(super) type Take<'f, 't> = dyn FnMut(&str, Located<'t>) -> Option<Located<'t>> + 'f;

/// The tree of a text, but for the entries that `take` takes; `None`: it is to be read the long way.
pub(super) fn read<'t>(text: &'t str, take: &mut Take<'_, 't>) -> Option<Located<'t>> {
    // Then the number of a character is that of a byte.
    if !text.is_ascii() {
        return None;
    }
    let mut options = Options::default();
    options.emit_comments = false;
    let mut events = Events {
        parser: Parser::new_from_str_with_options(text, options),
        take,
    };
    let (Event::StreamStart, _) = events.next()? else {
        return None;
    };
    let (Event::DocumentStart(_, None), _) = events.next()? else {
        return None;
    };
    let (event, span) = events.next()?;
    let root = events.node(event, span, 0, None)?;
    let ends = (events.next()?, events.next()?);
    matches!(ends, ((Event::DocumentEnd, _), (Event::StreamEnd, _))).then_some(root)
}

struct Events<'f, 's, 't, P> {
    parser: P,
    take: &'s mut Take<'f, 't>,
}

impl<'t, P: Iterator<Item = Result<(Event<'t>, Span), ScanError>>> Events<'_, '_, 't, P> {
    fn next(&mut self) -> Option<(Event<'t>, Span)> {
        self.parser.next()?.ok()
    }

    /// The value that starts with this event; `list`: the key of the file that it is of.
    fn node(
        &mut self,
        event: Event<'t>,
        span: Span,
        depth: usize,
        list: Option<&str>,
    ) -> Option<Located<'t>> {
        if depth > DEEPEST {
            return None;
        }
        let value = match event {
            Event::Scalar(text, style, 0, None) => match style {
                ScalarStyle::Plain => scalar(text)?,
                _ => Node::Text(text),
            },
            Event::SequenceStart(_, 0, None) => {
                let mut items = Vec::new();
                loop {
                    match self.next()? {
                        (Event::SequenceEnd, _) => break Node::List(items.into()),
                        (event, span) => {
                            let item = self.node(event, span, depth + 1, None)?;
                            items.extend(match list {
                                Some(list) => (self.take)(list, item),
                                None => Some(item),
                            });
                        }
                    }
                }
            }
            Event::MappingStart(_, 0, None) => {
                let mut entries = Vec::with_capacity(2);
                loop {
                    match self.next()? {
                        (Event::MappingEnd, _) => break Node::Map(entries.into()),
                        (Event::Scalar(name, ScalarStyle::Plain, 0, None), span) => {
                            // Else it may be a merge, null, or what else is no name.
                            if !name.starts_with(|first: char| first.is_ascii_lowercase()) || name == "null" {
                                return None;
                            }
                            let key = Key::new(&name, place(&span));
                            let (event, span) = self.next()?;
                            let list = (depth == 0).then_some(&*key.name);
                            let value = self.node(event, span, depth + 1, list)?;
                            entries.push((key, value));
                        }
                        _ => return None,
                    }
                }
            }
            _ => return None,
        };
        let (start, end) = (span.start.index() as u64, span.end.index() as u64);
        Some(Located::new(value, place(&span), (narrow(start), narrow(end))))
    }
}

fn place(span: &Span) -> Place {
    Place {
        line: narrow(span.start.line() as u64),
        column: narrow(span.start.col() as u64 + 1),
    }
}

/// A plain scalar: null, a number or the like, or a string. What is neither an address nor a number of few digits is for the
/// YAML crate to say.
fn scalar(text: Cow<'_, str>) -> Option<Node<'_>> {
    let bytes = text.as_bytes();
    let is_number =
        matches!(bytes, [b'1'..=b'9', rest @ ..] if rest.len() < 10 && rest.iter().all(u8::is_ascii_digit));
    let count = |one: u8| bytes.iter().filter(|byte| **byte == one).count();
    let is_address = || {
        let of = |is_digit: fn(&u8) -> bool, separator| {
            bytes.iter().all(|byte| is_digit(byte) || *byte == separator)
        };
        (count(b'.') == 3 && of(u8::is_ascii_digit, b'.'))
            || (count(b':') == 5 && of(u8::is_ascii_hexdigit, b':'))
    };
    if is_number {
        Some(Node::Plain)
    } else if is_address() {
        Some(Node::Text(text))
    } else if text.contains('\n') || text.starts_with("---") || text.starts_with("...") {
        // By themselves these are markers, also at the beginning of a line that was indented where it stood.
        None
    } else {
        match classify(&text)? {
            Node::Text(_) => Some(Node::Text(text)),
            Node::Null => Some(Node::Null),
            Node::Plain => Some(Node::Plain),
            Node::List(_) | Node::Map(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use proptest::prelude::*;

    use super::super::node::long_way;
    use super::*;

    /// Both ways give the same tree, or the short one gives none. Whether it gave one.
    fn agree(text: &str) -> bool {
        let Some(short) = read(text, &mut |_, item| Some(item)) else {
            return false;
        };
        let long = long_way(text).unwrap_or_else(|error| panic!("{error}\n{text}"));
        assert_eq!(short, long, "{text}");
        true
    }

    fn texts(directory: &Path) -> Vec<String> {
        let mut found = Vec::new();
        for entry in fs::read_dir(directory).unwrap().flatten() {
            if entry.path().is_dir() {
                found.extend(texts(&entry.path()));
            } else if let Ok(text) = fs::read_to_string(entry.path()) {
                found.push(text);
            }
        }
        found
    }

    #[test]
    fn both_ways_agree_on_every_file_of_the_tests() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let mut short = 0;
        for directory in ["examples", "tests/bad", "tests/golden", "fuzz/corpus/file"] {
            let texts = texts(&root.join(directory));
            assert!(!texts.is_empty(), "{directory}");
            short += texts.iter().filter(|text| agree(text)).count();
        }
        assert!(short > 100, "{short}");
        assert!(
            agree(include_str!("../../examples/kylin-vr.yaml")),
            "the short way is for these"
        );
    }

    #[test]
    fn what_folded_lines_make_is_no_text_to_read_again() {
        // The value is `null`, a line break and three dots, which by themselves would be null and the end of a document.
        for text in ["null\n\n ...\n", "a: null\n\n ...\n\n  [x\n", "80\n\n\n ...\n"] {
            agree(text);
            assert!(long_way(text).is_ok(), "{text}");
        }
    }

    #[test]
    fn as_many_lines_of_comment_as_one_likes() {
        for (before, after) in [
            ("eip_list:\n", "  - eip: 10.90.2.250\n"),
            ("eip_list:\n  - eip: # a note\n", "      10.90.2.250\n"),
            ("eip_list: # none\n", "generation: 3\n"),
            ("", "generation: 3\n"),
            ("generation: 3\n", ""),
        ] {
            let text = |comment: &str| [before, &comment.repeat(2_000), after].concat();
            assert!(agree(&text("    # - eip: 10.90.2.251\n")), "{before}");
            // Not in ASCII: the long way.
            let text = text("    # 弹性IP\n");
            assert!(!agree(&text));
            assert!(long_way(&text).is_ok(), "{before}: {:?}", long_way(&text).err());
        }
    }

    /// Pieces of YAML, as they might meet.
    fn piece() -> impl Strategy<Value = &'static str> {
        prop::sample::select(vec![
            "if_list:",
            "eip_list:",
            "eip: ",
            "vm-ip: ",
            "x",
            "a: b",
            "- ",
            "-",
            "- - ",
            "  ",
            "    ",
            "\n",
            "\n",
            "\n  ",
            "\n\n  ",
            "\n- ",
            "\r\n",
            "\r",
            "\t",
            "10.90.2.250",
            "10.90.2",
            "1.5",
            "80",
            "080",
            "0x1f",
            "1e3",
            "-1",
            "+1",
            ".5",
            "12345678901",
            "52:54:84:11:00:03",
            "1:2:3:4:5:6",
            "12:30",
            "~",
            "null",
            "Null",
            "true",
            "True",
            "yes",
            "on",
            "no",
            ".inf",
            ".nan",
            "''",
            "\"\"",
            "'a b'",
            "\"a\\n\"",
            "# note",
            " # note",
            "#",
            "[",
            "]",
            "{",
            "}",
            ", ",
            ",",
            ": ",
            ":",
            "? ",
            "| ",
            "|\n",
            ">-\n",
            "&a ",
            "*a",
            "!t ",
            "<<: ",
            "---\n",
            "---",
            "...",
            "...\n",
            "%YAML 1.2\n",
            "é",
            "\u{feff}",
            "\u{0}",
            "\u{85}",
            "\u{7f}",
            "@",
            "`",
            "!",
        ])
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        #[test]
        fn both_ways_agree_on_anything(pieces in prop::collection::vec(piece(), 0..14)) {
            agree(&pieces.concat());
        }

        #[test]
        fn both_ways_agree_on_a_file_with_a_flaw(at in any::<prop::sample::Index>(), take in 0..8usize, pieces in prop::collection::vec(piece(), 0..3)) {
            let text = include_str!("../../examples/kylin-vr.yaml");
            let start = at.index(text.len() + 1);
            if let (Some(before), Some(after)) = (text.get(..start), text.get((start + take).min(text.len())..)) {
                agree(&[before, &pieces.concat(), after].concat());
            }
        }
    }
}
