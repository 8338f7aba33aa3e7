//! What a request in the [reverse form](super::reverse) has before the request itself, `/BEARER/https/HOST[:PORT]/PATH`, and how what an answer
//! names is written so.

use hyper::Uri;
use hyper::header::{HOST, HeaderMap, ORIGIN};

use super::form::{self, Origin};
use super::hosts::Authority;
use super::protocol::{BEARER, Scheme};
use super::refuse::Refusal;

/// The attributes of a cookie that say where it goes (RFC 6265, 5.2): for the client that is this machine, without TLS.
const WHITHER: [&str; 3] = ["domain", "path", "secure"];
/// What a browser says of how it came to send a request (W3C, Fetch Metadata); it takes a page to send it.
const FETCHED_FROM: &str = "sec-fetch-site";

/// What a request in this form says first, and may be the bearer. Nothing where it is in another form.
#[must_use]
pub fn bearer(uri: &Uri) -> Option<&[u8]> {
    if uri.scheme().is_some() || uri.authority().is_some() {
        return None;
    }
    let (bearer, rest) = uri.path().strip_prefix('/')?.as_bytes().split_at_checked(BEARER)?;
    rest.starts_with(b"/").then_some(bearer)
}

/// Checks that a request means this machine, and is no page's: whatever name a page has this machine's address under, it says that name.
///
/// # Errors
/// It is for another name, or a browser's.
pub fn check(headers: &HeaderMap, port: u16) -> Result<(), Refusal> {
    let mut hosts = headers.get_all(HOST).iter();
    let said = hosts.next().filter(|_| hosts.next().is_none()).and_then(|said| said.to_str().ok());
    let said = said.and_then(|said| Authority::parse(said, Some(Scheme::Http.port())));
    if !said.is_some_and(|said| ["127.0.0.1", "localhost"].contains(&said.host()) && said.port() == port) {
        return Err(Refusal::malformed(
            "hosts_disagree",
            "the Host header of a request in this form is that of the address it goes to",
        ));
    }
    if headers.contains_key(ORIGIN) || headers.contains_key(FETCHED_FROM) {
        return Err(Refusal::rule("browser", "this is for programs: no page of a browser gets through"));
    }
    Ok(())
}

/// Host and target of what stands behind the bearer: `/https/HOST[:PORT]/PATH?QUERY`.
///
/// # Errors
/// It is in no such form.
pub fn read(text: &str) -> Result<(Origin, String), Refusal> {
    let scheme = [Scheme::Https, Scheme::Http]
        .into_iter()
        .find_map(|scheme| Some((scheme, text.strip_prefix('/')?.strip_prefix(scheme.as_str())?.strip_prefix('/')?)));
    let (scheme, rest) = scheme.ok_or_else(|| {
        Refusal::malformed(
            "bad_target",
            "write scheme and host behind the base, and then the path: $TOUCHLEASE_BASE_URL/https/HOST/PATH",
        )
    })?;
    let (host, target) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    let host = Authority::parse(host, Some(scheme.port())).ok_or_else(form::bad_host)?;
    let target = if target.starts_with('/') {
        target.to_owned()
    } else {
        format!("/{target}")
    };
    Ok((Origin::new(scheme, host), target))
}

/// Where this host is, in this form.
#[must_use]
pub fn base(bearer: &str, origin: &Origin) -> String {
    format!("/{bearer}/{}/{}", origin.scheme.as_str(), origin.shown())
}

/// A place at this host, or at another one that is reached in this form. Others are left as they are, and so are relative ones.
#[must_use]
pub fn located(text: &str, here: &Origin, bearer: &str, known: &dyn Fn(&Authority) -> bool) -> Option<String> {
    if text.starts_with('/') && !text.starts_with("//") {
        return Some(base(bearer, here) + text);
    }
    let (scheme, rest) = match text.split_once("//")? {
        ("", rest) => (here.scheme, rest),
        (scheme, rest) => {
            let named = |known: &Scheme| {
                scheme
                    .strip_suffix(':')
                    .is_some_and(|name| name.eq_ignore_ascii_case(known.as_str()))
            };
            ([Scheme::Https, Scheme::Http].into_iter().find(named)?, rest)
        }
    };
    let (host, target) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    let host = Authority::parse(host, Some(scheme.port())).filter(known)?;
    let slash = if target.starts_with('/') { "" } else { "/" };
    Some(format!("{}{slash}{target}", base(bearer, &Origin::new(scheme, host))))
}

