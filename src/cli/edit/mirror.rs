//! `kylin-vr mirror`: mirrors come, go and are listed.

use std::borrow::Cow;
use std::process::ExitCode;

use clap::builder::PossibleValuesParser;
use clap::{Args, Subcommand};

use super::{Change, Context, Options, Refusal, Removal, at, list, named, words};
use crate::config::edit::{Edit, Entry, List, Value};
use crate::config::{Config, Mirror, Place, Problem};

const LIST: List = List::Mirrors;

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum Command {
    /// Copy packets of VMs, subnets or NICs to analysers
    #[command(after_help = "Examples:\n  \
        kylin-vr mirror add ids-1 --source vm-ip=192.168.100.190 --to nic=52:54:84:22:00:01\n  \
        kylin-vr mirror add web --source subnet=192.168.100.0/24 --select dst --filter protocol=tcp,port=443 \\\n      \
        --to gre=172.19.0.21,key=99 --to vlan=52:54:84:22:00:02,id=51\n  \
        kylin-vr mirror add all --source all --to erspan=172.19.0.22,index=7,version=2 --snaplen 142\n\n\
        What is there already is no error, so that it can be tried again. One that differs must be deleted first. Keys and \
        values are those of mirror_list.")]
    Add(Addition),
    /// Copy them no longer
    #[command(
        visible_alias = "delete",
        after_help = "Examples:\n  \
        kylin-vr mirror del ids-1\n  \
        kylin-vr mirror del --if-exists ids-1 web"
    )]
    Del {
        /// What the mirrors are called; or - for one a line of standard input
        #[arg(value_name = "NAME", required = true)]
        names: Vec<String>,
        #[command(flatten)]
        removal: Removal,
    },
    /// List the file's mirrors
    List,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct Addition {
    /// What the mirror is called: 1 to 16 letters, digits, dots, hyphens and underscores
    #[arg(value_name = "NAME")]
    name: String,
    /// Whose packets: mac=NIC of the router, subnet=NETWORK, vm-ip=ADDRESS, or all
    #[arg(long, value_name = "KIND=VALUE", required = true)]
    source: String,
    /// Those that it sends (src), that it is sent (dst), or both
    #[arg(long, value_parser = PossibleValuesParser::new(["both", "src", "dst", "from-lport", "to-lport"]))]
    select: Option<String>,
    /// Which of them: protocol=tcp, udp or icmp; port=PORT; cidr=NETWORK; with commas between
    #[arg(long, value_name = "KEY=VALUE,…")]
    filter: Vec<String>,
    /// Where copies go: nic=MAC, gre=ADDRESS[,key=N], erspan=ADDRESS,index=N[,session=N][,version=2] or
    /// vlan=MAC,id=N; as often as there are targets
    #[arg(long, value_name = "KIND=WHERE,…", required = true)]
    to: Vec<String>,
    /// Bytes kept of each packet, for erspan targets
    #[arg(long, value_name = "BYTES")]
    snaplen: Option<String>,
    /// One packet in so many, by chance
    #[arg(long, value_name = "N")]
    sample: Option<String>,
    #[command(flatten)]
    options: Options,
}

pub(super) fn run(context: &Context, command: &Command) -> ExitCode {
    match command {
        Command::Add(addition) => super::run(context, "mirror add", &addition.options, |config| {
            add(config, read(addition)?)
        }),
        Command::Del { names, removal } => super::run(context, "mirror del", &removal.options, |config| {
            del(config, &words::read(names)?.concat(), removal.if_exists)
        }),
        Command::List => {
            let heading = ["NAME", "SOURCE", "SELECT", "FILTER", "TO", "LINE"];
            list::run(context, "mirror list", Config::mirrors, &heading, |one| {
                vec![
                    one.name.to_string(),
                    one.source.to_string(),
                    one.select.to_string(),
                    one.which(),
                    one.targets(),
                    one.place.line.to_string(),
                ]
            })
        }
    }
}

