use std::net::Ipv4Addr;

use super::*;
use crate::config::Config;
use crate::features::desired;
use crate::kernel::rtnetlink::Parameters;
use crate::model::{FrameAddr, LinkSysctl, Neighbour, RouteKind, TABLE_LOCAL};
use crate::owned::{Owned, ROUTE_PROTOCOL};
use crate::plan::LinkRef;
use crate::reconcile::reconcile;
use crate::undo::undo;

/// Runs a test in a network namespace of its own.
fn in_namespace(name: &str, test: impl FnOnce() + Send + 'static) {
    if !nix::unistd::geteuid().is_root() {
        println!("skipped: {name}: needs root");
        return;
    }
    let test = || {
        nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
        test();
    };
    std::thread::spawn(test).join().unwrap();
}

fn run(line: &str) {
    let mut words = line.split(' ');
    let command = words.next().unwrap();
    let status = std::process::Command::new(command).args(words).status();
    assert!(status.unwrap().success(), "{line}");
}

/// `ENOBUFS` as the kernel gives it, not as a test says: the receive queue is full, and the answer gone.
#[test]
fn routes_whose_answer_was_lost_are_there_and_are_taken_back() {
    in_namespace(
        "routes_whose_answer_was_lost_are_there_and_are_taken_back",
        || {
            let link = LinkRef {
                index: LinkIndex(1),
                name: LinkName("lo".into()),
            };
            let mut kernel = Linux::open().unwrap();
            let up = Operation::SetLink {
                link: link.clone(),
                up: true,
            };
            kernel.apply(&[up]).unwrap();
            let operation = |subnet, host| Operation::AddRoute {
                link: link.clone(),
                route: Route {
                    destination: format!("10.9.{subnet}.{host}/32").parse().unwrap(),
                    table: 255,
                    kind: RouteKind::Local,
                    gateway: None,
                    link: link.index,
                    metric: 0,
                    protocol: ROUTE_PROTOCOL,
                },
            };
            // What is there already is answered with an error each: too many for the queue.
            let there: Vec<_> = (1..=100).map(|host| operation(0, host)).collect();
            kernel.apply(&there).unwrap();
            let before = kernel.observe().unwrap();
            let mut done: Vec<_> = (1..=100).map(|host| operation(1, host)).collect();
            done.splice(0..0, there);
            kernel.rtnetlink.shrink();
            let Incomplete { begun, failures } = kernel.apply(&done).unwrap_err();
            assert_eq!((begun, failures.len()), (200, 1));
            assert!(
                failures[0].error.to_string().contains("no buffer space"),
                "{}",
                failures[0].error
            );
            assert_eq!(kernel.observe().unwrap().routes.len(), 200, "and yet all is done");
            let unsure = vec![done.remove(failures[0].index)];
            done.drain(..100);
            assert_eq!(undo(&mut kernel, &done, &unsure, &before), Vec::<String>::new());
            assert_eq!(kernel.observe().unwrap(), before);
        },
    );
}

