//! Clients that know no proxy: the reverse form takes the same way as all else, and opens to whoever has its bearer, and to no page.

use super::host::{Host, ok};
use super::websocket::{YES, host as websockets};
use super::*;

impl Rig {
    /// A request in the reverse form over a connection of its own: what is behind the bearer, and more headers.
    async fn reverse(&self, method: &str, bearer: &str, rest: &str, headers: &str, body: &str) -> Answer {
        let mut client = self.dial().await;
        let host = match headers.contains("Host:") {
            true => String::new(),
            false => format!("Host: 127.0.0.1:{}\r\n", self.port),
        };
        let request = format!("{method} /{bearer}{rest} HTTP/1.1\r\n{host}Connection: close\r\n{headers}\r\n{body}");
        client.write_all(request.as_bytes()).await.unwrap();
        Answer::read(&mut client).await
    }
}

#[test]
fn p7_a_client_that_knows_no_proxy_has_its_requests_judged_counted_and_masked_like_any_other() {
    with_rig(opening(Network::Open), async |rig| {
        let host = Host::new(|seen| ok(&format!("you said {}", seen.header("authorization").unwrap_or("nothing")))).await;
        let mark = rig.grant(grant(host.port)).await;
        let (to, auth) = (
            format!("/http/localhost:{}", host.port),
            format!("Authorization: Bearer {mark}\r\n"),
        );
        let referred = format!("{auth}Referer: http://127.0.0.1:{}/{BASE}{to}/\r\n", rig.port);
        let answer = rig.reverse("GET", BASE, &format!("{to}/allowed/x?y=1"), &referred, "").await;
        assert_eq!(
            (answer.status, answer.text()),
            (200, "you said Bearer <touchlease:prod/TOKEN>".into())
        );
        let body = format!("{auth}Content-Length: 4\r\n");
        assert_eq!(
            rig.reverse("POST", BASE, &format!("{to}/allowed/x"), &body, "body").await.status,
            200
        );
        for (path, reason) in [
            ("/other", "wrong_path"),
            ("", "wrong_path"),
            ("/allowed/../x", "path_form"),
            ("/allowed/%2e%2e/x", "path_form"),
            ("//allowed/x", "path_form"),
        ] {
            let answer = rig.reverse("GET", BASE, &format!("{to}{path}"), &auth, "").await;
            assert_eq!((answer.status, answer.reason().as_str()), (403, reason), "{path}");
        }
        rig.settle().await;
        let seen = host.requests();
        assert_eq!((seen.len(), rig.uses(), rig.echoes()), (2, 2, 2));
        assert_eq!(seen[0].target, "/allowed/x?y=1");
        assert_eq!(seen[0].header("host"), Some(format!("localhost:{}", host.port).as_str()));
        assert_eq!((seen[1].method.as_str(), seen[1].body.as_slice()), ("POST", &b"body"[..]));
        assert!(host.has_seen(VALUE) && !host.has_seen(BASE));
        rig.verdict.set(Verdict::UsedUp);
        let answer = rig.reverse("GET", BASE, &format!("{to}/allowed/x"), &auth, "").await;
        assert_eq!(answer.reason(), "used_up");
    });
}

