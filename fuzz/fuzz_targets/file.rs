//! The file: any bytes, through parse, plan and a kernel in memory.

#![no_main]

use kylin_vr::config::{Config, Severity};
use kylin_vr::features::desired;
use kylin_vr::kernel::Kernel;
use kylin_vr::model::Observed;
use kylin_vr::owned::Owned;
use kylin_vr::plan::diff;
use kylin_vr_fuzz::{assert_told, fake_of, is_large};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let parsed = Config::parse(data);
    let text = String::from_utf8_lossy(data)
        .replace("\r\n", "\n")
        .replace('\r', "\n");
    let lines: Vec<usize> = text.split('\n').map(|line| line.chars().count()).collect();
    for problem in &parsed.problems {
        assert_told(&problem.to_string());
        // Line 0 is the file as a whole.
        if let Some(index) = problem.place.line.checked_sub(1) {
            let length = lines.get(index as usize).map(|length| *length as u64);
            let inside =
                length.is_some_and(|length| (1..=length + 1).contains(&u64::from(problem.place.column)));
            assert!(inside, "{:?} is outside of the text: {problem}", problem.place);
        }
    }
    let is_refused = parsed
        .problems
        .iter()
        .any(|problem| problem.severity == Severity::Error);
    assert_eq!(
        parsed.config.is_none(),
        is_refused,
        "refused without a word, or taken with an error"
    );
    let Some(config) = parsed.config else { return };
    if is_large(&config) {
        return;
    }
    let desired = desired(&config);
    // Where there is nothing yet, not even a NIC, all that can be done is the table.
    let nowhere = diff(&desired, &Observed::default(), &Owned::default());
    assert_eq!(config.is_empty(), nowhere.is_empty(), "{:?}", nowhere.operations);
    let mut kernel = fake_of(&config, data);
    let mut owned = Owned::default();
    // Applied, and taken down again: each time a second look has nothing to do.
    for desired in [&desired, &Default::default()] {
        let before = kernel.observe().expect("a fake looks");
        let plan = diff(desired, &before, &owned);
        for line in plan.operations.iter().flat_map(|one| one.lines()) {
            assert_told(&line.text);
        }
        owned = owned.with(desired, &before);
        if let Err(incomplete) = kernel.apply(&plan.operations) {
            panic!("{:?}\n{:?}", incomplete, plan.operations);
        }
        let again = diff(desired, &kernel.state, &owned);
        assert!(
            again.is_empty(),
            "a second run has something to do: {:?}",
            again.operations
        );
        owned = owned.only(desired, &kernel.state);
    }
    assert_eq!(kernel.state.table, None);
    assert_eq!(owned, Owned::default());
});
