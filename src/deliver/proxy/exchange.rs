//! One request to a host that is looked into, and its answer: the page to read. Each step takes what the one before made.

use std::cell::RefCell;
use std::rc::Rc;

use bytes::Bytes;
use hyper::body::Incoming;
use hyper::header::{ACCEPT_ENCODING, ALT_SVC, CONTENT_LENGTH, HOST, HeaderMap, HeaderName, HeaderValue, IF_RANGE, RANGE};
use hyper::http::request::Parts;
use hyper::upgrade::OnUpgrade;
use hyper::{Request, Response, StatusCode, Uri, Version};

use super::address::Reach;
use super::answer::{AnswerBody, Lookout, through_mask};
use super::decode::KNOWN;
use super::form::{self, Origin};
use super::handshake;
use super::inject::{self, Head, Refused, Spot};
use super::protocol::{Network, Verdict};
use super::refuse::{LEASE_ENDED, NOT_RECORDED, Refusal};
use super::scan::{self, Scanned};
use super::session::Tied;
use super::uses::Permit;
use super::ways::Ways;
use super::websocket;

/// How messages of an answer may be compressed one by one (gRPC over HTTP2, "Message-Encoding"): not, here.
static GRPC_ACCEPT: HeaderName = HeaderName::from_static("grpc-accept-encoding");

/// One client's connection, or what is inside its CONNECT.
pub struct Client {
    /// Where it is held.
    pub tied: Rc<Tied>,
    ways: Ways,
    /// Whom the request before was for, in absolute form: a client of a proxy asks the same host again.
    last: RefCell<Option<Rc<Origin>>>,
}

impl Client {
    /// One that asked for nothing yet, in HTTP/1.1 or, with `many` requests at one time, in HTTP/2.
    #[must_use]
    pub fn new(tied: Rc<Tied>, many: bool) -> Self {
        Self {
            ways: Ways::new(tied.clone(), many),
            tied,
            last: RefCell::default(),
        }
    }

    /// The origin that a request in absolute form is for.
    ///
    /// # Errors
    /// As [`form::absolute`].
    pub fn absolute(&self, uri: &Uri) -> Result<Rc<Origin>, Refusal> {
        let same = self.last.borrow().clone().filter(|last| last.is_target_of(uri));
        if let Some(same) = same {
            return Ok(same);
        }
        let origin = Rc::new(form::absolute(uri)?);
        self.last.replace(Some(origin.clone()));
        Ok(origin)
    }

    /// It asks no more.
    pub fn rest(&self) {
        self.ways.rest();
    }

    /// Answers a request that came for `origin`.
    pub async fn exchange(&self, origin: &Origin, request: Request<Incoming>) -> Response<AnswerBody> {
        let method = request.method().clone();
        match self.try_exchange(origin, request).await {
            Ok(answer) => answer,
            Err(Refused { mut refusal, grant }) => {
                if [LEASE_ENDED, "used_up", "unknown_placeholder"].contains(&refusal.reason) {
                    refusal = refusal.ask_for(self.tied.session.task_for(&origin.host));
                }
                // What had a placeholder in it is for the log.
                if grant.is_some() || ["unknown_placeholder", scan::IN_BODY].contains(&refusal.reason) {
                    let (method, host) = (method.as_str(), origin.shown());
                    self.tied.session.refused(grant, refusal.reason, method, host).await;
                }
                refusal.answer(AnswerBody::own)
            }
        }
    }

