//! Ways to hosts whose client is gone, for a moment: the next connection of the session that asks the same host with the very same leases goes
//! on with one, and is spared a connection and its TLS (T35).
//!
//! Only ways that carried a credential come here, over which a request goes only with those of the same leases: whatever a host thinks who is at the other
//! end, by that credential or by what it keeps for the connection, it is the same one as before. A request with one has no `Authorization` of
//! the client's own (T36), so that no client's own standing is left behind on a connection.

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::address::Reach;
use super::form::Origin;
use super::session::Session;
use super::ways::Kept;

/// How long a way waits: hosts close theirs after five seconds or more, and a request that meets the end of one is lost.
pub const WAIT: Duration = Duration::from_secs(3);
/// Ways that wait at one time.
const MOST: usize = 32;

/// Those of a session.
#[derive(Default)]
pub struct Idle {
    /// The oldest first.
    ways: RefCell<Vec<(Instant, Kept)>>,
    /// Whether somebody looks after them.
    kept: Cell<bool>,
}

impl Idle {
    /// A way that a host and these leases have used, and reached so, if there is one.
    pub fn take(&self, origin: &Origin, leases: &[String], reach: Reach) -> Option<Kept> {
        let mut ways = self.ways.borrow_mut();
        ways.retain(|(_, way)| way.is_open());
        let at = ways.iter().rposition(|(_, way)| way.is_for(origin, leases) && way.reach == reach)?;
        Some(ways.remove(at).1)
    }

    /// Ends what waits with this lease's credential.
    pub fn forget(&self, lease: &str) {
        let carries = |way: &Kept| way.leases.iter().any(|carried| carried == lease);
        self.ways.borrow_mut().retain(|(_, way)| !carries(way));
    }

    fn end_old(&self, now: Instant) -> bool {
        let mut ways = self.ways.borrow_mut();
        ways.retain(|(until, _)| *until > now);
        !ways.is_empty()
    }
}

/// Has a way wait that is between two requests.
pub fn rest(session: &Rc<Session>, way: Kept) {
    let idle = &session.idle;
    let mut ways = idle.ways.borrow_mut();
    if ways.len() >= MOST {
        ways.remove(0);
    }
    ways.push((Instant::now() + WAIT, way));
    if !idle.kept.replace(true) {
        tokio::task::spawn_local(look_after(Rc::downgrade(session)));
    }
}

/// Ends ways that waited long enough, for as long as there are any.
async fn look_after(session: Weak<Session>) {
    loop {
        sleep(WAIT / 2).await;
        let Some(session) = session.upgrade() else { return };
        if !session.idle.end_old(Instant::now()) {
            session.idle.kept.set(false);
            return;
        }
    }
}
