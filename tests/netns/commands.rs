//! The command: what it accepts, what it says, and how it ends.

use std::fs;

use lab::{Nic, Vpc};

use crate::configs::{NOTE, expect, full, said, vpc, vpc_with};

pub fn old_spellings_work() {
    let vpc = vpc();
    vpc.write_config(NOTE);
    expect(&vpc.kylin_vr(&["--start"]), 0, "applied");
    expect(&vpc.kylin_vr(&["--reload"]), 0, "nothing changed");
    expect(&vpc.kylin_vr(&["-c", "reload"]), 0, "nothing changed");
}

pub fn plan_changes_nothing_and_tells_what_a_reload_does() {
    let vpc = vpc_with(NOTE);
    let before = vpc.router.snapshot();
    vpc.write_config(&full());
    let planned = vpc.kylin_vr(&["plan"]);
    expect(&planned, 0, "nothing was done");
    before.assert_same(&vpc.router.snapshot());
    let done = vpc.kylin_vr(&["reload"]);
    let changes = |text: &str| {
        let is_change = |line: &&str| line.starts_with(['+', '-', '~', ' ']);
        text.lines()
            .filter(is_change)
            .map(ToOwned::to_owned)
            .collect::<Vec<_>>()
    };
    assert_eq!(changes(&planned.stdout), changes(&done.stdout));
    assert!(changes(&done.stdout).len() > 5);
    // Of a file that is not installed, and of a bad one.
    fs::write(vpc.directory().join("other.yaml"), NOTE).unwrap();
    let other = vpc.directory().join("other.yaml");
    expect(
        &vpc.kylin_vr(&["plan", other.to_str().unwrap()]),
        0,
        "- address  192.168.101.254/24 dev lan4",
    );
    expect(
        &vpc.kylin_vr_with_input(&["plan", "-"], "if_list: 5\n"),
        3,
        "if_list: 5: expected a list",
    );
    expect(&vpc.kylin_vr(&["plan"]), 0, "nothing to change");
}

pub fn status_tells_ok_pending_and_missing() {
    let vpc = Vpc::builder(env!("CARGO_BIN_EXE_kylin-vr"))
        .without(Nic::SubnetB)
        .build();
    expect(&vpc.kylin_vr(&["status"]), 0, "nothing is configured");
    vpc.reload_ok(&full());
    let status = vpc.kylin_vr(&["status"]);
    for words in [
        "PENDING: NIC 52:54:84:11:00:04 (if_list[2], 192.168.101.254/24): ",
        "52:54:84:00:08:45  wan7  10.90.3.37/24       10.90.3.1  outside  ok",
        "52:54:84:11:00:04  -     192.168.101.254/24  -          inside   pending",
        "10.90.2.250  192.168.100.190  ok",
        "10.90.2.254  tcp       10-12        192.168.100.192  100-102      ok",
        "10.90.2.254  udp       53           192.168.101.11   5353         pending",
    ] {
        expect(&status, 0, words);
    }
    vpc.router
        .nft("delete element ip kylin_vr forward { 10.90.2.254 . tcp . 11 }");
    vpc.router.ip("route del local 10.90.2.251 dev lo table local");
    let status = vpc.kylin_vr(&["status"]);
    expect(
        &status,
        1,
        "DRIFT: the kernel differs from what is configured in 2 places",
    );
    expect(&status, 1, "10.90.2.251  192.168.100.191  MISSING");
    expect(&status, 1, "10-12        192.168.100.192  100-102      MISSING");
    expect(&status, 1, "+ route    local 10.90.2.251 dev lo");
    expect(&vpc.kylin_vr(&["reload"]), 0, "applied 2 changes");
    vpc.write_config(NOTE);
    expect(
        &vpc.kylin_vr(&["status"]),
        1,
        "was changed and is not in effect yet",
    );
    vpc.write_config("if_list: 5\n");
    expect(&vpc.kylin_vr(&["status"]), 3, "if_list: 5: expected a list");
}

pub fn json_is_one_document() {
    let vpc = vpc();
    let json = |arguments: &[&str]| -> serde_json::Value {
        let run = vpc.kylin_vr(arguments);
        let value: serde_json::Value = serde_json::from_str(&run.stdout)
            .unwrap_or_else(|error| panic!("{arguments:?}: {error}: {}", said(&run)));
        assert_eq!(value["exit_code"], run.code, "{arguments:?}");
        value
    };
    vpc.write_config(NOTE);
    assert_eq!(json(&["plan", "--json"])["result"], "planned");
    let applied = json(&["reload", "--json"]);
    assert_eq!(applied["result"], "applied");
    assert!(
        applied["changes"]
            .as_array()
            .unwrap()
            .iter()
            .any(|line| line["text"] == "10.90.3.37/24 dev wan7")
    );
    assert_eq!(json(&["--json", "reload"])["result"], "unchanged");
    let status = json(&["status", "--json"]);
    assert_eq!(
        (&status["agrees"], &status["elastic_ips"][0]["vm-ip"]),
        (&true.into(), &"192.168.100.190".into())
    );
    vpc.write_config("if_list: [{ipaddr: 10.0.0.1, prefix: 40, mac: 02:00:00:00:00:01}]\n");
    for command in ["check", "plan", "reload"] {
        let refused = json(&[command, "--json"]);
        assert_eq!(refused["result"], "invalid");
        let problem = &refused["problems"][0];
        assert_eq!(
            (
                &problem["path"],
                &problem["line"],
                &problem["column"],
                &problem["value"]
            ),
            (&"if_list[0].prefix".into(), &1.into(), &38.into(), &"40".into())
        );
    }
    assert_eq!(json(&["check", "/nonexistent", "--json"])["exit_code"], 1);
}

