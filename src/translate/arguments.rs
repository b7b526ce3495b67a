//! The arguments of a trace, as they were written, read as the packet that they mean. Pure.
//!
//! Where a packet enters is told by its source: nobody has to know the place of a NIC in the file. So what is asked
//! about is never a packet with a false source, but for that of a subnet's broadcast address.

use std::net::Ipv4Addr;

use super::index::Way;
use super::{Model, Origin, Packet, Ports, Transport};
use crate::config::{Protocol, number, shown};

/// The port that a sender has that says none: the first of those that nobody owns (RFC 6335). No translation is decided by it.
const SOURCE_PORT: u16 = 49_152;
/// The number of ICMP.
const ICMP: u8 = 1;

/// What a trace is asked about: `--from 192.168.100.190 --to 10.90.2.251 tcp 443`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arguments<'a> {
    /// The sender's address.
    pub from: &'a str,
    /// The address that the packet is sent to.
    pub to: &'a str,
    /// `tcp`, `udp`, `icmp`, or the number of a protocol.
    pub protocol: &'a str,
    /// The port that it is sent to, where the protocol has ports.
    pub port: Option<&'a str>,
}

/// Why arguments mean no packet.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ArgumentError {
    /// The sender is no address.
    #[error("--from: {}: expected an IPv4 address, as in 192.168.100.190", shown(.0))]
    From(String),
    /// The receiver is no address.
    #[error("--to: {}: expected an IPv4 address, as in 10.90.2.250", shown(.0))]
    To(String),
    /// The protocol is none.
    #[error("protocol: {}: expected tcp, udp, icmp, or a number from 0 to 255", shown(.0))]
    Protocol(String),
    /// The port is none.
    #[error("port: {}: expected a number from 1 to 65535", shown(.0))]
    Port(String),
    /// There is no port.
    #[error("port: missing: expected a number from 1 to 65535, as in `{0} 443`")]
    NoPort(Protocol),
    /// There is a port too much.
    #[error("port: {}: expected none, since only tcp and udp have ports here", shown(.0))]
    NeedlessPort(String),
    /// The sender is outside, and the router has nothing to do with outside.
    #[error(
        "--from: {0}: expected an address of the router or of a VPC subnet, since no interface has a gateway"
    )]
    NoOutside(Ipv4Addr),
}

impl Model<'_> {
    /// The packet that is meant.
    ///
    /// # Errors
    /// The first argument that cannot be read, or that is no sender of this configuration.
    pub fn packet(&self, arguments: &Arguments<'_>) -> Result<Packet, ArgumentError> {
        let Arguments { from, to, .. } = *arguments;
        let source = from.parse().map_err(|_| ArgumentError::From(from.to_owned()))?;
        let destination = to.parse().map_err(|_| ArgumentError::To(to.to_owned()))?;
        let transport = transport(arguments)?;
        Ok(Packet {
            from: self.origin(source).ok_or(ArgumentError::NoOutside(source))?,
            source,
            destination,
            transport,
        })
    }

    /// Where a packet with this source enters: the router's own addresses (also the elastic ones) are the router, those of
    /// a VPC subnet come by its NIC, those behind an entry of `route_list` by the NIC of its next hop, and all others from outside; `None`: there is no outside.
    #[must_use]
    pub fn origin(&self, source: Ipv4Addr) -> Option<Origin> {
        if self.index.way(source) == Way::Local {
            return Some(Origin::Router);
        }
        let nic = self.index.home(source).or_else(|| self.index.external());
        nic.map(Origin::Nic)
    }
}

