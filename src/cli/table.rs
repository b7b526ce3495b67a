//! Columns for people.

use std::fmt::Write;

/// Rows below a heading, each column as wide as its widest cell, two spaces apart.
pub(super) fn write(text: &mut String, heading: &[&str], rows: &[Vec<String>]) {
    let mut widths: Vec<usize> = heading.iter().map(|cell| cell.chars().count()).collect();
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut line = |cells: &mut dyn Iterator<Item = &str>| {
        let start = text.len();
        text.push_str("  ");
        for (cell, width) in cells.zip(&widths) {
            let _ = write!(text, "{cell:<width$}  ");
        }
        text.truncate(start + text[start..].trim_end().len());
        text.push('\n');
    };
    line(&mut heading.iter().copied());
    for row in rows {
        line(&mut row.iter().map(String::as_str));
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn columns_line_up() {
        let mut text = String::new();
        let rows = [
            vec!["a".to_owned(), "bb".to_owned()],
            vec!["ccc".to_owned(), String::new()],
        ];
        super::write(&mut text, &["X", "Y"], &rows);
        assert_eq!(text, "  X    Y\n  a    bb\n  ccc\n");
    }
}
