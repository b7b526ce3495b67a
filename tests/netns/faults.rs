//! Every step of a run fails, loses its answer, or is the last one of a killed process: afterwards the router is the old
//! one or the new one, and one more run makes it the new one.
//!
//! This program is then the command itself, with a kernel that fails where it is told to ([`Faulty`]).

mod changes;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use kylin_vr::kernel::{Fate, Faulty, Linux};
use lab::{Nic, Run, Snapshot, Vpc};
use serde_json::Value;

use crate::configs::{expect, said, set_environment, vpc};
use changes::{CHANGES, Change, OTHER_MIRRORS, mirrors};

/// Makes this program the command: the file that gets a line for each step.
const STEPS: &str = "KYLIN_VR_TEST_STEPS";
/// Its faults, separated by commas.
const FAULTS: &str = "KYLIN_VR_TEST_FAULTS";

/// Whether this program is run as the command.
pub fn is_command() -> bool {
    std::env::var_os(STEPS).is_some()
}

/// The command, on a kernel with faults.
pub fn command() -> ExitCode {
    kylin_vr::cli::main_with(std::env::args_os(), || {
        let faults = std::env::var(FAULTS).unwrap();
        let faults = faults.split(',').filter(|one| !one.is_empty());
        let faults = faults.map(|one| one.parse().unwrap()).collect();
        let mut steps = OpenOptions::new()
            .append(true)
            .create(true)
            .open(std::env::var_os(STEPS).unwrap())
            .unwrap();
        Ok(Box::new(Faulty::new(
            Linux::open()?,
            faults,
            move |kind, fate| {
                let fate = match fate {
                    None => "done",
                    Some(Fate::Fail(_)) => "fail",
                    Some(Fate::Lose(_)) => "lose",
                    Some(Fate::KillBefore) => "kill-before",
                    Some(Fate::KillAfter) => "kill-after",
                };
                writeln!(steps, "{kind} {fate}").unwrap();
            },
        )))
    })
}

/// Runs the command with faults; the kind and the fate of each step that it came to.
fn faulty(vpc: &Vpc, arguments: &[&str], faults: &str) -> (Run, Vec<(String, String)>) {
    let steps = vpc.directory().join("steps");
    let _ = fs::remove_file(&steps);
    let real = vpc.command();
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(real.get_args()).args(arguments);
    set_environment(&mut command, &real);
    command.env(STEPS, &steps).env(FAULTS, faults);
    let run = Run::from(vpc.router.output(command));
    let steps = fs::read_to_string(&steps).unwrap_or_default();
    let steps = steps.lines().map(|line| line.split_once(' ').unwrap());
    (
        run,
        steps
            .map(|(kind, fate)| (kind.to_owned(), fate.to_owned()))
            .collect(),
    )
}

/// Every kind of step, and words of the report where one of it failed.
const KINDS: [(&str, &str); 26] = [
    ("observe", ""),
    ("create-table", "create nftables table"),
    ("edit-table", "change nftables table"),
    ("replace-table", "change nftables table"),
    ("delete-table", "delete nftables table"),
    ("add-link", "add link"),
    ("change-link", "set link"),
    ("delete-link", "delete link"),
    ("add-neighbour", "add "),
    ("replace-neighbour", "replace "),
    ("delete-neighbour", "delete "),
    ("add-qdisc", "add qdisc clsact"),
    ("delete-qdisc", "delete qdisc clsact"),
    ("add-hook", "add mirror"),
    ("replace-hook", "replace mirror"),
    ("delete-hook", "delete mirror"),
    ("link-up", "set link"),
    ("link-down", "set link"),
    ("add-address", "add address"),
    ("delete-address", "delete address"),
    ("add-route", "add route"),
    ("replace-route", "replace route"),
    ("delete-route", "delete route"),
    ("set-sysctl", "set sysctl"),
    ("end-flows", "end the flows"),
    ("announce", ""),
];

/// What the kernel says in real life: no right, no memory, no buffer, busy, interrupted, again, no device, and
/// ERESTART, by which nftables says that somebody else was faster.
const ERRNOS: [i32; 9] = [1, 12, 105, 16, 4, 11, 22, 19, 85];

