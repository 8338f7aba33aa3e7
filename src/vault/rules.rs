//! Rules for the use of a secret, sealed with it and readable without a touch.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::encoding::plain::check_line;
use crate::encoding::target::{Host, check_method, check_pattern};
use crate::secret::Secret;

use super::error::VaultError;
use super::form::{Form, Place};
use super::signer::Signer;

/// The longest lifetime of a lease that rules may name (design: eight hours).
const LONGEST_TTL: u64 = 8 * 3600;
const MOST_HOSTS: usize = 64;
const MOST_METHODS: usize = 32;
const MOST_PATHS: usize = 64;
/// Longest value that the proxy puts into a request, in bytes.
pub const LONGEST_PROXIED: usize = 16 << 10;
/// Headers that are of the connection or of the message's frame, and no place for a credential.
const NO_PLACE: [&str; 16] = [
    "accept-encoding",
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "cookie",
    "expect",
    "host",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// How a value may reach a program.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, PartialEq, Eq, PartialOrd, Ord)]
#[serde(rename_all = "kebab-case")]
pub enum Delivery {
    /// In an environment variable of a child.
    Env,
    /// In a private file of a child.
    File,
    /// Put into requests to the secret's hosts; the program never has it.
    Proxy,
    /// Used as a private key; the program never has it.
    Signer,
}

/// Where the proxy puts the value.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Header {
    /// Name of the header, lower case.
    pub name: String,
    /// Text before the value, as `Bearer `.
    pub prefix: String,
}

/// What a secret may be used for. A task can only narrow it.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Rules {
    /// The deliveries that are allowed; at least one.
    pub deliveries: BTreeSet<Delivery>,
    /// Where the proxy puts it; `Authorization: Bearer` when neither this nor `place` says otherwise.
    pub header: Option<Header>,
    /// The hosts that it may be sent to (`api.example.com`, `localhost:8443`, `http://[::1]:8080`), in lower case, IDN in punycode.
    pub hosts: BTreeSet<String>,
    /// The methods with which it may be sent; any when none is named.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub methods: BTreeSet<String>,
    /// The paths that it may be sent to, as patterns; any when none is named.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub paths: BTreeSet<String>,
    /// Where the proxy puts it, if not in a header of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<Place>,
    /// What may be signed with it, where its value is a signer's private keys.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signer: Option<Box<Signer>>,
    /// Refuse a value with CR, LF or NUL: it is for protocols in which a line break ends the field. The proxy always does.
    pub single_line: bool,
    /// Longest lifetime of a lease in seconds, at most eight hours.
    pub ttl: Option<u64>,
    /// Most uses of a lease.
    pub uses: Option<u64>,
}

impl Rules {
    /// Rules for a value that is handed to a program.
    #[must_use]
    pub fn value(deliveries: &[Delivery]) -> Self {
        Self {
            deliveries: deliveries.iter().copied().collect(),
            header: None,
            hosts: BTreeSet::new(),
            methods: BTreeSet::new(),
            paths: BTreeSet::new(),
            place: None,
            signer: None,
            single_line: false,
            ttl: None,
            uses: None,
        }
    }

    /// Rules for a credential of `hosts`: the proxy only.
    #[must_use]
    pub fn for_hosts(hosts: &[&str]) -> Self {
        Self {
            hosts: hosts.iter().map(|host| (*host).to_owned()).collect(),
            ..Self::value(&[Delivery::Proxy])
        }
    }

    /// Whether `delivery` is allowed. A secret that has hosts goes through the proxy unless another delivery is named as well.
    #[must_use]
    pub fn allow(&self, delivery: Delivery) -> bool {
        self.deliveries.contains(&delivery)
    }

    /// Where in a request the proxy puts the value.
    #[must_use]
    pub fn form(&self) -> Form {
        match (&self.header, &self.place) {
            (_, Some(place)) => Form::Place(place.clone()),
            (Some(header), None) => Form::Header(header.clone()),
            (None, None) => Form::Bearer,
        }
    }

    /// The same rules with the value in another place of a request.
    #[must_use]
    pub fn in_form(self, form: Form) -> Self {
        let (header, place) = match form {
            Form::Bearer => (None, None),
            Form::Header(header) => (Some(header), None),
            Form::Place(place) => (None, Some(place)),
        };
        Self { header, place, ..self }
    }

