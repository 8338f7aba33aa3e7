//! Where a placeholder may stand in a request, and where not (T40), and what else a request with one must be (T34, T36, T37, T41).

use super::host::{Host, Seen, ok};
use super::*;

async fn echo_free() -> Host {
    Host::new(|_| ok("done")).await
}

fn placed(port: u16, place: Place) -> GrantSpec {
    GrantSpec { place, ..grant(port) }
}

fn basic(text: &str) -> String {
    format!("Authorization: Basic {}\r\n", BASE64.encode(text.as_bytes()))
}

/// What one request with this query and these headers is at the host, or the reason that it is not there.
async fn sent(rig: &Rig, host: &Host, target: &str, headers: &str) -> Result<Seen, String> {
    let before = host.requests().len();
    let answer = rig.ask(&format!("GET http://localhost:{}{target}", host.port), headers, b"").await;
    let mut seen = host.requests();
    match answer.status {
        200 => {
            assert_eq!(seen.len(), before + 1);
            Ok(seen.remove(before))
        }
        _ => {
            assert_eq!(seen.len(), before, "{target} {headers}");
            Err(answer.reason())
        }
    }
}

#[test]
fn a_value_goes_into_a_header_after_the_rules_own_prefix() {
    with_rig(opening(Network::GrantedOnly), async |rig| {
        let host = echo_free().await;
        let bearer = rig.grant(grant(host.port)).await;
        for prefix in ["Bearer ", "bearer ", ""] {
            let seen = sent(&rig, &host, "/allowed/x", &format!("Authorization: {prefix}{bearer}\r\n"))
                .await
                .unwrap();
            assert_eq!(seen.header("authorization"), Some(&*format!("Bearer {VALUE}")));
        }
        let name = "x-api-key".to_owned();
        let key = rig
            .grants(
                "K",
                vec![placed(
                    host.port,
                    Place::Header {
                        name,
                        prefix: String::new(),
                    },
                )],
            )
            .await
            .remove(0);
        let seen = sent(&rig, &host, "/allowed/x", &format!("X-Api-Key: {key}\r\n")).await.unwrap();
        assert_eq!((seen.header("x-api-key"), seen.header("authorization")), (Some(VALUE), None));
        assert_eq!(rig.uses(), 4);
    });
}

#[test]
fn p7_a_target_without_a_path_goes_out_as_the_root_that_it_was_judged_as() {
    with_rig(opening(Network::GrantedOnly), async |rig| {
        let host = echo_free().await;
        let bearer = rig
            .grant(GrantSpec {
                paths: vec![],
                ..grant(host.port)
            })
            .await;
        let auth = format!("Authorization: Bearer {bearer}\r\n");
        for (asked, goes_as) in [
            ("", "/"),
            ("#x", "/"),
            ("/#x", "/"),
            ("?q", "/?q"),
            ("?q#x", "/?q"),
            ("/a#x", "/a"),
            ("/a?q#x", "/a?q"),
        ] {
            let seen = sent(&rig, &host, asked, &auth).await.unwrap();
            assert_eq!(
                (&*seen.target, seen.header("authorization")),
                (goes_as, Some(&*format!("Bearer {VALUE}"))),
                "{asked}"
            );
        }
    });
}

#[test]
fn t30_a_user_or_password_with_a_line_end_or_another_control_character_gets_no_credential() {
    with_rig(opening(Network::GrantedOnly), async |rig| {
        let host = echo_free().await;
        let bearer = rig.grant(grant(host.port)).await;
        for odd in ["\n", "\r", "\r\n", "\0", "\x1b", "\x7f", "\u{85}", "\nhost=evil.example\n"] {
            for text in [
                format!("git{odd}:{bearer}"),
                format!("{odd}:{bearer}"),
                format!("{bearer}:x{odd}"),
                format!("git:{bearer}{odd}"),
            ] {
                let said = sent(&rig, &host, "/allowed/x", &basic(&text)).await;
                assert_eq!(said, Err("placeholder_in_header".into()), "{text:?}");
            }
        }
        assert_eq!(rig.uses(), 0);
    });
}

