//! Whether a request is in the one form that nobody can take for another: its host is said once or the same each time (T37), its body has
//! one length (T38).

use std::rc::Rc;

use hyper::header::{CONNECTION, CONTENT_LENGTH, COOKIE, EXPECT, HOST, HeaderMap, HeaderName, HeaderValue, TE, TRAILER, TRANSFER_ENCODING};
use hyper::{Method, StatusCode, Uri, Version};

use super::hosts::Authority;
use super::protocol::Scheme;
use super::refuse::Refusal;

/// A host, and how it is spoken to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// How.
    pub scheme: Scheme,
    /// Whom.
    pub host: Authority,
    shown: Rc<str>,
}

impl Origin {
    /// This host, spoken to in this way.
    #[must_use]
    pub fn new(scheme: Scheme, host: Authority) -> Self {
        let shown = host.shown(scheme).into();
        Self { scheme, host, shown }
    }

    /// The host as a `Host` header and a message have it, [`Authority::shown`].
    #[must_use]
    pub fn shown(&self) -> &Rc<str> {
        &self.shown
    }

    /// Whether a target in absolute form is written as this one is shown.
    #[must_use]
    pub fn is_target_of(&self, uri: &Uri) -> bool {
        uri.scheme_str() == Some(self.scheme.as_str()) && uri.authority().is_some_and(|authority| authority.as_str() == &*self.shown)
    }

    /// Whether this text is the host, in whatever spelling is taken.
    fn is(&self, text: &str) -> bool {
        text == &*self.shown || Authority::parse(text, Some(self.scheme.port())).as_ref() == Some(&self.host)
    }
}

/// The origin that a request in absolute form is for.
///
/// # Errors
/// It is for none that is reached in this way.
pub fn absolute(uri: &Uri) -> Result<Origin, Refusal> {
    match uri.scheme_str() {
        Some("http") => {}
        Some("https") => return Err(Refusal::malformed("https_in_the_open", "for https, a proxy is asked with CONNECT")),
        _ => {
            return Err(Refusal::malformed(
                "bad_target",
                "this is a proxy: ask it for a whole URL, or with CONNECT",
            ));
        }
    }
    let host = uri
        .authority()
        .and_then(|authority| Authority::parse(authority.as_str(), Some(Scheme::Http.port())));
    let host = host.ok_or_else(bad_host)?;
    Ok(Origin::new(Scheme::Http, host))
}

/// The host and port of a CONNECT. Clients leave the port out of its `Host`; another host in it is an error (T37).
///
/// # Errors
/// There is none, or two.
pub fn connect(uri: &Uri, headers: &HeaderMap) -> Result<Authority, Refusal> {
    let whole = uri.authority().filter(|_| uri.scheme().is_none() && uri.path_and_query().is_none());
    let host = whole
        .and_then(|authority| Authority::parse(authority.as_str(), None))
        .ok_or_else(bad_host)?;
    let same = |said: &HeaderValue| {
        said.to_str()
            .ok()
            .and_then(|said| Authority::parse(said, Some(host.port())))
            .is_some_and(|said| said.host() == host.host())
    };
    if headers.get_all(HOST).iter().all(same) {
        Ok(host)
    } else {
        Err(disagree())
    }
}

/// The host is in no form that is taken.
#[must_use]
pub fn bad_host() -> Refusal {
    Refusal::malformed(
        "bad_host",
        "write the host in lower case, in punycode, without user and dot at the end, an address in its one form",
    )
}

fn disagree() -> Refusal {
    Refusal::malformed(
        "hosts_disagree",
        "the connection's host, the request's and its Host header are not the same one",
    )
}

/// The target is none.
#[must_use]
pub fn bad_target() -> Refusal {
    Refusal::malformed("bad_target", "the request's target is too long, or is none")
}

/// Checks a request's head against where it came in.
///
/// # Errors
/// Its parts disagree, or it could be taken for another one.
pub fn check(origin: &Origin, version: Version, method: &Method, uri: &Uri, headers: &HeaderMap) -> Result<(), Refusal> {
    if *method == Method::CONNECT {
        return Err(Refusal::malformed(
            "connect_within",
            "there is no CONNECT within a connection to a host",
        ));
    }
    let is_path = uri.path().starts_with('/') || (uri.path() == "*" && *method == Method::OPTIONS);
    // In HTTP/2 the host is in the target (RFC 9113, 8.3.1), and one that is only in `Host` would leave the scheme unsaid.
    let many = version == Version::HTTP_2;
    if uri.authority().is_some() || many {
        let same = uri.authority().is_some_and(|authority| origin.is(authority.as_str()));
        if uri.scheme_str() != Some(origin.scheme.as_str()) || !same {
            return Err(disagree());
        }
    }
    if (uri.authority().is_none() || many) && !is_path {
        return Err(Refusal::malformed("bad_target", "the request's target is no path"));
    }
    let mut hosts = headers.get_all(HOST).iter();
    let said = hosts.next();
    let same = |host: &HeaderValue| host.to_str().is_ok_and(|host| origin.is(host));
    if hosts.next().is_some() || !said.map_or(many, same) {
        return Err(disagree());
    }
    check_framing(headers)
}

