//! Reads the values of one mapping, and notes what is wrong with each.

use std::fmt;
use std::net::Ipv4Addr;
use std::ops::RangeInclusive;
use std::rc::Rc;
use std::str::FromStr;

use super::node::{Located, Node, source};
use super::problem::{Place, Problem, Severity, shown};

/// The most errors that are told, and the most warnings: nobody reads more, and the largest file has room for millions,
/// which would take a gigabyte.
const MOST_TOLD: usize = 1_000;

/// Where problems go; knows the text that they are of.
pub(super) struct Reader<'t> {
    pub(super) text: &'t [u8],
    pub(super) problems: Vec<Problem>,
    errors: usize,
    warnings: usize,
}

impl<'t> Reader<'t> {
    pub(super) fn new(text: &'t [u8]) -> Self {
        Self {
            text,
            problems: Vec::new(),
            errors: 0,
            warnings: 0,
        }
    }

    /// All problems in the order of the file, and what stands for those that were too many.
    pub(super) fn into_problems(mut self) -> Vec<Problem> {
        self.problems.sort_by_key(|problem| problem.place);
        let untold = self.untold();
        self.problems.extend(untold);
        self.problems
    }

    fn untold(&self) -> Option<Problem> {
        let untold = |count: usize| count.saturating_sub(MOST_TOLD);
        let (errors, warnings) = (untold(self.errors), untold(self.warnings));
        (errors + warnings > 0).then(|| Problem {
            severity: if errors > 0 {
                Severity::Error
            } else {
                Severity::Warning
            },
            path: String::new(),
            place: Place::default(),
            value: None,
            message: format!("{errors} more errors and {warnings} more warnings"),
        })
    }

    pub(super) fn problem(
        &mut self,
        severity: Severity,
        path: impl fmt::Display,
        place: Place,
        value: Option<String>,
        message: impl Into<String>,
    ) {
        let count = match severity {
            Severity::Error => &mut self.errors,
            Severity::Warning => &mut self.warnings,
        };
        *count += 1;
        if *count > MOST_TOLD {
            return;
        }
        self.problems.push(Problem {
            severity,
            path: path.to_string(),
            place,
            value,
            message: message.into(),
        });
    }

    /// The value of a scalar as text, whether it was quoted or not: what a number looks like is for the key to
    /// say, not for YAML's rules of sixties and noughts. `None` for lists, mappings and nothing.
    pub(super) fn scalar<'n>(&self, node: &'n Located<'_>) -> Option<&'n str>
    where
        't: 'n,
    {
        match &node.value {
            Node::Text(text) => Some(text),
            Node::Plain => source(self.text, node),
            Node::Null | Node::List(_) | Node::Map(_) => None,
        }
    }

    /// The entries of a mapping, checked for keys that stand twice or are not known.
    pub(super) fn mapping<'n>(
        &mut self,
        node: &'n Located<'n>,
        path: Path,
        known: &'static [&'static str],
    ) -> Option<Fields<'n>> {
        let Node::Map(entries) = &node.value else {
            let value = self.describe(node);
            let message = format!("expected a mapping with the keys {}", known.join(", "));
            self.problem(Severity::Error, path, node.place, value, message);
            return None;
        };
        let mut fields = Fields {
            path,
            place: node.place,
            entries: Vec::new(),
            misspelt: Vec::new(),
        };
        for (key, value) in entries {
            let at = key.place;
            if !known.contains(&&*key.name) {
                let message = match nearest(&key.name, known) {
                    Some(name) => {
                        fields.misspelt.push(name);
                        format!("unknown key; did you mean {name}?")
                    }
                    None => format!("unknown key; known are {}", known.join(", ")),
                };
                let path = fields.join(&shown(&key.name));
                self.problem(Severity::Error, path, at, None, message);
            } else if let Some((_, first)) = fields.entries.iter().find(|(name, _)| *name == key.name) {
                let message = format!("the key stands twice (first on line {})", first.place.line);
                self.problem(Severity::Error, fields.join(&key.name), at, None, message);
            } else {
                fields.entries.push((&key.name, value));
            }
        }
        Some(fields)
    }

    /// The items of a list; nothing at all is an empty one.
    pub(super) fn list<'n>(&mut self, node: Option<&'n Located<'n>>, path: &str) -> &'n [Located<'n>] {
        match node.map(|node| (&node.value, node)) {
            None | Some((Node::Null, _)) => &[],
            Some((Node::List(items), _)) => items,
            Some((_, node)) => {
                let value = self.describe(node);
                self.problem(Severity::Error, path, node.place, value, "expected a list");
                &[]
            }
        }
    }

    fn describe(&self, node: &Located<'_>) -> Option<String> {
        match &node.value {
            Node::Null => Some("nothing".to_owned()),
            Node::List(_) => Some("a list".to_owned()),
            Node::Map(_) => Some("a mapping".to_owned()),
            Node::Text(_) | Node::Plain => self.scalar(node).map(shown),
        }
    }
}