fn transport(arguments: &Arguments<'_>) -> Result<Transport, ArgumentError> {
    let Arguments { protocol, port, .. } = *arguments;
    // Upper or lower case, as in the file; and a protocol by its number is the same one.
    let protocol = match protocol.to_ascii_lowercase().as_str() {
        "tcp" => Protocol::Tcp as u8,
        "udp" => Protocol::Udp as u8,
        "icmp" => ICMP,
        other => {
            number(other, &(0..=u8::MAX), "").map_err(|_| ArgumentError::Protocol(protocol.to_owned()))?
        }
    };
    let ports = |protocol| {
        let text = port.ok_or(ArgumentError::NoPort(protocol))?;
        let destination =
            number(text, &(1..=u16::MAX), "").map_err(|_| ArgumentError::Port(text.to_owned()))?;
        Ok(Ports {
            source: SOURCE_PORT,
            destination,
        })
    };
    if protocol == Protocol::Tcp as u8 {
        return ports(Protocol::Tcp).map(Transport::Tcp);
    }
    if protocol == Protocol::Udp as u8 {
        return ports(Protocol::Udp).map(Transport::Udp);
    }
    match port {
        Some(port) => Err(ArgumentError::NeedlessPort(port.to_owned())),
        None if protocol == ICMP => Ok(Transport::Echo),
        None => Ok(Transport::Other(protocol)),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::super::{Fate, Nic, Reason, Row};
    use super::*;
    use crate::config::Config;

    const ROUTER: &str = include_str!("../../examples/kylin-vr.yaml");
    const OUTSIDE: Origin = Origin::Nic(Nic(0));
    const VPC: Origin = Origin::Nic(Nic(1));

    /// Calls with a model of the example, all of whose NICs but these are there.
    fn with<T>(text: &str, missing: &[usize], call: impl FnOnce(&Model<'_>) -> T) -> T {
        let parsed = Config::parse(text.as_bytes());
        let config = parsed.config.unwrap_or_else(|| panic!("{:?}", parsed.problems));
        let nics: BTreeSet<_> = (config.interfaces().iter().enumerate())
            .filter(|(index, _)| !missing.contains(index))
            .map(|(_, one)| one.link())
            .collect();
        call(&Model::new(&config, &nics))
    }

    fn arguments(words: &str) -> Arguments<'_> {
        let mut words = words.split(' ');
        let mut next = || words.next().unwrap();
        Arguments {
            from: next(),
            to: next(),
            protocol: next(),
            port: words.next(),
        }
    }

    fn read(words: &str) -> Result<Packet, String> {
        with(ROUTER, &[], |model| model.packet(&arguments(words))).map_err(|error| error.to_string())
    }

    #[test]
    fn a_packet_is_what_the_words_say() {
        let ports = |destination| Ports {
            source: SOURCE_PORT,
            destination,
        };
        for (words, transport) in [
            ("tcp 443", Transport::Tcp(ports(443))),
            ("TCP 443", Transport::Tcp(ports(443))),
            ("6 1", Transport::Tcp(ports(1))),
            ("udp 65535", Transport::Udp(ports(65_535))),
            ("17 53", Transport::Udp(ports(53))),
            ("icmp", Transport::Echo),
            ("1", Transport::Echo),
            ("0", Transport::Other(0)),
            ("47", Transport::Other(47)),
            ("255", Transport::Other(255)),
        ] {
            let packet = Packet {
                from: VPC,
                source: Ipv4Addr::new(192, 168, 100, 190),
                destination: Ipv4Addr::new(10, 90, 2, 251),
                transport,
            };
            assert_eq!(
                read(&format!("192.168.100.190 10.90.2.251 {words}")),
                Ok(packet),
                "{words}"
            );
        }
    }

    #[test]
    fn a_packet_enters_where_its_source_is() {
        for (source, from) in [
            ("192.168.100.190", VPC),
            ("192.168.100.1", VPC),
            ("192.168.100.254", Origin::Router),
            ("10.90.3.37", Origin::Router),
            // The router answers for elastic IPs and for the addresses of forwards.
            ("10.90.2.250", Origin::Router),
            ("10.90.2.254", Origin::Router),
            ("127.0.0.1", Origin::Router),
            ("10.90.3.1", OUTSIDE),
            ("192.168.101.1", OUTSIDE),
            ("0.0.0.0", OUTSIDE),
            ("255.255.255.255", OUTSIDE),
        ] {
            let packet = read(&format!("{source} 8.8.8.8 icmp"));
            assert_eq!(packet.map(|packet| packet.from), Ok(from), "{source}");
        }
    }

    #[test]
    fn a_pending_nic_is_entered_and_its_address_is_not_the_routers() {
        for (missing, source, from) in [
            (1, "192.168.100.190", VPC),
            (1, "192.168.100.254", VPC),
            (0, "10.90.3.37", OUTSIDE),
            (0, "8.8.8.8", OUTSIDE),
        ] {
            with(ROUTER, &[missing], |model| {
                let words = format!("{source} 9.9.9.9 icmp");
                let packet = model.packet(&arguments(&words)).unwrap();
                assert_eq!(packet.from, from, "{source}");
                assert_eq!(
                    model.translate(&packet).fate,
                    Fate::Dropped(Reason::NicMissing),
                    "{source}"
                );
            });
        }
    }

    #[test]
    fn without_an_outside_nobody_sends_from_there() {
        let text = "if_list: [{ipaddr: 192.168.100.254, prefix: 24, mac: 52:54:84:11:00:03}]";
        let from = |source: &str| {
            let words = format!("{source} 8.8.8.8 icmp");
            with(text, &[], |model| {
                model.packet(&arguments(&words)).map(|one| one.from)
            })
        };
        assert_eq!(
            from("192.168.100.190"),
            Ok(OUTSIDE),
            "the first NIC is a subnet's"
        );
        assert_eq!(from("192.168.100.254"), Ok(Origin::Router));
        assert_eq!(
            from("8.8.4.4").unwrap_err().to_string(),
            "--from: 8.8.4.4: expected an address of the router or of a VPC subnet, since no interface has a gateway"
        );
    }

    #[test]
    fn what_is_no_packet_is_refused_with_what_was_expected() {
        let from = "expected an IPv4 address, as in 192.168.100.190";
        let to = "expected an IPv4 address, as in 10.90.2.250";
        let protocol = "expected tcp, udp, icmp, or a number from 0 to 255";
        let port = "expected a number from 1 to 65535";
        let none = "expected none, since only tcp and udp have ports here";
        for (words, error) in [
            (" 8.8.8.8 icmp", format!("--from: \"\": {from}")),
            ("vm 8.8.8.8 icmp", format!("--from: vm: {from}")),
            ("fe80::1 8.8.8.8 icmp", format!("--from: fe80::1: {from}")),
            ("1.1.1.1 8.8.8 icmp", format!("--to: 8.8.8: {to}")),
            ("1.1.1.1 8.8.8.8/32 icmp", format!("--to: 8.8.8.8/32: {to}")),
            ("1.1.1.1 08.8.8.8 icmp", format!("--to: 08.8.8.8: {to}")),
            (
                "1.1.1.1 8.8.8.8 \u{1b}[31m",
                format!("protocol: \"\\u{{1b}}[31m\": {protocol}"),
            ),
            ("1.1.1.1 8.8.8.8 TC 1", format!("protocol: TC: {protocol}")),
            ("1.1.1.1 8.8.8.8 ICMP 1", format!("port: 1: {none}")),
            ("1.1.1.1 8.8.8.8 256", format!("protocol: 256: {protocol}")),
            ("1.1.1.1 8.8.8.8 -1", format!("protocol: -1: {protocol}")),
            ("1.1.1.1 8.8.8.8 +6 80", format!("protocol: +6: {protocol}")),
            ("1.1.1.1 8.8.8.8 06 80", format!("protocol: 06: {protocol}")),
            ("1.1.1.1 8.8.8.8 tcp 0", format!("port: 0: {port}")),
            ("1.1.1.1 8.8.8.8 tcp 65536", format!("port: 65536: {port}")),
            ("1.1.1.1 8.8.8.8 udp http", format!("port: http: {port}")),
            ("1.1.1.1 8.8.8.8 17 +53", format!("port: +53: {port}")),
            (
                "1.1.1.1 8.8.8.8 tcp",
                format!("port: missing: {port}, as in `tcp 443`"),
            ),
            (
                "1.1.1.1 8.8.8.8 17",
                format!("port: missing: {port}, as in `udp 443`"),
            ),
            ("1.1.1.1 8.8.8.8 icmp 8", format!("port: 8: {none}")),
            ("1.1.1.1 8.8.8.8 132 80", format!("port: 80: {none}")),
        ] {
            assert_eq!(read(words), Err(error), "{words}");
        }
    }

    #[test]
    fn the_example_of_the_manual_is_a_hairpin() {
        with(ROUTER, &[], |model| {
            let packet = model
                .packet(&arguments("192.168.100.190 10.90.2.251 tcp 443"))
                .unwrap();
            assert_eq!(model.translate(&packet).row, Some(Row(5)));
        });
    }
}
