//! Many flows from VMs without an elastic IP to one destination: source ports run out, it is said, and a pool helps.

use std::fs;
use std::io::ErrorKind;
use std::net::{SocketAddrV4, UdpSocket};
use std::process::Command;
use std::time::Duration;

use lab::{ArpWatch, Extent, Flood, Icmp, Namespace, Nic, Tcp, Vpc};
use serde_json::Value;

use crate::configs::{expect, full, said, vpc, vpc_with};
use crate::confirm::eventually;
use crate::tracked::ping;

/// How many flows the two VMs begin together: more than one address has source ports.
const ALL: u64 = 80_000;
/// Of these the first one's: few ports are left then, and nothing is lost yet.
const MOST: u64 = 50_000;
/// After so many of the second one's the kernel's counters are looked at.
const STEP: u64 = 100;
/// So many of the first one's at once: on a busy machine they wait in a queue of the processor, which is 1,000 long
/// (net.core.netdev_max_backlog).
const BURST: u64 = 500;
/// The source ports of one address, by the kernel's own arithmetic.
const PORTS: u64 = 65_535 - 1024 + 1;
const SINK: &str = "198.51.100.10:9";

fn file(more: &str) -> String {
    let (external, inside) = (Nic::External.mac(), Nic::SubnetA.mac());
    format!(
        "if_list:
  - {{ipaddr: 10.90.3.37, prefix: 24, mac: {external}, gateway: 10.90.3.1}}
  - {{ipaddr: 192.168.100.254, prefix: 24, mac: {inside}}}
{more}
"
    )
}

/// A router that forgets no flow by itself, and a client that counts the datagrams to [`SINK`] and answers none.
fn router() -> Vpc {
    let vpc = vpc_with(&file(""));
    vpc.router
        .set_sysctl("net/netfilter/nf_conntrack_udp_timeout", "3600");
    vpc.client.nft(
        "table ip sink {
           counter arrived { }
           chain in { type filter hook prerouting priority -300; udp dport 9 counter name arrived drop; }
         }",
    );
    // Everybody on the way knows everybody: nothing waits for ARP.
    for vm in [&vpc.a1, &vpc.a2] {
        assert!(ping(vm, "198.51.100.10"));
    }
    vpc
}

/// New flows of a VM to [`SINK`].
fn flood(vm: &Namespace, address: [u8; 4]) -> Flood {
    let sink: SocketAddrV4 = SINK.parse().unwrap();
    Flood::new(vm, "eth0", Nic::SubnetA.mac(), vec![sink]).from_address(address.into())
}

/// So many from the first VM.
fn flood_from_the_first(vpc: &Vpc, flows: u64) {
    let flood = flood(&vpc.a1, [192, 168, 100, 190]);
    flood_in_steps(vpc, flood, flows, BURST, |_| ());
}

/// So many from the second one; `after` is called after every few, with their number so far.
fn flood_from_the_second(vpc: &Vpc, flows: u64, after: impl FnMut(u64)) {
    let flood = flood(&vpc.a2, [192, 168, 100, 191]);
    flood_in_steps(vpc, flood, flows, STEP, after);
}

/// Sends so many, and waits after each few until every one has arrived or was counted as lost.
fn flood_in_steps(vpc: &Vpc, mut flood: Flood, flows: u64, step: u64, mut after: impl FnMut(u64)) {
    let over = || arrived(vpc) + counter(vpc, "insert_failed");
    let before = over();
    let mut sent = 0;
    while sent < flows {
        let next = step.min(flows - sent);
        assert_eq!(flood.send(Extent::Frames(next)).0, next);
        sent += next;
        eventually("the end of every new flow", || over() >= before + sent);
        after(sent);
    }
}

/// How many datagrams came to [`SINK`].
fn arrived(vpc: &Vpc) -> u64 {
    let mut list = Command::new("nft");
    list.args(["-j", "list", "counter", "ip", "sink", "arrived"]);
    let listed: Value = serde_json::from_slice(&vpc.client.output(list).stdout).unwrap();
    listed["nftables"][1]["counter"]["packets"].as_u64().unwrap()
}

