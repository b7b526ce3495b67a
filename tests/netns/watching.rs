//! What somebody sees who watches the router: `status`, `metrics`.

use std::collections::BTreeSet;
use std::io::Write;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use lab::{Nic, Vpc};
use prometheus_parse::{Sample, Scrape, Value};

use crate::configs::{NOTE, expect, full, said, vpc_with};

/// The samples of a text that Prometheus' own checker, where there is one, has nothing against.
pub fn samples(text: &str) -> Vec<Sample> {
    let checker = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn();
    match checker {
        Ok(mut checker) => {
            checker.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
            let output = checker.wait_with_output().unwrap();
            let said = String::from_utf8_lossy(&output.stderr) + String::from_utf8_lossy(&output.stdout);
            assert!(output.status.success() && said.is_empty(), "{said}\n{text}");
        }
        Err(error) => println!("without promtool: {error}"),
    }
    let scrape = Scrape::parse(text.lines().map(|line| Ok(line.to_owned()))).unwrap();
    let mut series = BTreeSet::new();
    for sample in &scrape.samples {
        let labels: Vec<(&String, &String)> = sample.labels.iter().collect();
        let name = format!(
            "{} {:?}",
            sample.metric,
            labels.into_iter().collect::<BTreeSet<_>>()
        );
        assert!(series.insert(name.clone()), "twice: {name}");
        // The parser knows of a summary's quantiles only.
        let of_summary = ["_sum", "_count"].iter().any(|end| sample.metric.ends_with(end));
        assert!(
            of_summary || !matches!(sample.value, Value::Untyped(_)),
            "without a type: {name}"
        );
    }
    // The summary's two lines are one sample of the parser.
    let lines = text.lines().filter(|line| !line.starts_with('#')).count();
    assert!(
        lines >= scrape.samples.len() && lines <= scrape.samples.len() + 2,
        "{text}"
    );
    scrape.samples
}

/// The value of the sample with these labels.
pub fn value(samples: &[Sample], name: &str, labels: &[(&str, &str)]) -> Option<f64> {
    let is = |sample: &&Sample| {
        sample.metric == name
            && labels
                .iter()
                .all(|(label, value)| sample.labels.get(label) == Some(value))
    };
    match samples.iter().find(is)?.value {
        Value::Counter(value) | Value::Gauge(value) => Some(value),
        _ => None,
    }
}

fn metrics(vpc: &Vpc) -> Vec<Sample> {
    let run = vpc.kylin_vr(&["metrics"]);
    assert_eq!(run.code, 0, "{}", said(&run));
    samples(&run.stdout)
}

pub fn metrics_are_what_prometheus_reads_and_what_was_sent() {
    let vpc = vpc_with(&(full() + "generation: 7\n"));
    assert!(vpc.client.ping("10.90.2.250", 6));
    let seen = metrics(&vpc);
    let of = |name: &str, labels: &[(&str, &str)]| {
        value(&seen, name, labels).unwrap_or_else(|| panic!("{name} {labels:?}"))
    };
    let eip = ("eip", "10.90.2.250");
    for direction in ["in", "out"] {
        let labels = [eip, ("direction", direction)];
        assert_eq!(of("kylin_vr_eip_packets_total", &labels), 6.0);
        assert_eq!(of("kylin_vr_eip_bytes_total", &labels), 6.0 * 128.0);
    }
    assert_eq!(
        of("kylin_vr_eip_connections_total", &[eip, ("direction", "in")]),
        1.0
    );
    assert_eq!(of("kylin_vr_eip_info", &[eip, ("vm_ip", "192.168.100.190")]), 1.0);
    assert_eq!(of("kylin_vr_health", &[("state", "ok")]), 1.0);
    assert_eq!(
        of("kylin_vr_entries", &[("kind", "forward"), ("state", "ok")]),
        6.0
    );
    assert_eq!(of("kylin_vr_configuration_generation", &[]), 7.0);
    assert_eq!(of("kylin_vr_pending_nics", &[]), 0.0);
    assert_eq!(of("kylin_vr_monitor_running", &[]), 0.0);
    assert!(of("kylin_vr_conntrack_entries_limit", &[]) > 0.0);
    // A reload that changes something else, and the same one again.
    vpc.reload_ok(&(full().replace("192.168.100.191", "192.168.100.192") + "generation: 8\n"));
    assert!(vpc.client.ping("10.90.2.250", 1));
    let seen = metrics(&vpc);
    let labels = [eip, ("direction", "in")];
    assert_eq!(value(&seen, "kylin_vr_eip_packets_total", &labels), Some(7.0));
    vpc.router.set_sysctl("net/ipv4/ip_forward", "0");
    vpc.unplug(Nic::SubnetB);
    let seen = metrics(&vpc);
    assert_eq!(value(&seen, "kylin_vr_health", &[("state", "error")]), Some(1.0));
    assert_eq!(value(&seen, "kylin_vr_pending_nics", &[]), Some(1.0));
    assert_eq!(
        value(&seen, "kylin_vr_faults", &[("kind", "forwarding-off")]),
        Some(1.0)
    );
}

