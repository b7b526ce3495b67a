//! The system's errors as parts of our sentences.

use std::io;

/// What an error says, in lower case and without its number: `no such file or directory`.
#[must_use]
pub fn plain(error: &io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or(&text).to_lowercase()
}
