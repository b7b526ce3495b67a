//! Small changes by hand: single entries of the installed file, applied like a reload.

use std::fs;

use lab::{Run, Vpc};

use crate::configs::{NOTE, expect, full, said, vpc, vpc_with};
use crate::confirm::wait_until_taken_back;
use crate::lock::spawn;

fn file(vpc: &Vpc) -> String {
    fs::read_to_string(vpc.config_path()).unwrap()
}

/// Whether file, kernel and what was accepted are one.
fn expect_settled(vpc: &Vpc) {
    expect(&vpc.kylin_vr(&["reload"]), 0, "nothing changed");
    expect(
        &vpc.kylin_vr(&["status"]),
        0,
        "OK: the kernel has what is configured",
    );
}

fn words(line: &str) -> Vec<&str> {
    line.split(' ').collect()
}

pub fn entries_come_and_go_and_the_rest_of_the_file_stays() {
    let text = format!("# mine\n{}# the end\n...\n", full());
    let vpc = vpc_with(&text);
    let before = vpc.router.snapshot();
    for (add, new, kernel, del) in [
        (
            "eip add 10.90.2.249 192.168.100.189",
            "  - eip: 10.90.2.249\n    vm-ip: 192.168.100.189\n",
            "added: 10.90.2.249 to 192.168.100.189",
            "eip del 10.90.2.249",
        ),
        (
            "eip add 10.90.2.248=192.168.101.8 10.90.2.247=192.168.101.7",
            "  - eip: 10.90.2.248\n    vm-ip: 192.168.101.8\n  - eip: 10.90.2.247\n    vm-ip: 192.168.101.7\n",
            "+ nft      element eip_to_vm { 10.90.2.247 : 192.168.101.7 }",
            "eip del 10.90.2.247 10.90.2.248",
        ),
        (
            "forward add 10.90.2.254 tcp 90-92 192.168.100.190 8090-8092",
            "  - {eip: 10.90.2.254, protocol: tcp, port: 90, end_port: 92, vm-port: 8090, vm-ip: 192.168.100.190}\n",
            "10.90.2.254 . tcp . 92 : 192.168.100.190 . 8092",
            "forward del 10.90.2.254 tcp 90-92",
        ),
    ] {
        expect(&vpc.kylin_vr(&words(add)), 0, kernel);
        let changed = file(&vpc);
        assert!(changed.contains(new), "{changed}");
        assert_eq!(changed.replace(new, ""), text, "{add}");
        expect_settled(&vpc);
        // Tried again, it is as asked for already.
        expect(&vpc.kylin_vr(&words(add)), 0, "already");
        assert_eq!(file(&vpc), changed);
        expect(&vpc.kylin_vr(&words(del)), 0, "deleted: ");
        assert_eq!(file(&vpc), text, "{del}");
        before.assert_same(&vpc.router.snapshot());
        expect_settled(&vpc);
    }
    // An overlay subnet.
    let add = "network attach vxlan 100 172.20.1.1/24 peers 10.90.4.11,10.90.4.12";
    expect(
        &vpc.kylin_vr(&words(add)),
        0,
        "+ link     kvr-vx100 vxlan id 100 local 10.90.3.37 dstport 4789",
    );
    let changed = file(&vpc);
    let new = "vxlan: {vni: 100, peers: [10.90.4.11, 10.90.4.12]}\n";
    assert!(changed.contains(new), "{changed}");
    expect_settled(&vpc);
    // In other words it is the same.
    let same =
        "network attach vxlan 100 172.20.1.1/24 local 10.90.3.37 peers 10.90.4.12,10.90.4.11 port 4789";
    expect(&vpc.kylin_vr(&words(same)), 0, "is attached already (if_list[");
    assert_eq!(file(&vpc), changed);
    expect(&vpc.kylin_vr(&["network", "list"]), 0, "inside   100");
    expect(
        &vpc.kylin_vr(&words("network attach vxlan 100 172.20.1.1/24 peers 10.90.4.11")),
        3,
        "vxlan 100 is attached already, as vxlan 100 172.20.1.1/24 peers 10.90.4.11,10.90.4.12 (",
    );
    // Hardware addresses name NICs alone.
    expect(
        &vpc.kylin_vr(&words("network detach 12:00:00:ff:ff:ff")),
        2,
        "12:00:00:ff:ff:ff is not in if_list",
    );
    expect(
        &vpc.kylin_vr(&words("network detach vxlan 100")),
        0,
        "detached: vxlan 100 172.20.1.1/24 peers 10.90.4.11,10.90.4.12",
    );
    assert_eq!(file(&vpc), text);
    before.assert_same(&vpc.router.snapshot());
    expect_settled(&vpc);
    // A whole subnet, by any of its names.
    let network = "52:54:84:11:00:04 192.168.101.254/24";
    for name in ["52:54:84:11:00:04", "192.168.101.254", "192.168.101.0/24"] {
        let gone = vpc.kylin_vr(&["network", "detach", name]);
        expect(&gone, 0, "- address  192.168.101.254/24 dev lan4");
        expect(&gone, 0, "is in no subnet of the VPC");
        let attach = [&["network", "attach"][..], &words(network)].concat();
        expect(
            &vpc.kylin_vr(&attach),
            0,
            "+ address  192.168.101.254/24 dev lan4",
        );
        expect_settled(&vpc);
    }
}

