//! Servers that answer as OpenBao does not, over TLS and in this process.
#![allow(clippy::unwrap_used)]

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::future::Future;
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use data_encoding::{BASE64, BASE64URL_NOPAD, HEXLOWER};
use rcgen::{CertificateParams, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::{LocalSet, spawn_local};
use tokio_rustls::TlsAcceptor;

use super::client::{Ask, Cluster};
use super::protocol::{Login, Order, Report};
use super::worker;
use crate::clock::{Clock, SystemClock};
use crate::deliver::proxy::names::Resolve;
use crate::encoding::exchange::{Exchange, Fetch, Wanted};
use crate::worker::inbox::Inbox;

const JWT: &str = "eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJkZXBsb3kifQ.c2lnbmF0dXJlLXRoYXQtbm9ib2R5LW1heS1zZWU";
const SIGNATURE: &str = "c2lnbmF0dXJlLXRoYXQtbm9ib2R5LW1heS1zZWU";
const PARENT: &str = "hvs.parent-token-that-nobody-may-see";
const CHILD: &str = "hvs.child-token-that-nobody-may-see";
/// Far less than the time that a login has, which nobody is to wait for here.
const SHORT: Duration = Duration::from_millis(400);

/// A node: path, token and body of each request, and what answers.
struct Server {
    port: u16,
    ca: String,
    asked: Rc<RefCell<Vec<(String, String)>>>,
}

/// What stands on the wire, and how long it takes for each byte.
struct Said {
    bytes: Vec<u8>,
    pause: Option<Duration>,
}

fn in_a_local_set<T>(test: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    LocalSet::new().block_on(&runtime, test)
}

impl Server {
    async fn start(answer: impl Fn(&str) -> Said + 'static) -> Self {
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(vec!["localhost".to_owned()])
            .unwrap()
            .self_signed(&key)
            .unwrap();
        let private = PrivateKeyDer::Pkcs8(key.serialize_der().into());
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap();
        let config = config
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], private);
        let acceptor = TlsAcceptor::from(Arc::new(config.unwrap()));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = Self {
            port: listener.local_addr().unwrap().port(),
            ca: BASE64URL_NOPAD.encode(certificate.der()),
            asked: Rc::default(),
        };
        let (asked, answer) = (server.asked.clone(), Rc::new(answer));
        spawn_local(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, asked, answer) = (acceptor.clone(), asked.clone(), answer.clone());
                spawn_local(async move {
                    let Ok(mut stream) = acceptor.accept(stream).await else { return };
                    let mut request = vec![0; 64 << 10];
                    let count = stream.read(&mut request).await.unwrap_or(0);
                    let request = String::from_utf8_lossy(&request[..count]).into_owned();
                    let path = request.split(' ').nth(1).unwrap_or_default().to_owned();
                    let token = request.lines().find_map(|line| line.strip_prefix("x-vault-token: "));
                    asked.borrow_mut().push((path.clone(), token.unwrap_or_default().to_owned()));
                    let Said { bytes, pause } = answer(&path);
                    let size = if pause.is_some() { 1 } else { bytes.len().max(1) };
                    for chunk in bytes.chunks(size) {
                        if stream.write_all(chunk).await.is_err() {
                            return;
                        }
                        let _ = stream.flush().await;
                        tokio::time::sleep(pause.unwrap_or_default()).await;
                    }
                    if pause.is_none() {
                        let _ = stream.shutdown().await;
                    }
                });
            }
        });
        server
    }

    fn exchange(&self) -> Exchange {
        Exchange {
            addresses: [format!("https://localhost:{}", self.port)].into(),
            ca: [self.ca.clone()].into(),
            mount: "jwt".into(),
            paths: ["database/creds/app".to_owned()].into(),
            policies: ["app".to_owned()].into(),
            role: "deploy".into(),
            token_uses: Some(1),
        }
    }

    fn resolve(&self) -> Resolve {
        let at = SocketAddr::from(([127, 0, 0, 1], self.port));
        Box::new(move |_, _, _| Box::pin(async move { Ok(vec![at]) }))
    }

    fn paths(&self) -> Vec<String> {
        self.asked.borrow().iter().map(|(path, _)| path.clone()).collect()
    }

    /// What the worker makes of it, first, for a lease of a minute.
    async fn report(&self, fetch: &[Fetch]) -> Report {
        let (ours, theirs) = UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        let resolve = self.resolve();
        spawn_local(async move { worker::run(theirs, &SystemClock, resolve).await });
        let mut inbox = Inbox::new(tokio::net::UnixStream::from_std(ours).unwrap()).unwrap();
        let login = Login {
            exchange: self.exchange(),
            wanted: Wanted {
                fetch: fetch.to_vec(),
                files: false,
                uses: fetch.is_empty().then_some(1),
            },
            lease: "0f".repeat(16),
            left_ms: 60_000,
        };
        inbox.send(&Order::Login(Box::new(login)), JWT.as_bytes()).await.unwrap();
        let (report, _) = inbox.next().await.unwrap();
        report
    }

    async fn asked_directly(&self) -> Result<u16, String> {
        let cluster = Cluster::new(&self.exchange(), self.resolve()).unwrap();
        let ask = Ask {
            path: "sys/health",
            token: None,
            body: None,
            secret: None,
            again: true,
        };
        cluster.ask(&ask, SHORT).await.map(|answer| answer.status.as_u16())
    }
}

