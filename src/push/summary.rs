//! What came of a target in a few words, for a line, a row or a JSON entry. Pure.

use super::many::Outcome;
use super::report::Report;
use crate::words::printable;

/// An outcome in a few words.
#[derive(Clone, Debug)]
pub struct Summary {
    /// A word: the VM's own, or the kind of the error.
    pub result: String,
    /// A sentence: the VM's own, or the error.
    pub message: String,
    /// What went wrong on the way, even where the VM did its work.
    pub error: Option<String>,
    /// The VM's report, if it gave one that is understood.
    pub report: Option<Report>,
}

impl Summary {
    /// Sums up.
    #[must_use]
    pub fn of(outcome: &Outcome) -> Self {
        let answer = match &outcome.result {
            Ok(answer) => answer,
            Err(error) => {
                // Errors quote the agent, which is the VM's.
                let message = printable(&error.to_string()).into_owned();
                return Self {
                    result: error.kind().to_owned(),
                    error: Some(message.clone()),
                    message,
                    report: None,
                };
            }
        };
        let report = answer.report.as_ref().and_then(Report::read);
        let (result, message) = match &report {
            Some(report) => (report.result.clone(), report.message.clone()),
            None => {
                let result = if answer.exit_code == 0 { "done" } else { "failed" };
                let message = format!("kylin-vr ended with exit code {} in the VM", answer.exit_code);
                (result.to_owned(), message)
            }
        };
        let mut errors = Vec::new();
        if answer.cut_off {
            errors.push(
                "the VM's report is longer than the 16 MiB that the guest agent keeps, and was cut off: see there with \
                 `kylin-vr status`"
                    .to_owned(),
            );
        }
        errors.extend(
            answer
                .left
                .iter()
                .map(|left| format!("left behind in the VM: {left}")),
        );
        Self {
            result,
            message,
            error: (!errors.is_empty()).then(|| printable(&errors.join("; ")).into_owned()),
            report,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::{Answer, Error, Target};
    use super::*;

    #[test]
    fn what_a_hostile_agent_says_is_one_line() {
        let bad = "\u{1b}]0;x\u{7}\r\nforged".to_owned();
        let (message, left) = (bad.clone(), Some(bad));
        let refused = Error::from_agent("guest-exec", "GenericError", message);
        let answer = Answer {
            exit_code: 1,
            report: None,
            output: String::new(),
            log: String::new(),
            cut_off: false,
            left,
        };
        for result in [Err(refused), Ok(answer)] {
            let summary = Summary::of(&Outcome {
                target: Target::Socket("x".into()),
                result,
                took: Duration::ZERO,
            });
            let error = summary.error.unwrap();
            assert!(error.contains(r"\r\nforged"), "{error:?}");
            assert!(!error.contains(char::is_control) && !summary.message.contains(char::is_control));
        }
    }
}
