//! Flowtables: into messages, and from a dump back. By hand: nftnl's safe interface has none.

use nix::libc;

use super::decode::FOREIGN_PRIORITY;
use super::message::{Attributes, Messages, attributes};
use super::uapi::flowtable;
use crate::model::LinkName;
use crate::model::nft::Flowtable;

/// `add flowtable ip TABLE NAME { hook ingress priority 0; devices = { .. }; }`
pub(super) fn add(messages: &mut Messages, sequence: u32, (table, name): (&str, &str), wanted: &Flowtable) {
    let flags = libc::NLM_F_REQUEST | libc::NLM_F_CREATE | libc::NLM_F_EXCL;
    messages.message(flowtable::MESSAGE_NEW, flags, sequence, |message| {
        message.text(flowtable::TABLE, table);
        message.text(flowtable::NAME, name);
        message.nested(flowtable::HOOK, |message| {
            message.number(flowtable::HOOK_NUMBER, flowtable::INGRESS);
            message.number(flowtable::HOOK_PRIORITY, wanted.priority as u32);
            message.nested(flowtable::HOOK_DEVICES, |message| {
                for device in &wanted.devices {
                    message.text(flowtable::DEVICE_NAME, &device.0);
                }
            });
        });
    });
}

/// `delete flowtable ip TABLE NAME`: its flows go on by the slow path.
pub(super) fn delete(messages: &mut Messages, sequence: u32, (table, name): (&str, &str)) {
    let kind = flowtable::MESSAGE_DELETE;
    messages.message(kind, libc::NLM_F_REQUEST, sequence, |message| {
        message.text(flowtable::TABLE, table);
        message.text(flowtable::NAME, name);
    });
}

/// A flowtable's table, its name and itself.
pub(super) fn read(message: &[u8]) -> Result<(String, String, Flowtable), String> {
    let message = Attributes::<10>::read(message)?;
    let hook = Attributes::<6>::read(message.get(flowtable::HOOK).unwrap_or_default())?;
    let mut read = Flowtable {
        priority: hook
            .number(flowtable::HOOK_PRIORITY)
            .map_or(FOREIGN_PRIORITY, |priority| priority as i32),
        ..Flowtable::default()
    };
    for device in attributes(hook.get(flowtable::HOOK_DEVICES).unwrap_or_default()) {
        let (kind, name) = device?;
        if kind == flowtable::DEVICE_NAME {
            let name = name.split(|byte| *byte == 0).next().unwrap_or_default();
            let name = String::from_utf8_lossy(name).into_owned();
            read.devices.insert(LinkName(name));
        }
    }
    // With counters, or in the hardware of a NIC: not as ours is.
    if message.number(flowtable::FLAGS).unwrap_or(0) != 0 {
        read.priority = FOREIGN_PRIORITY;
    }
    let text = |kind| message.text(kind).unwrap_or_default();
    Ok((text(flowtable::TABLE), text(flowtable::NAME), read))
}
