//! One request to a host that is looked into, and its answer: the page to read. Each step takes what the one before made.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use hyper::body::{Body, Incoming};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{ACCEPT_ENCODING, CONTENT_LENGTH, HOST, HeaderMap, HeaderValue, IF_RANGE, RANGE, TRANSFER_ENCODING};
use hyper::http::request::Parts;
use hyper::{Request, Response, StatusCode, Uri, Version};
use hyper_util::rt::TokioIo;
use tokio::time::timeout;

use super::address::Reach;
use super::answer::{AnswerBody, Lookout, through_mask};
use super::decode::KNOWN;
use super::form::{self, Origin};
use super::inject::{self, Head, Refused, Spot};
use super::protocol::{Network, Verdict};
use super::refuse::Refusal;
use super::scan::{self, Scanned};
use super::session::Tied;

/// For the head of an answer: models think for minutes.
const ANSWER: Duration = Duration::from_secs(900);
/// Most bytes of an answer's head; a request's has the same bound.
pub const LONGEST_HEAD: usize = 64 * 1024;
/// Most headers.
pub const MOST_HEADERS: usize = 256;

/// A way to a host, kept for the client's next request, which has it only for the same host and the same leases (T35).
struct Kept {
    origin: Origin,
    leases: Vec<String>,
    sender: SendRequest<Scanned>,
}

/// One client's connection, or what is inside its CONNECT.
pub struct Client {
    /// Where it is held.
    pub tied: Rc<Tied>,
    kept: RefCell<Option<Kept>>,
}

impl Client {
    /// One that asked for nothing yet.
    #[must_use]
    pub fn new(tied: Rc<Tied>) -> Self {
        Self {
            tied,
            kept: RefCell::default(),
        }
    }

    /// Answers a request that came for `origin`.
    pub async fn exchange(&self, origin: &Origin, request: Request<Incoming>) -> Response<AnswerBody> {
        let method = request.method().as_str().to_owned();
        match self.try_exchange(origin, request).await {
            Ok(answer) => answer,
            Err(Refused { refusal, grant }) => {
                // What had a placeholder in it is for the log.
                if grant.is_some() || ["unknown_placeholder", scan::IN_BODY].contains(&refusal.reason) {
                    let host = origin.host.shown(origin.scheme);
                    self.tied.session.refused(grant, refusal.reason, &method, &host).await;
                }
                refusal.answer(AnswerBody::own)
            }
        }
    }