#[test]
fn t41_without_the_bearer_of_its_own_the_reverse_form_tells_nobody_anything() {
    with_rig(opening(Network::Open), async |rig| {
        let host = Host::new(|_| ok("fine")).await;
        let mark = rig.grant(grant(host.port)).await;
        let rest = format!("/http/localhost:{}/allowed/x", host.port);
        let auth = format!("Authorization: Bearer {mark}\r\n");
        let upper = BASE.to_uppercase();
        for bearer in [
            "",
            "0",
            BEARER,
            "fedcba9876543210fedcba9876543211",
            &upper,
            &BASE[1..],
            &format!("{BASE}0"),
            &format!("x/{BASE}"),
            &format!("/{BASE}"),
            &format!("./{BASE}"),
            &format!("%66{}", &BASE[1..]),
        ] {
            let answer = rig.reverse("GET", bearer, &rest, &auth, "").await;
            assert_eq!((answer.status, answer.reason().as_str()), (407, "no_bearer"), "{bearer}");
        }
        // And it is no bearer of the proxy's.
        let mut client = rig.dial().await;
        let (target, pair) = (
            format!("http://localhost:{}/allowed/x", host.port),
            BASE64.encode(format!("x:{BASE}").as_bytes()),
        );
        let head = format!(
            "GET {target} HTTP/1.1\r\nHost: localhost:{}\r\nProxy-Authorization: Basic {pair}\r\n\r\n",
            host.port
        );
        client.write_all(head.as_bytes()).await.unwrap();
        assert_eq!(Answer::read(&mut client).await.status, 407);
        // Through the proxy, it is not reached either: this is one of the addresses that never are.
        let answer = rig.ask(&format!("GET http://127.0.0.1:{}/{BASE}{rest}", rig.port), "", b"").await;
        assert_eq!((answer.status, answer.reason().as_str()), (403, "address"));
        assert!(host.requests().is_empty());
    });
}

#[test]
fn t41_a_page_of_a_browser_gets_through_under_no_name_of_this_machine() {
    with_rig(opening(Network::Open), async |rig| {
        let host = Host::new(|_| ok("fine")).await;
        let mark = rig.grant(grant(host.port)).await;
        let (rest, auth) = (
            format!("/http/localhost:{}/allowed/x", host.port),
            format!("Authorization: Bearer {mark}\r\n"),
        );
        let own = format!("Host: 127.0.0.1:{}\r\n", rig.port);
        for (headers, status, reason) in [
            (format!("Host: rebound.example:{}\r\n", rig.port), 400, "hosts_disagree"),
            (format!("Host: localhost:{}\r\n", host.port), 400, "hosts_disagree"),
            (format!("{own}{own}"), 400, "hosts_disagree"),
            (format!("{own}Origin: https://page.example\r\n"), 403, "browser"),
            (format!("{own}Origin: null\r\n"), 403, "browser"),
            (format!("{own}Sec-Fetch-Site: cross-site\r\n"), 403, "browser"),
        ] {
            for method in ["GET", "OPTIONS"] {
                let answer = rig.reverse(method, BASE, &rest, &format!("{headers}{auth}"), "").await;
                assert_eq!((answer.status, answer.reason().as_str()), (status, reason), "{headers}");
                assert!(!answer.head.to_ascii_lowercase().contains("access-control"));
            }
        }
        assert!(host.requests().is_empty() && rig.uses() == 0);
        assert_eq!(
            rig.reverse("GET", BASE, &rest, &format!("Host: localhost:{}\r\n{auth}", rig.port), "")
                .await
                .status,
            200
        );
    });
}

