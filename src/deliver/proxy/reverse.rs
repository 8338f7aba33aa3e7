//! The reverse form, for clients that know no proxy: a URL of this machine that has a bearer of its own and the host in its path,
//! `http://127.0.0.1:PORT/BEARER/https/HOST[:PORT]/PATH`. What is left of a request without that beginning is a request to the host, and takes
//! the one way that requests take ([`Client::exchange`]).
//!
//! Only hosts that are looked into are reached: for others, a client needs none of this. A browser is no client: pages of any host would be of
//! one origin, this machine's, so whatever only browsers send is refused (T41).

use hyper::body::Incoming;
use hyper::header::{CONTENT_LOCATION, HOST, HeaderMap, HeaderName, HeaderValue, LOCATION, REFERER, SET_COOKIE};
use hyper::{Request, Response, Uri};

use super::answer::AnswerBody;
use super::exchange::Client;
use super::form::{self, Origin};
use super::hosts::Authority;
use super::prefix::{base, check, kept, located, read};
use super::protocol::BEARER;
use super::refuse::Refusal;
use super::session::Session;

/// Answers a request of a client that has the bearer.
pub async fn ask(client: &Client, request: Request<Incoming>) -> Response<AnswerBody> {
    let session = client.tied.session.clone();
    match received(&session, request) {
        Ok((origin, request)) => {
            let mut answer = client.exchange(&origin, request).await;
            turn_back(&session, &origin, answer.headers_mut());
            answer
        }
        Err(refusal) => refusal.answer(AnswerBody::own),
    }
}

/// The request as it would have come for the host itself.
fn received(session: &Session, mut request: Request<Incoming>) -> Result<(Origin, Request<Incoming>), Refusal> {
    check(request.headers(), session.port)?;
    let target = request.uri().path_and_query().map_or("", |target| target.as_str());
    let (origin, target) = read(target.get(1 + BEARER..).unwrap_or_default())?;
    if !session.looks_into(&origin.host) {
        return Err(session.not_granted(&origin.host));
    }
    *request.uri_mut() = Uri::try_from(target).map_err(|_| form::bad_target())?;
    let host = HeaderValue::from_str(origin.shown()).map_err(|_| form::bad_host())?;
    let headers = request.headers_mut();
    headers.insert(HOST, host);
    // It has the bearer in it.
    headers.remove(REFERER);
    Ok((origin, request))
}

/// Has the client come back to the same host in this form: where a redirect leads to, and a cookie goes. Bodies are the host's own.
fn turn_back(session: &Session, origin: &Origin, headers: &mut HeaderMap) {
    let known = |host: &Authority| session.looks_into(host);
    let bearer = String::from_utf8_lossy(session.base.expose());
    for name in [LOCATION, CONTENT_LOCATION] {
        change(headers, &name, |text| located(text, origin, &bearer, &known));
    }
    change(headers, &SET_COOKIE, |text| Some(kept(text, &base(&bearer, origin))));
}

fn change(headers: &mut HeaderMap, name: &HeaderName, write: impl Fn(&str) -> Option<String>) {
    if let hyper::header::Entry::Occupied(mut values) = headers.entry(name) {
        for value in values.iter_mut() {
            let changed = write(&String::from_utf8_lossy(value.as_bytes()));
            if let Some(changed) = changed.and_then(|text| HeaderValue::try_from(text).ok()) {
                *value = changed;
            }
        }
    }
}
