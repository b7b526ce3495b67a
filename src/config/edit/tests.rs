use std::collections::BTreeSet;

use super::{Edit, Entry, List, Refused, Value, edit};
use crate::config::{Config, Eip, Forward, Interface, Mirror, Place, Protocol, Severity, Vxlan};

fn eip(last: u8) -> Entry {
    Entry::Eip(Eip {
        eip: [10, 90, 2, last].into(),
        vm: [192, 168, 100, last].into(),
        place: Place::default(),
    })
}

fn config(text: &str) -> Config {
    let parsed = Config::parse(text.as_bytes());
    parsed
        .config
        .unwrap_or_else(|| panic!("{text}: {:?}", parsed.problems))
}

fn changed(text: &str, change: &Edit) -> Result<String, Refused> {
    edit(text, &config(text), change).map(|(text, ..)| text)
}

fn add(text: &str, entries: &[Entry]) -> String {
    changed(text, &Edit::Add(List::Eips, entries.to_vec())).unwrap_or_else(|why| panic!("{text}\n{why:?}"))
}

fn del(text: &str, indexes: &[usize]) -> String {
    let gone = indexes.iter().copied().collect();
    changed(text, &Edit::Remove(List::Eips, gone)).unwrap_or_else(|why| panic!("{text}\n{why:?}"))
}

