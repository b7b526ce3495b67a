//! Both ways into a VM, what is sent, and what comes back.

use std::fs;

use nix::fcntl::{Flock, FlockArg};
use serde_json::Value;

use crate::guest::{Guest, NOTE, expect};

pub fn both_ways_apply_install_and_report() {
    for way in ["exec", "file"] {
        let guest = Guest::new();
        let before = guest.open_files();
        let first = guest.push(&["--via", way]);
        expect(
            &first,
            0,
            &["+ address  10.90.3.37/24 dev wan7", "qga.sock: applied "],
        );
        assert_eq!(first.stderr, "");
        assert_eq!(guest.installed(), format!("{NOTE}...\n"));
        assert!(
            guest
                .vpc
                .router
                .ip("address show dev wan7")
                .contains("10.90.3.37/24")
        );
        expect(&guest.push(&["--via", way]), 0, &["qga.sock: nothing changed"]);

        let json = guest.push(&["--via", way, "--json"]);
        expect(&json, 0, &[]);
        let document: Value = serde_json::from_str(&json.stdout).unwrap();
        let [entry] = &document.as_array().unwrap()[..] else {
            panic!("{document}")
        };
        assert_eq!(entry["target"], guest.path("qga.sock").to_str().unwrap());
        assert_eq!(entry["result"], "unchanged");
        assert_eq!(entry["exit_code"], 0);
        assert_eq!(entry["error"], Value::Null);
        assert_eq!(entry["report"]["command"], "reload");
        assert_eq!(entry["generation"], entry["report"]["generation"]);
        assert_eq!(entry["configuration"], entry["report"]["configuration"]);
        guest.assert_clean(before);
    }
}

pub fn a_report_reads_as_the_vms_own() {
    let guest = Guest::new();
    // A NIC that is not there, and a VM in no subnet.
    let more = [
        "   - {ipaddr: 192.168.77.254, prefix: 24, mac: '52:54:84:11:00:99'}",
        "eip_list:",
        "  - {eip: 10.90.2.77, vm-ip: 192.168.78.1}",
    ];
    let text = NOTE.replace("eip_list:", &more.join("\n"));
    fs::write(guest.path("kylin-vr.yaml"), text).unwrap();
    let file = guest.path("kylin-vr.yaml");
    let planned = guest.vpc.kylin_vr(&["plan", file.to_str().unwrap()]);
    expect(&planned, 0, &["? pending  52:54:84:11:00:99", "warning: "]);
    let pushed = guest.push(&[]);
    expect(&pushed, 0, &[]);
    let but_the_last = |text: &str| {
        let mut lines: Vec<String> = text.lines().map(ToOwned::to_owned).collect();
        lines.pop();
        lines
    };
    assert_eq!(but_the_last(&pushed.stdout), but_the_last(&planned.stdout));
    assert_eq!(pushed.stderr, planned.stderr);
}

pub fn two_hundred_pushes_leave_nothing_open() {
    let guest = Guest::new();
    expect(&guest.push(&[]), 0, &["applied"]);
    let before = guest.open_files();
    for number in 0..200 {
        let way = if number % 4 == 0 { "file" } else { "exec" };
        expect(&guest.push(&["--via", way]), 0, &["nothing changed"]);
        if number % 50 == 49 {
            assert_eq!(guest.open_files(), before, "after {number} pushes");
        }
    }
    guest.assert_clean(before);
}

