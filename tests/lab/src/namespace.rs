//! A network namespace without a name, and how to work inside it.
//!
//! Nothing is mounted in `/run/netns`: the namespace lives by a file descriptor, and by the sockets and
//! processes in it, so that a test killed half-way leaves nothing behind. It must never change the
//! namespace of a thread that it did not start itself.

use std::fs::{self, File};
use std::io::Write;
use std::net::Ipv4Addr;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::panic::resume_unwind;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, Uid};

/// No command of the lab needs a second; one that needs a minute hangs, and would take the test run along.
const COMMAND_LIMIT: Duration = Duration::from_secs(60);

/// A network namespace; clones share it, and it is gone with the last of them.
#[derive(Clone, Debug)]
pub struct Namespace {
    fd: Arc<OwnedFd>,
}

impl Namespace {
    /// A new namespace with IPv4 and IPv6 as a fresh kernel has them and `lo` up.
    #[allow(clippy::new_without_default)] // It does far more than `Default` promises.
    pub fn new() -> Namespace {
        let namespace = Namespace::with_lo_down();
        namespace.ip("link set lo up");
        namespace
    }

    /// The same, with `lo` left down, as the kernel makes it.
    pub fn with_lo_down() -> Namespace {
        Namespace::create(false)
    }

    /// A namespace for a host of the lab's own, `lo` down: without IPv6, so that no neighbour discovery or
    /// router solicitation of ours gets between the packets of a test.
    pub fn without_ipv6() -> Namespace {
        Namespace::create(true)
    }

    fn create(quiet: bool) -> Namespace {
        let made = thread::spawn(move || -> std::io::Result<OwnedFd> {
            unshare(CloneFlags::CLONE_NEWNET)?;
            // A namespace inherits the IPv4 settings of the machine's first one
            // (net.core.devconf_inherit_init_net = 0): on a machine with Docker it would forward, on one
            // with systemd filter. Tests must find the same start everywhere: the kernel's own defaults.
            for setting in ["ip_forward", "conf/all/rp_filter", "conf/default/rp_filter"] {
                fs::write(format!("/proc/sys/net/ipv4/{setting}"), "0")?;
            }
            // A connection's own port must never be one that a test wants to listen on: none is in between.
            fs::write("/proc/sys/net/ipv4/ip_local_port_range", "61000 64999")?;
            // No such file is as good: a kernel without IPv6 sends none.
            for scope in ["all", "default"] {
                let path = format!("/proc/sys/net/ipv6/conf/{scope}/disable_ipv6");
                if quiet && fs::exists(&path)? {
                    fs::write(path, "1")?;
                }
            }
            Ok(File::open("/proc/thread-self/ns/net")?.into())
        })
        .join();
        match made {
            Ok(Ok(fd)) => Namespace { fd: Arc::new(fd) },
            Ok(Err(error)) => panic!("make a network namespace: {error} (needs CAP_SYS_ADMIN)"),
            Err(panic) => resume_unwind(panic),
        }
    }

    /// Runs `f` in a thread of its own inside the namespace and gives back its result; a panic goes through.
    ///
    /// Sockets that `f` opens and processes that it starts stay in the namespace after it returned.
    pub fn run<T: Send>(&self, f: impl FnOnce() -> T + Send) -> T {
        thread::scope(|scope| {
            let inside = scope.spawn(|| {
                setns(self.fd.as_fd(), CloneFlags::CLONE_NEWNET).expect("enter a network namespace");
                f()
            });
            inside.join().unwrap_or_else(|panic| resume_unwind(panic))
        })
    }

    /// As [`run`](Namespace::run), with a `/sys` of the namespace's own.
    ///
    /// `/sys/class/net` shows the namespace in which sysfs was *mounted*: whoever looks up a NIC there (udev
    /// does) would find the NICs of the machine.
    pub fn run_with_sysfs<T: Send>(&self, f: impl FnOnce() -> T + Send) -> T {
        self.run(|| {
            own_mounts();
            mount(
                Some("sysfs"),
                "/sys",
                Some("sysfs"),
                MsFlags::empty(),
                None::<&str>,
            )
            .expect("mount /sys");
            f()
        })
    }

