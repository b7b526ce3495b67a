//! Arguments in, exit code out.

use std::process::ExitCode;

fn main() -> ExitCode {
    kylin_vr::cli::main(std::env::args_os())
}