/// A cookie for the host alone, of those that are reached in this form: to the client all of them are this machine.
#[must_use]
pub fn kept(text: &str, base: &str) -> String {
    let mut pairs = text.split(';');
    let mut cookie = pairs.next().unwrap_or_default().to_owned();
    let mut path = "/";
    for attribute in pairs {
        let (name, value) = attribute.split_once('=').unwrap_or((attribute, ""));
        let name = name.trim().to_ascii_lowercase();
        if name == "path" && value.trim().starts_with('/') {
            path = value.trim();
        }
        if !WHITHER.contains(&name.as_str()) {
            cookie = format!("{cookie};{attribute}");
        }
    }
    format!("{cookie}; Path={base}{path}")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use hyper::header::HeaderValue;

    use super::*;

    const B: &str = "fedcba9876543210fedcba9876543210";

    #[test]
    fn t31_the_host_in_the_path_is_in_its_one_form_and_what_follows_is_left_as_it_is() {
        for (text, scheme, host, target) in [
            ("/https/api.example.com/v1/x?y=/z", "https", "api.example.com", "/v1/x?y=/z"),
            ("/https/API.example.com", "https", "api.example.com", "/"),
            ("/https/a.example:8443?x", "https", "a.example:8443", "/?x"),
            ("/http/127.0.0.1:8080//a/../b%2f", "http", "127.0.0.1:8080", "//a/../b%2f"),
            ("/https/[::1]:443/https/b.example/", "https", "[::1]", "/https/b.example/"),
        ] {
            let (origin, rest) = read(text).unwrap();
            assert_eq!(
                (origin.scheme.as_str(), origin.host.shown(origin.scheme).as_str(), rest.as_str()),
                (scheme, host, target),
                "{text}"
            );
        }
    }

    #[test]
    fn t38_a_prefix_that_somebody_could_read_otherwise_is_none() {
        for text in [
            "",
            "/",
            "/https",
            "/https/",
            "/https//a.example/",
            "//https/a.example/",
            "/HTTPS/a.example/",
            "/ftp/a.example/",
            "/https:/a.example/",
            "/https://a.example/",
            "/https/user@a.example/",
            "/https/a.example@b.example/",
            "/https/a.example./",
            "/https/a.example:/",
            "/https/a.example:0443/",
            "/https/a.example:80:80/",
            "/https/a.example%2f/",
            "/https/a.example%00/",
            "/https/a.example;x/",
            "/https/a.example\\b.example/",
            "/https/a.example#/",
            "/https/../https/a.example/",
            "/https/./a.example/",
            "/https/0x7f.1/",
            "/https/[::1/",
            "/https/?/a.example/",
            "/x/https/a.example/",
            "https/a.example/",
        ] {
            assert!(read(text).is_err(), "{text}");
        }
    }

    #[test]
    fn t41_only_the_first_segment_of_a_path_is_taken_for_the_bearer() {
        let of = |target: &str| bearer(&target.parse().unwrap()).map(<[u8]>::to_vec);
        assert_eq!(of(&format!("/{B}/https/a/")), Some(B.into()));
        for target in [
            format!("/{B}"),
            format!("/{B}?/"),
            format!("//{B}/"),
            format!("/x/{B}/"),
            format!("http://a.example/{B}/"),
            "*".into(),
            "a.example:443".into(),
            "/".into(),
        ] {
            assert_eq!(of(&target), None, "{target}");
        }
        assert_ne!(of(&format!("/{B}0/https/a/")), Some(B.into()));
        assert_ne!(of(&format!("/{}/https/a/", B.to_uppercase())), Some(B.into()));
    }

    #[test]
    fn t41_a_request_for_another_name_of_this_machine_or_from_a_page_is_refused() {
        let headers = |pairs: &[(&'static str, &'static str)]| {
            let mut headers = HeaderMap::new();
            for (name, value) in pairs {
                headers.append(*name, HeaderValue::from_static(value));
            }
            headers
        };
        for host in ["127.0.0.1:4711", "localhost:4711", "LocalHost:4711"] {
            assert!(check(&headers(&[("host", host)]), 4711).is_ok(), "{host}");
        }
        for host in [
            "rebound.example:4711",
            "localhost.example:4711",
            "127.0.0.1",
            "127.0.0.1:4712",
            "127.0.0.2:4711",
            "127.1:4711",
            "[::1]:4711",
            "localhost.:4711",
            "x@127.0.0.1:4711",
            "",
        ] {
            assert!(check(&headers(&[("host", host)]), 4711).is_err(), "{host}");
        }
        let own = ("host", "127.0.0.1:4711");
        assert!(check(&headers(&[]), 4711).is_err() && check(&headers(&[own, own]), 4711).is_err());
        for more in [
            ("origin", "https://page.example"),
            ("origin", "null"),
            ("origin", "http://127.0.0.1:4711"),
            ("sec-fetch-site", "cross-site"),
            ("sec-fetch-site", "none"),
        ] {
            assert_eq!(check(&headers(&[own, more]), 4711).unwrap_err().reason, "browser", "{more:?}");
        }
    }

    #[test]
    fn t34_a_redirect_within_what_is_reached_comes_back_in_this_form_and_no_other_is_touched() {
        let here = read("/https/a.example/").unwrap().0;
        let known = |host: &Authority| host.host().ends_with("a.example");
        let located = |text: &str| located(text, &here, B, &known);
        for (text, target) in [
            ("/x?y", "https/a.example/x?y"),
            ("https://a.example/x#y", "https/a.example/x#y"),
            ("HTTPS://A.example", "https/a.example/"),
            ("//b.a.example?y", "https/b.a.example/?y"),
            ("http://a.example:8080/", "http/a.example:8080/"),
        ] {
            assert_eq!(located(text), Some(format!("/{B}/{target}")), "{text}");
        }
        for text in [
            "x/y",
            "?y",
            "#y",
            "https://b.example/",
            "https://me@a.example/",
            "ftp://a.example/",
            "https:/a.example",
            "",
        ] {
            assert_eq!(located(text), None, "{text}");
        }
    }

    #[test]
    fn t35_a_cookie_of_one_host_goes_to_no_other_that_is_reached_in_this_form() {
        for (text, kept_as) in [
            ("a=b", "a=b; Path=/B/https/a.example/"),
            ("a=b; Path=/; Secure; HttpOnly", "a=b; HttpOnly; Path=/B/https/a.example/"),
            ("a=b; path = /v1 ; DOMAIN=example", "a=b; Path=/B/https/a.example/v1"),
            ("a=b; Path=x; Max-Age=5", "a=b; Max-Age=5; Path=/B/https/a.example/"),
        ] {
            assert_eq!(kept(text, "/B/https/a.example"), kept_as, "{text}");
        }
    }
}
