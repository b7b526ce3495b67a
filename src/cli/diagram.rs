//! `kylin-vr diagram [FILE|-]`: a picture of what a file says.

use std::process::ExitCode;

use clap::{Args, ValueEnum};

use super::report::{Outcome, Report};
use super::{Context, Given, print, run};
use crate::config::Config;
use crate::diagram;
use crate::words::plain;

const COMMAND: &str = "diagram";

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Format {
    /// Text that GitHub, GitLab and many wikis draw
    Mermaid,
    /// Text for Graphviz: kylin-vr diagram --format dot | dot -Tpdf
    Dot,
    /// An image for a browser or a document
    Svg,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    kylin-vr diagram --format svg >vpc.svg\n  \
    kylin-vr diagram --format dot vpc.yaml | dot -Tpdf >vpc.pdf")]
pub(super) struct Options {
    /// A file, or - for standard input; without it the installed file
    #[arg(value_name = "FILE")]
    file: Option<std::path::PathBuf>,
    /// The language of the picture
    #[arg(long, value_enum, default_value = "mermaid")]
    format: Format,
    /// Show so many VMs of a network one by one, and count the rest
    #[arg(long, value_name = "NUMBER", default_value = "12")]
    vms: usize,
}

pub(super) fn run(context: &Context, options: &Options) -> ExitCode {
    let given = Given {
        file: options.file.clone(),
        allow_empty: true,
    };
    let source = context.source(&given);
    let name = run::name(context, source.as_ref());
    let text = match run::read(context, source.as_ref()) {
        Ok(text) => text,
        Err(error) => {
            let message = format!("read {name}: {}", plain(&error));
            return Report::failed(COMMAND, name, message).print(context.json);
        }
    };
    let parsed = Config::parse(&text);
    let Some(config) = parsed.config else {
        let report = Report::new(
            COMMAND,
            name,
            Outcome::Invalid,
            "the configuration is invalid".to_owned(),
        );
        return report.with_problems(parsed.problems).print(context.json);
    };
    let format = match options.format {
        Format::Mermaid => diagram::Format::Mermaid,
        Format::Dot => diagram::Format::Dot,
        Format::Svg => diagram::Format::Svg,
    };
    let picture = diagram::draw(&config, format, options.vms);
    if context.json {
        print(&format!(
            "{}\n",
            serde_json::json!({ "command": COMMAND, "exit_code": 0, "source": name, "diagram": picture })
        ));
    } else {
        print(&picture);
    }
    ExitCode::SUCCESS
}
