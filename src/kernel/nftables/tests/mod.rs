//! Against the kernel we run on and nft(8): root only, each test in a network namespace of its own.

mod batch;
mod count;
mod drift;
mod generated;
mod random;

use std::io::Write as _;
use std::net::Ipv4Addr;
use std::process::{Command, Output, Stdio};

use nix::sched::{CloneFlags, unshare};

use super::Nftables;
use crate::model::nft::{
    Chain, ChainKind, Element, Field, FieldType, Hook, NatTarget, Rule, Set, Statement, Table, TableChange,
    Tuple,
};

use FieldType::{InetProto, InetService, Ipv4Addr as Address};

/// Runs `work` in a new network namespace, or says that it did not.
fn in_namespace(name: &str, work: impl FnOnce(&mut Nftables) + Send) {
    if !nix::unistd::geteuid().is_root() {
        println!("skipped: {name}: a network namespace needs root");
        return;
    }
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            unshare(CloneFlags::CLONE_NEWNET).unwrap();
            work(&mut Nftables::open().unwrap());
        });
        if let Err(panic) = thread.join() {
            std::panic::resume_unwind(panic);
        }
    });
}

/// `nft` with these arguments and this standard input.
fn nft_output(arguments: &[&str], input: &str) -> Output {
    let mut child = Command::new("nft")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

/// What `nft` prints, which must succeed.
fn nft(arguments: &[&str], input: &str) -> String {
    let output = nft_output(arguments, input);
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "nft {arguments:?}: {error}\n{input}");
    String::from_utf8(output.stdout).unwrap()
}

/// Makes the kernel's table into `to`, and checks that it is.
fn make(nftables: &mut Nftables, to: Option<&Table>) {
    let from = nftables.observe().unwrap();
    if let Some(change) = TableChange::between(from.as_deref(), to) {
        nftables
            .commit(&change)
            .unwrap_or_else(|error| panic!("{error}\n{change:#?}"));
    }
    expect(nftables, to);
}

/// Checks that the kernel's table is `expected`.
fn expect(nftables: &mut Nftables, expected: Option<&Table>) {
    let seen = nftables.observe().unwrap();
    let show = |table: Option<&Table>| table.map(ToString::to_string);
    assert_eq!(show(seen.as_deref()), show(expected));
    assert_eq!(seen.as_deref(), expected);
}

fn address(number: u32) -> Tuple {
    Ipv4Addr::from(number).into()
}

fn rule(statements: &[Statement], comment: &str) -> Rule {
    Rule {
        statements: statements.to_vec(),
        comment: comment.to_owned(),
    }
}

fn set(
    key: &[FieldType],
    data: &[FieldType],
    interval: bool,
    elements: &[([u32; 3], [u32; 3], [u32; 3])],
) -> Set {
    let mut set = Set::new(key, data, interval);
    for (first, last, value) in elements {
        set.elements.insert(
            Element {
                first: Tuple(*first),
                last: Tuple(*last),
            },
            Tuple(*value),
        );
    }
    set
}

