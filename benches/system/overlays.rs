//! Overlay subnets: packets through VXLAN beside a link that was made by hand, and files of many overlays.

use std::fmt::Write as _;
use std::fs;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::PathBuf;
use std::process::Command;

use lab::{Extent, Flood};

use crate::Bench;
use crate::command::{Agent, Ran, processor_time, run};
use crate::result::{Bound, median, median_ratio, short};
use crate::site::{
    FAR_MAC, GATEWAY, LAN, LAN_ADDRESS, LAN_MAC, PORT, Site, WAN, WAN_ADDRESS, arrived, config, drop_all,
    eip, eip_list, eip_targets, entries, has_link, host, nics, vm,
};

const GROUP: &str = "9 overlays";
/// VMs that packets go to and come from, each with an elastic IP.
const VMS: usize = 200;
/// So many flows are sent again and again as known ones.
const FLOWS: u64 = 20_000;
/// As often in one measurement.
const PASSES: usize = 3;
/// Measurements of each router.
const TURNS: usize = 4;
const VNI: u32 = 100;
const GATEWAY_MAC: &str = "12:00:00:ff:ff:ff";
/// The hypervisor, at the sink.
const HYPERVISOR: &str = "192.168.0.1";
const ADDRESS: &str = "172.20.255.254";

/// A VM of the overlay.
fn overlay_vm(entry: usize) -> Ipv4Addr {
    host([172, 20, 0, 0], entry + 1)
}

fn mac(entry: usize) -> String {
    let [_, b, c, d] = u32::try_from(entry).expect("a VM's number").to_be_bytes();
    format!("02:6e:00:{b:02x}:{c:02x}:{d:02x}")
}

/// The file of a router whose VMs are behind the tunnel.
fn overlay_config() -> String {
    let mut text = nics()
        + &format!(
            "  - ipaddr: {ADDRESS}\n    prefix: 16\n    vxlan: {{vni: {VNI}, local: {LAN_ADDRESS}}}\n    vm_list:\n"
        );
    for entry in 0..VMS {
        let _ = writeln!(
            text,
            "      - {{vm-ip: {}, mac: '{}', host: {HYPERVISOR}}}",
            overlay_vm(entry),
            mac(entry)
        );
    }
    text + &eip_list((0..VMS).map(|entry| (eip(entry), overlay_vm(entry))))
}

/// A router, and packets a second of each round.
struct Way {
    site: Site,
    /// From outside to elastic IPs, and from a VM to outside.
    out: Flood,
    back: Flood,
    rates: [Vec<f64>; 2],
}

impl Way {
    /// The subnet is the NIC's own.
    fn of_nic() -> Self {
        let site = Site::new();
        let agent = Agent::new("nic");
        agent.write(&config(entries(VMS)));
        run(&site.router, agent.command(&["reload"]));
        site.set_neighbours(VMS);
        let back = Flood::new(&site.sink, "eth0", LAN_MAC, outside()).from_address(vm(0));
        Self::new(site, back)
    }

    fn ours() -> Self {
        let site = Site::new();
        let agent = Agent::new("overlay");
        agent.write(&overlay_config());
        run(&site.router, agent.command(&["reload"]));
        let back = hypervisor(&site);
        Self::new(site, back)
    }

