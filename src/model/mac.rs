//! The hardware address of a NIC: a unicast EUI-48 that is not zero, and nothing else.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The unicast, non-zero EUI-48 address by which a NIC is found, whatever its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct MacAddr([u8; 6]);

/// Why six octets, or a text, are no address of a NIC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MacAddrError {
    /// Not six groups of two hexadecimal digits.
    #[error("six groups of two hexadecimal digits, as in 52:54:84:00:08:45")]
    Malformed,
    /// The group bit (the lowest bit of the first octet, IEEE 802) is set; libvirt refuses these as well.
    #[error("a unicast address (the first octet is even), not a multicast one")]
    Multicast,
    /// 00:00:00:00:00:00, which no NIC has.
    #[error("the address of a NIC, not the zero address")]
    Zero,
}

impl MacAddr {
    /// The address made of these octets.
    ///
    /// # Errors
    /// If the octets are all zero or those of a group.
    pub fn from_octets(octets: [u8; 6]) -> Result<Self, MacAddrError> {
        if octets == [0; 6] {
            Err(MacAddrError::Zero)
        } else if octets[0] & 1 == 1 {
            Err(MacAddrError::Multicast)
        } else {
            Ok(Self(octets))
        }
    }

    /// The six octets in the order of transmission.
    #[must_use]
    pub const fn octets(self) -> [u8; 6] {
        self.0
    }
}

impl fmt::Display for MacAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl FromStr for MacAddr {
    type Err = MacAddrError;

    /// Colons or hyphens between the groups, upper or lower case: what hypervisors write.
    fn from_str(text: &str) -> Result<Self, MacAddrError> {
        let separator = if text.contains('-') { '-' } else { ':' };
        let mut octets = [0; 6];
        let mut groups = text.split(separator);
        for octet in &mut octets {
            let group = groups.next().ok_or(MacAddrError::Malformed)?;
            if group.len() != 2 || !group.bytes().all(|byte| byte.is_ascii_hexdigit()) {
                return Err(MacAddrError::Malformed);
            }
            *octet = u8::from_str_radix(group, 16).map_err(|_| MacAddrError::Malformed)?;
        }
        match groups.next() {
            None => Self::from_octets(octets),
            Some(_) => Err(MacAddrError::Malformed),
        }
    }
}

impl TryFrom<String> for MacAddr {
    type Error = MacAddrError;
    fn try_from(text: String) -> Result<Self, MacAddrError> {
        text.parse()
    }
}

impl From<MacAddr> for String {
    fn from(mac: MacAddr) -> Self {
        mac.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_what_hypervisors_write() {
        for text in ["52:54:84:00:08:45", "52-54-84-00-08-45", "02:AB:cd:EF:00:01"] {
            let mac: MacAddr = text.parse().unwrap();
            assert_eq!(mac.to_string(), text.to_lowercase().replace('-', ":"));
        }
    }

    #[test]
    fn refuses_what_no_nic_has() {
        for (text, error) in [
            ("", MacAddrError::Malformed),
            ("52:54:84:00:08", MacAddrError::Malformed),
            ("52:54:84:00:08:45:01", MacAddrError::Malformed),
            ("52:54:84:00:08-45", MacAddrError::Malformed),
            ("52:54:84:00:08:4g", MacAddrError::Malformed),
            ("52:54:84:00:8:45", MacAddrError::Malformed),
            ("+2:54:84:00:08:45", MacAddrError::Malformed),
            ("11:11:22:22:33:00", MacAddrError::Multicast),
            ("ff:ff:ff:ff:ff:ff", MacAddrError::Multicast),
            ("00:00:00:00:00:00", MacAddrError::Zero),
        ] {
            assert_eq!(text.parse::<MacAddr>(), Err(error), "{text:?}");
        }
    }
}
