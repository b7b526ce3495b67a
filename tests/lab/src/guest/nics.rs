//! NICs of a machine: taps on the bridges of the VPC's switch, plugged and unplugged by QMP.

use serde_json::json;

use super::machine::Machine;
use crate::namespace::{Namespace, command};
use crate::topology::Nic;

/// A NIC in a slot of the machine.
#[derive(Debug)]
pub(super) struct Plugged {
    pub(super) id: String,
    pub(super) mac: String,
    pub(super) _tap: Tap,
}

/// A tap in the switch; it is removed when dropped. QEMU runs in the switch's namespace, so it is one hop from the
/// guest to the bridge.
#[derive(Debug)]
pub(super) struct Tap {
    switch: Namespace,
    name: String,
}

impl Tap {
    pub(super) fn new(switch: &Namespace, id: &str, wire: Nic) -> Tap {
        let name = format!("tap-{id}");
        switch.ip_batch(&format!(
            "tuntap add dev {name} mode tap\nlink set {name} master {} up\n",
            wire.bridge()
        ));
        Tap {
            switch: switch.clone(),
            name,
        }
    }

    pub(super) fn netdev(&self, id: &str) -> serde_json::Value {
        json!({"type": "tap", "id": format!("net-{id}"), "ifname": self.name, "script": "no", "downscript": "no"})
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        // Gone already, or the namespace is: as wanted.
        self.switch.output(command("ip", &["link", "del", &self.name]));
    }
}

impl Machine {
    /// Plugs a NIC in, as the hypervisor does.
    pub fn plug(&self, nic: Nic) {
        self.plug_as(nic.name(), nic, nic.mac());
    }

    /// Plugs a NIC with this MAC into this wire. `id` is what the hypervisor calls it.
    pub fn plug_as(&self, id: &str, wire: Nic, mac: &str) {
        let tap = Tap::new(self.switch(), id, wire);
        let netdev = tap.netdev(id);
        let slot = self.with_slots(|slots| {
            let free = slots.iter().position(Option::is_none).expect("a slot is free");
            let (id, mac) = (id.to_owned(), mac.to_owned());
            slots[free] = Some(Plugged { id, mac, _tap: tap });
            free
        });
        self.with_qmp(|qmp| {
            qmp.call("netdev_add", netdev);
            qmp.call("device_add", device(id, mac, slot));
        });
    }

    /// Pulls a NIC out, and waits until the guest has let it go.
    pub fn unplug(&self, nic: Nic) {
        self.unplug_id(nic.name());
    }

    /// The same by what the hypervisor calls it.
    pub fn unplug_id(&self, id: &str) {
        // A guest that is still about to take a NIC in does not hear that it is to let it go.
        self.link(id);
        self.with_qmp(|qmp| {
            qmp.call("device_del", json!({"id": id}));
            qmp.wait_for_event("DEVICE_DELETED", id);
            qmp.call("netdev_del", json!({"id": format!("net-{id}")}));
        });
        self.with_slots(|slots| {
            let taken = slots
                .iter_mut()
                .find(|slot| slot.as_ref().is_some_and(|one| one.id == id));
            *taken.expect("the NIC was plugged") = None;
        });
    }

    /// The name of a NIC in the guest, as soon as udev is done with it.
    pub fn link(&self, id: &str) -> String {
        let mac = self.with_slots(|slots| {
            let mut plugged = slots.iter().flatten();
            plugged
                .find(|one| one.id == id)
                .expect("the NIC was plugged")
                .mac
                .clone()
        });
        let script = format!(
            "for link in /sys/class/net/*; do [ \"$(cat $link/address)\" = {mac} ] && \
             udevadm info --query=property $link | grep -q ID_NET_NAME && basename $link && exit 0; done; exit 1"
        );
        self.wait_for(&format!("the NIC {mac}"), &script)
            .trim()
            .to_owned()
    }
}

/// A NIC of virtio in a slot of its own.
pub(super) fn device(id: &str, mac: &str, slot: usize) -> serde_json::Value {
    json!({"driver": "virtio-net-pci", "id": id, "netdev": format!("net-{id}"), "mac": mac, "bus": format!("rp{slot}")})
}
