//! Flowtables: the kernel's fast path for flows that are established.
//!
//! A packet that comes in by one of its devices and belongs to a flow that is in it is translated and sent on at
//! once, past all hooks. The flows are the kernel's to keep; what is here is where it looks for them.

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::model::LinkName;

/// A flowtable, but for its flows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub struct Flowtable {
    /// The order among all that looks at packets that come in (hook ingress), lower first.
    pub priority: i32,
    /// The links whose packets it looks at, by the names that they have now. One that goes leaves it.
    pub devices: BTreeSet<LinkName>,
}

impl Flowtable {
    pub(super) fn write(&self, f: &mut fmt::Formatter<'_>, name: &str) -> fmt::Result {
        writeln!(f, "\tflowtable {name} {{")?;
        writeln!(f, "\t\thook ingress priority {};", self.priority)?;
        writeln!(f, "\t\tdevices = {{ {} }};", self.show_devices())?;
        writeln!(f, "\t}}")
    }

    /// The devices as nft(8) writes them: `"enp1s0", "enp2s0"`.
    #[must_use]
    pub fn show_devices(&self) -> String {
        let quoted = self.devices.iter().map(|name| format!("\"{name}\""));
        quoted.collect::<Vec<_>>().join(", ")
    }
}
