//! What is accepted, and what is warned of. What is refused is in `tests/bad`.

use super::*;

const INTERFACES: &str = "if_list:
  - {ipaddr: 10.90.3.37, prefix: 24, mac: '52:54:84:00:08:45', gateway: 10.90.3.1}
  - {ipaddr: 192.168.100.254, prefix: 24, mac: '52:54:84:11:00:03'}
";

fn parse(text: &str) -> Config {
    let parsed = Config::parse(text.as_bytes());
    parsed
        .config
        .unwrap_or_else(|| panic!("{text}\n{:?}", parsed.problems))
}

/// A valid text's warnings, as they are printed.
fn warnings(lists: &str) -> Vec<String> {
    let text = format!("{INTERFACES}{lists}");
    let parsed = Config::parse(text.as_bytes());
    assert!(parsed.config.is_some(), "{text}\n{:?}", parsed.problems);
    parsed.problems.iter().map(ToString::to_string).collect()
}

#[test]
fn the_example_of_the_note_is_read_as_it_is() {
    let config = parse(include_str!("../../examples/kylin-vr.yaml"));
    let external = config.external().unwrap();
    assert_eq!(
        (external.address.to_string(), external.mac.to_string()),
        ("10.90.3.37/24".to_owned(), "52:54:84:00:08:45".to_owned())
    );
    assert_eq!(external.gateway, Some("10.90.3.1".parse().unwrap()));
    assert_eq!(config.internal().count(), 1);
    assert_eq!(config.eips()[1].vm.to_string(), "192.168.100.191");
    let forward = &config.forwards()[0];
    assert_eq!(
        (forward.protocol, forward.port, forward.end_port, forward.vm_port),
        (Protocol::Tcp, 80, 82, 80)
    );
    assert_eq!(forward.place, Place { line: 17, column: 5 });
    assert!(!config.ipv6());
    assert!(config.counters() && config.drop_invalid());
    assert_eq!(config.conntrack(), crate::model::Conntrack::Delete);
    assert_eq!(config.fast_path(), crate::config::FastPathMode::Auto);
}

#[test]
fn an_empty_file_and_empty_lists_are_a_router_with_nothing_to_do() {
    for text in [
        "",
        "\n",
        "# only a comment\n",
        "---\n",
        "if_list:\neip_list: []\n",
        "if_list: ~\n...\n",
        "\u{feff}\n",
        "{}",
    ] {
        assert_eq!(parse(text), Config::default(), "{text:?}");
    }
}

#[test]
fn numbers_may_be_quoted_and_macs_be_anything_that_yaml_takes_for_a_number() {
    let config = parse(
        "if_list:\n  - ipaddr: \"10.0.0.1\"\n    prefix: '16'\n    mac: 12:34:56:10:20:30\n    gateway:\n",
    );
    assert_eq!(config.interfaces()[0].address.to_string(), "10.0.0.1/16");
    assert_eq!(config.interfaces()[0].mac.to_string(), "12:34:56:10:20:30");
    assert_eq!(config.interfaces()[0].gateway, None);
}

#[test]
fn vms_are_listed_at_their_subnet() {
    let text = "if_list:\n  - ipaddr: 10.0.0.1\n    prefix: 24\n    mac: 52:54:84:00:00:01\n    vm_list:\n      \
                - {vm-ip: 10.0.0.9, mac: 02:00:00:00:00:09, name: web-1}\n      \
                - {vm-ip: 10.0.0.8, mac: 02:00:00:00:00:08, name: 7, host: 10.90.4.11}\n";
    let parsed = Config::parse(text.as_bytes());
    let told: Vec<String> = parsed.problems.iter().map(ToString::to_string).collect();
    assert_eq!(
        told,
        [
            "line 7, column 9: if_list[0].vm_list[1].host: 10.90.4.11: has no effect: the VMs of this subnet are \
          reached by the router's NIC there"
        ]
    );
    let config = parsed.config.unwrap();
    let vms: Vec<_> = (config.interfaces()[0].vms.iter())
        .map(|vm| (vm.address.to_string(), vm.name.as_deref(), vm.host.is_some()))
        .collect();
    assert_eq!(
        vms,
        [
            ("10.0.0.9".to_owned(), Some("web-1"), false),
            ("10.0.0.8".to_owned(), Some("7"), true)
        ]
    );
}

#[test]
fn both_spellings_of_protocol_and_any_case_are_accepted() {
    let forward = |protocol: &str| {
        parse(&format!(
            "port_forward_list: [{{eip: 1.1.1.1, {protocol}, port: 1, vm-port: 1, vm-ip: 2.2.2.2}}]"
        ))
        .forwards()[0]
            .protocol
    };
    assert_eq!(forward("protocal: tcp"), Protocol::Tcp);
    assert_eq!(forward("protocol: udp"), Protocol::Udp);
    assert_eq!(forward("protocal: UDP"), Protocol::Udp);
}

