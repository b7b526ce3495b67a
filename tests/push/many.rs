//! Many targets, and domains of libvirt's.

use std::fs;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::process::{Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::guest::{Guest, NOTE, ended, expect, run, wait_for};
use crate::virsh;

/// `push` of the first guest's file to several sockets, with its own directories as those of all VMs: they are one
/// machine here.
fn push_to_all(guests: &[&Guest], more: &[&str]) -> Command {
    let mut command = guests[0].push_command(&guests[0].path("qga.sock"), more);
    for guest in &guests[1..] {
        command.arg("--socket").arg(guest.path("qga.sock"));
    }
    command
}

pub fn four_targets_at_a_time_one_of_them_unreachable() {
    let guests = [Guest::new(), Guest::new(), Guest::new()];
    let nowhere = guests[0].path("nowhere.sock");
    // Not one file for three VMs: each has its own behind `--config` by a program of its own.
    let program = guests[0].script("cat >/dev/null; echo '{\"result\": \"applied\", \"message\": \"applied 1 change\", \"changes\": [{}], \"generation\": 12, \"configuration\": \"0123456789abcdef\"}'");
    let all: Vec<&Guest> = guests.iter().collect();
    let more = ["--program", &program, "--socket", nowhere.to_str().unwrap()];
    let run = run(push_to_all(&all, &more));
    expect(
        &run,
        1,
        &[
            "TARGET",
            "pushed to 4 VMs; 1 failed",
            "nowhere.sock: connect: no such file or directory",
        ],
    );
    for guest in &guests {
        let path = guest.path("qga.sock").display().to_string();
        let row = run.stdout.lines().find(|line| line.contains(&path)).unwrap();
        let words: Vec<&str> = row.split_whitespace().collect();
        assert_eq!(words[1..6], ["applied", "0", "12", "0123456789ab", "1"], "{row}");
        assert!(
            run.stderr.contains(&format!("{path}: applied 1 change\n")),
            "{}",
            run.stderr
        );
    }
    let row = run
        .stdout
        .lines()
        .find(|line| line.contains("nowhere.sock"))
        .unwrap();
    let words: Vec<&str> = row.split_whitespace().collect();
    assert_eq!(words[1..6], ["unreachable", "-", "-", "-", "-"], "{row}");
}

pub fn several_targets_are_one_json_document() {
    let guests = [Guest::new(), Guest::new()];
    let all: Vec<&Guest> = guests.iter().collect();
    let bad = guests[0].script("cat >/dev/null; exit 4");
    let run_bad = run(push_to_all(
        &all,
        &["--json", "--program", &bad, "--parallel", "1"],
    ));
    expect(&run_bad, 4, &[]);
    let document: Value = serde_json::from_str(&run_bad.stdout).unwrap();
    for (entry, guest) in std::iter::zip(document.as_array().unwrap(), &guests) {
        assert_eq!(entry["target"], guest.path("qga.sock").to_str().unwrap());
        assert_eq!(entry["exit_code"], 4);
        assert_eq!(entry["result"], "failed");
    }
    assert_eq!(run_bad.stderr, "");
}

pub fn a_signal_ends_all_of_them() {
    let guest = Guest::new();
    let silent: Vec<_> = (0..4)
        .map(|number| guest.path(&format!("silent-{number}.sock")))
        .collect();
    let listeners: Vec<_> = silent
        .iter()
        .map(|path| UnixListener::bind(path).unwrap())
        .collect();
    let mut command = guest.push_command(&silent[0], &["--parallel", "2"]);
    for path in &silent[1..] {
        command.arg("--socket").arg(path);
    }
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let child = command.spawn().unwrap();
    let _first = listeners[0].accept().unwrap();
    kill(Pid::from_raw(child.id().try_into().unwrap()), Signal::SIGTERM).unwrap();
    let run = ended(&child.wait_with_output().unwrap());
    expect(&run, 143, &["interrupted", "pushed to 4 VMs; 4 failed"]);
}

/// A guest that a virsh knows as the domain `router 1`.
fn domain() -> Guest {
    let guest = Guest::new();
    virsh::install(guest.vpc.directory());
    symlink(guest.path("qga.sock"), guest.path("router 1.sock")).unwrap();
    guest
}

fn push_to_domain(guest: &Guest, name: &str, more: &[&str]) -> Command {
    let mut command = guest.vpc.command();
    let path = std::env::var("PATH").unwrap_or_default();
    command.env("PATH", format!("{}:{path}", guest.vpc.directory().display()));
    command.arg("push").arg(guest.path("kylin-vr.yaml"));
    command.args(["--program", env!("CARGO_BIN_EXE_kylin-vr"), "--domain", name]);
    command.args(more);
    command
}

pub fn domains_are_reached_through_virsh() {
    let guest = domain();
    let before = guest.open_files();
    let first = run(push_to_domain(
        &guest,
        "router 1",
        &["--connect", "qemu:///session"],
    ));
    expect(&first, 0, &["router 1: applied"]);
    let log = fs::read_to_string(guest.path("virsh.log")).unwrap();
    for line in log.lines() {
        assert!(
            line.starts_with("-c qemu:///session qemu-agent-command router 1 {"),
            "{line}"
        );
    }
    fs::remove_file(guest.path("virsh.log")).unwrap();
    expect(
        &run(push_to_domain(&guest, "router 1", &["--via", "file"])),
        0,
        &["nothing changed"],
    );
    let log = fs::read_to_string(guest.path("virsh.log")).unwrap();
    assert!(
        log.lines()
            .all(|line| line.starts_with("qemu-agent-command router 1 {")),
        "{log}"
    );

    // More than a process takes in one argument.
    let large = format!("{NOTE}{}", "# a comment\n".repeat(20000));
    fs::write(guest.path("kylin-vr.yaml"), &large).unwrap();
    expect(
        &run(push_to_domain(&guest, "router 1", &["--via", "exec"])),
        1,
        &["leave --via out"],
    );
    expect(
        &run(push_to_domain(&guest, "router 1", &[])),
        0,
        &["nothing changed"],
    );
    assert_eq!(guest.installed(), format!("{large}...\n"));
    // Just what fits.
    let fits = format!("{NOTE}{}", "#\n".repeat((93 * 1024 - NOTE.len()) / 2));
    fs::write(guest.path("kylin-vr.yaml"), &fits[..fits.len() - 2048]).unwrap();
    expect(
        &run(push_to_domain(&guest, "router 1", &["--via", "exec"])),
        0,
        &["nothing changed"],
    );
    guest.assert_clean(before);
}

pub fn virsh_that_fails_or_hangs_is_said() {
    let guest = domain();
    expect(
        &run(push_to_domain(&guest, "router 2", &[])),
        1,
        &["router 2: virsh: failed to get domain 'router 2'; Domain not found"],
    );
    expect(
        &run(push_to_domain(&guest, "-x", &[])),
        2,
        &["unexpected argument '-x'"],
    );
    fs::write(
        guest.path("virsh"),
        "#!/bin/sh\necho $$ >\"$0.pid\"\nexec sleep 600\n",
    )
    .unwrap();
    let hangs = run(push_to_domain(&guest, "router 1", &["--timeout", "1"]));
    expect(&hangs, 1, &["the time is up (--timeout) during guest-exec"]);
    let pid = fs::read_to_string(guest.path("virsh.pid")).unwrap();
    wait_for("virsh to be gone", || {
        !fs::exists(format!("/proc/{}", pid.trim())).unwrap()
    });
    // libvirt's words for an agent that went away after the request, and for a domain that did.
    let dies = |what: &str| {
        let script = [
            "#!/bin/sh",
            &format!("case $* in *'\"{what}\"'*) echo 'error: it went away' >&2; exit 1;; esac"),
            "echo '{\"return\": {\"pid\": 5}}'",
        ];
        fs::write(guest.path("virsh"), script.join("\n")).unwrap();
        run(push_to_domain(&guest, "router 1", &[]))
    };
    let before_start = dies("guest-exec");
    expect(&before_start, 1, &["router 1: virsh: it went away"]);
    assert!(
        !before_start.stderr.contains("at work"),
        "{}",
        before_start.stderr
    );
    expect(
        &dies("guest-exec-status"),
        1,
        &["virsh: it went away; kylin-vr may be at work in the VM"],
    );
    // No virsh at all.
    fs::remove_file(guest.path("virsh")).unwrap();
    let mut command = push_to_domain(&guest, "router 1", &[]);
    command.env("PATH", guest.vpc.directory());
    expect(
        &run(command),
        1,
        &["virsh: not found: install libvirt's client programs"],
    );
    let blocked = Guest::with(&["-b", "guest-exec"]);
    virsh::install(blocked.vpc.directory());
    symlink(blocked.path("qga.sock"), blocked.path("r.sock")).unwrap();
    expect(
        &run(push_to_domain(&blocked, "r", &[])),
        1,
        &["does not allow guest-exec"],
    );
}
