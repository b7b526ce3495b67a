//! What can go wrong between us and the kernel, by what the caller does next.

use std::io;

use crate::words::plain;

/// A look or an operation that failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Something else changed the kernel between the look and the operation: another program nftables
    /// (`ERESTART`), or a NIC went (`ENODEV`). Look again and plan again.
    #[error("something else changed the kernel in between")]
    Interrupted,
    /// The kernel said no.
    #[error("{}", with_remedy(.source))]
    Refused {
        /// Its answer.
        #[source]
        source: io::Error,
    },
    /// A link cannot be made, since its place is taken (`EEXIST`).
    #[error(
        "another link that somebody made has this name, or is a tunnel with the same ends and key \
         (`ip -d link` shows it): remove it, or choose another key"
    )]
    Taken,
    /// The kernel lacks what is needed.
    #[error("this kernel has no {feature}: {remedy}")]
    Unsupported {
        /// What is missing.
        feature: &'static str,
        /// What to do about it.
        remedy: &'static str,
    },
    /// The kernel's answer cannot be read.
    #[error("unexpected answer of the kernel to {request}: {problem}")]
    Garbled {
        /// What was asked.
        request: &'static str,
        /// What is wrong with the answer.
        problem: String,
    },
    /// A file of the kernel's cannot be written.
    #[error("write {path}: {}", with_remedy(.source))]
    Write {
        /// The file.
        path: String,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// A look failed.
    #[error("read {what}: {}", with_remedy(.source))]
    Read {
        /// What was looked at.
        what: String,
        /// Why not.
        #[source]
        source: io::Error,
    },
}

impl Error {
    /// The kernel's answer as an error number (`errno(3)`, positive).
    #[must_use]
    pub fn refused(errno: i32) -> Self {
        Self::Refused {
            source: io::Error::from_raw_os_error(errno),
        }
    }
}

/// Operations that were not all carried out.
#[derive(Debug)]
pub struct Incomplete {
    /// How many were begun: those before this index were carried out unless they failed, the others not.
    pub begun: usize,
    /// What failed, in order; at least one.
    pub failures: Vec<Failure>,
}

/// One operation that failed, by its place in the list that was to be carried out.
#[derive(Debug)]
pub struct Failure {
    /// Its index.
    pub index: usize,
    /// Why.
    pub error: Error,
}

/// The system's words in lower case, and what to do where it is known.
fn with_remedy(error: &io::Error) -> String {
    let text = plain(error);
    match error.raw_os_error() {
        Some(nix::libc::EPERM | nix::libc::EACCES) => format!("{text} (needs root, or CAP_NET_ADMIN)"),
        Some(nix::libc::ENETUNREACH) => format!("{text} (is the gateway in the subnet of its link?)"),
        _ => text,
    }
}
