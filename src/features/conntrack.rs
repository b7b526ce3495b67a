//! The tracking of connections: what it may find fault with, and how many flows it may hold. The latter number depends on the
//! kernel's memory: see [`Desired::sysctls_on`].

use crate::config::Config;
use crate::model::{Desired, Sysctl};

pub(super) fn desire(config: &Config, desired: &mut Desired) {
    desired.conntrack_max = Some(config.conntrack_max());
    // What is not tracked is not translated: a segment to an elastic IP comes to the router itself then, whose answer resets
    // the client's connection, and what a VM sends leaves with a private address. Here nothing is filtered by what the
    // tracking finds; what is wrong with a packet is for its receiver to judge.
    let all_is_tracked = [
        (Sysctl::ConntrackTcpBeLiberal, "1"),
        (Sysctl::ConntrackChecksum, "0"),
    ];
    for (key, value) in all_is_tracked {
        desired.sysctls.insert(key, value.to_owned());
    }
}
