//! The worker whole, with clients and hosts in this process: what a test has is a rig.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout)]

mod beyond;
mod echo;
mod h2;
mod h2_raw;
mod host;
mod leases;
mod load;
mod places;
mod reverse;
mod rules;
mod smuggling;
mod tls;
mod uses;
mod websocket;

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use data_encoding::BASE64;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::LocalSet;
use tokio::time::timeout;

use super::names::{Resolve, system_resolver};
use super::protocol::{GrantSpec, Network, Opening, Order, Place, Report, Scheme, Target, Use, Verdict};
use super::worker;
use crate::clock::SystemClock;
use crate::worker::inbox::Inbox;

const BEARER: &str = "0123456789abcdef0123456789abcdef";
/// Of the reverse form.
const BASE: &str = "fedcba9876543210fedcba9876543210";
/// The value of the rigs' grants.
pub const VALUE: &str = "ghp_Sup3rS3cretValueThatNobodyMaySee0123";
/// How long a test waits for what must come.
const PATIENCE: Duration = Duration::from_secs(20);

/// A worker in this thread, and the daemon's side of it.
pub struct Rig {
    pub port: u16,
    pub ca_pem: String,
    /// All reports but answers to orders.
    pub told: Rc<RefCell<Vec<Report>>>,
    pub verdict: Rc<Cell<Verdict>>,
    /// How the daemon answers.
    pub pace: Rc<Pace>,
    orders: mpsc::UnboundedSender<(Order, Vec<u8>)>,
    answers: tokio::sync::Mutex<mpsc::UnboundedReceiver<Report>>,
}

#[derive(Default)]
pub struct Pace {
    /// It takes in all that there is to hear before it answers anything.
    pub slow: Cell<bool>,
    /// Most questions that it then had before it at one time.
    pub most_asked: Cell<usize>,
    /// It reads nothing, as a process that is stopped.
    pub stopped: Cell<bool>,
}

pub fn opening(network: Network) -> Opening {
    Opening {
        network,
        roots: vec![],
        system_roots: false,
        hosts: vec![],
        offers: vec![],
        upstream: None,
    }
}

/// Runs `test` with a worker that looks names up as the system does.
pub fn with_rig(opening: Opening, test: impl AsyncFnOnce(Rig)) {
    with_resolver(opening, system_resolver(), test);
}

pub fn with_resolver(opening: Opening, resolve: Resolve, test: impl AsyncFnOnce(Rig)) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    LocalSet::new().block_on(&runtime, async {
        let (ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
        tokio::task::spawn_local(async move { worker::run(theirs, Arc::new(SystemClock), resolve).await });
        ours.set_nonblocking(true).unwrap();
        let mut inbox = Inbox::new(tokio::net::UnixStream::from_std(ours).unwrap()).unwrap();
        inbox
            .send(&Order::Open(opening), format!("{BEARER}{BASE}").as_bytes())
            .await
            .unwrap();
        let (Report::Ready { port, ca_pem }, _) = inbox.next().await.unwrap() else {
            panic!("the worker did not open");
        };
        let (orders, taken) = mpsc::unbounded_channel();
        let (answered, answers) = mpsc::unbounded_channel();
        let (told, verdict) = (Rc::<RefCell<Vec<Report>>>::default(), Rc::new(Cell::new(Verdict::Go)));
        let pace = Rc::<Pace>::default();
        tokio::task::spawn_local(daemon(inbox, taken, answered, told.clone(), verdict.clone(), pace.clone()));
        let answers = tokio::sync::Mutex::new(answers);
        test(Rig {
            port,
            ca_pem,
            told,
            verdict,
            pace,
            orders,
            answers,
        })
        .await;
    });
}

