//! What is wrong, and harms nothing.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use lab::{Run, Tcp, Vpc};

use crate::configs::{NOTE, by, expect, full, said, vpc, vpc_with};

pub fn every_bad_file_is_refused_and_the_kernel_is_unchanged() {
    let vpc = vpc_with(&full());
    let before = vpc.router.snapshot();
    let installed = fs::read(vpc.config_path()).unwrap();
    let mut count = 0;
    for entry in fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/bad")).unwrap() {
        let path = entry.unwrap().path();
        let text = fs::read(&path).unwrap();
        let first = String::from_utf8_lossy(text.split(|byte| *byte == b'\n').next().unwrap()).into_owned();
        let run = vpc.kylin_vr(&["reload", path.to_str().unwrap()]);
        assert_eq!(run.code, 3, "{}: {}", path.display(), said(&run));
        for part in first.strip_prefix("# expect: ").unwrap().split(" && ") {
            assert!(run.stderr.contains(part), "{}: {}", path.display(), run.stderr);
        }
        assert!(
            run.stderr.contains(": line "),
            "{}: no place: {}",
            path.display(),
            run.stderr
        );
        count += 1;
    }
    assert!(count >= 60, "only {count}");
    before.assert_same(&vpc.router.snapshot());
    assert_eq!(fs::read(vpc.config_path()).unwrap(), installed);
    expect(&vpc.kylin_vr(&["status"]), 0, "ok");
}

