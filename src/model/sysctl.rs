//! The kernel parameters that a router needs, by what they are for and not by a path that a rename breaks.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{LinkId, LinkName, OwnName};

/// A kernel parameter below `/proc/sys/net` (Documentation/networking/ip-sysctl.rst).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
pub enum Sysctl {
    /// `net.ipv4.ip_forward`: whether the VM routes at all.
    IpForward,
    /// `net.ipv4.ip_early_demux`: whether a socket of the VM's own is looked for before the route. What is routed pays for it
    /// and never has one: the kernel's documentation advises routers to have it off (since Linux 3.6).
    IpEarlyDemux,
    /// `net.ipv6.conf.all.disable_ipv6`: writing it writes every link's.
    DisableIpv6All,
    /// `net.ipv6.conf.default.disable_ipv6`: what a link that appears later starts with.
    DisableIpv6Default,
    /// `net.ipv4.conf.default.promote_secondaries`: the same of that parameter. Only looked at, as is the next one.
    PromoteSecondariesDefault,
    /// `net.ipv4.conf.default.rp_filter`.
    RpFilterDefault,
    /// `net.ipv4.conf.default.arp_ignore`: what a link that appears later starts with.
    ArpIgnoreDefault,
    /// `net.netfilter.nf_conntrack_buckets`: the size of the hash that tracked flows are found by
    /// (Documentation/networking/nf_conntrack-sysctl.rst). The whole machine's, as is the next one.
    ConntrackBuckets,
    /// `net.netfilter.nf_conntrack_max`: how many flows are tracked at most, of each network namespace.
    ConntrackMax,
    /// `net.netfilter.nf_conntrack_tcp_be_liberal`: 1 tracks TCP segments outside of the window too, but for resets.
    ConntrackTcpBeLiberal,
    /// `net.netfilter.nf_conntrack_checksum`: 0 tracks packets whose checksum is wrong too.
    ConntrackChecksum,
    /// A parameter of one NIC, or of a link of ours.
    Link(LinkId, LinkSysctl),
}

/// A kernel parameter that each link has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LinkSysctl {
    /// `net.ipv4.conf.*.promote_secondaries`: whether an address survives the removal of an older one of its
    /// subnet. Without it, add-before-delete of an address loses the new one too.
    PromoteSecondaries,
    /// `net.ipv4.conf.*.rp_filter`: 1 drops packets whose source is not reached by the link they came from
    /// (RFC 3704, strict), 2 those whose source is not reached at all (loose).
    RpFilter,
    /// `net.ipv4.conf.*.arp_ignore`: 8 answers nobody who asks for any address of ours.
    ArpIgnore,
    /// `net.ipv6.conf.*.disable_ipv6`.
    DisableIpv6,
}

impl LinkSysctl {
    /// All of them.
    pub const ALL: [Self; 4] = [
        Self::PromoteSecondaries,
        Self::RpFilter,
        Self::ArpIgnore,
        Self::DisableIpv6,
    ];

    /// The path below `/proc/sys/net` of this parameter of a link.
    #[must_use]
    pub fn path(self, link: &LinkName) -> String {
        let (family, name) = self.parts();
        format!("{family}/conf/{}/{name}", link.0)
    }

    /// What a link that appears later starts with.
    #[must_use]
    pub const fn of_new_links(self) -> Sysctl {
        match self {
            Self::PromoteSecondaries => Sysctl::PromoteSecondariesDefault,
            Self::RpFilter => Sysctl::RpFilterDefault,
            Self::ArpIgnore => Sysctl::ArpIgnoreDefault,
            Self::DisableIpv6 => Sysctl::DisableIpv6Default,
        }
    }

    const fn parts(self) -> (&'static str, &'static str) {
        match self {
            Self::PromoteSecondaries => ("ipv4", "promote_secondaries"),
            Self::RpFilter => ("ipv4", "rp_filter"),
            Self::ArpIgnore => ("ipv4", "arp_ignore"),
            Self::DisableIpv6 => ("ipv6", "disable_ipv6"),
        }
    }
}

impl Sysctl {
    /// All that are no NIC's.
    pub const GLOBAL: [Self; 11] = [
        Self::IpForward,
        Self::IpEarlyDemux,
        Self::DisableIpv6All,
        Self::DisableIpv6Default,
        Self::PromoteSecondariesDefault,
        Self::RpFilterDefault,
        Self::ArpIgnoreDefault,
        Self::ConntrackBuckets,
        Self::ConntrackMax,
        Self::ConntrackTcpBeLiberal,
        Self::ConntrackChecksum,
    ];

