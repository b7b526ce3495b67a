//! What is no state of ours and yet decides whether packets pass: how full connection tracking is, and which neighbours do
//! not answer. Read, never changed, and only by who reports.

use std::collections::BTreeMap;
use std::fs;
use std::net::Ipv4Addr;

/// The network namespace of the thread, not of the process.
const NET: &str = "/proc/thread-self/net";
const CONNTRACK: &str = "/proc/sys/net/netfilter/nf_conntrack";
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

/// What the kernel told; `None` or empty where it does not tell.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Vitals {
    /// Flows that are tracked, and how many may be.
    pub tracked: Option<(u64, u64)>,
    /// New flows that found no place or no free source port, since the boot.
    pub insert_failed: Option<u64>,
    /// Packets of new flows that were dropped since the table was full.
    pub dropped: Option<u64>,
    /// Flows that had to go early for new ones.
    pub early_dropped: Option<u64>,
    /// The neighbours that packets were for.
    pub neighbours: BTreeMap<Ipv4Addr, Neighbour>,
}

/// Looks.
#[must_use]
pub fn vitals() -> Vitals {
    let number = |name: &str| {
        let text = fs::read_to_string(format!("{CONNTRACK}_{name}")).ok()?;
        text.trim().parse().ok()
    };
    let of_net = |name: &str| fs::read_to_string(format!("{NET}/{name}")).unwrap_or_default();
    let stat = of_net("stat/nf_conntrack");
    let sums = sums(&stat);
    let sum = |name: &str| sums.get(name).copied();
    Vitals {
        tracked: number("count").zip(number("max")),
        insert_failed: sum("insert_failed"),
        dropped: sum("drop"),
        early_dropped: sum("early_drop"),
        neighbours: neighbours(&of_net("arp")),
    }
}

/// The columns of `/proc/net/stat/nf_conntrack`, each summed over the processors. Pure.
fn sums(text: &str) -> BTreeMap<&str, u64> {
    let mut lines = text.lines();
    let names: Vec<&str> = lines.next().unwrap_or_default().split_whitespace().collect();
    let mut sums = BTreeMap::new();
    for line in lines {
        for (name, value) in names.iter().zip(line.split_whitespace()) {
            let sum: &mut u64 = sums.entry(*name).or_default();
            *sum = sum.wrapping_add(u64::from_str_radix(value, 16).unwrap_or(0));
        }
    }
    sums
}

/// The entries of `/proc/net/arp`: address, kind, flags, hardware address, mask, link. Pure.
fn neighbours(text: &str) -> BTreeMap<Ipv4Addr, Neighbour> {
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
    fn the_columns_of_all_processors_are_summed() {
        let text = "entries  clashres found insert_failed drop early_drop\n\
                    00000010 00000000 00000001 00000002 0000000a 00000000\n\
                    00000010 00000000 00000001 00000001 00000001 ffffffff\n";
        let sums = sums(text);
        assert_eq!(
            (sums["insert_failed"], sums["drop"], sums["early_drop"]),
            (3, 11, 0xffff_ffff)
        );
        assert!(super::sums("").is_empty());
    }

    #[test]
    fn a_neighbour_without_a_hardware_address_does_not_answer() {
        let text = "IP address       HW type     Flags       HW address            Mask     Device\n\
                    10.90.3.1        0x1         0x0         00:00:00:00:00:00     *        eth0\n\
                    192.168.100.190  0x1         0x2         52:54:84:aa:00:01     *        eth1\n\
                    nonsense\n";
        let all = neighbours(text);
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
