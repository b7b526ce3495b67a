//! Streams through entries that nothing changes for, over many reloads that change others: nothing is lost.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::socket::{setsockopt, sockopt};

use crate::configs::{NOTE, vpc_with};
use crate::tracked::replies;

const RELOADS: u32 = 200;

/// 5,000 datagrams a second.
const BETWEEN_DATAGRAMS: Duration = Duration::from_micros(200);
/// How long senders sleep.
const PACE: Duration = Duration::from_millis(1);

/// A receive buffer that holds all that comes while the receiver does not run: what is lost is lost before.
const BUFFER: usize = 256 * 1024 * 1024;

/// A file of the round: entries that come and go, move and shift, beside those of the streams.
fn text(round: u32) -> String {
    let head = NOTE.split("eip_list:").next().unwrap();
    let (moves, shift) = (190 + 3 * (round % 2), 100 + round % 7);
    let comes = if round.is_multiple_of(2) {
        String::new()
    } else {
        format!(
            "  - {{eip: 10.90.2.{}, vm-ip: 192.168.100.{}}}\n",
            100 + round % 50,
            10 + round % 50
        )
    };
    format!(
        "{head}eip_list:
  - {{eip: 10.90.2.250, vm-ip: 192.168.100.{moves}}}
  - {{eip: 10.90.2.251, vm-ip: 192.168.100.191}}
{comes}port_forward_list:
  - {{eip: 10.90.2.254, protocal: udp, port: 10, end_port: {}, vm-port: {shift}, vm-ip: 192.168.100.192}}
  - {{eip: 10.90.2.254, protocal: tcp, port: 7000, vm-port: 7001, vm-ip: 192.168.100.191}}
",
        20 + round % 3
    )
}

/// Datagrams on their way at most. On a busy machine those between two namespaces wait in a queue of the processor, which
/// drops what comes beyond net.core.netdev_max_backlog (1,000 by default) before the router has seen it.
const MOST_ON_THE_WAY: u64 = 256;

/// Sends numbered datagrams until told to stop, as many as are due by the clock and as the receiver keeps up with; returns
/// how many.
fn send_datagrams(socket: &UdpSocket, received: &AtomicU64, stop: &AtomicBool) -> u64 {
    let (start, mut number) = (Instant::now(), 0u64);
    while !stop.load(Ordering::Relaxed) {
        while u128::from(number) < start.elapsed().as_micros() / BETWEEN_DATAGRAMS.as_micros()
            && number < received.load(Ordering::Relaxed) + MOST_ON_THE_WAY
        {
            socket.send(&number.to_be_bytes()).unwrap();
            number += 1;
        }
        thread::sleep(PACE);
    }
    number
}

/// Receives datagrams until none comes for a while after the end, and counts them; returns how often each number came.
fn receive_datagrams(socket: &UdpSocket, received: &AtomicU64) -> Vec<u8> {
    let mut seen = Vec::new();
    let mut bytes = [0; 8];
    while lab::uninterrupted(|| socket.recv(&mut bytes)).is_ok() {
        let number = u64::from_be_bytes(bytes) as usize;
        if number == usize::MAX {
            break;
        }
        received.fetch_add(1, Ordering::Relaxed);
        seen.resize(seen.len().max(number + 1), 0u8);
        seen[number] = seen[number].saturating_add(1);
    }
    seen
}

/// Writes numbers until told to stop, and then closes; returns how many.
fn write_numbers(mut stream: TcpStream, stop: &AtomicBool) -> u64 {
    let mut number = 0u64;
    while !stop.load(Ordering::Relaxed) {
        stream.write_all(&number.to_be_bytes()).unwrap();
        number += 1;
        thread::sleep(PACE);
    }
    number
}

/// Reads numbers to the end; returns how many came, each in its place.
fn read_numbers(mut stream: TcpStream) -> u64 {
    let mut next = 0u64;
    let mut bytes = [0; 8];
    loop {
        match stream.read_exact(&mut bytes) {
            Ok(()) => assert_eq!(u64::from_be_bytes(bytes), next),
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => return next,
            Err(error) => panic!("after {next} numbers: {error}"),
        }
        next += 1;
    }
}