/// Ours and others' changes of what is ours, in any order: what is told of a look again is what a look at everything sees.
#[test]
fn a_look_again_sees_what_a_look_at_everything_sees() {
    in_namespace("a_look_again_sees_what_a_look_at_everything_sees", || {
        let link = LinkRef {
            index: LinkIndex(1),
            name: LinkName("lo".into()),
        };
        let set = |up| Operation::SetLink {
            link: link.clone(),
            up,
        };
        let route = |host: u32, kind, table| Route {
            destination: format!("10.9.{}.{}/32", host / 200, host % 200 + 1)
                .parse()
                .unwrap(),
            table,
            kind,
            gateway: None,
            link: link.index,
            metric: 0,
            protocol: ROUTE_PROTOCOL,
        };
        let elastic = |host| route(host, RouteKind::Local, TABLE_LOCAL);
        let add = |route| Operation::AddRoute {
            link: link.clone(),
            route,
        };
        let delete = |route| Operation::DeleteRoute {
            link: link.clone(),
            route,
        };
        let (mut kernel, mut other) = (Linux::open().unwrap(), Linux::open().unwrap());
        kernel.listen().unwrap();
        kernel.apply(&[set(true)]).unwrap();
        let all: Vec<_> = (0..600).step_by(2).map(|host| add(elastic(host))).collect();
        kernel.apply(&all).unwrap();
        let mut last = kernel.observe().unwrap();
        assert_eq!(last.routes.len(), 300);
        let many = |from: u32| {
            (from..from + 2 * MANY as u32)
                .map(|host| add(elastic(host)))
                .collect()
        };
        let unreachable = route(9, RouteKind::Unreachable, TABLE_MAIN);
        // By us, and by another program.
        let steps: Vec<(Vec<Operation>, Vec<Operation>)> = vec![
            (vec![], vec![]),
            (vec![add(elastic(1))], vec![]),
            (vec![], vec![delete(elastic(2))]),
            (
                vec![add(elastic(3))],
                vec![delete(elastic(3)), delete(elastic(4))],
            ),
            (vec![delete(elastic(6)), add(elastic(5))], vec![add(elastic(6))]),
            (vec![add(unreachable.clone())], vec![add(elastic(7))]),
            (vec![], vec![delete(unreachable)]),
            ((601..1_000).map(|host| add(elastic(host))).collect(), vec![]),
            (many(2_000), vec![]),
            (vec![delete(elastic(2_000))], vec![delete(elastic(2_001))]),
            (vec![], vec![set(false), set(true)]),
            (vec![], many(6_000)),
            (vec![delete(elastic(6_000))], vec![]),
        ];
        for (number, (ours, theirs)) in steps.into_iter().enumerate() {
            kernel.apply(&ours).unwrap();
            other.apply(&theirs).unwrap();
            let again = kernel.observe_again(&last).unwrap();
            assert_eq!(again, other.observe().unwrap(), "step {number}");
            last = again;
        }
    });
}

