//! Names of hosts as requests write them, in the one form in which they are compared.
//!
//! A host is a name of ASCII labels (RFC 1123, 2.1; an international one in punycode), an IPv4 address of four decimal numbers, or an IPv6
//! address in brackets in its shortest form (RFC 5952). Whatever else some parser takes for the same host is refused, never translated:
//! a dot at the end, userinfo, `127.1`, `0x7f000001`, a zone, an escape.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::protocol::Scheme;

/// Most characters of a name (RFC 1035, 2.3.4).
const LONGEST_NAME: usize = 253;
const LONGEST_LABEL: usize = 63;

/// A host and a port, in their one form.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Authority {
    host: String,
    port: u16,
}

impl Authority {
    /// Reads `host`, `host:port`, `[v6]` or `[v6]:port`; letters of a name in either case.
    ///
    /// Nothing where it has no port and `usual` gives none, or is not in the form above.
    #[must_use]
    pub fn parse(text: &str, usual: Option<u16>) -> Option<Self> {
        let (host, port) = split(text)?;
        let port = match port {
            Some(port) => parse_port(port)?,
            None => usual?,
        };
        let host = canonical(host)?;
        Some(Self { host, port })
    }

    /// The host: lower case, brackets around an IPv6 address.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The address, where the host is one.
    #[must_use]
    pub fn address(&self) -> Option<IpAddr> {
        address_of(&self.host)
    }

    /// As a `Host` header and a message have it: without the port where that is the scheme's.
    #[must_use]
    pub fn shown(&self, scheme: Scheme) -> String {
        if self.port == scheme.port() {
            self.host.clone()
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }
}

impl Scheme {
    /// As it stands in a URL.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Https => "https",
            Self::Http => "http",
        }
    }

    /// The port that goes without saying.
    #[must_use]
    pub fn port(self) -> u16 {
        match self {
            Self::Https => 443,
            Self::Http => 80,
        }
    }
}

/// The address that a host in its one form is.
#[must_use]
pub fn address_of(host: &str) -> Option<IpAddr> {
    match host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        Some(v6) => v6.parse().ok().map(IpAddr::V6),
        None => host.parse().ok().map(IpAddr::V4),
    }
}

/// Host, and port where there is a colon for one.
fn split(text: &str) -> Option<(&str, Option<&str>)> {
    if text.starts_with('[') {
        let end = text.find(']')? + 1;
        let (host, rest) = text.split_at(end);
        return match rest {
            "" => Some((host, None)),
            rest => rest.strip_prefix(':').map(|port| (host, Some(port))),
        };
    }
    Some(text.split_once(':').map_or((text, None), |(host, port)| (host, Some(port))))
}

/// A port has one spelling: no sign, no zero in front, not zero.
fn parse_port(port: &str) -> Option<u16> {
    let digits = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()) && !port.starts_with('0');
    port.parse().ok().filter(|_| digits)
}

/// The one form of a host, where it is in it but for the case of letters.
#[must_use]
pub fn canonical(host: &str) -> Option<String> {
    if let Some(v6) = host.strip_prefix('[') {
        let v6 = v6.strip_suffix(']')?.to_ascii_lowercase();
        let parsed: Ipv6Addr = v6.parse().ok()?;
        return (parsed.to_string() == v6).then(|| format!("[{v6}]"));
    }
    let host = host.to_ascii_lowercase();
    if host.len() > LONGEST_NAME || !host.split('.').all(is_label) {
        return None;
    }
    // What ends in a number is an address to somebody (WHATWG URL, "ends in a number"): only in the one form.
    let last = host.rsplit('.').next()?;
    let hex = last
        .strip_prefix("0x")
        .is_some_and(|rest| rest.bytes().all(|byte| byte.is_ascii_hexdigit()));
    if hex || last.bytes().all(|byte| byte.is_ascii_digit()) {
        return host
            .parse::<Ipv4Addr>()
            .ok()
            .map(|address| address.to_string())
            .filter(|same| *same == host);
    }
    Some(host)
}

fn is_label(label: &str) -> bool {
    // An underscore is in no name of a host, and in many of the network's: they are reached, and no rule names one.
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    (1..=LONGEST_LABEL).contains(&label.len()) && label.bytes().all(plain) && !label.starts_with('-') && !label.ends_with('-')
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn t31_a_host_has_one_form_but_for_the_case_of_its_letters() {
        for (text, host, port) in [
            ("API.Example.com", "api.example.com", 443),
            ("a.example:8443", "a.example", 8443),
            ("127.0.0.1:80", "127.0.0.1", 80),
            ("[::1]", "[::1]", 443),
            ("[2001:DB8::1]:8080", "[2001:db8::1]", 8080),
            ("xn--bcher-kva.example", "xn--bcher-kva.example", 443),
            ("localhost:65535", "localhost", 65535),
            ("_dns.example", "_dns.example", 443),
        ] {
            let read = Authority::parse(text, Some(443)).unwrap();
            assert_eq!((read.host(), read.port()), (host, port), "{text}");
        }
    }

    #[test]
    fn t31_what_some_parser_takes_for_a_host_is_none() {
        for text in [
            "",
            ":443",
            "a.example.",
            ".a.example",
            "a..example",
            "user@a.example",
            "user:p@a.example",
            "a.example:",
            "a.example:0",
            "a.example:080",
            "a.example:+80",
            "a.example:65536",
            "a.example:80:80",
            "a.example/",
            "a.example#",
            "a.example?x",
            "a.example\\",
            "bücher.example",
            "a%2eexample",
            "a example",
            "a.example\t",
            "a.example\0",
            "127.1",
            "2130706433",
            "0x7f000001",
            "0x7f.0.0.1",
            "0177.0.0.1",
            "127.0.0.01",
            "1.2.3.4.5",
            "256.0.0.1",
            "a.0x",
            "[::1",
            "::1",
            "[0:0::1]",
            "[fe80::1%eth0]",
            "[fe80::1%25eth0]",
            "[::ffff:7f00:1]",
            "[127.0.0.1]",
            "[::1]x",
            "[::1]:",
            "[]",
            "-a.example",
            "a-.example",
            "a\u{3002}example",
        ] {
            assert_eq!(Authority::parse(text, Some(443)), None, "{text:?}");
        }
        assert_eq!(Authority::parse("a.example", None), None, "CONNECT names a port");
        let (label, long) = ("x".repeat(64), ["abcdefg"; 33].join("."));
        assert!(Authority::parse(&label, Some(1)).is_none() && Authority::parse(&long, Some(1)).is_none());
    }

    #[test]
    fn a_usual_port_goes_without_saying() {
        let host = Authority::parse("a.example:443", None).unwrap();
        assert_eq!(
            (host.shown(Scheme::Https), host.shown(Scheme::Http)),
            ("a.example".into(), "a.example:443".into())
        );
    }
}