pub fn an_invalid_file_is_refused_here_and_nobody_is_contacted() {
    let guest = Guest::new();
    // Nobody could be contacted there: it would be exit code 1.
    let nowhere = guest.path("nowhere.sock");
    fs::write(guest.path("kylin-vr.yaml"), "if_list: 5\neip_lst: []\n").unwrap();
    let bad = guest.push_to(&nowhere, &[]);
    expect(&bad, 3, &["nothing was sent"]);
    let checked = guest
        .vpc
        .kylin_vr(&["check", guest.path("kylin-vr.yaml").to_str().unwrap()]);
    let problems = |text: &str| {
        text.lines()
            .filter(|line| line.starts_with("error: "))
            .map(ToOwned::to_owned)
            .collect::<Vec<_>>()
    };
    assert_eq!(problems(&bad.stderr), problems(&checked.stderr));
    assert_eq!(problems(&bad.stderr).len(), 2);

    let json: Value = serde_json::from_str(&guest.push_to(&nowhere, &["--json"]).stdout).unwrap();
    assert_eq!(json[0]["result"], "invalid");
    assert_eq!(json[0]["exit_code"], 3);
    assert_eq!(json[0]["report"], Value::Null);
    assert_eq!(json[0]["problems"][0]["path"], "if_list");

    fs::remove_file(guest.path("kylin-vr.yaml")).unwrap();
    expect(
        &guest.push_to(&nowhere, &[]),
        1,
        &["no such file", "nothing was sent"],
    );
    let none = guest.vpc.kylin_vr(&["push", "-"]);
    expect(&none, 2, &["--socket <PATH>|--domain <NAME>"]);
}

pub fn an_empty_file_must_be_meant() {
    let guest = Guest::new();
    expect(&guest.push(&[]), 0, &["applied"]);
    fs::write(guest.path("kylin-vr.yaml"), " \n").unwrap();
    expect(&guest.push(&[]), 3, &["--allow-empty", "nothing was sent"]);
    assert!(guest.installed().starts_with(NOTE));
    expect(&guest.push(&["--allow-empty"]), 0, &["- nft", "applied"]);
    assert_eq!(guest.installed(), " \n...\n");
}

pub fn the_exit_code_of_the_vm_is_passed_on() {
    let guest = Guest::new();
    // Another run holds the lock in the VM.
    let lock = fs::File::create(guest.path("run/lock")).unwrap();
    let held = Flock::lock(lock, FlockArg::LockExclusive).unwrap();
    for way in ["exec", "file"] {
        let busy = guest.push(&["--via", way, "--lock-timeout", "0.1"]);
        expect(&busy, 5, &["kylin-vr push: ", "qga.sock: waited 0.1 s"]);
        assert_eq!(busy.stdout, "");
    }
    drop(held);
    // A refusal of the VM's own is shown as one of the file's.
    let report = r#"{"command":"reload","result":"invalid","exit_code":3,"message":"the configuration is refused","source":"standard input","problems":[{"severity":"error","path":"generation","line":1,"column":13,"value":"4","message":"older than 5"}],"generation":5,"configuration":"0123456789abcdef"}"#;
    let program = guest.script(&format!("cat >/dev/null; echo '{report}'; exit 3"));
    let refused = guest.push(&["--program", &program]);
    expect(
        &refused,
        3,
        &[
            "kylin-vr.yaml: line 1, column 13: generation: 4: older than 5",
            "qga.sock: the configuration is refused",
        ],
    );
    let json: Value = serde_json::from_str(&guest.push(&["--program", &program, "--json"]).stdout).unwrap();
    assert_eq!(json[0]["generation"], 5);
    assert_eq!(json[0]["configuration"], "0123456789abcdef");
    assert_eq!(json[0]["message"], "the configuration is refused");
}

