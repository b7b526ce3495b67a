//! `demo PATH/TO/kylin-vr`: a VPC router at work, for somebody who sees one for the first time.
//!
//! It lays a VPC of network namespaces, lets the real `kylin-vr` configure the router in the middle, sends real
//! packets from every side and says who got them. Whatever is not as the design says is shown, and the exit code
//! is 1. It decides nothing about the router, and must leave nothing behind: namespaces and files are gone with it.

mod analyser;
mod overlay;
mod packets;
mod page;
mod picture;
mod rows;
mod scenes;
mod shell;

use std::panic::{self, AssertUnwindSafe};
use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};
use std::time::Instant;

use lab::Vpc;
use page::Page;

/// What is run besides the agent, with the package that has it (Debian's name, then Fedora's if it is another).
const TOOLS: [(&str, &str, &str); 3] = [
    ("ip", "-V", "iproute2 (Fedora, openEuler: iproute)"),
    ("tc", "-V", "iproute2 (Fedora: iproute-tc)"),
    ("nft", "--version", "nftables"),
];

fn main() -> ExitCode {
    let binary = match preconditions() {
        Ok(binary) => binary,
        Err(reason) => {
            eprintln!("demo: {reason}");
            return ExitCode::FAILURE;
        }
    };
    // The lab reports what it cannot do by a panic that says what; to a reader of the demo that is a sentence, and
    // the place in the source is of no interest.
    panic::set_hook(Box::new(|info| {
        let payload = info.payload();
        let formatted = payload.downcast_ref::<String>().map(String::as_str);
        let message = formatted.or_else(|| payload.downcast_ref::<&str>().copied());
        let message = message.unwrap_or("an unknown error");
        eprintln!("demo: cannot go on: {message}");
    }));
    match panic::catch_unwind(AssertUnwindSafe(|| run(binary))) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) | Err(_) => ExitCode::FAILURE,
    }
}

/// The binary to show, if everything is there that showing it needs.
fn preconditions() -> Result<PathBuf, String> {
    let mut arguments = std::env::args_os().skip(1);
    let (Some(path), None) = (arguments.next(), arguments.next()) else {
        return Err("usage: demo PATH/TO/kylin-vr (`make demo` builds it and says where it is)".to_owned());
    };
    let path = PathBuf::from(path);
    let binary = path.canonicalize().map_err(|error| {
        format!(
            "no kylin-vr at {}: {error}; run `make demo`, which builds it",
            path.display()
        )
    })?;
    lab::is_root_with_netns().map_err(|reason| {
        format!(
            "{reason}.\n\
             The demo lays a VPC of network namespaces, which only root may make. Run it as root, on a machine, in\n\
             a VM, or in a container that may do so:\n\
             \n    sudo make demo\n    docker run --privileged ..."
        )
    })?;
    for (tool, version, package) in TOOLS {
        let tried = Command::new(tool)
            .arg(version)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        tried.map_err(|error| format!("cannot run `{tool}`: {error}. Install the package {package}"))?;
    }
    Ok(binary)
}

/// Shows everything; whether all of it was as it should be.
fn run(binary: PathBuf) -> bool {
    let start = Instant::now();
    let mut page = Page::new();
    picture::introduce(&mut page);
    let vpc = Vpc::builder(&binary).build();
    scenes::the_notes_example(&mut page, &vpc);
    scenes::a_larger_vpc(&mut page, &vpc);
    scenes::an_address(&mut page, &vpc);
    packets::every_row(&mut page, &vpc);
    analyser::a_conversation_is_seen(&mut page, &vpc);
    scenes::what_goes_wrong(&mut page, &vpc);
    scenes::removal(&mut page, &vpc, &binary);
    drop(vpc);
    overlay::vms_on_hypervisors(&mut page, &binary);
    page.end(start.elapsed())
}
