//! `kylin-vr schema`: the file's JSON Schema, for editors.

use std::process::ExitCode;

use super::print;
use crate::config::schema::schema;

pub(super) fn run() -> ExitCode {
    // A value of strings and numbers always has a text.
    print(&format!("{:#}\n", schema()));
    ExitCode::SUCCESS
}