#[test]
fn a_value_goes_into_the_base64_in_which_a_client_put_its_placeholder() {
    with_rig(opening(Network::GrantedOnly), async |rig| {
        let host = echo_free().await;
        let bearer = rig.grant(grant(host.port)).await;
        for (before, after) in [("git:", ""), ("", ":"), ("", ":x-oauth-basic"), (":", "")] {
            let seen = sent(&rig, &host, "/allowed/x", &basic(&format!("{before}{bearer}{after}")))
                .await
                .unwrap();
            let expected = format!("Basic {}", BASE64.encode(format!("{before}{VALUE}{after}").as_bytes()));
            assert_eq!(seen.header("authorization"), Some(&*expected));
        }
        let user = Some("deploy".to_owned());
        let password = rig.grants("P", vec![placed(host.port, Place::Basic { user })]).await.remove(0);
        sent(&rig, &host, "/allowed/x", &basic(&format!("deploy:{password}")))
            .await
            .unwrap();
        for text in [
            format!("other:{password}"),
            format!("{password}:deploy"),
            format!("deploy:x{password}"),
            format!("deploy:{password}x"),
        ] {
            assert_eq!(
                sent(&rig, &host, "/allowed/x", &basic(&text)).await,
                Err("placeholder_in_header".into()),
                "{text}"
            );
        }
        let bearer = format!("Authorization: Bearer {password}\r\n");
        assert_eq!(sent(&rig, &host, "/allowed/x", &bearer).await, Err("placeholder_in_header".into()));
    });
}

#[test]
fn a_value_goes_into_query_and_cookie_where_the_rule_says_so() {
    with_rig(opening(Network::GrantedOnly), async |rig| {
        let host = echo_free().await;
        let query = placed(host.port, Place::Query { name: "key".into() });
        let cookie = placed(host.port, Place::Cookie { name: "session".into() });
        let mut made = rig.grants("Q", vec![query, cookie]).await;
        let (cookie, query) = (made.pop().unwrap(), made.pop().unwrap());
        let seen = sent(&rig, &host, &format!("/allowed/x?a=1&key={query}&b=%20"), "").await.unwrap();
        assert_eq!(seen.target, format!("/allowed/x?a=1&key={VALUE}&b=%20"));
        let seen = sent(&rig, &host, "/allowed/x", &format!("Cookie: a=b; session={cookie}; c=d\r\n"))
            .await
            .unwrap();
        assert_eq!(seen.header("cookie"), Some(&*format!("a=b; session={VALUE}; c=d")));
        for target in [
            format!("/allowed/x?other={query}"),
            format!("/allowed/x?key=x{query}"),
            format!("/allowed/x?{query}"),
            format!("/allowed/x?key={cookie}"),
        ] {
            assert_eq!(sent(&rig, &host, &target, "").await, Err("placeholder_in_query".into()), "{target}");
        }
        let other = format!("Cookie: other={cookie}\r\n");
        assert_eq!(sent(&rig, &host, "/allowed/x", &other).await, Err("placeholder_in_cookie".into()));
    });
}

#[test]
fn t40_a_placeholder_anywhere_else_is_refused_and_recorded() {
    with_rig(opening(Network::GrantedOnly), async |rig| {
        let host = echo_free().await;
        let mark = rig.grant(grant(host.port)).await;
        let hex: String = mark.bytes().map(|byte| format!("%{byte:02x}")).collect();
        let twice = hex.replace('%', "%25");
        let cases = [
            (format!("/allowed/{mark}"), String::new(), "placeholder_in_path"),
            (format!("/allowed/{hex}"), String::new(), "placeholder_in_path"),
            (format!("/allowed/x?token={mark}"), String::new(), "placeholder_in_query"),
            (format!("/allowed/x?token={hex}"), String::new(), "placeholder_in_query"),
            (format!("/allowed/x?{twice}"), String::new(), "placeholder_in_query"),
            ("/allowed/x".into(), format!("X-Other: {mark}\r\n"), "placeholder_in_header"),
            ("/allowed/x".into(), format!("User-Agent: a {mark} b\r\n"), "placeholder_in_header"),
            (
                "/allowed/x".into(),
                format!("Authorization: Basic {mark}\r\n"),
                "placeholder_in_header",
            ),
            (
                "/allowed/x".into(),
                format!("Authorization: Basic bWU6bWluZQ== {mark}\r\n"),
                "placeholder_in_header",
            ),
            (
                "/allowed/x".into(),
                format!("Authorization: Token {mark}\r\n"),
                "placeholder_in_header",
            ),
            (
                "/allowed/x".into(),
                format!("Authorization: Bearer {mark}x\r\n"),
                "placeholder_in_header",
            ),
            (
                "/allowed/x".into(),
                format!("Authorization: Bearer x {mark}\r\n"),
                "placeholder_in_header",
            ),
            ("/allowed/x".into(), format!("Cookie: a={mark}\r\n"), "placeholder_in_cookie"),
            (
                "/allowed/x".into(),
                "Authorization: Bearer TOUCHLEASEAAAAAAAAAAAAAAAAAAAAA\r\n".into(),
                "unknown_placeholder",
            ),
            ("/other".into(), format!("Authorization: Bearer {mark}\r\n"), "wrong_path"),
            ("/allowed/../other".into(), format!("Authorization: Bearer {mark}\r\n"), "path_form"),
            (
                "/allowed/%2e%2e/other".into(),
                format!("Authorization: Bearer {mark}\r\n"),
                "path_form",
            ),
        ];
        let count = cases.len();
        for (target, headers, reason) in cases {
            assert_eq!(
                sent(&rig, &host, &target, &headers).await,
                Err(reason.to_owned()),
                "{target} {headers}"
            );
        }
        rig.settle().await;
        assert_eq!((rig.refusals().len(), rig.uses()), (count, 0));
        assert!(!host.has_seen("TOUCHLEASE") && !host.has_seen(VALUE));
    });
}