#[test]
fn what_is_added_looks_like_its_neighbours() {
    for (before, after) in [
        ("", "eip_list:\n  - eip: 10.90.2.7\n    vm-ip: 192.168.100.7\n"),
        (
            "# mine\n...\n",
            "# mine\neip_list:\n  - eip: 10.90.2.7\n    vm-ip: 192.168.100.7\n...\n",
        ),
        (
            "---\n",
            "---\neip_list:\n  - eip: 10.90.2.7\n    vm-ip: 192.168.100.7\n",
        ),
        (
            "{}\n",
            "{\"eip_list\": [{\"eip\": \"10.90.2.7\", \"vm-ip\": \"192.168.100.7\"}]}\n",
        ),
        (
            "ipv6: true # yes",
            "ipv6: true # yes\neip_list:\n  - eip: 10.90.2.7\n    vm-ip: 192.168.100.7\n",
        ),
        (
            "eip_list: []  # none yet\n\n# the rest\nipv6: true\n",
            "eip_list:  # none yet\n  - eip: 10.90.2.7\n    vm-ip: 192.168.100.7\n\n# the rest\nipv6: true\n",
        ),
        (
            "eip_list:\nipv6: true\n...\n",
            "eip_list:\n  - eip: 10.90.2.7\n    vm-ip: 192.168.100.7\nipv6: true\n...\n",
        ),
        (
            "ipv6: true\neip_list: ~",
            "ipv6: true\neip_list:\n  - eip: 10.90.2.7\n    vm-ip: 192.168.100.7\n",
        ),
        (
            "eip_list: [\n]\n",
            "eip_list: [{eip: 10.90.2.7, vm-ip: 192.168.100.7}\n]\n",
        ),
        (
            "eip_list:\r\n- eip: '10.90.2.1'\r\n  vm-ip: '192.168.100.1'  # one\r\n  # two\r\n# three\r\n",
            "eip_list:\r\n- eip: '10.90.2.1'\r\n  vm-ip: '192.168.100.1'  # one\r\n  # two\r\n- eip: '10.90.2.7'\r\n  \
             vm-ip: '192.168.100.7'\r\n# three\r\n",
        ),
        (
            "eip_list:\n    -   vm-ip: 192.168.100.1\n        eip: 10.90.2.1\n",
            "eip_list:\n    -   vm-ip: 192.168.100.1\n        eip: 10.90.2.1\n    -   eip: 10.90.2.7\n        \
             vm-ip: 192.168.100.7\n",
        ),
        (
            "eip_list:\n  - { eip: 10.90.2.1, vm-ip: 192.168.100.1 } # one\n",
            "eip_list:\n  - { eip: 10.90.2.1, vm-ip: 192.168.100.1 } # one\n  - { eip: 10.90.2.7, vm-ip: 192.168.100.7 }\n",
        ),
        (
            "eip_list:\n  -\n    # one\n    eip: 10.90.2.1\n    vm-ip: 192.168.100.1\nif_list: []\n",
            "eip_list:\n  -\n    # one\n    eip: 10.90.2.1\n    vm-ip: 192.168.100.1\n  - eip: 10.90.2.7\n    \
             vm-ip: 192.168.100.7\nif_list: []\n",
        ),
        (
            "eip_list: [{eip: 10.90.2.1, vm-ip: 192.168.100.1}, ] # one\n",
            "eip_list: [{eip: 10.90.2.1, vm-ip: 192.168.100.1}, {eip: 10.90.2.7, vm-ip: 192.168.100.7}, ] # one\n",
        ),
        (
            "{\n  \"eip_list\": [\n    {\n      \"eip\": \"10.90.2.1\",\n      \"vm-ip\": \"192.168.100.1\"\n    }\n  ]\n}",
            "{\n  \"eip_list\": [\n    {\n      \"eip\": \"10.90.2.1\",\n      \"vm-ip\": \"192.168.100.1\"\n    },\n    {\n      \
             \"eip\": \"10.90.2.7\",\n      \"vm-ip\": \"192.168.100.7\"\n    }\n  ]\n}",
        ),
        (
            "{\n  \"ipv6\": true,\n  \"generation\": 7\n}\n",
            "{\n  \"ipv6\": true,\n  \"generation\": 7,\n  \"eip_list\": [{\"eip\": \"10.90.2.7\", \"vm-ip\": \
             \"192.168.100.7\"}]\n}\n",
        ),
        (
            "{eip_list: }\n",
            "{eip_list: [{eip: 10.90.2.7, vm-ip: 192.168.100.7}] }\n",
        ),
        (
            "  ipv6: true\n  conntrack: keep\n",
            "  ipv6: true\n  conntrack: keep\n  eip_list:\n    - eip: 10.90.2.7\n      vm-ip: 192.168.100.7\n",
        ),
        // An empty list of a file that indents its others not at all.
        (
            "if_list:\n- {ipaddr: 10.0.0.1, prefix: 8, mac: '02:00:00:00:00:01'}\neip_list: []\n",
            "if_list:\n- {ipaddr: 10.0.0.1, prefix: 8, mac: '02:00:00:00:00:01'}\neip_list:\n- {eip: '10.90.2.7', vm-ip: \
             '192.168.100.7'}\n",
        ),
    ] {
        // An address of the last case is inside the VPC: what a list looks like is what counts here.
        let text = before
            .replace("10.0.0.1,", "172.16.0.1,")
            .replace("prefix: 8", "prefix: 24");
        let after = after
            .replace("10.0.0.1,", "172.16.0.1,")
            .replace("prefix: 8", "prefix: 24");
        assert_eq!(add(&text, &[eip(7)]), after, "{before}");
    }
}

#[test]
fn a_forward_is_spelt_as_the_others_are() {
    let forward = |end_port| {
        let forward = Forward {
            eip: [10, 90, 2, 254].into(),
            protocol: Protocol::Udp,
            port: 80,
            end_port,
            vm: [192, 168, 100, 1].into(),
            vm_port: 8080,
            place: Place::default(),
        };
        Edit::Add(List::Forwards, vec![Entry::Forward(forward)])
    };
    let text = "port_forward_list:\n  - eip: 10.90.2.254\n    protocol: \"tcp\"\n    port: 1\n    vm-port: 1\n    vm-ip: \
                \"192.168.100.1\"\n";
    let new = "  - eip: \"10.90.2.254\"\n    protocol: \"udp\"\n    port: 80\n    end_port: 82\n    vm-port: 8080\n    vm-ip: \
               \"192.168.100.1\"\n";
    assert_eq!(changed(text, &forward(82)).unwrap(), format!("{text}{new}"));
    let new = "port_forward_list:\n  - eip: 10.90.2.254\n    protocal: udp\n    port: 80\n    vm-port: 8080\n    vm-ip: \
               192.168.100.1\n";
    assert_eq!(changed("", &forward(80)).unwrap(), new);
}

