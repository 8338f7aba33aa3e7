//! HTTP/2 on both sides: each stream is judged by itself, trailers go on, the lease's end is the connection's.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::{Body, Frame, Incoming};
use hyper::client::conn::http2::SendRequest;
use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use hyper::service::service_fn;
use hyper::{Request, Response, Version};
use hyper_util::rt::TokioIo;
use rcgen::{CertificateParams, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::TcpListener;
use tokio::time::{Sleep, sleep};
use tokio_rustls::TlsAcceptor;

use super::super::ways::MOST_KEPT;
use super::tls::{LONG, provider, tls_grant, trusting, with_tls, within_for};
use super::*;
use crate::deliver::mask::BEGUN;

/// Bytes of a stream that a client has not taken.
const WINDOW: u32 = 16 * 1024;

/// A stream as a host with HTTP/2 saw it.
#[derive(Clone, Debug)]
pub struct Stream {
    uri: String,
    headers: HeaderMap,
    body: Bytes,
    trailers: Option<HeaderMap>,
    connection: usize,
}

/// A host on loopback that speaks HTTP/2 only.
#[derive(Clone)]
pub struct Many {
    pub port: u16,
    seen: Rc<RefCell<Vec<Stream>>>,
}

/// A body of these frames; then, for one that ticks, of a piece each ten milliseconds and no end.
pub struct Said {
    frames: VecDeque<Frame<Bytes>>,
    ticks: Option<Pin<Box<Sleep>>>,
}

pub fn whole(text: &str) -> Said {
    said([Frame::data(Bytes::from(text.to_owned()))])
}

fn said(frames: impl IntoIterator<Item = Frame<Bytes>>) -> Said {
    Said {
        frames: frames.into_iter().collect(),
        ticks: None,
    }
}

impl Body for Said {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if let Some(frame) = self.frames.pop_front() {
            return Poll::Ready(Some(Ok(frame)));
        }
        let Some(tick) = &mut self.ticks else { return Poll::Ready(None) };
        ready!(tick.as_mut().poll(context));
        *tick = Box::pin(sleep(Duration::from_millis(10)));
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(b"tick\n")))))
    }

    fn is_end_stream(&self) -> bool {
        self.frames.is_empty() && self.ticks.is_none()
    }
}

/// Runs `test` with a rig that trusts a host with HTTP/2.
fn with_many(test: impl AsyncFnOnce(Rig, Many)) {
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(vec!["localhost".to_owned()])
        .unwrap()
        .self_signed(&key)
        .unwrap();
    with_rig(trusting(&certificate.pem()), async |rig| {
        let host = many(&key, certificate.der().clone()).await;
        test(rig, host).await;
    });
}

pub async fn many(key: &KeyPair, certificate: CertificateDer<'static>) -> Many {
    let private = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let config = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .unwrap();
    let mut config = config.with_no_client_auth().with_single_cert(vec![certificate], private).unwrap();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let host = Many {
        port: listener.local_addr().unwrap().port(),
        seen: Rc::default(),
    };
    let seen = host.seen.clone();
    tokio::task::spawn_local(async move {
        for connection in 0.. {
            let (stream, _) = listener.accept().await.unwrap();
            let (seen, acceptor) = (seen.clone(), acceptor.clone());
            tokio::task::spawn_local(async move {
                let Ok(stream) = acceptor.accept(stream).await else { return };
                let service = service_fn(move |request| answer(request, seen.clone(), connection));
                let _ = hyper::server::conn::http2::Builder::new(Local)
                    .serve_connection(TokioIo::new(stream), service)
                    .await;
            });
        }
    });
    host
}

#[derive(Clone)]
pub struct Local;

impl<F: Future<Output: 'static> + 'static> hyper::rt::Executor<F> for Local {
    fn execute(&self, future: F) {
        tokio::task::spawn_local(future);
    }
}

