//! A lease that this process holds, and what the daemon signs with it.

use data_encoding::BASE64;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::oneshot;

use crate::cli::init::unexpected;
use crate::client::{Message, Stream};
use crate::wire::signer::SessionAsk;
use crate::wire::{Answer, Event, Failure, Outcome};

/// Most that is asked for together: the daemon takes as much in one go.
const TOGETHER: usize = 32;

/// The connection of a lease, which a task has. What several want signed while it waits for the daemon goes there together, and is answered
/// together: with a limit of uses the daemon waits for its disk once. The connection, and with it the lease, ends when this is dropped.
pub(super) struct Held {
    queue: UnboundedSender<Wanted>,
}

/// What somebody waits for.
struct Wanted {
    answer: Answer,
    told: oneshot::Sender<Signed>,
}

/// What came of it.
pub(super) enum Signed {
    /// The signature, in SSH's form.
    Done(Vec<u8>),
    /// Why there is none.
    Refused(Failure),
    /// Nothing was said of it: others had the last uses of the lease, it was over before it was asked, or the daemon is gone.
    Unsaid,
}

impl Held {
    /// Has a task of the runtime that this is called in.
    pub(super) fn new(daemon: Stream) -> Self {
        let (queue, wanted) = unbounded_channel();
        tokio::spawn(pass_on(daemon, wanted));
        Self { queue }
    }

    /// Whether nothing was heard of the lease's end.
    pub(super) fn is_live(&self) -> bool {
        !self.queue.is_closed()
    }

    /// Has the daemon sign: a login in its session, or what an SSH signature is over.
    pub(super) async fn sign(&self, session: Option<SessionAsk>, data: &[u8]) -> Signed {
        let (told, signed) = oneshot::channel();
        let data = BASE64.encode(data);
        let answer = Answer::Sign { session, data };
        // Of one that is over nothing is said.
        let _ = self.queue.send(Wanted { answer, told });
        signed.await.unwrap_or(Signed::Unsaid)
    }
}

/// Has signed what is wanted, until the lease is over or nobody can want anything any more. Who still waits then is told nothing.
async fn pass_on(mut daemon: Stream, mut queue: UnboundedReceiver<Wanted>) {
    let mut wanted = Vec::with_capacity(TOGETHER);
    loop {
        tokio::select! {
            // What has been said of its end by now counts for what is wanted now.
            biased;
            said = daemon.message() => match said {
                Ok(Some(Message::Event(event))) if !matches!(event, Event::Ended { .. }) => {}
                _ => break,
            },
            count = queue.recv_many(&mut wanted, TOGETHER) => {
                if count == 0 || !exchange(&mut daemon, &mut wanted).await {
                    break;
                }
            }
        }
    }
}

/// Asks for all of it, and passes the answers on, which come in the same order. Whether the lease goes on.
async fn exchange(daemon: &mut Stream, wanted: &mut Vec<Wanted>) -> bool {
    let mut failed = daemon.send_all(wanted.iter().map(|one| &one.answer)).await.err();
    let mut over = false;
    for one in wanted.drain(..) {
        let signed = match &failed {
            Some(failure) => Signed::Refused(failure.clone()),
            None if over => Signed::Unsaid,
            None => hear(daemon).await.unwrap_or_else(|failure| {
                failed = Some(failure.clone());
                Signed::Refused(failure)
            }),
        };
        over |= matches!(signed, Signed::Unsaid);
        // It waits for that.
        let _ = one.told.send(signed);
    }
    failed.is_none() && !over
}

async fn hear(daemon: &mut Stream) -> Result<Signed, Failure> {
    loop {
        match daemon.message().await? {
            Some(Message::Event(Event::Signed {
                signature: Some(signature),
                ..
            })) => return BASE64.decode(signature.as_bytes()).map(Signed::Done).map_err(|_| unexpected()),
            Some(Message::Event(Event::Signed {
                refused: Some(refused), ..
            })) => return Ok(Signed::Refused(refused)),
            // It was taken back, or its time is over: nobody is asked anew for that.
            Some(Message::Event(Event::Ended { .. })) => return Err(ended()),
            Some(Message::Event(_)) => {}
            Some(Message::Reply(_)) => return Err(unexpected()),
            None => return Ok(Signed::Unsaid),
        }
    }
}

fn ended() -> Failure {
    Failure::new(Outcome::Refused, "lease_over", "the lease ended before it could be used").hint("sign again")
}
