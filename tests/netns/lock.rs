//! One run at a time, and nobody waits for nothing.

use std::fs;
use std::process::{Child, Stdio};

use fs2::FileExt;
use lab::{Nic, Vpc};

use crate::configs::{NOTE, expect, vpc, vpc_with};

/// Starts the command in the router and leaves it running.
pub fn spawn(vpc: &Vpc, arguments: &[&str]) -> Child {
    vpc.router.run(|| {
        let mut command = vpc.command();
        command
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command.spawn().unwrap()
    })
}

pub fn fifty_reloads_at_once_end_with_one_of_the_files() {
    let vpc = vpc();
    let file = |number: usize| vpc.directory().join(format!("{number}.yaml"));
    for number in 0..50 {
        let eips: String = (0..=number)
            .map(|eip| {
                format!(
                    "  - {{eip: 10.90.{}.{}, vm-ip: 192.168.100.{}}}\n",
                    4 + number,
                    eip + 1,
                    eip + 1
                )
            })
            .collect();
        let head = NOTE.split("eip_list:").next().unwrap();
        fs::write(file(number), format!("{head}eip_list:\n{eips}")).unwrap();
    }
    let children: Vec<Child> = (0..50)
        .map(|number| spawn(&vpc, &["reload", file(number).to_str().unwrap()]))
        .collect();
    for child in children {
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{output:?}");
    }
    // One of the files, whole: installed, and in the kernel.
    let installed = fs::read(vpc.config_path()).unwrap();
    let winner = (0..50)
        .find(|number| fs::read(file(*number)).unwrap() == installed)
        .expect("one of the files");
    let map = vpc.router.nft("list map ip kylin_vr eip_to_vm");
    assert_eq!(map.matches(" : ").count() - 1, winner + 1, "{map}");
    assert!(map.contains(&format!("10.90.{}.1 ", 4 + winner)), "{map}");
    expect(&vpc.kylin_vr(&["reload"]), 0, "nothing changed");
    expect(&vpc.kylin_vr(&["status"]), 0, "ok");
}

/// Holds the lock as another run would, until dropped.
fn hold(vpc: &Vpc) -> fs::File {
    let run = vpc.directory().join("run");
    fs::create_dir_all(&run).unwrap();
    let mut file = fs::File::create(run.join("lock")).unwrap();
    file.lock_exclusive().unwrap();
    let holder = r#"{"pid": 4711, "command": "kylin-vr reload -", "since": 0}"#;
    std::io::Write::write_all(&mut file, holder.as_bytes()).unwrap();
    file
}

pub fn a_held_lock_times_out_with_exit_5_and_names_the_holder() {
    let vpc = vpc_with(NOTE);
    let held = hold(&vpc);
    let run = vpc.kylin_vr(&["reload", "--lock-timeout", "0.2"]);
    expect(
        &run,
        5,
        "waiting for `kylin-vr reload -` (process 4711, running for ",
    );
    expect(&run, 5, "waited 0.2 s for `kylin-vr reload -` (process 4711");
    // To look needs no lock.
    for command in ["check", "plan", "status"] {
        expect(&vpc.kylin_vr(&[command]), 0, "");
    }
    drop(held);
    expect(
        &vpc.kylin_vr(&["reload", "--lock-timeout", "0"]),
        0,
        "nothing changed",
    );
}

pub fn fifty_reloads_of_the_installed_file_are_left_to_one() {
    let vpc = vpc();
    vpc.write_config(NOTE);
    let held = hold(&vpc);
    let mut children: Vec<Child> = (0..50).map(|_| spawn(&vpc, &["reload"])).collect();
    // All but the one that waits end while the lock is still held.
    let mut left = Vec::new();
    while left.len() < 49 {
        let Some(done) = children
            .iter_mut()
            .position(|child| child.try_wait().unwrap().is_some())
        else {
            std::thread::yield_now();
            continue;
        };
        left.push(children.swap_remove(done).wait_with_output().unwrap());
    }
    for output in left {
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && text.contains("left to"), "{output:?}");
    }
    drop(held);
    let output = children.remove(0).wait_with_output().unwrap();
    assert!(
        output.status.success() && String::from_utf8_lossy(&output.stdout).contains("applied"),
        "{output:?}"
    );
    expect(&vpc.kylin_vr(&["status"]), 0, "ok");
}

pub fn a_lock_that_was_deleted_while_held_still_holds() {
    let vpc = Vpc::builder(env!("CARGO_BIN_EXE_kylin-vr"))
        .without(Nic::SubnetA)
        .build();
    vpc.write_config(NOTE);
    // Has the lock as long as it waits for the NIC.
    let mut first = vpc.daemon(&["start", "--wait", "60"]);
    let lock = vpc.directory().join("run/lock");
    while !vpc.router.nft("list tables").contains("kylin_vr") {
        assert!(first.is_running(), "{}", first.log());
    }
    fs::remove_file(&lock).unwrap();
    for _ in 0..3 {
        let run = vpc.kylin_vr(&["reload", "--lock-timeout", "0.2"]);
        expect(&run, 5, "waited 0.2 s for ");
        let _ = fs::remove_file(&lock);
    }
    first.stop();
    expect(&vpc.kylin_vr(&["reload"]), 0, "");
}
