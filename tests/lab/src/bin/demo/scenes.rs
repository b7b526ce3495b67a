//! The scenes around the packet table: from the first file to the removal.

use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use lab::{DhcpClient, Icmp, Nic, Tcp, Udp, Vpc};

use crate::analyser;
use crate::packets::{Probe, try_all};
use crate::page::Page;
use crate::shell::{Monitor, install, kylin_vr, reload_as_planned};

const NOTE: &str = include_str!(concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../../examples/kylin-vr.yaml"
));
const LARGER: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/vpc.yaml"));
const NOTHING: &str = "if_list: []\n...\n";

/// The name that subnet B's NIC comes back with.
const OTHER_NAME: &str = "ens9";

const CLIENT_TO_A1: Probe = Probe {
    from: "client",
    protocol: Tcp,
    to: "10.90.2.250:22",
    expected: "a1:22 sees 198.51.100.10",
    why: "row 4",
};
const A3_TO_CLIENT: Probe = Probe {
    from: "a3",
    protocol: Udp,
    to: "198.51.100.10:53",
    expected: "client:53 sees 10.90.3.37",
    why: "row 2",
};
const CLIENT_TO_FORWARD: Probe = Probe {
    from: "client",
    protocol: Tcp,
    to: "10.90.2.254:11",
    expected: "a3:101 sees 198.51.100.10",
    why: "row 6",
};
const CLIENT_TO_B1: Probe = Probe {
    from: "client",
    protocol: Icmp,
    to: "10.90.2.252",
    expected: "b1 sees 198.51.100.10",
    why: "row 4",
};
const A3_TO_B2: Probe = Probe {
    from: "a3",
    protocol: Tcp,
    to: "192.168.101.11:22",
    expected: "b2:22 sees 192.168.100.192",
    why: "row 1",
};

/// Scene 1: a fresh router gets the example of the design note.
pub fn the_notes_example(page: &mut Page, vpc: &Vpc) {
    page.heading("Scene 1: the first file");
    page.say(
        "The router's VM has just booted. Its NICs are there, down and without an address; nothing passes:",
    );
    try_all(
        page,
        vpc,
        &[Probe {
            expected: "lost",
            why: "no router yet",
            ..CLIENT_TO_A1
        }],
    );
    page.say("The hypervisor writes a file into the VM. It names NICs by their MACs:");
    install(page, vpc, "examples/kylin-vr.yaml", NOTE);
    page.command("cat /etc/kylin-vr/kylin-vr.yaml");
    page.output(NOTE);
    page.say("`plan` says what a reload would change in the kernel, and changes nothing:");
    let plan = kylin_vr(page, vpc, "plan");
    page.say("`reload` does it. The whole translation comes at once, before the first packet is forwarded:");
    reload_as_planned(page, vpc, &plan);
    page.say("A second time there is nothing to do, and nothing is written to the kernel:");
    let again = kylin_vr(page, vpc, "reload");
    page.check(
        again.code == 0 && again.stdout == "nothing changed\n",
        "a second reload changes nothing",
    );
    page.say("Now packets pass:");
    try_all(page, vpc, &[CLIENT_TO_A1, A3_TO_CLIENT]);
}

/// Scene 2: the annotated example, as a change.
pub fn a_larger_vpc(page: &mut Page, vpc: &Vpc) {
    page.heading("Scene 2: the file grows");
    page.say(
        "examples/vpc.yaml has every key there is, with comments; read it beside this. Against the first file it adds \
         subnet B, the overlay subnet C, an EIP for b1, and more forwards: a single port, a shifted range, a udp port, \
         1000 ports in one entry, a port of the router's own address. The plan has only what changes:",
    );
    install(page, vpc, "examples/vpc.yaml", LARGER);
    let plan = kylin_vr(page, vpc, "plan");
    let first = [
        "wan7 up",
        "lan3 up",
        "10.90.3.37/24",
        "192.168.100.254/24",
        "default via",
        "local 10.90.2.250",
    ];
    let left_alone = plan.code == 0 && !first.iter().any(|line| plan.stdout.contains(line));
    page.check(
        left_alone,
        "links, addresses and routes of the first file are left alone",
    );
    reload_as_planned(page, vpc, &plan);
}

