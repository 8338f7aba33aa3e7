//! Where in a request a placeholder stands, whether it may, and the value in its place.

use std::borrow::Cow;
use std::rc::Rc;

use bytes::Bytes;
use data_encoding::BASE64;
use hyper::header::{AUTHORIZATION, COOKIE, HeaderMap, HeaderName, HeaderValue};
use zeroize::Zeroizing;

use super::book::{Book, GrantId, Live, Standing};
use super::placeholder::find;
use super::protocol::{Place, Scheme};
use super::refuse::Refusal;
use super::rules::{Asked, Fault};

/// Headers that have a framework, or a gateway before it, take a request for one of another method, path or host than it says.
const OVERRIDES: [&str; 19] = [
    "forwarded",
    "x-envoy-original-path",
    "x-forwarded-host",
    "x-forwarded-method",
    "x-forwarded-path",
    "x-forwarded-prefix",
    "x-forwarded-server",
    "x-forwarded-uri",
    "x-host",
    "x-http-method",
    "x-http-method-override",
    "x-method-override",
    "x-original-host",
    "x-original-method",
    "x-original-path",
    "x-original-uri",
    "x-original-url",
    "x-rewrite-uri",
    "x-rewrite-url",
];
/// The parameter that frameworks take for the method of a POST.
const METHOD_PARAMETER: &[u8] = b"_method";

/// Escapes within escapes that are looked into.
const DEEPEST: usize = 3;

/// The head of a request, as far as it matters here.
#[derive(Clone, Copy)]
pub struct Head<'a> {
    /// How the host is spoken to.
    pub scheme: Scheme,
    /// The host in its one form.
    pub host: &'a str,
    /// Its port.
    pub port: u16,
    /// As sent.
    pub method: &'a str,
    /// The raw path.
    pub path: &'a str,
    /// The raw query, where there is one.
    pub query: Option<&'a str>,
    /// Without those of the connection.
    pub headers: &'a HeaderMap,
}

/// A placeholder in its place.
pub struct Spot {
    /// What it stands for.
    pub live: Rc<Live>,
    at: At,
}

enum At {
    Header(HeaderName),
    /// What comes before and after the value in `user:password`.
    Basic(String, String),
    /// The pair's number.
    Query(usize),
    /// The numbers of the header and the pair in it.
    Cookie(usize, usize),
}

/// No, and whose placeholder it was.
pub struct Refused {
    /// What the client is told.
    pub refusal: Refusal,
    /// Where that is known.
    pub grant: Option<GrantId>,
}

/// All placeholders of a request, each in a place that its rules allow; none where the request has none.
///
/// # Errors
/// A placeholder is where it may not be (T40), its lease ended, or the request is not one for its credential.
pub fn spots(head: Head<'_>, book: &Book) -> Result<Vec<Spot>, Refused> {
    let mut spots = Vec::new();
    if holds(head.path.as_bytes()) {
        return Err(misplaced(book, head.path.as_bytes(), "placeholder_in_path"));
    }
    for (number, pair) in head.query.iter().flat_map(|query| query.split('&')).enumerate() {
        if holds(pair.as_bytes()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let wanted = |place: &Place| matches!(place, Place::Query { name: rule } if rule == name);
            let live = lookup(book, value, pair.as_bytes(), "placeholder_in_query", wanted)?;
            spots.push(Spot {
                live,
                at: At::Query(number),
            });
        }
    }
    let mut cookies = 0;
    for (name, value) in head.headers {
        let cookie = *name == COOKIE;
        cookies += usize::from(cookie);
        match name {
            name if *name == AUTHORIZATION => spots.extend(in_authorization(book, value.as_bytes())?),
            _ if !holds(value.as_bytes()) => {}
            _ if cookie => in_cookies(book, value.as_bytes(), cookies - 1, &mut spots)?,
            name => spots.push(in_header(book, name, value.as_bytes())?),
        }
    }
    spots.iter().try_for_each(|spot| may_go(head, spot))?;
    check_company(head, &spots)?;
    Ok(spots)
}

