use super::*;

fn message(kind: u16, body: &[u8]) -> Vec<u8> {
    let mut bytes = (HEADER as u32 + body.len() as u32).to_ne_bytes().to_vec();
    bytes.extend(kind.to_ne_bytes());
    bytes.resize(HEADER, 0);
    bytes.extend(body);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

#[test]
fn of_routes_only_ours_and_defaults_count() {
    let route = |prefix, protocol| [2, prefix, 0, 0, 254, protocol, 0, 1, 0, 0, 0, 0];
    for (body, counts) in [
        (route(24, 186), false),
        (route(0, 16), true),
        (route(32, ROUTE_PROTOCOL), true),
    ] {
        assert_eq!(is_route_relevant(libc::RTM_DELROUTE, &body), counts, "{body:?}");
    }
    assert!(is_route_relevant(libc::RTM_DELADDR, &[]));
    assert!(is_route_relevant(libc::RTM_NEWROUTE, &[2, 24]), "cut short");
}

#[test]
fn of_traffic_control_only_what_mirrors_hang_on_counts() {
    let body = |parent: u32, priority: u16| {
        let mut body = vec![0; 12];
        body.extend(parent.to_ne_bytes());
        body.extend((u32::from(priority) << 16).to_ne_bytes());
        body
    };
    for (kind, body, counts) in [
        (libc::RTM_DELQDISC, body(CLSACT, 0), true),
        (libc::RTM_NEWQDISC, body(0xffff_ffff, 0), false),
        (libc::RTM_DELTFILTER, body(0xffff_fff2, FILTER_PRIORITY), true),
        (libc::RTM_NEWTFILTER, body(0xffff_fff2, 1), false),
        (libc::RTM_NEWTCLASS, body(CLSACT, FILTER_PRIORITY), false),
        (libc::RTM_DELTFILTER, vec![0; 16], true),
    ] {
        assert_eq!(is_route_relevant(kind, &body), counts, "{kind} {body:?}");
    }
}

#[test]
fn of_routes_that_are_ours_it_is_told_which_may_have_changed() {
    let mut routes = OwnRoutes::open().unwrap();
    routes.leave_by([LinkIndex(7)].into_iter());
    let route = |prefix, protocol, kind| [2, prefix, 0, 0, 255, protocol, 254, kind, 0, 0, 0, 0];
    let link = |index: u8| [0, 0, 1, 0, index, 0, 0, 0, 0, 0, 0, 0];
    let by = |kind, body: &[u8]| {
        let mut happened = Happened::default();
        routes.note(kind, body, &mut happened);
        happened
    };
    for (kind, body, unclear, main) in [
        (
            libc::RTM_DELROUTE,
            route(24, ROUTE_PROTOCOL, libc::RTN_LOCAL),
            true,
            false,
        ),
        (
            libc::RTM_NEWROUTE,
            route(24, ROUTE_PROTOCOL, libc::RTN_UNREACHABLE),
            false,
            true,
        ),
        (libc::RTM_NEWROUTE, route(0, 16, libc::RTN_UNICAST), false, true),
        (libc::RTM_NEWROUTE, route(24, 2, libc::RTN_UNICAST), false, false),
        (libc::RTM_NEWROUTE, route(32, 2, libc::RTN_LOCAL), false, false),
        (libc::RTM_NEWLINK, link(1), true, true),
        (libc::RTM_NEWLINK, link(7), false, true),
        (libc::RTM_DELADDR, link(7), false, true),
        (libc::RTM_NEWLINK, link(2), false, false),
    ] {
        let expected = Happened {
            unclear,
            main,
            ..Happened::default()
        };
        assert_eq!(by(kind, &body), expected, "{kind} {body:?}");
    }
    let cut = by(libc::RTM_NEWLINK, &[0, 0]);
    assert!(cut.unclear && cut.main, "cut short");
    let mut elastic = route(32, ROUTE_PROTOCOL, libc::RTN_LOCAL).to_vec();
    for (attribute, value) in [
        (libc::RTA_TABLE, [255, 0, 0, 0]),
        (libc::RTA_DST, [10, 9, 8, 7]),
        (libc::RTA_OIF, [1, 0, 0, 0]),
    ] {
        elastic.extend(8_u16.to_ne_bytes());
        elastic.extend(attribute.to_ne_bytes());
        elastic.extend(value);
    }
    let gone = by(libc::RTM_DELROUTE, &elastic);
    assert!(!gone.unclear && !gone.main);
    let [RouteChange::Went(went)] = &gone.elastic[..] else {
        panic!("{gone:?}")
    };
    assert_eq!(went.destination.to_string(), "10.9.8.7/32");
    let came = by(libc::RTM_NEWROUTE, &elastic);
    assert_eq!(came.elastic, [RouteChange::Came(went.clone())]);
}

#[test]
fn of_neighbours_only_those_of_our_links_that_are_there_for_good_count() {
    let neighbour = |link: u32, state: u16| {
        let mut body = vec![2, 0, 0, 0];
        body.extend(link.to_ne_bytes());
        body.extend(state.to_ne_bytes());
        body
    };
    let (new, gone) = (libc::RTM_NEWNEIGH, libc::RTM_DELNEIGH);
    let ours = FIRST_OWN_LINK + 7;
    for (kind, link, state, counts) in [
        (new, ours, 0x80, true),
        (new, ours, 0x02, false),
        (gone, ours, 0x80, true),
        // As `ip neigh del` has it.
        (gone, ours, 0x20, true),
        (gone, ours, 0x04, false),
        (new, 3, 0x80, false),
        (gone, 3, 0x80, false),
    ] {
        let body = neighbour(link, state);
        assert_eq!(is_route_relevant(kind, &body), counts, "{kind} {link} {state:x}");
        let mut happened = Happened::default();
        OwnRoutes::open().unwrap().note(kind, &body, &mut happened);
        let expected = Happened {
            touched_neighbours: counts,
            ..Happened::default()
        };
        assert_eq!(happened, expected);
    }
    // Somebody made a forwarding entry one that ages.
    let mut aging = neighbour(ours, 0x02);
    aging[0] = libc::AF_BRIDGE as u8;
    assert!(is_route_relevant(new, &aging));
}

#[test]
fn of_neighbours_on_overlay_links_it_is_told_what_became_of_which() {
    let mut routes = OwnRoutes::open().unwrap();
    routes.lead_to([LinkIndex(7)].into_iter());
    let entry = |family: i32, link: u32, flags: u8, attributes: &[(u16, &[u8])]| {
        let mut body = vec![family as u8, 0, 0, 0];
        body.extend(link.to_ne_bytes());
        body.extend([0x80, 0, flags, 0]);
        for (kind, value) in attributes {
            body.extend((4 + value.len() as u16).to_ne_bytes());
            body.extend(kind.to_ne_bytes());
            body.extend(*value);
            body.resize(body.len().next_multiple_of(4), 0);
        }
        body
    };
    let (vm, host): (&[u8], &[u8]) = (&[2, 0, 0, 0, 0, 9], &[10, 90, 4, 9]);
    let address = |link, flags| entry(libc::AF_INET, link, flags, &[(1, host), (2, vm)]);
    let forward = |to| entry(libc::AF_BRIDGE, 7, 2, &[(1, host), (2, to)]);
    let link = |index: u8| vec![0, 0, 1, 0, index, 0, 0, 0, 0, 0, 0, 0];
    for (body, followed, unclear) in [
        (address(7, 0), 1, false),
        (forward(vm), 1, false),
        (address(8, 0), 0, false),
        (entry(libc::AF_INET6, 7, 0, &[]), 0, false),
        // A proxy's; frames to many; what has no host, but a group of them.
        (address(7, 8), 0, true),
        (forward(&[0; 6]), 0, true),
        (forward(&[1, 0, 0, 0, 0, 9]), 0, true),
        (
            entry(libc::AF_BRIDGE, 7, 2, &[(2, vm), (13, &[1, 0, 0, 0])]),
            0,
            true,
        ),
        (entry(libc::AF_INET, 7, 0, &[]), 0, true),
    ] {
        for kind in [libc::RTM_NEWNEIGH, libc::RTM_DELNEIGH] {
            let mut happened = Happened::default();
            routes.note(kind, &body, &mut happened);
            let told = (happened.neighbours.len(), happened.unclear_neighbours);
            assert_eq!(told, (followed, unclear), "{kind} {body:?}");
            assert!(!happened.unclear && !happened.main);
        }
    }
    for (kind, body, unclear) in [
        (libc::RTM_NEWLINK, link(7), true),
        (libc::RTM_DELLINK, link(7), true),
        (libc::RTM_NEWLINK, link(8), false),
        (libc::RTM_NEWNEIGH, vec![2, 0], true),
        (libc::RTM_GETNEIGH, address(7, 0), true),
    ] {
        let mut happened = Happened::default();
        routes.note(kind, &body, &mut happened);
        assert_eq!(happened.unclear_neighbours, unclear, "{kind} {body:?}");
    }
}

#[test]
fn of_nftables_only_our_table_counts() {
    let of = |table: &str| {
        let mut body = vec![2, 0, 0, 0];
        body.extend((ATTRIBUTE as u16 + table.len() as u16 + 1).to_ne_bytes());
        body.extend(1_u16.to_ne_bytes());
        body.extend(table.as_bytes());
        body.push(0);
        body
    };
    let deleted_table = SUBSYS_NFTABLES << 8 | 2;
    assert!(is_nftables_relevant(deleted_table, &of(NFT_TABLE)));
    assert!(!is_nftables_relevant(deleted_table, &of("firewalld")));
    assert!(!is_nftables_relevant(deleted_table, &[]));
    let mut flagged = of(NFT_TABLE);
    flagged[NFGENMSG + 2..][..2].copy_from_slice(&(1_u16 | 0x8000).to_ne_bytes());
    assert!(
        is_nftables_relevant(deleted_table, &flagged),
        "flags are no part of a number"
    );
    let both = [message(1, &of("a")), message(2, &of("b"))].concat();
    let kinds: Vec<u16> = messages(&both).map(|(kind, _)| kind).collect();
    assert_eq!(kinds, [1, 2]);
    assert_eq!(messages(&both[..HEADER + 2]).count(), 0, "cut short");
}
