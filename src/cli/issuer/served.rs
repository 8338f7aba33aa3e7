//! Reading what an issuer serves: over HTTPS, from nowhere but the one place that was named, or from a folder.
//!
//! A connection to the outside that touchlease makes for itself, on no other occasion than that somebody asks for it by name. The other one is that
//! of an exchange, with what a signer's sealed rules name (`deliver::openbao`).

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::client::conn::http1;
use hyper::header::{ACCEPT, CONNECTION, HOST, LOCATION, USER_AGENT};
use hyper::{Request, Response, Uri};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::sys::file::read_plain;

/// Largest document in bytes: two hundred keys have some 100 kB.
const LARGEST: usize = 256 << 10;
/// For one document, from the name to its last byte.
const WITHIN: Duration = Duration::from_secs(20);
/// Addresses of one name that are tried.
const MOST_ADDRESSES: usize = 4;
const HTTPS: u16 = 443;

/// Where documents are read.
pub enum Place {
    /// Below an `https` URL without `/` at its end.
    Site {
        /// The URL.
        url: String,
        /// How its host is trusted.
        tls: Arc<ClientConfig>,
    },
    /// Below a folder.
    Folder(PathBuf),
}

impl Place {
    /// A site whose certificate leads to one of `roots`.
    ///
    /// # Errors
    /// The provider lacks the usual versions of TLS.
    pub fn site(url: String, roots: RootCertStore) -> io::Result<Self> {
        let mut tls = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(io::Error::other)?
            .with_root_certificates(roots)
            .with_no_client_auth();
        tls.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self::Site { url, tls: Arc::new(tls) })
    }

    /// The name of a document there.
    #[must_use]
    pub fn name(&self, path: &Path) -> String {
        match self {
            Self::Site { url, .. } => format!("{url}/{}", path.display()),
            Self::Folder(folder) => folder.join(path).display().to_string(),
        }
    }

    /// The document, at most [`LARGEST`] bytes of it.
    ///
    /// # Errors
    /// Why it cannot be had, to go on after its name.
    pub fn read(&self, path: &Path) -> Result<Vec<u8>, String> {
        match self {
            Self::Folder(folder) => read_plain(&folder.join(path), LARGEST)
                .map(|bytes| bytes.to_vec())
                .map_err(|error| format!("cannot be read: {error}")),
            Self::Site { tls, .. } => {
                let uri: Uri = self.name(path).parse().map_err(|error| format!("is no URL: {error}"))?;
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
                let runtime = runtime.map_err(|error| format!("cannot be asked for: {error}"))?;
                let got = runtime.block_on(async { timeout(WITHIN, fetch(&uri, tls)).await });
                // A lookup that hangs is in a thread of its own, which nobody waits for.
                runtime.shutdown_background();
                got.unwrap_or_else(|_| Err(format!("was not sent within {} s", WITHIN.as_secs())))
            }
        }
    }
}

/// One GET, without any credential; a redirect is not followed, since many verifiers do not either.
async fn fetch(uri: &Uri, tls: &Arc<ClientConfig>) -> Result<Vec<u8>, String> {
    let host = uri.host().ok_or("names no host")?;
    let stream = connect(host, uri.port_u16().unwrap_or(HTTPS)).await?;
    let bare = host.trim_start_matches('[').trim_end_matches(']').to_owned();
    let name = ServerName::try_from(bare).map_err(|_| "has a host that no certificate can name")?;
    let stream = TlsConnector::from(tls.clone()).connect(name, stream).await;
    let stream = stream.map_err(|error| format!("is not served with TLS that is trusted here: {error}"))?;
    let broken = |error: hyper::Error| format!("is not answered in HTTP: {error}");
    let (mut sender, connection) = http1::Builder::new().handshake(TokioIo::new(stream)).await.map_err(broken)?;
    // It ends with the runtime, if not before; how it ended, the answer says.
    tokio::spawn(connection);
    let authority = uri.authority().map_or(host, |authority| authority.as_str());
    let request = Request::get(uri.path())
        .header(HOST, authority)
        .header(ACCEPT, "application/json")
        .header(CONNECTION, "close")
        .header(USER_AGENT, "touchlease")
        .body(Empty::<Bytes>::new());
    let request = request.map_err(|error| format!("cannot be asked for: {error}"))?;
    let answer = sender.send_request(request).await.map_err(broken)?;
    if answer.status().as_u16() != 200 {
        return Err(other_status(&answer));
    }
    let body = Limited::new(answer.into_body(), LARGEST).collect().await;
    let body = body.map_err(|error| format!("is over {LARGEST} bytes, or was cut off: {error}"))?;
    Ok(body.to_bytes().to_vec())
}

async fn connect(host: &str, port: u16) -> Result<TcpStream, String> {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let found = tokio::net::lookup_host((bare, port)).await;
    let found: Vec<SocketAddr> = found.map_err(|error| format!("has a host that is not known: {error}"))?.collect();
    let mut why = io::Error::from(io::ErrorKind::NotFound);
    for address in found.into_iter().take(MOST_ADDRESSES) {
        match TcpStream::connect(address).await {
            Ok(stream) => return Ok(stream),
            Err(error) => why = error,
        }
    }
    Err(format!("has a host that takes no connection: {why}"))
}

fn other_status<B>(answer: &Response<B>) -> String {
    let status = answer.status().as_u16();
    match answer.headers().get(LOCATION).and_then(|to| to.to_str().ok()) {
        Some(to) if answer.status().is_redirection() => {
            format!("is not served there: the answer is {status}, to {to}, which verifiers may not follow")
        }
        _ => format!("is not served: the answer is {status}"),
    }
}
