//! Statements of the roster: who may open what, in canonical JSON.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::device::enrolled::{Credential, EnrolledKey, KeyId, Profile, base64url};
use crate::encoding::plain::check_name;
use crate::encoding::{Digest, jcs, sshsig::Point};

use super::bytes::{Hex, Id};
use super::error::RosterFault;
use super::scope::{carry_path, half_path, sealed_path};
use super::slot::{Holder, is_public_key};

/// The format that this version writes, and the newest that it reads.
pub const FORMAT: u64 = 1;

/// One statement of the roster. Every statement says everything; nothing is inherited from the one before.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Statement {
    /// When it was made: seconds since 1970 by the clock of the machine that made it. Shown, and nothing is decided by it.
    pub at: u64,
    /// What the vault is called on screens.
    pub name: String,
    /// Who may sign the next statement, in the order of their enrolment.
    pub keys: Vec<KeyEntry>,
    /// Digests of the statements before this one: none in the first, one in most, several where a fork is joined.
    pub previous: Vec<Digest>,
    /// 32 random bytes in the first statement, from which and the first key the vault's id is made; null in all others.
    pub random: Option<Hex<32>>,
    /// P-256 public key of the recovery code.
    #[serde(with = "base64url")]
    pub recovery: Point,
    /// The scopes.
    pub scopes: Vec<ScopeEntry>,
    /// [`FORMAT`].
    pub v: u64,
    /// The vault's id.
    pub vault: Digest,
}

