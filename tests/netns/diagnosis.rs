//! `kylin-vr trace` on routers that something is wrong with: it names the cause.

use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::process::Stdio;
use std::time::Duration;

use lab::{Namespace, Nic, Run, Vpc, send_as_it_is};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::configs::{NOTE, by, expect, full, said, vpc, vpc_with};
use crate::doubtful::{A3, CLIENT, of_no_connection};

const FROM_CLIENT: &str = "--from 198.51.100.10 --to 10.90.2.250 tcp 22";

fn trace(vpc: &Vpc, words: &str) -> Run {
    let mut arguments = vec!["trace"];
    arguments.extend(words.split(' '));
    vpc.kylin_vr(&arguments)
}

/// The same while somebody sends such packets.
fn trace_while(vpc: &Vpc, words: &str, send: impl Fn()) -> Run {
    std::thread::scope(|scope| {
        let run = scope.spawn(|| trace(vpc, words));
        while !run.is_finished() {
            send();
            std::thread::sleep(Duration::from_millis(50));
        }
        run.join().unwrap()
    })
}

/// Somebody tries to open a connection.
fn knock<'n>(from: &'n Namespace, to: &str) -> impl Fn() + 'n {
    let to: SocketAddr = to.parse().unwrap();
    move || {
        from.run(|| drop(TcpStream::connect_timeout(&to, Duration::from_millis(300))));
    }
}

pub fn where_nothing_is_wrong_a_packet_and_its_answer_are_followed() {
    let vpc = vpc_with(&full());
    vpc.settle();
    let run = trace_while(
        &vpc,
        &format!("{FROM_CLIENT} --live=30"),
        knock(&vpc.client, "10.90.2.250:22"),
    );
    expect(
        &run,
        0,
        "delivered to 192.168.100.190 tcp 22 by lan3, seen as coming from 198.51.100.10",
    );
    expect(
        &run,
        0,
        "in the kernel: the kernel does the same, and nothing wrong is seen here",
    );
    expect(
        &run,
        0,
        "one came, and left as 198.51.100.10 > 192.168.100.190:22",
    );
    expect(&run, 0, "192.168.100.190 answered, and the answer went back");
    expect(&run, 0, "192.168.100.190 answers ARP on lan3");
    expect(&run, 0, "flows are tracked");
    // A hairpin, with both addresses translated.
    let run = trace_while(
        &vpc,
        "--from 192.168.100.190 --to 10.90.2.254 tcp 11 --live=30",
        knock(&vpc.a1, "10.90.2.254:11"),
    );
    expect(&run, 0, "one came, and left as 10.90.2.250 > 192.168.100.192:101");
    expect(&run, 0, "192.168.100.192 answered, and the answer went back");
    // What the router itself sends (the kernel's own choice of a source is the elastic IP), and what it takes.
    let run = trace_while(
        &vpc,
        "--from 10.90.2.250 --to 10.90.2.250 tcp 22 --live=30",
        knock(&vpc.router, "10.90.2.250:22"),
    );
    expect(&run, 0, "one came, and left as 10.90.2.250 > 192.168.100.190:22");
    let run = trace_while(
        &vpc,
        "--from 198.51.100.10 --to 10.90.2.254 tcp 8081 --live=30",
        knock(&vpc.client, "10.90.2.254:8081"),
    );
    expect(&run, 0, "one came, and the router itself took it");
    assert!(!vpc.router.nft("list tables").contains("kylin_vr_trace"));
}

/// What our own rule drops is not another program's doing.
pub fn what_is_of_no_connection_is_called_so() {
    let vpc = vpc_with(&full());
    vpc.settle();
    let end = &of_no_connection(A3, CLIENT)[0];
    let words = "--from 192.168.100.192 --to 198.51.100.10 tcp 80 --live=30";
    let run = trace_while(&vpc, words, || send_as_it_is(&vpc.a3, end).unwrap());
    expect(&run, 1, "the packet is of no connection that the kernel tracks");
}

pub fn an_interrupted_trace_leaves_nothing() {
    let vpc = vpc_with(NOTE);
    let before = vpc.router.nft("list tables");
    let words = format!("trace {FROM_CLIENT} --live=50");
    let mut child = vpc.router.run_with_sysfs(|| {
        let mut command = vpc.command();
        command
            .args(words.split(' '))
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        command.spawn().unwrap()
    });
    while !vpc.router.nft("list tables").contains("kylin_vr_trace") {
        assert!(child.try_wait().unwrap().is_none(), "it ended before it waited");
        std::thread::sleep(Duration::from_millis(20));
    }
    // While one waits, another one says so, and still looks at all the rest.
    expect(
        &trace(&vpc, &format!("{FROM_CLIENT} --live=1")),
        0,
        "another `kylin-vr trace --live` waits for a packet",
    );
    // A reload is not in its way.
    expect(&vpc.kylin_vr(&["reload"]), 0, "nothing changed");
    kill(Pid::from_raw(child.id().try_into().unwrap()), Signal::SIGINT).unwrap();
    child.wait().unwrap();
    // The kernel releases the socket, and the table with it, a moment after the process.
    let gone = (0..200).any(|_| {
        std::thread::sleep(Duration::from_millis(20));
        vpc.router.nft("list tables") == before
    });
    assert!(gone, "{}", vpc.router.nft("list tables"));
}

