//! The side of the clients: a listener on loopback, the session's bearers, requests in absolute form, CONNECT, and what comes within it; for clients
//! that know no proxy, the [reverse form](reverse).

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf, Bytes};
use data_encoding::BASE64;
use hyper::body::Incoming;
use hyper::header::{HeaderMap, PROXY_AUTHORIZATION};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::upgrade::Upgraded;
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_rustls::LazyConfigAcceptor;
use zeroize::Zeroizing;

use super::address::Reach;
use super::answer::AnswerBody;
use super::entrance::{Entrance, Known, Strangers};
use super::exchange::Client;
use super::form::{self, Origin};
use super::h2;
use super::hosts::{Authority, canonical};
use super::peer;
use super::prefix;
use super::protocol::{BEARER, Network, Scheme, USER};
use super::refuse::{Refusal, no_bearer};
use super::reverse;
use super::session::{Session, Tied};
use super::timer::{self, HyperTimer};
use super::tunnel;
use super::ways::LONGEST_HEAD;

/// Connections at one time; further ones wait to be taken.
const MOST_CONNECTIONS: usize = 16 * 1024;
/// For a request's head, and so for a connection that waits for its next request.
pub const HEAD: Duration = timer::LONGEST;
/// For the beginning of what is inside CONNECT.
const GREETING: Duration = Duration::from_secs(60);
/// Room for user and bearer, and for what of Base64 is filled up.
const PAIR: usize = USER.len() + 1 + BEARER + 2;
/// The first byte of TLS (RFC 8446, 5.1): a handshake record.
const HANDSHAKE: u8 = 0x16;

