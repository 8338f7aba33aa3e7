//! Bodies of requests on their way to a host: a placeholder in one never gets there (T40), and nothing else is held back.

use std::cell::{Cell, RefCell};
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use hyper::Method;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::header::{HeaderMap, HeaderName, HeaderValue};

use super::book::GrantId;
use super::inject::overrides;
use super::placeholder::{OVERLAP, find};
use super::session::Tied;

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// The request had a placeholder in its body.
#[derive(Debug, thiserror::Error)]
#[error("a placeholder is in the body")]
struct InBody;

/// The code of the refusal.
pub const IN_BODY: &str = "placeholder_in_body";

/// What becomes of a body with a placeholder: an answer that says so, or, where the client has the host's already, the end of its connection.
pub struct Lookout {
    /// Not to be kept by what it keeps.
    tied: Weak<Tied>,
    method: Method,
    host: Rc<str>,
    /// Whose credential the request carries: a placeholder in pieces is known before it is whole, and by then may be anybody's.
    carried: Option<GrantId>,
    answered: Cell<bool>,
    found: RefCell<Option<Option<GrantId>>>,
}

impl Lookout {
    /// For a request to `host`.
    #[must_use]
    pub fn new(tied: &Rc<Tied>, method: Method, host: Rc<str>, carried: Option<GrantId>) -> Rc<Self> {
        Rc::new(Self {
            tied: Rc::downgrade(tied),
            method,
            host,
            carried,
            answered: Cell::new(false),
            found: RefCell::default(),
        })
    }

    /// The client gets the host's answer; or there was a placeholder before, and this is whose, where that is known.
    ///
    /// # Errors
    /// There was.
    pub fn answers(&self) -> Result<(), Option<GrantId>> {
        if let Some(grant) = self.found.take() {
            return Err(grant);
        }
        self.answered.set(true);
        Ok(())
    }

    fn found(&self, text: &[u8]) {
        let Some(tied) = self.tied.upgrade() else { return };
        let grant = tied.session.book.borrow().inside(text).or_else(|| self.carried.clone());
        if !self.answered.get() {
            self.found.replace(Some(grant));
            return;
        }
        let (session, method, host) = (tied.session.clone(), self.method.clone(), self.host.clone());
        tokio::task::spawn_local(async move { session.refused(grant, IN_BODY, method.as_str(), &host).await });
        tied.cut();
    }
}

/// A body that is looked through as it passes.
pub struct Scanned {
    body: Incoming,
    /// The end of what passed: a placeholder may lie across two pieces.
    end: Vec<u8>,
    lookout: Rc<Lookout>,
    credential: bool,
}

impl Scanned {
    /// `lookout` hears of a placeholder; the request then ends in an error, which the host takes for a client that went away.
    /// Beside a `credential` there are no trailers that make another request of it.
    #[must_use]
    pub fn new(body: Incoming, lookout: Rc<Lookout>, credential: bool) -> Self {
        Self {
            body,
            end: Vec::new(),
            lookout,
            credential,
        }
    }

    fn look(&mut self, data: &[u8]) -> bool {
        let seam = self.end.len();
        self.end.extend_from_slice(&data[..data.len().min(OVERLAP)]);
        let across = seam > 0 && find(&self.end).is_some();
        if data.len() >= OVERLAP {
            self.end.clear();
            self.end.extend_from_slice(&data[data.len() - OVERLAP..]);
        } else {
            let surplus = self.end.len().saturating_sub(OVERLAP);
            self.end.drain(..surplus);
        }
        across || find(data).is_some()
    }

    fn in_trailers(trailers: &HeaderMap) -> Option<Vec<u8>> {
        let mut values = trailers.values().map(HeaderValue::as_bytes);
        values.find(|value| find(value).is_some()).map(<[u8]>::to_vec)
    }
}

impl Body for Scanned {
    type Data = Bytes;
    type Error = Failure;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Failure>>> {
        let this = &mut *self;
        let Some(frame) = ready!(Pin::new(&mut this.body).poll_frame(context)) else {
            return Poll::Ready(None);
        };
        let mut frame = frame?;
        if this.credential
            && let Some(trailers) = frame.trailers_mut()
        {
            // Some servers make headers of them.
            let names: Vec<HeaderName> = trailers.keys().filter(|name| overrides(name)).cloned().collect();
            names.iter().for_each(|name| drop(trailers.remove(name)));
        }
        let found = match (frame.data_ref(), frame.trailers_ref()) {
            (Some(data), _) => {
                let (before, data) = (this.end.clone(), data.clone());
                this.look(&data).then(|| [&before, &data[..]].concat())
            }
            (None, Some(trailers)) => Self::in_trailers(trailers),
            (None, None) => None,
        };
        if let Some(text) = found {
            this.lookout.found(&text);
            return Poll::Ready(Some(Err(InBody.into())));
        }
        Poll::Ready(Some(Ok(frame)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