#[test]
fn an_interface_has_its_gateway() {
    let interface = |gateway| {
        Edit::Add(
            List::Interfaces,
            vec![Entry::Interface(Interface {
                address: "10.90.3.37/24".parse().unwrap(),
                mac: "52:54:84:00:08:45".parse().unwrap(),
                gateway,
                vxlan: None,
                vms: [].into(),
                dhcp: None,
                place: Place::default(),
            })],
        )
    };
    let text = "if_list:\n  - ipaddr: 10.90.3.37\n    prefix: 24\n    mac: 52:54:84:00:08:45\n";
    assert_eq!(changed("", &interface(None)).unwrap(), text);
    let gateway = Some([10, 90, 3, 1].into());
    assert_eq!(
        changed("", &interface(gateway)).unwrap(),
        format!("{text}    gateway: 10.90.3.1\n")
    );
}

fn attached(text: &str, peers: &[[u8; 4]], port: u16) -> String {
    let vxlan = Vxlan {
        peers: peers.iter().map(|peer| (*peer).into()).collect(),
        port,
        ..Vxlan::with_defaults(100).unwrap()
    };
    let entry = Entry::Interface(Interface {
        address: "172.20.1.1/24".parse().unwrap(),
        mac: vxlan.mac,
        gateway: None,
        vxlan: Some(vxlan),
        vms: [].into(),
        dhcp: None,
        place: Place::default(),
    });
    changed(text, &Edit::Add(List::Interfaces, vec![entry])).unwrap_or_else(|why| panic!("{text}\n{why:?}"))
}

#[test]
fn an_overlay_is_a_mapping_in_its_entry() {
    let external = "if_list:\n  - ipaddr: 10.90.3.37\n    prefix: 24\n    mac: 52:54:84:00:08:45\n    gateway: 10.90.3.1\n";
    let two = [[10, 90, 4, 11], [10, 90, 4, 12]];
    assert_eq!(
        attached(external, &two, 4789),
        format!(
            "{external}  - ipaddr: 172.20.1.1\n    prefix: 24\n    vxlan: {{vni: 100, peers: [10.90.4.11, 10.90.4.12]}}\n"
        )
    );
    for (before, after) in [
        (
            "if_list: [{ipaddr: '10.90.3.37', prefix: 24, mac: '52:54:84:00:08:45', gateway: '10.90.3.1'}]\n",
            "{ipaddr: '172.20.1.1', prefix: 24, vxlan: {vni: 100, peers: ['10.90.4.11'], port: 4790}}]\n",
        ),
        (
            "{\"if_list\":[{\"ipaddr\":\"10.90.3.37\",\"prefix\":24,\"mac\":\"52:54:84:00:08:45\",\"gateway\":\"10.90.3.1\"}]}\n",
            "{\"ipaddr\":\"172.20.1.1\",\"prefix\":24,\"vxlan\":{\"vni\":100,\"peers\":[\"10.90.4.11\"],\"port\":4790}}]}\n",
        ),
        (
            "{\n  \"if_list\": [\n    {\n      \"ipaddr\": \"10.90.3.37\",\n      \"prefix\": 24,\n      \"mac\": \
             \"52:54:84:00:08:45\",\n      \"gateway\": \"10.90.3.1\"\n    }\n  ]\n}\n",
            "    {\n      \"ipaddr\": \"172.20.1.1\",\n      \"prefix\": 24,\n      \"vxlan\": {\"vni\": 100, \"peers\": \
             [\"10.90.4.11\"], \"port\": 4790}\n    }\n  ]\n}\n",
        ),
    ] {
        let text = attached(before, &two[..1], 4790);
        assert!(text.ends_with(after), "{text}");
    }
}

