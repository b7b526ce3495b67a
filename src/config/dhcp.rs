//! `dhcp` of an interface: what the VMs of its subnet are told. Reads it, and checks it against the subnet.

use std::fmt;
use std::net::Ipv4Addr;
use std::rc::Rc;

use serde::{Serialize, Serializer};

use super::Interface;
use super::fields::{Fields, Path, Reader, host_address, number};
use super::node::Located;
use super::problem::{Severity, shown};
use super::router::reserved;

pub(super) const DHCP: &[&str] = &["range", "dns", "lease", "domain"];

/// The most addresses of DNS servers: a client asks three of them at most (resolv.conf(5)).
pub(super) const MOST_SERVERS: usize = 16;

/// The most bytes of a domain's name, and of one label of it (RFC 1035, section 2.3.4).
pub(super) const LONGEST_DOMAIN: usize = 253;
const LONGEST_LABEL: usize = 63;

/// What `dhcp` of an interface says.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Dhcp {
    /// The first and the last address that any client may get; `None`: only listed VMs get one, their own.
    pub range: Option<(Ipv4Addr, Ipv4Addr)>,
    /// The DNS servers that clients are told of.
    pub dns: Vec<Ipv4Addr>,
    /// How long an address is given for.
    pub lease: Lease,
    /// The domain that clients are told of.
    pub domain: Option<Box<str>>,
}

/// How long an address is given for, in seconds; `None`: forever.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Lease(pub Option<u32>);

impl Lease {
    /// The least that dnsmasq takes (dnsmasq(8), `--dhcp-range`).
    pub const LEAST: u32 = 120;
}

impl Default for Lease {
    /// Half a day.
    fn default() -> Self {
        Self(Some(12 * 3_600))
    }
}

impl fmt::Display for Lease {
    /// As the file and dnsmasq write it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            None => f.write_str("infinite"),
            Some(seconds) if seconds % 3_600 == 0 => write!(f, "{}h", seconds / 3_600),
            Some(seconds) if seconds % 60 == 0 => write!(f, "{}m", seconds / 60),
            Some(seconds) => write!(f, "{seconds}"),
        }
    }
}

