//! What is read back from rtnetlink: datagrams of the kernel's, any bytes, through the codec that they go through in
//! a look, and by hand, as those of elastic IPs are read; and the answers to a batch of operations.

#![no_main]

use bytes::BytesMut;
use kylin_vr::config::Config;
use kylin_vr::features::desired;
use kylin_vr::kernel::fuzz::rtnetlink;
use kylin_vr::owned::Owned;
use kylin_vr::plan::diff;
use libfuzzer_sys::fuzz_target;
use netlink_packet_core::NetlinkMessage;
use netlink_packet_route::RouteNetlinkMessage;
use netlink_proto::{NetlinkCodec, NetlinkMessageCodec};

const CONFIG: &[u8] = b"if_list:
  - {ipaddr: 10.90.3.37, prefix: 24, mac: 52:54:84:00:08:45, gateway: 10.90.3.1}
  - {ipaddr: 192.168.100.254, prefix: 24, mac: 52:54:84:11:00:03}
eip_list:
  - {eip: 10.90.2.250, vm-ip: 192.168.100.190}
";

fuzz_target!(|data: &[u8]| {
    rtnetlink::compare(data);
    let mut rest = BytesMut::from(data);
    let mut messages: Vec<NetlinkMessage<RouteNetlinkMessage>> = Vec::new();
    while let Ok(Some(message)) = NetlinkCodec::decode(&mut rest) {
        messages.push(message);
    }
    let observed = rtnetlink::observe(messages);
    // A plan can be made of whatever there is.
    let config = Config::parse(CONFIG).config.expect("a valid configuration");
    let plan = diff(&desired(&config), &observed, &Owned::default());
    assert!(!plan.operations.is_empty(), "there is no table yet");
    // None of the operations failed, all of them, or the answers make no sense: but they end.
    rtnetlink::answers(data, &plan.operations);
});
