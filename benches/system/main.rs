//! What kylin-vr costs, whole processes and packets, beside what others cost: `make bench`.
//!
//! Each line is a ratio of two things measured in turn in one run, and the bound that it must keep. Nothing is asserted:
//! a figure is not a test. Needs root; works in namespaces of its own, and raises the kernel's limit of flows meanwhile.
//!
//! `cargo bench --bench system -- loading changing` measures these groups only.

mod changing;
mod command;
mod first_packets;
mod held;
mod lean;
mod loading;
mod machine;
mod mirrors;
mod options;
mod others;
mod overlays;
mod plot;
mod profile;
mod result;
mod settings;
mod site;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use machine::{Machine, Room};
use result::Results;
use settings::Settings;

/// What is measured, and how much of it.
struct Bench {
    settings: Settings,
    results: Results,
}

/// Measures a group, and adds its lines.
type Measure = fn(&mut Bench);

/// The groups, by the names that they are asked for.
const GROUPS: [(&str, Measure); 9] = [
    ("first-packets", first_packets::measure),
    ("options", options::measure),
    ("loading", loading::measure),
    ("changing", changing::measure),
    ("lean", lean::measure),
    ("held", held::measure),
    ("overlays", overlays::measure),
    ("mirrors", mirrors::measure),
    ("profile", profile::measure),
];

/// Those that put millions of flows into a router.
const NEED_ROOM: [&str; 3] = ["first-packets", "options", "held"];

fn main() -> ExitCode {
    // Cargo says `--bench`.
    let asked: Vec<String> = std::env::args()
        .skip(1)
        .filter(|word| !word.starts_with('-'))
        .collect();
    if let Some(unknown) = asked
        .iter()
        .find(|name| GROUPS.iter().all(|(group, _)| group != name))
    {
        eprintln!(
            "no group {unknown}: {}",
            GROUPS.map(|(group, _)| group).join(", ")
        );
        return ExitCode::from(2);
    }
    if let Err(reason) = lab::is_root_with_netns() {
        eprintln!("the bench {reason}");
        return ExitCode::FAILURE;
    }
    command::adopt_orphans();
    let mut bench = Bench {
        settings: Settings::new(),
        results: Results::default(),
    };
    let machine = Machine::here(bench.settings.quick);
    println!("{}\n", machine.description);
    for (name, measure) in GROUPS {
        if asked.is_empty() || asked.iter().any(|one| one == name) {
            eprintln!("-- {name}");
            // Elsewhere the kernel is as it is: a hash of millions of buckets costs who reads all flows.
            let room = NEED_ROOM.contains(&name).then(Room::make);
            measure(&mut bench);
            drop(room);
        }
    }
    write(&bench.results, &machine, asked.is_empty())
}

/// Writes the table, the figures and the plot.
fn write(results: &Results, machine: &Machine, whole: bool) -> ExitCode {
    let directory = output_directory();
    let mut table = format!("{}\n\n{}", machine.description, results.markdown());
    if !results.profile.is_empty() {
        table += &format!("\nWhere the time of a reload goes:\n\n{}", results.profile);
    }
    println!("\n{table}\nlines that do not hold: {}", results.broken());
    let json = format!("{:#}\n", results.json(&machine.json));
    let mut files = vec![("results.md", table.clone()), ("results.json", json)];
    let plot = (!results.series.is_empty()).then(|| plot::svg(&results.series));
    files.extend(plot.clone().map(|plot| ("first-packets.svg", plot)));
    for (name, text) in files {
        fs::write(directory.join(name), text).expect("write the results");
    }
    println!("written to {}", directory.display());
    if std::env::var_os("KEEP").is_some_and(|value| !value.is_empty()) && whole {
        keep(&table, &plot.unwrap_or_default());
    }
    ExitCode::SUCCESS
}

/// Puts the table and the plot where the repository shows them.
fn keep(table: &str, plot: &str) {
    const BEGIN: &str = "<!-- last table -->\n";
    const END: &str = "<!-- end of the last table -->\n";
    let benches = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches");
    let readme = benches.join("README.md");
    let text = fs::read_to_string(&readme).expect("read benches/README.md");
    let (head, rest) = text.split_once(BEGIN).expect("a place for the table");
    let (_, tail) = rest.split_once(END).expect("an end of that place");
    fs::write(&readme, format!("{head}{BEGIN}\n{table}\n{END}{tail}")).expect("write benches/README.md");
    fs::write(benches.join("first-packets.svg"), plot).expect("write the plot");
}

/// Where results and files of the bench go: `bench` beside the directory of the command, in `target`.
fn output_directory() -> PathBuf {
    let command = Path::new(env!("CARGO_BIN_EXE_kylin-vr"));
    let target = command.ancestors().nth(2).expect("target/release/kylin-vr");
    let directory = target.join("bench");
    fs::create_dir_all(&directory).expect("make target/bench");
    directory
}
