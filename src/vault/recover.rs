//! Getting back in with the recovery code, the one change of the roster that no enrolled key is touched for; and a new code by a touch.

use crate::device::enrolled::{EnrolledKey, KeyId};
use crate::device::proof::Proof;
use crate::encoding::plain::check_name;

use super::bytes::Id;
use super::draft::Draft;
use super::enrolment::{Enrolment, Made, NewSlots};
use super::error::VaultError;
use super::journal::InForce;
use super::listing::Listed;
use super::plan::Plan;
use super::random::Random;
use super::recovery::RecoveryCode;
use super::statement::SlotEntry;
use super::{Standing, Vault};

/// A key that the recovery code is about to let in; its own touches come first.
pub struct Recovering {
    draft: Draft,
    slots: NewSlots,
    fresh: RecoveryCode,
    exposed: Vec<Listed>,
    shown: Standing,
}

/// A recovery whose statement waits for the code's signature.
pub struct Recovery {
    plan: Plan,
    fresh: RecoveryCode,
    exposed: Vec<Listed>,
    shown: Standing,
}

impl Vault {
    /// Whether `code` is the one that this vault's roster names now.
    ///
    /// # Errors
    /// [`VaultError::WrongCode`].
    pub fn check_code(&self, code: &RecoveryCode) -> Result<(), VaultError> {
        let statement = self.roster.in_force();
        if code.key_pair(&statement.vault).1 == statement.recovery {
            Ok(())
        } else {
            Err(VaultError::WrongCode)
        }
    }

    /// Plans a new recovery code in the place of the one that there is, at `now` in seconds since 1970. Whoever has the old one opens every
    /// scope key that is in force, so each scope gets a new one, by a touch of the first of `touched` that is in it.
    ///
    /// # Errors
    /// [`VaultError::NoneIn`] for a scope that none of `touched` opens; [`VaultError::NotJoined`].
    pub fn new_code(&self, touched: &[KeyId], now: u64, random: &mut Random) -> Result<(Plan, RecoveryCode), VaultError> {
        let mut draft = Draft::after(self, now);
        for scope in &self.roster.in_force().scopes {
            let by = touched.iter().find(|by| scope.slot_of(**by).is_some());
            let by = by.ok_or_else(|| VaultError::NoneIn(scope.name.clone()))?;
            draft.rekey(self, scope.id, *by, random)?;
        }
        let fresh = RecoveryCode::generate(random);
        draft.replace_code(self, &fresh, random);
        Ok((draft.into_plan(self)?, fresh))
    }

    /// Whether a key may be called `name` when those called `lost` are taken out: asked before any key makes anything.
    ///
    /// # Errors
    /// As [`Recovering::begin`].
    pub fn check_recovery(&self, name: &str, lost: &[String]) -> Result<(), VaultError> {
        check_name("the key's name", name)?;
        for name in lost {
            self.key_named(name)?;
        }
        match self.key_named(name) {
            Ok(_) if !lost.iter().any(|lost| lost == name) => Err(VaultError::Twice(name.to_owned())),
            _ => Ok(()),
        }
    }
}

impl Recovering {
    /// Plans to let `key` into every scope, to take the keys called `lost` out, and to replace the code, at `now` in seconds since 1970.
    /// `shown` is the state from which the person was told who stays, which scopes there are, and what joining their heads takes in.
    ///
    /// # Errors
    /// [`VaultError::Changed`] when it is another one now; [`VaultError::NoKey`] for a lost key that is not enrolled, [`VaultError::Twice`] for a name or key that stays.
    pub fn begin(
        vault: &Vault,
        shown: &Standing,
        key: EnrolledKey,
        lost: &[String],
        now: u64,
        random: &mut Random,
    ) -> Result<Self, VaultError> {
        // No touch signs the statement: a key that came in meanwhile would stay without anybody having seen its name.
        vault.check_standing(shown)?;
        vault.check_recovery(&key.name, lost)?;
        let lost = lost.iter().map(|name| vault.key_named(name)).collect::<Result<Vec<_>, _>>()?;
        let mut draft = Draft::after(vault, now);
        let keys = &mut draft.statement.keys;
        keys.retain(|old| !lost.contains(&old));
        if keys.iter().any(|old| old.name == key.name || old.id() == key.id()) {
            return Err(VaultError::Twice(key.name));
        }
        let (mut ids, mut exposed): (Vec<Id>, _) = (Vec::new(), Vec::new());
        for scope in &vault.roster.in_force().scopes {
            ids.push(scope.id);
            if lost.iter().any(|key| scope.slot_of(key.id()).is_some()) {
                exposed.extend(vault.list(Some(&scope.name))?.0);
            }
            let gone = |slot: &SlotEntry| lost.iter().any(|key| scope.slot_of(key.id()) == Some(slot));
            draft.scope_mut(scope.id)?.slots.retain(|slot| !gone(slot));
            draft.next_epoch(vault.id(), scope.id, random)?;
        }
        let fresh = RecoveryCode::generate(random);
        draft.replace_code(vault, &fresh, random);
        Ok(Self {
            draft,
            slots: NewSlots::new(vault.id(), key, &ids, random)?,
            fresh,
            exposed,
            shown: shown.clone(),
        })
    }

    /// The touches of the new key, two scopes in each.
    ///
    /// # Errors
    /// [`VaultError::Sealing`].
    pub fn enrolments(&self) -> Result<Vec<Enrolment>, VaultError> {
        self.slots.enrolments()
    }

    /// Makes the new key's slots with its answers, in the order of [`Recovering::enrolments`].
    ///
    /// # Errors
    /// [`VaultError::WrongProof`].
    pub fn seal(mut self, proofs: &[&Proof], random: &mut Random) -> Result<Recovery, VaultError> {
        let Made { key, slots } = self.slots.seal(proofs, random)?;
        self.draft.statement.keys.push(key);
        for slot in slots {
            self.draft.take_in(slot)?;
        }
        Ok(Recovery {
            plan: self.draft.finished()?,
            fresh: self.fresh,
            exposed: self.exposed,
            shown: self.shown,
        })
    }
}

impl Recovery {
    /// The statement.
    #[must_use]
    pub fn text(&self) -> &[u8] {
        self.plan.text()
    }

    /// The secrets that the lost keys could read, and can still read in old copies: to be changed at their issuers.
    #[must_use]
    pub fn exposed(&self) -> &[Listed] {
        &self.exposed
    }

    /// The code that holds once this is finished: whatever can fail in telling it has to come before.
    #[must_use]
    pub fn fresh(&self) -> &RecoveryCode {
        &self.fresh
    }

    /// Signs the statement with `code` and makes it effective: [`Recovery::fresh`] holds from then on, and has to be told, whatever trouble
    /// there was afterwards.
    ///
    /// # Errors
    /// [`VaultError::Busy`], with which it can be tried again; [`VaultError::WrongCode`], [`VaultError::Changed`], a scope that does not
    /// open; a full disk, a read-only folder. The code before it holds then.
    pub fn finish(&self, vault: &Vault, code: &RecoveryCode, random: &mut Random) -> Result<InForce, VaultError> {
        self.plan.commit_with_code(vault, &self.shown, code, random)
    }
}