/// The same of entries of overlay links: whoever changes them, by whichever way, and whatever happens to the links.
#[test]
fn a_look_again_sees_what_became_of_every_neighbour() {
    in_namespace("a_look_again_sees_what_became_of_every_neighbour", || {
        run("ip link set lo up");
        run("ip address add 192.0.2.1/32 dev lo");
        let add = |vni: u32| {
            run(&format!(
                "ip link add kvr-vx{vni} index {} type vxlan id {vni} dstport 4789 local 192.0.2.1 nolearning",
                1_580_000 + vni
            ));
            run(&format!("ip link set kvr-vx{vni} up"));
        };
        add(7);
        add(8);
        let link = LinkRef {
            index: LinkIndex(1_580_007),
            name: LinkName("kvr-vx7".into()),
        };
        let forward = |vm: u32, host| {
            let [_, b, c, d] = vm.to_be_bytes();
            Neighbour::forward(FrameAddr([2, 0, 0, b, c, d]), Ipv4Addr::new(10, 9, 0, host))
        };
        let address = |vm: u32, last| Neighbour::Address {
            address: Ipv4Addr::from(0xac14_0000 | vm),
            mac: FrameAddr([2, 0, 0, 0, 0, last]),
        };
        let add_one = |neighbour| Operation::AddNeighbour {
            link: link.clone(),
            neighbour,
        };
        let replace = |from, to| Operation::ReplaceNeighbour {
            link: link.clone(),
            from,
            to,
        };
        let delete = |neighbour| Operation::DeleteNeighbour {
            link: link.clone(),
            neighbour,
        };
        let flood = |host| Neighbour::forward(FrameAddr::OTHERS, Ipv4Addr::new(10, 9, 0, host));
        let (mut kernel, mut other) = (Linux::open().unwrap(), Linux::open().unwrap());
        kernel.listen().unwrap();
        let all = (0..100).flat_map(|vm| [add_one(forward(vm, 1)), add_one(address(vm, 1))]);
        kernel.apply(&all.collect::<Vec<_>>()).unwrap();
        let mut last = kernel.observe().unwrap();
        let count = |observed: &Observed| observed.neighbours.values().map(|all| all.len()).sum::<usize>();
        assert_eq!(count(&last), 200);
        let many = || (200..600).map(|vm| add_one(forward(vm, 1))).collect();
        // By us, by others, and whether every neighbour is looked at anew for it.
        let steps: Vec<(Vec<Operation>, &[&str], bool)> = vec![
            (vec![], &[], false),
            (vec![replace(forward(3, 1), forward(3, 2))], &[], false),
            (vec![replace(address(3, 1), address(3, 2))], &[], false),
            (
                vec![add_one(forward(100, 1)), add_one(address(100, 1))],
                &[],
                false,
            ),
            (vec![delete(forward(5, 1)), delete(address(5, 1))], &[], false),
            // There already, and gone already.
            (
                vec![
                    add_one(forward(6, 1)),
                    delete(forward(5, 1)),
                    delete(address(5, 1)),
                ],
                &[],
                false,
            ),
            (
                vec![replace(forward(7, 1), forward(7, 2))],
                &[
                    "bridge fdb del 02:00:00:00:00:07 dev kvr-vx7",
                    "ip neigh del 172.20.0.8 dev kvr-vx7",
                    "bridge fdb replace 02:00:00:00:00:09 dev kvr-vx7 dst 10.9.0.9 port 1 vni 5 via lo",
                    "ip neigh replace 172.20.0.9 lladdr 02:00:00:00:00:63 dev kvr-vx7 nud permanent",
                ],
                false,
            ),
            // What is there no longer for good; of ours, addresses stay.
            (
                vec![],
                &[
                    "ip neigh replace 172.20.0.10 lladdr 02:00:00:00:00:63 dev kvr-vx7 nud reachable",
                    "ip neigh add 172.20.9.9 lladdr 02:00:00:00:00:63 dev kvr-vx7 nud reachable",
                    "bridge fdb replace 02:00:00:00:00:0a dev kvr-vx7 dst 10.9.0.9 dynamic",
                    "bridge fdb add 02:00:00:00:09:09 dev kvr-vx8 dst 10.9.0.9",
                ],
                false,
            ),
            (vec![], &["bridge fdb del 02:00:00:00:09:09 dev kvr-vx8"], false),
            (vec![add_one(flood(1)), add_one(flood(2))], &[], true),
            (vec![delete(flood(1))], &[], true),
            (vec![], &["ip neigh add proxy 172.20.0.11 dev kvr-vx7"], false),
            (many(), &[], true),
            (
                vec![delete(forward(200, 1))],
                &["ip link set kvr-vx7 mtu 1400"],
                true,
            ),
            (vec![], &["ip link set kvr-vx7 down"], true),
            (vec![], &["ip link set kvr-vx7 up"], true),
            (
                vec![add_one(address(1, 1))],
                &["ip link set kvr-vx7 address 02:00:00:00:00:77"],
                true,
            ),
            (vec![add_one(address(1, 1))], &["ip link del kvr-vx8"], true),
            (vec![delete(address(1, 1))], &[], false),
        ];
        for (number, (ours, theirs, is_whole)) in steps.into_iter().enumerate() {
            kernel.apply(&ours).unwrap();
            theirs.iter().for_each(|line| run(line));
            kernel.hear();
            assert_eq!(kernel.followed_neighbours.is_none(), is_whole, "step {number}");
            let again = kernel.observe_again(&last).unwrap();
            assert_eq!(again, other.observe().unwrap(), "step {number}");
            last = again;
        }
        // Links that came, and one that is gone with a name that another one has now.
        add(8);
        run("bridge fdb add 02:00:00:00:09:09 dev kvr-vx8 dst 10.9.0.9");
        last = kernel.observe_again(&last).unwrap();
        assert_eq!(last, other.observe().unwrap());
        run("ip link del kvr-vx8");
        run("ip link add kvr-vx8 type vxlan id 8 dstport 4789 local 192.0.2.1 nolearning");
        run("bridge fdb add 02:00:00:00:09:09 dev kvr-vx8 dst 10.9.0.9");
        last = kernel.observe_again(&last).unwrap();
        assert_eq!(last, other.observe().unwrap());
        run("bridge fdb add 02:00:00:00:09:0a dev kvr-vx8 dst 10.9.0.9");
        assert_eq!(kernel.observe_again(&last).unwrap(), other.observe().unwrap());
    });
}

