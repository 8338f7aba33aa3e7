//! The worker: opens a session, hears of leases, serves clients, until the daemon is gone.

use std::io;
use std::net::Ipv4Addr;
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use rustls::SupportedCipherSuite;
use rustls::crypto::CryptoProvider;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::LocalSet;

use super::ca::Ca;
use super::front;
use super::hosts::Authority;
use super::names::{Resolve, system_resolver};
use super::protocol::{BEARER, Opening, Order, Report, Target};
use super::session::Session;
use super::upstream::{Upstreams, roots};
use crate::clock::{Clock, SystemClock};
use crate::secret::Secret;
use crate::sys::memory;
use crate::worker::inbox::Inbox;

/// Reports that the daemon has not read yet; who makes more of them waits.
const MOST_REPORTS: usize = 256;

/// The worker's `main`: the socket is descriptor 0, everything else is closed or null.
#[must_use]
pub fn main() -> u8 {
    crate::worker::process(Duration::ZERO, |socket| {
        // Each tunnel has two descriptors. Fewer than wanted are no fault: new clients wait then.
        let _ = crate::sys::process::raise_descriptors();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        LocalSet::new().block_on(&runtime, run(socket, Arc::new(SystemClock), system_resolver()))
    })
}

/// Serves one session over `socket`, in a [`LocalSet`]. Ends with an error when the daemon is gone.
///
/// # Errors
/// The daemon is gone, or sends nonsense; the session cannot be opened, which was reported.
pub async fn run(socket: UnixStream, clock: Arc<dyn Clock>, resolve: Resolve) -> io::Result<()> {
    socket.set_nonblocking(true)?;
    let mut inbox = Inbox::new(tokio::net::UnixStream::from_std(socket)?)?;
    let (Order::Open(opening), bearers) = inbox.next().await? else {
        return Err(io::ErrorKind::InvalidData.into());
    };
    let (told, mut reports) = mpsc::channel(MOST_REPORTS);
    let (session, listener) = match open(opening, bearers, clock, resolve, told).await {
        Ok(opened) => opened,
        Err(error) => {
            let why = format!("the proxy cannot be opened: {error}");
            inbox.send(&Report::Failed { why }, &[]).await?;
            return Err(error);
        }
    };
    give_back();
    let ca_pem = session.ca.pem().to_owned();
    inbox
        .send(
            &Report::Ready {
                port: session.port,
                ca_pem,
            },
            &[],
        )
        .await?;
    let serving = tokio::task::spawn_local(front::serve(session.clone(), listener));
    // Orders are read while reports are written: else the two ends could wait for each other.
    let (answer, mut answers) = mpsc::unbounded_channel();
    let mut outbox = inbox.outbox();
    let mut telling = tokio::task::spawn_local(async move {
        loop {
            let report = tokio::select! {
                biased;
                Some(answer) = answers.recv() => {
                    // What was seen before: a lease of which it is told that it is revoked is one of which no more is said.
                    for _ in 0..MOST_REPORTS {
                        let Ok(report) = reports.try_recv() else { break };
                        outbox.send(&report, &[]).await?;
                    }
                    answer
                }
                Some(report) = reports.recv() => report,
                else => return Ok::<_, io::Error>(()),
            };
            outbox.send(&report, &[]).await?;
        }
    });
    let ended = loop {
        tokio::select! {
            biased;
            order = inbox.next::<Order>() => match order {
                // If nobody writes what is answered, that ends this loop too.
                Ok((order, tail)) => obey(&session, order, &tail, &|report| drop(answer.send(report))).await,
                Err(error) => break error,
            },
            told = &mut telling => break match told {
                Ok(Err(error)) => error,
                Ok(Ok(())) | Err(_) => io::ErrorKind::BrokenPipe.into(),
            },
        }
        if serving.is_finished() {
            break io::Error::other("the listener broke");
        }
    };
    serving.abort();
    telling.abort();
    Err(ended)
}

async fn open(
    opening: Opening,
    bearers: Secret,
    clock: Arc<dyn Clock>,
    resolve: Resolve,
    told: mpsc::Sender<Report>,
) -> io::Result<(Rc<Session>, TcpListener)> {
    if bearers.len() != 2 * BEARER || !bearers.expose().iter().all(u8::is_ascii_hexdigit) {
        return Err(io::Error::other("the bearers are not in their form"));
    }
    let bearer = part(&bearers, 0)?;
    let base = part(&bearers, BEARER)?;
    let provider = Arc::new(provider());
    let ca = Ca::new(&opening.hosts, clock.wall().seconds(), provider.clone())?;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let port = listener.local_addr()?.port();
    let upstreams = Upstreams::new(roots(&opening.roots, opening.system_roots)?, provider, resolve, port)?;
    let upstreams = match &opening.upstream {
        Some(proxy) => upstreams.through(beyond(proxy)?),
        None => upstreams,
    };
    Ok((
        Session::new(opening.network, opening.offers, ca, upstreams, (bearer, base), port, (told, clock)),
        listener,
    ))
}

/// The usual cryptography, the ciphers with keys of 128 bits first: processors have instructions for SHA-256, which goes with them, and none for
/// SHA-384, so that a handshake costs less, and so does each record.
fn provider() -> CryptoProvider {
    let mut provider = rustls::crypto::ring::default_provider();
    let is_short = |suite: &SupportedCipherSuite| suite.suite().as_str().is_some_and(|name| name.contains("AES_128"));
    provider.cipher_suites.sort_by_key(|suite| !is_short(suite));
    provider
}

/// The proxy behind this one.
fn beyond(proxy: &Target) -> io::Result<Authority> {
    let host = Authority::parse(&format!("{}:{}", proxy.host, proxy.port), None);
    host.ok_or_else(|| io::Error::other("the proxy behind it is not in its form"))
}

/// What a session and a lease begin with, certificates that are read and signed, values whose forms are made, is done once, and takes more of the
/// program than all the requests that follow.
fn give_back() {
    memory::give_back_free_pages();
    memory::give_back_program_pages();
}

/// The bearer that begins there.
fn part(bearers: &Secret, at: usize) -> io::Result<Secret> {
    let mut part = Secret::zeroed(BEARER)?;
    part.expose_mut().copy_from_slice(&bearers.expose()[at..at + BEARER]);
    Ok(part)
}

/// Does what the daemon says, and answers it.
async fn obey(session: &Session, order: Order, tail: &Secret, answer: &dyn Fn(Report)) {
    match order {
        // Once is at the beginning.
        Order::Open(_) => {}
        Order::Grant { lease, grants } => {
            let granted = session
                .book
                .borrow_mut()
                .grant(&lease, grants, tail, |host| session.ca.covers(host));
            give_back();
            answer(match granted {
                Ok(placeholders) => {
                    session.uses.begin(&lease);
                    Report::Granted { lease, placeholders }
                }
                Err((index, why)) => Report::NotGranted { lease, index, why },
            });
        }
        Order::Revoke { lease } => {
            session.uses.end(&lease).into_iter().for_each(answer);
            session.revoke(&lease).await;
            answer(Report::Revoked { lease });
        }
        Order::Answer { seq, verdict } => session.uses.answered(seq, verdict),
    }
}