/// Something that looks like a placeholder, as it is or with escapes undone.
fn holds(text: &[u8]) -> bool {
    if find(text).is_some() {
        return true;
    }
    let mut text = Cow::Borrowed(text);
    for _ in 0..DEEPEST {
        if !text.contains(&b'%') {
            return false;
        }
        text = unescaped(&text).into();
        if find(&text).is_some() {
            return true;
        }
    }
    false
}

/// With percent escapes undone where they are ones.
fn unescaped(text: &[u8]) -> Vec<u8> {
    let digit = |byte: Option<&u8>| {
        byte.and_then(|byte| char::from(*byte).to_digit(16))
            .and_then(|digit| u8::try_from(digit).ok())
    };
    let (mut out, mut at) = (Vec::with_capacity(text.len()), 0);
    while let Some(&byte) = text.get(at) {
        match (byte, digit(text.get(at + 1)), digit(text.get(at + 2))) {
            (b'%', Some(high), Some(low)) => {
                out.push(high << 4 | low);
                at += 3;
            }
            _ => {
                out.push(byte);
                at += 1;
            }
        }
    }
    out
}

fn in_header(book: &Book, name: &HeaderName, value: &[u8]) -> Result<Spot, Refused> {
    let text = std::str::from_utf8(value).unwrap_or_default();
    // There is no blank in a placeholder.
    let candidate = text.rsplit(' ').next().unwrap_or_default();
    let bare = candidate.len() == text.len();
    let before = &text[..text.len() - candidate.len()];
    let wanted = |place: &Place| matches!(place, Place::Header { name: rule, prefix } if name.as_str() == rule && (bare || prefix.eq_ignore_ascii_case(before)));
    let live = lookup(book, candidate, value, "placeholder_in_header", wanted)?;
    Ok(Spot {
        live,
        at: At::Header(name.clone()),
    })
}

/// In the open, or inside the Base64 of `Basic`.
fn in_authorization(book: &Book, value: &[u8]) -> Result<Option<Spot>, Refused> {
    if let Some((scheme, rest)) = value.split_at_checked(6)
        && scheme.eq_ignore_ascii_case(b"basic ")
    {
        let decoded = BASE64.decode(rest.trim_ascii()).unwrap_or_default();
        if holds(value) {
            // Not inside the Base64 but instead of it, or behind it.
            return Err(misplaced(book, value, "placeholder_in_header"));
        }
        if !holds(&decoded) {
            return Ok(None);
        }
        let pair = String::from_utf8(decoded).unwrap_or_default();
        // RFC 7617, 2: none in either half. A line end there is how a helper was made to give one host's password to another (T30).
        if pair.contains(char::is_control) {
            return Err(misplaced(book, pair.as_bytes(), "placeholder_in_header"));
        }
        let (user, password) = pair.split_once(':').unwrap_or((&pair, ""));
        let of_user = book.standing(user).is_some();
        let (candidate, before, after) = if of_user {
            (user, String::new(), format!(":{password}"))
        } else {
            (password, format!("{user}:"), String::new())
        };
        let wanted = |place: &Place| match place {
            Place::Header { name, .. } => name == AUTHORIZATION.as_str(),
            Place::Basic { user: None } => true,
            Place::Basic { user: Some(only) } => !of_user && only == user,
            Place::Query { .. } | Place::Cookie { .. } => false,
        };
        let live = lookup(book, candidate, pair.as_bytes(), "placeholder_in_header", wanted)?;
        return Ok(Some(Spot {
            live,
            at: At::Basic(before, after),
        }));
    }
    if holds(value) {
        return in_header(book, &AUTHORIZATION, value).map(Some);
    }
    Ok(None)
}

fn in_cookies(book: &Book, header: &[u8], number: usize, spots: &mut Vec<Spot>) -> Result<(), Refused> {
    for (pair_number, pair) in header.split(|byte| *byte == b';').enumerate() {
        if holds(pair) {
            let text = std::str::from_utf8(pair).unwrap_or_default().trim();
            let (name, value) = text.split_once('=').unwrap_or((text, ""));
            let wanted = |place: &Place| matches!(place, Place::Cookie { name: rule } if rule == name);
            let live = lookup(book, value, pair, "placeholder_in_cookie", wanted)?;
            spots.push(Spot {
                live,
                at: At::Cookie(number, pair_number),
            });
        }
    }
    Ok(())
}

