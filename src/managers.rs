//! Tells the other managers of NICs to leave those of the file, and links of ours, alone: NetworkManager and systemd-networkd would
//! flush their addresses, ask for others by DHCP and set routes of their own.
//!
//! By drop-ins below /run, which name the NICs by their hardware address and are gone after a reboot: which NICs are
//! ours is known only from the file, a file that is packaged could name none or all, and a NIC that the file does not
//! name must stay theirs. `start` writes them before either of them starts. cloud-init knows no such thing; the
//! packages bring a setting for it.

use std::fmt::Write;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::config::{Config, MirrorTarget};
use crate::kernel::is_first_namespace;
use crate::model::OWN_PREFIX;
use crate::words::plain;

/// A drop-in for a manager of NICs that is not us.
struct Manager {
    unit: &'static str,
    /// The drop-in, below /run.
    path: &'static str,
    text: fn(&[String]) -> String,
}

/// A file of the same name in /etc takes the place of one of these (networkd.conf(5), NetworkManager.conf(5)): so an
/// administrator can say otherwise.
const MANAGERS: [Manager; 4] = [
    Manager {
        unit: "NetworkManager.service",
        path: "NetworkManager/conf.d/90-kylin-vr.conf",
        text: |macs| {
            let macs: Vec<String> = macs.iter().map(|mac| format!("mac:{mac}")).collect();
            // Links of ours as well.
            format!(
                "[keyfile]\nunmanaged-devices+={};interface-name:{OWN_PREFIX}*\n",
                macs.join(";")
            )
        },
    },
    Manager {
        unit: "systemd-networkd.service",
        path: "systemd/network/05-kylin-vr.network",
        text: |macs| {
            let mut text = "[Match]\n".to_owned();
            for mac in macs {
                let _ = writeln!(text, "MACAddress={mac}");
            }
            text + "\n[Link]\nUnmanaged=yes\n"
        },
    },
    // Links of ours: in one section with the others' addresses, both would have to hold.
    Manager {
        unit: "systemd-networkd.service",
        path: "systemd/network/05-kylin-vr-links.network",
        text: |_| format!("[Match]\nName={OWN_PREFIX}*\n\n[Link]\nUnmanaged=yes\n"),
    },
    // It deletes routes that it does not know and that belong to no NIC (systemd 246 and later can be told not to):
    // ours that keep what is meant for a missing subnet from going outside.
    Manager {
        unit: "systemd-networkd.service",
        path: "systemd/networkd.conf.d/90-kylin-vr.conf",
        text: |_| "[Network]\nManageForeignRoutes=no\n".to_owned(),
    },
];

const HEADER: &str = "# Written by kylin-vr: the NICs of its configuration are its own.\n";

/// Tells them, if they manage the links of our namespace. What could not be told is returned, for the report: the
/// router works, until one of them thinks otherwise.
#[must_use]
pub fn tell(config: &Config) -> Option<String> {
    if !is_first_namespace() {
        return None;
    }
    match write(Path::new("/run"), config) {
        Ok(changed) => {
            for unit in changed {
                reload(unit);
            }
            None
        }
        Err(error) => Some(format!(
            "NetworkManager and systemd-networkd were not told to leave these NICs alone: {}",
            plain(&error)
        )),
    }
}

/// Writes the drop-ins below a directory, and says which managers are to read theirs again.
fn write(run: &Path, config: &Config) -> io::Result<Vec<&'static str>> {
    let interfaces = config.interfaces().iter();
    let interfaces = interfaces.filter(|one| one.vxlan.is_none()).map(|one| one.mac);
    let targets = config.mirrors().iter().flat_map(|mirror| mirror.to.iter());
    let mut macs: Vec<String> = Vec::new();
    for mac in interfaces.chain(targets.filter_map(MirrorTarget::mac)) {
        let mac = mac.to_string();
        if !macs.contains(&mac) {
            macs.push(mac);
        }
    }
    let mut changed = Vec::new();
    for manager in &MANAGERS {
        let path = run.join(manager.path);
        let has_changed = if macs.is_empty() {
            match fs::remove_file(&path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => false,
                removed => removed.map(|()| true)?,
            }
        } else {
            let text = HEADER.to_owned() + &(manager.text)(&macs);
            replace(&path, &text)?
        };
        if has_changed && !changed.contains(&manager.unit) {
            changed.push(manager.unit);
        }
    }
    Ok(changed)
}

/// Writes a file that others than root can read as well (networkd is one), whatever the umask; `false`: it was that
/// already.
fn replace(path: &Path, text: &str) -> io::Result<bool> {
    if fs::read(path).is_ok_and(|old| old == text.as_bytes()) {
        return Ok(false);
    }
    let missing: Vec<&Path> = path.ancestors().skip(1).take_while(|dir| !dir.exists()).collect();
    for dir in missing.into_iter().rev() {
        fs::create_dir(dir)?;
        fs::set_permissions(dir, fs::Permissions::from_mode(0o755))?;
    }
    let temporary = path.with_extension(format!("{}~", std::process::id()));
    fs::write(&temporary, text)?;
    fs::set_permissions(&temporary, fs::Permissions::from_mode(0o644))?;
    fs::rename(&temporary, path)?;
    Ok(true)
}

/// Asks systemd to have a unit read its settings again. One that does not run has nothing to reload, and reads them
/// when it starts.
fn reload(unit: &str) {
    if !Path::new("/run/systemd/system").is_dir() {
        return;
    }
    let child = Command::new("systemctl")
        .args(["--no-block", "--quiet", "reload", unit])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    if let Err(error) = child {
        tracing::debug!(unit, error = plain(&error), "systemctl reload");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drop_ins_name_the_nics_by_mac_and_go_with_them() {
        let run = std::env::temp_dir().join(format!("kylin-vr-managers-{}", std::process::id()));
        let text = b"if_list:\n  - {ipaddr: 10.0.0.1, prefix: 24, mac: '52:54:00:00:00:01'}\n  \
                     - {ipaddr: 10.0.1.1, prefix: 24, mac: '52:54:00:00:00:02'}\nmirror_list:\n  \
                     - {name: a, source: {all: true}, to: [{nic: {mac: '52:54:00:00:00:03'}}]}\n";
        let config = Config::parse(text).config.unwrap();
        let all = ["NetworkManager.service", "systemd-networkd.service"];
        assert_eq!(write(&run, &config).unwrap(), all);
        assert!(
            write(&run, &config).unwrap().is_empty(),
            "a second time nothing is new"
        );
        let read = |path: &str| fs::read_to_string(run.join(path)).unwrap();
        assert!(read(MANAGERS[0].path).ends_with(
            "[keyfile]\nunmanaged-devices+=mac:52:54:00:00:00:01;mac:52:54:00:00:00:02;\
                 mac:52:54:00:00:00:03;interface-name:kvr-*\n"
        ));
        assert!(read(MANAGERS[1].path).ends_with(
            "[Match]\nMACAddress=52:54:00:00:00:01\nMACAddress=52:54:00:00:00:02\nMACAddress=52:54:00:00:00:03\n\n[Link]\nUnmanaged=yes\n"
        ));
        assert_eq!(
            read(MANAGERS[2].path),
            HEADER.to_owned() + "[Match]\nName=kvr-*\n\n[Link]\nUnmanaged=yes\n"
        );
        assert_eq!(write(&run, &Config::default()).unwrap(), all);
        assert!(write(&run, &Config::default()).unwrap().is_empty());
        assert!(!run.join(MANAGERS[0].path).exists());
        fs::remove_dir_all(&run).unwrap();
    }
}