/// The arguments as the mapping that stands for them in a file, and what the file's own reader makes of that: so both say
/// the same of what is wrong.
fn read(addition: &Addition) -> Result<Mirror, Refusal> {
    let Addition {
        name,
        source,
        select,
        filter,
        to,
        snaplen,
        sample,
        options: _,
    } = addition;
    let mut entry: Vec<(Cow<'static, str>, Value)> = vec![
        ("name".into(), Value::text(name)),
        ("source".into(), read_source(source)?),
    ];
    entry.extend(select.iter().map(|select| ("select".into(), Value::text(select))));
    if !filter.is_empty() {
        entry.push(("filter".into(), Value::Map(pairs("--filter", &filter.join(","))?)));
    }
    let to: Result<Vec<Value>, Refusal> = to.iter().map(|target| read_target(target)).collect();
    entry.push(("to".into(), Value::List(to?)));
    let numbers = [("snaplen", snaplen), ("sample", sample)];
    let numbers = numbers
        .iter()
        .filter_map(|(key, number)| number.as_ref().map(|number| (*key, number)));
    entry.extend(numbers.map(|(key, number)| (key.into(), Value::text(number))));
    Mirror::of(&Value::Map(entry)).map_err(|problems| {
        let problems: Vec<String> = problems.iter().map(Problem::to_string).collect();
        Refusal::usage(problems.join("; "))
    })
}

fn read_source(word: &str) -> Result<Value, Refusal> {
    if word == "all" {
        return Ok(Value::pair("all", Value::True));
    }
    let (kind, value) = word.split_once('=').ok_or_else(|| {
        Refusal::usage(format!(
            "`--source {word}`: expected mac=…, subnet=…, vm-ip=… or all, as in vm-ip=192.168.100.190"
        ))
    })?;
    Ok(Value::pair(kind.to_owned(), Value::text(value)))
}

