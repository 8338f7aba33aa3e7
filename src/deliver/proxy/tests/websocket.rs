//! WebSockets: the handshake carries the credential, bytes follow both ways, and what must not go on is cut.

use tokio::net::TcpListener;

use super::*;

const HANDSHAKE: &str = "Connection: keep-alive, Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
     Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Extensions: permessage-deflate\r\n";
pub const YES: &str = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

/// A host that says this to a handshake, and then sends back each piece that it gets: its port, and the heads that it got.
pub async fn host(yes: String) -> (u16, Rc<RefCell<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let heads = Rc::<RefCell<Vec<String>>>::default();
    let seen = heads.clone();
    tokio::task::spawn_local(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let (seen, yes) = (seen.clone(), yes.clone());
            tokio::task::spawn_local(async move {
                let head = head(&mut stream).await;
                seen.borrow_mut().push(head);
                stream.write_all(yes.as_bytes()).await.unwrap();
                let mut piece = [0; 4096];
                while let Ok(count @ 1..) = stream.read(&mut piece).await {
                    let word = piece[..count].to_ascii_uppercase();
                    let said = if word == b"SHOW" { VALUE.as_bytes() } else { &word };
                    let _ = stream.write_all(said).await;
                }
            });
        }
    });
    (port, heads)
}

/// A head, with a byte read at a time: what follows is not of it.
async fn head(stream: &mut TcpStream) -> String {
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") && matches!(stream.read(&mut byte).await, Ok(1)) {
        head.push(byte[0]);
    }
    String::from_utf8(head).unwrap()
}

impl Rig {
    /// The answer's head to this request, and the connection behind it.
    async fn shake(&self, line: &str, headers: &str) -> (String, TcpStream) {
        let mut client = self.dial().await;
        let request = self.head(line, headers).replace("Connection: close\r\n", "");
        client.write_all(request.as_bytes()).await.unwrap();
        let head = timeout(PATIENCE, head(&mut client)).await.unwrap();
        (head, client)
    }
}

/// As many bytes as these are: the last ones may come later.
async fn hears(client: &mut TcpStream, words: &[u8]) {
    let mut heard = vec![0; words.len()];
    timeout(PATIENCE, client.read_exact(&mut heard)).await.unwrap().unwrap();
    assert_eq!(heard, words);
}

#[test]
fn p7_a_handshake_carries_the_credential_and_bytes_follow_both_ways() {
    with_rig(opening(Network::GrantedOnly), async |rig| {
        let (port, heads) = host(YES.into()).await;
        let mark = rig.grant(grant(port)).await;
        let with = format!("{HANDSHAKE}Authorization: Bearer {mark}\r\n");
        let (answer, mut client) = rig.shake(&format!("GET http://localhost:{port}/allowed/ws"), &with).await;
        let answer = answer.to_ascii_lowercase();
        assert!(
            answer.starts_with("http/1.1 101") && answer.contains("upgrade: websocket") && answer.contains("connection: upgrade"),
            "{answer}"
        );
        assert!(answer.contains("sec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo="), "{answer}");
        for word in ["hello", "and more", "hello"] {
            client.write_all(word.as_bytes()).await.unwrap();
            hears(&mut client, word.to_ascii_uppercase().as_bytes()).await;
        }
        let head = heads.borrow()[0].to_ascii_lowercase();
        assert!(head.contains(&format!("authorization: bearer {}", VALUE.to_ascii_lowercase())) && head.contains("upgrade: websocket"));
        assert!(
            !head.contains("extensions") && !head.contains("keep-alive") && head.contains("sec-websocket-key: dghl"),
            "{head}"
        );
        assert_eq!(rig.uses(), 1);
        // Elsewhere the same handshake goes without the value, or not at all.
        let (refused, _) = rig.shake(&format!("GET http://localhost:{port}/forbidden"), &with).await;
        assert!(refused.starts_with("HTTP/1.1 403") && heads.borrow().len() == 1);
    });
}

