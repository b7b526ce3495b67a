//! Mirrors: packets of a router that copies them, beside one that does not, the same by tc(8), and Open vSwitch's own.

use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use lab::{Extent, Flood, Namespace, OpenVSwitch, has_open_vswitch};
use nix::time::{clock_getcpuclockid, clock_gettime};
use nix::unistd::Pid;

use crate::Bench;
use crate::command::{Agent, processor_time, run};
use crate::result::{Bound, median, median_ratio, short};
use crate::site::{
    FAR_MAC, LAN, LAN_MAC, Site, arrived, drop_all, eip_list, eip_targets, entries, has_link, nics,
};

const GROUP: &str = "10 mirrors";
const VMS: usize = 200;
/// So many flows are sent again and again as known ones.
const FLOWS: u64 = 20_000;
/// As often in one measurement.
const PASSES: usize = 3;
/// The router's link to the analyser, or to collectors.
const SPAN: &str = "span0";
const SPAN_MAC: &str = "52:54:84:22:00:01";
const COLLECTOR: &str = "172.19.0.21";

/// A kind of target: its name, the file's line for it, ip(8)'s lines for the link that copies leave by (none: the NIC), and
/// what the kernel must have.
struct Kind {
    name: &'static str,
    to: String,
    by_hand: Option<String>,
    needs: Option<(&'static str, String)>,
}

fn kinds() -> [Kind; 4] {
    let ends = format!("local 172.19.0.1 remote {COLLECTOR}");
    let gre = format!("type gretap {ends} key 99");
    let erspan = format!("type erspan {ends} seq key 7 erspan_ver 2 erspan_dir ingress erspan_hwid 0");
    let tunnel = |name, to: &str, arguments: &str| Kind {
        name,
        to: to.to_owned(),
        by_hand: Some(format!(
            "link add copies mtu 1500 {arguments}\nlink set copies up\n"
        )),
        needs: Some((name, arguments.to_owned())),
    };
    [
        Kind {
            name: "SPAN",
            to: format!("nic: {{mac: '{SPAN_MAC}'}}"),
            by_hand: None,
            needs: None,
        },
        tunnel("GRE", &format!("gre: {{remote: {COLLECTOR}, key: 99}}"), &gre),
        tunnel(
            "ERSPAN",
            &format!("erspan: {{remote: {COLLECTOR}, index: 7, version: 2}}"),
            &erspan,
        ),
        Kind {
            name: "VLAN",
            to: format!("vlan: {{mac: '{SPAN_MAC}', id: 51}}"),
            by_hand: Some(format!(
                "link add link {SPAN} name copies type vlan id 51\nlink set copies up\n"
            )),
            needs: Some(("VLAN", "link below type vlan id 51".to_owned())),
        },
    ]
}

/// A router with a third NIC that leads to an analyser, and packets a second of each round.
struct Way {
    site: Site,
    analyser: Namespace,
    flood: Flood,
    /// Copies to a frame that is forwarded.
    copies: u64,
    rates: Vec<f64>,
}

impl Way {
    /// A router whose file has this mirror; an empty one: none.
    fn ours(kind: &Kind, mirror: &str, copies: u64) -> Self {
        let (site, analyser) = (Site::new(), Namespace::without_ipv6());
        site.router.veth(SPAN, SPAN_MAC, &analyser, "eth0", FAR_MAC);
        analyser.ip("link set eth0 up");
        drop_all(&analyser);
        let agent = Agent::new("mirrors");
        let collectors = if matches!(kind.name, "GRE" | "ERSPAN") {
            format!("  - {{ipaddr: 172.19.0.1, prefix: 24, mac: '{SPAN_MAC}'}}\n")
        } else {
            String::new()
        };
        agent.write(&(nics() + &collectors + &eip_list(entries(VMS)) + mirror));
        run(&site.router, agent.command(&["reload"]));
        site.set_neighbours(VMS);
        if !collectors.is_empty() {
            site.router.ip_batch(&format!(
                "neigh replace {COLLECTOR} lladdr {FAR_MAC} dev {SPAN} nud permanent\n"
            ));
        }
        let flood = site.flood(eip_targets(VMS));
        Self {
            site,
            analyser,
            flood,
            copies,
            rates: Vec::new(),
        }
    }

