//! Keys of signers on cards.

use super::super::house::{House, OpenVault};
use super::super::keys::{roots, slot};
use crate::device::EnrolledKey;
use crate::encoding::SecretRef;
use crate::encoding::jwk::{Algorithm, PublicKey};
use crate::lease::card::{CardPlan, SignerKey, Survey, signer_key};
use crate::lease::enrol::{Known, own_screen};
use crate::lease::failure::{IntoFailure, internal, locked_memory};
use crate::lease::office::Asker;
use crate::secret::Secret;
use crate::vault::signer::NO_PRIVATE;
use crate::vault::{Hardware, Vault};
use crate::wire::Failure;
use crate::wire::signer::HardwareAsk;

/// Makes a key for the signer `signer`.
///
/// # Errors
/// Nobody is there who could agree; see [`Survey::look`] and [`signer_key`].
pub(super) async fn make(
    house: &House,
    open: &OpenVault,
    signer: &SecretRef,
    ask: HardwareAsk,
    asker: &Asker,
) -> Result<SignerKey, Failure> {
    own_screen(asker)?;
    let office = house.office(open);
    let lobby = &office.lobby;
    let plan = CardPlan {
        serial: ask.serial,
        slots: vec![slot(ask.slot)?],
        danger_overwrite: ask.danger_overwrite,
        new_pin: ask.new_pin.map(|pin| pin.0),
        new_puk: ask.new_puk.map(|puk| puk.0),
    };
    let roots = lobby.limits.piv_attestation_roots.as_deref().map(roots).transpose()?;
    let mut known = house.known_keys(true);
    // Its own key is what a rotation in the same slot replaces.
    known.retain(|one| one.vault != open.shown || one.key.name != signer.to_string());
    let survey = Survey::look(lobby, plan, roots, &known).await?;
    let enrolled = open.vault.borrow().keys();
    signer_key(lobby, signer, &survey, &enrolled, asker).await
}

/// Its public half, as it stands in a record.
pub(super) fn public(key: &SignerKey) -> Result<String, Failure> {
    let public = PublicKey::from_bytes(Algorithm::Es256, &key.public_key);
    public.map(|public| public.to_text()).map_err(|error| internal("card", error))
}

/// The value of a record of which nothing is secret.
pub(super) fn no_private() -> Result<Secret, Failure> {
    Secret::from_slice_wiping(&mut NO_PRIVATE.to_owned()).map_err(locked_memory)
}

/// What failed once a key was made on a card: that stays there, and is nobody's.
pub(super) fn left(failure: Failure, made: Option<&Hardware>) -> Failure {
    let Some(Hardware { serial, slot, .. }) = made else {
        return failure;
    };
    let message = format!(
        "{}; the new key stays in slot {slot} of YubiKey {serial}, and is no signer's",
        failure.message
    );
    let hint = format!("the slot is taken again with --slot {slot} --danger-overwrite-slot");
    Failure {
        message,
        hint: Some(
            failure
                .hint
                .as_ref()
                .map_or_else(|| hint.clone(), |before| format!("{before}; {hint}")),
        ),
        ..failure
    }
}

/// Signers in hardware of a vault, as the folder claims them, each as what holds its slot.
pub fn known(vault: &Vault, shown: &str) -> Vec<Known> {
    // What cannot be read is not known.
    let Ok(shelves) = vault.shelves(None).map_err(IntoFailure::failure) else {
        return vec![];
    };
    let listed = shelves
        .iter()
        .filter_map(|shelf| vault.list_shelf(shelf).ok())
        .flat_map(|(listed, _)| listed);
    let known = listed.filter_map(|one| {
        let signer = one.rules.signer.as_deref()?;
        let (Hardware { serial, firmware, .. }, slot) = (signer.hardware.as_ref()?, signer.slot()?);
        let name = format!("{}/{}", one.scope, one.name);
        Some(Known {
            vault: shown.to_owned(),
            key: EnrolledKey::on_card(name, *serial, *firmware, slot.clone(), slot),
        })
    });
    known.collect()
}