/// The kinds of steps that only a mirror fails with.
const OF_A_MIRROR: [&str; 3] = ["add-qdisc", "add-hook", "replace-hook"];

/// How often steps of a kind met a fate.
type Hits = BTreeMap<(String, String), usize>;

/// A VPC whose router does not take a second for each IPv6 address to see whether another one has it, and has NICs that
/// mirrors may send by.
fn quick_vpc() -> Vpc {
    let vpc = vpc();
    for number in 1..=4 {
        let (analyser, span) = (format!("analyser{number}"), format!("span{number}"));
        let mac = format!("52:54:84:22:00:0{number}");
        vpc.switch.veth(&analyser, "", &vpc.router, &span, &mac);
        vpc.switch.ip(&format!("link set {analyser} up"));
        vpc.router.ip(&format!("link set {span} up"));
        vpc.router.ip(&format!("link set {span} down"));
    }
    for nic in Nic::ALL {
        vpc.router
            .set_sysctl(&format!("net/ipv6/conf/{}/dad_transmits", nic.name()), "0");
    }
    vpc
}

struct Trial<'a> {
    vpc: &'a Vpc,
    change: &'a Change,
    old: Snapshot,
    new: Snapshot,
    steps: Vec<(String, String)>,
    /// The new one without the mirrors at these places.
    without: RefCell<BTreeMap<BTreeSet<usize>, Snapshot>>,
}

impl<'a> Trial<'a> {
    /// The change without any fault: the judge of what comes.
    fn new(vpc: &'a Vpc, change: &'a Change) -> Self {
        (change.old)(vpc);
        let old = vpc.router.snapshot();
        (change.new)(vpc);
        let (run, steps) = faulty(vpc, change.arguments, "");
        assert_eq!(run.code, 0, "{}", said(&run));
        let new = vpc.router.snapshot();
        assert!(old != new);
        Trial {
            vpc,
            change,
            old,
            new,
            steps,
            without: RefCell::default(),
        }
    }

    /// How the router is without the mirrors that this report says are left out.
    fn without(&self, report: &Value) -> Snapshot {
        let pending = report["pending"].as_array().unwrap().iter();
        let index = |one: &Value| -> Option<usize> {
            let path = one["path"].as_str()?.strip_prefix("mirror_list[")?;
            path.strip_suffix(']')?.parse().ok()
        };
        let left_out: BTreeSet<usize> = pending.filter_map(index).collect();
        if left_out.is_empty() {
            return self.new.clone();
        }
        let (vpc, change) = (self.vpc, self.change);
        let mut known = self.without.borrow_mut();
        let make = || {
            (change.old)(vpc);
            let others = (0..)
                .zip(OTHER_MIRRORS)
                .filter(|(index, _)| !left_out.contains(index));
            vpc.reload_ok(&mirrors(others.map(|(_, one)| one)));
            let snapshot = vpc.router.snapshot();
            vpc.write_config(&mirrors(OTHER_MIRRORS));
            snapshot
        };
        known.entry(left_out.clone()).or_insert_with(make).clone()
    }

