//! How others would do the same: one rule each, by the programs that people use.
//!
//! All texts are what a careful script would write, loaded at once where the program can do that.

use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

use crate::site::{EIPS, RANGE, VMS, WAN, WAN_ADDRESS, entries, vm};

/// A program that loads rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program {
    IptablesLegacy,
    IptablesNft,
    Nft,
}

impl Program {
    pub const ALL: [Self; 3] = [Self::IptablesLegacy, Self::IptablesNft, Self::Nft];

    pub fn name(self) -> &'static str {
        match self {
            Self::IptablesLegacy => "iptables-legacy-restore",
            Self::IptablesNft => "iptables-nft-restore",
            Self::Nft => "nft -f",
        }
    }

    /// The command that loads a file of these.
    pub fn load(self, file: &Path) -> Command {
        let mut command = match self {
            Self::IptablesLegacy => Command::new("iptables-legacy-restore"),
            Self::IptablesNft => Command::new("iptables-nft-restore"),
            Self::Nft => Command::new("nft"),
        };
        if self == Self::Nft {
            command.arg("-f");
        }
        command.arg(file);
        command
    }

    /// Elastic IPs as two rules each, and the masquerade after them.
    pub fn one_rule_each(self, count: usize) -> String {
        match self {
            Self::IptablesLegacy | Self::IptablesNft => {
                let mut text = String::from("*nat\n");
                for (eip, vm) in entries(count) {
                    let _ = writeln!(text, "-A PREROUTING -d {eip}/32 -j DNAT --to-destination {vm}");
                    let _ = writeln!(
                        text,
                        "-A POSTROUTING -s {vm}/32 -o {WAN} -j SNAT --to-source {eip}"
                    );
                }
                text + &format!(
                    "-A POSTROUTING -s {VMS} -o {WAN} -j SNAT --to-source {WAN_ADDRESS}\nCOMMIT\n"
                )
            }
            Self::Nft => {
                let mut text = String::from(
                    "table ip rules {\n chain destination {\n type nat hook prerouting priority -100\n",
                );
                for (eip, vm) in entries(count) {
                    let _ = writeln!(text, "ip daddr {eip} dnat to {vm}");
                }
                text += "}\n chain source {\n type nat hook postrouting priority 100\n";
                for (eip, vm) in entries(count) {
                    let _ = writeln!(text, "ip saddr {vm} oifname {WAN} snat to {eip}");
                }
                text + &format!("ip saddr {VMS} oifname {WAN} snat to {WAN_ADDRESS}\n}}\n}}\n")
            }
        }
    }
}

/// The floor: one rule that is the same for all packets, to one VM.
pub fn constant_rule() -> String {
    let vm = vm(0);
    format!(
        "table ip floor {{\n chain destination {{\n type nat hook prerouting priority -100\ndnat to {vm}\n}}\n}}\n"
    )
}

/// A constant rule for each kind of entry: the translations that elastic IPs, single forwards (each to another port, which
/// costs the kernel's NAT more than an address alone) and the range ask for, without looking anything up.
pub fn constant_rule_for_each_kind() -> String {
    let (vm, range) = (vm(0), RANGE.ip());
    format!(
        "table ip floor {{\n chain destination {{\n type nat hook prerouting priority -100\n\
         ip daddr {EIPS} dnat prefix to {VMS}\nip daddr {range} dnat to {vm}\nmeta l4proto udp dnat to {vm}:2000\n}}\n}}\n"
    )
}

/// The floor with the VMs of the others: one rule, a prefix to a prefix, so that the way onwards costs the same.
pub fn constant_prefix_rule() -> String {
    format!(
        "table ip floor {{\n chain destination {{\n type nat hook prerouting priority -100\n\
         ip daddr {EIPS} dnat prefix to {VMS}\n}}\n}}\n"
    )
}
