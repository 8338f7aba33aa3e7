//! Whether a credential may go into a request: [`Uses::permit`] is the page to read. The daemon is asked, counts the use and writes it down
//! before the request goes on. What it let [go on](Verdict::GoOn) may be done again without a question; it is counted here and told a moment
//! later, and each answer to that is a yes for the next moment. So nothing goes on for as much as a second behind a daemon that does not
//! answer, cannot write its log, or has ended the lease. Where nothing is done again, nothing wakes up.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, mpsc, oneshot};

use super::book::GrantId;
use super::kinds::Kinds;
use super::protocol::{GOOD_FOR, Report, TOLD_WITHIN, Use, Verdict};
use super::session::short;
use crate::clock::{Boot, Clock};

/// Longest texts of a request in a report: the log's lines are for people.
const LONGEST_PATH: usize = 2048;
const LONGEST_NAME: usize = 300;
/// Questions to the daemon at one time. Their answers fit into a socket's buffer, so that it never waits for this end to read them.
pub const MOST_ASKED: usize = 64;
/// How long a daemon that could not write down what it was told is left alone.
const TOLD_AGAIN: Duration = Duration::from_secs(1);

/// What a request may carry.
#[derive(Debug, Default)]
pub struct Permit {
    /// The leases.
    pub leases: Vec<String>,
    /// Until when the daemon's yes to each of them holds.
    until: Option<Boot>,
}

impl Permit {
    /// The request carries credentials of this lease too, by a yes that holds until then.
    pub fn add(&mut self, lease: &str, until: Boot) {
        self.leases.push(lease.to_owned());
        self.until = Some(self.until.map_or(until, |other| other.min(until)));
    }
}

/// What is asked and told of the uses of a session's leases.
pub struct Uses {
    reports: mpsc::Sender<Report>,
    clock: Arc<dyn Clock>,
    asking: Semaphore,
    waiting: RefCell<HashMap<u64, oneshot::Sender<Verdict>>>,
    next: Cell<u64>,
    /// By lease, of those that are in force.
    kinds: RefCell<HashMap<String, Kinds>>,
    is_telling: Cell<bool>,
}

impl Uses {
    /// Without leases.
    #[must_use]
    pub fn new(reports: mpsc::Sender<Report>, clock: Arc<dyn Clock>) -> Rc<Self> {
        Rc::new(Self {
            reports,
            clock,
            asking: Semaphore::new(MOST_ASKED),
            waiting: RefCell::default(),
            next: Cell::default(),
            kinds: RefCell::default(),
            is_telling: Cell::default(),
        })
    }

    /// A lease is in force from now on.
    pub fn begin(&self, lease: &str) {
        self.kinds.borrow_mut().insert(lease.to_owned(), Kinds::default());
    }

    /// Whether a credential may go into this request, which is one use of its lease, and until when that holds; `path` without the query. A daemon
    /// that is gone says no.
    pub async fn permit(self: &Rc<Self>, (lease, index): &GrantId, method: &str, host: &str, path: &str) -> (Verdict, Boot) {
        let used = Use {
            index: *index,
            method: short(method, LONGEST_NAME),
            host: short(host, LONGEST_NAME),
            path: short(path, LONGEST_PATH),
        };
        let now = self.clock.boot();
        let good_until = self.of(lease, |kinds| kinds.count(&used, now).then(|| kinds.good_until()));
        if let Some(until) = good_until.flatten().flatten() {
            self.tell_soon();
            return (Verdict::GoOn, until);
        }
        // It is never closed.
        let Ok(_asking) = self.asking.acquire().await else {
            return (Verdict::Gone, now);
        };
        let (since, kind) = (self.clock.boot(), used.clone());
        let lease_too = lease.clone();
        let verdict = match self.reports.reserve().await {
            Ok(room) => {
                self.say(room, |seq| Report::Use {
                    seq,
                    lease: lease_too,
                    used,
                })
                .await
            }
            Err(_) => Verdict::Gone,
        };
        self.heard(lease, verdict, since);
        if verdict == Verdict::GoOn {
            self.of(lease, |kinds| kinds.learn(kind));
        }
        (verdict, since + GOOD_FOR)
    }

    /// Directly before a request is handed to its connection: where that took longer to make than the daemon's yes holds, the daemon is asked whether
    /// the leases still are, which counts no use. One that does not answer is waited for, as before the first yes.
    pub async fn still(&self, permit: &mut Permit) -> Verdict {
        while permit.until.is_some_and(|until| self.clock.boot() >= until) {
            let since = self.clock.boot();
            for lease in &permit.leases {
                match self.ask_again(lease).await {
                    Verdict::Go | Verdict::GoOn => {}
                    no => return no,
                }
            }
            permit.until = Some(since + GOOD_FOR);
            if permit.leases.len() == 1 {
                // Heard just now, whenever it was asked.
                break;
            }
        }
        Verdict::GoOn
    }

