//! A dump of the tracked flows, any bytes: a deletion that could be sent for it names one flow. One without its original
//! tuple would be a flush of the whole table. The deletions are read here as the kernel reads them (lib/nlattr.c,
//! nf_conntrack_netlink.c), by code that is not the agent's.

#![no_main]

use std::net::Ipv4Addr;
use std::sync::LazyLock;

use arbitrary::Unstructured;
use kylin_vr::config::Config;
use kylin_vr::features::desired;
use kylin_vr::flows::{Judge, is_stale};
use kylin_vr::kernel::fuzz::conntrack;
use kylin_vr::model::nft::Table;
use kylin_vr_fuzz::flows::message;
use libfuzzer_sys::fuzz_target;

/// `NFNL_SUBSYS_CTNETLINK` and `IPCTNL_MSG_CT_DELETE`.
const DELETE: u16 = 1 << 8 | 2;
const AF_INET: u8 = 2;
/// `NLM_F_REQUEST` and `NLM_F_ACK`; no `NLM_F_DUMP`.
const FLAGS: u16 = 1 | 4;
const TUPLE_ORIGINAL: u16 = 1;
const TUPLE_REPLY: u16 = 2;
const FILTER: u16 = 25;

static TABLE: LazyLock<Option<Table>> = LazyLock::new(|| {
    let text = include_bytes!("../../examples/kylin-vr.yaml");
    desired(&Config::parse(text).config.expect("a valid configuration")).table
});

/// As `nla_parse`: what a number stands for last counts, up to what is no attribute.
fn attribute(mut bytes: &[u8], wanted: u16) -> Option<&[u8]> {
    let mut found = None;
    while let &[low, high, kind_low, kind_high, ..] = bytes {
        let length = usize::from(u16::from_ne_bytes([low, high]));
        let Some(value) = bytes.get(4..length) else { break };
        // Without NLA_F_NESTED and NLA_F_NET_BYTEORDER.
        if u16::from_ne_bytes([kind_low, kind_high]) & 0x3fff == wanted {
            found = Some(value);
        }
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    found
}

fn address(tuple: &[u8], kind: u16) -> Option<Ipv4Addr> {
    let octets: [u8; 4] = attribute(attribute(tuple, 1)?, kind)?.try_into().ok()?;
    Some(octets.into())
}

fuzz_target!(|data: &[u8]| {
    check(data);
    // The same bytes as choices.
    let mut choices = Unstructured::new(data);
    let mut dump = Vec::new();
    while !choices.is_empty() && dump.len() < 4096 {
        dump.extend(message(&mut choices).expect("bytes"));
    }
    check(&dump);
});

fn check(data: &[u8]) {
    let deletions = conntrack::deletions(data);
    // Two headers, and two tuples with two addresses and a protocol each.
    assert!(
        deletions.len() <= data.len() / 89,
        "more flows than there is room for"
    );
    let judges = [
        Judge::new(None, Default::default()),
        Judge::new(TABLE.as_ref(), Default::default()),
    ];
    let (mut sent, mut sequence) = (0, 0);
    for (flow, deletion) in &deletions {
        sequence += 1;
        let mut header = [0; 20];
        header.copy_from_slice(deletion.get(..20).expect("both headers"));
        let half = |at: usize| u16::from_ne_bytes([header[at], header[at + 1]]);
        let number =
            |at: usize| u32::from_ne_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
        assert_eq!(number(0) as usize, deletion.len(), "one message");
        assert_eq!(
            (half(4), half(6), number(8), header[16]),
            (DELETE, FLAGS, sequence, AF_INET)
        );
        let attributes = &deletion[20..];
        let tuple = attribute(attributes, TUPLE_ORIGINAL).expect("else it is a flush");
        assert!(attribute(attributes, TUPLE_REPLY).is_none() && attribute(attributes, FILTER).is_none());
        assert_eq!(
            (address(tuple, 1), address(tuple, 2)),
            (Some(flow.original.source), Some(flow.original.destination)),
            "another flow's tuple"
        );
        let protocol = attribute(tuple, 2).and_then(|one| attribute(one, 1));
        assert_eq!(protocol, Some(&[flow.original.protocol][..]));
        sent += deletion.len();
        // Whatever the flow is, it can be judged, and one that no translation was ever in force for is nobody's to end.
        assert!(
            !is_stale(flow, &[], &judges[1]),
            "ended without a cause: {flow:?}"
        );
        let _ = is_stale(flow, &judges[..1], &judges[1]);
    }
    // No more is sent than came in, but for the padding.
    assert!(
        sent <= data.len() + 4 * deletions.len(),
        "{sent} bytes to send for {}",
        data.len()
    );
}
