//! NICs, addresses, the default route, and who hears of them.

use std::time::Duration;

use lab::{ArpWatch, Icmp, Nic, Tcp, Vpc};

use crate::configs::{NOTE, expect, full, vpc, vpc_with};

pub fn nic_is_found_by_mac_whatever_its_name() {
    let vpc = Vpc::builder(env!("CARGO_BIN_EXE_kylin-vr"))
        .without(Nic::SubnetA)
        .build();
    vpc.plug_as(Nic::SubnetA, "odd.name-0");
    vpc.reload_ok(NOTE);
    assert_eq!(
        vpc.probe(&vpc.client, Tcp, "10.90.2.250:22", &[]),
        "a1:22 sees 198.51.100.10"
    );
    assert_eq!(vpc.router.sysctl("net/ipv4/conf/odd.name-0/rp_filter"), "1");
    // udev renames a link that is down.
    vpc.router.ip("link set odd.name-0 down");
    vpc.router.ip("link set odd.name-0 name enp3s0");
    let run = vpc.kylin_vr(&["reload"]);
    expect(&run, 0, "link     enp3s0 up");
    assert_eq!(
        vpc.probe(&vpc.client, Tcp, "10.90.2.250:22", &[]),
        "a1:22 sees 198.51.100.10"
    );
}

pub fn addresses_are_exactly_those_of_the_file() {
    let vpc = vpc();
    vpc.router.ip_batch(
        "link set lan3 up\naddr add 192.168.100.7/24 dev lan3\naddr add 10.7.7.7/16 dev lan3\n\
         addr add 169.254.9.9/16 dev lan3 scope link\nlink set wan7 up\naddr add 10.90.3.99/24 dev wan7",
    );
    vpc.reload_ok(NOTE);
    let addresses = |link: &str| vpc.router.ip(&format!("-4 -o addr show dev {link} scope global"));
    assert!(addresses("lan3").contains("inet 192.168.100.254/24 ") && addresses("lan3").lines().count() == 1);
    assert!(addresses("wan7").contains("inet 10.90.3.37/24 ") && addresses("wan7").lines().count() == 1);
    // An address of the link itself is not a global one.
    assert!(vpc.router.ip("-4 addr show dev lan3").contains("169.254.9.9/16"));
    assert_eq!(
        vpc.probe(&vpc.client, Tcp, "10.90.2.250:22", &[]),
        "a1:22 sees 198.51.100.10"
    );
}

pub fn an_address_is_replaced_without_losing_the_new_one() {
    let vpc = vpc_with(&full());
    // In one subnet the new address is a secondary one, which the kernel deletes along with the first unless
    // told otherwise.
    assert_eq!(vpc.router.sysctl("net/ipv4/conf/lan3/promote_secondaries"), "1");
    vpc.reload_ok(
        &full()
            .replace("192.168.100.254", "192.168.100.253")
            .replace("10.90.3.37", "10.90.3.38"),
    );
    let addresses = vpc.router.ip("-4 -o addr show scope global");
    assert!(
        addresses.contains("192.168.100.253/24") && !addresses.contains("192.168.100.254/24"),
        "{addresses}"
    );
    assert!(
        addresses.contains("10.90.3.38/24") && !addresses.contains("10.90.3.37/24"),
        "{addresses}"
    );
    let routes = vpc.router.ip("-4 route");
    assert!(routes.contains("default via 10.90.3.1 dev wan7"), "{routes}");
    assert_eq!(
        vpc.probe(&vpc.b1, Tcp, "198.51.100.10:80", &[]),
        "client:80 sees 10.90.3.38"
    );
    // A longer prefix of the same address.
    vpc.reload_ok(&full().replace(
        "192.168.100.254\n     prefix: 24",
        "192.168.100.254\n     prefix: 25",
    ));
    let addresses = vpc.router.ip("-4 -o addr show dev lan3 scope global");
    assert!(
        addresses.contains("192.168.100.254/25") && addresses.lines().count() == 1,
        "{addresses}"
    );
}

