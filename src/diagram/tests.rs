use std::fs;
use std::path::PathBuf;

use super::{Format, draw};
use crate::config::Config;

fn config(text: &str) -> Config {
    Config::parse(text.as_bytes()).config.unwrap()
}

const EXAMPLE: &str = include_str!("../../examples/vpc.yaml");

/// Three subnets and 300 entries.
fn large() -> Config {
    let mut text =
        "if_list:\n  - {ipaddr: 10.90.3.37, prefix: 24, mac: 52:54:84:00:08:45, gateway: 10.90.3.1}\n"
            .to_owned();
    for net in 0..3 {
        text += &format!("  - {{ipaddr: 192.168.{net}.254, prefix: 24, mac: 52:54:84:11:00:0{net}}}\n");
    }
    text += "eip_list:\n";
    for number in 0..150 {
        text += &format!(
            "  - {{eip: 10.91.0.{}, vm-ip: 192.168.{}.{}}}\n",
            number + 1,
            number % 3,
            number / 3 + 1
        );
    }
    text += "port_forward_list:\n";
    for number in 0..150 {
        let (net, vm) = (number % 3, number / 30 + 1);
        text += &format!(
            "  - {{eip: 10.90.2.254, protocal: tcp, port: {0}, vm-port: {0}, vm-ip: 192.168.{net}.{vm}}}\n",
            8000 + number
        );
    }
    config(&text)
}

/// Mirrors of a VM, a NIC inside and outside, and all; two of them to one analyser, and more than are shown.
fn mirrored() -> Config {
    let mut text = "if_list:
  - {ipaddr: 10.90.3.37, prefix: 24, mac: '52:54:84:00:08:45', gateway: 10.90.3.1}
  - {ipaddr: 192.168.100.254, prefix: 24, mac: '52:54:84:11:00:03'}
  - {ipaddr: 192.168.101.254, prefix: 24, mac: '52:54:84:11:00:04'}
mirror_list:
  - name: ids-1
    source: {vm-ip: 192.168.101.10}
    filter: {protocol: tcp, port: 443}
    to: [{nic: {mac: '52:54:84:22:00:01'}}, {gre: {remote: 172.19.0.21, key: 99}}]
  - {name: a, source: {mac: '52:54:84:11:00:03'}, select: src, to: [{nic: {mac: '52:54:84:22:00:01'}}]}
  - {name: outside, source: {mac: '52:54:84:00:08:45'}, to: [{vlan: {mac: '52:54:84:22:00:02', id: 51}}]}
"
    .to_owned();
    for number in 0..10 {
        text += &format!(
            "  - {{name: m{number}, source: {{all: true}}, to: [{{erspan: {{remote: 172.19.0.22, index: {number}}}}}]}}\n"
        );
    }
    config(&text)
}

/// Compares with `tests/diagram/NAME`; `UPDATE_GOLDEN=1` writes it anew.
fn assert_golden(name: &str, text: &str) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("tests/diagram")
        .join(name);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
    }
    let golden = fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(
        text,
        golden,
        "{} (UPDATE_GOLDEN=1 writes it anew)",
        path.display()
    );
}

#[test]
fn pictures_are_the_golden_ones() {
    for (format, ending) in [
        (Format::Mermaid, "mmd"),
        (Format::Dot, "dot"),
        (Format::Svg, "svg"),
    ] {
        assert_golden(&format!("example.{ending}"), &draw(&config(EXAMPLE), format, 8));
        assert_golden(&format!("large.{ending}"), &draw(&large(), format, 8));
        assert_golden(&format!("mirrors.{ending}"), &draw(&mirrored(), format, 8));
        assert_golden(&format!("empty.{ending}"), &draw(&Config::default(), format, 8));
    }
}

#[test]
fn every_entry_is_shown_or_counted() {
    for vms in [1, 7, 48, 49, 50, 1000] {
        let picture = super::group::Picture::of(&large(), vms);
        let mut counted = 0;
        for network in &picture.networks {
            assert!(network.vms.len() <= vms + 1);
            let numbers = |text: &str, thing: &str| -> usize {
                text.split_once(thing)
                    .and_then(|(before, _)| before.rsplit(' ').find(|word| !word.is_empty())?.parse().ok())
                    .unwrap_or(0)
            };
            if let Some(more) = &network.more {
                counted += numbers(more, " elastic IP") + numbers(more, " forward");
            }
            for line in network.vms.iter().flat_map(|vm| &vm.lines) {
                counted += line.strip_prefix("and ").map_or(1, |_| numbers(line, " more"));
            }
        }
        assert_eq!(counted, 300, "{vms}");
        assert!(picture.networks.len() == 3);
    }
}