/// `gre=172.19.0.21,key=99`: the kind's first key goes without saying.
fn read_target(word: &str) -> Result<Value, Refusal> {
    let (first, rest) = word.split_once(',').unwrap_or((word, ""));
    let (kind, place) = first.split_once('=').ok_or_else(|| {
        Refusal::usage(format!(
            "`--to {word}`: expected nic=…, gre=…, erspan=… or vlan=…, as in gre=172.19.0.21,key=99"
        ))
    })?;
    let key = if matches!(kind, "gre" | "erspan") {
        "remote"
    } else {
        "mac"
    };
    let mut target: Vec<(Cow<'static, str>, Value)> = vec![(key.into(), Value::text(place))];
    if !rest.is_empty() {
        target.extend(pairs("--to", rest)?);
    }
    Ok(Value::pair(kind.to_owned(), Value::Map(target)))
}

/// `key=value` with commas between.
fn pairs(option: &str, words: &str) -> Result<Vec<(Cow<'static, str>, Value)>, Refusal> {
    let pair = |word: &str| match word.split_once('=') {
        Some((key, value)) => Ok((Cow::Owned(key.to_owned()), Value::text(value))),
        None => Err(Refusal::usage(format!(
            "`{option} … {word}`: expected KEY=VALUE, with commas between"
        ))),
    };
    words.split(',').map(pair).collect()
}

fn add(config: &Config, mirror: Mirror) -> Result<Change, Refusal> {
    let mut there = config.mirrors().iter().enumerate();
    if let Some((index, other)) = there.find(|(_, other)| other.name == mirror.name) {
        let place = at(LIST, index, other.place);
        let is_same = Mirror {
            place: Place::default(),
            ..other.clone()
        } == mirror;
        if !is_same {
            return Err(Refusal::conflict(format!(
                "{} is there already, as {other} ({place}): `kylin-vr mirror del {}` first",
                mirror.name, mirror.name
            )));
        }
        return Ok(Change {
            edit: None,
            notes: vec![format!("{mirror} is there already ({place})")],
        });
    }
    Ok(Change {
        notes: named("added", &[mirror.to_string()]),
        edit: Some(Edit::Add(LIST, vec![Entry::Mirror(mirror)])),
    })
}

fn del(config: &Config, names: &[String], if_exists: bool) -> Result<Change, Refusal> {
    let mut gone = std::collections::BTreeSet::new();
    let (mut notes, mut deleted) = (Vec::new(), Vec::new());
    for name in names {
        match config.mirrors().iter().position(|one| *one.name == **name) {
            Some(index) => {
                if gone.insert(index) {
                    deleted.push(config.mirrors()[index].to_string());
                }
            }
            None if if_exists => notes.push(format!("{name} is not in mirror_list")),
            None => {
                return Err(Refusal::usage(format!(
                    "{name} is not in mirror_list (see `kylin-vr mirror list`)"
                )));
            }
        }
    }
    notes.extend(named("deleted", &deleted));
    Ok(Change {
        edit: (!gone.is_empty()).then_some(Edit::Remove(LIST, gone)),
        notes,
    })
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        addition: Addition,
    }

    fn mirror(line: &str) -> Result<Mirror, String> {
        let line = Line::try_parse_from(["add"].into_iter().chain(line.split(' ')))
            .map_err(|error| error.to_string())?;
        read(&line.addition).map_err(|refusal| refusal.message)
    }

    #[test]
    fn words_are_what_the_file_would_say() {
        let of = |text: &str| {
            let text = format!(
                "if_list: [{{ipaddr: 192.168.100.254, prefix: 24, mac: 52:54:84:11:00:03}}]\nmirror_list: [{text}]"
            );
            let config = Config::parse(text.as_bytes()).config.unwrap().without_places();
            config.mirrors()[0].clone()
        };
        for (line, text) in [
            (
                "ids-1 --source mac=52:54:84:11:00:03 --to nic=52:54:84:22:00:01",
                "{name: ids-1, source: {mac: 52:54:84:11:00:03}, to: [{nic: {mac: 52:54:84:22:00:01}}]}",
            ),
            (
                "a --source vm-ip=192.168.100.1 --select from-lport --filter protocol=TCP,port=443 --filter cidr=10.0.0.1 \
                 --to gre=172.19.0.21,key=99 --to vlan=52:54:84:22:00:01,id=51 --sample 10",
                "{name: a, source: {vm-ip: 192.168.100.1}, select: src, filter: {protocol: tcp, port: 443, cidr: \
                 10.0.0.1/32}, to: [{gre: {remote: 172.19.0.21, key: 99}}, {vlan: {mac: 52:54:84:22:00:01, id: 51}}], \
                 sample: 10}",
            ),
            (
                "a --source all --to erspan=172.19.0.21,index=9,version=2 --snaplen 142",
                "{name: a, source: {all: true}, to: [{erspan: {remote: 172.19.0.21, index: 9, version: 2}}], snaplen: 142}",
            ),
        ] {
            assert_eq!(mirror(line), Ok(of(text)), "{line}");
        }
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (line, said) in [
            ("a --source all", "required arguments were not provided"),
            ("a --source all --select up --to nic=2", "invalid value 'up'"),
            (
                "a --source 192.168.100.1 --to nic=52:54:84:22:00:01",
                "`--source 192.168.100.1`: expected mac=…, subnet=…, vm-ip=… or all",
            ),
            (
                "a --source vmip=192.168.100.1 --to nic=52:54:84:22:00:01",
                "source.vmip: unknown key; did you mean vm-ip?",
            ),
            (
                "a --source all --to 52:54:84:22:00:01",
                "`--to 52:54:84:22:00:01`: expected nic=…, gre=…, erspan=… or vlan=…",
            ),
            (
                "a --source all --to gre=172.19.0.21,99",
                "`--to … 99`: expected KEY=VALUE, with commas between",
            ),
            (
                "a --source all --to gre=172.19.0.21,id=99",
                "to[0].gre.id: unknown key",
            ),
            (
                "a --source all --to nic=52:54:84:22:00:01 --to vlan=52:54:84:22:00:01",
                "to[1].vlan.id: missing: expected the number of a VLAN",
            ),
            (
                "a --source all --to gre=172.19.0.21 --filter port=80",
                "filter.port: 80: expected `protocol: tcp` or",
            ),
            (
                "a --source all --to gre=172.19.0.21 --sample 0",
                "sample: 0: expected one packet in how many",
            ),
            (
                "a --source all --to gre=172.19.0.21 --snaplen 100",
                "snaplen: 100: the kernel cuts only what ERSPAN carries",
            ),
        ] {
            let error = mirror(line).unwrap_err();
            assert!(error.contains(said), "{line}: {error}");
        }
    }
}
