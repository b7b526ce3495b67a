//! Where the kernel does something else with a packet than the configuration says, and what on its way is not as it should
//! be. Pure: it compares a [`Trace`] with what was seen.

mod around;
mod passage;
mod questions;
#[cfg(test)]
mod tests;
mod way;

use std::time::Duration;

use serde::Serialize;

use super::Trace;
use crate::config::Config;
use crate::model::inspected::{Inspected, Traced};
use crate::model::{Link, Observed, nft};
use crate::translate::{Delivery, Fate, Nic, Origin};

pub use questions::{followed, is_answered, questions};

/// What was compared, and what came of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Live {
    /// Whether nothing is wrong.
    pub agrees: bool,
    /// What was looked at, in the order of the packet's way.
    pub checks: Vec<Check>,
    /// What it comes to.
    pub sentence: String,
    /// What to do, where something is known.
    pub remedy: Option<String>,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    /// How it is.
    pub state: State,
    /// What it is about.
    pub subject: &'static str,
    /// What was seen.
    pub text: String,
    /// What to do about it.
    pub remedy: Option<String>,
}

/// How something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// As it should be.
    Ok,
    /// Not as it should be.
    Wrong,
    /// To be known; or nothing could be seen.
    Note,
}

/// All that was seen.
#[derive(Clone, Copy, Debug)]
pub struct Seen<'s> {
    /// The configuration of the trace.
    pub config: &'s Config,
    /// The kernel.
    pub observed: &'s Observed,
    /// Its answers to [`questions`].
    pub inspected: &'s Inspected,
    /// What a reload would change in it.
    pub differences: &'s [String],
    /// How long a packet was waited for, and what was told of it; `None`: none was waited for.
    pub followed: Option<(Duration, &'s [Traced])>,
}

/// What a remedy says where the kernel is not as the configuration says.
const RELOAD: &str = "`kylin-vr reload` puts it right";

/// Compares.
#[must_use]
pub fn examine(trace: &Trace, seen: &Seen<'_>) -> Live {
    let look = Look { trace, seen: *seen };
    let mut checks = Vec::new();
    look.links(&mut checks);
    look.forwarding(&mut checks);
    look.table(&mut checks);
    look.routes(&mut checks);
    look.tracking(&mut checks);
    look.neighbours(&mut checks);
    look.mirrors(&mut checks);
    look.differences(&mut checks);
    look.others(&mut checks);
    look.passage(&mut checks);
    for text in &seen.inspected.unseen {
        checks.push(note("not seen", text.clone()));
    }
    let wrong = checks.iter().find(|one| one.state == State::Wrong);
    // Nothing came: that is the last word only if nothing else is wrong.
    let nothing_came = || {
        let is_empty = seen.followed.is_some_and(|(_, events)| events.is_empty());
        checks.iter().find(|one| one.subject == PACKET && is_empty)
    };
    let (sentence, remedy) = match wrong.or_else(nothing_came) {
        Some(one) if one.state == State::Wrong => (one.text.clone(), one.remedy.clone()),
        Some(one) => (
            format!("nothing wrong is seen here, but {}", one.text),
            one.remedy.clone(),
        ),
        None => (
            "the kernel does the same, and nothing wrong is seen here".to_owned(),
            None,
        ),
    };
    Live {
        agrees: wrong.is_none(),
        checks,
        sentence,
        remedy,
    }
}

const PACKET: &str = "packet";

struct Look<'s> {
    trace: &'s Trace,
    seen: Seen<'s>,
}

impl Look<'_> {
    fn link(&self, nic: Nic) -> Option<&Link> {
        questions::link(self.seen.config, self.seen.observed, nic)
    }

    /// The NICs that the packet comes in and leaves by.
    fn nics(&self) -> Vec<Nic> {
        let mut nics = Vec::new();
        if let Origin::Nic(nic) = self.trace.told.packet.from {
            nics.push(nic);
        }
        if let Some(delivery) = self.delivery()
            && !nics.contains(&delivery.nic)
        {
            nics.push(delivery.nic);
        }
        nics
    }

    fn delivery(&self) -> Option<&Delivery> {
        match &self.trace.told.outcome.fate {
            Fate::Delivered(delivery) => Some(delivery),
            Fate::Router(_) | Fate::Dropped(_) => None,
        }
    }

    fn sysctl(&self, path: &str) -> Option<&str> {
        self.seen.inspected.sysctls.get(path).map(String::as_str)
    }

    fn packet(&self) -> nft::Packet {
        questions::packet(&self.trace.told.packet)
    }

    /// The packet as it should be after all translation; `None`: it gets nowhere.
    fn translated(&self) -> Option<nft::Packet> {
        questions::translated(self.trace)
    }
}

/// `192.168.100.190 > 10.90.2.250:80`
fn shown(packet: nft::Packet) -> String {
    let port = packet
        .destination_port
        .map_or(String::new(), |port| format!(":{port}"));
    format!("{} > {}{port}", packet.source, packet.destination)
}

fn ok(subject: &'static str, text: String) -> Check {
    Check {
        state: State::Ok,
        subject,
        text,
        remedy: None,
    }
}

fn note(subject: &'static str, text: String) -> Check {
    Check {
        state: State::Note,
        ..ok(subject, text)
    }
}

fn wrong(subject: &'static str, text: String, remedy: &str) -> Check {
    Check {
        state: State::Wrong,
        remedy: Some(remedy.to_owned()),
        ..ok(subject, text)
    }
}
