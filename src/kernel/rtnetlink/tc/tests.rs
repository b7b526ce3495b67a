use super::*;
use crate::kernel::{Kernel, Linux};
use crate::model::{LONGEST_PROGRAM, LinkName, OwnKind, OwnLink};
use crate::plan::Operation;

/// `ret #k`
fn returns(k: u32) -> Instruction {
    let (code, jt, jf) = (6, 0, 0);
    Instruction { code, jt, jf, k }
}

fn own(index: u32) -> Operation {
    Operation::AddOwnLink {
        link: LinkRef {
            index: LinkIndex(index),
            name: LinkName(format!("kvr-vx{index}").into()),
        },
        below: None,
        own: Box::new(OwnLink {
            kind: OwnKind::Vxlan {
                vni: index,
                local: [127, 0, 0, 1].into(),
                port: 4789,
            },
            mtu: None,
            mac: None,
        }),
    }
}

#[test]
fn the_kernel_takes_changes_and_lets_go_of_what_is_read_back() {
    if !nix::unistd::geteuid().is_root() {
        println!("skipped: the_kernel_takes_changes_and_lets_go_of_what_is_read_back: needs root");
        return;
    }
    let test = || {
        nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
        let mut kernel = Linux::open().unwrap();
        let link = LinkRef {
            index: LinkIndex(1),
            name: LinkName("lo".into()),
        };
        let up = Operation::SetLink {
            link: link.clone(),
            up: true,
        };
        kernel.apply(&[up, own(11), own(12)]).unwrap();
        let before = kernel.observe().unwrap();
        assert!(before.hooks.is_empty() && before.classifiers.is_empty());

        let hook = |direction, handle, to: &[u32], program| Hook {
            link: link.index,
            direction,
            handle,
            mirror: "ids-1".to_owned(),
            program,
            to: to.iter().map(|index| LinkIndex(*index)).collect(),
        };
        let first = hook(Direction::Ingress, 7, &[11], vec![returns(0)]);
        let second = hook(
            Direction::Egress,
            0xffff_fff0,
            &[11, 12],
            vec![returns(u32::MAX); LONGEST_PROGRAM],
        );
        let add = |hook: &Hook<LinkIndex>| Operation::AddHook {
            link: link.clone(),
            hook: hook.clone().into(),
            to_names: Box::default(),
        };
        let classifier = Operation::AddClassifier { link: link.clone() };
        let made = [classifier, add(&first), add(&second)];
        kernel.apply(&made).unwrap();
        let now = kernel.observe().unwrap();
        assert_eq!(now.hooks, [first.clone(), second.clone()]);
        let alone = Classifier::Clsact { is_shared: false };
        assert_eq!(now.classifiers, [(link.index, alone)].into());

        // What comes through is counted where it is chosen.
        nix::sys::socket::sendto(
            std::os::fd::AsRawFd::as_raw_fd(&std::net::UdpSocket::bind("127.0.0.1:0").unwrap()),
            b"to whom it may concern",
            &nix::sys::socket::SockaddrIn::new(127, 0, 0, 1, 9),
            nix::sys::socket::MsgFlags::empty(),
        )
        .unwrap();
        let copied = kernel.copied().unwrap();
        let counts: Vec<_> = copied.iter().map(|one| (one.to.0, one.packets > 0)).collect();
        assert_eq!(counts, [(11, false), (11, true), (12, true)]);

        let other = hook(Direction::Ingress, 7, &[12], vec![returns(1)]);
        let replace = Operation::ReplaceHook {
            link: link.clone(),
            from: first.into(),
            to: other.clone().into(),
            to_names: Box::default(),
        };
        kernel.apply(std::slice::from_ref(&replace)).unwrap();
        assert_eq!(kernel.observe().unwrap().hooks, [other, second.clone()]);

        // A target that is gone is none.
        kernel.apply(&[own(11).inverse()]).unwrap();
        assert_eq!(
            kernel.observe().unwrap().hooks[1].to,
            [LinkIndex(0), LinkIndex(12)]
        );
        kernel.apply(&[own(11), replace.inverse()]).unwrap();
        let mut inverse: Vec<_> = made.iter().rev().map(Operation::inverse).collect();
        kernel.apply(&inverse).unwrap();
        // What is gone already is no failure.
        inverse.truncate(2);
        kernel.apply(&inverse).unwrap();
        let now = kernel.observe().unwrap();
        assert_eq!((now.hooks, now.classifiers), (before.hooks, before.classifiers));
    };
    std::thread::spawn(test).join().unwrap();
}

#[test]
fn what_others_made_of_it_is_seen() {
    let hook = Hook {
        link: LinkIndex(3),
        direction: Direction::Ingress,
        handle: 7,
        mirror: "ids-1".to_owned(),
        program: vec![returns(1)],
        to: vec![LinkIndex(4), LinkIndex(5)],
    };
    let bytes = |change: &dyn Fn(&mut Vec<u8>)| {
        use netlink_packet_core::Emitable;
        let message = with_options(&hook);
        let mut bytes = vec![0; message.buffer_len()];
        message.emit(&mut bytes);
        change(&mut bytes);
        bytes
    };
    let read = |bytes: &[u8]| filter_of(bytes, Direction::Ingress);
    assert!(matches!(read(&bytes(&|_| ())), Filter::Ours(seen, _) if seen == hook));
    let place = |needle: &[u8]| {
        let whole = bytes(&|_| ());
        whole.windows(needle.len()).position(|one| one == needle).unwrap()
    };
    // Another program's: another kind, another priority, no cookie of ours.
    let kind = place(b"bpf\0");
    let foreign = bytes(&|bytes| bytes[kind] = b'x');
    assert!(matches!(read(&foreign), Filter::Foreign(LinkIndex(3))));
    let foreign = bytes(&|bytes| bytes[18] ^= 1);
    assert!(matches!(read(&foreign), Filter::Foreign(LinkIndex(3))));
    // Ours, with another action or another end.
    for (at, byte) in [(place(b"mirred\0"), b'x'), (place(&CONTINUE.to_ne_bytes()), 0)] {
        let changed = bytes(&|bytes| bytes[at] = byte);
        assert!(matches!(read(&changed), Filter::Ours(seen, _) if seen.program.is_empty()));
    }
}
