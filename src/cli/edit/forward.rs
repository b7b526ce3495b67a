//! `kylin-vr forward`: forwarded ports come, go and are listed.

use std::net::Ipv4Addr;
use std::process::ExitCode;

use clap::Subcommand;

use super::{Change, Context, Options, Refusal, Removal, at, list, named, words};
use crate::config::edit::{Edit, Entry, List};
use crate::config::{Config, Forward, Place, Protocol};

const LIST: List = List::Forwards;

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum Command {
    /// Forward ports of an external address to a VM
    #[command(after_help = "Examples:\n  \
        kylin-vr forward add 10.90.2.254 tcp 8080 192.168.100.190 80\n  \
        kylin-vr forward add 10.90.2.254 tcp 80-82 192.168.100.190 8080      (80 to 8080, 81 to 8081, 82 to 8082)\n  \
        kylin-vr forward add - <forwards.txt        (one a line)\n\n\
        What is there already is no error, so that it can be tried again.")]
    Add {
        /// Five words each: external address, tcp or udp, port or range, the VM's address, its (first) port; or - for
        /// one a line of standard input
        #[arg(value_name = "EIP PROTOCOL PORT[-END] VM-IP VM-PORT", required = true)]
        forwards: Vec<String>,
        #[command(flatten)]
        options: Options,
    },
    /// Forward ports no longer
    #[command(
        visible_alias = "delete",
        after_help = "Examples:\n  \
        kylin-vr forward del 10.90.2.254 tcp 8080\n  \
        kylin-vr forward del 10.90.2.254 tcp 80-82 10.90.2.254 udp 53\n\n\
        A range goes as a whole, named as `kylin-vr forward list` shows it."
    )]
    Del {
        /// Three words each: external address, tcp or udp, port or range; or - for one a line of standard input
        #[arg(value_name = "EIP PROTOCOL PORT[-END]", required = true)]
        forwards: Vec<String>,
        #[command(flatten)]
        removal: Removal,
    },
    /// List the file's forwards
    List,
}

pub(super) fn run(context: &Context, command: &Command) -> ExitCode {
    match command {
        Command::Add { forwards, options } => super::run(context, "forward add", options, |config| {
            Ok(add(config, read(forwards)?))
        }),
        Command::Del { forwards, removal } => {
            super::run(context, "forward del", &removal.options, |config| {
                del(config, &read_ports(forwards)?, removal.if_exists)
            })
        }
        Command::List => {
            let heading = ["EIP", "PROTOCOL", "PORT", "VM-IP", "VM-PORT", "LINE"];
            list::run(context, "forward list", Config::forwards, &heading, |one| {
                vec![
                    one.eip.to_string(),
                    one.protocol.to_string(),
                    range(one.port, one.end_port),
                    one.vm.to_string(),
                    range(one.vm_port, one.vm_end_port()),
                    one.place.line.to_string(),
                ]
            })
        }
    }
}

fn range(first: u16, last: u16) -> String {
    if first == last {
        first.to_string()
    } else {
        format!("{first}-{last}")
    }
}

fn described(one: &Forward) -> String {
    let ports = range(one.port, one.end_port);
    format!(
        "{} {} {ports} to {} {}",
        one.eip,
        one.protocol,
        one.vm,
        range(one.vm_port, one.vm_end_port())
    )
}

fn protocol(word: &str) -> Result<Protocol, Refusal> {
    match word.to_ascii_lowercase().as_str() {
        "tcp" => Ok(Protocol::Tcp),
        "udp" => Ok(Protocol::Udp),
        _ => Err(Refusal::usage(format!("`{word}`: expected tcp or udp"))),
    }
}

