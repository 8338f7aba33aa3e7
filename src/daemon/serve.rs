//! The daemon's life: connections, the ends of leases, the log's grouped lines.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use tokio::net::UnixListener;

use super::connection::{self, Guest};
use super::house::House;
use crate::clock::Boot;
use crate::lease::ledger::Why;

/// Most connections at a time: more than any person needs, fewer than a flood would take.
const MOST_CONNECTIONS: usize = 256;
/// How many more serve what ends leases, and nothing else (P4).
const URGENT_CONNECTIONS: usize = 8;
/// Refused connections are logged together, once in this time: a flood of them must not fill the disk.
const SAID_EVERY: Duration = Duration::from_secs(10);

/// Connections that are open, and those that were refused.
#[derive(Default)]
struct Doors {
    open: Cell<usize>,
    /// The oldest first.
    urgent: RefCell<Vec<Rc<Guest>>>,
    refused: Cell<u64>,
    said: Cell<Option<Boot>>,
}

/// Serves connections until `stopped`, then ends every lease and writes that down.
pub async fn run(house: Rc<House>, listener: UnixListener, stopped: impl Future<Output = ()>) {
    tokio::select! {
        () = accept(house.clone(), listener) => {}
        () = stopped => {}
    }
    stop(&house).await;
}

async fn accept(house: Rc<House>, listener: UnixListener) {
    tokio::task::spawn_local(end_leases(house.clone()));
    tokio::task::spawn_local(sync_logs(house.clone()));
    let turns = house.clone();
    tokio::task::spawn_local(async move { turns.turns.give().await });
    let doors = Rc::new(Doors::default());
    loop {
        match listener.accept().await {
            Ok((stream, _)) if doors.open.get() < MOST_CONNECTIONS => {
                let (house, doors) = (house.clone(), doors.clone());
                doors.open.set(doors.open.get() + 1);
                tokio::task::spawn_local(async move {
                    connection::serve(house, stream).await;
                    doors.open.set(doors.open.get() - 1);
                });
            }
            Ok((stream, _)) => match doors.seat() {
                Some(guest) => {
                    let (house, doors) = (house.clone(), doors.clone());
                    tokio::task::spawn_local(async move {
                        if !connection::serve_urgent(house.clone(), stream, &guest, MOST_CONNECTIONS).await {
                            doors.refuse(house.clock.boot());
                        }
                        doors.leave(&guest);
                    });
                }
                None => {
                    connection::turn_away(&house, &stream, MOST_CONNECTIONS);
                    doors.refuse(house.clock.boot());
                }
            },
            Err(error) => {
                // Out of descriptors: those that are open have to end first.
                tracing::warn!(%error, "a connection could not be taken");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

impl Doors {
    /// One of the places that are kept. Where all are taken, the oldest guest who has not said what he wants is shown out: who fills them
    /// and says nothing keeps nobody away who speaks. None where all are being served.
    fn seat(&self) -> Option<Rc<Guest>> {
        let mut guests = self.urgent.borrow_mut();
        if guests.len() >= URGENT_CONNECTIONS {
            let silent = guests.iter().position(|guest| !guest.is_heard.get())?;
            guests.remove(silent).shown_out.notify_one();
        }
        let guest = Rc::<Guest>::default();
        guests.push(guest.clone());
        Some(guest)
    }

    fn leave(&self, guest: &Rc<Guest>) {
        self.urgent.borrow_mut().retain(|other| !Rc::ptr_eq(other, guest));
    }

    /// A connection is refused.
    fn refuse(&self, now: Boot) {
        if let Some(refused) = self.count(now) {
            tracing::warn!(refused, "too many connections");
        }
    }

    /// How many there were since that was last said, unless it was said just now.
    fn count(&self, now: Boot) -> Option<u64> {
        self.refused.set(self.refused.get() + 1);
        let is_due = self.said.get().is_none_or(|said| now >= said + SAID_EVERY);
        is_due.then(|| {
            self.said.set(Some(now));
            self.refused.take()
        })
    }
}

async fn stop(house: &House) {
    house.ledger.close();
    let ended = house.ledger.end_all(Why::DaemonStopped, |_| true);
    house.record_over(&ended);
    sync_last(house);
    house.broker.forget_all();
    // A change that was begun is made, and its requester told. Leases' ends are passed on meanwhile.
    house.writer.finish().await;
    house.exchanges.finish().await;
    house.sessions.finish().await;
    // The connections that hold a lease pass its end on to their children.
    tokio::task::yield_now().await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    sync_last(house);
}

fn sync_last(house: &House) {
    for log in house.logs() {
        if let Err(error) = log.sync() {
            tracing::error!(%error, "the audit log's last lines");
        }
    }
}

/// Ends leases when their time is over, on the clock that counts suspend. No lease, no wake-up.
async fn end_leases(house: Rc<House>) {
    loop {
        let changed = house.ledger.changed();
        match house.ledger.next_end() {
            None => changed.await,
            Some((boot, wall)) => tokio::select! {
                () = changed => {}
                slept = house.clock.sleep(boot, wall) => if let Err(error) = slept {
                    // Without a timer nobody would end them: so they end now.
                    tracing::error!(%error, "no timer: ending all leases");
                    house.record_over(&house.ledger.end_all(Why::Expired, |_| true));
                },
            },
        }
        house.record_over(&house.ledger.end_expired());
    }
}

/// Grouped lines reach the disk within their second. No line, no wake-up.
async fn sync_logs(house: Rc<House>) {
    loop {
        house.log_written.notified().await;
        tokio::time::sleep(crate::audit::log::GROUPED_FOR).await;
        for log in house.logs() {
            if let Err(error) = log.sync() {
                tracing::error!(%error, "the audit log's grouped lines");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn p4_the_oldest_guest_who_says_nothing_makes_room_and_none_who_is_served() {
        let doors = Doors::default();
        let guests: Vec<_> = (0..URGENT_CONNECTIONS).map(|_| doors.seat().unwrap()).collect();
        let is_there = |guest| doors.urgent.borrow().iter().any(|other| Rc::ptr_eq(other, guest));
        guests[0].is_heard.set(true);
        let mut all = guests.clone();
        for silent in &guests[1..] {
            assert!(is_there(silent));
            all.push(doors.seat().unwrap());
            assert!(!is_there(silent) && is_there(&guests[0]));
        }
        for guest in &all {
            guest.is_heard.set(true);
        }
        assert!(doors.seat().is_none());
        doors.leave(&guests[0]);
        assert!(doors.seat().is_some());
    }

    #[test]
    fn t12_a_flood_of_refused_connections_is_one_line_in_ten_seconds() {
        let doors = Doors::default();
        let said: Vec<u64> = (0..30_000).filter_map(|ms| doors.count(Boot(ms))).collect();
        assert_eq!(said, [1, 10_000, 10_000]);
        assert_eq!(doors.count(Boot(60_000)), Some(10_000));
    }
}