/// Where a value stands among others: `port_forward_list[2].end_port`. Text only once it is shown: there is one for
/// each value, and hardly any has a problem.
#[derive(Clone, Debug)]
pub(super) enum Path {
    /// The file.
    Root,
    /// A key of the file.
    List(&'static str),
    /// An item of a list of the file.
    Item(&'static str, usize),
    /// A key of such an item.
    Field(&'static str, usize, &'static str),
    /// An item of a list that is no list of the file.
    Inner(Rc<Path>, usize),
    /// Any key below any path.
    Key(Rc<Path>, Rc<str>),
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Root => Ok(()),
            Self::List(list) => f.write_str(list),
            Self::Item(list, index) => write!(f, "{list}[{index}]"),
            Self::Field(list, index, key) => write!(f, "{list}[{index}].{key}"),
            Self::Inner(path, index) => write!(f, "{path}[{index}]"),
            Self::Key(path, key) if matches!(**path, Self::Root) => f.write_str(key),
            Self::Key(path, key) => write!(f, "{path}.{key}"),
        }
    }
}

/// The known keys of one mapping.
pub(super) struct Fields<'n> {
    path: Path,
    pub(super) place: Place,
    entries: Vec<(&'n str, &'n Located<'n>)>,
    /// Known keys that unknown ones probably mean.
    misspelt: Vec<&'static str>,
}

/// A value that was read, and where it stood.
#[derive(Clone, Debug)]
pub(super) struct Read<T> {
    pub(super) value: T,
    pub(super) path: Path,
    pub(super) place: Place,
}

impl<'n> Fields<'n> {
    /// The path of a key, which need not be a known one.
    fn join(&self, key: &str) -> Path {
        Path::Key(Rc::new(self.path.clone()), key.into())
    }

    /// The path of a key.
    pub(super) fn key(&self, key: &'static str) -> Path {
        match self.path {
            Path::Root => Path::List(key),
            Path::Item(list, index) => Path::Field(list, index, key),
            _ => self.join(key),
        }
    }

    /// The value of a key; `None` where the key or its value is missing.
    pub(super) fn get(&self, key: &str) -> Option<&'n Located<'n>> {
        let (_, node) = self.entries.iter().find(|(name, _)| *name == key)?;
        (!matches!(node.value, Node::Null)).then_some(*node)
    }

    /// A value that must be there.
    pub(super) fn required<T>(
        &self,
        reader: &mut Reader<'_>,
        key: &'static str,
        expected: &str,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<Read<T>> {
        if self.get(key).is_none() && !self.misspelt.contains(&key) {
            let message = format!("missing: expected {expected}");
            reader.problem(Severity::Error, self.key(key), self.place, None, message);
        }
        self.optional(reader, key, expected, parse)
    }

    /// A value that may be missing.
    pub(super) fn optional<T>(
        &self,
        reader: &mut Reader<'_>,
        key: &'static str,
        expected: &str,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<Read<T>> {
        let node = self.get(key)?;
        let at = node.place;
        let result = match reader.scalar(node) {
            Some(text) => parse(text),
            None => Err(expected.to_owned()),
        };
        match result {
            Ok(value) => Some(Read {
                value,
                path: self.key(key),
                place: at,
            }),
            Err(expected) => {
                let value = reader.describe(node);
                let message = format!("expected {expected}");
                reader.problem(Severity::Error, self.key(key), at, value, message);
                None
            }
        }
    }
}

/// A value that is true or false; `None` where the key or its value is missing.
pub(super) fn flag(fields: &Fields<'_>, reader: &mut Reader<'_>, key: &'static str) -> Option<bool> {
    let expected = "true or false";
    let flag = fields.optional(reader, key, expected, |text| match text {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err(expected.to_owned()),
    });
    flag.map(|flag| flag.value)
}

/// An IPv4 address that a host can have.
pub(super) fn host_address(text: &str) -> Result<Ipv4Addr, String> {
    let address =
        Ipv4Addr::from_str(text).map_err(|_| "an IPv4 address, as in 192.168.100.254".to_owned())?;
    let not = if address.octets()[0] == 0 {
        "one of 0.0.0.0/8"
    } else if address.is_loopback() {
        "a loopback address"
    } else if address.is_multicast() {
        "a multicast address"
    } else if address.octets()[0] >= 240 {
        "a reserved one or the broadcast address"
    } else {
        return Ok(address);
    };
    Err(format!("the address of a host, not {not}"))
}

/// A decimal number. No sign, and no leading zero, which YAML 1.1 reads as octal and YAML 1.2 does not.
pub(crate) fn number<T: FromStr + PartialOrd>(
    text: &str,
    range: &RangeInclusive<T>,
    expected: &str,
) -> Result<T, String> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    text.parse()
        .ok()
        .filter(|number| plain && range.contains(number))
        .ok_or_else(|| expected.to_owned())
}

/// The known key that an unknown one probably means.
fn nearest(key: &str, known: &[&'static str]) -> Option<&'static str> {
    let key: String = key
        .chars()
        .take(64)
        .collect::<String>()
        .to_lowercase()
        .replace('_', "-");
    let distance = |name: &str| strsim::damerau_levenshtein(&key, &name.replace('_', "-"));
    let (distance, name) = known.iter().map(|name| (distance(name), *name)).min()?;
    (distance <= 1 + name.len() / 3).then_some(name)
}
