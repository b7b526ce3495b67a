//! `kylin-vr network`: the router's NICs and overlay subnets, each with its subnet, are attached, detached and listed.

use std::fmt::{self, Display, Formatter};
use std::net::Ipv4Addr;
use std::process::ExitCode;

use clap::Subcommand;
use ipnet::Ipv4Net;

use super::{Change, Context, Options, Refusal, Removal, at, list, named, overlay, words};
use crate::config::edit::{Edit, Entry, List};
use crate::config::{Config, Interface, Place};
use crate::model::MacAddr;

const LIST: List = List::Interfaces;

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum Command {
    /// Give NICs their addresses: a VPC subnet's gateway address, or the one outside; or add overlay subnets
    #[command(after_help = "Examples:\n  \
        kylin-vr network attach 52:54:84:11:00:04 192.168.101.254/24\n  \
        kylin-vr network attach 52:54:84:00:08:45 10.90.3.37/24 via 10.90.3.1      (the external one)\n  \
        kylin-vr network attach vxlan 100 172.20.1.1/24 peers 10.90.4.11,10.90.4.12      (an overlay subnet)\n  \
        kylin-vr network attach - <networks.txt        (one a line)\n\n\
        Behind an overlay subnet: peers, local, port and gateway-mac, as in the file.\n\
        The NIC need not be there yet: it is set up when it comes. What is there already is no error.")]
    Attach {
        /// Hardware address, and the router's address with its subnet's prefix, each; `via GATEWAY` makes it the external
        /// one; `vxlan VNI` in place of the hardware address: an overlay subnet; or - for one a line of standard input
        #[arg(value_name = "MAC|vxlan VNI ADDRESS/PREFIX [via GATEWAY]", required = true)]
        networks: Vec<String>,
        #[command(flatten)]
        options: Options,
    },
    /// Take NICs and overlay subnets out of the file: NICs lose their addresses, overlays go
    #[command(after_help = "Examples:\n  \
        kylin-vr network detach 52:54:84:11:00:04\n  \
        kylin-vr network detach 192.168.101.0/24\n  \
        kylin-vr network detach vxlan 100\n\n\
        What stands at the entry (vm_list, dhcp) goes with it. Elastic IPs and forwards of VMs in the subnet stay in the \
        file, and are warned of.")]
    Detach {
        /// A NIC's hardware address, `vxlan` and the number of an overlay subnet, the router's address, or the subnet; or -
        /// for one a line of standard input
        #[arg(value_name = "MAC|vxlan VNI|ADDRESS|SUBNET", required = true)]
        networks: Vec<String>,
        #[command(flatten)]
        removal: Removal,
    },
    /// List the file's NICs, overlays and subnets
    List,
}

pub(super) fn run(context: &Context, command: &Command) -> ExitCode {
    match command {
        Command::Attach { networks, options } => super::run(context, "network attach", options, |config| {
            attach(config, read(networks)?)
        }),
        Command::Detach { networks, removal } => {
            super::run(context, "network detach", &removal.options, |config| {
                detach(config, &names(&words::read(networks)?)?, removal.if_exists)
            })
        }
        Command::List => {
            let heading = ["MAC", "ADDRESS", "GATEWAY", "SIDE", "VXLAN", "LINE"];
            list::run(context, "network list", Config::interfaces, &heading, |one| {
                let side = if one.gateway.is_some() {
                    "outside"
                } else {
                    "inside"
                };
                vec![
                    one.mac.to_string(),
                    one.address.to_string(),
                    one.gateway
                        .map_or_else(|| "-".to_owned(), |gateway| gateway.to_string()),
                    side.to_owned(),
                    (one.vxlan.as_ref()).map_or_else(|| "-".to_owned(), |vxlan| vxlan.vni.to_string()),
                    one.place.line.to_string(),
                ]
            })
        }
    }
}

fn read(words: &[String]) -> Result<Vec<Interface>, Refusal> {
    let expected = "MAC ADDRESS/PREFIX [via GATEWAY], as in 52:54:84:11:00:04 192.168.101.254/24";
    let mut interfaces = Vec::new();
    for line in words::read(words)? {
        let mut words = line.iter().map(String::as_str).peekable();
        while let Some(mac) = words.next() {
            if mac == overlay::WORD {
                interfaces.push(overlay::read(&mut words)?);
                continue;
            }
            let mac = mac
                .parse::<MacAddr>()
                .map_err(|error| Refusal::usage(format!("`{mac}`: expected {error}")))?;
            let address = words
                .next()
                .ok_or_else(|| Refusal::usage(format!("`{mac}`: expected {expected}")))?;
            let address: Ipv4Net =
                words::value(address, "an address with its prefix, as in 192.168.101.254/24")?;
            let gateway = match words.next_if_eq(&"via") {
                Some(_) => Some(words::address(words.next().unwrap_or("via"))?),
                None => None,
            };
            interfaces.push(Interface {
                address,
                mac,
                gateway,
                vxlan: None,
                vms: [].into(),
                dhcp: None,
                place: Place::default(),
            });
        }
    }
    Ok(interfaces)
}

