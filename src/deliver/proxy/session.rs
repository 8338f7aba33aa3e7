//! What all connections of a worker share: the leases, the authority, the way to the daemon, and who has to be cut when a lease ends.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeSet, HashMap};
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::task::{AbortHandle, JoinHandle};

use super::book::{Book, GrantId};
use super::ca::Ca;
use super::hosts::Authority;
use super::idle::Idle;
use super::protocol::{Network, Offer, Report};
use super::refuse::Refusal;
use super::upstream::Upstreams;
use super::uses::Uses;
use crate::clock::Clock;
use crate::secret::Secret;

/// Longest names in a report: the log's lines are for people.
const LONGEST_NAME: usize = 300;
/// How long cut connections may take to be gone before their lease's end is reported all the same.
const CUT: Duration = Duration::from_millis(500);
/// Echoes, of different grants or hosts, that wait to be told.
const MOST_UNTOLD: usize = 256;

/// A session.
pub struct Session {
    /// What becomes of other hosts.
    pub network: Network,
    /// What a lease can be asked for.
    pub offers: Vec<Offer>,
    /// Its authority.
    pub ca: Ca,
    /// Ways to hosts.
    pub upstreams: Upstreams,
    /// Its leases.
    pub book: RefCell<Book>,
    /// What every client of the proxy has to say.
    pub bearer: Secret,
    /// What every client of the reverse form has in its base URL; it opens nothing else.
    pub base: Secret,
    /// The proxy's own port.
    pub port: u16,
    /// What of them may be used.
    pub uses: Rc<Uses>,
    reports: mpsc::Sender<Report>,
    next: Cell<u64>,
    /// Echoes that the daemon has not heard of, and whether somebody is at it.
    untold: RefCell<BTreeSet<(GrantId, String)>>,
    telling: Cell<bool>,
    ties: RefCell<HashMap<u64, Rc<Ties>>>,
    /// Ways to hosts that no connection of a client has.
    pub idle: Idle,
}

impl Session {
    /// Without leases or connections.
    #[must_use]
    pub fn new(
        network: Network,
        offers: Vec<Offer>,
        ca: Ca,
        upstreams: Upstreams,
        (bearer, base): (Secret, Secret),
        port: u16,
        (reports, clock): (mpsc::Sender<Report>, Arc<dyn Clock>),
    ) -> Rc<Self> {
        Rc::new(Self {
            network,
            offers,
            ca,
            upstreams,
            book: RefCell::default(),
            bearer,
            base,
            port,
            uses: Uses::new(reports.clone(), clock),
            reports,
            next: Cell::new(0),
            untold: RefCell::default(),
            telling: Cell::new(false),
            ties: RefCell::default(),
            idle: Idle::default(),
        })
    }

    fn number(&self) -> u64 {
        self.next.replace(self.next.get() + 1)
    }

    /// The task to ask for, of whoever wants this host, however he speaks to it.
    #[must_use]
    pub fn task_for(&self, host: &Authority) -> Option<&str> {
        let here = |offer: &&Offer| offer.target.host == host.host() && offer.target.port == host.port();
        self.offers.iter().find(here).map(|offer| offer.task.as_str())
    }

    /// Whether what goes to this host is looked into: a lease names it or named it, or one could, and nobody else gets there.
    #[must_use]
    pub fn looks_into(&self, host: &Authority) -> bool {
        let offered = self.network == Network::GrantedOnly && self.task_for(host).is_some() && self.ca.covers(host.host());
        offered || self.book.borrow().knows(host.host(), host.port())
    }

    /// Of a host that no lease names, where others are closed.
    #[must_use]
    pub fn not_granted(&self, host: &Authority) -> Refusal {
        match self.task_for(host) {
            Some(task) => Refusal::rule(
                "lease_needed",
                "no lease of this session names this host, and a task does: ask for it, with its variables in the place of the values",
            )
            .ask_for(Some(task)),
            None => Refusal::rule(
                "not_granted",
                "no lease of this session names this host; ask for a task that does: `touchlease list` shows them",
            ),
        }
    }

    /// A new connection of a client, in a place for one.
    #[must_use]
    pub fn connection(self: &Rc<Self>, place: OwnedSemaphorePermit) -> Tied {
        let (number, ties) = (self.number(), Rc::new(Ties::default()));
        self.ties.borrow_mut().insert(number, ties.clone());
        Tied {
            session: self.clone(),
            number,
            ties,
            _place: place,
        }
    }

    /// A way to a host, which carries credentials of these leases from now on.
    #[must_use]
    pub fn way(self: &Rc<Self>, leases: &[String]) -> Held {
        let (number, ties) = (self.number(), Rc::new(Ties::default()));
        ties.leases.borrow_mut().extend(leases.iter().cloned());
        self.ties.borrow_mut().insert(number, ties.clone());
        Held {
            session: Rc::downgrade(self),
            number,
            ties,
        }
    }

    /// Tells the daemon that a request with a placeholder was refused. Waits while the daemon has enough to read.
    pub async fn refused(&self, grant: Option<GrantId>, reason: &str, method: &str, host: &str) {
        let report = Report::Refused {
            grant,
            reason: reason.to_owned(),
            method: short(method, LONGEST_NAME),
            host: short(host, LONGEST_NAME),
        };
        // A daemon that is gone needs no telling: this process ends.
        let _ = self.reports.send(report).await;
    }

