//! A translation has the blocks of what it translates: the same commands, the same outputs.
//!
//! Comments in code and words of pictures are translated. With `UPDATE_DOCUMENTS=1` outputs are copied.

use crate::compare::{form, merge};
use crate::examples::{Use, uses};
use crate::markdown::{Block, Document};

/// # Errors
/// What differs, with file and line.
pub fn has_the_same_blocks(path: &str) -> Result<(), String> {
    let document = Document::read(path);
    let translated = Document::read(&path.replace(".md", ".zh-CN.md"));
    let (here, there) = (uses(&document), uses(&translated));
    let (mut wrong, mut replaced) = (Vec::new(), Vec::new());
    for (index, (block, other)) in document.blocks.iter().zip(&translated.blocks).enumerate() {
        let at = format!(
            "{}:{} and {}:{}",
            document.path, block.line, translated.path, other.line
        );
        if here[index] != there[index] || block.language != other.language {
            return Err(format!("{at}: a block of another kind"));
        }
        let (ours, theirs) = (meaning(block, here[index]), meaning(other, here[index]));
        let outputs = here[index] == Use::Output || block.language == "console" && here[index] == Use::Run;
        if ours == theirs {
            continue;
        } else if outputs && std::env::var_os("UPDATE_DOCUMENTS").is_some() {
            replaced.push((other.line, merge(&other.lines, &block.lines).0));
        } else {
            let differs = ours.iter().zip(&theirs).position(|(our, their)| our != their);
            let differs = differs.unwrap_or(ours.len().min(theirs.len()));
            let [our, their] =
                [&ours, &theirs].map(|lines| lines.get(differs).map_or("(nothing)", String::as_str));
            wrong.push(format!(
                "{}:{}: {their}\n{}:{}: {our}",
                translated.path,
                other.line + 1 + differs,
                document.path,
                block.line + 1 + differs
            ));
        }
    }
    if document.blocks.len() != translated.blocks.len() {
        let [ours, theirs] = [&document, &translated].map(|one| one.blocks.len());
        wrong.push(format!(
            "{path} has {ours} blocks, {} has {theirs}",
            translated.path
        ));
    }
    if !replaced.is_empty() {
        translated.write(&replaced);
    }
    println!("{}: {} blocks compared", translated.path, document.blocks.len());
    if wrong.is_empty() {
        Ok(())
    } else {
        Err(wrong.join("\n"))
    }
}

/// The lines without what is translated.
fn meaning(block: &Block, what: Use) -> Vec<String> {
    let code = |line: &String| {
        line.split_once(" #")
            .map_or(line.as_str(), |(code, _)| code)
            .trim_end()
            .to_owned()
    };
    match (block.language.as_str(), what) {
        ("text", Use::Shown) => Vec::new(),
        (_, Use::Output) => block.lines.iter().map(|line| form(line)).collect(),
        _ => block.lines.iter().map(code).collect(),
    }
}
