//! A router that is a real VM: a Debian guest with a kernel of its own, in QEMU, on the wires of a
//! [`Vpc`](crate::Vpc).
//!
//! The line through it: [`Image`] (a user land and three kernels, built once; the package installed into a copy) ->
//! [`Machine`] (QEMU, its NICs on the switch's bridges) -> [`GuestAgent`] (the channel that a hypervisor has) and
//! [`Machine::sh`] (a channel of the bench's own, so that it looks on while the other one is maltreated).
//!
//! QEMU emulates the processor unless `KYLIN_VR_TEST_KVM=1`: slower, but the same on every machine, also on one that
//! is a guest itself. So every wait has a bound that is generous, and none of them is a statement about speed.

mod agent;
mod builder;
mod console;
mod disk;
mod image;
mod machine;
mod nics;
mod qmp;
mod wire;

use std::time::Duration;

pub use agent::{GuestAgent, Handle};
pub use builder::MachineBuilder;
pub use disk::Disk;
pub use image::{Image, Kernel};
pub use machine::Machine;

/// The MAC of a NIC in the clone of this number: what differs is the third octet.
pub fn clone_mac(mac: &str, number: u8) -> String {
    format!("{}{number:02x}{}", &mac[..6], &mac[8..])
}

/// Whether QEMU may use the processor itself.
pub fn uses_kvm() -> bool {
    std::env::var_os("KYLIN_VR_TEST_KVM").is_some_and(|value| value == "1")
}

/// How long to wait for what takes a moment on real hardware: emulated and on a machine with other work, a hundred
/// moments.
pub fn patience() -> Duration {
    Duration::from_secs(if uses_kvm() { 60 } else { 240 })
}