    /// The same table, routes, sysctls and entries; the link by ip(8) and bridge(8).
    fn by_hand() -> Self {
        let table = Self::ours().site.router.nft("list table ip kylin_vr\n");
        let site = Site::new();
        site.set_up_by_hand();
        site.router.nft(&table);
        let mut lines = link_by_hand(VNI, LAN_ADDRESS, ADDRESS, 16);
        let mut forwarding = String::new();
        for entry in 0..VMS {
            let (vm, mac, eip) = (overlay_vm(entry), mac(entry), eip(entry));
            let _ = writeln!(lines, "neigh add {vm} lladdr {mac} dev kvr-vx{VNI} nud permanent");
            let _ = writeln!(lines, "route add local {eip}/32 dev lo table local proto 158");
            let _ = writeln!(forwarding, "fdb add {mac} dev kvr-vx{VNI} dst {HYPERVISOR}");
        }
        site.router.ip_batch(&lines);
        let file = crate::output_directory().join("fdb");
        fs::write(&file, forwarding).expect("write the forwarding entries");
        run(&site.router, shell(&format!("bridge -batch {}", file.display())));
        let _ = fs::remove_file(&file);
        site.router
            .set_sysctl(&format!("net/ipv4/conf/kvr-vx{VNI}/rp_filter"), "1");
        let back = hypervisor(&site);
        Self::new(site, back)
    }

    fn new(site: Site, back: Flood) -> Self {
        drop_all(&site.client);
        site.set_neighbours(1);
        let out = site.flood(eip_targets(VMS));
        Self {
            site,
            out,
            back,
            rates: [Vec::new(), Vec::new()],
        }
    }

    /// Both directions, with flows that the router knows from the round before.
    fn measure(&mut self) {
        let Self {
            site,
            out,
            back,
            rates,
        } = self;
        let both = [(out, &site.sink), (back, &site.client)];
        for ((flood, end), rates) in both.into_iter().zip(rates) {
            let before = arrived(end);
            // Of processor time: the router works in the sender's, and whatever else runs takes none of that.
            let begin = processor_time();
            for _ in 0..PASSES {
                flood.rewind();
                flood.send(Extent::Frames(FLOWS));
            }
            let time = processor_time() - begin;
            let arrived = arrived(end) - before;
            assert!(
                arrived * 100 >= FLOWS * PASSES as u64 * 99,
                "of {FLOWS} flows, {PASSES} times, {arrived} frames arrived: they are not forwarded"
            );
            rates.push(arrived as f64 / time.as_secs_f64());
        }
    }
}

/// Where VMs send to, outside.
fn outside() -> Vec<SocketAddrV4> {
    (0..VMS)
        .map(|number| SocketAddrV4::new(host([198, 51, 100, 0], number + 1), PORT))
        .collect()
}

/// Has the sink be a hypervisor that sends the frames of a VM to the router.
fn hypervisor(site: &Site) -> Flood {
    site.sink.ip_batch(&format!(
        "addr add {HYPERVISOR}/16 dev eth0\nneigh replace {LAN_ADDRESS} lladdr {LAN_MAC} dev eth0 nud permanent\n\
         link add hv0 type vxlan id {VNI} local {HYPERVISOR} remote {LAN_ADDRESS} dstport 4789 nolearning\nlink set hv0 up\n"
    ));
    site.router.ip_batch(&format!(
        "neigh replace {HYPERVISOR} lladdr {FAR_MAC} dev {LAN} nud permanent\n"
    ));
    Flood::new(&site.sink, "hv0", GATEWAY_MAC, outside()).from_address(overlay_vm(0))
}

/// ip(8)'s lines for a link as ours is.
fn link_by_hand(vni: u32, local: &str, address: impl std::fmt::Display, prefix: u8) -> String {
    format!(
        "link add kvr-vx{vni} address {GATEWAY_MAC} mtu 1450 type vxlan id {vni} local {local} dstport 4789 nolearning\n\
         link set kvr-vx{vni} up\naddr add {address}/{prefix} dev kvr-vx{vni}\n"
    )
}

pub fn measure(bench: &mut Bench) {
    let arguments = format!("type vxlan id {VNI} local 10.0.0.1 dstport 4789");
    if let Err(why) = has_link("VXLAN", &arguments) {
        bench.results.left_out(GROUP, "packets through VXLAN", &why);
        return;
    }
    packets(bench);
    many(bench);
}

