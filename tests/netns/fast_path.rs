//! The fast path on a kernel that has none. One that has is a VM's: `tests/vm/fast_path.rs`.

use std::process::Command;

use crate::configs::{NOTE, expect, said, vpc};

pub fn a_kernel_without_flowtables_is_told_of_once_and_refused_where_it_must_have_them() {
    let vpc = vpc();
    let mut check = Command::new("nft");
    check.args([
        "--check",
        "table ip x { flowtable f { hook ingress priority 0; devices = { lo }; }; }",
    ]);
    if vpc.router.output(check).status.success() {
        println!("skipped: this kernel has flowtables");
        return;
    }
    let tried = "part=\"try a flowtable\"";
    // Such a kernel says by its parameters what it lacks; an older one has to be tried, once.
    let must_try = !std::path::Path::new("/proc/sys/net/netfilter/nf_conntrack_max").exists();
    vpc.write_config(NOTE);
    let first = vpc.kylin_vr(&["-vv", "reload"]);
    expect(
        &first,
        0,
        "established flows go the slow path: this kernel has no nftables flowtables",
    );
    assert!(said(&first).contains(tried) || !must_try, "{}", said(&first));
    let table = vpc.router.nft("list table ip kylin_vr");
    let second = vpc.kylin_vr(&["-vv", "reload"]);
    expect(&second, 0, "nothing changed");
    assert!(
        !said(&second).contains("slow path") && !said(&second).contains(tried),
        "{}",
        said(&second)
    );

    vpc.write_config(&format!("fast_path: on\n{NOTE}"));
    expect(&vpc.kylin_vr(&["plan"]), 1, "use `fast_path: auto`");
    let refused = vpc.kylin_vr(&["reload"]);
    expect(&refused, 1, "use `fast_path: auto`");
    assert_eq!(vpc.router.nft("list table ip kylin_vr"), table);

    vpc.write_config(&format!("fast_path: off\n{NOTE}"));
    expect(&vpc.kylin_vr(&["reload"]), 0, "nothing changed");
}
