//! A hypervisor with a real Open vSwitch, whose flow tables are those of a mini cloud that VXLAN subnets come from.
//!
//! The switch runs in userspace (`datapath_type=netdev`), since a machine that runs tests need not have its kernel
//! module: its own `ovsdb-server` and `ovs-vswitchd` in the hypervisor's namespace, with files in a directory of their own,
//! ended by their process numbers. It never touches a switch of the machine.
//!
//! Two bridges: `br-phy` with the NIC to the network below and the hypervisor's address, and `br0` with the VMs and
//! `vxlan-int`, which sends to whom a flow says.

use std::fs;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::host::Host;
use crate::namespace::{Namespace, command, finish, veth_line};
use crate::scratch::Scratch;

const SCHEMA: &str = "/usr/share/openvswitch/vswitch.ovsschema";
/// What a server or a tool of the switch may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// The gateway's hardware address in every subnet.
pub const GATEWAY_MAC: &str = "12:00:00:ff:ff:ff";

/// A subnet that hypervisors carry.
#[derive(Clone, Debug)]
pub struct Carried {
    /// Its number.
    pub vni: u32,
    /// The router's address in it.
    pub gateway: Ipv4Addr,
}

/// A hypervisor; its switch ends when it is dropped.
#[derive(Debug)]
pub struct Hypervisor {
    /// Where it lives.
    pub namespace: Namespace,
    /// Its address in the network below.
    pub address: Ipv4Addr,
    name: String,
    servers: Vec<Child>,
    scratch: Scratch,
}

/// Whether Open vSwitch is installed; the error says what is missing.
///
/// # Errors
/// It is not.
pub fn has_open_vswitch() -> Result<(), String> {
    let found = Command::new("ovs-vswitchd").arg("--version").output();
    match found {
        Ok(output) if output.status.success() && fs::exists(SCHEMA).unwrap_or(false) => Ok(()),
        _ => Err("needs Open vSwitch (openvswitch-switch)".to_owned()),
    }
}

impl Hypervisor {
    /// One of this name, on the external wire of a switch, with a switch of its own and no VM.
    ///
    /// # Panics
    /// If Open vSwitch does not start.
    pub fn new(name: &str, address: Ipv4Addr, switch: &Namespace, wire: &str) -> Hypervisor {
        let namespace = Namespace::without_ipv6();
        let wires = veth_line(name, "", &namespace, "eth0", "");
        switch.ip_batch(&format!("{wires}\nlink set {name} master {wire} up\n"));
        without_offloads(switch, name);
        namespace.ip_batch("link set lo up\nlink set eth0 up\n");
        let mut hypervisor = Hypervisor {
            namespace,
            address,
            name: name.to_owned(),
            servers: Vec::new(),
            scratch: Scratch::new(),
        };
        hypervisor.start();
        hypervisor
    }

    fn file(&self, name: &str) -> PathBuf {
        self.scratch.path().join(name)
    }

    fn tool(&self, program: &str, arguments: &[&str]) -> Command {
        let mut command = command(program, arguments);
        for directory in ["OVS_RUNDIR", "OVS_LOGDIR", "OVS_DBDIR", "OVS_SYSCONFDIR"] {
            command.env(directory, self.scratch.path());
        }
        command
    }

