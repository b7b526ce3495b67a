//! The YAML text as a tree whose every value knows its place: so that all errors of a file can be told at once,
//! which a typed deserializer, which stops at the first, cannot.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_yaml::{DuplicateKeyPolicy, Location, Options, Spanned};

use super::MAX_BYTES;
use super::check::KEYS;
use super::plain;
use super::problem::{Place, Problem, Severity};
use crate::words::printable;

/// A value with its place, small: a file of 65,000 elastic IPs has 195,000 of them.
#[derive(Debug)]
#[cfg_attr(any(test, fuzzing), derive(PartialEq))]
pub(super) struct Located<'t> {
    pub(super) value: Node<'t>,
    /// Where it stands: of an alias, the alias.
    pub(super) place: Place,
    /// The first byte of its text and the one after its last; of an alias, those of what it stands for.
    source: (u32, u32),
}

impl<'t> Located<'t> {
    /// A value whose text is from the first byte of `source` to before its last one.
    pub(super) fn new(value: Node<'t>, place: Place, source: (u32, u32)) -> Self {
        Self { value, place, source }
    }
}

impl<'de> Deserialize<'de> for Located<'de> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let spanned = Spanned::<Node<'de>>::deserialize(from)?;
        let span = spanned.defined.span();
        let start = narrow(span.byte_offset().unwrap_or_default());
        Ok(Self {
            value: spanned.value,
            place: place(spanned.referenced),
            source: (
                start,
                start.saturating_add(narrow(span.byte_len().unwrap_or_default())),
            ),
        })
    }
}

/// A key of a mapping, with its place.
#[derive(Debug)]
#[cfg_attr(any(test, fuzzing), derive(PartialEq))]
pub(super) struct Key {
    pub(super) name: Cow<'static, str>,
    pub(super) place: Place,
}

impl Key {
    pub(super) fn new(name: &str, place: Place) -> Self {
        Self {
            name: name_of(name),
            place,
        }
    }
}

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let spanned = Spanned::<Name>::deserialize(from)?;
        Ok(Self {
            name: spanned.value.0,
            place: place(spanned.referenced),
        })
    }
}

/// The text of a key: the very one that we know, where we know it.
struct Name(Cow<'static, str>);

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_str(NameVisitor)
    }
}

struct NameVisitor;

impl Visitor<'_> for NameVisitor {
    type Value = Name;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Name, E> {
        Ok(Name(name_of(text)))
    }
}

fn name_of(text: &str) -> Cow<'static, str> {
    let known = KEYS.iter().copied().flatten().find(|known| **known == text);
    known.map_or_else(|| Cow::Owned(text.to_owned()), |known| Cow::Borrowed(*known))
}

