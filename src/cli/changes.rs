//! What a run changed, or would change, line by line: all of it for programs, and for people of many of one kind in a row
//! only the first, so that a load of tens of thousands of elements takes no memory for what nobody reads.

use std::fmt::{self, Write as _};

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
    head: Head,
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

    /// Adds a line, which is put in words only if it is kept.
    pub(super) fn push(&mut self, action: Action, object: &'static str, text: fmt::Arguments<'_>) {
        if let Some(run) = self.runs.last_mut()
            && run.lines[0].action == action
            && run.lines[0].object == object
            && Head::of(object, text) == run.head
        {
            // One line more than is shown is no longer than the remark that it is left out.
            if self.whole || run.lines.len() <= SHOWN {
                run.lines.push(Line::new(action, object, text));
            } else {
                run.more += 1;
            }
            return;
        }
        self.runs.push(Run {
            head: Head::of(object, text),
            lines: vec![Line::new(action, object, text)],
            more: 0,
        });
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
                let what = [run.lines[0].object, &run.head.text].join(" ");
                lines.push(format!("  … and {left_out} more: {}", what.trim_end()));
            }
        }
        lines
    }
}

impl<'l> FromIterator<&'l Line> for Changes {
    /// All of them are kept.
    fn from_iter<I: IntoIterator<Item = &'l Line>>(lines: I) -> Self {
        let mut changes = Self::new(true);
        for line in lines {
            changes.push(line.action, line.object, format_args!("{}", line.text));
        }
        changes
    }
}

impl Serialize for Changes {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_seq(self.lines())
    }
}

/// What lines of one kind have in common: the first words, `element eip_to_vm` or `local`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Head {
    text: String,
    /// How many words are still to come.
    words: usize,
}

impl Head {
    fn of(object: &str, text: fmt::Arguments<'_>) -> Self {
        let words = match object {
            "nft" => 2,
            "route" => 1,
            _ => 0,
        };
        let mut head = Self {
            text: String::new(),
            words,
        };
        if words > 0 {
            // It ends the writing once it has its words.
            let _ = head.write_fmt(text);
        }
        head.words = 0;
        head
    }
}

impl fmt::Write for Head {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for (count, word) in text.split(' ').enumerate() {
            if count > 0 {
                self.words -= 1;
                if self.words == 0 {
                    return Err(fmt::Error);
                }
                self.text.push(' ');
            }
            self.text.push_str(word);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_is_told_by_the_first_words() {
        for (object, text, expected) in [
            (
                "nft",
                "element eip_to_vm { 10.0.0.1 : 10.0.0.2 }",
                "element eip_to_vm",
            ),
            ("nft", "table ip", "table ip"),
            ("nft", "table", "table"),
            ("route", "local 10.0.0.1 dev lo", "local"),
            ("address", "10.0.0.1/24 dev eth0", ""),
        ] {
            let (first, rest) = text.split_at(3);
            assert_eq!(Head::of(object, format_args!("{text}")).text, expected);
            assert_eq!(Head::of(object, format_args!("{first}{rest}")).text, expected);
        }
    }

    #[test]
    fn of_many_of_one_kind_the_first_are_shown_whether_the_rest_is_kept_or_not() {
        for (count, expected) in [(9, 9), (10, 9), (1_000, 9)] {
            for whole in [true, false] {
                let mut changes = Changes::new(whole);
                let mut route = |text: fmt::Arguments<'_>| changes.push(Action::Add, "route", text);
                route(format_args!("default via 10.0.0.1 dev eth0"));
                (0..count).for_each(|number| route(format_args!("local 10.0.0.{number} dev lo")));
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
