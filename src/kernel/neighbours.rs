//! Which neighbours do not answer: no state of ours, and yet it decides whether packets pass. Read, never changed, and only
//! by who reports.

use std::collections::BTreeMap;
use std::fs;
use std::net::Ipv4Addr;

/// Of the network namespace of the thread, not of the process.
const ARP: &str = "/proc/thread-self/net/arp";
/// `ATF_COM`, linux/if_arp.h: the entry has a hardware address.
const COMPLETE: u32 = 2;

/// A neighbour that somebody asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Neighbour {
    /// Whether it answers ARP.
    pub answers: bool,
    /// The link.
    pub link: String,
}

/// The neighbours that packets were for.
#[must_use]
pub fn neighbours() -> BTreeMap<Ipv4Addr, Neighbour> {
    read(&fs::read_to_string(ARP).unwrap_or_default())
}

/// The entries of `/proc/net/arp`: address, kind, flags, hardware address, mask, link. Pure.
fn read(text: &str) -> BTreeMap<Ipv4Addr, Neighbour> {
    let entry = |line: &str| {
        let mut words = line.split_whitespace();
        let address = words.next()?.parse().ok()?;
        let flags = words.nth(1)?.strip_prefix("0x")?;
        let flags = u32::from_str_radix(flags, 16).ok()?;
        let neighbour = Neighbour {
            answers: flags & COMPLETE != 0,
            link: words.nth(2)?.to_owned(),
        };
        Some((address, neighbour))
    };
    text.lines().filter_map(entry).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_neighbour_without_a_hardware_address_does_not_answer() {
        let text = "IP address       HW type     Flags       HW address            Mask     Device\n\
                    10.90.3.1        0x1         0x0         00:00:00:00:00:00     *        eth0\n\
                    192.168.100.190  0x1         0x2         52:54:84:aa:00:01     *        eth1\n\
                    nonsense\n";
        let all = read(text);
        let told: Vec<_> = all
            .iter()
            .map(|(address, one)| (address.to_string(), one.answers, one.link.as_str()))
            .collect();
        let expected = [("10.90.3.1", false, "eth0"), ("192.168.100.190", true, "eth1")];
        assert_eq!(
            told,
            expected.map(|(address, answers, link)| (address.to_owned(), answers, link))
        );
    }
}