    /// The path below `/proc/sys/net`; `None` for a parameter of a NIC that needs the NIC's name.
    #[must_use]
    pub const fn path(self) -> Option<&'static str> {
        match self {
            Self::IpForward => Some("ipv4/ip_forward"),
            Self::IpEarlyDemux => Some("ipv4/ip_early_demux"),
            Self::DisableIpv6All => Some("ipv6/conf/all/disable_ipv6"),
            Self::DisableIpv6Default => Some("ipv6/conf/default/disable_ipv6"),
            Self::PromoteSecondariesDefault => Some("ipv4/conf/default/promote_secondaries"),
            Self::RpFilterDefault => Some("ipv4/conf/default/rp_filter"),
            Self::ArpIgnoreDefault => Some("ipv4/conf/default/arp_ignore"),
            Self::ConntrackBuckets => Some("netfilter/nf_conntrack_buckets"),
            Self::ConntrackMax => Some("netfilter/nf_conntrack_max"),
            Self::ConntrackTcpBeLiberal => Some("netfilter/nf_conntrack_tcp_be_liberal"),
            Self::ConntrackChecksum => Some("netfilter/nf_conntrack_checksum"),
            Self::Link(..) => None,
        }
    }
}

impl fmt::Display for Sysctl {
    /// sysctl(8)'s name, with the hardware address in place of a NIC's name: `net.ipv4.conf.52:54:….rp_filter`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Link(link, parameter) => {
                let (family, name) = parameter.parts();
                write!(f, "net.{family}.conf.{link}.{name}")
            }
            Self::IpForward => f.write_str("net.ipv4.ip_forward"),
            Self::IpEarlyDemux => f.write_str("net.ipv4.ip_early_demux"),
            Self::DisableIpv6All => f.write_str("net.ipv6.conf.all.disable_ipv6"),
            Self::DisableIpv6Default => f.write_str("net.ipv6.conf.default.disable_ipv6"),
            Self::PromoteSecondariesDefault => f.write_str("net.ipv4.conf.default.promote_secondaries"),
            Self::RpFilterDefault => f.write_str("net.ipv4.conf.default.rp_filter"),
            Self::ArpIgnoreDefault => f.write_str("net.ipv4.conf.default.arp_ignore"),
            Self::ConntrackBuckets => f.write_str("net.netfilter.nf_conntrack_buckets"),
            Self::ConntrackMax => f.write_str("net.netfilter.nf_conntrack_max"),
            Self::ConntrackTcpBeLiberal => f.write_str("net.netfilter.nf_conntrack_tcp_be_liberal"),
            Self::ConntrackChecksum => f.write_str("net.netfilter.nf_conntrack_checksum"),
        }
    }
}

impl TryFrom<String> for Sysctl {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let known = || format!("{text}: not a parameter that kylin-vr keeps");
        for key in Self::GLOBAL {
            if key.to_string() == text {
                return Ok(key);
            }
        }
        let link = |name: &str| match name.parse() {
            Ok(mac) => Some(LinkId::Mac(mac)),
            Err(_) => OwnName::new(name).map(LinkId::Own),
        };
        let link = text.split('.').nth(3).and_then(link).ok_or_else(known)?;
        LinkSysctl::ALL
            .into_iter()
            .map(|parameter| Self::Link(link, parameter))
            .find(|key| key.to_string() == text)
            .ok_or_else(known)
    }
}

impl From<Sysctl> for String {
    fn from(key: Sysctl) -> Self {
        key.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_reads_back() {
        let mac = LinkId::Mac("52:54:84:00:08:45".parse().unwrap());
        let own = LinkId::Own(OwnName::new("kvr-vx100").unwrap());
        let mut keys = Sysctl::GLOBAL.to_vec();
        for link in [mac, own] {
            keys.extend(LinkSysctl::ALL.map(|parameter| Sysctl::Link(link, parameter)));
        }
        for key in keys {
            assert_eq!(Sysctl::try_from(key.to_string()), Ok(key));
        }
        assert!(Sysctl::try_from("net.ipv4.tcp_syncookies".to_owned()).is_err());
    }
}