/// A counter of the router's conntrack, of all processors.
fn counter(vpc: &Vpc, name: &str) -> u64 {
    let path = "/proc/thread-self/net/stat/nf_conntrack";
    let table = vpc.router.run(|| fs::read_to_string(path).unwrap());
    let column = table.split_whitespace().position(|word| word == name).unwrap();
    let rows = table.lines().skip(1);
    rows.map(|row| u64::from_str_radix(row.split_whitespace().nth(column).unwrap(), 16).unwrap())
        .sum()
}

fn status(vpc: &Vpc) -> (Value, String) {
    let json = vpc.kylin_vr(&["status", "--json"]).stdout;
    let text = vpc.kylin_vr(&["status"]).stdout;
    (serde_json::from_str(&json).unwrap(), text)
}

pub fn source_ports_run_out_and_status_says_so_and_a_pool_of_two_is_enough() {
    let vpc = router();
    let (quiet, text) = status(&vpc);
    assert_eq!(quiet["source_ports"][0]["in_use"], 0);
    assert!(!text.contains("snat_pool"), "{text}");

    // While nothing is lost yet, it is time to say so.
    flood_from_the_first(&vpc, MOST);
    assert_eq!((arrived(&vpc), counter(&vpc, "insert_failed")), (MOST, 0));
    let (said, text) = status(&vpc);
    assert_eq!(said["source_ports"][0]["in_use"], MOST);
    assert!(
        text.starts_with("ERROR: few source ports are left: 10.90.3.37 has"),
        "{text}"
    );

    // The ports of both are the same: each flow of the second one needs another port than its own.
    let mut lost = Vec::new();
    flood_from_the_second(&vpc, ALL - MOST, |sent| {
        lost.push((MOST + sent, counter(&vpc, "insert_failed")))
    });
    let arrived_without = arrived(&vpc);
    let (said, text) = status(&vpc);
    println!("flows begun, lost:");
    lost.iter()
        .step_by(20)
        .for_each(|(begun, lost)| println!("{begun} {lost}"));
    println!("{text}");
    assert_eq!(
        arrived_without, PORTS,
        "every port is found in the end, since many tried"
    );
    let ports = &said["source_ports"][0];
    assert_eq!(ports["address"], "10.90.3.37");
    assert_eq!(ports["in_use"], PORTS);
    assert_eq!(ports["of"], PORTS);
    assert_eq!(ports["towards"], "udp 198.51.100.10:9");
    // Every flow that did not get through is one that the kernel counts, and so do we.
    for name in ["insert_failed", "drop"] {
        assert_eq!(counter(&vpc, name), ALL - PORTS);
        assert_eq!(said["conntrack"][name], ALL - PORTS);
    }
    assert!(text.contains("10.90.3.37 has 64512 of 64512"), "{text}");
    assert!(text.contains("`snat_pool`"), "{text}");
    // A forwarded packet is dropped without a word; a program of the router's own is told.
    let refused = vpc.router.run(|| {
        let socket = UdpSocket::bind("10.90.3.37:5000").unwrap();
        socket.send_to(b"x", SINK).unwrap_err().kind()
    });
    assert_eq!(refused, ErrorKind::PermissionDenied);

    // The remedy, as it was said: two addresses. Flows by the old one end, and each VM is seen as one of its own.
    vpc.reload_ok(&file("snat_pool: [10.90.2.240-10.90.2.241]"));
    let (after, text) = status(&vpc);
    assert_eq!(after["conntrack"]["count"], 0, "{text}");
    flood_from_the_first(&vpc, ALL / 2);
    flood_from_the_second(&vpc, ALL / 2, |_| ());
    assert_eq!(arrived(&vpc) - PORTS, ALL);
    let (after, text) = status(&vpc);
    for (index, address) in ["10.90.2.240", "10.90.2.241"].into_iter().enumerate() {
        assert_eq!(after["source_ports"][index]["address"], address);
        assert_eq!(after["source_ports"][index]["in_use"], ALL / 2);
    }
    assert!(!text.contains("SOURCE PORTS LEFT"), "{text}");
}

