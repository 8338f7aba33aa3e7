//! The one client of all proxies: threads that each have a connection, and wait for each answer before they ask again.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustls::client::Resumption;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use super::super::table::{Failure, Load};
use super::origin::OWN;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// How a client gets to the host.
#[derive(Clone)]
pub struct Door {
    /// Where it connects.
    pub port: u16,
    /// The host's own port.
    pub host: u16,
    pub form: Form,
    /// `Proxy-Authorization`, where the proxy wants it.
    pub bearer: Option<String>,
    /// `Authorization`: the credential, or what stands for it; not where the proxy puts it in by itself.
    pub authorization: Option<String>,
    /// With TLS to the host, or to who stands in for it.
    pub tls: Option<Arc<ClientConfig>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// The host itself, or what looks like it.
    Origin,
    /// `GET http://...` (RFC 9112, 3.2.2).
    Absolute,
    /// CONNECT.
    Tunnel,
}

/// Who trusts these authorities, and begins each connection anew.
pub fn trusting(roots: &Path) -> Result<Arc<ClientConfig>, Failure> {
    let mut store = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(roots)? {
        // A bundle of the system's may have some in it that nobody reads.
        let _ = store.add(certificate?);
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    let mut config = config.with_root_certificates(store).with_no_client_auth();
    config.resumption = Resumption::disabled();
    Ok(Arc::new(config))
}

impl Door {
    fn request(&self, path: &str) -> Vec<u8> {
        let host = format!("localhost:{}", self.host);
        let target = if self.form == Form::Absolute {
            format!("http://{host}{path}")
        } else {
            path.to_owned()
        };
        let mut text = format!("GET {target} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: numbers\r\nAccept: */*\r\n");
        let bearer = self.bearer.as_ref().filter(|_| self.form == Form::Absolute);
        for (name, value) in [("Proxy-Authorization", bearer), ("Authorization", self.authorization.as_ref())] {
            text.extend(value.map(|value| format!("{name}: {value}\r\n")));
        }
        (text + "\r\n").into_bytes()
    }
}

trait Stream: Read + Write + Send {}
impl<T: Read + Write + Send> Stream for T {}

struct Connection {
    stream: Box<dyn Stream>,
    buffer: Vec<u8>,
}

/// What a client asks for again and again, or where its number is put.
struct Request {
    bytes: Vec<u8>,
    /// Where the digits stand.
    digits: Option<Range<usize>>,
}

impl Request {
    /// Of a path that is [`OWN`], each is for another one, of all clients.
    fn new(door: &Door, path: &str) -> Self {
        static CLIENTS: AtomicUsize = AtomicUsize::new(0);
        let bytes = door.request(path);
        let is_own = |window: &[u8]| window == OWN.as_bytes();
        let at = Some(OWN)
            .filter(|own| *own == path)
            .and_then(|own| bytes.windows(own.len()).position(is_own));
        let digits = at.map(|at| at + "/own/".len()..at + OWN.len());
        let mut request = Self { bytes, digits };
        if let Some(digits) = request.digits.clone() {
            let client = format!("{:05}0000000", CLIENTS.fetch_add(1, Ordering::Relaxed) % 100_000);
            request.bytes[digits].copy_from_slice(client.as_bytes());
        }
        request
    }

    fn next(&mut self) -> &[u8] {
        for digit in self.digits.clone().into_iter().flatten().rev() {
            match &mut self.bytes[digit] {
                nine @ b'9' => *nine = b'0',
                digit => {
                    *digit += 1;
                    break;
                }
            }
        }
        &self.bytes
    }
}

impl Connection {
    fn open(door: &Door) -> Result<Self, Failure> {
        let mut tcp = TcpStream::connect((Ipv4Addr::LOCALHOST, door.port))?;
        tcp.set_nodelay(true)?;
        tcp.set_read_timeout(Some(PATIENCE))?;
        if door.form == Form::Tunnel {
            let host = format!("localhost:{}", door.host);
            let bearer = door.bearer.iter().map(|bearer| format!("Proxy-Authorization: {bearer}\r\n"));
            let connect = format!("CONNECT {host} HTTP/1.1\r\nHost: {host}\r\n{}\r\n", bearer.collect::<String>());
            tcp.write_all(connect.as_bytes())?;
            let (mut head, mut byte) = (vec![], [0]);
            // Byte by byte: what follows is not of this answer.
            while !head.ends_with(b"\r\n\r\n") {
                tcp.read_exact(&mut byte)?;
                head.push(byte[0]);
            }
            is_fine(&head)?;
        }
        let stream: Box<dyn Stream> = match &door.tls {
            None => Box::new(tcp),
            Some(config) => Box::new(StreamOwned::new(
                ClientConnection::new(config.clone(), ServerName::try_from("localhost")?)?,
                tcp,
            )),
        };
        Ok(Self {
            stream,
            buffer: vec![0; 64 << 10],
        })
    }

    /// One request, and its whole answer, which has to be so long.
    fn ask(&mut self, request: &[u8], length: usize) -> Result<(), Failure> {
        self.stream.write_all(request)?;
        self.stream.flush()?;
        let mut held = 0;
        let end = loop {
            held += self.read(held)?;
            if let Some(end) = self.buffer[..held].windows(4).position(|four| four == b"\r\n\r\n") {
                break end + 4;
            }
        };
        is_fine(&self.buffer[..end])?;
        let head = String::from_utf8_lossy(&self.buffer[..end]).to_ascii_lowercase();
        let said = head.lines().find_map(|line| line.strip_prefix("content-length:"));
        let mut got = held - end;
        match said {
            Some(said) if said.trim().parse() != Ok(length) => {
                return Err(format!("{} bytes come in place of {length}", said.trim()).into());
            }
            Some(_) => {
                while got < length {
                    got += self.read(0)?;
                }
            }
            // Chunked. Its end is in no chunk: those are of one letter.
            None => {
                let mut tail = self.buffer[end..held].to_vec();
                while !tail.ends_with(b"\r\n0\r\n\r\n") {
                    let more = self.read(0)?;
                    got += more;
                    tail.extend(&self.buffer[..more]);
                    tail.drain(..tail.len().saturating_sub(7));
                }
                if got < length {
                    return Err(format!("{got} bytes come in place of {length}").into());
                }
            }
        }
        Ok(())
    }

    fn read(&mut self, at: usize) -> Result<usize, Failure> {
        match self.stream.read(&mut self.buffer[at..])? {
            0 => Err("the proxy ended the connection, or its head is too long".into()),
            more => Ok(more),
        }
    }
}

fn is_fine(head: &[u8]) -> Result<(), Failure> {
    match head.get(9..12) {
        Some(b"200") => Ok(()),
        _ => Err(format!(
            "the answer is {:?}",
            String::from_utf8_lossy(head.split(|byte| *byte == b'\r').next().unwrap_or_default())
        )
        .into()),
    }
}

/// Requests over connections that are kept, of so many clients for so long. Each connection has had one before.
pub fn kept(door: &Door, path: &str, length: usize, clients: usize, time: Duration) -> Result<Load, Failure> {
    let open = || -> Result<(Connection, Request), Failure> {
        let (mut connection, mut request) = (Connection::open(door)?, Request::new(door, path));
        connection.ask(request.next(), length)?;
        Ok((connection, request))
    };
    let connections = (0..clients).map(|_| open()).collect::<Result<Vec<_>, _>>()?;
    let began = Instant::now();
    let each = thread::scope(|scope| {
        let until = began + time;
        let threads: Vec<_> = connections
            .into_iter()
            .map(|(mut connection, mut request)| {
                scope.spawn(move || again(until, || connection.ask(request.next(), length)).map_err(|failure| failure.to_string()))
            })
            .collect();
        let mut each = vec![];
        for thread in threads {
            each.extend(thread.join().map_err(|_| "a client panicked")??);
        }
        Ok::<_, Failure>(each)
    })?;
    Ok(Load {
        whole: began.elapsed(),
        done: each.len(),
        each: each.into(),
    })
}

/// One request over a connection of its own, again and again.
pub fn anew(door: &Door, path: &str, length: usize, time: Duration) -> Result<Load, Failure> {
    let request = door.request(path);
    let began = Instant::now();
    let each = again(began + time, || Connection::open(door)?.ask(&request, length))?;
    Ok(Load {
        whole: began.elapsed(),
        done: each.len(),
        each: each.into(),
    })
}

fn again(until: Instant, mut work: impl FnMut() -> Result<(), Failure>) -> Result<Vec<Duration>, Failure> {
    let mut each = vec![];
    let mut now = Instant::now();
    while now < until {
        work()?;
        let then = Instant::now();
        each.push(then - now);
        now = then;
    }
    Ok(each)
}
