//! Texts that come in one after another: each is accepted or refused by what was accepted before it.
//!
//! The input is texts with a zero byte between them; the first byte of each says whether a blank one is allowed.

#![no_main]

use kylin_vr::config::Config;
use kylin_vr::intake::{accept, is_blank, with_end_marker};
use libfuzzer_sys::fuzz_target;

fn is_marked(text: &[u8]) -> bool {
    // It has the marker already, so that none is added.
    with_end_marker(text.to_vec()).len() == text.len()
}

fuzz_target!(|data: &[u8]| {
    let mut last: Option<Vec<u8>> = None;
    for part in data.split(|byte| *byte == 0).take(16) {
        let Some((first, text)) = part.split_first() else {
            continue;
        };
        let allow_empty = *first == b'!';
        let (before, generation) = match &last {
            Some(last) => {
                let config = Config::parse(last).config.expect("what was accepted parses");
                let generation = config.generation().map(|one| one.number);
                (Some(config), generation)
            }
            None => (None, None),
        };
        match accept(text, last.as_deref(), allow_empty) {
            Ok((config, problems)) => {
                let parsed = Config::parse(text);
                assert_eq!(
                    parsed.config.as_ref(),
                    Some(&config),
                    "another configuration than that of the text"
                );
                assert_eq!(parsed.problems, problems);
                let was_configured = before.is_some_and(|before| !before.is_empty());
                assert!(
                    allow_empty || !is_blank(text) || !was_configured,
                    "a blank text took a router down"
                );
                assert!(
                    is_blank(text) || !last.as_deref().is_some_and(is_marked) || is_marked(text),
                    "a text that was cut off replaced a whole one"
                );
                if let (Some(old), Some(new)) = (generation, config.generation()) {
                    assert!(new.number >= old, "generation {} after {old}", new.number);
                }
                // The same again is taken, but for a blank one that was allowed and is no more.
                if !is_blank(text) {
                    assert!(
                        accept(text, Some(text), false).is_ok(),
                        "the same text again is refused"
                    );
                }
                // What `push` makes of it is worth the same.
                let marked = with_end_marker(text.to_vec());
                let pushed = Config::parse(&marked)
                    .config
                    .expect("a marker makes no text invalid");
                assert_eq!(pushed, config);
                last = Some(text.to_vec());
            }
            Err(refusal) => assert!(!refusal.problems.is_empty(), "refused without a word"),
        }
    }
});
