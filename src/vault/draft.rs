//! The next statement in the making.

use std::collections::{BTreeMap, BTreeSet};

use crate::device::enrolled::{EnrolledKey, KeyId};
use crate::encoding::Digest;
use crate::encoding::sshsig::Point;

use super::bytes::Id;
use super::enrolment::{MadeSlot, Making, piv_slot};
use super::error::VaultError;
use super::plan::{ForkedScope, Open, Plan, Touch, Work};
use super::random::{self, Random};
use super::recovery::RecoveryCode;
use super::scope::Ring;
use super::statement::{ScopeEntry, SlotEntry, Statement};
use super::{SCOPES_PER_TOUCH, Vault};

/// A statement that follows the one in force, and what has to be opened and made for it.
pub(super) struct Draft {
    pub statement: Statement,
    works: Vec<(Id, Work)>,
    halves: Vec<(Id, Vec<u8>)>,
    touches: Vec<Touch>,
    /// Slots that enrolled keys make by touches that open nothing.
    makes: Vec<Making>,
    drops: Vec<String>,
    /// Where a fork of the roster is joined: what is joined in the scopes that get a new key.
    pub joins: BTreeMap<Id, ForkedScope>,
    /// Names of scopes that any key that stays may open.
    opens: Vec<String>,
}

impl Draft {
    /// What is in force, as the start of what follows it at `now`, in seconds since 1970.
    pub fn after(vault: &Vault, now: u64) -> Self {
        let statement = Statement {
            at: now,
            previous: vec![vault.roster_digest()],
            random: None,
            ..vault.roster.in_force().clone()
        };
        Self::of(statement)
    }

    /// A statement that joins several.
    pub fn of(statement: Statement) -> Self {
        Self {
            statement,
            works: Vec::new(),
            halves: Vec::new(),
            touches: Vec::new(),
            makes: Vec::new(),
            drops: Vec::new(),
            joins: BTreeMap::new(),
            opens: Vec::new(),
        }
    }

    /// A slot that a key has made already: any key that stays seals the scope's key to it.
    pub fn grant(&mut self, made: MadeSlot) -> Result<(), VaultError> {
        let (scope, id) = (made.scope, made.entry.id());
        let public = self.statement.public_of(&made.entry).ok_or(VaultError::Nothing)?;
        self.let_in(scope, id, public)?;
        self.take_in(made)
    }

    /// A slot that a key has made already, in a scope that gets a new key.
    pub fn take_in(&mut self, made: MadeSlot) -> Result<(), VaultError> {
        self.halves.extend(made.half.map(|half| (made.entry.id(), half)));
        self.scope_mut(made.scope)?.slots.push(made.entry);
        Ok(())
    }

    /// Puts `code` in the place of the recovery code, with new slots. Every scope has to get a new key besides: whoever has the code before
    /// opens those that there are.
    pub fn replace_code(&mut self, vault: &Vault, code: &RecoveryCode, random: &mut Random) {
        self.statement.recovery = code.key_pair(&vault.id()).1;
        for scope in &mut self.statement.scopes {
            for slot in &mut scope.slots {
                if let SlotEntry::Recovery { id } = slot {
                    *id = random::id(random);
                }
            }
        }
    }

    /// Gives scope `id` a new key, sealed to the slots that are left. The touch is by `by`, whose slot it renews.
    ///
    /// # Errors
    /// [`VaultError::NotJoined`].
    pub fn rekey(&mut self, vault: &Vault, id: Id, by: KeyId, random: &mut Random) -> Result<(), VaultError> {
        check_joined(vault, vault.scope_of(id)?)?;
        self.rekey_over(&[vault], &[0], id, by, random)
    }

