//! kylin-vr on a real kernel: a VPC of network namespaces, and real packets from every side.
//!
//! Each test has namespaces of its own, so they run beside each other. Without the right to make namespaces
//! they are counted as ignored, and the reason is printed.

mod checklists;
mod commands;
mod configs;
mod confirm;
mod conntrack;
mod conntrack_cases;
mod counters;
mod counts;
mod dhcp;
mod diagnosis;
mod disks;
mod doubtful;
mod edit;
mod failures;
mod fast_path;
mod faults;
mod foreign;
mod held;
mod interfaces;
mod lock;
mod mirror_life;
mod mirrors;
mod monitor;
mod names;
mod overlay;
mod ranges;
mod rights;
mod rollback;
mod routes;
mod rows;
mod scale;
mod serving;
mod streams;
mod survival;
mod table;
mod tracked;
mod unchanged;
mod watching;

use std::process::ExitCode;

use libtest_mimic::{Arguments, Trial, run};

/// The tests of these modules, each under its own name.
macro_rules! tests {
    ($($module:ident: $($name:ident),+;)+) => {
        vec![$($((concat!(stringify!($module), "::", stringify!($name)), $module::$name as fn())),+),+]
    };
}

fn main() -> ExitCode {
    // The longest first.
    let tests = tests! {
        faults: whatever_step_fails_or_is_killed_the_router_is_the_old_one_or_the_new_one,
              an_undo_that_fails_once_as_well_holds,
              what_an_undo_cannot_bring_back_is_named_exactly;
        survival: the_monitor_takes_back_where_nobody_else_is_left,
              whoever_comes_next_takes_back_what_is_due,
              a_window_goes_on_after_a_reboot,
              killed_at_any_moment_nothing_unconfirmed_stays_without_a_deadline;
        streams: streams_run_through_200_reloads_that_change_others;
        rows: row_01_between_subnets_nothing_is_translated,
              row_02_a_vm_without_an_eip_is_seen_as_the_router,
              row_03_a_vm_with_an_eip_is_seen_as_that,
              row_04_an_eip_leads_to_its_vm_and_the_client_keeps_its_address,
              row_05_inside_an_eip_leads_to_its_vm_and_the_caller_is_seen_as_outside,
              row_06_a_forward_leads_port_by_port_and_the_client_keeps_its_address,
              row_07_inside_a_forward_works_as_outside,
              row_08_the_router_itself_reaches_eips_and_forwards,
              row_09_the_router_itself_is_not_translated,
              row_10_other_ports_of_a_forward_are_not_forwarded_and_ping_is_answered,
              every_row_holds_with_strict_reverse_path_filters,
              every_row_holds_without_counters,
              eip_list_wins_over_a_forward_of_the_same_address,
              a_false_source_from_inside_is_dropped;
        doubtful: a_segment_outside_of_the_window_ends_no_connection,
              a_wrong_checksum_is_for_the_receiver_to_see,
              what_is_of_no_connection_does_not_leave_with_a_private_address;
        ranges: a_few_have_a_rule_each_and_more_are_looked_up,
              flows_end_with_the_rule_of_their_range,
              a_rule_that_somebody_deleted_is_put_back;
        checklists: subnet_added_configuration_first_then_nic,
              subnet_added_nic_first_then_configuration,
              subnet_removed_leaves_no_address_and_no_rule,
              all_subnets_removed_the_router_goes_on,
              port_mappings_tcp_single_changed_and_range,
              port_mappings_udp_single_changed_and_range,
              snat_and_dnat_cases_of_the_note,
              an_empty_file_and_no_file_are_no_error;
        interfaces: nic_is_found_by_mac_whatever_its_name,
              addresses_are_exactly_those_of_the_file,
              an_address_is_replaced_without_losing_the_new_one,
              the_default_route_is_replaced_and_no_second_one_stays,
              a_gateway_that_was_the_routers_own_address_is_one,
              missing_external_nic_is_pending_and_the_rest_is_done,
              private_traffic_does_not_go_outside_while_a_nic_is_missing,
              eips_answer_arp_and_ping_and_are_announced,
              an_external_nic_that_comes_late_is_announced_with_all_eips,
              a_vlan_on_a_nic_is_not_the_nic,
              ipv6_is_off_unless_the_file_says_otherwise;
        routes: a_network_that_is_inside_is_one_of_the_vpc,
              a_network_that_is_not_inside_sees_the_router_and_is_not_translated,
              while_its_nic_is_missing_nothing_for_it_goes_outside,
              routes_come_change_and_go_and_others_routes_stay,
              what_others_change_of_a_route_is_put_right,
              a_route_is_traced,
              a_next_hop_that_was_a_broadcast_address_is_one;
        dhcp: vms_get_their_addresses_and_nobody_outside_gets_one,
              what_was_given_stays_given_through_reloads,
              what_is_renewed_by_unicast_stays,
              a_crash_heals,
              it_goes_with_the_configuration_and_others_stay,
              what_it_does_not_take_rolls_everything_back,
              where_it_is_not_installed_is_said_before_anything_is_touched,
              nics_are_served_while_they_are_there_whatever_they_are_called,
              vms_of_an_overlay_get_their_addresses_and_its_mtu;
        unchanged: a_second_reload_writes_nothing,
              what_waits_for_the_kernel_after_a_removal_ends_by_itself,
              drift_is_put_right,
              drift_in_large_sets_is_put_right_although_they_were_seen_before,
              flows_live_through_a_reload_that_changes_others,
              entries_removed_in_random_order_leave_the_namespace_as_it_was,
              removal_gives_back_links_and_sysctls_as_they_were,
              removal_leaves_no_address_even_if_the_record_was_lost;
        foreign: everything_foreign_survives_every_command,
              a_foreign_default_route_of_the_same_metric_survives,
              a_foreign_mark_keeps_its_other_bits,
              ipv6_of_an_unlisted_nic_is_left_alone;
        fast_path: a_kernel_without_flowtables_is_told_of_once_and_refused_where_it_must_have_them;
        failures: every_bad_file_is_refused_and_the_kernel_is_unchanged,
              a_huge_file_is_refused_at_once,
              a_file_that_cannot_be_installed_rolls_everything_back,
              without_net_admin_nothing_is_changed,
              an_empty_file_does_not_take_a_configured_router_down,
              a_file_cut_off_before_its_end_marker_is_refused,
              start_with_a_bad_file_uses_the_last_good_one,
              another_program_that_changes_nftables_meanwhile_does_no_harm,
              a_killed_run_heals;
        disks: a_full_disk_changes_nothing_and_space_heals,
              a_read_only_disk_changes_nothing,
              directories_that_are_missing_are_made_again;
        rights: two_capabilities_are_enough_and_the_units_give_no_more,
              what_a_run_writes_is_roots_whatever_the_umask,
              what_others_could_have_written_is_refused,
              a_file_that_is_given_may_be_a_link_or_a_pipe;
        overlay: every_row_holds_with_subnet_a_on_hypervisors,
              every_row_holds_with_both_subnets_on_hypervisors,
              a_vm_moves_under_traffic_by_one_entry,
              a_hypervisor_goes_and_comes,
              nothing_is_flooded_where_every_vm_is_listed,
              hypervisors_answer_arp_for_the_gateway_and_for_their_vms,
              an_overlay_waits_for_its_nic_and_leaves_nothing,
              what_is_foreign_on_our_link_goes_and_elsewhere_stays,
              what_others_change_of_a_parameter_of_a_link_is_put_right,
              connections_say_segments_that_fit_into_the_overlay,
              a_small_path_is_told_of_through_the_translation_on_either_side,
              the_monitor_puts_entries_right_and_makes_the_overlay_anew,
              five_hundred_overlays_of_twenty_thousand_vms_load_and_one_moved_vm_is_one_message;
        names: a_nic_may_have_any_name_that_the_kernel_takes;
        lock: fifty_reloads_at_once_end_with_one_of_the_files,
              a_held_lock_times_out_with_exit_5_and_names_the_holder,
              fifty_reloads_of_the_installed_file_are_left_to_one,
              a_lock_that_was_deleted_while_held_still_holds;
        monitor: a_nic_that_comes_after_its_configuration_is_set_up,
              a_nic_costs_no_look_at_what_it_has_nothing_to_do_with,
              a_nic_that_comes_before_its_configuration_ends_up_the_same,
              a_nic_under_another_name_is_the_same_nic,
              a_storm_of_nics_ends_right,
              what_others_remove_is_put_right,
              two_quarrelling_programs_do_not_spin,
              foreign_changes_survive_a_repair,
              a_file_that_is_just_being_written_is_not_picked_up,
              what_was_reset_stays_reset,
              it_stops_when_asked_and_leaves_the_router_as_it_is,
              runs_of_udev_are_left_to_a_monitor,
              start_waits_for_a_nic_and_then_goes_on,
              an_older_generation_is_refused;
        mirrors: what_crosses_a_nic_reaches_the_analyser_once_whole_and_in_the_right_direction,
              a_vm_a_subnet_and_a_filter_choose_what_is_copied,
              with_all_what_goes_from_subnet_to_subnet_is_copied_once,
              by_hand_a_mirror_comes_copies_and_goes_without_residue,
              towards_the_analyser_the_router_is_silent,
              towards_the_analyser_it_is_silent_where_ipv6_is_left_on;
        mirror_life: a_nic_that_goes_takes_its_mirror_down_whole_and_brings_it_back,
              thirty_two_mirrors_each_see_exactly_their_own,
              five_hundred_mirrors_come_and_go_without_residue,
              filters_of_others_stay_and_still_work,
              what_others_change_of_a_mirror_is_found_and_put_right,
              one_in_so_many_is_copied_by_chance,
              a_mirror_that_the_kernel_refuses_is_tried_ever_more_rarely;
        counts: what_a_change_writes_does_not_grow_with_the_file;
        serving: metrics_are_served_on_a_socket_whoever_else_is_connected;
        watching: metrics_are_what_prometheus_reads_and_what_was_sent,
              the_dashboard_and_the_alerts_ask_for_metrics_that_there_are,
              status_names_what_is_wrong_and_what_to_do,
              status_shows_what_is_asked_for_in_the_width_that_there_is,
              status_says_since_when_each_entry_is_as_it_is,
              status_is_refreshed_in_place_and_leaves_the_terminal_as_it_was;
        counters: known_traffic_is_counted_to_the_packet_before_and_after_reloads,
              what_goes_and_comes_again_starts_at_nothing,
              a_long_range_is_counted_as_one,
              counters_can_be_turned_off,
              a_counter_that_is_gone_is_put_back,
              a_table_that_is_replaced_keeps_what_was_counted,
              what_the_router_sends_to_an_elastic_ip_is_counted_in;
        confirm: what_is_confirmed_in_time_stays,
              what_is_not_confirmed_is_taken_back,
              an_installed_file_that_is_not_confirmed_goes_back_as_well,
              the_first_configuration_ever_goes_back_to_an_empty_router,
              a_window_that_is_renewed_leads_back_to_what_was_confirmed,
              a_reload_of_another_file_is_a_decision_of_its_own,
              what_cannot_be_applied_opens_no_window,
              probes_that_pass_confirm,
              probes_that_fail_take_back;
        rollback: rollback_goes_back_by_number_whatever_the_generation,
              only_what_is_newly_accepted_or_fails_is_in_the_history,
              fifty_reloads_leave_a_bounded_history,
              a_history_that_cannot_be_written_is_said_and_stops_nothing;
        conntrack: tcp_flows_end_with_their_translation,
              udp_flows_end_with_their_translation,
              icmp_flows_end_with_their_translation,
              after_an_eip_moved_its_new_vm_answers_at_once,
              flows_that_began_before_the_translation_was_there_end_when_it_comes,
              flows_that_others_translate_live_on,
              conntrack_keep_lets_every_flow_go_on,
              the_flows_of_a_killed_run_end_with_the_next,
              of_many_flows_few_end;
        held: source_ports_run_out_and_status_says_so_and_a_pool_of_two_is_enough,
              a_pool_is_what_vms_without_an_eip_are_seen_as_and_it_goes_without_residue,
              how_many_flows_there_may_be_is_said_and_no_error_where_it_is_not_ours_to_set;
        edit: entries_come_and_go_and_the_rest_of_the_file_stays,
              an_empty_router_is_built_up_by_hand,
              what_is_wrong_changes_nothing,
              a_dry_run_is_a_plan,
              of_many_at_once_none_is_lost,
              what_a_push_undoes_of_it_is_said,
              it_can_be_taken_back_and_rolled_back;
        scale: ten_thousand_eips_and_a_long_range_are_read_back_equal,
              every_port_of_a_shifted_range_goes_to_its_own_port;
        diagnosis: where_nothing_is_wrong_a_packet_and_its_answer_are_followed,
              what_is_of_no_connection_is_called_so,
              an_interrupted_trace_leaves_nothing,
              fault_01_a_wrong_gateway,
              fault_02_a_missing_nic,
              fault_03_a_vm_ip_in_no_subnet,
              fault_04_an_eip_that_is_not_routed_to_the_router,
              fault_05_forwarding_is_off,
              fault_06_a_foreign_rule_that_drops,
              fault_07_a_silent_vm,
              fault_09_a_stale_flow,
              fault_10_a_port_that_is_not_forwarded,
              a_table_that_was_changed_is_the_cause,
              its_arguments_and_its_exit_codes,
              its_document_says_all_of_it;
        commands: old_spellings_work,
              plan_changes_nothing_and_tells_what_a_reload_does,
              status_tells_ok_pending_and_missing,
              json_is_one_document,
              reload_installs_a_file_only_after_it_was_applied,
              wrong_usage_is_exit_2_and_help_is_exit_0,
              reset_removes_everything_and_keeps_the_file,
              diagram_draws_a_file_and_schema_describes_it;
    };
    if faults::is_command() {
        return faults::command();
    }
    let mut arguments = Arguments::from_args();
    // Much of it is waiting.
    arguments.test_threads.get_or_insert(4);
    let missing = lab::is_root_with_netns().err();
    if let Some(reason) = &missing {
        eprintln!("ignored: {reason}");
    }
    let trials = tests
        .into_iter()
        .map(|(name, test)| {
            Trial::test(name, move || {
                test();
                Ok(())
            })
            .with_ignored_flag(missing.is_some())
        })
        .collect();
    run(&arguments, trials).exit_code()
}