    /// The router without a mirror, and tc(8)'s filters in place of ours.
    fn by_hand(kind: &Kind) -> Self {
        let way = Self::ours(kind, "", 1);
        way.site.router.ip(&format!("link set {SPAN} up"));
        let to = match &kind.by_hand {
            Some(lines) => {
                way.site.router.ip_batch(lines);
                "copies"
            }
            None => SPAN,
        };
        let filter = |direction| {
            format!(
                "tc filter add dev {LAN} {direction} protocol all prio 1 u32 match u32 0 0 action mirred egress mirror dev {to}"
            )
        };
        let (coming, leaving) = (filter("ingress"), filter("egress"));
        let mut command = Command::new("sh");
        command.args([
            "-c",
            &format!("tc qdisc add dev {LAN} clsact && {coming} && {leaving}"),
        ]);
        run(&way.site.router, command);
        way
    }

    /// Sends the known flows again; the error says what did not arrive.
    fn measure(&mut self) -> Result<(), String> {
        let (before, copied) = (self.site.arrived(), arrived(&self.analyser));
        // Of processor time: the router works in the sender's, and whatever else runs takes none of that.
        let begin = processor_time();
        for _ in 0..PASSES {
            self.flood.rewind();
            self.flood.send(Extent::Frames(FLOWS));
        }
        let time = processor_time() - begin;
        let (came, copies) = (self.site.arrived() - before, arrived(&self.analyser) - copied);
        let sent = FLOWS * PASSES as u64;
        let enough = |came: u64, of: u64| came * 100 >= of * 99;
        if !enough(came, sent) || !enough(copies, sent * self.copies) || copies > sent * self.copies + 99 {
            return Err(format!(
                "of {sent} frames {came} arrived, and {copies} copies in place of {}",
                sent * self.copies
            ));
        }
        self.rates.push(came as f64 / time.as_secs_f64());
        Ok(())
    }
}

fn mirror(source: &str, to: &str) -> String {
    format!("mirror_list:\n  - {{name: m1, source: {source}, to: [{{{to}}}]}}\n")
}

fn show(rates: &[f64]) -> String {
    format!(
        "{} k packets/s of processor time",
        short(median(&rates[1..]) / 1e3)
    )
}

pub fn measure(bench: &mut Bench) {
    let mut span = None;
    for kind in kinds() {
        let what = format!("packets of a router that copies all of a NIC to {}", kind.name);
        let missing = kind
            .needs
            .as_ref()
            .map(|(name, arguments)| has_link(name, arguments));
        match missing
            .unwrap_or(Ok(()))
            .and_then(|()| of_kind(bench, &kind, &what))
        {
            Ok(rates) => span = span.or(Some(rates)),
            Err(why) => bench.results.left_out(GROUP, &what, &why),
        }
    }
    let what = "packets that Open vSwitch's own mirror copies (userspace datapath)";
    match has_open_vswitch() {
        Ok(()) => open_vswitch(bench, what, span.as_deref()),
        Err(why) => bench.results.left_out(GROUP, what, &why),
    }
}

/// Adds the lines of a kind of target, and gives the rates of all of a NIC.
fn of_kind(bench: &mut Bench, kind: &Kind, what: &str) -> Result<Vec<f64>, String> {
    let of_nic = format!("{{mac: '{LAN_MAC}'}}");
    // What is copied of this VM is nothing: nobody sends to it.
    let of_other = format!("{{vm-ip: {}}}", crate::site::vm(VMS + 1));
    let mut ways = [
        Way::ours(kind, "", 0),
        Way::ours(kind, &mirror(&of_nic, &kind.to), 1),
        Way::by_hand(kind),
        Way::ours(kind, &mirror(&of_other, &kind.to), 0),
    ];
    // One for nothing: flows become known, and what the kernel makes at first use.
    for _ in 0..=bench.settings.flood_rounds * 2 {
        ways.iter_mut().try_for_each(Way::measure)?;
    }
    let [without, all, by_hand, other] = &ways;
    let lines = [
        (
            what.to_owned(),
            all,
            by_hand,
            "tc by hand (u32, mirred)",
            Bound::AtLeast(0.95),
        ),
        (what.to_owned(), all, without, "no mirror", Bound::None),
        (
            format!("the same with a mirror of a VM that is silent, to {}", kind.name),
            other,
            without,
            "no mirror",
            Bound::None,
        ),
    ];
    for (what, way, beside, name, bound) in lines {
        bench.results.add(
            GROUP,
            &what,
            show(&way.rates),
            format!("{} {name}", show(&beside.rates)),
            median_ratio(&way.rates[1..], &beside.rates[1..]),
            bound,
        );
    }
    let [_, all, ..] = ways;
    Ok(all.rates)
}

/// Three ports of a bridge, in place of the router.
struct Switch {
    ovs: OpenVSwitch,
    site: Site,
    analyser: Namespace,
    flood: Flood,
    copies: u64,
    rates: Vec<f64>,
}

impl Switch {
    fn new(mirrors: bool) -> Self {
        let (site, analyser) = (Site::new(), Namespace::without_ipv6());
        site.router.veth(SPAN, SPAN_MAC, &analyser, "eth0", FAR_MAC);
        analyser.ip("link set eth0 up");
        drop_all(&analyser);
        let switch = &site.router;
        switch.ip_batch(&format!(
            "link set wan0 up\nlink set {LAN} up\nlink set {SPAN} up\n"
        ));
        let ovs = OpenVSwitch::start(switch);
        let mirror = format!(
            " -- --id=@lan get port {LAN} -- --id=@span get port {SPAN} -- --id=@m create mirror name=m \
             select_src_port=@lan select_dst_port=@lan output_port=@span -- set bridge br0 mirrors=@m"
        );
        ovs.vsctl(
            switch,
            &format!(
                "add-br br0 -- set bridge br0 datapath_type=netdev fail-mode=secure -- add-port br0 wan0 -- \
                 add-port br0 {LAN} -- add-port br0 {SPAN}{}",
                if mirrors { mirror.as_str() } else { "" }
            ),
        );
        ovs.replace_flows(
            switch,
            "br0",
            &format!("in_port=wan0,actions=output:{LAN}\nin_port={LAN},actions=output:wan0\n"),
        );
        let flood = site.flood(eip_targets(VMS));
        Self {
            ovs,
            site,
            analyser,
            flood,
            copies: u64::from(mirrors),
            rates: Vec::new(),
        }
    }