/// The end of scene 2: a VM asks for its address, and the larger file is in force again. Left out where there is no DHCP
/// server or client.
pub fn an_address(page: &mut Page, vpc: &Vpc) {
    let is_there = |tool: &str| {
        let mut command = Command::new(tool);
        command
            .arg("--version")
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        command.status().is_ok()
    };
    if !is_there("dnsmasq") || !is_there("dhclient") {
        page.say("Left out, since dnsmasq and dhclient are not both installed: VMs that get their addresses by DHCP.");
        return;
    }
    page.say(
        "A subnet's VMs may get their addresses by DHCP, from dnsmasq, which kylin-vr configures and starts. In the file, at \
         subnet A:",
    );
    let nic = "    mac: 52:54:84:11:00:03\n";
    let lines = [
        "    dhcp: {range: [192.168.100.100, 192.168.100.103], dns: [10.90.3.38]}",
        "    vm_list: [{vm-ip: 192.168.100.20, mac: '52:54:84:aa:64:c0', name: web-1}]",
    ];
    lines.iter().for_each(|line| page.line(format!("      {line}")));
    assert!(LARGER.contains(nic), "examples/vpc.yaml has no {nic:?}");
    vpc.write_config(&LARGER.replacen(nic, &format!("{nic}{}\n", lines.join("\n")), 1));
    let reload = kylin_vr(page, vpc, "reload");
    page.check(reload.code == 0, "dnsmasq runs, on the link of subnet A alone");
    for (host, expected, why) in [
        (
            &vpc.a3,
            "192.168.100.20 web-1",
            "a3 is in vm_list: it gets its own address and name",
        ),
        (&vpc.neighbour, "nothing", "outside nobody is answered"),
    ] {
        page.command(&format!("dhclient eth0        # in {}", host.name));
        let lease = DhcpClient::new(host, "eth0").ask();
        let given = lease.map_or_else(
            || "nothing".to_owned(),
            |lease| format!("{} {}", lease.get("ip_address"), lease.get("host_name")),
        );
        page.output(&format!("{given}\n"));
        page.check(given == expected, why);
    }
    page.say("And the larger file again:");
    install(page, vpc, "examples/vpc.yaml", LARGER);
    let reload = kylin_vr(page, vpc, "reload");
    page.check(reload.code == 0, "dnsmasq is stopped");
}

/// Scene 4: the status, a NIC that goes and comes back, files that are no good; traffic flows on.
pub fn what_goes_wrong(page: &mut Page, vpc: &Vpc) {
    page.heading("Scene 4: things go wrong");
    page.say("How it stands, all well:");
    let status = kylin_vr(page, vpc, "status");
    page.check(status.code == 0, "the kernel has what is configured");

    page.say("From here on one TCP connection stays open, from the client to the EIP of a1.");
    let flow = vpc.tcp_flow(&vpc.client, CLIENT_TO_A1.to, &[]);
    let still_open = |page: &mut Page| {
        let open = flow.as_ref().is_ok_and(|flow| flow.ping_pong());
        page.check(open, "the connection that was opened before still works");
    };
    still_open(page);

    page.say("From now on somebody watches: in a VM this is kylin-vr-monitor.service.");
    page.command("kylin-vr monitor &");
    let mut monitor = Monitor::start(vpc);

    page.say("The hypervisor unplugs subnet B's NIC. b1 and b2 are cut off, of course; all else works:");
    vpc.unplug(Nic::SubnetB);
    let status = kylin_vr(page, vpc, "status");
    let is_state = status.code == 0 && status.stdout.contains("pending");
    page.check(
        is_state,
        "status says that the NIC is pending, which is a state and no error",
    );
    try_all(page, vpc, &[CLIENT_TO_A1, CLIENT_TO_FORWARD, A3_TO_CLIENT]);
    still_open(page);

    page.say(&format!(
        "The NIC is plugged back and comes with another name, {OTHER_NAME} instead of {}. Its MAC is what counts:",
        Nic::SubnetB.name()
    ));
    vpc.plug_as(Nic::SubnetB, OTHER_NAME);
    let is_up = monitor.has_put_right(page, OTHER_NAME);
    page.check(is_up, "the monitor has set the NIC up by itself");
    try_all(page, vpc, &[CLIENT_TO_B1, A3_TO_B2]);

    page.say(
        "Somebody restarts a firewall that begins with an empty ruleset. Our translation goes with it. What comes in just \
         that moment finds no translation; a connection that is quiet lives on:",
    );
    // Its last acknowledgement may be delayed (40 ms): in the gap the router would answer it itself, with a reset.
    thread::sleep(Duration::from_millis(200));
    page.command("nft flush ruleset");
    vpc.router.nft("flush ruleset");
    let is_back = monitor.has_put_right(page, "table ip kylin_vr");
    page.check(is_back, "the monitor has put the whole table back");
    try_all(page, vpc, &[CLIENT_TO_A1, CLIENT_TO_FORWARD]);
    still_open(page);

    broken_files(page, vpc);
    still_open(page);
}

