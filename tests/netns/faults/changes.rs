//! The changes that faults are put into: between them every kind of step.

use lab::Vpc;

use crate::configs::{NOTE, expect, full};

/// A change that is made again and again, each time with another fault.
pub struct Change {
    /// Makes the router the old one, whatever it was.
    pub old: fn(&Vpc),
    /// Makes it the new one, by a run with these arguments.
    pub new: fn(&Vpc),
    pub arguments: &'static [&'static str],
}

/// Quite another router than [`old`]: other address and gateway outside, subnet B for A, a NIC that is not there, other
/// elastic IPs and ranges, no IPv6.
const OTHER: &str = "
if_list:
  - {ipaddr: 10.90.3.38, prefix: 24, mac: '52:54:84:00:08:45', gateway: 10.90.3.9}
  - {ipaddr: 192.168.101.254, prefix: 24, mac: '52:54:84:11:00:04'}
  - {ipaddr: 192.168.102.254, prefix: 24, mac: '52:54:84:11:00:99'}
eip_list:
  - {eip: 10.90.2.250, vm-ip: 192.168.101.10}
  - {eip: 10.90.2.252, vm-ip: 192.168.101.11}
port_forward_list:
  - {eip: 10.90.2.253, protocol: tcp, port: 20000, end_port: 39999, vm-port: 20000, vm-ip: 192.168.101.11}
  - {eip: 10.90.2.254, protocol: udp, port: 10, end_port: 12, vm-port: 100, vm-ip: 192.168.101.10}
";

/// Two overlay subnets.
const OVERLAYS: &str = "
if_list:
  - {ipaddr: 10.90.3.37, prefix: 24, mac: '52:54:84:00:08:45', gateway: 10.90.3.1}
  - ipaddr: 172.20.1.1
    prefix: 24
    vxlan: {vni: 100, peers: [10.90.4.11], gateway-mac: '12:00:00:ff:ff:ff'}
    vm_list:
      - {vm-ip: 172.20.1.10, mac: '02:6e:1d:4e:69:10', host: 10.90.4.11}
      - {vm-ip: 172.20.1.11, mac: '02:6e:1d:4e:69:11', host: 10.90.4.12}
      - {vm-ip: 172.20.1.12, mac: '02:6e:1d:4e:69:12', host: 10.90.4.12}
  - ipaddr: 172.20.2.1
    prefix: 24
    vxlan: {vni: 101}
    vm_list:
      - {vm-ip: 172.20.2.10, mac: '02:6e:1d:4e:70:10', host: 10.90.4.11}
";

/// One of them with another hardware address of the gateway, a VM that moved, one that came and one that went, and
/// another peer; one in place of the other.
const OTHER_OVERLAYS: &str = "
if_list:
  - {ipaddr: 10.90.3.37, prefix: 24, mac: '52:54:84:00:08:45', gateway: 10.90.3.1}
  - ipaddr: 172.20.1.1
    prefix: 24
    vxlan: {vni: 100, peers: [10.90.4.12], gateway-mac: '12:00:00:ff:ff:fe'}
    vm_list:
      - {vm-ip: 172.20.1.10, mac: '02:6e:1d:4e:69:10', host: 10.90.4.12}
      - {vm-ip: 172.20.1.11, mac: '02:6e:1d:4e:69:11', host: 10.90.4.12}
      - {vm-ip: 172.20.1.13, mac: '02:6e:1d:4e:69:13', host: 10.90.4.12}
  - {ipaddr: 172.20.3.1, prefix: 24, vxlan: {vni: 102, peers: [10.90.4.11]}}
";

/// One that changes, one that goes with all it is hung on, and one that stays as it is.
const MIRRORS: [&str; 3] = [
    "{name: changed, source: {subnet: 192.168.100.0/24}, to: [{nic: {mac: '52:54:84:22:00:01'}}]}",
    "{name: gone, source: {mac: '52:54:84:00:08:45'}, to: [{nic: {mac: '52:54:84:22:00:02'}}]}",
    "{name: kept, source: {subnet: 192.168.100.0/24}, to: [{nic: {mac: '52:54:84:22:00:04'}}]}",
];

/// And two that come, at one NIC.
pub const OTHER_MIRRORS: [&str; 4] = [
    "{name: changed, source: {subnet: 192.168.100.0/24}, filter: {protocol: udp}, to: [{nic: {mac: '52:54:84:22:00:01'}}]}",
    MIRRORS[2],
    "{name: new, source: {mac: '52:54:84:11:00:04'}, to: [{nic: {mac: '52:54:84:22:00:01'}}, {nic: {mac: '52:54:84:22:00:03'}}]}",
    "{name: beside, source: {mac: '52:54:84:11:00:04'}, select: src, to: [{nic: {mac: '52:54:84:22:00:04'}}]}",
];

/// A file with these mirrors.
pub fn mirrors<'m>(mirrors: impl IntoIterator<Item = &'m str>) -> String {
    let interfaces = "
if_list:
  - {ipaddr: 10.90.3.37, prefix: 24, mac: '52:54:84:00:08:45', gateway: 10.90.3.1}
  - {ipaddr: 192.168.100.254, prefix: 24, mac: '52:54:84:11:00:03'}
  - {ipaddr: 192.168.101.254, prefix: 24, mac: '52:54:84:11:00:04'}
mirror_list:
";
    let mirrors = mirrors.into_iter().map(|one| format!("  - {one}\n"));
    interfaces.to_owned() + &mirrors.collect::<String>()
}

fn old(vpc: &Vpc) {
    vpc.reload_ok(&format!("ipv6: true\n{NOTE}"));
}

pub const CHANGES: [Change; 6] = [
    Change {
        old: |vpc| expect(&vpc.kylin_vr(&["reset"]), 0, ""),
        new: |vpc| vpc.write_config(NOTE),
        arguments: &["reload", "--json"],
    },
    Change {
        old,
        new: |vpc| vpc.write_config(OTHER),
        arguments: &["reload", "--json"],
    },
    // A table that somebody else put a chain into is not edited but replaced. (nft lists chains as they were made, and
    // we make them by name: the last one.)
    Change {
        old: |vpc| {
            old(vpc);
            vpc.router
                .nft("add chain ip kylin_vr zzz { type filter hook input priority 5; policy accept; }");
        },
        new: |_| (),
        arguments: &["reload", "--json"],
    },
    Change {
        old: |vpc| {
            // From nothing: nft lists maps as they were made.
            expect(&vpc.kylin_vr(&["reset"]), 0, "");
            vpc.reload_ok(&full());
        },
        new: |_| (),
        arguments: &["reset", "--json"],
    },
    Change {
        old: |vpc| {
            // From nothing, since new links get new numbers.
            expect(&vpc.kylin_vr(&["reset"]), 0, "");
            vpc.reload_ok(OVERLAYS);
        },
        new: |vpc| vpc.write_config(OTHER_OVERLAYS),
        arguments: &["reload", "--json"],
    },
    Change {
        old: |vpc| drop(vpc.reload_ok(&mirrors(MIRRORS))),
        new: |vpc| vpc.write_config(&mirrors(OTHER_MIRRORS)),
        arguments: &["reload", "--json"],
    },
];