/// What HTTP/2 lets a client send and HTTP/1.1 reads otherwise: blanks at a value's ends, which clients send behind an empty token (RFC 9113,
/// 8.2.1), and cookies in several headers (8.2.3).
pub fn tidy(headers: &mut HeaderMap) {
    for value in headers.values_mut() {
        let trimmed = value.as_bytes().trim_ascii();
        if trimmed.len() < value.len()
            && let Ok(trimmed) = HeaderValue::from_bytes(trimmed)
        {
            *value = trimmed;
        }
    }
    let crumbs: Vec<HeaderValue> = headers.get_all(COOKIE).iter().cloned().collect();
    if crumbs.len() < 2 {
        return;
    }
    let whole = crumbs.iter().map(HeaderValue::as_bytes).collect::<Vec<_>>().join(&b"; "[..]);
    // Of values that were ones.
    if let Ok(whole) = HeaderValue::from_bytes(&whole) {
        headers.insert(COOKIE, whole);
    }
}

/// Headers that servers with CGI's names (RFC 3875, 4.1.18) would take `_` for `-` in: each is said in its own name, or not at all.
const NO_TWINS: [&str; 11] = [
    "authorization",
    "connection",
    "content-length",
    "cookie",
    "host",
    "proxy-authorization",
    "transfer-encoding",
    "x-http-method",
    "x-http-method-override",
    "x-method-override",
    "x-original-url",
];

/// One length, said in one way. The library has refused most else by now, and writes the request anew.
fn check_framing(headers: &HeaderMap) -> Result<(), Refusal> {
    let twin = |name: &HeaderName| name.as_str().contains('_') && NO_TWINS.contains(&name.as_str().replace('_', "-").as_str());
    if headers.keys().any(twin) {
        return Err(Refusal::malformed(
            "bad_header",
            "a header with an underscore for a dash could be taken for that other one",
        ));
    }
    let (lengths, codings) = (headers.get_all(CONTENT_LENGTH), headers.get_all(TRANSFER_ENCODING));
    let digits = |value: &HeaderValue| !value.is_empty() && value.as_bytes().iter().all(u8::is_ascii_digit);
    let plain = lengths.iter().all(digits) && codings.iter().all(|coding| coding.as_bytes().eq_ignore_ascii_case(b"chunked"));
    if lengths.iter().chain(&codings).count() > 1 || !plain {
        return Err(Refusal::malformed(
            "bad_length",
            "the length of a request's body is said once: Content-Length, or chunked",
        ));
    }
    match headers
        .get_all(EXPECT)
        .iter()
        .find(|expect| !expect.as_bytes().eq_ignore_ascii_case(b"100-continue"))
    {
        Some(_) => Err(Refusal::malformed("bad_expectation", "nothing but 100-continue can be expected")),
        None => Ok(()),
    }
}

/// What is for one hop only, whether or not `Connection` names it.
fn is_hop(name: &HeaderName) -> bool {
    matches!(
        name.as_str(),
        "connection"
            | "transfer-encoding"
            | "upgrade"
            | "te"
            | "expect"
            | "keep-alive"
            | "proxy-connection"
            | "proxy-authorization"
            | "proxy-authenticate"
            | "proxy-authentication-info"
            | "http2-settings"
    )
}

/// Takes out what is for the next hop only (RFC 9110, 7.6.1). `Trailer` stays: it is about the message.
pub fn strip_hop(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(CONNECTION)
        .iter()
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
        .filter_map(|name| HeaderName::from_bytes(name.trim_ascii()).ok())
        .filter(|name| *name != TRAILER)
        .collect();
    for name in named {
        headers.remove(name);
    }
    let trailers = headers
        .get(TE)
        .is_some_and(|te| te.as_bytes().to_ascii_lowercase().windows(8).any(|word| word == b"trailers"));
    strip_known_hop(headers);
    if trailers {
        headers.insert(TE, HeaderValue::from_static("trailers"));
    }
}

/// The same of an answer. What its `Connection` names stays: a host must not hide from us how its body is coded (T40).
///
/// # Errors
/// It is coded for this hop in more than chunks: nobody here looks into that.
pub fn strip_answer(headers: &mut HeaderMap) -> Result<(), Refusal> {
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    let chunked = |coding: &HeaderValue| coding.as_bytes().trim_ascii().eq_ignore_ascii_case(b"chunked");
    if !codings.next().is_none_or(chunked) || codings.next().is_some() {
        return Err(Refusal::upstream(
            StatusCode::BAD_GATEWAY,
            "answer_withheld",
            "the host answered in a transfer coding that cannot be looked into",
        ));
    }
    strip_known_hop(headers);
    Ok(())
}

fn strip_known_hop(headers: &mut HeaderMap) {
    let there: Vec<HeaderName> = headers.keys().filter(|name| is_hop(name)).cloned().collect();
    for name in there {
        headers.remove(name);
    }
}