pub fn streams_run_through_200_reloads_that_change_others() {
    let vpc = vpc_with(&text(0));
    vpc.settle();
    // A stream of datagrams to an EIP, one of TCP through a forward, and one from a masqueraded VM.
    let sink = vpc.a2.run(|| UdpSocket::bind("0.0.0.0:6000")).unwrap();
    setsockopt(&sink, sockopt::RcvBufForce, &BUFFER).unwrap();
    sink.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let source = vpc.client.run(|| UdpSocket::bind("0.0.0.0:6001")).unwrap();
    source.connect("10.90.2.251:6000").unwrap();
    let connect = |listen: &lab::Namespace, at: &str, from: &lab::Namespace, to: &str| {
        let listener = listen.run(|| TcpListener::bind(at)).unwrap();
        let stream = from.run(|| TcpStream::connect(to)).unwrap();
        stream.set_nodelay(true).unwrap();
        let accepted = listener.accept().unwrap().0;
        accepted.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        (stream, accepted)
    };
    let (in_stream, in_sink) = connect(&vpc.a2, "0.0.0.0:7001", &vpc.client, "10.90.2.254:7000");
    let (out_stream, out_sink) = connect(&vpc.client, "0.0.0.0:7002", &vpc.a3, "198.51.100.10:7002");

    let probe = vpc.client.run(|| UdpSocket::bind("0.0.0.0:6002")).unwrap();
    let (stop, came, start) = (AtomicBool::new(false), AtomicU64::new(0), Instant::now());
    let sources = [in_stream, out_stream];
    thread::scope(|scope| {
        let datagrams = scope.spawn(|| send_datagrams(&source, &came, &stop));
        let received = scope.spawn(|| receive_datagrams(&sink, &came));
        let written = sources.map(|stream| scope.spawn(|| write_numbers(stream, &stop)));
        let read = [in_sink, out_sink].map(|stream| scope.spawn(move || read_numbers(stream)));
        let reloads = scope.spawn(|| {
            for round in 0..RELOADS {
                // Flows of what changes with this reload: gone with it.
                let (moved, shifted) = (
                    "198.51.100.10 -> 10.90.2.250:9",
                    "198.51.100.10 -> 10.90.2.254:15",
                );
                for to in ["10.90.2.250:9", "10.90.2.254:15"] {
                    let _ = probe.send_to(b"x", to);
                }
                let before = text(round);
                for original in [moved, shifted] {
                    assert_eq!(replies(&vpc, "udp", original).len(), 1, "{original}\n{before}");
                }
                vpc.reload_ok(&text(round + 1));
                for original in [moved, shifted] {
                    assert_eq!(replies(&vpc, "udp", original), [""; 0], "round {round}\n{before}");
                }
            }
        });
        let reloaded = reloads.join();
        stop.store(true, Ordering::Relaxed);
        let sent = datagrams.join().unwrap();
        // The last one says so, some times over.
        for _ in 0..3 {
            source.send(&u64::MAX.to_be_bytes()).unwrap();
        }
        let received = received.join().unwrap();
        let written = written.map(|thread| thread.join().unwrap());
        let read = read.map(|thread| thread.join().unwrap());
        if let Err(panic) = reloaded {
            std::panic::resume_unwind(panic);
        }
        let missing: Vec<usize> = (0..sent as usize)
            .filter(|number| received.get(*number) != Some(&1))
            .collect();
        assert!(
            missing.is_empty(),
            "{} of {sent} datagrams did not come once: {:?}",
            missing.len(),
            &missing[..missing.len().min(20)]
        );
        assert!(
            received.len() as u64 == sent && sent > u64::from(RELOADS),
            "{sent} sent"
        );
        assert_eq!(read, written);
        println!(
            "{RELOADS} reloads in {:?}: {sent} datagrams and {written:?} writes of TCP came, in order",
            start.elapsed()
        );
    });
}
