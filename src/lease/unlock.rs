//! `unlock`: a PIN typed ahead. The only thing it gives is that the next prompt needs the touch alone.

use std::borrow::Borrow;
use std::time::Duration;

use super::enrol::LOOK_AGAIN;
use super::failure::IntoFailure;
use super::office::{Asker, Office};
use super::roster::no_such_key;
use super::text::{RequesterText, Text, UnlockKind, UnlockText, VERSION};
use super::touch::refusal;
use crate::clock::until;
use crate::device::{EnrolledKey, Profile};
use crate::presence::Prompt;
use crate::secret::Secret;
use crate::wire::{Event, Failure, Outcome, TouchState};

/// Asks a person for the PIN of a key, and keeps it. Gives the key's name.
///
/// # Errors
/// No such key, a key without PIN, several to choose from, none connected in time; nobody typed one.
pub async fn unlock(office: &Office<'_>, named: Option<&str>, keep: Duration, asker: &Asker) -> Result<String, Failure> {
    let lobby = &office.lobby;
    let key = match named {
        Some(named) => find(office.vault.borrow().keys(), named)?,
        None => choose(office, asker).await?,
    };
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
    let kept = lobby.broker.give_pin(key.id(), pin, keep).map_err(IntoFailure::failure);
    kept.inspect_err(|failure| prompt.failed(failure.outcome))?;
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

fn find(keys: Vec<EnrolledKey>, named: &str) -> Result<EnrolledKey, Failure> {
    let key = keys.into_iter().find(|key| key.name == named);
    let key = key.ok_or_else(|| no_such_key(named))?;
    match key.profile {
        Profile::Pin => Ok(key),
        Profile::TouchOnly => Err(touch_only(format!("\"{named}\" was enrolled for touch only: it needs no PIN"))),
    }
}

/// The only connected key that has a PIN; where none is there, one is waited for as long as a prompt stands.
async fn choose(office: &Office<'_>, asker: &Asker) -> Result<EnrolledKey, Failure> {
    let lobby = &office.lobby;
    let mut keys = office.vault.borrow().keys();
    keys.retain(|key| key.profile == Profile::Pin);
    if keys.is_empty() {
        return Err(touch_only("no key of this vault has a PIN".into()));
    }
    let deadline = lobby.clock.boot() + lobby.limits.prompt;
    let mut told = false;
    loop {
        let seen = lobby.broker.seen(&keys).await.map_err(IntoFailure::failure)?;
        let is_here = |key: &&EnrolledKey| seen.iter().any(|seen| seen.key == Some(key.id()));
        let here: Vec<&EnrolledKey> = keys.iter().filter(is_here).collect();
        match here[..] {
            [one] => return Ok(one.clone()),
            [] if lobby.clock.boot() >= deadline => {
                let what = "no enrolled key that has a PIN is connected";
                return Err(Failure::new(Outcome::NoKey, "no_key", what).hint("plug it in, or name it: touchlease unlock NAME"));
            }
            [] => {}
            _ => {
                let what = format!("several keys are connected: {}", names(&here).join(", "));
                return Err(Failure::new(Outcome::BadInput, "which_key", what).hint("touchlease unlock NAME"));
            }
        }
        if !told {
            told = true;
            let what = format!(
                "plug in {}; to type a PIN without its key: touchlease unlock NAME",
                names(&keys).join(" or ")
            );
            // Whoever asked may have gone.
            let _ = asker.tell.send(Event::Note { what });
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

fn names<K: Borrow<EnrolledKey>>(keys: &[K]) -> Vec<String> {
    keys.iter().map(|key| format!("\"{}\"", key.borrow().name)).collect()
}

fn touch_only(what: String) -> Failure {
    Failure::new(Outcome::BadInput, "touch_only", what).hint("ask for what you need: a touch is all that it takes")
}