    /// A path that names the namespace for `ip link set X netns PATH`, as long as a clone of it lives.
    pub fn path(&self) -> String {
        format!("/proc/{}/fd/{}", std::process::id(), self.fd.as_raw_fd())
    }

    /// Runs a command inside to its end, whatever its exit code.
    ///
    /// # Panics
    /// If it cannot be started, or runs for more than a minute (it is killed then).
    pub fn output(&self, command: Command) -> Output {
        self.run(|| finish(command, ""))
    }

    /// Sends so many echo requests of 128 bytes; whether any was answered in time.
    pub fn ping(&self, to: &str, number: u32) -> bool {
        let number = number.to_string();
        let arguments = [
            "-n", "-q", "-i", "0.01", "-W", "2", "-s", "100", "-c", &number, to,
        ];
        self.output(command("ping", &arguments)).status.success()
    }

    /// Runs `ip ARGUMENTS` (split at white space) and gives its standard output.
    ///
    /// # Panics
    /// If it fails, with the command and what it said; so do the other commands here.
    pub fn ip(&self, arguments: &str) -> String {
        self.must(
            command("ip", &arguments.split_whitespace().collect::<Vec<_>>()),
            "",
        )
    }

    /// Runs many `ip` commands, one a line, in one process.
    pub fn ip_batch(&self, lines: &str) -> String {
        self.must(command("ip", &["-batch", "-"]), lines)
    }

    /// Runs `tc` with these arguments, which may be in quotes, and gives what it prints.
    pub fn tc(&self, arguments: &str) -> String {
        self.must(command("tc", &["-batch", "-"]), &format!("{arguments}\n"))
    }

    /// Loads an nft script, all or nothing (`nft -f -`), and gives what its `list` commands print.
    pub fn nft(&self, script: &str) -> String {
        self.must(command("nft", &["-f", "-"]), script)
    }

    fn must(&self, command: Command, input: &str) -> String {
        let line = format!("{command:?}");
        let output = self.run(|| finish(command, input));
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.success(),
            "{line}: {}: {error}\n{input}",
            output.status
        );
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// The value of a sysctl, `net/ipv4/ip_forward`, without the final newline.
    pub fn sysctl(&self, path: &str) -> String {
        let value = self.run(|| fs::read_to_string(sysctl_file(path)));
        value
            .unwrap_or_else(|error| panic!("read sysctl {path}: {error}"))
            .trim_end()
            .to_owned()
    }

    /// Sets a sysctl, `net/ipv4/ip_forward`.
    pub fn set_sysctl(&self, path: &str, value: &str) {
        let written = self.run(|| fs::write(sysctl_file(path), value));
        written.unwrap_or_else(|error| panic!("set sysctl {path} to {value}: {error}"));
    }

    /// Lays a wire: a veth pair with one end here and one there, both down. An empty MAC lets the kernel
    /// choose.
    pub fn veth(&self, name: &str, mac: &str, other: &Namespace, other_name: &str, other_mac: &str) {
        self.ip(&veth_line(name, mac, other, other_name, other_mac));
    }

    /// Waits until every link that is up can send.
    ///
    /// After `link set up` the kernel gives a veth its queue in a work item of its own, a moment later;
    /// a packet sent before that is lost (on a busy machine one in twenty first packets, Linux 6.18; none
    /// of 1,800 after this wait), and a test would blame the router. Links whose far end is down never get
    /// there, so the wait is short and its end no error.
    pub(crate) fn settle(&self) {
        use nix::net::if_::InterfaceFlags;
        let ready = || {
            let links = nix::ifaddrs::getifaddrs().expect("list links");
            links.map(|link| link.flags).all(|flags| {
                !flags.contains(InterfaceFlags::IFF_UP) || flags.contains(InterfaceFlags::IFF_RUNNING)
            })
        };
        self.run(|| {
            for _ in 0..100 {
                if ready() {
                    return;
                }
                thread::sleep(Duration::from_millis(1));
            }
        });
    }