pub fn fault_01_a_wrong_gateway() {
    let vpc = vpc_with(&NOTE.replace("gateway: 10.90.3.1", "gateway: 10.90.3.99"));
    let run = trace(&vpc, "--from 192.168.100.192 --to 198.51.100.10 udp 53 --live=0");
    expect(
        &run,
        1,
        "in the kernel: the gateway 10.90.3.99 does not answer ARP on wan7",
    );
    expect(&run, 1, "is the gateway of if_list[0], line 4, right");
}

pub fn fault_02_a_missing_nic() {
    let vpc = vpc_with(NOTE);
    vpc.unplug(Nic::SubnetA);
    for live in ["", " --live=0"] {
        let run = trace(&vpc, &format!("{FROM_CLIENT}{live}"));
        expect(
            &run,
            0,
            "192.168.100.190 is in the subnet of if_list[1], whose NIC is not there, line 8",
        );
        expect(
            &run,
            0,
            "-> have the hypervisor plug in the NIC 52:54:84:11:00:03 of if_list[1]",
        );
        expect(&run, 0, "pending       the NIC 52:54:84:11:00:03 is not there");
    }
}

pub fn fault_03_a_vm_ip_in_no_subnet() {
    let vpc = vpc_with(&NOTE.replace("vm-ip: 192.168.100.191", "vm-ip: 192.168.200.5"));
    let run = trace(&vpc, "--from 198.51.100.10 --to 10.90.2.251 tcp 22");
    expect(
        &run,
        0,
        "the vm-ip 192.168.200.5 of eip_list[1], line 14, is in no subnet of the VPC",
    );
}

pub fn fault_04_an_eip_that_is_not_routed_to_the_router() {
    let vpc = vpc_with(NOTE);
    vpc.upstream.ip("route add blackhole 10.90.2.250/32");
    let words = format!("{FROM_CLIENT} --live=2");
    let run = trace_while(&vpc, &words, knock(&vpc.client, "10.90.2.250:22"));
    expect(&run, 0, "no such packet came in by wan7 within 2 s");
    expect(&run, 0, "10.90.2.250 is not routed to this router");
    expect(
        &run,
        0,
        "-> send one meanwhile, from 198.51.100.10; outside, 10.90.2.250 must be routed to 10.90.3.37",
    );
    // It is there, and answers for it: one that asks by ARP is not to blame it.
    expect(&run, 0, "10.90.2.250 to the router itself");
    vpc.router.set_sysctl("net/ipv4/conf/all/arp_ignore", "1");
    let run = trace(&vpc, &format!("{FROM_CLIENT} --live=0"));
    expect(
        &run,
        1,
        "the router does not answer ARP for 10.90.2.250 on wan7 (net.ipv4.conf.all.arp_ignore is 1)",
    );
}

pub fn fault_05_forwarding_is_off() {
    let vpc = vpc_with(NOTE);
    vpc.router.set_sysctl("net/ipv4/ip_forward", "0");
    let words = format!("{FROM_CLIENT} --live=30");
    let run = trace_while(&vpc, &words, knock(&vpc.client, "10.90.2.250:22"));
    expect(&run, 1, "in the kernel: forwarding is off");
    expect(&run, 1, "-> `kylin-vr reload` puts it right");
    expect(&run, 1, "the packet was lost by the routing");
    expect(&run, 1, "a reload would change the sysctl net.ipv4.ip_forward");
    vpc.kylin_vr(&["reload"]);
    vpc.router.set_sysctl("net/ipv4/conf/wan7/forwarding", "0");
    let run = trace(&vpc, &format!("{FROM_CLIENT} --live=0"));
    expect(
        &run,
        1,
        "forwarding is off for what comes in by wan7 (net.ipv4.conf.wan7.forwarding is 0)",
    );
}

