//! Power cuts.

use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use lab::Vpc;
use lab::guest::GuestAgent;

use crate::bench::{Bench, CONFIG, both_subnets, configure, eip_works, marked, state};
use crate::configs::NOTE;

const CUTS: u64 = 20;

/// A push by file and another one by input, until the power goes.
fn push(agent: &mut GuestAgent, yaml: &str) -> Result<(), String> {
    let file = agent.open(CONFIG, "w")?;
    for chunk in yaml.as_bytes().chunks(200) {
        agent.write(file, chunk)?;
        agent.flush(file)?;
    }
    agent.close(file)?;
    agent.try_exec_start("/usr/sbin/kylin-vr", &["reload"], b"")?;
    agent.try_exec_start("/usr/sbin/kylin-vr", &["reload", "-"], yaml.as_bytes())?;
    Ok(())
}

pub fn a_cut_in_the_middle_of_a_push_leaves_the_old_or_the_new(bench: &Bench) {
    let vpc = Vpc::without_router();
    let machine = bench.booted(&vpc);
    let pair = [
        marked(&both_subnets()),
        marked(&NOTE.replace("10.90.2.251", "10.90.2.252")),
    ];
    let whole = [1, 0].map(|which| {
        configure(&machine, &pair[which]);
        state(&machine)
    });
    let whole = [&whole[1], &whole[0]];
    let started = Instant::now();
    push(&mut machine.agent(), &pair[0]).unwrap();
    let usual = started.elapsed() + Duration::from_millis(1500);
    machine.sh("sync");
    let mut disk = machine.shut_down();

    let (mut random, mut ends) = (
        SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap()
            .subsec_nanos(),
        [0; 2],
    );
    let mut next = 1;
    for round in 0..=CUTS {
        let machine = bench.machine(&vpc).disk(&disk).boot_until("kylin-vr.service");
        // NICs may come after the service has waited for them: the monitor's work.
        machine.wait_for(
            "all NICs",
            "systemctl is-active kylin-vr-monitor.service && ! kylin-vr status | grep pending",
        );
        let found = state(&machine);
        let which = whole.iter().position(|state| **state == found);
        let which = which.unwrap_or_else(|| panic!("round {round}: neither the old nor the new: {found:#?}"));
        ends[usize::from(which == next)] += 1;
        next = 1 - which;
        if round == CUTS {
            eip_works(&vpc);
            break;
        }
        random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let moment = usual * (random >> 16) / 65536;
        let mut agent = machine.agent();
        let text = pair[next].clone();
        let pusher = thread::spawn(move || push(&mut agent, &text));
        thread::sleep(moment);
        disk = machine.power_cut();
        // It may have been through, or not: that is the point.
        let _ = pusher.join().unwrap();
    }
    println!(
        "\n{CUTS} power cuts within {usual:?} of a push: {} times the old one, {} times the new",
        ends[0], ends[1]
    );
}
