//! `reload --confirm-within`: what is confirmed stays, all else goes back, whoever is killed meanwhile.
//!
//! Windows are either so short that they are waited for, or so long that no machine is too slow for them; nothing here
//! depends on how fast something is.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use lab::{Run, Snapshot, Tcp, Vpc};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::configs::{NOTE, expect, full, said, vpc, vpc_with};

const LONG: Duration = Duration::from_secs(60);

/// All that a taking back brings back.
pub struct Before {
    pub kernel: Snapshot,
    file: Option<Vec<u8>>,
    accepted: Vec<u8>,
}

impl Before {
    pub fn of(vpc: &Vpc) -> Before {
        Before {
            kernel: vpc.router.snapshot(),
            file: fs::read(vpc.config_path()).ok(),
            accepted: accepted(vpc),
        }
    }

    #[track_caller]
    pub fn assert_same(&self, vpc: &Vpc) {
        self.kernel.assert_same(&vpc.router.snapshot());
        assert_eq!(fs::read(vpc.config_path()).ok(), self.file);
        assert_eq!(accepted(vpc), self.accepted);
    }
}

pub fn accepted(vpc: &Vpc) -> Vec<u8> {
    fs::read(vpc.directory().join("state/accepted.yaml")).unwrap_or_default()
}

#[track_caller]
pub fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + LONG;
    while !holds() {
        assert!(Instant::now() < end, "{what} did not come");
        thread::sleep(Duration::from_millis(10));
    }
}

pub fn is_open(vpc: &Vpc) -> bool {
    vpc.directory().join("state/unconfirmed").exists()
}

#[track_caller]
pub fn wait_until_taken_back(vpc: &Vpc) {
    eventually("the end of the window", || !is_open(vpc));
    // The file of the window is the last to go but for the new entry of the history, written under the lock.
    expect(&vpc.kylin_vr(&["reload", "--last-accepted"]), 0, "");
}

pub fn reload_within(vpc: &Vpc, window: &str, yaml: &str) -> Run {
    vpc.kylin_vr_with_input(&["reload", "--confirm-within", window, "-"], yaml)
}

/// Kills the process that waits to take back, and waits until it is gone.
pub fn kill_guard(vpc: &Vpc) {
    let path = vpc.directory().join("run/guard");
    let mut guard = None;
    eventually("the guard", || {
        let text = fs::read(&path).unwrap_or_default();
        let holder: Option<serde_json::Value> = serde_json::from_slice(&text).ok();
        guard = holder.and_then(|holder| holder["pid"].as_i64());
        guard.is_some()
    });
    let pid = i32::try_from(guard.unwrap()).unwrap();
    let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
    eventually("the guard's end", || {
        // A zombie holds nothing any more.
        fs::read_to_string(format!("/proc/{pid}/cmdline")).is_ok_and(|line| line.is_empty())
            || !fs::exists(format!("/proc/{pid}")).unwrap()
    });
    fs::remove_file(&path).unwrap();
}

/// Makes the window one that is over: as if all of its time had gone by.
pub fn expire(vpc: &Vpc) {
    let path = vpc.directory().join("state/unconfirmed");
    let whole = fs::read(&path).unwrap();
    let end = whole.iter().position(|byte| *byte == b'\n').unwrap();
    let mut head: serde_json::Value = serde_json::from_slice(&whole[2..end]).unwrap();
    head["within"] = serde_json::json!({ "secs": 0, "nanos": 0 });
    let head = format!("# {head}");
    let new = vpc.directory().join("expired");
    fs::write(&new, [head.as_bytes(), &whole[end..]].concat()).unwrap();
    fs::rename(&new, &path).unwrap();
}

fn history(vpc: &Vpc) -> Vec<serde_json::Value> {
    let run = vpc.kylin_vr(&["history", "--json"]);
    let value: serde_json::Value = serde_json::from_str(&run.stdout).unwrap();
    value["entries"].as_array().unwrap().clone()
}

