//! Clients of the agent that a lease's connection has lent: they are served here for as long as they sign in that lease, which time alone limits, and
//! go back to the agent with whatever else they say.
//!
//! So a signature is one round trip, and not two. Nothing is judged by other rules for that: what a frame means is told by the agent's own
//! [`Connection`], and each signature is permitted, counted and recorded as one that the agent asks for. A refusal is the agent's: the client goes back
//! with the frame unanswered.

use std::collections::HashMap;
use std::mem::take;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::rc::Rc;
use std::time::Duration;

use data_encoding::BASE64;
use tokio::sync::watch;
use tokio::task::{Id, JoinError, JoinSet, yield_now};
use tokio::time::{Sleep, sleep};

use super::signing::Signing;
use crate::deliver::ssh_agent::{Connection, Step, frame};
use crate::deliver::ssh_client::Frames;
use crate::sys::client;
use crate::wire::Event;

/// Most clients of one lease at a time: as many as the agent serves.
const MOST: usize = 64;

/// Most clients that have hung up and of which the agent is not told yet: a login is over with its connection, and to wake the agent for each takes as
/// long as to sign.
const MOST_UNTOLD: usize = 16;
/// How long it is not told of one.
const UNTOLD: Duration = Duration::from_millis(50);

/// The clients that are lent on one connection. When it is dropped nobody listens to them here any more.
pub(super) struct Loans {
    signing: Rc<Signing>,
    clients: JoinSet<Event>,
    ids: HashMap<Id, u64>,
    over: watch::Sender<bool>,
    /// Those that went away and of which the agent is not told yet, and the end of the time that it is not.
    untold: Vec<Event>,
    told: Option<Pin<Box<Sleep>>>,
}

impl Loans {
    pub(super) fn new(signing: &Rc<Signing>) -> Self {
        Self {
            signing: signing.clone(),
            clients: JoinSet::new(),
            ids: HashMap::new(),
            over: watch::Sender::new(false),
            untold: vec![],
            told: None,
        }
    }

    /// Serves a client that has said `frames`, in base64; or gives it back at once: what came is no client of this user's (T19), or there are too
    /// many.
    pub(super) fn take(&mut self, id: u64, socket: Option<OwnedFd>, frames: String) -> Option<Event> {
        let client = || {
            let socket = client::of_uid(socket?, self.signing.uid()).ok()?;
            let said = BASE64.decode(frames.as_bytes()).ok().filter(|said| said.len() <= MOST_SAID)?;
            Frames::again(socket, said).ok()
        };
        match (self.clients.len() < MOST).then(client).flatten() {
            Some(client) => {
                let over = self.over.subscribe();
                let task = self.clients.spawn_local(serve(self.signing.clone(), over, id, client));
                self.ids.insert(task.id(), id);
                None
            }
            None => Some(unserved(id, frames)),
        }
    }

    /// The next clients that go back. Waits for ever where there is none. May be dropped at any time.
    pub(super) async fn back(&mut self) -> Vec<Event> {
        loop {
            let told = async {
                match &mut self.told {
                    Some(told) => told.as_mut().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                Some(joined) = self.clients.join_next_with_id() => {
                    let back = named(&mut self.ids, joined);
                    let is_closed = matches!(back, Event::Back { closed: true, .. });
                    self.untold.push(back);
                    if !is_closed || self.untold.len() >= MOST_UNTOLD {
                        break;
                    }
                    self.told.get_or_insert_with(|| Box::pin(sleep(UNTOLD)));
                }
                () = told => break,
                else => std::future::pending().await,
            }
        }
        self.told = None;
        take(&mut self.untold)
    }

    /// Gives all of them back, as the lease is over.
    pub(super) async fn all_back(&mut self) -> Vec<Event> {
        self.over.send_replace(true);
        let mut all = take(&mut self.untold);
        while let Some(joined) = self.clients.join_next_with_id().await {
            all.push(named(&mut self.ids, joined));
        }
        all
    }
}

/// What a client came to.
fn named(ids: &mut HashMap<Id, u64>, joined: Result<(Id, Event), JoinError>) -> Event {
    match joined {
        Ok((task, back)) => {
            ids.remove(&task);
            back
        }
        // Nobody knows how far it came.
        Err(error) => closed(ids.remove(&error.id()).unwrap_or_default()),
    }
}

/// Most bytes that a client has said when it is lent: a frame, and what was read with it.
const MOST_SAID: usize = 2 * frame::LONGEST;

/// Gives a client back that nobody listened to.
pub(super) fn unserved(id: u64, frames: String) -> Event {
    Event::Back {
        id,
        bound: None,
        frames,
        closed: false,
    }
}

/// It went away, or has to.
fn closed(id: u64) -> Event {
    Event::Back {
        id,
        bound: None,
        frames: String::new(),
        closed: true,
    }
}

/// Serves a client until it says something else, or the lease is over.
async fn serve(signing: Rc<Signing>, mut over: watch::Receiver<bool>, id: u64, mut client: Frames) -> Event {
    let mut connection = Connection::default();
    let mut bound = None;
    loop {
        let is_there = tokio::select! {
            biased;
            _ = over.wait_for(|over| *over) => return back(id, bound, &client),
            there = client.next() => there,
        };
        if !matches!(is_there, Ok(true)) {
            return closed(id);
        }
        let Some(answer) = answer(&signing, &mut connection, client.body()) else {
            return back(id, bound, &client);
        };
        if answer == frame::SUCCESS {
            bound = Some(BASE64.encode(client.body()));
        }
        let sent = tokio::select! {
            biased;
            sent = client.answer(&answer) => sent.is_ok(),
            // Half an answer cannot be gone on with by anybody else.
            _ = over.wait_for(|over| *over) => false,
        };
        if !sent {
            return closed(id);
        }
        // One frame in a turn, whatever a client has sent: the others wait as long as it does.
        if client.is_next_there() {
            yield_now().await;
        }
    }
}

/// The answer to a frame that is the lease's matter, and that nothing stands against.
fn answer(signing: &Signing, connection: &mut Connection, body: &[u8]) -> Option<Vec<u8>> {
    match connection.take(body) {
        Step::Bound if connection.session().is_some_and(|session| signing.is_for(&session.checked)) => Some(frame::SUCCESS.to_vec()),
        Step::List(session) => {
            let (certificate, comment) = signing.certificate(&session.checked)?;
            Some(frame::identities(&[(certificate, &comment)]))
        }
        Step::Sign { session, key, data } => signing
            .sign_login(&session.checked, &key, &data)
            .map(|signature| frame::signature(&signature)),
        Step::SignData { key, data } => signing.sign_data(&key, data).map(|signature| frame::signature(&signature)),
        Step::Bound | Step::Answer(_) | Step::Refuse(_) | Step::ListKeys => None,
    }
}

fn back(id: u64, bound: Option<String>, client: &Frames) -> Event {
    Event::Back {
        id,
        bound,
        frames: BASE64.encode(client.unanswered()),
        closed: false,
    }
}