    fn must(&self, program: &str, arguments: &[&str], input: &str) -> String {
        let command = self.tool(program, arguments);
        let line = format!("{command:?}");
        let output = self.namespace.run(|| finish(command, input));
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{line}: {said}\n{input}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    fn vsctl(&self, arguments: &str) -> String {
        let database = format!("--db=unix:{}", self.file("db.sock").display());
        let words: Vec<&str> = [database.as_str(), "--timeout=30"]
            .into_iter()
            .chain(arguments.split_whitespace())
            .collect();
        self.must("ovs-vsctl", &words, "")
    }

    fn start(&mut self) {
        let (database, socket) = (self.file("conf.db"), self.file("db.sock"));
        let _ = fs::remove_file(&database);
        self.must("ovsdb-tool", &["create", &database.to_string_lossy(), SCHEMA], "");
        let server = [
            database.to_string_lossy().into_owned(),
            format!("--remote=punix:{}", socket.display()),
            format!("--unixctl={}", self.file("ovsdb.ctl").display()),
            "--no-chdir".to_owned(),
        ];
        self.serve("ovsdb-server", &server);
        wait_until(|| fs::exists(&socket).unwrap_or(false));
        let daemon = [
            format!("unix:{}", socket.display()),
            format!("--unixctl={}", self.file("vswitchd.ctl").display()),
            format!("--log-file={}", self.file("vswitchd.log").display()),
            "-vconsole:off".to_owned(),
            "-vsyslog:off".to_owned(),
            "--no-chdir".to_owned(),
        ];
        self.serve("ovs-vswitchd", &daemon);
        // The same hardware address after a restart: else whoever knows the old one sends to it for a minute.
        let [.., last] = self.address.octets();
        self.vsctl(&format!(
            "add-br br-phy -- set bridge br-phy datapath_type=netdev other-config:hwaddr=52:54:84:bb:03:{last:02x} \
             -- add-port br-phy eth0"
        ));
        self.namespace.ip_batch(&format!(
            "addr replace {}/24 dev br-phy\nlink set br-phy up\n",
            self.address
        ));
        self.vsctl(&format!(
            "add-br br0 -- set bridge br0 datapath_type=netdev fail-mode=secure \
             -- add-port br0 vxlan-int -- set interface vxlan-int type=vxlan ofport_request=100 \
             options:local_ip={} options:key=flow options:remote_ip=flow",
            self.address
        ));
    }

    fn serve(&mut self, program: &str, arguments: &[String]) {
        let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let mut command = self.tool(program, &words);
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let child = self.namespace.run(|| command.spawn());
        self.servers
            .push(child.unwrap_or_else(|error| panic!("start {program}: {error}")));
    }

    fn stop(&mut self) {
        for child in self.servers.iter_mut().rev() {
            if let Ok(pid) = i32::try_from(child.id()) {
                let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
            }
            let _ = child.wait();
        }
        self.servers.clear();
    }

    /// The switch ends and begins anew, with nothing in it: as after a power failure.
    pub fn restart(&mut self) {
        self.stop();
        for name in ["db.sock", "ovsdb.ctl", "vswitchd.ctl"] {
            let _ = fs::remove_file(self.file(name));
        }
        self.start();
    }

    /// Its wire is pulled, or put in again.
    pub fn set_wire(&self, switch: &Namespace, is_in: bool) {
        let to = if is_in { "up" } else { "down" };
        switch.ip(&format!("link set {} {to}", self.name));
    }

    /// Takes the switch's end of a VM's wire, whose name is the VM's, out of this namespace, to be its port.
    pub fn attach(&self, vm: &Host, from: &Namespace) {
        from.ip(&format!("link set {} netns {}", vm.name, self.namespace.path()));
        self.namespace.ip(&format!("link set {} up", vm.name));
        // What it sends has its checksums: a switch in userspace computes none.
        without_offloads(&vm.namespace, "eth0");
        self.add_port(vm);
    }

    /// Makes the end of a VM's wire that is here a port of the switch.
    pub fn add_port(&self, vm: &Host) {
        self.vsctl(&format!("add-port br0 {}", vm.name));
    }

    /// Gives a VM's wire to another hypervisor.
    pub fn hand_over(&self, vm: &Host, to: &Hypervisor) {
        self.vsctl(&format!("del-port br0 {}", vm.name));
        to.attach(vm, &self.namespace);
    }

    /// Programs the flow tables: of these subnets, of all their VMs (each on a hypervisor), with this gateway.
    /// `peers` are the other hypervisors, which broadcast goes to in place of a switch node.
    pub fn program(
        &self,
        subnets: &[Carried],
        vms: &[(&Host, &Hypervisor, &Carried)],
        gateway: Ipv4Addr,
        peers: &[&Hypervisor],
    ) {
        let flows = self.flows(subnets, vms, gateway, peers);
        let target = format!("unix:{}", self.file("br0.mgmt").display());
        self.must(
            "ovs-ofctl",
            &["-O", "OpenFlow13", "replace-flows", &target, "-"],
            &flows,
        );
    }

    /// The flow tables. Tables 0 and 10 and the answers to ARP requests of table 50 are the mini cloud's own. Three things
    /// are other: the tunnel number is set towards the gateway too, since the router tells subnets apart by it; broadcast
    /// goes to each hypervisor, not by a switch node; and what comes by a tunnel goes to the VMs before an ARP request
    /// among it is answered here, which would be sent back into the tunnel.
    fn flows(
        &self,
        subnets: &[Carried],
        vms: &[(&Host, &Hypervisor, &Carried)],
        gateway: Ipv4Addr,
        peers: &[&Hypervisor],
    ) -> String {
        let mac = GATEWAY_MAC;
        let mut flows = "table=0,priority=20,dl_dst=ff:ff:ff:ff:ff:ff,actions=resubmit(,50)\n\
                         table=0,priority=10,dl_dst=00:00:00:00:00:00/01:00:00:00:00:00,actions=resubmit(,10)\n\
                         table=0,priority=10,dl_dst=01:00:00:00:00:00/01:00:00:00:00:00,actions=resubmit(,50)\n\
                         table=0,priority=0,actions=drop\n\
                         table=10,priority=0,actions=drop\n\
                         table=50,priority=0,actions=drop\n"
            .to_owned();
        let to =
            |address: Ipv4Addr| format!("load:{:#x}->NXM_NX_TUN_IPV4_DST[],vxlan-int", u32::from(address));
        let number = |subnet: &Carried| format!("load:{:#x}->NXM_NX_TUN_ID[]", subnet.vni);
        let arp = |address: Ipv4Addr, mac: &str| {
            format!(
                "table=50,priority=20,arp,arp_tpa={address},arp_op=1,actions=move:NXM_OF_ETH_SRC[]->NXM_OF_ETH_DST[],\
                 mod_dl_src:{mac},load:0x02->NXM_OF_ARP_OP[],move:NXM_NX_ARP_SHA[]->NXM_NX_ARP_THA[],\
                 load:0x{}->NXM_NX_ARP_SHA[],move:NXM_OF_ARP_SPA[]->NXM_OF_ARP_TPA[],load:{:#x}->NXM_OF_ARP_SPA[],in_port\n",
                mac.replace(':', ""),
                u32::from(address)
            )
        };
        for subnet in subnets {
            flows += &arp(subnet.gateway, mac);
        }
        for (vm, on, subnet) in vms {
            let (address, vm_mac, set) = (vm.address, vm.mac(), number(subnet));
            let is_here = on.address == self.address;
            let deliver = if is_here {
                vm.name.clone()
            } else {
                // What comes for a VM that has moved is sent on: live migration loses nothing.
                flows += &format!(
                    "table=10,priority=16,in_port=vxlan-int,dl_dst={vm_mac},actions={set},load:{:#x}->NXM_NX_TUN_IPV4_DST[],in_port\n",
                    u32::from(on.address)
                );
                format!("{set},{}", to(on.address))
            };
            flows += &format!("table=10,priority=15,dl_dst={vm_mac},actions={deliver}\n");
            flows += &arp(address, &vm_mac);
            if !is_here {
                continue;
            }
            // A VM's frame to the gateway.
            flows += &format!(
                "table=10,priority=5,dl_src={vm_mac},dl_dst={mac},actions={set},{}\n",
                to(gateway)
            );
            // Its broadcast: to the VMs of the subnet that are here, and to all other hypervisors and the router.
            let name = &vm.name;
            let mut everywhere = set.clone();
            for (other, on, its) in vms {
                if on.address == self.address && its.vni == subnet.vni && other.name != vm.name {
                    everywhere += &format!(",output:{}", other.name);
                }
            }
            for address in peers.iter().map(|peer| peer.address).chain([gateway]) {
                everywhere += &format!(",{}", to(address));
            }
            flows += &format!("table=50,priority=10,in_port={name},actions={everywhere}\n");
        }
        for subnet in subnets {
            let here = vms
                .iter()
                .filter(|(_, on, its)| on.address == self.address && its.vni == subnet.vni);
            let ports: Vec<String> = here.map(|(vm, ..)| format!("output:{}", vm.name)).collect();
            if !ports.is_empty() {
                flows += &format!(
                    "table=50,priority=25,in_port=vxlan-int,tun_id={:#x},actions={}\n",
                    subnet.vni,
                    ports.join(",")
                );
            }
        }
        flows
    }
}

impl Drop for Hypervisor {
    fn drop(&mut self) {
        self.stop();
    }
}

fn wait_until(is_so: impl Fn() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < PATIENCE, "Open vSwitch does not start");
        thread::sleep(Duration::from_millis(5));
    }
}

/// Has the kernel compute checksums, and cut packets to the MTU, before it sends by this link: who reads there reads what
/// would be on a wire. (`ETHTOOL_STXCSUM` of linux/ethtool.h by `SIOCETHTOOL` of linux/sockios.h: there may be no ethtool(8).)
fn without_offloads(namespace: &Namespace, link: &str) {
    let script = "import array, fcntl, socket, struct, sys\n\
                  value = array.array('B', struct.pack('II', 0x17, 0))\n\
                  request = struct.pack('16sP', sys.argv[1].encode(), value.buffer_info()[0])\n\
                  fcntl.ioctl(socket.socket(), 0x8946, request)\n";
    let output = namespace.output(command("python3", &["-c", script, link]));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "turn offloads of {link} off: {said}");
}
