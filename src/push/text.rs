//! The text that is sent: one that the VM will take, with the end marker that tells it from one that was cut off.
//! Pure.

use crate::config::{Config, Place, Problem, Severity};
use crate::intake::{is_blank, with_end_marker};

/// Checks a text as `kylin-vr check` does, and ends it with YAML's end marker.
///
/// # Errors
/// The problems, if it is invalid; or blank, unless `allow_empty`.
pub fn prepare(text: Vec<u8>, allow_empty: bool) -> Result<Vec<u8>, Vec<Problem>> {
    if is_blank(&text) && !allow_empty {
        return Err(vec![Problem {
            severity: Severity::Error,
            path: String::new(),
            place: Place::default(),
            value: None,
            message:
                "the file is empty, and a router that is configured refuses that (to take everything down, \
                      write `if_list: []`, or say --allow-empty)"
                    .to_owned(),
        }]);
    }
    let valid = |text: &[u8]| {
        let parsed = Config::parse(text);
        parsed.config.map(|_| ()).ok_or(parsed.problems)
    };
    valid(&text)?;
    let marked = with_end_marker(text);
    // What is sent is what must be valid: the marker may be one line too many for the largest file.
    valid(&marked)?;
    Ok(marked)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sent_ends_with_one_marker() {
        for (text, sent) in [
            ("if_list: []", "if_list: []\n...\n"),
            ("if_list: []\n", "if_list: []\n...\n"),
            ("if_list: []\n...", "if_list: []\n..."),
            ("if_list: []\n...\n\n", "if_list: []\n...\n\n"),
            ("if_list: []\r\n", "if_list: []\r\n...\n"),
            ("# nothing\n", "# nothing\n...\n"),
        ] {
            let prepared = prepare(text.as_bytes().to_vec(), false).unwrap();
            assert_eq!(String::from_utf8_lossy(&prepared), sent);
        }
    }

    #[test]
    fn what_is_invalid_is_refused_with_the_problems_of_check() {
        let text = b"if_list: 5\n";
        assert_eq!(
            prepare(text.to_vec(), true).unwrap_err(),
            Config::parse(text).problems
        );
        let largest = [b"# ".as_slice(), &vec![b'x'; crate::config::MAX_BYTES - 2]].concat();
        assert!(Config::parse(&largest).config.is_some());
        assert!(prepare(largest, false).is_err());
    }

    #[test]
    fn a_blank_text_must_be_meant() {
        assert!(
            prepare(b" \n".to_vec(), false).unwrap_err()[0]
                .message
                .contains("--allow-empty")
        );
        assert_eq!(prepare(Vec::new(), true).unwrap(), b"...\n");
    }
}
