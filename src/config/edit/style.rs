//! How a file writes its entries, so that a new one looks like its neighbours.

use super::tree::{Kind, Node, end_of_pair};
use super::{Entry, Value, lines};

/// How an entry is written.
#[derive(Debug)]
pub(super) struct Style {
    /// Between braces: what opens, stands between key and value, between pairs, and closes; `None`: a line for each key.
    braces: Option<[String; 4]>,
    /// How far a `-` is right of its list's key.
    pub(super) indent: usize,
    /// The `-`, and what is between it and the first key.
    dash: String,
    key_quote: &'static str,
    text_quote: &'static str,
    number_quote: &'static str,
    has_protocol: bool,
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
        };
        let Some((key, list)) = any else { return style };
        let Some(last) = list.items().last() else {
            return style;
        };
        if !list.is_flow()
            && let Some(dash) = lines::dash(text, last.range.start)
        {
            let column = |at: usize| at - lines::start(text, at);
            style.indent = column(dash).saturating_sub(column(key.range.start));
            let gap = &text[dash..last.range.start];
            if !gap.contains(['\n', '#', '&', '!']) {
                gap.clone_into(&mut style.dash);
            }
        }
        style.braces = last
            .is_flow()
            .then(|| braces(text, last).unwrap_or_else(default_braces));
        for (key, value) in last.pairs().iter().filter(|(_, value)| value.text().is_some()) {
            style.key_quote = key.quote();
            match key.text() {
                Some("port" | "end_port" | "vm-port" | "prefix") => style.number_quote = value.quote(),
                _ => style.text_quote = value.quote(),
            }
        }
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

    /// The entry in braces, whatever its neighbours look like: as an item of a list in brackets must be.
    pub(super) fn flow(&self, entry: &Entry) -> String {
        let default = default_braces();
        let [open, colon, between, close] = self.braces.as_ref().unwrap_or(&default);
        let pairs: Vec<String> = self
            .pairs(entry)
            .into_iter()
            .map(|(key, value)| format!("{key}{colon}{value}"))
            .collect();
        format!("{open}{}{close}", pairs.join(between))
    }

    /// The entry as lines below a list's key, whose `-` stands at `column`.
    pub(super) fn block(&self, entry: &Entry, column: usize, newline: &str) -> String {
        let indent = " ".repeat(column);
        if self.braces.is_some() {
            return format!("{indent}{}{}{newline}", self.dash, self.flow(entry));
        }
        let more = " ".repeat(column + self.dash.len());
        let mut lines = String::new();
        for (index, (key, value)) in self.pairs(entry).into_iter().enumerate() {
            let start = if index == 0 {
                format!("{indent}{}", self.dash)
            } else {
                more.clone()
            };
            lines += &format!("{start}{key}: {value}{newline}");
        }
        lines
    }

    /// A list's key.
    pub(super) fn key(&self, name: &str) -> String {
        format!("{0}{name}{0}", self.key_quote)
    }

    fn pairs(&self, entry: &Entry) -> Vec<(String, String)> {
        let pair = |(name, value): (&'static str, Value)| {
            let name = if name == "protocal" && self.has_protocol {
                "protocol"
            } else {
                name
            };
            (self.key(name), self.value(&value))
        };
        entry.fields().into_iter().map(pair).collect()
    }

    /// A value on one line: lists in brackets and mappings in braces, as the entry's own if it has those on one line.
    fn value(&self, value: &Value) -> String {
        let default = default_braces();
        let braces = self.braces.as_ref();
        let [open, colon, between, close] = braces
            .filter(|braces| !braces.iter().any(|part| part.contains('\n')))
            .unwrap_or(&default);
        match value {
            Value::Text(text) => format!("{0}{text}{0}", self.text_quote),
            Value::Number(number) => format!("{0}{number}{0}", self.number_quote),
            Value::List(items) => {
                let items: Vec<String> = items.iter().map(|item| self.value(item)).collect();
                format!("[{}]", items.join(between))
            }
            Value::Map(pairs) => {
                let pairs: Vec<String> = pairs
                    .iter()
                    .map(|(key, value)| format!("{}{colon}{}", self.key(key), self.value(value)))
                    .collect();
                format!("{open}{}{close}", pairs.join(between))
            }
        }
    }
}

fn default_braces() -> [String; 4] {
    ["{", ": ", ", ", "}"].map(ToOwned::to_owned)
}

/// What stands around the pairs of an entry in braces; `None`: with comments between.
fn braces(text: &str, item: &Node) -> Option<[String; 4]> {
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
