//! The worker of a scan: it gets the values, and whoever asked gets its other socket.

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use tokio::process::Child;
use tokio::time::timeout;

use super::house::{House, OpenVault};
use crate::clock::until;
use crate::deliver::mask;
use crate::deliver::scan::protocol::{Order, Report, SUBCOMMAND};
use crate::deliver::scan::{LEAST_UNSEEN, MOST_BYTES, MOST_SECRETS};
use crate::lease::failure::{IntoFailure, locked_memory};
use crate::lease::ledger::Why;
use crate::lease::office::Asker;
use crate::lease::scan::{Allowed, Scan, scan as allow};
use crate::secret::Secret;
use crate::vault::SCOPES_PER_TOUCH;
use crate::wire::request::ScanAsk;
use crate::wire::{Event, Failure, Outcome, Reply};
use crate::worker::frame::LONGEST_TAIL;
use crate::worker::inbox::Inbox;
use crate::worker::start_with;

/// How long a worker may take to know what to look for: a hundred times what it takes.
const READY_WITHIN: Duration = Duration::from_secs(30);

/// Asks for the touch, and keeps the scan until it is done, its time is over, or all leases are ended.
///
/// # Errors
/// See [`Failure`].
pub(super) async fn scan(house: &Rc<House>, path: &Path, ask: &ScanAsk, asker: &Asker) -> Result<Reply, Failure> {
    let open = house.open(path)?;
    let scopes = scopes(&open, ask)?;
    let wanted = Scan {
        secrets: count(&open, &scopes).await?,
        scopes: scopes.iter().map(String::as_str).collect(),
        places: &ask.places,
        // Who sits at a terminal of his own is no program that guesses.
        least: if asker.requester.own_screen.is_some() {
            mask::SHORTEST
        } else {
            LEAST_UNSEEN
        },
        ttl: ask.ttl,
        reason: ask.reason.as_deref(),
    };
    // Nobody touches a key for what cannot be done.
    if wanted.secrets > MOST_SECRETS as u64 {
        return Err(too_many());
    }
    let mut allowed = allow(&house.office(&open), &wanted, asker).await?;
    let over = over(house, &allowed);
    // The worker ends with this, and so does the socket that it was asked over.
    let done = tokio::select! {
        biased;
        why = over => Err(why),
        done = look(house, &open, &allowed, asker) => Ok(done),
    };
    match done {
        Ok(Ok((files, bytes, found))) => {
            allowed.done(files, bytes, found)?;
            Ok(Reply::Scanned { files, bytes, found })
        }
        Ok(Err(failure)) => {
            allowed.ends(Why::NotDelivered);
            Err(failure)
        }
        Err(why) => {
            allowed.ends(why);
            Err(ended(why))
        }
    }
}

/// Those that were named, or all.
fn scopes(open: &OpenVault, ask: &ScanAsk) -> Result<Vec<String>, Failure> {
    let mut scopes = ask.scopes.clone();
    if scopes.is_empty() {
        scopes = open.vault.borrow().scopes().into_iter().map(str::to_owned).collect();
    }
    scopes.sort_unstable();
    scopes.dedup();
    if scopes.len() > SCOPES_PER_TOUCH {
        let message = format!(
            "one touch opens at most {SCOPES_PER_TOUCH} scopes; {} are to be scanned for",
            scopes.len()
        );
        return Err(Failure::new(Outcome::Refused, "too_many_scopes", message)
            .hint("name one or two, and scan for the others afterwards: touchlease scan --scope prod ."));
    }
    Ok(scopes)
}

/// How many secrets there are, by the folder's account: a signer's key was never a text.
async fn count(open: &OpenVault, scopes: &[String]) -> Result<u64, Failure> {
    let mut secrets = 0;
    for scope in scopes {
        let shelves = open.vault.borrow().shelves(Some(scope)).map_err(IntoFailure::failure)?;
        for shelf in shelves {
            let listed = open.vault.borrow().list_shelf(&shelf).map_err(IntoFailure::failure)?.0;
            secrets += listed.iter().filter(|one| one.rules.signer.is_none()).count() as u64;
            tokio::task::yield_now().await;
        }
    }
    Ok(secrets)
}

/// Ends when the scan has to.
async fn over(house: &Rc<House>, allowed: &Allowed) -> Why {
    let swept = async {
        while house.ledger.sweeps() == allowed.sweeps {
            house.ledger.changed().await;
        }
    };
    tokio::select! {
        biased;
        () = swept => Why::Revoked,
        () = until(&*house.clock, allowed.deadline) => Why::Expired,
    }
}

