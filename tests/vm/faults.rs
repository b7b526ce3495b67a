//! Faults that no namespace can have, and what the commands say of them.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use lab::guest::{Machine, patience};
use lab::{Outcome, Tcp, Vpc};
use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::bench::{Bench, both_subnets, configure, eip_works};

/// The least that a file may allow.
const LIMIT: usize = 1024;

/// Connections from outside to a VM by its elastic IP: flows that the kernel does not drop to make room, since they are
/// answered.
struct Connections {
    listener: TcpListener,
    open: Vec<(TcpStream, TcpStream)>,
}

impl Connections {
    fn new(vpc: &Vpc) -> Connections {
        // Two descriptors each.
        let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
        setrlimit(Resource::RLIMIT_NOFILE, hard, hard).unwrap();
        Connections {
            listener: vpc.a1.run(|| TcpListener::bind("0.0.0.0:9000")).unwrap(),
            open: Vec::new(),
        }
    }

    /// Opens connections until so many are open or one finds no way; says whether all were opened.
    fn open(&mut self, vpc: &Vpc, until: usize) -> bool {
        let to = SocketAddr::from(([10, 90, 2, 250], 9000));
        while self.open.len() < until {
            let within = patience() / 20;
            let Ok(stream) = vpc.client.run(|| TcpStream::connect_timeout(&to, within)) else {
                return false;
            };
            let accepted = self.listener.accept().unwrap().0;
            self.open.push((stream, accepted));
        }
        true
    }
}

/// What a command prints, whatever it ends with.
fn prints(machine: &Machine, command: &str) -> String {
    let run = machine.try_sh(command, "");
    run.stdout + &run.stderr
}

#[track_caller]
fn says(printed: &str, expected: &str) {
    assert!(printed.contains(expected), "no {expected:?} in\n{printed}");
}

pub fn a_full_table_of_tracked_flows_is_named(bench: &Bench) {
    const TRACE: &str = "kylin-vr trace --from 198.51.100.10 --to 10.90.2.250 tcp 22 --live=0";
    let vpc = Vpc::without_router();
    let machine = bench.booted(&vpc);
    configure(&machine, &format!("conntrack_max: {LIMIT}\n{}", both_subnets()));
    eip_works(&vpc);
    says(&prints(&machine, TRACE), "flows are tracked");
    // Only what stays: flows that end by themselves would make room.
    machine.sh("conntrack -F");

    let mut connections = Connections::new(&vpc);
    assert!(connections.open(&vpc, LIMIT / 100 * 98));
    says(
        &prints(&machine, "kylin-vr status"),
        "connection tracking is nearly full: ",
    );
    says(
        &prints(&machine, TRACE),
        "the table of tracked flows is nearly full: ",
    );

    // More than there is room for: one of them is not tracked, so it is dropped.
    assert!(
        !connections.open(&vpc, LIMIT + 1),
        "the kernel tracks more than {LIMIT}"
    );
    assert_eq!(vpc.probe(&vpc.client, Tcp, "10.90.2.250:22", &[]), Outcome::Lost);
    let status = prints(&machine, "kylin-vr status");
    says(
        &status,
        &format!("connection tracking is full: {LIMIT} of {LIMIT} flows; new connections are dropped"),
    );
    says(&status, "raise `conntrack_max` in the file");
    let trace = prints(&machine, TRACE);
    says(
        &trace,
        &format!("the table of tracked flows is full ({LIMIT} of {LIMIT})"),
    );
    says(&trace, "raise `conntrack_max` in the file");
    says(
        &machine.sh("journalctl -k -b --no-pager"),
        "table full, dropping packet",
    );
    println!("{status}\n{trace}");

    // What they say helps: and those that were there lost nothing.
    configure(
        &machine,
        &format!("conntrack_max: {}\n{}", 2 * LIMIT, both_subnets()),
    );
    eip_works(&vpc);
    assert!(connections.open(&vpc, LIMIT + 1));
    let status = prints(&machine, "kylin-vr status");
    assert!(!status.contains("connection tracking"), "{status}");
    for (one, other) in &mut connections.open {
        exchange(one, other);
    }
}

/// A byte comes through.
fn exchange(one: &mut TcpStream, other: &mut TcpStream) {
    use std::io::{Read, Write};
    other.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    one.write_all(b"x").unwrap();
    let mut byte = [0];
    other.read_exact(&mut byte).unwrap();
    assert_eq!(&byte, b"x");
}
