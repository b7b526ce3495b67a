//! DHCP as the packages bring it: dnsmasq as a unit of systemd's, with the rights that its unit gives it.

use lab::guest::Machine;
use lab::{DhcpClient, DhcpLease, Vpc};

use crate::bench::{Bench, agrees, both_subnets, configure, marked, state};
use crate::configs::expect;

const UNIT: &str = "kylin-vr-dnsmasq.service";

/// Both subnets, with DHCP in B: b1 is listed, others get an address of the range.
fn served() -> String {
    let of_b = "    dhcp: {range: [192.168.101.100, 192.168.101.103], dns: [10.90.3.38]}
    vm_list: [{vm-ip: 192.168.101.20, mac: '52:54:84:aa:65:0a', name: db-1}]";
    let text = both_subnets();
    let line = text
        .lines()
        .find(|line| line.contains("52:54:84:11:00:04"))
        .unwrap();
    let indent = line.len() - line.trim_start().len();
    let of_b = of_b.replace("\n    ", &format!("\n{}", " ".repeat(indent)));
    text.replace(
        line,
        &format!("{line}\n{}{}", " ".repeat(indent), of_b.trim_start()),
    )
}

/// An emulated router may take longer than a client asks.
fn ask(client: &DhcpClient) -> DhcpLease {
    let mut tries = (0..5).filter_map(|_| client.ask());
    tries.next().expect("an address")
}

fn process(machine: &Machine) -> String {
    machine
        .sh(&format!("systemctl show -P MainPID {UNIT}"))
        .trim()
        .to_owned()
}

pub fn a_unit_gives_addresses_through_crashes_and_boots(bench: &Bench) {
    let vpc = Vpc::without_router();
    let machine = bench.booted(&vpc);
    let empty = state(&machine);
    configure(&machine, &served());
    machine.sh(&format!("systemctl is-active {UNIT}"));
    let [listed, other] = [&vpc.b1, &vpc.b2].map(|host| DhcpClient::new(host, "eth0"));
    let lease = ask(&listed);
    assert_eq!(
        (lease.get("ip_address"), lease.get("host_name")),
        ("192.168.101.20", "db-1")
    );
    let given = ask(&other);
    assert_eq!(DhcpClient::new(&vpc.neighbour, "eth0").ask(), None);

    // It goes on as its own user, with its files where they are.
    let user = machine.sh(&format!("ps -o user= -p {}", process(&machine)));
    assert_ne!(user.trim(), "root");
    machine.sh("test -s /var/lib/kylin-vr/dhcp.leases");

    // Hosts are read by the process that there is, as another user.
    let before = process(&machine);
    configure(&machine, &served().replace("101.20,", "101.21,"));
    assert_eq!(process(&machine), before);
    assert_eq!(ask(&listed).get("ip_address"), "192.168.101.21");

    // It ends by itself, and is there again.
    machine.sh(&format!("systemctl kill -s KILL {UNIT}"));
    machine.wait_for(
        "another process",
        &format!("p=$(systemctl show -P MainPID {UNIT}); [ $p != 0 ] && [ $p != {before} ]"),
    );
    agrees(&machine);
    assert_eq!(ask(&other).get("ip_address"), given.get("ip_address"));

    // A port that is taken: the reload is taken back, with what dnsmasq said.
    configure(&machine, &both_subnets());
    assert!(
        machine
            .sh(&format!("systemctl is-active {UNIT} || true"))
            .contains("inactive")
    );
    machine.sh("dnsmasq --conf-file=/dev/null --port=0 --dhcp-range=10.9.9.1,10.9.9.2 --leasefile-ro --pid-file=/run/holder");
    let run = machine.try_sh("kylin-vr reload -", &marked(&served()));
    expect(&run, 4, "dnsmasq does not start: ");
    machine.sh("kill $(cat /run/holder); systemctl reset-failed");

    configure(&machine, &served());
    let machine = bench.machine(&vpc).disk(&machine.shut_down()).boot();
    machine.wait_for("the server", &format!("systemctl is-active {UNIT}"));
    agrees(&machine);
    assert_eq!(ask(&other).get("ip_address"), given.get("ip_address"));
    let said = machine.sh("systemctl --failed --no-legend");
    assert!(!said.contains("kylin-vr"), "{said}");

    machine.sh("kylin-vr reset");
    assert_eq!(state(&machine), empty);
    assert!(
        machine
            .sh(&format!("systemctl is-active {UNIT} || true"))
            .contains("inactive")
    );
    machine.sh("! test -e /run/kylin-vr/dhcp");
}
