//! What the proxy reads: hosts, rules, heads of requests, encoded answers.

use std::net::IpAddr;

use hyper::header::{AUTHORIZATION, COOKIE, HOST, HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, Uri, Version};

use crate::deliver::proxy::address::{Reach, kind, may_reach};
use crate::deliver::proxy::book::Book;
use crate::deliver::proxy::decode::Decoder;
use crate::deliver::proxy::form::{self, Origin};
use crate::deliver::proxy::handshake;
use crate::deliver::proxy::hosts::{Authority, address_of, canonical};
use crate::deliver::proxy::inject::{self, Head};
use crate::deliver::proxy::placeholder::{self, MARK};
use crate::deliver::proxy::prefix;
use crate::deliver::proxy::protocol::{BEARER, GrantSpec, Place, Scheme, Target};
use crate::deliver::proxy::rules::{Asked, Rule, is_plain_path};
use crate::secret::Secret;

const HOST_NAME: &str = "api.example.com";
const VALUE: &str = "ghp_0123456789abcdefghijklmnopqrstuvwxyz";

/// A host is in its one form, and that form is its own; an address is reached as itself alone.
pub fn host(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else { return };
    if let Ok(address) = text.parse::<IpAddr>() {
        let _ = kind(address);
        for reach in [Reach::Open, Reach::Granted { allow_private: false }] {
            if may_reach("name.example", address, reach) {
                assert!(!address.is_loopback() && !address.is_unspecified() && !address.is_multicast());
            }
        }
        let own = may_reach("localhost", address, Reach::Granted { allow_private: true });
        assert!(!own || address.is_loopback());
    }
    if let Ok((origin, target)) = prefix::read(text) {
        assert!(target.starts_with('/') && (text.ends_with(&target) || text.ends_with(&target[1..])));
        let again = format!("/{}/{}{target}", origin.scheme.as_str(), origin.host.shown(origin.scheme));
        assert_eq!(prefix::read(&again).ok(), Some((origin, target)));
    }
    reversed(text);
    let Some(read) = Authority::parse(text, Some(443)) else { return };
    assert_eq!(canonical(read.host()).as_deref(), Some(read.host()));
    assert!(read.port() > 0 && !read.host().contains(['@', '/', '\\', '%', '?', '#', ' ']) && !read.host().ends_with('.'));
    assert_eq!(read.address(), address_of(read.host()));
    for scheme in [Scheme::Https, Scheme::Http] {
        let shown = read.shown(scheme);
        assert_eq!(Authority::parse(&shown, Some(scheme.port())), Some(read.clone()));
    }
}

/// What comes back in the reverse form leads nowhere but to a host behind the bearer, and stays with that host.
fn reversed(text: &str) {
    if let Ok(uri) = text.parse::<Uri>()
        && let Some(said) = prefix::bearer(&uri)
    {
        assert_eq!(said.len(), BEARER);
    }
    if let Ok(said) = HeaderValue::from_str(text) {
        let headers: HeaderMap = [(HOST, said)].into_iter().collect();
        let means_us = ["127.0.0.1:8080", "localhost:8080"].contains(&text.to_ascii_lowercase().as_str());
        assert_eq!(prefix::check(&headers, 8080).is_ok(), means_us);
    }
    let bearer = "0".repeat(BEARER);
    let here = Origin::new(Scheme::Https, Authority::parse(HOST_NAME, Some(443)).expect("a host"));
    let base = prefix::base(&bearer, &here);
    if let Some(there) = prefix::located(text, &here, &bearer, &|host| host.port() != 81) {
        let behind = there
            .strip_prefix('/')
            .and_then(|there| there.strip_prefix(&bearer))
            .expect("behind the bearer");
        let (origin, _) = prefix::read(behind).expect("a host");
        assert!(origin == here || origin.host.port() != 81);
    }
    let cookie = prefix::kept(text, &base);
    let mut attributes: Vec<&str> = cookie.split(';').skip(1).collect();
    let path = attributes.pop().expect("a path");
    assert!(path.starts_with(&format!(" Path={base}/")));
    assert!(attributes.into_iter().all(|one| {
        let name = one.split_once('=').map_or(one, |(name, _)| name).trim();
        !["domain", "path", "secure"].iter().any(|gone| name.eq_ignore_ascii_case(gone))
    }));
}

fn spec(place: Place, methods: Vec<String>, paths: Vec<String>) -> GrantSpec {
    let target = Target {
        scheme: Scheme::Https,
        host: HOST_NAME.into(),
        port: 443,
    };
    GrantSpec {
        secret: "prod/X".into(),
        value_len: VALUE.len(),
        targets: vec![target],
        place,
        methods,
        paths,
        allow_private: false,
    }
}

/// A path with its escapes undone and its dots resolved, as the most obliging of servers does.
fn resolved(path: &str) -> Option<String> {
    let mut bytes = path.as_bytes().to_vec();
    // Once more as long as there is one: what an escape comes to may be a part of another.
    while bytes.contains(&b'%') {
        bytes = unescaped(&bytes)?;
    }
    let path = String::from_utf8(bytes).ok()?.replace('\\', "/");
    let mut kept: Vec<&str> = Vec::new();
    for segment in path.split('/').skip(1) {
        match segment.split(';').next()? {
            "." | "" => {}
            ".." => drop(kept.pop()),
            _ => kept.push(segment),
        }
    }
    Some(kept.join("/"))
}

