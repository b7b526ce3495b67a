//! What was measured, beside what it must be: lines, as a Markdown table and as JSON.

use std::fmt::Write as _;
use std::time::Duration;

use serde_json::{Value, json};

/// What a ratio or a figure must be.
#[derive(Clone, Copy, Debug)]
pub enum Bound {
    AtLeast(f64),
    AtMost(f64),
    Between(f64, f64),
    /// Nothing is asked: it stands beside the others.
    None,
}

impl Bound {
    fn holds(self, value: f64) -> Option<bool> {
        match self {
            Self::AtLeast(least) => Some(value >= least),
            Self::AtMost(most) => Some(value <= most),
            Self::Between(least, most) => Some((least..=most).contains(&value)),
            Self::None => None,
        }
    }

    fn show(self) -> String {
        match self {
            Self::AtLeast(least) => format!("≥ {}", short(least)),
            Self::AtMost(most) => format!("≤ {}", short(most)),
            Self::Between(least, most) => format!("{} to {}", short(least), short(most)),
            Self::None => String::new(),
        }
    }
}

/// One line of the table.
#[derive(Debug)]
struct Line {
    group: &'static str,
    what: String,
    measured: String,
    beside: String,
    value: f64,
    bound: Bound,
}

/// All lines, in the order in which they were measured.
#[derive(Debug, Default)]
pub struct Results {
    lines: Vec<Line>,
    /// Series for the plot: a name, and new flows a second over the number of entries.
    pub series: Vec<(String, Vec<(usize, f64)>)>,
    /// Where the time of a reload goes, as a table; empty if it was not measured.
    pub profile: String,
}

impl Results {
    /// Adds a line, and prints it at once. `value` is the ratio, or the figure itself where there is nothing beside it.
    pub fn add(
        &mut self,
        group: &'static str,
        what: &str,
        measured: String,
        beside: String,
        value: f64,
        bound: Bound,
    ) {
        let line = Line {
            group,
            what: what.to_owned(),
            measured,
            beside,
            value,
            bound,
        };
        println!("{}", line.row());
        self.lines.push(line);
    }

    /// Adds a line of two times and their ratio.
    pub fn times(
        &mut self,
        group: &'static str,
        what: &str,
        own: Duration,
        (beside, other): (&str, Duration),
        bound: Bound,
    ) {
        let ratio = own.as_secs_f64() / other.as_secs_f64();
        self.add(
            group,
            what,
            show_time(own),
            format!("{} {beside}", show_time(other)),
            ratio,
            bound,
        );
    }

    /// Adds a line of what cannot be measured here, with the reason.
    pub fn left_out(&mut self, group: &'static str, what: &str, why: &str) {
        self.add(
            group,
            what,
            format!("left out: {why}"),
            String::new(),
            f64::NAN,
            Bound::None,
        );
    }

    /// How many lines do not hold.
    pub fn broken(&self) -> usize {
        self.lines
            .iter()
            .filter(|line| line.bound.holds(line.value) == Some(false))
            .count()
    }

    /// The table.
    pub fn markdown(&self) -> String {
        let mut text = String::from(
            "| line | what | measured | beside | value | bound | holds |\n|---|---|---|---|---|---|---|\n",
        );
        for line in &self.lines {
            let _ = writeln!(text, "{}", line.row());
        }
        text
    }

    /// Everything, for programs.
    pub fn json(&self, machine: &Value) -> Value {
        let lines: Vec<Value> = self
            .lines
            .iter()
            .map(|line| {
                json!({
                    "group": line.group, "what": line.what, "measured": line.measured, "beside": line.beside,
                    "value": line.value, "bound": line.bound.show(), "holds": line.bound.holds(line.value),
                })
            })
            .collect();
        let series: Vec<Value> = self
            .series
            .iter()
            .map(|(name, points)| json!({ "name": name, "flows_per_second": points }))
            .collect();
        json!({ "machine": machine, "lines": lines, "first_packets": series })
    }
}

impl Line {
    fn row(&self) -> String {
        let holds = match self.bound.holds(self.value) {
            Some(true) => "yes",
            Some(false) => "**no**",
            None => "",
        };
        format!(
            "| {} | {} | {} | {} | {} | {} | {holds} |",
            self.group,
            self.what,
            self.measured,
            self.beside,
            short(self.value),
            self.bound.show(),
        )
    }
}

/// Three digits that count.
pub fn short(value: f64) -> String {
    match value.abs() {
        nothing if nothing.is_nan() => String::new(),
        large if large >= 100.0 || large == 0.0 => format!("{value:.0}"),
        middle if middle >= 10.0 => format!("{value:.1}"),
        _ if value.fract() == 0.0 => format!("{value:.0}"),
        _ => format!("{value:.2}"),
    }
}

/// A time as people say it.
pub fn show_time(time: Duration) -> String {
    let milliseconds = time.as_secs_f64() * 1e3;
    if milliseconds >= 1e4 {
        format!("{} s", short(milliseconds / 1e3))
    } else {
        format!("{} ms", short(milliseconds))
    }
}

/// Bytes as people say them.
pub fn show_bytes(bytes: u64) -> String {
    format!("{} MiB", short(bytes as f64 / f64::from(1 << 20)))
}

/// The middle of several; of an even number the upper one.
///
/// # Panics
/// If there is none.
pub fn median<T: PartialOrd + Copy>(values: &[T]) -> T {
    sorted(values)[values.len() / 2]
}

fn sorted<T: PartialOrd + Copy>(values: &[T]) -> Vec<T> {
    let mut values = values.to_vec();
    values.sort_by(|one, other| one.partial_cmp(other).expect("figures can be compared"));
    values
}

/// The median of the ratios of two things that were measured in turn, round by round: what slows a whole round down is in both.
///
/// # Panics
/// If there is no round.
pub fn median_ratio(ones: &[f64], others: &[f64]) -> f64 {
    median(&ratios(ones, others))
}

/// These ratios, round by round.
pub fn ratios(ones: &[f64], others: &[f64]) -> Vec<f64> {
    ones.iter().zip(others).map(|(one, other)| one / other).collect()
}

/// Where the middle half of these begins and ends.
///
/// # Panics
/// If there is none.
pub fn middle_half<T: PartialOrd + Copy>(values: &[T]) -> [T; 2] {
    let values = sorted(values);
    [values[values.len() / 4], values[values.len() * 3 / 4]]
}
