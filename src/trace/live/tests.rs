//! What is said of kernels that do something else, and of what is in a packet's way.

use super::*;
use crate::features;
use crate::kernel::{Fake, Kernel};
use crate::model::inspected::{ForeignChain, Neighbour, RouteAnswer, Verdict, Waypoint};
use crate::model::{Direction, Flow, Hook, LinkId, LinkIndex, LinkName, LinkSysctl, Sysctl};
use crate::owned::Owned;
use crate::plan::diff;
use crate::trace::tests::{FROM_OUTSIDE, ROUTER, config, trace};

/// A kernel that has all of this configuration.
fn kernel(config: &Config) -> Observed {
    let mut state = Observed::default();
    let ids = config.interfaces().iter().map(|one| one.link());
    for (index, id) in std::iter::once(LinkId::Loopback).chain(ids).enumerate() {
        state.links.push(Link {
            index: LinkIndex(index as u32 + 1),
            name: LinkName(
                index
                    .checked_sub(1)
                    .map_or("lo".into(), |index| format!("eth{index}").into()),
            ),
            id: Some(id),
            up: true,
            stacked: false,
            ipv6_in_use: false,
            udev_pending: false,
            mtu: 1_500,
        });
        if let LinkId::Mac(_) = id {
            let keys = LinkSysctl::ALL.map(|parameter| (Sysctl::Link(id, parameter), "0".to_owned()));
            state.sysctls.extend(keys);
        }
    }
    state.sysctls.insert(Sysctl::IpForward, "0".to_owned());
    let mut fake = Fake::new(state);
    let plan = diff(&features::desired(config), &fake.state, &Owned::default());
    fake.apply(&plan.operations).unwrap();
    fake.state
}

/// What a sound kernel says.
fn answers(trace: &Trace, config: &Config, observed: &Observed) -> Inspected {
    let questions = questions(trace, config, observed);
    let [eip, there, back] = [
        RouteAnswer::Local,
        RouteAnswer::Leaves(LinkIndex(3), [192, 168, 100, 190].into()),
        RouteAnswer::Leaves(LinkIndex(2), [10, 90, 3, 1].into()),
    ];
    assert_eq!((questions.routes.len(), questions.neighbours.len()), (3, 2));
    Inspected {
        routes: vec![eip, there, back],
        neighbours: vec![Neighbour::Answers; 2],
        carriers: [(LinkIndex(2), true), (LinkIndex(3), true)].into(),
        sysctls: (questions.sysctls.into_iter())
            .map(|path| (path, "0".to_owned()))
            .filter(|(path, _)| !path.ends_with("forwarding"))
            .collect(),
        tracked: Some((10, 1000)),
        ..Inspected::default()
    }
}

/// What is said of a packet from outside, after something was changed in a sound kernel.
fn live_with(change: impl FnOnce(&mut Observed, &mut Inspected)) -> Live {
    live_and_followed(change, None)
}

fn live_and_followed(
    change: impl FnOnce(&mut Observed, &mut Inspected),
    followed: Option<(Duration, &[Traced])>,
) -> Live {
    let config = config(ROUTER);
    let trace = trace(&config, &[], FROM_OUTSIDE);
    let mut observed = kernel(&config);
    let mut inspected = answers(&trace, &config, &observed);
    change(&mut observed, &mut inspected);
    let seen = Seen {
        config: &config,
        observed: &observed,
        inspected: &inspected,
        differences: &[],
        followed,
    };
    examine(&trace, &seen)
}

fn said(live: &Live, agrees: bool, words: &str) {
    assert!(
        live.agrees == agrees && live.sentence.contains(words),
        "{words}: {live:#?}"
    );
}

#[test]
fn nothing_is_wrong_with_a_sound_kernel() {
    said(
        &live_with(|_, _| {}),
        true,
        "the kernel does the same, and nothing wrong is seen here",
    );
}

#[test]
fn a_mirror_that_is_not_in_the_kernel_is_noted() {
    let text = format!(
        "{ROUTER}mirror_list: [{{name: ids-1, source: {{all: true}}, to: [{{nic: {{mac: '52:54:84:22:00:01'}}}}]}}]\n"
    );
    let config = config(&text);
    let trace = trace(&config, &[], FROM_OUTSIDE);
    assert_eq!(trace.copies.len(), 1);
    let mut observed = kernel(&config);
    assert!(observed.hooks.is_empty(), "its target is not there");
    let noted = |observed: &Observed| {
        let inspected = Inspected::default();
        let (differences, followed) = (&[], None);
        let (config, inspected) = (&config, &inspected);
        let live = examine(
            &trace,
            &Seen {
                config,
                observed,
                inspected,
                differences,
                followed,
            },
        );
        let is_of_it = |one: &&Check| one.subject == "mirror" && one.state == State::Note;
        live.checks.iter().filter(is_of_it).count()
    };
    assert_eq!(noted(&observed), 1);
    observed.hooks.push(Hook {
        link: LinkIndex(3),
        direction: Direction::Egress,
        handle: 1,
        mirror: "ids-1".to_owned(),
        to: vec![LinkIndex(4)],
        program: Vec::new(),
    });
    assert_eq!(noted(&observed), 0);
}

