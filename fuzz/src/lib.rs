//! What several targets need.

use std::hash::{DefaultHasher, Hash, Hasher};

use kylin_vr::config::Config;
use kylin_vr::kernel::Fake;
use kylin_vr::model::{Link, LinkId, LinkIndex, LinkName, LinkSysctl, Observed, Sysctl};

pub mod flows;
pub mod tables;

/// Checks that a line that is shown is one line, and moves no cursor.
pub fn assert_told(line: &str) {
    assert!(
        !line.chars().any(char::is_control),
        "a control character is shown: {line:?}"
    );
}

/// Whether the kernel's part of a configuration is so large that it would take seconds to look at it here: each port of
/// a shifted range is an element of a map, a million of them at most. That is the price of what the file asks for.
#[must_use]
pub fn is_large(config: &Config) -> bool {
    let shifted = config
        .forwards()
        .iter()
        .filter(|one| !one.keeps_ports() || one.ports() < 256);
    shifted.map(|one| one.ports()).sum::<u32>() > 2_000
}

/// A kernel with NICs of this configuration: which of them, and whether they are up, follows from `seed`. It has a NIC
/// that no file names as well.
#[must_use]
pub fn fake_of(config: &Config, seed: &[u8]) -> Fake {
    let mut hasher = DefaultHasher::new();
    seed.hash(&mut hasher);
    let bits = hasher.finish();
    let mut state = Observed::default();
    let mut add = |index: u32, name: String, id: LinkId, up: bool| {
        state.links.push(Link {
            index: LinkIndex(index),
            name: LinkName(name.into()),
            id: Some(id),
            up,
            stacked: false,
            ipv6_in_use: false,
            udev_pending: false,
            mtu: 1_500,
        });
        if let LinkId::Mac(_) = id {
            for parameter in LinkSysctl::ALL {
                state.sysctls.insert(Sysctl::Link(id, parameter), "0".to_owned());
            }
        }
    };
    add(1, "lo".to_owned(), LinkId::Loopback, bits & 1 == 0);
    for (number, interface) in config.interfaces().iter().enumerate() {
        // Most are there: a missing one hides what it would do.
        if bits >> (1 + number % 60) & 7 != 0 {
            let index = number as u32 + 2;
            add(
                index,
                format!("eth{number}"),
                interface.link(),
                bits >> (number % 61) & 1 == 0,
            );
        }
    }
    for key in [
        Sysctl::IpForward,
        Sysctl::DisableIpv6All,
        Sysctl::DisableIpv6Default,
        Sysctl::PromoteSecondariesDefault,
        Sysctl::RpFilterDefault,
    ] {
        state.sysctls.insert(key, "0".to_owned());
    }
    if let Some(link) = state.links.get(1).filter(|_| bits & 2 == 0) {
        let address = "10.90.3.7/24".parse().expect("an address");
        state.addresses.entry(link.index).or_default().insert(address);
    }
    Fake::new(state)
}
