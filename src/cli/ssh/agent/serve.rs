//! Connections of ssh, each in a thread of its own, and the leases that they share.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use data_encoding::BASE64;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::net::{Shutdown, shutdown};
use rustix::process::getuid;
use serde_json::json;

use super::Args;
use crate::cli::init::unexpected;
use crate::cli::session::Session as Caller;
use crate::cli::ui::{Tone, Ui};
use crate::client::{Client, Message, daemon_gone};
use crate::deliver::ssh_agent::{Connection, Session, Step, frame};
use crate::paths::Places;
use crate::wire::request::{GrantAsk, LeaseAsk};
use crate::wire::signer::{CertificateAsk, LoginAsk, SessionAsk};
use crate::wire::{Answer, Event, Failure, Reply, Request};

/// Most connections at a time.
const MOST: usize = 64;
/// How long a client may leave its answer unread.
const READ_WITHIN: Duration = Duration::from_secs(10);

/// Leases by the host key that they are for. Whoever asks for one keeps it locked: another connection to the same server gets the same.
type Leases = BTreeMap<Vec<u8>, Arc<Mutex<Option<Held>>>>;

/// What all connections share.
pub struct Agent {
    args: Args,
    ui: Ui,
    places: Places,
    vault: Option<PathBuf>,
    leases: Mutex<Leases>,
    /// One question at a time: they share a terminal.
    asking: Mutex<()>,
    /// The connection to the daemon of the question that stands.
    asked: Mutex<Option<OwnedFd>>,
    ending: AtomicBool,
    connections: AtomicUsize,
}

/// A lease that this process holds.
struct Held {
    client: Client,
    /// The certificate, in its wire form.
    certificate: Vec<u8>,
    /// The lease's id.
    id: String,
}

/// While it lives a question is taken back when the client that waits for it goes away.
struct Watched {
    stop: Option<UnixStream>,
    watcher: Option<thread::JoinHandle<()>>,
}

impl Agent {
    pub fn new(session: &Caller, args: Args) -> Self {
        Self {
            args,
            ui: session.ui,
            places: session.places.clone(),
            vault: session.vault.clone(),
            leases: Mutex::default(),
            asking: Mutex::default(),
            asked: Mutex::default(),
            ending: AtomicBool::new(false),
            connections: AtomicUsize::new(0),
        }
    }

    /// Serves a connection, if it is of this user.
    pub fn meet(self: &Arc<Self>, stream: tokio::net::UnixStream) {
        let stream = stream.into_std();
        let Ok(stream) = stream.and_then(|stream| stream.set_nonblocking(false).map(|()| stream)) else {
            return;
        };
        let peer = rustix::net::sockopt::socket_peercred(&stream);
        if !peer.is_ok_and(|peer| peer.uid == getuid()) || self.connections.load(Ordering::SeqCst) >= MOST {
            return;
        }
        self.connections.fetch_add(1, Ordering::SeqCst);
        let agent = self.clone();
        thread::spawn(move || {
            // A client that went away wants nothing any more.
            let _ = agent.serve(stream);
            agent.connections.fetch_sub(1, Ordering::SeqCst);
        });
    }

    /// Takes back what is asked for; no question comes after.
    pub fn stop(&self) {
        self.ending.store(true, Ordering::SeqCst);
        if let Some(socket) = locked(&self.asked).as_ref() {
            let _ = shutdown(socket, Shutdown::Both);
        }
        drop(locked(&self.asking));
    }