fn unescaped(path: &[u8]) -> Option<Vec<u8>> {
    let mut parts = path.split(|byte| *byte == b'%');
    let mut bytes = parts.next()?.to_vec();
    for part in parts {
        let (code, rest) = part.split_at_checked(2)?;
        bytes.push(u8::from_str_radix(str::from_utf8(code).ok()?, 16).ok()?);
        bytes.extend_from_slice(rest);
    }
    Some(bytes)
}

/// A pattern, a method and a path in lines: what goes is in the rules by a second opinion, too.
pub fn rule(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else { return };
    let mut lines = text.split('\n');
    let (pattern, methods) = (lines.next().unwrap_or_default(), lines.next().unwrap_or_default());
    let (method, path) = (lines.next().unwrap_or_default(), lines.next().unwrap_or_default());
    let methods: Vec<String> = methods.split_whitespace().map(str::to_owned).collect();
    let Ok(rule) = Rule::new(&spec(Place::Basic { user: None }, methods.clone(), vec![pattern.to_owned()])) else {
        return;
    };
    let asked = Asked {
        scheme: Scheme::Https,
        host: HOST_NAME,
        port: 443,
        method,
        path,
    };
    let other = [
        Asked {
            scheme: Scheme::Http,
            ..asked
        },
        Asked { port: 80, ..asked },
        Asked {
            host: "api.example.co",
            ..asked
        },
    ];
    assert!(other.iter().all(|other| rule.judge(*other).is_err()));
    match rule.judge(asked) {
        Err(fault) => assert!(!fault.code().is_empty() && !fault.to_string().is_empty()),
        Ok(()) => {
            assert!(is_plain_path(path) && (methods.is_empty() || methods.iter().any(|known| known == method)));
            // What stands before the first star is the beginning of the path, also where a server resolves it.
            let fixed = pattern.split('*').next().unwrap_or_default();
            assert!(path.starts_with(fixed));
            let (resolved, fixed) = (resolved(path).expect("escapes that are ones"), resolved_prefix(fixed));
            assert!(resolved.starts_with(&fixed), "{resolved:?} is outside {fixed:?}");
        }
    }
}

fn resolved_prefix(fixed: &str) -> String {
    resolved(fixed).unwrap_or_default()
}

/// A head in lines, of which `{1}` and so on are placeholders: whatever it is, values go where their rules say and nowhere else.
pub fn head(data: &[u8]) {
    let name = |text: &str| text.to_owned();
    let places = [
        Place::Header {
            name: name("authorization"),
            prefix: name("Bearer "),
        },
        Place::Header {
            name: name("x-api-key"),
            prefix: String::new(),
        },
        Place::Basic { user: Some(name("me")) },
        Place::Query { name: name("key") },
        Place::Cookie { name: name("session") },
        Place::Basic { user: None },
    ];
    let count = places.len();
    // One of them is for reading only.
    let methods = |place: &Place| match place {
        Place::Header { name, .. } if name == "x-api-key" => vec!["GET".into()],
        _ => vec![],
    };
    let grants = places
        .into_iter()
        .map(|place| (methods(&place), place))
        .map(|(methods, place)| spec(place, methods, vec!["/v1/*".into()]))
        .collect();
    let mut values = VALUE.repeat(count).into_bytes();
    let values = Secret::from_slice_wiping(&mut values).expect("locked memory");
    let mut book = Book::default();
    let made = book.grant("L", grants, &values, |_| true).expect("sound grants");
    let Ok(text) = str::from_utf8(data) else { return };
    if text.starts_with('!') {
        book.revoke("L");
    }
    let Some((method, uri, headers)) = read(text.trim_start_matches('!'), &made) else {
        return;
    };
    let origin = Origin::new(Scheme::Https, Authority::parse(HOST_NAME, Some(443)).expect("a host"));
    if let Ok(said) = form::absolute(&uri) {
        assert_eq!((said.scheme, uri.scheme_str()), (Scheme::Http, Some("http")));
    }
    let _ = form::connect(&uri, &headers);
    answered(headers.clone());
    let mut headers = headers;
    if form::check(&origin, Version::HTTP_11, &method, &uri, &headers).is_err() {
        headers.insert(HOST, HeaderValue::from_static(HOST_NAME));
    } else {
        assert_eq!(headers.get_all(HOST).iter().count(), 1);
    }
    if let Ok(true) = handshake::asked(Version::HTTP_11, &method, &headers) {
        assert!(method == Method::GET && !headers.contains_key("content-length"));
    }
    assert!(!matches!(handshake::asked(Version::HTTP_2, &method, &headers), Ok(true)));
    form::strip_hop(&mut headers);
    // The same head from a client with HTTP/2.
    let named = form::check(&origin, Version::HTTP_2, &method, &uri, &headers);
    assert!(named.is_err() || (uri.scheme_str() == Some("https") && uri.authority().is_some()));
    if headers.get_all(COOKIE).iter().count() > 1 && text.len() % 2 == 0 {
        form::tidy(&mut headers);
        assert_eq!(headers.get_all(COOKIE).iter().count(), 1);
    }
    assert!(!headers.contains_key("proxy-authorization") && !headers.contains_key("connection"));
    judged(&book, &method, &uri, headers);
}

