//! A clock that was moved: a person says by a touch that it is right as it is.

use super::failure::{IntoFailure, internal};
use super::office::{Asker, Office};
use super::record::{self, Question};
use super::text::{ClockKind, ClockText, Text, VERSION};
use super::touch::touch;
use crate::wire::Failure;

/// Asks for the touch and writes it down, and says that it was done; nothing is done when the clock is believed anyway.
///
/// # Errors
/// Every way in which a request can end without it.
pub async fn accept(office: &Office<'_>, asker: &Asker) -> Result<bool, Failure> {
    let Err(moved) = office.log.check_clock() else { return Ok(false) };
    let scope = office.vault.borrow().scopes().first().map(|scope| (*scope).to_owned());
    let scope = scope.ok_or_else(|| internal("no_scope", "the vault has no scope"))?;
    let turn = office.lobby.turn(asker).await.inspect_err(|refusal| office.refused(refusal))?;
    let standing = office.standing(&[&scope])?;
    // Whoever may open a scope may say it; nothing is opened, so no salts.
    let mut candidates = office.candidates(&standing, asker)?;
    candidates.iter_mut().for_each(|candidate| candidate.unseals.clear());
    let asked = record::asked(
        office.log,
        &Question::of_change(&asker.requester, vec![], "accept the clock as it is"),
    )?;
    let path = async {
        let text = ClockText {
            v: VERSION,
            kind: ClockKind::Clock,
            id: office.lobby.random_id(),
            asked: asked.hash(),
            origin: office.origin(&asker.requester, &standing),
            now: office.lobby.clock.wall().seconds(),
            moved: moved.message.clone(),
        };
        let fixed = text.fix().map_err(IntoFailure::failure)?;
        let prompt = office.show(turn, &fixed, &candidates, asker).await?;
        asked.shown()?;
        let proof = touch(&office.lobby, &prompt, &fixed, candidates).await?;
        asked.clock_accepted(&proof, &fixed)?;
        prompt.approved();
        Ok(true)
    };
    path.await.inspect_err(|failure| asked.failed(failure))
}