pub fn a_pool_is_what_vms_without_an_eip_are_seen_as_and_it_goes_without_residue() {
    let vpc = vpc();
    let before = vpc.router.snapshot();
    let mut watch = ArpWatch::start(&vpc.upstream, "eth0");
    // By the last byte of a VM's address: a3 is 192, b2 is 11.
    let with_pool = full() + "snat_pool: [10.90.2.240, 10.90.3.37]\n";
    vpc.reload_ok(&with_pool);
    let new = "10.90.2.240".parse().unwrap();
    assert!(watch.wait_gratuitous(new, Duration::from_secs(10)).is_some());
    assert_eq!(vpc.who_has("10.90.2.240").as_deref(), Some(Nic::External.mac()));

    for (from, to, tcp) in [
        // Row 2, and rows 1 and 3, which have nothing to do with it.
        (&vpc.a3, "198.51.100.10", "client:80 sees 10.90.2.240"),
        (&vpc.b2, "198.51.100.10", "client:80 sees 10.90.3.37"),
        (&vpc.a3, "192.168.101.10", "b1:80 sees 192.168.100.192"),
        (&vpc.a1, "198.51.100.10", "client:80 sees 10.90.2.250"),
        // Rows 5 and 7.
        (&vpc.a3, "10.90.2.250", "a1:80 sees 10.90.2.240"),
        (&vpc.b2, "10.90.2.250", "a1:80 sees 10.90.3.37"),
        (&vpc.a3, "10.90.2.254", "a1:80 sees 10.90.2.240"),
    ] {
        assert_eq!(vpc.probe(from, Tcp, &format!("{to}:80"), &[]), tcp, "{to}");
    }
    let icmp = |from, to, expected: &str| assert_eq!(vpc.probe(from, Icmp, to, &[]), expected);
    icmp(&vpc.a3, "198.51.100.10", "client sees 10.90.2.240");
    icmp(&vpc.b1, "10.90.2.250", "a1 sees 10.90.2.240");
    // What comes from outside is for the router itself.
    icmp(&vpc.client, "10.90.2.240", "router sees 198.51.100.10");

    // A second run has nothing to do; without the pool all is as it was.
    expect(&vpc.reload_ok(&with_pool), 0, "nothing changed");
    vpc.reload_ok(&full());
    assert_eq!(
        vpc.probe(&vpc.a3, Tcp, "198.51.100.10:80", &[]),
        "client:80 sees 10.90.3.37"
    );
    assert_eq!(vpc.who_has("10.90.2.240"), None);
    vpc.reload_ok(&with_pool);
    vpc.reload_ok("if_list: []\n");
    before.assert_same(&vpc.router.snapshot());
}

pub fn how_many_flows_there_may_be_is_said_and_no_error_where_it_is_not_ours_to_set() {
    let vpc = vpc();
    let max = vpc.router.sysctl("net/netfilter/nf_conntrack_max");
    // By itself: nothing is tried, and nothing said.
    let run = vpc.reload_ok(&file(""));
    for name in ["nf_conntrack_max", "nf_conntrack_buckets"] {
        assert!(!said(&run).contains(name), "{}", said(&run));
    }
    let run = vpc.reload_ok(&file("conntrack_max: 1234567"));
    let note = format!("note: net.netfilter.nf_conntrack_max stays {max}, not 1234567 (conntrack_max)");
    assert!(said(&run).contains(&note), "{}", said(&run));
    // No note where it is that many already.
    let run = vpc.reload_ok(&file(&format!("conntrack_max: {max}")));
    assert!(!said(&run).contains("note"), "{}", said(&run));
    assert_eq!(status(&vpc).0["conntrack"]["max"].to_string(), max);
    assert_eq!(vpc.router.sysctl("net/netfilter/nf_conntrack_max"), max);
}
