//! What goes wrong on the way, and that nothing is left in the VM then.

use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver, Sender};
use std::time::Duration;
use std::{fs, thread};

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::sys::socket::{AddressFamily, Backlog, SockFlag, SockType, UnixAddr, connect, listen, socket};
use nix::unistd::Pid;
use serde_json::{Value, json};

use crate::guest::{Guest, NOTE, ended, expect, wait_for};
use crate::proxy::{Fate, Passing, proxy};

/// A proxy before the guest's agent that does something to what passes.
fn between(guest: &Guest, fate: impl FnMut(Passing) -> Fate + Send + 'static) -> PathBuf {
    let path = guest.path("proxy.sock");
    proxy(&path, guest.path("qga.sock"), b"", fate);
    path
}

/// The same, with a word to the test the first time that it is something else than `Pass`.
fn between_once(guest: &Guest, command: &'static str, fate: Fate) -> (PathBuf, Receiver<()>) {
    let (told, waits) = mpsc::channel();
    let mut fate = Some(fate);
    let path = between(guest, move |passing| match passing {
        Passing::Answer(answered, _) if answered == command && fate.is_some() => {
            let _ = told.send(());
            fate.take().unwrap()
        }
        _ => Fate::Pass,
    });
    (path, waits)
}

/// Starts it with signals as they are by default: whoever starts the tests in the background of a shell has SIGINT ignored.
fn start(command: Command) -> Child {
    let mut with_signals = Command::new("env");
    with_signals
        .arg("--default-signal=HUP,INT,TERM")
        .arg(command.get_program())
        .args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => with_signals.env(name, value),
            None => with_signals.env_remove(name),
        };
    }
    with_signals
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

fn signal(child: &Child, signal: Signal) {
    kill(Pid::from_raw(child.id().try_into().unwrap()), signal).unwrap();
}

pub fn an_agent_that_does_not_answer_is_given_up() {
    let guest = Guest::new();
    let path = guest.path("silent.sock");
    let _silent = UnixListener::bind(&path).unwrap();
    let run = guest.push_to(&path, &["--timeout", "0.5"]);
    expect(
        &run,
        1,
        &["silent.sock: no answer from the guest agent: is qemu-guest-agent running"],
    );
    let json: Value =
        serde_json::from_str(&guest.push_to(&path, &["--timeout", "0.5", "--json"]).stdout).unwrap();
    assert_eq!(json[0]["result"], "unreachable");
}

pub fn a_socket_whose_queue_is_full_is_given_up() {
    let guest = Guest::new();
    let path = guest.path("full.sock");
    let listener = UnixListener::bind(&path).unwrap();
    listen(&listener, Backlog::new(0).unwrap()).unwrap();
    let mut waiting = Vec::new();
    loop {
        let fd = socket(
            AddressFamily::Unix,
            SockType::Stream,
            SockFlag::SOCK_NONBLOCK,
            None,
        )
        .unwrap();
        match connect(
            std::os::fd::AsRawFd::as_raw_fd(&fd),
            &UnixAddr::new(&path).unwrap(),
        ) {
            Ok(()) => waiting.push(fd),
            Err(error) => {
                assert_eq!(error, Errno::EAGAIN);
                break;
            }
        }
    }
    let run = guest.push_to(&path, &["--timeout", "0.5"]);
    expect(
        &run,
        1,
        &["no answer from the guest agent", "It takes one at a time"],
    );
}

pub fn stale_answers_are_discarded() {
    let guest = Guest::new();
    for (number, stale) in [
        &b"{\"return\": 5}\n"[..],
        b"{\"return\": {\"pid\": 1}}\n\xff{\"return\": 77}\n",
        b"\xff{\"return\": 1",
        b"\xff\xff\n\n{\"error\": {\"class\": \"GenericError\", \"desc\": \"x\"}}\n{\"retu",
    ]
    .into_iter()
    .enumerate()
    {
        let path = guest.path(&format!("stale-{number}.sock"));
        proxy(&path, guest.path("qga.sock"), stale, |_| Fate::Pass);
        expect(&guest.push_to(&path, &[]), 0, &[]);
    }
}