#[test]
fn t40_a_value_in_what_a_host_sends_ends_the_connection_and_is_recorded() {
    with_rig(opening(Network::GrantedOnly), async |rig| {
        let (port, _) = host(YES.into()).await;
        let mark = rig.grant(grant(port)).await;
        let with = format!("{HANDSHAKE}Authorization: Bearer {mark}\r\n");
        let (_, mut client) = rig.shake(&format!("GET http://localhost:{port}/allowed/ws"), &with).await;
        client.write_all(b"show").await.unwrap();
        let mut heard = Vec::new();
        let _ = timeout(PATIENCE, client.read_to_end(&mut heard)).await.expect("its end");
        let heard = String::from_utf8(heard).unwrap();
        assert!(heard.len() <= 3 && VALUE.starts_with(&heard), "{heard:?}");
        rig.settle().await;
        assert_eq!(rig.echoes(), 1);
    });
}

#[test]
fn p4_revoking_cuts_a_websocket_within_a_second() {
    with_rig(opening(Network::GrantedOnly), async |rig| {
        let (port, _) = host(YES.into()).await;
        let mark = rig.grant(grant(port)).await;
        let with = format!("{HANDSHAKE}Authorization: Bearer {mark}\r\n");
        let (_, mut client) = rig.shake(&format!("GET http://localhost:{port}/allowed/ws"), &with).await;
        client.write_all(b"hello").await.unwrap();
        hears(&mut client, b"HELLO").await;
        let cut = timeout(Duration::from_secs(1), async {
            rig.revoke("L").await;
            while !matches!(client.read(&mut [0; 64]).await, Ok(0) | Err(_)) {}
        });
        cut.await.expect("it is cut within a second");
    });
}

#[test]
fn t38_what_is_no_handshake_changes_no_protocol() {
    with_rig(opening(Network::GrantedOnly), async |rig| {
        let (port, heads) = host(YES.into()).await;
        let mark = rig.grant(grant(port)).await;
        let (url, auth) = (
            format!("http://localhost:{port}/allowed/ws"),
            format!("Authorization: Bearer {mark}\r\n"),
        );
        let mut count = 0;
        for (was, is) in [
            ("websocket", "h2c"),
            ("websocket", "websocket, h2c"),
            ("websocket", "websocket/13"),
            ("Upgrade: websocket", "Upgrade: websocket\r\nUpgrade: h2c"),
            ("Upgrade: websocket", "Upgrade: h2c\r\nUpgrade: websocket"),
            ("keep-alive, Upgrade", "keep-alive"),
            ("Version: 13", "Version: 12"),
            ("Version: 13", "Version: 13\r\nSec-WebSocket-Version: 13"),
            ("Sec-WebSocket-Version: 13\r\n", ""),
            ("dGhlIHNhbXBsZSBub25jZQ==", "short"),
            ("Upgrade: websocket", "Upgrade: websocket\r\nContent-Length: 5"),
            ("Upgrade: websocket", "Upgrade: websocket\r\nTransfer-Encoding: chunked"),
        ] {
            let headers = HANDSHAKE.replace(was, is);
            assert_ne!(headers, HANDSHAKE);
            let answer = rig.ask(&format!("GET {url}"), &format!("{headers}{auth}"), b"hello").await;
            assert!(matches!(answer.status, 400 | 403), "{is}: {answer:?}");
            count += 1;
        }
        let answer = rig.ask(&format!("POST {url}"), &format!("{HANDSHAKE}{auth}"), b"").await;
        assert_eq!((answer.status, answer.reason()), (403, "upgrade".into()));
        assert!(heads.borrow().is_empty() && rig.uses() == 0);
        println!("T38 WebSocket: {} of {} handshakes that are none", count + 1, count + 1);
    });
}

#[test]
fn t38_a_host_that_changes_to_something_else_is_not_followed() {
    for yes in [
        YES.replace("websocket", "h2c"),
        YES.replace("Upgrade: websocket\r\n", ""),
        YES.replace("Connection: Upgrade\r\n", ""),
        YES.replace(
            "Sec-WebSocket-Accept",
            "Sec-WebSocket-Extensions: permessage-deflate\r\nSec-WebSocket-Accept",
        ),
    ] {
        with_rig(opening(Network::GrantedOnly), async |rig| {
            let (port, _) = host(yes.clone()).await;
            let mark = rig.grant(grant(port)).await;
            let with = format!("{HANDSHAKE}Authorization: Bearer {mark}\r\n");
            let (answer, _) = rig.shake(&format!("GET http://localhost:{port}/allowed/ws"), &with).await;
            assert!(answer.starts_with("HTTP/1.1 502"), "{yes}: {answer}");
        });
    }
}
