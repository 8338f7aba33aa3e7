//! Slots in the making; and for a key that is being enrolled, what to ask it and what to make of its answers.

use serde::Serialize;

use crate::device::enrolled::{EnrolledKey, KeyId};
use crate::device::proof::Proof;
use crate::encoding::sshsig::{Namespace, Point};
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

/// A slot whose private half waits for the output of its salt, which seals it.
pub(super) struct Making {
    place: Place,
    key: EnrolledKey,
    salt: Hex<32>,
    private: Private,
    public: Point,
}

/// The slots of a key that is being enrolled.
pub(super) struct NewSlots {
    vault: Digest,
    key: EnrolledKey,
    slots: Vec<Making>,
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

impl Making {
    /// A slot of `key` in `scope` with a fresh id, pair and salt.
    pub(super) fn new(vault: Digest, scope: Id, key: &EnrolledKey, random: &mut Random) -> Self {
        let (private, public) = Private::generate(random);
        let slot = random::id(random);
        Self {
            place: Place { vault, scope, slot },
            key: key.clone(),
            salt: random::id(random),
            private,
            public,
        }
    }

    pub(super) fn scope(&self) -> Id {
        self.place.scope
    }

    pub(super) fn slot(&self) -> Id {
        self.place.slot
    }

    pub(super) fn key(&self) -> KeyId {
        self.key.id()
    }

    pub(super) fn public(&self) -> Point {
        self.public
    }

    pub(super) fn salt(&self) -> [u8; 32] {
        self.salt.0
    }

    /// The slot as the roster names it; `half` is nothing where the touch that signs is the one that seals.
    pub(super) fn entry(&self, half: Option<&[u8]>) -> SlotEntry {
        SlotEntry::Fido2 {
            half: half.map(Digest::of),
            id: self.place.slot,
            key: self.key.id().0,
            public: self.public,
            salt: self.salt,
        }
    }

    /// The file of the private half, sealed under the output of the slot's salt.
    pub(super) fn seal(&self, output: &[u8], random: &mut Random) -> Result<Vec<u8>, VaultError> {
        seal_half(&self.place, &holder(&self.key), output, &self.private, random).ok_or(VaultError::Sealing("a private half"))
    }
}

impl NewSlots {
    pub(super) fn new(vault: Digest, key: EnrolledKey, scopes: &[Id], random: &mut Random) -> Self {
        let slots = scopes.iter().map(|scope| Making::new(vault, *scope, &key, random)).collect();
        Self { vault, key, slots }
    }

    pub(super) fn key(&self) -> &EnrolledKey {
        &self.key
    }

    /// The touches that the key is asked for, two scopes in each.
    pub(super) fn enrolments(&self) -> Result<Vec<Enrolment>, VaultError> {
        self.slots.chunks(SCOPES_PER_TOUCH).map(|slots| self.enrolment(slots)).collect()
    }

    fn enrolment(&self, slots: &[Making]) -> Result<Enrolment, VaultError> {
        let text_slot = |slot: &Making| TextSlot {
            id: slot.slot(),
            salt: slot.salt,
            scope: slot.scope(),
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

    /// Seals the slots' private halves under the key's answers.
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
                let half = slot.seal(output.expose(), random)?;
                made.push(MadeSlot {
                    scope: slot.scope(),
                    entry: slot.entry(Some(&half)),
                    half,
                });
            }
        }
        Ok(made)
    }
}