#[test]
fn an_overlay_goes_with_its_vms_and_others_come_behind_them() {
    let entry = "  # The shop's.\n  - ipaddr: 172.20.9.1\n    prefix: 24\n    vxlan:\n      vni: 9\n      peers:\n        - \
                 10.90.4.11\n    vm_list:\n      # One.\n      - vm-ip: 172.20.9.10\n        mac: 02:6e:1d:4e:69:ef\n        \
                 host: 10.90.4.11  # here\n      # Two was here.\n";
    let external =
        "if_list:\n  - {ipaddr: 10.90.3.37, prefix: 24, mac: '52:54:84:00:08:45', gateway: 10.90.3.1}\n\n";
    let text = format!("{external}{entry}\n# The end.\nipv6: false\n...\n");
    let left = changed(&text, &Edit::Remove(List::Interfaces, [1].into())).unwrap();
    assert_eq!(left, text.replace(&format!("\n{entry}"), ""));
    let more = attached(&text, &[], 4789);
    let new = "  - ipaddr: 172.20.1.1\n    prefix: 24\n    vxlan:\n      vni: 100\n";
    assert_eq!(more, text.replace(entry, &format!("{entry}{new}")));
    // And goes again, as the last but one.
    assert_eq!(
        changed(&more, &Edit::Remove(List::Interfaces, [2].into())).unwrap(),
        text
    );
}

const COMMENTED: &str = "\
# The file.
eip_list: # all of them
  # Customers.
  - eip: 10.90.2.1
    vm-ip: 192.168.100.1 # one
  - eip: 10.90.2.2
    # between
    vm-ip: 192.168.100.2

  # The web server.
  - eip: 10.90.2.3
    vm-ip: 192.168.100.3

  # The last.
  - eip: 10.90.2.4
    vm-ip: 192.168.100.4
# The end.
ipv6: true
...
";

#[test]
fn what_goes_takes_its_lines_and_no_others_comment() {
    let one = "  - eip: 10.90.2.1\n    vm-ip: 192.168.100.1 # one\n";
    let two = "  - eip: 10.90.2.2\n    # between\n    vm-ip: 192.168.100.2\n";
    let web = "\n  # The web server.\n  - eip: 10.90.2.3\n    vm-ip: 192.168.100.3\n";
    let last = "\n  # The last.\n  - eip: 10.90.2.4\n    vm-ip: 192.168.100.4\n";
    for (gone, parts) in [
        (&[0][..], &[one][..]),
        (&[1], &[two]),
        (&[2], &[web]),
        (&[3], &[last]),
        (&[0, 1], &["  # Customers.\n", one, two]),
        (&[1, 3], &[two, last]),
    ] {
        let left = parts
            .iter()
            .fold(COMMENTED.to_owned(), |text, part| text.replace(part, ""));
        assert_eq!(del(COMMENTED, gone), left, "{gone:?}");
        let windows = COMMENTED.replace('\n', "\r\n");
        assert_eq!(del(&windows, gone), left.replace('\n', "\r\n"), "{gone:?}");
    }
    let none = "# The file.\neip_list: [] # all of them\n# The end.\nipv6: true\n...\n";
    assert_eq!(del(COMMENTED, &[0, 1, 2, 3]), none);
}

#[test]
fn items_in_brackets_go_with_their_commas() {
    let item = |last: u8| format!("{{eip: 10.90.2.{last}, vm-ip: 192.168.100.{last}}}");
    let (one, two, three) = (item(1), item(2), item(3));
    let text = format!("eip_list: [{one}, {two}, {three}] # all\n");
    for (gone, left) in [
        (&[0][..], format!("{two}, {three}")),
        (&[1], format!("{one}, {three}")),
        (&[2], format!("{one}, {two}")),
        (&[0, 1], three.clone()),
        (&[1, 2], one.clone()),
        (&[0, 2], two.clone()),
        (&[0, 1, 2], String::new()),
    ] {
        assert_eq!(
            del(&text, gone),
            format!("eip_list: [{left}] # all\n"),
            "{gone:?}"
        );
    }
    let text = format!("{{\"eip_list\": [\n    {one},\n    {two}, # two\n    {three},\n  ]}}\n");
    assert_eq!(
        del(&text, &[2]),
        format!("{{\"eip_list\": [\n    {one},\n    {two}, # two\n  ]}}\n")
    );
    assert_eq!(
        del(&text, &[1]),
        format!("{{\"eip_list\": [\n    {one},\n    {three},\n  ]}}\n")
    );
    let shared = format!("eip_list: [{one}, {two}, # both\n  {three}]\n");
    assert_eq!(
        changed(&shared, &Edit::Remove(List::Eips, [0].into())),
        Err(Refused::Unsure(List::Eips))
    );
    assert_eq!(
        del(&text, &[0]),
        format!("{{\"eip_list\": [\n    {two}, # two\n    {three},\n  ]}}\n")
    );
}

