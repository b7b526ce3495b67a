//! What copies packets: filters of classic BPF (cls_bpf) with the action mirred, at a clsact qdisc.
//!
//! Classic BPF is in the kernel since Linux 3.13 and needs no right but CAP_NET_ADMIN, its program is told as it was given, so that
//! it can be compared byte for byte, and it says in one step what flower would need several filters for. Ours have a
//! priority of their own and end with `continue`: whatever filters others have there come to their turn.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use netlink_packet_core::{DefaultNla, NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::tc::{TcAttribute, TcHandle, TcMessage};
use nix::libc;

use super::Error;
use super::dump::Dump;
use crate::kernel::netfilter::message::{Attributes, attributes};
use crate::model::{Classifier, Copied, Direction, Hook, Instruction, LinkIndex};
use crate::owned::FILTER_PRIORITY;
use crate::plan::LinkRef;

/// `TC_H_CLSACT`, linux/pkt_sched.h: where a clsact or an ingress qdisc is; its filters are at the two numbers behind it.
const CLSACT: u32 = 0xffff_fff1;
const INGRESS: u32 = 0xffff_fff2;
const EGRESS: u32 = 0xffff_fff3;
/// Its own number.
const CLSACT_HANDLE: u32 = 0xffff_0000;
/// `ETH_P_ALL`: filters see packets of every protocol.
const ETH_P_ALL: u16 = 3;
/// `TC_ACT_UNSPEC`: the packet goes on to the next filter; `TC_ACT_PIPE`: to the next action.
const CONTINUE: i32 = -1;
const PIPE: i32 = 3;
/// `TCA_EGRESS_MIRROR`, linux/tc_act/tc_mirred.h: a copy leaves by a link.
const MIRROR: i32 = 2;

// Attributes: linux/rtnetlink.h, linux/pkt_cls.h, linux/gen_stats.h, linux/tc_act/tc_mirred.h.
const TCA_KIND: u16 = 1;
const TCA_OPTIONS: u16 = 2;
const TCA_BPF_ACT: u16 = 1;
const TCA_BPF_OPS_LEN: u16 = 4;
const TCA_BPF_OPS: u16 = 5;
const TCA_ACT_KIND: u16 = 1;
const TCA_ACT_OPTIONS: u16 = 2;
const TCA_ACT_STATS: u16 = 4;
const TCA_ACT_COOKIE: u16 = 6;
const TCA_MIRRED_PARMS: u16 = 2;
const TCA_STATS_BASIC: u16 = 1;
const TCA_STATS_QUEUE: u16 = 3;
const TCA_STATS_PKT64: u16 = 8;
/// `struct tcmsg` behind its family: link, handle, parent, info.
const REST_OF_HEADER: usize = 16;
/// `struct tc_mirred`.
const MIRRED: usize = 28;
const NESTED: u16 = 0x8000;

fn message(link: LinkIndex, handle: u32, parent: u32, info: u32, kind: &str) -> TcMessage {
    let mut message = TcMessage::with_index(link.0 as i32);
    message.header.handle = TcHandle::from(handle);
    message.header.parent = TcHandle::from(parent);
    message.header.info = info;
    message.attributes.push(TcAttribute::Kind(kind.to_owned()));
    message
}

/// `tc qdisc add dev LINK clsact`, or `del`.
pub(super) fn classifier(link: &LinkRef, is_new: bool) -> (RouteNetlinkMessage, u16) {
    let message = message(link.index, CLSACT_HANDLE, CLSACT, 0, "clsact");
    if is_new {
        (
            RouteNetlinkMessage::NewQueueDiscipline(message),
            NLM_F_CREATE | NLM_F_EXCL,
        )
    } else {
        (RouteNetlinkMessage::DelQueueDiscipline(message), 0)
    }
}

fn filter(hook: &Hook<LinkIndex>) -> TcMessage {
    let parent = match hook.direction {
        Direction::Ingress => INGRESS,
        Direction::Egress => EGRESS,
    };
    let info = u32::from(FILTER_PRIORITY) << 16 | u32::from(ETH_P_ALL.to_be());
    message(hook.link, hook.handle, parent, info, "bpf")
}

