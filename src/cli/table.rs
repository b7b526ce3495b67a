//! Columns for people.

use std::fmt::Write;

/// Rows below a heading, each column as wide as its widest cell, two spaces apart.
pub(super) fn write(text: &mut String, heading: &[&str], rows: &[Vec<String>]) {
    let all: Vec<usize> = (0..heading.len()).collect();
    write_columns(text, heading, rows, &all);
}

/// The same in a width, where it can be had: first the columns of these headings go, one after another, then cells are cut
/// off. Returns what is left out.
pub(super) fn write_within<'h>(
    text: &mut String,
    heading: &[&'h str],
    rows: &[Vec<String>],
    width: Option<usize>,
    dispensable: &[&str],
) -> Vec<&'h str> {
    let mut shown: Vec<usize> = (0..heading.len()).collect();
    let mut left_out = Vec::new();
    let Some(width) = width else {
        write_columns(text, heading, rows, &shown);
        return left_out;
    };
    let widths = widths(heading, rows);
    let needed = |shown: &[usize]| shown.iter().map(|column| widths[*column] + GAP).sum::<usize>();
    for name in dispensable {
        if needed(&shown) <= width {
            break;
        }
        if let Some(place) = shown.iter().position(|column| heading[*column] == *name) {
            left_out.push(heading[shown.remove(place)]);
        }
    }
    let start = text.len();
    write_columns(text, heading, rows, &shown);
    if needed(&shown) > width {
        let cut: String = text[start..]
            .lines()
            .map(|line| cut(line, width) + "\n")
            .collect();
        text.truncate(start);
        text.push_str(&cut);
    }
    left_out
}

/// Before each column.
const GAP: usize = 2;

/// A line of at most so many characters.
pub(super) fn cut(line: &str, width: usize) -> String {
    if line.chars().count() <= width {
        return line.to_owned();
    }
    let mut short: String = line.chars().take(width.saturating_sub(1)).collect();
    short.push('…');
    short
}

fn widths(heading: &[&str], rows: &[Vec<String>]) -> Vec<usize> {
    let mut widths: Vec<usize> = heading.iter().map(|cell| cell.chars().count()).collect();
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    widths
}

fn write_columns(text: &mut String, heading: &[&str], rows: &[Vec<String>], shown: &[usize]) {
    let widths = widths(heading, rows);
    let mut line = |cell: &dyn Fn(usize) -> Option<String>| {
        let start = text.len();
        for column in shown {
            let width = widths[*column];
            let _ = write!(text, "  {:<width$}", cell(*column).unwrap_or_default());
        }
        text.truncate(start + text[start..].trim_end().len());
        text.push('\n');
    };
    line(&|column| heading.get(column).map(|cell| (*cell).to_owned()));
    for row in rows {
        line(&|column| row.get(column).cloned());
    }
}

#[cfg(test)]
mod tests {
    fn rows() -> [Vec<String>; 2] {
        [
            vec!["a".to_owned(), "bb".to_owned(), "c".to_owned()],
            vec!["ccc".to_owned(), String::new(), "dddd".to_owned()],
        ]
    }

    #[test]
    fn columns_line_up() {
        let mut text = String::new();
        super::write(&mut text, &["X", "Y", "Z"], &rows());
        assert_eq!(text, "  X    Y   Z\n  a    bb  c\n  ccc      dddd\n");
    }

    #[test]
    fn what_does_not_fit_goes_by_column_and_then_is_cut_off() {
        let within = |width| {
            let mut text = String::new();
            let left = super::write_within(&mut text, &["X", "Y", "Z"], &rows(), Some(width), &["Y"]);
            (text, left)
        };
        assert_eq!(within(15).1, [] as [&str; 0]);
        let (text, left) = within(14);
        assert_eq!(
            (text.as_str(), left),
            ("  X    Z\n  a    c\n  ccc  dddd\n", vec!["Y"])
        );
        let (text, _) = within(8);
        assert_eq!(text, "  X    Z\n  a    c\n  ccc  …\n");
        assert!(text.lines().all(|line| line.chars().count() <= 8));
    }
}
