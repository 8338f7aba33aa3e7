//! Hosts that write down what reaches them, and a second, strict parser of it.

use std::cell::RefCell;
use std::rc::Rc;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;

/// A request as the second parser reads it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    pub method: String,
    pub target: String,
    /// In lower case, in their order.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    /// The connection's number.
    pub connection: usize,
}

impl Seen {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.as_str())
    }
}

/// A host on loopback.
#[derive(Clone)]
pub struct Host {
    pub port: u16,
    pub seen: Rc<RefCell<Vec<Seen>>>,
    /// All bytes, by connection.
    pub bytes: Rc<RefCell<Vec<Vec<u8>>>>,
}

impl Host {
    /// One that answers each request so; an answer without `Content-Length` and chunks ends its connection.
    pub async fn new(answer: impl Fn(&Seen) -> Vec<u8> + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let host = Self {
            port: listener.local_addr().unwrap().port(),
            seen: Rc::default(),
            bytes: Rc::default(),
        };
        let (this, answer) = (host.clone(), Rc::new(answer));
        tokio::task::spawn_local(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::task::spawn_local(this.clone().serve(stream, answer.clone()));
            }
        });
        host
    }

    pub async fn serve(self, mut stream: impl AsyncRead + AsyncWrite + Unpin, answer: Rc<impl Fn(&Seen) -> Vec<u8>>) {
        let connection = self.bytes.borrow().len();
        self.bytes.borrow_mut().push(Vec::new());
        let (mut buffer, mut chunk) = (Vec::new(), [0; 16384]);
        loop {
            while let Some((mut seen, len)) = parse(&buffer) {
                buffer.drain(..len);
                seen.connection = connection;
                let text = answer(&seen);
                self.seen.borrow_mut().push(seen);
                if stream.write_all(&text).await.is_err() {
                    return;
                }
                let head = String::from_utf8_lossy(&text).to_ascii_lowercase();
                let head = head.split("\r\n\r\n").next().unwrap();
                if !head.contains("content-length:") && !head.contains("chunked") {
                    let _ = stream.shutdown().await;
                    return;
                }
            }
            match stream.read(&mut chunk).await {
                Ok(0) | Err(_) => return,
                Ok(count) => {
                    buffer.extend_from_slice(&chunk[..count]);
                    self.bytes.borrow_mut()[connection].extend_from_slice(&chunk[..count]);
                }
            }
        }
    }

    pub fn requests(&self) -> Vec<Seen> {
        self.seen.borrow().clone()
    }

    pub fn has_seen(&self, text: &str) -> bool {
        self.bytes
            .borrow()
            .iter()
            .any(|bytes| bytes.windows(text.len()).any(|window| window == text.as_bytes()))
    }
}

/// `200 OK` with this body.
pub fn ok(body: &str) -> Vec<u8> {
    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

/// The request at the beginning of `bytes`, once it is whole, and its length. Panics at whatever a strict parser could take in two ways.
pub fn parse(bytes: &[u8]) -> Option<(Seen, usize)> {
    let end = bytes.windows(4).position(|end| end == b"\r\n\r\n")?;
    let head = std::str::from_utf8(&bytes[..end]).expect("a head in ASCII");
    let mut lines = head.split("\r\n");
    let first: Vec<&str> = lines.next().unwrap().split(' ').collect();
    let [method, target, "HTTP/1.1"] = first[..] else {
        panic!("{first:?}")
    };
    assert!(
        head.replace("\r\n", "")
            .bytes()
            .all(|byte| (b' '..=b'~').contains(&byte) || byte == b'\t'),
        "{head:?}"
    );
    assert!(target.starts_with('/') || (target == "*" && method == "OPTIONS"), "{target}");
    let headers: Vec<(String, String)> = lines
        .map(|line| {
            let (name, value) = line.split_once(':').expect("a colon");
            assert!(
                name.bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || b"-_!#$%&'*+.^`|~".contains(&byte))
                    && !name.is_empty(),
                "{line:?}"
            );
            (name.to_ascii_lowercase(), value.trim().to_owned())
        })
        .collect();
    let all = |name: &str| {
        headers
            .iter()
            .filter(|(known, _)| known == name)
            .map(|(_, value)| value.clone())
            .collect::<Vec<_>>()
    };
    assert_eq!(all("host").len(), 1, "{headers:?}");
    for hop in ["proxy-authorization", "upgrade", "connection", "proxy-connection", "keep-alive"] {
        assert!(all(hop).is_empty(), "{hop} in {headers:?}");
    }
    let (lengths, codings) = (all("content-length"), all("transfer-encoding"));
    assert!(lengths.len() + codings.len() <= 1, "{headers:?}");
    let rest = &bytes[end + 4..];
    let (body, len) = match (lengths.first(), codings.first()) {
        (Some(length), _) => {
            let length: usize = length.parse().unwrap();
            (rest.get(..length)?.to_vec(), length)
        }
        (_, Some(coding)) => {
            assert_eq!(coding, "chunked");
            let (body, whole) = unchunk(rest);
            (body, whole?)
        }
        _ => (Vec::new(), 0),
    };
    let seen = Seen {
        method: method.into(),
        target: target.into(),
        headers,
        body,
        connection: 0,
    };
    Some((seen, end + 4 + len))
}

/// Chunks undone as far as they came, and their length with the trailers, once they are whole.
pub fn unchunk(bytes: &[u8]) -> (Vec<u8>, Option<usize>) {
    let (mut body, mut at) = (Vec::new(), 0);
    loop {
        let Some(end) = bytes[at..].windows(2).position(|end| end == b"\r\n") else {
            return (body, None);
        };
        let size = usize::from_str_radix(std::str::from_utf8(&bytes[at..at + end]).unwrap(), 16).expect("a size and nothing else");
        at += end + 2;
        if size == 0 {
            let over = if bytes[at..].starts_with(b"\r\n") {
                Some(at + 2)
            } else {
                bytes[at..].windows(4).position(|end| end == b"\r\n\r\n").map(|end| at + end + 4)
            };
            return (body, over);
        }
        let Some(chunk) = bytes.get(at..at + size) else {
            body.extend_from_slice(&bytes[at..]);
            return (body, None);
        };
        body.extend_from_slice(chunk);
        at += size;
        if bytes.len() < at + 2 {
            return (body, None);
        }
        assert_eq!(&bytes[at..at + 2], b"\r\n");
        at += 2;
    }
}
