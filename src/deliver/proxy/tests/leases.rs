//! Leases come and go behind a session (T16, T35), addresses are judged (T39).

use std::net::SocketAddr;

use super::host::{Host, ok};
use super::*;
use tokio::net::TcpListener;

fn auth(mark: &str) -> String {
    format!("Authorization: Bearer {mark}\r\n")
}

#[test]
fn p4_revoking_in_the_middle_of_a_stream_cuts_it_within_a_second() {
    with_rig(opening(Network::GrantedOnly), async |rig| {
        // A host that sends an event each 10 ms, for ever, and hears when its client is gone.
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (gone, host_hears) = tokio::sync::oneshot::channel();
        tokio::task::spawn_local(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            stream
                .write_all(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n")
                .await
                .unwrap();
            while stream.write_all(b"data: tick\n\n").await.is_ok() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            gone.send(()).unwrap();
        });
        let mark = rig.grant(grant(port)).await;
        let mut client = rig.dial().await;
        client
            .write_all(rig.head(&format!("GET http://localhost:{port}/allowed/x"), &auth(&mark)).as_bytes())
            .await
            .unwrap();
        let mut piece = [0; 4096];
        let mut heard = 0;
        while heard < 500 {
            heard += timeout(PATIENCE, client.read(&mut piece)).await.unwrap().unwrap();
        }
        let revoked = timeout(Duration::from_secs(1), async {
            rig.revoke("L").await;
            while !matches!(client.read(&mut piece).await, Ok(0) | Err(_)) {}
            host_hears.await.unwrap();
        });
        revoked.await.expect("client and host are cut within a second");
        let answer = rig.ask(&format!("GET http://localhost:{port}/allowed/x"), &auth(&mark), b"").await;
        assert_eq!((answer.status, answer.reason()), (403, "lease_ended".into()));
    });
}

#[test]
fn t16_revoking_cuts_a_connection_that_carried_the_lease_and_leaves_the_others() {
    with_rig(opening(Network::GrantedOnly), async |rig| {
        let host = Host::new(|_| ok("done")).await;
        let a = rig.grants("A", vec![grant(host.port)]).await.remove(0);
        let b = rig.grants("B", vec![grant(host.port)]).await.remove(0);
        let line = format!("GET http://localhost:{}/allowed/x", host.port);
        let (mut of_a, mut of_b, mut piece) = (rig.dial().await, rig.dial().await, [0; 4096]);
        for (client, mark) in [(&mut of_a, &a), (&mut of_b, &b)] {
            let head = rig.head(&line, &auth(mark)).replace("Connection: close\r\n", "");
            client.write_all(head.as_bytes()).await.unwrap();
            assert!(client.read(&mut piece).await.unwrap() > 0);
        }
        rig.revoke("A").await;
        assert!(matches!(of_a.read(&mut piece).await, Ok(0) | Err(_)));
        of_b.write_all(rig.head(&line, &auth(&b)).as_bytes()).await.unwrap();
        assert_eq!(Answer::read(&mut of_b).await.status, 200);
    });
}

#[test]
fn a_use_that_the_daemon_does_not_grant_goes_nowhere() {
    with_rig(opening(Network::GrantedOnly), async |rig| {
        let host = Host::new(|_| ok("done")).await;
        let mark = rig.grant(grant(host.port)).await;
        let line = format!("GET http://localhost:{}/allowed/x?secret=query", host.port);
        for (verdict, reason) in [
            (Verdict::UsedUp, "used_up"),
            (Verdict::Gone, "lease_ended"),
            (Verdict::Unrecorded, "not_recorded"),
        ] {
            rig.verdict.set(verdict);
            let answer = rig.ask(&line, &auth(&mark), b"").await;
            assert_eq!((answer.status, answer.reason()), (403, reason.into()));
            assert!(answer.text().contains("prod/TOKEN"));
        }
        assert!(host.requests().is_empty());
        rig.verdict.set(Verdict::Go);
        assert_eq!(rig.ask(&line, &auth(&mark), b"").await.status, 200);
        let told = rig.told.borrow();
        let Some(Report::Use { lease, used, .. }) = told.first() else {
            panic!("{told:?}")
        };
        let wanted = Use {
            index: 0,
            method: "GET".into(),
            host: format!("localhost:{}", host.port),
            path: "/allowed/x".into(),
        };
        assert_eq!((lease.as_str(), used), ("L", &wanted), "without the query");
    });
}

