//! The examples of a document, run in their order as a reader would, and what they print beside what stands there.

use std::path::Path;

use crate::compare::{Difference, merge};
use crate::markdown::{Block, Document};
use crate::shell::Shell;

/// The documents.
pub const DOCUMENTS: [&str; 10] = [
    "README.md",
    "docs/install.md",
    "docs/tutorial.md",
    "docs/operations.md",
    "docs/overlay.md",
    "docs/reference.md",
    "docs/troubleshooting.md",
    "docs/faults.md",
    "docs/mirroring.md",
    "packaging/README.md",
];

/// The document whose first sections make the router that the others are about, and where these end.
const ROUTER: (&str, &str) = ("docs/tutorial.md", "### 3.");

/// What is done with a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// It is run.
    Run,
    /// It is what the block above it prints.
    Output,
    /// Its calls of the command are given to the command's own parser, or the file is checked.
    Parsed,
    /// A picture, a fragment of a file, another program's file.
    Shown,
}

/// What is done with each block of a document.
///
/// # Panics
/// If a block has a language that nothing is known of.
pub fn uses(document: &Document) -> Vec<Use> {
    let mut uses: Vec<Use> = Vec::new();
    for block in &document.blocks {
        let first = block.lines.first().map_or("", String::as_str);
        uses.push(match block.language.as_str() {
            "sh" | "console" if block.is_noted("not run: ") => Use::Parsed,
            "console" if prompt(first).is_none() => Use::Parsed,
            "sh" | "console" => Use::Run,
            "yaml" if block.is_noted("fragment") => Use::Shown,
            "yaml" => Use::Parsed,
            "text" | "json" if block.follows && uses.last() == Some(&Use::Run) => Use::Output,
            "text" | "json" | "xml" => Use::Shown,
            other => panic!(
                "{}:{}: a block of {other:?}: say in tests/documents/examples.rs what is done with it",
                document.path, block.line
            ),
        });
    }
    uses
}

/// What stands in front of a command of this machine; `vm#` and the like are others.
fn prompt(line: &str) -> Option<&'static str> {
    ["$ ", "# "].into_iter().find(|prompt| line.starts_with(prompt))
}

/// Runs a document's examples. With `UPDATE_DOCUMENTS=1` what they print is written into it, in place of a comparison.
///
/// # Errors
/// What is not as printed, each with its file and line.
pub fn run(path: &str) -> Result<(), String> {
    let document = Document::read(path);
    let uses = uses(&document);
    let count = |what| uses.iter().filter(|one| **one == what).count();
    let sessions = document.blocks.iter().zip(&uses);
    let sessions = sessions
        .filter(|(block, what)| block.language == "console" && **what == Use::Run)
        .count();
    let (outputs, parsed, shown) = (
        count(Use::Output) + sessions,
        count(Use::Parsed),
        count(Use::Shown),
    );
    println!(
        "{path}: {} blocks run, {outputs} outputs compared, {parsed} parsed only, {shown} not run",
        count(Use::Run)
    );
    if count(Use::Run) == 0 {
        return Ok(());
    }
    let mut shell = Shell::start();
    prepare(&mut shell, path)?;
    let (mut wrong, mut replaced) = (Vec::new(), Vec::new());
    for (index, block) in document
        .blocks
        .iter()
        .enumerate()
        .filter(|(at, _)| uses[*at] == Use::Run)
    {
        let at = |line: usize| format!("{path}:{line}");
        if block.language == "console" {
            let (lines, differences) =
                session(&mut shell, block).map_err(|error| format!("{}: {error}", at(block.line)))?;
            wrong.extend(
                differences
                    .into_iter()
                    .map(|(line, one)| tell(&at(block.line + 1 + line), &one)),
            );
            replaced.push((block.line, lines));
            continue;
        }
        let left_out = block.is_noted("output left out");
        let printed = shell
            .run(&block.text(), left_out)
            .map_err(|error| format!("{}: {error}", at(block.line)))?;
        if left_out {
            let failed = printed.iter().filter(|line| line.starts_with("exit code "));
            wrong.extend(failed.map(|line| format!("{}: {line}", at(block.line))));
            continue;
        }
        let output = document
            .blocks
            .get(index + 1)
            .filter(|_| uses.get(index + 1) == Some(&Use::Output));
        let Some(output) = output else {
            if let Some(first) = printed.first() {
                wrong.push(format!(
                    "{}: no output is shown, but it printed: {first}",
                    at(block.line)
                ));
            }
            continue;
        };
        let (lines, difference) = merge(&output.lines, &printed);
        wrong.extend(difference.map(|one| tell(&at(output.line + 1 + one.at), &one)));
        replaced.push((output.line, lines));
    }
    if std::env::var_os("UPDATE_DOCUMENTS").is_some() {
        document.write(&replaced);
        wrong.retain(|one| !one.contains(TOLD));
    }
    if wrong.is_empty() {
        Ok(())
    } else {
        Err(wrong.join("\n"))
    }
}

/// What a difference is told by; an update mends these, and no others.
const TOLD: &str = ": not what is printed";

fn tell(place: &str, difference: &Difference) -> String {
    let line = |line: &Option<String>| line.clone().unwrap_or_else(|| "(nothing)".to_owned());
    format!(
        "{place}{TOLD}\n  the document: {}\n  printed:      {}",
        line(&difference.expected),
        line(&difference.printed)
    )
}

/// A block as it should be, and its differences with their lines in it.
type Compared = (Vec<String>, Vec<(usize, Difference)>);

/// A block with prompts: each command, and below it what it prints.
fn session(shell: &mut Shell, block: &Block) -> Result<Compared, String> {
    let (mut lines, mut differences) = (Vec::new(), Vec::new());
    let mut rest = block.lines.iter().enumerate().peekable();
    while let Some((at, line)) = rest.next() {
        let command = prompt(line).map_or(line.as_str(), |prompt| &line[prompt.len()..]);
        lines.push(line.clone());
        let mut expected = Vec::new();
        while let Some((_, line)) = rest.next_if(|(_, line)| prompt(line).is_none()) {
            expected.push(line.clone());
        }
        let printed = shell.run(&format!("{command}\n"), false)?;
        let (merged, difference) = merge(&expected, &printed);
        differences.extend(difference.map(|one| (at + 1 + one.at, one)));
        lines.extend(merged);
    }
    Ok((lines, differences))
}

/// For a document with a preparation beside this file: the router of the tutorial's first sections, a shell in it, and
/// the preparation.
fn prepare(shell: &mut Shell, path: &str) -> Result<(), String> {
    let name = Path::new(path).file_stem().unwrap_or_default().to_string_lossy();
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/documents/{name}.sh"));
    let Ok(preparation) = std::fs::read_to_string(&file) else {
        return Ok(());
    };
    let (tutorial, end) = ROUTER;
    let tutorial = Document::read(tutorial);
    let end = tutorial
        .heading(end)
        .unwrap_or_else(|| panic!("{} has no heading {end}", tutorial.path));
    for block in tutorial
        .blocks
        .iter()
        .filter(|block| block.language == "sh" && block.line < end)
    {
        shell.run(&block.text(), false)?;
    }
    shell.enter("tut-router");
    let printed = shell.run(&preparation, true)?;
    if printed.is_empty() {
        return Ok(());
    }
    Err(format!("{}: {}", file.display(), printed.join("\n")))
}
