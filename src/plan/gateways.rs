//! Keeps gateways and the router's own addresses apart while a plan is carried out.
//!
//! The kernel takes a route by a gateway that is the router's own address at that moment for one that says "on the link"
//! (net/ipv4/fib_semantics.c: the next hop's scope is `host`). So it stays when the address is gone, with nothing in a
//! dump that tells it from a good one: every destination is then asked for by ARP (Linux 6.18, found by
//! tests/differential). So what makes a gateway the router's own goes before the route comes; and for the undo, which is
//! the other way round, a route goes before its gateway becomes the router's own.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

use super::Operation;
use crate::model::RouteKind;

/// The operations on addresses and routes in an order of their own, beside those that need none.
#[derive(Debug)]
pub(super) struct Addressing {
    /// To be carried out in this order: addresses are added before others are deleted, but for the reason above.
    pub(super) come: Vec<Operation>,
    /// What goes once all else is there.
    pub(super) go: Vec<Operation>,
}

pub(super) fn order(
    add_addresses: Vec<Operation>,
    add_routes: Vec<Operation>,
    delete_routes: Vec<Operation>,
    delete_addresses: Vec<Operation>,
) -> Addressing {
    let new_own: BTreeSet<Ipv4Addr> = add_addresses
        .iter()
        .chain(&add_routes)
        .flat_map(own)
        .flatten()
        .collect();
    let new_gateways: BTreeSet<Ipv4Addr> = add_routes.iter().filter_map(gateway).collect();
    let becomes_own = |gateway: Option<Ipv4Addr>| gateway.is_some_and(|gateway| new_own.contains(&gateway));

    let mut come = Vec::new();
    let mut routes = add_routes;
    for operation in &mut routes {
        if let Operation::ReplaceRoute {
            link,
            from_link,
            from,
            to,
        } = operation
            && becomes_own(from.gateway)
        {
            come.push(Operation::DeleteRoute {
                link: from_link.clone(),
                route: from.clone(),
            });
            *operation = Operation::AddRoute {
                link: link.clone(),
                route: to.clone(),
            };
        }
    }
    let (first, delete_routes): (Vec<_>, Vec<_>) = delete_routes
        .into_iter()
        .partition(|one| matches!(one, Operation::DeleteRoute { route, .. } if becomes_own(route.gateway)));
    come.extend(first);
    come.extend(add_addresses);
    let is_new_gateway = |one: &Operation| {
        lost(one)
            .iter()
            .flatten()
            .any(|address| new_gateways.contains(address))
    };
    let (first, delete_routes): (Vec<_>, Vec<_>) = delete_routes.into_iter().partition(is_new_gateway);
    come.extend(first);
    let (first, delete_addresses): (Vec<_>, Vec<_>) = delete_addresses.into_iter().partition(is_new_gateway);
    come.extend(first);
    // In the order of their destinations the way out comes first, before what the router answers for: the undo has it
    // the other way round.
    // Tens of thousands of routes stay where they are.
    routes.splice(0..0, come);
    Addressing {
        come: routes,
        go: delete_routes.into_iter().chain(delete_addresses).collect(),
    }
}

/// The addresses that an operation makes no gateway: the router's own, and those that mean a whole subnet.
fn own(operation: &Operation) -> [Option<Ipv4Addr>; 3] {
    match operation {
        Operation::AddAddress { address, .. } => of_address(address),
        Operation::AddRoute { route, .. } if route.kind == RouteKind::Local => {
            [Some(route.destination.addr()), None, None]
        }
        _ => [None; 3],
    }
}

/// The addresses that can be gateways again.
fn lost(operation: &Operation) -> [Option<Ipv4Addr>; 3] {
    match operation {
        Operation::DeleteAddress { address, .. } => of_address(address),
        Operation::DeleteRoute { route, .. } if route.kind == RouteKind::Local => {
            [Some(route.destination.addr()), None, None]
        }
        _ => [None; 3],
    }
}

/// An address, and the broadcast addresses that come and go with it: a route by one of those is refused (`EINVAL`; the
/// lowest address of a subnet is one up to Linux 5.13, `fib_add_ifaddr`, net/ipv4/fib_frontend.c).
fn of_address(address: &Ipv4Net) -> [Option<Ipv4Addr>; 3] {
    [address.addr(), address.network(), address.broadcast()].map(Some)
}

/// The gateway of a route that comes.
fn gateway(operation: &Operation) -> Option<Ipv4Addr> {
    match operation {
        Operation::AddRoute { route, .. } | Operation::ReplaceRoute { to: route, .. } => route.gateway,
        _ => None,
    }
}
