//! Answers on their way to the client: a value that a host sends back goes on masked, in the head, the body and the trailers, however it
//! is cut and compressed.

use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes};
use http_body_util::Full;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::header::{ACCEPT_RANGES, CONTENT_ENCODING, CONTENT_LENGTH, HeaderMap, HeaderName, HeaderValue};
use hyper::http::response::Parts;
use hyper::{Method, StatusCode};
use tokio::time::{Instant, Sleep};

use super::book::GrantId;
use super::decode::Decoder;
use super::refuse::Refusal;
use super::session::Session;
use crate::deliver::mask::{BEGUN, Masker, Patterns, masked};

/// How long an answer pauses before what the mask holds without need goes on.
const PAUSE: Duration = Duration::from_millis(1);

/// How the messages of an answer are compressed one by one (gRPC over HTTP2, "Message-Encoding").
static GRPC_ENCODING: HeaderName = HeaderName::from_static("grpc-encoding");

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// The body of an answer.
pub enum AnswerBody {
    /// Our own.
    Own(Full<Bytes>),
    /// As the host sends it.
    Plain(Incoming),
    /// Through the mask.
    Masked(Box<Masked>),
}

impl AnswerBody {
    /// One of ours.
    #[must_use]
    pub fn own(bytes: Bytes) -> Self {
        Self::Own(Full::new(bytes))
    }
}

/// What is looked for in an answer, and who hears of it.
pub struct Lookout {
    session: Rc<Session>,
    patterns: Arc<Patterns>,
    ids: Rc<[GrantId]>,
    host: Rc<str>,
    told: Vec<u32>,
}

impl Lookout {
    /// All values that are in force now.
    #[must_use]
    pub fn new(session: &Rc<Session>, host: Rc<str>) -> Self {
        let (patterns, ids) = session.book.borrow().masks();
        Self {
            session: session.clone(),
            patterns,
            ids,
            host,
            told: Vec::new(),
        }
    }

    /// What is looked for.
    #[must_use]
    pub fn patterns(&self) -> Arc<Patterns> {
        self.patterns.clone()
    }

    /// An answer had these in it: the daemon hears of each once.
    pub fn tell(&mut self, secrets: &[u32]) {
        for secret in secrets {
            if !self.told.contains(secret) {
                self.told.push(*secret);
                if let Some(id) = self.ids.get(*secret as usize) {
                    self.session.echoed(id.clone(), &self.host);
                }
            }
        }
    }

    /// Whether a text, to its end, has nothing of a value in it.
    fn is_clear(&self, text: &[u8]) -> bool {
        self.patterns.clear(text, BEGUN) == text.len()
    }

    /// The same of names and values, as it is of nearly every answer.
    fn are_clear(&self, headers: &HeaderMap) -> bool {
        let book = self.session.book.borrow();
        headers.iter().all(|(name, value)| {
            self.is_clear(value.as_bytes()) && self.is_clear(name.as_str().as_bytes()) && book.in_name(name.as_str()).is_empty()
        })
    }

    /// The text with masks in it, where it has a value.
    fn masked(&mut self, text: &[u8]) -> Option<Vec<u8>> {
        if self.is_clear(text) {
            return None;
        }
        let (out, secrets) = masked(&self.patterns, text);
        self.tell(&secrets);
        (!secrets.is_empty()).then_some(out)
    }

    /// Masks the values in a head, or in trailers. A name that has one goes altogether.
    pub fn mask_headers(&mut self, headers: &mut HeaderMap) {
        if self.patterns.is_empty() {
            return;
        }
        if self.are_clear(headers) {
            return;
        }
        let names: Vec<HeaderName> = headers.keys().cloned().collect();
        for name in names {
            let named = self.session.book.borrow().in_name(name.as_str());
            if !named.is_empty() || self.masked(name.as_str().as_bytes()).is_some() {
                self.tell(&named);
                headers.remove(&name);
                continue;
            }
            if let hyper::header::Entry::Occupied(mut values) = headers.entry(&name) {
                for value in values.iter_mut() {
                    if let Some(masked) = self.masked(value.as_bytes()) {
                        *value = HeaderValue::from_bytes(&masked).unwrap_or(HeaderValue::from_static("***"));
                    }
                }
            }
        }
    }
}

