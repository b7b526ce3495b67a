//! DHCP: real clients ask a real dnsmasq, through reloads, crashes and NICs that come and go.

use std::fs;
use std::net::{Ipv4Addr, UdpSocket};
use std::process::Command;

use lab::{DhcpClient, Nic, Run, Vpc, renew};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::configs::{by, expect, full, said, vpc, vpc_with};
use crate::monitor::{eventually, monitor};
use crate::watching::samples;

const OF_A: &str = "    dhcp: {range: [192.168.100.100, 192.168.100.103], dns: [10.90.3.38, 10.90.3.39], lease: 1h, domain: vpc.example}
    vm_list:
      - {vm-ip: 192.168.100.10, mac: '52:54:84:aa:64:be', name: web-1}
";
/// Without a range: only who is listed gets an address.
const OF_B: &str = "    dhcp: {lease: infinite}
    vm_list: [{vm-ip: 192.168.101.20, mac: '52:54:84:aa:65:0a'}]
";

/// The file with what is said of subnet A and of subnet B, each by lines of its entry.
fn file(of_a: &str, of_b: &str) -> String {
    let file = full()
        .replace("   - ipaddr", "  - ipaddr")
        .replace("     ", "    ");
    let with = |file: String, mac: &str, lines: &str| {
        let line = file.lines().find(|line| line.contains(mac)).unwrap().to_owned();
        file.replace(&line, format!("{line}\n{lines}").trim_end())
    };
    with(with(file, Nic::SubnetA.mac(), of_a), Nic::SubnetB.mac(), of_b)
}

fn both() -> String {
    file(OF_A, OF_B)
}

/// The process of the router's own dnsmasq.
fn server(vpc: &Vpc) -> Option<i32> {
    let pid = fs::read_to_string(vpc.directory().join("run/dhcp/dnsmasq.pid")).ok()?;
    let pid: i32 = pid.trim().parse().ok()?;
    let name = fs::read_to_string(format!("/proc/{pid}/comm")).ok()?;
    (name.trim() == "dnsmasq").then_some(pid)
}

fn status(vpc: &Vpc) -> (Run, Value) {
    let run = vpc.kylin_vr(&["status", "--json"]);
    let status = serde_json::from_str(&run.stdout).unwrap_or_else(|error| panic!("{error}: {}", said(&run)));
    (run, status)
}

