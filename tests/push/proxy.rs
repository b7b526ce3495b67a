//! A socket before the agent's own, as QEMU is one: one client at a time, and whatever a test does on the way.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::thread;

use serde_json::Value;

/// What is on its way.
pub enum Passing<'a> {
    /// To the agent.
    Request(&'a mut Value),
    /// From the agent, to this command.
    Answer(&'a str, &'a mut Value),
}

/// What becomes of it.
#[derive(PartialEq)]
pub enum Fate {
    Pass,
    /// It is lost; the connection stays.
    Lost,
    /// The connection is cut.
    Cut,
}

/// Listens at `path` and hands on to `agent`. `stale` is what an earlier client did not read. The thread ends with
/// the test process.
pub fn proxy(
    path: &Path,
    agent: PathBuf,
    stale: &'static [u8],
    mut fate: impl FnMut(Passing) -> Fate + Send + 'static,
) {
    let listener = UnixListener::bind(path).unwrap();
    thread::spawn(move || {
        for client in listener.incoming() {
            // What fails is the end of a connection, as it would be in QEMU.
            let _ = client.and_then(|client| serve(&client, &agent, stale, &mut fate));
        }
    });
}

fn serve(
    client: &UnixStream,
    agent: &Path,
    stale: &[u8],
    fate: &mut impl FnMut(Passing) -> Fate,
) -> std::io::Result<()> {
    let agent = UnixStream::connect(agent)?;
    let (mut to_client, mut to_agent) = (client, &agent);
    to_client.write_all(stale)?;
    let (mut from_client, mut from_agent) = (BufReader::new(client), BufReader::new(&agent));
    loop {
        let mut line = Vec::new();
        if from_client.read_until(b'\n', &mut line)? == 0 {
            return Ok(());
        }
        if line[0] == 0xff {
            // In step with the agent is in step with us: its answer is the line that begins with the delimiter.
            to_agent.write_all(&line)?;
            let mut answer = Vec::new();
            while answer.first() != Some(&0xff) {
                answer.clear();
                from_agent.read_until(b'\n', &mut answer)?;
            }
            to_client.write_all(&answer)?;
            continue;
        }
        let mut request: Value = serde_json::from_slice(&line)?;
        match fate(Passing::Request(&mut request)) {
            Fate::Pass => {}
            Fate::Lost => continue,
            Fate::Cut => return Ok(()),
        }
        writeln!(to_agent, "{request}")?;
        let mut line = Vec::new();
        from_agent.read_until(b'\n', &mut line)?;
        let mut answer: Value = serde_json::from_slice(&line)?;
        let command = request["execute"].as_str().unwrap_or_default();
        match fate(Passing::Answer(command, &mut answer)) {
            Fate::Pass => writeln!(to_client, "{answer}")?,
            Fate::Lost => {}
            Fate::Cut => return Ok(()),
        }
    }
}