/// `tc filter add dev LINK DIRECTION prio PRIORITY handle HANDLE bpf bytecode … action mirred egress mirror dev … continue`
pub(super) fn add(hook: &Hook<LinkIndex>) -> (RouteNetlinkMessage, u16) {
    let message = with_options(hook);
    (
        RouteNetlinkMessage::NewTrafficFilter(message),
        NLM_F_CREATE | NLM_F_EXCL,
    )
}

/// The same in the place of one that is there, between two packets.
pub(super) fn replace(hook: &Hook<LinkIndex>) -> (RouteNetlinkMessage, u16) {
    let message = with_options(hook);
    (
        RouteNetlinkMessage::NewTrafficFilter(message),
        NLM_F_CREATE | NLM_F_REPLACE,
    )
}

/// `tc filter del dev LINK DIRECTION prio PRIORITY handle HANDLE bpf`
pub(super) fn delete(hook: &Hook<LinkIndex>) -> (RouteNetlinkMessage, u16) {
    (RouteNetlinkMessage::DelTrafficFilter(filter(hook)), 0)
}

fn with_options(hook: &Hook<LinkIndex>) -> TcMessage {
    let mut options = Vec::new();
    let mut actions = Vec::new();
    for (index, to) in hook.to.iter().enumerate() {
        let is_last = index + 1 == hook.to.len();
        let control = if is_last { CONTINUE } else { PIPE };
        let mut mirred = Vec::with_capacity(MIRRED);
        // Index (one of its own), capabilities (unused), what follows, two counts that the kernel knows.
        for number in [0, 0, control, 0, 0, MIRROR] {
            mirred.extend(number.to_ne_bytes());
        }
        mirred.extend(to.0.to_ne_bytes());
        let mut inner = Vec::new();
        put(&mut inner, TCA_MIRRED_PARMS, &mirred);
        let mut action = Vec::new();
        put(&mut action, TCA_ACT_KIND, b"mirred\0");
        put(&mut action, TCA_ACT_OPTIONS | NESTED, &inner);
        put(&mut action, TCA_ACT_COOKIE, hook.mirror.as_bytes());
        put(&mut actions, (index as u16 + 1) | NESTED, &action);
    }
    put(&mut options, TCA_BPF_ACT | NESTED, &actions);
    let mut program = Vec::with_capacity(hook.program.len() * 8);
    for one in &hook.program {
        program.extend(one.code.to_ne_bytes());
        program.extend([one.jt, one.jf]);
        program.extend(one.k.to_ne_bytes());
    }
    put(
        &mut options,
        TCA_BPF_OPS_LEN,
        &(hook.program.len() as u16).to_ne_bytes(),
    );
    put(&mut options, TCA_BPF_OPS, &program);
    let mut message = filter(hook);
    let options = DefaultNla::new(TCA_OPTIONS | NESTED, options);
    message.attributes.push(TcAttribute::Other(options));
    message
}

fn put(bytes: &mut Vec<u8>, kind: u16, value: &[u8]) {
    bytes.extend(((4 + value.len()) as u16).to_ne_bytes());
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(value);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
}

/// What hooks there are, and what they are hung on.
#[derive(Debug, Default)]
pub(super) struct Seen {
    pub(super) classifiers: BTreeMap<LinkIndex, Classifier>,
    pub(super) hooks: Vec<Hook<LinkIndex>>,
    pub(super) copied: Vec<Copied<LinkIndex>>,
}