/// Takes clients until the listener breaks.
///
/// # Errors
/// The listener broke.
pub async fn serve(session: Rc<Session>, listener: TcpListener) -> io::Result<()> {
    let places = Arc::new(Semaphore::new(MOST_CONNECTIONS));
    let mut strangers = Strangers::default();
    loop {
        let Ok(place) = places.clone().acquire_owned().await else {
            return Ok(());
        };
        match listener.accept().await {
            Ok((client, peer)) => {
                if is_foreign(peer, &client) {
                    continue;
                }
                let (tied, known) = (Rc::new(session.connection(place)), Known::default());
                let held = tied.clone();
                let task = tokio::task::spawn_local(front(tied, client, known.clone()));
                held.holds(&task);
                strangers.came(known, task.abort_handle());
            }
            // No descriptor is free: some are when connections end.
            Err(error)
                if matches!(
                    error.raw_os_error(),
                    Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM)
                ) =>
            {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            // The client is gone again.
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Whether the kernel says that the client is another user. Where it does not say, the bearer has to do; who is root needs no proxy.
fn is_foreign(peer: SocketAddr, client: &TcpStream) -> bool {
    let owner = client.local_addr().and_then(|ours| peer::owner(peer, ours));
    owner.is_ok_and(|owner| owner != 0 && owner != rustix::process::getuid().as_raw())
}

fn builder() -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder
        .timer(HyperTimer::default())
        .header_read_timeout(HEAD)
        .max_buf_size(LONGEST_HEAD)
        .auto_date_header(false);
    builder
}

async fn front(tied: Rc<Tied>, client: TcpStream, known: Known) {
    let _ = client.set_nodelay(true);
    let client = Entrance::new(client, known.clone());
    let asker = Rc::new(Client::new(tied, false));
    let service = service_fn(|request: Request<Incoming>| {
        let asker = asker.clone();
        // Here and not in the future, before which more of the connection may be read.
        let session = &asker.tied.session;
        let proxied = has_bearer(request.headers(), session.bearer.expose());
        let reversed = !proxied && prefix::bearer(request.uri()).is_some_and(|given| is_same(given, session.base.expose()));
        if proxied || reversed {
            known.store(true, Ordering::Relaxed);
        }
        async move {
            Ok::<_, Infallible>(if proxied {
                ask(&asker, request).await
            } else if reversed {
                reverse::ask(&asker, request).await
            } else {
                no_bearer().answer(AnswerBody::own)
            })
        }
    });
    // What a client does wrong it hears of; that it is gone needs no telling.
    let _ = builder().serve_connection(TokioIo::new(client), service).with_upgrades().await;
    asker.rest();
}

/// A request to the proxy itself, by a client that has the bearer.
async fn ask(client: &Rc<Client>, request: Request<Incoming>) -> Response<AnswerBody> {
    if request.method() == Method::CONNECT {
        return match connect(&client.tied, request).await {
            Ok(()) => Response::new(AnswerBody::own(Bytes::new())),
            Err(refusal) => refusal.answer(AnswerBody::own),
        };
    }
    match client.absolute(request.uri()) {
        Ok(origin) => client.exchange(&origin, request).await,
        Err(refusal) => refusal.answer(AnswerBody::own),
    }
}

/// Whether the client says who it is, once and in the one form.
fn has_bearer(headers: &HeaderMap, bearer: &[u8]) -> bool {
    let mut said = headers.get_all(PROXY_AUTHORIZATION).iter();
    let (Some(said), None) = (said.next(), said.next()) else {
        return false;
    };
    let Some((scheme, rest)) = said.as_bytes().split_at_checked(6) else {
        return false;
    };
    let rest = rest.trim_ascii();
    let mut room = Zeroizing::new([0; PAIR]);
    let Some(pair) = BASE64.decode_len(rest.len()).ok().and_then(|most| room.get_mut(..most)) else {
        return false;
    };
    let Ok(count) = BASE64.decode_mut(rest, pair) else { return false };
    let given = pair[..count].strip_prefix(USER.as_bytes()).and_then(|rest| rest.strip_prefix(b":"));
    scheme.eq_ignore_ascii_case(b"basic ") && given.is_some_and(|given| is_same(given, bearer))
}

/// Compared in a time that tells nothing.
fn is_same(given: &[u8], bearer: &[u8]) -> bool {
    let differ = given.iter().zip(bearer).fold(0, |differ, (a, b)| differ | (a ^ b));
    given.len() == bearer.len() && !bearer.is_empty() && differ == 0
}

/// Answers a CONNECT: what a lease names is looked into, anything else goes through or is refused.
async fn connect(tied: &Rc<Tied>, mut request: Request<Incoming>) -> Result<(), Refusal> {
    let host = form::connect(request.uri(), request.headers())?;
    let session = tied.session.clone();
    let looked_into = session.looks_into(&host);
    let upgrade = hyper::upgrade::on(&mut request);
    let inside = tied.clone();
    let task = if looked_into {
        tokio::task::spawn_local(async move {
            if let Ok(upgraded) = upgrade.await {
                within(inside, host, upgraded).await;
            }
        })
    } else {
        if session.network == Network::GrantedOnly {
            return Err(session.not_granted(&host));
        }
        let upstream = session.upstreams.connect(&host, Reach::Open).await?;
        tokio::task::spawn_local(async move {
            if let Ok(upgraded) = upgrade.await {
                tunnel::carry(raw(upgraded), upstream).await;
            }
            drop(inside);
        })
    };
    tied.holds(&task);
    Ok(())
}

/// The client's socket again, with what was read of it already.
fn raw(upgraded: Upgraded) -> Box<dyn ClientStream> {
    match upgraded.downcast::<TokioIo<Entrance>>() {
        Ok(parts) => Box::new(Begun {
            begun: parts.read_buf,
            rest: parts.io.into_inner().into_inner(),
        }),
        Err(upgraded) => Box::new(TokioIo::new(upgraded)),
    }
}

/// A client's side of a connection.
pub trait ClientStream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> ClientStream for T {}

/// What is inside a CONNECT to a host that a lease names: TLS, or HTTP as it is, which Node sends through CONNECT as well.
async fn within(tied: Rc<Tied>, host: Authority, upgraded: Upgraded) {
    let mut client = raw(upgraded);
    let mut first = [0];
    match timeout(GREETING, client.read_exact(&mut first)).await {
        Ok(Ok(_)) => {}
        Ok(Err(_)) | Err(_) => return,
    }
    let client = Begun {
        begun: Bytes::copy_from_slice(&first),
        rest: client,
    };
    if first == [HANDSHAKE] {
        if let Some(tls) = answer_for(&tied.session, &host, client).await {
            let many = tls.get_ref().1.alpn_protocol() == Some(h2::ALPN);
            inner(tied, Scheme::Https, host, tls, many).await;
        }
    } else {
        inner(tied, Scheme::Http, host, client, false).await;
    }
}

/// TLS with the client, in the host's name: if the client means that host (T37).
async fn answer_for<T: AsyncRead + AsyncWrite + Unpin>(
    session: &Session,
    host: &Authority,
    client: T,
) -> Option<tokio_rustls::server::TlsStream<T>> {
    let hello = timeout(GREETING, LazyConfigAcceptor::new(rustls::server::Acceptor::default(), client))
        .await
        .ok()?
        .ok()?;
    let same = match hello.client_hello().server_name() {
        Some(name) => canonical(name).as_deref() == Some(host.host()),
        // A name in it is that of no address (RFC 6066, 3). Who names none means the host that it connected to.
        None => true,
    };
    if !same {
        return None;
    }
    let config = session.ca.leaf(host.host()).ok()?;
    timeout(GREETING, hello.into_stream(config)).await.ok()?.ok()
}

/// Requests to one host, in HTTP/2 where they are `many` at one time.
async fn inner(tied: Rc<Tied>, scheme: Scheme, host: Authority, client: impl ClientStream + 'static, many: bool) {
    let origin = Rc::new(Origin::new(scheme, host));
    let asker = Rc::new(Client::new(tied.clone(), many));
    let service = service_fn(|request| {
        let (asker, origin) = (asker.clone(), origin.clone());
        async move { Ok::<_, Infallible>(asker.exchange(&origin, request).await) }
    });
    let client = TokioIo::new(client);
    // As in `front`.
    if many {
        let _ = h2::server(&tied).serve_connection(client, service).await;
    } else {
        let _ = builder().serve_connection(client, service).with_upgrades().await;
    }
    asker.rest();
}

/// A stream of which the beginning was read.
struct Begun<T> {
    begun: Bytes,
    rest: T,
}

impl<T: AsyncRead + Unpin> AsyncRead for Begun<T> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.begun.is_empty() {
            return Pin::new(&mut self.rest).poll_read(context, buffer);
        }
        let count = self.begun.len().min(buffer.remaining());
        buffer.put_slice(&self.begun[..count]);
        self.begun.advance(count);
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Begun<T> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.rest).poll_write(context, bytes)
    }

    fn poll_write_vectored(mut self: Pin<&mut Self>, context: &mut Context<'_>, slices: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.rest).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.rest.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.rest).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.rest).poll_shutdown(context)
    }
}
