//! Ways to hosts: a name is looked up once, its addresses are judged, and one of those is connected to (T39).

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use hyper::StatusCode;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::address::{Reach, may_reach};
use super::beyond;
use super::h2;
use super::hosts::Authority;
use super::names::{Completion, Resolve};
use super::protocol::Scheme;
use super::refuse::Refusal;

/// For a connection, and for its TLS.
const CONNECT: Duration = Duration::from_secs(15);
/// For a name that another proxy is asked for, to be looked up here: many networks with one know no names of others.
const ASIDE: Duration = Duration::from_secs(2);
/// Addresses of one name that are tried.
const MOST_ADDRESSES: usize = 4;

/// A connection to a host, in the clear on our side.
pub trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

/// How hosts are reached.
pub struct Upstreams {
    /// For HTTP/1.1.
    tls: Arc<ClientConfig>,
    /// For HTTP/2 before HTTP/1.1.
    tls_many: Arc<ClientConfig>,
    resolve: Resolve,
    own_port: u16,
    /// Through which all hosts but this machine are reached.
    proxy: Option<Authority>,
}

/// What a host is trusted by.
///
/// # Errors
/// A root is no certificate.
pub fn roots(extra: &[String], system: bool) -> io::Result<RootCertStore> {
    let mut store = RootCertStore::empty();
    if system {
        // What cannot be read of the system's own is nothing that anybody here can mend; without a root no host is trusted.
        store.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    }
    for pem in extra {
        for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
            store.add(certificate.map_err(io::Error::other)?).map_err(io::Error::other)?;
        }
    }
    Ok(store)
}

impl Upstreams {
    /// Nothing is connected to at `own_port` of this machine.
    ///
    /// # Errors
    /// The provider lacks the usual versions of TLS.
    pub fn new(roots: RootCertStore, provider: Arc<CryptoProvider>, resolve: Resolve, own_port: u16) -> io::Result<Self> {
        let mut tls = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(io::Error::other)?
            .with_root_certificates(roots)
            .with_no_client_auth();
        tls.alpn_protocols = vec![h2::ALPN_1.to_vec()];
        let mut tls_many = tls.clone();
        tls_many.alpn_protocols.insert(0, h2::ALPN.to_vec());
        Ok(Self {
            tls: Arc::new(tls),
            tls_many: Arc::new(tls_many),
            resolve,
            own_port,
            proxy: None,
        })
    }

    /// The same, with hosts reached through this proxy.
    #[must_use]
    pub fn through(self, proxy: Authority) -> Self {
        Self {
            proxy: Some(proxy),
            ..self
        }
    }

    /// A connection for HTTP, with TLS where the scheme has it; and whether the host takes `many` requests at one time over it, in HTTP/2.
    ///
    /// # Errors
    /// What the client is told: the address is none to be reached, or the host cannot be, or is not who it should be.
    pub async fn open(&self, scheme: Scheme, host: &Authority, reach: Reach, many: bool) -> Result<(Box<dyn Stream>, bool), Refusal> {
        let tcp = self.connect(host, reach).await?;
        if scheme == Scheme::Http {
            return Ok((Box::new(tcp), false));
        }
        let bare = host.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        let name = ServerName::try_from(bare).map_err(|_| Refusal::malformed("bad_host", "this is no name that a certificate can have"))?;
        let config = if many { &self.tls_many } else { &self.tls };
        match timeout(CONNECT, TlsConnector::from(config.clone()).connect(name, tcp)).await {
            Ok(Ok(tls)) => {
                let many = tls.get_ref().1.alpn_protocol() == Some(h2::ALPN);
                Ok((Box::new(tls), many))
            }
            Ok(Err(error)) => Err(bad_gateway(
                "upstream_tls",
                &format!("the host's TLS is not trusted or broken: {error}"),
            )),
            Err(_) => Err(gateway_timeout()),
        }
    }

