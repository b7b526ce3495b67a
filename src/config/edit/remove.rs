//! An entry goes with its lines and the comments in them; a comment above goes if it was about nothing else.

use std::collections::BTreeSet;
use std::ops::Range;

use super::tree::{Node, end_of_pair};
use super::{List, lines};

/// The text without these items of a list; `None`: which text is theirs cannot be told for certain.
pub(super) fn remove(text: &str, root: &Node, list: List, indexes: &BTreeSet<usize>) -> Option<String> {
    let (key, value) = root
        .pairs()
        .iter()
        .find(|(key, _)| key.text() == Some(list.key()))?;
    let items = value.items();
    if indexes
        .iter()
        .any(|index| items.get(*index).is_none_or(|item| item.is_marked))
    {
        return None;
    }
    let ranges = if value.is_flow() {
        of_flow(text, value, indexes)?
    } else {
        of_block(text, items, indexes)?
    };
    let mut left = String::with_capacity(text.len());
    let mut at = 0;
    for range in &ranges {
        left += &text[at..range.start.max(at)];
        at = at.max(range.end);
    }
    left += &text[at..];
    if !value.is_flow() && indexes.len() == items.len() {
        // Before its first entry nothing went: the key is where it was.
        let colon = key.range.end + left[key.range.end..].find(':')? + 1;
        left.insert_str(colon, " []");
    }
    Some(left)
}

/// The lines of an item, from its `-` to its last value and what is behind that.
fn lines_of(text: &str, items: &[Node], index: usize) -> Option<Range<usize>> {
    let item = &items[index];
    let dash = lines::dash(text, item.range.start)?;
    let start = lines::start(text, dash);
    let last = item
        .pairs()
        .last()
        .map_or(item.range.end, end_of_pair)
        .max(item.range.end);
    let mut end = lines::end(text, last);
    while let Some(line) = text[end..].split_inclusive('\n').next() {
        let indent = line.len() - line.trim_start().len();
        if !lines::is_comment(line) || indent <= dash - start {
            break;
        }
        end += line.len();
    }
    Some(start..end)
}

fn of_block(text: &str, items: &[Node], indexes: &BTreeSet<usize>) -> Option<Vec<Range<usize>>> {
    let all: Option<Vec<Range<usize>>> = (0..items.len())
        .map(|index| lines_of(text, items, index))
        .collect();
    let all = all?;
    let mut ranges = Vec::new();
    let mut first = 0;
    // Items without a line between them.
    for run in all.chunk_by(|one, next| one.end == next.start) {
        let gone: Vec<usize> = (first..first + run.len())
            .filter(|index| indexes.contains(index))
            .collect();
        if gone.len() == run.len() {
            ranges.push(above(text, &all, first)..all[first].start);
        }
        ranges.extend(gone.into_iter().map(|index| all[index].clone()));
        first += run.len();
    }
    Some(ranges)
}

/// Where the comment right above an item starts, and blank lines between that and the item before.
fn above(text: &str, all: &[Range<usize>], index: usize) -> usize {
    let floor = index.checked_sub(1).map(|before| all[before].end);
    let mut start = all[index].start;
    let mut up = |is: fn(&str) -> bool| {
        while let Some((line_start, line)) = lines::before(text, start) {
            if !is(line) || floor.is_some_and(|floor| line_start < floor) {
                break;
            }
            start = line_start;
        }
    };
    up(lines::is_comment);
    if floor.is_some() {
        up(lines::is_blank);
    }
    start
}

fn of_flow(text: &str, list: &Node, indexes: &BTreeSet<usize>) -> Option<Vec<Range<usize>>> {
    let items = list.items();
    if indexes.len() == items.len() {
        let all = list.range.start + 1..list.range.end - 1;
        return Some(Vec::from([all]));
    }
    let last_kept = (0..items.len()).rev().find(|index| !indexes.contains(index))?;
    let (start, end) = (items.first()?.range.start, list.range.end);
    if text[start..end].contains('#') {
        // Comments among them: only items that have lines of their own, so that it is clear whose a comment is. A comma
        // that is left at the end of a list means nothing.
        return indexes
            .iter()
            .map(|index| own_lines(text, &items[*index]))
            .collect();
    }
    let mut ranges: Vec<Range<usize>> = indexes
        .range(..last_kept)
        .map(|&index| items[index].range.start..items[index + 1].range.start)
        .collect();
    // The last ones go with the comma before them.
    if last_kept + 1 < items.len() {
        ranges.push(items[last_kept].range.end..items.last()?.range.end);
    }
    Some(ranges)
}

/// The lines of an item in brackets that shares them with no other.
fn own_lines(text: &str, item: &Node) -> Option<Range<usize>> {
    let (start, end) = (
        lines::start(text, item.range.start),
        lines::end(text, item.range.end),
    );
    let (before, behind) = (&text[start..item.range.start], &text[item.range.end..end]);
    let behind = behind.trim_start().trim_start_matches(',');
    let is_own = lines::is_blank(before) && (lines::is_blank(behind) || lines::is_comment(behind));
    is_own.then_some(start..end)
}
