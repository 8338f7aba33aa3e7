//! The host behind all proxies: HTTP/1.1 with answers that are ready, to whoever brings the credential.

use std::fs;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, IsCa, KeyPair, KeyUsagePurpose};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use super::super::table::Failure;

/// The credential.
pub const VALUE: &str = "ghp_0123456789abcdefghijklmnopqrstuvwxyz";
/// 1 KiB and 1 MiB, with the credential only; 1 KiB for anybody.
pub const SMALL: &str = "/small";
pub const LARGE: &str = "/large";
pub const OPEN: &str = "/open";
/// 1 KiB as well, below it: in place of the digits stands a number of its own for each request.
pub const OWN: &str = "/own/000000000000";

pub const SMALL_BYTES: usize = 1 << 10;
pub const LARGE_BYTES: usize = 1 << 20;

/// A certificate authority, in files.
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    pub certificate: PathBuf,
    pub key: PathBuf,
}

impl Authority {
    pub fn new(folder: &Path, name: &str) -> Result<Self, Failure> {
        let mut params = CertificateParams::new(vec![])?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, name);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
        let (certificate, key) = (folder.join(format!("{name}.pem")), folder.join(format!("{name}-key.pem")));
        fs::write(&certificate, issuer.pem())?;
        fs::write(&key, issuer.key().serialize_pem())?;
        Ok(Self { issuer, certificate, key })
    }

    fn config(&self) -> Result<Arc<ServerConfig>, Failure> {
        let key = KeyPair::generate()?;
        let leaf = CertificateParams::new(vec!["localhost".to_owned()])?.signed_by(&key, &self.issuer)?;
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
        Ok(Arc::new(
            config.with_no_client_auth().with_single_cert(vec![leaf.der().clone()], key)?,
        ))
    }
}

/// Serves on 127.0.0.1, on the core of whoever starts it, for as long as this process lives. Gives the port.
pub fn serve(authority: Option<&Authority>) -> Result<u16, Failure> {
    let tls = authority.map(Authority::config).transpose()?;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let port = listener.local_addr()?.port();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let tls = tls.clone();
            // Whoever goes away has gone.
            thread::spawn(move || drop(answer(stream, tls)));
        }
    });
    Ok(port)
}

fn answer(stream: TcpStream, tls: Option<Arc<ServerConfig>>) -> io::Result<()> {
    stream.set_nodelay(true)?;
    match tls {
        None => talk(stream),
        Some(config) => talk(StreamOwned::new(ServerConnection::new(config).map_err(io::Error::other)?, stream)),
    }
}

/// Requests without bodies, one after the other.
fn talk(mut stream: impl Read + Write) -> io::Result<()> {
    let [small, large] = [SMALL_BYTES, LARGE_BYTES].map(|bytes| {
        let head = format!("HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\nContent-Length: {bytes}\r\n\r\n");
        [head.as_bytes(), &vec![b'x'; bytes]].concat()
    });
    let (mut buffer, mut held) = (vec![0; 16 << 10], 0);
    loop {
        let Some(end) = buffer[..held].windows(4).position(|four| four == b"\r\n\r\n") else {
            match stream.read(&mut buffer[held..])? {
                0 => return Ok(()),
                more => held += more,
            }
            continue;
        };
        let head = String::from_utf8_lossy(&buffer[..end]).into_owned();
        buffer.copy_within(end + 4..held, 0);
        held -= end + 4;
        let target = head.split(' ').nth(1).unwrap_or_default();
        let answer = match target {
            OPEN => &small[..],
            SMALL if is_known(&head) => &small,
            own if own.len() == OWN.len() && own.starts_with("/own/") && is_known(&head) => &small,
            LARGE if is_known(&head) => &large,
            _ => b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n",
        };
        stream.write_all(answer)?;
        stream.flush()?;
    }
}

fn is_known(head: &str) -> bool {
    head.lines().any(|line| {
        let header = line.split_once(':').filter(|(name, _)| name.eq_ignore_ascii_case("authorization"));
        header.is_some_and(|(_, value)| value.trim().strip_prefix("Bearer ") == Some(VALUE))
    })
}
