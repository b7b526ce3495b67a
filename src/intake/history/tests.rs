//! Bounds, numbers, and what the disk damaged.

use super::*;
use crate::intake::Staged;

fn entry(text: &[u8], result: Standing) -> Entry {
    Entry {
        when: "2026-11-21T09:48:00Z".to_owned(),
        command: "reload".to_owned(),
        source: "a \"file\"\n".to_owned(),
        generation: None,
        sha256: fingerprint(text),
        result,
        changes: Summary::default(),
    }
}

struct Bench {
    dir: PathBuf,
    state: State,
}

impl Bench {
    fn new(name: &str) -> Self {
        let dir = std::env::temp_dir().join(format!("kylin-vr-history-{}-{name}", std::process::id()));
        let state = State::new(dir.join("lib"), dir.join("run"));
        Self { dir, state }
    }

    fn accept(&self, text: &[u8], result: Standing) {
        if result != Standing::Failed {
            let staged = self.state.stage(text).unwrap();
            self.state.claim().unwrap();
            staged.map_or(Ok(()), Staged::install).unwrap();
        }
        self.state.add_to_history(&entry(text, result), text).unwrap();
    }

    /// Numbers back and texts, the newest first.
    fn listed(&self) -> Vec<(Option<usize>, String)> {
        let history = self.state.history().unwrap();
        let text = |kept: &Kept| String::from_utf8(self.state.history_text(kept).unwrap()).unwrap();
        history
            .entries
            .iter()
            .map(|kept| (kept.back, text(kept)))
            .collect()
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.dir);
    }
}

#[test]
fn it_stays_within_bounds_whatever_comes() {
    let bench = Bench::new("bounds");
    for number in 0..70 {
        let result = if number % 3 == 0 {
            Standing::Failed
        } else {
            Standing::Applied
        };
        bench.accept(format!("# {number}\n").as_bytes(), result);
    }
    let history = bench.state.history().unwrap();
    let of = |result| {
        history
            .entries
            .iter()
            .filter(|kept| kept.entry.result == result)
            .count()
    };
    assert_eq!((of(Standing::Applied), of(Standing::Failed)), (KEPT, KEPT));
    // The failed ones reach further back; each kind keeps its newest.
    assert_eq!(bench.listed()[0], (None, "# 69\n".to_owned()));
    assert_eq!(bench.listed()[1], (Some(0), "# 68\n".to_owned()));
    assert_eq!(history.entries.last().unwrap().file, 13, "# 12");
    // And in bytes: all of these are within the number.
    let large = vec![b'#'; 8 << 20];
    for number in 0..6 {
        bench.accept(
            &[&large[..], number.to_string().as_bytes()].concat(),
            Standing::Applied,
        );
    }
    let bytes: u64 = bench
        .state
        .history()
        .unwrap()
        .entries
        .iter()
        .map(|kept| kept.bytes)
        .sum();
    assert!(((24 << 20)..=MAX_TEXTS).contains(&bytes), "{bytes}");
    // However old it is, the one in force stays.
    let bench = Bench::new("in-force");
    bench.accept(b"in force", Standing::Applied);
    for number in 0..8 {
        bench.accept(&[&large[..], b"-failed"].concat(), Standing::Failed);
        assert!(bench.state.history().unwrap().back(0).is_some(), "{number}");
    }
    assert_eq!(bench.listed().last().unwrap().1, "in force");
}

#[test]
fn numbers_count_what_was_in_force() {
    let bench = Bench::new("numbers");
    for (text, result) in [
        ("a", Standing::Applied),
        ("bad", Standing::Failed),
        ("b", Standing::TakenBack),
        ("a", Standing::Applied),
        ("c", Standing::Confirmed),
        ("worse", Standing::Failed),
    ] {
        bench.accept(text.as_bytes(), result);
    }
    let own = |list: &[(Option<usize>, &str)]| -> Vec<(Option<usize>, String)> {
        list.iter()
            .map(|(back, text)| (*back, (*text).to_owned()))
            .collect()
    };
    let listed = [
        (None, "worse"),
        (Some(0), "c"),
        (Some(1), "a"),
        (None, "b"),
        (None, "bad"),
        (None, "a"),
    ];
    assert_eq!(bench.listed(), own(&listed));
    // The newest could not be written: nothing in the list is in force.
    bench.state.stage(b"d").unwrap().unwrap().install().unwrap();
    assert_eq!(bench.listed()[1], (Some(1), "c".to_owned()));
    assert_eq!(bench.listed()[2], (Some(2), "a".to_owned()));
    // It is made up for before the next one comes.
    bench.state.add_missing_to_history().unwrap();
    bench.state.add_missing_to_history().unwrap();
    assert_eq!(bench.listed()[0], (Some(0), "d".to_owned()));
    assert_eq!(bench.listed()[2], (Some(1), "c".to_owned()));
}

#[test]
fn a_damaged_entry_is_named_and_does_no_harm() {
    let bench = Bench::new("damaged");
    for text in ["a", "b", "c"] {
        bench.accept(text.as_bytes(), Standing::Unconfirmed);
    }
    let path = |file| bench.state.entry_path(file);
    fs::write(path(1), "garbage").unwrap();
    let mut whole = fs::read(path(2)).unwrap();
    *whole.last_mut().unwrap() = b'x';
    fs::write(path(2), whole).unwrap();
    fs::write(bench.state.history_path().join(".000009.yaml.1"), "left").unwrap();
    let history = bench.state.history().unwrap();
    assert_eq!(history.damaged, [(1, "is damaged".to_owned())]);
    let b = history.back(1).unwrap();
    assert_eq!(
        bench.state.history_text(b).unwrap_err().kind(),
        io::ErrorKind::InvalidData
    );
    assert_eq!(bench.state.history_text(history.back(0).unwrap()).unwrap(), b"c");
    // No window is open: what is in force was confirmed, and the other one replaced.
    assert_eq!(b.entry.result, Standing::Replaced);
    assert_eq!(history.back(0).unwrap().entry.result, Standing::Confirmed);
    bench.accept(b"d", Standing::Applied);
    assert_eq!(bench.state.history().unwrap().back(0).unwrap().file, 4);
    let left = fs::read_dir(bench.state.history_path()).unwrap().count();
    assert_eq!(left, 4, "what a killed run left is gone");
}
