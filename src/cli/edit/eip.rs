//! `kylin-vr eip`: elastic IPs come, go and are listed.

use std::net::Ipv4Addr;
use std::process::ExitCode;

use clap::Subcommand;

use super::{Change, Context, Options, Refusal, Removal, at, list, named, words};
use crate::config::edit::{Edit, Entry, List};
use crate::config::{Config, Eip, Place};

const LIST: List = List::Eips;

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum Command {
    /// Give external addresses to VMs, one each
    #[command(after_help = "Examples:\n  \
        kylin-vr eip add 10.90.2.250 192.168.100.190\n  \
        kylin-vr eip add 10.90.2.250=192.168.100.190 10.90.2.251=192.168.100.191\n  \
        kylin-vr eip add - <pairs.txt        (a pair a line)\n\n\
        What is there already is no error, so that it can be tried again. One that another VM has must be deleted first.")]
    Add {
        /// An elastic IP and its VM's address; or EIP=VM-IP, as many as you like; or - for a pair a line of standard input
        #[arg(value_name = "EIP VM-IP", required = true)]
        pairs: Vec<String>,
        #[command(flatten)]
        options: Options,
    },
    /// Take external addresses away from VMs
    #[command(
        visible_alias = "delete",
        after_help = "Examples:\n  \
        kylin-vr eip del 10.90.2.250\n  \
        kylin-vr eip del --if-exists 10.90.2.250 10.90.2.251"
    )]
    Del {
        /// Elastic IPs; or - for one a line of standard input
        #[arg(value_name = "EIP", required = true)]
        eips: Vec<String>,
        #[command(flatten)]
        removal: Removal,
    },
    /// List the file's elastic IPs
    List,
}

pub(super) fn run(context: &Context, command: &Command) -> ExitCode {
    match command {
        Command::Add { pairs, options } => {
            super::run(context, "eip add", options, |config| add(config, &read(pairs)?))
        }
        Command::Del { eips, removal } => super::run(context, "eip del", &removal.options, |config| {
            let eips = words::read(eips)?.concat();
            let eips: Result<Vec<Ipv4Addr>, Refusal> = eips.iter().map(|word| words::address(word)).collect();
            del(config, &eips?, removal.if_exists)
        }),
        Command::List => list::run(
            context,
            "eip list",
            Config::eips,
            &["EIP", "VM-IP", "LINE"],
            |eip| {
                vec![
                    eip.eip.to_string(),
                    eip.vm.to_string(),
                    eip.place.line.to_string(),
                ]
            },
        ),
    }
}

/// Pairs, with `=` between or as two words.
fn read(words: &[String]) -> Result<Vec<Eip>, Refusal> {
    let split = |line: Vec<String>| -> Vec<String> {
        line.iter()
            .flat_map(|word| word.split('='))
            .map(ToOwned::to_owned)
            .collect()
    };
    let lines: Vec<Vec<String>> = words::read(words)?.into_iter().map(split).collect();
    let pairs = words::groups::<2>(
        &lines,
        "an elastic IP and its VM's address, as in 10.90.2.250 192.168.100.190",
    )?;
    let eip = |[eip, vm]: &[String; 2]| {
        Ok(Eip {
            eip: words::address(eip)?,
            vm: words::address(vm)?,
            place: Place::default(),
        })
    };
    pairs.iter().map(eip).collect()
}

fn add(config: &Config, eips: &[Eip]) -> Result<Change, Refusal> {
    let (mut new, mut notes, mut added) = (Vec::new(), Vec::new(), Vec::new());
    for one in eips {
        let there = config
            .eips()
            .iter()
            .enumerate()
            .find(|(_, other)| other.eip == one.eip);
        match there {
            None => {
                added.push(format!("{} to {}", one.eip, one.vm));
                new.push(Entry::Eip(one.clone()));
            }
            Some((index, other)) => {
                let there = format!(
                    "{} is {}'s already ({})",
                    one.eip,
                    other.vm,
                    at(LIST, index, other.place)
                );
                if other.vm != one.vm {
                    return Err(Refusal::conflict(format!(
                        "{there}: `kylin-vr eip del {}` first",
                        one.eip
                    )));
                }
                notes.push(there);
            }
        }
    }
    notes.extend(named("added", &added));
    Ok(Change {
        edit: (!new.is_empty()).then_some(Edit::Add(LIST, new)),
        notes,
    })
}

fn del(config: &Config, eips: &[Ipv4Addr], if_exists: bool) -> Result<Change, Refusal> {
    let mut gone = std::collections::BTreeSet::new();
    let (mut notes, mut deleted) = (Vec::new(), Vec::new());
    for eip in eips {
        match config.eips().iter().position(|one| one.eip == *eip) {
            Some(index) => {
                if gone.insert(index) {
                    deleted.push(format!("{eip} from {}", config.eips()[index].vm));
                }
            }
            None if if_exists => notes.push(format!("{eip} is not in eip_list")),
            None => {
                let forward = config.forwards().iter().any(|forward| forward.eip == *eip);
                let hint = if forward {
                    " (it is forwarded: see `kylin-vr forward list`)"
                } else {
                    ""
                };
                return Err(Refusal::usage(format!("{eip} is not in eip_list{hint}")));
            }
        }
    }
    notes.extend(named("deleted", &deleted));
    Ok(Change {
        edit: (!gone.is_empty()).then_some(Edit::Remove(LIST, gone)),
        notes,
    })
}
