//! Adding and removing keys: the next statement of the roster, signed and made effective by touches of enrolled keys.
//!
//! One touch of an enrolled key both signs the statement and opens the scopes that it changes: its salts are those of the slots that
//! it has. It opens two scopes; a plan over more needs more touches, each over the same statement.

use crate::device::broker::Candidate;
use crate::device::enrolled::{EnrolledKey, KeyId};
use crate::device::proof::Proof;
use crate::encoding::Digest;
use crate::encoding::plain::check_name;
use crate::encoding::sshsig::{Namespace, Point};

use super::bytes::Id;
use super::enrolment::{Enrolment, NewSlots};
use super::error::VaultError;
use super::index::head_path;
use super::journal::{self, Change};
use super::listing::Listed;
use super::random::Random;
use super::roster::{self, signature_path, statement_path};
use super::scope::{Ring, carry_path, half_path, sealed_path};
use super::statement::{KeyEntry, ScopeEntry, SlotEntry, Statement};
use super::{SCOPES_PER_TOUCH, Standing, Vault};

/// A key that is about to be added: its own touches come first.
pub struct Addition {
    statement: Statement,
    standings: Vec<Standing>,
    slots: NewSlots,
}

/// A key that is about to be removed.
pub struct Removal {
    plan: Plan,
    exposed: Vec<Listed>,
}

/// The next statement, waiting for the touches of enrolled keys.
pub struct Plan {
    text: Vec<u8>,
    statement: Statement,
    standings: Vec<Standing>,
    works: Vec<(String, Work)>,
    halves: Vec<(Id, Vec<u8>)>,
    drops: Vec<String>,
}

/// What is done in a scope once it is open.
enum Work {
    /// Seal its key to a new slot.
    Grant(Id, Point),
    /// Give it a new key, sealed to the slots that the statement leaves. The ring holds the new key alone.
    Rekey(Ring),
}