pub fn half_a_request_of_an_earlier_client_does_no_harm() {
    let guest = Guest::new();
    // Only what the agent does not answer: on a unix socket of its own, an answer to a client that is gone is its
    // end (SIGPIPE). A virtio port has no such thing.
    for half in [r#"{"execute": "guest-pi"#, "[", "{\"a\": [{"] {
        let mut stream = UnixStream::connect(guest.path("qga.sock")).unwrap();
        stream.write_all(half.as_bytes()).unwrap();
        drop(stream);
        expect(&guest.push(&[]), 0, &[]);
    }
}

pub fn an_agent_without_input_gets_a_file() {
    let guest = Guest::new();
    let before = guest.open_files();
    let path = between(&guest, |passing| {
        if let Passing::Request(request) = passing
            && let Some(input) = request["arguments"].as_object_mut().unwrap().remove("input-data")
        {
            // The agent's own words for a parameter that it does not know.
            request["arguments"]["no-input-data"] = input;
        }
        Fate::Pass
    });
    expect(
        &guest.push_to(&path, &["--via", "exec"]),
        1,
        &["guest-exec in the VM", "unexpected"],
    );
    expect(&guest.push_to(&path, &[]), 0, &["applied"]);
    assert_eq!(guest.installed(), format!("{NOTE}...\n"));
    guest.assert_clean(before);
}

pub fn a_cut_connection_leaves_nothing_open() {
    for command in ["guest-file-write", "guest-file-flush", "guest-file-close"] {
        let guest = Guest::new();
        let before = guest.open_files();
        let (path, _) = between_once(&guest, command, Fate::Cut);
        let run = guest.push_to(&path, &["--via", "file"]);
        expect(
            &run,
            1,
            &[
                "lost the connection to the guest agent during",
                command,
                "nothing was applied",
            ],
        );
        assert!(!run.stderr.contains("left behind"), "{}", run.stderr);
        assert!(!guest.vpc.config_path().exists());
        guest.assert_clean(before);
    }
}

pub fn a_cut_connection_after_the_start_says_so() {
    let guest = Guest::new();
    let (path, _) = between_once(&guest, "guest-exec-status", Fate::Cut);
    let run = guest.push_to(&path, &["--via", "exec"]);
    expect(
        &run,
        1,
        &["during guest-exec-status", "kylin-vr may be at work in the VM"],
    );
    // And it was.
    wait_for("the VM to apply it all the same", || {
        fs::read_to_string(guest.vpc.config_path()).is_ok_and(|text| text == format!("{NOTE}...\n"))
    });
}

pub fn a_signal_cleans_up() {
    for (number, code) in [
        (Signal::SIGTERM, 143),
        (Signal::SIGINT, 130),
        (Signal::SIGHUP, 129),
    ] {
        let guest = Guest::new();
        let before = guest.open_files();
        let (path, writing) = between_once(&guest, "guest-file-write", Fate::Lost);
        let child = start(guest.push_command(&path, &["--via", "file"]));
        writing.recv().unwrap();
        signal(&child, number);
        let run = ended(&child.wait_with_output().unwrap());
        expect(&run, code, &["ended by signal", "nothing was applied"]);
        assert!(!run.stderr.contains("left behind"), "{}", run.stderr);
        assert!(!guest.vpc.config_path().exists());
        guest.assert_clean(before);
    }
}

/// A push by way of a file that is at its open; the answer comes when the test says so.
fn at_the_open(guest: &Guest, command: impl FnOnce(Command) -> Command) -> (Child, Sender<()>) {
    let (told, opening) = mpsc::channel();
    let (goes_on, go) = mpsc::channel::<()>();
    let path = between(guest, move |passing| {
        if let Passing::Answer("guest-file-open", _) = passing {
            told.send(()).unwrap();
            let _ = go.recv();
        }
        Fate::Pass
    });
    let child = start(command(guest.push_command(&path, &["--via", "file"])));
    opening.recv().unwrap();
    (child, goes_on)
}

pub fn a_signal_during_the_open_cleans_up() {
    let guest = Guest::new();
    let before = guest.open_files();
    let (child, goes_on) = at_the_open(&guest, |command| command);
    signal(&child, Signal::SIGTERM);
    // Time to see the signal: the answer comes all the same, and its number is needed.
    thread::sleep(Duration::from_millis(300));
    goes_on.send(()).unwrap();
    let run = ended(&child.wait_with_output().unwrap());
    expect(&run, 143, &["ended by signal 15"]);
    assert!(!run.stderr.contains("left behind"), "{}", run.stderr);
    guest.assert_clean(before);
}