/// Looks at the qdiscs of all links, and at the filters of those that have any.
pub(super) fn observe(dump: &mut Dump) -> Result<Seen, Error> {
    let look = |dump: &mut Dump| -> io::Result<Seen> {
        let mut seen = Seen::default();
        let all = TcMessage::default();
        let request = RouteNetlinkMessage::GetQueueDiscipline(all);
        dump.each(request, libc::RTM_NEWQDISC, &mut |body| {
            seen.classifiers.extend(classifier_of(body));
        })?;
        let with_filters: Vec<LinkIndex> = (seen.classifiers.iter())
            .filter(|(_, one)| matches!(one, Classifier::Clsact { .. }))
            .map(|(link, _)| *link)
            .collect();
        let mut shared = BTreeSet::new();
        for link in with_filters {
            for (parent, direction) in [(INGRESS, Direction::Ingress), (EGRESS, Direction::Egress)] {
                let mut request = TcMessage::with_index(link.0 as i32);
                request.header.parent = TcHandle::from(parent);
                let request = RouteNetlinkMessage::GetTrafficFilter(request);
                let told = dump.each(request, libc::RTM_NEWTFILTER, &mut |body| match filter_of(
                    body, direction,
                ) {
                    Filter::Ours(hook, mut copied) => {
                        seen.hooks.push(hook);
                        seen.copied.append(&mut copied);
                    }
                    Filter::Foreign(link) => drop(shared.insert(link)),
                    Filter::None => {}
                });
                match told {
                    // A program of others that is larger than an answer may be: ours are not.
                    Err(error) if error.raw_os_error() == Some(libc::EMSGSIZE) => {
                        shared.insert(link);
                    }
                    told => told?,
                }
            }
        }
        for link in shared {
            if let Some(Classifier::Clsact { is_shared }) = seen.classifiers.get_mut(&link) {
                *is_shared = true;
            }
        }
        seen.hooks.sort();
        Ok(seen)
    };
    match look(dump) {
        // A kernel without queueing disciplines has no hooks either.
        Err(error) if error.raw_os_error() == Some(libc::EOPNOTSUPP) => Ok(Seen::default()),
        seen => seen.map_err(|source| Error::Read {
            what: "traffic control".to_owned(),
            source,
        }),
    }
}

/// A message behind its family: link, handle, parent, info, and the attributes.
fn header(body: &[u8]) -> Option<(LinkIndex, u32, u32, u32, &[u8])> {
    let (header, attributes) = body.get(4..)?.split_at_checked(REST_OF_HEADER)?;
    let number = |at: usize| Some(u32::from_ne_bytes(header.get(at..at + 4)?.try_into().ok()?));
    Some((
        LinkIndex(number(0)?),
        number(4)?,
        number(8)?,
        number(12)?,
        attributes,
    ))
}

pub(super) fn classifier_of(body: &[u8]) -> Option<(LinkIndex, Classifier)> {
    let (link, _, parent, _, rest) = header(body)?;
    let attributes = Attributes::<3>::read(rest).ok()?;
    let kind = attributes.text(TCA_KIND)?;
    match (parent, kind.as_str()) {
        (CLSACT, "clsact") => Some((link, Classifier::Clsact { is_shared: false })),
        (CLSACT, _) => Some((link, Classifier::Ingress)),
        _ => None,
    }
}

/// Whether this tells of a filter of ours.
#[cfg(fuzzing)]
pub(super) fn is_ours(body: &[u8]) -> bool {
    matches!(filter_of(body, Direction::Ingress), Filter::Ours(..))
}

/// What a filter is to us.
enum Filter {
    /// One of ours, and what it copied.
    Ours(Hook<LinkIndex>, Vec<Copied<LinkIndex>>),
    /// Another program's, at this link.
    Foreign(LinkIndex),
    /// None: the head of a list of filters.
    None,
}

fn filter_of(body: &[u8], direction: Direction) -> Filter {
    let Some((link, handle, _, info, rest)) = header(body) else {
        return Filter::None;
    };
    let Ok(attributes) = Attributes::<3>::read(rest) else {
        return Filter::Foreign(link);
    };
    let is_bpf = attributes.text(TCA_KIND).as_deref() == Some("bpf");
    let ours = u32::from(FILTER_PRIORITY) << 16 | u32::from(ETH_P_ALL.to_be());
    if handle == 0 {
        // Told of each priority before its filters; of another program's it may be all there is (an empty u32 table).
        return if is_bpf && info == ours {
            Filter::None
        } else {
            Filter::Foreign(link)
        };
    }
    if !is_bpf || info != ours {
        return Filter::Foreign(link);
    }
    let options = attributes.get(TCA_OPTIONS).unwrap_or_default();
    match read_options(options, link, direction) {
        Some((mirror, program, actions)) => {
            let hook = Hook {
                link,
                direction,
                handle,
                mirror,
                to: actions.iter().map(|one| one.to).collect(),
                program,
            };
            Filter::Ours(hook, actions)
        }
        None => Filter::Foreign(link),
    }
}

type Options = (String, Vec<Instruction>, Vec<Copied<LinkIndex>>);

