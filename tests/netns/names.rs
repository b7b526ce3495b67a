//! Names that others chose. The kernel takes any byte but `/`, `:` and white space in a NIC's.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::process::Command;

use lab::{Tcp, Vpc};
use serde_json::Value;

use crate::configs::{NOTE, expect, full, said, vpc};

fn rename(vpc: &Vpc, from: &[u8], to: &[u8]) {
    let mut command = Command::new("ip");
    command.args(["link", "set", "dev"]).arg(OsStr::from_bytes(from));
    command.arg("name").arg(OsStr::from_bytes(to));
    let output = vpc.router.output(command);
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

pub fn a_nic_may_have_any_name_that_the_kernel_takes() {
    let vpc = vpc();
    // A terminal's escape, dots as in a path, a right-to-left override.
    let names: [(&str, &[u8], &str); 3] = [
        ("escape", b"n\x1b[31m\x07", "n\\u{1b}[31m\\u{7}"),
        ("dots", b"..a.b", "..a.b"),
        ("bidi", "\u{202e}0hte".as_bytes(), "\\u{202e}0hte"),
    ];
    for (what, name, shown) in names {
        vpc.reload_ok("if_list: []\n");
        rename(&vpc, b"lan3", name);
        // As a NIC of the file, whatever else has such a name.
        vpc.write_config(NOTE);
        let mut texts = String::new();
        for arguments in [&["plan"][..], &["-vv", "reload"], &["status"], &["-vv", "reload"]] {
            let run = vpc.kylin_vr(arguments);
            expect(&run, 0, "");
            texts += &said(&run);
        }
        assert!(texts.contains(shown), "{what}: {texts}");
        let raw = texts
            .chars()
            .find(|letter| letter.is_control() && *letter != '\n' || *letter == '\u{202e}');
        assert_eq!(raw, None, "{what}: {texts}");
        assert!(!texts.contains("? pending"), "{what}: {texts}");
        assert_eq!(
            vpc.probe(&vpc.client, Tcp, "10.90.2.250:22", &[]),
            "a1:22 sees 198.51.100.10",
            "{what}"
        );
        let run = vpc.kylin_vr(&["plan", "--json"]);
        serde_json::from_str::<Value>(&run.stdout).unwrap_or_else(|error| panic!("{error}: {}", run.stdout));
        // As one that is none of its business.
        vpc.reload_ok(&full().replace("52:54:84:11:00:03", "52:54:84:11:00:77"));
        vpc.reload_ok("if_list: []\n");
        rename(&vpc, name, b"lan3");
    }

    // What is no text cannot be named in a report, and counts as missing; everybody else is as before.
    rename(&vpc, b"lan4", b"k\xff\xfe");
    rename(&vpc, b"lan3", b"x\xff");
    rename(&vpc, b"x\xff", b"lan3");
    let run = vpc.reload_ok(NOTE);
    assert!(!run.stdout.contains("? pending"), "{}", said(&run));
    expect(&vpc.kylin_vr(&["status"]), 0, "ok");
    expect(
        &vpc.kylin_vr_with_input(&["reload", "-"], &full()),
        0,
        "? pending  52:54:84:11:00:04",
    );
    rename(&vpc, b"k\xff\xfe", b"lan4");
    expect(&vpc.kylin_vr(&["reload"]), 0, "192.168.101.254/24 dev lan4");
}