    /// The same where a fork of the roster is joined: `by` opens the scope on the sides `open_on`, and its slot is renewed where a salt is left.
    pub fn rekey_over(&mut self, sides: &[&Vault], open_on: &[usize], id: Id, by: KeyId, random: &mut Random) -> Result<(), VaultError> {
        let (key, vault) = (self.key(by)?, sides.first().ok_or(VaultError::Nothing)?.id());
        let scope = self.scope_mut(id)?;
        let no_slot = || VaultError::NoSlot {
            key: key.name.clone(),
            scope: scope.name.clone(),
        };
        // Sides that have one key of the scope are opened once; sides on which a FIDO2 key has one slot are opened by one salt.
        let mut by_slot: BTreeMap<Id, Vec<Open>> = BTreeMap::new();
        let mut seen = BTreeSet::new();
        for side in open_on {
            let vault = sides.get(*side).ok_or(VaultError::Nothing)?;
            let old = vault.scope_of(id)?;
            let slot = old.slot_of(by).ok_or_else(no_slot)?.id();
            if seen.insert(old.commitment) {
                by_slot.entry(slot).or_default().push(open(vault, *side, id)?);
            }
        }
        if scope.slot_of(by).is_none() || by_slot.is_empty() {
            return Err(no_slot());
        }
        let mut opens: Vec<Vec<Open>> = by_slot.into_values().collect();
        while !opens.is_empty() {
            let now: Vec<_> = opens.drain(..opens.len().min(SCOPES_PER_TOUCH)).collect();
            let mut touch = Touch {
                by: Some(by),
                makes: Vec::new(),
                opens: Vec::new(),
            };
            // A PIV key's pair stays on the card: there is nothing to renew.
            if opens.is_empty() && now.len() < SCOPES_PER_TOUCH && key.fido2().is_some() {
                touch.makes.push(self.renew(vault, id, &key, random)?);
            }
            touch.opens.extend(now.into_iter().flatten());
            self.touches.push(touch);
        }
        let newest = sides.iter().filter_map(|side| Some(side.scope_of(id).ok()?.epoch)).max();
        self.scope_mut(id)?.epoch = newest.unwrap_or_default();
        self.next_epoch(vault, id, random)
    }

    /// A slot of an enrolled key in a scope that it is not in: its own touch makes it, and any key that is in seals the scope's key to it.
    pub fn admit(&mut self, vault: &Vault, id: Id, key: KeyId, random: &mut Random) -> Result<(), VaultError> {
        let (slot, public) = self.make(vault, id, key, random)?;
        self.let_in(id, slot, public)
    }

    /// A scope that begins, with slots that touches of `keys` make.
    pub fn found(&mut self, vault: &Vault, name: &str, keys: &[KeyId], random: &mut Random) -> Result<(), VaultError> {
        let id = random::id(random);
        let ring = Ring::generate(vault.id(), id, 1, random);
        self.statement.scopes.push(ScopeEntry {
            commitment: ring.current(),
            epoch: 1,
            id,
            name: name.to_owned(),
            slots: vec![SlotEntry::Recovery { id: random::id(random) }],
        });
        self.works.push((id, Work::Found(ring)));
        for key in keys {
            self.make(vault, id, *key, random)?;
        }
        Ok(())
    }

    /// Gives up a scope that has no secrets, with all its files.
    pub fn give_up(&mut self, vault: &Vault, name: &str) -> Result<(), VaultError> {
        let id = vault.scope(name)?.id;
        self.statement.scopes.retain(|scope| scope.id != id);
        self.works.push((id, Work::GiveUp));
        self.opens.push(name.to_owned());
        for folder in [format!("heads/{id}"), format!("index/{id}")] {
            self.drops.extend(vault.store.list_below(&folder)?);
        }
        Ok(())
    }

    /// The plan, with the touches that it needs.
    ///
    /// # Errors
    /// [`VaultError::NotJoined`], [`VaultError::NoneIn`].
    pub fn into_plan(mut self, vault: &Vault) -> Result<Plan, VaultError> {
        for name in &self.opens {
            check_joined(vault, vault.scope(name)?)?;
        }
        for names in self.pairs(vault)? {
            let opens = names.iter().map(|name| open(vault, 0, vault.scope(name)?.id));
            self.touches.push(Touch {
                by: None,
                opens: opens.collect::<Result<_, _>>()?,
                makes: Vec::new(),
            });
        }
        self.add_makes();
        self.with_a_touch()
    }

    /// The plan, with one touch at least: somebody has to sign.
    pub fn with_a_touch(mut self) -> Result<Plan, VaultError> {
        if self.touches.is_empty() {
            self.touches.push(Touch {
                by: None,
                opens: Vec::new(),
                makes: Vec::new(),
            });
        }
        self.finished()
    }

    /// The plan as it is: what needs no touch of an enrolled key has none.
    pub fn finished(mut self) -> Result<Plan, VaultError> {
        self.statement.v = self.statement.format();
        let text = self.statement.to_bytes().map_err(|_| VaultError::Sealing("the statement"))?;
        Ok(Plan {
            text,
            statement: self.statement,
            touches: self.touches,
            works: self.works,
            halves: self.halves,
            drops: self.drops,
            joins: self.joins,
        })
    }

    /// One touch for each two slots of a key.
    fn add_makes(&mut self) {
        for making in std::mem::take(&mut self.makes) {
            let by = Some(making.key());
            let free = |touch: &&mut Touch| touch.by == by && touch.opens.is_empty() && touch.makes.len() < SCOPES_PER_TOUCH;
            match self.touches.iter_mut().find(free) {
                Some(touch) => touch.makes.push(making),
                None => self.touches.push(Touch {
                    by,
                    opens: Vec::new(),
                    makes: vec![making],
                }),
            }
        }
    }

