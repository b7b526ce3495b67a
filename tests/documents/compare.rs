//! What was printed beside what the document says.
//!
//! What differs from run to run is compared by its form, everything else byte for byte. A line `...` stands for lines
//! that the document leaves out.

use std::sync::LazyLock;

use regex::Regex;

/// What differs from run to run, and what stands for it. Strict: with the words around it.
static VARIES: LazyLock<Vec<(Regex, &str)>> = LazyLock::new(|| {
    let patterns = [
        (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", "TIME"),
        // A window that is still open: the seconds are rounded.
        (r"\(in \d+ s\)", "(in N s)"),
        (r"process \d+, running for \d+ s", "process N, running for N s"),
        (r" time=[\d.]+ ms", " time=N ms"),
        // The column TIME of a push.
        (r"  \d+\.\d\d s$", "  N s"),
        // As many as the memory allows.
        (r"of \d+ flows are tracked", "of N flows are tracked"),
        (r"of \d+ tracked$", "of N tracked"),
    ];
    let compiled = patterns.map(|(pattern, form)| (Regex::new(pattern).expect("a pattern"), form));
    compiled.into()
});

/// A line that is printed only if another run, the monitor's for one, is at work just then.
static BY_CHANCE: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"^kylin-vr [a-z ]+: waiting for `").expect("a pattern"));

/// The first line that is not as the document says.
#[derive(Debug, PartialEq, Eq)]
pub struct Difference {
    /// Its index among the document's lines.
    pub at: usize,
    /// What the document has there, if it goes on.
    pub expected: Option<String>,
    /// What was printed, if anything.
    pub printed: Option<String>,
}

/// A line with what varies replaced by its form.
pub fn form(line: &str) -> String {
    let mut line = line.trim_end().to_owned();
    for (pattern, form) in VARIES.iter() {
        line = pattern.replace_all(&line, *form).into_owned();
    }
    line
}

/// What the document should have: its own lines where they differ only in what varies, else what was printed. And the
/// first difference, if there is one.
pub fn merge(expected: &[String], printed: &[String]) -> (Vec<String>, Option<Difference>) {
    let printed: Vec<String> = printed
        .iter()
        .filter(|line| !BY_CHANCE.is_match(line))
        .cloned()
        .collect();
    let wanted: Vec<String> = expected.iter().map(|line| form(line)).collect();
    let got: Vec<String> = printed.iter().map(|line| form(line)).collect();
    let (mut merged, mut first) = (Vec::new(), None);
    let (mut i, mut j) = (0, 0);
    while i < wanted.len() || j < got.len() {
        if wanted.get(i).is_some_and(|line| line == "...") {
            let next = wanted.get(i + 1);
            let found = next.map_or(Some(got.len()), |next| {
                Some(j + got[j..].iter().position(|line| line == next)?)
            });
            if let Some(found) = found {
                merged.push("...".to_owned());
                (i, j) = (i + 1, found);
                continue;
            }
            // What the left out lines end at is not there; the next turn says so.
            i += 1;
        }
        if i < wanted.len() && wanted.get(i) == got.get(j) {
            merged.push(expected[i].clone());
            (i, j) = (i + 1, j + 1);
            continue;
        }
        first.get_or_insert_with(|| Difference {
            at: i,
            expected: expected.get(i).cloned(),
            printed: printed.get(j).cloned(),
        });
        match got.get(j) {
            // Nothing more was printed.
            None => i = wanted.len(),
            Some(line) => match wanted[i..].iter().position(|later| later == line) {
                Some(later) => i += later,
                None => {
                    merged.push(printed[j].clone());
                    j += 1;
                }
            },
        }
    }
    (merged, first)
}

/// The cases that the comparison itself must get right, as a trial of its own.
pub fn tells_what_differs() {
    let lines = |text: &str| text.split('|').map(str::to_owned).collect::<Vec<_>>();
    // The document, what was printed, what the document should have, and where the first difference is.
    let cases = [
        ("a|b", "a|b", "a|b", None),
        (
            "a at 2026-01-01T00:00:00Z",
            "a at 2026-12-31T23:59:59Z",
            "a at 2026-01-01T00:00:00Z",
            None,
        ),
        ("a 3", "a 4", "a 4", Some(0)),
        ("...|c|d", "a|b|c|d", "...|c|d", None),
        ("a|...", "a|b|c", "a|...", None),
        ("...|c|d", "a|b|c|x", "...|c|x", Some(2)),
        ("...|c", "a|b", "a|b", Some(1)),
        ("a|b|c", "a|c", "a|c", Some(1)),
        ("a|c", "a|b|c", "a|b|c", Some(1)),
        ("a|b", "a", "a", Some(1)),
        (
            "a",
            "kylin-vr eip add: waiting for `kylin-vr monitor` (..)|a",
            "a",
            None,
        ),
    ];
    for (expected, printed, merged, first) in cases {
        let (new, difference) = merge(&lines(expected), &lines(printed));
        assert_eq!(new, lines(merged), "{expected} beside {printed}");
        assert_eq!(difference.map(|one| one.at), first, "{expected} beside {printed}");
    }
}