fn described(one: &Interface) -> String {
    if let Some(vxlan) = &one.vxlan {
        return overlay::described(one, vxlan);
    }
    let via = one
        .gateway
        .map(|gateway| format!(" via {gateway}"))
        .unwrap_or_default();
    format!("{} {}{via}", one.mac, one.address)
}

fn attach(config: &Config, interfaces: Vec<Interface>) -> Result<Change, Refusal> {
    let (mut new, mut notes, mut added) = (Vec::new(), Vec::new(), Vec::new());
    for one in interfaces {
        let name = Name::of(&one);
        let there = config
            .interfaces()
            .iter()
            .enumerate()
            .find(|(_, other)| name.is_of(other));
        if let Some((index, other)) = there {
            let place = at(LIST, index, other.place);
            let is_same_overlay = match (&one.vxlan, &other.vxlan) {
                (Some(one), Some(other)) => overlay::are_same(config, one, other),
                _ => true,
            };
            if (other.address, other.gateway) != (one.address, one.gateway) || !is_same_overlay {
                return Err(Refusal::conflict(format!(
                    "{name} is attached already, as {} ({place}): `kylin-vr network detach {name}` first",
                    described(other),
                )));
            }
            notes.push(format!("{} is attached already ({place})", described(&one)));
        } else {
            added.push(described(&one));
            new.push(Entry::Interface(one));
        }
    }
    notes.extend(named("attached", &added));
    Ok(Change {
        edit: (!new.is_empty()).then_some(Edit::Add(LIST, new)),
        notes,
    })
}

fn detach(config: &Config, names: &[Name], if_exists: bool) -> Result<Change, Refusal> {
    let mut gone = std::collections::BTreeSet::new();
    let (mut notes, mut detached) = (Vec::new(), Vec::new());
    for name in names {
        match config.interfaces().iter().position(|one| name.is_of(one)) {
            Some(index) => {
                if gone.insert(index) {
                    detached.push(described(&config.interfaces()[index]));
                }
            }
            None if if_exists => notes.push(format!("{name} is not in if_list")),
            None => {
                return Err(Refusal::usage(format!(
                    "{name} is not in if_list (see `kylin-vr network list`)"
                )));
            }
        }
    }
    notes.extend(named("detached", &detached));
    Ok(Change {
        edit: (!gone.is_empty()).then_some(Edit::Remove(LIST, gone)),
        notes,
    })
}

/// What names an entry.
enum Name {
    /// A NIC: overlays may have one hardware address, all of them.
    Mac(MacAddr),
    Vni(u32),
    Subnet(Ipv4Net),
    Address(Ipv4Addr),
}

fn names(words: &[Vec<String>]) -> Result<Vec<Name>, Refusal> {
    let mut names = Vec::new();
    let mut words = words.iter().flatten().map(String::as_str);
    while let Some(word) = words.next() {
        names.push(if word == overlay::WORD {
            Name::Vni(overlay::number(words.next())?.vni)
        } else {
            Name::read(word)?
        });
    }
    Ok(names)
}

impl Name {
    /// That by which no two can be attached.
    fn of(one: &Interface) -> Self {
        one.vxlan
            .as_ref()
            .map_or(Self::Mac(one.mac), |vxlan| Self::Vni(vxlan.vni))
    }

    fn read(word: &str) -> Result<Self, Refusal> {
        if let Ok(mac) = word.parse() {
            return Ok(Self::Mac(mac));
        }
        if let Ok(net) = word.parse() {
            return Ok(Self::Subnet(net));
        }
        words::value(word, "a hardware address, an address or a subnet").map(Self::Address)
    }

    fn is_of(&self, one: &Interface) -> bool {
        match self {
            Self::Mac(mac) => one.vxlan.is_none() && one.mac == *mac,
            Self::Vni(vni) => one.vxlan.as_ref().is_some_and(|vxlan| vxlan.vni == *vni),
            Self::Subnet(net) => one.address == *net || one.address.trunc() == *net,
            Self::Address(address) => one.address.addr() == *address,
        }
    }
}

impl Display for Name {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Mac(mac) => mac.fmt(f),
            Self::Vni(vni) => write!(f, "{} {vni}", overlay::WORD),
            Self::Subnet(net) => net.fmt(f),
            Self::Address(address) => address.fmt(f),
        }
    }
}