    fn make(&mut self, vault: &Vault, id: Id, key: KeyId, random: &mut Random) -> Result<(Id, Point), VaultError> {
        let key = self.key(key)?;
        let scope = self.scope_mut(id)?;
        if scope.slot_of(key.id()).is_some() {
            return Err(VaultError::AlreadyIn {
                key: key.name,
                scope: scope.name.clone(),
            });
        }
        if let Some(piv) = key.piv() {
            let slot = random::id(random);
            scope.slots.push(piv_slot(slot, &key));
            return Ok((slot, piv.open.public_key));
        }
        let making = Making::new(vault.id(), id, &key, random);
        let made = (making.slot(), making.public());
        scope.slots.push(making.entry(None));
        self.makes.push(making);
        Ok(made)
    }

    fn renew(&mut self, vault: Digest, id: Id, key: &EnrolledKey, random: &mut Random) -> Result<Making, VaultError> {
        let making = Making::new(vault, id, key, random);
        for slot in &mut self.scope_mut(id)?.slots {
            if slot.key() == Some(key.id()) {
                *slot = making.entry(None);
            }
        }
        Ok(making)
    }

    /// Gives scope `id` a new key, sealed to the slots that are left; no slot of a key is renewed.
    pub fn next_epoch(&mut self, vault: Digest, id: Id, random: &mut Random) -> Result<(), VaultError> {
        let scope = self.scope_mut(id)?;
        scope.epoch += 1;
        let fresh = Ring::generate(vault, id, scope.epoch, random);
        scope.commitment = fresh.current();
        self.works.push((id, Work::Rekey(fresh)));
        Ok(())
    }

    fn let_in(&mut self, scope: Id, slot: Id, public: Point) -> Result<(), VaultError> {
        let name = self.scope_mut(scope)?.name.clone();
        self.works.push((scope, Work::Grant(slot, public)));
        self.opens.push(name);
        Ok(())
    }

    fn key(&self, id: KeyId) -> Result<EnrolledKey, VaultError> {
        let key = self.statement.key(id).cloned();
        key.ok_or_else(|| VaultError::NoKey(id.to_string()))
    }

    pub fn scope_mut(&mut self, id: Id) -> Result<&mut ScopeEntry, VaultError> {
        let scope = self.statement.scopes.iter_mut().find(|scope| scope.id == id);
        scope.ok_or_else(|| VaultError::NoScope(id.to_string()))
    }

    /// The scopes to be opened, in groups that one touch of one key opens.
    fn pairs(&self, vault: &Vault) -> Result<Vec<Vec<String>>, VaultError> {
        let mut waiting = self.opens.clone();
        waiting.sort_unstable();
        waiting.dedup();
        let mut groups = Vec::new();
        while !waiting.is_empty() {
            let mut group = vec![waiting.remove(0)];
            if !self.is_opened_by_one(vault, &group)? {
                return Err(VaultError::NoneIn(group.remove(0)));
            }
            for name in std::mem::take(&mut waiting) {
                group.push(name);
                if group.len() > SCOPES_PER_TOUCH || !self.is_opened_by_one(vault, &group)? {
                    waiting.extend(group.pop());
                }
            }
            groups.push(group);
        }
        Ok(groups)
    }

    /// Whether a key that stays is in all of these scopes.
    fn is_opened_by_one(&self, vault: &Vault, names: &[String]) -> Result<bool, VaultError> {
        let scopes = names.iter().map(|name| vault.scope(name)).collect::<Result<Vec<_>, _>>()?;
        let mut keys = vault.keys().into_iter().filter(|key| self.statement.key(key.id()).is_some());
        Ok(keys.any(|key| scopes.iter().all(|scope| scope.slot_of(key.id()).is_some())))
    }
}

/// Whether `scope` has one head. Where a change of the roster opens a scope with several, the statement that is shown and signed would
/// not say what is joined there.
///
/// # Errors
/// [`VaultError::NotJoined`].
pub(super) fn check_joined(vault: &Vault, scope: &ScopeEntry) -> Result<(), VaultError> {
    match vault.heads(scope)?.len() {
        0 | 1 => Ok(()),
        _ => Err(VaultError::NotJoined(scope.name.clone())),
    }
}

fn open(vault: &Vault, side: usize, id: Id) -> Result<Open, VaultError> {
    let scope = vault.scope_of(id)?;
    Ok(Open {
        side,
        scope: scope.name.clone(),
        standing: vault.standing(&[&scope.name])?,
    })
}