/// What `candidate` stands for, if it is a placeholder, and this is a place for it.
fn lookup(book: &Book, candidate: &str, around: &[u8], code: &'static str, wanted: impl Fn(&Place) -> bool) -> Result<Rc<Live>, Refused> {
    match book.standing(candidate) {
        Some(Standing::Live(live)) if wanted(&live.place) => Ok(live),
        Some(Standing::Ended(id)) => Err(Refused {
            refusal: Refusal::rule("lease_ended", "the lease behind this placeholder is over; ask for the task again"),
            grant: Some(id),
        }),
        Some(Standing::Live(_)) | None => Err(misplaced(book, around, code)),
    }
}

fn misplaced(book: &Book, around: &[u8], code: &'static str) -> Refused {
    let (mut grant, mut text) = (book.inside(around), around.to_vec());
    for _ in 0..DEEPEST {
        text = unescaped(&text);
        grant = grant.or_else(|| book.inside(&text));
    }
    let refusal = match grant {
        Some(_) => Refusal::rule(
            code,
            "put the placeholder where the credential belongs, by itself; it is put in nowhere else",
        ),
        None => Refusal::rule(
            "unknown_placeholder",
            "no lease of this session has this placeholder; ask for the task again",
        ),
    };
    Refused { refusal, grant }
}

fn may_go(head: Head<'_>, spot: &Spot) -> Result<(), Refused> {
    let asked = Asked {
        scheme: head.scheme,
        host: head.host,
        port: head.port,
        method: head.method,
        path: head.path,
    };
    spot.live.rule.judge(asked).map_err(|fault| refused(&spot.live, fault))
}

fn refused(live: &Live, fault: Fault) -> Refused {
    let hint = match fault {
        Fault::Host => "the credential is for other hosts; `touchlease list` names them",
        Fault::Method => "the lease is for other methods; a task that names this one has to be asked for",
        Fault::Path => "the lease is for other paths; a task that names this one has to be asked for",
        Fault::PathForm => "write the path without dots as segments, empty segments, backslashes and escapes of them",
    };
    Refused {
        refusal: Refusal::rule(fault.code(), hint).of(&live.secret),
        grant: Some(live.id.clone()),
    }
}

/// What must not come along with a credential: another one of the client's own (T36), or what makes another request of this one.
fn check_company(head: Head<'_>, spots: &[Spot]) -> Result<(), Refused> {
    let Some(first) = spots.first() else { return Ok(()) };
    let ours = spots
        .iter()
        .filter(|spot| matches!(&spot.at, At::Basic(..)) || matches!(&spot.at, At::Header(name) if *name == AUTHORIZATION));
    let refuse = |code, hint| {
        let refusal = Refusal::rule(code, hint).of(&first.live.secret);
        let grant = Some(first.live.id.clone());
        Err(Refused { refusal, grant })
    };
    if head.headers.get_all(AUTHORIZATION).iter().count() > ours.count() {
        return refuse("own_authorization", "a request with a placeholder has no Authorization of its own");
    }
    let named = |spot: &Spot| match &spot.at {
        At::Header(name) => head.headers.get_all(name).iter().count() > 1,
        At::Basic(..) => head.headers.get_all(AUTHORIZATION).iter().count() > 1,
        At::Query(_) | At::Cookie(..) => false,
    };
    if spots.iter().any(named) {
        return refuse("placeholder_twice", "the header with the placeholder stands in the request once");
    }
    if head.headers.keys().any(overrides) {
        return refuse("override", "headers that override method, path or host do not go with a credential");
    }
    let limited = spots.iter().any(|spot| spot.live.rule.limits_methods());
    if limited && head.query.is_some_and(names_a_method) {
        return refuse(
            "override",
            "a parameter that overrides the method does not go with a credential for some methods",
        );
    }
    Ok(())
}

/// Whether a header makes another request of one; servers with CGI's names take `_` for `-` (RFC 3875, 4.1.18).
#[must_use]
pub fn overrides(name: &HeaderName) -> bool {
    let name = name.as_str();
    // All of them begin so.
    name.starts_with(['x', 'f']) && OVERRIDES.contains(&name.replace('_', "-").as_str())
}