pub fn vms_get_their_addresses_and_nobody_outside_gets_one() {
    let vpc = vpc_with(&both());
    let [a1, a2, b1, b2] = [&vpc.a1, &vpc.a2, &vpc.b1, &vpc.b2].map(|host| DhcpClient::new(host, "eth0"));
    // Listed: its own address and its name.
    let lease = a1.ask().expect("an address for a1");
    for (name, value) in [
        ("ip_address", "192.168.100.10"),
        ("subnet_mask", "255.255.255.0"),
        ("broadcast_address", "192.168.100.255"),
        ("routers", "192.168.100.254"),
        ("domain_name_servers", "10.90.3.38 10.90.3.39"),
        ("domain_name", "vpc.example"),
        ("interface_mtu", "1500"),
        ("host_name", "web-1"),
        ("dhcp_lease_time", "3600"),
        ("dhcp_server_identifier", "192.168.100.254"),
    ] {
        assert_eq!(lease.get(name), value, "{name}: {lease:?}");
    }
    // Not listed: one of the range.
    let lease = a2.ask().expect("an address for a2");
    let address: Ipv4Addr = lease.get("ip_address").parse().unwrap();
    assert!((100..=103).contains(&address.octets()[3]), "{lease:?}");
    // In the other subnet only who is listed, and of DNS nothing is said.
    let lease = b1.ask().expect("an address for b1");
    assert_eq!(lease.get("ip_address"), "192.168.101.20");
    assert_eq!(
        (lease.get("routers"), lease.get("domain_name_servers")),
        ("192.168.101.254", "")
    );
    assert_eq!(b2.ask(), None);
    // Outside nobody is answered, whoever asks.
    assert_eq!(DhcpClient::new(&vpc.neighbour, "eth0").ask(), None);
    assert_eq!(DhcpClient::new(&vpc.upstream, "eth0").ask(), None);
    // There is no other service.
    let mut command = Command::new("ss");
    command.args(["-Hlntup"]);
    let sockets = String::from_utf8(vpc.router.output(command).stdout).unwrap();
    let of_server = format!("pid={},", server(&vpc).unwrap());
    let sockets: Vec<&str> = sockets.lines().filter(|line| line.contains(&of_server)).collect();
    assert!(
        !sockets.is_empty() && sockets.iter().all(|line| line.contains(":67 ")),
        "{sockets:?}"
    );
    let (run, status) = status(&vpc);
    assert_eq!(run.code, 0, "{}", said(&run));
    let metrics = vpc.kylin_vr(&["metrics"]);
    let metrics = samples(&metrics.stdout);
    let value = |name: &str, subnet: &str| {
        let mut found = metrics.iter().filter(|one| one.metric == name);
        let found = found.find(|one| subnet.is_empty() || one.labels.get("subnet") == Some(subnet));
        found.map(|one| match one.value {
            prometheus_parse::Value::Gauge(value) => value,
            ref other => panic!("{other:?}"),
        })
    };
    let (a, b) = ("192.168.100.0/24", "192.168.101.0/24");
    assert_eq!(value("kylin_vr_dhcp_running", ""), Some(1.0));
    assert_eq!(
        (value("kylin_vr_dhcp_leases", a), value("kylin_vr_dhcp_leases", b)),
        (Some(2.0), Some(1.0))
    );
    assert_eq!(
        (
            value("kylin_vr_dhcp_range_leases", a),
            value("kylin_vr_dhcp_range_addresses", a)
        ),
        (Some(1.0), Some(4.0))
    );
    // A VM with a name is called by it, wherever its address is shown.
    let named = both().replace("100.10, mac", "100.190, mac");
    vpc.reload_ok(&named);
    expect(
        &vpc.kylin_vr(&["status", "--eip", "10.90.2.250"]),
        0,
        "192.168.100.190 web-1",
    );
    vpc.reload_ok(&both());
    let subnets = &status["dhcp"]["subnets"];
    assert_eq!(
        (&subnets[0]["leases"], &subnets[0]["state"]),
        (&2.into(), &"ok".into()),
        "{status}"
    );
    assert_eq!(
        (&subnets[1]["leases"], &subnets[1]["listed"]),
        (&1.into(), &1.into()),
        "{status}"
    );
}

pub fn what_was_given_stays_given_through_reloads() {
    let vpc = vpc_with(&both());
    let (listed, other) = (DhcpClient::new(&vpc.a1, "eth0"), DhcpClient::new(&vpc.a2, "eth0"));
    listed.ask().expect("an address");
    let given = other.ask().expect("an address");
    let first = server(&vpc).expect("a server");
    expect(&vpc.kylin_vr(&["reload"]), 0, "nothing changed");

    // One more VM: it reads its hosts again, and goes on.
    let more = OF_A.replace(
        "      - {",
        "      - {vm-ip: 192.168.100.11, mac: '52:54:84:aa:64:c0'}\n      - {",
    );
    let run = vpc.reload_ok(&file(&more, OF_B));
    assert!(
        run.stdout
            .contains("+ dhcp     dhcp-host=52:54:84:aa:64:c0,192.168.100.11,1h"),
        "{}",
        said(&run)
    );
    assert_eq!(server(&vpc), Some(first));
    let third = DhcpClient::new(&vpc.a3, "eth0");
    assert_eq!(
        third.ask().expect("an address").get("ip_address"),
        "192.168.100.11"
    );
    assert_eq!(
        other.ask().expect("the same address").get("ip_address"),
        given.get("ip_address")
    );

    // Something else for all: another process, with the same memory.
    let other_domain = more.replace("vpc.example", "other.example");
    vpc.reload_ok(&file(&other_domain, OF_B));
    assert!(server(&vpc).is_some_and(|now| now != first));
    let again = other.ask().expect("the same address");
    assert_eq!(again.get("ip_address"), given.get("ip_address"));
    assert_eq!(again.get("domain_name"), "other.example");

    // A VM that is listed with another address gets that, also where it still knows the old one.
    vpc.reload_ok(&file(&other_domain.replace("100.10,", "100.12,"), OF_B));
    assert_eq!(
        listed.ask().expect("another address").get("ip_address"),
        "192.168.100.12"
    );
    expect(&vpc.kylin_vr(&["reload"]), 0, "nothing changed");
}

