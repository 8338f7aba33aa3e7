//! Keys into the vault and out of it.

use crate::device::enrolled::{EnrolledKey, KeyId};
use crate::device::proof::Proof;
use crate::encoding::plain::check_name;

use super::Vault;
use super::bytes::Id;
use super::draft::{Draft, check_joined};
use super::enrolment::{Enrolment, Made, NewSlots};
use super::error::VaultError;
use super::listing::Listed;
use super::plan::Plan;
use super::random::Random;

/// A key that is about to be added: its own touches come first.
pub struct Addition {
    draft: Draft,
    slots: NewSlots,
}

/// A key that is about to be removed.
pub struct Removal {
    plan: Plan,
    exposed: Vec<Listed>,
}

impl Vault {
    /// Whether a key called `name` may be let into `scopes`: asked before any key makes anything. Gives the scopes' ids.
    ///
    /// # Errors
    /// A refused name, [`VaultError::Twice`] for one that is taken, [`VaultError::NoScope`], [`VaultError::Nothing`],
    /// [`VaultError::NotJoined`].
    pub fn check_addition(&self, name: &str, scopes: &[&str]) -> Result<Vec<Id>, VaultError> {
        check_name("the key's name", name)?;
        if self.key_named(name).is_ok() {
            return Err(VaultError::Twice(name.to_owned()));
        }
        let mut ids: Vec<Id> = Vec::new();
        for name in scopes {
            let scope = self.scope(name)?;
            check_joined(self, scope)?;
            if !ids.contains(&scope.id) {
                ids.push(scope.id);
            }
        }
        if ids.is_empty() { Err(VaultError::Nothing) } else { Ok(ids) }
    }
}

impl Addition {
    /// Plans to give `key` a slot in each of `scopes`, at `now` in seconds since 1970.
    ///
    /// # Errors
    /// As [`Vault::check_addition`]; [`VaultError::Twice`] for a key that is enrolled.
    pub fn begin(vault: &Vault, key: EnrolledKey, scopes: &[&str], now: u64, random: &mut Random) -> Result<Self, VaultError> {
        let ids = vault.check_addition(&key.name, scopes)?;
        if vault.keys().iter().any(|old| old.id() == key.id()) {
            return Err(VaultError::Twice(key.name));
        }
        Ok(Self {
            draft: Draft::after(vault, now),
            slots: NewSlots::new(vault.id(), key, &ids, random)?,
        })
    }

    /// The touches of the new key, two scopes in each.
    ///
    /// # Errors
    /// [`VaultError::Sealing`].
    pub fn enrolments(&self) -> Result<Vec<Enrolment>, VaultError> {
        self.slots.enrolments()
    }

    /// Makes the new key's slots with its answers, in the order of [`Addition::enrolments`].
    ///
    /// # Errors
    /// [`VaultError::WrongProof`]; [`VaultError::NoneIn`] for a scope that no key opens; [`VaultError::NotJoined`].
    pub fn seal(mut self, vault: &Vault, proofs: &[&Proof], random: &mut Random) -> Result<Plan, VaultError> {
        let Made { key, slots } = self.slots.seal(proofs, random)?;
        self.draft.statement.keys.push(key);
        for slot in slots {
            self.draft.grant(slot)?;
        }
        self.draft.into_plan(vault)
    }
}

impl Removal {
    /// Plans to remove the key called `name`, at `now` in seconds since 1970, and to give every scope that it opened a new key. In each
    /// scope the first of `touched` that stays and is in it gives the touch, and gets a new slot by it.
    ///
    /// # Errors
    /// [`VaultError::NoKey`], [`VaultError::LastKey`]; [`VaultError::NoneIn`] for a scope that none of `touched` can open;
    /// [`VaultError::NotJoined`].
    pub fn begin(vault: &Vault, name: &str, touched: &[KeyId], now: u64, random: &mut Random) -> Result<Self, VaultError> {
        let key = vault.key_named(name)?.id();
        let mut draft = Draft::after(vault, now);
        draft.statement.keys.retain(|old| old.id() != key);
        if draft.statement.keys.is_empty() {
            return Err(VaultError::LastKey(name.to_owned()));
        }
        let mut exposed = Vec::new();
        for scope in vault.roster.in_force().scopes.iter().filter(|scope| scope.slot_of(key).is_some()) {
            exposed.extend(vault.list(Some(&scope.name))?.0);
            let by = touched.iter().find(|by| **by != key && scope.slot_of(**by).is_some());
            let by = by.ok_or_else(|| VaultError::NoneIn(scope.name.clone()))?;
            draft.scope_mut(scope.id)?.slots.retain(|slot| slot.key() != Some(key));
            draft.rekey(vault, scope.id, *by, random)?;
        }
        Ok(Self {
            plan: draft.into_plan(vault)?,
            exposed,
        })
    }

    /// The secrets that the removed key could read, and can still read in old copies: to be changed at their issuers.
    #[must_use]
    pub fn exposed(&self) -> &[Listed] {
        &self.exposed
    }

    /// The plan to be signed by keys that stay.
    #[must_use]
    pub fn into_plan(self) -> Plan {
        self.plan
    }
}
