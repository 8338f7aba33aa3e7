//! The one exception to the touch of an enrolled key: whoever has the recovery code enrols a new one.

use super::card::Survey;
use super::enrol::{Candidacy, Enrolled, Known, Steps, enrol_prompt, keys_of, own_screen, refs, slots_of, tell_aside};
use super::failure::{IntoFailure, locked_memory};
use super::making::make;
use super::office::{Asker, Office};
use super::record::{self, Question};
use super::text::{RecoversText, StatesText};
use crate::encoding::Digest;
use crate::secret::Secret;
use crate::vault::{Random, Recovering, RecoveryCode, VaultError};
use crate::wire::Failure;

/// What a recovery comes to.
pub struct Recovered {
    /// The code that holds from now on, as it is printed: told nowhere else, so told whatever else happens.
    pub code: Secret,
    /// The new key.
    pub new: Enrolled,
    /// Scopes that it opens: all.
    pub scopes: Vec<String>,
    /// Secrets that the lost keys could read.
    pub exposed: Vec<String>,
    /// What failed once the code was in force.
    pub trouble: Option<VaultError>,
}

/// The key that the code lets in.
#[derive(Clone, Copy)]
pub struct Newcomer<'a> {
    /// What it will be called.
    pub name: &'a str,
    /// Without PIN.
    pub touch_only: bool,
    /// By the PIV application of this card.
    pub card: Option<&'a Survey>,
}

/// Enrols the key `newcomer` by the recovery code, takes the keys called `lost` out, gives every scope a new key and the vault a new code.
///
/// # Errors
/// A code that is not this vault's; every way in which an enrolment can end before. The roster is as it was then.
pub async fn recover(
    office: &Office<'_>,
    newcomer: Newcomer<'_>,
    code: RecoveryCode,
    lost: &[String],
    known: &[Known],
    asker: &Asker,
) -> Result<Recovered, Failure> {
    own_screen(asker)?;
    let lobby = &office.lobby;
    let Newcomer { name, touch_only, card } = newcomer;
    let (shown, scopes, kept) = {
        let vault = office.vault.borrow();
        vault.check_code(&code).map_err(IntoFailure::failure)?;
        vault.check_recovery(name, lost).map_err(IntoFailure::failure)?;
        let scopes: Vec<String> = vault.scopes().into_iter().map(str::to_owned).collect();
        let kept: Vec<_> = vault.keys().into_iter().filter(|key| !lost.contains(&key.name)).collect();
        (vault.whole_standing().map_err(IntoFailure::failure)?, scopes, kept)
    };
    let key = Candidacy {
        name,
        touch_only,
        scopes: &scopes,
        recovers: Some(RecoversText {
            removes: lost.to_vec(),
            keeps: kept.iter().map(|key| key.name.clone()).collect(),
            joins: StatesText::of(shown.heads(), shown.claims()),
        }),
        card,
        known,
    };
    tell_aside(asker, shown.left_aside());
    let mut steps = Steps::new(asker, key.touches());
    let what = format!("recover {name} with the recovery code");
    let asked = record::asked(office.log, &Question::of_change(&asker.requester, vec![], &what))?;
    let path = async {
        let prompt = enrol_prompt(lobby, &key, asker).await?;
        asked.shown()?;
        let new = keys_of(lobby, &prompt, &key, &kept, &mut steps).await?;
        let now = lobby.clock.wall().seconds();
        let (vault, key, out) = (office.vault_now(), new.key().clone(), lost.to_vec());
        let begin = move |random: &mut Random| Recovering::begin(&vault, &shown, key, &out, now, random);
        let recovering = lobby.writer.run(begin).await?.map_err(IntoFailure::failure)?;
        let proofs = slots_of(lobby, &prompt, &new, recovering.enrolments(), &mut steps).await?;
        let recovery = recovering.seal(&refs(&proofs), &mut **lobby.random.borrow_mut());
        let recovery = recovery.map_err(IntoFailure::failure)?;
        let exposed = recovery.exposed().iter().map(|listed| format!("{}/{}", listed.scope, listed.name));
        let exposed = exposed.collect();
        // Before the statement is in force: without locked memory nothing is changed, and the code on the paper still holds.
        let fresh = Secret::from_slice_wiping(&mut recovery.fresh().to_text().to_string().into_bytes());
        let fresh = fresh.map_err(locked_memory)?;
        asked.recovered(Digest::of(recovery.text()), name, lost)?;
        let vault = office.vault_now();
        let finish = move |random: &mut Random| recovery.finish(&vault, &code, random);
        let in_force = make(lobby.writer, &asked, Some(&prompt), finish).await?;
        prompt.approved();
        Ok(Recovered {
            code: fresh,
            new: new.enrolled,
            scopes: scopes.clone(),
            exposed,
            trouble: in_force.trouble,
        })
    };
    path.await.inspect_err(|failure| asked.failed(failure))
}