/// Gives the values to a worker, its socket to whoever asked, and waits until it has looked through all that comes.
async fn look(house: &Rc<House>, open: &OpenVault, allowed: &Allowed, asker: &Asker) -> Result<(u64, u64, u64), Failure> {
    let (channel, theirs) = channel().map_err(|error| broken(&error))?;
    let (socket, process) = start_with(&house.program, SUBCOMMAND, theirs).map_err(|error| broken(&error))?;
    let mut worker = Worker {
        inbox: Inbox::new(socket).map_err(locked_memory)?,
        _process: process,
    };
    let secrets = worker.teach(open, allowed).await?;
    let ready = timeout(READY_WITHIN, worker.ready()).await;
    let (too_short, span) = ready
        .map_err(|_| io::ErrorKind::TimedOut.into())
        .flatten()
        .map_err(|error| broken(&error))?;
    // Whoever asked may have gone.
    let _ = asker.tell.send(Event::Scanning {
        secrets,
        too_short,
        span,
        channel: Some(channel),
    });
    match worker.inbox.next().await {
        Ok((Report::Done { files, bytes, found }, _)) => Ok((files, bytes, found)),
        Ok(_) => Err(broken(&io::ErrorKind::InvalidData.into())),
        Err(error) => Err(broken(&error)),
    }
}

/// A socket whose messages stay whole, so that several may read from one end.
fn channel() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?)
}

struct Worker {
    inbox: Inbox,
    /// Killed when dropped.
    _process: Child,
}

impl Worker {
    /// Unseals one value after the other into the worker. Gives their names.
    async fn teach(&mut self, open: &OpenVault, allowed: &Allowed) -> Result<Vec<String>, Failure> {
        allowed.begins(allowed.opened.iter().map(crate::vault::OpenScope::len).sum())?;
        let (mut names, mut bytes) = (Vec::new(), 0);
        for scope in &allowed.opened {
            for at in 0..scope.len() {
                let taken = open.vault.borrow().take_out(scope, at).map_err(IntoFailure::failure)?;
                if taken.rules.signer.is_some() {
                    continue;
                }
                bytes += taken.value.len();
                if names.len() >= MOST_SECRETS || bytes > MOST_BYTES {
                    return Err(too_many());
                }
                names.push(format!("{}/{}", scope.name(), taken.name));
                self.value(&taken.value).await.map_err(|error| broken(&error))?;
                tokio::task::yield_now().await;
            }
        }
        let begin = Order::Begin { least: allowed.least };
        self.inbox.send(&begin, &[]).await.map_err(|error| broken(&error))?;
        Ok(names)
    }

    async fn value(&mut self, value: &Secret) -> io::Result<()> {
        let mut rest = value.expose();
        loop {
            let (part, behind) = rest.split_at(rest.len().min(LONGEST_TAIL));
            rest = behind;
            let order = Order::Value { last: rest.is_empty() };
            timeout(READY_WITHIN, self.inbox.send(&order, part))
                .await
                .map_err(|_| io::ErrorKind::TimedOut)??;
            if rest.is_empty() {
                return Ok(());
            }
        }
    }

    async fn ready(&mut self) -> io::Result<(Vec<u32>, u64)> {
        let mut too_short = Vec::new();
        loop {
            match self.inbox.next().await?.0 {
                Report::TooShort { numbers } => too_short.extend(numbers),
                Report::Ready { span } => return Ok((too_short, span)),
                Report::Done { .. } => return Err(io::ErrorKind::InvalidData.into()),
            }
        }
    }
}

fn too_many() -> Failure {
    let message = format!(
        "a scan looks for at most {MOST_SECRETS} secrets and {} MiB of values at once",
        MOST_BYTES >> 20
    );
    Failure::new(Outcome::Refused, "too_much", message).hint("name one scope with fewer: touchlease scan --scope prod .")
}

fn ended(why: Why) -> Failure {
    let message = match why {
        Why::Expired => "the scan's time was over before it was done",
        _ => "all leases were ended, and the scan with them",
    };
    Failure::new(Outcome::Refused, "lease_over", message).hint("scan less at a time, or ask for longer: --ttl 1h")
}

fn broken(error: &io::Error) -> Failure {
    Failure::new(
        Outcome::Internal,
        "scan",
        format!("the worker of the scan does not go on ({})", error.kind()),
    )
    .hint("touchlease doctor looks at the machine; then scan again")
}