fn results(vpc: &Vpc) -> Vec<String> {
    let word = |entry: serde_json::Value| entry["result"].as_str().unwrap().to_owned();
    history(vpc).into_iter().map(word).collect()
}

pub fn what_is_confirmed_in_time_stays() {
    let vpc = vpc_with(NOTE);
    expect(&vpc.kylin_vr(&["confirm"]), 1, "nothing waits to be confirmed");
    let run = reload_within(&vpc, "1h", &full());
    expect(&run, 0, "unless `kylin-vr confirm` comes before");
    expect(&vpc.kylin_vr(&["status"]), 0, "UNCONFIRMED");
    let status = vpc.kylin_vr(&["status", "--json"]).stdout;
    let status: serde_json::Value = serde_json::from_str(&status).unwrap();
    assert!(status["unconfirmed_until"].as_str().unwrap().ends_with('Z'));
    assert_eq!(results(&vpc), ["unconfirmed", "applied"]);
    let run = vpc.kylin_vr(&["confirm", "--json"]);
    expect(&run, 0, "\"confirmed\"");
    assert!(!is_open(&vpc));
    assert!(!said(&vpc.kylin_vr(&["status"])).contains("UNCONFIRMED"));
    expect(&vpc.kylin_vr(&["confirm"]), 0, "is confirmed already");
    assert_eq!(results(&vpc), ["confirmed", "applied"]);
    assert_eq!(fs::read_to_string(vpc.config_path()).unwrap(), full());
    assert_eq!(
        vpc.probe(&vpc.b1, Tcp, "10.90.2.250:22", &[]),
        "a1:22 sees 10.90.3.37"
    );
    // Applied again, there is nothing to wait for.
    expect(&reload_within(&vpc, "1s", &full()), 0, "nothing to confirm");
    assert!(!is_open(&vpc));
    expect(
        &vpc.kylin_vr(&["reload", "--confirm-within", "0"]),
        2,
        "expected a time",
    );
    expect(
        &vpc.kylin_vr(&["reload", "--probe", "gateway"]),
        2,
        "--confirm-within",
    );
}

pub fn what_is_not_confirmed_is_taken_back() {
    let vpc = vpc_with(NOTE);
    // What lies there is somebody's own, and no YAML.
    vpc.write_config("# to do: [\n");
    let before = Before::of(&vpc);
    let run = vpc.kylin_vr_with_input(&["reload", "--confirm-within", "1h", "--json", "-"], &full());
    expect(&run, 0, "\"unconfirmed_until\": \"20");
    assert_eq!(accepted(&vpc), full().as_bytes());
    assert_eq!(fs::read(vpc.config_path()).unwrap(), full().as_bytes());
    expire(&vpc);
    wait_until_taken_back(&vpc);
    before.assert_same(&vpc);
    assert_eq!(results(&vpc), ["applied", "taken-back", "applied"]);
    assert_eq!(history(&vpc)[0]["command"], "take-back");
    expect(&vpc.kylin_vr(&["confirm"]), 4, "was taken back at 20");
    assert_eq!(
        vpc.probe(&vpc.client, Tcp, "10.90.2.250:22", &[]),
        "a1:22 sees 198.51.100.10"
    );
    // By the clock, with nobody doing anything.
    expect(&reload_within(&vpc, "2s", &full()), 0, "applied");
    wait_until_taken_back(&vpc);
    before.assert_same(&vpc);
}

pub fn an_installed_file_that_is_not_confirmed_goes_back_as_well() {
    let vpc = vpc_with(NOTE);
    let before = Before::of(&vpc);
    vpc.write_config(&full());
    let run = vpc.kylin_vr(&["reload", "--confirm-within", "2"]);
    expect(&run, 0, "applied");
    wait_until_taken_back(&vpc);
    before.assert_same(&vpc);

    // A file that was written meanwhile is the next reload's, and is not overwritten.
    vpc.write_config(&full());
    expect(
        &vpc.kylin_vr(&["reload", "--confirm-within", "60m"]),
        0,
        "applied",
    );
    let other = NOTE.replace("10.90.2.251", "10.90.2.252");
    vpc.write_config(&other);
    expire(&vpc);
    wait_until_taken_back(&vpc);
    assert_eq!(fs::read_to_string(vpc.config_path()).unwrap(), other);
    assert_eq!(accepted(&vpc), NOTE.as_bytes());
}