/// An enrolled key, by its kind.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum KeyEntry {
    /// A FIDO2 key.
    Fido2(EnrolledKey),
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
        #[serde(with = "base64url")]
        public: Point,
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
    pub fn key(&self, id: KeyId) -> Option<&EnrolledKey> {
        self.keys.iter().map(KeyEntry::enrolled).find(|key| key.id() == id)
    }

    /// Names of the scopes that `key` opens.
    #[must_use]
    pub fn opened_by(&self, key: &EnrolledKey) -> Vec<String> {
        let scopes = self.scopes.iter().filter(|scope| scope.slot_of(key.id()).is_some());
        scopes.map(|scope| scope.name.clone()).collect()
    }

    fn check(&self) -> Option<()> {
        let fits = |ok: bool| ok.then_some(());
        fits(self.v == FORMAT && self.random.is_some() == self.previous.is_empty())?;
        check_name("the vault's name", &self.name).ok()?;
        fits(is_public_key(&self.recovery))?;
        fits(!self.keys.is_empty() && strictly_ascending(&self.previous))?;
        let keys: Vec<&EnrolledKey> = self.keys.iter().map(KeyEntry::enrolled).collect();
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

    /// The files below `slots/` and `scopes/` that the statement asks for.
    #[must_use]
    pub fn files(&self) -> BTreeSet<String> {
        self.scopes.iter().flat_map(ScopeEntry::files).collect()
    }

    /// Whether no scope has an epoch beyond the next one of `before`, all statements that this one follows; 1 in a scope that begins.
    /// Epochs that a removed key's side skipped would be lost to whoever joins it, who has to go beyond them.
    #[must_use]
    pub fn counts_on(&self, before: &[&Statement]) -> bool {
        self.scopes.iter().all(|scope| {
            let scopes = before.iter().flat_map(|old| &old.scopes).filter(|old| old.id == scope.id);
            let newest = scopes.map(|old| old.epoch).max().unwrap_or_default();
            scope.epoch <= newest.saturating_add(1)
        })
    }

    /// Whether this may follow `before`: same vault, no scope key replaced within an epoch, no epoch back, no slot altered, and no
    /// recovery slot kept for another recovery key.
    #[must_use]
    pub fn may_follow(&self, before: &Statement) -> bool {
        let same_line = |scope: &ScopeEntry| {
            before.scopes.iter().find(|old| old.id == scope.id).is_none_or(|old| {
                scope.epoch > old.epoch && scope.commitment != old.commitment
                    || scope.epoch == old.epoch && scope.commitment == old.commitment
            })
        };
        let old_slot = |id: Id| before.scopes.iter().flat_map(|scope| &scope.slots).find(|slot| slot.id() == id);
        let same_code = self.recovery == before.recovery;
        let unaltered = |slot: &SlotEntry| {
            let kept = |old: &SlotEntry| old == slot && (same_code || !matches!(slot, SlotEntry::Recovery { .. }));
            old_slot(slot.id()).is_none_or(kept)
        };
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

    /// The salt of the slot of `key`.
    #[must_use]
    pub fn salt_of(&self, key: KeyId) -> Option<[u8; 32]> {
        match self.slot_of(key) {
            Some(SlotEntry::Fido2 { salt, .. }) => Some(salt.0),
            _ => None,
        }
    }

    fn files(&self) -> Vec<String> {
        let mut files = Vec::new();
        for slot in &self.slots {
            if let SlotEntry::Fido2 { id, .. } = slot {
                files.push(half_path(*id));
            }
            files.push(sealed_path(slot.id(), &self.commitment));
        }
        if self.epoch > 1 {
            files.push(carry_path(self.id, &self.commitment));
        }
        files
    }

    fn check(&self, keys: &BTreeSet<Digest>) -> Option<()> {
        check_name("the scope's name", &self.name).ok()?;
        let fits = |ok: bool| ok.then_some(());
        fits(self.epoch >= 1)?;
        fits(self.slots.iter().filter(|slot| matches!(slot, SlotEntry::Recovery { .. })).count() == 1)?;
        let mut seen = BTreeSet::new();
        for slot in &self.slots {
            if let SlotEntry::Fido2 { key, public, .. } = slot {
                fits(keys.contains(key) && seen.insert(*key) && is_public_key(public))?;
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
    pub fn enrolled(&self) -> &EnrolledKey {
        let Self::Fido2(key) = self;
        key
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::random;
    use super::super::slot::Private;
    use super::*;
    use crate::device::soft::SoftKey;

    fn statement() -> Statement {
        let key = SoftKey::new("blue", Profile::Pin, 1).enrolled();
        let public = Private::generate(&mut random::system()).1;
        let slot = SlotEntry::Fido2 {
            half: None,
            id: Hex([1; 16]),
            key: key.id().0,
            public,
            salt: Hex([3; 32]),
        };
        Statement {
            at: 1_790_000_000,
            name: "laptop".into(),
            keys: vec![KeyEntry::Fido2(key)],
            previous: vec![],
            random: Some(Hex([0; 32])),
            recovery: public,
            scopes: vec![ScopeEntry {
                commitment: Digest([4; 32]),
                epoch: 1,
                id: Hex([5; 16]),
                name: "prod".into(),
                slots: vec![slot, SlotEntry::Recovery { id: Hex([2; 16]) }],
            }],
            v: FORMAT,
            vault: Digest([6; 32]),
        }
    }

    #[test]
    fn a_statement_is_read_back() {
        let statement = statement();
        assert_eq!(Statement::from_bytes(&statement.to_bytes().unwrap()), Ok(statement));
    }

    #[test]
    fn unknown_names_are_refused_at_every_level() {
        let text = String::from_utf8(statement().to_bytes().unwrap()).unwrap();
        assert!(Statement::from_bytes(text.as_bytes()).is_ok());
        // Each in the place where canonical order has it.
        for (from, to) in [
            ("{\"at\"", "{\"a\":1,\"at\""),
            ("{\"commitment\"", "{\"a\":1,\"commitment\""),
            ("{\"half\"", "{\"a\":1,\"half\""),
            ("{\"kind\":\"fido2\"", "{\"a\":1,\"kind\":\"fido2\""),
            ("{\"id\":\"02", "{\"a\":1,\"id\":\"02"),
        ] {
            let bad = text.replacen(from, to, 1);
            assert_ne!(bad, text, "{from}");
            assert_eq!(Statement::from_bytes(bad.as_bytes()), Err(RosterFault::Form), "{from}");
        }
    }

    #[test]
    fn statements_that_contradict_themselves_are_refused() {
        let changes: [fn(&mut Statement); 12] = [
            |s| s.v = 2,
            |s| s.random = None,
            |s| s.previous = vec![Digest([1; 32])],
            |s| s.recovery = [4; 65],
            |s| s.keys.clear(),
            |s| s.keys.push(s.keys[0].clone()),
            |s| s.name = "a\u{202e}b".into(),
            |s| s.scopes.push(s.scopes[0].clone()),
            |s| s.scopes[0].epoch = 0,
            |s| s.scopes[0].slots.truncate(1),
            |s| s.scopes[0].slots[1] = SlotEntry::Recovery { id: Hex([1; 16]) },
            |s| {
                if let SlotEntry::Fido2 { key, .. } = &mut s.scopes[0].slots[0] {
                    *key = Digest([9; 32]);
                }
            },
        ];
        for (n, change) in changes.into_iter().enumerate() {
            let mut bad = statement();
            change(&mut bad);
            assert_eq!(Statement::from_bytes(&bad.to_bytes().unwrap()), Err(RosterFault::Content), "{n}");
        }
    }
}
