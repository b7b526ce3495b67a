//! Configurations through a real guest agent.

use std::collections::BTreeSet;
use std::process::Command;

use lab::guest::{GuestAgent, Machine};
use lab::{Nic, Run, Vpc};

use crate::bench::{Bench, CONFIG, both_subnets, configure, eip_works, marked, state};
use crate::configs::{NOTE, expect, said};

const COMMAND: &str = "/usr/sbin/kylin-vr";

/// The first of the two ways that hypervisors push by; the handle that the agent gave is told.
pub fn by_file(agent: &mut GuestAgent, yaml: &str, handles: &mut BTreeSet<i64>) -> Run {
    let file = agent.open(CONFIG, "w").unwrap();
    assert!(handles.insert(file.number()), "{file:?} was given before");
    write_all(agent, file, yaml.as_bytes());
    agent.close(file).unwrap();
    agent.exec(COMMAND, &["reload"], b"")
}

/// The second.
pub fn by_input(agent: &mut GuestAgent, yaml: &str) -> Run {
    agent.exec(COMMAND, &["reload", "-"], yaml.as_bytes())
}

fn write_all(agent: &mut GuestAgent, file: lab::guest::Handle, bytes: &[u8]) {
    let mut rest = bytes;
    while !rest.is_empty() {
        let taken = agent.write(file, &rest[..rest.len().min(48 * 1024)]).unwrap();
        rest = &rest[taken..];
    }
}

/// Two configurations that differ in everything a push can change, but for the first elastic IP.
fn pair() -> [String; 2] {
    let other = NOTE.replace("10.90.2.251", "10.90.2.252");
    [both_subnets(), other].map(|yaml| marked(&yaml))
}

fn open_files(machine: &Machine) -> usize {
    let script = "ls /proc/$(systemctl show -P MainPID qemu-guest-agent)/fd | wc -l";
    machine.sh(script).trim().parse().unwrap()
}

/// Each way, and `kylin-vr push`.
pub fn check(vpc: &Vpc, machine: &Machine) {
    let (mut agent, mut handles) = (machine.agent(), BTreeSet::new());
    let [one, other] = pair();
    expect(&by_file(&mut agent, &other, &mut handles), 0, "applied");
    eip_works(vpc);
    expect(&by_input(&mut agent, &one), 0, "applied");
    expect(&by_file(&mut agent, &one, &mut handles), 0, "nothing changed");
    drop(agent);
    expect(&push(machine, &other, &[]), 0, "applied");
    expect(&push(machine, &one, &["--via", "file"]), 0, "applied");
    eip_works(vpc);
}

/// The hypervisor's own command.
fn push(machine: &Machine, yaml: &str, arguments: &[&str]) -> Run {
    let file = machine.agent_socket().with_file_name("push.yaml");
    std::fs::write(&file, yaml).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_kylin-vr"));
    command
        .arg("push")
        .arg(&file)
        .arg("--socket")
        .arg(machine.agent_socket());
    command.args(["--timeout", "600"]).args(arguments);
    let output = command.output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Run {
        code: output.status.code().unwrap_or(-1),
        stdout: text(&output.stdout),
        stderr: text(&output.stderr),
    }
}

pub fn two_hundred_pushes_leave_no_file_open(bench: &Bench) {
    let vpc = Vpc::without_router();
    let machine = bench.booted(&vpc);
    check(&vpc, &machine);
    let (mut agent, mut handles) = (machine.agent(), BTreeSet::new());
    // The package's settings allow what a push needs, and not all there is.
    let info = agent.call("guest-info", serde_json::json!({})).unwrap();
    let is_allowed = |name: &str| {
        let commands = info["supported_commands"].as_array().unwrap();
        commands.iter().find(|one| one["name"] == name).unwrap()["enabled"] == true
    };
    assert!(
        is_allowed("guest-exec") && is_allowed("guest-file-write"),
        "{info}"
    );
    assert!(
        !is_allowed("guest-file-read") && !is_allowed("guest-suspend-disk"),
        "{info}"
    );
    let before = open_files(&machine);
    let pair = pair();
    for round in 0..200 {
        let yaml = &pair[round / 2 % 2];
        let run = if round % 2 == 0 {
            by_file(&mut agent, yaml, &mut handles)
        } else {
            by_input(&mut agent, yaml)
        };
        assert_eq!(run.code, 0, "push {round}: {}", said(&run));
    }
    assert_eq!(open_files(&machine), before);
    eip_works(&vpc);
}

