//! Between a touch and what it was for: a change is made where it keeps nobody waiting, and as long as it is not begun a person may say no.

use std::rc::Rc;

use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use super::failure::IntoFailure;
use super::record::AskedLine;
use super::touch::refusal;
use super::writer::{Stage, Writer};
use crate::presence::Prompt;
use crate::vault::{Random, VaultError};
use crate::wire::{Failure, Outcome, TouchState};

/// Makes what was touched for. While its prompt stands, that says where it stands, and can be denied until it is begun: the touch was for
/// something that a person wants, and what nobody has begun is not too late to be taken back. A screen that is closed is no such word.
/// Where this is dropped before its end, what is begun is made all the same, and the log hears of it if it fails.
///
/// # Errors
/// Denied; what `work` says; as [`Writer::when_free`].
pub(super) async fn make<T: Send + 'static>(
    writer: &Writer,
    asked: &Rc<AskedLine>,
    prompt: Option<&Prompt<'_>>,
    mut work: impl FnMut(&mut Random) -> Result<T, VaultError> + Send + 'static,
) -> Result<T, Failure> {
    let (tell, failures) = unbounded_channel();
    let mut unheard = Unheard {
        asked,
        failures: Some(failures),
    };
    let work = move |random: &mut Random| {
        work(random).inspect_err(|error| {
            // Nobody listens any more to what somebody was told.
            let _ = tell.send(error.failure());
        })
    };
    let mut told = None;
    let mut look = |stage| {
        if stage == Stage::GivenUp {
            asked.given_up();
            return None;
        }
        let prompt = prompt?;
        if told.replace(stage) != Some(stage) {
            prompt.tell(match stage {
                Stage::Begun => &TouchState::BeingWritten,
                _ => &TouchState::Touched,
            });
        }
        (stage == Stage::Waits && prompt.is_denied()).then(|| refusal(Outcome::Denied))
    };
    let made = writer.when_free_seen(work, &mut look).await;
    unheard.failures = None;
    if let (Err(failure), Some(prompt)) = (&made, prompt) {
        prompt.failed(failure.outcome);
    }
    made
}

/// How work fails for which nobody waits any more.
struct Unheard<'a> {
    asked: &'a Rc<AskedLine>,
    /// Of each attempt; it ends with the work. Nothing once somebody was told.
    failures: Option<UnboundedReceiver<Failure>>,
}

impl Drop for Unheard<'_> {
    fn drop(&mut self) {
        let Some(mut failures) = self.failures.take() else { return };
        let asked = self.asked.clone();
        tokio::task::spawn_local(async move {
            let mut last = None;
            while let Some(failure) = failures.recv().await {
                last = Some(failure);
            }
            if let Some(failure) = last {
                asked.failed(&failure);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::pin::pin;
    use std::sync::mpsc;
    use std::time::Duration;

    use tokio::task::{LocalSet, yield_now};

    use super::super::record::tests::{journal, question};
    use super::*;
    use crate::vault::random;

    /// What the log says at last of a change that is begun, whose requester goes away, and which comes to `end` then.
    async fn said_of(end: fn() -> Result<(), VaultError>) -> String {
        let folder = tempfile::tempdir().unwrap();
        let (log, path) = journal(folder.path());
        let writer = Writer::start(|| Box::new(random::system())).unwrap();
        let asked = question(&log);
        asked.roster(crate::encoding::Digest([7; 32])).unwrap();
        let (begin, is_begun) = mpsc::channel();
        let (go_on, told) = mpsc::channel::<()>();
        let work = move |_: &mut Random| {
            begin.send(()).unwrap();
            told.recv_timeout(Duration::from_secs(20)).unwrap();
            end()
        };
        {
            let mut making = pin!(make(&writer, &asked, None, work));
            tokio::select! {
                biased;
                _ = &mut making => panic!("it is done already"),
                () = yield_now() => is_begun.recv().unwrap(),
            }
        }
        drop(asked);
        go_on.send(()).unwrap();
        writer.finish().await;
        yield_now().await;
        log.sync().unwrap();
        std::fs::read_to_string(path).unwrap().lines().last().unwrap().to_owned()
    }

    #[tokio::test]
    async fn t55_a_change_that_fails_when_its_requester_is_gone_has_its_end_in_the_log() {
        let said = async {
            [
                said_of(|| Err(VaultError::Nothing)).await,
                // Somebody else writes to the vault, and nobody tries again.
                said_of(|| Err(VaultError::Busy)).await,
                said_of(|| Ok(())).await,
            ]
        };
        let [failed, busy, made] = LocalSet::new().run_until(said).await;
        assert!(failed.contains("refused") && failed.contains("\"nothing\""), "{failed}");
        assert!(busy.contains("refused"), "{busy}");
        assert!(made.contains("roster"), "{made}");
    }
}
