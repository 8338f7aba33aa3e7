//! A server behind the proxy: HTTP/1.1, with TLS under a CA of its own or without, that notes down what reaches it.

use std::{
    fs,
    io::{self, BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use data_encoding::BASE64;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::{
    ServerConfig, ServerConnection, StreamOwned,
    pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
};

/// A request as it came.
#[derive(Clone, Debug)]
pub struct Seen {
    pub method: String,
    /// Path and query.
    pub target: String,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Seen {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

/// A certificate authority of a test, and its file.
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    pub pem: PathBuf,
}

impl Authority {
    pub fn new(folder: &Path) -> Self {
        let mut params = CertificateParams::new(vec![]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let pem = folder.join("upstream-ca.pem");
        fs::write(&pem, issuer.pem()).unwrap();
        Self { issuer, pem }
    }

    /// Files of a certificate for this name and of its key, in PEM.
    pub fn files_for(&self, name: &str) -> (PathBuf, PathBuf) {
        let key = KeyPair::generate().unwrap();
        let leaf = CertificateParams::new(vec![name.to_owned()])
            .unwrap()
            .signed_by(&key, &self.issuer)
            .unwrap();
        let (certificate, private) = (self.pem.with_file_name("leaf.pem"), self.pem.with_file_name("leaf-key.pem"));
        fs::write(&certificate, leaf.pem()).unwrap();
        fs::write(&private, key.serialize_pem()).unwrap();
        (certificate, private)
    }

    fn config(&self, names: &[&str]) -> Arc<ServerConfig> {
        let key = KeyPair::generate().unwrap();
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let leaf = CertificateParams::new(names).unwrap().signed_by(&key, &self.issuer).unwrap();
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap();
        Arc::new(
            config
                .with_no_client_auth()
                .with_single_cert(vec![leaf.der().clone()], key)
                .unwrap(),
        )
    }
}

/// A server on 127.0.0.1, until it is dropped.
pub struct Upstream {
    pub port: u16,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    seen: Mutex<Vec<Seen>>,
    /// Streams that are being sent.
    streaming: AtomicUsize,
    stop: AtomicBool,
    /// Repositories for git.
    repositories: Option<PathBuf>,
}

impl Upstream {
    /// With TLS, under these names.
    pub fn tls(authority: &Authority, names: &[&str]) -> Self {
        Self::start(Some(authority.config(names)), None)
    }

    /// The same, serving the repositories in a folder to who has this password.
    pub fn git(authority: &Authority, folder: &Path) -> Self {
        Self::start(Some(authority.config(&["localhost"])), Some(folder.to_owned()))
    }

    /// Without TLS.
    pub fn plain() -> Self {
        Self::start(None, None)
    }

    fn start(tls: Option<Arc<ServerConfig>>, repositories: Option<PathBuf>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let shared = Arc::new(Shared {
            repositories,
            ..Shared::default()
        });
        let served = shared.clone();
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if served.stop.load(Ordering::Relaxed) {
                    return;
                }
                let (shared, tls) = (served.clone(), tls.clone());
                // Whoever goes away in the middle has gone.
                thread::spawn(move || drop(serve(stream, tls, &shared)));
            }
        });
        Self { port, shared }
    }

    /// How rules name it.
    pub fn host(&self) -> String {
        format!("localhost:{}", self.port)
    }

    pub fn url(&self, path: &str) -> String {
        format!("https://localhost:{}{path}", self.port)
    }

    pub fn seen(&self) -> Vec<Seen> {
        self.shared.seen.lock().unwrap().clone()
    }

    pub fn streaming(&self) -> usize {
        self.shared.streaming.load(Ordering::Relaxed)
    }

    /// Whether anything that came has this in it, in its target, headers or body.
    pub fn has_seen(&self, part: &str) -> bool {
        let holds = |seen: &Seen| {
            let head = format!("{} {:?}", seen.target, seen.headers);
            head.contains(part) || memchr::memmem::find(&seen.body, part.as_bytes()).is_some()
        };
        self.seen().iter().any(holds)
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        // Whoever waits for the next connection hears of it.
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}

trait Both: Read + Write {}
impl<T: Read + Write> Both for T {}

fn serve(stream: TcpStream, tls: Option<Arc<ServerConfig>>, shared: &Shared) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let stream: Box<dyn Both> = match tls {
        Some(config) => Box::new(StreamOwned::new(ServerConnection::new(config).map_err(io::Error::other)?, stream)),
        None => Box::new(stream),
    };
    let mut stream = BufReader::new(stream);
    while let Some(seen) = read(&mut stream)? {
        shared.seen.lock().unwrap().push(seen.clone());
        answer(stream.get_mut(), &seen, shared)?;
    }
    Ok(())
}

fn read(stream: &mut impl BufRead) -> io::Result<Option<Seen>> {
    let mut line = String::new();
    if stream.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let mut words = line.split_whitespace().map(str::to_owned);
    let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let mut headers = vec![];
    loop {
        let mut line = String::new();
        stream.read_line(&mut line)?;
        let Some((name, value)) = line.trim_end().split_once(':') else {
            break;
        };
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    let of = |name: &str| headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone());
    let mut body = vec![];
    if of("transfer-encoding").is_some() {
        loop {
            let mut size = String::new();
            stream.read_line(&mut size)?;
            let size = u64::from_str_radix(size.trim(), 16).map_err(io::Error::other)?;
            stream.take(size).read_to_end(&mut body)?;
            stream.read_line(&mut String::new())?;
            if size == 0 {
                break;
            }
        }
    } else if let Some(length) = of("content-length") {
        stream.take(length.parse().map_err(io::Error::other)?).read_to_end(&mut body)?;
    }
    Ok(Some(Seen {
        method,
        target,
        headers,
        body,
    }))
}

fn answer(out: &mut dyn Write, seen: &Seen, shared: &Shared) -> io::Result<()> {
    let path = seen.target.split('?').next().unwrap_or_default();
    match (path, &shared.repositories) {
        (path, Some(folder)) if path.starts_with("/git/") => git(out, seen, folder),
        ("/echo", _) => {
            let text: Vec<String> = seen.headers.iter().map(|(name, value)| format!("{name}: {value}\n")).collect();
            send(out, "200 OK", "", text.concat().as_bytes())
        }
        ("/echo64", _) => {
            let sent = seen.header("authorization").unwrap_or_default();
            send(out, "200 OK", "", BASE64.encode(sent.as_bytes()).as_bytes())
        }
        ("/redirect", _) => {
            let to = seen.target.split_once("?to=").map_or("/", |(_, to)| to);
            send(out, "302 Found", &format!("location: {to}\r\n"), b"elsewhere")
        }
        ("/stream", _) => stream(out, shared),
        _ => send(out, "200 OK", "", b"fine"),
    }
}

fn send(out: &mut dyn Write, status: &str, headers: &str, body: &[u8]) -> io::Result<()> {
    write!(out, "HTTP/1.1 {status}\r\n{headers}content-length: {}\r\n\r\n", body.len())?;
    out.write_all(body)?;
    out.flush()
}

/// Server-sent events, until nobody reads them.
fn stream(out: &mut dyn Write, shared: &Shared) -> io::Result<()> {
    struct Streaming<'a>(&'a AtomicUsize);
    impl Drop for Streaming<'_> {
        fn drop(&mut self) {
            self.0.fetch_sub(1, Ordering::Relaxed);
        }
    }
    shared.streaming.fetch_add(1, Ordering::Relaxed);
    let _streaming = Streaming(&shared.streaming);
    write!(
        out,
        "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
    )?;
    while !shared.stop.load(Ordering::Relaxed) {
        write!(out, "d\r\ndata: event\n\n\r\n")?;
        out.flush()?;
        thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

/// git's own server (git-http-backend(1)), behind Basic.
fn git(out: &mut dyn Write, seen: &Seen, folder: &Path) -> io::Result<()> {
    let password = seen.header("authorization").and_then(|sent| sent.strip_prefix("Basic "));
    let password = password.and_then(|sent| BASE64.decode(sent.as_bytes()).ok());
    let password = password.and_then(|sent| String::from_utf8(sent).ok());
    if password
        .as_deref()
        .and_then(|sent| sent.split_once(':'))
        .map(|(_, password)| password)
        != Some(super::CANARY)
    {
        return send(out, "401 Unauthorized", "www-authenticate: Basic realm=\"git\"\r\n", b"");
    }
    let (path, query) = seen.target.split_once('?').unwrap_or((&seen.target, ""));
    let mut backend = Command::new("git");
    backend
        .arg("http-backend")
        .env_clear()
        .env("PATH", std::env::var("PATH").unwrap_or_default());
    backend
        .env("GIT_PROJECT_ROOT", folder)
        .env("GIT_HTTP_EXPORT_ALL", "1")
        .env("REMOTE_USER", "git");
    backend.env("PATH_INFO", path.trim_start_matches("/git")).env("QUERY_STRING", query);
    backend
        .env("REQUEST_METHOD", &seen.method)
        .env("CONTENT_LENGTH", seen.body.len().to_string());
    for (name, variable) in [
        ("content-type", "CONTENT_TYPE"),
        ("content-encoding", "HTTP_CONTENT_ENCODING"),
        ("git-protocol", "GIT_PROTOCOL"),
    ] {
        backend.env(variable, seen.header(name).unwrap_or_default());
    }
    let mut backend = backend.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    let mut input = backend.stdin.take().unwrap();
    let body = seen.body.clone();
    let writer = thread::spawn(move || input.write_all(&body));
    let said = backend.wait_with_output()?.stdout;
    let _ = writer.join();
    let head = memchr::memmem::find(&said, b"\r\n\r\n").ok_or(io::ErrorKind::InvalidData)?;
    let headers = String::from_utf8_lossy(&said[..head]).into_owned();
    let status = headers
        .lines()
        .find_map(|line| line.strip_prefix("Status: "))
        .unwrap_or("200 OK")
        .to_owned();
    let headers: Vec<String> = headers
        .lines()
        .filter(|line| !line.starts_with("Status:"))
        .map(|line| format!("{line}\r\n"))
        .collect();
    send(out, &status, &headers.concat(), &said[head + 4..])
}