/// What the path's last word asks for.
async fn answer(request: Request<Incoming>, seen: Rc<RefCell<Vec<Stream>>>, connection: usize) -> Result<Response<Said>, Infallible> {
    let (head, body) = request.into_parts();
    assert_eq!(head.version, Version::HTTP_2);
    let word = head.uri.path().rsplit('/').next().unwrap().to_owned();
    if ["ticks", "quiet"].contains(&word.as_str()) {
        let first = if word == "ticks" {
            Duration::ZERO
        } else {
            Duration::from_secs(24 * 3600)
        };
        return Ok(Response::new(Said {
            ticks: Some(Box::pin(sleep(first))),
            ..said([])
        }));
    }
    if word == "never" {
        std::future::pending::<()>().await;
    }
    let Ok(body) = body.collect().await else {
        return Ok(Response::new(whole("broken off")));
    };
    let trailers = body.trailers().cloned();
    seen.borrow_mut().push(Stream {
        uri: head.uri.to_string(),
        headers: head.headers,
        body: body.to_bytes(),
        trailers,
        connection,
    });
    let mut answer = Response::new(whole(&format!("you said {VALUE}")));
    match word.as_str() {
        "trailers" => {
            let mut trailers = HeaderMap::new();
            trailers.insert("grpc-status", HeaderValue::from_static("0"));
            trailers.insert("grpc-message", HeaderValue::from_str(VALUE).unwrap());
            *answer.body_mut() = said([Frame::data(Bytes::from("done")), Frame::trailers(trailers)]);
        }
        "held" => {
            let trailers = HeaderMap::from_iter([(HeaderName::from_static("grpc-status"), HeaderValue::from_static("0"))]);
            *answer.body_mut() = said([Frame::data(Bytes::from(&VALUE[..BEGUN - 1])), Frame::trailers(trailers)]);
        }
        "packed" => {
            answer.headers_mut().insert("grpc-encoding", HeaderValue::from_static("gzip"));
        }
        _ => {}
    }
    Ok(answer)
}

/// A client's connection, to this port through the proxy.
async fn client(rig: &Rig, port: u16) -> SendRequest<Said> {
    let to = format!("localhost:{port}");
    let tls = within_for(rig, &to, "localhost", &rig.ca_pem, &["h2", "http/1.1"]).await.unwrap();
    assert_eq!(tls.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let mut builder = hyper::client::conn::http2::Builder::new(Local);
    builder.initial_stream_window_size(WINDOW);
    let (sender, connection) = builder.handshake(TokioIo::new(tls)).await.unwrap();
    tokio::task::spawn_local(connection);
    sender
}

fn asked(port: u16, path: &str, mark: Option<&str>, body: Said) -> Request<Said> {
    let mut request = Request::post(format!("https://localhost:{port}{path}"));
    if let Some(mark) = mark {
        request = request.header("authorization", format!("Bearer {mark}"));
    }
    request.body(body).unwrap()
}

/// The answer's status, its body and its trailers.
pub async fn heard(answer: Response<Incoming>) -> (u16, String, Option<HeaderMap>) {
    let status = answer.status().as_u16();
    let body = timeout(PATIENCE, answer.into_body().collect()).await.unwrap().unwrap();
    let trailers = body.trailers().cloned();
    (status, String::from_utf8(body.to_bytes().to_vec()).unwrap(), trailers)
}

#[test]
fn p7_streams_of_one_connection_are_judged_one_by_one_and_go_over_one_way_to_the_host() {
    with_many(async |rig, host| {
        let mark = rig.grant(tls_grant(host.port)).await;
        let sender = client(&rig, host.port).await;
        let ask = |path: &'static str, mark: Option<String>| {
            let mut sender = sender.clone();
            async move {
                heard(
                    sender
                        .send_request(asked(host.port, path, mark.as_deref(), whole("x")))
                        .await
                        .unwrap(),
                )
                .await
            }
        };
        let mark = Some(mark);
        let (a, b, wrong, none, unknown) = tokio::join!(
            ask("/allowed/a", mark.clone()),
            ask("/allowed/b", mark.clone()),
            ask("/forbidden", mark.clone()),
            ask("/forbidden", None),
            ask("/allowed/c", Some("ghp_TOUCHLEASEABCDEFGHIJKLMNOPQRSTUV".into())),
        );
        for answer in [a, b, none] {
            assert_eq!((answer.0, answer.1.as_str()), (200, "you said <touchlease:prod/TOKEN>"));
        }
        assert_eq!(wrong.0, 403);
        assert!(wrong.1.contains("wrong_path") && unknown.1.contains("unknown_placeholder"));
        let seen = host.seen.borrow().clone();
        let bearer = format!("Bearer {VALUE}");
        let with: Vec<_> = seen.iter().filter(|seen| seen.headers.contains_key("authorization")).collect();
        assert_eq!((seen.len(), with.len(), rig.uses()), (3, 2, 2));
        assert!(with.iter().all(|seen| seen.headers["authorization"] == bearer));
        assert!(
            with.iter()
                .all(|seen| seen.uri.starts_with(&format!("https://localhost:{}/allowed/", host.port)))
        );
        assert!(seen.iter().all(|seen| !seen.headers.contains_key("host") && seen.body == "x"));
        let of = |with: bool| {
            seen.iter()
                .find(|seen| seen.headers.contains_key("authorization") == with)
                .unwrap()
                .connection
        };
        assert_eq!(with[0].connection, with[1].connection, "one way for the lease");
        assert_ne!(of(true), of(false), "and another one without it (T35)");
        assert_eq!(rig.refusals(), ["wrong_path", "unknown_placeholder"]);
    });
}