pub fn what_is_renewed_by_unicast_stays() {
    let vpc = vpc_with(&both());
    let address = |lease: &lab::DhcpLease| lease.get("ip_address").parse::<Ipv4Addr>().unwrap();
    let gateway = [192, 168, 100, 254].into();
    // One that is listed, and one of the range.
    for host in [&vpc.a1, &vpc.a2] {
        let given = address(&DhcpClient::new(host, "eth0").ask().expect("an address"));
        host.ip(&format!("addr add {given}/24 dev eth0"));
        assert_eq!(renew(host, &host.mac(), given, gateway), Some(3600), "{given}");
    }
    // What is somebody else's is not renewed.
    vpc.a3.ip("addr add 192.168.100.10/24 dev eth0");
    assert_eq!(
        renew(&vpc.a3, &vpc.a3.mac(), [192, 168, 100, 10].into(), gateway),
        None
    );
}

pub fn a_crash_heals() {
    let vpc = vpc_with(&both());
    let client = DhcpClient::new(&vpc.a2, "eth0");
    let given = client.ask().expect("an address");
    let crash = || {
        let process = server(&vpc).expect("a server");
        kill(Pid::from_raw(process), Signal::SIGKILL).unwrap();
        while fs::read(format!("/proc/{process}/cmdline")).is_ok_and(|line| !line.is_empty()) {
            std::thread::yield_now();
        }
    };
    crash();
    let (run, status) = status(&vpc);
    assert_eq!(
        (run.code, &status["health"]),
        (1, &"error".into()),
        "{}",
        said(&run)
    );
    let kinds: Vec<&str> = status["faults"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["kind"].as_str().unwrap())
        .collect();
    assert!(kinds.contains(&"dhcp-down"), "{kinds:?}");
    expect(&vpc.kylin_vr(&["plan"]), 0, "+ dhcp     dnsmasq runs");
    let run = vpc.kylin_vr(&["reload", "--last-accepted"]);
    expect(&run, 0, "+ dhcp     dnsmasq runs");
    assert_eq!(
        client.ask().expect("the same").get("ip_address"),
        given.get("ip_address")
    );
    // A run that was killed when it had written down what it was about to tell: it is told again.
    let more = OF_A.replace("100.10,", "100.12,");
    let listed = DhcpClient::new(&vpc.a1, "eth0");
    assert_eq!(
        listed.ask().expect("an address").get("ip_address"),
        "192.168.100.10"
    );
    let directory = vpc.directory().join("run/dhcp");
    fs::write(directory.join("unfinished"), "").unwrap();
    let hosts = fs::read_to_string(directory.join("hosts")).unwrap();
    fs::write(directory.join("hosts"), hosts.replace("100.10,", "100.12,")).unwrap();
    vpc.reload_ok(&file(&more, OF_B));
    assert_eq!(
        listed.ask().expect("an address").get("ip_address"),
        "192.168.100.12"
    );
    expect(&vpc.kylin_vr(&["reload"]), 0, "nothing changed");
    // A stray number in its file is nobody's that we would touch.
    crash();
    let mut sleeper = Command::new("sleep").arg("1000").spawn().unwrap();
    fs::write(
        vpc.directory().join("run/dhcp/dnsmasq.pid"),
        sleeper.id().to_string(),
    )
    .unwrap();
    expect(&vpc.kylin_vr(&["reset"]), 0, "");
    assert!(sleeper.try_wait().unwrap().is_none());
    sleeper.kill().unwrap();
    sleeper.wait().unwrap();
}