    /// The processor time of the switch, which works in a process of its own.
    fn time(&self) -> Duration {
        let pid = i32::try_from(self.ovs.process()).expect("a process's number");
        let clock = clock_getcpuclockid(Pid::from_raw(pid)).expect("a clock of the switch");
        clock_gettime(clock).expect("read the clock of the switch").into()
    }

    /// A few frames at a time, so that none is dropped before the switch gets it.
    fn measure(&mut self) -> Result<(), String> {
        const AT_ONCE: u64 = 64;
        let (before, copied) = (self.site.arrived(), arrived(&self.analyser));
        let (mut time, begin) = (Duration::ZERO, self.time());
        self.flood.rewind();
        let mut sent = 0;
        let begun = Instant::now();
        while sent < FLOWS && begun.elapsed() < Duration::from_secs(2) {
            let begin = processor_time();
            self.flood.send(Extent::Frames(AT_ONCE));
            time += processor_time() - begin;
            sent += AT_ONCE;
            let waiting = Instant::now();
            while self.site.arrived() - before < sent && waiting.elapsed() < Duration::from_millis(100) {
                thread::sleep(Duration::from_micros(200));
            }
        }
        time += self.time() - begin;
        let (came, copies) = (self.site.arrived() - before, arrived(&self.analyser) - copied);
        if came * 100 < sent * 95 || copies * 100 < came * self.copies * 95 {
            return Err(format!("of {sent} frames {came} arrived, and {copies} copies"));
        }
        self.rates.push(came as f64 / time.as_secs_f64());
        Ok(())
    }
}

fn open_vswitch(bench: &mut Bench, what: &str, span: Option<&[f64]>) {
    let mut switches = [Switch::new(false), Switch::new(true)];
    for _ in 0..=bench.settings.flood_rounds {
        if let Err(why) = switches.iter_mut().try_for_each(Switch::measure) {
            bench.results.left_out(GROUP, what, &why);
            return;
        }
    }
    let [without, with] = &switches;
    bench.results.add(
        GROUP,
        what,
        show(&with.rates),
        format!("{} its bridge without a mirror", show(&without.rates)),
        median_ratio(&with.rates[1..], &without.rates[1..]),
        Bound::None,
    );
    if let Some(span) = span {
        bench.results.add(
            GROUP,
            "packets of a router that copies all of a NIC to SPAN",
            show(span),
            format!("{} Open vSwitch's bridge with its mirror", show(&with.rates)),
            median(&span[1..]) / median(&with.rates[1..]),
            Bound::None,
        );
    }
}
