//! The package under test, the image with it, and what tests do again and again.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex, OnceLock};
use std::{env, fs};

use lab::guest::{Image, Kernel, Machine, MachineBuilder};
use lab::{Tcp, Vpc};

/// Where the file lies in the guest.
pub const CONFIG: &str = "/etc/kylin-vr/kylin-vr.yaml";

/// What a test gets its machines from. Those of one [`Kernel`]; the images are shared by all.
#[derive(Clone)]
pub struct Bench {
    kernel: Kernel,
    images: Arc<Images>,
}

/// Each is made by the first test that needs it.
#[derive(Default)]
struct Images {
    x86_64: OnceLock<Image>,
    aarch64: OnceLock<Image>,
    making: Mutex<()>,
}

impl Bench {
    pub fn new() -> Bench {
        Bench {
            kernel: Kernel::Linux6_1,
            images: Arc::default(),
        }
    }

    /// The same with machines of another kernel.
    pub fn with(&self, kernel: Kernel) -> Bench {
        Bench {
            kernel,
            images: self.images.clone(),
        }
    }

    pub fn kernel(&self) -> Kernel {
        self.kernel
    }

    fn is_aarch64(&self) -> bool {
        self.kernel == Kernel::Linux6_12Aarch64
    }

    fn image(&self) -> &Image {
        // Poisoned: another test could not make it. This one tries for itself, and says why not.
        let _one = self.images.making.lock();
        let (image, script, cache) = if self.is_aarch64() {
            (
                &self.images.aarch64,
                "tests/vm/image/build-aarch64.sh",
                cache().with_extension("aarch64"),
            )
        } else {
            (&self.images.x86_64, "tests/vm/image/build.sh", cache())
        };
        image.get_or_init(|| {
            let recipe = Path::new(env!("CARGO_MANIFEST_DIR")).join(script);
            Image::with_package(&cache, &recipe, &self.package())
        })
    }

    pub fn machine<'b>(&'b self, vpc: &Vpc) -> MachineBuilder<'b> {
        Machine::builder(self.image(), vpc).kernel(self.kernel)
    }

    /// A machine that has booted with all NICs, nothing configured.
    pub fn booted(&self, vpc: &Vpc) -> Machine {
        self.machine(vpc).restore()
    }

    /// `KYLIN_VR_TEST_DEB`, or the newest that `make deb` made.
    ///
    /// # Panics
    /// If there is none.
    pub fn package(&self) -> PathBuf {
        let (variable, end) = if self.is_aarch64() {
            ("KYLIN_VR_TEST_DEB_ARM64", "_arm64.deb")
        } else {
            ("KYLIN_VR_TEST_DEB", "_amd64.deb")
        };
        if let Some(path) = env::var_os(variable) {
            return path.into();
        }
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/deb");
        let packages = fs::read_dir(&directory).into_iter().flatten().flatten();
        let packages = packages.filter(|entry| entry.file_name().to_string_lossy().ends_with(end));
        let newest = packages.max_by_key(|entry| entry.metadata().and_then(|about| about.modified()).ok());
        newest.expect("`make deb` has made a package").path()
    }
}

fn cache() -> PathBuf {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent();
    target
        .expect("the directory for tests is below target")
        .join("vm")
}

/// What this machine lacks to run the tests.
pub fn missing() -> Option<String> {
    if let Err(reason) = lab::is_root_with_netns() {
        return Some(reason);
    }
    let tools = [
        "qemu-system-x86_64",
        "qemu-img",
        "mmdebstrap",
        "mke2fs",
        "dpkg-deb",
        "setpriv",
    ];
    let lacks = |tool: &&&str| Command::new(tool).arg("--help").output().is_err();
    if let Some(tool) = tools.iter().find(lacks) {
        return Some(format!("{tool} is missing; `make test-vm` installs it"));
    }
    (!Path::new("/dev/net/tun").exists()).then(|| "/dev/net/tun is missing".to_owned())
}

/// The note's example and subnet B, without the tens of thousands of ports of [`full`](crate::configs::full): tests
/// that compare all there is would do little else.
pub fn both_subnets() -> String {
    let full = crate::configs::full();
    let lines = full.lines().filter(|line| !line.contains("port: 30000"));
    lines.map(|line| format!("{line}\n")).collect()
}

/// A file with its end marked, as `kylin-vr push` sends it: after one that was, one that is not is cut off.
pub fn marked(yaml: &str) -> String {
    format!("{}...\n", yaml.strip_suffix("...\n").unwrap_or(yaml))
}

/// Writes the file, marked, and reloads, by the bench's own channel.
pub fn configure(machine: &Machine, yaml: &str) {
    let run = machine.try_sh(&format!("cat >{CONFIG} && kylin-vr reload"), &marked(yaml));
    assert_eq!(run.code, 0, "reload:\n{}{}", run.stdout, run.stderr);
}

/// Waits until the kernel is as the file says, NICs that are not there aside.
pub fn agrees(machine: &Machine) {
    machine.wait_for("agreement", "kylin-vr status");
}

/// All that a configuration is in the guest's kernel, to compare; nothing that changes by itself.
pub fn state(machine: &Machine) -> Vec<String> {
    let text = machine.sh("ip -4 -oneline addr show scope global | awk '{print $2, $4}'; \
         ip -4 route show table all proto 158; ip -4 route show default; \
         sysctl net.ipv4.ip_forward; nft -s list ruleset");
    // A set is listed in the order of its hash table.
    let mut lines: Vec<String> = text
        .split(['\n', ','])
        .map(|part| {
            part.replace("elements = {", "")
                .replace('}', "")
                .trim()
                .to_owned()
        })
        .filter(|line| !line.is_empty())
        .collect();
    lines.sort();
    lines
}

/// An elastic IP of the note leads to its VM.
#[track_caller]
pub fn eip_works(vpc: &Vpc) {
    let outcome = vpc.probe(&vpc.client, Tcp, "10.90.2.250:22", &[]);
    assert_eq!(outcome, "a1:22 sees 198.51.100.10");
}

/// Subnet B is routed and translated.
#[track_caller]
pub fn subnet_b_works(vpc: &Vpc) {
    let outcome = vpc.probe(&vpc.b1, Tcp, "198.51.100.10:80", &[]);
    assert_eq!(outcome, "client:80 sees 10.90.3.37");
    let outcome = vpc.probe(&vpc.a1, Tcp, "192.168.101.10:22", &[]);
    assert_eq!(outcome, "b1:22 sees 192.168.100.190");
}

/// How often the journal of the monitor has a text.
pub fn told(machine: &Machine, text: &str) -> usize {
    let journal = machine.sh("journalctl -b --no-pager -u kylin-vr-monitor.service");
    journal.matches(text).count()
}
