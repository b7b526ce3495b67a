//! The monitor's events: datagrams of rtnetlink's and nftables' groups, any bytes. An event that is wrongly taken for
//! foreign is drift that nobody repairs, so what a look would see must wake one.

#![no_main]

use bytes::BytesMut;
use kylin_vr::kernel::fuzz::{nftables, rtnetlink, watch};
use libfuzzer_sys::fuzz_target;
use netlink_packet_core::{NetlinkMessage, NetlinkPayload};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_proto::{NetlinkCodec, NetlinkMessageCodec};

fuzz_target!(|data: &[u8]| {
    let wakes = watch::route(data);
    let mut rest = BytesMut::from(data);
    while let Ok(Some(message)) = NetlinkCodec::decode(&mut rest) {
        let message: NetlinkMessage<RouteNetlinkMessage> = message;
        // The next message begins at a multiple of four; the codec takes it that the kernel sees to that.
        if message.header.length % 4 != 0 {
            break;
        }
        let is_news = match &message.payload {
            NetlinkPayload::InnerMessage(
                RouteNetlinkMessage::NewRoute(route) | RouteNetlinkMessage::DelRoute(route),
            ) => rtnetlink::is_looked_at(route),
            NetlinkPayload::InnerMessage(_) => true,
            _ => false,
        };
        assert!(wakes || !is_news, "an event is slept through: {message:?}");
    }
    let wakes = watch::nftables(data);
    assert!(
        wakes || !nftables::is_of_our_table(data),
        "an event of our table is slept through"
    );
});
