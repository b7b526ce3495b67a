//! The packet table through a VM: as in `tests/netns`, but nobody can listen in the router.

use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::thread;
use std::time::{Duration, Instant};

use lab::guest::{Machine, patience};
use lab::{Icmp, Namespace, Outcome, Protocol, Tcp, Vpc};

use crate::table::{TRANSLATED, table};

/// Tries every probe of every row, for [`full`](crate::configs::full), and says what is wrong.
pub fn check(vpc: &Vpc, machine: &Machine) {
    check_rows(vpc, machine, 1..=10, usize::MAX);
}

/// The first probe of each row: all of the ruleset in a moment.
pub fn check_briefly(vpc: &Vpc, machine: &Machine) {
    check_rows(vpc, machine, 1..=10, 1);
}

fn check_rows(vpc: &Vpc, machine: &Machine, rows: impl IntoIterator<Item = u8>, most: usize) {
    let mut table = table(vpc);
    let mut wrong = Vec::new();
    for row in rows {
        for (from, protocol, to, expected) in table.remove(&row).unwrap().into_iter().take(most) {
            let found = if std::ptr::eq(from, &vpc.router) {
                from_the_router(vpc, machine, protocol, to)
            } else {
                vpc.probe(from, protocol, to, &TRANSLATED).to_string()
            };
            let expected = as_seen_outside(protocol, to, expected);
            if found != expected {
                wrong.push(format!(
                    "row {row}: {protocol:?} to {to}: {found}, not {expected}"
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// A packet that the router takes for itself: its kernel says that nobody listens, or answers the ping.
fn as_seen_outside(protocol: Protocol, to: &str, expected: &str) -> String {
    let address: String = to.chars().take_while(|character| *character != ':').collect();
    match protocol {
        Icmp if expected.starts_with("router ") => Outcome::Answered(address.parse().unwrap()).to_string(),
        _ if expected.starts_with("router:") => Outcome::Refused.to_string(),
        // Whom a ping of the router reached is not seen: a reply from the address is enough.
        _ => expected.to_owned(),
    }
}

/// Sends from the guest itself, by bash's own network redirections, and says who got it.
fn from_the_router(vpc: &Vpc, machine: &Machine, protocol: Protocol, to: &str) -> String {
    let (address, port) = to.split_once(':').unwrap_or((to, "0"));
    if protocol == Icmp {
        let (host, source) = ping_seen(vpc, machine, address);
        return format!("{host} sees {source}");
    }
    let port = port.parse().unwrap();
    let mut ports = TRANSLATED.to_vec();
    ports.extend((!TRANSLATED.contains(&port)).then_some(port));
    let listeners: Vec<_> = everybody(vpc)
        .iter()
        .flat_map(|(name, namespace)| listen(name, namespace, protocol, &ports))
        .collect();
    let kind = if protocol == Tcp { "tcp" } else { "udp" };
    machine.sh(&format!(
        "timeout 20 bash -c 'exec 3<>/dev/{kind}/{address}/{port}; echo token >&3' || true"
    ));
    let end = Instant::now() + patience() / 10;
    while Instant::now() < end {
        for listener in &listeners {
            if let Some(source) = listener.heard() {
                return format!("{}:{} sees {}", listener.host, listener.port, source.ip());
            }
        }
        thread::sleep(Duration::from_millis(10));
    }
    Outcome::Lost.to_string()
}

/// Pings from the guest, and says who had to answer: the only one who has the address that it leads to.
fn ping_seen(vpc: &Vpc, machine: &Machine, address: &str) -> (String, Ipv4Addr) {
    let counts = || {
        everybody(vpc).map(|(_, namespace)| {
            let statistics = namespace.run(|| std::fs::read_to_string("/proc/thread-self/net/snmp").unwrap());
            echo_requests(&statistics)
        })
    };
    let before = counts();
    machine.sh(&format!("ping -n -c 1 -W 20 {address}"));
    let after = counts();
    let host = everybody(vpc)
        .iter()
        .zip(before.iter().zip(after))
        .find_map(|((name, _), (before, after))| (after > *before).then(|| (*name).to_owned()));
    // The source is the address that the guest has the route by.
    let route = machine.sh(&format!("ip route get {address}"));
    let source = route.split_whitespace().skip_while(|word| *word != "src").nth(1);
    (
        host.unwrap_or_else(|| "nobody".to_owned()),
        source.unwrap().parse().unwrap(),
    )
}

/// The counter `InEchos` of a namespace.
fn echo_requests(statistics: &str) -> u64 {
    let mut lines = statistics.lines().filter(|line| line.starts_with("Icmp: "));
    let (names, values) = (lines.next().unwrap(), lines.next().unwrap());
    let at = names.split(' ').position(|name| name == "InEchos").unwrap();
    values.split(' ').nth(at).unwrap().parse().unwrap()
}

fn everybody(vpc: &Vpc) -> [(&str, &Namespace); 8] {
    let hosts = [
        &vpc.client,
        &vpc.neighbour,
        &vpc.a1,
        &vpc.a2,
        &vpc.a3,
        &vpc.b1,
        &vpc.b2,
    ];
    let mut all = [("upstream", &vpc.upstream); 8];
    for (place, host) in all.iter_mut().zip(hosts) {
        *place = (&host.name, &host.namespace);
    }
    all
}

struct Heard {
    host: String,
    port: u16,
    socket: Socket,
}

enum Socket {
    Tcp(TcpListener),
    Udp(UdpSocket),
}

fn listen(name: &str, namespace: &Namespace, protocol: Protocol, ports: &[u16]) -> Vec<Heard> {
    namespace.run(|| {
        let open = |port: u16| {
            let address = (Ipv4Addr::UNSPECIFIED, port);
            if protocol == Tcp {
                let socket = TcpListener::bind(address)?;
                socket.set_nonblocking(true)?;
                return Ok(Socket::Tcp(socket));
            }
            let socket = UdpSocket::bind(address)?;
            socket.set_nonblocking(true)?;
            Ok(Socket::Udp(socket))
        };
        let listener = |&port: &u16| Heard {
            host: name.to_owned(),
            port,
            socket: open(port).unwrap_or_else(|error: std::io::Error| panic!("{name}:{port}: {error}")),
        };
        ports.iter().map(listener).collect()
    })
}

impl Heard {
    fn heard(&self) -> Option<SocketAddr> {
        match &self.socket {
            Socket::Tcp(socket) => {
                let (mut stream, source) = socket.accept().ok()?;
                let _ = stream.write_all(b"token\n");
                Some(source)
            }
            Socket::Udp(socket) => Some(socket.recv_from(&mut [0; 64]).ok()?.1),
        }
    }
}