async fn daemon(
    mut inbox: Inbox,
    mut orders: mpsc::UnboundedReceiver<(Order, Vec<u8>)>,
    answered: mpsc::UnboundedSender<Report>,
    told: Rc<RefCell<Vec<Report>>>,
    verdict: Rc<Cell<Verdict>>,
    pace: Rc<Pace>,
) {
    let mut asked = Vec::new();
    loop {
        tokio::select! {
            Some((order, tail)) = orders.recv() => inbox.send(&order, &tail).await.unwrap(),
            report = inbox.next::<Report>() => {
                let Ok((report, _)) = report else { return };
                while pace.stopped.get() {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                match report {
                    Report::Use { seq, .. } | Report::Repeated { seq, .. } => {
                        told.borrow_mut().push(report);
                        asked.push(seq);
                    }
                    Report::Echoed { .. } | Report::Refused { .. } => told.borrow_mut().push(report),
                    other => answered.send(other).unwrap(),
                }
                if pace.slow.get() {
                    continue;
                }
            }
            () = tokio::time::sleep(Duration::from_millis(5)), if !asked.is_empty() => {}
        }
        pace.most_asked.set(pace.most_asked.get().max(asked.len()));
        for seq in asked.drain(..) {
            let order = Order::Answer {
                seq,
                verdict: verdict.get(),
            };
            inbox.send(&order, &[]).await.unwrap();
        }
    }
}

/// A grant for `http://localhost:port`, as `Authorization: Bearer`.
pub fn grant(port: u16) -> GrantSpec {
    GrantSpec {
        secret: "prod/TOKEN".into(),
        value_len: VALUE.len(),
        targets: vec![Target {
            scheme: Scheme::Http,
            host: "localhost".into(),
            port,
        }],
        place: Place::Header {
            name: "authorization".into(),
            prefix: "Bearer ".into(),
        },
        methods: vec![],
        paths: vec!["/allowed/*".into()],
        allow_private: false,
    }
}

impl Rig {
    pub async fn order(&self, order: Order, tail: &[u8]) -> Report {
        self.orders.send((order, tail.to_vec())).unwrap();
        timeout(PATIENCE, self.answers.lock().await.recv()).await.unwrap().unwrap()
    }

    /// Grants each with [`VALUE`], and gives the placeholders.
    pub async fn grants(&self, lease: &str, grants: Vec<GrantSpec>) -> Vec<String> {
        let values = VALUE.repeat(grants.len());
        let order = Order::Grant {
            lease: lease.into(),
            grants,
        };
        match self.order(order, values.as_bytes()).await {
            Report::Granted { placeholders, .. } => placeholders,
            other => panic!("{other:?}"),
        }
    }

    pub async fn grant(&self, grant: GrantSpec) -> String {
        self.grants("L", vec![grant]).await.remove(0)
    }

    pub async fn revoke(&self, lease: &str) {
        let answer = self.order(Order::Revoke { lease: lease.into() }, &[]).await;
        assert_eq!(answer, Report::Revoked { lease: lease.into() });
    }

    pub fn auth(&self) -> String {
        BASE64.encode(format!("x:{BEARER}").as_bytes())
    }

    pub async fn dial(&self) -> TcpStream {
        TcpStream::connect(SocketAddr::from(([127, 0, 0, 1], self.port))).await.unwrap()
    }

    /// A request in absolute form over a connection of its own; the answer, read to the end.
    pub async fn ask(&self, line: &str, headers: &str, body: &[u8]) -> Answer {
        let mut client = self.dial().await;
        let head = self.head(line, headers);
        client.write_all(&[head.as_bytes(), body].concat()).await.unwrap();
        Answer::read(&mut client).await
    }

    /// Its head, with the bearer.
    pub fn head(&self, line: &str, headers: &str) -> String {
        let host = line.split("://").nth(1).unwrap().split(['/', '?', '#']).next().unwrap();
        format!(
            "{line} HTTP/1.1\r\nHost: {host}\r\nProxy-Authorization: Basic {}\r\nConnection: close\r\n{headers}\r\n",
            self.auth()
        )
    }

    /// Codes of the refusals that the daemon heard of.
    pub fn refusals(&self) -> Vec<String> {
        let code = |report: &Report| match report {
            Report::Refused { reason, .. } => Some(reason.clone()),
            _ => None,
        };
        self.told.borrow().iter().filter_map(code).collect()
    }

    pub fn uses(&self) -> usize {
        self.told
            .borrow()
            .iter()
            .filter(|report| matches!(report, Report::Use { .. }))
            .count()
    }

    /// How often something was done again without a question, as the daemon was told.
    pub fn again(&self) -> u32 {
        let times = |report: &Report| match report {
            Report::Repeated { again, .. } => again.iter().map(|again| again.times).sum(),
            _ => 0,
        };
        self.told.borrow().iter().map(times).sum()
    }

    pub fn echoes(&self) -> usize {
        self.told
            .borrow()
            .iter()
            .filter(|report| matches!(report, Report::Echoed { .. }))
            .count()
    }

    /// Until the daemon heard what was sent before.
    pub async fn settle(&self) {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// What a client reads.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    /// Chunks undone.
    pub body: Vec<u8>,
}

impl Answer {
    /// Reads to the end of the connection.
    pub async fn read(client: &mut (impl tokio::io::AsyncRead + Unpin)) -> Self {
        let mut bytes = Vec::new();
        // A connection that is cut in the middle ends in an error, and what came before is what counts.
        let _ = timeout(PATIENCE, client.read_to_end(&mut bytes)).await.expect("an answer in time");
        Self::parse(&bytes)
    }

    pub fn parse(bytes: &[u8]) -> Self {
        let end = bytes
            .windows(4)
            .position(|end| end == b"\r\n\r\n")
            .unwrap_or_else(|| panic!("no head in {:?}", String::from_utf8_lossy(bytes)));
        let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        let body = &bytes[end + 4..];
        let chunked = head.to_ascii_lowercase().contains("transfer-encoding: chunked");
        let body = if chunked { host::unchunk(body).0 } else { body.to_vec() };
        Self { status, head, body }
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The code of a refusal.
    pub fn reason(&self) -> String {
        let body: serde_json::Value = serde_json::from_slice(&self.body).unwrap_or_default();
        body["reason"].as_str().unwrap_or_default().to_owned()
    }
}
