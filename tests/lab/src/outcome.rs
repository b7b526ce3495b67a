//! What became of the packet of a probe.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddrV4};

/// What became of the packet. It is shown, and compared with a string, in a form that fits a row of a table:
/// `a1:22 sees 198.51.100.10`, `a1 sees 198.51.100.10` (ICMP), `refused`, `unreachable`, `lost`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// A listener got it.
    Arrived(Arrival),
    /// The sender got an answer, but no listener saw the packet: somebody else answered, as this address.
    Answered(Ipv4Addr),
    /// Somebody said that there is no such port: a TCP reset, or ICMP port unreachable.
    Refused,
    /// Somebody, or the sender's own kernel, said that there is no way there.
    Unreachable,
    /// Nobody saw it and nobody said a word in time.
    Lost,
}

/// How a packet arrived. Ports are 0 for ICMP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// The name of the listener that got it.
    pub host: String,
    /// Whom it came from, as the listener sees it.
    pub source: SocketAddrV4,
    /// The address that it was for, as the listener sees it.
    pub at: SocketAddrV4,
    /// Where the sender had sent it.
    pub sent_to: SocketAddrV4,
    /// Whom the answer came from, as the sender sees it. `None`: none came, or (TCP, UDP) from another address
    /// than `sent_to`, which no program would take for the answer.
    pub reply_from: Option<SocketAddrV4>,
}

impl Outcome {
    /// The arrival.
    ///
    /// # Panics
    /// If nothing arrived, with what became of it.
    pub fn arrival(&self) -> &Arrival {
        match self {
            Outcome::Arrived(arrival) => arrival,
            other => panic!("nothing arrived: {other}"),
        }
    }

    /// Whether a listener of this name got it, and the sender got its answer.
    pub fn reached(&self, host: &str) -> bool {
        matches!(self, Outcome::Arrived(arrival) if arrival.host == host && arrival.reply_from.is_some())
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Outcome::Arrived(arrival) => arrival.fmt(f),
            Outcome::Answered(address) => write!(f, "answered by {address}"),
            Outcome::Refused => f.write_str("refused"),
            Outcome::Unreachable => f.write_str("unreachable"),
            Outcome::Lost => f.write_str("lost"),
        }
    }
}

/// `a1:22 sees 198.51.100.10`; an answer is mentioned when it is missing or from elsewhere.
impl fmt::Display for Arrival {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.host)?;
        if self.at.port() != 0 {
            write!(f, ":{}", self.at.port())?;
        }
        write!(f, " sees {}", self.source.ip())?;
        match self.reply_from {
            Some(address) if address == self.sent_to => Ok(()),
            Some(address) => write!(f, ", answer from {}", address.ip()),
            None => f.write_str(", no answer"),
        }
    }
}

impl PartialEq<&str> for Outcome {
    fn eq(&self, other: &&str) -> bool {
        let shown = self.to_string();
        shown == **other
    }
}

impl PartialEq<Outcome> for &str {
    fn eq(&self, other: &Outcome) -> bool {
        other == self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_arrival_reads_as_a_row_of_a_table() {
        let to = SocketAddrV4::new([10, 90, 2, 250].into(), 22);
        let mut arrival = Arrival {
            host: "a1".to_owned(),
            source: SocketAddrV4::new([198, 51, 100, 10].into(), 40000),
            at: SocketAddrV4::new([192, 168, 100, 190].into(), 22),
            sent_to: to,
            reply_from: Some(to),
        };
        assert_eq!(Outcome::Arrived(arrival.clone()), "a1:22 sees 198.51.100.10");
        arrival.reply_from = Some(SocketAddrV4::new([10, 90, 3, 37].into(), 22));
        assert_eq!(
            Outcome::Arrived(arrival.clone()),
            "a1:22 sees 198.51.100.10, answer from 10.90.3.37"
        );
        arrival.reply_from = None;
        arrival.at.set_port(0);
        assert_eq!(Outcome::Arrived(arrival), "a1 sees 198.51.100.10, no answer");
    }
}
