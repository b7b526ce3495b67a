//! A real Open vSwitch in a namespace, with a bridge for whoever asks.
//!
//! The switch runs in userspace (`datapath_type=netdev`), since a machine that runs tests need not have its kernel
//! module: its own `ovsdb-server` and `ovs-vswitchd` in a namespace, with files in a directory of their own, ended by their
//! process numbers. It never touches a switch of the machine.

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::namespace::{Namespace, command, finish};
use crate::scratch::Scratch;

const SCHEMA: &str = "/usr/share/openvswitch/vswitch.ovsschema";
const DAEMON: &str = "ovs-vswitchd";
/// What a server or a tool of the switch may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// Whether Open vSwitch is installed; the error says what is missing.
///
/// # Errors
/// It is not.
pub fn has_open_vswitch() -> Result<(), String> {
    let found = Command::new(DAEMON).arg("--version").output();
    match found {
        Ok(output) if output.status.success() && fs::exists(SCHEMA).unwrap_or(false) => Ok(()),
        _ => Err("needs Open vSwitch (openvswitch-switch)".to_owned()),
    }
}

/// The servers of a switch; they end when it is dropped.
#[derive(Debug)]
pub struct OpenVSwitch {
    servers: Vec<(&'static str, Child)>,
    scratch: Scratch,
}

impl OpenVSwitch {
    /// A switch without a bridge.
    ///
    /// # Panics
    /// If it does not start.
    pub fn start(namespace: &Namespace) -> OpenVSwitch {
        let mut switch = OpenVSwitch {
            servers: Vec::new(),
            scratch: Scratch::new(),
        };
        switch.begin(namespace);
        switch
    }

    /// The process that switches.
    ///
    /// # Panics
    /// If it was not started.
    pub fn process(&self) -> u32 {
        let daemon = self.servers.iter().find(|(name, _)| *name == DAEMON);
        daemon.expect("the switch was started").1.id()
    }

    fn file(&self, name: &str) -> PathBuf {
        self.scratch.path().join(name)
    }

    fn tool(&self, program: &str, arguments: &[&str]) -> Command {
        let mut command = command(program, arguments);
        for directory in ["OVS_RUNDIR", "OVS_LOGDIR", "OVS_DBDIR", "OVS_SYSCONFDIR"] {
            command.env(directory, self.scratch.path());
        }
        command
    }

    fn must(&self, namespace: &Namespace, program: &str, arguments: &[&str], input: &str) -> String {
        let command = self.tool(program, arguments);
        let line = format!("{command:?}");
        let output = namespace.run(|| finish(command, input));
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{line}: {said}\n{input}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// `ovs-vsctl ARGUMENTS`
    ///
    /// # Panics
    /// If it fails.
    pub fn vsctl(&self, namespace: &Namespace, arguments: &str) -> String {
        let database = format!("--db=unix:{}", self.file("db.sock").display());
        let words: Vec<&str> = [database.as_str(), "--timeout=30"]
            .into_iter()
            .chain(arguments.split_whitespace())
            .collect();
        self.must(namespace, "ovs-vsctl", &words, "")
    }

    /// Puts flows in the place of all flows of a bridge.
    ///
    /// # Panics
    /// If they are none.
    pub fn replace_flows(&self, namespace: &Namespace, bridge: &str, flows: &str) {
        let target = format!("unix:{}", self.file(&format!("{bridge}.mgmt")).display());
        let words = ["-O", "OpenFlow13", "replace-flows", &target, "-"];
        self.must(namespace, "ovs-ofctl", &words, flows);
    }

    fn begin(&mut self, namespace: &Namespace) {
        let (database, socket) = (self.file("conf.db"), self.file("db.sock"));
        let _ = fs::remove_file(&database);
        let words = ["create", &database.to_string_lossy(), SCHEMA];
        self.must(namespace, "ovsdb-tool", &words, "");
        let server = [
            database.to_string_lossy().into_owned(),
            format!("--remote=punix:{}", socket.display()),
            format!("--unixctl={}", self.file("ovsdb.ctl").display()),
            "--no-chdir".to_owned(),
        ];
        self.serve(namespace, "ovsdb-server", &server);
        wait_until(|| fs::exists(&socket).unwrap_or(false));
        let daemon = [
            format!("unix:{}", socket.display()),
            format!("--unixctl={}", self.file("vswitchd.ctl").display()),
            format!("--log-file={}", self.file("vswitchd.log").display()),
            "-vconsole:off".to_owned(),
            "-vsyslog:off".to_owned(),
            "--no-chdir".to_owned(),
        ];
        self.serve(namespace, DAEMON, &daemon);
    }

    fn serve(&mut self, namespace: &Namespace, program: &'static str, arguments: &[String]) {
        let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let mut command = self.tool(program, &words);
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let child = namespace.run(|| command.spawn());
        let child = child.unwrap_or_else(|error| panic!("start {program}: {error}"));
        self.servers.push((program, child));
    }

    fn stop(&mut self) {
        for (_, child) in self.servers.iter_mut().rev() {
            if let Ok(pid) = i32::try_from(child.id()) {
                let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
            }
            let _ = child.wait();
        }
        self.servers.clear();
    }

    /// It ends and begins anew, with nothing in it: as after a power failure.
    ///
    /// # Panics
    /// If it does not start.
    pub fn restart(&mut self, namespace: &Namespace) {
        self.stop();
        for name in ["db.sock", "ovsdb.ctl", "vswitchd.ctl"] {
            let _ = fs::remove_file(self.file(name));
        }
        self.begin(namespace);
    }
}

impl Drop for OpenVSwitch {
    fn drop(&mut self) {
        self.stop();
    }
}

fn wait_until(is_so: impl Fn() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < PATIENCE, "Open vSwitch does not start");
        thread::sleep(Duration::from_millis(5));
    }
}

/// Has the kernel compute checksums, and cut packets to the MTU, before it sends by this link: who reads there reads what
/// would be on a wire. (`ETHTOOL_STXCSUM` of linux/ethtool.h by `SIOCETHTOOL` of linux/sockios.h: there may be no ethtool(8).)
pub(crate) fn without_offloads(namespace: &Namespace, link: &str) {
    let script = "import array, fcntl, socket, struct, sys\n\
                  value = array.array('B', struct.pack('II', 0x17, 0))\n\
                  request = struct.pack('16sP', sys.argv[1].encode(), value.buffer_info()[0])\n\
                  fcntl.ioctl(socket.socket(), 0x8946, request)\n";
    let output = namespace.output(command("python3", &["-c", script, link]));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "turn offloads of {link} off: {said}");
}