    async fn ask_again(&self, lease: &str) -> Verdict {
        let Ok(_asking) = self.asking.acquire().await else {
            return Verdict::Gone;
        };
        let Ok(room) = self.reports.reserve().await else {
            return Verdict::Gone;
        };
        let of = lease.to_owned();
        let asked = |seq| Report::Repeated {
            seq,
            lease: of,
            again: vec![],
        };
        // It says nothing of what was done before, whose yes it does not make longer; a no ends that one too.
        let verdict = self.say(room, asked).await;
        if !matches!(verdict, Verdict::Go | Verdict::GoOn) {
            self.of(lease, Kinds::lapse);
        }
        verdict
    }

    /// The daemon's answer.
    pub fn answered(&self, seq: u64, verdict: Verdict) {
        if let Some(told) = self.waiting.borrow_mut().remove(&seq) {
            // Whoever asked may be gone by now.
            let _ = told.send(verdict);
        }
    }

    /// A lease is over: what is left to tell of it.
    #[must_use]
    pub fn end(&self, lease: &str) -> Vec<Report> {
        let Some(mut kinds) = self.kinds.borrow_mut().remove(lease) else {
            return vec![];
        };
        let mut left = vec![];
        while kinds.is_behind() {
            left.push(Report::Repeated {
                seq: self.number(),
                lease: lease.to_owned(),
                again: kinds.take(),
            });
        }
        left
    }

    fn tell_soon(self: &Rc<Self>) {
        if !self.is_telling.replace(true) {
            tokio::task::spawn_local(self.clone().tell());
        }
    }

    /// Tells what was done again, until nothing is left to tell.
    async fn tell(self: Rc<Self>) {
        let mut pause = TOLD_WITHIN;
        loop {
            tokio::time::sleep(pause).await;
            pause = TOLD_WITHIN;
            let behind = self.behind();
            if behind.is_empty() {
                return self.is_telling.set(false);
            }
            for lease in behind {
                if self.tell_of(&lease).await == Verdict::Unrecorded {
                    pause = TOLD_AGAIN;
                }
            }
        }
    }

    /// Nothing is taken before there is room to say it: a lease that ends meanwhile has said it by then.
    async fn tell_of(&self, lease: &str) -> Verdict {
        loop {
            let Ok(room) = self.reports.reserve().await else {
                return Verdict::Gone;
            };
            let since = self.clock.boot();
            let again = self.of(lease, Kinds::take).filter(|again| !again.is_empty());
            let Some(again) = again else { return Verdict::GoOn };
            let lease_too = lease.to_owned();
            let report = |seq| Report::Repeated {
                seq,
                lease: lease_too,
                again,
            };
            let verdict = self.say(room, report).await;
            self.heard(lease, verdict, since);
            if verdict == Verdict::Unrecorded {
                self.of(lease, Kinds::put_back);
                return verdict;
            }
            self.of(lease, Kinds::told);
        }
    }

    /// What the daemon said to what it was asked or told at `since`.
    fn heard(&self, lease: &str, verdict: Verdict, since: Boot) {
        self.of(lease, |kinds| match verdict {
            Verdict::GoOn => kinds.renew(since),
            Verdict::Go | Verdict::Gone | Verdict::UsedUp | Verdict::Unrecorded => kinds.lapse(),
        });
    }

    /// Says something that is answered.
    async fn say(&self, room: mpsc::Permit<'_, Report>, report: impl FnOnce(u64) -> Report) -> Verdict {
        let seq = self.number();
        let (told, answer) = oneshot::channel();
        self.waiting.borrow_mut().insert(seq, told);
        let _waiting = Waiting { uses: self, seq };
        room.send(report(seq));
        answer.await.unwrap_or(Verdict::Gone)
    }

    fn behind(&self) -> Vec<String> {
        let all = self.kinds.borrow();
        let behind = all.iter().filter(|(_, kinds)| kinds.is_behind());
        behind.map(|(lease, _)| lease.clone()).collect()
    }

    /// Nothing of a lease that is over.
    fn of<T>(&self, lease: &str, look: impl FnOnce(&mut Kinds) -> T) -> Option<T> {
        self.kinds.borrow_mut().get_mut(lease).map(look)
    }

    fn number(&self) -> u64 {
        self.next.replace(self.next.get() + 1)
    }
}

/// Not asked any more, when whoever did is cut.
struct Waiting<'a> {
    uses: &'a Uses,
    seq: u64,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.uses.waiting.borrow_mut().remove(&self.seq);
    }
}
