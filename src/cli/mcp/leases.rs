//! The leases of one session, and the daemon that gives them.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::super::session::{LABELS, Session, claim};
use super::claims::{IN_SESSION, SESSION};
use super::lease::{Entry, State};
use super::workspace::TaskFile;
use crate::client::{Client, Message, daemon_gone};
use crate::lease::grant::Via;
use crate::lease::task::Task;
use crate::paths::Places;
use crate::wire::request::LeaseAsk;
use crate::wire::{Call, Failure, Outcome, Reply, Request, VERSION};

/// Leases of a session that are asked for or live, at a time.
const MOST: usize = 8;
/// Those that are kept after their end, to be looked at.
const KEPT: usize = 32;
/// What the daemon may use to say whether a person is asked at all.
const AT_ONCE: Duration = Duration::from_secs(2);

/// The daemon, as this session calls it.
#[derive(Clone)]
pub struct Daemon {
    places: Places,
    vault: Option<PathBuf>,
    /// Labels of the environment; each call has its own beside them.
    labels: BTreeMap<String, String>,
    /// The proxy that the agent is behind.
    session: Option<String>,
}

/// See the module.
pub struct Leases {
    daemon: Daemon,
    entries: Mutex<Entries>,
}

#[derive(Default)]
struct Entries {
    made: u32,
    all: Vec<Arc<Entry>>,
}

impl Daemon {
    pub fn of(session: &Session) -> Self {
        let label = |name: &&str| std::env::var(name).ok().map(|value| ((*name).to_owned(), value));
        Self {
            places: session.places.clone(),
            vault: session.vault.clone(),
            labels: LABELS.iter().filter_map(label).collect(),
            session: std::env::var(SESSION).ok().filter(|session| !session.is_empty()),
        }
    }

    /// A call that shows no prompts.
    pub fn call(&self, labels: BTreeMap<String, String>, request: Request) -> Call {
        Call {
            v: VERSION,
            vault: self.vault.clone(),
            screen: false,
            labels: self.labels.clone().into_iter().chain(labels).collect(),
            places: Some(claim(&self.places)),
            request,
        }
    }

    /// A connection, made on another thread: to start a daemon takes a moment.
    ///
    /// # Errors
    /// There is none and none can be started.
    pub async fn connect(&self) -> Result<Client, Failure> {
        let places = self.places.clone();
        let connected = tokio::task::spawn_blocking(move || Client::connect_or_start(&places)).await;
        connected.map_err(|error| Failure::new(Outcome::Internal, "runtime", error.to_string()).ours())?
    }

    /// Asks what needs no person.
    ///
    /// # Errors
    /// What the daemon says.
    pub async fn ask(&self, request: Request) -> Result<Reply, Failure> {
        let call = self.call(BTreeMap::new(), request);
        let unheard = |error: std::io::Error| Failure::new(Outcome::NoDaemon, "no_daemon", error.to_string()).hint("touchlease doctor");
        let mut stream = self.connect().await?.into_stream().map_err(unheard)?;
        stream.send(&call).await?;
        loop {
            match stream.message().await? {
                Some(Message::Reply(reply)) => match *reply {
                    Reply::Failed(failure) => return Err(failure),
                    reply => return Ok(reply),
                },
                Some(Message::Event(_)) => {}
                None => return Err(daemon_gone()),
            }
        }
    }

    pub fn runtime_dir(&self) -> Option<PathBuf> {
        self.places.runtime.parent().map(PathBuf::from)
    }
}

impl Leases {
    pub fn new(daemon: Daemon) -> Self {
        Self {
            daemon,
            entries: Mutex::default(),
        }
    }

    pub fn daemon(&self) -> &Daemon {
        &self.daemon
    }

    /// Asks for a task's lease, and waits only until it is known whether a person is asked. One that is asked for or live already is
    /// that one, for the same file: a model that asks twice is no second prompt. Says whether it was there before.
    ///
    /// # Errors
    /// Too many at a time. What the daemon refuses is a state of the entry.
    pub async fn request(
        &self,
        file: TaskFile,
        task: Task,
        reason: String,
        mut labels: BTreeMap<String, String>,
    ) -> Result<(Arc<Entry>, bool), Failure> {
        let ask = LeaseAsk {
            task: Some(file.ask(&task.name)),
            reason: Some(reason),
            command: task.command.clone(),
            hold: true,
            session: self
                .daemon
                .session
                .clone()
                .filter(|_| task.grants.iter().any(|grant| grant.via == Via::Proxy)),
            ..LeaseAsk::default()
        };
        if ask.session.is_some() {
            // The person is to know that the lease is not for the command alone.
            labels.insert(IN_SESSION.into(), "its own programs".into());
        }
        let (entry, before) = self.entry(file, task)?;
        if !before {
            self.begin(&entry, self.daemon.call(labels, Request::Lease(ask))).await;
        }
        let mut states = entry.states();
        let known = states.wait_for(|state| !matches!(state, State::Asking { .. }));
        // Then others come first, and it says how many.
        let _ = tokio::time::timeout(AT_ONCE, known).await;
        Ok((entry, before))
    }

    fn entry(&self, file: TaskFile, task: Task) -> Result<(Arc<Entry>, bool), Failure> {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        let goes_on = |entry: &&Arc<Entry>| {
            let state = entry.state();
            state.is_open() || state.is_live()
        };
        let same = |entry: &&Arc<Entry>| entry.task.name == task.name && entry.task.digest == task.digest;
        if let Some(entry) = entries.all.iter().filter(goes_on).find(same) {
            return Ok((entry.clone(), true));
        }
        if entries.all.iter().filter(goes_on).count() >= MOST {
            let message = format!("this session has {MOST} leases already, and no more at a time");
            return Err(Failure::new(Outcome::Refused, "too_many_leases", message).hint("give back what is not needed: end_lease"));
        }
        let over = entries.all.len().saturating_sub(KEPT);
        for _ in 0..over {
            if let Some(at) = entries.all.iter().position(|entry| !goes_on(&entry)) {
                entries.all.remove(at);
            }
        }
        entries.made += 1;
        let entry = Arc::new(Entry::new(format!("L{}", entries.made), file, task));
        entries.all.push(entry.clone());
        Ok((entry, false))
    }

    async fn begin(&self, entry: &Arc<Entry>, call: Call) {
        let unheard = |error: std::io::Error| Failure::new(Outcome::NoDaemon, "no_daemon", error.to_string()).hint("touchlease doctor");
        let connected = self.daemon.connect().await;
        match connected.and_then(|client| client.into_stream().map_err(unheard)) {
            Ok(stream) => {
                let entry = entry.clone();
                tokio::spawn(async move { entry.follow(stream, call).await });
            }
            Err(failure) => entry.refuse(failure),
        }
    }

    /// # Errors
    /// No lease of this session has this name.
    pub fn find(&self, name: &str) -> Result<Arc<Entry>, Failure> {
        let entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        let found = entries.all.iter().find(|entry| entry.name == name).cloned();
        found.ok_or_else(|| {
            Failure::new(Outcome::BadInput, "no_lease", "this session has no lease of this name")
                .hint("request_lease gives a lease, and its name in the member `lease`")
        })
    }

    /// Gives all leases back.
    pub fn give_up(&self) {
        let entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        entries.all.iter().for_each(|entry| entry.give_up());
    }
}
