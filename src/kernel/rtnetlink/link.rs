//! Messages of a dump of links: what a look takes of each, and no more. There may be hundreds of links, and most of what the kernel
//! tells of one is for nobody here.
//!
//! Parameters of a link are read by hand: the crate fills up with zeros what a kernel does not tell.

use std::collections::BTreeMap;

use netlink_packet_core::{NlasIterator, ParseableParametrized};
use netlink_packet_route::link::{LinkAttribute, LinkExtentMask, LinkHeader, LinkMessage};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use nix::libc;

use crate::kernel::netfilter::message::Attributes;
use crate::model::{LinkIndex, LinkSysctl};

/// Parameters of links as the kernel told them along with the links. One that is not among them may exist all the same.
pub(in crate::kernel) type Parameters = BTreeMap<(LinkIndex, LinkSysctl), i32>;

/// `struct ifinfomsg`.
const HEADER: usize = 16;
/// An array of numbers by `IPV4_DEVCONF_*` (linux/ip.h), which begin at one (`inet_fill_link_af`, net/ipv4/devinet.c).
const IFLA_INET_CONF: u16 = 1;
/// One by `DEVCONF_*` (linux/ipv6.h), which begin at zero (`inet6_fill_ifla6_attrs`, net/ipv6/addrconf.c).
const IFLA_INET6_CONF: u16 = 2;
const IPV4_DEVCONF_RP_FILTER: usize = 8;
const IPV4_DEVCONF_ARP_IGNORE: usize = 19;
const IPV4_DEVCONF_PROMOTE_SECONDARIES: usize = 20;
const DEVCONF_DISABLE_IPV6: usize = 26;

/// Asks for all links. Without what they counted, which takes the kernel a walk over all processors for each
/// (`RTEXT_FILTER_SKIP_STATS`, Linux 4.4; before, it comes and is passed over).
pub(super) fn request() -> RouteNetlinkMessage {
    let mut message = LinkMessage::default();
    message.attributes = vec![LinkAttribute::ExtMask(vec![LinkExtentMask::SkipStats])];
    RouteNetlinkMessage::GetLink(message)
}

/// Reads a message from behind its netlink header on: the link, and those of its parameters that are told. `None`: it is of no form
/// that the crate knows.
pub(super) fn read(payload: &[u8]) -> Option<(LinkMessage, Vec<(LinkSysctl, i32)>)> {
    let mut message = LinkMessage::default();
    message.header = LinkHeader::parse(payload).ok()?;
    let family = message.header.interface_family;
    let mut parameters = Vec::new();
    for attribute in NlasIterator::new(payload.get(HEADER..)?) {
        let attribute = attribute.ok()?;
        match attribute.kind() {
            libc::IFLA_ADDRESS
            | libc::IFLA_IFNAME
            | libc::IFLA_MTU
            | libc::IFLA_LINK
            | libc::IFLA_LINKINFO => {
                let attribute = LinkAttribute::parse_with_param(&attribute, family).ok()?;
                message.attributes.push(attribute);
            }
            libc::IFLA_AF_SPEC if family == AddressFamily::Unspec => {
                let value = |one| parameter(attribute.value(), one).map(|value| (one, value));
                parameters = LinkSysctl::ALL.into_iter().filter_map(value).collect();
            }
            _ => {}
        }
    }
    Some((message, parameters))
}

