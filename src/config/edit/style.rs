//! How a file writes its entries, so that a new one looks like its neighbours.

use super::tree::{Kind, Node, end_of_pair};
use super::value::{Value, needs_quotes};
use super::{Entry, lines};

/// How an entry is written.
#[derive(Debug)]
pub(super) struct Style {
    /// Between braces; `None`: a line for each key.
    braces: Option<Braces>,
    /// How far a `-` is right of its list's key.
    pub(super) indent: usize,
    /// The `-`, and what is between it and the first key.
    dash: String,
    key_quote: &'static str,
    text_quote: &'static str,
    number_quote: &'static str,
    has_protocol: bool,
    /// Of an entry with a line for each key.
    nested: Nested,
}

/// What opens, stands between key and value, between pairs, and closes.
type Braces = [String; 4];

/// How mappings and lists in an entry are written.
#[derive(Debug)]
struct Nested {
    /// Mappings in braces; else a line for each key, so far right of the key above.
    map: Option<usize>,
    /// Lists in brackets; else a `-` for each item, so far right of the key above.
    list: Option<usize>,
    /// Items of such a list in braces, also where mappings are in them.
    has_flow_items: bool,
}

impl Style {
    /// That of the last entry of `list`, or else of the last one of any list; without any that of the file.
    pub(super) fn of(text: &str, root: Option<&Node>, list: Option<&Node>) -> Self {
        let lists = root.map(Node::pairs).unwrap_or_default();
        let pair = lists
            .iter()
            .rfind(|(_, value)| list.is_some_and(|list| std::ptr::eq(value, list)));
        let own = pair.filter(|(_, list)| !list.items().is_empty());
        let any = own.or_else(|| lists.iter().rfind(|(_, list)| !list.items().is_empty()));
        let is_json = root.is_some_and(Node::is_flow);
        let quote = root
            .and_then(|root| root.pairs().first())
            .map_or("\"", |(key, _)| key.quote());
        let quote = if is_json { quote } else { "" };
        let mut style = Self {
            braces: is_json.then(default_braces),
            indent: 2,
            dash: "- ".to_owned(),
            key_quote: quote,
            text_quote: quote,
            number_quote: "",
            has_protocol: false,
            nested: Nested {
                map: None,
                list: Some(2),
                has_flow_items: false,
            },
        };
        let Some((key, list)) = any else { return style };
        let Some(last) = list.items().last() else {
            return style;
        };
        if !list.is_flow()
            && let Some(dash) = lines::dash(text, last.range.start)
        {
            style.indent = column(text, dash).saturating_sub(column(text, key.range.start));
            let gap = &text[dash..last.range.start];
            if !gap.contains(['\n', '#', '&', '!']) {
                gap.clone_into(&mut style.dash);
            }
        }
        style.braces = last
            .is_flow()
            .then(|| braces(text, last).unwrap_or_else(default_braces));
        style.nested.list = Some(style.indent);
        style.learn(text, last);
        let keys = lists
            .iter()
            .flat_map(|(_, list)| list.items())
            .flat_map(Node::pairs);
        let spelling = keys
            .rev()
            .find_map(|(key, _)| key.text().filter(|key| key.starts_with("protoc")));
        style.has_protocol = spelling == Some("protocol");
        style
    }

    /// The quotes of what is in a mapping, and how what is nested in it stands there.
    fn learn(&mut self, text: &str, map: &Node) {
        for (key, value) in map.pairs() {
            self.key_quote = key.quote();
            match &value.kind {
                Kind::Scalar { .. } => match key.text() {
                    Some(
                        "port" | "end_port" | "vm-port" | "prefix" | "key" | "index" | "session" | "version"
                        | "id" | "snaplen" | "sample" | "vni",
                    ) => self.number_quote = value.quote(),
                    _ => {
                        // Of other numbers, and of words as `true`, nothing can be learned.
                        let is_plain = value.quote().is_empty();
                        if !is_plain || value.text().is_some_and(|text| !needs_quotes(text)) {
                            self.text_quote = value.quote();
                        }
                    }
                },
                Kind::Map { is_flow, pairs } => {
                    let first = pairs.first().filter(|_| !is_flow);
                    if let Some((first, _)) = first {
                        let right =
                            column(text, first.range.start).checked_sub(column(text, key.range.start));
                        self.nested.map = right.filter(|right| *right > 0);
                    } else if !pairs.is_empty() {
                        self.nested.map = None;
                    }
                    self.learn(text, value);
                }
                Kind::List { is_flow, items } => {
                    let Some(last) = items.last() else { continue };
                    let dash = lines::dash(text, last.range.start).filter(|_| !is_flow);
                    self.nested.list =
                        dash.and_then(|dash| column(text, dash).checked_sub(column(text, key.range.start)));
                    self.nested.has_flow_items = last.is_flow();
                    self.learn(text, last);
                }
                Kind::Alias => {}
            }
        }
    }