#[test]
fn t40_a_placeholder_in_a_body_never_reaches_the_host_however_it_is_cut() {
    with_rig(opening(Network::GrantedOnly), async |rig| {
        let host = echo_free().await;
        let mark = rig.grant(grant(host.port)).await;
        let body = format!("{}{mark}{}", "a".repeat(40), "b".repeat(40));
        let mut refused = 0;
        for cut in 0..body.len() {
            let (first, second) = body.split_at(cut);
            let mut chunks = String::new();
            for part in [first, second].iter().filter(|part| !part.is_empty()) {
                chunks += &format!("{:x}\r\n{part}\r\n", part.len());
            }
            let headers = format!("Authorization: Bearer {mark}\r\nTransfer-Encoding: chunked\r\n");
            let line = format!("POST http://localhost:{}/allowed/x", host.port);
            let answer = rig.ask(&line, &headers, format!("{chunks}0\r\n\r\n").as_bytes()).await;
            assert_eq!((answer.status, answer.reason()), (403, "placeholder_in_body".into()), "{cut}");
            refused += 1;
        }
        let headers = format!("Authorization: Bearer {mark}\r\nContent-Length: {}\r\n", body.len());
        let answer = rig
            .ask(&format!("POST http://localhost:{}/allowed/x", host.port), &headers, body.as_bytes())
            .await;
        assert_eq!(answer.reason(), "placeholder_in_body");
        assert!(!host.has_seen(&mark) && host.requests().is_empty());
        println!("T40: {refused} of {} cuts of a body", body.len());
    });
}

#[test]
fn t36_a_credential_goes_with_none_of_the_clients_own() {
    with_rig(opening(Network::GrantedOnly), async |rig| {
        let host = echo_free().await;
        let bearer = rig.grant(grant(host.port)).await;
        let name = "x-api-key".to_owned();
        let key = rig
            .grants(
                "K",
                vec![placed(
                    host.port,
                    Place::Header {
                        name,
                        prefix: String::new(),
                    },
                )],
            )
            .await
            .remove(0);
        for (headers, reason) in [
            (format!("Authorization: Bearer mine\r\nX-Api-Key: {key}\r\n"), "own_authorization"),
            (
                format!("Authorization: Bearer mine\r\nAuthorization: Bearer {bearer}\r\n"),
                "own_authorization",
            ),
            (
                format!("Authorization: Bearer {bearer}\r\nAuthorization: Bearer mine\r\n"),
                "own_authorization",
            ),
            (
                format!("Authorization: Bearer {bearer}\r\nAuthorization: Bearer {bearer}\r\n"),
                "placeholder_twice",
            ),
            (format!("X-Api-Key: mine\r\nX-Api-Key: {key}\r\n"), "placeholder_twice"),
            (format!("X-Api-Key: {key}\r\nX-HTTP-Method-Override: DELETE\r\n"), "override"),
            (format!("X-Api-Key: {key}\r\nX-Original-URL: /admin\r\n"), "override"),
            (format!("X-Api-Key: {key}\r\nX-Rewrite-URL: /admin\r\n"), "override"),
        ] {
            assert_eq!(sent(&rig, &host, "/allowed/x", &headers).await, Err(reason.to_owned()), "{headers}");
        }
        let both = format!("X-Api-Key: {key}\r\nAuthorization: Bearer {bearer}\r\n");
        assert!(
            sent(&rig, &host, "/allowed/x", &both).await.is_ok(),
            "two credentials of two grants are both wanted"
        );
        assert!(
            sent(&rig, &host, "/allowed/x", "Authorization: Bearer mine\r\n").await.is_ok(),
            "without a placeholder it is the client's affair"
        );
    });
}

