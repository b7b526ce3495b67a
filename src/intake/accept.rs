//! Whether a text that came in may replace the one that was accepted last. Pure.

use crate::config::{Config, Place, Problem, Severity};
use crate::words::plain;

/// YAML's own document end marker (YAML 1.2, section 9.1.4), as the last line of a file.
const END_MARKER: &[u8] = b"...";

/// A text that is not taken. Nothing was touched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Why, with at least one error.
    pub problems: Vec<Problem>,
}

impl Refusal {
    fn because(place: Place, message: String) -> Self {
        let (severity, path, value) = (Severity::Error, String::new(), None);
        Self::of(Problem {
            severity,
            path,
            place,
            value,
            message,
        })
    }

    fn of(problem: Problem) -> Self {
        Self {
            problems: vec![problem],
        }
    }

    /// A file that is there and cannot be read.
    #[must_use]
    pub fn unreadable(error: &std::io::Error) -> Self {
        Self::because(Place::default(), format!("cannot be read: {}", plain(error)))
    }
}

/// The configuration of `text`, and warnings. `last` is the text that was accepted last.
///
/// Three texts are refused that would be valid had there been none before: nothing at all (a push that was cut
/// off after the open), unless `allow_empty`; one without the end marker that the last one had (a push that
/// was cut off at the end of a line); and one whose generation is lower than that of the last one (a retry that
/// came after a newer push).
///
/// # Errors
/// If it is invalid or cut off.
pub fn accept(
    text: &[u8],
    last: Option<&[u8]>,
    allow_empty: bool,
) -> Result<(Config, Vec<Problem>), Refusal> {
    let refuse = |place, message: &str| Refusal::because(place, message.to_owned());
    let was_configured =
        || last.is_some_and(|last| Config::parse(last).config.is_some_and(|one| !one.is_empty()));
    if is_blank(text) {
        if !allow_empty && was_configured() {
            return Err(refuse(
                Place::default(),
                "the file is empty, and this router is configured: it keeps what it has (to take everything down, \
                 write `if_list: []`, or say --allow-empty)",
            ));
        }
    } else if last.is_some_and(has_end_marker) && !has_end_marker(text) {
        let lines = text.trim_ascii_end().split(|byte| *byte == b'\n').count();
        return Err(refuse(
            Place {
                line: u32::try_from(lines).unwrap_or(u32::MAX),
                column: 1,
            },
            "the file is cut off here: the last accepted one ended with the line `...`, this one does not",
        ));
    }
    let parsed = Config::parse(text);
    match parsed.config {
        Some(config) => match older(&config, text, last) {
            Some(refusal) => Err(refusal),
            None => Ok((config, parsed.problems)),
        },
        None => Err(Refusal {
            problems: parsed.problems,
        }),
    }
}

/// Refuses a configuration that was made before the last one. One without a number is nobody's retry.
fn older(config: &Config, text: &[u8], last: Option<&[u8]>) -> Option<Refusal> {
    let own = config.generation()?;
    let last = Config::parse(last.filter(|last| *last != text)?).config?;
    let newer = last.generation().filter(|last| last.number > own.number)?;
    Some(Refusal::of(Problem {
        severity: Severity::Error,
        path: "generation".to_owned(),
        place: own.place,
        value: Some(own.number.to_string()),
        message: format!(
            "older than what is in force, generation {}: this would undo a newer push (to go back to it on purpose, \
             give it a higher number)",
            newer.number
        ),
    }))
}

/// Whether there is nothing but white space.
#[must_use]
pub fn is_blank(text: &[u8]) -> bool {
    text.iter().all(u8::is_ascii_whitespace)
}

/// Whether the last line that is not blank is the marker.
fn has_end_marker(text: &[u8]) -> bool {
    text.trim_ascii_end().rsplit(|byte| *byte == b'\n').next() == Some(END_MARKER)
}

/// The text with the marker as its last line, where it has none.
#[must_use]
pub fn with_end_marker(mut text: Vec<u8>) -> Vec<u8> {
    if !has_end_marker(&text) {
        if text.last().is_some_and(|byte| *byte != b'\n') {
            text.push(b'\n');
        }
        text.extend_from_slice(END_MARKER);
        text.push(b'\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const FULL: &[u8] = b"eip_list:\n  - eip: 10.0.0.1\n    vm-ip: 10.1.0.1\n...\n";
    const CUT: &[u8] = b"eip_list:\n  - eip: 10.0.0.1\n    vm-ip: 10.1.0.1\n";

    #[test]
    fn nothing_at_all_is_refused_by_a_configured_router_only() {
        for blank in [&b""[..], b"  \n\t\r\n"] {
            assert!(accept(blank, None, false).is_ok());
            assert!(accept(blank, Some(b""), false).is_ok());
            assert!(accept(blank, Some(b"if_list: []\n"), false).is_ok());
            assert!(accept(blank, Some(FULL), false).is_err());
            assert!(accept(blank, Some(FULL), true).is_ok());
        }
    }

    #[test]
    fn explicit_empty_lists_always_mean_empty() {
        let (config, _) = accept(b"if_list: []\n...\n", Some(FULL), false).unwrap();
        assert!(config.is_empty());
    }

    #[test]
    fn a_late_retry_does_not_undo_a_newer_push() {
        let of = |generation: &str| format!("{generation}\neip_list: []\n").into_bytes();
        let (none, first, second) = (of(""), of("generation: 7"), of("generation: 8"));
        for (text, last, taken) in [
            (&first, &second, false),
            (&second, &first, true),
            (&first, &first, true),
            (&none, &second, true),
            (&first, &none, true),
        ] {
            assert_eq!(accept(text, Some(last), false).is_ok(), taken);
        }
        let refusal = accept(&first, Some(&second), false).unwrap_err();
        assert_eq!(refusal.problems[0].path, "generation");
        assert!(
            refusal.problems[0].message.contains("generation 8"),
            "{refusal:?}"
        );
    }

    #[test]
    fn a_file_without_the_marker_is_cut_off_once_one_had_it() {
        assert!(accept(CUT, None, false).is_ok());
        assert!(accept(CUT, Some(CUT), false).is_ok());
        assert!(accept(FULL, Some(FULL), false).is_ok());
        let refusal = accept(CUT, Some(FULL), false).unwrap_err();
        assert!(refusal.problems[0].message.contains("cut off"), "{refusal:?}");
        // Every shorter part of a marked file is refused, wherever it was cut.
        for end in 1..FULL.len() - 1 {
            let is_whole = &FULL[end..] == b"\n" || FULL[..end].ends_with(b"\n...");
            assert_eq!(
                accept(&FULL[..end], Some(FULL), false).is_ok(),
                is_whole,
                "cut after {end} bytes"
            );
        }
    }
}