/// The same headers as a host's: what is let through is for the client alone, and says of its body no more than that it is in chunks.
fn answered(mut headers: HeaderMap) {
    let changes = handshake::check_answer(&headers).is_ok();
    assert!(!changes || headers.contains_key("connection") && !headers.contains_key("sec-websocket-extensions"));
    if form::strip_answer(&mut headers).is_ok() {
        assert!(!headers.contains_key("connection") && !headers.contains_key("transfer-encoding"));
        handshake::ask(&mut headers);
        assert!(handshake::check_answer(&headers).is_ok());
    }
}

fn judged(book: &Book, method: &Method, uri: &Uri, mut headers: HeaderMap) {
    let head = Head {
        scheme: Scheme::Https,
        host: HOST_NAME,
        port: 443,
        method: method.as_str(),
        path: uri.path(),
        query: uri.query(),
        headers: &headers,
    };
    let Ok(spots) = inject::spots(head, book) else { return };
    let went = !spots.is_empty();
    let query = inject::put(&spots, &mut headers, uri.query()).expect("sound values");
    assert!(!went || (uri.path().starts_with("/v1/") && is_plain_path(uri.path())));
    for (name, value) in &headers {
        let value = value.as_bytes();
        assert!(placeholder::find(value).is_none(), "{name} keeps a placeholder");
        let there = value.windows(VALUE.len()).any(|window| window == VALUE.as_bytes());
        assert!(
            !there || [AUTHORIZATION, COOKIE, HeaderName::from_static("x-api-key")].contains(name),
            "a value is in {name}"
        );
    }
    let query = query.as_ref().map_or("", |query| query.as_str());
    assert!(placeholder::find(query.as_bytes()).is_none());
    assert!(!query.contains(VALUE) || query.split('&').any(|pair| pair == format!("key={VALUE}")));
}

/// Method, target and headers, with the placeholders in them.
fn read(text: &str, made: &[String]) -> Option<(Method, Uri, HeaderMap)> {
    let mut text = text.to_owned();
    for (number, placeholder) in made.iter().enumerate() {
        let pair = data_encoding::BASE64.encode(format!("me:{placeholder}").as_bytes());
        text = text
            .replace(&format!("{{{number}}}"), placeholder)
            .replace(&format!("{{b{number}}}"), &pair);
    }
    text = text.replace("{?}", &format!("{MARK}ABCDEFGHIJKLMNOPQRST"));
    let mut lines = text.lines();
    let (method, target) = lines.next()?.split_once(' ')?;
    let mut headers = HeaderMap::new();
    for line in lines {
        let (name, value) = line.split_once(':')?;
        headers.append(HeaderName::try_from(name).ok()?, HeaderValue::try_from(value.trim()).ok()?);
    }
    Some((method.parse().ok()?, target.parse().ok()?, headers))
}

/// The first byte says in what an answer is encoded: it is decoded the same in one piece and in pieces of three bytes.
pub fn answer(data: &[u8]) {
    let Some((kind, data)) = data.split_first() else { return };
    let name = ["gzip", "deflate", "zstd", "br", "identity"][usize::from(*kind) % 5];
    assert!(Decoder::new("compress").is_none() && Decoder::new("gzip, br").is_none());
    let (whole, pieces) = (decoded(name, data, data.len().max(1)), decoded(name, data, 3));
    // brotli-decompressor finds a fault of a stream that was cut off a little earlier in pieces; of one that ends it may not.
    let ends = |answer: Option<(u64, u64, bool)>| answer.is_some_and(|(.., ends)| ends);
    if name != "br" || ends(whole) || ends(pieces) || whole.is_some() == pieces.is_some() {
        assert_eq!(whole, pieces);
    }
}

/// As much of the output as there is, up to a bound, and whether the answer may end.
fn decoded(name: &str, data: &[u8], piece: usize) -> Option<(u64, u64, bool)> {
    const MOST: u64 = 1 << 20;
    let (mut decoder, mut room) = (Decoder::new(name).expect("a known name"), [0; 4096]);
    let (mut count, mut sum) = (0, 0_u64);
    for piece in data.chunks(piece).chain([&[][..]]) {
        let mut rest = piece;
        loop {
            let (taken, made) = decoder.step(rest, &mut room).ok()?;
            rest = &rest[taken..];
            for byte in &room[..made] {
                sum = sum.wrapping_mul(31).wrapping_add(u64::from(*byte));
                count += 1;
                if count == MOST {
                    return Some((count, sum, false));
                }
            }
            if taken == 0 && made == 0 {
                break;
            }
        }
        assert!(rest.is_empty(), "what cannot be taken is an error");
    }
    Some((count, sum, decoder.may_end()))
}