impl Addition {
    /// Plans to give `key` a slot in each of `scopes`.
    ///
    /// # Errors
    /// [`VaultError::Twice`] for a key or name that is enrolled, [`VaultError::NoScope`], [`VaultError::Nothing`].
    pub fn begin(vault: &Vault, key: EnrolledKey, scopes: &[&str], random: &mut Random) -> Result<Self, VaultError> {
        check_name("the key's name", &key.name)?;
        if vault.keys().iter().any(|old| old.name == key.name || old.id() == key.id()) {
            return Err(VaultError::Twice(key.name));
        }
        let standings = standings(vault, scopes)?;
        let mut ids = Vec::new();
        for (name, _) in standings.iter().flat_map(|standing| standing.heads()) {
            ids.push(vault.scope(name)?.id);
        }
        if ids.is_empty() {
            return Err(VaultError::Nothing);
        }
        let mut statement = successor(vault);
        statement.keys.push(KeyEntry::Fido2(key.clone()));
        Ok(Self {
            statement,
            standings,
            slots: NewSlots::new(vault.id(), key, &ids, random),
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
    /// [`VaultError::WrongProof`].
    pub fn seal(mut self, proofs: &[&Proof], random: &mut Random) -> Result<Plan, VaultError> {
        let (mut works, mut halves) = (Vec::new(), Vec::new());
        for made in self.slots.seal(proofs, random)? {
            let Some(scope) = self.statement.scopes.iter_mut().find(|scope| scope.id == made.scope) else {
                continue;
            };
            if let SlotEntry::Fido2 { id, public, .. } = &made.entry {
                works.push((scope.name.clone(), Work::Grant(*id, *public)));
                halves.push((*id, made.half));
            }
            scope.slots.push(made.entry);
        }
        Plan::new(self.statement, self.standings, works, halves, Vec::new())
    }
}

impl Removal {
    /// Plans to remove the key called `name` and to give every scope that it opened a new key.
    ///
    /// # Errors
    /// [`VaultError::NoKey`], [`VaultError::LastKey`].
    pub fn begin(vault: &Vault, name: &str, random: &mut Random) -> Result<Self, VaultError> {
        let key = vault
            .keys()
            .into_iter()
            .find(|key| key.name == name)
            .ok_or_else(|| VaultError::NoKey(name.to_owned()))?;
        let mut statement = successor(vault);
        statement.keys.retain(|entry| entry.enrolled().id() != key.id());
        if statement.keys.is_empty() {
            return Err(VaultError::LastKey(name.to_owned()));
        }
        let (mut works, mut drops, mut exposed) = (Vec::new(), Vec::new(), Vec::new());
        for scope in &mut statement.scopes {
            let Some(slot) = scope.slot_of(key.id()).map(SlotEntry::id) else {
                continue;
            };
            drops.push(half_path(slot));
            drops.extend(scope.slots.iter().map(|slot| sealed_path(slot.id(), &scope.commitment)));
            exposed.extend(vault.list(Some(&scope.name))?.0);
            let fresh = Ring::generate(vault.id(), scope.id, scope.epoch + 1, random);
            scope.slots.retain(|other| other.id() != slot);
            scope.epoch += 1;
            scope.commitment = fresh.current();
            works.push((scope.name.clone(), Work::Rekey(fresh)));
        }
        let names: Vec<&str> = works.iter().map(|(name, _)| name.as_str()).collect();
        let standings = standings(vault, &names)?;
        Ok(Self {
            plan: Plan::new(statement, standings, works, Vec::new(), drops)?,
            exposed,
        })
    }

    /// The secrets that the removed key could read, and can still read in old copies: to be changed at their issuers.
    #[must_use]
    pub fn exposed(&self) -> &[Listed] {
        &self.exposed
    }

    /// The plan to be signed by a key that stays.
    #[must_use]
    pub fn into_plan(self) -> Plan {
        self.plan
    }
}

impl Plan {
    fn new(
        statement: Statement,
        standings: Vec<Standing>,
        works: Vec<(String, Work)>,
        halves: Vec<(Id, Vec<u8>)>,
        drops: Vec<String>,
    ) -> Result<Self, VaultError> {
        let text = statement.to_bytes().map_err(|_| VaultError::Sealing("the statement"))?;
        Ok(Self {
            text,
            statement,
            standings,
            works,
            halves,
            drops,
        })
    }

    /// The statement, to be signed in the namespace `touchlease-vault` by every touch of the plan.
    #[must_use]
    pub fn text(&self) -> &[u8] {
        &self.text
    }

    /// The statements that this one follows, byte for byte, in the order in which it names them.
    ///
    /// # Errors
    /// [`VaultError::Changed`] when the vault is another one.
    pub fn follows(&self, vault: &Vault) -> Result<Vec<Vec<u8>>, VaultError> {
        let text = |digest: &Digest| vault.roster.statement(digest).and_then(|before| before.to_bytes().ok());
        let texts = self.statement.previous.iter().map(text).collect::<Option<_>>();
        texts.ok_or(VaultError::Changed)
    }

    /// How many touches of enrolled keys the plan needs: one for each two scopes, at least one.
    #[must_use]
    pub fn touches(&self) -> usize {
        self.standings.len()
    }

    /// Who can give touch number `touch` (from 0), and the salts to ask for. Keys that the plan removes are not among them.
    ///
    /// # Errors
    /// [`VaultError::NoScope`] when the vault is another one.
    pub fn candidates(&self, vault: &Vault, touch: usize) -> Result<Vec<Candidate>, VaultError> {
        let standing = self.standings.get(touch).ok_or(VaultError::Nothing)?;
        let mut candidates = vault.candidates(standing)?;
        candidates.retain(|candidate| self.stays(candidate.key.id()));
        Ok(candidates)
    }

    /// Makes the plan effective with its touches, in their order. Gives the digest of the new statement; open the vault again.
    ///
    /// # Errors
    /// [`VaultError::WrongProof`], [`VaultError::Changed`], as [`Vault::unseal`] for the scopes; a full disk, a read-only folder.
    pub fn commit(self, vault: &Vault, proofs: &[&Proof], random: &mut Random) -> Result<Digest, VaultError> {
        let digest = Digest::of(&self.text);
        let lock = vault.store.lock()?;
        journal::settle_locked(&lock)?;
        let rings = self.unlock(vault, proofs)?;
        let mut change = Change::default();
        let signer = proofs.first().ok_or(VaultError::Nothing)?;
        if vault.roster.in_force().key(signer.key_id()).is_none() {
            return Err(VaultError::WrongProof("the key that was touched is not enrolled here"));
        }
        change.add(signature_path(&digest), roster::signature(signer, &self.text)?);
        let mut heads = Vec::new();
        for (name, work) in self.works {
            let (standing, ring) = rings
                .iter()
                .find(|(_, ring)| vault.scope(&name).is_ok_and(|scope| scope.id == ring.scope))
                .ok_or_else(|| VaultError::NoScope(name.clone()))?;
            let scope = self.statement.scope(&name).ok_or_else(|| VaultError::NoScope(name.clone()))?;
            match work {
                Work::Grant(slot, public) => {
                    change.add(sealed_path(slot, &scope.commitment), ring.seal_to(slot, &public, random)?);
                }
                Work::Rekey(fresh) => {
                    let recovery = &self.statement.recovery;
                    let head = rekey(vault, scope, recovery, ring, fresh, standing, &mut change, random)?;
                    heads.push((scope.id, head));
                }
            }
        }
        for (slot, half) in self.halves {
            change.add(half_path(slot), half);
        }
        for path in self.drops {
            change.remove(path);
        }
        change.commit(&lock, &statement_path(&digest), &self.text)?;
        vault.memory.remember_roster(digest)?;
        for (scope, head) in heads {
            vault.memory.remember(scope, head)?;
        }
        Ok(digest)
    }

    /// Opens the plan's scopes: what their touch was bound to, and their keys.
    fn unlock(&self, vault: &Vault, proofs: &[&Proof]) -> Result<Vec<(Standing, Ring)>, VaultError> {
        if proofs.len() != self.standings.len() {
            return Err(VaultError::WrongProof("another number of touches than the plan has"));
        }
        let mut rings = Vec::new();
        for (standing, proof) in self.standings.iter().zip(proofs) {
            let fits = proof.namespace() == Namespace::Vault && proof.text_digest() == Digest::of(&self.text);
            if !fits || !self.stays(proof.key_id()) {
                return Err(VaultError::WrongProof(
                    "it did not sign this statement, or its key is the one to be removed",
                ));
            }
            vault.check_standing(standing)?;
            let scopes = standing
                .heads()
                .iter()
                .map(|(name, _)| vault.scope(name))
                .collect::<Result<Vec<_>, _>>()?;
            rings.extend(vault.unlock(proof, &scopes)?.into_iter().map(|ring| (standing.clone(), ring)));
        }
        Ok(rings)
    }

    fn stays(&self, key: KeyId) -> bool {
        self.statement.key(key).is_some()
    }
}

/// Writes a scope's next epoch: the new key sealed to every slot that the new statement names, the keys before it sealed under it, and
/// the index's head sealed under it (the holder of the old key must not be able to make one). Gives the head's digest.
#[allow(clippy::too_many_arguments)]
fn rekey(
    vault: &Vault,
    scope: &ScopeEntry,
    recovery: &Point,
    old: &Ring,
    fresh: Ring,
    standing: &Standing,
    change: &mut Change,
    random: &mut Random,
) -> Result<Digest, VaultError> {
    let before = vault.scope(&scope.name)?;
    let index = vault.index(before, old, standing)?;
    let ring = old.followed_by(fresh);
    for slot in &scope.slots {
        let public = match slot {
            SlotEntry::Fido2 { public, .. } => public,
            SlotEntry::Recovery { .. } => recovery,
        };
        change.add(sealed_path(slot.id(), &scope.commitment), ring.seal_to(slot.id(), public, random)?);
    }
    change.add(carry_path(scope.id, &scope.commitment), ring.carry(random)?);
    if before.epoch > 1 {
        change.remove(carry_path(scope.id, &before.commitment));
    }
    let (digest, bytes) = index.next(&ring, Vec::new(), change, random)?;
    change.add(head_path(scope.id, &digest), bytes);
    Ok(digest)
}

/// The statement in force, as the start of the one that follows it.
fn successor(vault: &Vault) -> Statement {
    Statement {
        previous: vec![vault.roster_digest()],
        random: None,
        ..vault.roster.in_force().clone()
    }
}

/// One standing for each touch.
fn standings(vault: &Vault, scopes: &[&str]) -> Result<Vec<Standing>, VaultError> {
    let mut names = scopes.to_vec();
    names.sort_unstable();
    names.dedup();
    if names.is_empty() {
        return Ok(vec![vault.standing(&[])?]);
    }
    names.chunks(SCOPES_PER_TOUCH).map(|names| vault.standing(names)).collect()
}