pub fn the_first_configuration_ever_goes_back_to_an_empty_router() {
    let vpc = vpc();
    let before = Before::of(&vpc);
    expect(&reload_within(&vpc, "2s", NOTE), 0, "applied");
    assert!(vpc.config_path().exists());
    wait_until_taken_back(&vpc);
    before.assert_same(&vpc);
    expect(&vpc.kylin_vr(&["start"]), 0, "nothing changed");
    expect(&vpc.kylin_vr(&["confirm"]), 4, "was taken back");
}

pub fn a_window_that_is_renewed_leads_back_to_what_was_confirmed() {
    let vpc = vpc_with(NOTE);
    let before = Before::of(&vpc);
    expect(&reload_within(&vpc, "1h", &full()), 0, "applied");
    let other = NOTE.replace("10.90.2.251", "10.90.2.252");
    expect(&reload_within(&vpc, "1h", &other), 0, "applied");
    assert_eq!(results(&vpc), ["unconfirmed", "replaced", "applied"]);
    // Invalid ones and the same one leave it open; the same one may shorten or lengthen it.
    expect(
        &vpc.kylin_vr_with_input(&["reload", "-"], "if_list: 5\n"),
        3,
        "unless",
    );
    expect(&vpc.kylin_vr(&["reload"]), 0, "unless `kylin-vr confirm`");
    assert!(is_open(&vpc));
    expect(&reload_within(&vpc, "2s", &other), 0, "nothing changed");
    wait_until_taken_back(&vpc);
    before.assert_same(&vpc);
}

pub fn a_reload_of_another_file_is_a_decision_of_its_own() {
    let vpc = vpc_with(NOTE);
    expect(&reload_within(&vpc, "1h", &full()), 0, "applied");
    let other = NOTE.replace("10.90.2.251", "10.90.2.252");
    let run = vpc.kylin_vr_with_input(&["reload", "-"], &other);
    expect(&run, 0, "applied");
    assert!(!said(&run).contains("unless"), "{}", said(&run));
    assert!(!is_open(&vpc));
    assert_eq!(results(&vpc), ["applied", "replaced", "applied"]);
    assert_eq!(accepted(&vpc), other.as_bytes());
    expect(&vpc.kylin_vr(&["status"]), 0, "ok");
    expect(&vpc.kylin_vr(&["confirm"]), 1, "nothing waits");
    // Also where the run was killed before the window was gone.
    expect(&reload_within(&vpc, "1h", &full()), 0, "applied");
    kill_guard(&vpc);
    expire(&vpc);
    let window = fs::read(vpc.directory().join("state/unconfirmed")).unwrap();
    let third = NOTE.replace("10.90.2.251", "10.90.2.253");
    expect(&vpc.kylin_vr_with_input(&["reload", "-"], &third), 0, "applied");
    fs::write(vpc.directory().join("state/unconfirmed"), &window).unwrap();
    expect(
        &vpc.kylin_vr(&["reload", "--last-accepted"]),
        0,
        "nothing changed",
    );
    assert_eq!(accepted(&vpc), third.as_bytes());
    assert!(!is_open(&vpc));
}

