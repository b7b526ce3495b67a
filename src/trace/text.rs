//! A trace as text for people.

use std::fmt::{self, Write};

use super::live::{Live, State};
use super::{Asked, Copied, Trace};
use crate::translate::{CopiedAt, Copy, Step};

impl fmt::Display for Asked {
    /// `tcp from 192.168.100.190 to 10.90.2.251 port 443`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            from, to, protocol, ..
        } = self;
        if protocol.starts_with(|first: char| first.is_ascii_digit()) {
            f.write_str("protocol ")?;
        }
        write!(f, "{protocol} from {from} to {to}")?;
        match self.port {
            Some(port) => write!(f, " port {port}"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Copied {
    /// `by ids-1 as it comes in by eth1, to gre 172.19.0.21 key 99 (mirror_list[0], line 12)`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Copy {
            mirror,
            at,
            nic,
            to,
            one_in,
        } = &self.copy;
        let way = match at {
            CopiedAt::Entry => "comes in",
            CopiedAt::Exit => "leaves",
        };
        write!(f, "by {mirror} as it {way} by ")?;
        match &self.link {
            Some(link) => write!(f, "{link}")?,
            None => write!(f, "{nic}")?,
        }
        write!(f, ", to {}", to.join(", "))?;
        if *one_in > 1 {
            write!(f, ", one such packet in {one_in}")?;
        }
        match &self.entry {
            Some(entry) => write!(f, " ({}, line {})", entry.path, entry.place.line),
            None => Ok(()),
        }
    }
}

/// How wide the first column is.
const COLUMN: usize = 13;

impl Trace {
    /// The way, a line for each decision, and the way back; without the last sentence.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = format!("{}\n", self.packet);
        for one in &self.steps {
            let label = label(one.step);
            let told = one.to_string();
            // The column says it already.
            let told = told.strip_prefix(label).unwrap_or(&told).trim_start();
            let _ = writeln!(text, "  {label:<COLUMN$} {told}");
        }
        if let Some(back) = &self.way_back {
            let _ = writeln!(text, "  {:<COLUMN$} {}", label(Step::Back), back.text);
        }
        for one in &self.copies {
            let _ = writeln!(text, "  {:<COLUMN$} {one}", "copied");
        }
        for one in &self.pending {
            let _ = writeln!(
                text,
                "  {:<COLUMN$} the NIC {} is not there ({}, line {})",
                "pending", one.link, one.entry.path, one.entry.place.line
            );
        }
        text
    }
}

fn label(step: Step) -> &'static str {
    match step {
        Step::Enter => "enters",
        Step::Destination => "destination",
        Step::Route => "route",
        Step::ReversePath => "source check",
        Step::Source => "source",
        Step::Leave => "leaves",
        Step::Back => "way back",
    }
}

impl Live {
    /// What was looked at, a line for each, and what to do about what is wrong below it; without the last sentence.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = String::from("in the kernel\n");
        for one in &self.checks {
            let state = match one.state {
                State::Ok => "ok",
                State::Wrong => "WRONG",
                State::Note => "note",
            };
            let _ = writeln!(text, "  {:<COLUMN$} {state:<6} {}", one.subject, one.text);
            // That of the last sentence stands there.
            if let Some(remedy) = one.remedy.as_ref().filter(|_| one.remedy != self.remedy) {
                let _ = writeln!(text, "  {:<COLUMN$} {:<6} -> {remedy}", "", "");
            }
        }
        text
    }
}