    /// The change with a fault, and then without. Which steps met it is counted.
    fn with(&self, faults: &str, hits: &mut Hits) {
        let Trial { vpc, change, .. } = *self;
        (change.old)(vpc);
        (change.new)(vpc);
        let (run, steps) = faulty(vpc, change.arguments, faults);
        let met: Vec<_> = steps.into_iter().filter(|(_, fate)| fate != "done").collect();
        let [(kind, fate)] = &met[..] else {
            panic!("{faults}: {met:?}")
        };
        *hits.entry((kind.clone(), fate.clone())).or_default() += 1;
        let context = || format!("{faults} ({kind}): {}", said(&run));
        if fate.starts_with("kill") {
            assert_eq!(run.code, 128 + 9, "{}", context());
            // Half of them are healed by the new configuration, half by the old one.
            if hits.values().sum::<usize>() % 2 == 0 {
                (change.old)(vpc);
                let now = vpc.router.snapshot();
                assert!(self.old == now, "after {}\n{}", context(), self.old.changes(&now));
                return;
            }
        } else {
            let now = vpc.router.snapshot();
            let report: Value =
                serde_json::from_str(&run.stdout).unwrap_or_else(|error| panic!("{error}: {}", context()));
            let (_, words) = KINDS.into_iter().find(|(one, _)| one == kind).unwrap();
            let is_of_a_mirror = OF_A_MIRROR.contains(&&**kind);
            if run.code == 0 {
                // A mirror that cannot be made is left out whole; where the kernel was only interrupted, it is not.
                let expected = self.without(&report);
                assert!(expected == now, "{}\n{}", context(), expected.changes(&now));
                let is_told = |one: &Value| one["reason"].as_str().unwrap().contains(words);
                let is_left_out = expected != self.new;
                assert!(
                    !is_left_out || report["pending"].as_array().unwrap().iter().any(is_told),
                    "{}",
                    context()
                );
                let is_interrupted = [":19", ":85"].iter().any(|errno| faults.ends_with(errno));
                assert!(
                    if is_interrupted {
                        !is_left_out
                    } else {
                        is_left_out || !is_of_a_mirror
                    },
                    "{}",
                    context()
                );
            } else {
                assert!(!is_of_a_mirror, "{}", context());
                assert!(self.old == now, "{}\n{}", context(), self.old.changes(&now));
                assert!(matches!(run.code, 1 | 4), "{}", context());
                assert!(
                    run.code == 1 || report["failed"][0].as_str().unwrap().contains(words),
                    "{}",
                    context()
                );
                assert_eq!(report["left_over"], Value::Array(Vec::new()), "{}", context());
            }
        }
        let run = vpc.kylin_vr(change.arguments);
        assert_eq!(run.code, 0, "after {}\n{}", context(), said(&run));
        let now = vpc.router.snapshot();
        assert!(self.new == now, "after {}\n{}", context(), self.new.changes(&now));
    }

    /// Faults at every step: one of the four fates, all four at the first step of a kind, everything in a soak.
    fn everywhere(&self, round: usize, soak: bool, hits: &mut Hits) {
        for (step, (kind, _)) in self.steps.iter().enumerate() {
            let errno = ERRNOS[(step + round) % ERRNOS.len()];
            let fates = [
                format!("{step}:fail:{errno}"),
                format!("{step}:kill-before"),
                format!("{step}:lose:{errno}"),
                format!("{step}:kill-after"),
            ];
            let is_first = !hits.keys().any(|(hit, _)| hit == kind);
            for (index, fate) in fates.iter().enumerate() {
                if soak || is_first || index == step % fates.len() {
                    self.with(fate, hits);
                }
            }
        }
    }
}

/// How long to go on; nothing: once.
fn soak() -> Option<Duration> {
    let minutes = std::env::var("KYLIN_VR_SOAK_MINUTES").ok()?;
    Some(Duration::from_secs_f64(minutes.parse::<f64>().unwrap() * 60.0))
}

pub fn whatever_step_fails_or_is_killed_the_router_is_the_old_one_or_the_new_one() {
    let (begun, soak) = (Instant::now(), soak());
    let run = |changes: &[Change]| {
        let (vpc, mut hits) = (quick_vpc(), Hits::new());
        for round in 0.. {
            for change in changes {
                Trial::new(&vpc, change).everywhere(round, soak.is_some(), &mut hits);
            }
            if soak.is_none_or(|soak| begun.elapsed() >= soak) {
                break;
            }
        }
        hits
    };
    let mut hits = Hits::new();
    std::thread::scope(|scope| {
        let (one, two) = CHANGES.split_at(2);
        let other = scope.spawn(|| run(two));
        for (key, count) in run(one).into_iter().chain(other.join().unwrap()) {
            *hits.entry(key).or_default() += count;
        }
    });
    let mut table = String::new();
    for (kind, _) in KINDS {
        let of = |fate: &str| {
            hits.get(&(kind.to_owned(), fate.to_owned()))
                .copied()
                .unwrap_or(0)
        };
        let counts = ["fail", "lose", "kill-before", "kill-after"].map(of);
        table += &format!(
            "{kind:<15} fail {} lose {} kill before {} after {}\n",
            counts[0], counts[1], counts[2], counts[3]
        );
        assert!(!counts.contains(&0), "{table}");
    }
    println!(
        "{table}{} faults, in {:.0?}",
        hits.values().sum::<usize>(),
        begun.elapsed()
    );
}

