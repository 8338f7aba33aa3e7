//! One operation of one worker, from request to last word, or to a cancel that the key hears.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::process::Child;
use tokio::sync::OwnedMutexGuard;

use super::super::ctap::Frames;
use super::super::worker::protocol::{Answer, Failure, Report, Request, Warm};
use super::reach::Worker;
use crate::secret::Secret;
use crate::worker::inbox::Inbox;

/// What is said of a worker that gave no last word.
pub(super) const ENDED_EARLY: &str = "the key's worker ended early";

/// The worker drains its key for half a second after a cancel; after this it is killed.
const PATIENCE: Duration = Duration::from_millis(900);

/// Called when a cancelled operation completes all the same.
pub(super) type Late = Box<dyn FnOnce(&Answer) + Send>;

/// An operation under way. Dropping it cancels: the key is told first, and the worker killed only if it does not end.
pub(super) struct Job {
    life: Option<Life>,
    late: Option<Late>,
}

struct Life {
    inbox: Inbox,
    process: Option<Child>,
    /// Set when the key may be asked on after the worker's end.
    unfinished: Arc<AtomicBool>,
    /// Nobody else gets at the key until the worker is gone.
    _turn: OwnedMutexGuard<()>,
}

/// A worker's good last word.
pub(super) struct Done {
    pub(super) answer: Answer,
    pub(super) outputs: Secret,
    pub(super) warm: Warm,
    pub(super) frames: Frames,
}

impl Job {
    pub(super) fn new(worker: Worker, turn: OwnedMutexGuard<()>, unfinished: Arc<AtomicBool>, late: Option<Late>) -> io::Result<Self> {
        let life = Life {
            inbox: Inbox::new(worker.socket)?,
            process: worker.process,
            unfinished,
            _turn: turn,
        };
        Ok(Self { life: Some(life), late })
    }

    /// Sends the request and waits for the last word; events go to `hear`.
    pub(super) async fn run(mut self, request: &Request, secret: &[u8], mut hear: impl FnMut(Report)) -> Result<Done, Failure> {
        let Some(life) = &mut self.life else {
            return Err(Failure::Cancelled);
        };
        let last = async {
            life.inbox.send(request, secret).await?;
            loop {
                match life.inbox.next::<Report>().await? {
                    (Report::Done { answer, warm, frames }, outputs) => {
                        return Ok(Ok(Done {
                            answer,
                            outputs,
                            warm,
                            frames,
                        }));
                    }
                    (Report::Failed(failure), _) => return Ok(Err(failure)),
                    (report, _) => hear(report),
                }
            }
        };
        let last: io::Result<_> = last.await;
        // Its last word is said, and the key closed before that: nothing is left to cancel.
        self.life = None;
        last.unwrap_or_else(|error| Err(Failure::System(format!("{ENDED_EARLY} ({})", error.kind()))))
    }
}

impl Drop for Job {
    fn drop(&mut self) {
        let Some(mut life) = self.life.take() else { return };
        life.inbox.cancel();
        let late = self.late.take();
        // Without a runtime the process is killed at once, which is all that can be done then.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                let last = tokio::time::timeout(PATIENCE, last_word(&mut life.inbox)).await;
                // What a worker was killed in, pcscd goes on with until the card has answered.
                life.unfinished.store(last.is_err(), Ordering::Relaxed);
                if let (Ok(Some(answer)), Some(late)) = (last, late) {
                    late(&answer);
                }
                if let Some(process) = &mut life.process {
                    let _ = process.start_kill();
                    let _ = process.wait().await;
                }
            });
        }
    }
}

/// The answer, if there is one: its outputs are wiped on the spot.
async fn last_word(inbox: &mut Inbox) -> Option<Answer> {
    loop {
        match inbox.next::<Report>().await.ok()? {
            (Report::Done { answer, .. }, _) => return Some(answer),
            (Report::Failed(_), _) => return None,
            _ => {}
        }
    }
}
