//! dnsmasq's own record of the addresses that it gave away. Read, never written.

use std::net::Ipv4Addr;

use crate::model::MacAddr;

/// An address that a client has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leased {
    /// Until when, in seconds since 1970; `None`: for ever.
    pub until: Option<u64>,
    /// Who has it.
    pub mac: MacAddr,
    /// Which one.
    pub address: Ipv4Addr,
    /// What the client calls itself, or is called by the file.
    pub name: Option<String>,
}

impl Leased {
    /// Whether the client still has it.
    #[must_use]
    pub fn is_valid(&self, now: u64) -> bool {
        self.until.is_none_or(|until| until > now)
    }
}

/// A line each: until when (0: for ever), hardware address, address, name or `*`, client identifier. What is otherwise, a
/// line that is just being written or one of IPv6, is passed over.
pub(super) fn read(text: &str) -> Vec<Leased> {
    let lease = |line: &str| {
        let mut words = line.split(' ');
        let until: u64 = words.next()?.parse().ok()?;
        let mac = words.next()?.parse().ok()?;
        let address = words.next()?.parse().ok()?;
        let name = words.next().filter(|name| *name != "*");
        Some(Leased {
            until: (until != 0).then_some(until),
            mac,
            address,
            name: name.map(str::to_owned),
        })
    };
    text.lines().filter_map(lease).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_dnsmasq_writes_is_read() {
        let leases = read(
            "1795320000 02:6e:1d:4e:69:ef 192.168.100.10 web-1 01:02:6e:1d:4e:69:ef\n\
             0 02:6e:1d:4e:69:f0 192.168.100.11 * *\nduid 00:01\n1795320000 02:6e\n",
        );
        let names: Vec<_> = leases
            .iter()
            .map(|one| (one.address.octets()[3], one.name.as_deref()))
            .collect();
        assert_eq!(names, [(10, Some("web-1")), (11, None)]);
        assert!(leases[0].is_valid(1_795_319_999) && !leases[0].is_valid(1_795_320_000));
        assert!(leases[1].is_valid(u64::MAX));
    }
}