pub fn broken_pushes_change_nothing_and_the_next_good_one_heals(bench: &Bench) {
    let vpc = Vpc::without_router();
    let machine = bench.booted(&vpc);
    let good = marked(&both_subnets());
    configure(&machine, &good);
    let before = state(&machine);
    let mut agent = machine.agent();
    let half = &good[..good.len() / 2];
    let at_a_line = &good[..good.find("port_forward_list").unwrap()];
    let (first, second) = (&good[..300], &good[300..]);

    type Deed<'d> = &'d dyn Fn(&mut GuestAgent) -> Run;
    let written = |agent: &mut GuestAgent, bytes: &[u8]| {
        let file = agent.open(CONFIG, "w").unwrap();
        write_all(agent, file, bytes);
        agent.close(file).unwrap();
        agent.exec(COMMAND, &["reload"], b"")
    };
    let deeds: [(&str, i32, Deed<'_>); 7] = [
        ("half of it", 3, &|agent| written(agent, half.as_bytes())),
        ("cut at a line's end", 3, &|agent| {
            written(agent, at_a_line.as_bytes())
        }),
        ("opened and closed", 3, &|agent| written(agent, b"")),
        ("half of it as input", 3, &|agent| by_input(agent, half)),
        ("not yet flushed", 3, &|agent| {
            // What the agent has taken is in its memory until then: the file is empty.
            let file = agent.open(CONFIG, "w").unwrap();
            assert!(agent.write(file, first.as_bytes()).unwrap() > 0);
            let run = agent.exec(COMMAND, &["reload"], b"");
            agent.close(file).unwrap();
            run
        }),
        ("two writers at once", 3, &|agent| {
            let files = [(); 2].map(|()| agent.open(CONFIG, "w").unwrap());
            write_all(agent, files[0], good.as_bytes());
            agent.flush(files[0]).unwrap();
            write_all(agent, files[1], b"if_list: [{mac: 5}]\n#");
            for file in files {
                agent.close(file).unwrap();
            }
            agent.exec(COMMAND, &["reload"], b"")
        }),
        ("a NIC that comes in the middle", 0, &|agent| {
            let file = agent.open(CONFIG, "w").unwrap();
            write_all(agent, file, first.as_bytes());
            agent.flush(file).unwrap();
            machine.unplug(Nic::SubnetB);
            machine.plug(Nic::SubnetB);
            machine.wait_for("the NIC", "ip -4 -o addr | grep 192.168.101.254/24");
            eip_works(&vpc);
            write_all(agent, file, second.as_bytes());
            agent.close(file).unwrap();
            agent.exec(COMMAND, &["reload"], b"")
        }),
    ];
    for (what, code, deed) in deeds {
        let run = deed(&mut agent);
        assert_eq!(run.code, code, "{what}: {}", said(&run));
        // The host is told.
        assert!(!said(&run).is_empty(), "{what}");
        assert_eq!(state(&machine), before, "{what}");
        eip_works(&vpc);
        let run = by_input(&mut agent, &good);
        assert_eq!(run.code, 0, "a good one after {what}: {}", said(&run));
    }
    drop(agent);
    let run = push(&machine, half, &[]);
    assert_eq!(run.code, 3, "{}", said(&run));
    assert_eq!(state(&machine), before);
}
