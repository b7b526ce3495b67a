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
mod tests {
    use super::*;
    use crate::kernel::{Kernel, Linux};
    use crate::model::{LONGEST_PROGRAM, LinkName, OwnKind, OwnLink};
    use crate::plan::Operation;

    /// `ret #k`
    fn returns(k: u32) -> Instruction {
        let (code, jt, jf) = (6, 0, 0);
        Instruction { code, jt, jf, k }
    }

    fn own(index: u32) -> Operation {
        Operation::AddOwnLink {
            link: LinkRef {
                index: LinkIndex(index),
                name: LinkName(format!("kvr-vx{index}").into()),
            },
            below: None,
            own: Box::new(OwnLink {
                kind: OwnKind::Vxlan {
                    vni: index,
                    local: [127, 0, 0, 1].into(),
                    port: 4789,
                },
                mtu: None,
                mac: None,
            }),
        }
    }

    #[test]
    fn the_kernel_takes_changes_and_lets_go_of_what_is_read_back() {
        if !nix::unistd::geteuid().is_root() {
            println!("skipped: the_kernel_takes_changes_and_lets_go_of_what_is_read_back: needs root");
            return;
        }
        let test = || {
            nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
            let mut kernel = Linux::open().unwrap();
            let link = LinkRef {
                index: LinkIndex(1),
                name: LinkName("lo".into()),
            };
            let up = Operation::SetLink {
                link: link.clone(),
                up: true,
            };
            kernel.apply(&[up, own(11), own(12)]).unwrap();
            let before = kernel.observe().unwrap();
            assert!(before.hooks.is_empty() && before.classifiers.is_empty());

            let hook = |direction, handle, to: &[u32], program| Hook {
                link: link.index,
                direction,
                handle,
                mirror: "ids-1".to_owned(),
                program,
                to: to.iter().map(|index| LinkIndex(*index)).collect(),
            };
            let first = hook(Direction::Ingress, 7, &[11], vec![returns(0)]);
            let second = hook(
                Direction::Egress,
                0xffff_fff0,
                &[11, 12],
                vec![returns(u32::MAX); LONGEST_PROGRAM],
            );
            let add = |hook: &Hook<LinkIndex>| Operation::AddHook {
                link: link.clone(),
                hook: hook.clone().into(),
                to_names: Box::default(),
            };
            let classifier = Operation::AddClassifier { link: link.clone() };
            let made = [classifier, add(&first), add(&second)];
            kernel.apply(&made).unwrap();
            let now = kernel.observe().unwrap();
            assert_eq!(now.hooks, [first.clone(), second.clone()]);
            let alone = Classifier::Clsact { is_shared: false };
            assert_eq!(now.classifiers, [(link.index, alone)].into());

            // What comes through is counted where it is chosen.
            nix::sys::socket::sendto(
                std::os::fd::AsRawFd::as_raw_fd(&std::net::UdpSocket::bind("127.0.0.1:0").unwrap()),
                b"to whom it may concern",
                &nix::sys::socket::SockaddrIn::new(127, 0, 0, 1, 9),
                nix::sys::socket::MsgFlags::empty(),
            )
            .unwrap();
            let copied = kernel.copied().unwrap();
            let counts: Vec<_> = copied.iter().map(|one| (one.to.0, one.packets > 0)).collect();
            assert_eq!(counts, [(11, false), (11, true), (12, true)]);

            let other = hook(Direction::Ingress, 7, &[12], vec![returns(1)]);
            let replace = Operation::ReplaceHook {
                link: link.clone(),
                from: first.into(),
                to: other.clone().into(),
                to_names: Box::default(),
            };
            kernel.apply(std::slice::from_ref(&replace)).unwrap();
            assert_eq!(kernel.observe().unwrap().hooks, [other, second.clone()]);

            // A target that is gone is none.
            kernel.apply(&[own(11).inverse()]).unwrap();
            assert_eq!(
                kernel.observe().unwrap().hooks[1].to,
                [LinkIndex(0), LinkIndex(12)]
            );
            kernel.apply(&[own(11), replace.inverse()]).unwrap();
            let mut inverse: Vec<_> = made.iter().rev().map(Operation::inverse).collect();
            kernel.apply(&inverse).unwrap();
            // What is gone already is no failure.
            inverse.truncate(2);
            kernel.apply(&inverse).unwrap();
            let now = kernel.observe().unwrap();
            assert_eq!((now.hooks, now.classifiers), (before.hooks, before.classifiers));
        };
        std::thread::spawn(test).join().unwrap();
    }

    #[test]
    fn what_others_made_of_it_is_seen() {
        let hook = Hook {
            link: LinkIndex(3),
            direction: Direction::Ingress,
            handle: 7,
            mirror: "ids-1".to_owned(),
            program: vec![returns(1)],
            to: vec![LinkIndex(4), LinkIndex(5)],
        };
        let bytes = |change: &dyn Fn(&mut Vec<u8>)| {
            use netlink_packet_core::Emitable;
            let message = with_options(&hook);
            let mut bytes = vec![0; message.buffer_len()];
            message.emit(&mut bytes);
            change(&mut bytes);
            bytes
        };
        let read = |bytes: &[u8]| filter_of(bytes, Direction::Ingress);
        assert!(matches!(read(&bytes(&|_| ())), Filter::Ours(seen, _) if seen == hook));
        let place = |needle: &[u8]| {
            let whole = bytes(&|_| ());
            whole.windows(needle.len()).position(|one| one == needle).unwrap()
        };
        // Another program's: another kind, another priority, no cookie of ours.
        let kind = place(b"bpf\0");
        let foreign = bytes(&|bytes| bytes[kind] = b'x');
        assert!(matches!(read(&foreign), Filter::Foreign(LinkIndex(3))));
        let foreign = bytes(&|bytes| bytes[18] ^= 1);
        assert!(matches!(read(&foreign), Filter::Foreign(LinkIndex(3))));
        // Ours, with another action or another end.
        for (at, byte) in [(place(b"mirred\0"), b'x'), (place(&CONTINUE.to_ne_bytes()), 0)] {
            let changed = bytes(&|bytes| bytes[at] = byte);
            assert!(matches!(read(&changed), Filter::Ours(seen, _) if seen.program.is_empty()));
        }
    }
}
