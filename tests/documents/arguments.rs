//! Every call of the command that a document shows is one that its own parser takes, also where it is not run; and every
//! file is valid.

use clap::error::ErrorKind;
use kylin_vr::config::Config;

use crate::examples::{DOCUMENTS, Use, uses};
use crate::markdown::Document;

/// The names that the command is called by.
const NAMES: [&str; 2] = ["kylin-vr", "./vr"];

/// What ends a command and begins another one.
const SEPARATORS: [&str; 6] = [";", "|", "||", "&&", "&", "\\"];

/// Calls in blocks, and those in the prose that are written out (no `…`, no choices).
pub fn every_call_is_accepted() {
    let (mut wrong, mut count) = (Vec::new(), 0);
    for document in DOCUMENTS.map(Document::read) {
        let in_blocks = document
            .blocks
            .iter()
            .filter(|block| ["sh", "console"].contains(&&*block.language));
        let lines = in_blocks.flat_map(|block| (block.line + 1..).zip(block.lines.iter().cloned()));
        let spans = document
            .code_spans()
            .into_iter()
            .filter(|(_, span)| is_written_out(span));
        let lines = lines
            .map(|line| (line, false))
            .chain(spans.map(|span| (span, true)));
        for ((line, text), is_prose) in lines {
            for call in calls(&text) {
                count += 1;
                if let Err(error) = accept(&call, is_prose) {
                    wrong.push(format!("{}:{line}: {}: {error}", document.path, call.join(" ")));
                }
            }
        }
    }
    println!("{count} calls of the command");
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
    assert!(
        count > 100,
        "only {count} calls were found: is the splitting right?"
    );
}

/// Every `yaml` block is a whole file, unless it says that it is a fragment.
pub fn every_file_is_valid() {
    let mut wrong = Vec::new();
    for document in DOCUMENTS.map(Document::read) {
        let blocks = document.blocks.iter().zip(uses(&document));
        for (block, _) in blocks.filter(|(block, what)| block.language == "yaml" && *what == Use::Parsed) {
            let parsed = Config::parse(block.text().as_bytes());
            if parsed.config.is_none() {
                let problems = parsed.problems.iter();
                wrong.extend(problems.map(|one| {
                    format!(
                        "{}:{}: {one}",
                        document.path,
                        block.line + one.place.line as usize
                    )
                }));
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

/// Whether a call in the prose is one, and not a pattern of several.
fn is_written_out(span: &str) -> bool {
    let calls = NAMES.iter().any(|name| span.starts_with(&format!("{name} ")));
    calls && !["…", "|", "[", "COMMAND"].iter().any(|sign| span.contains(sign))
}

/// The calls of the command in a line of a shell, with their words.
fn calls(line: &str) -> Vec<Vec<String>> {
    // `#` in front is a prompt or a comment: what is behind it is read as well.
    let line = line
        .split_once("# ")
        .filter(|(prompt, _)| !prompt.contains(' '))
        .map_or(line, |(_, rest)| rest);
    let words = line.split_whitespace().take_while(|word| !word.starts_with('#'));
    let words: Vec<String> = words.map(|word| word.replace(['\'', '"'], "")).collect();
    let commands = words.split(|word| SEPARATORS.contains(&word.as_str()));
    commands.filter_map(call).collect()
}

/// The words of one simple command, if it is a call.
fn call(command: &[String]) -> Option<Vec<String>> {
    let at = command.iter().position(|word| NAMES.contains(&word.as_str()))?;
    // In front of it only what runs it: else it is the name of a unit or a package.
    let before: Vec<&str> = command[..at].iter().map(String::as_str).collect();
    if !matches!(before[..], [] | ["exec", ..] | ["ip", "netns", "exec", _]) {
        return None;
    }
    let is_redirection = |word: &&String| !word.starts_with(['>', '<']) && !word.starts_with("2>");
    Some(
        command[at + 1..]
            .iter()
            .take_while(is_redirection)
            .cloned()
            .collect(),
    )
}

/// Whether the command's parser takes these words. Prose may name a subcommand without what it needs.
fn accept(words: &[String], is_prose: bool) -> Result<(), String> {
    use ErrorKind::{
        DisplayHelp, DisplayHelpOnMissingArgumentOrSubcommand, DisplayVersion, MissingRequiredArgument,
    };
    // Whatever the caller gives.
    if words.iter().any(|word| word == "$@") {
        return Ok(());
    }
    let words = words
        .iter()
        .map(|word| if word == "N" { "1" } else { word.as_str() });
    match kylin_vr::cli::command().try_get_matches_from(["kylin-vr"].into_iter().chain(words)) {
        Ok(_) => Ok(()),
        Err(error) => match error.kind() {
            DisplayHelp | DisplayVersion => Ok(()),
            DisplayHelpOnMissingArgumentOrSubcommand | MissingRequiredArgument if is_prose => Ok(()),
            _ => Err(error.to_string().lines().next().unwrap_or_default().to_owned()),
        },
    }
}