/// The mirror, the program and the actions of a filter; `None`: it has no cookie, so it is not ours.
fn read_options(bytes: &[u8], link: LinkIndex, direction: Direction) -> Option<Options> {
    let options = Attributes::<6>::read(bytes).ok()?;
    let mut copied = Vec::new();
    let mut mirror = None;
    let mut is_as_ours = true;
    let actions: Vec<&[u8]> = attributes(options.get(TCA_BPF_ACT)?)
        .filter_map(|one| Some(one.ok()?.1))
        .collect();
    for (index, bytes) in actions.iter().enumerate() {
        let action = Attributes::<7>::read(bytes).ok()?;
        let cookie = action.get(TCA_ACT_COOKIE).map(String::from_utf8_lossy);
        if let (0, Some(cookie)) = (index, &cookie) {
            mirror = Some(cookie.clone().into_owned());
        }
        let control = if index + 1 == actions.len() {
            CONTINUE
        } else {
            PIPE
        };
        let to = mirred(&action, control);
        is_as_ours &= to.is_some() && cookie.as_deref() == mirror.as_deref();
        let mut one = Copied {
            mirror: cookie.unwrap_or_default().into_owned(),
            link,
            direction,
            to: to.unwrap_or(LinkIndex(0)),
            packets: 0,
            bytes: 0,
            lost: 0,
        };
        count(action.get(TCA_ACT_STATS).unwrap_or_default(), &mut one);
        copied.push(one);
    }
    let program = program(options.get(TCA_BPF_OPS).unwrap_or_default());
    Some((mirror?, if is_as_ours { program } else { Vec::new() }, copied))
}

/// Where an action copies packets to, if it does and then goes on with `control`.
fn mirred(action: &Attributes<'_, 7>, control: i32) -> Option<LinkIndex> {
    if action.text(TCA_ACT_KIND)? != "mirred" {
        return None;
    }
    let options = Attributes::<3>::read(action.get(TCA_ACT_OPTIONS)?).ok()?;
    let parameters = options.get(TCA_MIRRED_PARMS)?;
    let number = |at: usize| Some(i32::from_ne_bytes(parameters.get(at..at + 4)?.try_into().ok()?));
    (number(8)? == control && number(20)? == MIRROR).then_some(LinkIndex(number(24)? as u32))
}

fn program(bytes: &[u8]) -> Vec<Instruction> {
    let instruction = |one: &[u8]| {
        let [a, b, jt, jf, k @ ..] = one else {
            return None;
        };
        Some(Instruction {
            code: u16::from_ne_bytes([*a, *b]),
            jt: *jt,
            jf: *jf,
            k: u32::from_ne_bytes(k.try_into().ok()?),
        })
    };
    bytes.chunks_exact(8).filter_map(instruction).collect()
}

/// `struct gnet_stats_basic` (bytes, packets) with the packets in 64 bits where the kernel tells them so, and
/// `struct gnet_stats_queue`, whose third number are the packets that were dropped and fifth those over the limit.
fn count(bytes: &[u8], copied: &mut Copied<LinkIndex>) {
    let Ok(stats) = Attributes::<9>::read(bytes) else {
        return;
    };
    let wide = |value: &[u8]| value.first_chunk().map(|bytes| u64::from_ne_bytes(*bytes));
    let narrow = |value: &[u8], at: usize| {
        let bytes = value.get(at..at + 4)?.try_into().ok()?;
        Some(u64::from(u32::from_ne_bytes(bytes)))
    };
    if let Some(basic) = stats.get(TCA_STATS_BASIC) {
        copied.bytes = wide(basic).unwrap_or_default();
        copied.packets = narrow(basic, 8).unwrap_or_default();
    }
    if let Some(packets) = stats.get(TCA_STATS_PKT64).and_then(wide) {
        copied.packets = packets;
    }
    if let Some(queue) = stats.get(TCA_STATS_QUEUE) {
        let [dropped, over] = [8, 16].map(|at| narrow(queue, at).unwrap_or_default());
        copied.lost = dropped + over;
    }
}

/// Why hooks cannot be made at all.
pub(super) const UNSUPPORTED: Error = Error::Unsupported {
    feature: "traffic control of classic BPF (clsact, cls_bpf, act_mirred), which mirrors need",
    remedy: "use one with CONFIG_NET_SCH_INGRESS, CONFIG_NET_CLS_BPF and CONFIG_NET_ACT_MIRRED (modules sch_ingress, cls_bpf, act_mirred)",
};

#[cfg(test)]
mod tests;
