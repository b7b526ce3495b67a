//! What the kernel refuses, or takes and then sends to nobody: a next hop that is the router itself.

use kylin_vr::features;
use kylin_vr::kernel::Fake;
use kylin_vr::model::{Observed, RouteKind};
use kylin_vr::owned::Owned;
use kylin_vr::plan::{Operation, diff};
use proptest::prelude::*;
use proptest::sample::subsequence;

use super::{apply, kernel, mac, parse};

/// A router whose address, gateway and elastic IPs are some of the same few addresses.
fn crowded() -> impl Strategy<Value = String> {
    (1..5u8, 1..5u8, subsequence(vec![1u8, 2, 3, 4], 0..3), any::<bool>()).prop_filter_map(
        "none is two things",
        |(own, gateway, eips, other_nic)| {
            if own == gateway || eips.contains(&own) || eips.contains(&gateway) {
                return None;
            }
            let nic = if other_nic { 1 } else { 0 };
            let mut text = format!("if_list: [{{ipaddr: 10.90.3.{own}, prefix: 24, mac: {}, gateway: 10.90.3.{gateway}}}]\neip_list:\n", mac(nic));
            for eip in eips {
                text += &format!("  - {{eip: 10.90.3.{eip}, vm-ip: 192.168.1.{eip}}}\n");
            }
            Some(text)
        },
    )
}

/// Asserts that no route comes by a gateway that is the router's own address at that moment, from a state on.
fn gateways_are_others(state: &Observed, operations: impl Iterator<Item = Operation>) {
    // An address may be there on two NICs, or as an address and a route.
    let mut own: Vec<std::net::Ipv4Addr> = (state.addresses.values().flatten().map(ipnet::Ipv4Net::addr))
        .chain(
            (state.routes.iter().filter(|route| route.kind == RouteKind::Local))
                .map(|route| route.destination.addr()),
        )
        .collect();
    for operation in operations {
        let (comes, goes, gateway) = match &operation {
            Operation::AddAddress { address, .. } => (Some(address.addr()), None, None),
            Operation::DeleteAddress { address, .. } => (None, Some(address.addr()), None),
            Operation::AddRoute { route, .. } if route.kind == RouteKind::Local => {
                (Some(route.destination.addr()), None, None)
            }
            Operation::DeleteRoute { route, .. } if route.kind == RouteKind::Local => {
                (None, Some(route.destination.addr()), None)
            }
            Operation::AddRoute { route, .. } | Operation::ReplaceRoute { to: route, .. } => {
                (None, None, route.gateway)
            }
            _ => (None, None, None),
        };
        assert!(
            gateway.is_none_or(|gateway| !own.contains(&gateway)),
            "{operation:?} with {own:?}"
        );
        own.extend(comes);
        if let Some(at) = goes.and_then(|gone| own.iter().position(|one| *one == gone)) {
            own.remove(at);
        }
    }
}

proptest! {
    #[test]
    fn no_route_comes_by_an_address_that_is_the_routers_own(mut state in kernel(), first in crowded(), second in crowded()) {
        // What others left on NICs that the file does not name is not ours to take away.
        state.addresses.clear();
        let mut kernel = Fake::new(state);
        let owned = apply(&mut kernel, &first, Owned::default());
        let before = kernel.state.clone();
        let plan = diff(&features::desired(&parse(&second)), &before, &owned);
        gateways_are_others(&before, plan.operations.iter().cloned());
        apply(&mut kernel, &second, owned);
        // And not on the way back, either.
        gateways_are_others(&kernel.state, plan.operations.iter().rev().map(Operation::inverse));
    }
}