#[test]
fn t41_without_the_sessions_bearer_nobody_learns_anything() {
    with_rig(opening(Network::Open), async |rig| {
        let host = echo_free().await;
        rig.grant(grant(host.port)).await;
        let target = format!("localhost:{}", host.port);
        let wrong = BASE64.encode(b"x:0123456789abcdef0123456789abcdee");
        let (other, short) = (BASE64.encode(format!("y:{BEARER}").as_bytes()), BASE64.encode(b"x:0123"));
        let auths = [
            String::new(),
            format!("Proxy-Authorization: Basic {wrong}\r\n"),
            format!("Proxy-Authorization: Basic {other}\r\n"),
            format!("Proxy-Authorization: Basic {short}\r\n"),
            format!("Proxy-Authorization: Bearer {BEARER}\r\n"),
            format!("Proxy-Authorization: Basic {0}\r\nProxy-Authorization: Basic {0}\r\n", rig.auth()),
            format!("Authorization: Basic {}\r\n", rig.auth()),
            "Origin: http://localhost\r\n".into(),
        ];
        for auth in &auths {
            for line in [
                format!("GET http://{target}/allowed/x"),
                format!("CONNECT {target}"),
                "GET /".into(),
                "OPTIONS *".into(),
                "POST /allowed/x".into(),
            ] {
                let mut client = rig.dial().await;
                let request = format!("{line} HTTP/1.1\r\nHost: {target}\r\nConnection: close\r\n{auth}\r\n");
                client.write_all(request.as_bytes()).await.unwrap();
                let answer = Answer::read(&mut client).await;
                assert_eq!((answer.status, answer.reason()), (407, "no_bearer".into()), "{line} {auth}");
                assert!(!answer.head.to_lowercase().contains("access-control"));
            }
        }
        // With it, what is not in a proxy's form is no request.
        let mut client = rig.dial().await;
        let request = format!(
            "GET / HTTP/1.1\r\nHost: {target}\r\nConnection: close\r\nProxy-Authorization: Basic {}\r\n\r\n",
            rig.auth()
        );
        client.write_all(request.as_bytes()).await.unwrap();
        assert_eq!(Answer::read(&mut client).await.status, 400);
        assert!(host.requests().is_empty());
    });
}

#[test]
fn t34_a_redirect_is_the_clients_and_what_follows_is_judged_anew() {
    with_rig(opening(Network::GrantedOnly), async |rig| {
        let other = echo_free().await;
        let to = other.port;
        let host = Host::new(move |seen| {
            let status = seen.target.rsplit('/').next().unwrap();
            format!("HTTP/1.1 {status} Elsewhere\r\nLocation: http://localhost:{to}/allowed/x\r\nContent-Length: 0\r\n\r\n").into_bytes()
        })
        .await;
        let mark = rig.grant(grant(host.port)).await;
        let auth = format!("Authorization: Bearer {mark}\r\n");
        for status in ["301", "302", "303", "307", "308"] {
            let answer = rig
                .ask(&format!("GET http://localhost:{}/allowed/{status}", host.port), &auth, b"")
                .await;
            assert_eq!(answer.status.to_string(), status);
            assert!(answer.head.to_lowercase().contains(&format!("location: http://localhost:{to}/")));
            // As a client does that carries its header on.
            let followed = rig.ask(&format!("GET http://localhost:{to}/allowed/x"), &auth, b"").await;
            assert_eq!((followed.status, followed.reason()), (403, "wrong_host".into()));
        }
        assert!(other.requests().is_empty());
    });
}

