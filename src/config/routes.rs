//! `route_list`: reads an entry, and checks it against the router's subnets and everything else that has an address.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::str::FromStr;

use ipnet::Ipv4Net;

use super::StaticRoute;
use super::entries::Entries;
use super::fields::{Path, Read, Reader, flag, host_address, number};
use super::node::Located;
use super::problem::Severity;
use super::router::Router;

pub(super) const ROUTE: &[&str] = &["to", "via", "metric", "inside"];

/// The highest metric of a route. The one above is the router's own: of the routes that keep what is for the VPC from going
/// outside while its NIC is not there.
pub(super) const HIGHEST_METRIC: u32 = u32::MAX - 1;

pub(super) fn read(reader: &mut Reader<'_>, item: &Located<'_>, path: Path) -> Option<StaticRoute> {
    let fields = reader.mapping(item, path, ROUTE)?;
    let to = fields.required(reader, "to", "a network, as in 172.30.0.0/16", network);
    let via = fields.required(reader, "via", "an IPv4 address", host_address);
    let expected = "a metric, 0 to 4294967294";
    let metric = fields.optional(reader, "metric", expected, |text| {
        number(text, &(0..=HIGHEST_METRIC), expected)
    });
    let inside = flag(&fields, reader, "inside");
    Some(StaticRoute {
        to: to?.value,
        via: via?.value,
        metric: metric.map(|metric| metric.value).unwrap_or_default(),
        inside: inside.unwrap_or_default(),
        place: fields.place,
    })
}

/// `172.30.0.0/16`, or an address: a route to one host.
fn network(text: &str) -> Result<Ipv4Net, String> {
    let expected = || "a network, as in 172.30.0.0/16".to_owned();
    let (address, prefix) = match text.split_once('/') {
        Some((address, prefix)) => (address, number(prefix, &(0..=32u8), "").map_err(|_| expected())?),
        None => (text, 32),
    };
    let address = Ipv4Addr::from_str(address).map_err(|_| expected())?;
    let net = Ipv4Net::new(address, prefix).map_err(|_| expected())?;
    if prefix == 0 {
        return Err(
            "a part of all networks: the way to everywhere is the `gateway` of an interface".to_owned(),
        );
    }
    if net.trunc() != net {
        return Err(format!(
            "a network without host bits: of prefix {prefix} it is {}",
            net.trunc()
        ));
    }
    // Networks are told apart by their first octet here, and none of these is one bit only.
    for address in [net.network(), net.broadcast()] {
        host_address(&address.to_string()).map_err(|expected| format!("a network of hosts: {expected}"))?;
    }
    Ok(net)
}

/// `taken` says of an address what entry has it already.
pub(super) fn check(
    reader: &mut Reader<'_>,
    routes: &Entries<StaticRoute>,
    router: &Router<'_>,
    taken: impl Fn(Ipv4Addr) -> Option<String>,
) {
    let mut by_key: BTreeMap<(Ipv4Net, u32), Path> = BTreeMap::new();
    let mut by_network: BTreeMap<Ipv4Net, Read<&StaticRoute>> = BTreeMap::new();
    for entry in routes.iter() {
        let route = entry.value;
        let mut problem = |key: &str, value: String, message: String| {
            let path = format!("{}.{key}", entry.path);
            reader.problem(Severity::Error, path, entry.place, Some(value), message);
        };
        if let Some(message) = router.not_a_network(route) {
            problem("to", route.to.to_string(), message);
        }
        let via = router.not_a_next_hop(route.via);
        if let Some(message) = via.or_else(|| taken(route.via)) {
            problem("via", route.via.to_string(), message);
        }
        if let Some(first) = by_key.insert((route.to, route.metric), entry.path.clone()) {
            let message = format!("is in {first} already, with the same metric");
            problem("to", route.to.to_string(), message);
        }
        match by_network.get(&route.to) {
            Some(first) if first.value.inside != route.inside => {
                let message = format!(
                    "{} says otherwise of the same network: whether it is inside is no matter of the way there",
                    first.path
                );
                problem("inside", route.inside.to_string(), message);
            }
            Some(_) => {}
            None => drop(by_network.insert(route.to, entry.clone())),
        }
    }
}
