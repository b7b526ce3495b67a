//! The test checklists of the design note, one test each; the name says which line, the comment which row of
//! the packet table it proves.

use lab::{Icmp, Nic, Tcp, Udp, Vpc};

use crate::configs::{NOTE, expect, full, said, vpc, vpc_with};

/// 新增子网: 配置先添加, 网卡后加
pub fn subnet_added_configuration_first_then_nic() {
    let vpc = Vpc::builder(env!("CARGO_BIN_EXE_kylin-vr"))
        .without(Nic::SubnetB)
        .build();
    let run = vpc.reload_ok(&full());
    expect(
        &run,
        0,
        "? pending  52:54:84:11:00:04 (if_list[2], 192.168.101.254/24)",
    );
    assert_eq!(
        vpc.probe(&vpc.a3, Tcp, "198.51.100.10:80", &[]),
        "client:80 sees 10.90.3.37"
    );
    vpc.plug(Nic::SubnetB);
    let run = vpc.kylin_vr(&["-c", "reload"]);
    expect(&run, 0, "+ address  192.168.101.254/24 dev lan4");
    assert!(
        !run.stdout.contains("nft"),
        "the ruleset does not depend on the NIC:\n{}",
        run.stdout
    );
    works_in_subnet_b(&vpc);
}

/// 新增子网: 网卡先加, 配置后加
pub fn subnet_added_nic_first_then_configuration() {
    let vpc = Vpc::builder(env!("CARGO_BIN_EXE_kylin-vr"))
        .without(Nic::SubnetB)
        .build();
    vpc.reload_ok(NOTE);
    vpc.plug(Nic::SubnetB);
    expect(&vpc.kylin_vr(&["reload"]), 0, "nothing changed");
    vpc.reload_ok(&full());
    works_in_subnet_b(&vpc);
}

/// Rows 1, 2 and 5, for the subnet that was added.
fn works_in_subnet_b(vpc: &Vpc) {
    assert_eq!(
        vpc.probe(&vpc.b1, Tcp, "192.168.100.190:22", &[]),
        "a1:22 sees 192.168.101.10"
    );
    assert_eq!(
        vpc.probe(&vpc.b1, Icmp, "198.51.100.10", &[]),
        "client sees 10.90.3.37"
    );
    assert_eq!(
        vpc.probe(&vpc.b1, Udp, "10.90.2.250:53", &[]),
        "a1:53 sees 10.90.3.37"
    );
}

/// 删除子网: 没有残留ip配置, 没有残留规则
pub fn subnet_removed_leaves_no_address_and_no_rule() {
    let vpc = vpc_with(NOTE);
    let before = vpc.router.snapshot();
    vpc.reload_ok(&full());
    works_in_subnet_b(&vpc);
    vpc.reload_ok(NOTE);
    before.assert_same(&vpc.router.snapshot());

    // And when the NIC is unplugged before its configuration goes.
    vpc.reload_ok(&full());
    vpc.unplug(Nic::SubnetB);
    expect(&vpc.kylin_vr(&["reload"]), 0, "1 NIC pending");
    vpc.reload_ok(NOTE);
    let rules = vpc.router.nft("list ruleset");
    assert!(!rules.contains("192.168.101."), "{rules}");
    assert!(!vpc.router.ip("-4 route show table all").contains("192.168.101."));
}

/// 删除完所有的子网, 系统正常
pub fn all_subnets_removed_the_router_goes_on() {
    let vpc = vpc_with(&full());
    let external_only = "
if_list:
  - {ipaddr: 10.90.3.37, prefix: 24, mac: 52:54:84:00:08:45, gateway: 10.90.3.1}
";
    vpc.reload_ok(external_only);
    assert_eq!(
        vpc.probe(&vpc.client, Icmp, "10.90.3.37", &[]),
        "router sees 198.51.100.10"
    );
    assert_eq!(
        vpc.probe(&vpc.router, Tcp, "198.51.100.10:80", &[]),
        "client:80 sees 10.90.3.37"
    );
    assert!(!vpc.router.ip("-4 addr").contains("192.168."));
    vpc.reload_ok(&full());
    works_in_subnet_b(&vpc);
}

fn forwards(entries: &[&str]) -> String {
    let head = NOTE.split("port_forward_list:").next().unwrap();
    let entries: String = entries
        .iter()
        .map(|entry| format!("  - {{eip: 10.90.2.254, {entry}}}\n"))
        .collect();
    format!("{head}port_forward_list:\n{entries}")
}

/// 端口映射: tcp 80 -> vm 80, tcp 8080 -> vm 80, tcp 端口范围映射80~82 (row 6)
pub fn port_mappings_tcp_single_changed_and_range() {
    port_mappings(Tcp, "tcp");
}