pub fn the_dashboard_and_the_alerts_ask_for_metrics_that_there_are() {
    let vpc = vpc_with(&(full() + "generation: 7\n"));
    let monitor = vpc.daemon(&["monitor"]);
    let tally = vpc.directory().join("run/tally.json");
    crate::confirm::eventually("the monitor", || tally.exists());
    let told = vpc.kylin_vr(&["metrics"]).stdout;
    drop(monitor);
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/packaging/monitoring");
    for file in ["alerts.yaml", "dashboard.json"] {
        let text = std::fs::read_to_string(format!("{directory}/{file}")).unwrap();
        let words: BTreeSet<&str> = text
            .split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_')
            .filter(|word| word.starts_with("kylin_vr_"))
            .collect();
        assert!(words.len() > 5, "{file}: {words:?}");
        for word in words {
            let is_told = |line: &str| {
                line.starts_with(&format!("# TYPE {word} ")) || line.starts_with(&format!("{word} "))
            };
            assert!(told.lines().any(is_told), "{file} asks for {word}:\n{told}");
        }
    }
}

pub fn status_names_what_is_wrong_and_what_to_do() {
    let vpc = vpc_with(NOTE);
    let status = || vpc.kylin_vr(&["status"]);
    expect(&status(), 0, "OK: the kernel has what is configured");

    // A wrong gateway is told once somebody wants to go outside.
    vpc.reload_ok(&NOTE.replace("gateway: 10.90.3.1", "gateway: 10.90.3.99"));
    assert!(!vpc.a1.ping("198.51.100.10", 1));
    expect(
        &status(),
        0,
        "ERROR: the gateway 10.90.3.99 does not answer on wan7",
    );
    expect(&status(), 0, "-> compare `gateway` of if_list[0]");
    vpc.reload_ok(NOTE);

    // A VM that is not there.
    vpc.reload_ok(&NOTE.replace("192.168.100.191", "192.168.100.77"));
    vpc.client.ping("10.90.2.251", 1);
    expect(
        &status(),
        0,
        "? the VM 192.168.100.77 (eip_list[1]) does not answer on lan3",
    );
    vpc.reload_ok(&NOTE.replace("192.168.100.191", "192.168.77.77"));
    expect(&status(), 0, "PENDING: ");
    expect(&status(), 0, "eip_list[1].vm-ip: 192.168.77.77: ");
    vpc.reload_ok(NOTE);

    vpc.unplug(Nic::SubnetA);
    expect(
        &status(),
        0,
        "? NIC 52:54:84:11:00:03 (if_list[1], 192.168.100.254/24): ",
    );
    expect(&status(), 0, "plug it in from the hypervisor");
    vpc.plug(Nic::SubnetA);
    expect(&vpc.kylin_vr(&["reload"]), 0, "applied");

    vpc.router.set_sysctl("net/ipv4/ip_forward", "0");
    expect(&status(), 1, "ERROR: forwarding is off");
    expect(&status(), 1, "`kylin-vr reload` puts that right");
    expect(&vpc.kylin_vr(&["reload"]), 0, "applied");
    vpc.router
        .nft("delete element ip kylin_vr eip_to_vm { 10.90.2.250 }");
    expect(
        &status(),
        1,
        "DRIFT: the kernel differs from what is configured in 1 place",
    );
    expect(&vpc.kylin_vr(&["reload"]), 0, "applied");

    vpc.write_config("if_list: 5\n");
    expect(&status(), 3, "ERROR: ");
    expect(&status(), 3, "would be REFUSED");
    vpc.write_config(NOTE);
    let ok = status();
    expect(&ok, 0, "OK: the kernel has what is configured");
    // Who brought in what.
    expect(&ok, 0, "Last changes");
    assert!(
        ok.stdout
            .lines()
            .any(|line| line.contains("reload") && line.ends_with("applied, in force")),
        "{}",
        ok.stdout
    );
}

