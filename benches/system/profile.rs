//! Where the time of a reload goes, part by part, as it tells at debug level.

use std::fmt::Write as _;
use std::time::Duration;

use crate::Bench;
use crate::command::{Agent, Ran, run};
use crate::result::{median, show_time};
use crate::site::{Site, config, entries};

/// A part of a run and its time, summed up where it comes more than once.
type Parts = Vec<(String, Duration)>;

pub fn measure(bench: &mut Bench) {
    let mut columns: [(&str, Vec<Parts>); 4] = [
        ("65,000 from nothing", Vec::new()),
        ("65,000 unchanged", Vec::new()),
        ("one more on 10,000", Vec::new()),
        ("10,000 unchanged", Vec::new()),
    ];
    for _ in 0..bench.settings.slow_repeats {
        for (first, (before, after)) in [(0, (65_000, 65_000)), (2, (10_000, 10_001))] {
            let (site, agent) = (Site::new(), Agent::new("profile"));
            let reload = |count: usize| {
                agent.write(&config(entries(count)));
                parts(&run(&site.router, agent.command(&["-vv", "reload"])))
            };
            let from_nothing = reload(before);
            if first == 0 {
                columns[first].1.push(from_nothing);
            } else {
                columns[first].1.push(reload(after));
            }
            columns[first + 1].1.push(reload(after));
        }
    }
    bench.results.profile = table(&columns);
    println!("{}", bench.results.profile);
}

/// The parts of a run by its log, in the order in which they came first; the rest last, and all of it.
fn parts(ran: &Ran) -> Parts {
    let mut parts = Parts::new();
    for line in ran.stderr.lines() {
        let Some((name, time)) = line
            .split_once("took part=\"")
            .and_then(|(_, rest)| rest.split_once("\" us="))
        else {
            continue;
        };
        let time = Duration::from_micros(time.trim().parse().expect("microseconds"));
        match parts.iter_mut().find(|(known, _)| known == name) {
            Some((_, sum)) => *sum += time,
            None => parts.push((name.to_owned(), time)),
        }
    }
    let told: Duration = parts.iter().map(|(_, time)| *time).sum();
    parts.push((
        "the rest: start, files, lock, end".to_owned(),
        ran.time.saturating_sub(told),
    ));
    parts.push(("all of it".to_owned(), ran.time));
    parts
}

fn table(columns: &[(&str, Vec<Parts>)]) -> String {
    let mut text = String::from("| part |");
    for (name, _) in columns {
        let _ = write!(text, " {name} |");
    }
    let _ = writeln!(text, "\n|---|{}", "---|".repeat(columns.len()));
    // The first column has every part: from nothing, everything is done.
    for (part, _) in columns
        .first()
        .and_then(|(_, runs)| runs.first())
        .into_iter()
        .flatten()
    {
        let _ = write!(text, "| {part} |");
        for (_, runs) in columns {
            let times: Vec<Duration> = runs
                .iter()
                .filter_map(|parts| parts.iter().find(|(name, _)| name == part).map(|(_, time)| *time))
                .collect();
            let shown = if times.is_empty() {
                String::new()
            } else {
                show_time(median(&times))
            };
            let _ = write!(text, " {shown} |");
        }
        text.push('\n');
    }
    text
}