#[test]
fn t38_what_stands_before_the_path_names_one_host_that_a_lease_names_or_the_request_is_refused() {
    with_rig(opening(Network::Open), async |rig| {
        let (host, other) = (Host::new(|_| ok("fine")).await, Host::new(|_| ok("other")).await);
        let mark = rig.grant(grant(host.port)).await;
        let auth = format!("Authorization: Bearer {mark}\r\n");
        let (port, not) = (host.port, other.port);
        for (rest, reason) in [
            (format!("/http/localhost:{not}/allowed/x"), "not_granted"),
            (format!("/https/localhost:{port}/allowed/x"), "wrong_host"),
            (format!("/http/localhost:{port}@localhost:{not}/allowed/x"), "bad_host"),
            (format!("/http/x@localhost:{port}/allowed/x"), "bad_host"),
            (format!("/http/localhost.:{port}/allowed/x"), "bad_host"),
            (format!("/http/localhost:{port}%2f/allowed/x"), "bad_host"),
            (format!("/http//localhost:{port}/allowed/x"), "bad_host"),
            (format!("//http/localhost:{port}/allowed/x"), "bad_target"),
            (format!("/HTTP/localhost:{port}/allowed/x"), "bad_target"),
            (format!("/http://localhost:{port}/allowed/x"), "bad_target"),
            (format!("/x/../http/localhost:{port}/allowed/x"), "bad_target"),
            ("/http/169.254.169.254/allowed/x".into(), "not_granted"),
            (
                format!("/http/127.0.0.1:{}/{BASE}/http/localhost:{port}/allowed/x", rig.port),
                "not_granted",
            ),
            ("/".into(), "bad_target"),
        ] {
            let answer = rig.reverse("GET", BASE, &rest, &auth, "").await;
            assert_eq!(answer.reason(), reason, "{rest}");
        }
        // The first of two requests ends where its length says, and the second is judged by itself, for its own host.
        let mut client = rig.dial().await;
        let head = |to: u16, more: &str| {
            format!(
                "POST /{BASE}/http/localhost:{to}/allowed/x HTTP/1.1\r\nHost: 127.0.0.1:{}\r\n{auth}{more}",
                rig.port
            )
        };
        let two = format!(
            "{}{}",
            head(port, "Content-Length: 2\r\n\r\nok"),
            head(not, "Connection: close\r\nContent-Length: 0\r\n\r\n")
        );
        client.write_all(two.as_bytes()).await.unwrap();
        let mut both = Vec::new();
        client.read_to_end(&mut both).await.unwrap();
        let both = String::from_utf8(both).unwrap();
        assert!(both.contains("fine") && both.contains("not_granted"), "{both}");
        let answer = rig
            .reverse(
                "POST",
                BASE,
                &format!("/http/localhost:{port}/allowed/x"),
                &format!("{auth}Content-Length: 2\r\nContent-Length: 3\r\n"),
                "ok",
            )
            .await;
        assert_eq!(answer.status, 400);
        assert_eq!((host.requests().len(), other.requests().len()), (1, 0));
    });
}

#[test]
fn t34_t35_redirects_and_cookies_come_back_to_the_same_host_in_the_reverse_form() {
    with_rig(opening(Network::Open), async |rig| {
        let host = Host::new(|seen| {
            let to = match seen.target.as_str() {
                "/allowed/own" => format!("http://{}/allowed/x", seen.header("host").unwrap()),
                "/allowed/other" => "https://other.example/allowed/x".into(),
                _ => "/allowed/x".into(),
            };
            format!("HTTP/1.1 302 Found\r\nLocation: {to}\r\nSet-Cookie: a=b; Path=/; Domain=localhost\r\nContent-Length: 0\r\n\r\n")
                .into_bytes()
        })
        .await;
        let mark = rig.grant(grant(host.port)).await;
        let base = format!("/{BASE}/http/localhost:{}", host.port);
        for (path, to) in [
            ("/allowed/path", format!("{base}/allowed/x")),
            ("/allowed/own", format!("{base}/allowed/x")),
            ("/allowed/other", "https://other.example/allowed/x".into()),
        ] {
            let rest = format!("/http/localhost:{}{path}", host.port);
            let answer = rig
                .reverse("GET", BASE, &rest, &format!("Authorization: Bearer {mark}\r\n"), "")
                .await;
            assert_eq!(answer.status, 302);
            assert!(answer.head.contains(&format!("location: {to}\r\n")), "{}", answer.head);
            assert!(
                answer.head.contains(&format!("set-cookie: a=b; Path={base}/\r\n")),
                "{}",
                answer.head
            );
        }
    });
}

#[test]
fn t16_the_end_of_a_lease_cuts_a_websocket_that_came_in_the_reverse_form() {
    with_rig(opening(Network::Open), async |rig| {
        let (port, _) = websockets(YES.into()).await;
        let mark = rig.grant(grant(port)).await;
        let mut client = rig.dial().await;
        let head = format!(
            "GET /{BASE}/http/localhost:{}/allowed/ws HTTP/1.1\r\nHost: 127.0.0.1:{}\r\nAuthorization: Bearer {mark}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
            port, rig.port
        );
        client.write_all(head.as_bytes()).await.unwrap();
        let mut heard = [0; 12];
        client.read_exact(&mut heard).await.unwrap();
        assert_eq!(&heard, b"HTTP/1.1 101");
        rig.revoke("L").await;
        let mut rest = Vec::new();
        let _ = timeout(Duration::from_secs(1), client.read_to_end(&mut rest))
            .await
            .expect("the end within a second");
    });
}