pub fn status_shows_what_is_asked_for_in_the_width_that_there_is() {
    let vpc = vpc_with(&full());
    let status = |arguments: &[&str]| vpc.kylin_vr(&[&["status"], arguments].concat());
    let one = status(&["--eip", "10.90.2.250"]).stdout;
    assert!(one.contains("10.90.2.250  192.168.100.190"), "{one}");
    assert!(
        !one.contains("10.90.2.251") && !one.contains("10.90.2.254") && !one.contains("Interfaces"),
        "{one}"
    );
    let of_vm = status(&["--vm-ip", "192.168.101.11"]).stdout;
    assert!(
        of_vm.contains("10.90.2.253") && !of_vm.contains("10.90.2.250"),
        "{of_vm}"
    );
    expect(
        &status(&["--eip", "10.9.9.9"]),
        0,
        "no entry of what is in effect has eip 10.9.9.9",
    );
    let quiet = status(&["--problems"]).stdout;
    assert!(
        !quiet.contains("10.90.2.25") && quiet.starts_with("OK:"),
        "{quiet}"
    );
    // No colours and no width for a pipe, unless it is told.
    let plain = status(&[]).stdout;
    assert!(
        !plain.contains('\x1b') && plain.contains("CONNECTIONS"),
        "{plain}"
    );
    let coloured = status(&["--color", "always"]).stdout;
    assert!(coloured.starts_with("\x1b[32mOK:"), "{coloured}");
    for width in [60, 80, 160] {
        let mut command = vpc.command();
        command.arg("status").env("COLUMNS", width.to_string());
        let output = vpc.router.output(command);
        let text = String::from_utf8(output.stdout).unwrap();
        let tables = text.split_once("Interfaces").unwrap().1;
        assert!(
            tables.lines().all(|line| line.chars().count() <= width),
            "{width}:\n{text}"
        );
        assert!(
            tables.contains("10.90.2.250  192.168.100.190  ok"),
            "{width}:\n{text}"
        );
    }
}

pub fn status_says_since_when_each_entry_is_as_it_is() {
    let vpc = vpc_with(NOTE);
    let status = || -> serde_json::Value {
        let run = vpc.kylin_vr(&["status", "--json"]);
        serde_json::from_str(&run.stdout).unwrap()
    };
    let first = status()["history"][0]["when"].clone();
    // A second is the least that two of them differ by.
    thread::sleep(Duration::from_millis(1100));
    vpc.reload_ok(&NOTE.replace("vm-ip: 192.168.100.190", "vm-ip: 192.168.100.195"));
    thread::sleep(Duration::from_millis(1100));
    vpc.reload_ok(&(NOTE.replace("vm-ip: 192.168.100.190", "vm-ip: 192.168.100.195") + "# a word\n"));
    let document = status();
    let second = document["history"][1]["when"].clone();
    let (mut moved, mut others) = (0, 0);
    for list in ["interfaces", "elastic_ips", "forwards"] {
        for entry in document[list].as_array().unwrap() {
            let is_moved = entry["vm-ip"] == "192.168.100.195";
            let when = if is_moved { &second } else { &first };
            assert_eq!(entry["changed"]["when"], *when, "{entry}");
            assert_eq!(entry["changed"]["or_before"], false, "{entry}");
            *(if is_moved { &mut moved } else { &mut others }) += 1;
        }
    }
    assert!(moved > 0 && others > moved, "{moved} {others}");
    // In words: the very time that `Last changes` has.
    let page = vpc.kylin_vr(&["status"]).stdout;
    let of_vm: Vec<&str> = page
        .lines()
        .filter(|line| line.contains(" 192.168.100.195 "))
        .collect();
    assert!(
        !of_vm.is_empty() && of_vm.iter().all(|line| line.ends_with(second.as_str().unwrap())),
        "{page}"
    );
}

pub fn status_is_refreshed_in_place_and_leaves_the_terminal_as_it_was() {
    let vpc = vpc_with(NOTE);
    let mut real = vpc.command();
    real.args(["status", "--watch", "0.2"]);
    let words: Vec<String> = std::iter::once(real.get_program())
        .chain(real.get_args())
        .map(|word| word.to_str().unwrap().to_owned())
        .collect();
    // script(1) gives it a terminal, and timeout(1) the signal that Ctrl-C gives.
    let line = format!("timeout --foreground -s INT 1.5 {}", words.join(" "));
    let mut command = Command::new("script");
    command.args(["-q", "-e", "-c", &line, "/dev/null"]);
    crate::configs::set_environment(&mut command, &real);
    let output = vpc.router.output(command);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(text.starts_with("\x1b[?1049h\x1b[?25l"), "{text:?}");
    assert!(text.trim_end().ends_with("\x1b[?25h\x1b[?1049l"), "{text:?}");
    assert!(text.matches("\x1b[H").count() >= 2, "{text:?}");
    assert!(text.contains("the kernel has what is configured"), "{text:?}");
}
