//! `pictures PATH/TO/kylin-vr PATH/TO/demo DIRECTORY`: what the command prints on a terminal, as SVG.
//!
//! Each picture is a real run in the VPC of the lab, on a terminal of 80 and of 160 columns: nothing is drawn by hand.
//! It must never write anything but its pictures.

mod router;
mod terminal;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anstyle::RgbColor;
use anstyle_svg::{Palette, Term};
use lab::{Namespace, Vpc};
use router::Router;

const WIDTHS: [u16; 2] = [80, 160];

/// Readable on dark: the palette of VGA has a red that is not.
const PALETTE: Palette = Palette([
    RgbColor(0x1b, 0x1f, 0x27),
    RgbColor(0xf4, 0x77, 0x70),
    RgbColor(0x8c, 0xce, 0x7a),
    RgbColor(0xe8, 0xc0, 0x6a),
    RgbColor(0x7a, 0xb3, 0xf0),
    RgbColor(0xd1, 0x9a, 0xe8),
    RgbColor(0x72, 0xd0, 0xd0),
    RgbColor(0xdc, 0xdf, 0xe4),
    RgbColor(0x8a, 0x90, 0x9c),
    RgbColor(0xff, 0x96, 0x90),
    RgbColor(0xa8, 0xe4, 0x98),
    RgbColor(0xff, 0xda, 0x8a),
    RgbColor(0x9c, 0xca, 0xff),
    RgbColor(0xe6, 0xb8, 0xf8),
    RgbColor(0x92, 0xe8, 0xe8),
    RgbColor(0xff, 0xff, 0xff),
]);

const EXAMPLE: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/vpc.yaml"));

/// What is changed in the example, for a plan: an elastic IP that moves, one that goes, and another forward.
const MOVED: [(&str, &str); 3] = [
    (
        "eip: 10.90.2.251\n    vm-ip: 192.168.100.191",
        "eip: 10.90.2.251\n    vm-ip: 192.168.101.11",
    ),
    ("  - eip: 10.90.2.252\n    vm-ip: 192.168.101.10\n", ""),
    ("    port: 8080 ", "    port: 8443 "),
];
/// And for an error: a key and two values.
const BROKEN: [(&str, &str); 3] = [
    ("eip: 10.90.2.251", "epi: 10.90.2.251"),
    ("end_port: 12", "end_port: 9"),
    ("vm-ip: 192.168.101.11\n", "vm-ip: 192.168.101.256\n"),
];

/// The pictures: a name, what is typed behind `kylin-vr`, and the exit code.
const RUNS: [(&str, &str, i32); 5] = [
    ("status", "status", 0),
    ("plan", "plan new.yaml", 0),
    (
        "trace-delivered",
        "trace --from 192.168.100.190 --to 10.90.2.251 tcp 443",
        0,
    ),
    (
        "trace-dropped",
        "trace --from 198.51.100.10 --to 10.90.2.254 tcp 8081",
        0,
    ),
    ("error", "reload bad.yaml", 3),
];

fn main() -> ExitCode {
    let arguments: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    let [command, demo, directory] = &arguments[..] else {
        eprintln!("usage: pictures PATH/TO/kylin-vr PATH/TO/demo DIRECTORY (`make pictures` does it)");
        return ExitCode::FAILURE;
    };
    if let Err(reason) = lab::is_root_with_netns() {
        eprintln!("pictures: {reason}");
        return ExitCode::FAILURE;
    }
    let [command, demo] = [command, demo].map(|path| path.canonicalize().expect("a program"));
    fs::create_dir_all(directory).expect("make the directory");
    let vpc = Vpc::builder(&command).build();
    let printed = lab::with_own_mounts(|| runs(&vpc, &command));
    for (name, columns, text) in printed {
        draw(directory, name, columns, &text);
    }
    for columns in WIDTHS {
        let mut whole = Command::new(&demo);
        whole.arg(&command);
        let printed = terminal::run(whole, 0, columns);
        draw(directory, "demo", columns, closing_part(&printed));
    }
    ExitCode::SUCCESS
}

/// What each of the runs prints, in each width.
fn runs(vpc: &Vpc, command: &Path) -> Vec<(&'static str, u16, String)> {
    let router = Router::start(vpc, command, EXAMPLE);
    let connect = |(from, to): (&Namespace, &str)| vpc.tcp_flow(from, to, &[]).expect("packets pass");
    let _flows = [
        (&*vpc.client, "10.90.2.250:22"),
        (&*vpc.a2, "10.90.2.252:80"),
        (&*vpc.neighbour, "10.90.2.251:443"),
    ]
    .map(connect);
    for (name, changes) in [("new.yaml", &MOVED[..]), ("bad.yaml", &BROKEN)] {
        fs::write(Path::new("/tmp").join(name), changed(changes)).expect("write a file");
    }
    let run = |((name, words, code), columns)| {
        let printed = router.run(words, code, columns);
        (
            name,
            columns,
            format!("\x1b[1m# kylin-vr {words}\x1b[0m\n{printed}"),
        )
    };
    let all = WIDTHS.iter().flat_map(|columns| RUNS.map(|one| (one, *columns)));
    all.map(run).collect()
}

/// The example with other lines.
fn changed(changes: &[(&str, &str)]) -> String {
    let mut text = EXAMPLE.to_owned();
    for (old, new) in changes {
        assert!(text.contains(old), "examples/vpc.yaml has no {old:?} to change");
        text = text.replacen(old, new, 1);
    }
    text
}

/// The demo's last scene and its verdict.
fn closing_part(page: &str) -> &str {
    let begin = page.rfind("── Scene").expect("the demo has scenes");
    // With the escape sequences of the line.
    let begin = page[..begin].rfind('\n').map_or(0, |end| end + 1);
    &page[begin..]
}

/// One picture: light on dark, and as wide as the longest line needs.
fn draw(directory: &Path, name: &str, columns: u16, text: &str) {
    let text = terminal::wrap(text, columns.into());
    let term = Term::new().palette(PALETTE);
    let file = directory.join(format!("{name}-{columns}.svg"));
    fs::write(&file, term.render_svg(text.trim_end())).expect("write a picture");
    println!("{}", file.display());
}