/// The value of a parameter in what the protocol families say of a link; `None`: it is not told.
fn parameter(families: &[u8], parameter: LinkSysctl) -> Option<i32> {
    let (family, array, index) = match parameter {
        LinkSysctl::PromoteSecondaries => (
            libc::AF_INET,
            IFLA_INET_CONF,
            IPV4_DEVCONF_PROMOTE_SECONDARIES - 1,
        ),
        LinkSysctl::RpFilter => (libc::AF_INET, IFLA_INET_CONF, IPV4_DEVCONF_RP_FILTER - 1),
        LinkSysctl::ArpIgnore => (libc::AF_INET, IFLA_INET_CONF, IPV4_DEVCONF_ARP_IGNORE - 1),
        LinkSysctl::DisableIpv6 => (libc::AF_INET6, IFLA_INET6_CONF, DEVCONF_DISABLE_IPV6),
    };
    let families = Attributes::<{ libc::AF_INET6 as usize + 1 }>::read(families).ok()?;
    let family = Attributes::<3>::read(families.get(family as u16)?).ok()?;
    let value = family.get(array)?.get(index * 4..)?.first_chunk()?;
    Some(i32::from_ne_bytes(*value))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
        let mut bytes = (4 + value.len() as u16).to_ne_bytes().to_vec();
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(value);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    /// So many numbers, each of which is its place.
    fn numbers(count: i32) -> Vec<u8> {
        (0..count)
            .flat_map(|number| (number - 20).to_ne_bytes())
            .collect()
    }

    fn message(families: &[(i32, Vec<u8>)]) -> Vec<u8> {
        let families: Vec<u8> = (families.iter())
            .flat_map(|(family, value)| attribute(*family as u16, value))
            .collect();
        let mut bytes = vec![0; HEADER];
        bytes[4..8].copy_from_slice(&7_u32.to_ne_bytes());
        // Of a form that the crate refuses.
        bytes.extend(attribute(libc::IFLA_STATS, &[1]));
        bytes.extend(attribute(libc::IFLA_MTU, &1_450_u32.to_ne_bytes()));
        bytes.extend(attribute(libc::IFLA_AF_SPEC, &families));
        bytes.extend(attribute(libc::IFLA_IFNAME, b"eth0\0"));
        bytes
    }

    fn parameters(families: &[(i32, Vec<u8>)]) -> Vec<(LinkSysctl, i32)> {
        let (link, parameters) = read(&message(families)).unwrap();
        assert_eq!(link.header.index, 7);
        assert_eq!(
            link.attributes,
            [LinkAttribute::Mtu(1_450), LinkAttribute::IfName("eth0".into())]
        );
        parameters
    }

    #[test]
    fn what_is_not_told_is_no_zero() {
        use LinkSysctl::{ArpIgnore, DisableIpv6, PromoteSecondaries, RpFilter};
        let inet = |count| (libc::AF_INET, attribute(IFLA_INET_CONF, &numbers(count)));
        let inet6 = |count| {
            let flags = attribute(1, &[0; 4]);
            let conf = attribute(IFLA_INET6_CONF, &numbers(count));
            (libc::AF_INET6, [flags, conf].concat())
        };
        let (rp, arp, promote, ipv6) = (
            (RpFilter, -13),
            (ArpIgnore, -2),
            (PromoteSecondaries, -1),
            (DisableIpv6, 6),
        );
        for (families, told) in [
            (vec![inet(33), inet6(60)], vec![promote, rp, arp, ipv6]),
            (vec![inet6(60), inet(33)], vec![promote, rp, arp, ipv6]),
            (vec![inet(33)], vec![promote, rp, arp]),
            (vec![inet6(27)], vec![ipv6]),
            (vec![inet(20), inet6(26)], vec![promote, rp, arp]),
            (vec![inet(19)], vec![rp, arp]),
            (vec![inet(7), inet6(0)], vec![]),
            (vec![(libc::AF_INET, vec![]), (libc::AF_INET6, vec![])], vec![]),
            // Another family, and one that makes no sense.
            (vec![(45, numbers(60)), inet(33)], vec![promote, rp, arp]),
            (vec![(libc::AF_INET, vec![3, 0])], vec![]),
            (vec![], vec![]),
        ] {
            assert_eq!(parameters(&families), told, "{families:?}");
        }
    }

    #[test]
    fn no_byte_makes_it_panic() {
        let bytes = message(&[(libc::AF_INET, attribute(IFLA_INET_CONF, &numbers(20)))]);
        for cut in 0..bytes.len() {
            let _ = read(&bytes[..cut]);
            for value in [0, 1, 3, 4, 0x7f, 0xff] {
                let mut other = bytes.clone();
                other[cut] = value;
                let _ = read(&other);
            }
        }
    }
}