#[test]
fn t35_a_connection_that_carried_one_lease_is_used_for_no_other_lease_or_host() {
    with_rig(opening(Network::GrantedOnly), async |rig| {
        let (first, second) = (Host::new(|_| ok("done")).await, Host::new(|_| ok("done")).await);
        let a = rig.grants("A", vec![grant(first.port), grant(second.port)]).await;
        let b = rig.grants("B", vec![grant(first.port)]).await.remove(0);
        let mut client = rig.dial().await;
        let mut piece = [0; 4096];
        for (host, mark) in [
            (&first, &a[0]),
            (&first, &a[0]),
            (&first, &b),
            (&first, &a[0]),
            (&second, &a[1]),
            (&first, &String::new()),
        ] {
            let headers = if mark.is_empty() { String::new() } else { auth(mark) };
            let head = rig
                .head(&format!("GET http://localhost:{}/allowed/x", host.port), &headers)
                .replace("Connection: close\r\n", "");
            client.write_all(head.as_bytes()).await.unwrap();
            let count = client.read(&mut piece).await.unwrap();
            assert!(piece[..count].starts_with(b"HTTP/1.1 200"));
        }
        let connections: Vec<usize> = first.requests().iter().map(|seen| seen.connection).collect();
        assert_eq!(
            connections,
            [0, 0, 1, 2, 3],
            "kept for the same lease, new for another one and for none"
        );
        assert_eq!(second.requests().len(), 1);
    });
}

#[test]
fn t35_a_next_client_goes_on_with_a_connection_that_carried_the_same_leases_and_with_no_other() {
    with_rig(opening(Network::GrantedOnly), async |rig| {
        let (first, second) = (Host::new(|_| ok("done")).await, Host::new(|_| ok("done")).await);
        let a = rig
            .grants("A", vec![grant(first.port), grant(second.port), grant(first.port)])
            .await;
        let b = rig.grants("B", vec![grant(first.port)]).await.remove(0);
        for (host, mark) in [
            (&first, &a[0]),
            (&first, &a[0]),
            // The same lease's other credential for this host.
            (&first, &a[2]),
            (&first, &b),
            (&first, &a[0]),
            (&second, &a[1]),
            (&first, &String::new()),
            (&first, &b),
            (&first, &String::new()),
        ] {
            let headers = if mark.is_empty() { String::new() } else { auth(mark) };
            let answer = rig
                .ask(&format!("GET http://localhost:{}/allowed/x", host.port), &headers, b"")
                .await;
            assert_eq!(answer.status, 200);
            rig.settle().await;
        }
        let connections: Vec<usize> = first.requests().iter().map(|seen| seen.connection).collect();
        assert_eq!(
            connections,
            [0, 0, 0, 1, 0, 2, 1, 3],
            "those without a credential are of one client"
        );
        assert_eq!(second.requests().len(), 1);
    });
}

