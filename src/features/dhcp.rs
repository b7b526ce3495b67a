//! DHCP: what dnsmasq must be told so that the VMs of a subnet get their addresses. Pure; the only place that knows
//! dnsmasq's language (dnsmasq(8)).
//!
//! Nobody outside is ever answered, for two reasons each of which is enough: only the links of subnets with `dhcp` are
//! named, and a subnet's addresses are given on a link only where the router has its own address in that subnet.
//! There is no DNS service (port 0).
//!
//! What the file says cannot bring in lines of its own: every value is an address, a number or a name of letters, digits,
//! hyphens and dots. A NIC's name can be nearly anything, so one that is anything else is not served.

use std::fmt::Write;
use std::path::Path;

use crate::config::{Config, Dhcp, Interface};
use crate::model::LinkName;

/// What dnsmasq reads.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Texts {
    /// Its configuration. It reads this when it starts.
    pub settings: String,
    /// The listed VMs and their addresses. It reads these again when it is asked to, and goes on.
    pub hosts: String,
}

/// Where dnsmasq keeps what, beside its configuration.
#[derive(Clone, Copy, Debug)]
pub struct Files<'p> {
    /// [`Texts::hosts`].
    pub hosts: &'p Path,
    /// The addresses that it gave away.
    pub leases: &'p Path,
    /// Its process number.
    pub pid: &'p Path,
}

/// How the link of an interface is now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Present {
    /// Its name.
    pub name: LinkName,
    /// The most bytes of a packet.
    pub mtu: u32,
}

/// As many leases as there is memory for: the ranges say how many there can be.
const MOST_LEASES: u32 = 1_000_000;

/// The interfaces with DHCP, and what each is told, with their places in `if_list`.
pub fn served(config: &Config) -> impl Iterator<Item = (usize, &Interface, &Dhcp)> {
    let interfaces = config.interfaces().iter().enumerate();
    interfaces.filter_map(|(index, one)| Some((index, one, one.dhcp.as_deref()?)))
}

/// Whether a link's name can stand in dnsmasq's configuration for itself and nothing else.
#[must_use]
pub fn is_servable(name: &LinkName) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._@+-".contains(&byte);
    !name.0.is_empty() && name.0.bytes().all(is_plain)
}

/// What dnsmasq must be told; `None`: there is nobody to serve, now. `present` says how the link of an interface is, if it is
/// there.
#[must_use]
pub fn texts(
    config: &Config,
    files: Files<'_>,
    present: impl Fn(&Interface) -> Option<Present>,
) -> Option<Texts> {
    let mut texts = Texts::default();
    for (index, interface, dhcp) in served(config) {
        let Some(link) = present(interface).filter(|link| is_servable(&link.name)) else {
            continue;
        };
        if texts.settings.is_empty() {
            texts.settings = general(files);
        }
        let _ = writeln!(texts.settings, "\n# if_list[{index}], {}", interface.address);
        subnet(&mut texts.settings, interface, dhcp, &link);
        for vm in interface.vms.iter() {
            let _ = write!(texts.hosts, "{},{}", vm.mac, vm.address);
            if let Some(name) = &vm.name {
                let _ = write!(texts.hosts, ",{name}");
            }
            let _ = writeln!(texts.hosts, ",{}", dhcp.lease);
        }
    }
    (!texts.settings.is_empty()).then_some(texts)
}

fn general(files: Files<'_>) -> String {
    let path = |path: &Path| path.display().to_string();
    format!(
        "# Written by kylin-vr from its configuration, and written anew with it.\n\
         port=0\n\
         bind-dynamic\n\
         dhcp-authoritative\n\
         dhcp-lease-max={MOST_LEASES}\n\
         dhcp-hostsfile={}\n\
         dhcp-leasefile={}\n\
         pid-file={}\n",
        path(files.hosts),
        path(files.leases),
        path(files.pid),
    )
}

