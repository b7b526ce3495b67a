//! The least that the command needs, and whom it trusts.

use std::fs::{self, File, Permissions};
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use lab::{ArpWatch, Run, Tcp, Vpc};

use crate::configs::{NOTE, by, expect, full, vpc, vpc_with};

/// Root, with the capabilities that README.md names and no other.
const LEAST: [&str; 4] = [
    "setpriv",
    "--no-new-privs",
    "--bounding-set=-all,+net_admin,+net_raw",
    "--inh-caps=-all",
];

/// Their bits, in /proc/PID/status: CAP_NET_ADMIN is 12, CAP_NET_RAW 13 (linux/capability.h).
const LEAST_BITS: &str = "CapEff:\t0000000000003000";

fn run(vpc: &Vpc, mut command: Command, input: &str) -> Run {
    vpc.router.run(|| {
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        Run::from(child.wait_with_output().unwrap())
    })
}

/// A monitor that ends with the test.
struct Monitor(Child);

impl Drop for Monitor {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

pub fn two_capabilities_are_enough_and_the_units_give_no_more() {
    let vpc = vpc();
    let fresh = vpc.router.snapshot();
    let least = |arguments: &[&str], input: &str| run(&vpc, by(&vpc, &LEAST, arguments), input);
    let mut watch = ArpWatch::start(&vpc.upstream, "eth0");
    vpc.write_config(NOTE);
    expect(&least(&["start"], ""), 0, "applied");
    let eip = "10.90.2.250".parse().unwrap();
    assert!(
        watch.wait_gratuitous(eip, Duration::from_secs(20)).is_some(),
        "no ARP"
    );
    expect(&least(&["reload", "-"], &full()), 0, "applied");
    expect(&least(&["plan"], ""), 0, "nothing to change");
    expect(&least(&["status"], ""), 0, "ok");
    assert_eq!(
        vpc.probe(&vpc.b1, Tcp, "10.90.2.250:22", &[]),
        "a1:22 sees 10.90.3.37"
    );

    let mut command = by(&vpc, &LEAST, &["monitor"]);
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let monitor = Monitor(vpc.router.run(|| command.spawn()).unwrap());
    let patience = Instant::now() + Duration::from_secs(30);
    let wait_for = |what: &str, reached: &dyn Fn() -> bool| {
        while !reached() {
            assert!(Instant::now() < patience, "{what}");
            std::thread::sleep(Duration::from_millis(20));
        }
    };
    wait_for("the monitor's presence", &|| {
        vpc.directory().join("run/monitor").exists()
    });
    let status = fs::read_to_string(format!("/proc/{}/status", monitor.0.id())).unwrap();
    assert!(status.contains(LEAST_BITS), "{status}");
    vpc.router.nft("flush ruleset");
    wait_for("the table again", &|| {
        vpc.router.nft("list tables").contains("kylin_vr")
    });
    wait_for("all of it", &|| vpc.kylin_vr(&["status"]).code == 0);
    drop(monitor);

    expect(&least(&["reset"], ""), 0, "applied");
    fresh.assert_same(&vpc.router.snapshot());

    let units = Path::new(env!("CARGO_MANIFEST_DIR")).join("systemd");
    let units = fs::read_dir(units).unwrap().map(|entry| entry.unwrap().path());
    let units: Vec<_> = units
        .filter(|path| path.extension().is_some_and(|one| one == "service"))
        .collect();
    assert_eq!(units.len(), 4);
    for unit in units {
        let text = fs::read_to_string(&unit).unwrap();
        // Another program, which the router's own units are not given the rights of.
        let is_dnsmasq = unit.ends_with("kylin-vr-dnsmasq.service");
        assert_eq!(text.contains("\nExecStart=/usr/sbin/dnsmasq "), is_dnsmasq);
        let sets: Vec<&str> = text
            .lines()
            .filter(|line| line.contains("Capabilit") && !line.starts_with('#'))
            .collect();
        assert_eq!(
            sets,
            [if is_dnsmasq {
                "CapabilityBoundingSet=CAP_NET_BIND_SERVICE CAP_NET_RAW CAP_NET_ADMIN CAP_SETUID CAP_SETGID CAP_CHOWN CAP_DAC_OVERRIDE CAP_KILL"
            } else {
                "CapabilityBoundingSet=CAP_NET_ADMIN CAP_NET_RAW"
            }],
            "{}",
            unit.display()
        );
        assert!(text.contains("\nNoNewPrivileges=yes\n"));
    }
}

pub fn what_a_run_writes_is_roots_whatever_the_umask() {
    let vpc = vpc();
    for part in ["etc", "state", "run"] {
        fs::remove_dir(vpc.directory().join(part)).unwrap();
    }
    for umask in ["umask 0", "umask 077"] {
        let shell = ["sh", "-c", &format!("{umask}; exec \"$0\" \"$@\"")];
        expect(&run(&vpc, by(&vpc, &shell, &["reload", "-"]), &full()), 0, "");
        expect(&run(&vpc, by(&vpc, &shell, &["start"]), ""), 0, "nothing changed");
        let mut seen = Vec::new();
        for part in ["etc", "state", "run"] {
            let directory = vpc.directory().join(part);
            let found = fs::metadata(&directory).unwrap();
            let mode = if part == "run" {
                [0o755, 0o700]
            } else {
                [0o700, 0o700]
            };
            assert!(
                found.uid() == 0 && mode.contains(&(found.mode() & 0o7777)),
                "{part} {:o}",
                found.mode()
            );
            let mut directories = vec![directory];
            while let Some(path) = directories.pop() {
                let found = fs::symlink_metadata(&path).unwrap();
                if found.is_dir() {
                    assert_eq!((found.uid(), found.mode() & 0o022), (0, 0), "{}", path.display());
                    let entries = fs::read_dir(&path).unwrap();
                    directories.extend(entries.map(|entry| entry.unwrap().path()));
                    continue;
                }
                assert_eq!(
                    (found.uid(), found.gid(), found.mode()),
                    (0, 0, 0o100_600),
                    "{}",
                    path.display()
                );
                seen.push(path.file_name().unwrap().to_string_lossy().into_owned());
            }
        }
        seen.sort();
        assert_eq!(
            seen,
            [
                "000001.yaml",
                "accepted.yaml",
                "kylin-vr.yaml",
                "lock",
                "machine",
                "owned.json",
                "seen"
            ]
        );
    }
}

/// What stands in the place of a file, and what is said of it.
type Hostile = (&'static str, fn(&Path));

const HOSTILE: [Hostile; 6] = [
    ("is a symbolic link, and a regular file must be there", |path| {
        let real = path.with_extension("real");
        fs::rename(path, &real).unwrap();
        symlink(real, path).unwrap();
    }),
    ("is a directory", |path| {
        fs::remove_file(path).unwrap();
        fs::create_dir(path).unwrap();
    }),
    ("is a pipe", |path| {
        fs::remove_file(path).unwrap();
        nix::unistd::mkfifo(path, nix::sys::stat::Mode::S_IRWXU).unwrap();
    }),
    ("can be written by anybody: take that away (chmod o-w", |path| {
        fs::set_permissions(path, Permissions::from_mode(0o666)).unwrap();
        fs::set_permissions(path.parent().unwrap(), Permissions::from_mode(0o755)).unwrap();
    }),
    ("belongs to user 65534: give it to root (chown root", |path| {
        chown(path, Some(65_534), None).unwrap();
    }),
    ("can be written by anybody: take that away (chmod o-w", |path| {
        fs::set_permissions(path.parent().unwrap(), Permissions::from_mode(0o777)).unwrap();
    }),
];

pub fn what_others_could_have_written_is_refused() {
    let vpc = vpc();
    for file in [
        "etc/kylin-vr.yaml",
        "state/accepted.yaml",
        "state/machine",
        "run/lock",
        "run/owned.json",
    ] {
        for (words, spoil) in HOSTILE {
            vpc.reload_ok(NOTE);
            let before = vpc.router.snapshot();
            let path = vpc.directory().join(file);
            let saved = fs::read(&path).unwrap();
            spoil(&path);
            let run = vpc.kylin_vr_with_input(&["reload", "-"], &full());
            let named = path.parent().unwrap().to_str().unwrap();
            expect(&run, 1, words);
            expect(&run, 1, named);
            if file == "etc/kylin-vr.yaml" {
                expect(&vpc.kylin_vr(&["reload"]), 1, words);
                expect(&vpc.kylin_vr(&["check"]), 1, words);
                // The boot goes on with what is known to be good.
                expect(
                    &vpc.kylin_vr(&["start"]),
                    0,
                    "the last good configuration of this VM takes its place",
                );
            }
            before.assert_same(&vpc.router.snapshot());

            // The remedy.
            let _ = fs::remove_file(&path).or_else(|_| fs::remove_dir(&path));
            let _ = fs::remove_file(path.with_extension("real"));
            fs::set_permissions(path.parent().unwrap(), Permissions::from_mode(0o755)).unwrap();
            fs::write(&path, saved).unwrap();
            expect(&vpc.kylin_vr(&["reload"]), 0, "nothing changed");
        }
    }

    // The guest agent makes files of mode 0666. Where nobody else can come to them, that is nobody's.
    fs::set_permissions(vpc.directory().join("etc"), Permissions::from_mode(0o700)).unwrap();
    fs::set_permissions(vpc.config_path(), Permissions::from_mode(0o666)).unwrap();
    expect(&vpc.kylin_vr(&["reload"]), 0, "nothing changed");
    // And the next file that is installed is not for everybody.
    expect(&vpc.kylin_vr_with_input(&["reload", "-"], &full()), 0, "applied");
    assert_eq!(fs::metadata(vpc.config_path()).unwrap().mode() & 0o777, 0o664);
}

pub fn a_file_that_is_given_may_be_a_link_or_a_pipe() {
    let vpc = vpc_with(NOTE);
    let real = vpc.directory().join("mine.yaml");
    fs::write(&real, full()).unwrap();
    fs::set_permissions(&real, Permissions::from_mode(0o666)).unwrap();
    let link = vpc.directory().join("link.yaml");
    symlink(&real, &link).unwrap();
    for command in ["check", "plan", "reload"] {
        expect(&vpc.kylin_vr(&[command, link.to_str().unwrap()]), 0, "");
        expect(&vpc.kylin_vr_with_input(&[command, "/dev/stdin"], &full()), 0, "");
    }
    let substitution = ["bash", "-c", "exec \"$0\" \"$@\" <(cat mine.yaml)"];
    let mut command = by(&vpc, &substitution, &["check"]);
    command
        .current_dir(vpc.directory())
        .stdin(File::open("/dev/null").unwrap());
    expect(
        &Run::from(vpc.router.run(|| command.output()).unwrap()),
        0,
        "valid",
    );
}