#[test]
fn what_anchors_share_is_left_alone() {
    let shared = "eip_list: &all\n  - &one {eip: 10.90.2.1, vm-ip: &vm 192.168.100.1}\n  - {eip: 10.90.2.2, vm-ip: *vm}\n";
    for gone in [0, 1] {
        let gone = Edit::Remove(List::Eips, BTreeSet::from([gone]));
        assert_eq!(changed(shared, &gone), Err(Refused::Unsure(List::Eips)));
    }
    let elsewhere = "if_list:\n  - {ipaddr: 172.16.0.1, prefix: &p 24, mac: '02:00:00:00:00:01'}\n  - {ipaddr: 172.16.1.1, \
                     prefix: *p, mac: '02:00:00:00:00:02'}\neip_list: []\n";
    assert!(add(elsewhere, &[eip(7)]).contains("eip: '10.90.2.7'"));
}

#[test]
fn what_would_be_invalid_says_what_is_wrong_with_it() {
    let text = "eip_list:\n  - eip: 10.90.2.7\n    vm-ip: 192.168.100.1\n";
    let Err(Refused::Invalid(problems)) = changed(text, &Edit::Add(List::Eips, vec![eip(7)])) else {
        panic!("accepted");
    };
    let errors = problems
        .iter()
        .filter(|problem| problem.severity == Severity::Error);
    let said: Vec<String> = errors.map(ToString::to_string).collect();
    assert_eq!(
        said,
        ["line 4, column 5: eip_list[1].eip: 10.90.2.7: is in eip_list[0] already"]
    );
}

/// Ways to write lists, each with as many entries as asked for.
fn written(count: usize, way: usize) -> String {
    let last = |index: usize| index + 1;
    let entries = |line: &dyn Fn(usize) -> String| (0..count).map(line).collect::<String>();
    let join = |between: &str| {
        let item = |index| {
            format!(
                "{{\"eip\": \"10.90.2.{0}\",  \"vm-ip\": 192.168.100.{0}}}",
                last(index)
            )
        };
        (0..count).map(item).collect::<Vec<_>>().join(between)
    };
    match way {
        0 => format!(
            "eip_list:\n{}ipv6: true\n",
            entries(&|index| format!("- eip: 10.90.2.{0}\n  vm-ip: 192.168.100.{0}\n", last(index)))
        ),
        1 => format!(
            "eip_list: # x\n{}...\n",
            entries(&|index| format!(
                "\n  # {0}\n  -  eip: 10.90.2.{0} # y\n\n     vm-ip: 192.168.100.{0}\n",
                last(index)
            ))
        ),
        2 => format!("ipv6: true\neip_list: [{}]", join(" , ")),
        3 => format!("{{\"eip_list\": [\n  {}\n], \"ipv6\": true}}\n", join(",\n  ")),
        4 => format!(
            "eip_list:\n{}# end",
            entries(&|index| format!("  - {{vm-ip: 192.168.100.{0}, eip: 10.90.2.{0}}}\n", last(index)))
        ),
        _ => format!(
            "eip_list:\r\n{}",
            entries(&|index| format!(
                "    -\r\n      eip: '10.90.2.{0}'\r\n      vm-ip: 192.168.100.{0}\r\n  # z\r\n",
                last(index)
            ))
        ),
    }
}

