//! Lines of a text, by the byte.

/// The first byte of the line that this one is in.
pub(super) fn start(text: &str, at: usize) -> usize {
    text[..at].rfind('\n').map_or(0, |newline| newline + 1)
}

/// The byte after the line that this one is in, its line end included.
pub(super) fn end(text: &str, at: usize) -> usize {
    text[at..]
        .find('\n')
        .map_or(text.len(), |newline| at + newline + 1)
}

/// The line before the one that starts here; `None`: that is the first.
pub(super) fn before(text: &str, start_of_line: usize) -> Option<(usize, &str)> {
    let last = start_of_line.checked_sub(1)?;
    let start = start(text, last);
    Some((start, &text[start..start_of_line]))
}

/// What ends the lines of a text.
pub(super) fn newline(text: &str) -> &'static str {
    match text.find('\n') {
        Some(at) if text[..at].ends_with('\r') => "\r\n",
        _ => "\n",
    }
}

pub(super) fn is_comment(line: &str) -> bool {
    line.trim_start().starts_with('#')
}

pub(super) fn is_blank(line: &str) -> bool {
    line.trim().is_empty()
}

/// The `-` of a block list's item that begins here; it can stand on a line of its own above. `None`: there is something
/// else between.
pub(super) fn dash(text: &str, item: usize) -> Option<usize> {
    let mut line_start = start(text, item);
    let mut line = &text[line_start..item];
    loop {
        let content = line.split('#').next().unwrap_or_default().trim_end();
        match content.trim_start() {
            "" => (line_start, line) = before(text, line_start)?,
            "-" => return Some(line_start + content.len() - 1),
            _ => return None,
        }
    }
}

/// Where a document's content ends at the latest: before its end marker, if it has one.
pub(super) fn end_of_document(text: &str) -> usize {
    let mut at = 0;
    for line in text.split_inclusive('\n') {
        if line.trim_end() == "..." || line.starts_with("... ") {
            return at;
        }
        at += line.len();
    }
    at
}
