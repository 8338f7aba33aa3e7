//! Statements of the roster: who may open what, in canonical JSON.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::device::enrolled::{Credential, EnrolledKey, Fido2, KeyId, Kind, Piv, Profile, base64url};
use crate::encoding::hpke::is_public_key;
use crate::encoding::plain::check_name;
use crate::encoding::{Digest, jcs, sshsig::Point};

use super::bytes::{Hex, Id};
use super::error::RosterFault;
use super::scope::{carry_path, half_path, sealed_path};
use super::slot::Holder;

/// The format of files, and of statements that name FIDO2 keys alone.
pub const FORMAT: u64 = 1;
/// The format of statements that name a PIV key, and the newest that this version reads.
pub const NEWEST: u64 = 2;

/// One statement of the roster. Every statement says everything; nothing is inherited from the one before.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Statement {
    /// When it was made: seconds since 1970 by the clock of the machine that made it. Shown, and nothing is decided by it.
    pub at: u64,
    /// What the vault is called on screens.
    pub name: String,
    /// Who may sign the next statement, in the order of their enrolment.
    pub keys: Vec<EnrolledKey>,
    /// Digests of the statements before this one: none in the first, one in most, several where a fork is joined.
    pub previous: Vec<Digest>,
    /// 32 random bytes in the first statement, from which and the first key the vault's id is made; null in all others.
    pub random: Option<Hex<32>>,
    /// P-256 public key of the recovery code.
    #[serde(with = "base64url")]
    pub recovery: Point,
    /// The scopes.
    pub scopes: Vec<ScopeEntry>,
    /// [`FORMAT`], or [`NEWEST`] where it names a PIV key: see [`Statement::format`].
    pub v: u64,
    /// The vault's id.
    pub vault: Digest,
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
    /// Opened by a PIV key: its pair is that of the key's slot, and the private half stays on the card.
    Piv {
        /// Random.
        id: Id,
        /// Which key.
        key: Digest,
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
        self.keys.iter().find(|key| key.id() == id)
    }

    /// The format number that the statement has to have: readers that do not know a kind of key stop at it, and say so.
    #[must_use]
    pub fn format(&self) -> u64 {
        if self.keys.iter().any(|key| key.piv().is_some()) {
            NEWEST
        } else {
            FORMAT
        }
    }

    /// The public key that a slot is sealed to.
    #[must_use]
    pub fn public_of(&self, slot: &SlotEntry) -> Option<Point> {
        match slot {
            SlotEntry::Fido2 { public, .. } => Some(*public),
            SlotEntry::Piv { key, .. } => Some(self.key(KeyId(*key))?.piv()?.open.public_key),
            SlotEntry::Recovery { .. } => Some(self.recovery),
        }
    }

    /// Names of the scopes that `key` opens.
    #[must_use]
    pub fn opened_by(&self, key: &EnrolledKey) -> Vec<String> {
        let scopes = self.scopes.iter().filter(|scope| scope.slot_of(key.id()).is_some());
        scopes.map(|scope| scope.name.clone()).collect()
    }

    fn check(&self) -> Option<()> {
        let fits = |ok: bool| ok.then_some(());
        fits(self.v == self.format() && self.random.is_some() == self.previous.is_empty())?;
        check_name("the vault's name", &self.name).ok()?;
        fits(is_public_key(&self.recovery))?;
        fits(!self.keys.is_empty() && strictly_ascending(&self.previous))?;
        for key in &self.keys {
            check_key(key)?;
            // It and the recovery key sign in one form: a signature has one signer.
            fits(key.piv().is_none_or(|piv| piv.sign.public_key != self.recovery))?;
        }
        fits(all_differ(self.keys.iter().map(|key| key.name.as_str())))?;
        fits(all_differ(self.keys.iter().map(EnrolledKey::id)))?;
        fits(all_differ(self.keys.iter().filter_map(EnrolledKey::piv).map(|piv| piv.serial)))?;
        fits(all_differ(self.scopes.iter().map(|scope| scope.name.as_str())))?;
        fits(all_differ(self.scopes.iter().map(|scope| scope.id)))?;
        fits(all_differ(
            self.scopes.iter().flat_map(|scope| scope.slots.iter().map(SlotEntry::id)),
        ))?;
        self.scopes.iter().try_for_each(|scope| scope.check(self))
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
        self.slots.iter().find(|slot| slot.key() == Some(key))
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

    fn check(&self, statement: &Statement) -> Option<()> {
        check_name("the scope's name", &self.name).ok()?;
        let fits = |ok: bool| ok.then_some(());
        fits(self.epoch >= 1)?;
        fits(self.slots.iter().filter(|slot| matches!(slot, SlotEntry::Recovery { .. })).count() == 1)?;
        let mut seen = BTreeSet::new();
        for slot in &self.slots {
            let Some(key) = slot.key() else { continue };
            fits(seen.insert(key))?;
            fits(match (slot, &statement.key(key)?.kind) {
                (SlotEntry::Fido2 { public, .. }, Kind::Fido2(_)) => is_public_key(public),
                (SlotEntry::Piv { .. }, Kind::Piv(_)) => true,
                _ => false,
            })?;
        }
        Some(())
    }
}