/// A command's exit code, output and peak memory in KiB, given an endless or large input.
fn measured(vpc: &Vpc, arguments: &[&str], input: &str) -> (i32, String, u64) {
    vpc.router.run(|| {
        let mut child = Command::new("/bin/sh")
            .arg("-c")
            .arg(format!(
                "{input} | /usr/bin/env time -f 'peak %M' {} {}",
                env!("CARGO_BIN_EXE_kylin-vr"),
                arguments.join(" ")
            ))
            .env("RUNTIME_DIRECTORY", vpc.directory().join("run"))
            .env("STATE_DIRECTORY", vpc.directory().join("state"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut text = String::new();
        std::io::Read::read_to_string(child.stderr.as_mut().unwrap(), &mut text).unwrap();
        let code = child.wait().unwrap().code().unwrap();
        let peak = text.rsplit("peak ").next().unwrap().trim().parse().unwrap();
        (code, text, peak)
    })
}

pub fn a_huge_file_is_refused_at_once() {
    let vpc = vpc_with(NOTE);
    // What a refusal costs is bounded by the largest valid file (8 MiB) and not by the input.
    let (_, _, nothing) = measured(&vpc, &["reload", "-"], "true");
    for (input, words) in [
        ("head -c 1000000000 /dev/zero", "at most 8 MiB"),
        ("yes x | tr -d '\\n' | head -c 1000000000", "at most 8 MiB"),
        (
            "(printf 'a: '; yes '[' | tr -d '\\n' | head -c 20000)",
            "not valid YAML",
        ),
        (
            "(for i in $(seq 0 300); do printf '%*sa:\\n' $((i * 2)) ''; done)",
            "not valid YAML",
        ),
    ] {
        let (code, text, peak) = measured(&vpc, &["reload", "-"], input);
        assert!(code == 3 && text.contains(words), "{input}: {code} {text}");
        assert!(
            peak < nothing + 9 * 1024,
            "{input}: {peak} KiB, and {nothing} KiB without input"
        );
    }
    expect(&vpc.kylin_vr(&["reload"]), 0, "nothing changed");
}

/// `reload -` where something is mounted on the file: found out by the rename, after the kernel was changed.
pub fn reload_onto_a_mount(vpc: &Vpc, yaml: &str) -> Run {
    let path = vpc.config_path();
    let mounted = r#"mount --bind "$0" "$0" && exec "$@""#;
    let program = ["unshare", "-m", "sh", "-c", mounted, path.to_str().unwrap()];
    let mut command = by(vpc, &program, &["reload", "-"]);
    let text = vpc.directory().join("other.yaml");
    fs::write(&text, yaml).unwrap();
    command.stdin(fs::File::open(&text).unwrap());
    Run::from(vpc.router.run(|| command.output()).unwrap())
}

pub fn a_file_that_cannot_be_installed_rolls_everything_back() {
    let vpc = vpc_with(NOTE);
    let before = vpc.router.snapshot();
    let flow = vpc.tcp_flow(&vpc.client, "10.90.2.250:22", &[]).unwrap();
    let run = reload_onto_a_mount(&vpc, &full().replace("192.168.100.254", "192.168.100.253"));
    expect(&run, 4, "everything is as it was");
    expect(&run, 4, "keep the configuration");
    before.assert_same(&vpc.router.snapshot());
    assert!(flow.ping_pong());
    let left: Vec<_> = fs::read_dir(vpc.config_path().parent().unwrap())
        .unwrap()
        .collect();
    assert_eq!(left.len(), 1, "no temporary file stays: {left:?}");

    // Nor is it taken for the last good one.
    expect(&vpc.kylin_vr(&["start"]), 0, "nothing changed");

    expect(&vpc.kylin_vr_with_input(&["reload", "-"], &full()), 0, "applied");
    assert_eq!(
        vpc.probe(&vpc.b1, Tcp, "10.90.2.250:22", &[]),
        "a1:22 sees 10.90.3.37"
    );
}

pub fn without_net_admin_nothing_is_changed() {
    let vpc = vpc_with(NOTE);
    let before = vpc.router.snapshot();
    let run = vpc.router.run(|| {
        let mut command = Command::new("setpriv");
        command.args([
            "--bounding-set=-net_admin",
            "--inh-caps=-net_admin",
            env!("CARGO_BIN_EXE_kylin-vr"),
        ]);
        command.args(["reload", "-", "--config"]).arg(vpc.config_path());
        command.env("RUNTIME_DIRECTORY", vpc.directory().join("run"));
        command.env("STATE_DIRECTORY", vpc.directory().join("state"));
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(full().as_bytes()).unwrap();
        child.wait_with_output().unwrap()
    });
    let text = String::from_utf8_lossy(&run.stderr);
    assert!(matches!(run.status.code(), Some(1 | 4)), "{run:?}");
    assert!(text.contains("CAP_NET_ADMIN"), "{text}");
    before.assert_same(&vpc.router.snapshot());
    assert_eq!(fs::read_to_string(vpc.config_path()).unwrap(), NOTE);
}

pub fn an_empty_file_does_not_take_a_configured_router_down() {
    let vpc = vpc_with(NOTE);
    let before = vpc.router.snapshot();
    for text in ["", "\n \n\t\n"] {
        vpc.write_config(text);
        expect(&vpc.kylin_vr(&["reload"]), 3, "it keeps what it has");
        expect(
            &vpc.kylin_vr(&["start"]),
            0,
            "the last good configuration of this VM takes its place",
        );
        expect(&vpc.kylin_vr(&["status"]), 3, "REFUSED");
    }
    fs::remove_file(vpc.config_path()).unwrap();
    expect(&vpc.kylin_vr(&["reload"]), 3, "it keeps what it has");
    before.assert_same(&vpc.router.snapshot());
    vpc.write_config("");
    expect(&vpc.kylin_vr(&["reload", "--allow-empty"]), 0, "applied");
    assert!(!vpc.router.nft("list ruleset").contains("kylin_vr"));
}

pub fn a_file_cut_off_before_its_end_marker_is_refused() {
    let vpc = vpc_with(&format!("{NOTE}...\n"));
    let before = vpc.router.snapshot();
    let whole = format!("{}...\n", full());
    // Cut off at the end of each line: valid YAML, most of the time.
    let ends: Vec<usize> = whole.match_indices('\n').map(|(end, _)| end + 1).collect();
    for end in &ends[..ends.len() - 1] {
        vpc.write_config(&whole[..*end]);
        expect(&vpc.kylin_vr(&["reload"]), 3, "cut off");
    }
    before.assert_same(&vpc.router.snapshot());
    vpc.write_config(&whole);
    expect(&vpc.kylin_vr(&["reload"]), 0, "applied");
}

pub fn start_with_a_bad_file_uses_the_last_good_one() {
    let vpc = vpc_with(NOTE);
    let before = vpc.router.snapshot();
    vpc.write_config("if_list: [\n");
    expect(
        &vpc.kylin_vr(&["start"]),
        0,
        "the last good configuration of this VM takes its place",
    );
    fs::remove_file(vpc.config_path()).unwrap();
    fs::create_dir(vpc.config_path()).unwrap();
    expect(&vpc.kylin_vr(&["start"]), 0, "cannot be read");
    fs::remove_dir(vpc.config_path()).unwrap();
    // As after a reboot: nothing in the kernel, nothing in the runtime directory.
    expect(&vpc.kylin_vr(&["reset"]), 0, "applied");
    vpc.write_config(NOTE);
    expect(&vpc.kylin_vr(&["start"]), 0, "applied");
    before.assert_same(&vpc.router.snapshot());
    vpc.router.nft("flush ruleset");
    vpc.write_config("if_list: [\n");
    let run = vpc.kylin_vr(&["start"]);
    expect(&run, 0, "not valid YAML");
    before.assert_same(&vpc.router.snapshot());
}

pub fn another_program_that_changes_nftables_meanwhile_does_no_harm() {
    let vpc = vpc_with(NOTE);
    let other = NOTE.replace("10.90.2.251", "10.90.2.252");
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                vpc.router.nft("add table ip other");
                vpc.router.nft("delete table ip other");
            }
        });
        // Stopped whatever comes, or the scope waits for ever.
        let runs: Vec<_> = (0..20)
            .map(|round| {
                vpc.write_config(if round % 2 == 0 { &other } else { NOTE });
                vpc.kylin_vr(&["reload"])
            })
            .collect();
        stop.store(true, Ordering::Relaxed);
        for run in runs {
            expect(&run, 0, "applied");
        }
    });
    expect(&vpc.kylin_vr(&["status"]), 0, "ok");
}

