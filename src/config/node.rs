//! The YAML text as a tree whose every value knows its place: so that all errors of a file can be told at once,
//! which a typed deserializer, which stops at the first, cannot.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_yaml::{DuplicateKeyPolicy, Location, Options, Spanned};

use super::MAX_BYTES;
use super::problem::{Place, Problem, Severity};

/// A value with its place.
pub(super) type Located<'t> = Spanned<Node<'t>>;

/// A value of the tree.
#[derive(Debug)]
pub(super) enum Node<'t> {
    /// `null`, `~`, or nothing at all.
    Null,
    /// A number, boolean or the like: its text is the source's own.
    Plain,
    /// A string.
    Text(Cow<'t, str>),
    /// A list.
    List(Vec<Located<'t>>),
    /// A mapping, in the order of the file, keys that stand twice included.
    Map(Vec<(Spanned<String>, Located<'t>)>),
}

impl<'de> Deserialize<'de> for Node<'de> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(NodeVisitor)
    }
}

struct NodeVisitor;

impl<'de> Visitor<'de> for NodeVisitor {
    type Value = Node<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E: Error>(self) -> Result<Node<'de>, E> {
        Ok(Node::Null)
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<Node<'de>, E> {
        Ok(Node::Plain)
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<Node<'de>, E> {
        Ok(Node::Plain)
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<Node<'de>, E> {
        Ok(Node::Plain)
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<Node<'de>, E> {
        Ok(Node::Plain)
    }

    fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Node<'de>, E> {
        Ok(Node::Text(Cow::Borrowed(text)))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Node<'de>, E> {
        Ok(Node::Text(Cow::Owned(text.to_owned())))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Node<'de>, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(Node::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Node<'de>, A::Error> {
        let mut map = Vec::new();
        while let Some(entry) = entries.next_entry()? {
            map.push(entry);
        }
        Ok(Node::Map(map))
    }
}

/// The tree of a text; `None`, and a problem, if it is not YAML or larger, deeper or more entangled than any
/// configuration is.
pub(super) fn read<'t>(text: &'t [u8], problems: &mut Vec<Problem>) -> Option<Located<'t>> {
    let mut refuse = |place, message| {
        problems.push(Problem {
            severity: Severity::Error,
            path: String::new(),
            place,
            value: None,
            message,
        });
    };
    if text.len() > MAX_BYTES {
        refuse(
            Place::default(),
            format!("expected a file of at most {} MiB", MAX_BYTES >> 20),
        );
        return None;
    }
    let text = match std::str::from_utf8(text) {
        Ok(text) => text,
        Err(error) => {
            let before = String::from_utf8_lossy(&text[..error.valid_up_to()]);
            refuse(place_after(&before), "expected UTF-8 text".to_owned());
            return None;
        }
    };
    match serde_yaml::from_str_with_options(text, options()) {
        Ok(root) => match after_end(text) {
            None => Some(root),
            Some(at) => {
                let message = "expected nothing after the line `...`, which ends the file";
                refuse(place_after(&text[..at]), message.to_owned());
                None
            }
        },
        Err(error) => {
            // A text that ends too early is wrong behind its last line, where nothing is: at its end.
            let place = error.location().map(place).unwrap_or_default();
            let place = place.min(place_after(text));
            let message = error.to_string();
            let message = message.split(" at line ").next().unwrap_or(&message);
            refuse(place, format!("not valid YAML: {message}"));
            None
        }
    }
}

/// Bounds that no configuration comes near, so that a hostile text costs little; and keys that stand twice
/// are let through, to be refused with the place of both.
fn options() -> Options {
    let mut options = Options::default();
    options.duplicate_keys = DuplicateKeyPolicy::LastWins;
    options.with_snippet = false;
    options.strict_booleans = true;
    options.alias_limits.max_total_replayed_events = 10_000;
    if let Some(budget) = &mut options.budget {
        budget.max_depth = 16;
        budget.flow_nesting_limit = 16;
        budget.max_aliases = 1_000;
        budget.max_anchors = 1_000;
        // A node has at least four bytes, but in files that say nothing.
        budget.max_nodes = MAX_BYTES / 4;
        budget.max_events = MAX_BYTES / 2;
        budget.max_total_scalar_bytes = MAX_BYTES;
        budget.max_total_comment_bytes = MAX_BYTES;
    }
    options
}

/// The place of a value: that of its alias, where it is one.
pub(super) fn place(location: Location) -> Place {
    Place {
        line: location.line(),
        column: location.column(),
    }
}

/// The text of a scalar as it stands in the file, where it is a number or boolean.
pub(super) fn source<'t>(text: &'t [u8], node: &Located<'_>) -> Option<&'t str> {
    let span = node.defined.span();
    let start = usize::try_from(span.byte_offset()?).ok()?;
    let end = start.checked_add(usize::try_from(span.byte_len()?).ok()?)?;
    std::str::from_utf8(text.get(start..end)?).ok()
}

/// Where a text goes on after YAML's document end marker. The YAML crate takes most of what follows for a second document,
/// and refuses it, but passes over what is none.
fn after_end(text: &str) -> Option<usize> {
    let (mut ended, mut at) = (false, 0);
    for line in text.split_inclusive(['\n', '\r']) {
        let rest = line.strip_prefix("...");
        let marker = rest.filter(|rest| rest.is_empty() || rest.starts_with([' ', '\t', '\n', '\r']));
        ended |= marker.is_some();
        let content = marker.unwrap_or(line).trim_ascii();
        if ended && !content.is_empty() && !content.starts_with('#') {
            return Some(at);
        }
        at += line.len();
    }
    None
}

fn place_after(text: &str) -> Place {
    // YAML's line breaks (YAML 1.2, section 5.4).
    let is_break = |(at, one): &(usize, &str)| *one == "\n" || !text[at + 1..].starts_with('\n');
    let breaks = || text.match_indices(['\n', '\r']).filter(is_break);
    let start = breaks().next_back().map_or(0, |(at, _)| at + 1);
    Place {
        line: breaks().count() as u64 + 1,
        column: text[start..].chars().count() as u64 + 1,
    }
}
