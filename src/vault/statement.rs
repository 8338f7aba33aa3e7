//! Statements of the roster: who may open what, in canonical JSON.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::device::enrolled::{Credential, EnrolledKey, KeyId, Profile};
use crate::encoding::plain::check_name;
use crate::encoding::{Digest, jcs, sshsig::Point};

use super::bytes::{Hex, Id, hex_bytes};
use super::error::RosterFault;
use super::slot::{Holder, is_public_key};

/// The format that this version writes, and the newest that it reads.
pub const FORMAT: u64 = 1;

/// One statement of the roster. Every statement says everything; nothing is inherited from the one before.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Statement {
    /// What the vault is called on screens.
    pub name: String,
    /// Who may sign the next statement, in the order of their enrolment.
    pub keys: Vec<KeyEntry>,
    /// Digests of the statements before this one: none in the first, one in most, several where a fork is joined.
    pub previous: Vec<Digest>,
    /// 32 random bytes in the first statement, from which and the first key the vault's id is made; null in all others.
    pub random: Option<Hex<32>>,
    /// P-256 public key of the recovery code.
    pub recovery: Hex<65>,
    /// The scopes.
    pub scopes: Vec<ScopeEntry>,
    /// [`FORMAT`].
    pub v: u64,
    /// The vault's id.
    pub vault: Digest,
}

/// An enrolled key.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum KeyEntry {
    /// A FIDO2 key.
    Fido2 {
        /// What its owner calls it.
        name: String,
        /// How it was enrolled.
        profile: ProfileText,
        /// The credential that signs and unseals.
        lease: CredentialText,
        /// The credential by which it is recognised without a touch.
        which: CredentialText,
    },
}

/// A profile, as text.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum ProfileText {
    /// PIN and touch.
    Pin,
    /// Touch alone.
    TouchOnly,
}

/// A credential, in hexadecimal.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct CredentialText {
    /// Credential id (1 to 1023 bytes).
    #[serde(with = "hex_bytes")]
    pub id: Vec<u8>,
    /// Uncompressed P-256 point.
    pub public: Hex<65>,
}

/// A scope and its slots.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct ScopeEntry {
    /// HKDF-Expand(scope key, "touchlease v1 commit" ...).
    pub commitment: Digest,
    /// 1 at first, one more with each new scope key.
    pub epoch: u64,
    /// Random, for the scope's life.
    pub id: Id,
    /// What people call it.
    pub name: String,
    /// The ways in.
    pub slots: Vec<SlotEntry>,
}

/// A slot. Its id, pair and salt are made together and never change: a new pair is a new slot.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum SlotEntry {
    /// Opened by a FIDO2 key's hmac-secret.
    Fido2 {
        /// SHA-256 of the file with the private half, or null where the touch that signs makes it (it cannot sign what it is yet to make).
        half: Option<Digest>,
        /// Random.
        id: Id,
        /// Which key.
        key: Digest,
        /// P-256 public key.
        public: Hex<65>,
        /// hmac-secret salt.
        salt: Hex<32>,
    },
    /// Opened by the recovery code.
    Recovery {
        /// Random.
        id: Id,
    },
}

impl Statement {
    /// Canonical bytes, as they are signed.
    ///
    /// # Errors
    /// [`RosterFault::Form`] for an epoch beyond 2^53.
    pub fn to_bytes(&self) -> Result<Vec<u8>, RosterFault> {
        jcs::to_vec(self).map_err(|_| RosterFault::Form)
    }