    async fn try_exchange(&self, origin: &Origin, request: Request<Incoming>) -> Result<Response<AnswerBody>, Refused> {
        let (mut head, body) = request.into_parts();
        form::check(origin, &head.method, &head.uri, &head.headers)?;
        form::strip_hop(&mut head.headers);
        let spots = self.spots(origin, &head)?;
        let reach = self.reach(origin, &spots)?;
        let leases = self.permit(origin, &head, &spots).await?;
        let method = head.method.clone();
        let head = outgoing(origin, head, &spots, &body)?;
        let in_body = scan::Lookout::new(&self.tied, method.as_str(), origin.host.shown(origin.scheme));
        let request = Request::from_parts(head, Scanned::new(body, in_body.clone(), !spots.is_empty()));
        let answer = self.send(origin, reach, leases, request).await;
        in_body.answers().map_err(|grant| Refused {
            refusal: Refusal::rule(scan::IN_BODY, "a placeholder in a request's body is not put in, and not passed on"),
            grant,
        })?;
        let (mut head, body) = answer?.into_parts();
        if head.status == StatusCode::SWITCHING_PROTOCOLS {
            return Err(Refusal::upstream(StatusCode::BAD_GATEWAY, "upgrade", "the host changed the protocol unasked").into());
        }
        // The host's own words for the status would go on as they are (T40).
        head.extensions.clear();
        head.version = Version::HTTP_11;
        form::strip_answer(&mut head.headers)?;
        // A way around us.
        head.headers.remove("alt-svc");
        let lookout = Lookout::new(&self.tied.session, &origin.host.shown(origin.scheme));
        let body = through_mask(lookout, &method, &mut head, body)?;
        Ok(Response::from_parts(head, body))
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
            Network::GrantedOnly => Err(not_granted()),
        }
    }

    /// Has the daemon count the use of each lease. The connection is one that carries them from before on, so that a lease which ends
    /// meanwhile ends this request.
    async fn permit(&self, origin: &Origin, head: &Parts, spots: &[Spot]) -> Result<Vec<String>, Refused> {
        let session = &self.tied.session;
        let host = origin.host.shown(origin.scheme);
        let mut leases: Vec<String> = Vec::new();
        for Spot { live, .. } in spots {
            let verdict = if leases.contains(&live.id.0) {
                // One request is one use of a lease, whatever it carries of it.
                Verdict::Go
            } else {
                leases.push(live.id.0.clone());
                self.tied.carries(&live.id.0);
                session.ask(&live.id, head.method.as_str(), &host, head.uri.path()).await
            };
            let refusal = match verdict {
                Verdict::Go if session.book.borrow().is_live(&live.id) => continue,
                Verdict::UsedUp => Refusal::rule("used_up", "the lease's uses are used up; ask for the task again"),
                Verdict::Go | Verdict::Gone => Refusal::rule("lease_ended", "the lease is over; ask for the task again"),
            };
            let grant = Some(live.id.clone());
            return Err(Refused {
                refusal: refusal.of(&live.secret),
                grant,
            });
        }
        leases.sort();
        Ok(leases)
    }

    /// Over the way that was kept, where it may be, or a new one.
    async fn send(
        &self,
        origin: &Origin,
        reach: Reach,
        leases: Vec<String>,
        mut request: Request<Scanned>,
    ) -> Result<Response<Incoming>, Refusal> {
        let kept = self
            .kept
            .take()
            .filter(|kept| kept.origin == *origin && kept.leases == leases && !kept.sender.is_closed());
        if let Some(mut kept) = kept
            && kept.sender.ready().await.is_ok()
        {
            match timeout(ANSWER, kept.sender.try_send_request(request)).await {
                Ok(Ok(answer)) => {
                    self.kept.replace(Some(kept));
                    return Ok(answer);
                }
                // The host closed it before it had the request, of which nothing was sent.
                Ok(Err(mut error)) => match error.take_message() {
                    Some(unsent) => request = unsent,
                    None => return Err(broke_off()),
                },
                Err(_) => return Err(silent()),
            }
        }
        let mut sender = self.connect(origin, reach).await?;
        let answer = match timeout(ANSWER, sender.send_request(request)).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => return Err(broke_off()),
            Err(_) => return Err(silent()),
        };
        let origin = origin.clone();
        self.kept.replace(Some(Kept { origin, leases, sender }));
        Ok(answer)
    }

    async fn connect(&self, origin: &Origin, reach: Reach) -> Result<SendRequest<Scanned>, Refusal> {
        let stream = self.tied.session.upstreams.open(origin.scheme, &origin.host, reach).await?;
        let shaken = http1::Builder::new()
            .max_buf_size(LONGEST_HEAD)
            .max_headers(MOST_HEADERS)
            .handshake(TokioIo::new(stream))
            .await;
        let (sender, connection) = shaken.map_err(|_| broke_off())?;
        // Its end is the sender's, too.
        self.tied.holds(&tokio::task::spawn_local(connection));
        Ok(sender)
    }
}

/// The request as it goes to the host: written anew, with the values in it.
fn outgoing(origin: &Origin, mut head: Parts, spots: &[Spot], body: &Incoming) -> Result<Parts, Refusal> {
    let query = inject::put(spots, &mut head.headers, head.uri.query())?;
    let target = match query {
        Some(query) => format!("{}?{}", head.uri.path(), query.as_str()),
        None => head.uri.path().to_owned(),
    };
    head.uri = Uri::try_from(target).map_err(|_| Refusal::malformed("bad_target", "the request's target is too long, or is none"))?;
    head.version = Version::HTTP_11;
    head.extensions.clear();
    let mut headers = HeaderMap::with_capacity(head.headers.capacity());
    let host = HeaderValue::try_from(origin.host.shown(origin.scheme));
    headers.insert(HOST, host.map_err(|_| Refusal::malformed("bad_host", "the host is none"))?);
    head.headers.remove(HOST);
    head.headers.remove(CONTENT_LENGTH);
    headers.extend(std::mem::take(&mut head.headers));
    if !body.is_end_stream() && body.size_hint().exact().is_none() {
        // The library takes a GET without it for one without a body.
        headers.insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
    }
    if !spots.is_empty() {
        // A value that is fetched in pieces is in none of them. A host may always answer with the whole (RFC 9110, 14.2).
        headers.remove(RANGE);
        headers.remove(IF_RANGE);
    }
    accept_known(&mut headers);
    head.headers = headers;
    Ok(head)
}

/// Asks only for encodings that can be looked into; of a part, for none.
fn accept_known(headers: &mut HeaderMap) {
    if headers.contains_key(RANGE) {
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

/// Of a host that no lease names, where others are closed.
#[must_use]
pub fn not_granted() -> Refusal {
    Refusal::rule(
        "not_granted",
        "no lease of this session names this host; ask for a task that does: `touchlease list` shows them",
    )
}

fn broke_off() -> Refusal {
    Refusal::upstream(
        StatusCode::BAD_GATEWAY,
        "upstream_broke_off",
        "the host ended the connection, or its answer is not HTTP",
    )
}

fn silent() -> Refusal {
    Refusal::upstream(StatusCode::GATEWAY_TIMEOUT, "upstream_silent", "the host does not answer in time")
}

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Self {
        Self { refusal, grant: None }
    }
}