pub fn what_is_no_report_is_shown_as_text() {
    let guest = Guest::new();
    let program = guest.script("cat; echo warned >&2; exit 7");
    let run = guest.push(&["--program", &program]);
    expect(&run, 7, &["kylin-vr ended with exit code 7 in the VM"]);
    assert_eq!(run.stdout, format!("{NOTE}...\n"), "what was sent");
    assert!(run.stderr.starts_with("warned\n"));
    let json: Value = serde_json::from_str(&guest.push(&["--program", &program, "--json"]).stdout).unwrap();
    assert_eq!(json[0]["report"], Value::Null);
    assert_eq!(json[0]["result"], "failed");
    assert_eq!(json[0]["output"], format!("{NOTE}...\n"));

    // Whatever a VM says, the terminal of whoever pushes only shows it.
    let program = guest.script("cat >/dev/null; printf 'a\\033]0;b\\007\\n'; printf 'c\\033[2Jd\\n' >&2");
    let hostile = guest.push(&["--program", &program]);
    expect(&hostile, 0, &["a\\u{1b}]0;b\\u{7}\n", "c\\u{1b}[2Jd\n"]);
    let shown = "{\"result\": \"applied\", \"message\": \"x\\\\u001b[1m\", \"notes\": [\"y\\\\u202ez\"]}";
    let program = guest.script(&format!("cat >/dev/null; echo '{}'", shown.replace("\\\\", "\\")));
    let hostile = guest.push(&["--program", &program]);
    expect(&hostile, 0, &["x\\u{1b}[1m", "note: y\\u{202e}z\n"]);
    assert!(
        !hostile.stderr.contains('\u{1b}') && !hostile.stdout.contains('\u{1b}'),
        "{hostile:?}"
    );

    // Of a version to come.
    let program = guest.script("cat >/dev/null; echo '{\"result\": [1], \"tomorrow\": 2}'");
    expect(&guest.push(&["--program", &program]), 0, &["\"tomorrow\": 2"]);

    let killed = guest.script("kill -KILL $$");
    expect(
        &guest.push(&["--program", &killed]),
        1,
        &["was killed by signal 9"],
    );
}

pub fn a_report_that_the_agent_cut_off_is_said() {
    let guest = Guest::new();
    let program = guest
        .script("cat >/dev/null; printf '{\"result\": \"'; head -c 17000000 /dev/zero | tr '\\0' x; exit 4");
    let run = guest.push(&["--program", &program]);
    expect(&run, 4, &["16 MiB that the guest agent keeps, and was cut off"]);
    assert_eq!(run.stdout, "");
}

pub fn a_large_file_goes_both_ways() {
    let guest = Guest::new();
    let large = format!(
        "{NOTE}{}",
        "# a long comment, so that there are many chunks\n".repeat(8000)
    );
    fs::write(guest.path("kylin-vr.yaml"), &large).unwrap();
    for way in ["exec", "file"] {
        expect(&guest.push(&["--via", way]), 0, &[]);
        assert_eq!(guest.installed(), format!("{large}...\n"));
        fs::write(guest.vpc.config_path(), "").unwrap();
    }
}

pub fn a_missing_program_is_said() {
    let guest = Guest::new();
    for way in ["exec", "file"] {
        let before = guest.open_files();
        let run = guest.push(&["--via", way, "--program", "kylin-vr-of-nobody"]);
        expect(
            &run,
            1,
            &["start kylin-vr-of-nobody in the VM", "install kylin-vr there"],
        );
        guest.assert_clean(before);
    }
}

pub fn a_command_that_is_not_allowed_is_said() {
    let guest = Guest::with(&["-b", "guest-exec"]);
    for way in ["exec", "file"] {
        let run = guest.push(&["--via", way]);
        expect(
            &run,
            1,
            &[
                "does not allow guest-exec",
                "guest-exec-status",
                "/etc/qemu/qemu-ga.conf",
            ],
        );
        assert!(!guest.vpc.config_path().exists());
    }
    let json: Value = serde_json::from_str(&guest.push(&["--json"]).stdout).unwrap();
    assert_eq!(json[0]["result"], "not-allowed");
    // Without file commands there is the other way.
    let guest = Guest::with(&["-b", "guest-file-open"]);
    expect(
        &guest.push(&["--via", "file"]),
        1,
        &["does not allow guest-file-open"],
    );
    guest.assert_no_staging();
    expect(&guest.push(&[]), 0, &["applied"]);
}
