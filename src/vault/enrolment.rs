//! Slots in the making; and for a key that is being enrolled, what to ask it and what to make of its answers.

use serde::Serialize;

use crate::device::candidate::{Sealed, Unseal};
use crate::device::enrolled::{EnrolledKey, KeyId, Kind, Piv, PivSlot};
use crate::device::proof::Proof;
use crate::encoding::sshsig::{Namespace, Point, ecdsa};
use crate::encoding::{Digest, jcs};

use super::SCOPES_PER_TOUCH;
use super::bytes::{Hex, Id};
use super::error::VaultError;
use super::random::{self, Random};
use super::slot::{Place, Private, seal_base, seal_half};
use super::statement::{FORMAT, SlotEntry, holder};

/// What a PIV key shows at enrolment that it can open is sealed for this.
const TRIAL: &[u8] = b"touchlease v1 enrolment";

/// What the key that is being enrolled is asked at once: the text that it signs in the namespace `touchlease-enrol`, and what it unseals. A
/// FIDO2 key does so with one touch, a PIV key with one for each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Enrolment {
    text: Vec<u8>,
    unseals: Vec<Unseal>,
}

impl Enrolment {
    /// The text to be signed.
    #[must_use]
    pub fn text(&self) -> &[u8] {
        &self.text
    }

    /// What it unseals: the salts of one or two slots, or what is sealed to the slot of a PIV key to see that it opens it.
    #[must_use]
    pub fn unseals(&self) -> &[Unseal] {
        &self.unseals
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
    kind: NewKind,
}

enum NewKind {
    /// Each waits for the output of its salt.
    Fido2(Vec<Making>),
    /// Nothing is to be made: their pair is on the card. What it has to open, to show that it does, was sealed to it with `sealed`.
    Piv {
        slots: Vec<(Id, Id)>,
        trial: [u8; 32],
        sealed: Vec<u8>,
    },
}

/// A key that was enrolled, as the roster names it, and its slots.
pub(super) struct Made {
    pub key: EnrolledKey,
    pub slots: Vec<MadeSlot>,
}

/// A slot that can be written into the roster, and the file of its private half, if it has one.
pub(super) struct MadeSlot {
    pub scope: Id,
    pub entry: SlotEntry,
    pub half: Option<Vec<u8>>,
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

/// What a PIV key signs: all that the roster says of it but its name, and the vault.
#[derive(Serialize)]
struct PivText<'a> {
    firmware: [u8; 3],
    open: &'a PivSlot,
    serial: u32,
    sign: &'a PivSlot,
    v: u64,
    vault: Digest,
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

    /// What to ask its key for.
    pub(super) fn unseal(&self) -> Unseal {
        Unseal::Salt(self.salt.0)
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
        let holder = holder(&self.key);
        let half = holder.and_then(|holder| seal_half(&self.place, &holder, output, &self.private, random));
        half.ok_or(VaultError::Sealing("a private half"))
    }
}

impl NewSlots {
    /// # Errors
    /// [`VaultError::Sealing`]: the public key of a PIV key's slot is none.
    pub(super) fn new(vault: Digest, key: EnrolledKey, scopes: &[Id], random: &mut Random) -> Result<Self, VaultError> {
        let kind = match key.piv() {
            None => NewKind::Fido2(scopes.iter().map(|scope| Making::new(vault, *scope, &key, random)).collect()),
            Some(piv) => {
                let trial = random::bytes(random);
                let sealed = seal_base(&piv.open.public_key, TRIAL, &vault.0, &trial, random);
                NewKind::Piv {
                    slots: scopes.iter().map(|scope| (*scope, random::id(random))).collect(),
                    trial,
                    sealed: sealed.ok_or(VaultError::Sealing("a trial for the key"))?,
                }
            }
        };
        Ok(Self { vault, key, kind })
    }