    /// Reads canonical bytes and checks that the statement does not contradict itself.
    ///
    /// # Errors
    /// [`RosterFault::Form`], [`RosterFault::Content`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, RosterFault> {
        let statement: Self = jcs::from_slice(bytes).map_err(|_| RosterFault::Form)?;
        statement.check().ok_or(RosterFault::Content)?;
        Ok(statement)
    }

    /// The format number of any statement, of this version or a later one.
    #[must_use]
    pub fn format_of(bytes: &[u8]) -> Option<u64> {
        #[derive(Deserialize)]
        struct Version {
            v: u64,
        }
        serde_json::from_slice::<Version>(bytes).ok().map(|version| version.v)
    }

    /// The vault's id: SHA-256 of the 32 random bytes and the first key's public key (65 bytes).
    #[must_use]
    pub fn vault_id(random: &Hex<32>, first: &Point) -> Digest {
        Digest::of(&[&random.0[..], first].concat())
    }

    /// The scope called `name`.
    #[must_use]
    pub fn scope(&self, name: &str) -> Option<&ScopeEntry> {
        self.scopes.iter().find(|scope| scope.name == name)
    }

    /// The key with this id.
    #[must_use]
    pub fn key(&self, id: KeyId) -> Option<EnrolledKey> {
        self.keys.iter().map(KeyEntry::enrolled).find(|key| key.id() == id)
    }

    fn check(&self) -> Option<()> {
        let fits = |ok: bool| ok.then_some(());
        fits(self.v == FORMAT && self.random.is_some() == self.previous.is_empty())?;
        check_name("the vault's name", &self.name).ok()?;
        fits(is_public_key(&self.recovery.0))?;
        fits(!self.keys.is_empty() && strictly_ascending(&self.previous))?;
        let keys: Vec<EnrolledKey> = self.keys.iter().map(KeyEntry::enrolled).collect();
        for key in &keys {
            check_key(key)?;
        }
        fits(all_differ(keys.iter().map(|key| key.name.as_str())))?;
        let ids: BTreeSet<Digest> = keys.iter().map(|key| key.id().0).collect();
        fits(ids.len() == keys.len())?;
        fits(all_differ(self.scopes.iter().map(|scope| scope.name.as_str())))?;
        fits(all_differ(self.scopes.iter().map(|scope| scope.id)))?;
        fits(all_differ(
            self.scopes.iter().flat_map(|scope| scope.slots.iter().map(SlotEntry::id)),
        ))?;
        self.scopes.iter().try_for_each(|scope| scope.check(&ids))
    }

    /// Whether this may follow `before`: same vault, no scope key replaced within an epoch, no epoch back, no slot altered.
    #[must_use]
    pub fn may_follow(&self, before: &Statement) -> bool {
        let same_line = |scope: &ScopeEntry| {
            before.scopes.iter().find(|old| old.id == scope.id).is_none_or(|old| {
                scope.epoch > old.epoch && scope.commitment != old.commitment
                    || scope.epoch == old.epoch && scope.commitment == old.commitment
            })
        };
        let old_slot = |id: Id| before.scopes.iter().flat_map(|scope| &scope.slots).find(|slot| slot.id() == id);
        let unaltered = |slot: &SlotEntry| old_slot(slot.id()).is_none_or(|old| old == slot);
        self.vault == before.vault && self.scopes.iter().all(same_line) && self.scopes.iter().flat_map(|scope| &scope.slots).all(unaltered)
    }
}

impl ScopeEntry {
    /// The slot of `key`.
    #[must_use]
    pub fn slot_of(&self, key: KeyId) -> Option<&SlotEntry> {
        self.slots
            .iter()
            .find(|slot| matches!(slot, SlotEntry::Fido2 { key: of, .. } if *of == key.0))
    }

    fn check(&self, keys: &BTreeSet<Digest>) -> Option<()> {
        check_name("the scope's name", &self.name).ok()?;
        let fits = |ok: bool| ok.then_some(());
        fits(self.epoch >= 1)?;
        fits(self.slots.iter().filter(|slot| matches!(slot, SlotEntry::Recovery { .. })).count() == 1)?;
        let mut seen = BTreeSet::new();
        for slot in &self.slots {
            if let SlotEntry::Fido2 { key, public, .. } = slot {
                fits(keys.contains(key) && seen.insert(*key) && is_public_key(&public.0))?;
            }
        }
        Some(())
    }
}

impl SlotEntry {
    /// The slot's id.
    #[must_use]
    pub fn id(&self) -> Id {
        match self {
            Self::Fido2 { id, .. } | Self::Recovery { id } => *id,
        }
    }
}

impl KeyEntry {
    /// The key as `device` describes it.
    #[must_use]
    pub fn enrolled(&self) -> EnrolledKey {
        let Self::Fido2 {
            name,
            profile,
            lease,
            which,
        } = self;
        EnrolledKey {
            name: name.clone(),
            profile: match profile {
                ProfileText::Pin => Profile::Pin,
                ProfileText::TouchOnly => Profile::TouchOnly,
            },
            lease: lease.credential(),
            which: which.credential(),
        }
    }
}

impl From<&EnrolledKey> for KeyEntry {
    fn from(key: &EnrolledKey) -> Self {
        Self::Fido2 {
            name: key.name.clone(),
            profile: match key.profile {
                Profile::Pin => ProfileText::Pin,
                Profile::TouchOnly => ProfileText::TouchOnly,
            },
            lease: (&key.lease).into(),
            which: (&key.which).into(),
        }
    }
}

impl CredentialText {
    fn credential(&self) -> Credential {
        Credential {
            id: self.id.clone(),
            public_key: self.public.0,
        }
    }
}

impl From<&Credential> for CredentialText {
    fn from(credential: &Credential) -> Self {
        Self {
            id: credential.id.clone(),
            public: Hex(credential.public_key),
        }
    }
}

/// What ties a slot's private half to the key.
#[must_use]
pub fn holder(key: &EnrolledKey) -> Holder<'_> {
    Holder {
        credential: &key.lease.id,
        profile: match key.profile {
            Profile::Pin => "pin",
            Profile::TouchOnly => "touch-only",
        },
    }
}

fn check_key(key: &EnrolledKey) -> Option<()> {
    check_name("the key's name", &key.name).ok()?;
    let sound = |credential: &Credential| (1..=1023).contains(&credential.id.len()) && is_public_key(&credential.public_key);
    (sound(&key.lease) && sound(&key.which)).then_some(())
}

fn all_differ<T: Ord>(items: impl Iterator<Item = T>) -> bool {
    let mut seen = BTreeSet::new();
    items.into_iter().all(|item| seen.insert(item))
}

fn strictly_ascending(digests: &[Digest]) -> bool {
    digests.windows(2).all(|pair| pair[0] < pair[1])
}
