//! A proxy behind the proxy: hosts are reached through it and verified as ever, and what is closed stays closed.

use std::net::IpAddr;

use hyper::Request;
use hyper_util::rt::TokioIo;
use rcgen::{CertificateParams, KeyPair};
use rustls::pki_types::CertificateDer;
use tokio::io::copy_bidirectional;
use tokio::net::TcpListener;

use super::h2::{Local, heard, many, whole};
use super::host::{Host, ok};
use super::tls::{served, trusting, within_for};
use super::*;

const NAME: &str = "api.company.example";

/// A proxy that the configuration names: what it was asked for, all bytes that it carried towards hosts, and where it leads to, whatever it
/// was asked for.
#[derive(Clone)]
struct Beyond {
    asked: Rc<RefCell<Vec<String>>>,
    to: Rc<Cell<u16>>,
    /// What it says instead of yes.
    says: Rc<RefCell<Option<String>>>,
    /// What the rig trusts at hosts.
    key: Rc<KeyPair>,
    certificate: CertificateDer<'static>,
}

impl Beyond {
    fn serve(listener: std::net::TcpListener, key: Rc<KeyPair>, certificate: CertificateDer<'static>) -> Self {
        let this = Self {
            asked: Rc::default(),
            to: Rc::default(),
            says: Rc::default(),
            key,
            certificate,
        };
        let (beyond, listener) = (this.clone(), TcpListener::from_std(listener).unwrap());
        tokio::task::spawn_local(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::task::spawn_local(beyond.clone().carry(client));
            }
        });
        this
    }

    async fn carry(self, mut client: TcpStream) {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(client.read_u8().await.unwrap());
        }
        self.asked.borrow_mut().push(String::from_utf8(head).unwrap());
        let says = self.says.borrow().clone();
        if let Some(says) = says {
            client.write_all(says.as_bytes()).await.unwrap();
            let _ = client.read_u8().await;
            return;
        }
        let mut host = TcpStream::connect(("127.0.0.1", self.to.get())).await.unwrap();
        client
            .write_all(b"HTTP/1.1 200 Connection established\r\nVia: 1.1 beyond\r\n\r\n")
            .await
            .unwrap();
        let _ = copy_bidirectional(&mut client, &mut host).await;
    }

    fn asked(&self) -> Vec<String> {
        self.asked
            .borrow()
            .iter()
            .map(|head| head.lines().next().unwrap().to_owned())
            .collect()
    }
}

/// Runs `test` with a rig behind such a proxy, and a host with TLS whose certificate names `named`. Names are known as `known` has them.
fn behind(named: &str, known: &'static [(&'static str, &'static str)], test: impl AsyncFnOnce(Rig, Beyond, Host)) {
    let key = Rc::new(KeyPair::generate().unwrap());
    let certificate = CertificateParams::new(vec![named.to_owned()]).unwrap().self_signed(&*key).unwrap();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let proxy = Target {
        scheme: Scheme::Http,
        host: "proxy.company.example".into(),
        port: listener.local_addr().unwrap().port(),
    };
    let opening = Opening {
        network: Network::Open,
        upstream: Some(proxy),
        ..trusting(&certificate.pem())
    };
    let resolve: Resolve = Box::new(move |host, port, _| {
        Box::pin(async move {
            let here = [("proxy.company.example", "127.0.0.1")];
            let found = here.iter().chain(known).find(|(name, _)| *name == host);
            let (_, address) = found.ok_or(std::io::ErrorKind::NotFound)?;
            Ok(vec![SocketAddr::new(address.parse::<IpAddr>().unwrap(), port)])
        })
    });
    with_resolver(opening, resolve, async |rig| {
        let beyond = Beyond::serve(listener, key.clone(), certificate.der().clone());
        let host = served(&key, certificate.der().clone()).await;
        beyond.to.set(host.port);
        test(rig, beyond, host).await;
    });
}

fn tls(host: &str) -> GrantSpec {
    let target = Target {
        scheme: Scheme::Https,
        host: host.into(),
        port: 443,
    };
    GrantSpec {
        targets: vec![target],
        ..grant(443)
    }
}

/// The status of a request with the placeholder, and what it says.
async fn asks(rig: &Rig, name: &str, mark: &str) -> Answer {
    let mut client = within_for(rig, &format!("{name}:443"), name, &rig.ca_pem, &["http/1.1"])
        .await
        .unwrap();
    let request = format!("GET /allowed/x HTTP/1.1\r\nHost: {name}\r\nAuthorization: Bearer {mark}\r\nConnection: close\r\n\r\n");
    client.write_all(request.as_bytes()).await.unwrap();
    Answer::read(&mut client).await
}

