//! kylin-vr as the package installs it, in a real VM: a kernel, systemd, udev and a guest agent of its own.
//!
//! Each test has a machine and a VPC of its own; two run beside each other. What is missing to run them at all is
//! printed, and they are counted as ignored.

mod bench;
mod boot;
mod clones;
#[path = "../netns/configs.rs"]
#[allow(dead_code)] // Some are for a router in a namespace.
mod configs;
mod confirm;
mod dhcp;
mod drift;
mod fast_path;
mod faults;
mod hotplug;
mod kernels;
mod mirrors;
mod neighbours;
mod overlay;
mod package;
mod power;
mod pushes;
mod rows;
#[path = "../netns/table.rs"]
mod table;

use std::process::ExitCode;

use lab::guest::{Kernel, uses_kvm};
use libtest_mimic::{Arguments, Trial, run};

use bench::Bench;

/// The tests of these modules, each under its own name.
macro_rules! tests {
    ($($module:ident: $($name:ident),+;)+) => {
        vec![$($((concat!(stringify!($module), "::", stringify!($name)), $module::$name as fn(&Bench))),+),+]
    };
}

fn main() -> ExitCode {
    // The longest first: the last one to end runs alone.
    let on_one_kernel = tests! {
        power: a_cut_in_the_middle_of_a_push_leaves_the_old_or_the_new;
        pushes: two_hundred_pushes_leave_no_file_open;
        boot: with_a_file_every_row_of_the_packet_table_holds;
        hotplug: a_nic_forwards_when_plugged_and_leaves_nothing_when_pulled,
              a_storm_of_nics_ends_right,
              the_udev_rule_alone_sets_a_nic_up,
              a_nic_that_the_guest_does_not_see_is_found_by_a_rescan;
        fast_path: what_a_packet_of_an_established_flow_costs,
              what_is_counted_stays_off_it_and_is_right_to_the_packet;
        confirm: what_is_not_confirmed_is_taken_back_after_a_power_cut;
        dhcp: a_unit_gives_addresses_through_crashes_and_boots;
        drift: what_others_undo_is_put_right,
              two_quarrelling_programs_do_not_spin;
        mirrors: what_a_copy_costs;
        overlay: an_overlay_is_there_after_a_boot_and_its_flows_take_the_fast_path;
        faults: a_full_table_of_tracked_flows_is_named;
    };
    let on_every_kernel = tests! {
        mirrors: every_kind_of_collector_gets_every_packet_once_and_whole;
        neighbours: networkd_leaves_configured_nics_alone,
              network_manager_and_firewalld_leave_configured_nics_alone;
        pushes: broken_pushes_change_nothing_and_the_next_good_one_heals;
        package: an_upgrade_loses_no_packet_and_a_purge_leaves_nothing;
        boot: a_bad_file_and_a_missing_nic_do_not_stop_it;
        fast_path: established_flows_take_it_and_end_with_their_entry;
        clones: a_clone_of_a_template_comes_up_empty_and_takes_its_first_push;
    };
    let in_one_life = tests! { kernels: it_plugs_takes_pushes_repairs_and_boots_with_every_row; };
    let tests = [
        ("", Kernel::Linux6_1, [&on_one_kernel[..], &on_every_kernel]),
        (
            "linux_6_12::",
            Kernel::Linux6_12,
            [&in_one_life[..], &on_every_kernel],
        ),
        (
            "linux_5_10::",
            Kernel::Linux5_10,
            [&in_one_life[..], &on_every_kernel],
        ),
        (
            "linux_6_12_aarch64::",
            Kernel::Linux6_12Aarch64,
            [&in_one_life[..], &[]],
        ),
    ];
    let mut arguments = Arguments::from_args();
    // The machine that this is meant for has two processors.
    arguments.test_threads.get_or_insert(2);
    let missing = bench::missing();
    if let Some(reason) = &missing {
        eprintln!("ignored: {reason}");
    } else if !arguments.list {
        eprintln!(
            "vm: the processor is {}",
            if uses_kvm() { "KVM's" } else { "emulated" }
        );
        if !arguments.ignored && !arguments.include_ignored {
            eprintln!(
                "ignored: aarch64, which `make test-arm` runs, and what a packet costs (benches/README.md)"
            );
        }
    }
    let bench = Bench::new();
    let trials = tests.into_iter().flat_map(|(prefix, kernel, tests)| {
        let bench = bench.with(kernel);
        tests.concat().into_iter().map(move |(name, test)| {
            let bench = bench.clone();
            Trial::test(format!("{prefix}{name}"), move || {
                test(&bench);
                Ok(())
            })
        })
    });
    // Half an hour: `make test-arm` asks for it. And a measurement is no test: benches/README.md says how to ask for that.
    let is_asked_for = |name: &str| name.contains("aarch64") || name.ends_with("costs");
    let ignored = |trial: &Trial| missing.is_some() || is_asked_for(trial.name());
    let trials = trials
        .map(|trial| {
            let ignored = ignored(&trial);
            trial.with_ignored_flag(ignored)
        })
        .collect();
    run(&arguments, trials).exit_code()
}