    async fn try_exchange(&self, origin: &Origin, mut request: Request<Incoming>) -> Result<Response<AnswerBody>, Refused> {
        let upgrade = hyper::upgrade::on(&mut request);
        let (mut head, body) = request.into_parts();
        form::check(origin, head.version, &head.method, &head.uri, &head.headers)?;
        let is_websocket = handshake::asked(head.version, &head.method, &head.headers)?;
        form::strip_hop(&mut head.headers);
        if self.ways.are_many() {
            form::tidy(&mut head.headers);
        }
        let spots = self.spots(origin, &head)?;
        let reach = self.reach(origin, &spots)?;
        let permit = self.permit(origin, &head, &spots).await?;
        let method = head.method.clone();
        let mut head = outgoing(origin, head, &spots)?;
        if is_websocket {
            handshake::ask(&mut head.headers);
        }
        let in_body = scan::Lookout::new(
            &self.tied,
            method.clone(),
            origin.shown().clone(),
            spots.first().map(|spot| spot.live.id.clone()),
        );
        let request = Request::from_parts(head, Scanned::new(body, in_body.clone(), !spots.is_empty()));
        let answer = self.ways.send(origin, reach, permit, request).await;
        in_body.answers().map_err(|grant| Refused {
            refusal: Refusal::rule(scan::IN_BODY, "a placeholder in a request's body is not put in, and not passed on"),
            grant,
        })?;
        let answer = answer.map_err(|refusal| late(refusal, &spots))?;
        if answer.status() == StatusCode::SWITCHING_PROTOCOLS {
            let upgrade = Some(upgrade).filter(|_| is_websocket).ok_or_else(handshake::unasked)?;
            return Ok(self.upgraded(origin, upgrade, answer)?);
        }
        let (mut head, body) = answer.into_parts();
        // The host's own words for the status would go on as they are (T40).
        head.extensions.clear();
        head.version = Version::HTTP_11;
        form::strip_answer(&mut head.headers)?;
        // A way around us.
        head.headers.remove(ALT_SVC);
        let lookout = Lookout::new(&self.tied.session, origin.shown().clone());
        let body = through_mask(lookout, &method, &mut head, body).await?;
        Ok(Response::from_parts(head, body))
    }

    /// The host's yes to a WebSocket, and the task that carries what follows, which is part of the client's connection.
    fn upgraded(&self, origin: &Origin, client: OnUpgrade, mut answer: Response<Incoming>) -> Result<Response<AnswerBody>, Refusal> {
        handshake::check_answer(answer.headers())?;
        let host = hyper::upgrade::on(&mut answer);
        let (mut head, _) = answer.into_parts();
        head.extensions.clear();
        form::strip_answer(&mut head.headers)?;
        let mut lookout = Lookout::new(&self.tied.session, origin.shown().clone());
        lookout.mask_headers(&mut head.headers);
        handshake::agree(&mut head.headers);
        let tied = self.tied.clone();
        let task = tokio::task::spawn_local(async move {
            websocket::carry(client, host, lookout).await;
            drop(tied);
        });
        self.tied.holds(&task);
        Ok(Response::from_parts(head, AnswerBody::own(Bytes::new())))
    }

    fn spots(&self, origin: &Origin, head: &Parts) -> Result<Vec<Spot>, Refused> {
        let head = Head {
            scheme: origin.scheme,
            host: origin.host.host(),
            port: origin.host.port(),
            method: head.method.as_str(),
            path: head.uri.path(),
            query: head.uri.query(),
            headers: &head.headers,
        };
        inject::spots(head, &self.tied.session.book.borrow())
    }

    /// Why the host may be reached: for a lease that is in force, or because the network is open.
    fn reach(&self, origin: &Origin, spots: &[Spot]) -> Result<Reach, Refusal> {
        let session = &self.tied.session;
        let book = session.book.borrow();
        let mut grants = book.grants_for(origin.scheme, origin.host.host(), origin.host.port()).peekable();
        if grants.peek().is_some() {
            // With a credential it is the credential's own rule that counts.
            let allow_private = match spots {
                [] => grants.any(|live| live.allow_private),
                spots => spots.iter().all(|spot| spot.live.allow_private),
            };
            return Ok(Reach::Granted { allow_private });
        }
        drop(grants);
        match session.network {
            Network::Open => Ok(Reach::Open),
            Network::GrantedOnly => Err(session.not_granted(&origin.host)),
        }
    }