/// A value of the tree.
#[derive(Debug)]
#[cfg_attr(any(test, fuzzing), derive(PartialEq))]
pub(super) enum Node<'t> {
    /// `null`, `~`, or nothing at all.
    Null,
    /// A number, boolean or the like: its text is the source's own.
    Plain,
    /// A string.
    Text(Cow<'t, str>),
    /// A list.
    List(Box<[Located<'t>]>),
    /// A mapping, in the order of the file, keys that stand twice included.
    Map(Box<[(Key, Located<'t>)]>),
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
        Ok(Node::List(list.into()))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Node<'de>, A::Error> {
        // Most mappings of large files have two keys.
        let mut map = Vec::with_capacity(2);
        while let Some(entry) = entries.next_entry()? {
            map.push(entry);
        }
        Ok(Node::Map(map.into()))
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
    #[cfg(fuzzing)]
    if let Some(short) = plain::read(text, &mut |_, item| Some(item)) {
        assert_eq!(long_way(text).ok(), Some(short), "both ways give the same tree");
    }
    match long_way(text) {
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
            let message = plainly(message.split(" at line ").next().unwrap_or(&message));
            refuse(place, format!("not valid YAML: {}", printable(message)));
            None
        }
    }
}

/// The tree of a plain text (see [`plain`]) without the entries of its lists, as far as `take` takes them; `None`: it is to
/// be read the long way.
pub(super) fn read_plain<'t>(text: &'t [u8], take: &mut plain::Take<'_, 't>) -> Option<Located<'t>> {
    let text = std::str::from_utf8(text)
        .ok()
        .filter(|_| text.len() <= MAX_BYTES)?;
    if after_end(text).is_some() {
        return None;
    }
    plain::read(text, take)
}

/// The YAML crate's words, but where they are about its own functions and counters.
fn plainly(message: &str) -> &str {
    let says = |words: &[&str]| words.iter().any(|one| message.contains(one));
    if says(&["multiple YAML documents", "from_multiple"]) {
        "more than one document: a file is one, so no line `---` in the middle"
    } else if says(&[
        "budget",
        "alias replay",
        "alias expansion",
        "recursion limit",
        "nesting",
    ]) {
        "deeper or more entangled by aliases than any configuration is"
    } else {
        message
    }
}

/// The tree as the YAML crate makes it.
pub(super) fn long_way(text: &str) -> Result<Located<'_>, serde_yaml::Error> {
    serde_yaml::from_str_with_options(text, options())
}

/// What the YAML crate takes a plain scalar for; `None`: it is none by itself.
pub(super) fn classify(scalar: &str) -> Option<Node<'_>> {
    serde_yaml::from_str_with_options(scalar, options()).ok()
}

/// Bounds that no configuration comes near, so that a hostile text costs little; and keys that stand twice
/// are let through, to be refused with the place of both.
fn options() -> Options {
    let mut options = Options::default();
    options.duplicate_keys = DuplicateKeyPolicy::LastWins;
    options.with_snippet = false;
    options.strict_booleans = true;
    // A comment says nothing to us. Were they told, no more than 32 lines of them could stand before an entry.
    options.emit_comments = false;
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
    }
    options
}

/// The place of a value: that of its alias, where it is one.
fn place(location: Location) -> Place {
    Place {
        line: narrow(location.line()),
        column: narrow(location.column()),
    }
}

/// No text is longer than [`MAX_BYTES`].
pub(super) fn narrow(number: u64) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

/// The text of a scalar as it stands in the file, where it is a number or boolean.
pub(super) fn source<'t>(text: &'t [u8], node: &Located<'_>) -> Option<&'t str> {
    let (start, end) = node.source;
    let text = text.get(usize::try_from(start).ok()?..usize::try_from(end).ok()?)?;
    std::str::from_utf8(text).ok()
}

/// Where a text goes on after YAML's document end marker. The YAML crate takes most of what follows for a second document,
/// and refuses it, but passes over what is none.
fn after_end(text: &str) -> Option<usize> {
    let starts = |at: usize| matches!(text.as_bytes()[..at].last(), None | Some(b'\n' | b'\r'));
    let dots = text.match_indices("...").map(|(at, _)| at);
    let mut at = dots
        .filter(|at| starts(*at))
        .find(|at| after_marker(&text[*at..]).is_some())?;
    for line in text[at..].split_inclusive(['\n', '\r']) {
        let content = after_marker(line).unwrap_or(line).trim_ascii();
        if !content.is_empty() && !content.starts_with('#') {
            return Some(at);
        }
        at += line.len();
    }
    None
}

/// What follows the marker that a text starts with.
fn after_marker(text: &str) -> Option<&str> {
    let rest = text.strip_prefix("...")?;
    (rest.is_empty() || rest.starts_with([' ', '\t', '\n', '\r'])).then_some(rest)
}

fn place_after(text: &str) -> Place {
    // YAML's line breaks (YAML 1.2, section 5.4).
    let is_break = |(at, one): &(usize, &str)| *one == "\n" || !text[at + 1..].starts_with('\n');
    let breaks = || text.match_indices(['\n', '\r']).filter(is_break);
    let start = breaks().next_back().map_or(0, |(at, _)| at + 1);
    Place {
        line: narrow(breaks().count() as u64 + 1),
        column: narrow(text[start..].chars().count() as u64 + 1),
    }
}
