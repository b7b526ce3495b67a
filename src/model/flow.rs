//! A flow that the kernel tracks: what its first packet was, and what became of it.

use std::net::Ipv4Addr;

use super::nft::Packet;

/// A tracked flow, by its two tuples.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Flow {
    /// The first packet, before any translation.
    pub original: Packet,
    /// The same after all of it, as its answers tell: they come from where it went.
    pub translated: Packet,
}

/// What becomes of flows whose translation changed (the file's `conntrack`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Conntrack {
    /// They end, so that their next packet is translated anew.
    #[default]
    Delete,
    /// They go on as they began.
    Keep,
}

impl Flow {
    /// A flow from the tuples of both directions: each a source and a destination, with its port where the protocol has
    /// ports.
    #[must_use]
    pub fn new(
        protocol: u8,
        original: [(Ipv4Addr, Option<u16>); 2],
        reply: [(Ipv4Addr, Option<u16>); 2],
    ) -> Self {
        let packet = |source, (destination, destination_port)| Packet {
            protocol,
            source,
            destination,
            destination_port,
        };
        Self {
            original: packet(original[0].0, original[1]),
            translated: packet(reply[1].0, reply[0]),
        }
    }
}
