use super::*;
use crate::kernel::rtnetlink::Parameters;
use crate::model::{LinkSysctl, RouteKind, TABLE_LOCAL};
use crate::owned::ROUTE_PROTOCOL;
use crate::plan::LinkRef;
use crate::undo::undo;

/// `ENOBUFS` as the kernel gives it, not as a test says: the receive queue is full, and the answer gone.
#[test]
fn routes_whose_answer_was_lost_are_there_and_are_taken_back() {
    if !nix::unistd::geteuid().is_root() {
        println!("skipped: routes_whose_answer_was_lost_are_there_and_are_taken_back: needs root");
        return;
    }
    let test = || {
        nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
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
    };
    std::thread::spawn(test).join().unwrap();
}

/// Ours and others' changes of what is ours, in any order: what is told of a look again is what a look at everything sees.
#[test]
fn a_look_again_sees_what_a_look_at_everything_sees() {
    if !nix::unistd::geteuid().is_root() {
        println!("skipped: a_look_again_sees_what_a_look_at_everything_sees: needs root");
        return;
    }
    let test = || {
        nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
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
    };
    std::thread::spawn(test).join().unwrap();
}

/// Odd values, links without IPv6 or without IPv4, a name that no file can have: what is told along with the links is what is
/// in the files.
#[test]
fn what_is_told_of_a_link_s_parameters_is_what_its_files_say() {
    if !nix::unistd::geteuid().is_root() {
        println!("skipped: what_is_told_of_a_link_s_parameters_is_what_its_files_say: needs root");
        return;
    }
    let test = || {
        nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
        let ip = |arguments: &str| {
            let status = std::process::Command::new("ip")
                .args(arguments.split(' '))
                .status()
                .unwrap();
            assert!(status.success(), "ip {arguments}");
        };
        let links = ["eth0", "eth1", "kvr-vx7", "small", "a.b"];
        for (number, link) in links.into_iter().enumerate() {
            let kind = match link {
                "kvr-vx7" => "vxlan id 7 dstport 4789 local 192.0.2.1".to_owned(),
                _ => format!("veth peer name peer{number}"),
            };
            ip(&format!(
                "link add {link} address 52:54:00:00:00:0{number} type {kind}"
            ));
        }
        ip("link set small mtu 1000");
        ip("link set lo mtu 67");
        ip("link set eth0 up");
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
    };
    std::thread::spawn(test).join().unwrap();
}
