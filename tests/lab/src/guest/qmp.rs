//! QMP, the channel that QEMU itself is commanded by: plug, unplug, snapshot.

use std::path::Path;

use serde_json::{Value, json};

use super::patience;
use super::wire::Wire;
use crate::wait::Deadline;

#[derive(Debug)]
pub(super) struct Qmp {
    wire: Wire,
    /// Events that came while something else was waited for.
    events: Vec<Value>,
}

impl Qmp {
    pub(super) fn connect(path: &Path) -> Qmp {
        let wire = Wire::connect(path, Deadline::after(patience()));
        let mut qmp = Qmp {
            wire,
            events: Vec::new(),
        };
        qmp.call("qmp_capabilities", json!({}));
        qmp
    }

    /// Runs a command and gives its result.
    ///
    /// # Panics
    /// If it fails, with QEMU's words; the next too.
    pub(super) fn call(&mut self, command: &str, arguments: Value) -> Value {
        let asked = json!({"execute": command, "arguments": arguments});
        self.wire.send(b"", &asked).expect("command QEMU");
        let deadline = Deadline::after(patience());
        loop {
            let answer = self.wire.receive(deadline);
            let mut answer = answer.unwrap_or_else(|error| panic!("QEMU does not answer {asked}: {error}"));
            if answer.get("event").is_some() {
                self.events.push(answer);
            } else if let Some(result) = answer.get_mut("return") {
                return result.take();
            } else if let Some(error) = answer.get("error") {
                panic!("{asked}: {error}");
            }
        }
    }

    /// Runs a command of the human monitor, which says nothing when it is content.
    pub(super) fn human(&mut self, line: &str) {
        let said = self.call("human-monitor-command", json!({"command-line": line}));
        assert_eq!(said.as_str().map(str::trim), Some(""), "{line}");
    }

    /// Waits for an event about a device.
    pub(super) fn wait_for_event(&mut self, event: &str, device: &str) {
        let wanted = |seen: &Value| seen["event"] == event && seen["data"]["device"] == device;
        let deadline = Deadline::after(patience());
        loop {
            if let Some(at) = self.events.iter().position(wanted) {
                self.events.remove(at);
                return;
            }
            let next = self.wire.receive(deadline);
            self.events
                .push(next.unwrap_or_else(|error| panic!("no {event} of {device}: {error}")));
        }
    }
}