/// A router's table: all kinds of sets, chains and statements.
fn router() -> Table {
    let ip = |text: &str| u32::from(text.parse::<Ipv4Addr>().unwrap());
    let (eip, vm) = (ip("10.90.2.250"), ip("192.168.100.190"));
    let bit = 0x0100_0000;
    let subnets = [
        ([ip("192.168.100.0"), 0, 0], [ip("192.168.100.255"), 0, 0], [0; 3]),
        ([ip("192.168.101.0"), 0, 0], [ip("192.168.101.127"), 0, 0], [0; 3]),
    ];
    let forwards = [
        ([eip + 1, 6, 80], [eip + 1, 6, 80], [vm, 8080, 0]),
        ([eip + 1, 17, 53], [eip + 1, 17, 53], [vm, 53, 0]),
    ];
    let ranges = [
        ([eip + 2, 6, 1000], [eip + 2, 6, 1999], [vm, 0, 0]),
        ([eip + 2, 6, 2000], [eip + 2, 6, 2000], [vm, 0, 0]),
    ];
    let key = vec![Field::IpDaddr, Field::L4Proto, Field::ThDport];
    let map = |key: &[Field], map: &str, port| NatTarget::Map {
        key: key.to_vec(),
        map: map.into(),
        port,
    };
    let in_subnets = |field, negate| Statement::InSet {
        key: vec![field],
        set: "vpc_subnets".into(),
        negate,
    };
    let chain = |kind, hook, priority, rules: &[Rule]| Chain {
        kind,
        hook,
        priority,
        rules: rules.to_vec(),
    };
    let destination = [
        rule(
            &[Statement::Dnat(map(&[Field::IpDaddr], "eip_to_vm", false))],
            "floating",
        ),
        rule(
            &[
                Statement::InSubnet {
                    field: Field::IpDaddr,
                    subnet: "10.90.2.253/32".parse().unwrap(),
                    negate: false,
                },
                Statement::Ports {
                    protocol: 17,
                    first: 1000,
                    last: 60999,
                },
                Statement::Dnat(NatTarget::Address([192, 168, 100, 190].into())),
            ],
            "a range",
        ),
        rule(&[Statement::Dnat(map(&key, "forward", true))], "forwards"),
        rule(&[Statement::Dnat(map(&key, "forward_ranges", false))], ""),
    ];
    Table {
        sets: [
            ("vpc_subnets", set(&[Address], &[], true, &subnets)),
            (
                "eip_to_vm",
                set(
                    &[Address],
                    &[Address],
                    false,
                    &[([eip, 0, 0], [eip, 0, 0], [vm, 0, 0])],
                ),
            ),
            (
                "vm_to_eip",
                set(
                    &[Address],
                    &[Address],
                    false,
                    &[([vm, 0, 0], [vm, 0, 0], [eip, 0, 0])],
                ),
            ),
            (
                "forward",
                set(
                    &[Address, InetProto, InetService],
                    &[Address, InetService],
                    false,
                    &forwards,
                ),
            ),
            (
                "forward_ranges",
                set(&[Address, InetProto, InetService], &[Address], true, &ranges),
            ),
        ]
        .map(|(name, set)| (name.to_owned(), set))
        .into(),
        chains: [
            (
                "keep_source",
                chain(
                    ChainKind::Filter,
                    Hook::Prerouting,
                    -150,
                    &[rule(
                        &[in_subnets(Field::IpDaddr, false), Statement::MarkSet(bit)],
                        "between subnets",
                    )],
                ),
            ),
            (
                "destination",
                chain(ChainKind::Nat, Hook::Prerouting, -100, &destination),
            ),
            (
                "own_destination",
                chain(ChainKind::Nat, Hook::Output, -100, &destination),
            ),
            (
                "source",
                chain(
                    ChainKind::Nat,
                    Hook::Postrouting,
                    100,
                    &[
                        rule(
                            &[
                                Statement::InSubnet {
                                    field: Field::IpSaddr,
                                    subnet: "192.168.100.0/23".parse().unwrap(),
                                    negate: true,
                                },
                                Statement::InSubnet {
                                    field: Field::IpSaddr,
                                    subnet: "192.168.101.0/25".parse().unwrap(),
                                    negate: true,
                                },
                                Statement::Return,
                            ],
                            "outside",
                        ),
                        rule(&[Statement::MarkHas(bit), Statement::Return], "kept"),
                        rule(
                            &[in_subnets(Field::IpSaddr, true), Statement::Return],
                            "not of a VM",
                        ),
                        rule(
                            &[Statement::Snat(map(&[Field::IpSaddr], "vm_to_eip", false))],
                            "floating",
                        ),
                        rule(
                            &[Statement::Snat(NatTarget::Address([10, 90, 3, 37].into()))],
                            "the rest",
                        ),
                    ],
                ),
            ),
        ]
        .map(|(name, chain)| (name.to_owned(), chain))
        .into(),
        ..Table::default()
    }
}
