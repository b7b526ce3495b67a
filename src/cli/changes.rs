//! What a run changed, or would change, line by line: all of it for programs, and for people of many of one kind in a row
//! only the first, so that a load of tens of thousands of elements takes no memory for what nobody reads.

use serde::{Serialize, Serializer};

use crate::plan::{Action, Line};

/// So many lines of one kind in a row are shown to people.
const SHOWN: usize = 8;

/// Lines, in order, in runs of one kind.
#[derive(Clone, Debug, Default)]
pub(super) struct Changes {
    runs: Vec<Run>,
    /// Whether every line is kept.
    whole: bool,
}

/// Lines of one kind in a row.
#[derive(Clone, Debug)]
struct Run {
    /// At least one.
    lines: Vec<Line>,
    /// How many more there were.
    more: usize,
}

impl Changes {
    /// None yet. `whole`: all of them are to be kept.
    pub(super) fn new(whole: bool) -> Self {
        Self {
            runs: Vec::new(),
            whole,
        }
    }

    pub(super) fn push(&mut self, line: Line) {
        match self.runs.last_mut() {
            Some(run) if kind(&run.lines[0]) == kind(&line) => {
                // One line more than is shown is no longer than the remark that it is left out.
                if self.whole || run.lines.len() <= SHOWN {
                    run.lines.push(line);
                } else {
                    run.more += 1;
                }
            }
            _ => self.runs.push(Run {
                lines: vec![line],
                more: 0,
            }),
        }
    }

    /// Adds what came later.
    pub(super) fn append(&mut self, later: Self) {
        self.runs.extend(later.runs);
    }

    pub(super) fn clear(&mut self) {
        self.runs.clear();
    }

    /// How many things change; who is told of it is no change.
    pub(super) fn count(&self) -> usize {
        self.kinds().map(|(_, _, count)| count).sum()
    }

    /// What happens to which kind of thing, and how often; who is told of it is left out.
    pub(super) fn kinds(&self) -> impl Iterator<Item = (Action, &'static str, usize)> {
        self.runs
            .iter()
            .map(|run| {
                (
                    run.lines[0].action,
                    run.lines[0].object,
                    run.lines.len() + run.more,
                )
            })
            .filter(|(action, ..)| *action != Action::Announce)
    }

    /// The lines that were kept.
    pub(super) fn lines(&self) -> impl Iterator<Item = &Line> {
        self.runs.iter().flat_map(|run| &run.lines)
    }

    /// For people.
    pub(super) fn shortened(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for run in &self.runs {
            let left_out = run.more + run.lines.len().saturating_sub(SHOWN);
            let shown = if left_out > 1 { SHOWN } else { run.lines.len() };
            lines.extend(run.lines.iter().take(shown).map(ToString::to_string));
            if left_out > 1 {
                let (_, object, words) = kind(&run.lines[0]);
                lines.push(format!(
                    "  … and {left_out} more: {}",
                    [object, words].join(" ").trim_end()
                ));
            }
        }
        lines
    }
}

impl FromIterator<Line> for Changes {
    /// All of them are kept.
    fn from_iter<I: IntoIterator<Item = Line>>(lines: I) -> Self {
        let mut changes = Self::new(true);
        lines.into_iter().for_each(|line| changes.push(line));
        changes
    }
}

impl Serialize for Changes {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_seq(self.lines())
    }
}

/// What lines have in common that are shown as one kind: `+ nft element eip_to_vm`, `+ route local`.
fn kind(line: &Line) -> (Action, &'static str, &str) {
    let words = match line.object {
        "nft" => 2,
        "route" => 1,
        _ => return (line.action, line.object, ""),
    };
    let end = line.text.match_indices(' ').nth(words - 1);
    (
        line.action,
        line.object,
        end.map_or(line.text.as_str(), |(end, _)| &line.text[..end]),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(text: &str) -> Line {
        Line {
            action: Action::Add,
            object: "route",
            text: text.to_owned(),
        }
    }

    #[test]
    fn of_many_of_one_kind_the_first_are_shown_whether_the_rest_is_kept_or_not() {
        for (count, expected) in [(9, 9), (10, 9), (1_000, 9)] {
            for whole in [true, false] {
                let mut changes = Changes::new(whole);
                changes.push(line("default via 10.0.0.1 dev eth0"));
                (0..count).for_each(|number| changes.push(line(&format!("local 10.0.0.{number} dev lo"))));
                let shown = changes.shortened();
                assert_eq!(shown.len(), 1 + expected, "{count} {whole}: {shown:?}");
                let last = shown.last().unwrap();
                assert_eq!(
                    last.contains(&format!("… and {} more: route local", count - 8)),
                    count > 9,
                    "{last}"
                );
                assert_eq!(changes.count(), count + 1);
                let kept = if whole { count } else { count.min(9) };
                assert_eq!(changes.lines().count(), 1 + kept);
            }
        }
    }
}
