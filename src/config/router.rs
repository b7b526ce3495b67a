//! What the router's own addresses and subnets say about those of the entries.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

use super::entries::Addresses;
use super::fields::{Read, Reader};
use super::problem::{Place, Severity};
use super::{Interface, StaticRoute};
use crate::model::{LinkId, MacAddr};

/// What entries are checked against.
pub(super) struct Router<'e> {
    /// `None` if they are not known for certain: then nothing is said of what they mean for others.
    interfaces: Option<Vec<Read<&'e Interface>>>,
    /// Networks that are inside, behind other routers.
    routes: Vec<Read<&'e StaticRoute>>,
}

impl<'e> Router<'e> {
    /// `None`: the interfaces are not known for certain.
    pub(super) fn new(
        interfaces: Option<Vec<Read<&'e Interface>>>,
        routes: impl Iterator<Item = Read<&'e StaticRoute>>,
    ) -> Self {
        let routes = routes.filter(|route| route.value.inside).collect();
        Self { interfaces, routes }
    }

    /// The network of a route that is inside, if an address is in one.
    fn routed(&self, address: Ipv4Addr) -> Option<&Read<&'e StaticRoute>> {
        self.routes.iter().find(|route| route.value.to.contains(&address))
    }

    /// Whether the interfaces are known for certain.
    pub(super) fn is_known(&self) -> bool {
        self.interfaces.is_some()
    }

    /// The interface with this hardware address.
    pub(super) fn by_mac(&self, mac: MacAddr) -> Option<&Read<&'e Interface>> {
        self.interfaces()
            .find(|entry| entry.value.link() == LinkId::Mac(mac))
    }

    /// The interface by which what is for a network goes, as a whole; `inside`: only one of a subnet.
    pub(super) fn way_to(&self, network: Ipv4Net, inside: bool) -> Option<&Read<&'e Interface>> {
        let on_link = |network: &Ipv4Net| {
            let mut interfaces = self.interfaces();
            interfaces.find(|entry| entry.value.address.trunc().contains(network))
        };
        let routed = self.routes.iter().find(|route| route.value.to.contains(&network));
        let way = on_link(&network).or_else(|| on_link(&routed?.value.via.into()));
        way.or_else(|| self.external())
            .filter(|way| !inside || way.value.gateway.is_none())
    }

    pub(super) fn interfaces(&self) -> impl Iterator<Item = &Read<&'e Interface>> {
        self.interfaces.iter().flatten()
    }

    pub(super) fn internal(&self) -> impl Iterator<Item = &Read<&'e Interface>> {
        self.interfaces().filter(|entry| entry.value.gateway.is_none())
    }

    fn external(&self) -> Option<&Read<&'e Interface>> {
        self.interfaces().find(|entry| entry.value.gateway.is_some())
    }

    /// An address that packets from outside are sent to.
    pub(super) fn check_eip<T>(&self, reader: &mut Reader<'_>, entry: &Read<T>, eip: Ipv4Addr, whole: bool) {
        if let Some(message) = self.not_outside(eip, whole) {
            let path = format!("{}.eip", entry.path);
            reader.problem(Severity::Error, path, entry.place, Some(eip.to_string()), message);
        }
    }

    /// Why an address cannot be one that the router answers for outside; `None`: it can. Where it is to be one VM's as a
    /// `whole`, the router's own cannot.
    pub(super) fn not_outside(&self, address: Ipv4Addr, whole: bool) -> Option<String> {
        if let Some(inside) = self
            .internal()
            .find(|inside| inside.value.address.contains(&address))
        {
            return Some(format!(
                "is inside the VPC, in the subnet of {}, {}",
                inside.path,
                inside.value.address.trunc()
            ));
        }
        if let Some(route) = self.routed(address) {
            return Some(format!(
                "is inside the VPC, in the network of {}, {}",
                route.path, route.value.to
            ));
        }
        let external = self.external()?;
        let net = external.value.address;
        if whole && net.addr() == address {
            Some(format!(
                "is the router's own address ({}); forward ports of it instead",
                external.path
            ))
        } else if external.value.gateway == Some(address) {
            Some(format!("is the gateway of {}", external.path))
        } else if net.contains(&address)
            && let Some(what) = reserved(net, address)
        {
            Some(format!(
                "is the {what} address of the subnet of {}, {}",
                external.path,
                net.trunc()
            ))
        } else {
            None
        }
    }

    /// An address that packets are passed on to; `eips` are those that are elastic IPs.
    pub(super) fn check_vm<T>(
        &self,
        reader: &mut Reader<'_>,
        entry: &Read<T>,
        vm: Ipv4Addr,
        eips: &[&Addresses],
    ) {
        let mut problem = |severity, message: String| {
            let path = format!("{}.vm-ip", entry.path);
            reader.problem(severity, path, entry.place, Some(vm.to_string()), message);
        };
        if let Some(own) = self.interfaces().find(|own| own.value.address.addr() == vm) {
            problem(
                Severity::Error,
                format!("is the router's own address ({}), not a VM's", own.path),
            );
        } else if eips.iter().any(|eips| eips.contains(vm)) {
            problem(
                Severity::Error,
                "is an elastic IP itself: expected the VM's own address".to_owned(),
            );
        } else if let Some(near) = self.interfaces().find(|near| near.value.address.contains(&vm))
            && let Some(what) = reserved(near.value.address, vm)
        {
            // Outside as well: the router itself would send broadcasts there.
            let message = format!(
                "is the {what} address of the subnet of {}, {}",
                near.path,
                near.value.address.trunc()
            );
            problem(Severity::Error, message);
        } else if self.interfaces.is_some()
            && !self.internal().any(|inside| inside.value.address.contains(&vm))
            && self.routed(vm).is_none()
        {
            problem(Severity::Warning, "is in no subnet of the VPC".to_owned());
        }
    }

    /// Why a route cannot lead to its network; `None`: it can.
    pub(super) fn not_a_network(&self, route: &StaticRoute) -> Option<String> {
        if let Some(own) = self
            .interfaces()
            .find(|own| own.value.address.trunc().contains(&route.to))
        {
            return Some(format!(
                "is in the subnet of {}, {}, which the router reaches without a route",
                own.path,
                own.value.address.trunc()
            ));
        }
        let external = self.external().filter(|_| route.inside)?;
        let outside = external.value.address.trunc();
        route.to.contains(&outside).then(|| {
            format!(
                "cannot be inside: the subnet of {}, {outside}, which is outside, is in it",
                external.path
            )
        })
    }

    /// Why an address cannot be a route's next hop; `None`: it can.
    pub(super) fn not_a_next_hop(&self, via: Ipv4Addr) -> Option<String> {
        let interfaces = self.interfaces.as_ref()?;
        let Some(near) = interfaces.iter().find(|one| one.value.address.contains(&via)) else {
            return Some(
                "the next hop is nowhere: expected an address in the subnet of an interface".to_owned(),
            );
        };
        let net = near.value.address;
        if net.addr() == via {
            return Some(format!(
                "expected the next hop, not the router's own address ({})",
                near.path
            ));
        }
        reserved(net, via).map(|what| {
            format!(
                "is the {what} address of the subnet of {}, {}",
                near.path,
                net.trunc()
            )
        })
    }

    /// A router that is to translate (`first`: the first entry that says so) but has no way out.
    pub(super) fn check_outside(&self, reader: &mut Reader<'_>, first: Option<Place>) {
        if let (Some(_), None, Some(place)) = (&self.interfaces, self.external(), first) {
            let message = "no interface has a gateway: nothing reaches these addresses from outside";
            reader.problem(Severity::Warning, "if_list", place, None, message);
        }
    }
}

/// Whether an address names its whole subnet. In a /31 (RFC 3021) and a /32 none does.
pub(super) fn reserved(net: Ipv4Net, address: Ipv4Addr) -> Option<&'static str> {
    if net.prefix_len() >= 31 {
        None
    } else if address == net.network() {
        Some("network")
    } else if address == net.broadcast() {
        Some("broadcast")
    } else {
        None
    }
}
