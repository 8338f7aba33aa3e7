//! How the broker gets at keys: by worker processes, or, in tests, by threads over emulated keys.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use tokio::net::UnixStream;
use tokio::process::Child;
use tokio::sync::watch;

use super::super::place::Place;
use super::super::worker::protocol::Report;
use super::super::worker::{SUBCOMMAND, WATCH_SUBCOMMAND};
use crate::worker::inbox::Inbox;

/// The places as they come to be known: nothing until the first look is done.
pub type Places = watch::Receiver<Option<Vec<Place>>>;

/// Where keys are, and who works on them.
pub trait Reach: Send + Sync + 'static {
    /// Starts watching the places; stops when all receivers are dropped.
    ///
    /// # Errors
    /// The system refuses a process.
    fn places(&self) -> io::Result<Places>;

    /// Starts a worker, which waits for its request.
    ///
    /// # Errors
    /// The system refuses a process.
    fn start(&self) -> io::Result<Worker>;
}

/// A running worker: its socket, and its life.
pub struct Worker {
    pub(super) socket: UnixStream,
    pub(super) process: Option<Child>,
}

impl Worker {
    /// A worker without a process of its own: a thread that runs [`crate::device::worker::serve`] on the other end.
    ///
    /// # Errors
    /// The runtime does not take the socket.
    pub fn from_socket(socket: std::os::unix::net::UnixStream) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        Ok(Self {
            socket: UnixStream::from_std(socket)?,
            process: None,
        })
    }
}

/// The product's way: this program again, as a hidden subcommand.
#[derive(Clone, Debug)]
pub struct Processes {
    program: PathBuf,
}

impl Processes {
    /// Workers are run from `program`: `/proc/self/exe`, which stays right when the file is replaced by an update.
    #[must_use]
    pub fn new(program: PathBuf) -> Self {
        Self { program }
    }

    fn spawn(&self, subcommand: &str) -> io::Result<Worker> {
        let (socket, process) = crate::worker::start(&self.program, subcommand)?;
        Ok(Worker {
            socket,
            process: Some(process),
        })
    }
}

impl Reach for Processes {
    fn places(&self) -> io::Result<Places> {
        let (told, places) = watch::channel(None);
        let mut worker = self.spawn(WATCH_SUBCOMMAND)?;
        let this = self.clone();
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    () = told.closed() => return,
                    () = relay(worker, &told) => {}
                }
                // It ended by itself: a C library took it down. Not in a tight loop; and a system that refuses a process now may
                // have one later.
                worker = loop {
                    tokio::time::sleep(Duration::from_secs(1)).await;
                    if let Ok(worker) = this.spawn(WATCH_SUBCOMMAND) {
                        break worker;
                    }
                };
            }
        });
        Ok(places)
    }

    fn start(&self) -> io::Result<Worker> {
        self.spawn(SUBCOMMAND)
    }
}

async fn relay(worker: Worker, told: &watch::Sender<Option<Vec<Place>>>) {
    let Worker { socket, process } = worker;
    let Ok(mut inbox) = Inbox::new(socket) else { return };
    while let Ok((report, _)) = inbox.next::<Report>().await {
        if let Report::Places(places) = report {
            told.send_replace(Some(places));
        }
    }
    drop(process);
}