/// Between each look and the change that it leads to.
#[test]
fn what_others_change_of_neighbours_during_a_run_is_put_right() {
    in_namespace(
        "what_others_change_of_neighbours_during_a_run_is_put_right",
        || {
            run("ip link add eth0 address 52:54:84:00:08:45 type veth peer name eth1");
            let desired = |host_of_first: u8| {
                let mut text = "if_list:\n  - {ipaddr: 10.90.3.37, prefix: 24, mac: '52:54:84:00:08:45', gateway: 10.90.3.1}\n  \
                            - ipaddr: 172.20.1.254\n    prefix: 24\n    vxlan: {vni: 100}\n    vm_list:\n"
                .to_owned();
                for vm in 1..=9 {
                    let host = if vm == 1 { host_of_first } else { 41 };
                    text += &format!(
                        "      - {{vm-ip: 172.20.1.{vm}, mac: '02:00:00:00:00:0{vm}', host: 10.90.3.{host}}}\n"
                    );
                }
                desired(&Config::parse(text.as_bytes()).config.unwrap())
            };
            let (mut kernel, mut other) = (Linux::open().unwrap(), Linux::open().unwrap());
            kernel.listen().unwrap();
            let owned = reconcile(&mut kernel, &desired(41), Owned::default(), |_| Ok(()))
                .unwrap()
                .owned;
            let wanted = other.observe().unwrap();
            // What is kept is written before each change, and at the end.
            let mut spoils = [
                "bridge fdb del 02:00:00:00:00:02 dev kvr-vx100",
                "bridge fdb replace 02:00:00:00:00:01 dev kvr-vx100 dst 10.90.3.43",
            ]
            .into_iter();
            let spoil = |_: &Owned| {
                spoils.next().into_iter().for_each(run);
                Ok(())
            };
            let done = reconcile(&mut kernel, &desired(42), owned.clone(), spoil).unwrap();
            let lines: Vec<String> = done.done.iter().map(ToString::to_string).collect();
            assert_eq!(lines.len(), 3, "{lines:#?}");
            assert_eq!(
                reconcile(&mut kernel, &desired(41), owned, |_| Ok(()))
                    .unwrap()
                    .done
                    .len(),
                1
            );
            assert_eq!(other.observe().unwrap(), wanted);
        },
    );
}

/// Odd values, links without IPv6 or without IPv4, a name that no file can have: what is told along with the links is what is
/// in the files.
#[test]
fn what_is_told_of_a_link_s_parameters_is_what_its_files_say() {
    in_namespace(
        "what_is_told_of_a_link_s_parameters_is_what_its_files_say",
        || {
            let links = ["eth0", "eth1", "kvr-vx7", "small", "a.b"];
            for (number, link) in links.into_iter().enumerate() {
                let kind = match link {
                    "kvr-vx7" => "vxlan id 7 dstport 4789 local 192.0.2.1".to_owned(),
                    _ => format!("veth peer name peer{number}"),
                };
                run(&format!(
                    "ip link add {link} address 52:54:00:00:00:0{number} type {kind}"
                ));
            }
            run("ip link set small mtu 1000");
            run("ip link set lo mtu 67");
            run("ip link set eth0 up");
            let mut kernel = Linux::open().unwrap();
            let mut look = || kernel.rtnetlink.observe(Routes::None).unwrap();
            let (observed, _) = look();
            for (number, link) in (-3..).zip(&observed.links) {
                for (parameter, value) in LinkSysctl::ALL.into_iter().zip([number, i32::MAX, -number, 7]) {
                    // Not every link has every one.
                    let _ = sysctl::write(&parameter.path(&link.name), &value.to_string());
                }
            }
            let (observed, told) = look();
            let files = sysctl::observe(&observed.links, &Parameters::new()).unwrap();
            assert_eq!(sysctl::observe(&observed.links, &told).unwrap(), files);
            let told_of = |name: &str| {
                let link = observed.links.iter().find(|link| *link.name.0 == *name).unwrap();
                LinkSysctl::ALL.map(|parameter| told.contains_key(&(link.index, parameter)))
            };
            for (name, expected) in [
                ("eth0", [true, true, true, true]),
                ("kvr-vx7", [true, true, true, true]),
                ("small", [true, true, true, false]),
                ("lo", [false, false, false, true]),
            ] {
                assert_eq!(told_of(name), expected, "{name}");
            }
            assert!(files.values().any(|value| value == "2147483647"));
            // A kernel without IPv6 lets a link have this name later on, which then has parameters and no files.
            let mut links = observed.links.clone();
            let eth0 = links.iter_mut().find(|link| &*link.name.0 == "eth0").unwrap();
            eth0.name = LinkName("default".into());
            let files = sysctl::observe(&links, &Parameters::new()).unwrap();
            assert_eq!(sysctl::observe(&links, &told).unwrap(), files);
        },
    );
}
