//! Commands as somebody logged in to the router's VM would type them, and what they print.
//!
//! The agent of the lab has its files in a directory of its own; the reader sees them where they would be.

use std::thread;
use std::time::{Duration, Instant};

use lab::{Daemon, Run, Vpc};

use crate::page::{Page, Style};

/// Where the configuration is in a VM.
const INSTALLED: &str = "/etc/kylin-vr/kylin-vr.yaml";

/// A `kylin-vr monitor` in the background, whose log is shown bit by bit.
pub struct Monitor {
    daemon: Daemon,
    /// The lines that were shown.
    shown: usize,
}

impl Monitor {
    /// Starts one, and waits until it watches.
    pub fn start(vpc: &Vpc) -> Monitor {
        let daemon = vpc.daemon(&["monitor"]);
        let presence = vpc.directory().join("run/monitor");
        eventually(|| presence.exists());
        Monitor { daemon, shown: 0 }
    }

    /// Waits until it has put something right, shows what it logged, and says whether that has these words.
    pub fn has_put_right(&mut self, page: &mut Page, words: &str) -> bool {
        let shown = self.shown;
        let new = |log: &str| log.lines().skip(shown).map(str::to_owned).collect::<Vec<_>>();
        eventually(|| {
            new(&self.daemon.log())
                .iter()
                .any(|line| line.contains(" applied "))
        });
        let lines = new(&self.daemon.log());
        self.shown += lines.len();
        let changes = lines.iter().filter_map(|line| line.split_once(" INFO "));
        let changes: Vec<&str> = changes
            .map(|(_, text)| text)
            .filter(|text| !text.starts_with("applied"))
            .collect();
        page.output(&changes.join("\n"));
        lines.iter().any(|line| line.contains(words))
    }
}

/// Waits for something, for as long as a slow machine may need.
fn eventually(mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(30);
    while !holds() && Instant::now() < end {
        thread::sleep(Duration::from_millis(5));
    }
}

/// Puts a file in the configuration's place, as the hypervisor does, and shows that as a command.
pub fn install(page: &mut Page, vpc: &Vpc, from: &str, yaml: &str) {
    page.command(&format!("cp {from} {INSTALLED}"));
    vpc.write_config(yaml);
}

/// Runs `kylin-vr LINE` and shows all that it prints.
pub fn kylin_vr(page: &mut Page, vpc: &Vpc, line: &str) -> Run {
    let run = quietly(page, vpc, line);
    show(page, &run);
    run
}

/// Runs `kylin-vr reload` after a plan: what it did is shown in full only if it is not what the plan said.
pub fn reload_as_planned(page: &mut Page, vpc: &Vpc, plan: &Run) {
    let run = quietly(page, vpc, "reload");
    let (planned, done) = (changes(plan), changes(&run));
    let as_planned = run.code == 0 && !done.is_empty() && planned == done;
    if as_planned {
        let left_out = format!("(the {} lines of the plan, left out here)", done.len());
        let left_out = page.paint(Style::Dim, left_out);
        page.line(format!("    {left_out}"));
        let rest: Vec<&str> = run.stdout.lines().skip(done.len()).collect();
        page.output(&rest.join("\n"));
    } else {
        show(page, &run);
    }
    page.check(as_planned, "what was done is what the plan said, line by line");
}

/// What a plan or a reload lists, without the sentence at the end; and without the flows that ended: how many there are
/// is known only then.
fn changes(run: &Run) -> Vec<&str> {
    let is_change = |line: &&str| {
        !line.starts_with("- flow")
            && ["+ ", "- ", "~ ", "! ", "  "]
                .iter()
                .any(|sign| line.starts_with(sign))
    };
    run.stdout.lines().take_while(is_change).collect()
}

/// Runs `kylin-vr LINE` and shows nothing of what it prints.
pub fn quietly(page: &mut Page, vpc: &Vpc, line: &str) -> Run {
    page.command(&format!("kylin-vr {line}"));
    let run = vpc.kylin_vr(&line.split(' ').collect::<Vec<_>>());
    let config = vpc.config_path().display().to_string();
    let as_in_a_vm = |text: &str| text.replace(&config, INSTALLED);
    Run {
        code: run.code,
        stdout: as_in_a_vm(&run.stdout),
        stderr: as_in_a_vm(&run.stderr),
    }
}

/// The complaints come first, as they do on a terminal.
fn show(page: &mut Page, run: &Run) {
    page.output(&run.stderr);
    page.output(&run.stdout);
    if run.code != 0 {
        let code = page.paint(Style::Dim, format!("(exit code {})", run.code));
        page.line(format!("    {code}"));
    }
}