#[test]
fn t35_a_connection_that_waits_for_a_next_client_ends_with_its_lease_and_soon_by_itself() {
    with_rig(opening(Network::GrantedOnly), async |rig| {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let marks = [rig.grants("A", vec![grant(port)]).await, rig.grants("B", vec![grant(port)]).await].concat();
        for (mark, revoked, within) in [
            (&marks[0], true, Duration::from_secs(1)),
            (&marks[1], false, Duration::from_secs(5)),
        ] {
            let (line, headers) = (format!("GET http://localhost:{port}/allowed/x"), auth(mark));
            let (answer, mut host) = tokio::join!(rig.ask(&line, &headers, b""), async {
                let (mut host, _) = listener.accept().await.unwrap();
                let mut head = [0; 4096];
                assert!(host.read(&mut head).await.unwrap() > 0);
                host.write_all(&ok("done")).await.unwrap();
                host
            });
            assert_eq!(answer.status, 200);
            rig.settle().await;
            assert!(timeout(Duration::from_millis(100), host.read(&mut [0])).await.is_err(), "it waits");
            if revoked {
                rig.revoke("A").await;
            }
            assert_eq!(timeout(within, host.read(&mut [0])).await.expect("it ends").unwrap_or(0), 0);
        }
    });
}

#[test]
fn t39_what_is_connected_to_is_what_was_checked() {
    let answers = Rc::new(Cell::new(0));
    let looked_up = answers.clone();
    // A name that stands for a public address when it is checked and for this machine ever after.
    let resolve: Resolve = Box::new(move |_, port, _| {
        looked_up.set(looked_up.get() + 1);
        let address = if looked_up.get() == 1 { [192, 0, 2, 1] } else { [127, 0, 0, 1] };
        Box::pin(async move { Ok(vec![SocketAddr::from((address, port))]) })
    });
    with_resolver(opening(Network::Open), resolve, async |rig| {
        let host = Host::new(|_| ok("done")).await;
        let target = |name: &str| Target {
            scheme: Scheme::Http,
            host: name.into(),
            port: host.port,
        };
        let spec = GrantSpec {
            targets: vec![target("rebinding.example"), target("localhost")],
            ..grant(host.port)
        };
        let mark = rig.grant(spec).await;
        answers.set(1);
        for name in ["rebinding.example", "other.example"] {
            let answer = rig.ask(&format!("GET http://{name}:{}/allowed/x", host.port), "", b"").await;
            assert_eq!((answer.status, answer.reason()), (403, "address".into()), "{name}");
        }
        let answer = rig
            .ask(&format!("GET http://rebinding.example:{}/allowed/x", host.port), &auth(&mark), b"")
            .await;
        assert_eq!(answer.reason(), "address");
        assert_eq!(answers.get(), 4, "each name was looked up once");
        let tunnel = rig.ask_connect(&format!("other.example:{}", host.port)).await;
        assert_eq!(tunnel.reason(), "address");
        assert!(host.bytes.borrow().is_empty());
        let answer = rig
            .ask(&format!("GET http://localhost:{}/allowed/x", host.port), &auth(&mark), b"")
            .await;
        assert_eq!(answer.status, 200, "a rule that names this machine means it");
    });
}

/// An address of this machine in some network, where it is in one.
fn own_address() -> Option<std::net::IpAddr> {
    let socket = std::net::UdpSocket::bind("0.0.0.0:0").unwrap();
    // Nothing is sent (TEST-NET-2).
    socket.connect("198.51.100.1:9").ok()?;
    Some(socket.local_addr().unwrap().ip()).filter(|address| !address.is_loopback())
}

