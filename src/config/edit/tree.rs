//! Where everything of a text stands, to the byte: the same parser's events as the reader's, so that both see the same
//! file. Says nothing about what it means.

use std::ops::Range;

use granit_parser::{Event, Parser, ScalarStyle, Span, StructureStyle};

/// A value, and the bytes of its text; those of a block end with its last value, without comments and line ends.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) kind: Kind,
    pub(super) range: Range<usize>,
    /// An anchor, alias or tag is on it or in it: what is done to it may be done elsewhere, too.
    pub(super) is_marked: bool,
}

#[derive(Debug)]
pub(super) enum Kind {
    Scalar { style: ScalarStyle, text: String },
    List { is_flow: bool, items: Vec<Node> },
    Map { is_flow: bool, pairs: Vec<(Node, Node)> },
    Alias,
}

impl Node {
    /// Nothing at all, or one of YAML's words for it.
    pub(super) fn is_null(&self) -> bool {
        matches!(&self.kind, Kind::Scalar { style: ScalarStyle::Plain, text }
            if matches!(text.as_str(), "" | "~" | "null" | "Null" | "NULL"))
    }

    /// The text of a scalar.
    pub(super) fn text(&self) -> Option<&str> {
        match &self.kind {
            Kind::Scalar { text, .. } => Some(text),
            _ => None,
        }
    }

    /// The quote around a scalar; empty: none.
    pub(super) fn quote(&self) -> &'static str {
        match &self.kind {
            Kind::Scalar {
                style: ScalarStyle::DoubleQuoted,
                ..
            } => "\"",
            Kind::Scalar {
                style: ScalarStyle::SingleQuoted,
                ..
            } => "'",
            _ => "",
        }
    }

    /// The pairs of a mapping; none of anything else.
    pub(super) fn pairs(&self) -> &[(Node, Node)] {
        match &self.kind {
            Kind::Map { pairs, .. } => pairs,
            _ => &[],
        }
    }

    /// The items of a list; none of anything else.
    pub(super) fn items(&self) -> &[Node] {
        match &self.kind {
            Kind::List { items, .. } => items,
            _ => &[],
        }
    }

    pub(super) fn is_flow(&self) -> bool {
        matches!(
            self.kind,
            Kind::List { is_flow: true, .. } | Kind::Map { is_flow: true, .. }
        )
    }
}

/// The tree of a text that holds a configuration, so that it is neither deep nor entangled; `None`: this parser has no
/// bytes for it.
pub(super) fn read(text: &str) -> Option<Option<Node>> {
    let mut parser = Parser::new_from_str(text);
    let mut root = None;
    loop {
        let (event, span) = next(&mut parser)?;
        match event {
            Event::StreamEnd => return Some(root),
            Event::StreamStart | Event::DocumentStart(..) | Event::DocumentEnd => {}
            event => root = Some(node(&mut parser, event, span)?),
        }
    }
}

type Source<'t> = Parser<'t, granit_parser::StrInput<'t>>;

/// The next event that is no comment.
fn next<'t>(parser: &mut Source<'t>) -> Option<(Event<'t>, Span)> {
    loop {
        match parser.next_event()?.ok()? {
            (Event::Comment(..), _) => {}
            other => return Some(other),
        }
    }
}

fn node<'t>(parser: &mut Source<'t>, event: Event<'t>, span: Span) -> Option<Node> {
    let range = span.byte_range()?;
    match event {
        Event::Scalar(text, style, anchor, tag) => Some(Node {
            kind: Kind::Scalar {
                style,
                text: text.into_owned(),
            },
            range,
            is_marked: anchor != 0 || tag.is_some(),
        }),
        Event::Alias(_) => Some(Node {
            kind: Kind::Alias,
            range,
            is_marked: true,
        }),
        Event::SequenceStart(style, anchor, tag) => {
            let is_flow = matches!(style, StructureStyle::Flow);
            let mut items = Vec::new();
            let mut is_marked = anchor != 0 || tag.is_some();
            let end = loop {
                match next(parser)? {
                    (Event::SequenceEnd, span) => break span.byte_range()?.end,
                    (event, span) => items.push(node(parser, event, span)?),
                }
            };
            is_marked |= items.iter().any(|item: &Node| item.is_marked);
            let last = items.last().map_or(range.end, |item| item.range.end);
            let end = if is_flow { end } else { last };
            Some(Node {
                kind: Kind::List { is_flow, items },
                range: range.start..end,
                is_marked,
            })
        }
        Event::MappingStart(style, anchor, tag) => {
            let is_flow = matches!(style, StructureStyle::Flow);
            let mut pairs = Vec::new();
            let mut is_marked = anchor != 0 || tag.is_some();
            let end = loop {
                match next(parser)? {
                    (Event::MappingEnd, span) => break span.byte_range()?.end,
                    (event, span) => {
                        let key = node(parser, event, span)?;
                        let (event, span) = next(parser)?;
                        pairs.push((key, node(parser, event, span)?));
                    }
                }
            };
            is_marked |= pairs
                .iter()
                .any(|(key, value): &(Node, Node)| key.is_marked || value.is_marked);
            let last = pairs.last().map_or(range.end, end_of_pair);
            let end = if is_flow { end } else { last };
            Some(Node {
                kind: Kind::Map { is_flow, pairs },
                range: range.start..end,
                is_marked,
            })
        }
        _ => None,
    }
}

/// The byte after a key's value; where there is none, after the key.
pub(super) fn end_of_pair((key, value): &(Node, Node)) -> usize {
    if value.range.is_empty() {
        key.range.end
    } else {
        value.range.end
    }
}
