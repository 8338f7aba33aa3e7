//! Where a credential may go, in the one form that sealed rules, tasks and leases share: hosts, methods, and patterns of paths.
//!
//! A **host** is a name (RFC 1123, 2.1) in lower case, IDN in punycode, or an address in its shortest form, and a port where it is not
//! TLS's own: `api.example.com`, `api.example.com:8443`, `[::1]:8080`. What stands there is reached over TLS, unless it is written
//! `http://localhost:8080`, with its port.
//!
//! A **pattern** is a path from its `/` on. Between two `/`, and at the end, a `*` stands for something: at the end for all that is below,
//! elsewhere for exactly one segment. `/v4/accounts/*` has `/v4/accounts/7/pages` below it and not `/v4/accounts`; `/v4/*/pages` is one
//! such path and no other depth.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use thiserror::Error;

/// The port of TLS.
const TLS_PORT: u16 = 443;
const PLAIN: &str = "http://";
/// Longest pattern of a path in bytes.
const LONGEST_PATTERN: usize = 512;
/// Longest method in bytes.
const LONGEST_METHOD: usize = 24;
/// The methods of the HTTP Method Registry (IANA; RFC 9110, 16.1.1; QUERY is of RFC 10008) of which a credential can be a part; the usual ones
/// first.
pub const METHODS: [&str; 37] = [
    "GET",
    "POST",
    "PUT",
    "PATCH",
    "DELETE",
    "HEAD",
    "OPTIONS",
    "ACL",
    "BASELINE-CONTROL",
    "BIND",
    "CHECKIN",
    "CHECKOUT",
    "COPY",
    "LABEL",
    "LINK",
    "LOCK",
    "MERGE",
    "MKACTIVITY",
    "MKCALENDAR",
    "MKCOL",
    "MKREDIRECTREF",
    "MKWORKSPACE",
    "MOVE",
    "ORDERPATCH",
    "PROPFIND",
    "PROPPATCH",
    "QUERY",
    "REBIND",
    "REPORT",
    "SEARCH",
    "UNBIND",
    "UNCHECKOUT",
    "UNLINK",
    "UNLOCK",
    "UPDATE",
    "UPDATEREDIRECTREF",
    "VERSION-CONTROL",
];
/// Of these no credential is a part: one opens a tunnel, the others have what was sent sent back.
const NO_METHODS: [&str; 3] = ["CONNECT", "TRACE", "TRACK"];

/// Why a text names nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum TargetError {
    /// A scheme, a user, a path, capitals, letters outside ASCII, a dot at the end.
    #[error(
        "a host is a lower-case name (punycode where it has other letters) or an address, with a port where it is not 443; without TLS it is http://HOST:PORT"
    )]
    Host,
    /// Lower case, or no token at all.
    #[error("a method is in capitals, as GET; CONNECT, TRACE and TRACK carry no credential")]
    Method,
    /// No `/` in front, an empty segment, `..`, `%2f`, a query.
    #[error(
        "a path begins with / and has no empty segment, no . or .., no ?, #, \\ or blank, nor these as escapes; a * stands for a whole segment, at the end for all that is below"
    )]
    Path,
}

/// A host, its port, and whether TLS is given up.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Host {
    /// Whether it is spoken to without TLS.
    pub plain: bool,
    /// Its name, or its address without brackets.
    pub name: String,
    /// Its port.
    pub port: u16,
}

impl FromStr for Host {
    type Err = TargetError;

    fn from_str(text: &str) -> Result<Self, TargetError> {
        let (plain, rest) = text.strip_prefix(PLAIN).map_or((false, text), |rest| (true, rest));
        let (name, port) = match rest.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((address, port)) => {
                // One form for each address: the shortest (RFC 5952), as everything else here has one form.
                let parsed = address.parse::<Ipv6Addr>().ok().filter(|parsed| parsed.to_string() == address);
                parsed.ok_or(TargetError::Host)?;
                let port = match port {
                    "" => None,
                    port => Some(port.strip_prefix(':').ok_or(TargetError::Host)?),
                };
                (address, port)
            }
            None => rest.split_once(':').map_or((rest, None), |(name, port)| (name, Some(port))),
        };
        if !rest.starts_with('[') && !is_name(name) {
            return Err(TargetError::Host);
        }
        let port = match port {
            Some(port) => read_port(port).ok_or(TargetError::Host)?,
            // Nobody gives TLS up by leaving a word out.
            None if plain => return Err(TargetError::Host),
            None => TLS_PORT,
        };
        Ok(Self {
            plain,
            name: name.to_owned(),
            port,
        })
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.plain { PLAIN } else { "" };
        let name = if self.name.contains(':') {
            format!("[{}]", self.name)
        } else {
            self.name.clone()
        };
        match (self.plain, self.port) {
            (false, TLS_PORT) => f.write_str(&name),
            (_, port) => write!(f, "{scheme}{name}:{port}"),
        }
    }
}

