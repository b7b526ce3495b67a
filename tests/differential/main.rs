//! The model against a real kernel: random configurations, packets from every side, and what arrives.
//!
//! A case that fails is printed as a configuration file with comments; saved below `cases/`, it is tried first from
//! then on. `KYLIN_VR_SEED=N` repeats a run, `KYLIN_VR_SOAK_MINUTES=N` makes it long.

mod case;
mod compare;
mod file;
mod generate;
mod mirrors;
mod properties;
mod sequences;
mod shrink;
mod trace;

use std::cell::RefCell;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use lab::Rig;
use libtest_mimic::{Arguments, Trial, run};
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner};

use case::Case;
use compare::{Counts, compare};
use shrink::Cases;

/// How many packets a configuration meets.
const PACKETS: usize = 96;
/// Configurations of one seed.
const OF_A_SEED: u32 = 20;
/// What is tried every time, and how many seeds besides that nobody knows.
const SEEDS: std::ops::Range<u64> = 0..3;
const NEW_SEEDS: u64 = 2;

/// The seeds of a run: those that are given, or known ones and a few new ones, or new ones for some minutes.
pub fn seeds(known: std::ops::Range<u64>, new: u64) -> Box<dyn Iterator<Item = u64>> {
    let number = |name: &str| {
        let text = std::env::var(name).ok()?;
        Some(
            text.parse()
                .unwrap_or_else(|_| panic!("{name}={text}: expected a number")),
        )
    };
    let random = || RandomState::new().build_hasher().finish() % 1_000_000_000;
    if let Some(seed) = number("KYLIN_VR_SEED") {
        return Box::new([seed].into_iter());
    }
    if let Some(minutes) = number("KYLIN_VR_SOAK_MINUTES") {
        let end = Instant::now() + Duration::from_secs(60 * minutes);
        return Box::new(std::iter::repeat_with(random).take_while(move |_| Instant::now() < end));
    }
    Box::new(known.chain(std::iter::repeat_with(random).take(new as usize)))
}

/// Random numbers that are the same for the same seed.
pub fn random(seed: u64) -> TestRng {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    TestRng::from_seed(RngAlgorithm::ChaCha, &bytes)
}

fn kept_cases_are_as_the_model_says() {
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/differential/cases");
    let mut rig = Rig::new(env!("CARGO_BIN_EXE_kylin-vr"));
    let mut counts = Counts::default();
    let mut files: Vec<_> = std::fs::read_dir(directory)
        .expect("list the cases")
        .map(|entry| entry.expect("list the cases").path())
        .collect();
    files.sort();
    assert!(!files.is_empty(), "no cases in {directory}");
    for path in files {
        let text = std::fs::read_to_string(&path).expect("read a case");
        let case: Case = text
            .parse()
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        assert!(!case.probes.is_empty(), "{}: no packet", path.display());
        compare(&mut rig, &case, &mut counts).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    }
    eprintln!("kept cases: {counts}");
}

fn a_case_reads_as_it_is_written() {
    let mut dice = generate::Dice(random(7));
    for _ in 0..50 {
        let case = dice.case(PACKETS);
        assert_eq!(case.to_string().parse(), Ok(case));
    }
}

fn packets_are_as_the_model_says() {
    let rig = RefCell::new(Rig::new(env!("CARGO_BIN_EXE_kylin-vr")));
    let counts = RefCell::new(Counts::default());
    let mut tried = Vec::new();
    for seed in seeds(SEEDS, NEW_SEEDS) {
        tried.push(seed);
        let config = Config {
            cases: OF_A_SEED,
            failure_persistence: None,
            max_shrink_iters: 2_000,
            ..Config::default()
        };
        let mut runner = TestRunner::new_with_rng(config, random(seed));
        let result = runner.run(&Cases { packets: PACKETS }, |case| {
            compare(&mut rig.borrow_mut(), &case, &mut counts.borrow_mut()).map_err(TestCaseError::fail)
        });
        match result {
            Ok(()) => {}
            Err(TestError::Fail(why, case)) => {
                let counts = counts.borrow();
                panic!(
                    "{why}\nafter {counts}\nsave this below tests/differential/cases (KYLIN_VR_SEED={seed}):\n{case}"
                )
            }
            Err(error) => panic!("KYLIN_VR_SEED={seed}: {error}"),
        }
    }
    let counts = counts.into_inner();
    eprintln!("seeds {tried:?}: {counts}");
    for row in 1..=10 {
        assert!(counts.rows.contains_key(&row), "no packet met row {row}");
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let missing = lab::is_root_with_netns().err();
    if let Some(reason) = &missing {
        eprintln!("ignored: {reason}");
    }
    let pure: [(&str, fn()); 3] = [
        (
            "the_model_agrees_with_itself",
            properties::the_model_agrees_with_itself,
        ),
        ("a_case_reads_as_it_is_written", a_case_reads_as_it_is_written),
        (
            "what_does_not_matter_is_left_out",
            shrink::what_does_not_matter_is_left_out,
        ),
    ];
    let real: [(&str, fn()); 3] = [
        (
            "kept_cases_are_as_the_model_says",
            kept_cases_are_as_the_model_says,
        ),
        ("packets_are_as_the_model_says", packets_are_as_the_model_says),
        (
            "a_router_is_as_its_last_configuration_says_whatever_was_before",
            sequences::a_router_is_as_its_last_configuration_says_whatever_was_before,
        ),
    ];
    let trial = |(name, test): (&str, fn()), ignored| {
        let run = move || {
            test();
            Ok(())
        };
        Trial::test(name, run).with_ignored_flag(ignored)
    };
    let mut trials: Vec<Trial> = pure.into_iter().map(|one| trial(one, false)).collect();
    trials.extend(real.into_iter().map(|one| trial(one, missing.is_some())));
    run(&arguments, trials).exit_code()
}
