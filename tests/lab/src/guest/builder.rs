//! A machine before it is switched on, and the command line that does it.

use std::process::Command;
use std::sync::Mutex;
use std::time::{Duration, Instant, SystemTime};

use serde_json::json;

use super::agent::GuestAgent;
use super::console::Console;
use super::disk::Disk;
use super::image::{Image, Kernel};
use super::machine::{Machine, Report, SLOTS, SNAPSHOT, Slots};
use super::nics::{Plugged, Tap, device};
use super::qmp::Qmp;
use super::{clone_mac, patience, uses_kvm};
use crate::Daemon;
use crate::namespace::{Namespace, command};
use crate::scratch::Scratch;
use crate::topology::Nic;
use crate::vpc::Vpc;

const UUID: &str = "6d0f1c2e-0000-4000-8000-000000000001";

/// What is asked of a [`Machine`] before it is switched on.
#[derive(Debug)]
pub struct MachineBuilder<'a> {
    image: &'a Image,
    switch: Namespace,
    kernel: Kernel,
    nics: Vec<(Nic, String)>,
    uuid: String,
    disk: Option<Disk>,
}

impl MachineBuilder<'_> {
    /// Another kernel than 6.1.
    pub fn kernel(mut self, kernel: Kernel) -> Self {
        self.kernel = kernel;
        self
    }

    /// Leaves a NIC out; it can be plugged later.
    pub fn without(mut self, nic: Nic) -> Self {
        self.nics.retain(|(other, _)| *other != nic);
        self
    }

    /// Another machine to the hypervisor: its own UUID and [MACs](clone_mac).
    pub fn clone_number(mut self, number: u8) -> Self {
        self.uuid = format!("{}{number:02x}", &UUID[..UUID.len() - 2]);
        for (_, mac) in &mut self.nics {
            *mac = clone_mac(mac, number);
        }
        self
    }

    /// A disk that another machine had, in place of a fresh one.
    pub fn disk(mut self, disk: &Disk) -> Self {
        self.disk = Some(disk.clone());
        self
    }

    /// Switches it on and waits until it has booted, ten seconds or more.
    pub fn boot(self) -> Machine {
        // Who waits in the guest leaves the processor to what it waits for.
        let script = "systemctl is-system-running --wait | grep -E 'running|degraded' && systemctl is-active default.target";
        self.switch_on("the end of the boot", script)
    }

    /// Switches it on and waits until a unit is active: the rest of the boot goes on meanwhile.
    pub fn boot_until(self, unit: &str) -> Machine {
        self.switch_on(unit, &format!("systemctl is-active {unit}"))
    }

    fn switch_on(mut self, what: &str, script: &str) -> Machine {
        let started = Instant::now();
        let disk = self.disk.take().unwrap_or_else(|| Disk::new(self.image));
        let version = self.kernel.version();
        let attempts = [patience() / 4, patience() / 4, Duration::MAX];
        let machine = attempts.into_iter().find_map(|silence| {
            let machine = self.start(&disk, &[], silence);
            if machine.is_none() {
                eprintln!("vm: Linux {version} stopped before its first program: switched on again");
            }
            machine
        });
        let machine = machine.expect("the last attempt is not given up");
        machine.wait_for(what, script);
        eprintln!(
            "vm: Linux {version} had {what} after {:.1} s",
            started.elapsed().as_secs_f64()
        );
        machine
    }

    /// Goes on from where a fresh machine with all NICs had booted: the same in a second, for a test that is not
    /// about the boot. Nothing else can be chosen but the kernel.
    pub fn restore(self) -> Machine {
        let disk = self.image.booted(self.kernel).copy();
        let machine = self.start(&disk, &["-loadvm", SNAPSHOT], Duration::MAX);
        let machine = machine.expect("it is not given up");
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let now = i64::try_from(now.expect("a clock after 1970").as_nanos()).expect("a clock before 2262");
        let set = machine.bench().call("guest-set-time", json!({"time": now}));
        set.expect("set the guest's clock");
        machine
    }

    /// Starts QEMU and waits for the bench's agent in the guest; `None` if the kernel [is stuck](Console::is_stuck).
    fn start(&self, disk: &Disk, more: &[&str], silence: Duration) -> Option<Machine> {
        let (files, switch) = (Scratch::new(), self.switch.clone());
        let mut slots: Slots = Default::default();
        let mut qemu = self.command(&files, disk);
        for (slot, (nic, mac)) in self.nics.iter().enumerate() {
            let id = nic.name();
            let tap = Tap::new(&switch, id, *nic);
            qemu.args(["-netdev", &tap.netdev(id).to_string()]);
            qemu.args(["-device", &device(id, mac, slot).to_string()]);
            slots[slot] = Some(Plugged {
                id: id.to_owned(),
                mac: mac.clone(),
                _tap: tap,
            });
        }
        qemu.args(more);
        let qemu = Daemon::start(&switch, qemu, files.path());
        // From here on a failure has a serial log and QEMU's own words to show.
        let report = Report(Some(files.path().to_owned()));
        let qmp = Qmp::connect(&files.path().join("qmp.sock"));
        let mut console = Console::new(files.path().join("serial.log"), silence);
        let bench = GuestAgent::connect_unless(&files.path().join("bench.sock"), || console.is_stuck())?;
        report.not_needed();
        Some(Machine {
            switch,
            disk: disk.clone(),
            files,
            qemu: Mutex::new(qemu),
            qmp: Mutex::new(qmp),
            bench: Mutex::new(bench),
            slots: Mutex::new(slots),
        })
    }
}