pub fn fault_06_a_foreign_rule_that_drops() {
    let vpc = vpc_with(NOTE);
    vpc.router.nft("table inet fw { chain c { type filter hook forward priority 0; ip daddr 192.168.100.190 tcp dport 22 drop; }; }");
    let words = format!("{FROM_CLIENT} --live=30");
    let run = trace_while(&vpc, &words, knock(&vpc.client, "10.90.2.250:22"));
    let rule = vpc.router.nft("list table inet fw");
    assert!(rule.contains("drop"), "it is still there: {rule}");
    expect(
        &run,
        1,
        "in the kernel: the packet is dropped by the rule with handle ",
    );
    expect(&run, 1, " of chain c in table inet fw");
    expect(&run, 1, "table inet fw, chain c stands at forward");
    // A policy, of a table of another family; and one that drops the answer only.
    vpc.router.nft("delete table inet fw; table ip fw { chain p { type filter hook forward priority 10; policy drop; }; }");
    let run = trace_while(&vpc, &words, knock(&vpc.client, "10.90.2.250:22"));
    expect(
        &run,
        1,
        "the packet is dropped by the policy of chain p in table ip fw",
    );
    vpc.router.nft("delete table ip fw; table ip fw { chain a { type filter hook forward priority 10; tcp sport 22 drop; }; }");
    let run = trace_while(&vpc, &words, knock(&vpc.client, "10.90.2.250:22"));
    expect(&run, 1, "the answer is dropped by the rule with handle ");
    // Before connection tracking, and before translation.
    vpc.router.nft("delete table ip fw; table ip raw { chain r { type filter hook prerouting priority -300; ip daddr 10.90.2.250 drop; }; }");
    let run = trace_while(&vpc, &words, knock(&vpc.client, "10.90.2.250:22"));
    expect(&run, 1, " of chain r in table ip raw");
}

pub fn fault_07_a_silent_vm() {
    let vpc = vpc_with(NOTE);
    // It had answered before.
    knock(&vpc.client, "10.90.2.250:22")();
    vpc.a1.ip("link set eth0 down");
    let run = trace(&vpc, &format!("{FROM_CLIENT} --live=0"));
    expect(
        &run,
        1,
        "in the kernel: 192.168.100.190 does not answer ARP on lan3",
    );
    expect(&run, 1, "is the VM running, does it have this address");
    let other = trace(&vpc, "--from 198.51.100.10 --to 10.90.2.251 tcp 22 --live=0");
    expect(&other, 0, "192.168.100.191 answers ARP on lan3");
}

pub fn fault_09_a_stale_flow() {
    let vpc = vpc_with(NOTE);
    let flow = vpc.tcp_flow(&vpc.client, "10.90.2.250:22", &[]).unwrap();
    let moved = NOTE.replace(
        "vm-ip: 192.168.100.190\n  - eip: 10.90.2.251",
        "vm-ip: 192.168.100.192\n  - eip: 10.90.2.251",
    );
    assert_ne!(moved, NOTE);
    vpc.reload_ok(&(moved.clone() + "\nconntrack: keep\n"));
    assert!(flow.ping_pong());
    let run = trace(&vpc, &format!("{FROM_CLIENT} --live=0"));
    expect(&run, 1, "delivered to 192.168.100.192 tcp 22");
    expect(
        &run,
        1,
        "in the kernel: a flow that began before goes on as it began: 198.51.100.10 > 192.168.100.190:22, not 198.51.100.10 > 192.168.100.192:22",
    );
    expect(
        &run,
        1,
        "`conntrack -D --orig-src 198.51.100.10 --orig-dst 10.90.2.250` ends it",
    );
}

pub fn fault_10_a_port_that_is_not_forwarded() {
    let vpc = vpc_with(&full());
    let run = trace(&vpc, "--from 198.51.100.10 --to 10.90.2.254 tcp 8081");
    expect(
        &run,
        0,
        "no forward for tcp 8081 on 10.90.2.254; the nearest is port_forward_list[0], ports 80-82, line 20",
    );
    let run = trace(&vpc, "--from 198.51.100.10 --to 10.90.2.254 tcp 13");
    expect(
        &run,
        0,
        "the nearest is port_forward_list[1], ports 10-12, line 27",
    );
}

pub fn a_table_that_was_changed_is_the_cause() {
    let vpc = vpc_with(NOTE);
    vpc.router
        .nft("delete element ip kylin_vr eip_to_vm { 10.90.2.250 }");
    let run = trace(&vpc, &format!("{FROM_CLIENT} --live=0"));
    expect(
        &run,
        1,
        "the table in the kernel is not that of the configuration",
    );
    vpc.kylin_vr(&["reload"]);
    vpc.router
        .ip("route add 192.168.100.190/32 via 10.90.3.9 dev wan7");
    let run = trace(&vpc, &format!("{FROM_CLIENT} --live=0"));
    expect(
        &run,
        1,
        "route: 192.168.100.190 by wan7 via 10.90.3.9, not 192.168.100.190 by lan3",
    );
    vpc.router.ip("route del 192.168.100.190/32");
    vpc.router.ip("rule add from 198.51.100.10 prohibit priority 7");
    let run = trace(&vpc, &format!("{FROM_CLIENT} --live=0"));
    expect(&run, 1, "is refused (permission denied)");
}

