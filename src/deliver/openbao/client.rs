//! Requests to a cluster of OpenBao's: whichever of its nodes answers.

use std::cell::Cell;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;
use hyper::header::{CONNECTION, CONTENT_TYPE, HOST, HeaderValue, USER_AGENT};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use serde::Deserialize;
use tokio::time::{Instant, sleep, timeout, timeout_at};
use zeroize::Zeroizing;

use crate::deliver::mask::{Patterns, masked};
use crate::deliver::proxy::address::Reach;
use crate::deliver::proxy::hosts::Authority;
use crate::deliver::proxy::names::Resolve;
use crate::deliver::proxy::protocol::Scheme;
use crate::deliver::proxy::upstream::{Upstreams, roots};
use crate::encoding::exchange::{Exchange, host_of};
use crate::encoding::plain::visible;
use crate::secret::Secret;

/// Largest answer in bytes.
const LARGEST: usize = 256 << 10;
/// How long one node may take: another one may be there.
const ONE_NODE: Duration = Duration::from_secs(5);
/// Before all nodes are asked again.
const PAUSE: Duration = Duration::from_millis(200);
/// Longest word of a server's in a message of ours.
const LONGEST_WHY: usize = 300;
/// What nodes say, with 500, that have no leader to pass a request to.
const NO_LEADER: [&str; 4] = ["not active", "active node", "leader", "forward"];

/// A cluster.
pub struct Cluster {
    upstreams: Upstreams,
    nodes: Vec<(String, Authority)>,
    /// The node that answered last.
    first: Cell<usize>,
}

/// A request.
pub struct Ask<'a> {
    /// Below `/v1/`.
    pub path: &'a str,
    /// As whom.
    pub token: Option<&'a Secret>,
    /// JSON, to be posted; it is a GET where there is none.
    pub body: Option<Zeroizing<Vec<u8>>>,
    /// What is secret in the body: a server that says it back is not repeated.
    pub secret: Option<&'a Secret>,
    /// Whether it may be made twice: a node that breaks off may have served it.
    pub again: bool,
}

/// An answer.
pub struct Answer {
    /// Its status.
    pub status: StatusCode,
    /// Its body.
    pub body: Zeroizing<Vec<u8>>,
    /// What the server says is wrong, where it is no good one.
    why: String,
    /// The address of the node.
    pub node: String,
}

/// Why there is no answer.
enum NoAnswer {
    /// The node did not take the request, or it may be made again.
    Next(String),
    /// It may have been served.
    Broken(String),
}

#[derive(Deserialize)]
struct Errors {
    errors: Vec<String>,
}

impl Cluster {
    /// The one that the rules name.
    ///
    /// # Errors
    /// A root is no certificate.
    pub fn new(exchange: &Exchange, resolve: Resolve) -> io::Result<Self> {
        let roots = match exchange.ca.is_empty() {
            true => roots(&[], true)?,
            false => only(exchange.roots())?,
        };
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let node = |address: &String| {
            let host = host_of(address)?;
            let text = host.to_string();
            Some((address.clone(), Authority::parse(&text, Some(Scheme::Https.port()))?))
        };
        Ok(Self {
            // Nothing of ours listens.
            upstreams: Upstreams::new(roots, provider, resolve, 0)?,
            nodes: exchange.addresses.iter().filter_map(node).collect(),
            first: Cell::new(0),
        })
    }

    /// The first node's answer, of all nodes in turn, as long as there is time.
    ///
    /// # Errors
    /// None answers; why the last one does not.
    pub async fn ask(&self, ask: &Ask<'_>, within: Duration) -> Result<Answer, String> {
        let late = Instant::now() + within;
        let mut why = "no address is a host".to_owned();
        loop {
            for turn in 0..self.nodes.len() {
                let at = (self.first.get() + turn) % self.nodes.len();
                let Some((address, host)) = self.nodes.get(at) else { continue };
                let one = timeout_at(late, timeout(ONE_NODE, self.ask_node(host, ask))).await;
                let answered = one
                    .ok()
                    .and_then(Result::ok)
                    .unwrap_or_else(|| Err(NoAnswer::Broken("it does not answer in time".into())));
                match answered {
                    Ok((status, body)) => {
                        self.first.set(at);
                        let why = if status.is_success() {
                            String::new()
                        } else {
                            said(status, &body, ask)
                        };
                        let node = address.clone();
                        return Ok(Answer { status, body, why, node });
                    }
                    Err(NoAnswer::Broken(broken)) if !ask.again => return Err(format!("{address}: {broken}")),
                    Err(NoAnswer::Next(broken) | NoAnswer::Broken(broken)) => why = format!("{address}: {broken}"),
                }
            }
            if Instant::now() + PAUSE >= late || self.nodes.is_empty() {
                return Err(why);
            }
            sleep(PAUSE).await;
        }
    }

