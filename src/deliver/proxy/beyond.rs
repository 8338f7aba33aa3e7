//! The proxy behind this one, where the configuration names one: it is asked for a way to each host but this machine (RFC 9110, 9.3.6), and
//! then sees bytes, which are TLS where the host is spoken to with it: the certificate is the host's own.

use hyper::StatusCode;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::hosts::Authority;
use super::refuse::Refusal;

/// Most bytes of its answer's head.
const LONGEST: usize = 16 * 1024;

/// Asks for a way to `host`, over a connection to that proxy: from here on it is one to the host.
///
/// # Errors
/// What the client is told: the proxy refuses, or says nothing that is an answer. Its own words are not passed on.
pub async fn connect(proxy: &mut (impl AsyncRead + AsyncWrite + Unpin), host: &Authority) -> Result<(), Refusal> {
    let to = format!("{}:{}", host.host(), host.port());
    let head = format!("CONNECT {to} HTTP/1.1\r\nHost: {to}\r\n\r\n");
    let asked = proxy.write_all(head.as_bytes()).await;
    asked.map_err(|_| failed("the proxy behind this one ended the connection"))?;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        // One byte at a time: what follows is the host's, and a hundred of them are all there are.
        match proxy.read_u8().await {
            Ok(byte) if head.len() < LONGEST => head.push(byte),
            Ok(_) | Err(_) => return Err(failed("the proxy behind this one gives no answer that is one")),
        }
    }
    match status(&head) {
        Some(200..=299) => Ok(()),
        Some(407) => Err(failed(
            "the proxy behind this one wants a password, and none is sent: proxy_upstream in the configuration has to name one that wants none",
        )),
        Some(status) => Err(failed(&format!("the proxy behind this one refuses this host ({status})"))),
        None => Err(failed("the proxy behind this one gives no answer that is one")),
    }
}

/// The status in `HTTP/1.1 200 Whatever` (RFC 9112, 4).
fn status(head: &[u8]) -> Option<u16> {
    let rest = head.strip_prefix(b"HTTP/1.")?;
    let [b'0' | b'1', b' ', a, b, c, b' ' | b'\r', ..] = rest else {
        return None;
    };
    let digit = |byte: &u8| byte.is_ascii_digit().then(|| u16::from(byte - b'0'));
    Some(digit(a)? * 100 + digit(b)? * 10 + digit(c)?)
}

/// That proxy did not do its part.
#[must_use]
pub fn failed(hint: &str) -> Refusal {
    Refusal::upstream(StatusCode::BAD_GATEWAY, "upstream_proxy", hint)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_of_a_proxy_has_a_status_or_is_none() {
        for (head, expected) in [
            ("HTTP/1.1 200 Connection established\r\n\r\n", Some(200)),
            ("HTTP/1.0 200\r\n\r\n", Some(200)),
            ("HTTP/1.1 407 Who are you\r\n\r\n", Some(407)),
            ("HTTP/2 200 OK\r\n\r\n", None),
            ("HTTP/1.1 2000 OK\r\n\r\n", None),
            ("HTTP/1.1  200 OK\r\n\r\n", None),
            ("HTTP/1.1 2x0 OK\r\n\r\n", None),
            ("SSH-2.0-x\r\n\r\n", None),
            ("HTTP/1.1 20", None),
        ] {
            assert_eq!(status(head.as_bytes()), expected, "{head:?}");
        }
    }
}