fn packets(bench: &mut Bench) {
    // Where in memory a table and its links come to lie makes a constant difference: routers are made anew several times.
    let made = [Way::ours, Way::by_hand, Way::of_nic];
    let mut rates = made.map(|_| [Vec::new(), Vec::new()]);
    for _ in 0..bench.settings.flood_rounds / 2 {
        let mut ways = made.map(|make| make());
        // One for nothing: flows become known, and what the kernel makes at first use.
        for _ in 0..=TURNS {
            ways.iter_mut().for_each(Way::measure);
        }
        for (rates, way) in rates.iter_mut().zip(&ways) {
            for (rates, new) in rates.iter_mut().zip(&way.rates) {
                rates.extend(&new[1..]);
            }
        }
    }
    let [ours, by_hand, of_nic] = &rates;
    let show = |rates: &[f64]| format!("{} k packets/s of processor time", short(median(rates) / 1e3));
    for (direction, what) in ["to VMs by their EIPs", "from a VM"].into_iter().enumerate() {
        let lines = [
            (
                by_hand,
                "a VXLAN link made by hand, same table",
                Bound::AtLeast(0.95),
            ),
            (of_nic, "a subnet of a NIC", Bound::None),
        ];
        for (other, beside, bound) in lines {
            let (ours, other) = (&ours[direction], &other[direction]);
            bench.results.add(
                GROUP,
                &format!("packets of known flows through VXLAN, {what}"),
                show(ours),
                format!("{} {beside}", show(other)),
                median_ratio(ours, other),
                bound,
            );
        }
    }
}

/// Many overlays in one file.
const OVERLAYS: usize = 500;
/// VMs of each.
const EACH: usize = 40;

/// A router with so many overlays, and where their VMs are.
struct Cloud {
    site: Site,
    agent: Agent,
    hosts: Vec<Ipv4Addr>,
}

fn subnet(overlay: usize, number: usize) -> Ipv4Addr {
    host([172, 20, 0, 0], overlay * 256 + number)
}

fn somewhere(vm: usize) -> Ipv4Addr {
    host([10, 95, 0, 0], vm % 300 + 1)
}

impl Cloud {
    fn new(overlays: usize) -> Self {
        let cloud = Self {
            site: Site::new(),
            agent: Agent::new("overlays"),
            hosts: (0..overlays * EACH).map(somewhere).collect(),
        };
        cloud.write();
        cloud
    }

    fn write(&self) {
        let mut text = nics();
        for (overlay, hosts) in self.hosts.chunks(EACH).enumerate() {
            let _ = writeln!(
                text,
                "  - ipaddr: {}\n    prefix: 24\n    vxlan: {{vni: {}}}\n    vm_list:",
                subnet(overlay, 254),
                overlay + 1
            );
            for (number, host) in hosts.iter().enumerate() {
                let _ = writeln!(
                    text,
                    "      - {{vm-ip: {}, mac: '{}', host: {host}}}",
                    subnet(overlay, number + 1),
                    mac(overlay * EACH + number)
                );
            }
        }
        self.agent.write(&text);
    }

    /// A VM in the middle goes to another hypervisor.
    fn move_one(&mut self) {
        let middle = self.hosts.len() / 2;
        let now = self.hosts[middle];
        self.hosts[middle] = [somewhere(0), somewhere(1)]
            .into_iter()
            .find(|host| *host != now)
            .expect("two hypervisors");
        self.write();
    }

    fn run(&self, arguments: &[&str]) -> Ran {
        run(&self.site.router, self.agent.command(arguments))
    }
}