#[test]
fn t40_trailers_go_both_ways_and_a_value_in_them_is_masked() {
    with_many(async |rig, host| {
        let mark = rig.grant(tls_grant(host.port)).await;
        let mut sender = client(&rig, host.port).await;
        let mut trailers = HeaderMap::new();
        trailers.insert("x-checksum", HeaderValue::from_static("7"));
        trailers.insert("x-http-method-override", HeaderValue::from_static("DELETE"));
        let body = said([Frame::data(Bytes::from("x")), Frame::trailers(trailers)]);
        let mut request = asked(host.port, "/allowed/trailers", Some(&mark), body);
        for (name, value) in [
            ("te", "trailers"),
            ("grpc-accept-encoding", "gzip, identity"),
            ("content-type", "application/grpc"),
        ] {
            request.headers_mut().insert(name, HeaderValue::from_static(value));
        }
        let (status, body, trailers) = heard(sender.send_request(request).await.unwrap()).await;
        let trailers = trailers.unwrap();
        assert_eq!((status, body.as_str()), (200, "done"));
        assert_eq!(
            (&trailers["grpc-status"], &trailers["grpc-message"]),
            (&"0".parse().unwrap(), &"<touchlease:prod/TOKEN>".parse().unwrap())
        );
        let seen = host.seen.borrow()[0].clone();
        let (headers, sent) = (seen.headers, seen.trailers.unwrap());
        assert_eq!(
            (&headers["te"], &headers["grpc-accept-encoding"]),
            (&"trailers".parse().unwrap(), &"identity".parse().unwrap())
        );
        assert!(sent.contains_key("x-checksum") && !sent.contains_key("x-http-method-override"));
        rig.settle().await;
        assert_eq!(rig.echoes(), 1);
        // Messages that are compressed one by one are not looked into.
        let request = asked(host.port, "/allowed/packed", Some(&mark), whole("x"));
        let (status, body, _) = heard(sender.send_request(request).await.unwrap()).await;
        assert_eq!(status, 502);
        assert!(body.contains("answer_withheld"), "{body}");
    });
}

#[test]
fn t40_trailers_behind_a_body_that_the_mask_held_whole_go_on() {
    with_many(async |rig, host| {
        let mark = rig.grant(tls_grant(host.port)).await;
        let mut sender = client(&rig, host.port).await;
        // What the body is could be the beginning of the value, until it ends.
        for _ in 0..20 {
            let request = asked(host.port, "/allowed/held", Some(&mark), whole("x"));
            let (status, body, trailers) = heard(sender.send_request(request).await.unwrap()).await;
            assert_eq!((status, body.as_str()), (200, &VALUE[..BEGUN - 1]));
            assert_eq!(trailers.unwrap()["grpc-status"], "0");
        }
    });
}

#[test]
fn p4_revoking_cuts_all_streams_of_a_connection_that_carried_the_lease_within_a_second() {
    with_many(async |rig, host| {
        let mark = rig.grant(tls_grant(host.port)).await;
        let mut sender = client(&rig, host.port).await;
        let mut streams = Vec::new();
        for _ in 0..20 {
            let request = asked(host.port, "/allowed/ticks", Some(&mark), whole("x"));
            let mut body = sender.send_request(request).await.unwrap().into_body();
            assert!(body.frame().await.unwrap().is_ok());
            streams.push(body);
        }
        timeout(Duration::from_secs(1), async {
            rig.revoke("L").await;
            for stream in &mut streams {
                while let Some(Ok(_)) = stream.frame().await {}
            }
        })
        .await
        .expect("all of them are cut within a second");
        let mut sender = client(&rig, host.port).await;
        let request = asked(host.port, "/allowed/a", Some(&mark), whole("x"));
        let (status, body, _) = heard(sender.send_request(request).await.unwrap()).await;
        assert_eq!(status, 403);
        assert!(body.contains("lease_ended"), "{body}");
        println!("P4 streams: 20 of 20 streams of one connection cut");
    });
}

#[test]
fn a_stream_that_has_no_answer_keeps_none_waiting_that_came_with_it() {
    with_many(async |rig, host| {
        let mark = rig.grant(tls_grant(host.port)).await;
        let mut sender = client(&rig, host.port).await;
        // All of them come before there is a way to the host.
        let answers = ["first", "never", "third", "fourth"].map(|word| {
            let request = asked(host.port, &format!("/allowed/{word}"), Some(&mark), said([]));
            (word, tokio::task::spawn_local(sender.send_request(request)))
        });
        for (word, answer) in answers {
            if word == "never" {
                continue;
            }
            let answer = timeout(Duration::from_secs(5), answer).await.expect(word).unwrap().unwrap();
            assert_eq!(answer.status(), 200, "{word}");
        }
        assert_eq!(host.seen.borrow().len(), 3);
    });
}