#[test]
fn a_vm_in_no_subnet_is_beside_the_networks() {
    let config = config("eip_list: [{eip: 10.0.0.1, vm-ip: 172.16.0.1}]");
    let text = draw(&config, Format::Mermaid, 8);
    assert!(
        text.contains("[\"in no subnet of the VPC\"]") && text.contains("router -.- net0"),
        "{text}"
    );
    assert!(!text.contains("outside"), "{text}");
}

#[test]
fn a_vm_that_is_listed_is_there_by_its_name() {
    let config = config(
        "if_list:\n  - ipaddr: 10.0.0.1\n    prefix: 24\n    mac: 52:54:84:00:00:01\n    vm_list:\n      \
         - {vm-ip: 10.0.0.9, mac: 02:00:00:00:00:09, name: web-1}\n      \
         - {vm-ip: 10.0.0.8, mac: 02:00:00:00:00:08}\neip_list: [{eip: 1.1.1.1, vm-ip: 10.0.0.9}]",
    );
    let text = draw(&config, Format::Mermaid, 8);
    assert!(
        text.contains("[\"10.0.0.9<br>web-1<br>EIP 1.1.1.1\"]") && text.contains("[\"10.0.0.8\"]"),
        "{text}"
    );
}

#[test]
fn an_overlay_has_its_number_and_its_vms_their_hypervisors() {
    let config = config(
        "if_list:\n  - {ipaddr: 10.90.3.37, prefix: 24, mac: 52:54:84:00:08:45, gateway: 10.90.3.1}\n  \
         - ipaddr: 172.20.1.1\n    prefix: 24\n    vxlan: {vni: 100}\n    vm_list:\n      \
         - {vm-ip: 172.20.1.10, mac: 02:00:00:00:00:10, host: 10.90.4.11, name: web-1}\n",
    );
    let text = draw(&config, Format::Mermaid, 8);
    assert!(
        text.contains("|\"172.20.1.1 VXLAN 100\"|")
            && text.contains("[\"172.20.1.10<br>web-1<br>on 10.90.4.11\"]"),
        "{text}"
    );
}

#[test]
fn an_svg_is_xml_and_nothing_leaves_its_box() {
    for config in [config(EXAMPLE), large(), mirrored(), Config::default()] {
        for vms in [1, 8, 100] {
            let text = draw(&config, Format::Svg, vms);
            let document = roxmltree::Document::parse(&text).unwrap();
            let number = |node: &roxmltree::Node<'_, '_>, name: &str| -> usize {
                node.attribute(name).map_or(0, |text| text.parse().unwrap())
            };
            let root = document.root_element();
            let (width, height) = (number(&root, "width"), number(&root, "height"));
            let boxes: Vec<[usize; 4]> = document
                .descendants()
                .filter(|node| node.has_tag_name("rect"))
                .map(|node| ["x", "y", "width", "height"].map(|name| number(&node, name)))
                .collect();
            for [x, y, w, h] in &boxes {
                assert!(x + w <= width && y + h <= height);
            }
            let mut texts = 0;
            for node in document.descendants().filter(|node| node.has_tag_name("text")) {
                let (x, y, length) = (
                    number(&node, "x"),
                    number(&node, "y"),
                    number(&node, "textLength"),
                );
                // In a box of its own, not only in the image.
                let is_in =
                    |[bx, by, w, h]: &[usize; 4]| *bx <= x && x + length <= bx + w && *by < y && y <= by + h;
                assert!(boxes[1..].iter().any(is_in), "{:?}", node.text());
                texts += 1;
            }
            assert!(texts > 0);
            // Boxes are apart, or one is in the other.
            for (index, [x, y, w, h]) in boxes.iter().enumerate() {
                for [ox, oy, ow, oh] in &boxes[index + 1..] {
                    let apart = x + w <= *ox || ox + ow <= *x || y + h <= *oy || oy + oh <= *y;
                    let inside = x <= ox && ox + ow <= x + w && y <= oy && oy + oh <= y + h;
                    assert!(apart || inside, "{:?} {:?}", [x, y, w, h], [ox, oy, ow, oh]);
                }
            }
        }
    }
}

