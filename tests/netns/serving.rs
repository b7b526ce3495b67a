//! Metrics from the monitor, on a socket as systemd hands it over; and clients that do not behave.

use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::Stdio;
use std::time::Duration;

use lab::{Daemon, Vpc};

use crate::configs::{NOTE, by, vpc_with};
use crate::confirm::eventually;
use crate::watching::{samples, value};

/// A monitor that has this socket as systemd gives it: as descriptor 3, with the environment that says so.
fn monitor(vpc: &Vpc, listener: UnixListener) -> Daemon {
    let script = "exec 3<&0 </dev/null; LISTEN_PID=$$ LISTEN_FDS=1 exec \"$0\" \"$@\"";
    let program = ["setpriv", "--pdeathsig", "KILL", "--", "sh", "-c", script];
    let command = by(vpc, &program, &["monitor"]);
    let socket = Stdio::from(OwnedFd::from(listener));
    let monitor = Daemon::start_with(&vpc.router, command, vpc.directory(), socket);
    let present = vpc.directory().join("run/tally.json");
    eventually("the monitor", || present.exists());
    monitor
}

/// All that comes back for these bytes; empty where the connection ends before.
fn ask(path: &std::path::Path, bytes: &[u8]) -> String {
    let mut stream = UnixStream::connect(path).unwrap();
    // Only so that the test cannot hang.
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let mut answer = Vec::new();
    let _ = stream.write_all(bytes);
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8(answer).unwrap()
}

const GET: &[u8] = b"GET /metrics HTTP/1.1\r\nHost: router\r\n\r\n";

pub fn metrics_are_served_on_a_socket_whoever_else_is_connected() {
    let vpc = vpc_with(NOTE);
    let path = vpc.directory().join("metrics.sock");
    let mut monitor = monitor(&vpc, UnixListener::bind(&path).unwrap());
    let answer = ask(&path, GET);
    let (head, body) = answer
        .split_once("\r\n\r\n")
        .unwrap_or_else(|| panic!("{answer:?}"));
    assert!(
        head.starts_with("HTTP/1.0 200 OK\r\nContent-Type: text/plain; version=0.0.4"),
        "{head}"
    );
    assert!(
        head.contains(&format!("Content-Length: {}", body.len())),
        "{head}"
    );
    let seen = samples(body);
    assert_eq!(value(&seen, "kylin_vr_monitor_running", &[]), Some(1.0));
    assert_eq!(value(&seen, "kylin_vr_drift_repairs_total", &[]), Some(0.0));
    assert!(value(&seen, "kylin_vr_reconciles_total", &[("result", "unchanged")]) >= Some(1.0));

    assert!(ask(&path, b"GET /secret HTTP/1.1\r\n\r\n").starts_with("HTTP/1.0 404 "));
    assert!(ask(&path, b"DELETE / HTTP/1.1\r\n\r\n").starts_with("HTTP/1.0 400 "));
    assert!(ask(&path, &[b'x'; 100_000]).starts_with("HTTP/1.0 400 ") || monitor.is_running());
    // A client that never asks, one that never reads, and more than there is room for: those behind them wait no longer
    // than the monitor's patience, and the router's work is done meanwhile.
    let silent: Vec<UnixStream> = (0..4).map(|_| UnixStream::connect(&path).unwrap()).collect();
    let mut deaf = UnixStream::connect(&path).unwrap();
    deaf.write_all(GET).unwrap();
    vpc.router
        .nft("delete element ip kylin_vr eip_to_vm { 10.90.2.250 }");
    eventually("the repair", || vpc.kylin_vr(&["status"]).code == 0);
    eventually("the repair in the metrics", || {
        let answer = ask(&path, GET);
        let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        !body.is_empty() && value(&samples(body), "kylin_vr_drift_repairs_total", &[]) >= Some(1.0)
    });
    let crowd: Vec<UnixStream> = (0..50).map(|_| UnixStream::connect(&path).unwrap()).collect();
    eventually("an answer behind a crowd", || {
        ask(&path, GET).starts_with("HTTP/1.0 200 ")
    });
    drop((silent, deaf, crowd));
    // The same by the command, from what the monitor keeps.
    let run = vpc.kylin_vr(&["metrics"]);
    assert!(
        value(&samples(&run.stdout), "kylin_vr_drift_repairs_total", &[]) >= Some(1.0),
        "{}",
        run.stdout
    );
    assert!(monitor.is_running(), "{}", monitor.log());
}
