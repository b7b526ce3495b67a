//! Every message that can reach an operator has an entry in docs/troubleshooting.md, which is found by its words.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use kylin_vr::config::Config;

/// What a message says between the parts that vary.
type Parts = Vec<String>;

fn parts(text: &str) -> Parts {
    let parts = text
        .split('…')
        .map(|part| part.trim_matches([' ', ':', ';', ',']).to_owned());
    parts.filter(|part| part.len() > 2).collect()
}

/// The texts in backquotes of the page. Short ones would be in every message.
fn entries() -> Vec<Parts> {
    let page = include_str!("../docs/troubleshooting.md");
    let texts = page.lines().flat_map(|line| line.split('`').skip(1).step_by(2));
    let entries = texts.map(parts);
    entries
        .filter(|parts| parts.iter().map(String::len).sum::<usize>() >= 10)
        .collect()
}

/// Whether the parts stand in a text, in their order.
fn stand_in(parts: &[String], mut text: &str) -> bool {
    parts.iter().all(|part| {
        let found = text.split_once(part.as_str());
        text = found.map_or("", |(_, after)| after);
        found.is_some()
    })
}

/// Those of these messages that the page does not have. What varies in them may be left out of them, or stand in them.
fn lacking(messages: &BTreeSet<String>) -> Vec<&String> {
    let entries = entries();
    let is_told = |message: &str| {
        let own = parts(message);
        entries
            .iter()
            .any(|entry| stand_in(entry, message) || !own.is_empty() && stand_in(&own, &entry.join("…")))
    };
    messages.iter().filter(|message| !is_told(message)).collect()
}

#[test]
fn problems_of_the_file_are_in_troubleshooting() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/bad");
    let files = fs::read_dir(dir)
        .unwrap()
        .map(|entry| fs::read(entry.unwrap().path()).unwrap());
    let problems = files.flat_map(|text| Config::parse(&text).problems);
    let messages: BTreeSet<_> = problems
        .map(|problem| problem.message.replace('`', "'"))
        .collect();
    assert!(messages.len() > 40, "{messages:#?}");
    let lacking = lacking(&messages);
    assert!(
        lacking.is_empty(),
        "docs/troubleshooting.md has no entry for {lacking:#?}"
    );
}

fn sources(directory: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, files);
        } else if path.extension().is_some_and(|end| end == "rs") {
            files.push(path);
        }
    }
}

/// The literal behind `#[error(`, with `…` where something is put in; `None`: it has no words of its own.
fn literal(after: &str) -> Option<String> {
    let after = after.trim_start().strip_prefix('"')?;
    let (mut text, mut characters) = (String::new(), after.chars());
    while let Some(character) = characters.next() {
        match character {
            '"' => break,
            '{' => {
                characters.find(|one| *one == '}');
                text.push('…');
            }
            '`' => text.push('\''),
            '\\' => match characters.next()? {
                // A literal that goes on in the next line.
                '\n' => {
                    let rest = characters.as_str().trim_start();
                    characters = rest.chars();
                }
                escaped => text.push(escaped),
            },
            other => text.push(other),
        }
    }
    (!parts(&text).is_empty()).then_some(text)
}

#[test]
fn errors_of_the_code_are_in_troubleshooting() {
    let mut files = Vec::new();
    sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut files);
    let texts = files.iter().map(|file| fs::read_to_string(file).unwrap());
    let messages: BTreeSet<_> = texts
        .flat_map(|text| {
            text.split("#[error(")
                .skip(1)
                .filter_map(literal)
                .collect::<Vec<_>>()
        })
        .collect();
    assert!(messages.len() > 25, "{messages:#?}");
    let lacking = lacking(&messages);
    assert!(
        lacking.is_empty(),
        "docs/troubleshooting.md has no entry for {lacking:#?}"
    );
}
