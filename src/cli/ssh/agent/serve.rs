//! Connections of ssh and ssh-keygen, each in a thread of its own, and the leases that they share.

use std::cell::Cell;
use std::collections::{BTreeMap, VecDeque};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::net::{Shutdown, shutdown};
use rustix::process::getuid;
use serde_json::json;

use super::Args;
use super::client;
use super::held::Held;
use super::logins::Logins;
use super::signatures::Signatures;
use crate::cli::init::unexpected;
use crate::cli::session::Session as Caller;
use crate::cli::ui::{Tone, Ui};
use crate::client::{Client, daemon_gone};
use crate::clock::{Boot, Clock, SystemClock};
use crate::deliver::ssh_agent::{Connection, Step, frame};
use crate::encoding::SecretRef;
use crate::paths::Places;
use crate::sys::process::peer_uid;
use crate::wire::reply::Granted;
use crate::wire::request::{GrantAsk, LeaseAsk};
use crate::wire::{Failure, Reply, Request};

/// Most connections at a time. Whoever has proven no session gives way to the next one: over a connection that ssh forwarded anybody opens as many
/// as he likes.
const MOST: usize = 64;
/// How long the same is not said again: what a forwarded connection asks for in vain is no reason to push a prompt off the screen.
const SAID: Duration = Duration::from_secs(10);
/// How long a client may leave its answer unread.
const READ_WITHIN: Duration = Duration::from_secs(10);

/// What all connections share.
pub struct Agent {
    pub(super) args: Args,
    ui: Ui,
    places: Places,
    vault: Option<PathBuf>,
    logins: Option<Logins>,
    signatures: Signatures,
    /// One question at a time: they share a terminal.
    asking: Mutex<()>,
    /// The connection to the daemon of the question that stands.
    asked: Mutex<Option<OwnedFd>>,
    ending: AtomicBool,
    connections: AtomicUsize,
    /// Those that have proven no session, the oldest first.
    strangers: Mutex<VecDeque<(Arc<AtomicBool>, UnixStream)>>,
    /// Why something was refused, and when that was said.
    said: Mutex<BTreeMap<&'static str, Boot>>,
}

/// While it lives a question is taken back when the client that waits for it goes away.
struct Watched {
    stop: Option<UnixStream>,
    watcher: Option<thread::JoinHandle<()>>,
}

impl Agent {
    /// With a signer of certificates for logins, perhaps, and signers of signatures.
    pub fn new(session: &Caller, args: Args, ca: Option<SecretRef>, signers: Vec<SecretRef>) -> Self {
        Self {
            args,
            ui: session.ui,
            places: session.places.clone(),
            vault: session.vault.clone(),
            logins: ca.map(Logins::new),
            signatures: Signatures::new(signers),
            asking: Mutex::default(),
            asked: Mutex::default(),
            ending: AtomicBool::new(false),
            connections: AtomicUsize::new(0),
            strangers: Mutex::default(),
            said: Mutex::default(),
        }
    }

    /// Serves a connection, if it is of this user.
    pub fn meet(self: &Arc<Self>, stream: tokio::net::UnixStream) {
        let stream = stream.into_std();
        let Ok(stream) = stream.and_then(|stream| stream.set_nonblocking(false).map(|()| stream)) else {
            return;
        };
        if !peer_uid(stream.as_fd()).is_ok_and(|uid| uid == getuid().as_raw()) {
            return;
        }
        let (proven, Ok(handle)) = (Arc::new(AtomicBool::new(false)), stream.try_clone()) else {
            return;
        };
        if self.connections.fetch_add(1, Ordering::SeqCst) >= MOST && !self.part_with_one() {
            self.connections.fetch_sub(1, Ordering::SeqCst);
            return;
        }
        locked(&self.strangers).push_back((proven.clone(), handle));
        let agent = self.clone();
        thread::spawn(move || {
            // A client that went away wants nothing any more.
            let _ = agent.serve(stream, &proven);
            locked(&agent.strangers).retain(|(one, _)| !Arc::ptr_eq(one, &proven));
            agent.connections.fetch_sub(1, Ordering::SeqCst);
        });
    }

    /// Ends the oldest connection that has proven no session, if there is one.
    fn part_with_one(&self) -> bool {
        let mut strangers = locked(&self.strangers);
        strangers.retain(|(proven, _)| !proven.load(Ordering::SeqCst));
        let oldest = strangers.pop_front();
        oldest.is_some_and(|(_, stream)| stream.shutdown(std::net::Shutdown::Both).is_ok())
    }

    /// Takes back what is asked for; no question comes after.
    pub fn stop(&self) {
        self.ending.store(true, Ordering::SeqCst);
        if let Some(socket) = locked(&self.asked).as_ref() {
            let _ = shutdown(socket, Shutdown::Both);
        }
        drop(locked(&self.asking));
    }

