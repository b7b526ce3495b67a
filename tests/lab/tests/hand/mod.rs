//! A router made by hand with `ip`, `sysctl` and `nft`, as the design note's packet table wants it, so that the
//! lab is judged against a router that is known to be right, or known to be wrong in one place.
#![allow(dead_code)] // Every test binary has its own copy and uses a part of it.

use lab::{Namespace, Vpc};

/// Says why the test is not run and ends it, unless namespaces can be made.
macro_rules! needs_netns {
    () => {
        if let Err(reason) = lab::is_root_with_netns() {
            eprintln!("skipped: {reason}");
            return;
        }
    };
}
pub(crate) use needs_netns;

/// EIP 250 of a1, 251 of a2; forwards of EIP 254: 80..82 to the same ports of a1, 10..12 shifted to 100..102 of a3,
/// udp 53 to b2's 5353. b1, b2 and a3 have no EIP.
pub const RULESET: &str = "
table ip kylin_vr {
  set vpc_subnets { type ipv4_addr; flags interval; elements = { 192.168.100.0/24, 192.168.101.0/24 } }
  map eip_to_vm { type ipv4_addr : ipv4_addr
    elements = { 10.90.2.250 : 192.168.100.190, 10.90.2.251 : 192.168.100.191 } }
  map vm_to_eip { type ipv4_addr : ipv4_addr
    elements = { 192.168.100.190 : 10.90.2.250, 192.168.100.191 : 10.90.2.251 } }
  map forward { type ipv4_addr . inet_proto . inet_service : ipv4_addr . inet_service
    elements = { 10.90.2.254 . tcp . 80 : 192.168.100.190 . 80, 10.90.2.254 . tcp . 81 : 192.168.100.190 . 81,
                 10.90.2.254 . tcp . 82 : 192.168.100.190 . 82, 10.90.2.254 . tcp . 10 : 192.168.100.192 . 100,
                 10.90.2.254 . tcp . 11 : 192.168.100.192 . 101, 10.90.2.254 . tcp . 12 : 192.168.100.192 . 102,
                 10.90.2.254 . udp . 53 : 192.168.101.11 . 5353 } }
  chain keep_source {
    type filter hook prerouting priority -150;
    ip daddr @vpc_subnets meta mark set meta mark | 0x10000
  }
  chain keep_own_source {
    type route hook output priority -150;
    meta mark set meta mark | 0x10000
  }
  chain destination {
    type nat hook prerouting priority -100;
    dnat to ip daddr map @eip_to_vm
    dnat ip to ip daddr . meta l4proto . th dport map @forward
  }
  chain own_destination {
    type nat hook output priority -100;
    dnat to ip daddr map @eip_to_vm
    dnat ip to ip daddr . meta l4proto . th dport map @forward
  }
  chain source {
    type nat hook postrouting priority 100;
    meta mark & 0x10000 == 0x10000 return
    ip saddr != @vpc_subnets return
    snat to ip saddr map @vm_to_eip
    snat to 10.90.3.37
  }
}
";

/// A VPC whose router has this ruleset. There is no kylin-vr in it.
pub fn vpc_with(ruleset: &str) -> Vpc {
    let vpc = Vpc::builder("/nonexistent/kylin-vr").build();
    set_up(&vpc.router, ruleset);
    vpc.settle();
    vpc
}

/// Makes a router of a namespace that has all its NICs.
pub fn set_up(router: &Namespace, ruleset: &str) {
    router.nft(ruleset);
    router.ip_batch(
        "addr add 10.90.3.37/24 dev wan7
         addr add 192.168.100.254/24 dev lan3
         addr add 192.168.101.254/24 dev lan4
         link set wan7 up
         link set lan3 up
         link set lan4 up
         route add default via 10.90.3.1
         route add local 10.90.2.250/32 dev lo table local proto 158
         route add local 10.90.2.251/32 dev lo table local proto 158
         route add local 10.90.2.254/32 dev lo table local proto 158",
    );
    router.set_sysctl("net/ipv4/ip_forward", "1");
}

/// Makes the ruleset wrong in one place.
///
/// # Panics
/// If the place is not there: the test would prove nothing.
pub fn wrong(right: &str, wrong: &str) -> String {
    assert!(RULESET.contains(right), "{right:?} is not in the ruleset");
    RULESET.replace(right, wrong)
}