pub fn what_cannot_be_applied_opens_no_window() {
    let vpc = vpc_with(NOTE);
    // Found out by the rename, after the kernel was changed.
    fs::remove_file(vpc.config_path()).unwrap();
    fs::create_dir(vpc.config_path()).unwrap();
    let before = vpc.router.snapshot();
    expect(&reload_within(&vpc, "1s", &full()), 1, "is a directory");
    assert!(!is_open(&vpc));
    fs::remove_dir(vpc.config_path()).unwrap();
    // A window that was open stays as it was.
    expect(&reload_within(&vpc, "1h", &full()), 0, "applied");
    let window = fs::read(vpc.directory().join("state/unconfirmed")).unwrap();
    fs::remove_file(vpc.config_path()).unwrap();
    fs::create_dir(vpc.config_path()).unwrap();
    let other = NOTE.replace("10.90.2.251", "10.90.2.252");
    assert_ne!(reload_within(&vpc, "1s", &other).code, 0);
    assert_eq!(
        fs::read(vpc.directory().join("state/unconfirmed")).unwrap(),
        window
    );
    fs::remove_dir(vpc.config_path()).unwrap();
    expect(&vpc.kylin_vr(&["rollback"]), 0, "applied");
    before.assert_same(&vpc.router.snapshot());
}

pub fn probes_that_pass_confirm() {
    let vpc = vpc_with(NOTE);
    let arguments = ["reload", "--confirm-within", "60s", "--probe", "gateway", "-"];
    let run = vpc.kylin_vr_with_input(&arguments, &full());
    expect(&run, 0, "confirmed: every probe passed");
    assert!(!is_open(&vpc));
    assert_eq!(results(&vpc), ["confirmed", "applied"]);
    let socket = vpc
        .client
        .run(|| std::net::TcpListener::bind("198.51.100.10:4443").unwrap());
    let arguments = [
        "reload",
        "--confirm-within",
        "60s",
        "--probe",
        "gateway",
        "--probe",
        "198.51.100.10:4443",
        "-",
    ];
    let run = vpc.kylin_vr_with_input(&arguments, NOTE);
    expect(&run, 0, "confirmed: every probe passed");
    drop(socket);
    assert_eq!(accepted(&vpc), NOTE.as_bytes());
}

pub fn probes_that_fail_take_back() {
    let vpc = vpc_with(NOTE);
    let before = Before::of(&vpc);
    // A gateway that is on the link and is not there.
    let wrong = full().replace("gateway: 10.90.3.1", "gateway: 10.90.3.77");
    let arguments = ["reload", "--confirm-within", "10s", "--probe", "gateway", "-"];
    let run = vpc.kylin_vr_with_input(&arguments, &wrong);
    expect(&run, 4, "not confirmed in time, and taken back");
    expect(&run, 4, "probe gateway 10.90.3.77: no answer to ping");
    before.assert_same(&vpc);
    // Nobody listens there; the gateway alone is not enough.
    let arguments = [
        "reload",
        "--confirm-within",
        "10s",
        "--probe",
        "gateway",
        "--probe",
        "10.90.3.1:9",
        "--json",
        "-",
    ];
    let run = vpc.kylin_vr_with_input(&arguments, &full());
    expect(&run, 4, "probe 10.90.3.1:9: connection refused");
    assert!(!said(&run).contains("probe gateway"), "{}", said(&run));
    let report: serde_json::Value = serde_json::from_str(&run.stdout).unwrap();
    assert_eq!(report["result"], "taken-back");
    before.assert_same(&vpc);
    let arguments = ["reload", "--confirm-within", "2s", "--probe", "gateway", "-"];
    let run = vpc.kylin_vr_with_input(&arguments, "if_list: []\n");
    expect(&run, 2, "no interface of this configuration has a gateway");
    before.assert_same(&vpc);
    // While it probes, others may decide.
    let probing = vpc.directory().join("probing.yaml");
    fs::write(&probing, full()).unwrap();
    let path = probing.to_str().unwrap();
    let mut run = vpc.daemon(&["reload", "--confirm-within", "1h", "--probe", "10.90.3.1:9", path]);
    eventually("the reload", || {
        is_open(&vpc) && accepted(&vpc) == full().as_bytes()
    });
    expect(&vpc.kylin_vr(&["confirm"]), 0, "confirmed");
    eventually("the end of the probes", || !run.is_running());
    let run = run.stop();
    expect(&run, 0, "confirmed meanwhile");
}