#[test]
fn every_set_of_entries_can_go_and_come_in_every_way_of_writing() {
    for way in 0..=5 {
        for count in 0..=4 {
            let text = written(count, way);
            for set in 0..1_u32 << count {
                let gone: Vec<usize> = (0..count).filter(|index| set & (1 << index) != 0).collect();
                let left = del(&text, &gone);
                let back: Vec<Entry> = gone
                    .iter()
                    .map(|index| eip(u8::try_from(*index).unwrap() + 1))
                    .collect();
                let again = add(&left, &back);
                assert_eq!(config(&again).eips().len(), count, "{text}\n{left}\n{again}");
                // What is not the entries' own stays: comments at the end, the marker, the other keys.
                for mark in ["# x", "# end", "...", "ipv6: true"] {
                    assert_eq!(text.contains(mark), again.contains(mark), "{text}\n{again}");
                }
                assert_eq!(
                    text.contains("\r\n"),
                    again.contains("\r\n") && !again.replace("\r\n", "").contains('\n')
                );
            }
        }
    }
}

/// The interfaces of [`mirrors_look_like_their_neighbours`].
const NICS: &str = "if_list:\n- {ipaddr: 10.90.3.37, prefix: 24, mac: 52:54:84:00:08:45, gateway: 10.90.3.1}\n- {ipaddr: \
                    192.168.100.254, prefix: 24, mac: 52:54:84:11:00:03}\n";

/// Two mirrors: with as much as there can be, and with as little.
fn mirrors() -> [Entry; 2] {
    let text = format!(
        "{NICS}mirror_list:\n- {{name: '7', source: {{vm-ip: 192.168.100.190}}, select: dst, filter: {{protocol: tcp, port: \
         443, cidr: 10.0.0.0/8}}, sample: 10, to: [{{nic: {{mac: 52:54:84:22:00:01}}}}, {{gre: {{remote: 172.19.0.21, key: \
         99}}}}, {{erspan: {{remote: 172.19.0.21, index: 5000, session: 9, version: 2}}}}, {{vlan: {{mac: 52:54:84:22:00:02, \
         id: 51}}}}]}}\n- {{name: a, source: {{all: true}}, to: [{{erspan: {{remote: 172.19.0.22, index: 7}}}}], snaplen: \
         142}}\n"
    );
    let mirrors = config(&text).without_places().mirrors().to_vec();
    let [full, plain] = mirrors.try_into().unwrap();
    [Entry::Mirror(full), Entry::Mirror(plain)]
}

