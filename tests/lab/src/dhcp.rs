//! A real DHCP client (ISC dhclient) in a namespace: what it asks for, and what it is given.
//!
//! It gets files of its own, and a script that does nothing but write down what there is to configure: the namespace stays
//! as it is.

use std::collections::BTreeMap;
use std::fs;
use std::net::{Ipv4Addr, UdpSocket};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::namespace::Namespace;
use crate::scratch::Scratch;
use crate::wait::uninterrupted;

/// The options of a message that matters here (RFC 2132): its type, the lease's time, the server.
const MESSAGE_TYPE: u8 = 53;
const LEASE_TIME: u8 = 51;
const SERVER: u8 = 54;
const END: u8 = 255;
const REQUEST: u8 = 3;
const ACK: u8 = 5;

/// A client that was given an address says its number well before that, unless the machine is very busy.
const PATIENCE: Duration = Duration::from_secs(30);

/// A client with a memory: what it was given it asks for again.
#[derive(Debug)]
pub struct DhcpClient {
    directory: Scratch,
    namespace: Namespace,
    link: String,
}

/// What a client was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DhcpLease {
    values: BTreeMap<String, String>,
}

impl DhcpLease {
    /// A value by dhclient's name for it (`ip_address`, `routers`, `interface_mtu`), empty where there is none.
    pub fn get(&self, name: &str) -> &str {
        self.values.get(name).map_or("", String::as_str)
    }
}

impl DhcpClient {
    /// One that was never given anything, on a link of a namespace.
    pub fn new(namespace: &Namespace, link: &str) -> DhcpClient {
        let client = DhcpClient {
            directory: Scratch::new(),
            namespace: namespace.clone(),
            link: link.to_owned(),
        };
        let settings = "timeout 6;\nretry 1;\nreboot 4;\ninitial-interval 1;\nbackoff-cutoff 1;\nselect-timeout 0;\n\
                        request subnet-mask, routers, domain-name-servers, interface-mtu, domain-name, host-name, \
                        broadcast-address;\n";
        fs::write(client.file("conf"), settings).expect("write the client's settings");
        let script = format!(
            "#!/bin/sh\ncase $reason in BOUND|RENEW|REBIND|REBOOT) env | grep '^new_' > {}; esac\n",
            client.file("given").display()
        );
        fs::write(client.file("script"), script).expect("write the client's script");
        let mode = fs::Permissions::from_mode(0o755);
        fs::set_permissions(client.file("script"), mode).expect("make the client's script a program");
        client
    }

    fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Asks, for what it has if it was given something before; `None`: nobody answered, or nobody gave it anything.
    ///
    /// # Panics
    /// If there is no dhclient.
    pub fn ask(&self) -> Option<DhcpLease> {
        let (given, pid) = (self.file("given"), self.file("pid"));
        for old in [&given, &pid] {
            let _ = fs::remove_file(old);
        }
        let mut command = Command::new("dhclient");
        command.args(["-4", "-1", "-q"]);
        for (option, file) in [
            ("-cf", "conf"),
            ("-sf", "script"),
            ("-lf", "leases"),
            ("-pf", "pid"),
        ] {
            command.arg(option).arg(self.file(file));
        }
        command.arg(&self.link);
        self.namespace.output(command);
        let text = fs::read_to_string(&given).ok()?;
        // What stays to renew writes down its number only after the process that was waited for has ended.
        let deadline = Instant::now() + PATIENCE;
        while !fs::read_to_string(&pid).is_ok_and(|pid| pid.ends_with('\n')) {
            assert!(Instant::now() < deadline, "dhclient does not say its number");
            sleep(Duration::from_millis(20));
        }
        self.end();
        let value = |line: &str| {
            let (name, value) = line.strip_prefix("new_")?.split_once('=')?;
            Some((name.to_owned(), value.to_owned()))
        };
        Some(DhcpLease {
            values: text.lines().filter_map(value).collect(),
        })
    }

    /// Ends the process that stays to renew what it was given, and gives nothing back.
    fn end(&self) {
        end(&self.file("pid"), self.directory.path());
    }
}

/// Renews a lease as a client does at half of its time (RFC 2131, 4.4.5): it asks the server itself, by unicast, from its own
/// address, which must be on a link of the namespace. The lease's new time in seconds; `None`: not granted.
///
/// # Panics
/// If the address is not there.
pub fn renew(from: &Namespace, mac: &str, address: Ipv4Addr, server: Ipv4Addr) -> Option<u32> {
    let number = 0x6b76_7231_u32.to_be_bytes();
    // A request from hardware addresses of Ethernet.
    let mut message = vec![1, 1, 6, 0];
    message.extend(number);
    message.extend([0; 4]);
    message.extend(address.octets());
    message.extend([0; 12]);
    message.extend(
        mac.split(':')
            .map(|octet| u8::from_str_radix(octet, 16).expect("a hardware address")),
    );
    message.extend([0; 10 + 64 + 128]);
    message.extend([99, 130, 83, 99]);
    message.extend([MESSAGE_TYPE, 1, REQUEST, END]);
    let answer = from.run(|| {
        let socket = UdpSocket::bind((address, 68)).unwrap_or_else(|error| panic!("be {address}: {error}"));
        socket
            .set_read_timeout(Some(Duration::from_secs(5)))
            .expect("set a time");
        socket.send_to(&message, (server, 67)).ok()?;
        let mut answer = [0; 1500];
        let (length, who) = uninterrupted(|| socket.recv_from(&mut answer)).ok()?;
        (who.ip() == server).then(|| answer[..length].to_vec())
    })?;
    let options = answer.get(240..).filter(|_| answer[4..8] == number)?;
    let granted = option(options, MESSAGE_TYPE)? == [ACK]
        && answer[16..20] == address.octets()
        && option(options, SERVER)? == server.octets();
    let time = option(options, LEASE_TIME)?
        .try_into()
        .ok()
        .map(u32::from_be_bytes);
    time.filter(|_| granted)
}

/// The value of an option.
fn option(mut options: &[u8], wanted: u8) -> Option<&[u8]> {
    loop {
        let (code, rest) = options.split_first()?;
        match *code {
            0 => options = rest,
            END => return None,
            code => {
                let (length, rest) = rest.split_first()?;
                let (value, rest) = rest.split_at_checked(usize::from(*length))?;
                if code == wanted {
                    return Some(value);
                }
                options = rest;
            }
        }
    }
}

impl Drop for DhcpClient {
    fn drop(&mut self) {
        self.end();
    }
}

/// Ends the process of a file, if it is one that was started with files of this directory.
pub(crate) fn end(pid: &Path, directory: &Path) {
    let Some(process) = fs::read_to_string(pid)
        .ok()
        .and_then(|text| text.trim().parse::<i32>().ok())
    else {
        return;
    };
    let line = fs::read(format!("/proc/{process}/cmdline")).unwrap_or_default();
    if String::from_utf8_lossy(&line).contains(&*directory.to_string_lossy()) {
        let _ = nix::sys::signal::kill(
            nix::unistd::Pid::from_raw(process),
            nix::sys::signal::Signal::SIGKILL,
        );
    }
}
