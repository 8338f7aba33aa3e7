//! Bodies of requests on their way to a host: a placeholder in one never gets there (T40), and nothing else is held back.

use std::cell::Cell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::header::{HeaderMap, HeaderName};

use super::inject::overrides;
use super::placeholder::{OVERLAP, find};

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// The request had a placeholder in its body.
#[derive(Debug, thiserror::Error)]
#[error("a placeholder is in the body")]
struct InBody;

/// A body that is looked through as it passes.
pub struct Scanned {
    body: Incoming,
    /// The end of what passed: a placeholder may lie across two pieces.
    end: Vec<u8>,
    found: Rc<Cell<bool>>,
    credential: bool,
}

impl Scanned {
    /// `found` is set when there was one; the request then ends in an error, which the host takes for a client that went away.
    /// Beside a `credential` there are no trailers that make another request of it.
    #[must_use]
    pub fn new(body: Incoming, found: Rc<Cell<bool>>, credential: bool) -> Self {
        Self {
            body,
            end: Vec::with_capacity(2 * OVERLAP),
            found,
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

    fn look_at_trailers(trailers: &HeaderMap) -> bool {
        trailers.values().any(|value| find(value.as_bytes()).is_some())
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
                let data = data.clone();
                this.look(&data)
            }
            (None, Some(trailers)) => Self::look_at_trailers(trailers),
            (None, None) => false,
        };
        if found {
            this.found.set(true);
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