impl Machine {
    /// A machine with this image, as the router of a VPC that was built [without one](Vpc::without_router).
    pub fn builder<'a>(image: &'a Image, vpc: &Vpc) -> MachineBuilder<'a> {
        MachineBuilder {
            image,
            switch: vpc.switch.clone(),
            kernel: Kernel::Linux6_1,
            nics: Nic::ALL.map(|nic| (nic, nic.mac().to_owned())).into(),
            uuid: UUID.to_owned(),
            disk: None,
        }
    }
}

impl MachineBuilder<'_> {
    fn command(&self, files: &Scratch, disk: &Disk) -> Command {
        let file = |name: &str| files.path().join(name).display().to_string();
        let kernel = |name| self.image.kernel_file(self.kernel, name).display().to_string();
        let aarch64 = self.kernel == Kernel::Linux6_12Aarch64;
        // Nehalem is emulated faster than the newest processor: fewer features for the kernel to use. Without cx16,
        // whose flags QEMU 7.2 gets wrong: Linux 6.12 dies of it in kmem_cache_alloc.
        let processor = if aarch64 {
            ["-accel", "tcg", "-cpu", "cortex-a72"]
        } else if uses_kvm() {
            ["-accel", "kvm", "-cpu", "host"]
        } else {
            ["-accel", "tcg", "-cpu", "Nehalem-v1,-cx16"]
        };
        let (program, machine, console) = if aarch64 {
            ("qemu-system-aarch64", "virt,gic-version=3", "ttyAMA0")
        } else {
            (
                "qemu-system-x86_64",
                "q35,usb=off,smbus=off,sata=off,vmport=off",
                "ttyS0",
            )
        };
        let mut qemu = command("setpriv", &["--pdeathsig", "KILL", "--", program]);
        qemu.args([
            "-machine",
            machine,
            "-m",
            if aarch64 { "768" } else { "512" },
            "-smp",
            self.kernel.processors(),
        ])
        .args(processor)
        .args([
            "-nodefaults",
            "-no-user-config",
            "-display",
            "none",
            "-no-reboot",
            "-uuid",
            &self.uuid,
        ])
        .args([
            "-kernel",
            &kernel("vmlinuz"),
            "-initrd",
            &kernel("initrd"),
            "-append",
        ])
        .arg(format!(
            "root=/dev/vda rw console={console} net.ifnames=1 systemd.show_status=1 panic=-1 mitigations=off"
        ))
        // The page cache of this machine survives QEMU: what the guest had flushed is there after a cut.
        .args([
            "-drive",
            &format!(
                "file={},format=qcow2,cache=writeback,if=none,id=d0",
                disk.file().display()
            ),
        ])
        .args(["-device", "virtio-blk-pci,drive=d0", "-device", "virtio-rng-pci"])
        .args(["-serial", &format!("file:{}", file("serial.log"))])
        .args(["-qmp", &format!("unix:{},server=on,wait=off", file("qmp.sock"))])
        .args(["-device", "virtio-serial-pci"]);
        for (id, port) in [("agent", "org.qemu.guest_agent.0"), ("bench", "kylin-vr.bench")] {
            let socket = file(&format!("{id}.sock"));
            qemu.args([
                "-chardev",
                &format!("socket,path={socket},server=on,wait=off,id={id}"),
            ])
            .args(["-device", &format!("virtserialport,chardev={id},name={port}")]);
        }
        for slot in 0..SLOTS {
            let place = format!("addr={:#x}.{:x},multifunction=on", 0x10 + slot / 8, slot % 8);
            let (chassis, bus) = (slot + 1, "bus=pcie.0");
            qemu.args([
                "-device",
                &format!("pcie-root-port,id=rp{slot},{bus},chassis={chassis},slot={chassis},{place}"),
            ]);
        }
        qemu
    }
}