impl Serialize for Lease {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// That of an interface; `None`: it has none, or it could not be read.
pub(super) fn read(reader: &mut Reader<'_>, interface: &Fields<'_>) -> Option<Dhcp> {
    let node = interface.get("dhcp")?;
    let path = interface.key("dhcp");
    let fields = reader.mapping(node, path, DHCP)?;
    let dns = addresses(reader, &fields, "dns");
    if dns.len() > MOST_SERVERS {
        let message = format!("expected at most {MOST_SERVERS} addresses");
        let value = Some(dns.len().to_string());
        reader.problem(Severity::Error, fields.key("dns"), fields.place, value, message);
    }
    let expected = "a time, as in 12h, 30m or 3600 (seconds), from 2m on, or infinite";
    let lease = fields.optional(reader, "lease", expected, |text| {
        lease(text).ok_or_else(|| expected.to_owned())
    });
    let expected = "a domain's name: labels of letters, digits and hyphens with dots between them";
    let domain = fields.optional(reader, "domain", expected, |text| {
        is_domain(text)
            .then(|| text.into())
            .ok_or_else(|| expected.to_owned())
    });
    Some(Dhcp {
        range: range(reader, &fields),
        dns,
        lease: lease.map(|lease| lease.value).unwrap_or_default(),
        domain: domain.map(|domain| domain.value),
    })
}

fn range(reader: &mut Reader<'_>, fields: &Fields<'_>) -> Option<(Ipv4Addr, Ipv4Addr)> {
    let node = fields.get("range")?;
    let before = reader.problems.len();
    let addresses = addresses(reader, fields, "range");
    match addresses[..] {
        [first, last] if first <= last => return Some((first, last)),
        [first, last] => {
            let message = "expected a range whose last address is not below its first";
            let value = Some(format!("{first}, {last}"));
            reader.problem(Severity::Error, fields.key("range"), node.place, value, message);
        }
        _ if reader.problems.len() > before => {}
        _ => {
            let message =
                "expected two addresses, the first and the last, as in [192.168.100.100, 192.168.100.199]";
            reader.problem(Severity::Error, fields.key("range"), node.place, None, message);
        }
    }
    None
}

/// The addresses of a list.
fn addresses(reader: &mut Reader<'_>, fields: &Fields<'_>, key: &'static str) -> Vec<Ipv4Addr> {
    let path = fields.key(key);
    let items = reader.list(fields.get(key), &path.to_string());
    let above = Rc::new(path);
    let read = |(index, item): (usize, &Located<'_>)| {
        let text = reader.scalar(item);
        match text.map_or_else(|| Err("an IPv4 address".to_owned()), host_address) {
            Ok(address) => Some(address),
            Err(expected) => {
                let value = text.map(shown);
                let path = Path::Inner(above.clone(), index);
                let message = format!("expected {expected}");
                reader.problem(Severity::Error, path, item.place, value, message);
                None
            }
        }
    };
    items.iter().enumerate().filter_map(read).collect()
}

/// `12h`, `3600`, `infinite`.
fn lease(text: &str) -> Option<Lease> {
    if text == "infinite" {
        return Some(Lease(None));
    }
    let (amount, unit) = match text.split_at_checked(text.len().checked_sub(1)?)? {
        (amount, "s") => (amount, 1),
        (amount, "m") => (amount, 60),
        (amount, "h") => (amount, 3_600),
        (amount, "d") => (amount, 86_400),
        (amount, "w") => (amount, 604_800),
        _ => (text, 1),
    };
    let amount: u32 = number(amount, &(1..=u32::MAX), "").ok()?;
    let seconds = amount.checked_mul(unit)?;
    // The highest is what means forever on the wire (RFC 2131, section 3.3).
    (Lease::LEAST..u32::MAX)
        .contains(&seconds)
        .then_some(Lease(Some(seconds)))
}

/// Nothing else may come into the configuration of a DHCP server.
fn is_domain(text: &str) -> bool {
    let is_label = |label: &str| {
        (1..=LONGEST_LABEL).contains(&label.len())
            && label
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    text.len() <= LONGEST_DOMAIN && text.split('.').all(is_label)
}

/// Checks that of an interface that could be read, which stands here.
pub(super) fn check(reader: &mut Reader<'_>, interface: &Interface, fields: &Fields<'_>) {
    let Some(dhcp) = &interface.dhcp else {
        return;
    };
    let net = interface.address;
    let path = fields.key("dhcp");
    let mut problem = |severity, key: &str, value: Option<String>, message: String| {
        let path = if key.is_empty() {
            path.to_string()
        } else {
            format!("{path}.{key}")
        };
        reader.problem(severity, path, fields.place, value, message);
    };
    let error = Severity::Error;
    if interface.gateway.is_some() {
        let message = "the interface with a gateway faces outside: nobody is answered there";
        return problem(error, "", None, message.to_owned());
    }
    if net.prefix_len() > 30 {
        let message = "expected a prefix of at most 30: a smaller subnet has no addresses to give";
        return problem(error, "", Some(net.trunc().to_string()), message.to_owned());
    }
    let Some((first, last)) = dhcp.range else {
        if interface.vms.is_empty() {
            let message = "nobody gets an address: expected a `range`, or VMs in `vm_list`";
            problem(Severity::Warning, "", None, message.to_owned());
        }
        return;
    };
    let value = Some(format!("{first}, {last}"));
    for end in [first, last] {
        if !net.contains(&end) {
            let message = format!(
                "expected addresses in the subnet of this interface, {}",
                net.trunc()
            );
            return problem(error, "range", Some(end.to_string()), message);
        }
        if let Some(what) = reserved(net, end) {
            let message = format!("expected addresses of hosts, not the {what} address of the subnet");
            return problem(error, "range", Some(end.to_string()), message);
        }
    }
    if (first..=last).contains(&net.addr()) {
        let message = format!("has the router's own address, {}, in it", net.addr());
        problem(error, "range", value, message);
    }
}