fn broken_files(page: &mut Page, vpc: &Vpc) {
    page.say("Somebody breaks the file in three places. These lines are wrong now:");
    let mut broken = LARGER.to_owned();
    for (right, wrong, line) in [
        ("eip: 10.90.2.251", "epi: 10.90.2.251", "  - epi: 10.90.2.251"),
        (
            "end_port: 12",
            "end_port: 9",
            "    end_port: 9               # of the range that begins at 10",
        ),
        (
            "vm-ip: 192.168.101.11\n\n  # A long",
            "vm-ip: 192.168.101.256\n\n  # A long",
            "    vm-ip: 192.168.101.256",
        ),
    ] {
        assert!(
            broken.contains(right),
            "examples/vpc.yaml has no {right:?} to break"
        );
        broken = broken.replacen(right, wrong, 1);
        page.line(format!("      {line}"));
    }
    vpc.write_config(&broken);
    let reload = kylin_vr(page, vpc, "reload");
    let places = [
        "eip_list[1].epi",
        "port_forward_list[2].end_port",
        "port_forward_list[3].vm-ip",
    ];
    let all_named = places.iter().all(|place| reload.stderr.contains(place));
    page.check(
        reload.code == 3 && all_named,
        "each mistake is named with its place, all at once",
    );
    try_all(page, vpc, &[CLIENT_TO_A1, CLIENT_TO_FORWARD]);

    page.say(
        "A file arrives cut off at the end of a line. It is valid YAML, but has no end marker any more:",
    );
    let whole = "  # A shifted range";
    let cut = LARGER
        .find(whole)
        .unwrap_or_else(|| panic!("examples/vpc.yaml has no {whole:?} to cut at"));
    vpc.write_config(&LARGER[..cut]);
    let reload = kylin_vr(page, vpc, "reload");
    page.check(
        reload.code == 3 && reload.stderr.contains("cut off"),
        "it is refused as cut off",
    );
    try_all(page, vpc, &[CLIENT_TO_FORWARD]);

    page.say("The good file again. Nothing was touched, so there is nothing to do:");
    install(page, vpc, "examples/vpc.yaml", LARGER);
    let reload = kylin_vr(page, vpc, "reload");
    page.check(
        reload.code == 0 && reload.stdout == "nothing changed\n",
        "nothing had been touched",
    );
}

/// Scene 5: an empty configuration leaves nothing behind.
pub fn removal(page: &mut Page, vpc: &Vpc, binary: &Path) {
    page.heading("Scene 5: everything is removed");
    page.say("A file with empty lists means: no router any more.");
    page.command("printf 'if_list: []\\n...\\n' > /etc/kylin-vr/kylin-vr.yaml");
    vpc.write_config(NOTHING);
    let plan = kylin_vr(page, vpc, "plan");
    reload_as_planned(page, vpc, &plan);

    // A NIC that was unplugged comes back with a new number, so the router is compared not with what it was, but
    // with a twin that went through the same plugging.
    let twin = Vpc::builder(binary).build();
    drop(analyser::plug(&twin));
    analyser::unplug(&twin);
    twin.unplug(Nic::SubnetB);
    twin.plug_as(Nic::SubnetB, OTHER_NAME);
    for nic in ["wan7", "lan3", OTHER_NAME] {
        // The kernel gives a link its queue when it first comes up, and leaves it: qdisc noop -> noqueue.
        twin.router
            .ip_batch(&format!("link set {nic} up\nlink set {nic} down\n"));
    }
    let changes = twin.router.snapshot().changes(&vpc.router.snapshot());
    page.say(
        "Links, addresses, routes, rules, nftables, sysctls: the router is compared with a twin that had the same NICs \
         plugged, up for a moment and down again, and in which kylin-vr never ran.",
    );
    page.output(&changes);
    page.check(
        changes.is_empty(),
        "nothing is left behind: the two are the same, line by line",
    );
    try_all(
        page,
        vpc,
        &[Probe {
            expected: "lost",
            why: "no router any more",
            ..CLIENT_TO_A1
        }],
    );
}
