//! NICs: up, with exactly their address, and with the kernel parameters of a router's NIC.

use crate::config::Config;
use crate::model::{Desired, DesiredLink, LinkSysctl, Sysctl};

pub(super) fn desire(config: &Config, desired: &mut Desired) {
    for (index, interface) in config.interfaces().iter().enumerate() {
        let external = interface.gateway.is_some();
        let link = DesiredLink {
            addresses: Some([interface.address].into()),
            external,
            path: format!("if_list[{index}]"),
        };
        desired.links.insert(interface.link(), link);

        let mut set = |parameter, value: &str| {
            desired
                .sysctls
                .insert(Sysctl::Link(interface.link(), parameter), value.to_owned());
        };
        set(LinkSysctl::PromoteSecondaries, "1");
        // Translation goes by source address, so a VM must not send with one of another subnet: strict.
        // Outside, a client may well be reached by another NIC (a management network, say), while its
        // packets to an elastic IP come in here: loose (RFC 3704, section 2.4).
        set(LinkSysctl::RpFilter, if external { "2" } else { "1" });
        if !config.ipv6() {
            set(LinkSysctl::DisableIpv6, "1");
        }
    }
    desired.sysctls.insert(Sysctl::IpForward, "1".to_owned());
    // A hash table of sockets less to look into for each packet that is none of ours: 2 to 4 of 100 of what it costs.
    desired.sysctls.insert(Sysctl::IpEarlyDemux, "0".to_owned());
    if !config.ipv6() {
        // Nothing here filters or translates IPv6: with it on, VMs would be reachable beside the NAT.
        desired.sysctls.insert(Sysctl::DisableIpv6All, "1".to_owned());
        desired.sysctls.insert(Sysctl::DisableIpv6Default, "1".to_owned());
    }
}
