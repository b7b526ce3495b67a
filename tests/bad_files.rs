//! Every bad file of `tests/bad` is refused, and the message names the place: `# expect:` in its first line
//! lists what the problems must say, each part separated by `&&`.

use std::fs;
use std::path::PathBuf;

use kylin_vr::config::{Config, Severity};

#[test]
fn every_bad_file_is_refused_with_its_place() {
    let dir = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/bad");
    let mut wrong = Vec::new();
    let mut count = 0;
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        count += 1;
        let text = fs::read(&path).unwrap();
        let first = String::from_utf8_lossy(text.split(|byte| *byte == b'\n').next().unwrap()).into_owned();
        let expected = first
            .strip_prefix("# expect: ")
            .unwrap_or_else(|| panic!("{}", path.display()));
        let parsed = Config::parse(&text);
        let errors: Vec<_> = parsed
            .problems
            .iter()
            .filter(|problem| problem.severity == Severity::Error)
            .collect();
        let said = errors
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join("\n");
        let all_said = expected.split(" && ").all(|part| said.contains(part));
        let all_placed = errors
            .iter()
            .all(|error| error.place.line > 0 && error.place.column > 0);
        if parsed.config.is_some() || !all_said || !all_placed {
            wrong.push(format!(
                "{}\n  expected: {expected}\n  said: {said}",
                path.display()
            ));
        }
    }
    assert!(count >= 60, "only {count} bad files");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