    /// The first IPv4 address of a link, if it has one, looked up inside the namespace.
    pub(crate) fn address_of(&self, link: &str) -> Option<Ipv4Addr> {
        let mut found = self.run(|| {
            nix::ifaddrs::getifaddrs()
                .expect("list addresses")
                .collect::<Vec<_>>()
        });
        found.retain(|entry| entry.interface_name == link);
        found
            .iter()
            .find_map(|entry| Some(entry.address?.as_sockaddr_in()?.ip()))
    }
}

/// Runs `f` in a thread whose mounts nobody else sees; what `f` runs in a [`Namespace`] sees them.
pub fn with_own_mounts<T: Send>(f: impl FnOnce() -> T + Send) -> T {
    thread::scope(|scope| {
        let inside = scope.spawn(|| {
            own_mounts();
            f()
        });
        inside.join().unwrap_or_else(|panic| resume_unwind(panic))
    })
}

fn own_mounts() {
    unshare(CloneFlags::CLONE_NEWNS).expect("make a mount namespace");
    let (none, private) = (None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE);
    mount(none, "/", none, private, none).expect("make mounts private");
}

/// Whether this process may make network namespaces; the error says why not, for the line "skipped: ..".
///
/// # Errors
/// Not root, or the kernel (a container's seccomp filter, for one) refuses.
pub fn is_root_with_netns() -> Result<(), String> {
    if !Uid::effective().is_root() {
        return Err("needs root".to_owned());
    }
    let tried = thread::spawn(|| unshare(CloneFlags::CLONE_NEWNET)).join();
    match tried {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(format!("cannot make a network namespace: {error}")),
        Err(_) => Err("cannot make a network namespace".to_owned()),
    }
}

pub(crate) fn veth_line(
    name: &str,
    mac: &str,
    other: &Namespace,
    other_name: &str,
    other_mac: &str,
) -> String {
    let address = |mac: &str| {
        if mac.is_empty() {
            String::new()
        } else {
            format!("address {mac}")
        }
    };
    let (mac, other_mac, path) = (address(mac), address(other_mac), other.path());
    format!("link add {name} {mac} type veth peer name {other_name} {other_mac} netns {path}")
}

/// A command from a program and its arguments.
pub(crate) fn command(program: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(arguments);
    command
}

/// Runs a command in the namespace of the calling thread, feeds it `input`, and waits for its end.
pub(crate) fn finish(mut command: Command, input: &str) -> Output {
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command
        .spawn()
        .unwrap_or_else(|error| panic!("start {command:?}: {error}"));
    let pid = Pid::from_raw(i32::try_from(child.id()).expect("a pid is an i32"));
    let mut stdin = child.stdin.take().expect("standard input is a pipe");
    let (done, waiting) = mpsc::channel::<()>();
    let (output, hung) = thread::scope(|scope| {
        // A command that ends without reading all of its input has said why; EPIPE adds nothing.
        scope.spawn(move || stdin.write_all(input.as_bytes()));
        let watchdog = scope.spawn(move || {
            let hung = waiting.recv_timeout(COMMAND_LIMIT) == Err(mpsc::RecvTimeoutError::Timeout);
            if hung {
                let _ = kill(pid, Signal::SIGKILL);
            }
            hung
        });
        let output = child.wait_with_output();
        drop(done);
        (output, watchdog.join().expect("the watchdog does not panic"))
    });
    assert!(
        !hung,
        "{command:?}: still running after {COMMAND_LIMIT:?}, killed"
    );
    output.unwrap_or_else(|error| panic!("wait for {command:?}: {error}"))
}

fn sysctl_file(path: &str) -> PathBuf {
    PathBuf::from("/proc/sys").join(path)
}
