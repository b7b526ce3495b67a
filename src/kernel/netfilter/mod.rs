//! Netlink to the netfilter subsystems: messages, and the socket that they go through. Knows nothing of what they mean;
//! `nftables` and `conntrack` do.

pub(in crate::kernel) mod message;
pub(in crate::kernel) mod socket;