pub fn an_empty_router_is_built_up_by_hand() {
    let vpc = vpc();
    let run = |line: &str| expect(&vpc.kylin_vr(&words(line)), 0, "applied");
    run("network attach 52:54:84:00:08:45 10.90.3.37/24 via 10.90.3.1 52:54:84:11:00:03 192.168.100.254/24");
    run("eip add 10.90.2.250 192.168.100.190 10.90.2.251 192.168.100.191");
    run("forward add 10.90.2.254 tcp 80-82 192.168.100.190 80");
    let by_hand = vpc.router.snapshot();
    expect_settled(&vpc);
    let list = vpc.kylin_vr(&["forward", "list"]);
    expect(&list, 0, "  10.90.2.254  tcp       80-82  192.168.100.190  80-82");
    expect(
        &vpc.kylin_vr(&["network", "list"]),
        0,
        "10.90.3.37/24       10.90.3.1  outside",
    );
    let json = vpc.kylin_vr(&["eip", "list", "--json"]);
    let value: serde_json::Value = serde_json::from_str(&json.stdout).unwrap();
    assert_eq!(value["entries"][1]["vm-ip"], "192.168.100.191");
    assert_eq!(value["accepted"], true);
    vpc.write_config(&(file(&vpc) + "# touched\n"));
    expect(
        &vpc.kylin_vr(&["eip", "list"]),
        0,
        "note: the file is not what was accepted last",
    );
    // The same as the note's file makes.
    vpc.reload_ok(NOTE);
    by_hand.assert_same(&vpc.router.snapshot());
}

pub fn what_is_wrong_changes_nothing() {
    let vpc = vpc_with(NOTE);
    let before = vpc.router.snapshot();
    for (line, code, said) in [
        (
            "eip add 10.90.2.250 192.168.100.7",
            3,
            "10.90.2.250 is 192.168.100.190's already (eip_list[0], line",
        ),
        (
            "eip add 10.90.3.37 192.168.100.7",
            3,
            "is the router's own address (if_list[0])",
        ),
        (
            "eip add 10.90.2.7=192.168.100.7 10.90.2.7=192.168.100.8",
            3,
            "10.90.2.7: is in eip_list[2] already",
        ),
        (
            "eip add 10.90.2.7",
            2,
            "`10.90.2.7`: expected an elastic IP and its VM's address",
        ),
        ("eip add ten twenty", 2, "`ten`: expected an IPv4 address"),
        (
            "eip del 10.90.2.9",
            2,
            "10.90.2.9 is not in eip_list; nothing was touched",
        ),
        ("eip del 10.90.2.254", 2, "it is forwarded"),
        (
            "forward add 10.90.2.254 tcp 81 192.168.100.7 81",
            3,
            "overlaps port_forward_list[0], which forwards tcp 80-82",
        ),
        (
            "forward add 10.90.2.254 tcp 90-92 192.168.100.7 1-2",
            2,
            "expected as many ports on the VM as outside",
        ),
        (
            "forward add 10.90.2.254 icmp 1 192.168.100.7 1",
            2,
            "`icmp`: expected tcp or udp",
        ),
        (
            "forward del 10.90.2.254 tcp 81",
            2,
            "port_forward_list[0], line 17 forwards 80-82, and goes as a whole",
        ),
        ("forward del --if-exists 10.90.2.254 tcp 81", 2, "goes as a whole"),
        (
            "forward del 10.90.2.254 udp 80-82",
            2,
            "no forward of udp 80-82 on 10.90.2.254",
        ),
        (
            "network attach 52:54:84:11:00:03 192.168.7.254/24",
            3,
            "is attached already, as 52:54:84:11:00:03 192.168.100.254/24",
        ),
        (
            "network attach 52:54:84:11:00:09 192.168.100.1/24",
            3,
            "overlaps the subnet of if_list[1]",
        ),
        (
            "network attach vxlan 100 192.168.100.1/24",
            3,
            "overlaps the subnet of if_list[1]",
        ),
        (
            "network attach vxlan 0 172.20.1.1/24",
            2,
            "`0`: expected the number of an overlay subnet, 1 to 16777215",
        ),
        (
            "network attach vxlan 100 172.20.1.1/24 peers 10.90.3.37",
            3,
            "if_list[2].vxlan.peers[0]: 10.90.3.37: is the router itself",
        ),
        ("network detach vxlan 100", 2, "vxlan 100 is not in if_list"),
        (
            "network detach 192.168.9.0/24",
            2,
            "192.168.9.0/24 is not in if_list",
        ),
        ("eip del --if-exists 10.90.2.9", 0, "10.90.2.9 is not in eip_list"),
    ] {
        expect(&vpc.kylin_vr(&words(line)), code, said);
        assert_eq!(file(&vpc), NOTE, "{line}");
        before.assert_same(&vpc.router.snapshot());
    }
    // A file that a reload would refuse is nothing to build on.
    for (text, said) in [
        ("", "this router is configured"),
        ("if_list: 5\n", "expected a list"),
    ] {
        vpc.write_config(text);
        expect(&vpc.kylin_vr(&words("eip add 10.90.2.7 192.168.100.7")), 3, said);
        assert_eq!(file(&vpc), text);
    }
    before.assert_same(&vpc.router.snapshot());
    expect(&vpc.kylin_vr(&["rollback", "0"]), 0, "nothing changed");
    assert_eq!(file(&vpc), NOTE);
}