/// A step late in the run, when much is to be taken back: the last one of a kind.
fn late(trial: &Trial<'_>, kind: &str) -> usize {
    trial.steps.iter().rposition(|(other, _)| other == kind).unwrap()
}

pub fn an_undo_that_fails_once_as_well_holds() {
    let vpc = quick_vpc();
    let trial = Trial::new(&vpc, &CHANGES[1]);
    let first = late(&trial, "delete-address");
    let mut tried = 0;
    // Every step of the undo, till it comes no more.
    for second in first + 1.. {
        (trial.change.old)(&vpc);
        (trial.change.new)(&vpc);
        let errno = ERRNOS[second % 7];
        let (run, steps) = faulty(
            &vpc,
            trial.change.arguments,
            &format!("{first}:fail:16,{second}:fail:{errno}"),
        );
        assert_eq!(run.code, 4, "{second}: {}", said(&run));
        let now = vpc.router.snapshot();
        assert!(
            trial.old == now,
            "{second}: {}\n{}",
            said(&run),
            trial.old.changes(&now)
        );
        if !steps.iter().skip(first + 1).any(|(_, fate)| fate == "fail") {
            break;
        }
        tried += 1;
    }
    assert!(tried >= 20, "only {tried}");
    println!("{tried} second faults");
}

pub fn what_an_undo_cannot_bring_back_is_named_exactly() {
    let vpc = quick_vpc();
    let trial = Trial::new(&vpc, &CHANGES[1]);
    let first = late(&trial, "delete-address");
    let left_over = |faults: &str| -> Vec<String> {
        (trial.change.old)(&vpc);
        trial.old.assert_same(&vpc.router.snapshot());
        (trial.change.new)(&vpc);
        let (run, _) = faulty(&vpc, trial.change.arguments, faults);
        expect(&run, 4, "not all of it could be taken back: run it again");
        let report: Value = serde_json::from_str(&run.stdout).unwrap();
        let lines = report["left_over"].as_array().unwrap().iter();
        lines.map(|line| line.as_str().unwrap().to_owned()).collect()
    };
    let heals = || {
        expect(&vpc.kylin_vr(trial.change.arguments), 0, "applied");
        let now = vpc.router.snapshot();
        assert!(trial.new == now, "{}", trial.new.changes(&now));
    };

    // What was added cannot be deleted any more, and nothing else is in the way.
    let left = left_over(&format!("{first}-:fail:1:delete-address"));
    let why = "operation not permitted (needs root, or CAP_NET_ADMIN)";
    assert_eq!(
        left,
        [
            format!("delete address 192.168.101.254/24 dev lan4: {why}"),
            format!("delete address 10.90.3.38/24 dev wan7: {why}")
        ]
    );
    let changes = trial.old.changes(&vpc.router.snapshot());
    for line in changes.lines().filter(|line| line.starts_with(['+', '-'])) {
        let of_them = ["10.90.3.", "192.168.101.", "valid_lft"];
        assert!(
            of_them.iter().any(|part| line.contains(part)),
            "{line}
in {changes}"
        );
    }
    for address in ["10.90.3.38/24", "192.168.101.254/24"] {
        assert!(changes.contains(address), "{changes}");
    }
    heals();

    // Nothing can be done any more, nor seen.
    let left = left_over(&format!("{first}-:fail:1"));
    assert!(left.iter().any(|line| line.contains("set sysctl")), "{left:?}");
    assert!(
        left.iter()
            .any(|line| line.starts_with("what else is left over cannot be seen: ")),
        "{left:?}"
    );
    heals();

    // And what is left over is known to be ours: it goes with a reset, as if it had never been.
    let _ = left_over(&format!("{first}-:fail:1"));
    expect(&vpc.kylin_vr(&["reset"]), 0, "applied");
    let now = vpc.router.snapshot();
    expect(&vpc.kylin_vr(&["reload"]), 0, "applied");
    expect(&vpc.kylin_vr(&["reset"]), 0, "applied");
    now.assert_same(&vpc.router.snapshot());
}