pub fn it_goes_with_the_configuration_and_others_stay() {
    let vpc = vpc();
    let before = vpc.router.snapshot();
    // Somebody else's, on a link of its own.
    vpc.router.ip("link add other0 type bridge");
    vpc.router.ip("addr add 172.16.9.1/24 dev other0");
    vpc.router.ip("link set other0 up");
    let foreign = vpc.directory().join("foreign.pid");
    let mut command = Command::new("dnsmasq");
    command.args([
        "--conf-file=/dev/null",
        "--port=0",
        "--interface=other0",
        "--bind-dynamic",
        "--leasefile-ro",
    ]);
    command
        .arg("--dhcp-range=172.16.9.10,172.16.9.20,2m")
        .arg(format!("--pid-file={}", foreign.display()));
    assert!(vpc.router.output(command).status.success());
    let stays = || {
        let pid = fs::read_to_string(&foreign).unwrap();
        fs::read_to_string(format!("/proc/{}/comm", pid.trim())).is_ok_and(|name| name.trim() == "dnsmasq")
    };
    vpc.reload_ok(&both());
    let process = server(&vpc).expect("a server");
    let client = DhcpClient::new(&vpc.a1, "eth0");
    assert!(client.ask().is_some() && stays());
    // Without B, A is served; without both, nobody is there.
    let run = vpc.reload_ok(&file(OF_A, ""));
    assert!(run.stdout.contains("- dhcp     interface=lan4"), "{}", said(&run));
    assert!(client.ask().is_some());
    let run = vpc.reload_ok(&full());
    assert!(run.stdout.contains("- dhcp     dnsmasq runs"), "{}", said(&run));
    assert!(server(&vpc).is_none() && !vpc.directory().join("run/dhcp").exists() && stays());
    assert!(client.ask().is_none());
    assert!(!fs::exists(format!("/proc/{process}")).unwrap());
    vpc.reload_ok(&both());
    expect(&vpc.kylin_vr(&["reset"]), 0, "- dhcp     dnsmasq runs");
    assert!(server(&vpc).is_none() && !vpc.directory().join("run/dhcp").exists() && stays());
    let pid: i32 = fs::read_to_string(&foreign).unwrap().trim().parse().unwrap();
    kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap();
    vpc.router.ip("link del other0");
    assert_eq!(before.changes(&vpc.router.snapshot()), "");
}

pub fn what_it_does_not_take_rolls_everything_back() {
    let vpc = vpc_with(&full());
    let before = vpc.router.snapshot();
    // Another server has the port, and shares it with nobody.
    let socket = vpc.router.run(|| UdpSocket::bind("0.0.0.0:67").unwrap());
    vpc.write_config(&both().replace("10.90.2.250", "10.90.2.240"));
    let run = vpc.kylin_vr(&["reload"]);
    expect(
        &run,
        4,
        "dnsmasq does not start: failed to bind DHCP server socket: Address already in use",
    );
    before.assert_same(&vpc.router.snapshot());
    assert!(server(&vpc).is_none() && !vpc.directory().join("run/dhcp").exists());
    drop(socket);
    expect(&vpc.kylin_vr(&["reload"]), 0, "+ dhcp");
    assert!(DhcpClient::new(&vpc.a1, "eth0").ask().is_some());
}

pub fn where_it_is_not_installed_is_said_before_anything_is_touched() {
    let vpc = vpc();
    vpc.write_config(&both());
    let before = vpc.router.snapshot();
    let hidden = |arguments: &[&str]| {
        let hide = "for one in /usr/sbin /sbin /usr/bin /bin /usr/local/sbin; do [ -e $one/dnsmasq ] && \
                    mount --bind /dev/null $one/dnsmasq; done; exec \"$@\"";
        let command = by(&vpc, &["unshare", "-m", "sh", "-c", hide, "sh"], arguments);
        Run::from(vpc.router.output(command))
    };
    for arguments in [&["check"][..], &["plan"], &["reload"]] {
        expect(
            &hidden(arguments),
            1,
            "dnsmasq is not installed, and DHCP (if_list[1].dhcp) needs it",
        );
        before.assert_same(&vpc.router.snapshot());
    }
    // The boot goes on without.
    let run = hidden(&["start", "--wait", "0"]);
    expect(&run, 0, "DHCP: dnsmasq is not installed");
    assert!(vpc.router.ip("-4 address").contains("192.168.100.254"));
    // Events try again, and say so.
    expect(
        &hidden(&["reload", "--last-accepted"]),
        1,
        "DHCP: dnsmasq is not installed",
    );
    expect(
        &vpc.kylin_vr(&["reload", "--last-accepted"]),
        0,
        "+ dhcp     dnsmasq runs",
    );
    assert!(DhcpClient::new(&vpc.b1, "eth0").ask().is_some());
}