fn is_name(name: &str) -> bool {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    // What ends in a number is an address to resolvers (`127.1`, `0x7f.1`, `2130706433`): there is one form of it.
    let last = name.rsplit('.').next().unwrap_or_default();
    let is_number = last.bytes().all(|b| b.is_ascii_digit()) || last.starts_with("0x");
    let is_address = || name.parse::<Ipv4Addr>().is_ok_and(|parsed| parsed.to_string() == name);
    name.len() <= 253 && name.split('.').all(label) && (!is_number || is_address())
}

fn read_port(port: &str) -> Option<u16> {
    port.parse::<u16>().ok().filter(|number| *number > 0 && number.to_string() == port)
}

/// Checks a method.
///
/// # Errors
/// [`TargetError::Method`].
pub fn check_method(method: &str) -> Result<(), TargetError> {
    let letters = method.bytes().all(|b| b.is_ascii_uppercase() || b == b'-');
    let sound = letters && (1..=LONGEST_METHOD).contains(&method.len()) && !NO_METHODS.contains(&method);
    sound.then_some(()).ok_or(TargetError::Method)
}

/// Whether the registry has this method.
#[must_use]
pub fn is_registered(method: &str) -> bool {
    METHODS.contains(&method)
}

/// Checks a pattern.
///
/// # Errors
/// [`TargetError::Path`].
pub fn check_pattern(pattern: &str) -> Result<(), TargetError> {
    let Some(path) = pattern.strip_prefix('/').filter(|_| pattern.len() <= LONGEST_PATTERN) else {
        return Err(TargetError::Path);
    };
    let letters = path.bytes().all(|b| b.is_ascii_graphic() && !b"?#\\\"<>`{|}^".contains(&b));
    let count = path.split('/').count();
    let segment = |(at, segment): (usize, &str)| match segment {
        // A path may end with `/`, and `/` is one.
        "" => at + 1 == count,
        "*" => true,
        other => !other.contains('*') && !other.starts_with(';') && !is_dots(other),
    };
    let sound = letters && has_plain_escapes(path) && path.split('/').enumerate().all(segment);
    sound.then_some(()).ok_or(TargetError::Path)
}

/// Whether some server could take a segment for `.` or `..`: each reads the end of a name in its own way.
fn is_dots(segment: &str) -> bool {
    let names = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    match segment.as_bytes() {
        [b'.'] => true,
        [b'.', next, ..] => !names(*next),
        _ => false,
    }
}

/// Whether escapes stand for blanks and letters that part nothing: no dot, slash, backslash, semicolon, percent, `?`, `#`, and nothing
/// outside ASCII, of which some fold into those.
fn has_plain_escapes(path: &str) -> bool {
    let plain = |escape: &str| {
        let byte = escape
            .get(..2)
            .filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()));
        let byte = byte.and_then(|digits| u8::from_str_radix(digits, 16).ok());
        byte.is_some_and(|byte| (0x20..0x7f).contains(&byte) && !b"./\\;%?#".contains(&byte))
    };
    path.split('%').skip(1).all(plain)
}