pub fn reload_installs_a_file_only_after_it_was_applied() {
    let vpc = vpc_with(NOTE);
    let installed = || fs::read_to_string(vpc.config_path()).unwrap();
    let other = vpc.directory().join("other.yaml");
    let other_name = other.to_str().unwrap();

    fs::write(&other, "if_list: 5\n").unwrap();
    expect(&vpc.kylin_vr(&["reload", other_name]), 3, "nothing was touched");
    assert_eq!(installed(), NOTE);
    fs::write(&other, full()).unwrap();
    expect(&vpc.kylin_vr(&["reload", other_name]), 0, "applied");
    assert_eq!(installed(), full());
    expect(&vpc.kylin_vr_with_input(&["reload", "-"], NOTE), 0, "applied");
    assert_eq!(installed(), NOTE);
    expect(
        &vpc.kylin_vr(&["reload", "/nonexistent.yaml"]),
        1,
        "read /nonexistent.yaml",
    );
    assert_eq!(installed(), NOTE);
}

pub fn wrong_usage_is_exit_2_and_help_is_exit_0() {
    let vpc = vpc();
    for arguments in [
        &[][..],
        &["nonsense"],
        &["reload", "a", "b"],
        &["reload", "--lock-timeout", "soon"],
        &["-c"],
    ] {
        let run = vpc.kylin_vr(arguments);
        assert_eq!(run.code, 2, "{arguments:?}: {}", said(&run));
    }
    for command in ["start", "reload", "check", "plan", "status", "reset"] {
        expect(&vpc.kylin_vr(&[command, "--help"]), 0, "Usage:");
        expect(&vpc.kylin_vr(&["--help"]), 0, command);
    }
    expect(
        &vpc.kylin_vr(&["--help"]),
        0,
        "Exit codes: 0 the kernel matches the file",
    );
    expect(&vpc.kylin_vr(&["--version"]), 0, env!("CARGO_PKG_VERSION"));
}

pub fn reset_removes_everything_and_keeps_the_file() {
    let vpc = vpc();
    let before = vpc.router.snapshot();
    vpc.reload_ok(&full());
    expect(&vpc.kylin_vr(&["reset"]), 0, "applied");
    before.assert_same(&vpc.router.snapshot());
    assert_eq!(fs::read_to_string(vpc.config_path()).unwrap(), full());
    expect(&vpc.kylin_vr(&["reset"]), 0, "nothing changed");
    expect(&vpc.kylin_vr(&["reload"]), 0, "applied");
    let state = || fs::read_dir(vpc.directory().join("state")).unwrap().count();
    assert!(state() > 0);
    expect(&vpc.kylin_vr(&["reset", "--all"]), 0, "applied");
    assert_eq!(state(), 0);
}

pub fn diagram_draws_a_file_and_schema_describes_it() {
    let vpc = vpc();
    expect(
        &vpc.kylin_vr(&["diagram"]),
        0,
        "flowchart LR\n  router[\"kylin-vr\"]\n",
    );
    vpc.write_config(NOTE);
    expect(
        &vpc.kylin_vr(&["diagram", "--format", "dot"]),
        0,
        "EIP 10.90.2.250",
    );
    let drawn = vpc.kylin_vr_with_input(&["diagram", "--format", "svg", "-"], NOTE);
    assert!(
        drawn.stdout.starts_with("<svg ") && drawn.stdout.ends_with("</svg>\n"),
        "{}",
        said(&drawn)
    );
    expect(
        &vpc.kylin_vr_with_input(&["diagram", "-"], "if_list: 5\n"),
        3,
        "expected a list",
    );
    let json = vpc.kylin_vr(&["diagram", "--json"]);
    let value: serde_json::Value = serde_json::from_str(&json.stdout).unwrap();
    assert!(
        value["diagram"].as_str().unwrap().contains("192.168.100.0/24"),
        "{value}"
    );
    let schema: serde_json::Value = serde_json::from_str(&vpc.kylin_vr(&["schema"]).stdout).unwrap();
    // The first line of the examples names it.
    let named = NOTE
        .lines()
        .next()
        .and_then(|line| line.strip_prefix("# yaml-language-server: $schema="));
    assert_eq!(schema["$id"], format!("file://{}", named.unwrap()));
}
