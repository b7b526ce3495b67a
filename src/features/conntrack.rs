//! The table of tracked flows: how many it may hold. The number itself depends on the kernel's memory: see [`Desired::sysctls_on`].

use crate::config::Config;
use crate::model::Desired;

pub(super) fn desire(config: &Config, desired: &mut Desired) {
    desired.conntrack_max = Some(config.conntrack_max());
}
