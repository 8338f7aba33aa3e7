//! What somebody meant who typed something else.

use crate::encoding::target::{Host, METHODS, check_method, check_pattern};

/// What is wrong with a word.
#[derive(Debug, PartialEq, Eq)]
pub struct Slip {
    /// In a sentence.
    pub what: String,
    /// What may have been meant besides.
    pub besides: Option<String>,
}

/// A host that was written as a URL, or in capitals.
#[derive(Debug, PartialEq, Eq)]
pub struct MeantHost {
    /// As it is named, reached over TLS.
    pub host: String,
    /// The pattern that stands for what followed it.
    pub path: Option<String>,
    /// What is wrong.
    pub slip: Slip,
}

/// What `text`, which names no host, stands for; nothing where that is anybody's guess.
pub fn meant_host(text: &str) -> Option<MeantHost> {
    let lower = text.to_ascii_lowercase();
    let (scheme, rest) = match lower.split_once("://") {
        Some((scheme @ ("https" | "http"), rest)) => (scheme, rest),
        Some(_) => return None,
        None => ("", lower.as_str()),
    };
    let (name, path) = rest.split_once('/').map_or((rest, ""), |(name, path)| (name, path));
    let host = name.parse::<Host>().ok()?;
    // As it was typed: paths have capitals.
    let path = (!path.is_empty()).then(|| text[text.len() - path.len() - 1..].to_owned());
    let what = match (scheme, &path) {
        ("https", None) => "a host is named without https://, by which it is reached anyway",
        ("https", Some(_)) => "a host is named without https://, by which it is reached anyway, and a path by --path",
        ("http", _) => "without TLS a host is named with its port, and nothing behind it",
        (_, Some(_)) => "a host has no path: that is named by --path",
        (_, None) => "a host is named in lower case",
    };
    let port = if host.port == TLS_PORT { PLAIN_PORT } else { host.port };
    let plain = Host {
        plain: true,
        port,
        ..host.clone()
    };
    Some(MeantHost {
        host: host.to_string(),
        path: path.filter(|path| check_pattern(path).is_ok()),
        slip: Slip {
            what: what.into(),
            besides: (scheme == "http").then(|| format!("without TLS it is --host {plain}")),
        },
    })
}

const TLS_PORT: u16 = 443;
const PLAIN_PORT: u16 = 80;

/// The registered method that is one slip away: another case, a letter too many, too few or another one, two that changed places.
pub fn meant_method(typed: &str) -> Option<(&'static str, Slip)> {
    let upper = typed.to_ascii_uppercase();
    let same = METHODS.into_iter().find(|method| *method == upper);
    let near = || METHODS.into_iter().find(|method| is_one_slip(upper.as_bytes(), method.as_bytes()));
    let slip = Slip {
        what: format!("HTTP has no method {typed:?}"),
        besides: check_method(typed)
            .is_ok()
            .then(|| format!("if the server has {typed}: --custom-method {typed}")),
    };
    Some((same.or_else(near)?, slip))
}

fn is_one_slip(typed: &[u8], meant: &[u8]) -> bool {
    let from = typed.iter().zip(meant).take_while(|(one, other)| one == other).count();
    let (typed, meant) = (&typed[from..], &meant[from..]);
    match (typed, meant) {
        ([_, rest @ ..], _) if rest == meant => true,
        (_, [_, rest @ ..]) if rest == typed => true,
        ([a, b, rest @ ..], [c, d, others @ ..]) if (a, b) == (d, c) && rest == others => true,
        ([_, rest @ ..], [_, others @ ..]) => rest == others,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_url_stands_for_its_host_and_its_path() {
        let host = |text: &str| meant_host(text).map(|meant| (meant.host, meant.path.unwrap_or_default()));
        for (text, name, path) in [
            ("https://api.example.com", "api.example.com", ""),
            ("HTTPS://API.Example.com:443/", "api.example.com", ""),
            ("https://[::1]:8443/V1/*", "[::1]:8443", "/V1/*"),
            ("api.example.com/v1", "api.example.com", "/v1"),
            ("https://api.example.com/v1?page=2", "api.example.com", ""),
            ("http://localhost", "localhost", ""),
        ] {
            assert_eq!(host(text), Some((name.to_owned(), path.to_owned())), "{text}");
        }
        assert_eq!(
            meant_host("http://a.example").unwrap().slip.besides.unwrap(),
            "without TLS it is --host http://a.example:80"
        );
        for text in ["", "https://", "ftp://a.example", "https://u:p@a.example", "*.a.example", "a b"] {
            assert_eq!(meant_host(text), None, "{text}");
        }
    }

    #[test]
    fn a_method_that_is_one_slip_from_a_registered_one_is_that_one() {
        for (typed, meant) in [
            ("GTE", "GET"),
            ("PSOT", "POST"),
            ("DELET", "DELETE"),
            ("PUUT", "PUT"),
            ("PATHC", "PATCH"),
            ("get", "GET"),
            ("GEI", "GET"),
        ] {
            assert_eq!(meant_method(typed).unwrap().0, meant, "{typed}");
        }
        for typed in ["LIST", "PURGE", "M-SEARCH", "NOTIFY", "", "X"] {
            assert_eq!(meant_method(typed), None, "{typed}");
        }
    }
}