    /// The entry in braces, whatever its neighbours look like: as an item of a list in brackets must be.
    pub(super) fn flow(&self, entry: &Entry) -> String {
        let braces = self.braces.clone().unwrap_or_else(default_braces);
        self.in_braces(entry.fields(), &braces)
    }

    fn in_braces<K: AsRef<str>>(&self, pairs: Vec<(K, Value)>, braces: &Braces) -> String {
        let [open, colon, between, close] = braces;
        let inner = one_line(braces);
        let pairs: Vec<String> = pairs
            .into_iter()
            .map(|(key, value)| {
                let key = self.key(self.spelt(key.as_ref()));
                format!("{key}{colon}{}", self.on_a_line(value, &inner))
            })
            .collect();
        format!("{open}{}{close}", pairs.join(between))
    }

    fn on_a_line(&self, value: Value, braces: &Braces) -> String {
        match value {
            Value::Map(pairs) => self.in_braces(pairs, braces),
            Value::List(items) => {
                let items: Vec<String> = items
                    .into_iter()
                    .map(|item| self.on_a_line(item, braces))
                    .collect();
                format!("[{}]", items.join(&braces[2]))
            }
            Value::Text(text) => {
                let quote = match self.text_quote {
                    "" if needs_quotes(&text) => "'",
                    quote => quote,
                };
                format!("{quote}{text}{quote}")
            }
            Value::Number(number) => format!("{0}{number}{0}", self.number_quote),
            Value::True => "true".to_owned(),
        }
    }

    /// The entry as lines below a list's key, whose `-` stands at `column`.
    pub(super) fn block(&self, entry: &Entry, column: usize, newline: &str) -> String {
        let indent = " ".repeat(column);
        if self.braces.is_some() {
            return format!("{indent}{}{}{newline}", self.dash, self.flow(entry));
        }
        let start = format!("{indent}{}", self.dash);
        self.lines(entry.fields(), &start, newline)
    }

    /// A mapping with a line for each key, the first one behind `start`.
    fn lines<K: AsRef<str>>(&self, pairs: Vec<(K, Value)>, start: &str, newline: &str) -> String {
        let column = start.len();
        let mut lines = String::new();
        for (index, (key, value)) in pairs.into_iter().enumerate() {
            if index == 0 {
                lines += start;
            } else {
                lines += &" ".repeat(column);
            }
            lines += &format!("{}:", self.key(self.spelt(key.as_ref())));
            match (value, self.nested.map, self.nested.list) {
                (Value::Map(pairs), Some(right), _) => {
                    lines += newline;
                    lines += &self.lines(pairs, &" ".repeat(column + right), newline);
                }
                (Value::List(items), _, Some(right)) => {
                    lines += newline;
                    for item in items {
                        let start = format!("{}- ", " ".repeat(column + right));
                        lines += &match item {
                            Value::Map(pairs) if !self.nested.has_flow_items => {
                                self.lines(pairs, &start, newline)
                            }
                            item => {
                                format!("{start}{}{newline}", self.on_a_line(item, &default_braces()))
                            }
                        };
                    }
                }
                (value, ..) => {
                    lines += &format!(" {}{newline}", self.on_a_line(value, &default_braces()));
                }
            }
        }
        lines
    }

    /// A list's key.
    pub(super) fn key(&self, name: &str) -> String {
        format!("{0}{name}{0}", self.key_quote)
    }

    /// A key as the file spells it.
    fn spelt<'k>(&self, name: &'k str) -> &'k str {
        match name {
            "protocal" if self.has_protocol => "protocol",
            name => name,
        }
    }
}

fn column(text: &str, at: usize) -> usize {
    at - lines::start(text, at)
}

fn default_braces() -> Braces {
    ["{", ": ", ", ", "}"].map(ToOwned::to_owned)
}

/// Those of what is nested: on one line, where those around it are not.
fn one_line(braces: &Braces) -> Braces {
    if braces.iter().any(|part| part.contains('\n')) {
        return default_braces();
    }
    braces.clone()
}

/// What stands around the pairs of an entry in braces; `None`: with comments between.
fn braces(text: &str, item: &Node) -> Option<Braces> {
    let Kind::Map { pairs, .. } = &item.kind else {
        return None;
    };
    let [first, second, ..] = pairs.as_slice() else {
        return None;
    };
    let part = |start: usize, end: usize| {
        text.get(start..end)
            .filter(|part| !part.contains('#'))
            .map(str::to_owned)
    };
    let last = pairs.last()?;
    Some([
        part(item.range.start, first.0.range.start)?,
        part(first.0.range.end, first.1.range.start)?,
        part(end_of_pair(first), second.0.range.start)?,
        part(end_of_pair(last), item.range.end)?,
    ])
}
