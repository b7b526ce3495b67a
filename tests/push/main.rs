//! `kylin-vr push` against a real qemu-ga.
//!
//! Each test has an agent, a VPC and a directory of its own, so they run beside each other. Without the right to
//! make namespaces, or without qemu-ga, they are counted as ignored, and the reason is printed.

mod broken;
mod guest;
mod many;
mod proxy;
mod virsh;
mod ways;

use std::process::{Command, ExitCode, Stdio};

use libtest_mimic::{Arguments, Trial, run};

/// The tests of these modules, each under its own name.
macro_rules! tests {
    ($($module:ident: $($name:ident),+;)+) => {
        vec![$($((concat!(stringify!($module), "::", stringify!($name)), $module::$name as fn())),+),+]
    };
}

fn main() -> ExitCode {
    if let Some(code) = virsh::act() {
        return code;
    }
    let tests = tests! {
        ways: both_ways_apply_install_and_report,
              a_report_reads_as_the_vms_own,
              two_hundred_pushes_leave_nothing_open,
              an_invalid_file_is_refused_here_and_nobody_is_contacted,
              an_empty_file_must_be_meant,
              the_exit_code_of_the_vm_is_passed_on,
              what_is_no_report_is_shown_as_text,
              a_report_that_the_agent_cut_off_is_said,
              a_large_file_goes_both_ways,
              a_missing_program_is_said,
              a_command_that_is_not_allowed_is_said;
        broken: an_agent_that_does_not_answer_is_given_up,
              a_socket_whose_queue_is_full_is_given_up,
              stale_answers_are_discarded,
              half_a_request_of_an_earlier_client_does_no_harm,
              an_agent_without_input_gets_a_file,
              a_cut_connection_leaves_nothing_open,
              a_cut_connection_after_the_start_says_so,
              a_signal_cleans_up,
              a_signal_during_the_open_cleans_up,
              an_ignored_signal_stays_ignored,
              the_time_limit_cleans_up,
              short_writes_are_continued,
              a_full_disk_is_an_error_and_cleans_up,
              what_cannot_be_cleaned_up_is_said;
        many: four_targets_at_a_time_one_of_them_unreachable,
              several_targets_are_one_json_document,
              a_signal_ends_all_of_them,
              domains_are_reached_through_virsh,
              virsh_that_fails_or_hangs_is_said;
    };
    let arguments = Arguments::from_args();
    let missing = lab::is_root_with_netns().and_then(|()| has_agent()).err();
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

fn has_agent() -> Result<(), String> {
    let mut command = Command::new("qemu-ga");
    command
        .arg("--version")
        .stdout(Stdio::null())
        .status()
        .map(|_| ())
        .map_err(|error| format!("cannot start qemu-ga (package qemu-guest-agent): {error}"))
}