    fn serve(&self, mut stream: UnixStream, proven: &AtomicBool) -> io::Result<()> {
        stream.set_write_timeout(Some(READ_WITHIN))?;
        let mut connection = Connection::default();
        loop {
            let mut length = [0; 4];
            stream.read_exact(&mut length)?;
            let length = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
            if length == 0 || length > frame::LONGEST {
                return Ok(());
            }
            let mut body = vec![0; length];
            stream.read_exact(&mut body)?;
            let step = connection.take(&body);
            proven.store(connection.is_proven(), Ordering::SeqCst);
            let answer = self.answer(step, &stream);
            let length = u32::try_from(answer.len()).map_err(io::Error::other)?;
            stream.write_all(&[&length.to_be_bytes()[..], &answer].concat())?;
        }
    }

    fn answer(&self, step: Step, stream: &UnixStream) -> Vec<u8> {
        let done = match step {
            Step::Answer(answer) => return answer,
            Step::Refuse(why) => {
                self.say_why(why);
                return frame::FAILURE.to_vec();
            }
            Step::List(session) => match &self.logins {
                Some(logins) => logins.list(self, &session, stream),
                None => Ok(frame::identities(&[])),
            },
            Step::Sign { session, key, data } => match &self.logins {
                Some(logins) => logins.sign(&session, &key, &data),
                None => return frame::FAILURE.to_vec(),
            },
            Step::ListKeys => self.signatures.list(self),
            Step::SignData { key, data } => self.signatures.sign(self, &key, &data, stream),
        };
        done.unwrap_or_else(|failure| {
            self.say(&failure);
            frame::FAILURE.to_vec()
        })
    }

    /// Not as often as it happens.
    fn say_why(&self, why: &'static str) {
        let now = SystemClock.boot();
        let before = locked(&self.said).insert(why, now);
        if before.is_none_or(|before| now.since(before) >= SAID) {
            self.ui.note(Tone::Bad, &format!("touchlease: {why}"));
        } else if let Some(before) = before {
            locked(&self.said).insert(why, before);
        }
    }

    /// Standard output is for what a shell has to know.
    fn say(&self, failure: &Failure) {
        self.ui.json_progress(&json!({ "error": failure }));
        self.ui.note(Tone::Bad, &format!("touchlease: {}", failure.message));
        if let Some(hint) = &failure.hint {
            self.ui.note(Tone::Strong, &format!("hint: {hint}"));
        }
    }

    /// Asks a person; and the connection that holds the lease.
    pub(super) fn ask(&self, grant: GrantAsk, stream: &UnixStream) -> Result<(Granted, Held), Failure> {
        // Whoever waits may be gone when it is his turn.
        let labels = client::labels(stream);
        let _turn = locked(&self.asking);
        let client = Client::connect_or_start(&self.places)?;
        let _watched = self.watch(&client, stream);
        // Whoever ends the agent from here on ends this connection.
        if self.ending.load(Ordering::SeqCst) {
            return Err(daemon_gone());
        }
        let args = &self.args;
        let lease = LeaseAsk {
            with: vec![grant],
            ttl: args.ttl,
            uses: args.uses,
            reason: args.reason.clone(),
            deliver: true,
            ..LeaseAsk::default()
        };
        let caller = Caller {
            labels,
            ..self.caller(Some(client))
        };
        let asked = caller.ask_held(Request::Lease(lease));
        locked(&self.asked).take();
        let (Reply::Granted(granted), client) = asked? else {
            return Err(unexpected());
        };
        Ok((granted, Held::new(client)))
    }

    /// Who speaks to the daemon.
    pub(super) fn caller(&self, client: Option<Client>) -> Caller {
        Caller {
            ui: self.ui,
            places: self.places.clone(),
            vault: self.vault.clone(),
            labels: BTreeMap::new(),
            met: Cell::new(client),
        }
    }

    /// Who waits may be stopped: then nobody is to be asked any longer.
    fn watch(&self, client: &Client, stream: &UnixStream) -> Option<Watched> {
        let daemon = client.as_fd().try_clone_to_owned().ok()?;
        let (stop, stopped) = UnixStream::pair().ok()?;
        let waiting = stream.try_clone().ok()?;
        *locked(&self.asked) = daemon.try_clone().ok();
        let watcher = thread::spawn(move || {
            let mut fds = [PollFd::new(&waiting, PollFlags::RDHUP), PollFd::new(&stopped, PollFlags::RDHUP)];
            while poll(&mut fds, None).is_err() {}
            if fds[1].revents().is_empty() {
                let _ = shutdown(&daemon, Shutdown::Both);
            }
        });
        Some(Watched {
            stop: Some(stop),
            watcher: Some(watcher),
        })
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        drop(self.stop.take());
        // It ends at once: what it waits for is gone.
        let _ = self.watcher.take().map(thread::JoinHandle::join);
    }
}

/// What a thread that ended badly left is whole: each of these is changed in one step.
pub(super) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
