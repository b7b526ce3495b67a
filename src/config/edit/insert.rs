//! A new entry goes behind the last one of its list, and looks like it.

use super::style::Style;
use super::tree::{Kind, Node, end_of_pair};
use super::{Entry, List, lines};

/// The text with more entries in a list; `None`: where they would go cannot be told for certain.
pub(super) fn insert(text: &str, root: Option<&Node>, list: List, entries: &[Entry]) -> Option<String> {
    let root = root.filter(|root| !root.is_null());
    let Some(root) = root else {
        // Nothing but comments.
        let style = Style::of(text, None, None);
        let block = key_and_block(text, &style, list, entries, 0);
        return Some(with_lines(text, lines::end_of_document(text), &block));
    };
    let Kind::Map { is_flow, pairs } = &root.kind else {
        return None;
    };
    let pair = pairs.iter().find(|(key, _)| key.text() == Some(list.key()));
    let style = Style::of(text, Some(root), pair.map(|(_, value)| value));
    match pair {
        Some((_, value)) if value.is_marked && matches!(value.kind, Kind::Alias) => None,
        Some((key, value)) if !is_flow && is_empty_line(text, value) => {
            Some(begin_block(text, &style, key, value, entries))
        }
        Some((key, value)) if value.is_null() => {
            let brackets = format!("[{}]", flow_items(&style, entries));
            if !value.range.is_empty() {
                return Some(spliced(text, value.range.clone(), &brackets));
            }
            // Nothing at all, between a key in braces and what follows; the colon can be missing as well.
            let behind = &text[key.range.end..];
            let colon = behind
                .trim_start()
                .starts_with(':')
                .then(|| behind.find(':'))
                .flatten();
            let (at, colon) = colon.map_or((0, ":"), |colon| (colon + 1, ""));
            let at = key.range.end + at;
            Some(spliced(text, at..at, &format!("{colon} {brackets}")))
        }
        Some((_, value)) if value.is_flow() => Some(into_flow_list(text, &style, value, entries)),
        Some((_, value)) => into_block_list(text, &style, value, entries),
        None if *is_flow => Some(new_flow_pair(text, root, &style, list, entries)),
        None => {
            let (first, last) = (pairs.first()?, pairs.last()?);
            let column = first.0.range.start - lines::start(text, first.0.range.start);
            let block = key_and_block(text, &style, list, entries, column);
            Some(with_lines(text, lines::end(text, end_of_pair(last)), &block))
        }
    }
}

/// Whether a list is empty, and on one line: `[]`, `~` or nothing.
fn is_empty_line(text: &str, value: &Node) -> bool {
    let is_empty = value.is_null() || (value.is_flow() && value.items().is_empty());
    is_empty && !text[value.range.clone()].contains('\n')
}

fn spliced(text: &str, range: std::ops::Range<usize>, new: &str) -> String {
    [&text[..range.start], new, &text[range.end..]].concat()
}

/// Whole lines, put where a line starts; the last one above may lack its end.
fn with_lines(text: &str, at: usize, block: &str) -> String {
    let is_open = at > 0 && !text[..at].ends_with('\n');
    let newline = if is_open { lines::newline(text) } else { "" };
    spliced(text, at..at, &format!("{newline}{block}"))
}

fn block(text: &str, style: &Style, entries: &[Entry], column: usize) -> String {
    entries
        .iter()
        .map(|entry| style.block(entry, column, lines::newline(text)))
        .collect()
}

fn key_and_block(text: &str, style: &Style, list: List, entries: &[Entry], column: usize) -> String {
    let indent = " ".repeat(column);
    let newline = lines::newline(text);
    let block = block(text, style, entries, column + style.indent);
    format!("{indent}{}:{newline}{block}", style.key(list.key()))
}

/// The empty value goes, a comment behind it stays, and the entries begin on the next line.
fn begin_block(text: &str, style: &Style, key: &Node, value: &Node, entries: &[Entry]) -> String {
    let column = key.range.start - lines::start(text, key.range.start) + style.indent;
    let block = block(text, style, entries, column);
    if value.range.is_empty() {
        return with_lines(text, lines::end(text, key.range.end), &block);
    }
    let before = text[..value.range.start].trim_end().len();
    let rest = &text[value.range.end..];
    let kept = if rest
        .trim_start_matches([' ', '\t'])
        .starts_with(['\r', '\n', '#'])
    {
        rest
    } else {
        rest.trim_start()
    };
    let text = [&text[..before], kept].concat();
    with_lines(&text, lines::end(&text, before), &block)
}

fn into_block_list(text: &str, style: &Style, list: &Node, entries: &[Entry]) -> Option<String> {
    let last = list.items().last()?;
    let dash = lines::dash(text, last.range.start)?;
    let column = dash - lines::start(text, dash);
    let mut at = lines::end(text, last.range.end);
    // Comments that are further right than the `-` belong to the last entry.
    while let Some(line) = text[at..].split_inclusive('\n').next() {
        let indent = line.len() - line.trim_start().len();
        if !lines::is_comment(line) || indent <= column {
            break;
        }
        at += line.len();
    }
    Some(with_lines(text, at, &block(text, style, entries, column)))
}

fn flow_items(style: &Style, entries: &[Entry]) -> String {
    let items: Vec<String> = entries.iter().map(|entry| style.flow(entry)).collect();
    items.join(", ")
}

/// What stands before something on its own line; `None`: it is not the first of its line.
fn own_line(text: &str, at: usize) -> Option<&str> {
    let before = &text[lines::start(text, at)..at];
    lines::is_blank(before).then_some(before)
}

fn into_flow_list(text: &str, style: &Style, list: &Node, entries: &[Entry]) -> String {
    let Some(last) = list.items().last() else {
        let at = list.range.start + 1;
        return spliced(text, at..at, &flow_items(style, entries));
    };
    let newline = lines::newline(text);
    let between = own_line(text, last.range.start)
        .map_or_else(|| ", ".to_owned(), |indent| format!(",{newline}{indent}"));
    let new: String = entries
        .iter()
        .map(|entry| between.clone() + &style.flow(entry))
        .collect();
    spliced(text, last.range.end..last.range.end, &new)
}

fn new_flow_pair(text: &str, root: &Node, style: &Style, list: List, entries: &[Entry]) -> String {
    let pair = format!("{}: [{}]", style.key(list.key()), flow_items(style, entries));
    let Some(last) = root.pairs().last() else {
        let at = root.range.start + 1;
        return spliced(text, at..at, &pair);
    };
    let newline = lines::newline(text);
    let between = own_line(text, last.0.range.start)
        .map_or_else(|| ", ".to_owned(), |indent| format!(",{newline}{indent}"));
    let at = end_of_pair(last);
    spliced(text, at..at, &format!("{between}{pair}"))
}
