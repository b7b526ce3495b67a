//! Writes the manual pages, the shells' completions and the file's schema of `kylin-vr` into a directory.
//!
//! They are made of the command's own definition, so they cannot say anything else than `--help` does. A program of
//! the build machine: it never ends up in a package, so a cross build makes them too.

use std::error::Error;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

use clap::Command;
use clap_complete::{Shell, generate_to};
use clap_mangen::Man;

const NAME: &str = "kylin-vr";
/// System administration commands (man-pages(7)).
const SECTION: &str = "8";

/// What the definition does not know: sections of the main page, in roff.
const MORE: &str = include_str!("more.roff");

fn main() -> Result<(), Box<dyn Error>> {
    let directory = std::env::args_os().nth(1).ok_or("usage: docs DIRECTORY")?;
    let directory = Path::new(&directory);
    fs::create_dir_all(directory)?;
    let mut command = kylin_vr::cli::command();
    for shell in [Shell::Bash, Shell::Fish, Shell::Zsh] {
        generate_to(shell, &mut command.clone(), NAME, directory)?;
    }
    let schema = format!("{:#}\n", kylin_vr::config::schema::schema());
    fs::write(directory.join("kylin-vr.schema.json"), schema)?;
    // What every subcommand takes is in each one only once it is built; `help` needs no page.
    command = command.disable_help_subcommand(true);
    command.build();
    page(directory, NAME, &command)?;
    for one in command.get_subcommands().filter(|one| !one.is_hide_set()) {
        page(directory, &format!("{NAME}-{}", one.get_name()), one)?;
    }
    Ok(())
}

/// One page. The exit codes stand in the main one, in a section of their own, not in what follows the help.
fn page(directory: &Path, name: &str, command: &Command) -> io::Result<()> {
    let is_main = name == NAME;
    let version = format!(
        "{NAME} {}",
        kylin_vr::cli::command().get_version().unwrap_or_default()
    );
    // No date: the same source gives the same page.
    let man = Man::new(command.clone())
        .title(name)
        .section(SECTION)
        .date("")
        .source(version)
        .manual("");
    let mut out = File::create(directory.join(format!("{name}.{SECTION}")))?;
    man.render_title(&mut out)?;
    man.render_name_section(&mut out)?;
    man.render_synopsis_section(&mut out)?;
    man.render_description_section(&mut out)?;
    if is_main {
        man.render_subcommands_section(&mut out)?;
    }
    man.render_options_section(&mut out)?;
    if is_main {
        out.write_all(MORE.as_bytes())
    } else {
        examples(command, &mut out)?;
        for one in command.get_subcommands() {
            out.write_all(section(name, one)?.as_bytes())?;
        }
        writeln!(out, ".SH \"SEE ALSO\"\n\\fBkylin\\-vr\\fR(8)")
    }
}

/// What stands below the help: examples.
fn examples(command: &Command, out: &mut impl Write) -> io::Result<()> {
    let Some(text) = command.get_after_help() else {
        return Ok(());
    };
    let text = text.to_string().replace('\\', "\\\\").replace('-', "\\-");
    writeln!(
        out,
        ".SH EXAMPLES\n.nf\n{}\n.fi",
        text.trim_start_matches("Examples:\n")
    )
}

/// A subcommand of a subcommand (`eip add`): a section of that one's page, whose own sections are below it.
fn section(page: &str, command: &Command) -> io::Result<String> {
    let man = Man::new(command.clone());
    let mut out = Vec::new();
    man.render_synopsis_section(&mut out)?;
    man.render_description_section(&mut out)?;
    man.render_options_section(&mut out)?;
    examples(command, &mut out)?;
    let text = String::from_utf8_lossy(&out).replace(".SH ", ".SS ");
    let name = format!(
        "{} {}",
        page.replace('-', " ").replacen(' ', "-", 1),
        command.get_name()
    );
    Ok(format!(".SH \"{}\"\n{text}", name.to_uppercase()))
}