pub fn a_killed_run_heals() {
    let vpc = vpc();
    let before = vpc.router.snapshot();
    let many: String = (0..3_000)
        .map(|eip| {
            format!(
                "  - {{eip: 10.91.{}.{}, vm-ip: 192.168.100.1}}\n",
                eip / 250,
                1 + eip % 250
            )
        })
        .collect();
    let large = full().replace("eip_list:\n", &format!("eip_list:\n{many}"));
    for round in 0..30 {
        vpc.write_config(if round % 3 == 2 { "if_list: []\n" } else { &large });
        let mut child = vpc.router.run(|| {
            let mut command = vpc.command();
            command
                .arg("reload")
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null());
            command.spawn().unwrap()
        });
        // From before it does anything to after its end.
        std::thread::sleep(Duration::from_millis(round * 4));
        let _ = child.kill();
        child.wait().unwrap();
        if round % 4 == 3 {
            vpc.write_config(NOTE);
            assert_eq!(vpc.kylin_vr(&["reload"]).code, 0);
            expect(&vpc.kylin_vr(&["status"]), 0, "ok");
        }
    }
    vpc.reload_ok(NOTE);
    assert_eq!(
        vpc.probe(&vpc.client, Tcp, "10.90.2.250:22", &[]),
        "a1:22 sees 198.51.100.10"
    );
    // And nothing that a killed run did is forgotten.
    vpc.reload_ok("if_list: []\n");
    before.assert_same(&vpc.router.snapshot());
}