    /// What the key is asked, two scopes at once, or for a PIV key all of them.
    pub(super) fn enrolments(&self) -> Result<Vec<Enrolment>, VaultError> {
        match &self.kind {
            NewKind::Fido2(slots) => slots.chunks(SCOPES_PER_TOUCH).map(|slots| self.enrolment(slots)).collect(),
            NewKind::Piv { sealed, .. } => {
                let piv = self.key.piv().ok_or(VaultError::Sealing("an enrolment"))?;
                let trial = Sealed {
                    to: piv.open.public_key,
                    info: TRIAL.to_vec(),
                    aad: self.vault.0.to_vec(),
                    message: sealed.clone(),
                };
                Ok(vec![Enrolment {
                    text: piv_text(piv, self.vault).ok_or(VaultError::Sealing("an enrolment"))?,
                    unseals: vec![Unseal::Sealed(trial)],
                }])
            }
        }
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
            unseals: slots.iter().map(Making::unseal).collect(),
        })
    }

    /// The key and its slots, once it has answered: their private halves are sealed under its outputs, or it has shown that it opens what
    /// is sealed to it, and its signature stays with it.
    pub(super) fn seal(&self, proofs: &[&Proof], random: &mut Random) -> Result<Made, VaultError> {
        let enrolments = self.enrolments()?;
        if proofs.len() != enrolments.len() {
            return Err(VaultError::WrongProof("another number of touches than the enrolment has"));
        }
        let fits = enrolments.iter().zip(proofs).all(|(enrolment, proof)| {
            proof.namespace() == Namespace::Enrol
                && proof.text_digest() == Digest::of(&enrolment.text)
                && proof.key_id() == self.key.id()
                && proof.outputs().len() == enrolment.unseals.len()
        });
        if !fits {
            return Err(VaultError::WrongProof("it is not of this enrolment"));
        }
        let signed = enrolments
            .iter()
            .zip(proofs)
            .find_map(|(enrolment, proof)| proof.sshsig(&enrolment.text));
        let outputs = proofs.iter().flat_map(|proof| proof.outputs());
        let mut key = self.key.clone();
        let slots: Result<Vec<MadeSlot>, VaultError> = match &self.kind {
            NewKind::Fido2(slots) => {
                let made = slots.iter().zip(outputs).map(|(slot, output)| {
                    let half = slot.seal(output.expose(), random)?;
                    Ok(MadeSlot {
                        scope: slot.scope(),
                        entry: slot.entry(Some(&half)),
                        half: Some(half),
                    })
                });
                made.collect()
            }
            NewKind::Piv { slots, trial, .. } => {
                if !outputs.into_iter().all(|output| output.expose() == trial) {
                    return Err(VaultError::WrongProof("it does not open what is sealed to its slot"));
                }
                if let Kind::Piv(piv) = &mut key.kind {
                    piv.enrolment = signed;
                }
                let made = slots.iter().map(|(scope, id)| MadeSlot {
                    scope: *scope,
                    entry: piv_slot(*id, &self.key),
                    half: None,
                });
                Ok(made.collect())
            }
        };
        Ok(Made { key, slots: slots? })
    }
}

/// Whether `key` was enrolled for `vault`. What is sealed to a FIDO2 key names the vault; to a PIV key anybody seals (HPKE base mode), in
/// a vault that he made of public files too, so such a key says by a signature to which it belongs.
pub(super) fn is_for(key: &EnrolledKey, vault: Digest) -> bool {
    let Some(piv) = key.piv() else { return true };
    let text = piv_text(piv, vault);
    let signed = piv.enrolment.as_ref().zip(text);
    signed.is_some_and(|(signature, text)| ecdsa::verify(signature, key.signer(), Namespace::Enrol, &text))
}

/// What a PIV key signs in the namespace `touchlease-enrol`.
pub(super) fn piv_text(piv: &Piv, vault: Digest) -> Option<Vec<u8>> {
    let Piv {
        serial,
        firmware,
        open,
        sign,
        enrolment: _,
    } = piv;
    let text = PivText {
        firmware: *firmware,
        open,
        serial: *serial,
        sign,
        v: FORMAT,
        vault,
    };
    jcs::to_vec(&text).ok()
}

/// A slot of a PIV key: that of the card, under another name.
pub(super) fn piv_slot(id: Id, key: &EnrolledKey) -> SlotEntry {
    SlotEntry::Piv { id, key: key.id().0 }
}