#[test]
fn a_full_table_of_tracked_flows_is_the_cause() {
    let full = live_with(|_, inspected| inspected.tracked = Some((1000, 1000)));
    said(&full, false, "the table of tracked flows is full (1000 of 1000)");
    assert!(full.remedy.unwrap().contains("raise `conntrack_max` in the file"));
    said(
        &live_with(|_, inspected| inspected.tracked = Some((1000, 0))),
        true,
        "nothing wrong",
    );
    let nearly = live_with(|_, inspected| inspected.tracked = Some((999, 1000)));
    said(&nearly, true, "nothing wrong");
    let note = nearly.checks.iter().find(|one| one.state == State::Note).unwrap();
    assert_eq!(
        note.text,
        "the table of tracked flows is nearly full: 999 of 1000"
    );
}

#[test]
fn each_thing_on_the_way_is_named_when_it_is_wrong() {
    let refused = |errno| {
        move |_: &mut Observed, inspected: &mut Inspected| {
            inspected.routes[1] = RouteAnswer::Refused(errno);
        }
    };
    said(
        &live_with(refused(nix::libc::EXDEV)),
        false,
        "the reverse-path filter drops what comes from 198.51.100.10 by eth0",
    );
    said(
        &live_with(refused(nix::libc::ENETUNREACH)),
        false,
        "route: 192.168.100.190 is refused (network is unreachable)",
    );
    let elsewhere = RouteAnswer::Leaves(LinkIndex(2), [10, 90, 3, 9].into());
    said(
        &live_with(|_, inspected| inspected.routes[2] = elsewhere),
        false,
        "answer: 198.51.100.10 by eth0 via 10.90.3.9, not 198.51.100.10 by eth0 via 10.90.3.1",
    );
    said(
        &live_with(|_, inspected| {
            inspected
                .sysctls
                .insert("ipv4/conf/all/arp_ignore".to_owned(), "1".to_owned());
        }),
        false,
        "the router does not answer ARP for 10.90.2.250 on eth0 (net.ipv4.conf.all.arp_ignore is 1)",
    );
    said(
        &live_with(|observed, _| observed.links[2].up = false),
        false,
        "eth1 is down",
    );
    said(
        &live_with(|_, inspected| inspected.carriers = [(LinkIndex(3), false)].into()),
        false,
        "eth1 has no carrier",
    );
    said(
        &live_with(|observed, _| observed.addresses.clear()),
        false,
        "eth0 does not have the address 10.90.3.37/24",
    );
    said(
        &live_with(|observed, _| drop(observed.sysctls.insert(Sysctl::IpForward, "0".to_owned()))),
        false,
        "forwarding is off",
    );
    said(
        &live_with(|observed, _| observed.table = None),
        false,
        "the kernel does not have our table",
    );
    said(
        &live_with(|observed, _| {
            let mut table = observed.table.as_deref().unwrap().clone();
            table.sets.get_mut("eip_to_vm").unwrap().elements.clear();
            observed.table = Some(table.into());
        }),
        false,
        "it makes the packet 198.51.100.10 > 10.90.2.250:22, not 198.51.100.10 > 192.168.100.190:22",
    );
    said(
        &live_with(|_, inspected| inspected.neighbours[0] = Neighbour::Silent),
        false,
        "192.168.100.190 does not answer ARP on eth1",
    );
    said(
        &live_with(|_, inspected| inspected.neighbours[1] = Neighbour::Silent),
        false,
        "the gateway 10.90.3.1 does not answer ARP on eth0",
    );
}

fn packet(destination: [u8; 4]) -> nft::Packet {
    nft::Packet {
        protocol: 6,
        source: [198, 51, 100, 10].into(),
        destination: destination.into(),
        destination_port: Some(22),
    }
}

const EIP: [u8; 4] = [10, 90, 2, 250];
const VM: [u8; 4] = [192, 168, 100, 190];

#[test]
fn a_flow_that_goes_on_as_it_began_is_the_cause() {
    let flow = |destination| Flow {
        original: packet(EIP),
        translated: packet(destination),
    };
    let stale = live_with(|_, inspected| inspected.flows = vec![flow(VM), flow([192, 168, 100, 9])]);
    said(
        &stale,
        false,
        "goes on as it began: 198.51.100.10 > 192.168.100.9:22, not 198.51.100.10 > 192.168.100.190:22",
    );
    assert!(
        stale
            .remedy
            .unwrap()
            .contains("conntrack -D --orig-src 198.51.100.10 --orig-dst 10.90.2.250")
    );
    said(
        &live_with(|_, inspected| inspected.flows = vec![flow(VM)]),
        true,
        "nothing wrong",
    );
}