/// The answer to a request of this method, through the mask where a lease is in force: its head is changed to what the body then is.
///
/// # Errors
/// It is encoded in a way that nobody here looks into: it is withheld.
pub async fn through_mask(mut lookout: Lookout, method: &Method, head: &mut Parts, body: Incoming) -> Result<AnswerBody, Refusal> {
    if lookout.patterns.is_empty() {
        return Ok(AnswerBody::Plain(body));
    }
    lookout.mask_headers(&mut head.headers);
    let bodiless = *method == Method::HEAD || matches!(head.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    if bodiless || (body.is_end_stream() && body.size_hint().exact() == Some(0)) {
        return Ok(AnswerBody::Plain(body));
    }
    let decoder = decoder(head)?;
    head.headers.remove(CONTENT_LENGTH);
    if head.headers.remove(CONTENT_ENCODING).is_some() {
        // The ranges are those of what was encoded.
        head.headers.remove(ACCEPT_RANGES);
    }
    Ok(Masked::new(lookout, decoder, body).begin().await)
}

fn decoder(head: &Parts) -> Result<Decoder, Refusal> {
    let withheld = |hint: &str| Refusal::upstream(StatusCode::BAD_GATEWAY, "answer_withheld", hint);
    let in_messages = head.headers.get_all(&GRPC_ENCODING).iter();
    if in_messages.into_iter().any(|coding| coding != "identity") {
        return Err(withheld(
            "the host compressed its messages though it was not asked to, and that cannot be looked into",
        ));
    }
    let mut encodings = head.headers.get_all(CONTENT_ENCODING).iter();
    let (encoding, more) = (encodings.next(), encodings.next());
    let Some(encoding) = encoding else { return Ok(Decoder::Identity) };
    let decoder = encoding.to_str().ok().filter(|_| more.is_none()).and_then(Decoder::new);
    match decoder {
        Some(Decoder::Identity) => Ok(Decoder::Identity),
        Some(_) if head.status == StatusCode::PARTIAL_CONTENT => Err(withheld(
            "a part of a compressed answer cannot be looked into; ask without Accept-Encoding",
        )),
        Some(decoder) => Ok(decoder),
        None => Err(withheld(
            "the host answered in an encoding that cannot be looked into; ask without Accept-Encoding",
        )),
    }
}

/// A body through the mask.
pub struct Masked {
    lookout: Lookout,
    masker: Masker<Arc<Patterns>>,
    decoder: Decoder,
    body: Incoming,
    /// Of the body, not decoded yet.
    input: Bytes,
    trailers: Option<HeaderMap>,
    at: At,
    pause: Option<Pin<Box<Sleep>>>,
    /// What came with the head.
    first: Option<Masking>,
}

/// What a body gives when it is asked for more.
type Masking = Option<Result<Frame<Bytes>, Failure>>;

#[derive(Clone, Copy, PartialEq, Eq)]
enum At {
    Body,
    End,
    Over,
}

impl Masked {
    fn new(lookout: Lookout, decoder: Decoder, body: Incoming) -> Self {
        Self {
            masker: Masker::new(lookout.patterns.clone()),
            lookout,
            decoder,
            body,
            input: Bytes::new(),
            trailers: None,
            at: At::Body,
            pause: None,
            first: None,
        }
    }

    /// A short answer, which comes with its head as a rule, goes on in one piece: so that its length stands in the head again.
    async fn begin(mut self) -> AnswerBody {
        self.first = poll_fn(|context| {
            Poll::Ready(match self.poll(context) {
                Poll::Ready(first) => Some(first),
                Poll::Pending => None,
            })
        })
        .await;
        match self.first.take() {
            Some(Some(Ok(frame))) if self.is_done() => match frame.into_data() {
                Ok(whole) => AnswerBody::own(whole),
                Err(trailers) => self.after(Some(Some(Ok(trailers)))),
            },
            first => self.after(first),
        }
    }

    fn after(self, first: Option<Masking>) -> AnswerBody {
        AnswerBody::Masked(Box::new(Self { first, ..self }))
    }

    /// Whether the host has said all, and all of it went on.
    fn is_done(&self) -> bool {
        matches!(self.decoder, Decoder::Identity)
            && self.input.is_empty()
            && self.masker.is_at_rest()
            && self.body.is_end_stream()
            && self.trailers.is_none()
    }

    /// What of the input needs no mask, and goes on as it came: nothing is copied. At the end a beginning of few bytes is none of a value.
    fn clear(&mut self) -> Option<Bytes> {
        if !matches!(self.decoder, Decoder::Identity) || !self.masker.is_at_rest() {
            return None;
        }
        let least = if self.body.is_end_stream() { BEGUN } else { 1 };
        let count = self.lookout.patterns.clear(&self.input, least);
        (count > 0).then(|| self.input.split_to(count))
    }

    /// What is decided of the answer, if anything is.
    fn output(&mut self) -> Option<Bytes> {
        if !self.masker.has_output() {
            return None;
        }
        let mut out = Vec::new();
        self.masker.take(&mut out);
        if self.masker.masked() > 0 {
            let secrets = self.masker.secrets().to_vec();
            self.lookout.tell(&secrets);
        }
        (!out.is_empty()).then(|| Bytes::from(out))
    }

    /// Decodes what there is room for. True when something came of it, or was taken.
    fn decode(&mut self) -> Result<bool, Failure> {
        if matches!(self.decoder, Decoder::Identity) && self.input.is_empty() {
            return Ok(false);
        }
        let space = self.masker.space();
        let (taken, made) = self.decoder.step(&self.input, space)?;
        self.input.advance(taken);
        self.masker.filled(made);
        Ok(taken > 0 || made > 0)
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Failure>>> {
        loop {
            if let Some(out) = self.output() {
                self.pause = None;
                return Poll::Ready(Some(Ok(Frame::data(out))));
            }
            match self.at {
                At::Over => return Poll::Ready(self.trailers.take().map(|trailers| Ok(Frame::trailers(trailers)))),
                At::Body | At::End => {
                    if let Some(clear) = self.clear() {
                        return Poll::Ready(Some(Ok(Frame::data(clear))));
                    }
                    match self.decode() {
                        Ok(true) => continue,
                        Ok(false) => {}
                        Err(error) => return self.fail(error),
                    }
                }
            }
            if self.at == At::End {
                if !self.input.is_empty() || !self.decoder.may_end() {
                    return self.fail(super::decode::Broken.into());
                }
                self.masker.finish_cut(BEGUN);
                self.at = At::Over;
                continue;
            }
            match Pin::new(&mut self.body).poll_frame(context) {
                Poll::Ready(None) => self.at = At::End,
                Poll::Ready(Some(Err(error))) => return self.fail(error.into()),
                Poll::Ready(Some(Ok(frame))) => self.take_in(frame),
                Poll::Pending => ready!(self.poll_pause(context)),
            }
        }
    }

    fn take_in(&mut self, frame: Frame<Bytes>) {
        match frame.into_data() {
            Ok(data) => self.input = data,
            Err(frame) => {
                if let Ok(mut trailers) = frame.into_trailers() {
                    self.lookout.mask_headers(&mut trailers);
                    self.trailers = Some(trailers);
                }
            }
        }
    }

    /// Ready once what is held without need was let go.
    fn poll_pause(&mut self, context: &mut Context<'_>) -> Poll<()> {
        if !self.masker.is_unsettled() {
            return Poll::Pending;
        }
        let pause = self.pause.get_or_insert_with(|| Box::pin(tokio::time::sleep(PAUSE)));
        ready!(pause.as_mut().poll(context));
        pause.as_mut().reset(Instant::now() + PAUSE);
        self.masker.settle();
        Poll::Ready(())
    }

    /// The connection ends in the middle of the answer, so that nobody takes it for whole.
    fn fail(&mut self, error: Failure) -> Poll<Option<Result<Frame<Bytes>, Failure>>> {
        self.at = At::Over;
        self.trailers = None;
        Poll::Ready(Some(Err(error)))
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = Failure;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Failure>>> {
        match self.get_mut() {
            Self::Own(body) => Pin::new(body).poll_frame(context).map_err(|never| match never {}),
            Self::Plain(body) => Pin::new(body).poll_frame(context).map_err(Into::into),
            Self::Masked(body) => match body.first.take() {
                Some(first) => Poll::Ready(first),
                None => body.poll(context),
            },
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Own(body) => body.is_end_stream(),
            Self::Plain(body) => body.is_end_stream(),
            Self::Masked(_) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Own(body) => body.size_hint(),
            Self::Plain(body) => body.size_hint(),
            Self::Masked(_) => SizeHint::default(),
        }
    }
}