    /// Checks that the rules do not contradict themselves.
    ///
    /// # Errors
    /// [`VaultError::Rules`] with the first contradiction.
    pub fn check(&self) -> Result<(), VaultError> {
        let proxy = self.allow(Delivery::Proxy);
        let faults = [
            (
                self.deliveries.is_empty(),
                "no delivery is allowed: name at least one of env, file, proxy, signer",
            ),
            (
                proxy && self.hosts.is_empty(),
                "delivery by proxy needs the hosts that the secret may be sent to",
            ),
            (
                !proxy && !self.hosts.is_empty(),
                "a secret that has hosts is delivered by proxy; allow env as well where that is meant",
            ),
            (
                !proxy && (self.header.is_some() || self.place.is_some()),
                "where in a request it goes is for delivery by proxy",
            ),
            (
                !proxy && (!self.methods.is_empty() || !self.paths.is_empty()),
                "methods and paths are for delivery by proxy",
            ),
            (
                self.header.is_some() && self.place.is_some(),
                "it goes into a header or elsewhere, not both",
            ),
            (self.hosts.len() > MOST_HOSTS, "more than 64 hosts"),
            (self.methods.len() > MOST_METHODS, "more than 32 methods"),
            (self.paths.len() > MOST_PATHS, "more than 64 paths"),
            (
                !self.hosts.iter().all(|host| host.parse::<Host>().is_ok()),
                "a host is a lower-case name (punycode where it has other letters) or an address, with a port where it is not 443; without TLS it is http://HOST:PORT",
            ),
            (
                !self.methods.iter().all(|method| check_method(method).is_ok()),
                "a method is in capitals, as GET; CONNECT, TRACE and TRACK carry no credential",
            ),
            (
                !self.paths.iter().all(|path| check_pattern(path).is_ok()),
                "a path begins with / and has no empty segment, no . or .., no query, nor these as escapes; a * stands for a whole segment, at the end for all that is below",
            ),
            (
                !self.place.as_ref().is_none_or(Place::is_sound),
                "a parameter or a cookie has a name of letters, digits, - _ and .; a user of Basic has no colon",
            ),
            (
                !self.header.as_ref().is_none_or(Header::is_sound),
                "a header has a lower-case name and a visible prefix",
            ),
            (
                self.ttl.is_some_and(|ttl| ttl == 0 || ttl > LONGEST_TTL),
                "a lifetime is 1 second to 8 hours",
            ),
            (
                self.uses.is_some_and(|uses| uses == 0 || uses > u64::from(u32::MAX)),
                "a limit of uses is at least 1",
            ),
        ];
        match faults.into_iter().find(|(wrong, _)| *wrong) {
            Some((_, fault)) => Err(VaultError::Rules(fault)),
            None => self.signer.as_ref().map_or(Ok(()), |signer| signer.check(self)),
        }
    }

    /// Whether delivery by signer is all that is allowed.
    pub(super) fn is_signer_alone(&self) -> bool {
        self.deliveries.iter().eq([&Delivery::Signer])
    }

    /// Checks that `value` can be used as these rules say.
    ///
    /// # Errors
    /// [`VaultError::Rules`]: a line break in a value for a header or another line protocol.
    pub fn check_value(&self, value: &Secret) -> Result<(), VaultError> {
        if let Some(signer) = &self.signer {
            return signer.check_value(value);
        }
        if (self.single_line || self.allow(Delivery::Proxy)) && has_line_break(value) {
            return Err(VaultError::Rules(
                "the value has a line break (or NUL) in it, and would be cut or split where it is used in one line",
            ));
        }
        if self.allow(Delivery::Proxy) && !fits_into_a_request(value) {
            return Err(VaultError::Rules(
                "the value is no part of a request: the proxy takes letters, digits and signs of ASCII, with blanks inside at most, 16 KiB in all",
            ));
        }
        Ok(())
    }
}

impl Header {
    /// Whether it can stand in a request as it is.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        // RFC 9110, 5.6.2: token.
        let token = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"!#$%&'*+-.^_`|~".contains(&b);
        (1..=64).contains(&self.name.len())
            && self.name.bytes().all(token)
            && !NO_PLACE.contains(&self.name.as_str())
            && self.prefix.is_ascii()
            && check_line("the header's prefix", &self.prefix, 64).is_ok()
    }
}

/// Whether a value can stand in a header (RFC 9110, 5.5): visible ASCII, blanks only inside.
fn fits_into_a_request(value: &Secret) -> bool {
    let bytes = value.expose();
    let ends = [bytes.first(), bytes.last()];
    bytes.len() <= LONGEST_PROXIED && bytes.iter().all(|b| (0x20..0x7f).contains(b)) && !ends.contains(&Some(&b' '))
}

