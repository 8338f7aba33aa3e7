//! Hosts with TLS: what the client sees, what the host sees, and who disagrees with whom (T37).

use std::sync::Arc;

use rcgen::{CertificateParams, KeyPair};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio::net::TcpListener;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::host::{Host, Seen, ok};
use super::*;

/// Bytes of an answer that takes more than all buffers and windows on its way.
pub const LONG: usize = 512 * 1024;

pub fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

pub fn tls_grant(port: u16) -> GrantSpec {
    let target = Target {
        scheme: Scheme::Https,
        host: "localhost".into(),
        port,
    };
    GrantSpec {
        targets: vec![target],
        ..grant(port)
    }
}

pub fn trusting(pem: &str) -> Opening {
    Opening {
        roots: vec![pem.to_owned()],
        ..opening(Network::GrantedOnly)
    }
}

/// TLS inside CONNECT, in this name, trusting `ca`, for HTTP/1.1.
async fn within(rig: &Rig, to: &str, name: &str, ca: &str) -> std::io::Result<tokio_rustls::client::TlsStream<TcpStream>> {
    within_for(rig, to, name, ca, &["http/1.1"]).await
}

/// The same, for these protocols.
pub async fn within_for(
    rig: &Rig,
    to: &str,
    name: &str,
    ca: &str,
    protocols: &[&str],
) -> std::io::Result<tokio_rustls::client::TlsStream<TcpStream>> {
    let mut client = rig.connected(to).await;
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(ca.as_bytes()).unwrap()).unwrap();
    let config = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .unwrap();
    let mut config = config.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
    client.flush().await?;
    TlsConnector::from(Arc::new(config))
        .connect(ServerName::try_from(name.to_owned()).unwrap(), client)
        .await
}

impl Rig {
    async fn connected(&self, to: &str) -> TcpStream {
        let mut client = self.dial().await;
        let head = format!(
            "CONNECT {to} HTTP/1.1\r\nHost: {to}\r\nProxy-Authorization: Basic {}\r\n\r\n",
            self.auth()
        );
        client.write_all(head.as_bytes()).await.unwrap();
        let (mut heard, mut byte) = (Vec::new(), [0]);
        while !heard.ends_with(b"\r\n\r\n") {
            client.read_exact(&mut byte).await.unwrap();
            heard.push(byte[0]);
        }
        assert!(heard.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&heard));
        client
    }
}

#[test]
fn a_credential_goes_into_a_request_inside_tls_and_its_echo_is_masked() {
    with_tls(async |rig, host| {
        let mark = rig.grant(tls_grant(host.port)).await;
        let to = format!("localhost:{}", host.port);
        let mut client = within(&rig, &to, "localhost", &rig.ca_pem).await.unwrap();
        assert_eq!(client.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
        for last in [false, true] {
            let close = if last { "Connection: close\r\n" } else { "" };
            let request = format!("GET /allowed/x HTTP/1.1\r\nHost: {to}\r\nAuthorization: Bearer {mark}\r\n{close}\r\n");
            client.write_all(request.as_bytes()).await.unwrap();
            if !last {
                let mut piece = [0; 4096];
                let mut heard = Vec::new();
                while !heard.ends_with(b"0\r\n\r\n") {
                    let count = client.read(&mut piece).await.unwrap();
                    heard.extend_from_slice(&piece[..count]);
                }
                assert_eq!(Answer::parse(&heard).text(), "you said <touchlease:prod/TOKEN>");
            }
        }
        assert_eq!(Answer::read(&mut client).await.status, 200);
        let seen = host.requests();
        assert_eq!(seen.len(), 2);
        assert!(
            seen.iter()
                .all(|seen| seen.header("authorization") == Some(&format!("Bearer {VALUE}")) && seen.connection == 0)
        );
    });
}

/// A rig that trusts a host with TLS.
pub fn with_tls(test: impl AsyncFnOnce(Rig, Host)) {
    // The certificate is needed before the worker opens, and the host lives in the worker's runtime: it is made here, in one of its own.
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(vec!["localhost".to_owned()])
        .unwrap()
        .self_signed(&key)
        .unwrap();
    let opening = trusting(&certificate.pem());
    with_rig(opening, async |rig| {
        let host = served(&key, certificate.der().clone()).await;
        test(rig, host).await;
    });
}

pub async fn served(key: &KeyPair, certificate: CertificateDer<'static>) -> Host {
    let private = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let config = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .unwrap();
    let config = config.with_no_client_auth().with_single_cert(vec![certificate], private).unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let host = Host {
        port: listener.local_addr().unwrap().port(),
        seen: Rc::default(),
        bytes: Rc::default(),
    };
    let this = host.clone();
    tokio::task::spawn_local(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (this, acceptor) = (this.clone(), acceptor.clone());
            tokio::task::spawn_local(async move {
                if let Ok(stream) = acceptor.accept(stream).await {
                    let long = |seen: &Seen| seen.target.ends_with("/long");
                    let answer = move |seen: &Seen| {
                        ok(&if long(seen) {
                            "x".repeat(LONG)
                        } else {
                            format!("you said {VALUE}")
                        })
                    };
                    this.serve(stream, Rc::new(answer)).await;
                }
            });
        }
    });
    host
}

