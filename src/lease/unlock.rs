//! `unlock`: a PIN typed ahead. The only thing it gives is that the next prompt needs the touch alone.

use std::time::Duration;

use super::failure::IntoFailure;
use super::office::{Asker, Office};
use super::text::{RequesterText, Text, UnlockKind, UnlockText, VERSION};
use super::touch::refusal;
use crate::clock::until;
use crate::device::{EnrolledKey, Profile};
use crate::presence::Prompt;
use crate::secret::Secret;
use crate::wire::{Failure, Outcome, TouchState};

/// Asks a person for the PIN of a key, and keeps it. Gives the key's name.
///
/// # Errors
/// No such key, a key without PIN, several to choose from; nobody typed one.
pub async fn unlock(office: &Office<'_>, named: Option<&str>, keep: Duration, asker: &Asker) -> Result<String, Failure> {
    let lobby = &office.lobby;
    let key = choose(office, named).await?;
    let text = UnlockText {
        v: VERSION,
        kind: UnlockKind::Unlock,
        id: lobby.random_id(),
        requester: RequesterText::of(&asker.requester),
        key: key.name.clone(),
        keep: keep.as_secs(),
    };
    let fixed = text.fix().map_err(IntoFailure::failure)?;
    let turn = lobby.turn(asker).await?;
    let prompt = lobby.show(turn, &fixed, vec![key.name.clone()], lobby.limits.prompt, asker).await?;
    prompt.tell(&TouchState::PinNeeded {
        key: key.name.clone(),
        tries: None,
        wrong: false,
    });
    let typed = tokio::select! {
        biased;
        outcome = prompt.refused() => Err(refusal(outcome)),
        pin = pin_of(&prompt, &key) => Ok(pin),
        () = until(lobby.clock, prompt.deadline()) => Err(Failure::new(Outcome::TimedOut, "timed_out", "nobody typed a PIN in time").hint("touchlease unlock asks again")),
    };
    let pin = typed.inspect_err(|failure| prompt.failed(failure.outcome))?;
    lobby.broker.give_pin(key.id(), pin, keep).map_err(IntoFailure::failure)?;
    prompt.answered();
    Ok(key.name)
}

async fn pin_of(prompt: &Prompt<'_>, key: &EnrolledKey) -> Secret {
    loop {
        match prompt.pin().await {
            (name, pin) if name == key.name => return pin,
            // For another key: it goes nowhere.
            _ => {}
        }
    }
}

/// The key of that name; without a name the only one that has a PIN and is connected.
async fn choose(office: &Office<'_>, named: Option<&str>) -> Result<EnrolledKey, Failure> {
    let keys = office.vault.borrow().keys();
    let with_pin = |key: &EnrolledKey| key.profile == Profile::Pin;
    if let Some(named) = named {
        let key = keys.into_iter().find(|key| key.name == named);
        let key = key.ok_or_else(|| {
            Failure::new(Outcome::BadInput, "no_such_key", format!("no enrolled key is called {named:?}")).hint("touchlease key list")
        })?;
        return if with_pin(&key) {
            Ok(key)
        } else {
            Err(Failure::new(
                Outcome::BadInput,
                "touch_only",
                format!("\"{named}\" was enrolled for touch only: it needs no PIN"),
            )
            .hint("ask for what you need: a touch is all that it takes"))
        };
    }
    let seen = office.lobby.broker.seen(&keys).await.map_err(IntoFailure::failure)?;
    let mut here: Vec<_> = keys
        .into_iter()
        .filter(with_pin)
        .filter(|key| seen.iter().any(|seen| seen.key == Some(key.id())))
        .collect();
    match here.len() {
        1 => Ok(here.remove(0)),
        0 => Err(
            Failure::new(Outcome::NoKey, "no_key", "no enrolled key that has a PIN is connected")
                .hint("plug it in, or name it: touchlease unlock NAME"),
        ),
        _ => {
            let names: Vec<_> = here.iter().map(|key| key.name.as_str()).collect();
            Err(Failure::new(
                Outcome::BadInput,
                "which_key",
                format!("several keys are connected: {}", names.join(", ")),
            )
            .hint("touchlease unlock NAME"))
        }
    }
}