#[test]
fn t40_override_and_trace_never_go_with_a_credential() {
    with_rig(opening(Network::GrantedOnly), async |rig| {
        let host = echo_free().await;
        let mark = rig
            .grant(GrantSpec {
                methods: vec![],
                paths: vec![],
                ..grant(host.port)
            })
            .await;
        let answer = rig
            .ask(
                &format!("TRACE http://localhost:{}/x", host.port),
                &format!("Authorization: Bearer {mark}\r\n"),
                b"",
            )
            .await;
        assert_eq!(answer.reason(), "wrong_method");
    });
}

#[test]
fn a_grant_that_cannot_be_kept_is_not_taken_and_says_which() {
    with_rig(opening(Network::GrantedOnly), async |rig| {
        let refused = async |grants: Vec<GrantSpec>, tail: &[u8]| match rig.order(Order::Grant { lease: "L".into(), grants }, tail).await {
            Report::NotGranted { index, .. } => index,
            other => panic!("{other:?}"),
        };
        let good = grant(80);
        let header = |name: &str| {
            placed(
                80,
                Place::Header {
                    name: name.into(),
                    prefix: String::new(),
                },
            )
        };
        assert_eq!(refused(vec![good.clone(), header("host")], VALUE.repeat(2).as_bytes()).await, 1);
        for name in [
            "",
            "Host",
            "transfer-encoding",
            "content-length",
            "connection",
            "a b",
            "cookie",
            "proxy-authorization",
        ] {
            assert_eq!(refused(vec![header(name)], VALUE.as_bytes()).await, 0, "{name}");
        }
        assert_eq!(refused(vec![good.clone()], b"short").await, 0);
        assert_eq!(refused(vec![good.clone()], VALUE.repeat(2).as_bytes()).await, 1);
        for value in ["123456\nb", "123456\0b", " 123456", "123456 ", "123456gr\u{fc}n", "", "12345"] {
            let spec = GrantSpec {
                value_len: value.len(),
                ..good.clone()
            };
            assert_eq!(refused(vec![spec], value.as_bytes()).await, 0, "{value:?}");
        }
        let cookie = GrantSpec {
            value_len: 8,
            ..placed(80, Place::Cookie { name: "c".into() })
        };
        assert_eq!(refused(vec![cookie], b"abc;defg").await, 0);
        let no_path = GrantSpec {
            paths: vec!["x".into()],
            ..good.clone()
        };
        assert_eq!(refused(vec![no_path], VALUE.as_bytes()).await, 0);
        rig.grant(good.clone()).await;
        assert_eq!(refused(vec![good], VALUE.as_bytes()).await, 0, "a lease comes once");
    });
}

#[test]
fn t38_nothing_that_makes_another_request_of_it_goes_with_a_credential() {
    with_rig(opening(Network::GrantedOnly), async |rig| {
        let host = echo_free().await;
        let narrow = GrantSpec {
            methods: vec!["GET".into(), "POST".into()],
            ..grant(host.port)
        };
        let mark = rig.grant(narrow).await;
        let auth = format!("Authorization: Bearer {mark}\r\n");
        for name in [
            "Forwarded",
            "X-Forwarded-Host",
            "X-Forwarded-Server",
            "X-Forwarded-Path",
            "X-Forwarded-Uri",
            "X-Forwarded-Prefix",
            "X-Forwarded-Method",
            "X-Host",
            "X-Original-Host",
            "X-Original-Path",
            "X-Original-Url",
            "X-Original_Method",
            "X_Original_Uri",
            "X_Rewrite_Url",
            "X-Rewrite_Url",
            "X_Forwarded_Host",
            "X-Envoy-Original-Path",
            "X-HTTP-Method-Override",
        ] {
            let headers = format!("{auth}{name}: DELETE\r\n");
            assert_eq!(sent(&rig, &host, "/allowed/x", &headers).await, Err("override".into()), "{name}");
        }
        for query in [
            "_method=DELETE",
            "a=1&_method=PUT",
            "%5Fmethod=PUT",
            "_%6dethod=PUT",
            "%255fmethod=PUT",
            "_METHOD=PUT",
            "a;_method=PUT",
        ] {
            let target = format!("/allowed/x?{query}");
            assert_eq!(sent(&rig, &host, &target, &auth).await, Err("override".into()), "{query}");
        }
        assert!(sent(&rig, &host, "/allowed/x?method=PUT&a_method=1", &auth).await.is_ok());
        let all = rig.grants("A", vec![grant(host.port)]).await.remove(0);
        let any = format!("Authorization: Bearer {all}\r\n");
        assert!(
            sent(&rig, &host, "/allowed/x?_method=PUT", &any).await.is_ok(),
            "whose rules name no methods"
        );
        let own = "X-Forwarded-Host: a.example\r\n";
        assert!(
            sent(&rig, &host, "/allowed/x", own).await.is_ok(),
            "without a placeholder it is the client's affair"
        );
        // Trailers.
        let headers = format!("{auth}Transfer-Encoding: chunked\r\nTrailer: X-HTTP-Method-Override, X-Sum\r\n");
        let body = b"1\r\na\r\n0\r\nX-HTTP-Method-Override: DELETE\r\nX-Sum: 7\r\n\r\n";
        let line = format!("POST http://localhost:{}/allowed/x", host.port);
        assert_eq!(rig.ask(&line, &headers, body).await.status, 200);
        assert!(host.has_seen("7\r\n\r\n") && !host.has_seen("DELETE"));
    });
}