/// Whether a value has CR, LF or NUL in it, which end a field in line protocols.
#[must_use]
pub fn has_line_break(value: &Secret) -> bool {
    value.expose().iter().any(|b| matches!(b, b'\r' | b'\n' | 0))
}

/// A host that is spoken to over TLS.
pub(super) fn is_host(host: &str) -> bool {
    host.parse::<Host>().is_ok_and(|host| !host.plain)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn secret(bytes: &[u8]) -> Secret {
        Secret::from_slice_wiping(&mut bytes.to_vec()).unwrap()
    }

    #[test]
    fn a_secret_with_hosts_is_for_the_proxy_unless_env_is_named_too() {
        let mut rules = Rules::for_hosts(&["api.cloudflare.com"]);
        rules.check().unwrap();
        assert!(rules.allow(Delivery::Proxy) && !rules.allow(Delivery::Env));
        rules.deliveries.insert(Delivery::Env);
        rules.check().unwrap();
        assert!(rules.allow(Delivery::Env));
        rules.deliveries.remove(&Delivery::Proxy);
        assert!(rules.check().is_err());
    }

    #[test]
    fn rules_that_contradict_themselves_are_refused() {
        assert!(Rules::value(&[]).check().is_err());
        assert!(Rules::value(&[Delivery::Proxy]).check().is_err());
        assert!(
            Rules {
                ttl: Some(0),
                ..Rules::value(&[Delivery::Env])
            }
            .check()
            .is_err()
        );
        assert!(
            Rules {
                ttl: Some(28_801),
                ..Rules::value(&[Delivery::Env])
            }
            .check()
            .is_err()
        );
        assert!(
            Rules {
                uses: Some(0),
                ..Rules::value(&[Delivery::Env])
            }
            .check()
            .is_err()
        );
        let header = |name: &str, prefix: &str| Rules {
            header: Some(Header {
                name: name.into(),
                prefix: prefix.into(),
            }),
            ..Rules::for_hosts(&["a.b"])
        };
        header("x-api-key", "").check().unwrap();
        for (name, prefix) in [("", ""), ("X-Key", ""), ("a b", ""), ("a", "x\r\ny: "), ("a:", "")] {
            assert!(header(name, prefix).check().is_err(), "{name:?} {prefix:?}");
        }
    }

    #[test]
    fn t31_hosts_have_one_form_and_no_tricks() {
        for host in [
            "api.cloudflare.com",
            "localhost:8080",
            "127.0.0.1",
            "[::1]:8080",
            "[2001:db8::1]",
            "xn--bcher-kva.example",
        ] {
            Rules::for_hosts(&[host]).check().unwrap();
        }
        for host in [
            "",
            "A.com",
            "a.com.",
            ".a.com",
            "a..com",
            "*.a.com",
            "u@a.com",
            "a.com/",
            "a.com:",
            "a.com:0",
            "a.com:080",
            "a.com:99999",
            "bücher.example",
            "a_b.com",
            "-a.com",
            "[::1",
            "[0:0::1]",
            "a.com:80:80",
            "a b",
            "http://a.com",
        ] {
            assert!(Rules::for_hosts(&[host]).check().is_err(), "{host:?}");
        }
    }

    #[test]
    fn t32_a_value_with_a_line_break_is_refused_where_it_is_used_in_one_line() {
        let (proxy, env) = (Rules::for_hosts(&["a.b"]), Rules::value(&[Delivery::Env]));
        let line = Rules {
            single_line: true,
            ..env.clone()
        };
        for bad in [&b"a\nb"[..], b"a\r", b"a\0b"] {
            assert!(proxy.check_value(&secret(bad)).is_err());
            assert!(line.check_value(&secret(bad)).is_err());
            env.check_value(&secret(bad)).unwrap();
        }
        for good in [&b"token"[..], b"two words", &[b'x'; LONGEST_PROXIED]] {
            proxy.check_value(&secret(good)).unwrap();
        }
        for bad in [&b" token"[..], b"token ", "tökén".as_bytes(), b"\x7f", &[b'x'; LONGEST_PROXIED + 1]] {
            assert!(proxy.check_value(&secret(bad)).is_err());
            env.check_value(&secret(bad)).unwrap();
        }
    }
}
