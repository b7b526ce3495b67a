//! Routes: the way out, and the addresses that the router answers for.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

use crate::config::{Config, SnatPool};
use crate::model::{Desired, DesiredLink, LinkId, Route, RouteKind, TABLE_LOCAL, TABLE_MAIN};
use crate::owned::ROUTE_PROTOCOL;

/// The highest metric: any other route wins.
const LAST_RESORT: u32 = u32::MAX;

pub(super) fn desire(config: &Config, desired: &mut Desired) {
    if let Some((external, gateway)) = config.external().and_then(|one| Some((one, one.gateway?))) {
        desired.routes.insert(Route {
            destination: Ipv4Net::default(),
            table: TABLE_MAIN,
            kind: RouteKind::Unicast,
            gateway: Some(gateway),
            link: external.link(),
            metric: 0,
            protocol: ROUTE_PROTOCOL,
        });
    }
    for route in config.routes() {
        let Some((_, interface)) = config.subnet_of(route.via) else {
            continue;
        };
        desired.routes.insert(Route {
            destination: route.to,
            table: TABLE_MAIN,
            kind: RouteKind::Unicast,
            gateway: Some(route.via),
            link: interface.link(),
            metric: route.metric,
            protocol: ROUTE_PROTOCOL,
        });
    }
    // While the NIC of a subnet is not there, what is meant for the subnet must not go outside instead, by the
    // default route and with its private source. The kernel's own route to the subnet has metric 0 and wins, and so does
    // one of ours to a network that is inside.
    for inside in config.inside() {
        desired.routes.insert(Route {
            destination: inside,
            table: TABLE_MAIN,
            kind: RouteKind::Unreachable,
            gateway: None,
            link: LinkId::Loopback,
            metric: LAST_RESORT,
            protocol: ROUTE_PROTOCOL,
        });
    }
    let own: BTreeSet<Ipv4Addr> = config.interfaces().iter().map(|one| one.address.addr()).collect();
    let mapped = config.eips().iter().map(|entry| entry.eip);
    let forwarded = config.forwards().iter().map(|entry| entry.eip);
    let pool = config.snat_pool().iter().flat_map(SnatPool::addresses);
    // A route, not an address: the kernel takes O(n) for each address that a link has already, and nothing for
    // a route, which answers ARP and ping as well and is never chosen as a source. On lo, since it must outlive
    // an external link that goes down. The router's own address is local without it.
    let local = mapped.chain(forwarded).chain(pool);
    // Collected, not inserted: then the set is made at once, with no room to spare, which would take a third more.
    let mut local = local
        .filter(|eip| !own.contains(eip))
        .map(|eip| Route {
            destination: Ipv4Net::from(eip),
            table: TABLE_LOCAL,
            kind: RouteKind::Local,
            gateway: None,
            link: LinkId::Loopback,
            metric: 0,
            protocol: ROUTE_PROTOCOL,
        })
        .collect();
    desired.routes.append(&mut local);
    // The kernel refuses a route on a link that is down, and lo is, in a namespace or an initrd.
    desired.links.insert(
        LinkId::Loopback,
        DesiredLink {
            path: "lo".to_owned(),
            ..DesiredLink::default()
        },
    );
}