pub fn the_default_route_is_replaced_and_no_second_one_stays() {
    let vpc = vpc();
    vpc.router.ip_batch(
        "link set wan7 up\naddr add 10.90.3.99/24 dev wan7\nroute add default via 10.90.3.9 dev wan7\n\
         route add default via 10.90.3.8 dev wan7 metric 50\nroute add default via 10.90.3.7 dev wan7 metric 100",
    );
    vpc.reload_ok(NOTE);
    let defaults = || vpc.router.ip("-4 route show default");
    assert_eq!(defaults().trim(), "default via 10.90.3.1 dev wan7 proto 158");
    vpc.reload_ok(&NOTE.replace("gateway: 10.90.3.1", "gateway: 10.90.3.9"));
    assert_eq!(defaults().trim(), "default via 10.90.3.9 dev wan7 proto 158");
    vpc.reload_ok(NOTE);
    assert_eq!(
        vpc.probe(&vpc.a3, Tcp, "198.51.100.10:80", &[]),
        "client:80 sees 10.90.3.37"
    );
}

pub fn missing_external_nic_is_pending_and_the_rest_is_done() {
    let vpc = Vpc::builder(env!("CARGO_BIN_EXE_kylin-vr"))
        .without(Nic::External)
        .build();
    let run = vpc.reload_ok(&full());
    expect(
        &run,
        0,
        "? pending  52:54:84:00:08:45 (if_list[0], 10.90.3.37/24)",
    );
    assert_eq!(
        vpc.probe(&vpc.a1, Tcp, "192.168.101.10:22", &[]),
        "b1:22 sees 192.168.100.190"
    );
    assert_eq!(vpc.probe(&vpc.b1, Icmp, "10.90.2.250", &[]), "a1 sees 10.90.3.37");
    expect(&vpc.kylin_vr(&["reload"]), 0, "nothing changed; 1 NIC pending");
    // It comes, it goes, it comes back with another number.
    for _ in 0..2 {
        vpc.plug(Nic::External);
        expect(
            &vpc.kylin_vr(&["reload"]),
            0,
            "route    default via 10.90.3.1 dev wan7",
        );
        assert_eq!(
            vpc.probe(&vpc.client, Tcp, "10.90.2.250:22", &[]),
            "a1:22 sees 198.51.100.10"
        );
        assert_eq!(
            vpc.probe(&vpc.b1, Tcp, "198.51.100.10:80", &[]),
            "client:80 sees 10.90.3.37"
        );
        vpc.unplug(Nic::External);
        expect(&vpc.kylin_vr(&["reload"]), 0, "1 NIC pending");
    }
}

pub fn private_traffic_does_not_go_outside_while_a_nic_is_missing() {
    let vpc = Vpc::builder(env!("CARGO_BIN_EXE_kylin-vr"))
        .without(Nic::SubnetB)
        .build();
    // Whoever would get it outside.
    vpc.upstream.ip("addr add 192.168.101.10/32 dev lo");
    vpc.reload_ok(&full());
    assert_eq!(vpc.probe(&vpc.a1, Icmp, "192.168.101.10", &[]), "unreachable");
    assert_eq!(vpc.probe(&vpc.a3, Tcp, "192.168.101.10:22", &[]), "unreachable");
    vpc.plug(Nic::SubnetB);
    vpc.reload_ok(&full());
    assert_eq!(
        vpc.probe(&vpc.a3, Tcp, "192.168.101.10:22", &[]),
        "b1:22 sees 192.168.100.192"
    );
}

const PATIENCE: Duration = Duration::from_secs(10);

