//! Mirrors, each with what the kernel has of it and what it copied to each of its targets. Pure.

use serde::Serialize;

use super::changed::Changed;
use super::entries::State;
use crate::config::{Config, Mirror, MirrorTarget};
use crate::features::mirror;
use crate::model::{Copied, Desired, LinkIndex, Observed};
use crate::plan::{Operation, Plan};

#[derive(Debug, Serialize)]
pub(in crate::cli) struct MirrorStatus {
    pub(in crate::cli) path: String,
    pub(in crate::cli) name: String,
    pub(in crate::cli) source: String,
    pub(in crate::cli) select: String,
    pub(in crate::cli) filter: String,
    pub(in crate::cli) targets: Vec<TargetStatus>,
    pub(in crate::cli) state: State,
    /// What copies do not fit through.
    pub(in crate::cli) notes: Vec<String>,
    /// `None`: no configuration that is kept has it.
    pub(in crate::cli) changed: Option<Changed>,
}

#[derive(Debug, Serialize)]
pub(in crate::cli) struct TargetStatus {
    pub(in crate::cli) to: String,
    /// The link that copies leave by; `None`: it is not there.
    pub(in crate::cli) link: Option<String>,
    /// How many packets were copied, since the kernel began to.
    pub(in crate::cli) packets: u64,
    pub(in crate::cli) bytes: u64,
    /// How many of these the link could not take.
    pub(in crate::cli) lost: u64,
}

pub(super) fn mirrors(
    config: &Config,
    desired: &Desired,
    observed: &Observed,
    plan: &Plan,
    copied: &[Copied<LinkIndex>],
) -> Vec<MirrorStatus> {
    let status = |(index, entry): (usize, &Mirror)| {
        let path = format!("mirror_list[{index}]");
        let wanted = desired.mirrors.get(&*entry.name);
        let is_of_it =
            |one: &str| one == path || one.strip_prefix(&path).is_some_and(|rest| rest.starts_with('.'));
        let waits = plan.pending.iter().any(|one| is_of_it(&one.path));
        let is_to_do = plan.operations.iter().any(|operation| match operation {
            Operation::DeleteHook { hook, .. } => *hook.mirror == *entry.name,
            other => desired
                .mirrors_of(other.of_mirrors(), observed)
                .iter()
                .any(|name| **name == *entry.name),
        });
        let target = |target: &MirrorTarget| {
            let link = observed.find(mirror::link_of(target, entry)).ok();
            let mut status = TargetStatus {
                to: target.to_string(),
                link: link.map(|link| link.name.to_string()),
                packets: 0,
                bytes: 0,
                lost: 0,
            };
            let is_to_it = |one: &&Copied<LinkIndex>| {
                *one.mirror == *entry.name && link.is_some_and(|link| link.index == one.to)
            };
            for one in copied.iter().filter(is_to_it) {
                status.packets += one.packets;
                status.bytes += one.bytes;
                status.lost += one.lost;
            }
            status
        };
        MirrorStatus {
            name: entry.name.to_string(),
            source: entry.source.to_string(),
            select: entry.select.to_string(),
            filter: entry.which(),
            targets: entry.to.iter().map(target).collect(),
            state: if waits {
                State::Pending
            } else if is_to_do || wanted.is_none() {
                State::Missing
            } else {
                State::Ok
            },
            notes: wanted
                .iter()
                .flat_map(|wanted| &wanted.fits)
                .filter_map(|fit| fit.misfit(observed))
                .collect(),
            changed: None,
            path,
        }
    };
    config.mirrors().iter().enumerate().map(status).collect()
}