pub fn nics_are_served_while_they_are_there_whatever_they_are_called() {
    let vpc = Vpc::builder(env!("CARGO_BIN_EXE_kylin-vr"))
        .without(Nic::SubnetB)
        .build();
    vpc.reload_ok(&both());
    let monitor = monitor(&vpc);
    let (a, b) = (DhcpClient::new(&vpc.a1, "eth0"), DhcpClient::new(&vpc.b1, "eth0"));
    assert!(a.ask().is_some() && b.ask().is_none());
    let (_, now) = status(&vpc);
    assert_eq!(now["dhcp"]["subnets"][1]["state"], "pending", "{now}");
    vpc.plug(Nic::SubnetB);
    let serves = |link: &str| {
        let line = format!("interface={link}");
        let settings = fs::read_to_string(vpc.directory().join("run/dhcp/dnsmasq.conf")).unwrap_or_default();
        settings.lines().any(|one| one == line) && server(&vpc).is_some()
    };
    eventually(&monitor, "the NIC", || {
        serves("lan4") && vpc.kylin_vr(&["status"]).code == 0
    });
    assert!(a.ask().is_some() && b.ask().is_some());
    // Its name is another's then: that one is outside, and nobody is answered there.
    for (link, name) in [("lan4", "inner"), ("wan7", "lan4")] {
        vpc.router.ip(&format!("link set {link} down"));
        vpc.router.ip(&format!("link set {link} name {name}"));
        vpc.router.ip(&format!("link set {name} up"));
    }
    eventually(&monitor, "the new name", || {
        serves("inner") && vpc.kylin_vr(&["status"]).code == 0
    });
    assert!(b.ask().is_some());
    assert_eq!(DhcpClient::new(&vpc.neighbour, "eth0").ask(), None);
    vpc.unplug(Nic::SubnetB);
    eventually(&monitor, "its end", || !serves("inner"));
    assert!(a.ask().is_some());
}

pub fn vms_of_an_overlay_get_their_addresses_and_its_mtu() {
    let vpc = vpc();
    let text = "if_list:
  - {ipaddr: 10.90.3.37, prefix: 24, mac: '52:54:84:00:08:45', gateway: 10.90.3.1}
  - ipaddr: 172.20.1.1
    prefix: 24
    vxlan: {vni: 100, peers: [10.90.3.9], gateway-mac: '12:00:00:ff:ff:ff'}
    vm_list: [{vm-ip: 172.20.1.10, mac: '02:6e:1d:4e:69:ef', host: 10.90.3.9, name: web-1}]
    dhcp: {range: [172.20.1.100, 172.20.1.103]}
";
    vpc.reload_ok(text);
    // A hypervisor, and two VMs on it: what the kernel has of a tunnel will do.
    let of = "type vxlan id 100 local 10.90.3.9 remote 10.90.3.37 dstport 4789";
    vpc.neighbour
        .ip(&format!("link add vm1 address 02:6e:1d:4e:69:ef {of}"));
    vpc.neighbour.ip("link set vm1 up");
    let lease = DhcpClient::new(&vpc.neighbour, "vm1")
        .ask()
        .expect("an address for who is listed");
    let (address, mtu) = (lease.get("ip_address"), lease.get("interface_mtu"));
    assert_eq!(
        (address, mtu, lease.get("host_name")),
        ("172.20.1.10", "1450", "web-1")
    );
    vpc.neighbour.ip("addr add 172.20.1.10/24 dev vm1");
    let renewed = renew(
        &vpc.neighbour,
        "02:6e:1d:4e:69:ef",
        [172, 20, 1, 10].into(),
        [172, 20, 1, 1].into(),
    );
    assert_eq!(renewed, Some(12 * 3600));
    // dnsmasq wrote down whom it answered: what is known of a listed VM is as it should be all the same.
    expect(&vpc.kylin_vr(&["status"]), 0, "ok");
    vpc.neighbour.ip("link set vm1 address 02:6e:1d:4e:69:f0");
    let lease = DhcpClient::new(&vpc.neighbour, "vm1")
        .ask()
        .expect("an address of the range");
    assert!(lease.get("ip_address").starts_with("172.20.1.10"), "{lease:?}");
    expect(&vpc.kylin_vr(&["status"]), 0, "ok");
    let run = vpc.kylin_vr(&["reset"]);
    expect(&run, 0, "- dhcp     dnsmasq runs");
}