fn names_a_method(query: &str) -> bool {
    query.split(['&', ';']).any(|pair| {
        let mut name = pair.split('=').next().unwrap_or_default().as_bytes().to_vec();
        for _ in 0..DEEPEST {
            name = unescaped(&name);
        }
        name.trim_ascii().eq_ignore_ascii_case(METHOD_PARAMETER)
    })
}

/// Puts the values into `headers`, and gives the query with them, where one goes there.
///
/// The copies made here are ordinary memory of the HTTP library, which frees them once they are sent, and does not wipe them.
///
/// # Errors
/// A value is no text for a header: not those that were checked.
pub fn put(spots: &[Spot], headers: &mut HeaderMap, query: Option<&str>) -> Result<Option<Zeroizing<String>>, Refusal> {
    let in_query = spots.iter().any(|spot| matches!(spot.at, At::Query(_)));
    let mut pairs: Option<Vec<Zeroizing<String>>> = query
        .filter(|_| in_query)
        .map(|query| query.split('&').map(|pair| Zeroizing::new(pair.to_owned())).collect());
    for Spot { live, at } in spots {
        let value = live.value().expose();
        match at {
            At::Header(name) => {
                let prefix = match &live.place {
                    Place::Header { prefix, .. } => prefix.as_str(),
                    _ => "",
                };
                headers.insert(name, sensitive(&[prefix.as_bytes(), value].concat())?);
            }
            At::Basic(before, after) => {
                let pair = Zeroizing::new([before.as_bytes(), value, after.as_bytes()].concat());
                let coded = Zeroizing::new(format!("Basic {}", BASE64.encode(&pair)));
                headers.insert(AUTHORIZATION, sensitive(coded.as_bytes())?);
            }
            At::Query(number) => {
                if let Some(pair) = pairs.as_mut().and_then(|pairs| pairs.get_mut(*number)) {
                    let name = pair.split('=').next().unwrap_or_default().to_owned();
                    *pair = Zeroizing::new(format!("{name}={}", escaped(value).as_str()));
                }
            }
            At::Cookie(header, pair) => put_cookie(headers, *header, *pair, value)?,
        }
    }
    Ok(pairs.map(|pairs| Zeroizing::new(pairs.iter().map(|pair| pair.as_str()).collect::<Vec<_>>().join("&"))))
}

fn put_cookie(headers: &mut HeaderMap, number: usize, pair: usize, value: &[u8]) -> Result<(), Refusal> {
    let Some(header) = headers.get_all(COOKIE).iter().nth(number) else {
        return Ok(());
    };
    let mut changed = Zeroizing::new(Vec::new());
    for (at, text) in header.as_bytes().split(|byte| *byte == b';').enumerate() {
        if at > 0 {
            changed.push(b';');
        }
        match text.iter().position(|byte| *byte == b'=') {
            Some(equals) if at == pair => {
                changed.extend_from_slice(&text[..=equals]);
                changed.extend_from_slice(value);
            }
            _ => changed.extend_from_slice(text),
        }
    }
    let changed = sensitive(&changed)?;
    if let hyper::header::Entry::Occupied(mut cookies) = headers.entry(COOKIE)
        && let Some(cookie) = cookies.iter_mut().nth(number)
    {
        *cookie = changed;
    }
    Ok(())
}

fn sensitive(value: &[u8]) -> Result<HeaderValue, Refusal> {
    let value = HeaderValue::from_maybe_shared(Bytes::copy_from_slice(value));
    let mut value = value.map_err(|_| Refusal::rule("unfit_value", "the credential cannot stand in a header"))?;
    value.set_sensitive(true);
    Ok(value)
}

/// Everything escaped but what never has to be (RFC 3986, 2.3).
fn escaped(value: &[u8]) -> Zeroizing<String> {
    let mut text = String::with_capacity(3 * value.len());
    for byte in value {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(byte) {
            text.push(char::from(*byte));
        } else {
            text.push_str(&format!("%{byte:02X}"));
        }
    }
    Zeroizing::new(text)
}