/// Whether every path that `narrow` matches is one that `wide` matches. Both are sound patterns.
#[must_use]
pub fn covers(wide: &str, narrow: &str) -> bool {
    let (wide, narrow): (Vec<&str>, Vec<&str>) = (wide.split('/').collect(), narrow.split('/').collect());
    for (at, segment) in wide.iter().enumerate() {
        let theirs = narrow.get(at).copied();
        let is_last = at + 1 == wide.len();
        let covered = match (*segment, theirs) {
            // What is below has a name.
            ("*", Some(theirs)) if is_last => return !theirs.is_empty(),
            ("*", Some("*")) => at + 1 < narrow.len(),
            (segment, theirs) => match theirs {
                Some("*") | None => false,
                Some(theirs) => (segment == "*" && !theirs.is_empty()) || segment == theirs,
            },
        };
        if !covered {
            return false;
        }
    }
    wide.len() == narrow.len()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn t31_a_host_has_one_form_and_no_tricks() {
        for (text, plain, name, port) in [
            ("api.cloudflare.com", false, "api.cloudflare.com", 443),
            ("localhost:8080", false, "localhost", 8080),
            ("127.0.0.1", false, "127.0.0.1", 443),
            ("[::1]:8080", false, "::1", 8080),
            ("http://[::1]:80", true, "::1", 80),
            ("http://localhost:8080", true, "localhost", 8080),
            ("xn--bcher-kva.example", false, "xn--bcher-kva.example", 443),
        ] {
            let host: Host = text.parse().unwrap();
            assert_eq!((host.plain, host.name.as_str(), host.port), (plain, name, port), "{text}");
            assert_eq!(host.to_string(), text);
        }
        assert_eq!("a.com:443".parse::<Host>(), "a.com".parse());
        for text in [
            "",
            "A.com",
            "a.com.",
            ".a.com",
            "a..com",
            "*.a.com",
            "u@a.com",
            "u:p@a.com",
            "a.com/",
            "a.com:",
            "a.com:0",
            "a.com:080",
            "a.com:+80",
            "a.com:99999",
            "bücher.example",
            "a_b.com",
            "-a.com",
            "[::1",
            "[::1]x",
            "[0:0::1]",
            "::1",
            "a.com:80:80",
            "a b",
            "http://a.com",
            "https://a.com",
            "ftp://a.com:21",
            "HTTP://a.com:80",
            "127.1",
            "127.0.0.01",
            "2130706433",
            "0x7f000001",
            "0x7f.1",
            "1.2.3.4.5",
            "256.1.1.1",
        ] {
            assert!(text.parse::<Host>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn every_registered_method_can_be_sealed() {
        assert!(METHODS.iter().all(|method| check_method(method).is_ok()));
        assert!(!is_registered("GTE") && !is_registered("LIST") && !is_registered("get"));
    }

    #[test]
    fn methods_are_in_capitals_and_carry_a_credential() {
        for method in ["GET", "PUT", "M-SEARCH", "PROPFIND"] {
            check_method(method).unwrap();
        }
        for method in [
            "",
            "get",
            "CONNECT",
            "TRACE",
            "GET ",
            "GET\r\n",
            "A/B",
            "GETGETGETGETGETGETGETGETGET",
        ] {
            assert!(check_method(method).is_err(), "{method:?}");
        }
    }

    #[test]
    fn p7_patterns_that_say_one_thing_and_match_another_are_refused() {
        for pattern in [
            "/",
            "/*",
            "/client/v4/accounts/*",
            "/a/*/c",
            "/a/*/*",
            "/a/",
            "/a%20b",
            "/%40scope/x",
            "/@scope/name",
            "/a;v=1",
            "/.well-known/*",
            "/a/.git",
            "/a...b",
        ] {
            check_pattern(pattern).unwrap();
        }
        for pattern in [
            "",
            "a",
            "*",
            "//",
            "/a//b",
            "/a//",
            "/.",
            "/..",
            "/a/../b",
            "/a/./b",
            "/%2e%2E/b",
            "/a%2fb",
            "/a%5Cb",
            "/a\\b",
            "/a?b",
            "/a#b",
            "/a*",
            "/*a",
            "/**",
            "/a/**",
            "/a b",
            "/ä",
            "/a\n",
            "/a%00",
            "/a%",
            "/a%2",
            "/a%zz",
            "/a%252f",
            "/a%3b",
            "/a%C3%A4",
            "/..;x",
            "/;x",
            "/..x",
            "/...",
            "/.;x",
            "/.%20",
            "/..%20",
            "/a%3f",
            "/a%23",
        ] {
            assert!(check_pattern(pattern).is_err(), "{pattern:?}");
        }
    }

    #[test]
    fn p7_a_pattern_covers_what_matches_no_other_path() {
        for (wide, narrow) in [
            ("/*", "/a"),
            ("/*", "/a/b/c"),
            ("/*", "/*"),
            ("/a/*", "/a/b"),
            ("/a/*", "/a/*/c"),
            ("/a/*", "/a/b/*"),
            ("/a/*/c", "/a/b/c"),
            ("/a/*/c", "/a/*/c"),
            ("/a", "/a"),
            ("/", "/"),
            ("/*/*", "/a/*"),
        ] {
            assert!(covers(wide, narrow), "{wide} {narrow}");
        }
        for (wide, narrow) in [
            ("/a", "/*"),
            ("/a", "/b"),
            ("/a", "/a/b"),
            ("/a/*", "/a"),
            ("/a/*", "/a/"),
            ("/*", "/"),
            ("/a/*", "/*"),
            ("/a/*", "/ab/c"),
            ("/a/*/c", "/a/*"),
            ("/a/*/c", "/a/b/d"),
            ("/a/*/c", "/a/b/c/d"),
            ("/*/*", "/*"),
            ("/*/*", "/a"),
            ("/*/b", "/*/*"),
        ] {
            assert!(!covers(wide, narrow), "{wide} {narrow}");
        }
    }
}