pub fn a_dry_run_is_a_plan() {
    let vpc = vpc_with(NOTE);
    let before = vpc.router.snapshot();
    let line = words("eip add --dry-run - --json");
    let run = vpc.kylin_vr_with_input(&line, "# two\n10.90.2.7 192.168.100.7\n10.90.2.8=192.168.100.8\n");
    let value: serde_json::Value = serde_json::from_str(&run.stdout).unwrap();
    assert_eq!(
        (&value["result"], &value["command"]),
        (&"planned".into(), &"eip add".into()),
        "{}",
        said(&run)
    );
    let text = value["changes"].to_string();
    assert!(
        text.contains("10.90.2.7 : 192.168.100.7") && text.contains("10.90.2.8 : 192.168.100.8"),
        "{text}"
    );
    assert_eq!(file(&vpc), NOTE);
    before.assert_same(&vpc.router.snapshot());
}

pub fn of_many_at_once_none_is_lost() {
    let vpc = vpc_with(NOTE);
    let children: Vec<_> = (1..=20)
        .map(|last| {
            spawn(
                &vpc,
                &[
                    "eip",
                    "add",
                    &format!("10.90.2.{last}"),
                    &format!("192.168.100.{last}"),
                ],
            )
        })
        .collect();
    for child in children {
        let output = child.wait_with_output().unwrap();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
    let text = file(&vpc);
    for last in 1..=20 {
        assert!(
            text.contains(&format!(
                "  - eip: 10.90.2.{last}\n    vm-ip: 192.168.100.{last}\n"
            )),
            "{text}"
        );
    }
    expect_settled(&vpc);
}

pub fn what_a_push_undoes_of_it_is_said() {
    let vpc = vpc_with(&format!("generation: 7\n{NOTE}"));
    let by_hand = |line: &str| expect(&vpc.kylin_vr(&words(line)), 0, "applied");
    by_hand("eip add 10.90.2.7 192.168.100.7");
    by_hand("forward del 10.90.2.254 tcp 80-82");
    assert!(file(&vpc).starts_with("generation: 7\n"));
    let push = |text: &str| -> Run { vpc.kylin_vr_with_input(&["reload", "-"], text) };
    // What knows of one of them undoes the other.
    let knows = format!("generation: 8\n{NOTE}").replace(
        "eip_list:\n",
        "eip_list:\n  - {eip: 10.90.2.7, vm-ip: 192.168.100.7}\n",
    );
    let run = push(&knows);
    let note = "note: this undoes what was changed by hand: deleted forward 10.90.2.254 tcp 80-82 to 192.168.100.190 80 (";
    expect(&run, 0, note);
    // That is said once.
    assert!(!said(&push(&format!("generation: 9\n{NOTE}"))).contains("by hand"));
    by_hand("eip add 10.90.2.7 192.168.100.7");
    let run = push(&format!("generation: 10\n{NOTE}"));
    expect(
        &run,
        0,
        "by hand: added eip 10.90.2.7 to 192.168.100.7 (`kylin-vr rollback` brings it back)",
    );
    expect(&vpc.kylin_vr(&["rollback"]), 0, "applied");
    assert!(file(&vpc).contains("eip: 10.90.2.7"));
}

pub fn it_can_be_taken_back_and_rolled_back() {
    let vpc = vpc_with(NOTE);
    let before = vpc.router.snapshot();
    let run = vpc.kylin_vr(&words("eip add --confirm-within 1s 10.90.2.7 192.168.100.7"));
    expect(&run, 0, "applied 3 changes");
    wait_until_taken_back(&vpc);
    assert_eq!(file(&vpc), NOTE);
    expect(&vpc.kylin_vr(&["reload"]), 0, "nothing changed");
    before.assert_same(&vpc.router.snapshot());
    expect(
        &vpc.kylin_vr(&words("eip add 10.90.2.7 192.168.100.7")),
        0,
        "applied",
    );
    expect(&vpc.kylin_vr(&["history"]), 0, "eip add");
    expect(&vpc.kylin_vr(&["rollback"]), 0, "applied");
    assert_eq!(file(&vpc), NOTE);
    before.assert_same(&vpc.router.snapshot());
}
