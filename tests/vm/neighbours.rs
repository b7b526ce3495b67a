//! Other managers of NICs in the same guest.

use lab::guest::Machine;
use lab::{Nic, Vpc};

use crate::bench::{Bench, both_subnets, configure, eip_works, state, told};

/// The three NICs of the file, by the names that the guest has for them.
fn ours(machine: &Machine) -> [String; 3] {
    Nic::ALL.map(|nic| machine.link(nic.name()))
}

pub fn networkd_leaves_configured_nics_alone(bench: &Bench) {
    let vpc = Vpc::without_router();
    let machine = bench.booted(&vpc);
    configure(&machine, &both_subnets());
    let before = state(&machine);
    machine.copy_in(
        "/etc/systemd/network/50-all.network",
        b"[Match]\nName=en* eth*\n\n[Network]\nDHCP=yes\n",
    );
    let unmanaged = |machine: &Machine| {
        for link in ours(machine) {
            machine.wait_for(&link, &format!("networkctl list {link} | grep unmanaged"));
        }
    };
    machine.sh("systemctl enable --now systemd-networkd.service");
    unmanaged(&machine);
    // It would have taken one that the file does not name.
    machine.plug_as("foreign", Nic::SubnetB, "52:54:84:44:00:01");
    let foreign = machine.link("foreign");
    machine.wait_for(
        "DHCP",
        &format!("networkctl list {foreign} | grep -E 'configuring|degraded'"),
    );
    assert_eq!(state(&machine), before);
    let repairs = told(&machine, "put right what");
    assert_eq!(repairs, 0, "there was nothing to put right");
    eip_works(&vpc);
    let disk = machine.shut_down();

    let machine = bench
        .machine(&vpc)
        .disk(&disk)
        .boot_until("systemd-networkd.service");
    machine.wait_for("all NICs", "kylin-vr status && ! kylin-vr status | grep pending");
    unmanaged(&machine);
    assert_eq!(state(&machine), before);
    eip_works(&vpc);
}

pub fn network_manager_and_firewalld_leave_configured_nics_alone(bench: &Bench) {
    let vpc = Vpc::without_router();
    let machine = bench.booted(&vpc);
    configure(&machine, &both_subnets());
    let before = state(&machine);
    machine.sh("systemctl unmask NetworkManager.service && systemctl start NetworkManager.service");
    for link in ours(&machine) {
        machine.wait_for(
            &link,
            &format!("nmcli --terse --fields DEVICE,STATE device | grep {link}:unmanaged"),
        );
    }
    machine.plug_as("foreign", Nic::SubnetB, "52:54:84:44:00:01");
    let foreign = machine.link("foreign");
    machine.wait_for(
        "DHCP",
        &format!("nmcli --terse --fields DEVICE,STATE device | grep -E '{foreign}:(conn|disconn)'"),
    );
    assert_eq!(state(&machine), before);
    eip_works(&vpc);
    machine.sh("systemctl stop NetworkManager.service");
    // A firewall may forbid what the router forwards, that is its trade; our table stays as it is.
    machine.sh("systemctl unmask firewalld.service && systemctl start firewalld.service");
    let ours_of = |state: &[String]| state.iter().filter(|line| before.contains(line)).count();
    assert_eq!(ours_of(&state(&machine)), before.len());
    machine.sh("systemctl restart firewalld.service");
    assert_eq!(ours_of(&state(&machine)), before.len());
    assert_eq!(
        told(&machine, "put right what"),
        0,
        "there was nothing to put right"
    );
}
