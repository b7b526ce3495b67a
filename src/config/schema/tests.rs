//! The schema beside the reader: what the one takes the other takes, value by value and file by file.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use jsonschema::Validator;
use proptest::prelude::*;
use serde_json::Value;

use super::super::check::KEYS;
use super::super::{Config, Severity};
use super::{property, schema};

fn validator() -> Validator {
    jsonschema::draft202012::new(&schema()).unwrap()
}

/// A file as an editor's schema sees it; `None`: it is not YAML, or not one document.
fn seen(text: &[u8]) -> Option<Value> {
    let text = std::str::from_utf8(text).ok()?;
    // A key that stands twice is the YAML parser's to refuse: here the last one counts.
    let mut options = serde_yaml::Options::default();
    options.duplicate_keys = serde_yaml::DuplicateKeyPolicy::LastWins;
    options.strict_booleans = true;
    serde_yaml::from_str_with_options(text, options).ok()
}

fn files(dir: &str) -> Vec<PathBuf> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join(dir);
    let mut files: Vec<PathBuf> = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    files
}

#[test]
fn it_is_a_schema_and_knows_every_key() {
    assert!(jsonschema::meta::is_valid(&schema()));
    for key in KEYS.iter().copied().flatten() {
        let property = property(key).unwrap_or_else(|| panic!("{key} is no property of the schema"));
        assert!(
            property["description"]
                .as_str()
                .is_some_and(|text| text.len() > 10),
            "{key}"
        );
    }
}

#[test]
fn every_valid_file_is_accepted() {
    let mut files: Vec<PathBuf> = files("tests/golden")
        .iter()
        .map(|case| case.join("config.yaml"))
        .collect();
    files.extend(self::files("examples"));
    assert!(files.len() > 10);
    for path in files {
        let text = fs::read(&path).unwrap();
        assert!(Config::parse(&text).config.is_some(), "{}", path.display());
        if let Err(error) = validator().validate(&seen(&text).unwrap()) {
            panic!("{}: {}: {error}", path.display(), error.instance_path());
        }
    }
    assert!(validator().is_valid(&seen(b"").unwrap_or(Value::Null)));
}

