//! What a reload writes to the kernel is counted, by its log: it must not grow with what did not change.

use lab::Vpc;

use crate::configs::{NOTE, said, vpc};

/// The file with so many elastic IPs, the last one's VM as given.
fn config(eips: usize, last_vm: &str, counters: bool) -> String {
    let head = NOTE.split("eip_list:").next().unwrap();
    let mut text = format!("counters: {counters}\n{head}eip_list:\n");
    for number in 0..eips {
        let vm = if number + 1 == eips {
            last_vm
        } else {
            "192.168.100.190"
        };
        text += &format!(
            "  - {{eip: 10.91.{}.{}, vm-ip: {vm}}}\n",
            number / 250,
            number % 250 + 1
        );
    }
    text
}

/// How often a reload of this file writes: messages of batches, and sysctls.
fn writes(vpc: &Vpc, text: &str) -> usize {
    vpc.write_config(text);
    let run = vpc.kylin_vr(&["-vv", "reload"]);
    assert_eq!(run.code, 0, "{}", said(&run));
    assert!(
        run.stderr.contains("took part=\"observe table\""),
        "{}",
        said(&run)
    );
    let of_line = |line: &str| match line.split_once("batch messages=") {
        Some((_, rest)) => rest.split_whitespace().next().unwrap().parse().unwrap(),
        None => usize::from(line.contains("sysctl path=")),
    };
    run.stderr.lines().map(of_line).sum()
}

pub fn what_a_change_writes_does_not_grow_with_the_file() {
    // By default large files are not counted, and small ones are: the same has to be asked of both.
    for counters in [false, true] {
        // An entry is added before the last one, so to speak: the last one's VM is another's then.
        let (few, many) = (10, 3_000);
        let counts = [few, many].map(|size| {
            let vpc = vpc();
            let writes = |eips, last_vm| writes(&vpc, &config(eips, last_vm, counters));
            let first = writes(size, "192.168.100.191");
            assert!(first > size, "a route each: {first}");
            let added = writes(size + 1, "192.168.100.191");
            let moved = writes(size + 1, "192.168.100.192");
            let removed = writes(size, "192.168.100.191");
            let unchanged = writes(size, "192.168.100.191");
            [added, moved, removed, unchanged]
        });
        assert_eq!(
            counts[0], counts[1],
            "added, moved, removed, unchanged; of {few} and {many}; counters: {counters}"
        );
        let [added, moved, removed, unchanged] = counts[1];
        assert_eq!(unchanged, 0);
        for count in [added, moved, removed] {
            // A batch's begin and end, an element or two of each map and of each counting set taken and given, a route.
            assert!((1..=10).contains(&count), "{counts:?}");
        }
    }
}