#[test]
fn edges_of_what_is_valid_are_valid() {
    for text in [
        "if_list: [{ipaddr: 10.0.0.0, prefix: 31, mac: 02:00:00:00:00:01, gateway: 10.0.0.1}]",
        "if_list: [{ipaddr: 10.0.0.0, prefix: 32, mac: 02:00:00:00:00:01}]",
        "if_list: [{ipaddr: 10.0.0.1, prefix: 0, mac: 02:00:00:00:00:01}]",
        "if_list: [{ipaddr: 10.0.0.1, prefix: 25, mac: 02:00:00:00:00:01}, {ipaddr: 10.0.0.129, prefix: 25, mac: 02:00:00:00:00:02}]",
        "port_forward_list: [{eip: 1.1.1.1, protocal: tcp, port: 1, end_port: 65535, vm-port: 1, vm-ip: 2.2.2.2}]",
        "port_forward_list: [{eip: 1.1.1.1, protocal: tcp, port: 80, end_port: 80, vm-port: 65535, vm-ip: 2.2.2.2}]",
        "port_forward_list: [{eip: 1.1.1.1, protocal: tcp, port: 80, vm-port: 80, vm-ip: 2.2.2.2}, {eip: 1.1.1.1, protocal: udp, port: 80, vm-port: 80, vm-ip: 2.2.2.2}]",
        "port_forward_list: [{eip: 1.1.1.1, protocal: tcp, port: 80, end_port: 81, vm-port: 80, vm-ip: 2.2.2.2}, {eip: 1.1.1.1, protocal: tcp, port: 82, vm-port: 80, vm-ip: 2.2.2.2}]",
    ] {
        parse(text);
    }
}

#[test]
fn the_router_s_own_external_address_may_be_forwarded() {
    let lists =
        "port_forward_list: [{eip: 10.90.3.37, protocal: tcp, port: 80, vm-port: 80, vm-ip: 192.168.100.1}]";
    assert_eq!(warnings(lists), [] as [&str; 0]);
}

#[test]
fn a_vm_outside_every_subnet_is_warned_of() {
    assert_eq!(
        warnings("eip_list: [{eip: 10.90.2.1, vm-ip: 172.16.0.1}]"),
        ["line 4, column 12: eip_list[0].vm-ip: 172.16.0.1: is in no subnet of the VPC"]
    );
    let forward =
        "port_forward_list:\n  - {eip: 10.90.2.1, protocal: tcp, port: 1, vm-port: 1, vm-ip: 172.16.0.1}";
    assert_eq!(
        warnings(forward),
        ["line 5, column 5: port_forward_list[0].vm-ip: 172.16.0.1: is in no subnet of the VPC"]
    );
}

#[test]
fn a_vm_with_several_eips_is_warned_of() {
    let lists =
        "eip_list:\n  - {eip: 10.90.2.1, vm-ip: 192.168.100.1}\n  - {eip: 10.90.2.2, vm-ip: 192.168.100.1}";
    assert_eq!(
        warnings(lists),
        [
            "line 6, column 5: eip_list[1].vm-ip: 192.168.100.1: has several elastic IPs: outside it is seen as \
          10.90.2.1, that of eip_list[0]"
        ]
    );
}

#[test]
fn an_eip_in_both_lists_is_warned_of() {
    let lists = "eip_list: [{eip: 10.90.2.1, vm-ip: 192.168.100.1}]\nport_forward_list:\n  \
                 - {eip: 10.90.2.1, protocal: tcp, port: 1, vm-port: 1, vm-ip: 192.168.100.2}";
    assert_eq!(
        warnings(lists),
        [
            "line 6, column 5: port_forward_list[0].eip: 10.90.2.1: has no effect: eip_list[0] gives every port of \
          this address to 192.168.100.1"
        ]
    );
}

#[test]
fn a_router_without_a_way_out_is_warned_of() {
    let parsed = Config::parse(b"eip_list: [{eip: 10.90.2.1, vm-ip: 192.168.100.1}]");
    let said: Vec<String> = parsed.problems.iter().map(ToString::to_string).collect();
    assert!(
        said.iter()
            .any(|line| line.contains("if_list: no interface has a gateway")),
        "{said:?}"
    );
}

#[test]
fn a_file_over_the_size_is_refused_without_a_look() {
    let parsed = Config::parse(&vec![b' '; MAX_BYTES + 1]);
    assert_eq!(parsed.problems[0].to_string(), "expected a file of at most 8 MiB");
    // The largest that is looked at is looked at.
    assert!(Config::parse(&vec![b'\n'; MAX_BYTES]).config.is_some());
}

#[test]
fn ten_thousand_entries_are_read() {
    let entries: String = (0..10_000)
        .map(|one| {
            format!(
                "  - eip: 10.91.{}.{}\n    vm-ip: 192.168.100.{}\n",
                one / 250,
                1 + one % 250,
                1 + one % 250
            )
        })
        .collect();
    assert_eq!(
        parse(&format!("{INTERFACES}eip_list:\n{entries}")).eips().len(),
        10_000
    );
}

#[test]
fn an_error_at_the_end_of_a_text_is_told_at_its_end() {
    for (text, expected) in [
        ("%,", (1, 3)),
        ("if_list: []\n%,", (2, 1)),
        ("a: 1\r\nb: 2\r%,", (3, 1)),
        ("ä: [", (1, 4)),
    ] {
        let problems = Config::parse(text.as_bytes()).problems;
        let place = problems[0].place;
        assert_eq!((place.line, place.column), expected, "{text:?}: {problems:?}");
    }
}