/// Bad files that no schema can refuse, and why.
const BEYOND: &[(&str, &[&str])] = &[
    (
        "what entries mean to each other",
        &[
            "eip-inside-the-vpc",
            "eip-is-the-broadcast-address",
            "eip-is-the-gateway",
            "eip-is-the-router",
            "eip-twice",
            "eip-twice-the-same",
            "end-port-below-port",
            "forward-eip-inside-the-vpc",
            "forward-eip-is-the-gateway",
            "forward-vm-is-its-eip",
            "forward-vm-is-the-router",
            "forwards-on-one-port",
            "forwards-overlap-in-a-range",
            "forwards-overlap-not-neighbours",
            "gateway-is-network-address",
            "gateway-is-own-address",
            "gateway-not-on-link",
            "gateway-twice",
            "ipaddr-broadcast-address",
            "ipaddr-network-address",
            "mac-twice",
            "mac-twice-other-case",
            "overlay-forward-takes-its-packets",
            "overlay-gateway-mac-of-a-nic",
            "overlay-local-is-an-overlay",
            "overlay-local-is-not-ours",
            "overlay-local-missing",
            "overlay-peer-is-an-eip",
            "overlay-peer-is-in-the-subnet",
            "overlay-peer-is-the-router",
            "overlay-peer-twice",
            "overlay-subnets-overlap",
            "overlay-vm-has-the-gateway-mac",
            "overlay-vm-mac-in-two-subnets",
            "overlay-vm-on-the-router",
            "overlay-vm-without-a-host",
            "overlay-vni-twice",
            "overlay-with-a-gateway",
            "mirror-all-without-a-subnet",
            "mirror-collector-in-an-overlay",
            "mirror-collector-is-the-router",
            "mirror-collector-is-the-source",
            "mirror-erspan-index-without-session",
            "mirror-name-twice",
            "mirror-snaplen-of-gre",
            "mirror-source-is-no-nic-of-the-router",
            "mirror-source-subnet-has-host-bits",
            "mirror-source-subnet-is-elsewhere",
            "mirror-source-subnet-too-wide",
            "mirror-source-vm-is-elsewhere",
            "mirror-source-vm-is-the-router",
            "mirror-target-is-a-gateway",
            "mirror-target-is-the-source",
            "mirror-target-twice",
            "mirror-trunk-is-a-gateway",
            "mirror-two-with-one-session",
            "mirror-two-with-one-tunnel",
            "pool-has-a-vm",
            "pool-has-an-eip",
            "pool-has-the-broadcast-address",
            "pool-has-the-gateway",
            "pool-has-the-routers-inner-address",
            "pool-inside-the-vpc",
            "pool-range-backwards",
            "pool-range-too-long",
            "pool-too-large",
            "pool-twice",
            "range-runs-past-65535",
            "dhcp-in-a-subnet-without-room",
            "dhcp-outside",
            "dhcp-range-backwards",
            "dhcp-range-outside-the-subnet",
            "dhcp-range-over-the-gateway",
            "dhcp-range-with-the-broadcast-address",
            "eip-inside-a-routed-network",
            "route-inside-and-not",
            "route-inside-has-the-outside",
            "route-next-hop-is-an-eip",
            "route-next-hop-is-nowhere",
            "route-next-hop-is-the-broadcast-address",
            "route-next-hop-is-the-router",
            "route-to-a-subnet",
            "route-to-host-bits",
            "route-to-part-of-a-subnet",
            "route-twice",
            "shifted-ports-too-many",
            "subnet-overlaps-external",
            "subnets-equal",
            "subnets-nested",
            "subnets-nested-not-neighbours",
            "vm-ip-is-an-eip",
            "vm-ip-is-the-broadcast-address",
            "vm-ip-is-the-network-address",
            "vm-ip-is-the-router",
            "vm-is-the-external-broadcast-address",
            "vm-list-address-twice",
            "vm-list-mac-of-the-router",
            "vm-list-mac-twice",
            "vm-list-name-twice",
            "vm-list-outside",
            "vm-list-outside-the-subnet",
            "vm-list-the-broadcast-address",
            "vm-list-the-routers-address",
        ],
    ),
    (
        "how YAML is written: a schema sees the value only",
        &[
            "key-twice-at-the-top",
            "key-twice-in-interface",
            "yaml-after-the-end-marker",
        ],
    ),
    (
        "numbers that YAML reads and the reader refuses, lest others read them otherwise",
        &["port-hexadecimal", "prefix-fraction", "prefix-octal"],
    ),
];

