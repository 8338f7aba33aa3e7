//! Whom the agent serves: so many connections at a time, and which of them gives way to the next one.

use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use rustix::net::{Shutdown, shutdown};
use tokio::sync::Notify;

use super::serve::locked;

/// Most connections at a time: over a connection that ssh forwarded anybody opens as many as he likes.
const MOST: usize = 64;

/// All of them, the oldest first.
#[derive(Default)]
pub(super) struct Guests {
    there: Mutex<Vec<Arc<Guest>>>,
    /// Counts what happens.
    steps: AtomicU64,
}

/// One connection, as far as it matters to others.
pub(super) struct Guest {
    stream: OwnedFd,
    /// It is proven where its session ends.
    is_proven: AtomicBool,
    /// Something is done for it.
    is_busy: AtomicBool,
    /// The step of the list since which nothing is.
    idle_since: AtomicU64,
    shown_out: Notify,
}

impl Guests {
    /// Takes in one more. Where there are [`MOST`], one gives way: the oldest of those that have proven no session and want nothing, then of those that
    /// have proven none, then whoever has wanted nothing for the longest. None where all of them have proven a session, and something is done for each.
    pub(super) fn admit(&self, stream: OwnedFd) -> Option<Arc<Guest>> {
        let mut there = locked(&self.there);
        if there.len() >= MOST {
            let leaves = there.iter().enumerate().min_by_key(|(at, guest)| guest.rank(*at));
            let at = leaves.and_then(|(at, guest)| guest.may_be_shown_out().then_some(at))?;
            there.remove(at).show_out();
        }
        let guest = Arc::new(Guest {
            stream,
            is_proven: AtomicBool::new(false),
            is_busy: AtomicBool::new(false),
            idle_since: AtomicU64::new(self.steps.fetch_add(1, Ordering::SeqCst)),
            shown_out: Notify::new(),
        });
        there.push(guest.clone());
        Some(guest)
    }

    /// Something is done for it from now on.
    pub(super) fn begin(guest: &Guest) {
        guest.is_busy.store(true, Ordering::SeqCst);
    }

    /// Nothing is done for it from now on, as far as it is known here; and whether its session is proven.
    pub(super) fn done(&self, guest: &Guest, is_proven: bool) {
        guest.is_proven.store(is_proven, Ordering::SeqCst);
        guest.is_busy.store(false, Ordering::SeqCst);
        guest.idle_since.store(self.steps.fetch_add(1, Ordering::SeqCst), Ordering::SeqCst);
    }

    /// It has ended.
    pub(super) fn gone(&self, guest: &Arc<Guest>) {
        locked(&self.there).retain(|one| !Arc::ptr_eq(one, guest));
    }
}

impl Guest {
    /// Ends when its place is another one's.
    pub(super) async fn is_shown_out(&self) {
        self.shown_out.notified().await;
    }

    fn rank(&self, at: usize) -> (bool, bool, u64) {
        let (is_proven, is_busy) = (self.is_proven.load(Ordering::SeqCst), self.is_busy.load(Ordering::SeqCst));
        let since = if is_proven {
            self.idle_since.load(Ordering::SeqCst)
        } else {
            at as u64
        };
        (is_proven, is_busy, since)
    }

    fn may_be_shown_out(&self) -> bool {
        !(self.is_proven.load(Ordering::SeqCst) && self.is_busy.load(Ordering::SeqCst))
    }

    /// Its task ends, and whoever waits for a person on its behalf sees that nobody does any more.
    fn show_out(&self) {
        // Of one that has hung up already there is nothing to end.
        let _ = shutdown(&self.stream, Shutdown::Both);
        self.shown_out.notify_one();
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::os::unix::net::UnixStream;

    use super::*;

    fn admit(guests: &Guests) -> Option<(UnixStream, Arc<Guest>)> {
        let (client, agent) = UnixStream::pair().unwrap();
        client.set_nonblocking(true).unwrap();
        Some((client, guests.admit(agent.into())?))
    }

    fn is_out(client: &UnixStream) -> bool {
        use std::io::Read;
        matches!((&mut &*client).read(&mut [0]), Ok(0))
    }

    #[test]
    fn t12_never_more_than_64_are_served_and_whoever_proved_nothing_and_wants_nothing_goes_first() {
        let guests = Guests::default();
        let there: Vec<_> = (0..MOST).map(|_| admit(&guests).unwrap()).collect();
        // The oldest waits for a person; the second has proven its session.
        Guests::begin(&there[0].1);
        guests.done(&there[1].1, true);
        let out = |there: &[(UnixStream, Arc<Guest>)]| there.iter().map(|(client, _)| is_out(client)).collect::<Vec<_>>();
        for next in 2..MOST {
            let (client, guest) = admit(&guests).unwrap();
            Guests::begin(&guest);
            std::mem::forget(client);
            assert!(
                out(&there).iter().enumerate().all(|(at, out)| *out == (2..=next).contains(&at)),
                "{next}"
            );
        }
        // Now all strangers want something, and one that waits does not count beside the 64 for that.
        let _more = admit(&guests).unwrap();
        assert!(is_out(&there[0].0) && !is_out(&there[1].0));
        assert_eq!(locked(&guests.there).len(), MOST);
    }

    #[test]
    fn t12_proven_connections_that_want_nothing_shut_nobody_out_and_those_that_are_served_stay() {
        let guests = Guests::default();
        let there: Vec<_> = (0..MOST).map(|_| admit(&guests).unwrap()).collect();
        // The first was served last.
        for (_, guest) in there.iter().rev() {
            guests.done(guest, true);
        }
        Guests::begin(&there[MOST - 1].1);
        let (_, second) = admit(&guests).unwrap();
        assert!(is_out(&there[MOST - 2].0), "the one that has wanted nothing for the longest");
        assert_eq!(there.iter().filter(|(client, _)| is_out(client)).count(), 1);
        Guests::begin(&second);
        guests.done(&second, true);
        for (_, guest) in there.iter().chain([&(UnixStream::pair().unwrap().0, second)]) {
            Guests::begin(guest);
        }
        assert!(admit(&guests).is_none(), "all are served");
        guests.gone(&there[0].1);
        assert!(admit(&guests).is_some());
    }
}
