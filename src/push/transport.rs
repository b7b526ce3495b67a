//! One request to a guest agent and its answer: the same over a socket and through virsh.

use serde_json::Value;

use super::Target;
use super::error::Error;
use super::socket::Socket;
use super::until::Until;
use super::virsh::Virsh;

/// More than the two outputs of a program that an agent keeps, 16 MiB each, are in base64.
pub(super) const LONGEST_ANSWER: usize = 64 << 20;

/// What carries requests.
#[derive(Debug)]
pub(super) enum Transport {
    Socket(Socket),
    Virsh(Virsh),
    #[cfg(fuzzing)]
    Script(super::fuzz::Script),
}

impl Transport {
    pub(super) fn new(target: &Target) -> Self {
        match target {
            Target::Socket(path) => Self::Socket(Socket::new(path)),
            Target::Domain { name, connect } => Self::Virsh(Virsh::new(name, connect.as_deref())),
        }
    }

    /// Finds out whether the agent answers, where that is a step of its own.
    ///
    /// # Errors
    /// If it does not.
    pub(super) fn connect(&mut self, until: Until<'_>) -> Result<(), Error> {
        match self {
            Self::Socket(socket) => socket.connect(until),
            // libvirt asks the agent before each command.
            Self::Virsh(_) => Ok(()),
            #[cfg(fuzzing)]
            Self::Script(_) => Ok(()),
        }
    }

    /// The longest request that gets through.
    pub(super) fn longest_request(&self) -> usize {
        match self {
            // The agent's JSON parser takes tokens of 64 MiB (QEMU, qobject/json-lexer.c); no configuration comes
            // near it.
            Self::Socket(_) => 32 << 20,
            Self::Virsh(_) => Virsh::LONGEST_REQUEST,
            #[cfg(fuzzing)]
            Self::Script(_) => Virsh::LONGEST_REQUEST,
        }
    }

    /// Sends a request and gives the answer's `return`.
    ///
    /// # Errors
    /// If there is no answer, or it is the agent's "no".
    pub(super) fn ask(
        &mut self,
        command: &'static str,
        request: &Value,
        until: Until<'_>,
    ) -> Result<Value, Error> {
        let request = request.to_string();
        let answer = match self {
            Self::Socket(socket) => socket.ask(command, request, until)?,
            Self::Virsh(virsh) => virsh.ask(command, &request, until)?,
            #[cfg(fuzzing)]
            Self::Script(script) => script.ask(command)?,
        };
        let strange = |found: String| Error::Answer { command, found };
        let mut answer: Value =
            serde_json::from_slice(&answer).map_err(|error| strange(error.to_string()))?;
        if let Some(error) = answer.get("error") {
            let text = |key| error.get(key).and_then(Value::as_str).unwrap_or_default();
            return Err(Error::from_agent(command, text("class"), text("desc").to_owned()));
        }
        answer
            .get_mut("return")
            .map(Value::take)
            .ok_or_else(|| strange("it has neither `return` nor `error`".to_owned()))
    }
}