fn whole(status: &str, body: impl AsRef<[u8]>) -> Said {
    let body = body.as_ref();
    let head = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
    Said {
        bytes: [head.as_bytes(), body].concat(),
        pause: None,
    }
}

/// What OpenBao says to each request of an exchange.
fn good(path: &str) -> Value {
    let auth = |token: &str, uses: u32| json!({"auth": {"client_token": token, "accessor": "an-accessor", "lease_duration": 30, "num_uses": uses}});
    match path {
        "/v1/auth/jwt/login" => auth(PARENT, 0),
        "/v1/sys/capabilities-self" => json!({"capabilities": ["update"]}),
        "/v1/auth/token/create" => auth(CHILD, 1),
        _ => json!({"data": {"password": "x"}}),
    }
}

fn database() -> Fetch {
    Fetch {
        name: "DB".into(),
        path: "database/creds/app".into(),
        ..Fetch::default()
    }
}

#[test]
fn p5_what_a_server_says_back_of_a_token_is_in_no_message_in_any_form() {
    let steps = [
        ("/v1/auth/jwt/login", JWT),
        ("/v1/sys/capabilities-self", PARENT),
        ("/v1/auth/token/create", PARENT),
        ("/v1/database/creds/app", CHILD),
    ];
    in_a_local_set(async {
        for (at, sent) in steps {
            let forms: BTreeSet<String> = [sent, sent.rsplit('.').next().unwrap()]
                .into_iter()
                .flat_map(|text| [text.to_owned(), BASE64.encode(text.as_bytes()), HEXLOWER.encode(text.as_bytes())])
                .collect();
            for form in &forms {
                let echo = format!("no such thing: {form}, \u{1b}[2J try again");
                let server = Server::start(move |path| match path {
                    path if path == at => whole("400 Bad Request", json!({"errors": [echo]}).to_string()),
                    path => whole(
                        "200 OK",
                        if path.ends_with("create") {
                            narrowed().to_string()
                        } else {
                            good(path).to_string()
                        },
                    ),
                })
                .await;
                let Report::NotGiven { why, left, .. } = server.report(&[database()]).await else {
                    panic!("{at} was good")
                };
                assert!(why.contains("no such thing: ") && why.contains("try again"), "{why}");
                assert!(forms.iter().all(|form| !why.contains(form.as_str())), "{at}: {why}");
                assert!(!why.contains('\u{1b}') && !why.contains(SIGNATURE), "{why}");
                assert_eq!(left, None, "what was logged in to was taken back");
            }
        }
    });
}

/// The token with which something is fetched has no limit of requests.
fn narrowed() -> Value {
    let mut said = good("/v1/auth/token/create");
    said["auth"]["num_uses"] = json!(0);
    said
}