fn many(bench: &mut Bench) {
    let name = format!("{OVERLAYS} overlays with {} VMs", OVERLAYS * EACH);
    let (mut own, mut others) = (Vec::new(), Vec::new());
    let mut files = None;
    for _ in 0..bench.settings.slow_repeats {
        let cloud = Cloud::new(OVERLAYS);
        own.push(cloud.run(&["reload"]).time);
        let files = files.get_or_insert_with(|| SameWork::write(&cloud));
        others.push(run(&Site::new().router, files.command()).time);
    }
    bench.results.times(
        GROUP,
        &format!("{name} from nothing"),
        median(&own),
        ("ip -batch, bridge -batch and nft -f, same work", median(&others)),
        Bound::None,
    );

    let (mut cloud, mut small) = (Cloud::new(OVERLAYS), Cloud::new(1));
    for cloud in [&cloud, &small] {
        cloud.run(&["reload"]);
    }
    let (mut checks, mut moves, mut unchanged) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..bench.settings.repeats {
        cloud.move_one();
        checks.push(cloud.run(&["check"]).time);
        moves.push(cloud.run(&["reload"]).time);
        unchanged.push(cloud.run(&["reload"]).time);
    }
    let check = ("kylin-vr check", median(&checks));
    let lines = [
        (format!("one VM moved, {name}"), &moves, Bound::AtMost(2.0)),
        (format!("{name}, unchanged"), &unchanged, Bound::AtMost(1.5)),
    ];
    for (what, times, bound) in lines {
        bench.results.times(GROUP, &what, median(times), check, bound);
    }
    let [many, few] = [&mut cloud, &mut small].map(|cloud| {
        cloud.move_one();
        cloud.run(&["-vv", "reload"]).writes()
    });
    bench.results.add(
        GROUP,
        &format!("netlink messages and sysctls written, one VM moved, {name}"),
        many.to_string(),
        format!("{few} with one overlay of {EACH}"),
        many as f64 / few as f64,
        Bound::Between(1.0, 1.0),
    );
}

/// What kylin-vr makes, as files for ip, bridge and nft.
struct SameWork {
    files: [PathBuf; 3],
}

impl SameWork {
    fn write(cloud: &Cloud) -> Self {
        let table = cloud.site.router.nft("list table ip kylin_vr\n");
        let mut lines = format!(
            "link set {WAN} up\nlink set {LAN} up\naddr add {WAN_ADDRESS}/24 dev {WAN}\naddr add {LAN_ADDRESS}/16 dev {LAN}\n\
             route add default via {GATEWAY} proto 158\nroute add unreachable 192.168.0.0/16 proto 158 metric 4294967295\n"
        );
        let mut forwarding = String::new();
        for (overlay, hosts) in cloud.hosts.chunks(EACH).enumerate() {
            let vni = u32::try_from(overlay + 1).expect("a VNI");
            lines += &link_by_hand(vni, WAN_ADDRESS, subnet(overlay, 254), 24);
            let _ = writeln!(
                lines,
                "route add unreachable {}/24 proto 158 metric 4294967295",
                subnet(overlay, 0)
            );
            for (number, host) in hosts.iter().enumerate() {
                let (vm, mac) = (subnet(overlay, number + 1), mac(overlay * EACH + number));
                let _ = writeln!(lines, "neigh add {vm} lladdr {mac} dev kvr-vx{vni} nud permanent");
                let _ = writeln!(forwarding, "fdb add {mac} dev kvr-vx{vni} dst {host}");
            }
        }
        let directory = crate::output_directory();
        let texts = [
            ("overlays.nft", table),
            ("overlays.ip", lines),
            ("overlays.fdb", forwarding),
        ];
        let files = texts.map(|(name, text)| {
            let file = directory.join(name);
            fs::write(&file, text).expect("write what others load");
            file
        });
        Self { files }
    }

    fn command(&self) -> Command {
        let [nft, ip, fdb] = self.files.each_ref().map(|file| file.display());
        shell(&format!("nft -f {nft} && ip -batch {ip} && bridge -batch {fdb}"))
    }
}

impl Drop for SameWork {
    fn drop(&mut self) {
        for file in &self.files {
            let _ = fs::remove_file(file);
        }
    }
}

fn shell(line: &str) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", line]);
    command
}