impl SlotEntry {
    /// The slot's id.
    #[must_use]
    pub fn id(&self) -> Id {
        match self {
            Self::Fido2 { id, .. } | Self::Piv { id, .. } | Self::Recovery { id } => *id,
        }
    }

    /// The key that opens it; nothing where it is the recovery code.
    #[must_use]
    pub fn key(&self) -> Option<KeyId> {
        match self {
            Self::Fido2 { key, .. } | Self::Piv { key, .. } => Some(KeyId(*key)),
            Self::Recovery { .. } => None,
        }
    }
}

/// What ties a slot's private half to a FIDO2 key.
#[must_use]
pub fn holder(key: &EnrolledKey) -> Option<Holder<'_>> {
    Some(Holder {
        credential: &key.fido2()?.lease.id,
        profile: match key.profile {
            Profile::Pin => "pin",
            Profile::TouchOnly => "touch-only",
        },
    })
}

fn check_key(key: &EnrolledKey) -> Option<()> {
    check_name("the key's name", &key.name).ok()?;
    let sound = |credential: &Credential| (1..=1023).contains(&credential.id.len()) && is_public_key(&credential.public_key);
    let fits = match &key.kind {
        Kind::Fido2(Fido2 { lease, which }) => sound(lease) && sound(which),
        Kind::Piv(Piv { open, sign, .. }) => {
            open.slot != sign.slot && open.public_key != sign.public_key && [open, sign].iter().all(|slot| is_public_key(&slot.public_key))
        }
    };
    fits.then_some(())
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
            keys: vec![key],
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

    /// The same with a PIV key beside the FIDO2 key, both in the scope.
    fn with_piv() -> Statement {
        let mut statement = statement();
        let key = SoftKey::piv("card", 2).enrolled();
        let slot = SlotEntry::Piv {
            id: Hex([7; 16]),
            key: key.id().0,
        };
        statement.scopes[0].slots.push(slot);
        statement.keys.push(key);
        statement.v = NEWEST;
        statement
    }

    #[test]
    fn a_piv_key_takes_the_next_format_and_no_other_key_does() {
        let both = with_piv();
        assert_eq!(Statement::from_bytes(&both.to_bytes().unwrap()), Ok(both));
        for (mut other, v) in [(with_piv(), FORMAT), (with_piv(), NEWEST + 1), (statement(), NEWEST)] {
            other.v = v;
            assert_eq!(Statement::from_bytes(&other.to_bytes().unwrap()), Err(RosterFault::Content), "{v}");
        }
    }

    #[test]
    fn piv_keys_and_slots_that_contradict_themselves_are_refused() {
        fn piv(statement: &mut Statement) -> &mut Piv {
            let Kind::Piv(piv) = &mut statement.keys[1].kind else { panic!() };
            piv
        }
        let changes: [fn(&mut Statement); 8] = [
            |s| piv(s).open.slot = piv(s).sign.slot,
            |s| piv(s).open.public_key = piv(s).sign.public_key,
            |s| piv(s).open.public_key = [4; 65],
            |s| {
                // The id follows, and with it the slot.
                piv(s).sign.public_key = [4; 65];
                let id = s.keys[1].id().0;
                s.scopes[0].slots[2] = SlotEntry::Piv { id: Hex([7; 16]), key: id };
            },
            |s| s.recovery = *s.keys[1].signer(),
            |s| {
                s.scopes[0].slots[2] = SlotEntry::Piv {
                    id: Hex([7; 16]),
                    key: s.keys[0].id().0,
                };
                s.scopes[0].slots.remove(0);
            },
            |s| {
                let key = s.keys[1].id().0;
                if let SlotEntry::Fido2 { key: of, .. } = &mut s.scopes[0].slots[0] {
                    *of = key;
                }
                s.scopes[0].slots.pop();
            },
            |s| {
                let mut other = SoftKey::piv("other", 3).enrolled();
                let Kind::Piv(of) = &mut other.kind else { panic!() };
                of.serial = piv(s).serial;
                s.keys.push(other);
            },
        ];
        for (n, change) in changes.into_iter().enumerate() {
            let mut bad = with_piv();
            change(&mut bad);
            assert_eq!(Statement::from_bytes(&bad.to_bytes().unwrap()), Err(RosterFault::Content), "{n}");
        }
    }
}