#[test]
fn mirrors_look_like_their_neighbours() {
    let add = |text: &str, one: usize| {
        changed(text, &Edit::Add(List::Mirrors, vec![mirrors()[one].clone()]))
            .unwrap_or_else(|why| panic!("{text}\n{why:?}"))
    };
    // In a file without any, as the documents have it.
    let lines = NICS
        .replace("- {", "  - ")
        .replace(", prefix", "\n    prefix")
        .replace(", mac", "\n    mac")
        .replace(", gateway", "\n    gateway")
        .replace('}', "");
    let full = "\
mirror_list:
  - name: '7'
    source: {vm-ip: 192.168.100.190}
    select: dst
    filter: {protocol: tcp, port: 443, cidr: 10.0.0.0/8}
    to:
      - nic: {mac: 52:54:84:22:00:01}
      - gre: {remote: 172.19.0.21, key: 99}
      - erspan: {remote: 172.19.0.21, index: 5000, session: 9, version: 2}
      - vlan: {mac: 52:54:84:22:00:02, id: 51}
    sample: 10
";
    assert_eq!(add(&lines, 0), format!("{lines}{full}"));
    let neighbour = |text: &str| format!("{NICS}mirror_list:\n{text}# end\n");
    for (before, after) in [
        (
            "- {name: x, source: {all: true}, to: [{gre: {remote: 172.19.0.9}}]}\n",
            "- {name: a, source: {all: true}, to: [{erspan: {remote: 172.19.0.22, index: 7}}], snaplen: 142}\n",
        ),
        (
            "  -  \"name\": \"x\"\n     \"source\":\n         \"vm-ip\": \"192.168.100.7\"\n     \"to\":\n     -  \"gre\":\n            \
             \"remote\": \"172.19.0.9\" # nine\n            # and more\n",
            "  -  \"name\": \"a\"\n     \"source\":\n         \"all\": true\n     \"to\":\n     - \"erspan\":\n           \
             \"remote\": \"172.19.0.22\"\n           \"index\": 7\n     \"snaplen\": 142\n",
        ),
        (
            "  - to: [gre: {remote: '172.19.0.9', key: '9'}]\n    source: {all: true}\n    name: 'x'\n",
            "  - name: 'a'\n    source: {all: true}\n    to: [{erspan: {remote: '172.19.0.22', index: '7'}}]\n    snaplen: \
             '142'\n",
        ),
        (
            "  - name: x\n    source: {all: true}\n    to:\n        - {gre: {remote: 172.19.0.9}}\n",
            "  - name: a\n    source: {all: true}\n    to:\n        - {erspan: {remote: 172.19.0.22, index: 7}}\n    snaplen: \
             142\n",
        ),
    ] {
        let text = neighbour(before);
        for (text, before, after) in [
            (text.clone(), before.to_owned(), after.to_owned()),
            (
                text.replace('\n', "\r\n"),
                before.replace('\n', "\r\n"),
                after.replace('\n', "\r\n"),
            ),
        ] {
            assert_eq!(add(&text, 1), text.replace(&before, &(before.clone() + &after)));
            // And goes again, in whichever way it is written.
            for (gone, left) in [(1, text.clone()), (0, text.replace(&before, &after))] {
                let gone = Edit::Remove(List::Mirrors, [gone].into());
                assert_eq!(changed(&add(&text, 1), &gone).unwrap(), left);
            }
        }
    }
    // JSON stays JSON.
    let json = r#"{
  "if_list": [{"ipaddr": "192.168.100.254", "prefix": 24, "mac": "52:54:84:11:00:03"}],
  "mirror_list": [
    {
      "name": "x",
      "source": {
        "all": true
      },
      "to": [
        {
          "gre": {"remote": "172.19.0.9"}
        }
      ]
    }
  ]
}
"#;
    let full = r#"    },
    {
      "name": "7",
      "source": {"vm-ip": "192.168.100.190"},
      "select": "dst",
      "filter": {"protocol": "tcp", "port": 443, "cidr": "10.0.0.0/8"},
      "to": [{"nic": {"mac": "52:54:84:22:00:01"}}, {"gre": {"remote": "172.19.0.21", "key": 99}}, {"erspan": {"remote": "172.19.0.21", "index": 5000, "session": 9, "version": 2}}, {"vlan": {"mac": "52:54:84:22:00:02", "id": 51}}],
      "sample": 10
    }
  ]
"#;
    let new = add(json, 0);
    assert_eq!(new, json.replace("    }\n  ]\n", full));
    serde_json::from_str::<serde_json::Value>(&new).unwrap();
}

#[test]
fn a_mirror_in_words_is_read_as_one_of_the_file() {
    for entry in mirrors() {
        let Entry::Mirror(mirror) = &entry else { panic!() };
        let fields = entry.fields().into_iter();
        let value = Value::Map(fields.map(|(key, value)| (key.into(), value)).collect());
        assert_eq!(Mirror::of(&value).as_ref(), Ok(mirror));
    }
    let gre = Value::Map(vec![
        ("remote".into(), Value::text("172.19.0.21")),
        ("kye".into(), Value::text("9")),
    ]);
    let wrong = Value::Map(vec![
        ("name".into(), Value::text("a b")),
        ("source".into(), Value::pair("vm-ip", Value::text("1.2.3"))),
        ("to".into(), Value::List(vec![Value::pair("gre", gre)])),
    ]);
    let problems: Vec<String> = Mirror::of(&wrong)
        .unwrap_err()
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(
        problems,
        [
            "name: a b: expected a name of 1 to 16 letters, digits, dots, hyphens and underscores",
            "source.vm-ip: 1.2.3: expected an IPv4 address, as in 192.168.100.254",
            "to[0].gre.kye: unknown key; did you mean key?",
        ]
    );
}