fn at(waypoint: Waypoint, packet: nft::Packet) -> Traced {
    Traced {
        id: 1,
        family: "ip",
        table: "kylin_vr_trace".to_owned(),
        chain: waypoint.name().to_owned(),
        waypoint: Some(waypoint),
        rule: None,
        verdict: Verdict::Continues,
        packet: Some(packet),
        from: None,
        to: None,
    }
}

#[test]
fn what_became_of_a_real_packet_is_told() {
    use Waypoint::{BeforeRouting, Entered, Forwarded, Left, Routed};
    // As the kernel tells it: the chain's policy comes after, without the packet.
    let policy = |event: &Traced| Traced {
        packet: None,
        ..event.clone()
    };
    let followed = |events: &[Traced]| live_and_followed(|_, _| {}, Some((Duration::from_secs(5), events)));
    said(
        &followed(&[]),
        true,
        "nothing wrong is seen here, but no such packet came in by eth0 within 5 s: nobody sent one, or 10.90.2.250 is \
         not routed to this router",
    );
    let way = [
        at(Entered, packet(EIP)),
        at(BeforeRouting, packet(VM)),
        at(Routed, packet(VM)),
        at(Forwarded, packet(VM)),
        at(Left, packet(VM)),
    ];
    let whole = followed(
        &way.iter()
            .flat_map(|one| [one.clone(), policy(one)])
            .collect::<Vec<_>>(),
    );
    said(&whole, true, "nothing wrong");
    let packet_check = whole.checks.iter().find(|one| one.subject == "packet").unwrap();
    assert_eq!(
        packet_check.text,
        "one came, and left as 198.51.100.10 > 192.168.100.190:22"
    );
    said(
        &followed(&way[..1]),
        false,
        "the packet was lost before it was routed",
    );
    said(&followed(&way[..2]), false, "the packet was lost by the routing");
    said(&followed(&way[..3]), false, "a rule of iptables-legacy drops it");
    said(&followed(&way[..4]), false, "as it was about to leave");
    let mut wrong = way.clone();
    wrong[4].packet = Some(packet([192, 168, 100, 9]));
    said(
        &followed(&wrong),
        false,
        "left as 198.51.100.10 > 192.168.100.9:22; it should leave as 198.51.100.10 > 192.168.100.190:22",
    );
    let dropped = Traced {
        family: "inet",
        table: "fw".to_owned(),
        chain: "c".to_owned(),
        waypoint: None,
        rule: Some(4),
        verdict: Verdict::Dropped,
        ..at(Routed, packet(VM))
    };
    said(
        &followed(&[way[0].clone(), way[1].clone(), dropped.clone()]),
        false,
        "the packet is dropped by the rule with handle 4 of chain c in table inet fw",
    );
    let ours = Traced {
        family: "ip",
        table: "kylin_vr".to_owned(),
        chain: "invalid".to_owned(),
        ..dropped.clone()
    };
    said(
        &followed(&[way[0].clone(), way[1].clone(), ours.clone()]),
        false,
        "the packet is of no connection that the kernel tracks",
    );
    // Of our other chains none drops: somebody else put a rule there.
    let in_ours = Traced {
        chain: "source".to_owned(),
        ..ours
    };
    said(
        &followed(&[way[0].clone(), way[1].clone(), in_ours]),
        false,
        "the packet is dropped by the rule with handle 4 of chain source in table ip kylin_vr",
    );
    // The answer is a packet of its own.
    let answer = nft::Packet {
        source: VM.into(),
        destination: [198, 51, 100, 10].into(),
        destination_port: Some(40_000),
        ..packet(VM)
    };
    let of_answer = |event: Traced| Traced {
        id: 2,
        packet: Some(answer),
        ..event
    };
    let mut both = way.to_vec();
    both.extend([of_answer(at(Entered, answer)), of_answer(dropped)]);
    said(
        &followed(&both),
        false,
        "the answer is dropped by the rule with handle 4 of chain c in table inet fw",
    );
    both.pop();
    both.push(of_answer(at(Left, answer)));
    said(&followed(&both), true, "nothing wrong");
}

#[test]
fn what_others_have_in_the_way_is_noted() {
    let chain = |hook, drops| ForeignChain {
        family: "inet",
        table: "fw".to_owned(),
        name: "c\u{1b}".to_owned(),
        hook,
        drops,
    };
    let live = live_with(|_, inspected| {
        inspected.chains = vec![
            chain(Some("forward"), true),
            chain(Some("input"), true),
            chain(None, false),
        ];
        inspected.legacy = vec!["filter".to_owned()];
    });
    assert!(live.agrees);
    let notes: Vec<_> = live
        .checks
        .iter()
        .filter(|one| one.subject == "others")
        .map(|one| one.text.as_str())
        .collect();
    assert_eq!(
        notes,
        [
            "table inet fw, chain c\\u{1b} stands at forward: it drops what none of its rules accepts",
            "table inet fw, chain c\\u{1b} stands at a link: what it drops cannot be followed",
            "iptables-legacy has the tables filter: what it drops cannot be followed; `iptables-legacy-save` shows it",
        ]
    );
}
