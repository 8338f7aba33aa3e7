//! Connections of ssh and ssh-keygen, all in one thread, and the leases that they share. What waits for a person, or asks the daemon for anything
//! but a signature, has a thread aside.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::net::{Shutdown, shutdown};
use rustix::process::getuid;
use serde_json::json;

use super::client;
use super::guests::{Guest, Guests};
use super::held::Held;
use super::logins::Logins;
use super::signatures::Signatures;
use super::{Args, failed};
use crate::cli::init::unexpected;
use crate::cli::session::Session as Caller;
use crate::cli::ui::{Tone, Ui};
use crate::client::{Client, daemon_gone};
use crate::clock::{Boot, Clock, SystemClock};
use crate::deliver::ssh_agent::frame::Message;
use crate::deliver::ssh_agent::{Connection, Step, frame};
use crate::deliver::ssh_client::Frames;
use crate::encoding::SecretRef;
use crate::encoding::ssh_signed_data::SignedData;
use crate::paths::Places;
use crate::sys::process::peer_uid;
use crate::wire::reply::Granted;
use crate::wire::request::{GrantAsk, LeaseAsk};
use crate::wire::{Failure, Reply, Request};

/// Longest frame with which a connection is lent; what OpenSSH says of a session or a signature is shorter. As many as are lent together, and come back
/// at once, have room in the buffers of the daemon's socket, so that neither waits for the other to read.
const MOST_LENT: usize = 2 << 10;
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
    /// One question at a time: they share a terminal. Who waits for his turn has no thread meanwhile.
    asking: Arc<tokio::sync::Mutex<()>>,
    /// The connection to the daemon of the question that stands.
    asked: Mutex<Option<OwnedFd>>,
    ending: AtomicBool,
    guests: Guests,
    /// Why something was refused, in a word or a sentence of ours, and when that was said.
    said: Mutex<BTreeMap<String, Boot>>,
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
            asking: Arc::default(),
            asked: Mutex::default(),
            ending: AtomicBool::new(false),
            guests: Guests::default(),
            said: Mutex::default(),
        }
    }

    /// Serves a connection, if it is of this user.
    pub fn meet(self: &Arc<Self>, stream: tokio::net::UnixStream) {
        if !peer_uid(stream.as_fd()).is_ok_and(|uid| uid == getuid().as_raw()) {
            return;
        }
        let frames = Frames::new(stream);
        let Some(guest) = frames.handle().ok().and_then(|handle| self.guests.admit(handle)) else {
            return;
        };
        let agent = self.clone();
        tokio::spawn(async move {
            tokio::select! {
                biased;
                () = guest.is_shown_out() => {}
                // A client that went away wants nothing any more.
                _ = agent.serve(frames, &guest) => {}
            }
            agent.guests.gone(&guest);
        });
    }

    /// Takes back what is asked for; no question comes after. Whoever waits for his turn has to be gone before [`Agent::until_nobody_asks`].
    pub fn stop(&self) {
        self.ending.store(true, Ordering::SeqCst);
        if let Some(socket) = locked(&self.asked).as_ref() {
            let _ = shutdown(socket, Shutdown::Both);
        }
    }

    /// Waits for whoever has the turn to be done with the terminal.
    pub fn until_nobody_asks(&self) {
        drop(self.asking.blocking_lock());
    }

    async fn serve(self: &Arc<Self>, mut client: Frames, guest: &Guest) -> io::Result<()> {
        let mut connection = Connection::default();
        // What the daemon gives back is answered here, before it is lent anything again.
        let mut is_back = false;
        while client.next().await? {
            let lender = if is_back { None } else { self.lender(&connection, client.body()) };
            if let Some(lender) = lender {
                // Of one that is bound by then the daemon has looked at its session; another one is back in a moment.
                self.guests.done(guest, matches!(Message::read(client.body()), Message::Bind(_)));
                let Some((same, back)) = lender.lend(client).await? else {
                    return Ok(());
                };
                client = same;
                if back.bound.is_some_and(|bound| connection.take(&bound) != Step::Bound) {
                    return Ok(());
                }
                self.guests.done(guest, connection.session().is_some());
                is_back = true;
                continue;
            }
            is_back = false;
            Guests::begin(guest);
            let step = connection.take(client.body());
            let answer = self.answer(step, &client).await;
            client.answer(&answer).await?;
            self.guests.done(guest, connection.session().is_some());
        }
        Ok(())
    }

    /// The lease that serves a connection which begins so.
    fn lender(&self, connection: &Connection, body: &[u8]) -> Option<Held> {
        match Message::read(body) {
            _ if !connection.is_unbound() || body.len() > MOST_LENT => None,
            Message::Bind(bind) if !bind.is_forwarding => self.logins.as_ref()?.lender(&bind.host_key),
            Message::Sign { key, data, flags: 0 } => self.signatures.lender(key, SignedData::read(&data).ok()?.namespace),
            _ => None,
        }
    }

    async fn answer(self: &Arc<Self>, step: Step, client: &Frames) -> Vec<u8> {
        let done = match step {
            Step::Bound => return frame::SUCCESS.to_vec(),
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

    /// Not as often as it happens: what is asked for in vain again and again is no reason to push a prompt off the screen.
    fn is_news(&self, why: &str) -> bool {
        let now = SystemClock.boot();
        let mut said = locked(&self.said);
        said.retain(|_, before| now.since(*before) < SAID);
        match said.contains_key(why) {
            true => false,
            false => said.insert(why.to_owned(), now).is_none(),
        }
    }

    fn say_why(&self, why: &'static str) {
        if self.is_news(why) {
            self.ui.note(Tone::Bad, &format!("touchlease: {why}"));
        }
    }

    /// Standard output is for what a shell has to know.
    fn say(&self, failure: &Failure) {
        // What else is in the sentence whoever asks may choose.
        if !self.is_news(&failure.reason) {
            return;
        }
        self.ui.json_progress(&json!({ "error": failure }));
        self.ui.note(Tone::Bad, &format!("touchlease: {}", failure.message));
        if let Some(hint) = &failure.hint {
            self.ui.note(Tone::Strong, &format!("hint: {hint}"));
        }
    }

    /// Asks a person; and the connection that holds the lease.
    pub(super) async fn ask(self: &Arc<Self>, grant: GrantAsk, client: &Frames) -> Result<(Granted, Held), Failure> {
        let waiting = client.handle().map(UnixStream::from).map_err(|error| failed(&error))?;
        let seen = waiting.try_clone().map_err(|error| failed(&error))?;
        // Whoever waits may be gone when it is his turn.
        let labels = self.aside(move |_| Ok(client::labels(&seen))).await?;
        let turn = self.asking.clone().lock_owned().await;
        let ask = move |agent: &Self| {
            let _turn = turn;
            agent.ask_for(grant, labels, &waiting)
        };
        let (granted, daemon) = self.aside(ask).await?;
        let daemon = daemon.into_stream().map_err(|error| failed(&error))?;
        let held = Held::new(daemon, granted.lease.uses_left.is_none());
        Ok((granted, held))
    }

    fn ask_for(&self, grant: GrantAsk, labels: BTreeMap<String, String>, waiting: &UnixStream) -> Result<(Granted, Client), Failure> {
        let client = Client::connect_or_start(&self.places)?;
        // Nobody is asked for who would not be seen to go away.
        let _watched = self.watch(&client, waiting).map_err(|error| failed(&error))?;
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
    fn watch(&self, client: &Client, stream: &UnixStream) -> io::Result<Watched> {
        let daemon = client.as_fd().try_clone_to_owned()?;
        let (stop, stopped) = UnixStream::pair()?;
        let waiting = stream.try_clone()?;
        let asked = daemon.try_clone()?;
        let watcher = thread::Builder::new().spawn(move || {
            let mut fds = [PollFd::new(&waiting, PollFlags::RDHUP), PollFd::new(&stopped, PollFlags::RDHUP)];
            while poll(&mut fds, None).is_err() {}
            if fds[1].revents().is_empty() {
                let _ = shutdown(&daemon, Shutdown::Both);
            }
        })?;
        *locked(&self.asked) = Some(asked);
        Ok(Watched {
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