pub fn its_arguments_and_its_exit_codes() {
    let vpc = vpc();
    expect(&trace(&vpc, FROM_CLIENT), 0, "nothing is configured");
    expect(
        &trace(&vpc, FROM_CLIENT),
        0,
        "no configuration was accepted on this VM yet",
    );
    vpc.reload_ok(NOTE);
    // By what was accepted, whatever the file says now.
    vpc.write_config("if_list: 5\n");
    expect(&trace(&vpc, FROM_CLIENT), 0, "delivered to 192.168.100.190");
    for (words, code, said) in [
        (
            "--from vm --to 10.90.2.250 tcp 22",
            2,
            "--from: vm: expected an IPv4 address",
        ),
        ("--from 1.1.1.1 --to 10.90.2.250 tcp", 2, "port: missing"),
        (
            "--from 1.1.1.1 --to 10.90.2.250 icmp 8",
            2,
            "port: 8: expected none",
        ),
        ("--to 10.90.2.250 tcp 22", 2, "--from <ADDRESS>"),
        (
            "--from 1.1.1.1 --to 10.90.2.250 icmp /nonexistent",
            1,
            "read /nonexistent: no such file",
        ),
    ] {
        expect(&trace(&vpc, words), code, said);
    }
    let given = |text: &str, words: &str| {
        let words = format!("trace {words}");
        vpc.kylin_vr_with_input(&words.split(' ').collect::<Vec<_>>(), text)
    };
    expect(
        &given("if_list: 5\n", &format!("{FROM_CLIENT} -")),
        3,
        "if_list: 5: expected a list",
    );
    let moved = NOTE.replace("vm-ip: 192.168.100.191", "vm-ip: 192.168.100.7");
    let run = given(&moved, "--from 198.51.100.10 --to 10.90.2.251 icmp -");
    expect(&run, 0, "delivered to 192.168.100.7 (icmp) by lan3");
    let run = given(&moved, "--from 198.51.100.10 --to 10.90.2.251 icmp - --live=0");
    expect(&run, 1, "this is not the configuration that was accepted last");

    // Without any rights, by a file of one's own.
    let output = vpc.router.run_with_sysfs(|| {
        let nobody = [
            "setpriv",
            "--reuid=65534",
            "--regid=65534",
            "--clear-groups",
            "--inh-caps=-all",
        ];
        let words = format!("trace {FROM_CLIENT} -");
        let mut command = by(&vpc, &nobody, &words.split(' ').collect::<Vec<_>>());
        let path = vpc.directory().join("note.yaml");
        std::fs::write(&path, NOTE).unwrap();
        command
            .stdin(std::fs::File::open(path).unwrap())
            .output()
            .unwrap()
    });
    let text =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() && text.contains("delivered to 192.168.100.190"),
        "{text}"
    );
}

pub fn its_document_says_all_of_it() {
    let vpc = vpc_with(NOTE);
    let json = |words: &str, send: &dyn Fn()| -> serde_json::Value {
        let run = trace_while(&vpc, words, send);
        let value: serde_json::Value =
            serde_json::from_str(&run.stdout).unwrap_or_else(|error| panic!("{error}: {}", said(&run)));
        assert_eq!(value["exit_code"], run.code);
        value
    };
    let document = json("--from 192.168.100.190 --to 10.90.2.251 tcp 443 --json", &|| ());
    assert_eq!(document["outcome"], "delivered");
    assert_eq!(document["destination"], "192.168.100.191");
    assert_eq!(document["destination_port"], 443);
    assert_eq!(document["source"], "10.90.2.250");
    assert_eq!(document["decided_by"][1]["path"], "eip_list[1]");
    assert_eq!(document["decided_by"][1]["line"], 14);
    assert_eq!(document["leaves"]["link"], "lan3");
    assert!(document.get("live").is_none());
    let datagrams = || {
        vpc.client.run(|| {
            let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
            let _ = socket.send_to(b"x", "10.90.2.250:9");
        });
    };
    vpc.router
        .nft("table ip fw { chain c { type filter hook forward priority 0; udp dport 9 drop; }; }");
    let document = json(
        "--from 198.51.100.10 --to 10.90.2.250 udp 9 --live=30 --json",
        &datagrams,
    );
    assert_eq!(
        (&document["outcome"], &document["live"]["agrees"]),
        (&"delivered".into(), &false.into())
    );
    let sentence = document["live"]["sentence"].as_str().unwrap();
    assert!(sentence.contains("chain c in table ip fw"), "{sentence}");
}