    /// Has the use of each lease counted. The connection is one that carries them from before on, so that a lease which ends
    /// meanwhile ends this request.
    async fn permit(&self, origin: &Origin, head: &Parts, spots: &[Spot]) -> Result<Permit, Refused> {
        let session = &self.tied.session;
        let host = origin.shown();
        let mut permit = Permit::default();
        for Spot { live, .. } in spots {
            let verdict = if permit.leases.contains(&live.id.0) {
                // One request is one use of a lease, whatever it carries of it.
                Verdict::Go
            } else {
                self.tied.carries(&live.id.0);
                let (verdict, until) = session.uses.permit(&live.id, head.method.as_str(), host, head.uri.path()).await;
                permit.add(&live.id.0, until);
                verdict
            };
            if matches!(verdict, Verdict::Go | Verdict::GoOn) && session.book.borrow().is_live(&live.id) {
                continue;
            }
            return Err(Refused {
                refusal: Refusal::verdict(verdict).of(&live.secret),
                grant: Some(live.id.clone()),
            });
        }
        permit.leases.sort();
        Ok(permit)
    }
}

/// A lease that was found to be over when the connection was there is told of as one that was before.
fn late(refusal: Refusal, spots: &[Spot]) -> Refused {
    match spots.first().filter(|_| [LEASE_ENDED, NOT_RECORDED].contains(&refusal.reason)) {
        Some(Spot { live, .. }) => Refused {
            refusal: refusal.of(&live.secret),
            grant: Some(live.id.clone()),
        },
        None => refusal.into(),
    }
}

/// The request as it goes to the host: written anew, with the values in it.
fn outgoing(origin: &Origin, mut head: Parts, spots: &[Spot]) -> Result<Parts, Refusal> {
    let query = inject::put(spots, &mut head.headers, head.uri.query())?;
    // A target without a path (`http://a.example#x`) says `/` of itself, and nothing once it stands alone.
    let same = head.uri.path_and_query().cloned().map(Uri::from);
    let same = same.filter(|same| query.is_none() && same.path().starts_with('/') && same.path() == head.uri.path());
    head.uri = match (same, query.as_ref().map(|query| query.as_str()).or(head.uri.query())) {
        (Some(same), _) => same,
        (None, Some(query)) => Uri::try_from(format!("{}?{query}", head.uri.path())).map_err(|_| form::bad_target())?,
        (None, None) => Uri::try_from(head.uri.path()).map_err(|_| form::bad_target())?,
    };
    // Which one it is, the way says.
    head.version = Version::default();
    head.extensions.clear();
    let headers = &mut head.headers;
    if headers.get(HOST).is_none_or(|said| said.as_bytes() != origin.shown().as_bytes()) {
        let host = HeaderValue::from_str(origin.shown());
        headers.insert(HOST, host.map_err(|_| Refusal::malformed("bad_host", "the host is none"))?);
    }
    headers.remove(CONTENT_LENGTH);
    if !spots.is_empty() {
        // A value that is fetched in pieces is in none of them. A host may always answer with the whole (RFC 9110, 14.2).
        headers.remove(RANGE);
        headers.remove(IF_RANGE);
    }
    accept_known(headers);
    if headers.contains_key(&GRPC_ACCEPT) {
        headers.insert(&GRPC_ACCEPT, HeaderValue::from_static("identity"));
    }
    Ok(head)
}

/// Asks only for encodings that can be looked into; of a part, for none, and so where the client wants none.
fn accept_known(headers: &mut HeaderMap) {
    if headers.contains_key(RANGE) || !headers.contains_key(ACCEPT_ENCODING) {
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        return;
    }
    let wanted: Vec<&str> = headers
        .get_all(ACCEPT_ENCODING)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .collect();
    let known = |coding: &&str| {
        let name = coding.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        KNOWN.contains(&name.as_str())
    };
    let kept: Vec<&str> = wanted.iter().copied().map(str::trim).filter(known).collect();
    let kept = if kept.is_empty() { "identity".to_owned() } else { kept.join(", ") };
    if let Ok(kept) = HeaderValue::try_from(kept) {
        headers.insert(ACCEPT_ENCODING, kept);
    }
}

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Self {
        Self { refusal, grant: None }
    }
}
