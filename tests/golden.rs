//! Golden cases: a configuration and a kernel, and the plan and the table that must come of them.
//!
//! Each folder of `tests/golden` has `observed.yaml` (the kernel), perhaps `before.yaml` (a configuration that
//! is applied to it first), `config.yaml`, and what is expected: `plan.txt` and `table.nft`.
//! `UPDATE_GOLDEN=1 cargo test --test golden` writes the expectations anew: read the diff.

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use kylin_vr::config::Config;
use kylin_vr::features;
use kylin_vr::kernel::{Fake, Kernel};
use kylin_vr::model::Observed;
use kylin_vr::owned::Owned;
use kylin_vr::plan::{Operation, Plan, diff};
use kylin_vr::reconcile::reconcile;

#[test]
fn every_case_gives_its_plan_and_its_table() {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let mut wrong = Vec::new();
    let mut count = 0;
    let mut cases: Vec<PathBuf> = fs::read_dir(root)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    cases.sort();
    for case in cases {
        count += 1;
        let (plan, table) = run(&case);
        compare(&case.join("plan.txt"), &plan, &mut wrong);
        compare(&case.join("table.nft"), &table, &mut wrong);
    }
    assert!(count >= 8, "only {count} cases");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn run(case: &Path) -> (String, String) {
    let observed = fs::read_to_string(case.join("observed.yaml")).unwrap();
    let observed: Observed = serde_yaml::from_str(&observed).unwrap();
    let mut kernel = Fake::new(observed);
    let mut owned = Owned::default();
    if case.join("before.yaml").exists() {
        let before = features::desired(&config(&case.join("before.yaml")));
        owned = reconcile(&mut kernel, &before, owned, |_| Ok(())).unwrap().owned;
    }
    let desired = features::desired(&config(&case.join("config.yaml")));
    let plan = diff(&desired, &kernel.observe().unwrap(), &owned);
    let text = text(&plan);
    let table = desired
        .table
        .as_ref()
        .map(ToString::to_string)
        .unwrap_or_default();

    // What a golden plan says must also lead there.
    let owned = reconcile(&mut kernel, &desired, owned, |_| Ok(())).unwrap().owned;
    assert!(
        diff(&desired, &kernel.state, &owned).is_empty(),
        "{}: not idempotent",
        case.display()
    );
    (text, table)
}

fn config(path: &Path) -> Config {
    let parsed = Config::parse(&fs::read(path).unwrap());
    parsed
        .config
        .unwrap_or_else(|| panic!("{}: {:?}", path.display(), parsed.problems))
}

fn text(plan: &Plan) -> String {
    let mut text = String::new();
    for line in plan.operations.iter().flat_map(Operation::lines) {
        writeln!(text, "{line}").unwrap();
    }
    for one in &plan.announcements {
        writeln!(text, "! announce {} dev {}", one.address, one.link.name).unwrap();
    }
    for pending in &plan.pending {
        writeln!(
            text,
            "? pending {} {}: {}",
            pending.path, pending.link, pending.reason
        )
        .unwrap();
    }
    for note in &plan.notes {
        writeln!(text, "note: {note}").unwrap();
    }
    text
}

fn compare(path: &Path, is: &str, wrong: &mut Vec<String>) {
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(path, is).unwrap();
    }
    let should_be = fs::read_to_string(path).unwrap_or_default();
    if should_be != is {
        wrong.push(format!(
            "{}:\n--- expected\n{should_be}--- is\n{is}",
            path.display()
        ));
    }
}