fn subnet(text: &mut String, interface: &Interface, dhcp: &Dhcp, link: &Present) {
    let net = interface.address;
    let tag = format!("net{}", net.network().to_string().replace('.', "-"));
    // A range that is `static` gives addresses to listed VMs only.
    let (first, last) = match dhcp.range {
        Some((first, last)) => (first, last.to_string()),
        None => (net.network(), "static".to_owned()),
    };
    let _ = writeln!(text, "interface={}", link.name);
    let _ = writeln!(
        text,
        "dhcp-range=set:{tag},{first},{last},{},{},{}",
        net.netmask(),
        net.broadcast(),
        dhcp.lease
    );
    let mut option = |name: &str, value: &str| {
        let _ = writeln!(text, "dhcp-option=tag:{tag},option:{name},{value}");
    };
    option("router", &net.addr().to_string());
    if !dhcp.dns.is_empty() {
        let servers: Vec<String> = dhcp.dns.iter().map(ToString::to_string).collect();
        option("dns-server", &servers.join(","));
    }
    option("mtu", &link.mtu.to_string());
    if let Some(domain) = &dhcp.domain {
        option("domain-name", domain);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "if_list:
  - {ipaddr: 10.90.3.37, prefix: 24, mac: '52:54:84:00:08:45', gateway: 10.90.3.1}
  - ipaddr: 192.168.100.254
    prefix: 24
    mac: 52:54:84:11:00:03
    vm_list:
      - {vm-ip: 192.168.100.10, mac: '02:6e:1d:4e:69:ef', name: web-1}
      - {vm-ip: 192.168.100.11, mac: '02:6e:1d:4e:69:f0'}
    dhcp: {range: [192.168.100.100, 192.168.100.199], dns: [10.90.3.38, 10.90.3.39], lease: 30m, domain: vpc.example}
  - ipaddr: 192.168.101.1
    prefix: 25
    mac: 52:54:84:11:00:04
    vm_list: [{vm-ip: 192.168.101.9, mac: '02:6e:1d:4e:69:f1'}]
    dhcp: {lease: infinite}
";

    fn of(name: impl Fn(usize) -> Option<&'static str>) -> Option<Texts> {
        let config = Config::parse(FILE.as_bytes()).config.unwrap();
        let files = Files {
            hosts: Path::new("/run/h"),
            leases: Path::new("/var/l"),
            pid: Path::new("/run/p"),
        };
        texts(&config, files, |interface| {
            let index = config.interfaces().iter().position(|one| one == interface)?;
            Some(Present {
                name: LinkName(name(index)?.into()),
                mtu: if index == 1 { 1450 } else { 1500 },
            })
        })
    }

    #[test]
    fn only_subnets_with_dhcp_are_served() {
        let texts = of(|index| Some(["wan7", "lan3", "lan4"][index])).unwrap();
        let (general, subnets) = texts.settings.split_once("\n\n").unwrap();
        for line in [
            "port=0",
            "bind-dynamic",
            "dhcp-leasefile=/var/l",
            "dhcp-hostsfile=/run/h",
            "pid-file=/run/p",
        ] {
            assert!(general.lines().any(|one| one == line), "{general}");
        }
        assert_eq!(
            subnets,
            "# if_list[1], 192.168.100.254/24
interface=lan3
dhcp-range=set:net192-168-100-0,192.168.100.100,192.168.100.199,255.255.255.0,192.168.100.255,30m
dhcp-option=tag:net192-168-100-0,option:router,192.168.100.254
dhcp-option=tag:net192-168-100-0,option:dns-server,10.90.3.38,10.90.3.39
dhcp-option=tag:net192-168-100-0,option:mtu,1450
dhcp-option=tag:net192-168-100-0,option:domain-name,vpc.example

# if_list[2], 192.168.101.1/25
interface=lan4
dhcp-range=set:net192-168-101-0,192.168.101.0,static,255.255.255.128,192.168.101.127,infinite
dhcp-option=tag:net192-168-101-0,option:router,192.168.101.1
dhcp-option=tag:net192-168-101-0,option:mtu,1500
"
        );
        assert_eq!(
            texts.hosts,
            "02:6e:1d:4e:69:ef,192.168.100.10,web-1,30m\n02:6e:1d:4e:69:f0,192.168.100.11,30m\n\
             02:6e:1d:4e:69:f1,192.168.101.9,infinite\n"
        );
    }

    #[test]
    fn who_is_not_there_is_not_served_and_nobody_needs_no_server() {
        let texts = of(|index| (index == 2).then_some("lan4")).unwrap();
        assert!(!texts.settings.contains("192.168.100."), "{}", texts.settings);
        assert_eq!(texts.hosts, "02:6e:1d:4e:69:f1,192.168.101.9,infinite\n");
        assert_eq!(of(|_| None), None);
    }

    #[test]
    fn a_name_that_could_mean_something_else_is_not_served() {
        for name in ["lan*", "a,b", "#lan", "l\"n", "l\\n", "lan3\u{202e}", "!x", ""] {
            assert_eq!(of(|_| Some(name)), None, "{name}");
        }
        assert!(of(|_| Some("kvr-vx100")).is_some());
    }
}
