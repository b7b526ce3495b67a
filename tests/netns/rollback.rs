//! What was in force, and the way back to it.

use std::fs;

use lab::Vpc;

use crate::configs::{NOTE, expect, full, said, vpc, vpc_with};
use crate::failures::reload_onto_a_mount;

fn history(vpc: &Vpc) -> Vec<serde_json::Value> {
    let run = vpc.kylin_vr(&["history", "--json"]);
    let value: serde_json::Value = serde_json::from_str(&run.stdout).unwrap();
    value["entries"].as_array().unwrap().clone()
}

fn file(vpc: &Vpc) -> String {
    fs::read_to_string(vpc.config_path()).unwrap()
}

pub fn rollback_goes_back_by_number_whatever_the_generation() {
    let vpc = vpc();
    expect(&vpc.kylin_vr(&["rollback"]), 2, "nothing to go back to");
    expect(&vpc.kylin_vr(&["history"]), 0, "nothing was accepted");
    let first = format!("generation: 7\n{NOTE}");
    let second = format!("generation: 8\n{}...\n", full());
    vpc.reload_ok(&first);
    let one = vpc.router.snapshot();
    expect(
        &vpc.kylin_vr(&["rollback"]),
        2,
        "there is no configuration 1: the history has only the one in force, 0",
    );
    vpc.reload_ok(&second);
    let two = vpc.router.snapshot();
    expect(
        &vpc.kylin_vr(&["rollback", "2"]),
        2,
        "the history has 0 (in force) to 1",
    );
    expect(&vpc.kylin_vr(&["rollback", "0"]), 0, "nothing changed");
    // A lower generation, and no end marker where the last one had it: on purpose.
    expect(&vpc.kylin_vr(&["rollback"]), 0, "applied");
    one.assert_same(&vpc.router.snapshot());
    assert_eq!(file(&vpc), first);
    expect(&vpc.kylin_vr(&["status"]), 0, "ok");
    // And back again: each is an entry of its own.
    expect(&vpc.kylin_vr(&["rollback", "1"]), 0, "applied");
    two.assert_same(&vpc.router.snapshot());
    assert_eq!(file(&vpc), second);
    expect(&vpc.kylin_vr(&["reset"]), 0, "applied");
    expect(&vpc.kylin_vr(&["rollback", "2"]), 0, "applied");
    one.assert_same(&vpc.router.snapshot());
    let words = |name: &str| -> Vec<String> {
        let word = |entry: &serde_json::Value| entry[name].to_string().replace('"', "");
        history(&vpc).iter().map(word).collect()
    };
    assert_eq!(
        words("command"),
        ["rollback", "reset", "rollback", "rollback", "reload", "reload"]
    );
    assert_eq!(words("generation"), ["7", "null", "8", "7", "8", "7"]);
    assert_eq!(words("back"), ["0", "1", "2", "3", "4", "5"]);
    let text = vpc.kylin_vr(&["history", "--text", "2"]);
    assert_eq!((text.code, text.stdout), (0, second));
    let table = vpc.kylin_vr(&["history"]);
    expect(&table, 0, "BACK  WHEN");
    assert_eq!(table.stdout.lines().count(), 7, "{}", said(&table));
}

pub fn only_what_is_newly_accepted_or_fails_is_in_the_history() {
    let vpc = vpc_with(NOTE);
    for (arguments, code) in [(&["reload"][..], 0), (&["start"], 0), (&["check"], 0)] {
        assert_eq!(vpc.kylin_vr(arguments).code, code);
    }
    let bad = vpc.kylin_vr_with_input(&["reload", "-"], "if_list: 5\n");
    expect(&bad, 3, "expected a list");
    assert_eq!(history(&vpc).len(), 1);
    let changes = &history(&vpc)[0]["changes"];
    assert!(
        changes["objects"]["address"]["added"].as_u64().unwrap() > 1,
        "{changes}"
    );
    assert!(!changes["lines"].as_array().unwrap().is_empty());

    // Found out after the kernel was changed.
    let accepted = vpc.directory().join("state/accepted.yaml");
    let history_before = history(&vpc);
    let text = fs::read(&accepted).unwrap();
    vpc.write_config(&full());
    let stubborn = full().replace("192.168.100.254", "192.168.100.253");
    expect(&reload_onto_a_mount(&vpc, &stubborn), 4, "keep the configuration");
    assert_eq!(fs::read(&accepted).unwrap(), text);
    let after = history(&vpc);
    assert_eq!(after.len(), history_before.len() + 1);
    assert_eq!(
        (&after[0]["result"], &after[0]["back"]),
        (&"failed".into(), &serde_json::Value::Null)
    );
    assert!(!after[0]["changes"]["lines"].as_array().unwrap().is_empty());
    // What failed is no configuration to go back to.
    vpc.reload_ok(&full());
    expect(&vpc.kylin_vr(&["rollback"]), 0, "applied");
    assert_eq!(file(&vpc), NOTE);
}

pub fn fifty_reloads_leave_a_bounded_history() {
    let vpc = vpc();
    for number in 0..50 {
        vpc.reload_ok(&format!("generation: {number}\n{NOTE}"));
    }
    let entries = history(&vpc);
    assert_eq!(entries.len(), 20);
    assert_eq!(
        (&entries[0]["generation"], &entries[19]["generation"]),
        (&49.into(), &30.into())
    );
    let files = fs::read_dir(vpc.directory().join("state/history")).unwrap();
    assert_eq!(files.count(), 20);
    expect(&vpc.kylin_vr(&["rollback", "19"]), 0, "nothing changed");
    assert!(file(&vpc).starts_with("generation: 30\n"));
    expect(&vpc.kylin_vr(&["rollback", "20"]), 2, "0 (in force) to 19");
    expect(&vpc.kylin_vr(&["reset", "--all"]), 0, "applied");
    expect(&vpc.kylin_vr(&["history"]), 0, "nothing was accepted");
}

pub fn a_history_that_cannot_be_written_is_said_and_stops_nothing() {
    let vpc = vpc_with(NOTE);
    let directory = vpc.directory().join("state/history");
    fs::remove_dir_all(&directory).unwrap();
    fs::write(&directory, "in the way").unwrap();
    vpc.write_config(&full());
    expect(&vpc.kylin_vr(&["reload"]), 0, "note: not in the history");
    expect(&vpc.kylin_vr(&["status"]), 0, "ok");
    // An earlier version kept none: what was in force is made an entry before it is replaced.
    fs::remove_file(&directory).unwrap();
    vpc.reload_ok(NOTE);
    expect(&vpc.kylin_vr(&["rollback"]), 0, "applied");
    assert_eq!(file(&vpc), full());
    // An entry that the disk damaged is refused, not applied.
    for entry in fs::read_dir(&directory).unwrap() {
        let path = entry.unwrap().path();
        let mut bytes = fs::read(&path).unwrap();
        let end = bytes.len() - 2;
        bytes[end] ^= 1;
        fs::write(&path, bytes).unwrap();
    }
    let before = vpc.router.snapshot();
    expect(&vpc.kylin_vr(&["rollback"]), 1, "is damaged");
    before.assert_same(&vpc.router.snapshot());
}