fn read(words: &[String]) -> Result<Vec<Forward>, Refusal> {
    let expected = "EIP PROTOCOL PORT[-END] VM-IP VM-PORT, as in 10.90.2.254 tcp 80-82 192.168.100.190 8080";
    let groups = words::groups::<5>(&words::read(words)?, expected)?;
    let forward = |[eip, transport, outside, vm, inside]: &[String; 5]| {
        let (port, end_port) = words::ports(outside)?;
        let (vm_port, vm_end_port) = words::ports(inside)?;
        let most = u32::from(vm_port) + u32::from(end_port - port);
        if most > u32::from(u16::MAX) {
            return Err(Refusal::usage(format!(
                "`{outside} … {inside}`: runs past 65535 on the VM"
            )));
        }
        if inside.contains('-') && u32::from(vm_end_port) != most {
            return Err(Refusal::usage(format!(
                "`{outside} … {inside}`: expected as many ports on the VM as outside"
            )));
        }
        Ok(Forward {
            eip: words::address(eip)?,
            protocol: protocol(transport)?,
            port,
            end_port,
            vm: words::address(vm)?,
            vm_port,
            place: Place::default(),
        })
    };
    groups.iter().map(forward).collect()
}

/// What one is told by: address, protocol, and ports outside.
type Ports = (Ipv4Addr, Protocol, u16, u16);

fn read_ports(words: &[String]) -> Result<Vec<Ports>, Refusal> {
    let expected = "EIP PROTOCOL PORT[-END], as in 10.90.2.254 tcp 80-82";
    let groups = words::groups::<3>(&words::read(words)?, expected)?;
    let ports = |[eip, transport, outside]: &[String; 3]| {
        let (port, end_port) = words::ports(outside)?;
        Ok((words::address(eip)?, protocol(transport)?, port, end_port))
    };
    groups.iter().map(ports).collect()
}

fn add(config: &Config, forwards: Vec<Forward>) -> Change {
    let (mut new, mut notes, mut added) = (Vec::new(), Vec::new(), Vec::new());
    for one in forwards {
        let there = |other: &Forward| {
            Forward {
                place: Place::default(),
                ..other.clone()
            } == one
        };
        if let Some(index) = config.forwards().iter().position(there) {
            let place = at(LIST, index, config.forwards()[index].place);
            notes.push(format!("{} is there already ({place})", described(&one)));
        } else {
            added.push(described(&one));
            new.push(Entry::Forward(one));
        }
    }
    notes.extend(named("added", &added));
    Change {
        edit: (!new.is_empty()).then_some(Edit::Add(LIST, new)),
        notes,
    }
}

fn del(config: &Config, ports: &[Ports], if_exists: bool) -> Result<Change, Refusal> {
    let mut gone = std::collections::BTreeSet::new();
    let (mut notes, mut deleted) = (Vec::new(), Vec::new());
    for &(eip, protocol, port, end_port) in ports {
        let mut same = config
            .forwards()
            .iter()
            .enumerate()
            .filter(|(_, one)| (one.eip, one.protocol) == (eip, protocol));
        let exactly = same
            .clone()
            .find(|(_, one)| (one.port, one.end_port) == (port, end_port));
        if let Some((index, one)) = exactly {
            if gone.insert(index) {
                deleted.push(described(one));
            }
            continue;
        }
        let missing = format!("no forward of {protocol} {} on {eip}", range(port, end_port));
        match same.find(|(_, one)| one.port <= end_port && port <= one.end_port) {
            // Not even with --if-exists: something of it is there, and would stay.
            Some((index, one)) => {
                let whole = range(one.port, one.end_port);
                let message = format!(
                    "{missing}: {} forwards {whole}, and goes as a whole",
                    at(LIST, index, one.place)
                );
                return Err(Refusal::usage(message));
            }
            None if if_exists => notes.push(missing),
            None => return Err(Refusal::usage(missing)),
        }
    }
    notes.extend(named("deleted", &deleted));
    Ok(Change {
        edit: (!gone.is_empty()).then_some(Edit::Remove(LIST, gone)),
        notes,
    })
}