#[test]
fn every_bad_file_is_refused_that_a_schema_can_refuse() {
    let beyond: BTreeMap<&str, &str> = BEYOND
        .iter()
        .flat_map(|(why, names)| names.iter().map(|name| (*name, *why)))
        .collect();
    let (mut wrong, mut refused) = (Vec::new(), 0);
    for path in files("tests/bad") {
        let name = path.file_stem().unwrap().to_str().unwrap();
        // What is not YAML no schema gets to see: the editor's parser complains.
        let Some(value) = seen(&fs::read(&path).unwrap()) else {
            continue;
        };
        match (validator().is_valid(&value), beyond.contains_key(name)) {
            (true, false) => wrong.push(format!("{name} is accepted")),
            (false, true) => wrong.push(format!("{name} is refused: take it out of the list")),
            (is_valid, _) => refused += usize::from(!is_valid),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(refused > 40, "only {refused}");
}

/// A file of one entry each, all of whose values are right, but for one that is given.
fn with(key: &str, value: &str) -> String {
    let known = [
        ("ipaddr", "10.90.3.37"),
        ("prefix", "24"),
        ("mac", "52:54:84:00:08:45"),
        ("gateway", "10.90.3.1"),
        ("eip", "10.90.2.1"),
        ("vm-ip", "172.16.0.1"),
        ("protocal", "tcp"),
        ("port", "7"),
        ("end_port", "7"),
        ("vm-port", "7"),
        ("ipv6", "true"),
        ("conntrack", "keep"),
        ("to", "172.30.0.0/16"),
        ("via", "10.90.3.9"),
        ("metric", "7"),
        ("inside", "true"),
        ("generation", "7"),
        ("host", "10.90.4.11"),
        ("name", "web-1"),
        ("lease", "12h"),
        ("domain", "vpc.example"),
        ("vni", "7"),
        ("local", "10.90.3.37"),
        ("gateway-mac", "12:00:00:ff:ff:ff"),
    ];
    let line = |keys: &[&str]| {
        let pair = |name: &&str| {
            let (_, right) = known.iter().find(|(known, _)| known == name).unwrap();
            format!("\"{name}\": {}", if *name == key { value } else { right })
        };
        keys.iter().map(pair).collect::<Vec<_>>().join(", ")
    };
    format!(
        "if_list: [{{{}, vm_list: [{{{}}}], dhcp: {{{}}}}}, {{ipaddr: 172.20.1.1, prefix: 24, vxlan: {{{}}}}}]\neip_list: [{{{}}}]\nport_forward_list: [{{{}}}]\nroute_list: [{{{}}}]\n{}\n",
        line(&["ipaddr", "prefix", "mac", "gateway"]),
        line(&["vm-ip", "mac", "host", "name"]),
        line(&["lease", "domain"]),
        line(&["vni", "local", "port", "gateway-mac"]),
        line(&["eip", "vm-ip"])
            .replace("10.90.2.1", "10.90.2.2")
            .replace("172.16.0.1", "172.16.0.2"),
        line(&["eip", "protocal", "port", "end_port", "vm-port", "vm-ip"]),
        line(&["to", "via", "metric", "inside"]),
        ["ipv6", "conntrack", "generation"]
            .map(|key| line(&[key]))
            .join("\n"),
    )
}

/// Whether the reader takes the value for what it is, whatever it means to others.
fn reads(text: &str, key: &str) -> bool {
    let problems = Config::parse(text.as_bytes()).problems;
    !problems.iter().any(|problem| {
        let meant = [
            "is ",
            "overlaps",
            "expected a port not below",
            "expected an address in the subnet",
            "expected a network without host bits",
            "cannot be inside",
            "has no",
        ];
        let of_its_own = !meant.iter().any(|start| problem.message.starts_with(start))
            && !problem.message.contains("of its subnet")
            && !problem.message.contains("run past")
            && !problem.message.contains("the next hop");
        problem.severity == Severity::Error && of_its_own && problem.path.ends_with(key)
    })
}

fn assert_same(validator: &Validator, key: &str, value: &str) {
    let text = with(key, value);
    let value = seen(text.as_bytes());
    // What is not YAML is neither's.
    let accepted = value.is_some_and(|value| validator.is_valid(&value));
    let read = reads(&text, key) && seen(text.as_bytes()).is_some();
    assert_eq!(
        accepted,
        read,
        "{text}{:?}",
        Config::parse(text.as_bytes()).problems
    );
}

const OF_KEYS: [&str; 24] = [
    "ipaddr",
    "prefix",
    "mac",
    "gateway",
    "eip",
    "vm-ip",
    "protocal",
    "port",
    "end_port",
    "vm-port",
    "ipv6",
    "conntrack",
    "to",
    "via",
    "metric",
    "inside",
    "generation",
    "host",
    "name",
    "lease",
    "domain",
    "vni",
    "local",
    "gateway-mac",
];

#[test]
fn at_every_bound_both_say_the_same() {
    let validator = validator();
    let numbers = [
        "0",
        "1",
        "9",
        "10",
        "31",
        "32",
        "33",
        "99",
        "100",
        "9999",
        "10000",
        "59999",
        "60000",
        "65534",
        "65535",
        "16777215",
        "16777216",
        "65536",
        "65540",
        "65600",
        "66000",
        "70000",
        "100000",
        "4294967294",
        "4294967295",
        "18446744073709551615",
        "-1",
        "1.5",
        "01",
    ];
    let octets = [
        "0", "1", "126", "127", "128", "199", "200", "223", "224", "239", "240", "249", "250", "255", "256",
        "01",
    ];
    let macs = [
        "52:54:84:00:08:45",
        "52-54-84-00-08-45",
        "52:54-84:00:08:45",
        "AA:bb:cC:dd:ee:fF",
        "00:00:00:00:00:00",
        "00-00-00-00-00-00",
        "01:00:5e:00:00:01",
        "ff:ff:ff:ff:ff:ff",
        "52:54:84:00:08",
        "52:54:84:00:08:45:1",
        "eth0",
    ];
    let words = [
        "true", "false", "yes", "tcp", "UDP", "Tcp", "icmp", "delete", "keep", "Keep", "", " tcp", "a\\nb",
        "web-1", "-web", "web-", "a_b", "a.b", "-",
    ];
    let mut values: Vec<String> = Vec::new();
    for one in numbers.iter().chain(&macs).chain(&words) {
        values.push(format!("\"{one}\""));
    }
    // Bare only what every YAML reads alike: no leading zeros, no sixties.
    values.extend(numbers[..numbers.len() - 1].iter().map(|one| (*one).to_owned()));
    values.extend(["true", "null", "~", "[]", "{}", "[1]", "tcp"].map(ToOwned::to_owned));
    for one in octets {
        values.extend(
            [
                format!("{one}.1.2.3"),
                format!("9.{one}.2.3"),
                format!("9.1.2.{one}"),
            ]
            .map(|one| format!("\"{one}\"")),
        );
    }
    values.extend(["1.2.3", "1.2.3.4.5", "::1", "10.0.0.1/8"].map(|one| format!("\"{one}\"")));
    for prefix in [
        "",
        "0",
        "1",
        "01",
        "9",
        "10",
        "29",
        "30",
        "32",
        "33",
        "255.0.0.0",
        "/8",
    ] {
        values.push(format!("\"172.0.0.0/{prefix}\""));
    }
    let times = [
        "119",
        "120",
        "119s",
        "120s",
        "1m",
        "2m",
        "02m",
        "0h",
        "1h",
        "12h",
        "1d",
        "1w",
        "1y",
        "h",
        "infinite",
        "Infinite",
        "1h30m",
        "71582788m",
        "71582789m",
        "1193046h",
        "1193047h",
        "49710d",
        "49711d",
        "7101w",
        "7102w",
    ];
    let (label, long) = ("a".repeat(63), "a.".repeat(126));
    let domains = [
        "a",
        "a.b",
        "a..b",
        ".a",
        "a.",
        "-a",
        "a-",
        "a.-b",
        "a-b.c",
        "a b",
        "a_b",
        "a,b",
        "a/b",
        &label,
        &format!("{label}a"),
        &format!("{long}a"),
        &format!("{long}ab"),
    ]
    .map(str::to_owned);
    values.extend(times.iter().map(|one| format!("\"{one}\"")));
    values.extend(domains.iter().map(|one| format!("\"{one}\"")));
    for key in OF_KEYS {
        for value in &values {
            assert_same(&validator, key, value);
        }
    }
}

proptest! {
    #[test]
    fn of_any_value_both_say_the_same(
        key in 0..OF_KEYS.len(),
        value in prop_oneof![
            "[0-9]{1,6}",
            "[0-9]{19,21}",
            "[0-9]{1,3}(\\.[0-9]{1,3}){3}",
            "([0-9a-fA-F]{2}[:-]){5}[0-9a-fA-F]{2}",
            "[a-zA-Z0-9.: -]{0,12}",
        ],
    ) {
        assert_same(&validator(), OF_KEYS[key], &format!("\"{value}\""));
    }
}