pub fn an_ignored_signal_stays_ignored() {
    let guest = Guest::new();
    let (child, goes_on) = at_the_open(&guest, |command| {
        let mut nohup = Command::new("sh");
        nohup.args(["-c", "trap '' HUP; exec \"$@\"", "sh"]);
        nohup.arg(command.get_program()).args(command.get_args());
        nohup
    });
    signal(&child, Signal::SIGHUP);
    thread::sleep(Duration::from_millis(300));
    goes_on.send(()).unwrap();
    expect(&ended(&child.wait_with_output().unwrap()), 0, &["applied"]);
}

pub fn the_time_limit_cleans_up() {
    let guest = Guest::new();
    let before = guest.open_files();
    let (path, _) = between_once(&guest, "guest-file-write", Fate::Lost);
    let run = guest.push_to(&path, &["--via", "file", "--timeout", "3"]);
    expect(
        &run,
        1,
        &[
            "the time is up (--timeout) during guest-file-write",
            "nothing was applied",
        ],
    );
    assert!(!run.stderr.contains("left behind"), "{}", run.stderr);
    guest.assert_clean(before);

    let program = guest.script("cat >/dev/null; exec sleep 60");
    let run = guest.push(&["--program", &program, "--timeout", "1"]);
    expect(&run, 1, &["the time is up", "kylin-vr may be at work in the VM"]);
}

pub fn short_writes_are_continued() {
    let guest = Guest::new();
    let before = guest.open_files();
    let (sends, modes) = mpsc::channel();
    let etc = guest.path("etc");
    let path = between(&guest, move |passing| {
        if let Passing::Request(request) = passing
            && request["execute"] == "guest-file-write"
        {
            let bytes = BASE64
                .decode(request["arguments"]["buf-b64"].as_str().unwrap())
                .unwrap();
            request["arguments"]["buf-b64"] = BASE64.encode(&bytes[..bytes.len().div_ceil(3)]).into();
            for file in fs::read_dir(&etc).unwrap() {
                sends
                    .send(file.unwrap().metadata().unwrap().mode() & 0o777)
                    .unwrap();
            }
        }
        Fate::Pass
    });
    expect(&guest.push_to(&path, &["--via", "file"]), 0, &["applied"]);
    assert_eq!(guest.installed(), format!("{NOTE}...\n"));
    let modes: Vec<u32> = modes.try_iter().collect();
    assert!(
        modes.len() > 2 && modes.iter().all(|mode| *mode == 0o600),
        "{modes:?}"
    );
    guest.assert_clean(before);
}

pub fn a_full_disk_is_an_error_and_cleans_up() {
    let guest = Guest::new();
    let before = guest.open_files();
    let path = between(&guest, |passing| {
        if let Passing::Request(request) = passing
            && request["execute"] == "guest-file-write"
        {
            request["arguments"]["buf-b64"] = "".into();
        }
        Fate::Pass
    });
    let run = guest.push_to(&path, &["--via", "file"]);
    expect(
        &run,
        1,
        &[&format!("only 0 of {} bytes were written", NOTE.len() + 4)],
    );
    guest.assert_clean(before);
    // No directory to write in.
    let nowhere = guest.path("nowhere/kylin-vr.yaml");
    let mut command = guest.vpc.command();
    command.args(["push", "--via", "file", "--socket"]);
    command
        .arg(guest.path("qga.sock"))
        .arg(guest.path("kylin-vr.yaml"));
    fs::remove_dir_all(guest.path("etc")).unwrap();
    let run = ended(&command.output().unwrap());
    expect(&run, 1, &["install -m 600 /dev/null", "No such file"]);
    assert!(!nowhere.exists());
}

pub fn what_cannot_be_cleaned_up_is_said() {
    let guest = Guest::new();
    let path = between(&guest, |passing| match passing {
        Passing::Answer("guest-file-write" | "guest-file-close", answer) => {
            *answer = json!({"error": {"class": "GenericError", "desc": "Input/output error"}});
            Fate::Pass
        }
        _ => Fate::Pass,
    });
    let run = guest.push_to(&path, &["--via", "file"]);
    expect(
        &run,
        1,
        &[
            "guest-file-write in the VM: Input/output error",
            "left behind in the VM: the open file 1000",
        ],
    );
}
