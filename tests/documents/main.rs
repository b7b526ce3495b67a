//! The examples of the documents, run as printed: README.md and docs/, each in a shell and in namespaces of its own.
//!
//! `UPDATE_DOCUMENTS=1 cargo test --test documents` writes what is printed into them. Without the right to make
//! namespaces nothing is run, which is counted as ignored; everything else is tried.
//!
//! | block | what is done with it |
//! |---|---|
//! | `sh` | run; the `text` or `json` block right behind it is what it prints, without one it prints nothing |
//! | `console` with `$ ` or `# ` | run; below each command is what it prints |
//! | `console` with `vm# ` and the like | another machine: the calls of kylin-vr are parsed |
//! | `yaml` | a whole file, checked |
//! | `text` of its own, `xml` | shown only |
//!
//! A comment right above a block, which no reader sees, says otherwise: `<!-- not run: needs a VM -->`, `<!-- output
//! left out -->` (it must end with 0), `<!-- fragment -->`. NAME.sh in this folder is run before docs/NAME.md.

mod arguments;
mod compare;
mod examples;
mod markdown;
mod shell;
mod translations;

use std::process::ExitCode;

use libtest_mimic::{Arguments, Trial, run};

/// Documents with a translation beside them.
const TRANSLATED: [&str; 2] = ["README.md", "docs/tutorial.md"];

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    let missing = lab::is_root_with_netns().err();
    if let Some(reason) = &missing {
        eprintln!("ignored: {reason}");
    }
    let mut trials: Vec<Trial> = Vec::new();
    for path in examples::DOCUMENTS {
        let run = move || examples::run(path).map_err(Into::into);
        trials.push(Trial::test(format!("examples::{path}"), run).with_ignored_flag(missing.is_some()));
    }
    for path in TRANSLATED {
        let compare = move || translations::has_the_same_blocks(path).map_err(Into::into);
        trials.push(Trial::test(format!("translations::{path}"), compare));
    }
    let others: [(&str, fn()); 3] = [
        (
            "arguments::every_call_is_accepted",
            arguments::every_call_is_accepted,
        ),
        ("arguments::every_file_is_valid", arguments::every_file_is_valid),
        ("compare::tells_what_differs", compare::tells_what_differs),
    ];
    for (name, test) in others {
        let test = move || {
            test();
            Ok(())
        };
        trials.push(Trial::test(name, test));
    }
    if std::env::var_os("UPDATE_DOCUMENTS").is_some() {
        // A translation takes what was written just before it.
        arguments.test_threads = Some(1);
    }
    // Much of it is waiting.
    arguments.test_threads.get_or_insert(4);
    run(&arguments, trials).exit_code()
}