#[test]
fn after_the_end_marker_there_is_nothing_but_comments() {
    for (end, expected) in [
        ("...", None),
        ("... # the end\n", None),
        ("...\r\n\r\n# the end\r\n  # \n...\n", None),
        ("...\n{\n", Some((3, 1))),
        ("...\n ?", Some((3, 1))),
        ("...\r\n\r\n ]", Some((4, 1))),
    ] {
        let parsed = Config::parse(format!("if_list: []\n{end}").as_bytes());
        let place = parsed
            .problems
            .first()
            .map(|one| (one.place.line, one.place.column));
        assert_eq!(place, expected, "{end:?}: {parsed:?}");
    }
}

#[test]
fn a_thousand_problems_of_a_kind_are_told_and_the_others_counted() {
    let eips = |count: usize| {
        (0..count).map(|one| format!("- {{eip: 1.1.{}.{}, vm-ip: 9.9.9.9}}\n", one / 250, one % 250))
    };
    // Warnings, however many, hide no error: the last entry has one.
    let text = format!(
        "{INTERFACES}eip_list:\n{}- {{}}\n",
        eips(1_500).collect::<String>()
    );
    let parsed = Config::parse(text.as_bytes());
    assert_eq!(parsed.config, None);
    let of = |severity| {
        parsed
            .problems
            .iter()
            .filter(|one| one.severity == severity)
            .count()
    };
    // The entry lacks both keys; and what is left out is one more.
    assert_eq!((of(Severity::Error), of(Severity::Warning)), (2, 1_001));

    let text = format!("{INTERFACES}eip_list:\n{}", "- {}\n".repeat(700));
    let problems = Config::parse(text.as_bytes()).problems;
    assert_eq!(problems.len(), 1_001);
    assert_eq!(problems[1_000].to_string(), "400 more errors and 0 more warnings");
}

#[test]
fn a_pool_is_addresses_and_ranges_and_may_have_what_is_forwarded_and_the_routers_own() {
    let forward =
        "port_forward_list: [{eip: 10.90.2.254, protocal: tcp, port: 1, vm-port: 1, vm-ip: 192.168.100.1}]\n";
    let pool = "snat_pool: [10.90.2.240-10.90.2.241, 10.90.3.37, '10.90.2.254', 10.91.0.9 - 10.91.0.9]\n";
    assert_eq!(warnings(&format!("{forward}{pool}")), [""; 0]);
    let config = parse(&format!("{INTERFACES}{forward}{pool}"));
    let addresses = config.snat_pool().iter().flat_map(SnatPool::addresses);
    let addresses: Vec<String> = addresses.map(|address| address.to_string()).collect();
    assert_eq!(
        addresses,
        [
            "10.90.2.240",
            "10.90.2.241",
            "10.90.3.37",
            "10.90.2.254",
            "10.91.0.9"
        ]
    );
    assert_eq!(warnings("snat_pool: [10.91.0.0-10.91.0.255]\n"), [""; 0]);
    // A router with nothing but a pool is to answer for it, and is told what it lacks.
    let alone = Config::parse(b"snat_pool: [10.90.2.240]\n");
    assert!(!alone.config.unwrap().is_empty());
    assert!(
        alone.problems[0].message.contains("no interface has a gateway"),
        "{:?}",
        alone.problems
    );
}

#[test]
fn how_many_flows_are_tracked_is_by_the_memory_unless_the_file_says_otherwise() {
    use crate::model::ConntrackMax::{Auto, Flows, Keep};
    for (text, expected) in [
        ("", Auto),
        ("conntrack_max: auto", Auto),
        ("conntrack_max: keep", Keep),
        ("conntrack_max: 1048576", Flows(1_048_576)),
    ] {
        assert_eq!(parse(text).conntrack_max(), expected, "{text}");
    }
}

#[test]
fn what_costs_packets_is_done_for_many_entries_only_where_the_file_asks_for_it() {
    let file = |eips: usize, more: &str| {
        let entry = |n: usize| {
            format!(
                "- {{eip: 10.90.{}.{}, vm-ip: 192.168.{}.{}}}\n",
                n / 250,
                n % 250 + 1,
                n / 250,
                n % 250 + 1
            )
        };
        let text = format!("{more}eip_list:\n{}", (0..eips).map(entry).collect::<String>());
        let config = Config::parse(text.as_bytes()).config.unwrap();
        (
            config.counters(),
            config.has_too_many_to_count(),
            config.drop_invalid(),
        )
    };
    assert_eq!(file(super::MOST_COUNTED, ""), (true, false, true));
    assert_eq!(file(super::MOST_COUNTED + 1, ""), (false, true, false));
    assert_eq!(
        file(super::MOST_COUNTED + 1, "counters: true\n"),
        (true, false, false)
    );
    assert_eq!(file(1, "counters: false\n"), (false, false, true));
    assert_eq!(file(1, "drop_invalid: false\n"), (true, false, false));
}