    /// A connection as it is.
    ///
    /// # Errors
    /// As [`Upstreams::open`].
    pub async fn connect(&self, host: &Authority, reach: Reach) -> Result<TcpStream, Refusal> {
        // This machine is nothing that another one leads to.
        let here = host.host() == "localhost" || host.address().is_some_and(is_this_machine);
        let proxy = self.proxy.as_ref().filter(|_| !here);
        // Without the proxy the command would have been led wherever its system takes the name for.
        let completion = match reach {
            Reach::Granted { .. } => Completion::None,
            Reach::Open => Completion::System,
        };
        let addresses = match proxy {
            // Where names are known to that proxy alone, there is nothing to judge.
            Some(_) => self.look_up(host, completion, ASIDE).await.unwrap_or_default(),
            None => self.look_up(host, completion, CONNECT).await?,
        };
        let own = |address: IpAddr, port: u16| port == self.own_port && address.to_canonical().is_loopback();
        let meant =
            |address: IpAddr| matches!(reach, Reach::Granted { .. }) && (host.address() == Some(address) || host.host() == "localhost");
        let may = |address: &SocketAddr| {
            let address = address.ip();
            may_reach(host.host(), address, reach) && !own(address, host.port()) && (meant(address) || !is_this_machine(address))
        };
        let allowed: Vec<SocketAddr> = addresses.iter().copied().filter(may).collect();
        let is_closed = match proxy {
            // Which of them that proxy takes is not ours to say.
            Some(_) => allowed.len() < addresses.len(),
            None => allowed.is_empty(),
        };
        if is_closed {
            let hint = "the host's address is one of this machine, its network's own, or a metadata service: only a sealed rule that names it opens it";
            return Err(Refusal::rule("address", hint));
        }
        if let Some(proxy) = proxy {
            return self.connect_through(proxy, host).await;
        }
        let tcp = first(&allowed, host.port()).await;
        tcp.ok_or_else(|| bad_gateway("upstream_unreachable", "the host does not take connections"))
    }

    /// Where a person's configuration says that hosts are reached through another proxy, that is reached wherever it is.
    async fn connect_through(&self, proxy: &Authority, host: &Authority) -> Result<TcpStream, Refusal> {
        let addresses = self.look_up(proxy, Completion::System, CONNECT).await.unwrap_or_default();
        let tcp = first(&addresses, proxy.port()).await;
        let mut tcp =
            tcp.ok_or_else(|| beyond::failed("the proxy behind this one, proxy_upstream in the configuration, is not reached"))?;
        match timeout(CONNECT, beyond::connect(&mut tcp, host)).await {
            Ok(connected) => connected.map(|()| tcp),
            Err(_) => Err(gateway_timeout()),
        }
    }

    async fn look_up(&self, host: &Authority, completion: Completion, patience: Duration) -> Result<Vec<SocketAddr>, Refusal> {
        if let Some(address) = host.address() {
            return Ok(vec![SocketAddr::new(address, host.port())]);
        }
        match timeout(patience, (self.resolve)(host.host().to_owned(), host.port(), completion)).await {
            Ok(Ok(addresses)) => Ok(addresses),
            Ok(Err(_)) => Err(bad_gateway("upstream_unknown", "the host's name is not known")),
            Err(_) => Err(gateway_timeout()),
        }
    }
}

/// The first of them that takes connections.
async fn first(addresses: &[SocketAddr], port: u16) -> Option<TcpStream> {
    for address in addresses.iter().take(MOST_ADDRESSES) {
        let to = SocketAddr::new(address.ip(), port);
        if let Ok(Ok(tcp)) = timeout(CONNECT, TcpStream::connect(to)).await {
            // Without it a small write waits for the answer to the one before: 44 ms each (measured).
            let _ = tcp.set_nodelay(true);
            return Some(tcp);
        }
    }
    None
}

/// Whether `address` is one of this machine's own, in whatever network: only then a socket can be bound to it.
fn is_this_machine(address: IpAddr) -> bool {
    let binds = |address: IpAddr| UdpSocket::bind((address, 0)).is_ok();
    // Of nobody (RFC 5737, RFC 3849): where that can be bound, anything can (ip(7), IP_FREEBIND; ip_nonlocal_bind), and the kernel's choice
    // of an address to send from has to do, which is the first of this machine's in its network.
    let nobody: IpAddr = match address {
        IpAddr::V4(_) => Ipv4Addr::new(198, 51, 100, 77).into(),
        IpAddr::V6(_) => Ipv6Addr::new(0x2001, 0xdb8, 0xffff, 0, 0, 0, 0, 77).into(),
    };
    let sent_from = || -> io::Result<IpAddr> {
        let socket = UdpSocket::bind(match address {
            IpAddr::V4(_) => SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
            IpAddr::V6(_) => SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)),
        })?;
        socket.connect((address, 9))?;
        Ok(socket.local_addr()?.ip())
    };
    binds(address) && (!binds(nobody) || sent_from().is_ok_and(|from| from == address))
}

fn bad_gateway(reason: &'static str, hint: &str) -> Refusal {
    Refusal::upstream(StatusCode::BAD_GATEWAY, reason, hint)
}

fn gateway_timeout() -> Refusal {
    Refusal::upstream(StatusCode::GATEWAY_TIMEOUT, "upstream_silent", "the host does not answer in time")
}
