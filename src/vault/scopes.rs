//! Scopes that come, go, change their name, get new keys, and let keys in.

use crate::device::enrolled::KeyId;
use crate::encoding::plain::check_name;

use super::Vault;
use super::draft::Draft;
use super::error::VaultError;
use super::plan::Plan;
use super::random::Random;

impl Vault {
    /// Plans to give each of `scopes` a new key at `now`, in seconds since 1970, by touches of `key`, which gets a new slot in each.
    ///
    /// # Errors
    /// [`VaultError::NoScope`], [`VaultError::Nothing`]; [`VaultError::NoSlot`] where `key` is not in a scope; [`VaultError::NotJoined`].
    pub fn rotation(&self, scopes: &[&str], key: KeyId, now: u64, random: &mut Random) -> Result<Plan, VaultError> {
        let mut names = scopes.to_vec();
        names.sort_unstable();
        names.dedup();
        if names.is_empty() {
            return Err(VaultError::Nothing);
        }
        let mut draft = Draft::after(self, now);
        for name in names {
            draft.rekey(self, self.scope(name)?.id, key, random)?;
        }
        draft.into_plan(self)
    }

    /// Plans a scope that `keys` open, made by a touch of each of them, at `now` in seconds since 1970.
    ///
    /// # Errors
    /// A refused name, [`VaultError::Twice`]; [`VaultError::Nothing`] without keys.
    pub fn new_scope(&self, name: &str, keys: &[KeyId], now: u64, random: &mut Random) -> Result<Plan, VaultError> {
        self.check_free_name(name)?;
        if keys.is_empty() {
            return Err(VaultError::Nothing);
        }
        let mut draft = Draft::after(self, now);
        draft.found(self, name, keys, random)?;
        draft.into_plan(self)
    }

    /// Plans to let the enrolled key `name` into `scopes`, at `now` in seconds since 1970: its touch makes its slots, and a touch of a key
    /// that is in seals the scopes' keys to them.
    ///
    /// # Errors
    /// [`VaultError::NoKey`], [`VaultError::NoScope`], [`VaultError::AlreadyIn`], [`VaultError::Nothing`]; [`VaultError::NoneIn`] for a
    /// scope that no key opens; [`VaultError::NotJoined`].
    pub fn admission(&self, name: &str, scopes: &[&str], now: u64, random: &mut Random) -> Result<Plan, VaultError> {
        let key = self.key_named(name)?.id();
        if scopes.is_empty() {
            return Err(VaultError::Nothing);
        }
        let mut draft = Draft::after(self, now);
        for scope in scopes {
            draft.admit(self, self.scope(scope)?.id, key, random)?;
        }
        draft.into_plan(self)
    }

    /// Plans another name for a scope, at `now` in seconds since 1970.
    ///
    /// # Errors
    /// [`VaultError::NoScope`], a refused name, [`VaultError::Twice`].
    pub fn renaming(&self, name: &str, to: &str, now: u64) -> Result<Plan, VaultError> {
        let id = self.scope(name)?.id;
        self.check_free_name(to)?;
        let mut draft = Draft::after(self, now);
        to.clone_into(&mut draft.scope_mut(id)?.name);
        draft.into_plan(self)
    }

    /// Plans to give up a scope without secrets, at `now` in seconds since 1970. The touch opens it and finds whether it is empty.
    ///
    /// # Errors
    /// [`VaultError::NoScope`], [`VaultError::NotEmptyScope`], [`VaultError::LastScope`]; [`VaultError::NoneIn`] where no key opens it;
    /// [`VaultError::NotJoined`].
    pub fn giving_up(&self, name: &str, now: u64) -> Result<Plan, VaultError> {
        match self.count(name)? {
            0 => {}
            secrets => {
                return Err(VaultError::NotEmptyScope {
                    scope: name.to_owned(),
                    secrets,
                });
            }
        }
        if self.scopes().len() == 1 {
            return Err(VaultError::LastScope(name.to_owned()));
        }
        let mut draft = Draft::after(self, now);
        draft.give_up(self, name)?;
        draft.into_plan(self)
    }

    fn check_free_name(&self, name: &str) -> Result<(), VaultError> {
        check_name("the scope's name", name)?;
        match self.scope(name) {
            Ok(_) => Err(VaultError::Twice(name.to_owned())),
            Err(_) => Ok(()),
        }
    }
}
