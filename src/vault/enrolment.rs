//! Slots for a key that is being enrolled: what to ask it, and what to make of its answers.

use serde::Serialize;

use crate::device::enrolled::EnrolledKey;
use crate::device::proof::Proof;
use crate::encoding::sshsig::Namespace;
use crate::encoding::{Digest, jcs};

use super::SCOPES_PER_TOUCH;
use super::bytes::{Hex, Id};
use super::error::VaultError;
use super::random::{self, Random};
use super::slot::{Place, Private, seal_half};
use super::statement::{FORMAT, SlotEntry, holder};

/// One touch of the key that is being enrolled: the text that it signs in the namespace `touchlease-enrol`, and the salts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Enrolment {
    text: Vec<u8>,
    salts: Vec<[u8; 32]>,
}

impl Enrolment {
    /// The text to be signed.
    #[must_use]
    pub fn text(&self) -> &[u8] {
        &self.text
    }

    /// The hmac-secret salts, one or two.
    #[must_use]
    pub fn salts(&self) -> &[[u8; 32]] {
        &self.salts
    }
}

/// Slots in the making.
pub(super) struct NewSlots {
    vault: Digest,
    key: EnrolledKey,
    slots: Vec<NewSlot>,
}

struct NewSlot {
    scope: Id,
    id: Id,
    salt: Hex<32>,
}

/// A slot that can be written into the roster, and the file of its private half.
pub(super) struct MadeSlot {
    pub scope: Id,
    pub entry: SlotEntry,
    pub half: Vec<u8>,
}

#[derive(Serialize)]
struct Text<'a> {
    key: Digest,
    name: &'a str,
    slots: Vec<TextSlot>,
    v: u64,
    vault: Digest,
}

#[derive(Serialize)]
struct TextSlot {
    id: Id,
    salt: Hex<32>,
    scope: Id,
}

impl NewSlots {
    pub(super) fn new(vault: Digest, key: EnrolledKey, scopes: &[Id], random: &mut Random) -> Self {
        let slot = |scope: &Id| NewSlot {
            scope: *scope,
            id: random::id(random),
            salt: random::id(random),
        };
        Self {
            vault,
            key,
            slots: scopes.iter().map(slot).collect(),
        }
    }

    pub(super) fn key(&self) -> &EnrolledKey {
        &self.key
    }

    /// The touches that the key is asked for, two scopes in each.
    pub(super) fn enrolments(&self) -> Result<Vec<Enrolment>, VaultError> {
        self.slots.chunks(SCOPES_PER_TOUCH).map(|slots| self.enrolment(slots)).collect()
    }

    fn enrolment(&self, slots: &[NewSlot]) -> Result<Enrolment, VaultError> {
        let text_slot = |slot: &NewSlot| TextSlot {
            id: slot.id,
            salt: slot.salt,
            scope: slot.scope,
        };
        let text = Text {
            key: self.key.id().0,
            name: &self.key.name,
            slots: slots.iter().map(text_slot).collect(),
            v: FORMAT,
            vault: self.vault,
        };
        Ok(Enrolment {
            text: jcs::to_vec(&text).map_err(|_| VaultError::Sealing("an enrolment"))?,
            salts: slots.iter().map(|slot| slot.salt.0).collect(),
        })
    }

    /// Makes the slots' pairs and seals their private halves under the key's answers.
    pub(super) fn seal(&self, proofs: &[&Proof], random: &mut Random) -> Result<Vec<MadeSlot>, VaultError> {
        let enrolments = self.enrolments()?;
        if proofs.len() != enrolments.len() {
            return Err(VaultError::WrongProof("another number of touches than the enrolment has"));
        }
        let mut made = Vec::new();
        for ((enrolment, proof), slots) in enrolments.iter().zip(proofs).zip(self.slots.chunks(SCOPES_PER_TOUCH)) {
            let fits = proof.namespace() == Namespace::Enrol
                && proof.text_digest() == Digest::of(&enrolment.text)
                && proof.key_id() == self.key.id()
                && proof.outputs().len() == slots.len();
            if !fits {
                return Err(VaultError::WrongProof("it is not of this enrolment"));
            }
            for (slot, output) in slots.iter().zip(proof.outputs()) {
                made.push(self.make(slot, output.expose(), random)?);
            }
        }
        Ok(made)
    }

    fn make(&self, slot: &NewSlot, output: &[u8], random: &mut Random) -> Result<MadeSlot, VaultError> {
        let place = Place {
            vault: self.vault,
            scope: slot.scope,
            slot: slot.id,
        };
        let (private, public) = Private::generate(random);
        let half = seal_half(&place, &holder(&self.key), output, &private, random).ok_or(VaultError::Sealing("a private half"))?;
        Ok(MadeSlot {
            scope: slot.scope,
            entry: SlotEntry::Fido2 {
                half: Some(Digest::of(&half)),
                id: slot.id,
                key: self.key.id().0,
                public,
                salt: slot.salt,
            },
            half,
        })
    }
}