#[test]
fn t40_a_placeholder_in_a_body_is_recorded_without_a_credential_and_after_the_answer_too() {
    with_rig(opening(Network::GrantedOnly), async |rig| {
        let host = echo_free().await;
        let mark = rig.grant(grant(host.port)).await;
        let line = format!("POST http://localhost:{}/allowed/x", host.port);
        let answer = rig
            .ask(&line, &format!("Content-Length: {}\r\n", mark.len()), mark.as_bytes())
            .await;
        assert_eq!((answer.status, answer.reason()), (403, "placeholder_in_body".into()));
        rig.settle().await;
        assert_eq!(rig.refusals(), ["placeholder_in_body"]);
        // A host that answers as soon as it has the head, and goes on.
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (told, hears) = tokio::sync::oneshot::channel();
        tokio::task::spawn_local(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let (mut piece, mut heard) = ([0; 4096], Vec::new());
            let count = stream.read(&mut piece).await.unwrap();
            heard.extend_from_slice(&piece[..count]);
            stream
                .write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n")
                .await
                .unwrap();
            while let Ok(count @ 1..) = stream.read(&mut piece).await {
                heard.extend_from_slice(&piece[..count]);
            }
            told.send(heard).unwrap();
        });
        let mark = rig.grants("E", vec![grant(port)]).await.remove(0);
        let mut client = rig.dial().await;
        let headers = format!("Authorization: Bearer {mark}\r\nContent-Length: {}\r\n", mark.len() + 100);
        let head = rig.head(&format!("POST http://localhost:{port}/allowed/x"), &headers);
        client.write_all(head.as_bytes()).await.unwrap();
        let (mut piece, mut heard) = ([0; 4096], Vec::new());
        while !heard.ends_with(b"ok\r\n") {
            let count = timeout(PATIENCE, client.read(&mut piece)).await.unwrap().unwrap();
            heard.extend_from_slice(&piece[..count]);
        }
        client.write_all(mark.as_bytes()).await.unwrap();
        while let Ok(Ok(1..)) = timeout(PATIENCE, client.read(&mut piece)).await {}
        let at_host = timeout(PATIENCE, hears).await.unwrap().unwrap();
        assert!(!at_host.windows(mark.len()).any(|window| window == mark.as_bytes()));
        rig.settle().await;
        let told = rig.told.borrow();
        let Some(Report::Refused { grant, reason, .. }) = told.last() else {
            panic!("{told:?}")
        };
        assert_eq!((grant, reason.as_str()), (&Some(("E".into(), 0)), "placeholder_in_body"));
    });
}

#[test]
fn one_request_with_two_credentials_of_a_lease_is_one_use_of_it() {
    with_rig(opening(Network::GrantedOnly), async |rig| {
        let host = echo_free().await;
        let cookie = placed(host.port, Place::Cookie { name: "session".into() });
        let made = rig.grants("L", vec![grant(host.port), cookie]).await;
        let headers = format!("Authorization: Bearer {}\r\nCookie: session={}\r\n", made[0], made[1]);
        let seen = sent(&rig, &host, "/allowed/x", &headers).await.unwrap();
        assert_eq!(seen.header("cookie"), Some(&*format!("session={VALUE}")));
        assert_eq!(rig.uses(), 1);
    });
}