    /// Tells the daemon that an answer had a value in it.
    pub fn echoed(self: &Rc<Self>, (lease, index): GrantId, host: &str) {
        let host = short(host, LONGEST_NAME);
        let told = Report::Echoed {
            lease: lease.clone(),
            index,
            host: host.clone(),
        };
        if let Err(mpsc::error::TrySendError::Full(_)) = self.reports.try_send(told) {
            let mut untold = self.untold.borrow_mut();
            // The same once more is told by the one that waits; of very many, as the daemon would, some stand for all.
            if untold.len() < MOST_UNTOLD {
                untold.insert(((lease, index), host));
            }
            if !self.telling.replace(true) {
                drop(untold);
                tokio::task::spawn_local(tell(Rc::downgrade(self)));
            }
        }
    }

    /// Ends a lease: from here on nothing of it is put in; what carries or carried it is cut, and its values are wiped when this returns.
    pub async fn revoke(&self, lease: &str) {
        self.book.borrow_mut().revoke(lease);
        let cut: Vec<Rc<Ties>> = self
            .ties
            .borrow()
            .values()
            .filter(|ties| ties.leases.borrow().contains(lease))
            .cloned()
            .collect();
        for ties in &cut {
            ties.cut();
        }
        self.idle.forget(lease);
        // An aborted task drops what it holds, its sockets among it, when it is next looked at: in the next turns of this one thread.
        let gone = async {
            while cut.iter().any(|ties| ties.is_busy()) {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        let _ = tokio::time::timeout(CUT, gone).await;
    }
}

/// Tells the daemon of echoes that it had no room for, one after the other.
async fn tell(session: Weak<Session>) {
    while let Some(session) = session.upgrade() {
        let Some(((lease, index), host)) = session.untold.borrow_mut().pop_first() else {
            session.telling.set(false);
            return;
        };
        let reports = session.reports.clone();
        // A session that is over does not wait for it.
        drop(session);
        let _ = reports.send(Report::Echoed { lease, index, host }).await;
    }
}

/// What ends with a connection, and the leases whose end ends it.
#[derive(Default)]
pub struct Ties {
    leases: RefCell<BTreeSet<String>>,
    tasks: RefCell<Vec<AbortHandle>>,
}

impl Ties {
    fn holds<T>(&self, task: &JoinHandle<T>) {
        let mut tasks = self.tasks.borrow_mut();
        tasks.retain(|task| !task.is_finished());
        tasks.push(task.abort_handle());
    }

    fn cut(&self) {
        for task in self.tasks.borrow().iter() {
            task.abort();
        }
    }

    fn is_busy(&self) -> bool {
        self.tasks.borrow().iter().any(|task| !task.is_finished())
    }
}

/// A client's connection in the session, for as long as somebody holds it.
pub struct Tied {
    /// Of all.
    pub session: Rc<Session>,
    number: u64,
    ties: Rc<Ties>,
    /// One of the places that there are for connections.
    _place: OwnedSemaphorePermit,
}

impl Tied {
    /// This task is part of the connection.
    pub fn holds<T>(&self, task: &JoinHandle<T>) {
        self.ties.holds(task);
    }

    /// The connection ends, in the middle of what it does.
    pub fn cut(&self) {
        self.ties.cut();
    }

    /// The connection carries a credential of this lease from now on.
    pub fn carries(&self, lease: &str) {
        let mut leases = self.ties.leases.borrow_mut();
        if !leases.contains(lease) {
            leases.insert(lease.to_owned());
        }
    }
}

impl Drop for Tied {
    fn drop(&mut self) {
        self.session.ties.borrow_mut().remove(&self.number);
        // The ways to hosts that were opened for this client have no other use.
        self.ties.cut();
    }
}

/// A way to a host, for as long as somebody holds it: a client's connection, or nobody, for a moment.
pub struct Held {
    /// Not to be kept by what it keeps.
    session: Weak<Session>,
    number: u64,
    ties: Rc<Ties>,
}

impl Held {
    /// This task is the way.
    pub fn holds<T>(&self, task: &JoinHandle<T>) {
        self.ties.holds(task);
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Some(session) = self.session.upgrade() {
            session.ties.borrow_mut().remove(&self.number);
        }
        self.ties.cut();
    }
}

pub(super) fn short(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use rustls::RootCertStore;
    use tokio::task::LocalSet;
    use tokio::time::timeout;

    use super::super::names::system_resolver;
    use super::*;
    use crate::clock::SystemClock;

    #[test]
    fn t61_echoes_that_the_daemon_has_no_room_for_are_told_once_each_and_wait_in_bounded_memory() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        LocalSet::new().block_on(&runtime, async {
            let provider = Arc::new(rustls::crypto::ring::default_provider());
            let ca = Ca::new(&[], 0, provider.clone()).unwrap();
            let upstreams = Upstreams::new(RootCertStore::empty(), provider, system_resolver(), 1).unwrap();
            let (told, mut reports) = mpsc::channel(1);
            let bearer = || Secret::from_slice_wiping(&mut [b'0'; 32]).unwrap();
            let session = Session::new(
                Network::Open,
                vec![],
                ca,
                upstreams,
                (bearer(), bearer()),
                1,
                (told, Arc::new(SystemClock)),
            );
            for number in 0..10_000 {
                session.echoed(("L".into(), number % 3), "a.example");
            }
            assert_eq!(session.untold.borrow().len(), 3);
            for number in 0..10_000 {
                session.echoed(("L".into(), 0), &format!("{number}.example"));
            }
            assert_eq!(session.untold.borrow().len(), MOST_UNTOLD);
            let mut heard = 0;
            while let Ok(Some(_)) = timeout(Duration::from_millis(50), reports.recv()).await {
                heard += 1;
            }
            // The first went at once.
            assert_eq!((heard, session.telling.get()), (MOST_UNTOLD + 1, false));
            session.echoed(("L".into(), 0), "a.example");
            assert!(reports.recv().await.is_some());
        });
    }
}
