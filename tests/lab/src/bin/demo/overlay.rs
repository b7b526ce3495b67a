//! The scene with an overlay subnet: VMs on two hypervisors, and one of them moves.
//!
//! The hypervisors are namespaces with a bridge and a VXLAN link of the kernel's, made by hand: so the scene needs no
//! Open vSwitch.

use std::path::Path;

use lab::{Host, Icmp, Namespace, Nic, Tcp, Udp, Vpc};

use crate::packets::{Probe, try_all};
use crate::page::Page;
use crate::shell::{install, kylin_vr};

const HOSTS: [&str; 2] = ["10.90.3.41", "10.90.3.42"];

const FILE: &str = "if_list:
  - {ipaddr: 10.90.3.37, prefix: 24, mac: 52:54:84:00:08:45, gateway: 10.90.3.1}
  - ipaddr: 192.168.100.254
    prefix: 24
    vxlan: {vni: 100, peers: [10.90.3.41, 10.90.3.42]}
    vm_list:
      - {vm-ip: 192.168.100.190, mac: '52:54:84:aa:64:be', host: 10.90.3.41, name: a1}
      - {vm-ip: 192.168.100.191, mac: '52:54:84:aa:64:bf', host: 10.90.3.42, name: a2}
  - {ipaddr: 192.168.101.254, prefix: 24, mac: 52:54:84:11:00:04}
eip_list:
  - {eip: 10.90.2.250, vm-ip: 192.168.100.190}
...
";

const PROBES: [Probe; 4] = [
    Probe {
        from: "client",
        protocol: Tcp,
        to: "10.90.2.250:22",
        expected: "a1:22 sees 198.51.100.10",
        why: "row 4, into the tunnel",
    },
    Probe {
        from: "a1",
        protocol: Udp,
        to: "198.51.100.10:53",
        expected: "client:53 sees 10.90.2.250",
        why: "row 3, out of the tunnel",
    },
    Probe {
        from: "a1",
        protocol: Tcp,
        to: "192.168.101.10:22",
        expected: "b1:22 sees 192.168.100.190",
        why: "row 1, overlay to NIC",
    },
    Probe {
        from: "b1",
        protocol: Icmp,
        to: "192.168.100.191",
        expected: "a2 sees 192.168.101.10",
        why: "row 1, NIC to overlay",
    },
];

/// A hypervisor on the external network.
struct Hypervisor(Namespace);

impl Hypervisor {
    fn new(vpc: &Vpc, number: usize) -> Hypervisor {
        let namespace = Namespace::without_ipv6();
        let wire = format!("hv{number}");
        vpc.switch.veth(
            &wire,
            &format!("52:54:84:bb:00:0{number}"),
            &namespace,
            "eth0",
            &format!("52:54:84:bb:01:0{number}"),
        );
        vpc.switch.ip_batch(&format!("link set {wire} master ext up\n"));
        let (here, there) = (HOSTS[number], HOSTS[1 - number]);
        namespace.ip_batch(&format!(
            "link set lo up\naddr add {here}/24 dev eth0\nlink set eth0 up\nlink add br0 type bridge\nlink set br0 up\n\
             link add vx0 type vxlan id 100 local {here} dstport 4789\nlink set vx0 mtu 1450 master br0 up\n"
        ));
        for to in ["10.90.3.37", there] {
            let mut command = std::process::Command::new("bridge");
            command.args(["fdb", "append", "00:00:00:00:00:00", "dev", "vx0", "dst", to]);
            let output = namespace.output(command);
            assert!(output.status.success(), "bridge fdb append: {output:?}");
        }
        Hypervisor(namespace)
    }

    /// Takes a VM's wire, whose name is the VM's, to its bridge.
    fn attach(&self, vm: &Host, from: &Namespace) {
        from.ip(&format!("link set {} netns {}", vm.name, self.0.path()));
        self.0.ip(&format!("link set {} master br0 up", vm.name));
    }
}

/// A VPC of its own, whose subnet A comes from hypervisors.
pub fn vms_on_hypervisors(page: &mut Page, binary: &Path) {
    page.heading("One more scene: a subnet on hypervisors");
    page.say(
        "A subnet need not be a NIC. In another VPC the VMs of subnet A are on two hypervisors, 10.90.3.41 and 10.90.3.42, \
         which send their frames to the router in VXLAN packets. The file says which VM is where:",
    );
    let vpc = Vpc::builder(binary).without(Nic::SubnetA).build();
    let [one, two] = [0, 1].map(|number| Hypervisor::new(&vpc, number));
    one.attach(&vpc.a1, &vpc.switch);
    two.attach(&vpc.a2, &vpc.switch);
    install(page, &vpc, "overlay.yaml", FILE);
    page.command("cat /etc/kylin-vr/kylin-vr.yaml");
    page.output(FILE);
    page.command("kylin-vr reload | grep kvr-vx100        # the rest is as in scene 1");
    let reload = vpc.kylin_vr(&["reload"]);
    let of_overlay = reload.stdout.lines().filter(|line| line.contains("kvr-vx100"));
    page.output(&of_overlay.collect::<Vec<_>>().join("\n"));
    let is_there = reload.code == 0 && reload.stdout.contains("+ link     kvr-vx100 vxlan id 100");
    page.check(is_there, "the router ends the tunnel, and knows where each VM is");
    page.say("For its VMs all is as in a subnet of a NIC:");
    try_all(page, &vpc, &PROBES);

    page.say(
        "A connection is open, from the client to the EIP of a1. Now a1 moves to the other hypervisor, and the file says so:",
    );
    let flow = vpc.tcp_flow(&vpc.client, PROBES[0].to, &[]);
    let is_open = || flow.as_ref().is_ok_and(|flow| flow.ping_pong());
    page.check(is_open(), "the connection works");
    two.attach(&vpc.a1, &one.0);
    let line = "mac: '52:54:84:aa:64:be', host: 10.90.3.4";
    let moved = FILE.replace(&format!("{line}1"), &format!("{line}2"));
    page.command("sed -i '/name: a1/s/10.90.3.41/10.90.3.42/' /etc/kylin-vr/kylin-vr.yaml");
    vpc.write_config(&moved);
    let reload = kylin_vr(page, &vpc, "reload");
    page.check(
        reload.code == 0 && reload.stdout.contains("~ fdb") && reload.stdout.contains("applied 1 change"),
        "that is one entry in the kernel, replaced",
    );
    page.check(is_open(), "the connection goes on");
    try_all(page, &vpc, &PROBES);
}