#[test]
fn t39_this_machine_is_reached_at_its_address_in_a_network_only_where_a_rule_names_that_address() {
    let Some(own) = own_address() else {
        println!("T39: 0 of 1 own addresses: this machine is in no network");
        return;
    };
    let resolve: Resolve = Box::new(move |_, port, _| Box::pin(async move { Ok(vec![SocketAddr::new(own, port)]) }));
    with_resolver(opening(Network::Open), resolve, async |rig| {
        // Whoever listens on all addresses.
        let listener = TcpListener::bind("0.0.0.0:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let reached = Rc::new(Cell::new(0));
        let count = reached.clone();
        tokio::task::spawn_local(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                count.set(count.get() + 1);
                stream.write_all(&ok("done")).await.unwrap();
            }
        });
        let spec = |host: &str| GrantSpec {
            targets: vec![Target {
                scheme: Scheme::Http,
                host: host.into(),
                port,
            }],
            allow_private: true,
            ..grant(port)
        };
        let rebound = rig.grants("A", vec![spec("rebound.example")]).await.remove(0);
        for answer in [
            rig.ask_connect(&format!("{own}:{port}")).await,
            rig.ask_connect(&format!("elsewhere.example:{port}")).await,
            rig.ask(&format!("GET http://{own}:{port}/"), "", b"").await,
            rig.ask(&format!("GET http://rebound.example:{port}/allowed/x"), &auth(&rebound), b"")
                .await,
        ] {
            assert_eq!((answer.status, answer.reason()), (403, "address".into()));
        }
        assert_eq!(reached.get(), 0);
        let meant = rig.grants("B", vec![spec(&own.to_string())]).await.remove(0);
        let answer = rig.ask(&format!("GET http://{own}:{port}/allowed/x"), &auth(&meant), b"").await;
        assert_eq!((answer.status, reached.get()), (200, 1));
        println!("T39: 1 of 1 own addresses");
    });
}

#[test]
fn t39_nobody_gets_at_this_machine_or_the_proxy_itself_through_the_proxy() {
    with_rig(opening(Network::Open), async |rig| {
        let host = Host::new(|_| ok("done")).await;
        let port = host.port;
        for name in [
            "localhost",
            "127.0.0.1",
            "[::1]",
            "169.254.169.254",
            "0.0.0.0",
            "[::ffff:127.0.0.1]",
        ] {
            let answer = rig.ask_connect(&format!("{name}:{port}")).await;
            assert!(matches!(answer.status, 400 | 403), "{name} {answer:?}");
            let answer = rig.ask(&format!("GET http://{name}:{port}/"), "", b"").await;
            assert!(matches!(answer.status, 400 | 403), "{name} {answer:?}");
        }
        rig.grant(grant(rig.port)).await;
        let answer = rig.ask(&format!("GET http://localhost:{}/allowed/x", rig.port), "", b"").await;
        assert_eq!(answer.reason(), "address", "also where a rule names its port");
        assert!(host.bytes.borrow().is_empty());
    });
}

#[test]
fn t37_a_connect_that_names_two_hosts_is_refused() {
    with_rig(opening(Network::Open), async |rig| {
        for host in ["other.example:443", "a.example.:443", "a.example@other.example"] {
            let mut client = rig.dial().await;
            let head = format!(
                "CONNECT a.example:443 HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nProxy-Authorization: Basic {}\r\n\r\n",
                rig.auth()
            );
            client.write_all(head.as_bytes()).await.unwrap();
            let answer = Answer::read(&mut client).await;
            assert_eq!((answer.status, answer.reason()), (400, "hosts_disagree".into()), "{host}");
        }
    });
}

#[test]
fn hosts_that_no_lease_names_are_closed_where_the_network_is() {
    with_rig(opening(Network::GrantedOnly), async |rig| {
        for answer in [
            rig.ask_connect("example.com:443").await,
            rig.ask("GET http://example.com/", "", b"").await,
        ] {
            assert_eq!((answer.status, answer.reason()), (403, "not_granted".into()));
            let body: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
            assert_eq!((&body["v"], &body["outcome"]), (&1.into(), &"refused".into()));
            assert!(body["hint"].as_str().unwrap().len() > 20);
        }
    });
}

impl Rig {
    pub async fn ask_connect(&self, target: &str) -> Answer {
        let mut client = self.dial().await;
        let head = format!(
            "CONNECT {target} HTTP/1.1\r\nHost: {target}\r\nConnection: close\r\nProxy-Authorization: Basic {}\r\n\r\n",
            self.auth()
        );
        client.write_all(head.as_bytes()).await.unwrap();
        Answer::read(&mut client).await
    }
}
