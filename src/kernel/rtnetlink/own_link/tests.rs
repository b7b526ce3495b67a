use netlink_packet_core::{Emitable, Parseable};

use super::*;
use crate::kernel::{Kernel, Linux};
use crate::model::{LinkId, LinkName};
use crate::plan::Operation;

fn name() -> LinkRef {
    LinkRef {
        index: LinkIndex(1_580_001),
        name: LinkName("kvr-test".into()),
    }
}

fn seen() -> Link {
    Link {
        index: name().index,
        name: name().name,
        id: None,
        up: true,
        stacked: false,
        ipv6_in_use: false,
        udev_pending: false,
        mtu: 1_450,
    }
}

fn kinds() -> Vec<OwnKind<LinkIndex>> {
    let remote = Ipv4Addr::new(172, 19, 0, 21);
    let local = Some(Ipv4Addr::new(172, 19, 0, 1));
    let erspan = |version| OwnKind::Erspan {
        local,
        remote,
        session: 99,
        version,
    };
    vec![
        OwnKind::Vlan {
            parent: LinkIndex(7),
            id: 51,
        },
        OwnKind::Gretap {
            local: None,
            remote,
            key: None,
        },
        OwnKind::Gretap {
            local,
            remote,
            key: Some(0),
        },
        erspan(Erspan::V1 { index: 0xf_ffff }),
        erspan(Erspan::V2),
        OwnKind::Vxlan {
            vni: 0xff_ffff,
            local: remote,
            port: 4789,
        },
    ]
}

/// What is sent, read as what would be told.
#[test]
fn what_is_made_reads_back() {
    let mac = "02:00:00:00:00:01".parse().ok();
    for kind in kinds() {
        let mtu = Some(1_450);
        let own = OwnLink { kind, mtu, mac };
        let message = message(&name(), &own);
        let mut bytes = vec![0; message.buffer_len()];
        message.emit(&mut bytes);
        let message = LinkMessage::parse(&bytes).unwrap();
        let (read_name, read) = read(&message, &seen()).unwrap();
        assert_eq!((read_name.as_str(), &read), ("kvr-test", &own));
    }
}

#[test]
fn a_tunnel_with_settings_of_its_own_is_none_of_ours() {
    let remote = Ipv4Addr::new(172, 19, 0, 21);
    assert!(gretap(&gre(None, remote)).is_some());
    for one in [
        InfoGre::Ttl(1),
        InfoGre::PathMTUDiscovery(true),
        InfoGre::Other(DefaultNla::new(IFLA_GRE_IGNORE_DF, vec![0])),
        InfoGre::OFlags(GreIOFlags::Key),
        InfoGre::OKey(7),
        InfoGre::Link(3),
    ] {
        let mut data = gre(None, remote);
        data.push(one.clone());
        assert_eq!(gretap(&data), None, "{one:?}");
    }
    let vxlan_with = |one| {
        let data = [
            InfoVxlan::Id(1),
            InfoVxlan::Local(remote),
            InfoVxlan::Port(4789),
            one,
        ];
        vxlan(&data)
    };
    assert!(vxlan_with(InfoVxlan::Learning(false)).is_some());
    assert_eq!(vxlan_with(InfoVxlan::Learning(true)), None);
    assert_eq!(vxlan_with(InfoVxlan::Group(Ipv4Addr::new(239, 1, 1, 1))), None);
}

/// VXLAN is what every kernel has that tests run on; the others are made in VMs.
#[test]
fn the_kernel_makes_changes_and_deletes_what_is_read_back() {
    if !nix::unistd::geteuid().is_root() {
        println!("skipped: the_kernel_makes_changes_and_deletes_what_is_read_back: needs root");
        return;
    }
    let test = || {
        nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
        let mut kernel = Linux::open().unwrap();
        let own = OwnLink {
            kind: kinds().pop().unwrap(),
            mtu: Some(1_450),
            mac: "02:00:00:00:00:01".parse().ok(),
        };
        let (link, below) = (name(), None);
        let add = Operation::AddOwnLink {
            link: link.clone(),
            below,
            own: own.clone().into(),
        };
        let seen = |kernel: &mut Linux| kernel.observe().unwrap().own_links.remove(&link.index);
        kernel.apply(std::slice::from_ref(&add)).unwrap();
        assert_eq!(seen(&mut kernel).as_ref(), Some(&own));
        let id = OwnName::new(&link.name.0).map(LinkId::Own);
        let found = kernel.observe().unwrap().find(id.unwrap()).cloned().unwrap();
        assert!(found.up && found.mtu == 1_450, "{found:?}");

        // A second one has nowhere to be.
        let mut twin = link.clone();
        twin.index.0 += 1;
        twin.name = LinkName("kvr-twin".into());
        let (below, own) = (None, own);
        let clash = Operation::AddOwnLink {
            link: twin,
            below,
            own: own.clone().into(),
        };
        let failed = kernel.apply(&[clash]).unwrap_err().failures.remove(0).error;
        assert!(failed.to_string().contains("the same ends"), "{failed}");

        let changed = OwnLink {
            mtu: Some(1_400),
            mac: "02:00:00:00:00:02".parse().ok(),
            ..own.clone()
        };
        let change = Operation::ChangeOwnLink {
            link: link.clone(),
            from: own.into(),
            to: changed.clone().into(),
        };
        kernel.apply(std::slice::from_ref(&change)).unwrap();
        assert_eq!(seen(&mut kernel), Some(changed));
        kernel.apply(&[change.inverse(), add.inverse()]).unwrap();
        assert_eq!(seen(&mut kernel), None);
        // What is gone already is no failure.
        kernel.apply(&[add.inverse()]).unwrap();
    };
    std::thread::spawn(test).join().unwrap();
}

#[test]
fn a_name_of_ours_alone_makes_no_link_of_ours() {
    let mut message = LinkMessage::default();
    assert_eq!(read(&message, &seen()), None, "a NIC");
    let info = vec![LinkInfo::Kind(InfoKind::Dummy)];
    message.attributes.push(LinkAttribute::LinkInfo(info));
    let (_, own) = read(&message, &seen()).unwrap();
    assert_eq!(own.kind, OwnKind::Other("dummy".to_owned()));
}