#[test]
fn p4_an_answer_that_is_none_gives_nothing_and_what_was_logged_in_to_is_revoked() {
    let changed = |member: &str, value: Value| {
        let mut said = good("/v1/auth/token/create");
        said["auth"][member] = value;
        said.to_string()
    };
    let mut bodies: Vec<String> = ["", "{}", "[]", "null", "{\"auth\":null}", "<html>", "{\"auth\":{}}", "\"x\""]
        .map(str::to_owned)
        .into();
    bodies.push("[".repeat(200_000));
    for (member, value) in [
        ("client_token", json!("")),
        ("client_token", json!("a\r\nX-Vault-Token: b")),
        ("client_token", json!("x".repeat(10_000))),
        ("client_token", json!(7)),
        ("accessor", json!("a\nb")),
        ("accessor", json!("\u{202e}a")),
        ("lease_duration", json!(0)),
        ("lease_duration", json!(61)),
        ("lease_duration", json!(-1)),
        ("num_uses", json!(0)),
        ("num_uses", json!(2)),
    ] {
        bodies.push(changed(member, value));
    }
    in_a_local_set(async {
        for body in bodies {
            let begun = SystemClock.boot();
            let said = body.clone();
            let server = Server::start(move |path| match path {
                "/v1/auth/token/create" => whole("200 OK", &said),
                path => whole("200 OK", good(path).to_string()),
            })
            .await;
            let report = server.report(&[]).await;
            let shown: String = body.chars().take(200).collect();
            assert!(
                matches!(&report, Report::NotGiven { left: None, why, .. } if why.len() < 600),
                "{shown}: {report:?}"
            );
            let last = server.asked.borrow().last().cloned().unwrap();
            assert_eq!(last, ("/v1/auth/token/revoke-self".to_owned(), PARENT.to_owned()), "{shown}");
            assert!(
                SystemClock.boot().since(begun) < Duration::from_secs(5),
                "{shown}: {:?}",
                SystemClock.boot().since(begun)
            );
        }
        // A login whose token has a use or a name that it may not have is taken back too; what is no token cannot be.
        for (member, value, is_revoked) in [
            ("num_uses", json!(1), true),
            ("accessor", json!("a\nb"), true),
            ("client_token", json!("a\nb"), false),
            ("client_token", json!(""), false),
        ] {
            let mut said = good("/v1/auth/jwt/login");
            said["auth"][member] = value;
            let server = Server::start(move |path| match path {
                "/v1/auth/jwt/login" => whole("200 OK", said.to_string()),
                path => whole("200 OK", good(path).to_string()),
            })
            .await;
            assert!(matches!(server.report(&[]).await, Report::NotGiven { left: None, .. }), "{member}");
            assert_eq!(server.paths().last().unwrap().ends_with("revoke-self"), is_revoked, "{member}");
        }
    });
}

#[test]
fn t34_no_redirect_is_followed_and_no_answer_is_waited_for_longer_than_there_is_time() {
    in_a_local_set(async {
        let elsewhere = Server::start(|_| whole("200 OK", "{}")).await;
        let location = format!("https://localhost:{}/v1/sys/health", elsewhere.port);
        for status in ["301 Moved", "302 Found", "307 Temporary Redirect", "308 Permanent Redirect"] {
            let there = location.clone();
            let server = Server::start(move |_| Said {
                bytes: format!("HTTP/1.1 {status}\r\nLocation: {there}\r\nContent-Length: 0\r\n\r\n").into_bytes(),
                pause: None,
            })
            .await;
            let why = server.asked_directly().await.unwrap_err();
            assert!(why.contains("sends elsewhere"), "{why}");
        }
        assert!(elsewhere.paths().is_empty());
        let endless = |head: &str, body: usize| [head.as_bytes(), &vec![b' '; body]].concat();
        let slow = Some(Duration::from_millis(30));
        for (what, bytes, pause) in [
            ("silent", vec![], slow),
            ("slow", whole("200 OK", "{}").bytes, slow),
            ("cut off", endless("HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{", 0), None),
            (
                "too long",
                endless("HTTP/1.1 200 OK\r\nContent-Length: 300000\r\n\r\n", 300_000),
                None,
            ),
            ("without an end", endless("HTTP/1.1 200 OK\r\n\r\n", 300_000), None),
            ("long heads", endless("HTTP/1.1 200 OK\r\nX: ", 900_000), None),
            ("no HTTP", b"SSH-2.0-OpenSSH\r\n\r\n".to_vec(), None),
            ("two answers", [whole("100 Continue", "").bytes, b"x".to_vec()].concat(), None),
        ] {
            let begun = SystemClock.boot();
            let server = Server::start(move |_| Said {
                bytes: bytes.clone(),
                pause,
            })
            .await;
            let why = server.asked_directly().await.unwrap_err();
            assert!(
                SystemClock.boot().since(begun) < SHORT * 3,
                "{what}: {:?} {why}",
                SystemClock.boot().since(begun)
            );
            assert!(why.len() < 400, "{what}: {why}");
        }
    });
}
