//! The worker: logs in, waits for the lease's end, revokes.

use std::io;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use tokio::task::LocalSet;
use tokio::time::sleep;

use super::client::Cluster;
use super::protocol::{Login, Order, Report};
use super::session::{self, Fault, Had, Session};
use crate::clock::{Boot, Clock, SystemClock};
use crate::deliver::proxy::names::{Resolve, system_resolver};
use crate::secret::Secret;
use crate::vault::LONGEST_TOKEN;
use crate::worker::inbox::Inbox;

/// A daemon that is gone is no reason to leave a token there: longer than any lease that has one.
const LAST_WORDS: Duration = Duration::from_secs(LONGEST_TOKEN + 60);
/// Between two tries to revoke; it becomes longer.
const PAUSES: [Duration; 4] = [
    Duration::from_millis(300),
    Duration::from_secs(1),
    Duration::from_secs(3),
    Duration::from_secs(10),
];

/// The worker's `main`: the socket is descriptor 0, everything else is closed or null.
#[must_use]
pub fn main() -> u8 {
    crate::worker::process(LAST_WORDS, |socket| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        LocalSet::new().block_on(&runtime, run(socket, &SystemClock, system_resolver()))
    })
}

/// Serves one exchange over `socket`, in a [`LocalSet`]. Ends when nothing of it is left.
///
/// # Errors
/// The daemon sends nonsense, or was gone before there was anything.
pub async fn run(socket: UnixStream, clock: &dyn Clock, resolve: Resolve) -> io::Result<()> {
    socket.set_nonblocking(true)?;
    let mut inbox = Inbox::new(tokio::net::UnixStream::from_std(socket)?)?;
    let (Order::Login(login), jwt) = inbox.next().await? else {
        return Err(io::ErrorKind::InvalidData.into());
    };
    let until = clock.boot() + Duration::from_millis(login.left_ms);
    let cluster = match Cluster::new(&login.exchange, resolve) {
        Ok(cluster) => cluster,
        Err(error) => {
            let (reason, why) = (
                "ca".to_owned(),
                format!("a certificate of the rules is none that can be trusted: {error}"),
            );
            return inbox.send(&Report::NotGiven { reason, why, left: None }, &[]).await;
        }
    };
    let mut session = None;
    let opened = open(&cluster, &login, jwt, clock, until, &mut session).await;
    let Some(session) = session else {
        return match opened {
            Ok(_) => Err(io::ErrorKind::InvalidData.into()),
            Err(fault) => not_given(&mut inbox, fault, None).await,
        };
    };
    match opened {
        Err(fault) => {
            let left = session.revoke(&cluster).await.err();
            let told = not_given(&mut inbox, fault, left.as_ref().map(|_| session.accessor())).await;
            match left {
                None => told,
                Some(_) => revoke(&mut inbox, &cluster, &session, clock, until).await,
            }
        }
        Ok(had) => {
            let Had {
                server,
                token,
                ttl,
                values,
                tail,
            } = had;
            let accessor = session.accessor().to_owned();
            let given = Report::Given {
                accessor,
                server,
                token,
                ttl,
                values,
            };
            // A daemon that is gone has ended the lease, as one that says so has.
            if inbox.send(&given, tail.expose()).await.is_ok() {
                drop(tail);
                let _ = inbox.next::<Order>().await;
            }
            revoke(&mut inbox, &cluster, &session, clock, until).await
        }
    }
}

async fn open(
    cluster: &Cluster,
    login: &Login,
    jwt: Secret,
    clock: &dyn Clock,
    until: Boot,
    session: &mut Option<Session>,
) -> Result<Had, Fault> {
    let left = || until.since(clock.boot());
    session::open(cluster, login, &jwt, left, session).await
}

async fn not_given(inbox: &mut Inbox, fault: Fault, left: Option<&str>) -> io::Result<()> {
    let Fault { reason, why } = fault;
    let (reason, left) = (reason.to_owned(), left.map(str::to_owned));
    inbox.send(&Report::NotGiven { reason, why, left }, &[]).await
}

/// Until it is revoked, or everything that was handed on has come to its end by itself. Who does not hear of it any more keeps nothing from being done.
async fn revoke(inbox: &mut Inbox, cluster: &Cluster, session: &Session, clock: &dyn Clock, until: Boot) -> io::Result<()> {
    let mut pauses = PAUSES.into_iter();
    let mut pause = PAUSES[0];
    loop {
        let report = match session.revoke(cluster).await {
            Ok(before) => Report::Revoked { before },
            Err(_) if clock.boot() >= until => Report::RanOut,
            Err(why) => Report::NotRevoked { why },
        };
        let is_over = !matches!(report, Report::NotRevoked { .. });
        let _ = inbox.send(&report, &[]).await;
        if is_over {
            return Ok(());
        }
        pause = pauses.next().unwrap_or(pause);
        sleep(pause).await;
    }
}