    fn serve(&self, mut stream: UnixStream) -> io::Result<()> {
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
            let answer = self.answer(connection.take(&body), &stream);
            let length = u32::try_from(answer.len()).map_err(io::Error::other)?;
            stream.write_all(&[&length.to_be_bytes()[..], &answer].concat())?;
        }
    }

    fn answer(&self, step: Step, stream: &UnixStream) -> Vec<u8> {
        let done = match step {
            Step::Answer(answer) => return answer,
            Step::Refuse(why) => {
                self.ui.note(Tone::Bad, &format!("touchlease: {why}"));
                return frame::FAILURE.to_vec();
            }
            Step::List(session) => self.list(&session, stream),
            Step::Sign { session, key, data } => self.sign(&session, &key, &data),
        };
        done.unwrap_or_else(|failure| {
            self.say(&failure);
            frame::FAILURE.to_vec()
        })
    }

    /// Standard output is for what a shell has to know.
    fn say(&self, failure: &Failure) {
        self.ui.json_progress(&json!({ "error": failure }));
        self.ui.note(Tone::Bad, &format!("touchlease: {}", failure.message));
        if let Some(hint) = &failure.hint {
            self.ui.note(Tone::Strong, &format!("hint: {hint}"));
        }
    }

    /// The certificate for this server: that of a live lease, or of one that is asked for.
    fn list(&self, session: &Session, stream: &UnixStream) -> Result<Vec<u8>, Failure> {
        let slot = self.slot(session);
        let mut held = locked(&slot);
        if held.as_ref().is_some_and(|held| !held.is_live()) {
            *held = None;
        }
        let held = match &mut *held {
            Some(held) => held,
            empty => empty.insert(self.ask(session, stream)?),
        };
        Ok(frame::identities(&[(&held.certificate, &format!("touchlease {}", held.id))]))
    }

    fn sign(&self, session: &Session, key: &[u8], data: &[u8]) -> Result<Vec<u8>, Failure> {
        let slot = self.slot(session);
        let mut held = locked(&slot);
        let Some(lease) = held.as_mut().filter(|held| held.certificate == key) else {
            return Ok(frame::FAILURE.to_vec());
        };
        let signed = lease.sign(session, data);
        if !lease.is_live() {
            *held = None;
        }
        Ok(frame::signature(&signed?))
    }

    fn slot(&self, session: &Session) -> Arc<Mutex<Option<Held>>> {
        let host = session.checked.host().to_blob();
        locked(&self.leases).entry(host).or_default().clone()
    }

    /// Asks a person.
    fn ask(&self, session: &Session, stream: &UnixStream) -> Result<Held, Failure> {
        let _turn = locked(&self.asking);
        let client = Client::connect_or_start(&self.places)?;
        let _watched = self.watch(&client, stream);
        // Whoever ends the agent from here on ends this connection.
        if self.ending.load(Ordering::SeqCst) {
            return Err(daemon_gone());
        }
        let caller = Caller {
            ui: self.ui,
            places: self.places.clone(),
            vault: self.vault.clone(),
            met: Cell::new(Some(client)),
        };
        let asked = caller.ask_held(Request::Lease(self.lease(session)));
        locked(&self.asked).take();
        let (Reply::Granted(granted), client) = asked? else {
            return Err(unexpected());
        };
        let line = granted.values.first().ok_or_else(unexpected)?.value.0.expose();
        let certificate = line.split(|byte| *byte == b' ').nth(1);
        let certificate = certificate.and_then(|base64| BASE64.decode(base64).ok());
        Ok(Held {
            client,
            certificate: certificate.ok_or_else(unexpected)?,
            id: granted.lease.id,
        })
    }

    fn lease(&self, session: &Session) -> LeaseAsk {
        let args = &self.args;
        let certificate = CertificateAsk {
            force_command: args.force_command.clone(),
            key: String::new(),
            login: Some(LoginAsk {
                session: said(session),
                old_server: args.old_server,
                user: args.user.clone(),
            }),
            principal: args.principal.clone(),
            pty: args.pty,
            source_addresses: args.source_addresses.clone(),
        };
        LeaseAsk {
            with: vec![GrantAsk {
                secret: args.signer.to_string(),
                via: "signer".into(),
                env: None,
                token: None,
                certificate: Some(certificate),
            }],
            ttl: args.ttl,
            uses: args.uses,
            reason: args.reason.clone(),
            deliver: true,
            ..LeaseAsk::default()
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

impl Held {
    /// Whether the daemon has said nothing yet, which would be that the lease is over.
    fn is_live(&self) -> bool {
        self.client.is_waiting() && !self.client.is_ready()
    }

    fn sign(&mut self, session: &Session, data: &[u8]) -> Result<Vec<u8>, Failure> {
        self.client.answer(&Answer::Sign {
            session: said(session),
            data: BASE64.encode(data),
        })?;
        loop {
            match self.client.message()? {
                Some(Message::Event(Event::Signed {
                    signature: Some(signature),
                    ..
                })) => return BASE64.decode(signature.as_bytes()).map_err(|_| unexpected()),
                Some(Message::Event(Event::Signed {
                    refused: Some(refused), ..
                })) => return Err(refused),
                // The lease's end, which may come at any time.
                Some(Message::Event(_)) => {}
                Some(Message::Reply(_)) => return Err(unexpected()),
                None => return Err(daemon_gone()),
            }
        }
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        drop(self.stop.take());
        // It ends at once: what it waits for is gone.
        let _ = self.watcher.take().map(thread::JoinHandle::join);
    }
}

fn said(session: &Session) -> SessionAsk {
    SessionAsk {
        host_key: BASE64.encode(session.checked.blob()),
        id: BASE64.encode(session.checked.id()),
        signature: BASE64.encode(&session.signature),
    }
}

/// What a thread that ended badly left is whole: each of these is changed in one step.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