    async fn ask_node(&self, host: &Authority, ask: &Ask<'_>) -> Result<(StatusCode, Zeroizing<Vec<u8>>), NoAnswer> {
        // The rules name it: an OpenBao stands in a private network as a rule.
        let reach = Reach::Granted { allow_private: true };
        let opened = self.upstreams.open(Scheme::Https, host, reach, false).await;
        let (stream, _) = opened.map_err(|refusal| NoAnswer::Next(refusal.hint.into()))?;
        let broken = |error: hyper::Error| NoAnswer::Broken(format!("it does not answer in HTTP: {error}"));
        let (mut sender, connection) = http1::Builder::new().handshake(TokioIo::new(stream)).await.map_err(broken)?;
        // It ends with the sender; how it ended, the answer says.
        tokio::task::spawn_local(connection);
        let request = request(host, ask).ok_or_else(|| NoAnswer::Broken("the request cannot be made".into()))?;
        let answer = sender.send_request(request).await.map_err(broken)?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), LARGEST).collect().await;
        let body = body.map_err(|error| NoAnswer::Broken(format!("its answer is cut off, or too long: {error}")))?;
        let body = Zeroizing::new(body.to_bytes().to_vec());
        match is_elsewhere(status, &body, ask.again) {
            true => Err(NoAnswer::Next(said(status, &body, ask))),
            false => Ok((status, body)),
        }
    }
}

impl Answer {
    /// Its body, where it is a good one.
    ///
    /// # Errors
    /// What the server says instead.
    pub fn json<'a, T: Deserialize<'a>>(&'a self) -> Result<T, String> {
        if !self.status.is_success() {
            return Err(format!("{}: {}", self.node, self.why));
        }
        // What serde says of a body may have parts of it.
        serde_json::from_slice(&self.body).map_err(|_| format!("{}: its answer is not in the form of OpenBao's", self.node))
    }
}

fn only(ders: Vec<Vec<u8>>) -> io::Result<RootCertStore> {
    let mut store = RootCertStore::empty();
    for der in ders {
        store.add(CertificateDer::from(der)).map_err(io::Error::other)?;
    }
    Ok(store)
}

fn request(host: &Authority, ask: &Ask<'_>) -> Option<Request<Full<Bytes>>> {
    let method = if ask.body.is_some() { Method::POST } else { Method::GET };
    let mut request = Request::builder()
        .method(method)
        .uri(format!("/v1/{}", ask.path))
        .header(HOST, host.shown(Scheme::Https))
        .header(CONNECTION, "close")
        .header(USER_AGENT, "touchlease")
        .header("x-vault-request", "true");
    if let Some(token) = ask.token {
        let mut value = HeaderValue::from_bytes(token.expose()).ok()?;
        value.set_sensitive(true);
        request = request.header("x-vault-token", value);
    }
    let body = match &ask.body {
        Some(body) => {
            request = request.header(CONTENT_TYPE, "application/json");
            Bytes::from_owner(body.clone())
        }
        None => Bytes::new(),
    };
    request.body(Full::new(body)).ok()
}

/// Whether another node has to be asked: this one sends elsewhere, where nobody goes, or it is sealed, or a standby without a leader (OpenBao,
/// "HTTP status codes", and `sys/health`: 429, 472, 473, 501, 503).
fn is_elsewhere(status: StatusCode, body: &[u8], again: bool) -> bool {
    let leaderless = || {
        let said = String::from_utf8_lossy(body).to_lowercase();
        NO_LEADER.iter().any(|word| said.contains(word))
    };
    status.is_redirection()
        || matches!(status.as_u16(), 412 | 429 | 472 | 473 | 501..=504)
        || status.as_u16() == 500 && (again || leaderless())
}

/// What a server says is wrong: its own words, made fit for a screen and for the log, without what it was sent.
fn said(status: StatusCode, body: &[u8], ask: &Ask<'_>) -> String {
    let errors = serde_json::from_slice::<Errors>(body)
        .map(|said| said.errors.join("; "))
        .unwrap_or_default();
    let sent = ask.token.into_iter().chain(ask.secret).map(Secret::expose);
    // Of a signed token the last part alone is secret: what the others say is in the log.
    let parts = sent
        .flat_map(|sent| [Some(sent), sent.rsplit(|byte| *byte == b'.').next()])
        .flatten();
    let patterns = Patterns::new(parts.map(|part| ("sent", part)));
    let (errors, _) = masked(&patterns, errors.as_bytes());
    let errors = String::from_utf8_lossy(&errors);
    let words = errors.split_whitespace().collect::<Vec<_>>().join(" ");
    let words: String = visible(&words).chars().take(LONGEST_WHY).collect();
    match (status.is_redirection(), words.is_empty()) {
        (true, _) => format!("it sends elsewhere ({}), where nobody goes", status.as_u16()),
        (false, true) => format!("its answer is {}", status.as_u16()),
        (false, false) => format!("its answer is {}: {words}", status.as_u16()),
    }
}
