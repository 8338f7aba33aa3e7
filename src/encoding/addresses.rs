//! Addresses from which an SSH certificate lets in (`source-address`), as sshd compares them, and never everywhere.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Most ranges of addresses, and fewest bits of one: so all of them together are at most a sixteenth of IPv4, and never everywhere.
pub const MOST: usize = 16;
const WIDEST: [u8; 2] = [8, 16];

/// Why a text is no range of addresses.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum AddressesError {
    /// Too many, or one that sshd would not read.
    #[error("an address is one of IPv4 or IPv6, or a range as 192.0.2.0/24 with nothing behind the mask; 16 at most")]
    Form,
    /// With a few more of its kind it is everywhere.
    #[error("a range of addresses is no wider than /8 of IPv4, or /16 of IPv6")]
    Wide,
    /// sshd makes an IPv4 address of it before it compares (canohost.c), so it would let in from nowhere.
    #[error("an address of IPv4 is written as one: 192.0.2.1, and not ::ffff:192.0.2.1")]
    Mapped,
}

/// A range of addresses, or one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Addresses {
    address: IpAddr,
    /// Bits that count.
    length: u8,
}

impl FromStr for Addresses {
    type Err = AddressesError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (address, length) = text
            .split_once('/')
            .map_or((text, None), |(address, length)| (address, Some(length)));
        let address: IpAddr = address.parse().map_err(|_| AddressesError::Form)?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let length = match length {
            // `+8` and `08` are numbers to the standard library.
            Some(text) => text.parse().ok().filter(|length: &u8| length.to_string() == text),
            None => Some(most),
        };
        let length = length.filter(|length| *length <= most).ok_or(AddressesError::Form)?;
        // sshd calls bits behind the mask an inconsistent one, and the whole certificate bad (addrmatch.c).
        let behind = match address {
            IpAddr::V4(address) => u128::from(u32::from(address)) << 96,
            IpAddr::V6(address) => u128::from(address),
        };
        if behind.checked_shl(length.into()).unwrap_or(0) != 0 {
            return Err(AddressesError::Form);
        }
        match address {
            IpAddr::V6(address) if address.to_ipv4_mapped().is_some() => Err(AddressesError::Mapped),
            _ if length < WIDEST[usize::from(address.is_ipv6())] => Err(AddressesError::Wide),
            _ => Ok(Self { address, length }),
        }
    }
}

impl fmt::Display for Addresses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.length)
    }
}

impl TryFrom<String> for Addresses {
    type Error = AddressesError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Addresses> for String {
    fn from(addresses: Addresses) -> Self {
        addresses.to_string()
    }
}

impl Addresses {
    /// Whether `range` has all of them.
    #[must_use]
    pub fn is_within(&self, range: &Self) -> bool {
        // Bits in front that both have.
        let alike = match (self.address, range.address) {
            (IpAddr::V4(one), IpAddr::V4(other)) => (u32::from(one) ^ u32::from(other)).leading_zeros(),
            (IpAddr::V6(one), IpAddr::V6(other)) => (u128::from(one) ^ u128::from(other)).leading_zeros(),
            _ => return false,
        };
        self.length >= range.length && alike >= range.length.into()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn t27_addresses_are_written_as_sshd_reads_them() {
        for text in [
            "",
            "*",
            "10.0.0.1/8",
            "10.0.0.0/33",
            "10.0.0.0/+8",
            "10.0.0.0/08",
            "10.0.0.0/-1",
            "10.0.0.0/",
            "!10.0.0.1",
            "10.0.0.1,10.0.0.2",
            "host.example",
            "2001:db8::1/64",
            "010.0.0.1",
            "10.1",
        ] {
            assert_eq!(text.parse::<Addresses>(), Err(AddressesError::Form), "{text:?}");
        }
        for (text, written) in [
            ("10.0.0.1", "10.0.0.1/32"),
            ("10.0.0.0/8", "10.0.0.0/8"),
            ("2001:DB8::/32", "2001:db8::/32"),
        ] {
            assert_eq!(text.parse::<Addresses>().unwrap().to_string(), written);
        }
    }

    #[test]
    fn t27_a_range_is_within_another_if_that_has_all_of_it() {
        let within = |one: &str, other: &str| one.parse::<Addresses>().unwrap().is_within(&other.parse().unwrap());
        for (one, other) in [
            ("192.0.2.7", "192.0.2.0/24"),
            ("192.0.2.0/24", "192.0.2.0/24"),
            ("10.1.0.0/16", "10.0.0.0/8"),
            ("2001:db8::1", "2001:db8::/32"),
        ] {
            assert!(within(one, other), "{one} {other}");
        }
        for (one, other) in [
            ("192.0.2.0/24", "192.0.2.0/25"),
            ("192.0.3.7", "192.0.2.0/24"),
            ("192.0.2.0/24", "192.0.2.7"),
            ("2001:db9::1", "2001:db8::/32"),
            ("::7f00:1", "127.0.0.1"),
            ("192.0.2.7", "2001:db8::/32"),
        ] {
            assert!(!within(one, other), "{one} {other}");
        }
    }

    #[test]
    fn t27_ranges_that_are_everywhere_together_or_that_never_match_are_refused() {
        for text in [
            "0.0.0.0/0",
            "::/0",
            "0.0.0.0/1",
            "128.0.0.0/1",
            "::/1",
            "8000::/1",
            "2000::/3",
            "10.0.0.0/7",
            "fd00::/15",
        ] {
            assert_eq!(text.parse::<Addresses>(), Err(AddressesError::Wide), "{text}");
            let wire = serde_json::from_value::<Addresses>(text.into());
            assert!(wire.is_err(), "{text} on the wire");
        }
        for text in ["::ffff:127.0.0.1", "::ffff:0:0/96", "::ffff:0.0.0.0/97", "::ffff:c000:200/120"] {
            assert_eq!(text.parse::<Addresses>(), Err(AddressesError::Mapped), "{text}");
        }
        for text in ["10.0.0.0/8", "fd00::/16", "2001:db8::/32", "::1", "::fffe:0:0/96"] {
            assert!(text.parse::<Addresses>().is_ok(), "{text}");
        }
    }
}