#[test]
fn t37_hosts_that_disagree_are_refused() {
    with_tls(async |rig, host| {
        let mark = rig.grant(tls_grant(host.port)).await;
        let to = format!("localhost:{}", host.port);
        for name in ["other.example", "localhost.example"] {
            assert!(within(&rig, &to, name, &rig.ca_pem).await.is_err(), "{name}");
        }
        for (target, host_header) in [
            ("/allowed/x".to_owned(), "Host: other.example\r\n".to_owned()),
            ("/allowed/x".into(), "Host: localhost\r\n".into()),
            ("/allowed/x".into(), format!("Host: {to}\r\nHost: other.example\r\n")),
            ("/allowed/x".into(), String::new()),
            (format!("http://{to}/allowed/x"), format!("Host: {to}\r\n")),
            ("https://other.example/allowed/x".into(), format!("Host: {to}\r\n")),
            (format!("https://{to}:1/allowed/x"), format!("Host: {to}\r\n")),
            (format!("https://user@{to}/allowed/x"), format!("Host: {to}\r\n")),
            ("allowed".into(), format!("Host: {to}\r\n")),
        ] {
            let mut client = within(&rig, &to, "localhost", &rig.ca_pem).await.unwrap();
            let request = format!("GET {target} HTTP/1.1\r\n{host_header}Authorization: Bearer {mark}\r\nConnection: close\r\n\r\n");
            client.write_all(request.as_bytes()).await.unwrap();
            let answer = Answer::read(&mut client).await;
            assert_eq!(answer.status, 400, "{target} {host_header}");
        }
        let mut client = within(&rig, &to, "localhost", &rig.ca_pem).await.unwrap();
        let within_it = format!("CONNECT {to} HTTP/1.1\r\nHost: {to}\r\nConnection: close\r\n\r\n");
        client.write_all(within_it.as_bytes()).await.unwrap();
        assert_eq!(Answer::read(&mut client).await.status, 400);
        assert!(host.requests().is_empty() && rig.uses() == 0);
    });
}

#[test]
fn t37_what_is_for_tls_does_not_go_without_it() {
    with_tls(async |rig, host| {
        let mark = rig.grant(tls_grant(host.port)).await;
        let to = format!("localhost:{}", host.port);
        let mut client = rig.connected(&to).await;
        let request = format!("GET /allowed/x HTTP/1.1\r\nHost: {to}\r\nAuthorization: Bearer {mark}\r\nConnection: close\r\n\r\n");
        client.write_all(request.as_bytes()).await.unwrap();
        assert_eq!(Answer::read(&mut client).await.reason(), "wrong_host");
        let answer = rig
            .ask(
                &format!("GET http://{to}/allowed/x"),
                &format!("Authorization: Bearer {mark}\r\n"),
                b"",
            )
            .await;
        assert_eq!(answer.reason(), "wrong_host");
        assert!(host.requests().is_empty());
    });
}

#[test]
fn plain_http_inside_connect_is_understood() {
    with_rig(opening(Network::GrantedOnly), async |rig| {
        let host = Host::new(|_| ok("done")).await;
        let mark = rig.grant(grant(host.port)).await;
        let to = format!("localhost:{}", host.port);
        let mut client = rig.connected(&to).await;
        let request = format!(
            "POST /allowed/x HTTP/1.1\r\nHost: {to}\r\nAuthorization: Bearer {mark}\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello"
        );
        client.write_all(request.as_bytes()).await.unwrap();
        assert_eq!(Answer::read(&mut client).await.text(), "done");
        assert_eq!(host.requests()[0].body, b"hello");
    });
}

#[test]
fn a_host_that_nobody_vouches_for_gets_no_request() {
    with_rig(opening(Network::GrantedOnly), async |rig| {
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(vec!["localhost".to_owned()])
            .unwrap()
            .self_signed(&key)
            .unwrap();
        let host = served(&key, certificate.der().clone()).await;
        let mark = rig.grant(tls_grant(host.port)).await;
        let to = format!("localhost:{}", host.port);
        let mut client = within(&rig, &to, "localhost", &rig.ca_pem).await.unwrap();
        let request = format!("GET /allowed/x HTTP/1.1\r\nHost: {to}\r\nAuthorization: Bearer {mark}\r\nConnection: close\r\n\r\n");
        client.write_all(request.as_bytes()).await.unwrap();
        let answer = Answer::read(&mut client).await;
        assert_eq!((answer.status, answer.reason()), (502, "upstream_tls".into()));
        assert!(host.requests().is_empty());
    });
}

#[test]
fn the_sessions_authority_is_for_its_hosts_alone_where_they_are_known() {
    let known = Opening {
        hosts: vec!["localhost".into(), "127.0.0.1".into()],
        ..opening(Network::GrantedOnly)
    };
    with_rig(known, async |rig| {
        rig.grant(tls_grant(9)).await;
        let mut client = within(&rig, "localhost:9", "localhost", &rig.ca_pem).await.unwrap();
        client.shutdown().await.unwrap();
        let target = Target {
            scheme: Scheme::Https,
            host: "other.example".into(),
            port: 443,
        };
        let order = Order::Grant {
            lease: "M".into(),
            grants: vec![GrantSpec {
                targets: vec![target],
                ..grant(9)
            }],
        };
        assert!(matches!(
            rig.order(order, VALUE.as_bytes()).await,
            Report::NotGranted { index: 0, .. }
        ));
    });
}
