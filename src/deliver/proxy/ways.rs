//! The ways to hosts of one client's connection: made when they are needed, or taken over from one that is gone ([`idle`]), kept for its next
//! requests, and used for no other host and for no other leases (T35).

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use hyper::body::{Body, Incoming};
use hyper::client::conn::{http1, http2};
use hyper::header::{HOST, HeaderValue, TRANSFER_ENCODING};
use hyper::{Request, Response, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use tokio::sync::Mutex;

use super::address::Reach;
use super::form::{self, Origin};
use super::h2;
use super::idle;
use super::protocol::Verdict;
use super::refuse::Refusal;
use super::scan::Scanned;
use super::session::{Held, Tied};
use super::timer::LazyTimer;
use super::uses::Permit;

/// For the head of an answer: models think for minutes.
const ANSWER: Duration = Duration::from_secs(900);
/// Most bytes of an answer's head; a request's has the same bound. Headers are a hundred at most, as Apache has it: for as many the library has room
/// on its stack, and for more it takes memory and fills it for each head.
pub const LONGEST_HEAD: usize = 64 * 1024;
/// Ways that a client with many requests at one time keeps beside those that are in use.
pub const MOST_KEPT: usize = 8;

/// One connection to a host.
enum Sender {
    /// HTTP/1.1: one request after the other.
    One(http1::SendRequest<Scanned>, LazyTimer),
    /// HTTP/2: many at one time.
    Many(http2::SendRequest<Scanned>),
}

/// One that a client has.
pub struct Kept {
    number: u64,
    origin: Origin,
    /// Whose credentials go over it.
    pub leases: Vec<String>,
    /// Why the host was reached at the address that it is reached at.
    pub reach: Reach,
    sender: Sender,
    /// Of HTTP/2 it is the client's connection that holds it.
    held: Option<Held>,
}

/// Those of one client.
pub struct Ways {
    tied: Rc<Tied>,
    /// The client speaks HTTP/2. One that does not is spoken for in HTTP/1.1 too: what it sends is never made into something else than it is.
    many: bool,
    kept: RefCell<Vec<Kept>>,
    made: Cell<u64>,
    /// Requests at one time wait for each other's way, until it is known that the host takes one request at a time.
    making: Mutex<()>,
    one_each: Cell<bool>,
}

impl Ways {
    /// None yet.
    #[must_use]
    pub fn new(tied: Rc<Tied>, many: bool) -> Self {
        Self {
            tied,
            many,
            kept: RefCell::default(),
            made: Cell::new(0),
            making: Mutex::new(()),
            one_each: Cell::new(false),
        }
    }

    /// Whether the client has many requests at one time.
    #[must_use]
    pub fn are_many(&self) -> bool {
        self.many
    }

    /// The client is gone: what is between two requests waits for another one that has the same credential.
    pub fn rest(&self) {
        for way in self.kept.take() {
            if way.held.is_some() && !way.leases.is_empty() && way.sender.is_ready() {
                idle::rest(&self.tied.session, way);
            }
        }
    }

    /// Sends a request, whose target is a path, over a way that was kept or a new one.
    ///
    /// # Errors
    /// What the client is told: the host may not be reached, cannot be, or does not answer.
    pub async fn send(
        &self,
        origin: &Origin,
        reach: Reach,
        mut permit: Permit,
        mut request: Request<Scanned>,
    ) -> Result<Response<Incoming>, Refusal> {
        let mut turn = None;
        loop {
            if let Some(mut way) = self.take(origin, &permit.leases, reach).await {
                // Whoever waits to look for a way waits for no answer.
                drop(turn.take());
                self.is_still(&mut permit).await?;
                match way.sender.send(origin, request).await? {
                    Ok(answer) => {
                        self.keep(way);
                        return Ok(answer);
                    }
                    // The host closed it before it had the request, of which nothing was sent.
                    Err(unsent) => {
                        self.kept.borrow_mut().retain(|kept| kept.number != way.number);
                        request = unsent;
                        continue;
                    }
                }
            }
            if !self.many || self.one_each.get() || turn.is_some() {
                break;
            }
            turn = Some(self.making.lock().await);
        }
        let mut way = self.connect(origin, permit.leases.clone(), reach).await?;
        match way.share() {
            Some(shared) => self.keep(shared),
            None => self.one_each.set(true),
        }
        drop(turn);
        self.is_still(&mut permit).await?;
        match way.sender.send(origin, request).await? {
            Ok(answer) => {
                self.keep(way);
                Ok(answer)
            }
            Err(_) => Err(broke_off()),
        }
    }

    /// Whether the request may go out now: the host may have taken its time (P4).
    async fn is_still(&self, permit: &mut Permit) -> Result<(), Refusal> {
        match self.tied.session.uses.still(permit).await {
            Verdict::Go | Verdict::GoOn => Ok(()),
            no => Err(Refusal::verdict(no)),
        }
    }

    async fn take(&self, origin: &Origin, leases: &[String], reach: Reach) -> Option<Kept> {
        loop {
            let mut way = self.own(origin, leases, reach).or_else(|| self.left(origin, leases, reach))?;
            if way.sender.ready().await {
                return Some(way);
            }
            self.kept.borrow_mut().retain(|kept| kept.number != way.number);
        }
    }

    /// One that this client had before.
    fn own(&self, origin: &Origin, leases: &[String], reach: Reach) -> Option<Kept> {
        let mut kept = self.kept.borrow_mut();
        // One client's requests come one after the other: what is not for the next is not kept either.
        let fits = |way: &Kept| way.is_for(origin, leases) && way.reach == reach;
        kept.retain(|way| way.is_open() && (self.many || fits(way)));
        let free = |way: &Kept| !self.many || way.sender.is_ready();
        let at = kept.iter().position(|way| fits(way) && free(way))?;
        Some(match kept[at].share() {
            Some(shared) => shared,
            None => kept.swap_remove(at),
        })
    }

    /// One that another client had.
    fn left(&self, origin: &Origin, leases: &[String], reach: Reach) -> Option<Kept> {
        if self.many || leases.is_empty() {
            return None;
        }
        let way = self.tied.session.idle.take(origin, leases, reach)?;
        Some(Kept {
            number: self.number(),
            ..way
        })
    }

    fn number(&self) -> u64 {
        self.made.replace(self.made.get() + 1)
    }

    fn keep(&self, way: Kept) {
        let mut kept = self.kept.borrow_mut();
        if kept.iter().all(|other| other.number != way.number) {
            // One that is in the middle of an answer would be cut. Of those there are no more than requests at one time.
            let between = |way: &Kept| way.held.is_none() || way.sender.is_ready();
            if kept.len() >= MOST_KEPT
                && let Some(oldest) = kept.iter().position(between)
            {
                kept.remove(oldest);
            }
            kept.push(way);
        }
    }

    async fn connect(&self, origin: &Origin, leases: Vec<String>, reach: Reach) -> Result<Kept, Refusal> {
        let session = &self.tied.session;
        let (stream, many) = session.upstreams.open(origin.scheme, &origin.host, reach, self.many).await?;
        let stream = TokioIo::new(stream);
        // The connection's end is the sender's, too.
        let (sender, held) = if many {
            let (sender, connection) = h2::client(&self.tied).handshake(stream).await.map_err(|_| broke_off())?;
            self.tied.holds(&tokio::task::spawn_local(connection));
            (Sender::Many(sender), None)
        } else {
            let mut builder = http1::Builder::new();
            builder.max_buf_size(LONGEST_HEAD);
            let (sender, connection) = builder.handshake(stream).await.map_err(|_| broke_off())?;
            let held = session.way(&leases);
            held.holds(&tokio::task::spawn_local(connection.with_upgrades()));
            (Sender::One(sender, LazyTimer::default()), Some(held))
        };
        Ok(Kept {
            number: self.number(),
            origin: origin.clone(),
            leases,
            reach,
            sender,
            held,
        })
    }
}

impl Kept {
    /// Whether it is this host's, and carries the credentials of these leases and of no other.
    #[must_use]
    pub fn is_for(&self, origin: &Origin, leases: &[String]) -> bool {
        self.origin == *origin && self.leases == leases
    }

    /// Whether the host has not ended it.
    #[must_use]
    pub fn is_open(&self) -> bool {
        !self.sender.is_closed()
    }

    /// Another hold on the same connection; there is none on one that takes one request at a time.
    fn share(&self) -> Option<Self> {
        let Sender::Many(sender) = &self.sender else { return None };
        Some(Self {
            number: self.number,
            origin: self.origin.clone(),
            leases: self.leases.clone(),
            reach: self.reach,
            sender: Sender::Many(sender.clone()),
            held: None,
        })
    }
}

impl Sender {
    fn is_closed(&self) -> bool {
        match self {
            Self::One(sender, _) => sender.is_closed(),
            Self::Many(sender) => sender.is_closed(),
        }
    }

    fn is_ready(&self) -> bool {
        match self {
            Self::One(sender, _) => sender.is_ready(),
            Self::Many(sender) => sender.is_ready(),
        }
    }

    async fn ready(&mut self) -> bool {
        match self {
            Self::One(sender, _) => sender.ready().await.is_ok(),
            Self::Many(sender) => sender.ready().await.is_ok(),
        }
    }

    /// The answer, or the request, where nothing of it was sent.
    async fn send(
        &mut self,
        origin: &Origin,
        mut request: Request<Scanned>,
    ) -> Result<Result<Response<Incoming>, Request<Scanned>>, Refusal> {
        shape(&mut request, origin, matches!(self, Self::Many(_)))?;
        let sent = match self {
            Self::One(sender, timer) => timer.wait(ANSWER, sender.try_send_request(request)).await,
            Self::Many(sender) => LazyTimer::default().wait(ANSWER, sender.try_send_request(request)).await,
        };
        match sent {
            Some(Ok(answer)) => Ok(Ok(answer)),
            Some(Err(mut error)) => error.take_message().map(Err).ok_or_else(broke_off),
            None => Err(silent()),
        }
    }
}

/// The host as the version has it: in the target (RFC 9113, 8.3.1), or in `Host`; the body's end likewise.
fn shape(request: &mut Request<Scanned>, origin: &Origin, many: bool) -> Result<(), Refusal> {
    let none = form::bad_target;
    let open_ended = !request.body().is_end_stream() && request.body().size_hint().exact().is_none();
    if many {
        let path = request.uri().path_and_query().cloned().ok_or_else(none)?;
        let uri = Uri::builder()
            .scheme(origin.scheme.as_str())
            .authority(&**origin.shown())
            .path_and_query(path);
        *request.uri_mut() = uri.build().map_err(|_| none())?;
        request.headers_mut().remove(HOST);
        request.headers_mut().remove(TRANSFER_ENCODING);
        return Ok(());
    }
    if request.uri().authority().is_some() {
        // It was shaped for the other version before.
        let path = request.uri().path_and_query().cloned().ok_or_else(none)?;
        *request.uri_mut() = Uri::from(path);
    }
    if !request.headers().contains_key(HOST) {
        let host = HeaderValue::from_str(origin.shown());
        let host = host.map_err(|_| Refusal::malformed("bad_host", "the host is none"))?;
        request.headers_mut().insert(HOST, host);
    }
    if open_ended {
        // The library takes a GET without it for one without a body.
        request.headers_mut().insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
    }
    Ok(())
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
