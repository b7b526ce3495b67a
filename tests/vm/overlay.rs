//! An overlay subnet in a real VM: there after a boot, and its flows on the fast path.

use lab::{GATEWAY_MAC, Namespace, Vpc};

use crate::bench::{Bench, agrees, both_subnets};
use crate::boot::boot_with;
use crate::fast_path::{are_fast, devices, flows};

/// A hypervisor by hand: the VMs of subnet A in a bridge with a VXLAN link of the kernel's to the router. It lives as long
/// as the namespace.
fn hypervisor(vpc: &Vpc) -> Namespace {
    let namespace = Namespace::without_ipv6();
    vpc.switch.veth("hv1", "", &namespace, "eth0", "");
    vpc.switch.ip("link set hv1 master ext up");
    let mut lines = "link set lo up\naddr add 10.90.3.41/24 dev eth0\nlink set eth0 up\n\
                     link add name bridge0 type bridge mcast_snooping 0\nlink set bridge0 up\n\
                     link add vx type vxlan id 100 local 10.90.3.41 remote 10.90.3.37 dstport 4789\n\
                     link set vx master bridge0 up\n"
        .to_owned();
    for vm in [&vpc.a1, &vpc.a2, &vpc.a3] {
        let path = namespace.path();
        vpc.switch.ip(&format!("link set {} netns {path}", vm.name));
        lines += &format!("link set {} master bridge0 up\n", vm.name);
        // What an overlay has room for.
        vm.ip("link set eth0 mtu 1450");
    }
    namespace.ip_batch(&lines);
    namespace
}

pub fn an_overlay_is_there_after_a_boot_and_its_flows_take_the_fast_path(bench: &Bench) {
    let vpc = Vpc::without_router();
    let hypervisor = hypervisor(&vpc);
    let vms: String = [&vpc.a1, &vpc.a2, &vpc.a3]
        .map(|vm| {
            let (address, mac) = (vm.address, vm.mac());
            format!("       - {{vm-ip: {address}, mac: '{mac}', host: 10.90.3.41}}\n")
        })
        .concat();
    let overlay = format!("     vxlan: {{vni: 100, gateway-mac: '{GATEWAY_MAC}'}}\n     vm_list:\n{vms}");
    let file = both_subnets().replace("     mac: 52:54:84:11:00:03\n", &overlay);
    let machine = boot_with(bench, &vpc, &format!("counters: false\n{file}")).boot();
    agrees(&machine);
    let shown =
        machine.sh("ip -d link show kvr-vx100; bridge fdb show dev kvr-vx100; ip neigh show dev kvr-vx100");
    assert!(
        shown.contains("vxlan id 100 local 10.90.3.37") && shown.matches("PERMANENT").count() == 3,
        "{shown}"
    );
    assert!(devices(&machine).contains("kvr-vx100"), "{}", devices(&machine));
    let open = flows(&vpc);
    are_fast(&machine, &open);
    // networkd and the like have not touched it, and the run finds nothing to do.
    let again = machine.sh("kylin-vr reload");
    assert!(again.starts_with("nothing changed"), "{again}");
    drop(hypervisor);
}
