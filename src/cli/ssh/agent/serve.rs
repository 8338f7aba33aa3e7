//! Connections of ssh and ssh-keygen, all in one thread, and the leases that they share. What waits for a person, or asks the daemon for anything
//! but a signature, has a thread aside.

use std::cell::Cell;
use std::collections::{BTreeMap, VecDeque};
use std::io;
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

use super::client;
use super::frames::Frames;
use super::held::Held;
use super::logins::Logins;
use super::signatures::Signatures;
use super::{Args, failed};
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

/// What all connections share.
pub struct Agent {
    pub(super) args: Args,
    ui: Ui,
    places: Places,
    vault: Option<PathBuf>,
    logins: Option<Logins>,
    pub(super) signatures: Signatures,
    /// One question at a time: they share a terminal.
    asking: Mutex<()>,
    /// The connection to the daemon of the question that stands.
    asked: Mutex<Option<OwnedFd>>,
    ending: AtomicBool,
    connections: AtomicUsize,
    /// Those that have proven no session, the oldest first.
    strangers: Mutex<VecDeque<(Arc<AtomicBool>, OwnedFd)>>,
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
        if !peer_uid(stream.as_fd()).is_ok_and(|uid| uid == getuid().as_raw()) {
            return;
        }
        let frames = Frames::new(stream);
        let (proven, Ok(handle)) = (Arc::new(AtomicBool::new(false)), frames.handle()) else {
            return;
        };
        if self.connections.fetch_add(1, Ordering::SeqCst) >= MOST && !self.part_with_one() {
            self.connections.fetch_sub(1, Ordering::SeqCst);
            return;
        }
        locked(&self.strangers).push_back((proven.clone(), handle));
        let agent = self.clone();
        tokio::spawn(async move {
            // A client that went away wants nothing any more.
            let _ = agent.serve(frames, &proven).await;
            locked(&agent.strangers).retain(|(one, _)| !Arc::ptr_eq(one, &proven));
            agent.connections.fetch_sub(1, Ordering::SeqCst);
        });
    }

    /// Ends the oldest connection that has proven no session, if there is one.
    fn part_with_one(&self) -> bool {
        let mut strangers = locked(&self.strangers);
        strangers.retain(|(proven, _)| !proven.load(Ordering::SeqCst));
        let oldest = strangers.pop_front();
        oldest.is_some_and(|(_, stream)| shutdown(stream, Shutdown::Both).is_ok())
    }

    /// Takes back what is asked for; no question comes after.
    pub fn stop(&self) {
        self.ending.store(true, Ordering::SeqCst);
        if let Some(socket) = locked(&self.asked).as_ref() {
            let _ = shutdown(socket, Shutdown::Both);
        }
        drop(locked(&self.asking));
    }

    async fn serve(self: &Arc<Self>, mut client: Frames, proven: &AtomicBool) -> io::Result<()> {
        let mut connection = Connection::default();
        while let Some(body) = client.next().await? {
            let step = connection.take(&body);
            proven.store(connection.is_proven(), Ordering::SeqCst);
            let answer = self.answer(step, &client).await;
            client.answer(&answer).await?;
        }
        Ok(())
    }

    async fn answer(self: &Arc<Self>, step: Step, client: &Frames) -> Vec<u8> {
        let done = match step {
            Step::Answer(answer) => return answer,
            Step::Refuse(why) => {
                self.say_why(why);
                return frame::FAILURE.to_vec();
            }
            Step::List(session) => match &self.logins {
                Some(logins) => logins.list(self, &session, client).await,
                None => Ok(frame::identities(&[])),
            },
            Step::Sign { session, key, data } => match &self.logins {
                Some(logins) => logins.sign(&session, &key, &data).await,
                None => return frame::FAILURE.to_vec(),
            },
            Step::ListKeys => self.aside(|agent| agent.signatures.list(agent)).await,
            Step::SignData { key, data } => self.signatures.sign(self, key, &data, client).await,
        };
        done.unwrap_or_else(|failure| {
            self.say(&failure);
            frame::FAILURE.to_vec()
        })
    }

    /// What waits for the daemon, or for a person, in a thread where nobody else waits for it.
    pub(super) async fn aside<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&Self) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, Failure> {
        let agent = self.clone();
        let done = tokio::task::spawn_blocking(move || work(&agent)).await;
        done.unwrap_or_else(|error| Err(failed(&io::Error::other(error))))
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
    pub(super) async fn ask(self: &Arc<Self>, grant: GrantAsk, client: &Frames) -> Result<(Granted, Held), Failure> {
        let waiting = client.handle().map(UnixStream::from).map_err(|error| failed(&error))?;
        let (granted, daemon) = self.aside(move |agent| agent.ask_for(grant, &waiting)).await?;
        let daemon = daemon.into_stream().map_err(|error| failed(&error))?;
        Ok((granted, Held::new(daemon)))
    }

    fn ask_for(&self, grant: GrantAsk, waiting: &UnixStream) -> Result<(Granted, Client), Failure> {
        // Whoever waits may be gone when it is his turn.
        let labels = client::labels(waiting);
        let _turn = locked(&self.asking);
        let client = Client::connect_or_start(&self.places)?;
        let _watched = self.watch(&client, waiting);
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
        match asked? {
            (Reply::Granted(granted), client) => Ok((granted, client)),
            _ => Err(unexpected()),
        }
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