#[test]
fn p7_hosts_are_reached_through_the_proxy_that_the_configuration_names_which_sees_no_value() {
    behind(NAME, &[], async |rig, beyond, host| {
        let mark = rig.grant(tls(NAME)).await;
        let answer = asks(&rig, NAME, &mark).await;
        assert_eq!((answer.status, answer.text()), (200, "you said <touchlease:prod/TOKEN>".into()));
        assert_eq!(host.requests()[0].header("authorization"), Some(format!("Bearer {VALUE}").as_str()));
        let asked = beyond.asked.borrow()[0].clone();
        assert_eq!(asked, format!("CONNECT {NAME}:443 HTTP/1.1\r\nHost: {NAME}:443\r\n\r\n"));
        // A host that no lease names goes through it as well, untouched.
        let plain = Host::new(|_| ok("fine")).await;
        beyond.to.set(plain.port);
        assert_eq!(rig.ask("GET http://other.example/x", "", b"").await.text(), "fine");
        assert_eq!(beyond.asked()[1], "CONNECT other.example:80 HTTP/1.1");
    });
}

#[test]
fn a_host_that_speaks_http2_is_reached_in_it_through_the_proxy_behind_the_proxy() {
    behind(NAME, &[], async |rig, beyond, _host| {
        let mark = rig.grant(tls(NAME)).await;
        let host = many(&beyond.key, beyond.certificate.clone()).await;
        beyond.to.set(host.port);
        let client = within_for(&rig, &format!("{NAME}:443"), NAME, &rig.ca_pem, &["h2"]).await.unwrap();
        let (mut sender, connection) = hyper::client::conn::http2::handshake(Local, TokioIo::new(client)).await.unwrap();
        tokio::task::spawn_local(connection);
        for _ in 0..2 {
            let request = Request::post(format!("https://{NAME}/allowed/x")).header("authorization", format!("Bearer {mark}"));
            let answer = sender.send_request(request.body(whole("x")).unwrap()).await.unwrap();
            let (status, text, _) = heard(answer).await;
            assert_eq!((status, text.as_str()), (200, "you said <touchlease:prod/TOKEN>"));
        }
        assert_eq!(beyond.asked(), [format!("CONNECT {NAME}:443 HTTP/1.1")], "one way for both");
    });
}

#[test]
fn t37_the_proxy_behind_the_proxy_leads_to_nobody_who_is_not_the_host() {
    behind("another.example", &[], async |rig, beyond, host| {
        let mark = rig.grant(tls(NAME)).await;
        let answer = asks(&rig, NAME, &mark).await;
        assert_eq!((answer.status, answer.reason().as_str()), (502, "upstream_tls"));
        assert_eq!((beyond.asked().len(), host.requests().len()), (1, 0));
        assert!(!host.has_seen(VALUE));
    });
}

#[test]
fn t39_the_proxy_behind_the_proxy_is_asked_for_no_address_that_is_never_reached() {
    let known = &[
        ("rebound.example", "127.0.0.1"),
        ("metadata.example", "169.254.169.254"),
        ("mapped.example", "::ffff:127.0.0.1"),
    ];
    behind(NAME, known, async |rig, beyond, _host| {
        for name in [
            "127.0.0.1",
            "[::1]",
            "169.254.169.254",
            "rebound.example",
            "metadata.example",
            "mapped.example",
        ] {
            let answer = rig.ask(&format!("GET http://{name}/allowed/x"), "", b"").await;
            assert_eq!((answer.status, answer.reason().as_str()), (403, "address"), "{name}");
        }
        assert!(beyond.asked().is_empty());
        // This machine is reached without it, where a rule names it.
        let here = Host::new(|_| ok("here")).await;
        let mark = rig.grant(grant(here.port)).await;
        let auth = format!("Authorization: Bearer {mark}\r\n");
        let answer = rig.ask(&format!("GET http://127.0.0.1:{}/allowed/x", here.port), &auth, b"").await;
        assert_eq!(answer.reason(), "wrong_host");
        assert!(beyond.asked().is_empty());
    });
}

#[test]
fn a_proxy_behind_the_proxy_that_refuses_or_speaks_otherwise_is_said_in_our_own_words() {
    behind(NAME, &[], async |rig, beyond, host| {
        let mark = rig.grant(tls(NAME)).await;
        let endless = format!("HTTP/1.1 200 OK\r\n{}", "X: y\r\n".repeat(4000));
        for (says, hint) in [
            ("HTTP/1.1 407 Who\r\nContent-Length: 6\r\n\r\nsecret", "password"),
            ("HTTP/1.1 403 No\r\n\r\n", "(403)"),
            ("SSH-2.0-x\r\n\r\n", "no answer"),
            (&endless, "no answer"),
        ] {
            *beyond.says.borrow_mut() = Some(says.to_owned());
            let answer = asks(&rig, NAME, &mark).await;
            assert_eq!((answer.status, answer.reason().as_str()), (502, "upstream_proxy"));
            assert!(
                answer.text().contains(hint) && !answer.text().contains("secret"),
                "{}",
                answer.text()
            );
        }
        assert!(host.requests().is_empty());
    });
}