#[test]
fn a_host_without_http2_gets_one_request_at_a_time_over_each_way_and_one_cookie_header() {
    with_tls(async |rig, host| {
        let mark = rig.grant(tls_grant(host.port)).await;
        let sender = client(&rig, host.port).await;
        let ask = async |count: usize| {
            let one = |number: usize| {
                let (mut sender, mark) = (sender.clone(), mark.clone());
                async move {
                    let body = if number.is_multiple_of(2) { whole("hello") } else { said([]) };
                    let mut request = asked(host.port, "/allowed/x", Some(&mark), body);
                    for crumb in ["a=1", "b=2"] {
                        request.headers_mut().append("cookie", HeaderValue::from_static(crumb));
                    }
                    heard(sender.send_request(request).await.unwrap()).await
                }
            };
            let tasks: Vec<_> = (0..count).map(|number| tokio::task::spawn_local(one(number))).collect();
            for task in tasks {
                let (status, body, _) = task.await.unwrap();
                assert_eq!((status, body.as_str()), (200, "you said <touchlease:prod/TOKEN>"));
            }
        };
        ask(12).await;
        ask(1).await;
        ask(1).await;
        let seen = host.requests();
        assert_eq!(seen.len(), 14);
        assert!(
            seen.iter()
                .all(|seen| seen.header("cookie") == Some("a=1; b=2") && seen.header("te").is_none())
        );
        assert_eq!(seen.iter().filter(|seen| seen.body == b"hello").count(), 8);
        let last: Vec<usize> = seen[12..].iter().map(|seen| seen.connection).collect();
        assert!(last.iter().all(|way| *way < 12), "a way that was kept is used again: {last:?}");
    });
}

#[test]
fn a_ninth_way_of_a_client_to_a_host_cuts_no_answer_in_its_middle() {
    const WAYS: usize = MOST_KEPT + 1;
    with_tls(async |rig, host| {
        let mark = rig.grant(tls_grant(host.port)).await;
        let mut sender = client(&rig, host.port).await;
        // One of which the client takes the head and a window's bytes is in its middle for as long.
        let mut begun = Vec::new();
        for _ in 0..WAYS {
            let request = asked(host.port, "/allowed/long", Some(&mark), said([]));
            begun.push(timeout(PATIENCE, sender.send_request(request)).await.unwrap().unwrap());
        }
        let seen = host.requests();
        let ways: std::collections::BTreeSet<usize> = seen.iter().map(|seen| seen.connection).collect();
        assert_eq!(ways.len(), WAYS);
        for answer in begun {
            let (status, body, _) = heard(answer).await;
            assert_eq!((status, body.len()), (200, LONG));
        }
    });
}

/// Opens as many streams as connections may have, to a host that begins its answers and says nothing more.
fn idle_streams(connections: usize) {
    let _ = crate::sys::process::raise_descriptors();
    with_many(async |rig, host| {
        let mark = rig.grant(tls_grant(host.port)).await;
        let (before, mut idle) = (super::load::resident(), Vec::new());
        for _ in 0..connections {
            let mut sender = client(&rig, host.port).await;
            for _ in 0..super::super::h2::MOST_STREAMS {
                let request = asked(host.port, "/allowed/quiet", Some(&mark), whole(""));
                let answer = timeout(PATIENCE, sender.send_request(request)).await.unwrap().unwrap();
                assert_eq!(answer.status(), 200);
                idle.push(answer.into_body());
            }
        }
        let each = super::load::resident().saturating_sub(before) / idle.len();
        // The client's end and the host's are in this process too.
        assert!(each < 64 * 1024, "{each} bytes for each idle stream");
        let cut = timeout(Duration::from_secs(1), rig.revoke("L")).await;
        cut.expect("all of them cut within a second");
        for mut body in idle {
            let end = timeout(PATIENCE, body.frame()).await.unwrap();
            assert!(end.is_none_or(|frame| frame.is_err()));
        }
        let count = connections * super::super::h2::MOST_STREAMS as usize;
        println!("T61 streams: {count} idle streams of HTTP/2 over {connections} connections, {each} bytes each");
    });
}

#[test]
fn t61_idle_streams_cost_little_and_end_with_their_lease() {
    idle_streams(3);
}

#[test]
#[ignore = "long"]
fn t61_ten_thousand_idle_streams_cost_little_and_end_with_their_lease() {
    idle_streams(100);
}
