//! The daemon's life: connections, the ends of leases, the log's grouped lines.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use tokio::net::UnixListener;

use super::connection;
use super::house::House;
use crate::lease::ledger::Why;

/// Most connections at a time: more than any person needs, fewer than a flood would take.
const MOST_CONNECTIONS: usize = 256;

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
    let open = Rc::new(Cell::new(0));
    loop {
        match listener.accept().await {
            Ok((stream, _)) if open.get() < MOST_CONNECTIONS => {
                let (house, open) = (house.clone(), open.clone());
                open.set(open.get() + 1);
                tokio::task::spawn_local(async move {
                    connection::serve(house, stream).await;
                    open.set(open.get() - 1);
                });
            }
            Ok((stream, _)) => {
                tracing::warn!("too many connections");
                connection::turn_away(&house, stream, MOST_CONNECTIONS);
            }
            Err(error) => {
                // Out of descriptors: those that are open have to end first.
                tracing::warn!(%error, "a connection could not be taken");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn stop(house: &House) {
    house.ledger.close();
    let ended = house.ledger.end_all(Why::DaemonStopped, |_| true);
    house.record_over(&ended);
    for log in house.logs() {
        if let Err(error) = log.sync() {
            tracing::error!(%error, "the audit log's last lines");
        }
    }
    house.broker.forget_all();
    // The connections that hold a lease pass its end on to their children.
    tokio::task::yield_now().await;
    tokio::time::sleep(Duration::from_millis(50)).await;
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
