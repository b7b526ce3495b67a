//! The monitor's events: datagrams of rtnetlink's and nftables' groups, any bytes. An event that is wrongly taken for
//! foreign is drift that nobody repairs, so what a look would see must wake one.

#![no_main]

use kylin_vr::kernel::fuzz::{nftables, rtnetlink, watch};
use libfuzzer_sys::fuzz_target;
use netlink_packet_core::{NetlinkBuffer, NetlinkMessage, NetlinkPayload};
use netlink_packet_route::RouteNetlinkMessage;

fuzz_target!(|data: &[u8]| {
    let wakes = watch::route(data);
    let mut rest = data;
    while let Ok(header) = NetlinkBuffer::new_checked(rest) {
        let length = header.length() as usize;
        let bytes = &rest[..length];
        let message = NetlinkMessage::<RouteNetlinkMessage>::deserialize(bytes);
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        let Ok(message) = message else { continue };
        let NetlinkPayload::InnerMessage(inner) = &message.payload else {
            continue;
        };
        let is_news = match inner {
            RouteNetlinkMessage::NewRoute(route) | RouteNetlinkMessage::DelRoute(route) => {
                rtnetlink::is_looked_at(route)
            }
            RouteNetlinkMessage::NewNeighbour(_)
            | RouteNetlinkMessage::DelNeighbour(_)
            | RouteNetlinkMessage::NewQueueDiscipline(_)
            | RouteNetlinkMessage::DelQueueDiscipline(_)
            | RouteNetlinkMessage::NewTrafficFilter(_)
            | RouteNetlinkMessage::DelTrafficFilter(_) => rtnetlink::is_of_ours(bytes),
            // Traffic control's classes and chains are not looked at.
            RouteNetlinkMessage::NewTrafficClass(_)
            | RouteNetlinkMessage::DelTrafficClass(_)
            | RouteNetlinkMessage::NewTrafficChain(_)
            | RouteNetlinkMessage::DelTrafficChain(_)
            | RouteNetlinkMessage::GetQueueDiscipline(_)
            | RouteNetlinkMessage::GetTrafficClass(_)
            | RouteNetlinkMessage::GetTrafficFilter(_) => false,
            _ => true,
        };
        assert!(wakes || !is_news, "an event is slept through: {message:?}");
    }
    let wakes = watch::nftables(data);
    assert!(
        wakes || !nftables::is_of_our_table(data),
        "an event of our table is slept through"
    );
});
