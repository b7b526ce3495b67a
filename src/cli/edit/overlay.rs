//! An overlay subnet as words: `vxlan 100 172.20.1.1/24 peers 10.90.4.11,10.90.4.12`.

use std::iter::Peekable;

use super::{Refusal, words};
use crate::config::{Config, Interface, Place, Vxlan};

/// What begins an overlay subnet among words.
pub(super) const WORD: &str = "vxlan";

/// The keys of the file's `vxlan` that may follow, each with its value.
const KEYS: [&str; 4] = ["peers", "local", "port", "gateway-mac"];

/// The number of an overlay subnet.
pub(super) fn number(word: Option<&str>) -> Result<Vxlan, Refusal> {
    let expected = "the number of an overlay subnet, 1 to 16777215, as in vxlan 100";
    let word = word.unwrap_or(WORD);
    let vxlan = words::value(word, expected).map(Vxlan::with_defaults)?;
    vxlan.ok_or_else(|| Refusal::usage(format!("`{word}`: expected {expected}")))
}

/// The words behind `vxlan`, up to where the next entry begins.
pub(super) fn read<'w>(words: &mut Peekable<impl Iterator<Item = &'w str>>) -> Result<Interface, Refusal> {
    let mut vxlan = number(words.next())?;
    let expected = "the router's address there with its subnet's prefix, as in 172.20.1.1/24";
    let address = words::value(words.next().unwrap_or(WORD), expected)?;
    let mut said = Vec::new();
    while let Some(key) = words.next_if(|word| KEYS.contains(word)) {
        if said.contains(&key) {
            return Err(Refusal::usage(format!("`{key}` stands twice")));
        }
        said.push(key);
        let value = words.next().unwrap_or(key);
        match key {
            "peers" => {
                vxlan.peers = value.split(',').map(words::address).collect::<Result<_, _>>()?;
            }
            "local" => vxlan.local = Some(words::address(value)?),
            "port" => {
                let (first, last) = words::ports(value)?;
                if first != last {
                    return Err(Refusal::usage(format!("`{value}`: expected a single port")));
                }
                vxlan.port = first;
            }
            _ => {
                vxlan.mac = value
                    .parse()
                    .map_err(|error| Refusal::usage(format!("`{value}`: expected {error}")))?;
            }
        }
    }
    if words.peek() == Some(&"via") {
        return Err(Refusal::usage(
            "`via`: an overlay subnet is inside the VPC, and has no gateway: expected it behind a NIC",
        ));
    }
    Ok(Interface {
        address,
        mac: vxlan.mac,
        gateway: None,
        vxlan: Some(vxlan),
        vms: [].into(),
        dhcp: None,
        place: Place::default(),
    })
}

/// Whether two are the same overlay to the kernel: peers in any order, and the external address said or not.
pub(super) fn are_same(config: &Config, one: &Vxlan, other: &Vxlan) -> bool {
    let external = config.external().map(|external| external.address.addr());
    let whole = |vxlan: &Vxlan| {
        let mut vxlan = vxlan.clone();
        vxlan.peers.sort_unstable();
        vxlan.local = vxlan.local.or(external);
        vxlan
    };
    whole(one) == whole(other)
}

/// As it is attached by hand.
pub(super) fn described(one: &Interface, vxlan: &Vxlan) -> String {
    let mut text = format!("{WORD} {} {}", vxlan.vni, one.address);
    let peers: Vec<String> = vxlan.peers.iter().map(ToString::to_string).collect();
    if !peers.is_empty() {
        text += &format!(" peers {}", peers.join(","));
    }
    if let Some(local) = vxlan.local {
        text += &format!(" local {local}");
    }
    let default = Vxlan::with_defaults(vxlan.vni);
    if default.as_ref().is_none_or(|default| default.port != vxlan.port) {
        text += &format!(" port {}", vxlan.port);
    }
    if default.is_none_or(|default| default.mac != vxlan.mac) {
        text += &format!(" gateway-mac {}", vxlan.mac);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_all(line: &str) -> Result<String, String> {
        let mut words = line.split(' ').peekable();
        let one = read(&mut words).map_err(|refusal| refusal.message)?;
        let vxlan = one.vxlan.clone().unwrap();
        assert_eq!(one.mac, vxlan.mac);
        let rest: Vec<&str> = words.collect();
        Ok(format!("{} | {}", described(&one, &vxlan), rest.join(" ")))
    }

    #[test]
    fn the_words_of_one_end_where_the_next_entry_begins() {
        for (line, expected) in [
            ("100 172.20.1.1/24", "vxlan 100 172.20.1.1/24 | "),
            (
                "100 172.20.1.1/24 port 4790 peers 10.90.4.11,10.90.4.12 vxlan 101 172.20.2.1/24",
                "vxlan 100 172.20.1.1/24 peers 10.90.4.11,10.90.4.12 port 4790 | vxlan 101 172.20.2.1/24",
            ),
            (
                "16777215 172.20.1.1/24 gateway-mac 12:00:00:00:00:01 local 10.90.3.37 02:00:00:00:00:01 10.0.0.1/8",
                "vxlan 16777215 172.20.1.1/24 local 10.90.3.37 gateway-mac 12:00:00:00:00:01 | 02:00:00:00:00:01 10.0.0.1/8",
            ),
            // What the file need not say is not said.
            (
                "7 172.20.1.1/24 gateway-mac 12:00:00:ff:ff:ff port 4789",
                "vxlan 7 172.20.1.1/24 | ",
            ),
        ] {
            assert_eq!(read_all(line).as_deref(), Ok(expected), "{line}");
        }
    }

    #[test]
    fn what_is_none_says_what_was_expected() {
        for (line, expected) in [
            ("0 172.20.1.1/24", "`0`: expected the number of an overlay subnet"),
            ("16777216 172.20.1.1/24", "`16777216`: expected the number"),
            ("172.20.1.1/24", "`172.20.1.1/24`: expected the number"),
            ("100", "`vxlan`: expected the router's address there"),
            (
                "100 172.20.1.1",
                "`172.20.1.1`: expected the router's address there",
            ),
            ("100 172.20.1.1/24 peers", "`peers`: expected an IPv4 address"),
            (
                "100 172.20.1.1/24 peers 10.0.0.1,",
                "``: expected an IPv4 address",
            ),
            ("100 172.20.1.1/24 port 0", "`0`: expected a port"),
            ("100 172.20.1.1/24 port 1-2", "`1-2`: expected a single port"),
            ("100 172.20.1.1/24 port 1 port 2", "`port` stands twice"),
            ("100 172.20.1.1/24 gateway-mac x", "`x`: expected "),
            (
                "100 172.20.1.1/24 via 172.20.1.2",
                "`via`: an overlay subnet is inside the VPC",
            ),
        ] {
            let said = read_all(line).unwrap_err();
            assert!(said.starts_with(expected), "{line}: {said}");
        }
    }
}
