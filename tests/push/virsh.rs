//! A virsh for tests: this test program itself, started under that name. It knows `qemu-agent-command` only, takes
//! its arguments as the real one does, and answers and fails in its words.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{ExitCode, exit};

use serde_json::Value;

/// The directory with a socket `NAME.sock` for each domain, and the log of the calls.
const DOMAINS: &str = "KYLIN_VR_TEST_DOMAINS";

/// Puts a `virsh` into a directory, for `PATH`.
pub fn install(directory: &Path) {
    let (virsh, test) = (directory.join("virsh"), std::env::current_exe().unwrap());
    let script = format!(
        "#!/bin/sh\n{DOMAINS}={} exec {} \"$@\"\n",
        directory.display(),
        test.display()
    );
    fs::write(&virsh, script).unwrap();
    fs::set_permissions(&virsh, fs::Permissions::from_mode(0o755)).unwrap();
}

/// Acts as virsh if started as one.
pub fn act() -> Option<ExitCode> {
    let directory = std::env::var_os(DOMAINS)?;
    let words: Vec<String> = std::env::args().skip(1).collect();
    let log = Path::new(&directory).join("virsh.log");
    let mut log = fs::File::options().create(true).append(true).open(log).unwrap();
    writeln!(log, "{}", words.join(" ")).unwrap();
    let words = match &words[..] {
        [c, _, rest @ ..] if c == "-c" => rest,
        all => all,
    };
    let [command, name, request, timeout, seconds] = words else {
        fail("error: unknown command or wrong number of words")
    };
    assert_eq!(
        (command.as_str(), timeout.as_str()),
        ("qemu-agent-command", "--timeout")
    );
    assert!(seconds.parse::<u32>().is_ok());
    let socket = Path::new(&directory).join(format!("{name}.sock"));
    let Ok(stream) = UnixStream::connect(socket) else {
        fail(&format!(
            "error: failed to get domain '{name}'\nerror: Domain not found: no domain with matching name '{name}'"
        ))
    };
    writeln!(&stream, "{request}").unwrap();
    let mut line = String::new();
    BufReader::new(&stream).read_line(&mut line).unwrap();
    let answer: Value = serde_json::from_str(&line).unwrap();
    if let Some(error) = answer.get("error") {
        let request: Value = serde_json::from_str(request).unwrap();
        fail(&format!(
            "error: internal error: unable to execute QEMU agent command {}: {}",
            request["execute"].to_string().replace('"', "'"),
            error["desc"].as_str().unwrap()
        ))
    }
    println!("{answer}\n");
    Some(ExitCode::SUCCESS)
}

fn fail(words: &str) -> ! {
    eprintln!("{words}\n");
    exit(1)
}
