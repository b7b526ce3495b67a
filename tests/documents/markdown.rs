//! A document as a list of its blocks, with the lines they stand on; and blocks put in place of others.
//!
//! What a reader does not see decides what is done with a block: an HTML comment right above it, as `<!-- not run:
//! needs a VM -->`. It must never change anything but the lines of a block.

use std::fs;
use std::path::Path;

/// One block between fences.
#[derive(Clone, Debug)]
pub struct Block {
    /// The line of the opening fence, from 1.
    pub line: usize,
    /// What stands behind the fence: `sh`, `text`, `yaml`.
    pub language: String,
    /// The comment right above it, without its marks.
    pub note: Option<String>,
    /// Whether nothing but empty lines stands between it and the block above.
    pub follows: bool,
    /// Its lines, without the fences' indentation.
    pub lines: Vec<String>,
    indent: usize,
}

/// A document, by its path from the repository's root.
#[derive(Clone, Debug)]
pub struct Document {
    pub path: String,
    pub blocks: Vec<Block>,
    lines: Vec<String>,
}

impl Block {
    /// Whether the comment above begins with this.
    pub fn is_noted(&self, word: &str) -> bool {
        self.note.as_deref().is_some_and(|note| note.starts_with(word))
    }

    /// The whole text, each line ended.
    pub fn text(&self) -> String {
        self.lines.iter().map(|line| format!("{line}\n")).collect()
    }
}

impl Document {
    /// Reads one, by its path from the repository's root.
    pub fn read(path: &str) -> Document {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
        let text = fs::read_to_string(&file).unwrap_or_else(|error| panic!("read {path}: {error}"));
        let lines: Vec<String> = text.lines().map(str::to_owned).collect();
        Document {
            path: path.to_owned(),
            blocks: blocks(path, &lines),
            lines,
        }
    }

    /// The line on which a heading stands that begins with this.
    pub fn heading(&self, begin: &str) -> Option<usize> {
        let found = self.lines.iter().position(|line| line.starts_with(begin))?;
        Some(found + 1)
    }

    /// What stands in the prose as code, with its line.
    pub fn code_spans(&self) -> Vec<(usize, String)> {
        let in_block = |line: usize| {
            let mut blocks = self.blocks.iter();
            blocks.any(|block| (block.line..=block.line + block.lines.len() + 1).contains(&line))
        };
        let prose = (1..).zip(&self.lines).filter(|(line, _)| !in_block(*line));
        let spans =
            prose.flat_map(|(line, text)| text.split('`').skip(1).step_by(2).map(move |span| (line, span)));
        spans.map(|(line, span)| (line, span.to_owned())).collect()
    }

    /// The text with other lines in a block, for each block that is given by the line of its fence.
    pub fn with(&self, replaced: &[(usize, Vec<String>)]) -> String {
        let mut lines = self.lines.clone();
        let mut blocks: Vec<&Block> = self.blocks.iter().collect();
        blocks.sort_by_key(|block| std::cmp::Reverse(block.line));
        for block in blocks {
            if let Some((_, new)) = replaced.iter().find(|(line, _)| *line == block.line) {
                let indent = " ".repeat(block.indent);
                let new = new.iter().map(|line| format!("{indent}{line}"));
                let new: Vec<String> = new.map(|line| line.trim_end_matches(' ').to_owned()).collect();
                lines.splice(block.line..block.line + block.lines.len(), new);
            }
        }
        lines.join("\n") + "\n"
    }

    /// Writes it so.
    pub fn write(&self, replaced: &[(usize, Vec<String>)]) {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(&self.path);
        fs::write(file, self.with(replaced)).unwrap_or_else(|error| panic!("write {}: {error}", self.path));
    }
}

fn blocks(path: &str, lines: &[String]) -> Vec<Block> {
    let mut found: Vec<Block> = Vec::new();
    let mut at = 0;
    let mut end_of_last = None;
    while at < lines.len() {
        let trimmed = lines[at].trim_start();
        let Some(language) = trimmed.strip_prefix("```") else {
            at += 1;
            continue;
        };
        let indent = lines[at].len() - trimmed.len();
        let inside = &lines[at + 1..];
        let length = inside.iter().position(|line| line.trim() == "```");
        let length = length.unwrap_or_else(|| panic!("{path}:{}: the block has no end", at + 1));
        let above: Vec<&String> = lines[..at]
            .iter()
            .rev()
            .skip_while(|line| line.is_empty())
            .take(1)
            .collect();
        let note = above
            .first()
            .and_then(|line| line.trim().strip_prefix("<!-- ")?.strip_suffix(" -->"));
        found.push(Block {
            line: at + 1,
            language: language.to_owned(),
            note: note.map(str::to_owned),
            follows: end_of_last.is_some_and(|end| lines[end..at].iter().all(String::is_empty)),
            lines: inside[..length]
                .iter()
                .map(|line| line.get(indent..).unwrap_or_default().to_owned())
                .collect(),
            indent,
        });
        at += length + 2;
        end_of_last = Some(at);
    }
    found
}