/// 端口映射: udp 80 -> vm 80, udp 8080 -> vm 80, udp 端口范围80~82 (row 6)
pub fn port_mappings_udp_single_changed_and_range() {
    port_mappings(Udp, "udp");
}

fn port_mappings(protocol: lab::Protocol, name: &str) {
    let vpc = vpc();
    let vm = "vm-ip: 192.168.100.192";
    vpc.reload_ok(&forwards(&[&format!(
        "protocal: {name}, port: 80, vm-port: 80, {vm}"
    )]));
    assert_eq!(
        vpc.probe(&vpc.client, protocol, "10.90.2.254:80", &[]),
        "a3:80 sees 198.51.100.10"
    );

    vpc.reload_ok(&forwards(&[&format!(
        "protocal: {name}, port: 8080, vm-port: 80, {vm}"
    )]));
    assert_eq!(
        vpc.probe(&vpc.client, protocol, "10.90.2.254:8080", &[80]),
        "a3:80 sees 198.51.100.10"
    );
    assert_eq!(
        vpc.probe(&vpc.client, protocol, "10.90.2.254:80", &[]),
        "router:80 sees 198.51.100.10"
    );

    vpc.reload_ok(&forwards(&[&format!(
        "protocal: {name}, port: 80, end_port: 82, vm-port: 80, {vm}"
    )]));
    for port in 80..=82 {
        let to = format!("10.90.2.254:{port}");
        assert_eq!(
            vpc.probe(&vpc.client, protocol, &to, &[]),
            format!("a3:{port} sees 198.51.100.10").as_str()
        );
    }
    // The other protocol is not forwarded.
    let other = if name == "tcp" { Udp } else { Tcp };
    assert_eq!(
        vpc.probe(&vpc.client, other, "10.90.2.254:80", &[]),
        "router:80 sees 198.51.100.10"
    );
}

/// snat测试用例, dnat测试用例 (rows 1, 2, 4 and 5)
pub fn snat_and_dnat_cases_of_the_note() {
    let vpc = vpc_with(&full());
    // 子网A，访问子网B的私有ip，没有snat
    assert_eq!(
        vpc.probe(&vpc.a3, Tcp, "192.168.101.10:80", &[]),
        "b1:80 sees 192.168.100.192"
    );
    // 子网A，访问外部ip，有snat
    assert_eq!(
        vpc.probe(&vpc.a3, Tcp, "198.51.100.10:80", &[]),
        "client:80 sees 10.90.3.37"
    );
    // 子网A, 访问子网A(或子网B)的弹性ip, 有snat
    assert_eq!(
        vpc.probe(&vpc.a3, Tcp, "10.90.2.250:80", &[]),
        "a1:80 sees 10.90.3.37"
    );
    assert_eq!(
        vpc.probe(&vpc.b1, Tcp, "10.90.2.250:80", &[]),
        "a1:80 sees 10.90.3.37"
    );
    // 外部访问子网A的弹性ip, 没有snat; 有dnat
    assert_eq!(
        vpc.probe(&vpc.client, Tcp, "10.90.2.250:80", &[]),
        "a1:80 sees 198.51.100.10"
    );
    // 子网A，访问自己的弹性ip, 有dnat
    assert_eq!(
        vpc.probe(&vpc.a1, Tcp, "10.90.2.250:80", &[]),
        "a1:80 sees 10.90.2.250"
    );
}

/// 配置空不报错, 处理正常; 没有网卡配置, 处理正常
pub fn an_empty_file_and_no_file_are_no_error() {
    let vpc = vpc();
    let before = vpc.router.snapshot();
    for command in ["start", "reload", "plan", "status"] {
        let run = vpc.kylin_vr(&[command]);
        assert_eq!(run.code, 0, "no file: {command}: {}", said(&run));
    }
    for text in [
        "",
        "\n",
        "# nothing\n",
        "if_list:\neip_list:\nport_forward_list:\n",
        "if_list: []\n",
        "---\n...\n",
    ] {
        vpc.write_config(text);
        for command in ["start", "reload", "check", "plan", "status"] {
            let run = vpc.kylin_vr(&[command]);
            assert_eq!(run.code, 0, "{text:?}: {command}: {}", said(&run));
        }
    }
    before.assert_same(&vpc.router.snapshot());
    // Elastic IPs without any NIC are odd, and still no error.
    let eips = NOTE.split("eip_list:").nth(1).unwrap();
    expect(
        &vpc.reload_ok(&format!("eip_list:{eips}...\n")),
        0,
        "no interface has a gateway",
    );
}