#[test]
fn labels_are_text_in_every_language() {
    use super::group::{Copies, Network, Picture, Source, Vm};
    let nasty = "a\"b<c>&d#e\\f`g".to_owned();
    let picture = Picture {
        router: vec![nasty.clone()],
        outside: Some(vec![nasty.clone()]),
        networks: vec![Network {
            name: nasty.clone(),
            nic: Some(nasty.clone()),
            vms: vec![Vm {
                address: nasty.clone(),
                lines: vec![nasty.clone()],
            }],
            more: Some(nasty.clone()),
        }],
        mirrors: vec![Copies {
            from: Source::Router,
            name: nasty.clone(),
            what: vec![nasty.clone()],
            to: vec![nasty.clone()],
        }],
        more_mirrors: Some(nasty.clone()),
    };
    let svg = super::svg::draw(&picture);
    let document = roxmltree::Document::parse(&svg).unwrap();
    let same = document
        .descendants()
        .filter(|node| node.has_tag_name("text") && node.text().is_some_and(|text| text.ends_with(&nasty)));
    assert_eq!(same.count(), 11);
    let mermaid = super::mermaid::draw(&picture);
    assert_eq!(mermaid.matches("a#34;b#60;c#62;#38;d#35;e\\f#96;g").count(), 11);
    let dot = super::dot::draw(&picture);
    assert_eq!(dot.matches("a\\\"b<c>&d#e\\\\f`g").count(), 11);
}

#[test]
fn networks_behind_other_routers_have_their_vms_and_next_hops() {
    let text = "if_list:
  - {ipaddr: 10.90.3.37, prefix: 24, mac: '52:54:84:00:08:45', gateway: 10.90.3.1}
  - {ipaddr: 192.168.100.254, prefix: 24, mac: '52:54:84:11:00:03'}
eip_list: [{eip: 10.90.2.250, vm-ip: 172.30.5.7}, {eip: 10.90.2.251, vm-ip: 172.30.6.8}]
route_list:
  - {to: 172.30.0.0/16, via: 192.168.100.1, inside: true}
  - {to: 172.30.5.0/24, via: 192.168.100.2, metric: 7, inside: true}
  - {to: 172.30.5.0/24, via: 192.168.100.3, metric: 5, inside: true}
";
    let config = Config::parse(text.as_bytes()).config.unwrap();
    let picture = super::group::Picture::of(&config, 8);
    let networks: Vec<_> = (picture.networks.iter())
        .map(|one| {
            let vms: Vec<&str> = one.vms.iter().map(|vm| vm.address.as_str()).collect();
            (one.name.as_str(), one.nic.as_deref().unwrap_or_default(), vms)
        })
        .collect();
    assert_eq!(
        networks[1..],
        [
            ("172.30.5.0/24", "by 192.168.100.3", vec!["172.30.5.7"]),
            ("172.30.0.0/16", "by 192.168.100.1", vec!["172.30.6.8"])
        ]
    );
}

#[test]
fn a_mirror_leads_from_its_source_to_its_analysers() {
    let text = draw(&mirrored(), Format::Mermaid, 8);
    for line in [
        "mirror0{{\"mirror ids-1<br>both of vm-ip 192.168.101.10<br>tcp, port 443\"}}",
        "net1 -.-> mirror0",
        "analyser0[/\"nic 52:54:84:22:00:01\"/]",
        "mirror0 -.-> analyser0",
        "mirror0 -.-> analyser1",
        "net0 -.-> mirror1",
        "mirror1 -.-> analyser0",
        "outside -.-> mirror2",
        "router -.-> mirror3",
        "mirrors{{\"5 more mirrors\"}}",
    ] {
        assert!(text.lines().any(|other| other.trim() == line), "{line}\n{text}");
    }
    assert_eq!(text.matches("nic 52:54:84:22:00:01").count(), 1);
}
