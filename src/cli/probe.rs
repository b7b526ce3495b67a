//! `--probe`: confirms by itself what `--confirm-within` applied, once everything that is to be reached was.

use std::fmt;
use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::str::FromStr;
use std::thread;
use std::time::Duration;

use super::report::{Outcome, Report};
use super::{Context, run, window};
use crate::config::Config;
use crate::intake::{Unconfirmed, fingerprint};
use crate::kernel;
use crate::words::plain;

/// How long an answer is waited for, and how long between two rounds.
const TIMEOUT: Duration = Duration::from_secs(1);
const PAUSE: Duration = Duration::from_millis(200);

/// What is to be reached, as it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Probe {
    /// The configured gateway, by ping.
    Gateway,
    /// A port, by a TCP connection.
    Tcp(SocketAddrV4),
}

impl FromStr for Probe {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "gateway" {
            return Ok(Self::Gateway);
        }
        let socket = text.parse().ok().filter(|to: &SocketAddrV4| to.port() != 0);
        socket
            .map(Self::Tcp)
            .ok_or_else(|| "expected `gateway`, or IP:PORT as in 10.90.3.1:443".to_owned())
    }
}

/// A probe of a certain configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Target {
    Ping(Ipv4Addr),
    Tcp(SocketAddrV4),
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ping(host) => write!(f, "gateway {host}"),
            Self::Tcp(to) => to.fmt(f),
        }
    }
}

impl Target {
    fn try_once(self, timeout: Duration) -> io::Result<()> {
        match self {
            Self::Ping(host) => kernel::ping(host, timeout),
            Self::Tcp(to) => kernel::connect(to, timeout),
        }
    }
}

/// What the probes are with this configuration. Pure.
pub(super) fn targets(probes: &[Probe], config: &Config) -> Result<Vec<Target>, String> {
    let gateway = config.external().and_then(|interface| interface.gateway);
    let target = |probe: &Probe| match (probe, gateway) {
        (Probe::Tcp(to), _) => Ok(Target::Tcp(*to)),
        (Probe::Gateway, Some(gateway)) => Ok(Target::Ping(gateway)),
        (Probe::Gateway, None) => {
            Err("--probe gateway: no interface of this configuration has a gateway".to_owned())
        }
    };
    probes.iter().map(target).collect()
}

/// Whether nothing came because the window ended, sooner than a try does: this says less than the try before it.
fn is_cut_short(error: &io::Error, left: Duration) -> bool {
    error.kind() == io::ErrorKind::TimedOut && left < TIMEOUT
}

/// Probes until everything was reached once, and confirms; or until the window is over, and takes back. The lock is not
/// held meanwhile: an operator may confirm, or put another configuration in its place.
pub(super) fn run(context: &Context, mut report: Report, opened: &Unconfirmed, targets: &[Target]) -> Report {
    let mut missing: Vec<(Target, Option<io::Error>)> =
        targets.iter().map(|target| (*target, None)).collect();
    loop {
        let left = match window::look(context) {
            Ok(Some(open)) if open.window == *opened => open.left,
            // Somebody else decided; what, is found out under the lock.
            Ok(_) => Duration::ZERO,
            Err(error) => return report.with_outcome(Outcome::Failed, error),
        };
        if missing.is_empty() || left.is_zero() {
            break;
        }
        missing.retain_mut(|(target, why)| match target.try_once(left.min(TIMEOUT)) {
            Ok(()) => false,
            Err(error) => {
                if why.is_none() || !is_cut_short(&error, left) {
                    *why = Some(error);
                }
                true
            }
        });
        if !missing.is_empty() {
            thread::sleep(PAUSE.min(left));
        }
    }
    let lock = match run::lock(context, report.command, None) {
        Ok(lock) => lock,
        // What waits is taken back all the same, by others.
        Err(busy) => return report.with_outcome(busy.result, busy.message),
    };
    let settled = window::settle(context, &lock);
    let is_ours = matches!(window::look(context), Ok(Some(open)) if open.window == *opened);
    if is_ours && missing.is_empty() {
        return match window::confirm(context, &lock) {
            Ok(_) => {
                report.message += "; confirmed: every probe passed";
                report
            }
            Err((outcome, message)) => report.with_outcome(outcome, message),
        };
    }
    if let Some(settled) = settled.filter(|settled| settled.exit_code != 0) {
        report.failed = settled.failed;
        report.left_over = settled.left_over;
        return report.with_outcome(settled.result, settled.message);
    }
    match context.state.accepted().ok().flatten() {
        Some(accepted) if fingerprint(&accepted) == opened.waiting => {
            report.message += "; confirmed meanwhile by another run";
            report
        }
        accepted if fingerprint(accepted.as_deref().unwrap_or_default()) == opened.target => {
            report.failed = missing
                .iter()
                .map(|(target, why)| {
                    let why = why.as_ref().map_or_else(|| "was not tried".to_owned(), plain);
                    format!("probe {target}: {why}")
                })
                .collect();
            report.changes.clear();
            let message = "not confirmed in time, and taken back".to_owned();
            run::still_in_force(context, report.with_outcome(Outcome::TakenBack, message))
        }
        _ => {
            let message = "another configuration was put in its place while it waited to be confirmed";
            run::still_in_force(context, report.with_outcome(Outcome::Failed, message.to_owned()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_probe_is_the_gateway_or_an_address_with_a_port() {
        assert_eq!("gateway".parse(), Ok(Probe::Gateway));
        let tcp = Probe::Tcp(SocketAddrV4::new([10, 90, 3, 1].into(), 443));
        assert_eq!("10.90.3.1:443".parse(), Ok(tcp));
        for bad in [
            "",
            "10.90.3.1",
            "10.90.3.1:0",
            "gateway:80",
            "[::1]:80",
            "host:80",
        ] {
            assert!(bad.parse::<Probe>().is_err(), "{bad}");
        }
    }

    #[test]
    fn the_gateway_is_that_of_the_configuration() {
        let text = b"if_list: [{ipaddr: 10.0.0.2, prefix: 24, mac: 02:00:00:00:00:01, gateway: 10.0.0.1}]\n";
        let config = Config::parse(text).config.unwrap();
        let gateway = Target::Ping([10, 0, 0, 1].into());
        assert_eq!(targets(&[Probe::Gateway], &config), Ok(vec![gateway]));
        assert!(targets(&[Probe::Gateway], &Config::default()).is_err());
        assert_eq!(targets(&[], &Config::default()), Ok(Vec::new()));
    }

    #[test]
    fn a_try_that_the_end_of_the_window_cuts_short_does_not_take_the_place_of_a_reason() {
        let short = Duration::from_millis(3);
        let silent = io::Error::from(io::ErrorKind::TimedOut);
        assert!(is_cut_short(&silent, short));
        assert!(!is_cut_short(&silent, TIMEOUT));
        let refused = io::Error::from(io::ErrorKind::ConnectionRefused);
        assert!(!is_cut_short(&refused, short));
    }
}
