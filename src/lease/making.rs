//! Between a touch and what it was for: a change is made where it keeps nobody waiting, and as long as it is not begun a person may say no.

use super::office::Lobby;
use super::record::AskedLine;
use super::touch::refusal;
use super::writer::Stage;
use crate::presence::Prompt;
use crate::vault::{Random, VaultError};
use crate::wire::{Failure, Outcome, TouchState};

/// Makes what was touched for. While its prompt stands, that says where it stands, and can be denied until it is begun: the touch was for
/// something that a person wants, and what nobody has begun is not too late to be taken back. A screen that is closed is no such word.
///
/// # Errors
/// Denied; what `work` says; as [`Writer::when_free`](super::writer::Writer::when_free).
pub(super) async fn make<T: Send + 'static>(
    lobby: &Lobby<'_>,
    asked: &AskedLine<'_>,
    prompt: Option<&Prompt<'_>>,
    work: impl FnMut(&mut Random) -> Result<T, VaultError> + Send + 'static,
) -> Result<T, Failure> {
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
    let made = lobby.writer.when_free_seen(work, &mut look).await;
    if let (Err(failure), Some(prompt)) = (&made, prompt) {
        prompt.failed(failure.outcome);
    }
    made
}