pub fn eips_answer_arp_and_ping_and_are_announced() {
    let vpc = vpc();
    let wan = Nic::External.mac();
    let mut watch = ArpWatch::start(&vpc.upstream, "eth0");
    vpc.reload_ok(NOTE);
    for address in ["10.90.3.37", "10.90.2.250", "10.90.2.251", "10.90.2.254"] {
        let frame = watch.wait_gratuitous(address.parse().unwrap(), PATIENCE);
        let frame = frame.unwrap_or_else(|| panic!("{address} was not announced"));
        // `arping -U`: a request, to all, by the address for itself.
        assert_eq!(
            (frame.operation, frame.sender, frame.target),
            (1, address.parse().unwrap(), address.parse().unwrap())
        );
        assert_eq!(
            (&*frame.sender_mac, &*frame.destination_mac),
            (wan, "ff:ff:ff:ff:ff:ff")
        );
        assert_eq!(vpc.who_has(address).as_deref(), Some(wan), "{address}");
    }
    // More than once, and none again for what was there before: only the new one.
    let mut watch = ArpWatch::start(&vpc.upstream, "eth0");
    vpc.reload_ok(&NOTE.replace(
        "port_forward_list",
        "  - {eip: 10.90.2.99, vm-ip: 192.168.100.192}\nport_forward_list",
    ));
    let new: std::net::Ipv4Addr = "10.90.2.99".parse().unwrap();
    let deadline = std::time::Instant::now() + PATIENCE;
    while watch
        .gratuitous()
        .iter()
        .filter(|frame| frame.sender == new)
        .count()
        < 2
    {
        assert!(
            std::time::Instant::now() < deadline,
            "it is announced more than once"
        );
        std::thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(vpc.who_has("10.90.2.99").as_deref(), Some(wan));
    assert_eq!(
        vpc.probe(&vpc.client, Icmp, "10.90.2.254", &[]),
        "router sees 198.51.100.10"
    );
    // An address that is nobody's is not answered.
    assert_eq!(vpc.who_has("10.90.2.98"), None);
}

pub fn an_external_nic_that_comes_late_is_announced_with_all_eips() {
    let vpc = Vpc::builder(env!("CARGO_BIN_EXE_kylin-vr"))
        .without(Nic::External)
        .build();
    vpc.reload_ok(NOTE);
    let mut watch = ArpWatch::start(&vpc.upstream, "eth0");
    vpc.plug(Nic::External);
    expect(&vpc.kylin_vr(&["reload"]), 0, "announce 10.90.2.254 dev wan7");
    for address in ["10.90.3.37", "10.90.2.250", "10.90.2.251", "10.90.2.254"] {
        assert!(
            watch
                .wait_gratuitous(address.parse().unwrap(), PATIENCE)
                .is_some(),
            "{address}"
        );
    }
}

pub fn a_vlan_on_a_nic_is_not_the_nic() {
    let vpc = vpc();
    // macvlan, since the kernel of the tests may lack vlan: it borrows the address if told to.
    vpc.router
        .ip("link add link lan3 name lan3mv address 52:54:84:11:00:03 type macvlan mode passthru");
    vpc.reload_ok(NOTE);
    assert!(
        vpc.router
            .ip("-4 addr show dev lan3")
            .contains("192.168.100.254/24")
    );
    assert!(
        !vpc.router
            .ip("-4 addr show dev lan3mv")
            .contains("192.168.100.254")
    );
}

pub fn ipv6_is_off_unless_the_file_says_otherwise() {
    let vpc = vpc();
    let disabled = || {
        ["all", "default", "wan7", "lan3"]
            .map(|link| vpc.router.sysctl(&format!("net/ipv6/conf/{link}/disable_ipv6")))
            .concat()
    };
    assert_eq!(disabled(), "0000");
    vpc.reload_ok(NOTE);
    assert_eq!(disabled(), "1111");
    vpc.reload_ok(&format!("ipv6: true\n{NOTE}"));
    assert_eq!(disabled(), "0000");
    vpc.reload_ok(&format!("ipv6: false\n{NOTE}"));
    assert_eq!(disabled(), "1111");
    // A NIC that comes while it is off starts without it, and gets it back with the others.
    vpc.reload_ok(&full());
    vpc.unplug(Nic::SubnetB);
    vpc.plug(Nic::SubnetB);
    vpc.reload_ok(&full());
    assert_eq!(vpc.router.sysctl("net/ipv6/conf/lan4/disable_ipv6"), "1");
    vpc.reload_ok("if_list: []\n");
    assert_eq!(vpc.router.sysctl("net/ipv6/conf/lan4/disable_ipv6"), "0");
    assert_eq!(disabled(), "0000");
}

pub fn a_gateway_that_was_the_routers_own_address_is_one() {
    let vpc = vpc();
    let elastic = "  - eip: 10.90.3.1\n    vm-ip: 192.168.100.192\nport_forward_list:";
    let before = [
        // The router was where the gateway is now; and the gateway's address was an elastic IP.
        NOTE.replace("10.90.3.37", "10.90.3.1")
            .replace("gateway: 10.90.3.1", "gateway: 10.90.3.9"),
        NOTE.replace("gateway: 10.90.3.1", "gateway: 10.90.3.9")
            .replace("port_forward_list:", elastic),
    ];
    for text in before {
        vpc.reload_ok(&text);
        vpc.reload_ok(NOTE);
        // A route by an address that is the router's own at that moment says "on the link", and goes on to when the
        // address is gone, although it looks like any other.
        let way = vpc.router.ip("-4 route get 198.51.100.10");
        assert!(way.contains("via 10.90.3.1 "), "{way}\nafter:\n{text}");
        assert_eq!(
            vpc.probe(&vpc.a3, Tcp, "198.51.100.10:80", &[]),
            "client:80 sees 10.90.3.37"
        );
    }
}
